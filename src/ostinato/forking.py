"""What a process that is forked from this one begins with: locks that nobody holds, whatever other threads were doing.

A fork copies the memory and one thread, the one that asked for it. A lock that another thread held at that moment would be held
in the child for ever, and what that thread was changing would stay half changed. Two remedies, each for its kind:

* `renewed`: a lock that guards nothing but the order of threads (under it, something is made and then put in its place in one
  go) is free again in the child. What the other thread was making is made again there when it is needed.
* `held`: what can not be cut in two (a call into LLVM, the import of a module) has its lock taken by the thread that forks, so
  the fork waits until that call or import is done, which is some hundredths of a second.

They are taken in the order in which they were handed in, and nobody who has a later one asks for an earlier one.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any
from weakref import WeakSet

_RENEWED: WeakSet[Any] = WeakSet()
_HELD: list[AbstractContextManager[Any]] = []
_TAKEN: list[AbstractContextManager[Any]] = []  # by the fork that goes on now, one at a time: the first of _HELD sees to that
_AFTERWARDS: list[Callable[[], None]] = []


def renewed(lock: Any) -> Any:
    """The lock, which is free in every child process."""
    _RENEWED.add(lock)
    return lock


def new_lock() -> Any:
    """A lock that is free in every child process. Its owner may take it again: a signal's handler may run a layer too."""
    return renewed(threading.RLock())


def held(lock: AbstractContextManager[Any]) -> None:
    """From now on a fork waits for this lock, and gives it back in both processes."""
    if lock not in _HELD:
        _HELD.append(lock)


def in_child(action: Callable[[], None]) -> None:
    """From now on a child process begins with this."""
    _AFTERWARDS.append(action)


IMPORTING = threading.RLock()  # while modules of native code are loaded
held(IMPORTING)


def _before() -> None:
    for lock in _HELD:
        lock.__enter__()
        _TAKEN.append(lock)


def _give_back() -> None:
    while _TAKEN:
        _TAKEN.pop().__exit__(None, None, None)


def _begin_child() -> None:
    _give_back()
    for lock in _RENEWED:
        # the thread that forked may be in the middle of something itself, and will give its lock back
        if not getattr(lock, "_is_owned", bool)():
            lock._at_fork_reinit()  # noqa: SLF001 - the standard library does this to its own
    _renew_properties()
    for action in _AFTERWARDS:
        action()


def _renew_properties() -> None:
    """Before Python 3.12 each `functools.cached_property` has a lock, for all objects of its class together."""
    if sys.version_info >= (3, 12):
        return
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            for kind in [value for value in vars(module).values() if isinstance(value, type)]:
                for entry in vars(kind).values():
                    if isinstance(entry, functools.cached_property):
                        with suppress(AttributeError):
                            entry.lock = threading.RLock()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_give_back, after_in_child=_begin_child)
