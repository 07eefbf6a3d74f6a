"""What was measured: one row for each piece of work, one entry in it for each contender."""

import math
from dataclasses import dataclass, field

from .timing import Times

OURS = "ostinato"


@dataclass
class Row:
    """One piece of work.

    Attributes:
        times: contender -> Times, in seconds for each call.
        differences: contender -> how far its results are from what is right.
        notes: what was not timed, and why.
        details: further figures by name, such as the share of the roofline.
    """

    grid: str
    cell: str
    size: int
    n_instances: int
    n_steps: int
    times: dict[str, Times] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    details: dict[str, float | str] = field(default_factory=dict)

    @property
    def peers(self):
        """Those that are not variants of ours, fastest first."""
        others = [name for name in self.times if not name.startswith(OURS)]
        return sorted(others, key=lambda name: self.times[name].median)

    @property
    def ratio(self):
        """How many times as fast as the best peer; None where either is missing."""
        if OURS not in self.times or not self.peers:
            return None
        return self.times[self.peers[0]].median / self.times[OURS].median


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None
