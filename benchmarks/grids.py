"""The grids: which pieces of work are measured. Every contender's results are checked before it is timed."""

from itertools import product

import numpy as np

from . import ours
from .models import BUILT_IN
from .own_cells import ALL, OWN
from .problems import TOLERANCE, Problem, Unsupported, relative_difference
from .results import OURS, Row
from .timing import alternating

SIZES, BATCHES = (16, 64, 128, 256, 512, 1024), (1, 8, 32, 128)
SHARE = 0.9  # of the wall's time that a process should have its core
N_STREAMED = 20  # steps that are checked
LSTM = "ostinato lstm"


def _chosen(wanted, default):
    return tuple(default) if wanted is None else tuple(wanted)


def cases(settings, models, sizes, batches):
    """Problems of a grid, narrowed to what was asked for."""
    names = [name for name in models if settings.cells is None or name in settings.cells]
    chosen = product(names, _chosen(settings.sizes, sizes), _chosen(settings.batches, batches))
    return [Problem(ALL[name], size, batch, settings.steps) for name, size, batch in chosen]


def forward(settings):
    """Built-in cells, outputs alone."""
    sizes, batches = ((16, 256), (1, 32)) if settings.quick else (SIZES, BATCHES)
    for problem in cases(settings, BUILT_IN, sizes, batches):
        yield sequence_row("forward", problem, settings)


def backward(settings):
    """Built-in cells, forward and the gradients of inputs and weights."""
    sizes, batches = ((16, 64), (1, 32)) if settings.quick else (SIZES[:-1], BATCHES)
    for problem in cases(settings, BUILT_IN, sizes, batches):
        yield sequence_row("backward", problem, settings)


def own(settings):
    """Cells that no library has, forward and backward, and what an operation costs in them against our own LSTM."""
    sizes, batches = ((64,), (1,)) if settings.quick else ((64, 256), (1, 32))
    problems = cases(settings, OWN, sizes, batches)
    for direction, problem in product(("forward", "backward"), problems):
        row = sequence_row(direction, problem, settings, grid=f"own {direction}", extra=(LSTM,))
        if {OURS, LSTM} <= set(row.times):
            lstm = Problem(ALL["lstm"], problem.size, problem.n_instances, problem.n_steps)
            own_cost, lstm_cost = (
                row.times[name].median / sum(p.product_operations) for name, p in ((OURS, problem), (LSTM, lstm))
            )
            row.details["per operation, LSTM = 1"] = own_cost / lstm_cost
        yield row


def stream(settings):
    """One step of one instance for each call."""
    sizes = (16, 64) if settings.quick else (16, 64, 256)
    for problem in cases(settings, BUILT_IN, sizes, (1,)):
        if problem.n_instances != 1:
            continue
        row = Row("stream", problem.model.name, problem.size, 1, 1)
        contenders = {OURS: ours.stream(problem, **settings.options)}
        collect(row, contenders, settings, lambda peer, p=problem: peer.stream(p, settings.threads))
        for name, contender in contenders.items():
            Y = np.stack([contender.results()["y"] for _ in range(N_STREAMED)])
            row.differences[name] = float(np.abs(Y - problem.expected[:N_STREAMED, 0]).max())
        yield timed(row, contenders, settings)


def sequence_row(direction, problem, settings, *, grid=None, extra=()):
    """Whole sequences: check, then time in turn."""
    row = Row(grid or direction, problem.model.name, problem.size, problem.n_instances, problem.n_steps)
    make = {"forward": ours.forward, "backward": ours.backward}[direction]
    contenders = {OURS: make(problem, **settings.options)}
    collect(row, contenders, settings, lambda peer: getattr(peer, direction)(problem, settings.threads))
    if direction == "forward":
        for name, contender in contenders.items():
            row.differences[name] = problem.output_difference(contender.results())
    else:
        _check_gradients(row, problem, contenders, settings)
    if LSTM in extra:
        lstm = Problem(ALL["lstm"], problem.size, problem.n_instances, problem.n_steps)
        contenders[LSTM] = make(lstm, **settings.options)
    timed(row, contenders, settings)
    if OURS in row.times:
        _add_rates(row, problem, settings.roofline, backward=direction == "backward")
    return row


def _check_gradients(row, problem, contenders, settings):
    """Ours against the slope in float64, the others against ours."""
    masked = ours.backward(problem, problem.masked_adjoints(), **settings.options).results()
    row.differences[OURS] = problem.gradient_difference(masked)
    if not row.differences[OURS] <= TOLERANCE:
        row.notes.append("the others are not timed: there is nothing right to check them with")
        for name in set(contenders) - {OURS}:
            contenders.pop(name)
    expected = contenders[OURS].results()
    for name in set(contenders) - {OURS}:
        row.differences[name] = relative_difference(contenders[name].results(), expected)


def collect(row, contenders, settings, make):
    """Add a contender of every peer that has such a thing."""
    for name, peer in settings.peers.items():
        try:
            contenders[name] = make(peer)
        except Unsupported as reason:
            row.details[name] = str(reason)


def timed(row, contenders, settings):
    """Time those whose results are right; say which are not."""
    for name, difference in row.differences.items():
        if not difference <= TOLERANCE:
            row.notes.append(f"{name} is wrong and not timed: it differs by {difference:.2g}")
            contenders.pop(name)
    runs = {name: contender.run for name, contender in contenders.items()}
    row.times = alternating(runs, settings.seconds, clock=settings.clock)
    least = min((times.share for times in row.times.values()), default=1.0)
    if settings.threads == 1 and least < SHARE:
        row.notes.append(f"others had the core for up to {1 - least:.0%} of the time")
    return row


def _add_rates(row, problem, roofline, *, backward):
    """Operations of the products in a second; how much of the machine that is."""
    seconds = row.times[OURS].median
    rate = sum(problem.product_operations) * (3 if backward else 1) / seconds
    row.details["GFLOP/s"] = rate / 1e9
    if roofline is None:
        return
    row.details["of peak"] = rate / roofline.peak["f32"]
    if problem.n_instances == 1:  # every step reads all recurrent weights for a single instance: loads are what it costs
        level = roofline.level(problem.recurrent_bytes)
        loads = problem.recurrent_bytes * problem.n_steps * (2 if backward else 1) / seconds
        row.details["weights in"], row.details["of its bandwidth"] = level, loads / roofline.bandwidth[level]
    row.details["of roofline"] = roofline.seconds(problem, backward=backward) / seconds
