"""Ctrl-C may come between any two instructions of Python: what must be done as a whole is done again until it is whole."""

from __future__ import annotations

from collections.abc import Callable


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
