"""One compilation in a process of its own: `python -m benchmarks.fresh who size steps [backend]` prints its seconds.

They are those of the first call, with everything that it builds, less those of a later one.
"""

import sys
import time


def builder(who, problem, backend):
    """A function that makes the contender. What it has to import is imported before, for it is no compilation."""
    from . import ours, peers

    if who == "ostinato":
        return lambda: ours.backward(problem, **({"backend": backend} if backend else {}))
    peer = peers.load([who])[0][who]
    if who == "torch":
        return lambda: peer.compiled(problem, 1)
    return lambda: peer.backward(problem, 1, unrollings=(1,))


def seconds(who, size, steps, backend=""):
    from .own_cells import ALL
    from .problems import Problem

    problem = Problem(ALL["layer_norm_lstm" if who == "torch" else "lstm"], int(size), 1, int(steps))
    _ = problem.merged, problem.X, problem.dY
    build = builder(who, problem, backend)
    start = time.perf_counter()
    run = build().run
    run()
    first = time.perf_counter() - start
    run()
    start = time.perf_counter()
    run()
    return first - (time.perf_counter() - start)


if __name__ == "__main__":
    from .machine import pin

    pin(1)
    print(seconds(*sys.argv[1:]))
