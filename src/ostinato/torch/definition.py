"""What a program means, in PyTorch's own ops: ir/interpret.py once more, with tensors.

It is what everything else of this door is compared with, and what runs where native code does not: on other devices, for second
derivatives, forward mode, mapped weights. A forward program writes nothing in place, so all of PyTorch's transformations go
through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..ir.graph import Node, Program, Value
from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from .op_torch import compute


@dataclass
class Run:
    """Outputs (n_rows, ...) and final states (n_instances, ...), instances sorted as the timeline has them."""

    outputs: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)


def run(
    program: Program, timeline: Timeline, values: Mapping[str, Tensor], weights: Mapping[str, Tensor],
    reset: Tensor | None = None,
) -> Run:  # fmt: skip
    """Run a forward program; the arguments are those of `ir.interpret.run`, as tensors of one device."""
    env: dict[str, Tensor] = {}
    for port in program.ports:
        if port.role in ("weight", "bias"):
            whole = weights[port.parameter]
            env[port.name] = (whole[port.block.slices] if port.block else whole)[None]
        elif port.role != "state":
            env[port.name] = values[port.name]
    example = next(iter([*values.values(), *weights.values()]))
    _at_once(program.before, env, timeline, example)
    states = _loop(program, env, timeline, values, reset, example)
    _at_once(program.after, env, timeline, example)
    outputs = {r.name: _rows(env[r.value.name], r.value, timeline) for r in program.results if r.role == "output"}
    return Run(outputs, states)


def _rows(tensor: Tensor, value: Value, timeline: Timeline) -> Tensor:
    """A value as one row for each step and instance."""
    if value.type.varies == Varies.STEP:
        return tensor
    if value.type.varies == Varies.INSTANCE:
        return tensor[torch.as_tensor(timeline.instance_of_row, device=tensor.device)]
    return tensor.expand(timeline.n_rows, *tensor.shape[1:])


def _one(node: Node, args: list[Tensor], example: Tensor) -> Tensor:
    """One op; a number of the cell's text goes where the tensors are."""
    result = compute(node.op, args, node.options)
    return result if args else result.to(example.device)


def _at_once(nodes: Iterable[Node], env: dict[str, Tensor], timeline: Timeline, example: Tensor) -> None:
    """Compute nodes for all steps at once."""
    for node in nodes:
        args = [env[arg.name] for arg in node.args]
        if max((arg.type.varies for arg in node.args), default=Varies.NEVER) == Varies.STEP:
            args = [
                _rows(a, v, timeline) if v.type.varies == Varies.INSTANCE else a for a, v in zip(args, node.args, strict=True)
            ]
        env[node.value.name] = _one(node, args, example)


def _loop(
    program: Program, env: dict[str, Tensor], timeline: Timeline, values: Mapping[str, Tensor], reset: Tensor | None,
    example: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Run the steps; `env` receives what is kept of every step. Returns the final states."""
    states = {p.name: values[p.name] for p in program.states}
    if not states:
        return {}
    initial = {p.name: p.initial for p in program.states}
    new = {r.name: r.value for r in program.results_with("state")}
    varies = {v.name: v.type.varies for v in [p.value for p in program.ports] + [n.value for n in program.before]}
    read = ({a.name for n in program.loop for a in n.args} | {v.name for v in new.values()}) & set(env)
    kept: dict[str, list[Tensor]] = {value.name: [] for value in program.stacked}
    for step in range(timeline.n_steps):
        start, count = int(timeline.offsets[step]), int(timeline.counts[step])
        cut = {Varies.STEP: slice(start, start + count), Varies.INSTANCE: slice(0, count), Varies.NEVER: slice(None)}
        here = {name: env[name][cut[varies[name]]] for name in read}
        for name, state in states.items():
            here[name] = state[:count]
            if reset is not None:
                chosen = reset[start : start + count].reshape(count, *(1,) * (state.ndim - 1))
                here[name] = torch.where(chosen, torch.full_like(here[name], initial[name]), here[name])
        for node in program.loop:
            here[node.value.name] = _one(node, [here[arg.name] for arg in node.args], example)
        for name, rows in kept.items():
            rows.append(here[name].expand(count, *here[name].shape[1:]))
        after = {name: here[new[name].name].expand(count, *state.shape[1:]) for name, state in states.items()}
        states = {n: torch.cat([after[n], state[count:]]) if count < len(state) else after[n] for n, state in states.items()}
    for value in program.stacked:
        rows = kept[value.name]
        env[value.name] = torch.cat(rows) if rows else _none(value, example)
    return states


def _none(value: Value, example: Tensor) -> Tensor:
    """No rows at all."""
    dtype: Any = torch.bool if value.type.dtype == "bool" else example.dtype
    return example.new_zeros((0, *value.type.sizes), dtype=dtype)
