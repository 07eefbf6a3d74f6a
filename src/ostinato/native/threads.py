"""How many threads native code uses, and the workers that run its parts.

A part is a call of machine code, which releases the GIL. The caller runs the first part itself. There is one set of workers:
when another Python thread has it, a run stays on its own thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from operator import call
from queue import SimpleQueue
from typing import Any

from ..calls import answering
from ..checks import is_whole
from ..errors import OptionError, lay_out
from ..process import forking
from ..process.cores import available

Part = tuple[Callable[[int], object], int]


class _Workers:
    """Threads that wait for parts of a run."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._queues: list[SimpleQueue[Part]] = []
        self._done: SimpleQueue[None] = SimpleQueue()
        self._default: int | None = None  # not looked yet
        self.chosen: int | None = None

    @property
    def count(self) -> int:
        """How many threads a run may use: what was chosen; else what the system allows, found out once."""
        if self.chosen is not None:
            return self.chosen
        if self._default is None:
            self._default = available()
        return self._default

    def choose(self, n: int | None) -> None:
        """Use so many; None for what the system allows now."""
        default = available() if n is None else None
        self.chosen, self._default = n, default

    def run(self, function: Callable[[int], object], arguments: Sequence[int]) -> bool:
        """Call the function with every argument, side by side; False, and it is not done, if others use the workers.

        False too in a child process that a signal's handler forked off in the middle: the other parts have nobody there.
        """
        busy, queues, done = self._busy, self._queues, self._done
        if not busy.acquire(blocking=False):
            return False
        try:
            while len(queues) < len(arguments) - 1:
                queue: SimpleQueue[Part] = SimpleQueue()
                threading.Thread(target=_work, args=(queue, done), daemon=True, name="ostinato").start()
                queues.append(queue)
            # handed out and begun in one go: an interrupt in between would leave the others waiting for this part for ever
            parts = [(function, argument) for argument in arguments[1:]]
            calls: list[Callable[[Any], object]] = [queue.put for queue in queues[: len(parts)]]
            things: list[Any] = [*parts, arguments[0]]
            deque(map(call, [*calls, function], things), maxlen=0)
            self._wait(done, len(parts))
        finally:
            busy.release()
        return queues is self._queues

    def _wait(self, done: SimpleQueue[None], count: int) -> None:
        """Until so many parts are done, whatever happens meanwhile: they write to memory that the caller holds."""
        while count:
            try:
                done.get()
            except BaseException:  # an interrupt, which goes on its way when the parts are done
                self._wait(done, count)
                raise
            count -= 1

    def forget(self) -> None:
        """In a child process there are no workers, and it may have been given other cores."""
        for _ in self._queues:
            self._done.put(None)  # nobody else ends the wait of a run that is under way in this very thread
        self._busy, self._queues, self._done = threading.Lock(), [], SimpleQueue()
        self._default = None


def _work(queue: SimpleQueue[Part], done: SimpleQueue[None]) -> None:
    while True:
        function, argument = queue.get()
        try:
            function(argument)
        finally:
            done.put(None)


WORKERS = _Workers()
forking.in_child(WORKERS.forget)


@answering
def set_threads(n: int | None) -> None:
    """How many threads a run of native code may use: from 1 up; None for the default, which is looked up again.

    The default is the environment variable OSTINATO_THREADS if it is set, else the smallest of the cores that the process may
    run on, the limit of its control group (a container's), and OMP_NUM_THREADS. A number given here beats them all.
    Results are the same, bit for bit, for every number. Small work stays on one thread.

    Raises:
        OptionError: `n` is no whole number from 1 up; or it is None, and OSTINATO_THREADS is no such number.
    """
    if n is not None and not is_whole(n, 1):
        raise OptionError(lay_out(f"the number of threads is a whole number from 1 up, or None for the default, not {n!r}"))
    WORKERS.choose(None if n is None else int(n))


def get_threads() -> int:
    """How many threads a run of native code may use.

    Raises:
        OptionError: the environment variable OSTINATO_THREADS is set, and is no whole number from 1 up.
    """
    return WORKERS.count
