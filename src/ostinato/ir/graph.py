"""The two languages inside: a Graph is one step, a Program is a sequence of them.

    Graph    ::= name, dtype, sizes, Port*, Node*, Result*
    Program  ::= name, direction, dtype, sizes, Port*, before: Node*, loop: Node*, after: Node*, Result*
    Port     ::= Value, role                       what comes in: input, context, state, weight, bias, mask, recorded, adjoint
    Node     ::= Value = op(Value*, attributes)    single assignment: every value is made once, before it is used
    Result   ::= name, Value, role                 what goes out: output, state, record, gradient
    Value    ::= name, Type                        a Type is dtype, named dimensions, and with what it varies (shapes.py)

A Program computes `before` for all steps at once, `loop` step by step (in the order of time, or against it if `direction` is
"backward"), and `after` for all steps at once.

Each prints as text, one line for each value, with its shape and the line of the user's code it comes from:

    graph recurrent (f32, n_inputs=3, n_neurons=5)
      input   x       f32[n_steps, n_instances, n_inputs=3]
      weight  W_x     f32[n_inputs=3, n_neurons=5]
      ...
      t1    = x @ W_x          f32[n_steps, n_instances, n_neurons=5]   # elman.py:15
      y_new = tanh(t1)         f32[n_steps, n_instances, n_neurons=5]   # elman.py:15
      state   y = y_new
      output  output = y_new

parse.py reads the text back; what follows `#` is for people alone. verify.py says whether a graph is well made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from textwrap import wrap
from typing import Any

from ..errors import Source
from . import ops
from .op import Op
from .ops import OPS
from .shapes import Dim, Dims, Reason, Type, Varies

ROLES = ("input", "context", "state", "weight", "bias", "mask", "recorded", "adjoint")
VARIES = {  # what a cell declares, and with what it varies
    "input": Varies.STEP, "state": Varies.STEP, "context": Varies.INSTANCE, "weight": Varies.NEVER, "bias": Varies.NEVER,
}  # fmt: skip
RESULT_ROLES = ("output", "state", "record", "gradient")
Meanings = Mapping[str, tuple[str, tuple[str, ...]]]


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
    """One step for one instance.

    Attributes:
        parameters: every declared weight and bias, whole, by its name. Passes cut weights into blocks and drop those that
            nothing reads; what was declared stays.
        meanings: a value that a composed function made (softmax, ...) -> the function's name, and the names of its operands.
    """

    name: str
    dtype: str
    sizes: tuple[tuple[str, int], ...]
    ports: tuple[Port, ...]
    nodes: tuple[Node, ...]
    results: tuple[Result, ...]
    doc: str = field(default="", compare=False)
    parameters: Mapping[str, Type] = field(default_factory=dict, compare=False)
    meanings: Meanings = field(default_factory=dict, compare=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Pickles of version 0.1 hold graphs as they were traced: every weight is a port."""
        self.__dict__.update({"parameters": declared_parameters(state["ports"]), "meanings": {}, **state})

    @property
    def states(self) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.role == "state")

    def with_role(self, *roles: str) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.role in roles)

    def results_with(self, role: str) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.role == role)

    def __str__(self) -> str:
        return print_graph(self)


class Rule(Enum):
    """By what a node stands before the loop, in it or after it; `str` of a Why says it of one node."""

    NO_STATE = "the cell has no state: every step is like every other"
    WEIGHTS = "it depends on weights alone: once for the whole call"
    INSTANCE = "it is the same at every step: once for each instance"
    NOT_REACHED = "no state reaches it: all steps at once"
    AWAITED = "it reads the state `{state}`, and the next state waits for it"
    NOT_AWAITED = "it reads the state `{state}`, and nothing in the loop waits for it: all steps at once"
    SUMMED = "it sums over all steps"
    LATE = "it reads what is known after the loop"
    AS_WRITTEN = "it is computed where it was written"
    PLANNED = "the plan `{plan}` computes it where it is read, and keeps nothing for it"


@dataclass(frozen=True)
class Why:
    """The reason why a node stands in its section.

    Attributes:
        rule: which of the rules.
        state: the name of a state that reaches it, where that is the reason.
        plan: the plan that moved it, where that is the reason.
    """

    rule: Rule
    state: str = ""
    plan: str = ""

    def __str__(self) -> str:
        return self.rule.value.format(state=self.state, plan=self.plan)


@dataclass(frozen=True)
class Program:
    """A sequence of steps: three graphs, and for every node the reason why it stands where it stands.

    Attributes:
        parameters: as those of the graph that it was made of.
    """

    name: str
    direction: str  # "forward" or "backward"
    dtype: str
    sizes: tuple[tuple[str, int], ...]
    ports: tuple[Port, ...]
    before: tuple[Node, ...]
    loop: tuple[Node, ...]
    after: tuple[Node, ...]
    results: tuple[Result, ...]
    reasons: Mapping[str, Why] = field(default_factory=dict, compare=False)
    parameters: Mapping[str, Type] = field(default_factory=dict, compare=False)

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
    def parameter_sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every declared weight and bias, whole."""
        return {name: type_.sizes for name, type_ in self.parameters.items()}

    @property
    def stacked(self) -> tuple[Value, ...]:
        """The values of the loop that are kept for every step: read in `after`, or handed out."""
        made = {n.value.name: n.value for n in self.loop} | {p.name: p.value for p in self.states}
        read = [arg for node in self.after for arg in node.args]
        read += [r.value for r in self.results if r.role != "state"]
        return tuple({v.name: v for v in read if v.name in made}.values())

    def __str__(self) -> str:
        return print_program(self)


def declared_parameters(ports: Iterable[Port]) -> dict[str, Type]:
    """The weights and biases of a step as it was traced, where each is a port."""
    return {p.name: p.value.type for p in ports if p.role in ("weight", "bias") and p.block is None}


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


# --- the text form ------------------------------------------------------------------------------------------------------------


def expression(node: Node) -> str:
    """The right-hand side: one op applied to names."""
    names = [arg.name for arg in node.args]
    options, op = node.options, node.record
    if op.infix:
        return f"{names[0]} {op.infix} {names[1]}"
    if op.prefix:
        return f"{op.prefix}{names[0]}"
    if op is ops.constant:
        return f"constant({options['value']!r})"
    if op is ops.slice_:
        return f"{names[0]}[{_ranges(node)}]"
    if op is ops.transpose and options["axes"] == tuple(-1 - i for i in range(len(options["axes"]))):
        return f"{names[0]}.T"
    if op.positional:
        return f"{node.op}({', '.join([*names, *(d.expression for d in options[op.positional])])})"
    shown = [f"{key}={attribute(value)}" for key, value in node.attributes if op.usual.get(key) != value]
    return f"{node.op}({', '.join([*names, *shown])})"


def _ranges(node: Node) -> str:
    options, parts = node.options, []
    for dim, a, b, by in zip(node.args[0].type.dims, options["start"], options["stop"], options["step"], strict=True):
        whole = a.size == 0 and b == dim and by == 1
        parts.append(":" if whole else f"{a.expression}:{b.expression}" + (f":{by}" if by != 1 else ""))
    return ", ".join(parts)


def attribute(value: Any) -> str:
    """An attribute as text: dimensions without quotes, everything else as Python writes it."""
    if isinstance(value, Dim):
        return value.expression
    if isinstance(value, tuple):
        return "(" + ", ".join(map(attribute, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def _port_line(port: Port) -> tuple[str, str, str]:
    details = ""
    if port.block:
        details += f" = {port.block}"
    if port.of:
        details += f" of={port.of}"
    if port.rate:
        details += f" rate={port.rate!r}"
    if port.initial:
        details += f" initial={port.initial!r}"
    return f"{port.role:<8} {port.name}", str(port.value.type), details


def _result_line(result: Result) -> str:
    block = f" into {result.block}" if result.block else ""
    return f"{result.role:<8} {result.name} = {result.value.name}{block}"


def _node_lines(nodes: Sequence[Node], indent: str, *, in_loop: bool = False) -> list[str]:
    width = max((len(n.value.name) for n in nodes), default=0)
    rows = [
        (f"{n.value.name:<{width}} = {expression(n)}", type_text(n.value, in_loop), n.source.place if n.source else "")
        for n in nodes
    ]
    return _columns(rows, indent)


def type_text(value: Value, in_loop: bool) -> str:
    return value.type.in_loop if in_loop else str(value.type)


def _columns(rows: Iterable[tuple[str, str, str]], indent: str) -> list[str]:
    rows = list(rows)
    first = min(max((len(a) for a, _, _ in rows), default=0), 64)
    second = min(max((len(b) for _, b, _ in rows), default=0), 64)
    return [f"{indent}{a:<{first}}   {b:<{second}}" + (f"  # {c}" if c else "") for a, b, c in rows]


def _ports(ports: Sequence[Port], indent: str) -> list[str]:
    rows = [_port_line(p) for p in ports]
    first = max((len(a) for a, _, _ in rows), default=0)
    second = max((len(b) for _, b, _ in rows), default=0)
    return [f"{indent}{a:<{first}}   {b:<{second}}{c}".rstrip() for a, b, c in rows]


def _head(kind: str, graph: Graph | Program, *more: str) -> str:
    sizes = [f"{name}={size}" for name, size in graph.sizes]
    return f"{kind} {graph.name} ({', '.join([*more, graph.dtype, *sizes])})"


def print_graph(graph: Graph) -> str:
    lines = [_head("graph", graph), *_ports(graph.ports, "  ")]
    lines += _node_lines(graph.nodes, "  ")
    lines += ["  " + _result_line(r) for r in graph.results]
    return "\n".join(line.rstrip() for line in lines)


HEADINGS = {
    "before": "before the loop, for all steps at once",
    "loop": "loop, one step after another",
    "after": "after the loop, for all steps at once",
}


def print_program(program: Program) -> str:
    lines = [_head("program", program, program.direction), *_ports(program.ports, "  ")]
    for section, nodes in program.sections.items():
        heading = HEADINGS[section]
        if section == "loop" and program.direction == "backward":
            heading = "loop, one step after another, the last step first"
        if nodes or (section == "loop" and program.states):
            lines += ["", f"{heading}:", *_node_lines(nodes, "  ", in_loop=section == "loop")]
    lines += ["", "results:", *("  " + _result_line(r) for r in program.results)]
    kept = ", ".join(v.name for v in program.stacked)
    if kept:
        lines += wrap(f"# kept at every step: {kept}", 110, initial_indent="  ", subsequent_indent="  #   ")
    return "\n".join(line.rstrip() for line in lines)
