"""`ostinato explain`: a cell of the library or of a file, at given sizes; a saved model; or a product."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import cells, loading
from ..compiler import Compiled, compile_graph
from ..errors import CellError, FileError, OptionError, OstinatoError, known_names, lay_out
from ..explain import explain, explain_product
from ..explain.document import WIDTH
from ..files import check_writable
from ..ir.graph import Graph
from ..language.cell import Cell
from ..language.functions import ACTIVATIONS
from ..layers.layer import Layer
from ..runtime.backends import assembled

FORWARD_STAGES = ("trace", "simplify", "schedule", "forward")
Stages = Sequence[Sequence[str]]  # groups of names of stages
BACKWARD_STAGES = ("differentiate", "schedule_backward", "recording", "backward")


def explain_command(
    cell_name: str, settings: Sequence[tuple[str, str]], *, stages: Stages = (), output: str = "", plain: bool = False
) -> int:  # fmt: skip
    """Print the explanation of a cell or a product, or the stages of a cell's compilation; or save the explanation to a file.

    Args:
        cell_name: a cell of the library, `path/file.py:name`, a saved model `path/file.safetensors`, or a product such as
            `A[m,n] @ B[n,p]`.
        settings: pairs of a dimension or option and its value, as text.
        stages: names of stages to print instead, see `asked_stages`.
        output: a file (.html or .txt) to write instead of printing; "" for none.
        plain: no colour, even in a terminal.
    """
    if cell_name.endswith(".safetensors"):
        _explain_model(cell_name, settings, stages, output=output, plain=plain)
        return 0
    if is_product(cell_name):
        if stages:
            alone = any(len(names) == 1 for names in stages)
            option = "--stop-after shows" if alone else "--program and --backward show"
            raise OptionError(lay_out(f"explain: {option} how a cell is compiled; a product has no stages"))
        _finish(explain_product(cell_name, **_sizes(settings)), output=output, plain=plain)
        return 0
    cell = find_cell(cell_name)
    given = read_settings(cell, settings)
    graph = traced(cell, given)
    if stages:
        _print_stages(compile_graph(graph, assemble=assembled), stages)
        return 0
    _finish(explain(cell, **given), output=output, plain=plain)
    return 0


def _told(stages: Mapping[str, str]) -> Iterator[str]:
    """Each stage under its name; one that changed nothing is not printed once more."""
    shown: dict[str, str] = {}
    for name, text in stages.items():
        same = f"the same as after {shown[text]}" if text in shown else text
        shown.setdefault(text, name)
        yield f"--- {name} ---\n{same}"


def asked_stages(*, program: bool, backward: bool, stop_after: str) -> Stages:
    """The stages of each direction that is asked for, and the one at which to stop."""
    asked = ((FORWARD_STAGES, program), (BACKWARD_STAGES, backward), ((stop_after,), stop_after))
    return [names for names, wanted in asked if wanted]


def _print_stages(compiled: Compiled, wanted: Stages) -> None:
    texts = [{name: str(compiled.stage(name)).rstrip() for name in names} for names in wanted]
    alone = len(texts) == len(texts[0]) == 1
    sys.stdout.write("\n\n".join(texts[0].values() if alone else [told for group in texts for told in _told(group)]) + "\n")


def _explain_model(
    path: str, settings: Sequence[tuple[str, str]], stages: Stages, *, output: str, plain: bool
) -> None:  # fmt: skip
    """A saved layer, or each layer of a saved network or estimator: what `layer.explain()` shows, or stages."""
    if settings:
        given = ", ".join(f"`{name}`" for name, _ in settings)
        raise OptionError(lay_out(f"`{path}`: a saved model has its sizes and options already; given: {given}"))
    if output and not stages:
        check_writable(output)
    model = loading.load(path)
    network = getattr(model, "network_", model)
    layers: Mapping[str, Layer] = {"": network} if isinstance(network, Layer) else dict(network.layers)
    if len(layers) > 1 or "" not in layers:
        sys.stdout.write(f"{network!r}".strip("<>") + "\n")
    for name, layer in layers.items():
        if name and not (output and not stages):
            sys.stdout.write(f"\nLayer {name}:\n\n")
        if stages:
            _print_stages(layer.compiled(), stages)
        else:
            target = Path(output)
            place = str(target.with_name(f"{target.stem}.{name}{target.suffix}")) if output and len(layers) > 1 else output
            _finish(layer.explain(), output=place, plain=plain)


def is_product(text: str) -> bool:
    """Whether an argument is an expression; the name of a cell has neither a product sign nor brackets."""
    return (
        not text.rpartition(":")[0].endswith(".py") and not text.endswith(".safetensors") and any(sign in text for sign in "@[")
    )


def _sizes(settings: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Sizes of a product; what is no number is refused where its name is known."""
    given: dict[str, Any] = {}
    for name, text in settings:
        if name in given:
            raise OptionError(lay_out(f"explain: `{name}` is given twice"))
        given[name] = _literal(text)
    return given


def _finish(explanation: Any, *, output: str, plain: bool) -> None:
    if output:
        explanation.save(output)
        sys.stdout.write(f"written to {output}\n")
    else:
        show(explanation, plain=plain)


def show(thing: Any, *, plain: bool) -> None:
    """Print in colour where rich is installed and the output is a terminal; as plain text elsewhere, as wide as it."""
    if not plain and sys.stdout.isatty():
        try:
            from rich.console import Console
        except ImportError:  # colour is an extra, and the text is the same
            pass
        else:
            Console().print(thing)
            return
    narrow = sys.stdout.isatty() and hasattr(thing, "text")
    width = min(WIDTH, max(40, shutil.get_terminal_size().columns)) if narrow else WIDTH
    sys.stdout.write(f"{thing.text(width) if narrow else thing}\n")


def find_cell(name: str) -> Cell:
    """A cell by its name in the library, or by `path/file.py:name`.

    Raises:
        OptionError: there is no such cell.
        FileError: the file can not be read or does not run.
    """
    path, separator, inner = name.rpartition(":")
    if separator and path.endswith(".py"):
        return _cell_of_file(path, inner)
    if name.endswith(".py"):
        raise OptionError(lay_out(f"`{name}`: write which cell of the file, as {name}:name"))
    library = library_cells()
    if name not in library:
        known = known_names(name.lower(), library, "cells of the library")
        raise OptionError(lay_out(f"there is no cell `{name}`; {known}"))
    return library[name]


def library_cells() -> dict[str, Cell]:
    """The cells of the library by name."""
    return {key: value for key in cells.__all__ if isinstance(value := getattr(cells, key), Cell)}


def _cell_of_file(path: str, name: str) -> Cell:
    spec = importlib.util.spec_from_file_location(f"_cells_of_{Path(path).stem}", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise FileError(lay_out(f"`{path}` can not be read: there is no such file"))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except OstinatoError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's own file raises
        raise FileError(lay_out(f"`{path}` does not run: {_in_words(error)}")) from error
    found = {key: value for key, value in vars(module).items() if isinstance(value, Cell)}
    if name not in found:
        known = known_names(name, found, "cells in it")
        raise OptionError(lay_out(f"`{path}` has no cell `{name}`; {known}"))
    return found[name]


def _in_words(error: BaseException) -> str:
    """An exception of the user's own code: its class, the first line of its text, and the last line that was run."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError) and error.lineno:
        place = f" ({Path(error.filename or '').name}:{error.lineno})"
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}{place}"


def traced(cell: Cell, given: Mapping[str, Any]) -> Graph:
    """The graph of a cell; what the author's own lines raise is told as an error of the cell."""
    try:
        return cell.trace(**given)
    except OstinatoError:
        raise
    except Exception as error:
        raise CellError(lay_out(f"{cell.name}: the cell does not run: {_in_words(error)}")) from error


def read_settings(cell: Cell, settings: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Sizes as whole numbers; options as what their default is: an activation by its name, a number, true or false, text."""
    given: dict[str, Any] = {}
    for name, text in settings:
        if name in given:
            raise OptionError(lay_out(f"{cell.name}: `{name}` is given twice"))
        default = cell.options.get(name)
        given[name] = _activation(cell, name, text) if callable(default) else _literal(text)
    return given


def _activation(cell: Cell, name: str, text: str) -> Any:
    if text not in ACTIVATIONS:
        known = known_names(text, ACTIVATIONS, "activations")
        raise OptionError(lay_out(f"{cell.name}: `{name}`: there is no activation `{text}`; {known}"))
    return ACTIVATIONS[text]


def _literal(text: str) -> Any:
    words: Mapping[str, Any] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
