"""Back-propagation through time over a recorded run: what flows back, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import prod
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from ..calls import answering
from ..errors import DataError, PicklingError, known_names, lay_out
from ..ir.analysis import apart
from ..ir.graph import Graph, Program
from ..ir.interpret import Outcome
from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from .arguments import Call, Sequences, numbers
from .backends import Executable

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Gradients:
    """What flowed back: of a single input its array, of several a dictionary; dictionaries by name for the others."""

    inputs: Any
    contexts: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)


Slices = tuple[slice, ...]


class Routes:
    """Where what goes into a backward program and comes out of it belongs: worked out once for a program of a layer.

    Attributes:
        states, adjoints: the name of each port of this role, and of the state or output that it is the adjoint of.
        others: the name of an input or context -> the place of its gradient among the gradients.
        varies: for each gradient, what it varies with.
        parts: the name of a weight -> the place of each of its gradients, and the part of the weight that it is of.
        split: the weights that have several parts, of which no two overlap.
        filled: those whose parts fill them and nowhere overlap.
    """

    _known: ClassVar[WeakKeyDictionary[Sequences, dict[int, Routes]]] = WeakKeyDictionary()

    @classmethod
    def of(cls, sequences: Sequences, program: Program) -> Routes:
        """Those of a program; a layer has two, of which one is with dropout."""
        known = cls._known.setdefault(sequences, {})
        if id(program) not in known:
            known[id(program)] = cls(sequences.graph, program)
        return known[id(program)]

    def __init__(self, graph: Graph, program: Program) -> None:
        self.program = program  # held, so that no other one takes its place
        self.states = [(p.name, p.of) for p in program.states]
        self.adjoints = [(p.name, p.of) for p in program.with_role("adjoint")]
        self.others: dict[str, int] = {}
        self.varies = [r.value.type.varies for r in program.results_with("gradient")]
        self.parts: dict[str, list[tuple[int, Slices]]] = {}
        ports = {p.name: p for p in graph.ports}
        for place, result in enumerate(program.results_with("gradient")):
            if ports[result.name].role in ("input", "context"):
                self.others[result.name] = place
            else:
                everything = tuple(slice(0, n) for n in ports[result.name].value.type.sizes)
                part = result.block.slices if result.block else everything
                self.parts.setdefault(result.name, []).append((place, part))
        boxes = {name: [part for _, part in parts] for name, parts in self.parts.items()}
        whole = {name for name, parts in boxes.items() if all(apart(a, b) for a, b in combinations(parts, 2))}
        self.split = {name for name in whole if len(boxes[name]) > 1}
        self.filled = {name for name in whole if sum(map(_size, boxes[name])) == prod(ports[name].value.type.sizes)}
        self._zeros: dict[str, Array] = {}

    def of_weight(self, name: str, weight: Array, gradients: list[Array]) -> Array:
        """The gradient of a whole weight; zeros where nothing depends on it."""
        parts = self.parts.get(name, [])
        # native code has put the parts into their places: then each of them is the whole
        if name in self.split and gradients[parts[0][0]].size == weight.size:
            return gradients[parts[0][0]].reshape(weight.shape)
        if name in self.filled:
            filled = np.empty(weight.shape, weight.dtype)
            for place, part in parts:
                filled[part] = gradients[place].reshape(filled[part].shape)
            return filled
        total = np.zeros_like(weight)
        for place, part in parts:
            total[part] += gradients[place].reshape(total[part].shape)
        return total

    def of_input(self, name: str, gradients: list[Array], timeline: Timeline) -> Array | None:
        """The gradient of an input (*leading, ...), zeros behind the end of an instance; None: it has none."""
        place = self.others.get(name)
        if place is None or self.varies[place] == Varies.STEP:
            return None if place is None else gradients[place]
        array = gradients[place]
        rows = timeline.sort(array)[timeline.instance_of_row] if self.varies[place] == Varies.INSTANCE else array
        return timeline.unpack(np.broadcast_to(rows, (timeline.n_rows, *array.shape[1:])))

    def no_adjoints(self, sequences: Sequences, n_instances: int) -> dict[str, Array]:
        """Adjoints of the final states that are zero; read-only."""
        zeros = self._zeros  # a local name: another thread may put another number of instances there
        if not zeros or len(next(iter(zeros.values()))) != n_instances:
            sizes = {p.name: p.value.type.sizes for p in sequences.graph.states}
            zeros = {name: np.zeros((n_instances, *sizes[of]), sequences.dtype) for name, of in self.states}
            for array in zeros.values():
                array.setflags(write=False)
            self._zeros = zeros
        return zeros


def _size(part: Slices) -> int:
    return prod(s.stop - s.start for s in part)


class Pullback:
    """Takes adjoints of the outputs back to the inputs, the initial state and the weights. May be called again and again."""

    name = "pullback"

    def __init__(
        self, sequences: Sequences, backward: Executable, weights: Mapping[str, Array], call: Call, outcome: Outcome
    ) -> None:  # fmt: skip
        self._sequences, self._backward, self._call = sequences, backward, call
        # of outputs and states nothing but what they looked like: who keeps a pullback keeps what it recorded
        shown = {name: np.broadcast_to(np.zeros((), y.dtype), y.shape) for name, y in outcome.outputs.items()}
        self._outcome = replace(outcome, outputs=shown, states={})
        self._routes = Routes.of(sequences, backward.program)
        self._weights = weights  # a snapshot: as they were in the forward pass
        self.state = sequences.given_states(outcome.states, call)

    def __getstate__(self) -> Any:
        """Not in a pickle: it runs machine code of this process.

        Raises:
            PicklingError: always.
        """
        headline = f"{self._sequences.graph.name}: a pullback can not be pickled or copied; its gradients can"
        raise PicklingError(lay_out(headline, hint="call it here, and send what it returns"))

    @property
    def recorded_bytes(self) -> int:
        """Bytes kept for the backward pass."""
        return sum(array.nbytes for array in self._outcome.records.values())

    @answering
    def __call__(self, dY: Any = None, *, state: Any = None) -> Gradients:  # noqa: N803 - the name in the formula
        """Back-propagation through time.

        Args:
            dY: the adjoint of the output, of its shape; a dictionary where there are several. None: zeros.
            state: the adjoints of the final states by name; what is not given is 0.

        Raises:
            DataError: shapes that do not fit the outputs or states.
        """
        call, routes = self._call, self._routes
        values = {**call.values, **self._outcome.records}
        adjoints = self._adjoints(dY)
        for name, of in routes.adjoints:
            values[name] = adjoints[of]
        if state is None:
            values |= routes.no_adjoints(self._sequences, call.timeline.n_instances)
        else:
            given = self._final_states(state)
            values |= {name: given[of] for name, of in routes.states}
        outcome = self._backward.run(call.timeline, values, self._weights, call.reset, self._outcome.placed)
        return self._gathered(outcome)

    def _final_states(self, given: Any) -> dict[str, Array]:
        """The adjoints of the final states, zeros where none is given."""
        call, sequences = self._call, self._sequences
        states = [p.name for p in sequences.graph.states]
        if isinstance(given, Mapping):
            shapes = {p.name: p.value.type.sizes for p in sequences.graph.states}
            leading = (call.timeline.n_instances,) if call.batched else ()
            given = {**{n: np.zeros((*leading, *shapes[n]), sequences.dtype) for n in states if n not in given}, **given}
        return sequences.state(given, call.timeline.n_instances, call.batched)

    def _adjoints(self, given: Any) -> dict[str, Array]:
        """The adjoints of the outputs, zeros where none is given."""
        call, sequences, outputs = self._call, self._sequences, self._outcome.outputs
        name_of_cell = sequences.graph.name
        if not isinstance(given, Mapping):
            given = {} if given is None else dict.fromkeys(list(outputs)[:1], given)
        for name in given:
            if name not in outputs:
                headline = f"{name_of_cell}: there is no output `{name}`; {known_names(name, outputs, 'outputs')}"
                raise DataError(lay_out(headline))
        result = {}
        for name, rows in outputs.items():
            if name not in given:
                result[name] = np.zeros(rows.shape, rows.dtype)
                continue
            array = numbers("dY" if len(outputs) == 1 else f"dY[{name!r}]", given[name], rows.dtype, name_of_cell)
            shape = sequences.as_given(rows, call.n_leading).shape
            if array.shape != shape:
                headline = f"{name_of_cell}: the adjoint of `{name}` has shape {array.shape}, and `{name}` has {shape}"
                raise DataError(lay_out(headline))
            result[name] = sequences.with_axes(array, call.n_leading)
        return result

    def _gathered(self, outcome: Outcome) -> Gradients:
        """Gradients by name; zeros for what nothing depends on."""
        call, sequences, timeline, routes = self._call, self._sequences, self._call.timeline, self._routes
        inputs, gradients = {}, outcome.gradients
        for port in sequences.inputs:
            shape = (*timeline.leading, *port.value.type.sizes)
            array = routes.of_input(port.name, gradients, timeline)
            inputs[port.name] = sequences.as_given(self._spread(array, shape), call.n_leading)
        contexts = {}
        for port in sequences.contexts:
            place, shape = routes.others.get(port.name), (timeline.n_instances, *port.value.type.sizes)
            contexts[port.name] = self._spread(None if place is None else gradients[place], shape)
        return Gradients(
            inputs=next(iter(inputs.values())) if len(inputs) == 1 else inputs,
            contexts=sequences.given_states(contexts, call),
            state=sequences.given_states({of: outcome.states[name] for name, of in routes.states}, call),
            weights={name: routes.of_weight(name, array, gradients) for name, array in self._weights.items()},
        )

    def _spread(self, array: Array | None, shape: tuple[int, ...]) -> Array:
        """An array of the given shape; zeros if there is none."""
        if array is None:
            return np.zeros(shape, self._sequences.dtype)
        return array if array.shape == shape else np.array(np.broadcast_to(array, shape))
