"""The numbers of a given input on their way through a cell: every symbol of the equation at every step, for one instance.

They are computed by the definition (ir/interpret.py): the cell as it was written, no pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from ..errors import DataError, lay_out
from ..ir.dtypes import DTYPES
from ..ir.graph import Graph, Value
from ..ir.interpret import run_as_given
from ..ir.shapes import Varies
from ..language.cell import Cell
from ..passes.schedule import schedule
from ..passes.simplify import simplify
from ..plan.candidates import STEPS
from ..runtime.arguments import Call, Sequences
from ..runtime.beginning import Beginning
from ..runtime.weights import Weights
from .equations import Notation
from .markup import Marked

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN_STEPS = 24
SHOWN_ELEMENTS = 8
RANDOM_STEPS = 6


@dataclass(frozen=True)
class Row:
    """One symbol over all shown steps.

    Attributes:
        label: the symbol as the equation writes it, `h(t-1)`.
        value: the value of the graph.
        role: "input", "context", "state" (before the step) or "made".
        name: the symbol without time, `h`.
        numbers: (n_steps, n_elements): its first elements, row by row.
    """

    label: Marked
    value: Value
    role: str
    name: str
    numbers: Array

    @property
    def left_out(self) -> int:
        """How many elements are not shown."""
        return self.value.type.n_elements - int(self.numbers.shape[1])

    @property
    def scale(self) -> float:
        """The largest finite number, for colours."""
        finite = np.abs(self.numbers[np.isfinite(self.numbers)])
        return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


@dataclass(frozen=True)
class Flow:
    """What flows: rows for inputs, contexts, states before the step, and every line of the equation.

    Attributes:
        n_steps: how many steps are shown.
        source: where the numbers come from, a sentence.
    """

    rows: tuple[Row, ...]
    n_steps: int
    source: str

    def row(self, value_name: str) -> Row | None:
        """The row of a value of the graph."""
        return next((row for row in self.rows if row.value.name == value_name), None)


@dataclass(frozen=True)
class Given:
    """What a user gave to be shown, or nothing.

    Attributes:
        weights: by name; None to draw them as a layer with seed 0 does.
        inputs, named: as a layer is called; both empty for random numbers.
        state: as a layer is given one.
    """

    weights: Mapping[str, Array] | None = None
    inputs: tuple[Any, ...] = ()
    named: Mapping[str, Any] | None = None
    state: Any = None
    batch_first: bool = False
    reverse: bool = False

    @property
    def is_random(self) -> bool:
        return not self.inputs and not self.named

    def call(self, graph: Graph) -> tuple[int, int]:
        """The steps and instances of the call that is shown; STEPS and 1 where no input says another."""
        ports = graph.with_role("input")
        given = {**dict(zip((p.name for p in ports), self.inputs, strict=False)), **(self.named or {})}
        for port in ports:
            shape = np.shape(given[port.name]) if port.name in given else ()
            leading = shape[: len(shape) - len(port.value.type.dims)]
            if len(leading) in (1, 2) and all(leading):
                steps, instances = (*leading, 1)[:2]
                return (instances, steps) if self.batch_first and len(leading) == 2 else (steps, instances)
        return STEPS, 1


def flow_of(graph: Graph, notation: Notation, given: Given, cell: Cell | None) -> Flow:
    """Run the steps and keep what the equation names.

    Raises:
        DataError: inputs that do not fit the cell, or without a step.
    """
    sequences = Sequences(graph, batch_first=given.batch_first, reverse=given.reverse)
    inputs = _random_inputs(graph, given) if given.is_random else given.inputs
    call = sequences.call(inputs, given.named or {}, given.state, None, None)
    if not call.timeline.n_rows:
        names = ", ".join(f"`{p.name}`" for p in graph.with_role("input"))
        raise DataError(lay_out(f"{graph.name}: there is no step to show: {names} holds no step of any instance"))
    shown = _shown(graph, notation)
    program = schedule(graph, record={value.name: value for value, _, _ in shown}, hoist=False)
    weights = _drawn(graph, cell) if given.weights is None else given.weights
    outcome = run_as_given(program, call.timeline, call.values, weights)
    n_steps = min(call.timeline.n_steps, SHOWN_STEPS)
    rows = []
    for value, label, role in shown:
        numbers = _of_first_instance(outcome.records[value.name], value, call)[:n_steps]
        symbol = next((s for s in label.pieces if not isinstance(s, str)), None)
        rows.append(Row(label, value, role, getattr(symbol, "name", str(label)), numbers))
    return Flow(tuple(rows), n_steps, _source(given, call, n_steps))


def _shown(graph: Graph, notation: Notation) -> list[tuple[Value, Marked, str]]:
    roles = ("input", "context", "state")
    shown = [(p.value, notation.symbol(p.name), p.role) for p in graph.with_role(*roles)]
    made = {node.value.name: node.value for node in graph.nodes}
    names = [line.name for line in notation.equations() if line.name in made]
    return shown + [(made[name], notation.symbol(name), "made") for name in dict.fromkeys(names)]


def _of_first_instance(array: Array, value: Value, call: Call) -> Array:
    """(n_steps, n_elements) in the order in which the steps run."""
    timeline = call.timeline
    if value.type.varies == Varies.STEP:
        steps = array[timeline.offsets[:-1]]  # no lengths are given: the first row of a step is of the first instance
    else:
        steps = np.broadcast_to(array[:1], (timeline.n_steps, *array.shape[1:]))
    return np.asarray(steps.reshape(timeline.n_steps, -1)[:, :SHOWN_ELEMENTS], np.float64)


def _random_inputs(graph: Graph, given: Given) -> Sequence[Array]:
    """Small numbers with one decimal, the same for everybody."""
    generator = np.random.default_rng(crc32(b"explanation"))
    arrays = []
    for port in graph.with_role("input", "context"):
        steps = RANDOM_STEPS if graph.states else 1
        leading = (1,) if port.role == "context" else (1, steps) if given.batch_first else (steps, 1)
        arrays.append(np.round(generator.standard_normal((*leading, *port.value.type.sizes)), 1))
    return arrays


def _drawn(graph: Graph, cell: Cell | None) -> Weights:
    """Weights as a layer with seed 0 draws them."""
    ports = graph.with_role("weight", "bias")
    weights = Weights({p.name: p.value.type.sizes for p in ports}, DTYPES[graph.dtype], graph.name)
    beginning = Beginning(graph.name, 0)
    how = {name: cell.declarations[name].init if cell else None for name in weights}
    beginning.by(partial(simplify, graph), how, cell.placements(dict(graph.sizes)) if cell else {})
    weights.begin(beginning)
    return weights


def _source(given: Given, call: Call, n_steps: int) -> str:
    timeline = call.timeline
    if given.is_random:
        text = "The numbers: no input was given, so these are small random ones (seeded: the same on every page)"
    else:
        text = "The numbers: those of the given input"
        if timeline.n_instances > 1:
            text += f", the first of its {timeline.n_instances:,} instances"
    text += (
        ", with the weights of the layer." if given.weights is not None else ", with weights as a layer with seed 0 has them."
    )
    if n_steps < timeline.n_steps:
        text += f" The first {n_steps} of {timeline.n_steps:,} steps are shown."
    if timeline.reverse:
        text += " The layer runs in reverse: step 1 is the last of the sequence."
    return text
