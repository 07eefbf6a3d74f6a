"""A program with every plan that it could run by, what each costs, and which one runs. Nothing here needs llvmlite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from ..ir.graph import Program
from .cost_model import MANY, STEPS, Advice, CostModel, PlanCost, advice, better, differ, models_of
from .machine import Machine
from .phases import CHOICES
from .plan import Plan
from .planner import plan_program


class Planned:
    """The plans of one program; each is made when it is first asked for.

    Args:
        program: as it comes from `schedule`.
        asked: what the user chose: one of CHOICES, or "automatic".
        machine: whose figures the model takes.
        plans: those that are made already.
    """

    def __init__(
        self, program: Program, asked: str, machine: Machine, plans: Mapping[str, Plan] | None = None
    ) -> None:  # fmt: skip
        self.program, self.asked, self.machine = program, asked, machine
        self._plans = dict(plans or {})
        self._chosen: dict[tuple[int, int], str] = {}

    def plan(self, choice: str) -> Plan:
        """The plan of a choice."""
        if choice not in self._plans:
            self._plans[choice] = plan_program(self.program, choice)
        return self._plans[choice]

    @cached_property
    def models(self) -> dict[str, CostModel]:
        """The cost model of every choice."""
        return models_of({choice: self.plan(choice) for choice in CHOICES}, self.machine)

    @cached_property
    def _rivals(self) -> dict[str, CostModel]:
        return models_of({choice: self.plan(choice) for choice in ("fused", "hoisted")}, self.machine)

    @cached_property
    def advice(self) -> Advice:
        """What "automatic" goes by, for calls of every size."""
        return advice(self._rivals)

    def choice(self, n_steps: int, n_rows: int) -> str:
        """What `advice.choice` says of one call; nothing is worked out but what it takes."""
        size = (STEPS, min(MANY, max(1, -(-n_rows // n_steps)))) if n_steps > 1 else (1, 1)
        if size not in self._chosen:
            fused, hoisted = self.plan("fused"), self.plan("hoisted")
            alike = not hoisted.states or not differ(fused, hoisted)
            self._chosen[size] = "hoisted" if alike else better(self._rivals, *size)
        return self._chosen[size]

    def costs(self, n_steps: int = STEPS, n_instances: int = 1) -> dict[str, PlanCost]:
        """Choice -> its cost for a call."""
        return {choice: model.cost(n_steps, n_instances) for choice, model in self.models.items()}

    def runs(self, n_steps: int = STEPS, n_instances: int = 1) -> str:
        """The choice that runs a call."""
        return self.asked if self.asked in CHOICES else self.choice(n_steps, n_steps * n_instances)

    @property
    def reason(self) -> str:
        """Why that one."""
        if self.asked in CHOICES:
            return f'it was asked for: plan="{self.asked}"'
        return self.advice.reason
