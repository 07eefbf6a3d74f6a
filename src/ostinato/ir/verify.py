"""The verifier: whether a graph or a program is well made. It runs behind every pass.

Every operand is made before it is read, with the type with which it is read; every name is made once; every node has the type
that its op gives; every state goes out as it came in; a dimension has the size that its expression says; what is computed
before the loop reads no state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

from ..errors import InternalError
from .graph import RESULT_ROLES, ROLES, Graph, Node, Port, Program, result_type
from .ops import OPS
from .shapes import Dim, Reason, Type


def _node_problems(nodes: Iterable[Node], known: dict[str, Type]) -> Iterator[str]:
    for node in nodes:
        name = node.value.name
        if node.op not in OPS:
            yield f"`{name}`: there is no op `{node.op}`"
            continue
        op = node.record
        if op.n_operands is not None and len(node.args) != op.n_operands:
            yield f"`{name}`: {node.op} takes {op.n_operands} operands, and has {len(node.args)}"
            continue
        for arg in node.args:
            before = known.get(arg.name)
            if before is not arg.type and before != arg.type:
                what = f"has another type, {known[arg.name]}" if arg.name in known else "is not made before"
                yield f"`{name}`: its operand `{arg}` {what}"
        if name in known:
            yield f"`{name}` is made twice"
        known[name] = node.value.type
        try:
            expected = result_type(op, node.args, node.options)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            yield f"`{name}`: wrong attributes for {node.op} ({error!r})"
            continue
        if isinstance(expected, Reason):
            yield f"`{name}`: {node.op}: {expected.text}"
        elif not expected.fits(node.value.type) or expected.varies != node.value.type.varies:
            yield f"`{node.value}`: {node.op} gives {expected}"


def _port_problems(ports: Iterable[Port], known: dict[str, Type]) -> Iterator[str]:
    for port in ports:
        if port.role not in ROLES:
            yield f"`{port.name}` has the unknown role `{port.role}`"
        if port.name in known:
            yield f"`{port.name}` comes in twice"
        known[port.name] = port.value.type


def _dtype_problems(graph: Graph | Program) -> Iterator[str]:
    if graph.dtype not in ("f32", "f64"):
        yield f"the dtype is `{graph.dtype}`"
    for port in graph.ports:
        if port.value.type.dtype != graph.dtype and (port.value.type.dtype, port.role) != ("bool", "recorded"):
            yield f"`{port.value}` comes in, and the dtype is {graph.dtype}"
    for node in graph.nodes:
        if node.value.type.dtype not in (graph.dtype, "bool"):
            yield f"`{node.value}` is made, and the dtype is {graph.dtype}"


def _result_problems(graph: Graph | Program, known: dict[str, Type]) -> Iterator[str]:
    out = [(result.role, result.name) for result in graph.results if result.role in ("output", "state", "record")]
    for role, name in dict.fromkeys(out):
        if out.count((role, name)) > 1:
            yield f"the {role} `{name}` goes out twice"
    for result in graph.results:
        if result.role not in RESULT_ROLES:
            yield f"result `{result.name}` has the unknown role `{result.role}`"
        if known.get(result.value.name) != result.value.type:
            yield f"result `{result.name}`: `{result.value}` is not made"
    states = {p.name: p.value.type for p in graph.states}
    new = {r.name: r.value.type for r in graph.results_with("state")}
    if set(states) != set(new):
        yield f"states {sorted(states)} come in, {sorted(new)} go out"
    for name in set(states) & set(new):
        if not states[name].fits(new[name]):
            yield f"state `{name}` is {states[name]}, its new value {new[name]}"


def _size_problems(graph: Graph | Program) -> Iterator[str]:
    sizes = dict(graph.sizes)

    def size(dim: Dim) -> int | None:
        total = 0
        for monomial, coefficient in dim.terms:
            if not set(monomial) <= set(sizes):
                return None
            total += coefficient * prod(sizes[name] for name in monomial)
        return total

    values = [p.value for p in graph.ports] + [n.value for n in graph.nodes]
    for value in values:
        for dim in value.type.dims:
            if size(dim) != dim.size or dim.size < 1:
                yield f"`{value}`: the dimension `{dim}` is not what the sizes say"


def _section_problems(program: Program) -> Iterator[str]:
    states = {p.name for p in program.states}
    for node in program.before:
        if any(arg.name in states for arg in node.args):
            yield f"`{node.value.name}` in `before` reads a state"
    for node in program.loop:
        if node.op in OPS and node.record.sums_over_steps:
            yield f"`{node.value.name}` in the loop sums over all steps"
    made_after = {n.value.name for n in program.after}
    for result in program.results_with("state"):
        if result.value.name in made_after:
            yield f"the new state `{result.name}` is made after the loop"


def problems(graph: Graph | Program) -> list[str]:
    """What is not well made, in words; an empty list if all is well."""
    known: dict[str, Type] = {}
    found = list(_port_problems(graph.ports, known))
    found += _node_problems(graph.nodes, known)
    found += _dtype_problems(graph)
    found += _result_problems(graph, known)
    found += _size_problems(graph)
    if isinstance(graph, Program):
        found += _section_problems(graph)
    return found


def verify(graph: Any, stage: str) -> Any:
    """The graph or program itself.

    Raises:
        InternalError: it is not well made, which is a bug of the stage that made it.
    """
    found = problems(graph)
    if found:
        listing = "\n".join(f"  {line}" for line in found)
        try:
            text = str(graph)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):  # too damaged even for that
            text = repr(graph)
        raise InternalError(f"this is a bug of Ostinato, in the stage `{stage}`; please report it\n{listing}\n\n{text}")
    return graph
