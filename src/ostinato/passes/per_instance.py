"""What is the same for all instances of a step, and what each instance has of its own.

Weights are the same for all. A value made of such values alone is so too. A state is, as long as it begins the same for all
and its new value is: whether that holds for some states depends on whether it holds for them, and the largest set of states
for which it does is found by taking all of them and dropping those that break it, until none does.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.graph import Graph


def shared_values(graph: Graph, distinct: Iterable[str]) -> frozenset[str]:
    """The names of all values of a step, ports included, that are the same for all instances.

    Args:
        distinct: the states that do not begin the same for all instances.
    """
    distinct = set(distinct)
    new = {result.name: result.value.name for result in graph.results_with("state")}
    while True:
        shared = {p.name for p in graph.with_role("weight", "bias")} | (new.keys() - distinct)
        for node in graph.nodes:
            if all(arg.name in shared for arg in node.args):
                shared.add(node.value.name)
        broken = {state for state in new.keys() - distinct if new[state] not in shared}
        if not broken:
            return frozenset(shared)
        distinct |= broken
