"""Whether threads share a run, and how.

    Work               how much a plan computes for one row; what shares of a call are worth a thread each
    ThreadingPolicy    whether sharing pays for calls of one kind, learned from their times: other programs may have the cores

Instances are shared where there are enough of them; else the neurons of the products in the loop, or only what runs outside
of it. No number of threads changes a bit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..ir.timeline import Timeline
from ..plan.phases import Phase
from ..plan.plan import Plan
from ..plan.stages import Product, Stage

# All of these were chosen by trial in November 2026 on the machines of docs/performance.md.
ELEMENT = 12  # operations that an elementwise function of one element counts as: about what a sigmoid or tanh takes
ENOUGH = 2e7  # operations from which on a run is shared: some hundred microseconds on one core
ENOUGH_OF_A_STEP = 2e5  # operations of one step from which on threads share it by neurons, and wait for each other at its end
SAMPLES = 3  # runs on one thread whose times are remembered; their median counts
SAVED = 3  # runs: sharing saves up at most as much time as so many of them take
KEPT = 0.85  # of the savings, from run to run: what was gained long ago counts less
PATIENCE = 20  # runs go alone for so many times the seconds that sharing has lost: it costs a twentieth where it never pays
# Seconds that the first pause takes at most: a process that was stopped for an hour has lost nothing. Each further one may take
# twice as long.
PAUSE = 2.0
RARELY = 64  # shared runs after which one goes alone again, at most, to see what that takes now
ROWS = 4  # rows that a thread is worth: so many fill a tile (plan/tiling.py)


@dataclass(frozen=True)
class Shares:
    """How a run is shared: by how many threads, and whether each has some of the neurons (else, some of the instances)."""

    n: int
    by_neurons: bool


class ThreadingPolicy:
    """Whether sharing pays for calls of one kind; it may not where other programs have the cores, and nobody says so.

    What shared runs gain against one thread is saved up, and what they lose is taken from the savings: a disturbance or two
    change nothing. When nothing is left, runs go alone for PATIENCE times as long as was lost, and then the next one is shared
    again. So sharing costs a twentieth of the time where it never pays, and comes back soon where it pays again.
    """

    def __init__(self) -> None:
        self._alone: deque[float] = deque(maxlen=SAMPLES)  # seconds for a row, of the last runs that went alone
        self._saved = 0.0  # seconds that sharing has gained so far, at most as much as some runs take
        self._pause = 0.0  # seconds of work that still go alone
        self._longest = PAUSE
        self._shared = 0  # runs since one went alone
        self._next = 2  # after so many, one goes alone, to see what that takes now

    def shares(self) -> bool:
        """Whether the next run should be shared."""
        return bool(self._alone) and self._pause <= 0 and self._shared < self._next

    def took(self, seconds: float, n_rows: int, *, shared: bool) -> None:
        """After a run."""
        pace = seconds / max(1, n_rows)
        if not shared:
            if self._shared:
                self._shared, self._next = 0, min(4 * self._next, RARELY)
            if not self._alone:
                self._saved = seconds  # on credit: the first disturbance may come before any gain
            self._alone.append(pace)
            self._pause -= seconds
            return
        self._shared += 1
        times = sorted(self._alone) or [pace]  # a copy: other threads add to that one
        alone = times[len(times) // 2] * max(1, n_rows)  # their median
        self._saved = min(KEPT * self._saved + alone - seconds, SAVED * alone)
        if self._saved >= 0:
            self._longest = PAUSE
        else:
            self._pause = min(-self._saved * PATIENCE, self._longest)
            self._saved, self._longest, self._next = 0.0, 2 * self._longest, 2


def alike(shares: Shares, timeline: Timeline) -> tuple[Shares, int, int]:
    """Calls that have this in common take about as long for a row."""
    return shares, timeline.n_instances.bit_length(), timeline.n_rows.bit_length()


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
        return cls(outside, sum(map(operations, loop)), sum(operations(s) for s in loop if isinstance(s, Product)))

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
    count = stage.operations
    return 2 * count.multiply_adds + ELEMENT * count.functions + count.terms
