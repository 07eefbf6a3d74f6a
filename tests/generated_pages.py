"""The parts of pages that are read off the package: the library of cells, and the options of the command line.

They stand in a page between `<!-- generated: name -->` and `<!-- end -->`; `python -m tests.documentation` writes them anew.
"""

import argparse
import importlib
import inspect
import json
import re
import textwrap
from pathlib import Path
from unittest import mock

import numpy as np

from ostinato import Cell, Layer, RecurrentClassifier, RecurrentRegressor, cells, cli, explain
from ostinato.initialise import Constant, Orthogonal
from ostinato.language.declarations import Declaration
from tests.doors.sklearn.test_estimator_checks import FAILING

ROOT = Path(__file__).parent.parent
# module -> what its cells have in common
FAMILIES = {
    "basic": "Neurons and layers",
    "lstm": "Long short-term memory",
    "lstm_variants": "Variants of long short-term memory",
    "gru": "Gated recurrent units",
    "gru_variants": "Variants of gated recurrent units",
    "parallel": "Without a product in the loop",
    "independent": "Independent neurons",
    "attention": "Attention",
    "convolution": "Convolutions",
    "irnn": "A way to begin",
    "zoneout": "A function for any cell",
}
# with which sizes an equation is asked for, which does not show them
SIZES = {"n_inputs": 3, "n_neurons": 5, "n_outputs": 2, "length": 6, "height": 6, "width": 6, "size": 3}


def escaped(text: str) -> str:
    """Text whose stars, bars and brackets are no marks of Markdown; what is code stays as it is."""
    parts = text.split("`")
    return "`".join(part if i % 2 else re.sub(r"([*|<])", r"\\\1", part) for i, part in enumerate(parts))


def prose(text: str) -> str:
    """Text as paragraphs; an indented `name: text` becomes an entry of a list."""
    lines = []
    for line in text.splitlines():
        entry = re.match(r" {4}(\w[\w, ]*): (.*)", line)
        if entry:
            lines += ["", f"* `{entry[1]}`: {escaped(entry[2])}"]
        else:
            lines.append(escaped(line.strip()) if not line.startswith("    ") else f"  {escaped(line.strip())}")
    return "\n".join(lines).replace("see zoneout.py", "see [zoneout](#zoneout)")


def quoted(docstring: str) -> str:
    """The docstring of a module, whose indented lines are formulas and code."""
    text = inspect.cleandoc(docstring)
    blocks = []
    for block in text.split("\n\n"):
        is_code = all(line.startswith("    ") for line in block.splitlines())
        blocks.append(f"```\n{textwrap.dedent(block)}\n```" if is_code else prose(block))
    return "\n\n".join(blocks)


def in_families() -> dict[str, list[str]]:
    """Module -> the names of `ostinato.cells` that come from it, in the order of its text."""
    found: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for name in cells.__all__:
        thing = getattr(cells, name)
        module = "irnn" if name == "IRNN" else inspect.unwrap(getattr(thing, "function", thing)).__module__.split(".")[-1]
        found[module].append(name)
    for module, names in found.items():
        text = inspect.getsource(importlib.import_module(f"ostinato.cells.{module}"))
        names.sort(key=lambda name: text.find(f"def {name}("))
    return found


MARK = 9.0  # stands in the place of every number that is drawn of an orthogonal matrix


def marked_weights(one: Cell, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The weights as they begin, with the mark wherever a number of an orthogonal matrix would be."""
    with mock.patch.object(Orthogonal, "draw", lambda _self, shape, _generator: np.full(shape, MARK)):
        return dict(Layer(one, **sizes).weights)


def begins_as(declared: Declaration, weight: np.ndarray | None) -> str:
    """How a parameter begins, if nobody says otherwise."""
    if declared.role in ("input", "context"):
        return ""
    if declared.role == "state":
        return f"{declared.initial:g}"
    if declared.init is not None:
        return f"{declared.init.value:g}" if isinstance(declared.init, Constant) else str(declared.init)
    orthogonal = weight == MARK
    if orthogonal.any():
        return "orthogonal" if orthogonal.all() else "Glorot; orthogonal in the part that meets a state"
    return "Glorot"


def declarations_table(one: Cell, weights: dict[str, np.ndarray]) -> str:
    """What the cell declares: equal declarations in one row."""
    rows: list[tuple[list[str], tuple[str, str, str]]] = []
    for name, declared in one.declarations.items():
        dims = f"({', '.join(f'{d}' for d in declared.dims)})" if declared.dims else "a number"
        begins = begins_as(declared, weights.get(name))
        key = (declared.role, dims, begins)
        if rows and rows[-1][1] == key:
            rows[-1][0].append(name)
            continue
        same = next((row for row in rows if row[1] == key and key[0] in ("weight", "bias")), None)
        if same is not None:
            same[0].append(name)
        else:
            rows.append(([name], key))
    lines = ["| symbol | what it is | dimensions | begins as |", "| --- | --- | --- | --- |"]
    for names, (role, dims, begins) in rows:
        lines.append(f"| {', '.join(f'`{n}`' for n in names)} | {role} | {escaped(dims)} | {escaped(begins)} |")
    return "\n".join(lines)


def option_shown(value: object) -> str:
    """An option's default, as it is typed."""
    return getattr(value, "__name__", None) or (f'"{value}"' if isinstance(value, str) else str(value))


def cell_section(name: str, one: Cell) -> str:
    """One cell: how it is made, what it is, its equation, its declarations, its options."""
    sizes = {dim: SIZES.get(dim, 4) for dim in one.dimensions}
    equation = "\n".join(str(line) for line in explain(one, **sizes).equations)
    for i, name_of_one in enumerate(dict.fromkeys(re.findall(r"\bt\d+\b", equation)), start=1):  # what has no name of its own
        equation = re.sub(rf"\b{name_of_one}\b", f"sum_{i}", equation)
    arguments = ", ".join([f"cells.{name}", *(f"{dim}=..." for dim in one.dimensions)])
    options = ", ".join(f"`{key}={option_shown(value)}`" for key, value in one.options.items())
    parts = [
        f"### {name}",
        prose(inspect.cleandoc(one.__doc__ or "")),
        f"```\n{equation}\n```",
        declarations_table(one, marked_weights(one, sizes)),
        f"`Layer({arguments})`" + (f"; options {options}" if options else ""),
    ]
    return "\n\n".join(parts)


def library() -> str:
    """All of `ostinato.cells`, family by family."""
    families = in_families()
    lines = ["| cell | in one line |", "| --- | --- |"]
    for names in families.values():
        for name in names:
            thing = getattr(cells, name)
            if isinstance(thing, Cell):
                first = " ".join(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].split())
                lines.append(f"| [{name}](#{name}) | {escaped(first)} |")
    parts = ["\n".join(lines)]
    for module, names in families.items():
        parts.append(f"## {FAMILIES[module]}")
        document = importlib.import_module(f"ostinato.cells.{module}").__doc__ or ""
        for name in names:
            thing = getattr(cells, name)
            if not isinstance(thing, Cell):
                parts.append(f"### {name}")
        parts.append(quoted(document))
        parts += [cell_section(name, getattr(cells, name)) for name in names if isinstance(getattr(cells, name), Cell)]
    return "\n\n".join(parts)


def commands() -> str:
    """Every command with its arguments and options, as `--help` explains them."""
    parser = cli.parser()
    (choices,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    parts = []
    for name, command in choices.items():
        rows = ["| argument | what it is |", "| --- | --- |"]
        for action in command._actions:
            if action.dest in ("help", "traceback"):  # of every command; the page says it once
                continue
            written = ", ".join(action.option_strings)
            value = "" if action.nargs == 0 else action.metavar or "{" + ",".join(action.choices or ()) + "}"
            value = f"{value} ..." if action.nargs in ("*", "+") else value
            needed = "; must be given" if action.required and action.option_strings else ""
            rows.append(f"| `{f'{written} {value}'.strip()}` | {escaped(action.help or '')}{needed} |")
        text = textwrap.dedent(command.description or "").rstrip()
        parts.append(f"### ostinato {name}\n\n```\n{text}\n```\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def settings_of(estimator: type) -> dict[str, str]:
    """The settings that the docstring of an estimator explains: the names as it has them -> what it says."""
    found: dict[str, str] = {}
    for line in inspect.cleandoc(estimator.__doc__ or "").splitlines():
        entry = re.match(r" {4}([a-z_][\w, ]*): (.*)", line)
        if entry:
            found[entry[1]] = entry[2]
        elif line.startswith(" " * 8) and found:
            found[list(found)[-1]] += f" {line.strip()}"
    return found


def parameters() -> str:
    """Every parameter of the estimators with its default."""
    rows = ["| parameter | default | what it is |", "| --- | --- | --- |"]
    shown: set[str] = set()
    for estimator, only in ((RecurrentClassifier, ""), (RecurrentRegressor, "of the regressor alone: ")):
        signature = inspect.signature(estimator)
        for names, text in settings_of(estimator).items():
            every = [name.strip() for name in names.split(",")]
            defaults = ", ".join(f"`{json.dumps(signature.parameters[name].default)}`" for name in every)
            defaults = defaults.replace("null", "None").replace("true", "True").replace("false", "False")
            alone = "of the classifier alone: " if every[0] not in inspect.signature(RecurrentRegressor).parameters else only
            rows.append(f"| {', '.join(f'`{name}`' for name in every)} | {defaults} | {alone}{escaped(text)} |")
            shown.update(every)
        assert set(signature.parameters) <= shown, f"not explained: {set(signature.parameters) - shown}"
    return "\n".join(rows)


def failing_checks() -> str:
    """scikit-learn's checks that do not pass, and why."""
    return "\n".join(
        f"* `{check}`: {escaped(reason.removesuffix(', as the test below says'))}." for check, reason in FAILING.items()
    )


def rooms() -> str:
    """The rooms of the package, from top to bottom, as CONTRIBUTING.md lists them."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## The house in one minute")[2].partition("\nTests of")[0]
    entries = [re.split(r" {3,}", line.strip()) for line in text.splitlines() if line.startswith("    ")]
    rows = [f"| {' '.join(f'`{name}`' for name in names.split())} | {escaped(meaning)} |" for names, meaning in entries]
    return "\n".join(["| room | |", "| --- | --- |", *rows])


SECTIONS = {"cells": library, "commands": commands, "failing_checks": failing_checks, "parameters": parameters,
            "rooms": rooms}  # fmt: skip
