"""The plan that the cost model finds cheapest for the call: see plan/cost_model.py, which says what it assumes of one.

No plan changes a bit of the result, so a call may choose; each of the two programs is compiled when it is first needed.
"""

from __future__ import annotations

from ..ir.graph import Program
from ..ir.timeline import Timeline
from ..plan.candidates import Planned
from ..plan.cost_model import largest
from ..plan.machine import cache_folder, this_machine
from ..plan.planner import plan_program
from .automatic import AutomaticProgram
from .roofline import measured


class CheapestProgram(AutomaticProgram):
    """A program with the plan that is cheapest by the model.

    Attributes:
        planned: its plans and their costs; None where there is nothing to choose.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.planned: Planned | None = None
        if self._differ:
            self._plans["fused"] = plan_program(program, "fused")
            # where nothing can be kept, every process would have to measure anew: typical figures do
            reached = max(map(largest, self._plans.values()))
            figures = this_machine() if cache_folder() is None else measured(reached)
            self.planned = Planned(program, "automatic", figures, self._plans)

    def choice(self, timeline: Timeline) -> str:
        """The plan of a call."""
        return self.planned.choice(timeline.n_steps, timeline.n_rows) if self.planned else "hoisted"
