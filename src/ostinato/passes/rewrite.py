"""Building a graph anew: nodes are emitted one by one, equal ones are shared, and an operation that can be left out is.

A pass walks the old graph in order and emits each node into a `Builder`. The builder keeps a table of the nodes it has by op,
operands and attributes (value numbering), computes operations on numbers at once, and knows the identities of single ops
(`x + 0`, a slice of a slice). So a pass only says what is special about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from math import isnan
from typing import Any

import numpy as np

from ..errors import InternalError, Source
from ..ir import ops
from ..ir.analysis import live, users
from ..ir.dtypes import DTYPES
from ..ir.graph import Graph, Node, Value, result_type
from ..ir.op import Op
from ..ir.shapes import Dim, Reason, Type, Varies


class Builder:
    """A growing list of nodes. `emit` returns the value of a new node, or of an equal or simpler one."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.nodes: list[Node] = []
        self.made: dict[str, Node] = {}
        self._known: dict[Any, Value] = {}
        self._taken = set(taken)
        self._fresh = 0

    def emit(
        self, op: Op, args: Iterable[Value], attributes: Mapping[str, Any] | None = None,
        *, name: str = "", source: Source | None = None, known: Type | None = None,
    ) -> Value:  # fmt: skip
        """A node; `name` is wished for and given if it is free. `known`: its type, if that has been worked out before."""
        args, attributes = tuple(args), dict(attributes or {})
        type_ = known or result_type(op, args, attributes)
        if isinstance(type_, Reason):
            raise InternalError(f"this is a bug of Ostinato, in a pass: {op} of {[str(a) for a in args]}: {type_.text}")
        simpler = self._simpler(op, args, attributes, type_, source)
        if simpler is not None:
            return simpler
        names = tuple(a.name for a in args)
        # the text of a number is its identity, so that -0.0 is not 0.0
        said = repr(sorted(attributes.items())) if attributes else ""
        key = (op, tuple(sorted(names)) if op.commutative else names, said)
        if key in self._known:
            return self._known[key]
        value = Value(self._free(name), type_)
        node = Node(value, op.name, args, tuple(attributes.items()), source)
        self.nodes.append(node)
        self.made[value.name] = node
        self._known[key] = value
        return value

    def _free(self, name: str) -> str:
        if name and name not in self.made:
            self._taken.add(name)
            return name
        while True:
            self._fresh += 1
            fresh = f"u{self._fresh}"
            if fresh not in self._taken:
                self._taken.add(fresh)
                return fresh

    # --- identities of single ops; each holds for every float, except that the sign of a zero may be lost

    def constant(self, value: Value) -> float | None:
        node = self.made.get(value.name)
        return node.options["value"] if node is not None and node.record is ops.constant else None

    def number(self, number: float, dtype: str) -> Value:
        return self.emit(ops.constant, (), {"value": float(number), "dtype": dtype})

    def _simpler(
        self, op: Op, args: tuple[Value, ...], attributes: dict[str, Any], type_: Type, source: Source | None
    ) -> Value | None:
        constants = [self.constant(a) for a in args]
        if args and None not in constants and op.elementwise and type_.dtype != "bool":
            arrays = [np.full(1, c, DTYPES[a.type.dtype]) for c, a in zip(constants, args, strict=True)]
            with np.errstate(all="ignore"):
                return self.number(float(op.compute(arrays, attributes)[0]), type_.dtype)
        rule = getattr(self, f"_{op.name}", None)
        found = rule(args, constants, attributes, type_, source) if rule else None
        if isinstance(found, Value) and found.type.sizes == type_.sizes and found.type.varies == type_.varies:
            if found.type.dims != type_.dims:  # the same numbers, whose dimensions have other names
                return self.emit(ops.reshape, (found,), {"dims": type_.dims}, source=source)
            return found
        return None

    def _inner(self, value: Value, op: Op) -> Node | None:
        node = self.made.get(value.name)
        return node if node is not None and node.record is op else None

    def _add(self, args: Any, constants: Any, *_: Any) -> Value | None:
        return args[1] if constants[0] == 0 else args[0] if constants[1] == 0 else None

    def _subtract(self, args: Any, constants: Any, *_: Any) -> Value | None:
        return args[0] if constants[1] == 0 else None

    def _multiply(self, args: Any, constants: Any, *_: Any) -> Value | None:
        return args[1] if constants[0] == 1 else args[0] if constants[1] == 1 else None

    def _divide(self, args: Any, constants: Any, *_: Any) -> Value | None:
        return args[0] if constants[1] == 1 else None

    def _power(self, args: Any, constants: Any, _a: Any, _t: Any, source: Any) -> Value | None:
        if constants[1] == 2:
            return self.emit(ops.multiply, (args[0], args[0]), source=source)
        return args[0] if constants[1] == 1 else None

    def _where(self, args: Any, constants: Any, *_: Any) -> Value | None:
        """`0 if d = 0 else d / 3` is `d / 3`: 0 where d is, too."""
        asked, quotient = self._inner(args[0], ops.equal), self._inner(args[2], ops.divide)
        if asked is None or quotient is None or constants[1] != 0 or quotient.args[0] not in asked.args:
            return None
        divisor = self.constant(quotient.args[1])
        zero = 0.0 in [self.constant(a) for a in asked.args]
        return args[2] if zero and divisor is not None and divisor != 0 and not isnan(divisor) else None

    def _negative(self, args: Any, *_: Any) -> Value | None:
        inner = self._inner(args[0], ops.negative)
        return inner.args[0] if inner else None

    def _stop_gradient(self, args: Any, *_: Any) -> Value | None:
        return args[0] if self.drop_stops else None

    drop_stops = False

    def _reshape(self, args: Any, _c: Any, attributes: Any, _t: Any, source: Any) -> Value | None:
        if args[0].type.dims == attributes["dims"]:  # other names are kept: what is joined from them has to agree
            return args[0]  # type: ignore[no-any-return]
        inner = self._inner(args[0], ops.reshape)
        return self.emit(ops.reshape, inner.args, attributes, source=source) if inner else None

    def _stretch(self, args: Any, _c: Any, attributes: Any, *_: Any) -> Value | None:
        return args[0] if args[0].type.sizes == tuple(d.size for d in attributes["dims"]) else None

    def _transpose(self, args: Any, _c: Any, attributes: Any, _t: Any, source: Any) -> Value | None:
        axes = attributes["axes"]
        if axes == tuple(range(-len(axes), 0)):
            return args[0]  # type: ignore[no-any-return]
        inner = self._inner(args[0], ops.transpose)
        if inner is None:
            product = self._inner(args[0], ops.total_product)  # (XᵀD)ᵀ is DᵀX
            return self.emit(ops.total_product, product.args[::-1], source=source) if product and len(axes) == 2 else None
        order = tuple(inner.options["axes"][axis] for axis in axes)
        return self.emit(ops.transpose, inner.args, {"axes": order}, source=source)

    def _concat(self, args: Any, _c: Any, attributes: Any, _t: Any, source: Any) -> Value | None:
        """One value is itself; neighbouring slices of one value are one slice."""
        if len(args) == 1:
            return args[0]  # type: ignore[no-any-return]
        axis = attributes["axis"]
        slices = [self._inner(a, ops.slice_) for a in args]
        if any(s is None or s.args[0] != slices[0].args[0] for s in slices):  # type: ignore[union-attr]
            return None
        options = [s.options for s in slices if s is not None]
        rank = len(options[0]["start"])
        others = [i for i in range(rank) if i != axis + rank]
        for a, b in pairwise(options):
            aligned = all(a[key][i].size == b[key][i].size for key in ("start", "stop") for i in others)
            if not aligned or set(a["step"] + b["step"]) != {1} or a["stop"][axis].size != b["start"][axis].size:
                return None
        stop = list(options[0]["stop"])
        stop[axis] = options[-1]["stop"][axis]
        joined = {"start": options[0]["start"], "stop": tuple(stop), "step": options[0]["step"]}
        return self.emit(ops.slice_, slices[0].args, joined, source=source)  # type: ignore[union-attr]

    def _slice(self, args: Any, _c: Any, attributes: Any, _t: Any, source: Any) -> Value | None:
        start, stop, step = (attributes[k] for k in ("start", "stop", "step"))
        value: Value = args[0]
        ranges = zip(start, stop, step, value.type.dims, strict=True)
        if all(a.size == 0 and b.size == dim.size and by == 1 for a, b, by, dim in ranges):
            return value
        if set(step) != {1}:
            return None
        inner = self._inner(value, ops.slice_)
        if inner is not None and set(inner.options["step"]) == {1}:
            offset = inner.options["start"]
            moved = {
                "start": tuple(o + a for o, a in zip(offset, start, strict=True)),
                "stop": tuple(o + b for o, b in zip(offset, stop, strict=True)),
                "step": step,
            }
            return self.emit(ops.slice_, inner.args, moved, source=source)
        turned = self._inner(value, ops.transpose)
        if turned is not None and value.type.varies == Varies.NEVER:  # of a weight: a part of it is a port of its own
            axes = turned.options["axes"]
            moved = {"start": [*start], "stop": [*stop], "step": step}
            for here, there in enumerate(axes):
                moved["start"][there], moved["stop"][there] = start[here], stop[here]
            part = self.emit(ops.slice_, turned.args, {key: tuple(ends) for key, ends in moved.items()}, source=source)
            return self.emit(ops.transpose, (part,), {"axes": axes}, source=source)
        joined = self._inner(value, ops.concat)
        return self._slice_of_concat(joined, start, stop, source) if joined is not None else None

    def _slice_of_concat(self, joined: Node, start: Any, stop: Any, source: Any) -> Value | None:
        """A slice that lies within one of the joined values is a slice of that value."""
        axis = joined.options["axis"]
        first = Dim.number(0)
        for part in joined.args:
            last = first + part.type.dims[axis]
            inside = first.size <= start[axis].size and stop[axis].size <= last.size
            if inside and part.type.varies == joined.value.type.varies:
                begin, end = list(start), list(stop)
                begin[axis], end[axis] = start[axis] - first, stop[axis] - first
                attributes = {"start": tuple(begin), "stop": tuple(end), "step": (1,) * len(begin)}
                return self.emit(ops.slice_, (part,), attributes, source=source)
            first = last
        return None


class Pass:
    """Walks a graph and emits it again. A pass overrides `visit`; `new` says what became of a value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        names = [p.name for p in graph.ports] + [n.value.name for n in graph.nodes]
        self.builder = Builder(names)
        self.env: dict[str, Value] = {p.name: p.value for p in graph.ports}
        self.uses = users(graph.nodes, graph.results)

    def new(self, value: Value) -> Value:
        return self.env[value.name]

    def visit(self, node: Node) -> Value:
        return self.again(node)

    def again(self, node: Node) -> Value:
        """The same op on what became of its operands."""
        args = [self.new(a) for a in node.args]
        same = all(new.type is old.type or new.type == old.type for new, old in zip(args, node.args, strict=True))
        known = node.value.type if same else None
        return self.builder.emit(node.record, args, node.options, name=node.value.name, source=node.source, known=known)

    def run(self) -> Graph:
        for node in self.graph.nodes:
            self.env[node.value.name] = self.visit(node)
        results = tuple(replace(r, value=self.new(r.value)) for r in self.graph.results)
        nodes = live(self.builder.nodes, results)
        return replace(self.graph, nodes=nodes, results=results)
