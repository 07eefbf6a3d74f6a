"""Explanations: what a cell computes, with which shapes, at what cost, and what the compiler made of it.

`explain(layer)` or `explain(cell, n_inputs=3, n_neurons=5)` gives an `Explanation`: text, colour in a terminal, HTML in a
notebook. Everything in it is read from the graphs and programs; nothing is written down twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..cell import Cell
from ..compiler import compile_graph
from ..errors import OptionError, lay_out
from ..files import write_atomically
from .cost import Counts, counts
from .document import WIDTH, Page, document, fragment, in_colour, plain
from .equations import Equation, named_by_author
from .sections import Subject, page_of

__all__ = ["Counts", "Equation", "Explanation", "explain"]


class Explanation:
    """An explanation of one cell at given sizes.

    `str()` gives plain text, rich shows it in colour, a notebook as HTML; `save` writes either to a file.

    Attributes:
        equations: the lines of the equation, each with `left`, `right` and `name`.
        n_parameters: how many numbers are learned.
        step: the arithmetic of one step of one instance, as the cell was written.
        products_written: how many products the cell's text has.
        products_before, products_in_loop, products_after: how many the forward program runs: once per sequence before the
            loop, at every step, once per sequence after it.
        kept_bytes: what the forward pass keeps for the backward pass, in bytes per step and instance.
        page: title, sections and blocks, as data.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.equations: list[Equation] = subject.notation.equations()
        self.n_parameters = subject.n_parameters
        self.step: Counts = counts(subject.written_nodes)
        self.products_written = len(subject.written_products)
        numbers = subject.numbers
        self.products_before, self.products_in_loop = numbers["before"], numbers["loop"]
        self.products_after = numbers["after"]
        self.kept_bytes = subject.kept_bytes
        self.page: Page = page_of(subject)

    def __str__(self) -> str:
        return plain(self.page)

    def __repr__(self) -> str:
        return f"<explanation of {self.page.title}>"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from in_colour(self.page, min(options.max_width, WIDTH))

    def _repr_html_(self) -> str:
        return fragment(self.page)

    def short(self) -> str:
        """The equation and the shapes alone, as plain text."""
        wanted = ("Equation", "Symbols and shapes")
        sections = tuple(s for s in self.page.sections if s.heading in wanted)
        return plain(Page(self.page.title, "", sections))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the explanation to a file, whole or not at all: `.html` as a page, `.txt` as plain text.

        Raises:
            OptionError: another ending.
            FileError: the file can not be written.
        """
        ending = Path(path).suffix.lower()
        if ending not in (".html", ".txt"):
            raise OptionError(lay_out(f"`{path}`: an explanation is saved as .html or .txt, not as `{ending}`"))
        text = document(self.page) if ending == ".html" else f"{self}\n"
        write_atomically(path, text.encode())


def explain(layer_or_cell: Any, **sizes_and_options: Any) -> Explanation:
    """Explain a layer, or a cell at the given sizes.

    Args:
        layer_or_cell: a Layer, which has its sizes; or a cell.
        sizes_and_options: for a cell: a size for every dimension, and its keyword-only options.

    Raises:
        OptionError: something else is given, or sizes for a layer, or a name that does not exist.
        DimensionError: a dimension without a size, or of an impossible size.
        CellError: the cell says something that has no meaning.

    >>> from ostinato import cells
    >>> print(explain(cells.recurrent, n_inputs=3, n_neurons=5).equations[0])
    y(t) = tanh(x(t) W_x + y(t-1) W_y + b)
    """
    if isinstance(layer_or_cell, Cell):
        return Explanation(_of_cell(layer_or_cell, sizes_and_options))
    if not hasattr(layer_or_cell, "compiled") or not hasattr(layer_or_cell, "graph"):
        headline = f"explain: it explains a layer or a cell, not {type(layer_or_cell).__name__}"
        raise OptionError(lay_out(headline))
    if sizes_and_options:
        given = ", ".join(f"`{name}`" for name in sizes_and_options)
        raise OptionError(lay_out(f"explain: a layer has its sizes and options already; given: {given}"))
    return Explanation(_of_layer(layer_or_cell))


def _of_cell(cell: Cell, given: dict[str, Any]) -> Subject:
    graph, meanings = cell.trace_with_meanings("f32", False, given)
    training, training_meanings = cell.trace_with_meanings("f32", True, given)
    compiled = compile_graph(graph)
    recording = compile_graph(training) if training.with_role("mask") else compiled
    named = named_by_author(graph) | named_by_author(training)
    return Subject(graph, meanings, named, compiled, training, training_meanings, recording)


def _of_layer(layer: Any) -> Subject:
    graph = layer.graph
    meanings: dict[bool, Any] = {False: {}, True: {}}  # a layer read from a file has no cell, and shows the parts
    if layer.cell is not None:
        given = {**layer.sizes, **layer.options}
        meanings = {t: layer.cell.trace_with_meanings(graph.dtype, t, given)[1] for t in (False, True)}
    compiled = layer.compiled()
    training = layer.compiled(training=True)
    written = training.stages["trace"]
    named = named_by_author(graph) | named_by_author(written)
    return Subject(graph, meanings[False], named, compiled, written, meanings[True], training)
