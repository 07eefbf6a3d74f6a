"""Moments that nobody chooses: an interrupt by a timer, a fork while another thread works."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0  # seconds that a child may take


def interrupted(action: Callable[[], Any], seconds: float) -> bool:
    """Do it again and again until Ctrl-C comes, after so many seconds; whether it came out of the action.

    Only in the main thread, to which signals go.
    """
    fired = False

    def handler(*_: Any) -> None:
        nonlocal fired
        fired = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
        while not fired:
            action()
    except KeyboardInterrupt:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return False  # where Python can only print it, as in a finaliser


class Beside:
    """Another thread that does something again and again until the block ends."""

    def __init__(self, work: Callable[[], Any] | None) -> None:
        self.work, self.ended, self.error = work, False, None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self.ended and self.work is not None:
                self.work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the block ends
            self.error = error

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.ended = True
        self.thread.join()
        if self.error is not None:
            raise self.error


def forked(work: Callable[[], None], beside: Callable[[], Any] | None = None, wait: float = 0.0) -> None:
    """Do it in a child process, begun while another thread does something.

    Raises:
        AssertionError: it failed there, and how; or it did not come to an end.
    """
    reading, writing = os.pipe()
    with Beside(beside):
        time.sleep(wait)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own doubts about forks among threads
            child = os.fork()
        if not child:
            said = b"fine"
            try:
                work()
            except BaseException:  # noqa: BLE001 - it goes to the parent
                said = traceback.format_exc()[-2000:].encode()
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], PATIENCE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        said = os.read(reading, 4000) if ready else b"the child hangs"
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    assert said == b"fine", f"in a child process: {said.decode() or 'it has crashed'}"
