"""Ostinato with one LLVM against Ostinato with another.

    taskset -c 0 python -m benchmarks.versions .venv-oldest/bin/python ...

Every interpreter that is named has an llvmlite of its own, and a process that stays. The cases are timed in turn; printed are
seconds with the interpreter that this runs in, and the others as ratios to it (above 1: slower).
"""

import json
import statistics
import subprocess
import sys
import time

N_TURNS = 15
SECONDS = 0.05  # of one burst
CASES = [
    (cell, size, n_instances, backward)
    for cell in ("recurrent", "gru", "lstm", "lstm_layer_norm")
    for size, n_instances in ((16, 1), (64, 32), (256, 1), (256, 32))
    for backward in (False, True)
]
STEPS = 100


def prepared(name, size, n_instances, backward):
    """A call to be timed."""
    import numpy as np

    from ostinato import Layer, cells

    layer = Layer(getattr(cells, name), n_inputs=size, n_neurons=size, backend="native")
    X = np.random.default_rng(0).standard_normal((STEPS, n_instances, size)).astype(np.float32)
    if not backward:
        return lambda: layer(X)

    def both():
        Y, pullback = layer.vjp(X)
        pullback(Y)

    return both


def work():
    """Answer each line of the standard input, a case, with the seconds of a call."""
    from ostinato import set_threads

    set_threads(1)
    calls = {}
    for line in sys.stdin:
        case = tuple(json.loads(line))
        first = time.perf_counter()
        if case not in calls:
            calls[case] = prepared(*case)
            calls[case]()
            print(json.dumps(time.perf_counter() - first), flush=True)
            continue
        run, count, start = calls[case], 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            run()
            count += 1
        print(json.dumps((time.perf_counter() - start) / count), flush=True)


def started(python):
    command = [python, "-m", "benchmarks.versions", "--work"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603


def asked(process, case):
    process.stdin.write(json.dumps(case) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def version(python):
    program = "import llvmlite.binding as b, llvmlite; print(llvmlite.__version__, 'LLVM', *b.llvm_version_info[:1])"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def main(others):
    pythons = [sys.executable, *others]
    print("llvmlite", " | ".join(map(version, pythons)))
    processes = [started(python) for python in pythons]
    ratios = [[] for _ in others]
    for case in CASES:
        compiled = [asked(process, case) for process in processes]
        times = [[asked(process, case) for process in processes] for _ in range(N_TURNS)]
        ours = statistics.median(turn[0] for turn in times)
        found = [statistics.median(turn[i + 1] / turn[0] for turn in times) for i in range(len(others))]
        for ratio, kept in zip(found, ratios, strict=True):
            kept.append(ratio)
        name, size, n_instances, backward = case
        what = f"{name} {size}/{n_instances} {'forward + backward' if backward else 'forward'}"
        first = ", ".join(f"{seconds:.2f}" for seconds in compiled)
        print(
            f"{what:45} {ours * 1e3:9.3f} ms   {'  '.join(f'{ratio:.2f}' for ratio in found)}   first call {first} s",
            flush=True,
        )
    print("geometric mean", "  ".join(f"{statistics.geometric_mean(kept):.3f}" for kept in ratios))
    for process in processes:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        main(sys.argv[1:])
