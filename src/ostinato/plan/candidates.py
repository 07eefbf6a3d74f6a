"""The plans that one program could run by, what each costs, and which one runs a call. Nothing here needs llvmlite.

"automatic" is `hoisted` for a few instances side by side and `fused` for many. With few rows a step, a product waits for its
weights: what leaves the loop loads them once for all steps. With many rows it is bound by multiplications, and sums that are
kept from before the loop cost more memory traffic than they save. `separate` is never taken: it does what `fused` does in more
stages.

From which number of instances on `fused` runs, the cost model says (cost_model.py), for sequences of STEPS steps. Number by
number it would flicker: a tile of four rows computes five as eight. So numbers are compared by octaves, 1, 2 to 3, 4 to 7, 8 to
15, 16 and more, each by its first number and its middle; and bisection finds the one octave from which on `fused` runs. A call
asks for no more octaves than it takes to know on which side it is. A stream, one step a call, is compared by itself.

No choice changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..ir.dtypes import BYTES
from ..ir.graph import Program
from ..ir.shapes import Varies
from .cost_model import CostModel, PlanCost
from .machine import Machine
from .phases import CHOICES, Phase
from .plan import Plan
from .planner import plan_program
from .stages import Product

STEPS = 100  # steps of the sequences that plans are compared for: what a user of a recurrent network calls a sequence
OCTAVES = ((1,), (2, 3), (4, 6), (8, 12), (16,))  # numbers of instances at which plans are compared; each stands for its octave
MANY = OCTAVES[-1][0]  # instances from which on more make no difference to a choice
# Of the seconds of `fused`: below it `hoisted` is taken. The model is not more exact than a few hundredths, and where both are
# as fast, `fused` keeps less in memory. Chosen by trial.
CLEARLY = 0.97


@dataclass(frozen=True)
class Advice:
    """Which plan a call should take, as far as the model knows.

    Attributes:
        plans: the plan for 1, 2, ... instances that run side by side; the last one is for more of them too.
        single: the plan for one step at a time, as in a stream.
        reason: in words.
    """

    plans: tuple[str, ...]
    single: str
    reason: str

    def choice(self, n_steps: int, n_rows: int) -> str:
        """The plan of a call with so many steps, and so many rows (valid steps of all instances together)."""
        if n_steps <= 1:
            return self.single
        return self.plans[min(len(self.plans), _side_by_side(n_steps, n_rows)) - 1]


def _side_by_side(n_steps: int, n_rows: int) -> int:
    """Instances that run in a step, on average, rounded up."""
    return max(1, -(-n_rows // n_steps))


class Planned:
    """The plans of one program; each is made when it is first asked for.

    Args:
        program: as it comes from `schedule`.
        asked: what the user chose: one of CHOICES, or "automatic".
        machine: whose figures the model takes; or what finds them, given how many bytes the plans reach, when they are needed.
    """

    def __init__(self, program: Program, asked: str, machine: Machine | Callable[[float], Machine]) -> None:
        self.program, self.asked = program, asked
        self._figures = machine
        self._plans: dict[str, Plan] = {}
        self._octaves: dict[int, bool] = {}

    def plan(self, choice: str) -> Plan:
        """The plan of a choice."""
        if choice not in self._plans:
            self._plans[choice] = plan_program(self.program, choice)
        return self._plans[choice]

    @cached_property
    def machine(self) -> Machine:
        """The figures that the model takes."""
        if isinstance(self._figures, Machine):
            return self._figures
        return self._figures(max(_largest(self.plan(choice)) for choice in ("fused", "hoisted")))

    @cached_property
    def models(self) -> dict[str, CostModel]:
        """The cost model of every choice."""
        return {choice: self._model(choice) for choice in CHOICES}

    def _model(self, choice: str) -> CostModel:
        return self._rivals[choice] if choice in self._rivals else CostModel(self.plan(choice), self.machine)

    @cached_property
    def _rivals(self) -> dict[str, CostModel]:
        return {choice: CostModel(self.plan(choice), self.machine) for choice in ("fused", "hoisted")}

    # --- choosing

    @cached_property
    def settled(self) -> str:
        """Why there is nothing to choose; "" where there is."""
        if not self.program.states:
            return "there is no state, so there is no loop: all plans are one"
        before = _products_before(self.plan("hoisted"))
        if not before or before == _products_before(self.plan("fused")):
            return "there is no product that could leave the loop: both are one plan"
        return ""

    def choice(self, n_steps: int, n_rows: int) -> str:
        """What `advice.choice` says of one call; nothing is worked out but what it takes."""
        if self.settled:
            return "hoisted"
        if n_steps <= 1:
            return self._single
        return "hoisted" if self._below_crossing(_octave(_side_by_side(n_steps, n_rows))) else "fused"

    @cached_property
    def advice(self) -> Advice:
        """What "automatic" goes by, for calls of every size."""
        if self.settled:
            return Advice(("hoisted",), "hoisted", self.settled)
        plans = ["hoisted" if self._below_crossing(_octave(n)) else "fused" for n in range(1, MANY + 1)]
        while len(plans) > 1 and plans[-1] == plans[-2]:
            plans.pop()
        return Advice(tuple(plans), self._single, self._reason(plans))

    @cached_property
    def _single(self) -> str:
        return "hoisted" if self._is_cheaper((1,), n_steps=1) else "fused"

    def _below_crossing(self, octave: int) -> bool:
        """Whether an octave lies below the one from which on `fused` runs; by bisection, up to where that is known."""
        low, high = 0, len(OCTAVES)  # the crossing lies between
        while low <= octave < high:
            middle = (low + high) // 2
            if middle not in self._octaves:
                self._octaves[middle] = self._is_cheaper(OCTAVES[middle])
            low, high = (middle + 1, high) if self._octaves[middle] else (low, middle)
        return octave < low

    def _is_cheaper(self, numbers: tuple[int, ...], n_steps: int = STEPS) -> bool:
        """Whether `hoisted` is clearly cheaper than `fused`, over calls with these numbers of instances."""
        fused, hoisted = (sum(self._rivals[c].cost(n_steps, n).seconds for n in numbers) for c in ("fused", "hoisted"))
        return hoisted < CLEARLY * fused

    def _reason(self, plans: list[str]) -> str:
        """Why, with the figures of the smallest call."""
        if plans == ["fused"]:
            return "keeping sums for later costs more memory traffic than running their products at once saves"
        weights = " and ".join(
            f"{c.loop_weight_bytes:,} bytes from {self.machine.level(c.loop_weight_bytes)} ({c.choice})"
            for c in (model.cost(STEPS, 1) for model in self._rivals.values())
        )
        why = f"with one instance a step waits for its weights, {weights}"
        if plans[-1] == "fused":
            why += "; with many it is bound by multiplications, and keeping sums for later costs memory traffic"
        return why

    # --- what is asked of them

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


def _octave(n_instances: int) -> int:
    """The index of the octave that a number of instances belongs to."""
    return min(n_instances.bit_length(), len(OCTAVES)) - 1


def _products_before(plan: Plan) -> int:
    return sum(isinstance(stage, Product) for stage in plan.stages.get(Phase.BEFORE, ()))


def _largest(plan: Plan) -> float:
    """The bytes of what is largest in the calls that plans are compared for: a buffer, or all weights together."""
    rows: Mapping[Varies, int] = {Varies.NEVER: 1, Varies.INSTANCE: MANY, Varies.STEP: MANY * STEPS}
    buffers = [rows[b.space] * b.row_bytes for b in plan.buffers.values()]
    elements = sum(p.k * p.n * len(p.rights) for p in plan.packings)
    return float(max(*buffers, elements * BYTES[plan.program.dtype], 0))
