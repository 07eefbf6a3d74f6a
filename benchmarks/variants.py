"""Ostinato against itself: plans, threads, and the time to compile."""

import inspect
import json
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import ostinato
from ostinato import Layer

from . import grids, machine, ours
from .problems import Problem
from .results import OURS, Row
from .timing import Times

PLANS = ("separate", "fused", "hoisted", "automatic")
FRESH = ("cold", "cached")
N_FRESH = 3  # processes for each figure


def plans(settings):
    """Every plan on sequences of several lengths; the bits must be the same."""
    if "plan" not in inspect.signature(Layer).parameters:
        yield "plans: not in this version"
        return
    names = ("lstm",) if settings.quick else ("gru", "lstm")
    sizes, batches = ((64,), (1,)) if settings.quick else ((64, 256), (1, 8, 32))
    for base, steps in product(grids.cases(settings, names, sizes, batches), (1, 10, settings.steps)):
        problem = Problem(base.model, base.size, base.n_instances, steps)
        row = Row("plans", problem.model.name, problem.size, problem.n_instances, steps)
        contenders = {f"{OURS} {plan}": ours.forward(problem, plan=plan, **settings.options) for plan in PLANS}
        outputs = {name: contender.results() for name, contender in contenders.items()}
        first = next(iter(outputs.values()))["Y"]
        for name, found in outputs.items():
            row.differences[name] = problem.output_difference(found)
            if (found["Y"] != first).any():
                row.notes.append(f"{name} gives other bits")
        yield grids.timed(row, contenders, settings)


def threads(settings):
    """As many threads against one of ours, and against as many of the peers'; in a process that has the cores."""
    if not hasattr(ostinato, "set_threads"):
        yield "threads: not in this version"
    elif settings.threads > 1:
        yield from _threads(settings)
    elif len(settings.allowed_cores) < 2:
        yield f"threads: this process may use one core alone ({settings.allowed_cores[0]})"
    else:
        yield from _in_a_process_with(2, settings)


def _threads(settings):
    sizes, batches = ((256,), (1, 32)) if settings.quick else ((64, 256, 512), (1, 8, 32, 128))
    for problem in grids.cases(settings, ("gru", "lstm"), sizes, batches):
        row = Row("threads", problem.model.name, problem.size, problem.n_instances, problem.n_steps)
        contenders = {}
        for name, count in ((OURS, settings.threads), (f"{OURS} on one", 1)):
            contenders[name] = _with_threads(ours.forward(problem, **settings.options), count)
        grids.collect(row, contenders, settings, lambda peer, p=problem: peer.forward(p, settings.threads))
        for name, contender in contenders.items():
            row.differences[name] = problem.output_difference(contender.results())
        grids.timed(row, contenders, settings)
        if OURS in row.times:
            row.details["against one thread"] = row.times[f"{OURS} on one"].median / row.times[OURS].median
        yield row


def _with_threads(contender, count):
    def run():
        ostinato.set_threads(count)
        return contender.run()

    return type(contender)(run, contender.read)


def _in_a_process_with(count, settings):
    """This process is pinned to one core, and its libraries know it: another one is needed."""
    mine = machine.allowed_cores()
    with tempfile.TemporaryDirectory() as folder:
        command = ["--grid", "threads", "--threads", count, "--seconds", settings.seconds, "--steps", settings.steps]
        command += ["--output", folder, "--peers", *settings.peers]
        for name in ("cells", "sizes", "batches"):
            values = getattr(settings, name)
            command += [f"--{name}", *values] if values else []
        command += ["--quick"] if settings.quick else []
        command += ["--backend", settings.options["backend"]] if settings.options else []
        machine.stay_on(settings.allowed_cores)  # a child inherits the cores
        try:
            _python("-m", "benchmarks", *command)
        finally:
            machine.stay_on(mine)
        for row in json.loads((Path(folder) / "results.json").read_text())["rows"]:
            yield Row(**row | {"times": {name: Times(**times) for name, times in row["times"].items()}})


def compile_time(settings):
    """Seconds until the first result in a fresh process, less those of the next one: LSTM, forward and backward.

    What the import takes is a contender of its own. "cold" finds an empty cache: it measures the machine too.
    """
    for size in (64,) if settings.quick else (64, 256):
        row = Row("compile", "lstm", size, 1, settings.steps)
        found = {}
        for _ in range(N_FRESH):
            with tempfile.TemporaryDirectory() as folder:
                for state in FRESH:
                    _note(found, OURS, state, _fresh("ostinato", size, settings, OSTINATO_CACHE=folder))
            if "jax" in settings.peers:
                _note(found, "jax", "cold", _fresh("jax", size, settings))
        row.times = {name: Times.of(samples) for name, samples in found.items()}
        yield row
    if settings.torch_compile and "torch" in settings.peers:
        row = Row("compile", "layer_norm_lstm", 64, 1, settings.steps)
        row.times["torch.compile"] = Times.of([_fresh("torch", 64, settings)[1]])
        yield row


def _note(found, name, state, seconds):
    for what, taken in zip(("import", state), seconds, strict=True):
        found.setdefault(f"{name} {what}", []).append(taken)


def _fresh(who, size, settings, **variables):
    backend = settings.options.get("backend", "")
    out = _python("-m", "benchmarks.fresh", who, size, settings.steps, settings.clock, backend, **variables)
    return [float(number) for number in out.splitlines()[-1].split()]


def _python(*arguments, **variables):
    command = [sys.executable, *map(str, arguments)]
    environment = os.environ | variables
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=environment, cwd=root, check=False, text=True, capture_output=True)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout
