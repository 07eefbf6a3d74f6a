"""Schedule: one step becomes a sequence. What can leave the loop leaves it.

* `before`: nodes that depend on no state, for all steps at once;
* `loop`: nodes that depend on a state and that the next state depends on;
* `after`: nodes that depend on a state and that no new state depends on, again for all steps at once.

Two walks decide: one forward from the states, one backward from the new states.

For every node the reason is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..ir.analysis import live
from ..ir.graph import Graph, Node, Program, Result, Rule, Value, Why
from ..ir.shapes import Varies
from ..ir.verify import verify


def schedule(
    graph: Graph, *, direction: str = "forward", record: Mapping[str, Value] | None = None, hoist: bool = True
) -> Program:  # fmt: skip
    """The program of a graph.

    Args:
        direction: "forward", or "backward" for an adjoint step: time runs against itself.
        record: values that a backward program asks for, by the names under which it asks.
        hoist: False leaves in the loop whatever can be there, as the cell was written.
    """
    records = [Result(name, value, "record") for name, value in (record or {}).items()]
    results = (*graph.results, *records)
    nodes = live(graph.nodes, results)
    reached = _reached(nodes, {p.name: p.name for p in graph.states})
    awaited = _awaited(nodes, [r.value.name for r in graph.results if r.role == "state"])
    sections: dict[str, list[Node]] = {"before": [], "loop": [], "after": []}
    reasons: dict[str, Why] = {}
    late: set[str] = set()
    for node in nodes:
        name = node.value.name
        section, reason = _place(node, reached, awaited, hoist=hoist and bool(graph.states))
        if not graph.states:
            section, reason = "before", Why(Rule.NO_STATE)
        elif any(arg.name in late for arg in node.args):
            section, reason = "after", Why(Rule.LATE)
        if section == "after":
            late.add(name)
        sections[section].append(node)
        reasons[name] = reason
    program = Program(
        graph.name, direction, graph.dtype, graph.sizes, graph.ports,
        tuple(sections["before"]), tuple(sections["loop"]), tuple(sections["after"]), results, reasons,
        graph.parameters,
    )  # fmt: skip
    return verify(without_dead_ports(program), "schedule")  # type: ignore[no-any-return]


def _reached(nodes: Sequence[Node], states: dict[str, str]) -> dict[str, str]:
    """For every value that depends on a state: a state that it depends on."""
    reached = dict(states)
    for node in nodes:
        for arg in node.args:
            if arg.name in reached:
                reached.setdefault(node.value.name, reached[arg.name])
    return reached


def _awaited(nodes: Sequence[Node], new_states: Iterable[str]) -> set[str]:
    """The values that the next state waits for."""
    awaited = set(new_states)
    for node in reversed(nodes):
        if node.value.name in awaited:
            awaited.update(arg.name for arg in node.args)
    return awaited


def _place(node: Node, reached: dict[str, str], awaited: set[str], *, hoist: bool) -> tuple[str, Why]:
    name, varies = node.value.name, node.value.type.varies
    summed = node.record.sums_over_steps
    if summed and (name in reached or not hoist):
        return "after", Why(Rule.SUMMED)
    if name not in reached:
        if summed:
            return "before", Why(Rule.NOT_REACHED)
        if varies == Varies.NEVER:
            return "before", Why(Rule.WEIGHTS)
        if varies == Varies.INSTANCE:
            return "before", Why(Rule.INSTANCE)
        if hoist:
            return "before", Why(Rule.NOT_REACHED)
        return "loop", Why(Rule.AS_WRITTEN)
    state = reached[name]
    if name in awaited:
        return "loop", Why(Rule.AWAITED, state)
    if hoist:
        return "after", Why(Rule.NOT_AWAITED, state)
    return "loop", Why(Rule.AS_WRITTEN)


def without_dead_ports(program: Program) -> Program:
    """The program without the ports that nothing reads; states, inputs and adjoints stay."""
    read = {arg.name for n in program.nodes for arg in n.args} | {r.value.name for r in program.results}
    stay = ("state", "input", "context", "adjoint")
    return replace(program, ports=tuple(p for p in program.ports if p.role in stay or p.name in read))
