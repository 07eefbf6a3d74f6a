"""Native code one step at a time, for streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..lower.kernel import ARENA, COUNTS, FIRST_TURN, N_INSTANCES, N_ROWS, N_STEPS, OFFSETS, PARTS, THREADS
from .memory import Array, address, block, rounded

if TYPE_CHECKING:
    from .program import NativeProgram


class Stepper:
    """A program taking one step at a time, with everything in its place: inputs, outputs and states are arrays that stay.

    Attributes:
        snapshot: the weights it runs with.
        inputs, outputs: name -> (n_instances, ...), to be written before and read after a step.
    """

    def __init__(
        self, native: NativeProgram, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]
    ) -> None:  # fmt: skip
        """`values`: what does not change (contexts), and the states to begin with, (n_instances, ...)."""
        program, places = native.program, native._places  # noqa: SLF001 - a part of it, in a class of its own
        self.snapshot, self._native = snapshot, native
        ready = native.prepared(snapshot)
        self._timeline = Timeline(1, n_instances)
        self.inputs = {
            p.name: np.zeros((n_instances, *p.value.type.sizes), native._dtype)  # noqa: SLF001
            for p in program.with_role("input")
        }
        self._states = [{p.name: np.array(values[p.name]) for p in program.states} for _ in range(2)]
        fixed = {p.name: np.array(values[p.name], order="C") for p in program.with_role("context")}
        layout = native._layout(self._timeline)  # noqa: SLF001
        memory, start = block(rounded(layout.handed_out) + layout.internal)
        arrays: dict[str, Array] = {}
        here = start  # all in one piece: they are copied when they go out
        for n_bytes, results in layout.results:
            arrays |= {name: np.ndarray(shape, dtype, memory, here + at) for name, _, shape, dtype, at in results}
            here += n_bytes
        arrays |= {buffer: (self.inputs | fixed)[port] for port, _, buffer in native._given if port in self.inputs | fixed}  # noqa: SLF001
        context = np.frombuffer(ready.context, np.int64).copy()
        context[N_STEPS], context[N_INSTANCES], context[N_ROWS] = 1, n_instances, n_instances
        context[THREADS] = context[PARTS] = 1
        context[COUNTS], context[OFFSETS] = self._timeline.addresses
        context[ARENA] = address(memory) + start + rounded(layout.handed_out)
        for name, array in arrays.items():
            context[places[name]] = address(array)
        contexts = [context, context.copy()]
        contexts[1][FIRST_TURN] = 1
        for side, filled in enumerate(contexts):
            for slot in native.plan.states:
                filled[places[slot.begin]] = address(self._states[side][slot.name])
                filled[places[slot.end]] = address(self._states[1 - side][slot.name])
        outputs = [r for r in native._results if r.role == "output"]  # noqa: SLF001
        stepped = native._outs.keys() & native._users  # noqa: SLF001 - these have an axis of steps
        self.outputs = {
            r.name: arrays[r.buffer][0] if r.space == Varies.STEP and r.buffer in stepped else arrays[r.buffer] for r in outputs
        }
        self._alive = ready, memory, fixed, contexts
        self._addresses = [address(c) for c in contexts]
        self._side = 0
        self._function = native._run  # noqa: SLF001 - the first step computes what belongs to the instances

    def step(self) -> None:
        """From the inputs and the states to the outputs and the next states."""
        self._function(self._addresses[self._side])
        self._side = 1 - self._side
        self._function = self._native._step  # noqa: SLF001

    @property
    def state(self) -> dict[str, Array]:
        """The states as they are now; not copies."""
        return self._states[self._side]
