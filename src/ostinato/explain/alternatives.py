"""The plans of a cell beside each other: the same sums, in more or fewer products, in the loop or before it.

    separate    every product by itself, as it is written, at every step
    fused       products side by side, all of them at every step
    hoisted     products side by side, and those that no state reaches before the loop, for all steps at once

These are the plans of a layer (`Layer(..., plan="fused")`), counted as what_runs.py says. NumPy has no plan: what it runs
stands in the row `hoisted`, beside the cell as it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..checks import is_number
from ..compiler import Compiled
from ..errors import OptionError, lay_out
from ..ir.graph import Graph, Node
from ..passes.schedule import schedule
from .what_runs import WhatRuns, of_program


@dataclass(frozen=True)
class Plan:
    """One way to run the products of a cell, for one call.

    Attributes:
        name: see the module.
        once: products that run once per sequence.
        each_step: products that run at every step.
        calls: how many products the call starts.
        multiply_adds: of the products that run at every step, for one instance.
        weights_read: bytes of weights that a step reads.
        moved: bytes of values that the call moves between registers and memory.
        runs: whether it is the one that runs.
    """

    name: str
    once: int
    each_step: int
    calls: int
    multiply_adds: int
    weights_read: int
    moved: int
    runs: bool


def plans(accounts: Mapping[str, WhatRuns], runs: str) -> list[Plan]:
    """The rows, in the order of the accounts; none where no plan has a product in the loop.

    Args:
        accounts: plan -> what it would run.
        runs: the plan that runs.
    """
    found = [
        Plan(name, a.products["before"] + a.products["after"], a.products["loop"], a.calls, a.loop_multiply_adds,
             a.loop_weight_bytes, a.moved_bytes, name == runs)
        for name, a in accounts.items()
    ]  # fmt: skip
    return found if any(plan.each_step for plan in found) else []


def as_written_and_compiled(graph: Graph, compiled: Compiled, n_steps: int, n_instances: int) -> dict[str, WhatRuns]:
    """What NumPy could run and what it runs; nothing for the reference, which has no choice."""
    if "simplify" not in compiled.stages:
        return {}
    programs = {"separate": schedule(graph, hoist=False), "hoisted": compiled.forward}
    return {name: of_program(program, n_steps, n_instances) for name, program in programs.items()}


def stages_of(nodes: Iterable[Node]) -> dict[str, int]:
    """The stage of every node of a loop, from 1: a new one begins only where a value made in the loop is needed whole.

    A product needs its operands whole, a sum or a maximum what it reduces; everything elementwise stays in registers.
    """
    stages: dict[str, int] = {}
    for node in nodes:
        before = [stages[arg.name] for arg in node.args if arg.name in stages]
        stages[node.value.name] = max(before, default=1) + int(node.record.whole_operands and bool(before))
    return stages


def measured_times(measured: Any, asked: str = "explain") -> dict[str, float]:
    """A measurement as it was handed in, checked.

    Raises:
        OptionError: it is no dictionary of names and seconds.
    """
    if measured is None:
        return {}
    fits = isinstance(measured, Mapping) and all(
        isinstance(name, str) and is_number(seconds) and isfinite(seconds) and seconds > 0
        for name, seconds in measured.items()
    )  # fmt: skip
    if not fits:
        headline = f"{asked}: `measured` is a dictionary, plan -> seconds above 0, not {measured!r:.80}"
        raise OptionError(lay_out(headline, hint="measured={'separate': 0.0031, 'hoisted': 0.0008}"))
    return {name: float(seconds) for name, seconds in measured.items()}


def seconds_text(seconds: float) -> str:
    """A time in its own unit.

    >>> seconds_text(0.00234), seconds_text(2.5e-06), seconds_text(3.0)
    ('2.34 ms', '2.5 µs', '3 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
