"""How much work a plan is: operations and bytes for each row, and what follows for threads."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .phases import Phase
from .plan import Plan, Stage
from .timeline import Timeline

ELEMENT = 12  # operations that an elementwise node counts for each element
ENOUGH = 2e7  # operations of a run that several threads are worth: some hundred microseconds
ENOUGH_OF_A_STEP = 2e5  # operations of a step that threads may wait for each other for
PATIENCE = 3  # shared runs that may be slower than one thread, one after another, before the next ones go alone
ROWS = 4  # rows of a thread that fill its tiles


@dataclass(frozen=True)
class Shares:
    """How a run is shared: by how many threads, and whether each has some of the neurons (else, some of the instances)."""

    n: int
    by_neurons: bool


class Pace:
    """What sharing has brought so far: it is given up for a while where it does not pay, as where other programs run."""

    def __init__(self) -> None:
        self._seconds = {False: 0.0, True: 0.0}  # of a row, alone and shared
        self._alone = 0  # runs that still go alone
        self._slower = 0  # shared runs one after another that were slower than one thread

    def shares(self) -> bool:
        """Whether the next run should be shared."""
        if not self._seconds[False]:
            return False  # first of all, what one thread takes
        if self._alone:
            self._alone -= 1
            return False
        return True

    def took(self, seconds: float, n_rows: int, *, shared: bool) -> None:
        """After a run."""
        pace = seconds / max(1, n_rows)
        before = self._seconds[shared]
        self._seconds[shared] = pace if not before else min(pace, 0.8 * before + 0.2 * pace)
        if shared:
            self._slower = self._slower + 1 if pace > self._seconds[False] else 0
            if self._slower == PATIENCE:
                self._alone, self._slower = 10, 0


@dataclass(frozen=True)
class Work:
    """Operations (a multiply-add is two) for one row: one step of one instance.

    Attributes:
        outside: of what runs for all steps at once.
        loop: of what runs step by step.
        products: of the products in the loop alone.
    """

    outside: float
    loop: float
    products: float

    @classmethod
    def of(cls, plan: Plan) -> Work:
        outside = sum(operations(s) for p in (Phase.BEFORE, Phase.AFTER) for s in plan.stages.get(p, ()))
        loop = plan.stages.get(Phase.LOOP, ())
        return cls(outside, sum(map(operations, loop)), sum(operations(s) for s in loop if s.kind == "product"))

    def small(self, timeline: Timeline) -> bool:
        """Whether a run stays on one thread, however many there are."""
        return (self.outside + self.loop) * timeline.n_rows < ENOUGH

    def threads(self, timeline: Timeline, available: int) -> Shares | None:
        """How to share a run; None for one thread."""
        if available < 2 or self.small(timeline):
            return None
        by_instances = min(available, timeline.n_instances // ROWS)
        if by_instances >= available or (by_instances > 1 and not self.loop):
            return Shares(by_instances, by_neurons=False)
        rows_of_a_step = timeline.n_rows / max(1, timeline.n_steps)
        shared = self.products * rows_of_a_step
        if shared >= ENOUGH_OF_A_STEP and self.products > 0.5 * self.loop:
            return Shares(available, by_neurons=True)
        if self.outside > self.loop:  # the loop on one thread, the rest on all
            return Shares(available, by_neurons=False)
        return Shares(by_instances, by_neurons=False) if by_instances > 1 else None


def operations(stage: Stage) -> float:
    """Operations of a stage for one row."""
    elements = prod(stage.domain)
    products = set(stage.product.names) if stage.product else set()
    plain = [n for n in stage.nodes if n.record.elementwise and n.value.name not in products]
    count = float(ELEMENT * elements * len(plain))
    if stage.product:
        count += sum(2.0 * elements * s.k * len(s.gates) for s in stage.product.segments)
    if stage.contraction:
        count += 2.0 * prod(stage.contraction.target.sizes) * stage.contraction.left.sizes[-1]
    count += float(len(stage.sums) * elements)
    for total in stage.totals:
        rows = prod(total.source.sizes[:-1]) if total.right else 1
        count += 2.0 * prod(total.target.sizes) * rows
    return count
