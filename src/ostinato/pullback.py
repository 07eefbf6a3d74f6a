"""Back-propagation through time over a recorded run: what flows back, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .backends import Executable
from .errors import DataError, known_names, lay_out
from .interpret import Outcome
from .sequences import Call, Sequences, numbers
from .shapes import Varies

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Gradients:
    """What flowed back: of a single input its array, of several a dictionary; dictionaries by name for the others."""

    inputs: Any
    contexts: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)


class Pullback:
    """Takes adjoints of the outputs back to the inputs, the initial state and the weights. May be called again and again."""

    def __init__(
        self, sequences: Sequences, backward: Executable, weights: Mapping[str, Array], call: Call, outcome: Outcome
    ) -> None:  # fmt: skip
        self._sequences, self._backward, self._call, self._outcome = sequences, backward, call, outcome
        self._program = backward.program
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
        call, program = self._call, self._program
        values = {**call.values, **self._outcome.records}
        adjoints = self._adjoints(dY)
        given = self._final_states(state)
        for port in program.states:
            values[port.name] = given[port.of]
        for port in program.with_role("adjoint"):
            values[port.name] = adjoints[port.of]
        outcome = self._backward.run(call.timeline, values, self._weights, call.reset, self._outcome.placed)
        return self._gathered(outcome)

    def _final_states(self, given: Any) -> dict[str, Array]:
        """The adjoints of the final states, zeros where none is given."""
        call, sequences = self._call, self._sequences
        states = [p.name for p in sequences.graph.states]
        given = given if given is not None else {}
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
                result[name] = np.zeros_like(rows)
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
        call, sequences, timeline = self._call, self._sequences, self._call.timeline
        ports = {p.name: p for p in sequences.graph.ports}
        weights = {name: np.zeros_like(array) for name, array in self._weights.items()}
        found: dict[str, Array] = {}
        for result, array in zip(self._program.results_with("gradient"), outcome.gradients, strict=True):
            if ports[result.name].role == "input":
                found[result.name] = self._of_every_step(array, result.value.type.varies)
            elif ports[result.name].role == "context":
                found[result.name] = array
            else:
                part = result.block.slices if result.block else ...
                weights[result.name][part] += array.reshape(weights[result.name][part].shape)
        inputs = {}
        for port in sequences.inputs:
            array = self._spread(found.get(port.name), (*timeline.leading, *port.value.type.sizes))
            inputs[port.name] = sequences.as_given(array, call.n_leading)
        contexts = {
            p.name: self._spread(found.get(p.name), (timeline.n_instances, *p.value.type.sizes)) for p in sequences.contexts
        }
        return Gradients(
            inputs=next(iter(inputs.values())) if len(inputs) == 1 else inputs,
            contexts=sequences.given_states(contexts, call),
            state=sequences.given_states({p.of: outcome.states[p.name] for p in self._program.states}, call),
            weights=weights,
        )

    def _of_every_step(self, array: Array, varies: Varies) -> Array:
        """The gradient of an input, zeros behind the end of an instance, whatever it varies with."""
        timeline = self._call.timeline
        if varies == Varies.STEP:
            return array
        rows = timeline.sort(array)[timeline.instance_of_row] if varies == Varies.INSTANCE else array
        return timeline.unpack(np.broadcast_to(rows, (timeline.n_rows, *array.shape[1:])))

    def _spread(self, array: Array | None, shape: tuple[int, ...]) -> Array:
        """An array of the given shape; zeros if there is none."""
        if array is None:
            return np.zeros(shape, self._sequences.dtype)
        return array if array.shape == shape else np.array(np.broadcast_to(array, shape))
