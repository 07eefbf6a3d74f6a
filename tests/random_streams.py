"""Streams in random use: opened, stepped, copied, interrupted, given wrong steps and other states, while weights change.

Each is compared at every step with a run over one step from the state where it should stand.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.random_data import drawn, given, wrong
from tests.random_moments import interrupted
from tests.random_subjects import Subject, all_same, check_own, named_results
from tests.random_travel import carry, refused


@dataclass
class Open:
    """An open stream: where it should stand, and of which weights, if not those of now."""

    stream: Any
    state: dict[str, Any]
    begin: dict[str, Any]
    n_instances: int | None
    contexts: dict[str, Any]
    weights: dict[str, Any] | None = None


def stream(subject: Subject) -> None:
    """Some steps of a new stream, or of one that has been open for a while."""
    rng = subject.rng
    if subject.reverse:
        refused(subject.thing.stream)
        return
    if not subject.streams or rng.random() < 0.4:
        subject.streams = [*subject.streams[-3:], opened(subject)]
    one = subject.streams[int(rng.integers(len(subject.streams)))]
    subject.log.append(f"stream: {one.stream!r}, weights {'of now' if one.weights is None else 'of before'}")
    for _ in range(int(rng.integers(1, 6))):
        turn = str(rng.choice(["step", "step", "step", "step", "copy", "wrong", "assign", "reset"]))
        if turn == "copy":
            # the other one goes on by itself, from here
            way, transported = carry(rng, one.stream)
            subject.log.append(f"  stream by {way}")
            own = one.weights if way == "copy" else snapshot(subject, one)
            subject.streams.append(Open(transported, one.state, one.begin, one.n_instances, one.contexts, own))
        elif turn == "wrong":
            name, sizes = next(iter(subject.inputs.items()))
            bad, way = wrong(rng, np.zeros((*(() if one.n_instances is None else (one.n_instances,)), *sizes)))
            subject.log.append(f"  {name} is {way}")
            if len(subject.inputs) == 1:
                refused(one.stream, bad)
        elif turn == "assign" and one.state:
            one.state = {name: drawn(rng, np.shape(s), s.dtype.name) for name, s in one.state.items()}
            one.stream.state = {name: s.copy() for name, s in one.state.items()}
        elif turn == "reset":
            one.state = one.begin
            one.stream.reset()
        else:
            step(subject, one)


def opened(subject: Subject) -> Open:
    rng, dtype = subject.rng, subject.thing.dtype
    n_instances = None if rng.random() < 0.5 else int(rng.integers(0, 4))
    leading = () if n_instances is None else (n_instances,)
    contexts = {name: given(rng, (*leading, *sizes), dtype) for name, sizes in subject.contexts.items()}
    state = {name: given(rng, (*leading, *sizes), dtype) for name, sizes in subject.states.items() if rng.random() < 0.3}
    made = subject.thing.stream(
        state={n: g.value for n, g in state.items()} or None,
        n_instances=n_instances,
        **{n: g.value for n, g in contexts.items()},
    )
    for one in (*contexts.values(), *state.values()):
        one.check_untouched()
    initial = {
        f"{place}.{p.name}" if place else p.name: p.initial for place, at in subject.layers.items() for p in at.graph.states
    }
    begin = {n: np.full((*leading, *s), initial[n], dtype) for n, s in subject.states.items()}
    begin |= {n: g.plain for n, g in state.items()}
    return Open(made, begin, begin, n_instances, {n: g.plain for n, g in contexts.items()})


def snapshot(subject: Subject, one: Open) -> dict[str, Any]:
    return one.weights if one.weights is not None else dict(subject.weights)


def step(subject: Subject, one: Open) -> None:
    leading = () if one.n_instances is None else (one.n_instances,)
    x = {name: given(subject.rng, (*leading, *sizes), subject.thing.dtype) for name, sizes in subject.inputs.items()}
    if subject.rng.random() < 0.05:
        with contextlib.suppress(KeyboardInterrupt):
            interrupted(lambda: one.stream(*[g.value for g in x.values()]), subject.rng.random() * 1e-3)
        one.stream.state = one.state  # it may have taken any number of steps
    y = one.stream(*[g.value for g in x.values()])
    oracle = subject.oracle
    oracle.weights.update(snapshot(subject, one))
    axis = 1 if subject.thing.batch_first and one.n_instances is not None else 0
    values = [np.expand_dims(g.plain, axis) for g in x.values()]
    outputs, one.state = oracle.run(*values, *one.contexts.values(), state=one.state)
    expected = named_results(outputs, {})
    if subject.has_steps:
        expected = {name: array.take(0, axis) for name, array in expected.items()}
    found = named_results(y, {})
    all_same("a step", found, expected)
    check_own(found)
    all_same("the state behind a step", one.stream.state, one.state)
    for each in x.values():
        each.check_untouched()
    subject.keep("a step", found)
