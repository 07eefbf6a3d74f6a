"""The logistic function and tanh as straight lines, as C-LSTM computes them in hardware (Wang et al. 2018, arXiv 1803.06305).

22 segments: 20 of equal width between -limit and limit, and a constant beyond each end. The lines join the exact values at
their ends, so that the function is continuous. The authors' code has 20 segments of width 0.5, with placeholder tables. Lines
of that width keep the error of the logistic function below 1 % (0.7 %), and not that of tanh, which is more curved (2.4 %): so
tanh is cut between -3 and 3 here (0.9 %).

For positive x both are concave, and their lines are computed as the smallest of all lines; for negative x by symmetry.
"""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from math import tanh
from typing import Any

from ..errors import CellError, lay_out, user_source
from ..ir.ops import minimum, where
from .functions import composed

SEGMENTS = 22


def _lines(segments: int, limit: float) -> list[tuple[float, float]]:
    """(slope, height at 0) of the lines of tanh for positive x; the last is constant."""
    if isinstance(segments, bool) or not isinstance(segments, int) or segments < 4 or segments % 2:
        headline = f"piecewise: the number of segments is even and at least 4, and is {segments!r}"
        raise CellError(lay_out(headline, source=user_source()))
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < float("inf"):
        headline = f"piecewise: the limit is a number above 0, and is {limit!r}"
        raise CellError(lay_out(headline, source=user_source()))
    count = segments // 2 - 1
    ends = [limit * i / count for i in range(count + 1)]
    slopes = [((tanh(b) - tanh(a)) / (b - a), a) for a, b in pairwise(ends)]
    return [*((slope, tanh(a) - slope * a) for slope, a in slopes), (0.0, tanh(limit))]


def _odd(x: Any, lines: list[tuple[float, float]]) -> Any:
    """The smallest of the lines at |x|, with the sign of x; not written with `abs` and `sign`, whose derivatives at 0 are 0."""
    below = x < 0.0
    size = where(below, -x, x)
    line = reduce(minimum, [slope * size + height if slope else height for slope, height in lines])
    return where(below, -line, line)


@composed
def piecewise_tanh(x: Any, segments: int = SEGMENTS, limit: float = 3.0) -> Any:
    """tanh as straight lines between -limit and limit, constant beyond; the error is below 0.01 with the defaults.

    Args:
        segments: even, at least 4; the two constant ones are counted.
        limit: where the constant ones begin.

    Raises:
        CellError: segments or a limit that cannot be.
    """
    return _odd(x, _lines(segments, limit))


@composed
def piecewise_sigmoid(x: Any, segments: int = SEGMENTS, limit: float = 5.0) -> Any:
    """The logistic function as straight lines: 1/2 + piecewise_tanh(x / 2) / 2; the error is below 0.01 with the defaults.

    Args:
        segments: even, at least 4; the two constant ones are counted.
        limit: where the constant ones begin.

    Raises:
        CellError: segments or a limit that cannot be.
    """
    return 0.5 + 0.5 * _odd(0.5 * x, _lines(segments, limit / 2))
