"""PackedSequence: the rows of all steps, one step behind the other, are how the interpreter and native code have them too."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.timeline import Timeline


def turned_rows(timeline: Timeline) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(n_rows,): for each row that of the same instance as many steps from the end; doing it twice changes nothing."""
    steps, instances = np.repeat(np.arange(timeline.n_steps), timeline.counts), timeline.instance_of_row
    return np.asarray(timeline.offsets[timeline.sorted_lengths[instances] - 1 - steps] + instances, np.int64)
