"""PackedSequence: the rows of all steps, one step behind the other, are how the interpreter has them too."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..ir.timeline import Timeline


def timeline_of(batch_sizes: Tensor, *, reverse: bool) -> Timeline:
    """The steps and instances of a PackedSequence, the longest first."""
    counts = batch_sizes.numpy()
    lengths = (counts[:, None] > np.arange(int(counts[0]))).sum(axis=0)
    return Timeline(len(counts), int(counts[0]), lengths, reverse=reverse)


def _places(timeline: Timeline, device: torch.device) -> Tensor:
    """Where the rows of a PackedSequence lie in (n_steps, n_instances)."""
    steps = np.repeat(np.arange(timeline.n_steps), timeline.counts)
    return torch.as_tensor(steps * timeline.n_instances + timeline.instance_of_row, device=device)


def unpack(rows: Tensor, timeline: Timeline) -> Tensor:
    """(n_rows, n) -> (n_steps, n_instances, n), zeros where nothing is."""
    whole = rows.new_zeros(timeline.n_steps * timeline.n_instances, rows.shape[1])
    whole = whole.index_copy(0, _places(timeline, rows.device), rows)
    return whole.reshape(timeline.n_steps, timeline.n_instances, rows.shape[1])


def pack(Y: Tensor, timeline: Timeline) -> Tensor:  # noqa: N803 - as in formulas
    """(n_steps, n_instances, n) -> (n_rows, n)."""
    return Y.reshape(timeline.n_steps * timeline.n_instances, Y.shape[2])[_places(timeline, Y.device)]
