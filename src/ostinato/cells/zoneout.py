"""Zoneout: now and then a neuron keeps its old value (Krueger et al. 2016, arXiv 1606.01305).

A function for any cell; `lstm` and `gru` have it as options, `zoneout_h` and `zoneout_c`, one for each state. Where dropout
puts a zero in the place of a value, zoneout leaves what was there one step before, so that memory and gradient pass through
the step untouched. In the book's layer of recurrent neurons the last line would be

    return zoneout(phi(x @ W_x + y @ W_y + b), y, 0.1)

In training, with d = 1 at probability `rate` and 0 elsewhere, drawn for every step, instance and neuron:

    h(t) = d h(t-1) + (1 - d) new

and elsewhere its expectation, with `rate` in the place of d. Both are one formula, because `dropout` multiplies by
(1 - d) / (1 - rate) in training, and by 1 elsewhere:

    h(t) = h(t-1) + (1 - rate) dropout(new - h(t-1), rate)
"""

from typing import Any

from ostinato.errors import CellError, lay_out
from ostinato.ir.ops import subtract
from ostinato.language.functions import dropout


def zoneout(new: Any, old: Any, rate: float) -> Any:
    """In training each element is `old` with probability `rate`, and `new` otherwise; elsewhere rate old + (1 - rate) new.

    Args:
        new: the new value of a state, as the cell computed it; finite.
        old: its value one step before, of the same dimensions; finite.
        rate: the probability, 0 <= rate < 1. With 0 it is `new` itself.

    Raises:
        CellError: the rate is something else.
        ShapeError: `new` and `old` do not fit.

    >>> import numpy as np
    >>> zoneout(np.ones(2), np.zeros(2), 0.25)
    array([0.75, 0.75])
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        headline = f"zoneout: the rate is a number from 0 up to, but not including, 1, and is {rate!r}"
        raise CellError(lay_out(headline))
    return old + (1 - rate) * dropout(subtract(new, old), rate) if rate else new
