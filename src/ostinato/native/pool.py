"""Memory that is used again when nobody else has it.

New memory comes from the system page by page, which costs more than many a walk over it.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def _references(box: list[Any]) -> int:
    return sys.getrefcount(box[0])


# What a thing has that only a list holds. Where references are not counted, or not at once, nothing is ever found alone.
_COUNTS = hasattr(sys, "getrefcount") and getattr(sys, "_is_gil_enabled", lambda: True)()
_ALONE = _references([object()]) if _COUNTS else -1


def alone(box: list[Any]) -> bool:
    """Whether nobody has the only thing in a list but the list itself."""
    return _COUNTS and _references(box) <= _ALONE


class Spares:
    """Arrays that were replaced, one by each name, to be written again once nobody else has them."""

    def __init__(self) -> None:
        self._arrays: dict[str, list[Array]] = {}

    def put(self, name: str, array: Array) -> None:
        """Keep an array that owns its memory."""
        self._arrays[name] = [array]

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The array of this name if it is free and fits, else a new one."""
        box = self._arrays.pop(name, None)
        if box is None or not alone(box):
            return np.empty(shape, dtype)
        array = box[0]
        if array.shape != shape or array.dtype != dtype or array.base is not None or weakref.getweakrefcount(array):
            return np.empty(shape, dtype)
        array.setflags(write=True)
        return array

    def __len__(self) -> int:
        return len(self._arrays)
