"""The plan that fits the call: hoisted for a few instances, fused for many.

With few rows a step, the products are bound by loading weights: what can run for all steps at once loads them once instead
of at every step. With many rows a step, they are bound by multiplications; keeping sums for later costs more memory traffic
than it saves. No plan changes a bit of the result, so a call may choose; each of the two programs is compiled when it is first
needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.graph import Program
from ..ir.interpret import Outcome
from ..ir.timeline import Timeline
from ..plan.phases import Phase
from ..plan.planner import plan_program
from ..plan.stages import Product
from .bound_call import BoundCall
from .frame import Frame
from .program import NativeProgram
from .stepper import Stepper

Array = np.ndarray[Any, np.dtype[Any]]
MANY = 8  # rows of a step from which on products stay in the loop


class AutomaticProgram:
    """A program with the plan that fits the call."""

    def __init__(self, program: Program) -> None:
        self.program, self.masks = program, program.with_role("mask")
        self._ready: dict[str, NativeProgram] = {}
        hoisted = plan_program(program, "hoisted")
        before = hoisted.stages.get(Phase.BEFORE, ())
        self._differ = bool(program.states) and any(isinstance(stage, Product) for stage in before)
        self._plans = {"hoisted": hoisted}

    def choice(self, timeline: Timeline) -> str:
        """The plan of a call."""
        many = timeline.n_rows >= MANY * max(1, timeline.n_steps)
        return "fused" if many and self._differ else "hoisted"

    def native(self, choice: str) -> NativeProgram:
        """The program with one plan."""
        if choice not in self._ready:
            plan = self._plans.get(choice) or plan_program(self.program, choice)
            self._ready[choice] = NativeProgram(plan)
        return self._ready[choice]

    def frame(self, timeline: Timeline, placed: frozenset[str] = frozenset()) -> Frame | None:
        """For calls by addresses, with the plan that fits this number of steps and instances."""
        return Frame.of(self.native(self.choice(timeline)), timeline, placed)

    def run(
        self, timeline: Timeline, values: Mapping[str, Array], weights: Mapping[str, Array], reset: Array | None = None,
        placed: frozenset[str] = frozenset(),
    ) -> Outcome:  # fmt: skip
        """As `interpret.run_as_given`."""
        return self.native(self.choice(timeline)).run(timeline, values, weights, reset, placed)

    def rerun(
        self, timeline: Timeline, leading: tuple[int, ...], names: Sequence[str], weights: Mapping[str, Array],
        beginning: Mapping[str, Array],
    ) -> BoundCall | None:  # fmt: skip
        """For further calls like this one, if they are worth it."""
        return self.native(self.choice(timeline)).rerun(timeline, leading, names, weights, beginning)

    def stepper(self, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]) -> Stepper:
        """For streams."""
        return self.native(self.choice(Timeline(1, n_instances))).stepper(snapshot, n_instances, values)
