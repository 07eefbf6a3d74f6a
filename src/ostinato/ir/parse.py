"""Reads the text of a graph or program back: `read_graph(str(graph)) == graph`.

The text may come from a file that somebody else wrote. Nothing in it is executed; what is not well made is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from math import isnan
from typing import Any

from ..errors import FileError, lay_out
from . import ops
from .graph import HEADINGS, VARIES, Block, Graph, Node, Port, Program, Result, Value, declared_parameters, result_type
from .ops import OPS
from .shapes import Dim, Reason, Type, Varies, parse_dim
from .verify import problems


def _operator(symbol: str) -> type[ast.AST]:
    """What Python's own parser makes of an operator between two operands."""
    parsed = ast.parse(f"a {symbol} b", mode="eval").body
    return type(parsed.ops[0] if isinstance(parsed, ast.Compare) else parsed.op)  # type: ignore[attr-defined]


_BINARY = {_operator(op.infix): op.name for op in OPS.values() if op.infix}
_PORT = re.compile(r"^(\w+)\s+(\w+)\s+(\w+\[[^\]]*\])\s*(.*)$")
_RESULT = re.compile(r"^(output|state|record|gradient)\s+(\w+) = (\w+)(?: into (.*))?$")
_NODE = re.compile(r"^(\w+)\s*=\s*(.*?)\s{2,}(\w+\[[^\]]*\])$")
_HEAD = re.compile(r"^(graph|program) (\w+) \((.*)\)$")


class _Unreadable(Exception):
    pass


UNREADABLE = (  # what Python's own parser and the table of ops say of a text that is no graph
    _Unreadable, ValueError, KeyError, IndexError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError,
)  # fmt: skip


def read_graph(text: str) -> Graph:
    """The graph that a text describes.

    Raises:
        FileError: the text is no graph, or the graph is not well made.
    """
    return _checked(_Reader(text, "graph"))  # type: ignore[return-value]


def read_step(text: str, *, training: bool) -> Graph:
    """The graph of one step of a cell, such as a layer is made of; see `read_graph`.

    Raises:
        FileError: something comes in or goes out that is no part of a cell.
    """
    graph = read_graph(text)
    for wrong in _unfit(graph, training=training):
        raise FileError(lay_out(f"the text of a graph is no step of a cell: {wrong}"))
    return graph


def _unfit(graph: Graph, *, training: bool) -> Iterator[str]:
    for port in graph.ports:
        mask = port.role == "mask" and training
        if port.block or port.of or not (mask or port.role in VARIES):
            yield f"`{port.name}` comes in as {port.role}"
        elif mask and (not 0 < port.rate < 1 or port.value.type.varies == Varies.NEVER):
            yield f"`{port.name}` is a mask of rate {port.rate}"
        elif isnan(port.initial) or (not mask and port.value.type.varies != VARIES[port.role]):
            yield f"`{port.value}` is no {port.role}"
    for result in graph.results:
        if result.role not in ("output", "state") or result.block:
            yield f"`{result.name}` goes out as {result.role}"
    for node in graph.nodes:
        if node.record.sums_over_steps:
            yield f"`{node.value.name}` sums over steps"
    if not graph.with_role("input") or not graph.results_with("output"):
        yield "it has no input or no output"


def read_program(text: str) -> Program:
    """The program that a text describes; see `read_graph`."""
    return _checked(_Reader(text, "program"))  # type: ignore[return-value]


def _checked(reader: _Reader) -> Graph | Program:
    try:
        graph = reader.read()
    except UNREADABLE as error:
        line = reader.line.strip()
        what = "it is not written so"
        if isinstance(error, _Unreadable | KeyError):
            what = str(error) if isinstance(error, _Unreadable) else f"there is no `{error.args[0]}`"
        raise FileError(lay_out(f"the text of a {reader.kind} can not be read at: {line[:100]!r} ({what})")) from None
    found = problems(graph)
    if found:
        raise FileError(lay_out(f"the text of a {reader.kind} is not well made: {found[0]}"))
    return graph


class _Reader:
    def __init__(self, text: str, kind: str) -> None:
        self.lines = [line.split("  #")[0].rstrip() for line in text.splitlines()]
        self.kind = kind
        self.line = ""
        self.sizes: dict[str, int] = {}
        self.values: dict[str, Value] = {}
        self.ports: list[Port] = []
        self.sections: dict[str, list[Node]] = {"graph": [], "before": [], "loop": [], "after": []}
        self.results: list[Result] = []

    def read(self) -> Graph | Program:
        lines = [line for line in self.lines if line.strip()]
        self.line = lines[0] if lines else ""
        head = _HEAD.match(self.line)
        if head is None or head.group(1) != self.kind:
            raise _Unreadable("no heading")
        parts = [part.strip() for part in head.group(3).split(",")]
        direction = parts.pop(0) if self.kind == "program" else ""
        dtype = parts.pop(0)
        self.sizes = {name: int(size) for name, size in (part.split("=") for part in parts)}
        section = "graph"
        for self.line in lines[1:]:
            heading = re.match(r"^(before|loop|after|results)\b.*:$", self.line)
            if heading:
                section = heading.group(1)
            else:
                self.read_line(self.line.strip(), section)
        sizes = tuple(self.sizes.items())
        ports, results, name = tuple(self.ports), tuple(self.results), head.group(2)
        if self.kind == "graph":
            nodes = tuple(self.sections["graph"])
            return Graph(name, dtype, sizes, ports, nodes, results, parameters=declared_parameters(ports))
        before, loop, after = (tuple(self.sections[key]) for key in HEADINGS)
        return Program(name, direction, dtype, sizes, ports, before, loop, after, results)

    def read_line(self, line: str, section: str) -> None:
        result, node, port = _RESULT.match(line), _NODE.match(line), _PORT.match(line)
        if result:
            role, name, value, block = result.groups()
            self.results.append(Result(name, self.values[value], role, self.block(block) if block else None))
        elif node:
            name, expression, type_text = node.groups()
            self.read_node(name, expression, type_text, section)
        elif port:
            role, name, type_text, details = port.groups()
            self.read_port(role, name, type_text, details)
        else:
            raise _Unreadable("no port, node or result")

    def type(self, text: str, *, in_loop: bool = False) -> Type:
        dtype, inside = text[:-1].split("[", 1)
        parts = [part.strip() for part in inside.split(",") if part.strip()]
        leading = [part for part in parts if part in ("n_steps", "n_instances")]
        varies = Varies.STEP if in_loop and leading else Varies(len(leading))
        dims = []
        for part in parts[len(leading) :]:
            expression = part.rsplit("=", 1)[0]
            dims.append(parse_dim(int(expression) if expression.isdigit() else expression, self.sizes))
        return Type(dtype, tuple(dims), varies)

    def block(self, text: str) -> Block:
        subscript = ast.parse(text.strip(), mode="eval").body
        if not isinstance(subscript, ast.Subscript) or not isinstance(subscript.value, ast.Name):
            raise _Unreadable("no block")
        items = subscript.slice.elts if isinstance(subscript.slice, ast.Tuple) else [subscript.slice]
        ranges = [item for item in items if isinstance(item, ast.Slice) and item.lower and item.upper]
        start = tuple(self.dim(item.lower) for item in ranges)  # type: ignore[arg-type]
        return Block(subscript.value.id, start, tuple(self.dim(item.upper) for item in ranges))  # type: ignore[arg-type]

    def dim(self, node: ast.expr) -> Dim:
        return parse_dim(ast.unparse(node), self.sizes)

    def read_port(self, role: str, name: str, type_text: str, details: str) -> None:
        value = Value(name, self.type(type_text))
        block = re.match(r"^= (.*\])", details)
        keys = dict(re.findall(r"(\w+)=(\S+)", details[block.end() :] if block else details))
        self.values[name] = value
        self.ports.append(
            Port(
                value, role, self.block(block.group(1)) if block else None,
                float(keys.get("rate", 0.0)), float(keys.get("initial", 0.0)), keys.get("of", ""),
            )
        )  # fmt: skip

    def read_node(self, name: str, expression: str, type_text: str, section: str) -> None:
        op, args, attributes = self.call(ast.parse(expression, mode="eval").body)
        if op == ops.constant.name:
            attributes["dtype"] = type_text.split("[")[0]
        declared = self.type(type_text, in_loop=section == "loop")
        expected = result_type(OPS[op], args, attributes)
        if isinstance(expected, Reason):
            raise _Unreadable(expected.text)
        if not expected.fits(declared):
            raise _Unreadable(f"{op} gives {expected}")
        if name in self.values:
            raise _Unreadable(f"`{name}` is made twice")
        self.values[name] = Value(name, expected)
        self.sections[section].append(Node(self.values[name], op, args, tuple(attributes.items())))

    def call(self, node: ast.expr) -> tuple[str, tuple[Value, ...], dict[str, Any]]:
        """Op, operands and attributes of one expression."""
        match node:
            case ast.BinOp(left=a, op=operator, right=b):
                return _BINARY[type(operator)], (self.value(a), self.value(b)), {}
            case ast.Compare(left=a, ops=[operator], comparators=[b]):
                return _BINARY[type(operator)], (self.value(a), self.value(b)), {}
            case ast.UnaryOp(op=ast.USub(), operand=a):
                return ops.negative.name, (self.value(a),), {}
            case ast.Attribute(value=a, attr="T"):
                value = self.value(a)
                return ops.transpose.name, (value,), {"axes": tuple(-1 - i for i in range(len(value.type.dims)))}
            case ast.Subscript(value=a, slice=ranges):
                value = self.value(a)
                return ops.slice_.name, (value,), self.ranges(value, ranges)
            case ast.Call(func=ast.Name(id="constant"), args=[number]):
                return ops.constant.name, (), {"value": float(ast.unparse(number).replace("1e309", "inf"))}
            case ast.Call(func=ast.Name(id=op), args=[a, *dims]) if op in OPS and OPS[op].positional:
                return op, (self.value(a),), {OPS[op].positional: tuple(map(self.dim, dims))}
            case ast.Call(func=ast.Name(id=op), args=args, keywords=keywords) if op in OPS:
                attributes = dict(OPS[op].usual)
                for keyword in keywords:
                    attributes[str(keyword.arg)] = self.attribute(op, str(keyword.arg), keyword.value)
                return op, tuple(map(self.value, args)), attributes
        raise _Unreadable("no op")

    def value(self, node: ast.expr) -> Value:
        return self.values[ast.unparse(node)]

    def ranges(self, value: Value, node: ast.expr) -> dict[str, Any]:
        items = node.elts if isinstance(node, ast.Tuple) else [node]
        start, stop, step = [], [], []
        for item, dim in zip(items, value.type.dims, strict=True):
            if not isinstance(item, ast.Slice):
                raise _Unreadable("a range is missing")
            start.append(self.dim(item.lower) if item.lower else Dim.number(0))
            stop.append(self.dim(item.upper) if item.upper else dim)
            step.append(int(ast.unparse(item.step)) if item.step else 1)
        return {"start": tuple(start), "stop": tuple(stop), "step": tuple(step)}

    def attribute(self, op: str, key: str, node: ast.expr) -> Any:
        if key not in OPS[op].dim_attributes:
            return ast.literal_eval(node)
        if isinstance(node, ast.Tuple):
            return tuple(map(self.dim, node.elts))
        return self.dim(node)
