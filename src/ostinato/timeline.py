"""Steps and instances as rows: what runs at which step, when sequences have different lengths or run in reverse.

A layer takes arrays (n_steps, n_instances, ...). Inside, what varies by step is one array of rows (n_rows, ...), in which the
rows of one step lie together. Instances are sorted so that the longest come first; then the instances still running at a step
are a prefix, padding has no row at all, and the cost follows the valid steps. A reverse layer numbers the steps of each
instance from its own last one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Timeline:
    """Which (step, instance) pairs are valid, and in which order they run.

    Attributes:
        n_steps, n_instances: the sizes of the padded arrays.
        n_rows: the number of valid pairs.
        counts: how many instances run at each step, never growing.
        offsets: where the rows of each step begin.
        instance_of_row: the place of each row's instance in the sorted order.
    """

    def __init__(self, n_steps: int, n_instances: int, lengths: Array | None = None, *, reverse: bool = False) -> None:
        self.n_steps, self.n_instances, self.reverse = n_steps, n_instances, reverse
        self._order: Array | None = None if lengths is None else np.argsort(-lengths, kind="stable")
        self._places: Array | None = None
        if lengths is None:
            self.counts = np.full(n_steps, n_instances, np.int64)
        else:
            self.counts = (lengths[None, :] > np.arange(n_steps)[:, None]).sum(axis=1, dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        self.n_rows = int(self.offsets[-1])
        if lengths is not None and self._order is not None:
            sorted_lengths = lengths[self._order]
            steps = np.repeat(np.arange(n_steps), self.counts)
            instances = self.instance_of_row
            times = sorted_lengths[instances] - 1 - steps if reverse else steps
            self._places = times * n_instances + self._order[instances]

    @cached_property
    def addresses(self) -> tuple[int, int]:
        """Where `counts` and `offsets` lie in memory, for native code."""
        return self.counts.ctypes.data, self.offsets.ctypes.data

    @property
    def instance_of_row(self) -> Array:
        ranges = np.arange(self.n_rows) - np.repeat(self.offsets[:-1], self.counts)
        return np.asarray(ranges, dtype=np.intp)

    @property
    def padded(self) -> bool:
        return self._places is not None

    def pack(self, array: Array) -> Array:
        """(n_steps, n_instances, ...) -> (n_rows, ...)."""
        shape = (self.n_steps * self.n_instances, *array.shape[2:])
        if self._places is not None:
            return array.reshape(shape)[self._places]
        return (array[::-1] if self.reverse else array).reshape(shape)

    def unpack(self, rows: Array) -> Array:
        """(n_rows, ...) -> (n_steps, n_instances, ...), zeros where nothing ran."""
        shape = (self.n_steps, self.n_instances, *rows.shape[1:])
        if self._places is not None:
            result = np.zeros((self.n_steps * self.n_instances, *rows.shape[1:]), rows.dtype)
            result[self._places] = rows
            return result.reshape(shape)
        result = rows.reshape(shape)
        return np.ascontiguousarray(result[::-1]) if self.reverse else result

    def sort(self, array: Array) -> Array:
        """(n_instances, ...) in the order of the rows; always a copy."""
        return array[self._order] if self._order is not None else array.copy()

    def unsort(self, array: Array) -> Array:
        """Back from the order of the rows."""
        if self._order is None:
            return array
        result = np.empty_like(array)
        result[self._order] = array
        return result

    def total_per_instance(self, rows: Array) -> Array:
        """(n_rows, ...) -> (n_instances, ...): the sum over the steps of each instance."""
        if not self.padded:
            shape = (self.n_steps, self.n_instances, *rows.shape[1:])
            return np.asarray(rows.reshape(shape).sum(axis=0, dtype=rows.dtype))
        result = np.zeros((self.n_instances, *rows.shape[1:]), rows.dtype)
        for start, count in zip(self.offsets[:-1], self.counts, strict=True):
            result[:count] += rows[start : start + count]
        return result
