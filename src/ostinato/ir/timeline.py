"""Steps and instances as rows: what runs at which step, when sequences have different lengths or run in reverse.

A layer takes arrays (n_steps, n_instances, ...), or (n_instances, n_steps, ...) where the batch stands first. Inside, what
varies by step is rows, in which those of one step follow each other. Instances are sorted so that the longest come first; then
the instances still running at a step are a prefix, padding has no row at all, and the cost follows the valid steps. A reverse
layer numbers the steps of each instance from its own last one.

The interpreter works on arrays of rows: `pack` and `unpack` are that. Native code leaves the user's arrays as they are, and
looks up where each row lies in them (lower/module.py).
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
        leading: the two of them in the order of the user's axes; of arrays that are rows the number of rows.
        n_rows: the number of valid pairs.
        counts: how many instances run at each step, never growing.
        offsets: where the rows of each step begin.
        order: the instances as they are sorted.
        plain: whether the rows follow each other in the user's arrays as they do inside.
    """

    def __init__(
        self, n_steps: int, n_instances: int, lengths: Array | None = None, *, reverse: bool = False, batch_first: bool = False
    ) -> None:  # fmt: skip
        self.n_steps, self.n_instances, self.reverse, self.batch_first = n_steps, n_instances, reverse, batch_first
        self.leading: tuple[int, ...] = (n_instances, n_steps) if batch_first else (n_steps, n_instances)
        self._lengths = lengths
        turned = batch_first and n_steps > 1 and n_instances > 1
        self.plain = lengths is None and not turned and not (reverse and n_steps > 1)
        if lengths is None:
            self.order = np.arange(n_instances, dtype=np.int64)
            self.counts = np.full(n_steps, n_instances, np.int64)
        else:
            self.order = np.argsort(-lengths, kind="stable").astype(np.int64)
            ended = np.cumsum(np.bincount(lengths, minlength=n_steps + 1)[:n_steps])
            self.counts = (n_instances - ended).astype(np.int64)
        self.offsets = np.zeros(n_steps + 1, np.int64)
        np.cumsum(self.counts, out=self.offsets[1:])
        self.n_rows = int(self.offsets[-1])

    @classmethod
    def of_rows(cls, counts: Array) -> Timeline:
        """For arrays that are rows already, those of each step behind each other, as in a PackedSequence of PyTorch.

        Args:
            counts: (n_steps,) how many instances run at each step, never growing.
        """
        n_steps, n_instances = len(counts), int(counts[0])
        lengths = (counts[:, None] > np.arange(n_instances)).sum(axis=0)
        found = cls(n_steps, n_instances, lengths)
        found.leading, found.plain = (found.n_rows,), True
        return found

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """The same for timelines that are alike."""
        lengths = None if self._lengths is None else self._lengths.tobytes()
        return self.leading, self.n_steps, self.batch_first, self.reverse, lengths

    @cached_property
    def sorted_lengths(self) -> Array:
        """The valid steps of each instance, in the order of `order`."""
        if self._lengths is None:
            return np.full(self.n_instances, self.n_steps, np.int64)
        return self._lengths[self.order].astype(np.int64)

    @cached_property
    def addresses(self) -> tuple[int, int]:
        """Where `counts` and `offsets` lie in memory, for native code."""
        return self.counts.ctypes.data, self.offsets.ctypes.data

    @cached_property
    def sorted_addresses(self) -> tuple[int, int]:
        """Where `order` and `sorted_lengths` lie in memory, for native code."""
        return self.order.ctypes.data, self.sorted_lengths.ctypes.data

    def __getstate__(self) -> dict[str, Any]:
        """A copy has arrays of its own, elsewhere."""
        return {name: value for name, value in self.__dict__.items() if name not in ("addresses", "sorted_addresses")}

    @property
    def strides(self) -> tuple[int, int]:
        """Rows from one step to the next in the user's arrays, and from one instance to the next."""
        return (1, self.n_steps) if self.batch_first else (self.n_instances, 1)

    @property
    def instance_of_row(self) -> Array:
        """The place of each row's instance in the sorted order."""
        ranges = np.arange(self.n_rows) - np.repeat(self.offsets[:-1], self.counts)
        return np.asarray(ranges, dtype=np.intp)

    @cached_property
    def places(self) -> Array:
        """(n_rows,): where each row lies in the user's arrays, counted in rows."""
        steps, instances = np.repeat(np.arange(self.n_steps), self.counts), self.instance_of_row
        times = self.sorted_lengths[instances] - 1 - steps if self.reverse else steps
        by_step, by_instance = self.strides
        return np.asarray(times * by_step + self.order[instances] * by_instance)

    def pack(self, array: Array) -> Array:
        """(*leading, ...) -> (n_rows, ...)."""
        if len(self.leading) == 1:
            return array
        flat = array.reshape(self.n_steps * self.n_instances, *array.shape[2:])
        return flat if self.plain else flat[self.places]

    def unpack(self, rows: Array) -> Array:
        """(n_rows, ...) -> (*leading, ...), zeros where nothing ran."""
        if self.plain:
            return rows.reshape(*self.leading, *rows.shape[1:])
        result = np.zeros((self.n_steps * self.n_instances, *rows.shape[1:]), rows.dtype)
        result[self.places] = rows
        return result.reshape(*self.leading, *rows.shape[1:])

    def sort(self, array: Array) -> Array:
        """(n_instances, ...) in the order of the rows; always a copy."""
        return array[self.order]

    def unsort(self, array: Array) -> Array:
        """Back from the order of the rows; always a copy."""
        result = np.empty_like(array)
        result[self.order] = array
        return result

    def total_per_instance(self, rows: Array) -> Array:
        """(n_rows, ...) -> (n_instances, ...): the sum over the steps of each instance."""
        if self._lengths is None:
            shape = (self.n_steps, self.n_instances, *rows.shape[1:])
            return np.asarray(rows.reshape(shape).sum(axis=0, dtype=rows.dtype))
        result = np.zeros((self.n_instances, *rows.shape[1:]), rows.dtype)
        for start, count in zip(self.offsets[:-1], self.counts, strict=True):
            result[:count] += rows[start : start + count]
        return result
