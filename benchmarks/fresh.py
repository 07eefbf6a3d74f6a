"""One compilation in a process of its own: `python -m benchmarks.fresh who size steps clock [backend]`.

It prints two numbers of seconds. The first is the import: for us, of everything that a native layer needs, NumPy and llvmlite
included. The second is the rest of the first call, with everything that it builds, less a later call. The clock is the wall's,
or counts what the processor does.
"""

import sys
import time
from importlib import import_module


def builder(who, problem, backend):
    """A function that makes the contender."""
    from . import ours, peers

    if who == "ostinato":
        return lambda: ours.backward(problem, **({"backend": backend} if backend else {}))
    peer = peers.load([who])[0][who]
    if who == "torch":
        return lambda: peer.compiled(problem, 1)
    return lambda: peer.backward(problem, 1, unrollings=(1,))


def imported(who, clock, backend):
    """Seconds to import a library, with all that it would else load in the first call."""
    start = clock()
    import_module(who)
    if who == "ostinato" and backend in ("", "native"):
        import_module("ostinato.native.automatic")
    return clock() - start


def seconds(who, size, steps, clock="wall", backend=""):
    """(of the import, of the compilation)."""
    clock = {"wall": time.perf_counter, "processor": time.process_time}[clock]
    before = imported(who, clock, backend)
    from .own_cells import ALL
    from .problems import Problem

    problem = Problem(ALL["layer_norm_lstm" if who == "torch" else "lstm"], int(size), 1, int(steps))
    _ = problem.merged, problem.X, problem.dY
    build = builder(who, problem, backend)
    start = clock()
    run = build().run
    run()
    first = clock() - start
    run()
    start = clock()
    run()
    return before, first - (clock() - start)


if __name__ == "__main__":
    from .machine import pin

    pin(1)
    print(*seconds(*sys.argv[1:]))
