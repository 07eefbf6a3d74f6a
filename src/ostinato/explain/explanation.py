"""`Explanation`, and `explain`, which makes one of a layer or a cell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..checks import is_whole
from ..compiler import Compiled, compile_graph
from ..errors import OptionError, known_names, lay_out
from ..files import write_atomically
from ..language.cell import Cell
from ..plan.candidates import Planned
from ..runtime.backends import chosen, planned
from .alternatives import Plan, measured_times
from .cost import Counts
from .document import WIDTH, Page, in_colour, plain
from .equations import Equation, named_by_author
from .flow import Given
from .page.html import fragment
from .page.page import document, network, run_pictures, written_pictures
from .page.page_style import fragment_style
from .pictures.canvas import Canvas
from .sections import page_of
from .subject import Subject
from .what_runs import WhatRuns

PICTURES = ("unrolled", "folded", "product", "product that runs")
ENDINGS = (".html", ".txt", ".svg")


class Explanation:
    """An explanation of one cell at given sizes.

    `str()` gives plain text, rich shows it in colour, a notebook with pictures; `save` writes a page, a text or a picture.

    Attributes:
        equations: the lines of the equation, each with `left`, `right` and `name`.
        n_parameters: how many numbers are learned.
        what_runs: what this backend does in the call that is shown: products, arithmetic, bytes. The numbers below are its.
        step: the arithmetic of one step of one instance.
        products_written: how many products the cell's text has.
        products_before, products_in_loop, products_after: how many the forward program runs: once per sequence before the
            loop, at every step, once per sequence after it.
        kept_bytes: what the forward pass keeps for the backward pass, in bytes per step and instance.
        plans: the ways to run the products, counted alike; empty for a cell without a state.
        page: title, sections and blocks, as data.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.equations: list[Equation] = subject.notation.equations()
        self.n_parameters = subject.n_parameters
        self.what_runs: WhatRuns = subject.runs
        self.step: Counts = subject.runs.step
        self.products_written = subject.n_products_written
        products = subject.runs.products
        self.products_before, self.products_in_loop = products["before"], products["loop"]
        self.products_after = products["after"]
        self.kept_bytes = subject.kept_bytes
        self.plans: list[Plan] = subject.plans
        self.page: Page = page_of(subject)

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = WIDTH) -> str:
        """Plain text for a terminal so many characters wide: pictures shrink, tables and sentences are wrapped."""
        return plain(self.page, width)

    def __repr__(self) -> str:
        return f"<explanation of {self.page.title}>"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from in_colour(self.page, min(options.max_width, WIDTH))

    def _repr_html_(self) -> str:
        """For a notebook: everything the text says, with the picture of the network; no script, and nothing is loaded."""
        drawn = [self._canvas("unrolled", 0).svg()] if self._subject.graph.states else []
        return f"<style>{fragment_style()}</style>{fragment(self.page, self._subject.colours, drawn)}"

    def short(self) -> str:
        """The equation and the shapes alone, as plain text."""
        wanted = ("Equation", "Symbols and shapes")
        sections = tuple(s for s in self.page.sections if s.heading in wanted)
        return plain(Page(self.page.title, "", sections))

    def svg(self, picture: str = "unrolled", number: int = 0) -> str:
        """One picture, as SVG that stands by itself, light or dark as the reader's screen is.

        Args:
            picture: "unrolled", the network through time (folded where the cell has no state); "folded"; "product", a product
                of the cell's text, to scale; "product that runs", one of those that fusing left.
            number: which of the products, from 0.

        Raises:
            OptionError: there is no such picture.
        """
        return self._canvas(picture, number).svg(standalone=True)

    def _canvas(self, picture: str, number: int) -> Canvas:
        if picture not in PICTURES:
            raise OptionError(
                lay_out(f"svg: there is no picture `{picture}`; {known_names(str(picture), PICTURES, 'pictures')}")
            )
        if picture in ("unrolled", "folded"):
            folded, unrolled = network(self._subject)
            return folded if picture == "folded" or unrolled is None else unrolled
        pictures = (written_pictures if picture == "product" else run_pictures)(self._subject)
        if not is_whole(number, 0) or number >= len(pictures):
            count = len(pictures)
            known = f"they are numbered from 0 to {count - 1}" if count else "the cell has no product"
            raise OptionError(lay_out(f"svg: there is no picture {number!r} of a {picture}; {known}"))
        return pictures[number][1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the explanation to a file, whole or not at all: `.html` a page, `.txt` plain text, `.svg` the unrolled network.

        Raises:
            OptionError: another ending.
            FileError: the file can not be written.
        """
        match _ending(path):
            case ".html":
                text = document(self.page, self._subject)
            case ".svg":
                text = self.svg()
            case _:
                text = str(self)
        write_atomically(path, f"{text.rstrip()}\n".encode())


def _ending(path: str | os.PathLike[str]) -> str:
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise OptionError(lay_out(f"`{path}`: an explanation is saved as .html, .txt or .svg, not as `{ending}`"))
    return ending


def explain(layer_or_cell: Any, *inputs: Any, measured: Mapping[str, float] | None = None, **more: Any) -> Explanation:
    """Explain a layer, or a cell at the given sizes.

    Args:
        layer_or_cell: a Layer, which has its sizes; or a cell.
        inputs: for a layer: arrays as the layer is called with, (n_steps, n_instances, ...) each. The page shows the numbers
            of the first instance on their way through the network; without them small random ones, and says so.
        measured: plan -> seconds; shown as bars beside what was counted.
        more: for a cell: a size for every dimension, and its keyword-only options. For a layer: inputs and contexts by name,
            and `state`, as the layer is called with.

    Raises:
        OptionError: something else is given, or sizes for a layer, or a name that does not exist.
        DataError: inputs that do not fit the layer, or hold no step.
        DimensionError: a dimension without a size, or of an impossible size.
        CellError: the cell says something that has no meaning.

    >>> from ostinato import cells
    >>> print(explain(cells.recurrent, n_inputs=3, n_neurons=5).equations[0])
    y(t) = tanh(x(t) W_x + y(t-1) W_y + b)
    """
    times = measured_times(measured)
    if isinstance(layer_or_cell, Cell):
        if inputs:
            headline = "explain: a cell has no weights to run inputs with; give a layer: explain(Layer(cell, ...), X)"
            raise OptionError(lay_out(headline))
        return Explanation(_of_cell(layer_or_cell, more, times))
    if not hasattr(layer_or_cell, "compiled") or not hasattr(layer_or_cell, "graph"):
        headline = f"explain: it explains a layer or a cell, not {type(layer_or_cell).__name__}"
        raise OptionError(lay_out(headline))
    taken = {p.name for p in layer_or_cell.graph.with_role("input", "context")} | {"state"}
    unknown = ", ".join(f"`{name}`" for name in more if name not in taken)
    if unknown:
        raise OptionError(lay_out(f"explain: a layer has its sizes and options already; given: {unknown}"))
    explanation = Explanation(_of_layer(layer_or_cell, inputs, more, times))
    if inputs or more:
        _ = explanation._subject.flow  # noqa: SLF001 - what does not fit is told now, not when the page is written
    return explanation


def _of_cell(cell: Cell, given: dict[str, Any], measured: Mapping[str, float]) -> Subject:
    graph, training = (cell.trace(training=flag, **given) for flag in (False, True))
    compiled = compile_graph(graph)
    recording = compile_graph(training) if training.with_role("mask") else compiled
    named = named_by_author(graph) | named_by_author(training)
    plans = _planned(compiled, recording, chosen(None, graph.name), "automatic")
    return Subject(graph, named, compiled, training, recording, cell, Given(), measured,
                   cell.placements(dict(graph.sizes)), plans)  # fmt: skip


def _planned(compiled: Compiled, training: Compiled, backend: str, plan: str) -> dict[str, Planned]:
    """The plans of native code, made without llvmlite; none where something else runs the programs."""
    if backend != "native":
        return {}
    return {"forward": planned(compiled, "forward", plan), "backward": planned(training, "backward", plan)}


def _of_layer(layer: Any, inputs: tuple[Any, ...], more: Mapping[str, Any], measured: Mapping[str, float]) -> Subject:
    graph = layer.graph
    compiled = layer.compiled()
    training = layer.compiled(training=True)
    written = training.stages["trace"]
    named = named_by_author(graph) | named_by_author(written)
    arrays = {name: value for name, value in more.items() if name != "state"}
    shown = Given(layer.weights, inputs, arrays, more.get("state"), layer.batch_first, layer.reverse)
    return Subject(graph, named, compiled, written, training, layer.cell, shown, measured,
                   layer.structures, _planned(compiled, training, layer.backend, layer.plan))  # fmt: skip
