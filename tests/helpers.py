"""Shared by tests: cases of messages kept in golden files, and comparison of results."""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ostinato
from ostinato.compiler import NATIVE, Compiled
from ostinato.ir.graph import Graph, Program, Value

GOLDEN = Path(__file__).parent / "golden"


class Messages:
    """Wrong things a user may do, and what they are told, word for word, in a golden file.

    case = Messages("errors_cell.txt")

    @case(ShapeError)
    def wrong_sizes(): ...

    @pytest.mark.parametrize("name", case.names)
    def test_message(name, request): case.check(name, request)
    """

    def __init__(self, file: str) -> None:
        self.path = GOLDEN / file
        self.cases: dict[str, tuple[type[Exception], Callable[..., Any]]] = {}

    def __call__(self, error: type[Exception]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            assert function.__name__ not in self.cases, f"two cases are called {function.__name__}"
            self.cases[function.__name__] = (error, function)
            return function

        return keep

    @property
    def names(self) -> list[str]:
        return list(self.cases)

    def known(self) -> dict[str, str]:
        """Case name -> text."""
        if not self.path.exists():
            return {}
        parts = re.split(r"^=== (\w+)\n", self.path.read_text(), flags=re.MULTILINE)[1:]
        return {name: text.strip("\n") for name, text in zip(parts[::2], parts[1::2], strict=True)}

    def check(self, name: str, request: pytest.FixtureRequest, *arguments: Any) -> None:
        error, function = self.cases[name]
        with pytest.raises(ostinato.OstinatoError) as caught:
            function(*arguments)
        text = f"{type(caught.value).__name__}: {without_lines(str(caught.value))}"
        known = self.known()
        if request.config.getoption("update_golden"):
            known[name] = text
            self.path.write_text("\n".join(f"=== {n}\n{known[n]}\n" for n in self.names if n in known))
        assert type(caught.value) is error, text
        assert name in known, f"{self.path.name} has no `{name}`: run pytest --update-golden, and read what it wrote"
        if name in MARKED_CLOSER and sys.version_info >= (3, 12):
            text, known[name] = without_marks(text), without_marks(known[name])
        assert text == known[name]

    def check_complete(self) -> None:
        """The golden file holds the cases of the test file, and nothing else."""
        assert sorted(self.known()) == sorted(self.names)


# Python 3.12 and 3.13 know the columns of these more exactly than 3.11, whose marks the golden files hold
MARKED_CLOSER = {"formatted", "entered", "symbol_in_a_for"}


def without_marks(text: str) -> str:
    """A message without the row of `^` below the user's line."""
    return re.sub(r"^ *\^+\n", "", text, flags=re.MULTILINE)


def without_lines(text: str) -> str:
    """A message without line numbers, which change whenever a test file does."""
    return re.sub(r"\b(\w+\.py):\d+", r"\1:LINE", text)


def assert_equal(found: Any, expected: Any) -> None:
    """The same shape, dtype and numbers to the last bit."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def assert_close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """The same shape, and numbers within the tolerance."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def canonical(program: Program) -> str:
    """A program with its values named as they are first read, walking back from the results: equal for two spellings of a cell.

    Independent nodes may stand in any order. Which part of which weight a product takes is a matter of spelling, so a part of
    a weight counts as a weight of its own. Names of dimensions are replaced by their sizes. Gradients are compared elsewhere:
    they are named by the weights of the spelling.
    """
    made = {node.value.name: (section, node) for section, nodes in program.sections.items() for node in nodes}
    ports = {port.name: port for port in program.ports}
    names: dict[str, str] = {}
    lines = [f"{program.direction} {program.dtype}"]

    def plain(item: Any) -> Any:
        return tuple(map(plain, item)) if isinstance(item, tuple) else getattr(item, "size", item)

    def walk(value: Value) -> str:
        if value.name in names:
            return names[value.name]
        section, node = made.get(value.name, ("", None))
        operands = " ".join(map(walk, node.args)) if node else ports[value.name].role
        attributes = " ".join(f"{key}={plain(item)}" for key, item in node.attributes) if node else ""
        names[value.name] = f"v{len(names)}"
        shape = f"{value.type.dtype}{list(value.type.sizes)} {value.type.varies.name}"
        lines.append(f"{section} {names[value.name]} {shape} = {node.op if node else 'port'} {operands} {attributes}".strip())
        return names[value.name]

    for result in program.results:
        if result.role in ("state", "output"):
            lines.append(f"{result.role} {walk(result.value)}")
    return "\n".join(lines)


def random(shape: Sequence[int], seed: int = 0, dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(dtype)


def peak(call: Callable[[], Any]) -> int:
    """Bytes that NumPy asked for at most during a call, beside those that it had before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def of_graphs(compiled: Compiled) -> dict[str, Graph | Program]:
    """The stages of a compilation that are graphs and programs: nothing is planned, and no code made, for the others."""
    return {name: compiled.stages[name] for name in compiled.stages if name.partition("_")[0] not in NATIVE}
