"""Ctrl-C may come between any two instructions of Python.

What must be done as a whole is done again until it is whole; what can not be done again is done where no interrupt comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def whole(action: Callable[[], None]) -> None:
    """Do it; if an interrupt comes while it is being done, do it again, and let the interrupt go on its way then.

    Args:
        action: gives the same when it is done a second time, from wherever the first one came to.
    """
    try:
        action()
    except KeyboardInterrupt:
        whole(action)
        raise


def _until_over(thread: threading.Thread, done: list[Any]) -> None:
    """Wait for a thread that may have been started; one that has not begun within a second never was."""
    until = time.monotonic() + 1
    while not done and not thread.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    if thread.is_alive():
        thread.join()


def undisturbed(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, done to its end before an interrupt goes on its way.

    Handlers of signals run in the main thread alone, so there another thread does it and the main thread waits (0.1 ms).
    """

    @wraps(function)
    def waiting(*given: P.args, **named: P.kwargs) -> R:
        if threading.current_thread() is not threading.main_thread():
            return function(*given, **named)
        done: list[tuple[Any, BaseException | None]] = []

        def work() -> None:
            try:
                done.append((function(*given, **named), None))
            except BaseException as error:  # noqa: BLE001 - it goes on in the thread that waits
                done.append((None, error))

        thread = threading.Thread(target=work, name="ostinato")
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or the system has no more threads
            return function(*given, **named)
        except KeyboardInterrupt:  # while this thread waited for the other one to begin
            whole(partial(_until_over, thread, done))
            raise
        whole(thread.join)
        result, error = done.pop()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    return waiting
