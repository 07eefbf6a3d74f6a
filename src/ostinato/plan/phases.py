"""When each node of a program runs: the phases of a native run, finer than before / loop / after.

    prepare             weights alone: once, and again when a weight is assigned
    instances           contexts: once for each instance
    before              all steps at once
    loop                one step after another
    after               all steps at once; sums over all steps
    finish_instances    what reads a sum over the steps of an instance
    finish              what reads a sum over everything

A node runs where `schedule` has put it, but for these, which sink into the one phase that reads them:

    `fused`, `separate`    all that only the loop reads sinks into the loop, products above all
    in every plan          elementwise nodes of stored operands are computed again in the phase that reads them, the loop or
                           after: that is cheaper than storing and loading the result
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from ..ir.graph import Node, Program
from ..ir.op import Kind
from ..ir.shapes import Varies

CHOICES = {
    "separate": "every product by itself, as it is written, in the loop",
    "fused": "products side by side, all of them in the loop",
    "hoisted": "products side by side, and those that no state reaches before the loop, for all steps at once",
}


class Phase(IntEnum):
    """When something runs; see the module."""

    PREPARE = 0
    INSTANCES = 1
    BEFORE = 2
    LOOP = 3
    AFTER = 4
    FINISH_INSTANCES = 5
    FINISH = 6

    @property
    def space(self) -> Varies:
        """What its rows are."""
        return _SPACES[self]


_SPACES = (Varies.NEVER, Varies.INSTANCE, Varies.STEP, Varies.STEP, Varies.STEP, Varies.INSTANCE, Varies.NEVER)


def phases(program: Program, choice: str) -> dict[str, Phase]:
    """The phase of every port and node."""
    found = {p.name: Phase(int(p.value.type.varies)) for p in program.ports}
    found |= {p.name: Phase.LOOP for p in program.states}
    section = {n.value.name: name for name, part in program.sections.items() for n in part}
    for node in program.nodes:
        found[node.value.name] = _phase(node, section[node.value.name], found)
    if program.states:
        before = [n for n in program.nodes if found[n.value.name] == Phase.BEFORE]
        for name in _sunk(program, found, _cheap(program, found) if choice == "hoisted" else before, Phase.LOOP):
            found[name] = Phase.LOOP
        for name in _sunk(program, found, _cheap(program, found), Phase.AFTER):
            found[name] = Phase.AFTER
    return found


def _phase(node: Node, section: str, found: dict[str, Phase]) -> Phase:
    latest = max((found[a.name] for a in node.args), default=Phase.PREPARE)
    varies = node.value.type.varies
    if node.record.sums_over_steps:
        varies = max(a.type.varies for a in node.args)
        if varies == Varies.STEP:
            return Phase.AFTER if section == "after" or latest >= Phase.AFTER else Phase.BEFORE
    if varies == Varies.NEVER:
        return Phase.PREPARE if latest == Phase.PREPARE else Phase.FINISH
    if varies == Varies.INSTANCE:
        return Phase.INSTANCES if latest <= Phase.INSTANCES else Phase.FINISH_INSTANCES
    return {"before": Phase.BEFORE, "loop": Phase.LOOP, "after": Phase.AFTER}[section]


def _sunk(program: Program, found: dict[str, Phase], may: Iterable[Node], into: Phase) -> set[str]:
    """Of the nodes `may`, those that the phase `into` alone reads."""
    users: dict[str, list[str]] = {}
    for node in program.nodes:
        for arg in node.args:
            users.setdefault(arg.name, []).append(node.value.name)
    handed_out = {r.value.name for r in program.results if r.role != "state"}
    new_states = {r.value.name for r in program.results_with("state")} if into == Phase.LOOP else set()
    sunk: set[str] = set()
    for node in reversed(tuple(may)):
        name = node.value.name
        read = users.get(name, [])
        inside = all(found[u] == into or u in sunk for u in read) and (read or name in new_states)
        if inside and name not in handed_out:
            sunk.add(name)
    return sunk


def _cheap(program: Program, found: dict[str, Phase]) -> list[Node]:
    """Elementwise nodes, and views, of what is in memory anyway: those that no node before the loop has to have stored."""
    made: set[str] = set()
    handed_out = {r.value.name for r in program.results if r.role != "state"}
    may = []
    for node in program.nodes:
        if found[node.value.name] != Phase.BEFORE:
            continue
        if node.value.name not in handed_out or node.record.kind is Kind.VIEW:
            made.add(node.value.name)
        plain = node.record.elementwise or node.record.kind is Kind.VIEW
        if plain and all(a.name not in made for a in node.args):
            may.append(node)
            made.discard(node.value.name)
    return may
