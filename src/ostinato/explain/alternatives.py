"""What other plans would cost: the same sums, in more or fewer products, in the loop or before it.

    separate    every product by itself, as it is written, at every step
    fused       products side by side, all of them at every step
    hoisted     products side by side, and those that no state reaches before the loop, for all steps at once: what runs

These are the plans of a layer (`Layer(..., plan="fused")`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..checks import is_number
from ..compiler import Compiled
from ..errors import OptionError, lay_out
from ..ir.graph import Graph, Node, Program, Value
from ..ir.shapes import Varies
from ..passes.schedule import schedule
from .cost import counts, products

STEPS = 100  # the length of the sequence that plans are compared on


@dataclass(frozen=True)
class Plan:
    """One way to run the products of a cell.

    Attributes:
        name: see the module.
        once: products that run once per sequence.
        each_step: products that run at every step.
        multiply_adds: of the products that run at every step, for one instance.
        moved: bytes that the products read and write, for STEPS steps of one instance.
        runs: whether it is the one that runs.
    """

    name: str
    once: int
    each_step: int
    multiply_adds: int
    moved: int
    runs: bool = False

    @property
    def calls(self) -> int:
        """How many products a sequence of STEPS steps runs."""
        return self.once + STEPS * self.each_step


def plans(graph: Graph, compiled: Compiled) -> list[Plan]:
    """The plans of a cell with a state; what runs comes last. None for the reference, which has no choice."""
    if not graph.states or "simplify" not in compiled.stages:  # the reference runs as it is written
        return []
    found = [
        _plan("separate", schedule(graph, hoist=False), in_loop=True), _plan("fused", compiled.forward, in_loop=True),
        _plan("hoisted", compiled.forward, runs=True),
    ]  # fmt: skip
    return found if found[-1].each_step or found[0].each_step else []


def _plan(name: str, program: Program, *, in_loop: bool = False, runs: bool = False) -> Plan:
    looped: list[Node] = []
    once: list[Node] = []
    for section, nodes in program.sections.items():
        for node in products(nodes):
            stays = section == "loop" or (in_loop and node.value.type.varies == Varies.STEP)
            (looped if stays else once).append(node)
    once = [n for n in once if n.value.type.varies != Varies.NEVER]
    moved = sum(_moved(n, STEPS) for n in looped) + sum(_moved(n, 1) for n in once)
    return Plan(name, len(once), len(looped), counts(looped).multiply_adds, moved, runs)


def _moved(node: Node, times: int) -> int:
    """Bytes read and written by a product that runs so often; what varies by step is new for each of them."""
    return sum(_bytes(v) * (STEPS if v.type.varies == Varies.STEP else times) for v in (*node.args, node.value))


def _bytes(value: Value) -> int:
    return value.type.n_elements * value.type.item_bytes


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
