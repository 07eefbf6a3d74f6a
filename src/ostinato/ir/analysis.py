"""What passes and plans ask of a graph: who reads a value, what depends on a state, what a sum adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from . import ops
from .graph import Graph, Node, Result, Value
from .shapes import Varies


def users(nodes: Iterable[Node], results: Iterable[Result]) -> Counter[str]:
    """How often every value is read."""
    counts = Counter(arg.name for node in nodes for arg in node.args)
    counts.update(result.value.name for result in results)
    return counts


def live(nodes: Iterable[Node], results: Iterable[Result]) -> tuple[Node, ...]:
    """The nodes that something reads, in order."""
    needed = {r.value.name for r in results}
    kept: list[Node] = []
    for node in reversed(list(nodes)):
        if node.value.name in needed:
            kept.append(node)
            needed.update(arg.name for arg in node.args)
    return tuple(reversed(kept))


def in_order_of_results(graph: Graph) -> Graph:
    """The same graph with its nodes in an order that depends on what is computed, not on how it was written down."""
    made = {n.value.name: n for n in graph.nodes}
    done: dict[str, Node] = {}
    stack = [r.value.name for r in reversed(graph.results)]
    while stack:
        node = made.get(stack[-1])
        waiting = [] if node is None else [a.name for a in node.args if a.name in made and a.name not in done]
        if waiting:
            stack.extend(reversed(waiting))
        else:
            stack.pop()
            if node is not None:
                done.setdefault(node.value.name, node)
    return replace(graph, nodes=tuple(done.values()))


def is_matrix_of_weights(value: Value) -> bool:
    return value.type.varies == Varies.NEVER and len(value.type.dims) == 2


def state_dependent(nodes: Iterable[Node], states: Iterable[str]) -> set[str]:
    """The names of the states, and of everything that depends on one."""
    found = set(states)
    for node in nodes:
        if any(a.name in found for a in node.args):
            found.add(node.value.name)
    return found


def nested_sum(value: Value, made: Mapping[str, Node], uses: Mapping[str, int]) -> Node | None:
    """The node of a value that is a sum and is read once: its addends are addends of what reads it.

    Args:
        made: every node by the name of its value.
        uses: how often every value is read.
    """
    node = made.get(value.name)
    return node if node is not None and node.record is ops.add and uses[value.name] == 1 else None


def addends(node: Node, inner: Callable[[Value], Node | None]) -> list[Value]:
    """What a sum adds up, from left to right, however it is nested.

    Args:
        inner: the sum behind an operand that is to be taken apart too; None for an operand that is one addend.
    """
    found: list[Value] = []
    waiting = list(reversed(node.args))
    while waiting:
        value = waiting.pop()
        nested = inner(value)
        if nested is None:
            found.append(value)
        else:
            waiting += reversed(nested.args)
    return found


def apart(a: Sequence[slice], b: Sequence[slice]) -> bool:
    """Whether two boxes have no place in common."""
    return any(x.stop <= y.start or y.stop <= x.start for x, y in zip(a, b, strict=True))
