"""A program with the plan that suits each call (plan/candidates.py); each plan is compiled when a call first takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.graph import Program
from ..ir.interpret import Outcome
from ..ir.timeline import Timeline
from ..plan.candidates import Planned
from ..plan.machine import Machine, cache_folder, this_machine
from .bound_call import BoundCall
from .frame import Frame
from .program import NativeProgram
from .roofline import measured
from .stepper import Stepper

Array = np.ndarray[Any, np.dtype[Any]]


def _figures(n_bytes: float) -> Machine:
    """What this machine can do, measured where that can be kept: else every process would have to measure anew."""
    return this_machine() if cache_folder() is None else measured(n_bytes)


class AutomaticProgram:
    """A program that runs each call by the plan that the cost model finds cheapest for it. No plan changes a bit.

    Attributes:
        planned: its plans, and which one a call takes.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.masks = program, program.with_role("mask")
        self.planned = Planned(program, "automatic", _figures)
        self._ready: dict[str, NativeProgram] = {}

    def native(self, choice: str) -> NativeProgram:
        """The program with one plan."""
        if choice not in self._ready:
            self._ready[choice] = NativeProgram(self.planned.plan(choice))
        return self._ready[choice]

    def _for(self, timeline: Timeline) -> NativeProgram:
        return self.native(self.planned.choice(timeline.n_steps, timeline.n_rows))

    def frame(self, timeline: Timeline, placed: frozenset[str] = frozenset()) -> Frame | None:
        """For calls by addresses, with the plan that fits this number of steps and instances."""
        return Frame.of(self._for(timeline), timeline, placed)

    def run(
        self, timeline: Timeline, values: Mapping[str, Array], weights: Mapping[str, Array], reset: Array | None = None,
        placed: frozenset[str] = frozenset(),
    ) -> Outcome:  # fmt: skip
        """As `interpret.run_as_given`."""
        return self._for(timeline).run(timeline, values, weights, reset, placed)

    def rerun(
        self, timeline: Timeline, leading: tuple[int, ...], names: Sequence[str], weights: Mapping[str, Array],
        beginning: Mapping[str, Array],
    ) -> BoundCall | None:  # fmt: skip
        """For further calls like this one, if they are worth it."""
        return self._for(timeline).rerun(timeline, leading, names, weights, beginning)

    def stepper(self, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]) -> Stepper:
        """For streams."""
        return self._for(Timeline(1, n_instances)).stepper(snapshot, n_instances, values)
