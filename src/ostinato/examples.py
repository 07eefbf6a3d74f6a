"""Examples: sequences, and what the network should answer; in mini-batches, and split for validation."""

# ruff: noqa: N806 - X and Y are the symbols of the equations

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import DataError, lay_out

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Examples:
    """Sequences, and what the network should answer.

    Attributes:
        X: (n_steps, n_samples, ...), or (n_samples, n_steps, ...) for a network with batch_first.
        target: (n_samples, ...); or, for a network that answers at every step, with the two leading axes of X.
        lengths: (n_samples,) or None.
        per_step: whether the target has steps.
        batch_first: the order of the leading axes.
    """

    X: Array
    target: Array
    lengths: Array | None = None
    per_step: bool = False
    batch_first: bool = False

    def __post_init__(self) -> None:
        n_samples = self.X.shape[0 if self.batch_first else 1] if self.X.ndim > 1 else -1
        leading = self.X.shape[:2] if self.per_step else (n_samples,)
        fits = self.target.shape[: len(leading)] == leading
        if n_samples < 0 or not fits or (self.lengths is not None and self.lengths.shape != (n_samples,)):
            lengths = "" if self.lengths is None else f", lengths {self.lengths.shape}"
            order = "n_samples, n_steps" if self.batch_first else "n_steps, n_samples"
            headline = (
                f"Examples: X {self.X.shape}, target {self.target.shape}{lengths} do not belong together; X is ({order}, ...)"
            )
            raise DataError(lay_out(headline))

    def __len__(self) -> int:
        return int(self.X.shape[0 if self.batch_first else 1])

    @property
    def n_answers(self) -> int:
        """How many answers the network is asked for: one for each sequence, or one for each valid step."""
        if not self.per_step:
            return len(self)
        n_steps = self.X.shape[1 if self.batch_first else 0]
        return len(self) * n_steps if self.lengths is None else int(self.lengths.sum())

    def take(self, places: Array) -> Examples:
        """Some of them, cut behind the longest."""
        instances, steps = (0, 1) if self.batch_first else (1, 0)
        X = self.X.take(places, instances)
        target = self.target.take(places, instances if self.per_step else 0)
        if self.lengths is None:
            return replace(self, X=X, target=target)
        lengths = self.lengths[places]
        longest = range(int(lengths.max(initial=0)))
        target = target.take(longest, steps) if self.per_step else target
        return replace(self, X=X.take(longest, steps), target=target, lengths=lengths)

    def batches(self, size: int, order: Array | None = None) -> Iterator[Examples]:
        """All of them, `size` at a time."""
        order = np.arange(len(self)) if order is None else order
        for start in range(0, len(order), size):
            yield self.take(order[start : start + size])


def split(
    n_samples: int, fraction: float, rng: np.random.Generator, labels: Array | None = None
) -> tuple[Array, Array]:  # fmt: skip
    """Places for training and for validation, drawn at random; of each label the same fraction, if labels are given.

    Of every label at least one sample stays in training. Where validation would be empty, it is.
    """
    if labels is None:
        labels = np.zeros(n_samples, int)
    held_out = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        held_out.append(places[: min(round(fraction * len(places)), len(places) - 1)])
    chosen = np.zeros(n_samples, bool)
    chosen[np.concatenate(held_out or [np.zeros(0, int)])] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
