"""What many rooms ask of an argument, each question asked in one way: questions that answer, and checks that refuse.

A truth value is an `int` for Python, and no number here: `n_neurons=True` is a slip, whoever takes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import OptionError, lay_out


def is_whole(value: Any, low: int | None = None) -> bool:
    """Whether it is a whole number of Python or NumPy; from `low` up, if that is given."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and (low is None or bool(value >= low))


def is_number(value: Any) -> bool:
    """Whether it is a real number of Python or NumPy, infinities and NaN among them."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_truth(value: Any) -> bool:
    """Whether it is True or False, of Python or NumPy."""
    return isinstance(value, bool | np.bool_)


def check_whole(owner: str, name: str, value: Any, low: int = 1) -> None:
    """Refuse what is no whole number from `low` up.

    Raises:
        OptionError: it is none; the message names the owner and the argument.
    """
    if not is_whole(value, low):
        raise OptionError(lay_out(f"{owner}: `{name}` is a whole number from {low} up, not {value!r:.80}"))
