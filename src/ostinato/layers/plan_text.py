"""What `layer.plan_of` and `layer.measure_plans` give: plans in words and numbers, predicted and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError, known_names, lay_out
from ..explain.alternatives import measured_times
from ..explain.document import WIDTH, Page, Section, in_colour, plain
from ..explain.page.html import fragment
from ..explain.page.page_style import fragment_style
from ..explain.pictures.colours import Colours
from ..explain.plan_tables import computes, plan_blocks, recorded_bytes, when
from ..ir.op import is_whole
from ..plan.candidates import Planned
from ..plan.cost_model import STEPS, PlanCost
from ..plan.phases import CHOICES, Phase
from ..plan.plan import Plan
from ..runtime.backends import PROGRAMS, planned
from .timing import in_turn

if TYPE_CHECKING:
    from .layer import Layer

Array = np.ndarray[Any, np.dtype[Any]]

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


# --- for a layer --------------------------------------------------------------------------------------------------------------


def plan_report(layer: Layer, program: str, n_steps: Any, n_instances: Any, measured: Any) -> PlanReport:
    """See `Layer.plan_of`."""
    _check(layer, n_steps, n_instances)
    if not isinstance(program, str) or program not in PROGRAMS:
        headline = f"{layer.name}: there is no program `{program}`; {known_names(str(program), PROGRAMS, 'programs')}"
        raise OptionError(lay_out(headline))
    compiled, shapes = layer.compiled(), layer.weights.shapes
    found = planned(compiled, program, shapes, layer.plan, measure=True)
    return PlanReport(found, program, int(n_steps), int(n_instances), measured_times(measured, "plan_of"))


def measure_plans(
    layer: Layer, n_steps: Any, n_instances: Any, *, backward: bool = False, seconds: float = 0.2,
    plans: Iterable[str] = CHOICES,
) -> dict[str, float]:  # fmt: skip
    """See `Layer.measure_plans`; `plans`: which of them."""
    _check(layer, n_steps, n_instances)
    inputs, contexts = random_inputs(layer, n_steps, n_instances)
    functions = {plan: _call(layer.with_plan(plan), inputs, contexts, backward=backward) for plan in plans}
    return in_turn(functions, seconds)


def _check(layer: Layer, n_steps: Any, n_instances: Any) -> None:
    """The size of a call, from 1 up, for a layer that has plans."""
    if layer.backend != "native":
        raise OptionError(lay_out(f"{layer.name}: only native code has a plan, and the backend is `{layer.backend}`"))
    for name, size in (("n_steps", n_steps), ("n_instances", n_instances)):
        if not is_whole(size) or size < 1:
            raise OptionError(lay_out(f"{layer.name}: `{name}` is a whole number from 1 up, not {size!r}"))


def random_inputs(layer: Layer, n_steps: int, n_instances: int) -> tuple[list[Array], dict[str, Array]]:
    """Standard normal numbers for the inputs and contexts of a layer, always the same ones."""
    generator = np.random.default_rng(0)
    order = (n_instances, n_steps) if layer.batch_first else (n_steps, n_instances)
    ports = layer.graph.with_role("input", "context")
    arrays = {
        p.name: generator.standard_normal(
            (*(order if p.role == "input" else (n_instances,)), *p.value.type.sizes), np.float64
        ).astype(layer.dtype)
        for p in ports
    }  # fmt: skip
    inputs = [arrays[p.name] for p in ports if p.role == "input"]
    return inputs, {p.name: arrays[p.name] for p in ports if p.role == "context"}


def _call(
    layer: Layer, inputs: list[Array], contexts: Mapping[str, Any], *, backward: bool
) -> Callable[[], object]:  # fmt: skip
    """What is measured: a forward pass, or a forward and a backward one."""
    if not backward:
        return lambda: layer(*inputs, **contexts)
    outputs: Any = layer(*inputs, **contexts)
    named = isinstance(outputs, dict)
    adjoints = {n: np.ones_like(y) for n, y in outputs.items()} if named else np.ones_like(outputs)
    return lambda: layer.vjp(*inputs, **contexts)[1](adjoints)
