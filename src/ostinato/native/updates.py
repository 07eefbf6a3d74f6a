"""Update rules as machine code: steps of numbers over all the elements of some arrays, by one thread or several.

FlatStep    the machine code of a step (lower/flat.py, which says what a job and a table are), compiled on first use
FlatRun     its tables for certain arrays: filled in by `prepare`, made by `run`
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..ir.graph import Graph
from ..lower.array_objects import HEADER
from ..lower.flat import ARRAYS, COUNT, GIVEN, NEW, NEXT, SCALARS, SHIFT, SIZE, FlatWalk, is_of_numbers
from ..lower.target import Target
from .code import FUNCTION, code_for
from .memory import READABLE, Array, address
from .targets import host
from .threads import WORKERS

THREAD = 1 << 16  # elements that are worth a thread of their own; chosen by trial
LINE = 64  # elements by which threads share an array: they meet at the end of a cache line, whatever the dtype


class FlatStep(FlatWalk):
    """A walk over memory as machine code, for this CPU unless another target is named."""

    def __init__(self, graph: Graph, own: Sequence[str], target: Target | None = None) -> None:
        super().__init__(graph, own, target or host())

    @classmethod
    def of(cls, graph: Graph, own: Sequence[str]) -> FlatStep | None:
        """The step as one walk; None where it is more than ops on numbers."""
        return cls(graph, own) if is_of_numbers(graph) else None

    @cached_property
    def function(self) -> Any:
        """What runs a table; compiled when it is first asked for."""
        text = f"flat {', '.join(self.own)}, object headers of {HEADER} bytes\n{self.graph}"
        self._code = code_for(text, self.target, self.graph.name, self.module)  # kept: with it goes its memory
        return FUNCTION(self._code.address("ostinato_flat"))

    def plan(self, sizes: Sequence[int], n_threads: int) -> list[list[tuple[int, int, int]]]:
        """The jobs of each thread, for arrays of these sizes: which array, its first element, and how many."""
        total = sum(sizes)
        threads = []
        for thread in range(n_threads):
            low, high = (total if t == n_threads else total * t // n_threads // LINE * LINE for t in (thread, thread + 1))
            begin, jobs = 0, []
            for row, size in enumerate(sizes):
                first, last = max(low, begin), min(high, begin + size)
                if first < last or not total:
                    jobs.append((row, first - begin, last - first))
                begin += size
            threads.append(jobs)
        return threads


class FlatRun:
    """A step of certain arrays, to be made again and again; by one thread at a time.

    Attributes:
        done: whether the step that was prepared is made. An interrupt finds all of it done, or nothing.
    """

    def __init__(
        self, step: FlatStep, sizes: Sequence[int], before: Sequence[Sequence[Array]], after: Sequence[Sequence[Array]]
    ) -> None:  # fmt: skip
        """All arrays, here and in `prepare`, are contiguous and of the dtype of the step.

        Args:
            sizes: of the arrays of instances.
            before, after: of each of them the own states but the first; they may be the same arrays.
        """
        self.step, self._sizes, self._alive = step, tuple(sizes), (before, after)
        n, self._most = len(before), max(1, sum(sizes) // THREAD)
        of_states = [array for group in (before, after) for kept in zip(*group, strict=True) for array in kept]
        self._objects = np.zeros(GIVEN * n + len(of_states), np.int64)  # array by array, each of all jobs
        self._addresses = np.zeros(len(self._objects), np.int64)  # used only where NumPy's objects are not as expected
        self._given, self._objects[GIVEN * n :] = self._objects[: GIVEN * n], self._pointers(of_states, GIVEN * n)
        self._scalars = np.zeros(len(step.scalars), step.dtype)
        self._new = np.zeros(max(1, len(step.shared_states)), step.dtype)
        self._snapshot: Mapping[str, Array] | None = None
        self._tables: dict[int, tuple[Array, list[tuple[int, int]]]] = {}  # threads -> their jobs

    def prepare(
        self, inputs: Iterable[Array], before: Iterable[Array], after: Iterable[Array], scale: float,
        settings: Mapping[str, Array], shared: Mapping[str, Array],
    ) -> None:  # fmt: skip
        """What the next step is of.

        Args:
            inputs, before, after: of each array of instances its input, its first state, and where the new one is written.
            scale: the factor of the inputs.
            settings: the weights of the cell; looked at again only where it is another object.
            shared: of each shared state its value.
        """
        step, self._given[:] = self.step, self._pointers([*inputs, *before, *after], 0)
        scalars, n = self._scalars, 1 + len(step.settings)
        scalars[0] = scale
        if settings is not self._snapshot:
            scalars[1:n] = [settings[name] for name in step.settings]
            self._snapshot = settings
        for place, state in enumerate(step.shared_states, n):
            scalars[place] = shared[state]
        n_threads = min(WORKERS.count, self._most)
        self._table, self._lines = self._tables.get(n_threads) or self._table_of(n_threads)
        for line, (n_jobs, _) in enumerate(self._lines):
            self._table[line, 0] = n_jobs

    def _pointers(self, arrays: Sequence[Array], first: int) -> list[int]:
        """Pointers to the objects of arrays, the first of which has this place among all; the caller keeps the arrays."""
        if READABLE:
            return list(map(id, arrays))
        own = self._addresses[first : first + len(arrays)]  # made to look like the fields of objects, without a header
        own[:] = [address(array) for array in arrays]
        return [address(own) + 8 * i - HEADER for i in range(len(own))]

    def run(self) -> None:
        """Make the step that is prepared, once."""
        function, where = self.step.function, [at for _, at in self._lines]
        if len(where) == 1 or not WORKERS.run(function, where):
            deque(map(function, where), maxlen=0)  # without an instruction of Python in between

    def _table_of(self, n_threads: int) -> tuple[Array, list[tuple[int, int]]]:
        """A line for each thread; and of each line how many jobs it has, and where it lies."""
        threads = self.step.plan(self._sizes, n_threads)
        table = np.zeros((n_threads, 1 + max(map(len, threads)) * SIZE), np.int64)
        for line, given in zip(table, threads, strict=True):
            jobs = line[1 : 1 + len(given) * SIZE].reshape(len(given), SIZE)
            rows, firsts, jobs[:, COUNT] = np.array(given, np.int64).reshape(-1, 3).T
            jobs[:, SHIFT], jobs[:, ARRAYS] = firsts * self.step.dtype.itemsize, address(self._objects) + 8 * rows
            jobs[:, SCALARS], jobs[:, NEW], jobs[:, NEXT] = address(self._scalars), address(self._new), 8 * len(self._sizes)
        lines = [(len(given), address(line)) for line, given in zip(table, threads, strict=True)]
        self._tables[n_threads] = table, lines
        return table, lines

    @property
    def done(self) -> bool:
        return not any(self._table[line, 0] for line in range(len(self._lines)))

    @property
    def shared(self) -> dict[str, Array]:
        """The new value of each shared state, once the run is done."""
        return {state: self._new[place].copy() for place, state in enumerate(self.step.shared_states)}
