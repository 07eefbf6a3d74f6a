"""Where a value lies in memory: a buffer, an offset, and a stride for each dimension.

A buffer holds one compact row for each step and instance, for each instance, or a single one (`Varies`). Slices, transposes,
broadcasts and most reshapes only change offset and strides: they cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from ..ir.dtypes import BYTES
from ..ir.shapes import Varies


class BufferId(NamedTuple):
    """What a buffer holds: a role, and the name of the value, port, weight or state that it plays this role for.

    value       what a node computes                    port        what comes in with a call
    weight      a declared weight, whole                gradient    the gradient of one, whole
    panels      weights of a product stage, packed
    now, next   a state, read in a step and written     begin, end  a state before the first step, behind the last
    rows        a state, kept for every step
    out, new, copy, operand     a copy that the planner adds: of what goes out as it came in, of a new state that is no
                                value of its own, for a reshape that strides cannot express, of a number that a product reads
    """

    role: str
    name: str

    def __str__(self) -> str:
        if self.role in ("value", "port"):
            return self.name
        return f"{self.role} {self.name}" if self.role in ("weight", "gradient", "panels") else f"{self.name}@{self.role}"


@dataclass(frozen=True)
class Buffer:
    """One array of the plan: `size` elements for each row of its space."""

    id: BufferId
    space: Varies
    size: int
    dtype: str  # "f32", "f64" or "bool"

    @property
    def item_bytes(self) -> int:
        return BYTES[self.dtype]

    @property
    def row_bytes(self) -> int:
        return self.size * self.item_bytes


def compact_strides(sizes: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array whose elements lie row by row."""
    return tuple(prod(sizes[i + 1 :]) for i in range(len(sizes)))


@dataclass(frozen=True)
class View:
    """A part of each row of a buffer, in elements."""

    buffer: BufferId
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def whole(cls, buffer: BufferId, sizes: Sequence[int]) -> View:
        return cls(buffer, tuple(sizes), compact_strides(sizes))

    @property
    def compact(self) -> bool:
        """Whether the elements lie row by row without gaps."""
        wanted = compact_strides(self.sizes)
        return all(n == 1 or a == b for n, a, b in zip(self.sizes, self.strides, wanted, strict=True))

    def cut(self, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> View:
        """The part of a slice."""
        sizes = tuple(-(-(b - a) // by) for a, b, by in zip(start, stop, step, strict=True))
        offset = self.offset + sum(a * s for a, s in zip(start, self.strides, strict=True))
        return View(self.buffer, sizes, tuple(s * by for s, by in zip(self.strides, step, strict=True)), offset)

    def transposed(self, axes: Sequence[int]) -> View:
        return replace(self, sizes=tuple(self.sizes[a] for a in axes), strides=tuple(self.strides[a] for a in axes))

    def broadcast_to(self, sizes: Sequence[int]) -> View:
        """Broadcast: aligned from the right, what is missing or 1 is repeated."""
        extra = len(sizes) - len(self.sizes)
        pairs = zip(self.sizes, self.strides, sizes[extra:], strict=True)
        strides = tuple(0 if old == 1 else stride for old, stride, _ in pairs)
        return replace(self, sizes=tuple(sizes), strides=(0,) * extra + strides)

    def reshaped(self, sizes: Sequence[int]) -> View | None:
        """The same elements in other dimensions; None where that takes a copy."""
        merged: list[tuple[int, int]] = []  # runs of (size, innermost stride), as few as there can be
        for size, stride in zip(self.sizes, self.strides, strict=True):
            if size == 1:
                continue
            if merged and merged[-1][1] == size * stride:
                merged[-1] = (merged[-1][0] * size, stride)
            else:
                merged.append((size, stride))
        strides = [0] * len(sizes)
        place = len(sizes) - 1
        for size, stride in reversed(merged):
            room = size
            while room > 1:
                if place < 0 or (sizes[place] > 1 and room % sizes[place]):
                    return None
                if sizes[place] > 1:
                    strides[place] = stride * (size // room)
                    room //= sizes[place]
                place -= 1
        return replace(self, sizes=tuple(sizes), strides=tuple(strides))

    def in_buffer(self, buffer: BufferId) -> View:
        return replace(self, buffer=buffer)


def collapse(sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """As few loops as possible over `sizes`: neighbouring dimensions that every array walks through evenly become one.

    Args:
        sizes: the loops, outermost first.
        strides: for each array, its stride in each loop.

    Returns:
        the sizes, and for each array its strides.
    """
    kept = [i for i, n in enumerate(sizes) if n != 1]
    new_sizes: list[int] = []
    new_strides: list[list[int]] = [[] for _ in strides]
    for i in kept:
        if new_sizes and all(new[-1] == old[i] * sizes[i] for new, old in zip(new_strides, strides, strict=True)):
            new_sizes[-1] *= sizes[i]
            for new, old in zip(new_strides, strides, strict=True):
                new[-1] = old[i]
        else:
            new_sizes.append(sizes[i])
            for new, old in zip(new_strides, strides, strict=True):
                new.append(old[i])
    return new_sizes, new_strides
