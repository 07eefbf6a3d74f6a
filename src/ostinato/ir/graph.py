"""The two languages inside: a Graph is one step, a Program is a sequence of them.

    Graph    ::= name, dtype, sizes, Port*, Node*, Result*
    Program  ::= name, direction, dtype, sizes, Port*, before: Node*, loop: Node*, after: Node*, Result*
    Port     ::= Value, role                       what comes in: input, context, state, weight, bias, mask, recorded, adjoint
    Node     ::= Value = op(Value*, attributes)    single assignment: every value is made once, before it is used
    Result   ::= name, Value, role                 what goes out: output, state, record, gradient
    Value    ::= name, Type                        a Type is dtype, named dimensions, and with what it varies (shapes.py)

A Program computes `before` for all steps at once, `loop` step by step (in the order of time, or against it if `direction` is
"backward"), and `after` for all steps at once. text.py prints both, parse.py reads them back; `verify` checks both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from ..errors import InternalError, Source
from .ops import OPS, Op
from .shapes import Dim, Dims, Reason, Type, Varies
from .text import print_graph, print_program

ROLES = ("input", "context", "state", "weight", "bias", "mask", "recorded", "adjoint")
VARIES = {  # what a cell declares, and with what it varies
    "input": Varies.STEP, "state": Varies.STEP, "context": Varies.INSTANCE, "weight": Varies.NEVER, "bias": Varies.NEVER,
}  # fmt: skip
RESULT_ROLES = ("output", "state", "record", "gradient")


@dataclass(frozen=True)
class Value:
    """A name and a type. Within one graph or program a name stands for one value."""

    name: str
    type: Type

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


@dataclass(frozen=True)
class Block:
    """A rectangular part of a weight: for each axis, from where to where."""

    of: str
    start: Dims
    stop: Dims

    def __str__(self) -> str:
        ranges = ", ".join(f"{a.expression}:{b.expression}" for a, b in zip(self.start, self.stop, strict=True))
        return f"{self.of}[{ranges}]"

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(a.size, b.size) for a, b in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True)
class Port:
    """A value that comes in from outside.

    `block`: the part of a declared weight that this value is (None: the whole). `rate`: of a dropout mask. `initial`: what a
    state is at the beginning. `of`: what it belongs to, where the name does not say it (in a backward program: the state or
    output whose adjoint it is).
    """

    value: Value
    role: str
    block: Block | None = None
    rate: float = 0.0
    initial: float = 0.0
    of: str = ""

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def parameter(self) -> str:
        """The name of the declared weight behind it."""
        return self.block.of if self.block else self.name


@dataclass(frozen=True)
class Node:
    """One op applied. Where it was written does not count when nodes are compared."""

    value: Value
    op: str
    args: tuple[Value, ...]
    attributes: tuple[tuple[str, Any], ...] = ()
    source: Source | None = field(default=None, compare=False)

    @property
    def record(self) -> Op:
        return OPS[self.op]

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.attributes)


@dataclass(frozen=True)
class Result:
    """A value that goes out. A gradient of a part of a weight says which part."""

    name: str
    value: Value
    role: str
    block: Block | None = None


@dataclass(frozen=True)
class Graph:
    """One step for one instance."""

    name: str
    dtype: str
    sizes: tuple[tuple[str, int], ...]
    ports: tuple[Port, ...]
    nodes: tuple[Node, ...]
    results: tuple[Result, ...]
    doc: str = field(default="", compare=False)

    @property
    def states(self) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.role == "state")

    def with_role(self, *roles: str) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.role in roles)

    def results_with(self, role: str) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.role == role)

    def __str__(self) -> str:
        return print_graph(self)


@dataclass(frozen=True)
class Program:
    """A sequence of steps: three graphs, and for every node the reason why it stands where it stands."""

    name: str
    direction: str  # "forward" or "backward"
    dtype: str
    sizes: tuple[tuple[str, int], ...]
    ports: tuple[Port, ...]
    before: tuple[Node, ...]
    loop: tuple[Node, ...]
    after: tuple[Node, ...]
    results: tuple[Result, ...]
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def sections(self) -> dict[str, tuple[Node, ...]]:
        return {"before": self.before, "loop": self.loop, "after": self.after}

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.before + self.loop + self.after

    @property
    def states(self) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.role == "state")

    def with_role(self, *roles: str) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.role in roles)

    def results_with(self, role: str) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.role == role)

    @property
    def stacked(self) -> tuple[Value, ...]:
        """The values of the loop that are kept for every step: read in `after`, or handed out."""
        made = {n.value.name: n.value for n in self.loop} | {p.name: p.value for p in self.states}
        read = [arg for node in self.after for arg in node.args]
        read += [r.value for r in self.results if r.role != "state"]
        return tuple({v.name: v for v in read if v.name in made}.values())

    def __str__(self) -> str:
        return print_program(self)


def result_type(op: Op, args: Iterable[Value], attributes: Mapping[str, Any]) -> Type | Reason:
    """The type of what an op gives."""
    types = [arg.type for arg in args]
    shape = op.shape(types, dict(attributes))
    if isinstance(shape, Reason):
        return shape
    varies = op.result_varies
    if varies is None:
        varies = max((t.varies for t in types), default=Varies.NEVER)
    return Type(shape[0], shape[1], varies)


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
    moving: set[str] = set(states)
    for node in program.before:
        if any(arg.name in states for arg in node.args):
            yield f"`{node.value.name}` in `before` reads a state"
    for node in program.loop:
        moving.add(node.value.name)
        if node.op.startswith("total"):
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


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The same graph with other names for values; results keep theirs."""

    def new(value: Value) -> Value:
        return Value(names.get(value.name, value.name), value.type)

    return replace(
        graph,
        ports=tuple(replace(p, value=new(p.value)) for p in graph.ports),
        nodes=tuple(replace(n, value=new(n.value), args=tuple(map(new, n.args))) for n in graph.nodes),
        results=tuple(replace(r, value=new(r.value)) for r in graph.results),
    )
