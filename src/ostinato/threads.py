"""How many threads native code uses, and the workers that run its parts.

A part is a call of machine code, which releases the GIL. The caller runs the first part itself. There is one set of workers:
when another Python thread has it, a run stays on its own thread.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from operator import call
from queue import SimpleQueue
from typing import Any

from .boundary import is_whole
from .errors import OptionError, lay_out

Part = tuple[Callable[[int], object], int]


def available() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Workers:
    """Threads that wait for parts of a run."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._queues: list[SimpleQueue[Part]] = []
        self._done: SimpleQueue[None] = SimpleQueue()
        self.count = available()

    def run(self, function: Callable[[int], object], arguments: Sequence[int]) -> bool:
        """Call the function with every argument, side by side; False, and nothing done, if others use the workers."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            while len(self._queues) < len(arguments) - 1:
                queue: SimpleQueue[Part] = SimpleQueue()
                threading.Thread(target=_work, args=(queue, self._done), daemon=True, name="ostinato").start()
                self._queues.append(queue)
            # handed out and begun in one go: an interrupt in between would leave the others waiting for this part for ever
            parts = [(function, argument) for argument in arguments[1:]]
            calls: list[Callable[[Any], object]] = [queue.put for queue in self._queues[: len(parts)]]
            things: list[Any] = [*parts, arguments[0]]
            deque(map(call, [*calls, function], things), maxlen=0)
            self._wait(len(parts))
        finally:
            self._busy.release()
        return True

    def _wait(self, count: int) -> None:
        """Until so many parts are done, whatever happens meanwhile: they write to memory that the caller holds."""
        while count:
            try:
                self._done.get()
            except BaseException:  # an interrupt, which goes on its way when the parts are done
                self._wait(count)
                raise
            count -= 1

    def forget(self) -> None:
        """In a child process there are no workers."""
        self._busy, self._queues, self._done = threading.Lock(), [], SimpleQueue()


def _work(queue: SimpleQueue[Part], done: SimpleQueue[None]) -> None:
    while True:
        function, argument = queue.get()
        try:
            function(argument)
        finally:
            done.put(None)


WORKERS = _Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS.forget)


def set_threads(n: int | None) -> None:
    """How many threads a run of native code may use: from 1 up; None for all cores that the process may use (the default).

    Results are the same, bit for bit, for every number. Small work stays on one thread.

    Raises:
        OptionError: `n` is no whole number from 1 up.
    """
    if n is not None and (not is_whole(n) or n < 1):
        raise OptionError(lay_out(f"the number of threads is a whole number from 1 up, or None for all cores, not {n!r}"))
    WORKERS.count = available() if n is None else int(n)


def get_threads() -> int:
    """How many threads a run of native code may use."""
    return WORKERS.count
