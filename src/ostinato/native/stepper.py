"""Native code one step at a time, for streams."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..lower.context import Field
from ..plan.views import BufferId
from .code import CompiledPlan
from .memory import Array, address, block, rounded


class Stepper:
    """A program taking one step at a time: inputs, outputs and states are arrays that stay where they are.

    There are two tables of addresses, for even and for odd steps: what one step writes as the new states is what the next one
    reads.

    Attributes:
        snapshot: the weights it runs with.
        inputs, outputs: name -> (n_instances, ...), to be written before and read after a step.
    """

    def __init__(
        self, compiled: CompiledPlan, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]
    ) -> None:  # fmt: skip
        """`values`: what does not change (contexts), and the states to begin with, (n_instances, ...)."""
        layout, functions = compiled.layout, compiled.functions
        program, fields = layout.plan.program, layout.fields
        self.snapshot, ready = snapshot, compiled.prepare(snapshot)
        self._timeline = Timeline(1, n_instances)
        self.inputs = {
            p.name: np.zeros((n_instances, *p.value.type.sizes), layout.dtype) for p in program.with_role("input")
        }  # fmt: skip
        self._states = [{p.name: np.array(values[p.name]) for p in program.states} for _ in range(2)]
        fixed = {p.name: np.array(values[p.name], order="C") for p in program.with_role("context")}
        sizes = layout.memory(self._timeline)
        memory, start = block(rounded(sizes.handed_out) + sizes.internal)
        arrays: dict[BufferId, Array] = {}
        here = start  # all in one piece: they are copied when they go out
        for n_bytes, results in sizes.results:
            arrays |= {r.buffer: np.ndarray(r.shape, r.dtype, memory, here + r.offset) for r in results}
            here += n_bytes
        given = self.inputs | fixed
        arrays |= {g.buffer: given[g.port] for g in layout.given if g.port in given}
        context = np.frombuffer(ready.context, np.int64).copy()
        context[Field.N_STEPS], context[Field.N_INSTANCES], context[Field.N_ROWS] = 1, n_instances, n_instances
        context[Field.THREADS] = context[Field.PARTS] = 1
        context[Field.COUNTS], context[Field.OFFSETS] = self._timeline.addresses
        context[Field.ARENA] = address(memory) + start + rounded(sizes.handed_out)
        for name, array in arrays.items():
            context[fields[name]] = address(array)
        contexts = [context, context.copy()]
        contexts[1][Field.FIRST_SWEEP] = 1
        for side, filled in enumerate(contexts):
            for slot in layout.plan.states:
                filled[fields[slot.begin]] = address(self._states[side][slot.name])
                filled[fields[slot.end]] = address(self._states[1 - side][slot.name])
        stepped = layout.new.keys() & layout.users  # these have an axis of steps
        self.outputs = {
            r.name: arrays[r.buffer][0] if r.space == Varies.STEP and r.buffer in stepped else arrays[r.buffer]
            for r in layout.results if r.role == "output"
        }  # fmt: skip
        self._alive = ready, memory, fixed, contexts
        self._addresses = [address(c) for c in contexts]
        self._side = 0
        self._functions = functions
        self._function = functions.run  # the first step computes what belongs to the instances

    def step(self) -> None:
        """From the inputs and the states to the outputs and the next states."""
        self._function(self._addresses[self._side])
        self._side = 1 - self._side
        self._function = self._functions.step

    @property
    def state(self) -> dict[str, Array]:
        """The states as they are now; not copies."""
        return self._states[self._side]
