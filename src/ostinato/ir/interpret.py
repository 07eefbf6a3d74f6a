"""The interpreter: the meaning of a program. One node is one NumPy expression; there is no pass, no cache, no optimisation.

Everything else is compared with it. An `Outcome` holds the results: rows for values that vary by step, one array per instance
for states and contexts, one array for weights. `run` works on rows; `run_as_given` takes and gives arrays as a user has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import ops
from .dtypes import DTYPES
from .graph import Node, Program, Value
from .shapes import Varies
from .timeline import Timeline

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Outcome:
    """What a run gave, by the names of the program's results."""

    outputs: dict[str, Array] = field(default_factory=dict)  # (n_rows, ...)
    states: dict[str, Array] = field(default_factory=dict)  # (n_instances, ...)
    records: dict[str, Array] = field(default_factory=dict)  # (n_rows, ...), (n_instances, ...) or (1, ...)
    placed: frozenset[str] = frozenset()  # those records that lie as the user's arrays do (native code)
    lease: object = None  # what the records live in (native code); they are read only while this is held
    gradients: list[Array] = field(default_factory=list)  # in the order of the program's gradient results


def run(
    program: Program,
    timeline: Timeline,
    values: Mapping[str, Array],
    weights: Mapping[str, Array],
    reset: Array | None = None,
) -> Outcome:
    """Run a program.

    Args:
        program: forward or backward.
        timeline: the steps and instances.
        values: for every port but weights and biases: (n_rows, ...) if it varies by step, (n_instances, ...) for contexts and
            for states (what they begin as).
        weights: every declared weight and bias, whole.
        reset: (n_rows,) true where the states return to their initial values before the step.
    """
    env: dict[str, Array] = {}
    for port in program.ports:
        if port.role in ("weight", "bias"):
            whole = weights[port.parameter]
            env[port.name] = (whole[port.block.slices] if port.block else whole)[None]
        elif port.role != "state":
            env[port.name] = values[port.name]
    with np.errstate(all="ignore"):
        _at_once(program.before, env, timeline)
        states = _loop(program, env, timeline, values, reset)
        _at_once(program.after, env, timeline)
    outcome = Outcome(states=states)
    for result in program.results:
        if result.role == "output":
            outcome.outputs[result.name] = _rows(env[result.value.name], result.value, timeline)
        elif result.role == "record":
            outcome.records[result.name] = env[result.value.name]
        elif result.role == "gradient":
            outcome.gradients.append(env[result.value.name])
    return outcome


def run_as_given(
    program: Program,
    timeline: Timeline,
    values: Mapping[str, Array],
    weights: Mapping[str, Array],
    reset: Array | None = None,
    placed: frozenset[str] = frozenset(),
) -> Outcome:
    """Run a program on arrays as a user has them: (*leading, ...) for what varies by step, instances in the user's order.

    What one program hands to another, masks and what is recorded, is rows; but for the records that `placed` names. Every
    output, state and gradient is an array that nobody else holds.
    """
    assert not placed, "the interpreter records rows"
    inside = {p.name: values[p.name] for p in program.ports if p.role not in ("weight", "bias")}
    for port in program.with_role("input", "adjoint"):
        inside[port.name] = timeline.pack(inside[port.name])
    for port in program.with_role("context", "state"):
        inside[port.name] = timeline.sort(inside[port.name])
    outcome = run(program, timeline, inside, weights, None if reset is None else timeline.pack(reset))
    outcome.outputs = {name: np.array(timeline.unpack(rows), order="C") for name, rows in outcome.outputs.items()}
    outcome.states = {name: timeline.unsort(array) for name, array in outcome.states.items()}
    for place, result in enumerate(program.results_with("gradient")):
        array, varies = outcome.gradients[place], result.value.type.varies
        if varies != Varies.NEVER:
            array = timeline.unpack(array) if varies == Varies.STEP else timeline.unsort(array)
        outcome.gradients[place] = np.array(array, order="C")
    return outcome


def _rows(array: Array, value: Value, timeline: Timeline) -> Array:
    """A value as one row for each step and instance."""
    if value.type.varies == Varies.STEP:
        return array
    if value.type.varies == Varies.INSTANCE:
        return array[timeline.instance_of_row]
    return np.broadcast_to(array, (timeline.n_rows, *array.shape[1:])).copy()


def _at_once(nodes: Iterable[Node], env: dict[str, Array], timeline: Timeline) -> None:
    """Compute nodes for all steps at once."""
    for node in nodes:
        args = [env[arg.name] for arg in node.args]
        if node.record is ops.total_per_instance:
            env[node.value.name] = timeline.total_per_instance(args[0])
            continue
        deepest = max((arg.type.varies for arg in node.args), default=Varies.NEVER)
        if deepest == Varies.STEP:
            args = [
                _rows(a, v, timeline) if v.type.varies == Varies.INSTANCE else a for a, v in zip(args, node.args, strict=True)
            ]
        env[node.value.name] = node.record.compute(args, node.options)


def _loop(
    program: Program, env: dict[str, Array], timeline: Timeline, values: Mapping[str, Array], reset: Array | None
) -> dict[str, Array]:
    """Run the steps; `env` receives the stacked values. Returns the final states."""
    backward = program.direction == "backward"
    states = {p.name: values[p.name].copy() for p in program.states}
    initial = {p.name: p.initial for p in program.states}
    new = {r.name: r.value for r in program.results_with("state")}
    kinds = {v.name: v.type.varies for v in [p.value for p in program.ports] + [n.value for n in program.before]}
    read = {a.name for n in program.loop for a in n.args} | {v.name for v in new.values()}
    fixed = {name: env[name] for name in read & set(env) if kinds[name] == Varies.NEVER}
    by_row = [name for name in read & set(env) if kinds[name] == Varies.STEP]
    by_instance = [name for name in read & set(env) if kinds[name] == Varies.INSTANCE]
    for value in program.stacked:
        env[value.name] = np.empty((timeline.n_rows, *value.type.sizes), DTYPES[value.type.dtype])
    if not program.states:
        return {}
    for step in range(timeline.n_steps - 1, -1, -1) if backward else range(timeline.n_steps):
        start, count = timeline.offsets[step], timeline.counts[step]
        rows = slice(start, start + count)
        here = dict(fixed)
        here.update((name, env[name][rows]) for name in by_row)
        here.update((name, env[name][:count]) for name in by_instance)
        for name, state in states.items():
            here[name] = state[:count]
            if reset is not None and not backward:
                here[name] = _where_rows(reset[rows], initial[name], here[name])
        for node in program.loop:
            here[node.value.name] = node.record.compute([here[arg.name] for arg in node.args], node.options)
        for value in program.stacked:
            env[value.name][rows] = here[value.name]
        # all new states before any is stored: one may be the old value of another
        after = {name: np.array(np.broadcast_to(here[new[name].name], states[name][:count].shape)) for name in states}
        for name, state in states.items():
            state[:count] = _where_rows(reset[rows], 0.0, after[name]) if backward and reset is not None else after[name]
    return states


def _where_rows(condition: Array, chosen: float, otherwise: Array) -> Array:
    """`chosen` in the rows where the condition holds."""
    result = otherwise.copy()
    result[condition] = chosen
    return result
