"""Graphs and programs as text: one line for each value, with its shape, and the line of the user's code it comes from.

    graph recurrent (f32, n_inputs=3, n_neurons=5)
      input   x       f32[n_steps, n_instances, n_inputs=3]
      weight  W_x     f32[n_inputs=3, n_neurons=5]
      ...
      t1    = x @ W_x          f32[n_steps, n_instances, n_neurons=5]   # elman.py:15
      y_new = tanh(t1)         f32[n_steps, n_instances, n_neurons=5]   # elman.py:15
      state   y = y_new
      output  output = y_new

parse.py reads it back. What follows `#` is for people alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from .shapes import Dim

if TYPE_CHECKING:
    from .graph import Graph, Node, Port, Program, Result, Value

INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "matmul": "@",
    "less": "<", "less_equal": "<=", "equal": "==", "logical_and": "&", "logical_or": "|",
}  # fmt: skip


def expression(node: Node) -> str:
    """The right-hand side: one op applied to names."""
    names = [arg.name for arg in node.args]
    options = node.options
    if node.op in INFIX:
        return f"{names[0]} {INFIX[node.op]} {names[1]}"
    if node.op == "negative":
        return f"-{names[0]}"
    if node.op == "constant":
        return f"constant({options['value']!r})"
    if node.op == "slice":
        return f"{names[0]}[{_ranges(node)}]"
    if node.op == "transpose" and options["axes"] == tuple(-1 - i for i in range(len(options["axes"]))):
        return f"{names[0]}.T"
    if node.op in ("reshape", "stretch"):
        return f"{node.op}({', '.join([*names, *(d.expression for d in options['dims'])])})"
    return f"{node.op}({', '.join([*names, *(f'{k}={attribute(v)}' for k, v in _shown(node))])})"


def _shown(node: Node) -> list[tuple[str, Any]]:
    usual = {"axes": (-1,), "keepdims": False, "axis": -1}
    return [(key, value) for key, value in node.attributes if usual.get(key) != value]


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
