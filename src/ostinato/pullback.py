"""Back-propagation through time over a recorded run: what flows back, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from math import prod
from typing import Any

import numpy as np

from .backends import Executable
from .errors import DataError, known_names, lay_out
from .graph import Graph, Program
from .interpret import Outcome
from .sequences import Call, Sequences, numbers

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Gradients:
    """What flowed back: of a single input its array, of several a dictionary; dictionaries by name for the others."""

    inputs: Any
    contexts: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)


Slices = tuple[slice, ...]


class Places:
    """Where what goes into a backward program and comes out of it belongs: worked out once for a layer.

    Attributes:
        states, adjoints: the name of each port of this role, and of the state or output that it is the adjoint of.
        others: the name of an input or context -> the place of its gradient among the gradients.
        whole: the same for weights that have one gradient.
        parts: for weights that have several: the place of each, and the part of the weight that it is of.
        filled: those whose parts fill them and nowhere overlap.
    """

    def __init__(self, graph: Graph, program: Program) -> None:
        self.states = [(p.name, p.of) for p in program.states]
        self.adjoints = [(p.name, p.of) for p in program.with_role("adjoint")]
        self.others: dict[str, int] = {}
        self.whole: dict[str, int] = {}
        self.parts: dict[str, list[tuple[int, Slices]]] = {}
        ports = {p.name: p for p in graph.ports}
        for place, result in enumerate(program.results_with("gradient")):
            if ports[result.name].role in ("input", "context"):
                self.others[result.name] = place
            else:
                everything = tuple(slice(0, n) for n in ports[result.name].value.type.sizes)
                part = result.block.slices if result.block else everything
                self.parts.setdefault(result.name, []).append((place, part))
        sizes = {name: prod(ports[name].value.type.sizes) for name in self.parts}
        self.filled = {name for name, parts in self.parts.items() if _fill([part for _, part in parts], sizes[name])}
        for name in self.filled:
            if len(self.parts[name]) == 1:
                self.whole[name] = self.parts[name][0][0]
        self._zeros: dict[str, Array] = {}

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


def _fill(parts: list[Slices], size: int) -> bool:
    """Whether boxes have so many elements, and none in common."""

    def apart(a: Slices, b: Slices) -> bool:
        return any(x.stop <= y.start or y.stop <= x.start for x, y in zip(a, b, strict=True))

    sizes = [prod(s.stop - s.start for s in part) for part in parts]
    return sum(sizes) == size and all(apart(a, b) for a, b in combinations(parts, 2))


class Pullback:
    """Takes adjoints of the outputs back to the inputs, the initial state and the weights. May be called again and again."""

    def __init__(
        self, sequences: Sequences, backward: Executable, weights: Mapping[str, Array], call: Call, outcome: Outcome,
        places: Places,
    ) -> None:  # fmt: skip
        self._sequences, self._backward, self._call, self._outcome = sequences, backward, call, outcome
        self._places = places
        self._weights = weights  # a snapshot: as they were in the forward pass
        self.state = sequences.given_states(outcome.states, call)

    @property
    def recorded_bytes(self) -> int:
        """Bytes kept for the backward pass."""
        return sum(array.nbytes for array in self._outcome.records.values())

    def __call__(self, dY: Any = None, *, state: Any = None) -> Gradients:  # noqa: N803 - the name in the formula
        """Back-propagation through time.

        Args:
            dY: the adjoint of the output, of its shape; a dictionary where there are several. None: zeros.
            state: the adjoints of the final states by name; what is not given is 0.

        Raises:
            DataError: shapes that do not fit the outputs or states.
        """
        call, places = self._call, self._places
        values = {**call.values, **self._outcome.records}
        adjoints = self._adjoints(dY)
        for name, of in places.adjoints:
            values[name] = adjoints[of]
        if state is None:
            values |= places.no_adjoints(self._sequences, call.timeline.n_instances)
        else:
            given = self._final_states(state)
            values |= {name: call.timeline.sort(given[of]) for name, of in places.states}
        outcome = self._backward.run(call.timeline, values, self._weights, call.reset)
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
        """The adjoints of the outputs as rows, zeros where none is given."""
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
                result[name] = np.zeros_like(rows)
                continue
            array = numbers("dY" if len(outputs) == 1 else f"dY[{name!r}]", given[name], rows.dtype, name_of_cell)
            shape = self._shape(rows.shape[1:])
            if array.shape != shape:
                headline = f"{name_of_cell}: the adjoint of `{name}` has shape {array.shape}, and `{name}` has {shape}"
                raise DataError(lay_out(headline))
            result[name] = call.timeline.pack(sequences.time_first(array, call.n_leading))
        return result

    def _shape(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Of a sequence, as the user gives it."""
        timeline, n_leading = self._call.timeline, self._call.n_leading
        steps = (timeline.n_steps, timeline.n_instances)
        return (*(reversed(steps) if self._sequences.batch_first and n_leading == 2 else steps[:n_leading]), *sizes)

    def _gathered(self, outcome: Outcome) -> Gradients:
        """Gradients by name; zeros for what nothing depends on."""
        call, sequences, timeline, places = self._call, self._sequences, self._call.timeline, self._places
        owned = self._backward.owned
        inputs = {}
        for port in sequences.inputs:
            array, shape = self._found(port.name, outcome), (timeline.n_rows, *port.value.type.sizes)
            as_it_is = port.name in owned and array.shape == shape
            array = array if as_it_is else np.broadcast_to(array, shape)
            inputs[port.name] = sequences.given_rows(array, call, owned=as_it_is)
        contexts = {}
        for port in sequences.contexts:
            shape = (timeline.n_instances, *port.value.type.sizes)
            contexts[port.name] = np.array(np.broadcast_to(self._found(port.name, outcome), shape), order="C")
        return Gradients(
            inputs=next(iter(inputs.values())) if len(inputs) == 1 else inputs,
            contexts=sequences.given_states(contexts, call),
            state=sequences.given_states({of: outcome.states[name] for name, of in places.states}, call),
            weights={name: self._of_weight(name, array, outcome.gradients, owned) for name, array in self._weights.items()},
        )

    def _found(self, name: str, outcome: Outcome) -> Array:
        """The gradient of an input or context."""
        place = self._places.others.get(name)
        return np.zeros((), self._sequences.dtype) if place is None else outcome.gradients[place]

    def _of_weight(self, name: str, weight: Array, gradients: list[Array], owned: frozenset[str]) -> Array:
        places = self._places
        place = places.whole.get(name)
        if place is not None:
            array = gradients[place].reshape(weight.shape)
            return array if name in owned else array.copy()
        if name in places.filled:
            filled = np.empty(weight.shape, weight.dtype)
            for place, part in places.parts[name]:
                target = filled[part]
                target[...] = gradients[place].reshape(target.shape)
            return filled
        total = np.zeros_like(weight)
        for place, part in places.parts.get(name, ()):
            total[part] += gradients[place].reshape(total[part].shape)
        return total
