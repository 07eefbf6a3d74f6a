"""What `layer.plan_of` gives: the plans of one program in words and numbers, predicted and measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ..plan.candidates import STEPS, Planned
from ..plan.cost_model import PlanCost
from ..plan.phases import Phase
from ..plan.plan import Plan
from .document import WIDTH, Page, Section, in_colour, plain
from .page.html import fragment
from .page.page_style import fragment_style
from .pictures.colours import Colours
from .plan_tables import computes, plan_blocks, recorded_bytes, when

TITLES = {
    "forward": "forward", "recording": "forward, recording for the backward pass",
    "backward": "backward, through time",
}  # fmt: skip


class PlanReport:
    """The plans of a program, for calls of so many steps and instances. `print` shows it.

    Attributes:
        name: the cell.
        which: "forward", "recording" or "backward".
        plan: what runs: its stages, buffers and packings.
        choice: "separate", "fused" or "hoisted": which one that is.
        reason: why.
        costs: choice -> its PlanCost, with `seconds`, `phases`, `loop_weight_bytes`, `moved_bytes`.
        measured: choice -> seconds, where it was measured.
    """

    def __init__(
        self, planned: Planned, which: str, n_steps: int = STEPS, n_instances: int = 1,
        measured: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self._planned, self.which, self.n_steps, self.n_instances = planned, which, n_steps, n_instances
        self.name = planned.program.name
        self.choice, self.reason = planned.runs(n_steps, n_instances), planned.reason
        self.plan: Plan = planned.plan(self.choice)
        self.measured = dict(measured or {})

    @cached_property
    def costs(self) -> dict[str, PlanCost]:
        return self._planned.costs(self.n_steps, self.n_instances)

    @property
    def n_stages(self) -> int:
        """How many stages a step of the loop has."""
        return len(self.plan.stages.get(Phase.LOOP, ()))

    @property
    def stages(self) -> list[tuple[str, str]]:
        """(when it runs, what it computes) of every stage, in order."""
        return [
            (when(self.plan, phase), computes(stage).replace("\n", "; "))
            for phase, stages in self.plan.stages.items() for stage in stages
        ]  # fmt: skip

    @property
    def recorded_bytes(self) -> int:
        """What is kept for the backward pass, per step and instance."""
        return recorded_bytes(self.plan)

    @cached_property
    def page(self) -> Page:
        """Title and blocks, as data."""
        sizes = ", ".join(f"{name}={size}" for name, size in self._planned.program.sizes)
        blocks = tuple(plan_blocks(self._planned, self.n_steps, self.n_instances, self.measured))
        return Page(f"the plan of {self.name}({sizes})", "", (Section(TITLES[self.which].capitalize(), blocks),))

    def __str__(self) -> str:
        return plain(self.page)

    def __repr__(self) -> str:
        return f"<the plan of {self.name} ({self.which}): {self.choice}>"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from in_colour(self.page, min(options.max_width, WIDTH))

    def _repr_html_(self) -> str:
        return f"<style>{fragment_style()}</style>{fragment(self.page, Colours(()), [])}"
