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
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
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
    if sys.version_info < (3, 12):
        _look_for_properties()


def _give_back() -> None:
    while _TAKEN:
        _TAKEN.pop().__exit__(None, None, None)


def _begin_child() -> None:
    _give_back()
    for lock in _RENEWED:
        # the thread that forked may be in the middle of something itself, and will give its lock back
        if not getattr(lock, "_is_owned", bool)():
            lock._at_fork_reinit()  # noqa: SLF001 - the standard library does this to its own
    for entry in _PROPERTIES.values():
        entry.lock = threading.RLock()
    for action in _AFTERWARDS:
        action()


_PROPERTIES: dict[int, Any] = {}  # before Python 3.12 each cached_property has a lock, for all objects of its class together
_LOOKED_THROUGH: set[str] = set()  # the modules of ours whose properties are known


def _look_for_properties() -> None:
    """Done by the parent: the child would have to copy what it looks at."""
    package = __name__.partition(".")[0]
    # lists of their own: other threads may load modules meanwhile
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == package and name not in _LOOKED_THROUGH]:
        module = sys.modules[name]
        kinds = [value for value in list(vars(module).values()) if isinstance(value, type)]
        entries = [entry for kind in kinds for entry in vars(kind).values() if isinstance(entry, functools.cached_property)]
        _PROPERTIES.update({id(entry): entry for entry in entries if hasattr(entry, "lock")})
        if not getattr(module.__spec__, "_initializing", False):
            _LOOKED_THROUGH.add(name)


# under it a process finds its first name of a temporary file; the standard library does not renew it
renewed(getattr(tempfile, "_once_lock", threading.Lock()))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_give_back, after_in_child=_begin_child)
