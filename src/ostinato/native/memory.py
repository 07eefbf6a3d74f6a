"""Memory for native code: where an array lies, and pieces of memory that begin with a cache line."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

from ..lower.array_objects import HEADER

Array = np.ndarray[Any, np.dtype[Any]]
KEPT = 1 << 30  # bytes that are kept from run to run, at most
LINE = 64  # bytes of a cache line, where every buffer begins


def _asked(array: Array) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def _read(array: Array) -> int:
    return _POINTER(id(array) + HEADER).value or 0


# NumPy keeps the address of an array's data in the array's object (lower/array_objects.py). Reading it there takes a fifth of
# the time of asking NumPy for it; that is done only where both are found to agree.
_POINTER = ctypes.c_void_p.from_address
_samples = [np.zeros(n, kind) for n, kind in ((1, np.float32), (1000, np.float64), (3, bool))]
_samples.append(_samples[1][17:])
READABLE = sys.implementation.name == "cpython" and all(_read(sample) == _asked(sample) for sample in _samples)
address = _read if READABLE else _asked


def block(n_bytes: int) -> tuple[Array, int]:
    """Memory for so many bytes from a cache line on, and how many bytes that line lies behind the beginning of the array."""
    raw = np.empty(n_bytes + LINE, np.uint8)
    return raw, -address(raw) % LINE


class PooledBuffer:
    """A buffer borrowed from a free list; collecting this object returns it.

    A training loop asks for the same sizes at every iteration, and fresh pages are slow.
    """

    __slots__ = ("_free", "_kept", "memory")
    _references = staticmethod(sys.getrefcount)

    def __init__(self, free: list[tuple[Array, int]], memory: tuple[Array, int]) -> None:
        self._free, self.memory = free, memory
        self._kept = memory[0].nbytes <= KEPT

    def __del__(self) -> None:  # at the end of a process too, when the names of this module are gone
        if not hasattr(self, "_kept"):  # an interrupt came while it was made
            return
        alone = self._references(self.memory[0]) <= 2  # the tuple's and the argument's: no array in it is left
        if self._kept and alone and len(self._free) < 2:  # a loop has the record of one turn until the next is made
            self._free.append(self.memory)


def rounded(n_bytes: int) -> int:
    """Up to whole cache lines."""
    return -(-n_bytes // LINE) * LINE
