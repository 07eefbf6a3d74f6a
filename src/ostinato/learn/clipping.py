"""The length of all gradients together, and gradients that are not longer than a limit."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt
from typing import Any

import numpy as np

from ..calls import answering
from ..checks import is_number
from ..errors import DataError, OptionError, lay_out

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK = 8192  # numbers that are squared together: they stay in the cache, and BLAS adds them on one thread
TINY, HUGE = 1e-280, 1e300  # between them a sum of squares has lost nothing to underflow or overflow


def global_norm(gradients: Mapping[str, Array]) -> float:
    """The length of all gradients together, as one vector. The squares are summed in float64, in one pass over memory."""
    total = sum(_sum_of_squares(g) for g in gradients.values())
    return sqrt(total) if TINY < total < HUGE else _scaled_norm(gradients)


def _sum_of_squares(gradient: Array) -> float:
    flat = np.ravel(gradient)
    total = 0.0
    with np.errstate(over="ignore"):
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK].astype(np.float64, copy=False)
            total += float(np.dot(part, part))
    return total


def _scaled_norm(gradients: Mapping[str, Array]) -> float:
    """The same for numbers whose squares are too large or too small for float64, or that are not numbers."""
    largest = max((float(np.abs(g).max()) for g in gradients.values() if g.size), default=0.0)
    if not largest or not isfinite(largest):
        return largest
    return largest * sqrt(sum(float(np.square(g / largest, dtype=np.float64).sum()) for g in gradients.values()))


def clip_factor(gradients: Mapping[str, Array], limit: float) -> tuple[float, float]:
    """By what all gradients are to be multiplied, so that together they are not longer than `limit`.

    `rule.step(weights, gradients, scale=factor)` does it on the way, and no scaled gradients are stored.

    Returns:
        the factor, at most 1, and the length of the gradients.

    Raises:
        OptionError: the limit is no number above 0.
        DataError: a gradient is not finite: there is no direction to keep.
    """
    if not is_number(limit) or not limit > 0:
        raise OptionError(lay_out(f"clip_by_global_norm: the limit is a number above 0, and is {limit!r}"))
    norm = global_norm(gradients)
    if not isfinite(norm):
        wrong = next(name for name, g in gradients.items() if not np.isfinite(g).all())
        raise DataError(lay_out(f"clip_by_global_norm: the gradient of `{wrong}` is not finite"))
    return min(1.0, float(limit / norm)) if norm else 1.0, norm


@answering
def clip_by_global_norm(gradients: Mapping[str, Array], limit: float) -> tuple[dict[str, Array], float]:
    """Scale all gradients by one factor, so that together they are not longer than `limit` (Pascanu et al. 2013, algorithm 1).

    Returns:
        the gradients, and their length before.

    Raises:
        OptionError: the limit is no number above 0.
        DataError: a gradient is not finite: there is no direction to keep.
    """
    factor, norm = clip_factor(gradients, limit)
    return scaled(gradients, factor), norm


def scaled(gradients: Mapping[str, Array], factor: float) -> dict[str, Array]:
    """All gradients times a factor; in float64, because the factor alone may be below what float32 holds."""
    if factor == 1.0:
        return dict(gradients)
    return {n: np.multiply(g, factor, dtype=np.float64).astype(g.dtype) for n, g in gradients.items()}
