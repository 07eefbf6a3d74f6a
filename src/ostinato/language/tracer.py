"""The tracer: one run of a cell on symbols. It collects the nodes, and knows how to speak of them.

A `Symbol` stands for a value while a cell is traced: a shape without numbers, with the operators and methods of an array
(array_like.py). Each op that is called on a symbol becomes a node of its tracer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from types import FrameType
from typing import Any, NoReturn

from ..checks import is_whole
from ..errors import ShapeError, Source, SymbolError, counted, lay_out, user_frame, user_source
from ..ir import ops
from ..ir.graph import Node, Port, Value, result_type
from ..ir.op import Op, bind, dims_of, kind
from ..ir.shapes import Dim, Reason, Type, Varies
from .array_like import ArrayLike

LONGEST_SHOWN = 32  # characters of the author's own text that stand for a value without a name


class Symbol(ArrayLike):
    """A value of the cell while it is traced. It has a shape and no numbers."""

    __slots__ = ("_tracer", "_type", "_value")

    _priority = 0  # of an op's operands, the one of the highest priority is asked what the op makes of them

    _tracer: Tracer
    _value: Value

    def __init__(self, tracer: Tracer, value: Value) -> None:
        for slot, content in (("_tracer", tracer), ("_value", value), ("_type", value.type)):
            object.__setattr__(self, slot, content)

    def _traced(self, op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> Symbol:
        return self._tracer.apply(op, args, options)

    def _applied(self, tracer: Tracer, op: Op, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Symbol:
        """What an op makes of its operands, of which this is one: a node."""
        return tracer.add(op, operands, attributes)

    def _as_operand(self, tracer: Tracer, what: str) -> Value:
        """The value that it is in the graph of a tracer.

        Raises:
            SymbolError: it belongs to another cell, or to a trace that has ended.
        """
        if self._tracer is not tracer or tracer.closed:
            headline = f"{what}: a symbolic value of another cell, {self._tracer.name}, was used in {tracer.name}"
            if self._tracer is tracer:
                headline = f"{what}: a symbolic value of {tracer.name} was used after the cell had been traced"
            hint = "a cell keeps nothing from one call to another"
            raise SymbolError(lay_out(headline, source=user_source(), hint=hint))
        return self._value

    def _reads_as(self, name: str, operands: Sequence[Symbol]) -> None:
        self._tracer.meanings[self._value.name] = (name, tuple(o._value.name for o in operands))

    def _dropped(self, rate: float, per: str) -> Symbol:
        return self._tracer.dropout(self, rate, per)

    def _number(self, number: float) -> Symbol:
        """A number as a value of the same graph."""
        return self._tracer.number(number)

    def _said(self, what: str, hint: str = "") -> str:
        row = self._row()
        return lay_out(f"{self._tracer.name}: {what.format(row[0])}", source=user_source(), values=[row], hint=hint)

    def _row(self) -> tuple[str, str, str]:
        return self._tracer.row(self._value)

    def __getitem__(self, index: Any) -> Symbol:
        return self._tracer.index(self, index)


def tracer_of(symbol: Symbol) -> Tracer:
    """Whose symbol it is."""
    return symbol._tracer


def value_of(symbol: Symbol) -> Value:
    """The value of the graph that it stands for."""
    return symbol._value


class Tracer:
    """One run of a cell on symbols: it collects the nodes, and knows how to speak of them."""

    def __init__(self, name: str, dtype: str, sizes: Mapping[str, int], training: bool = False, prefix: str = "t") -> None:
        self.name, self.dtype, self.sizes, self.training = name, dtype, dict(sizes), training
        self.ports: list[Port] = []
        self.nodes: list[Node] = []
        self.declared: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.meanings: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.frame: FrameType | None = None
        self.code: Any = None
        self.closed = False
        self.names = (f"{prefix}{i}" for i in count(1))
        self.source: Callable[[], Source | None] = user_source
        self.wished: dict[str, str] = {}  # names for values that no variable of the author holds

    def port(self, port: Port, declaration: str = "") -> Symbol:
        self.ports.append(port)
        self.declared[port.name] = declaration or port.role
        for dim in port.value.type.dims:
            for monomial, _ in dim.terms:
                if len(dim.terms) == 1 and len(monomial) == 1:
                    self.owners.setdefault(monomial[0], port.name)
        return Symbol(self, port.value)

    # --- making nodes

    def apply(self, op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> Symbol:
        operands, attributes = bind(op, args, options)
        if self.frame is None or self.frame.f_code is not self.code:
            self.find_frame()
        symbols = [operand for operand in operands if isinstance(operand, Symbol)]
        if not symbols:  # the symbol was given as an attribute, as in `reshape(1.0, x)`
            return self.add(op, operands, attributes)
        return max(symbols, key=lambda symbol: symbol._priority)._applied(self, op, operands, attributes)

    def add(self, op: Op, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Symbol:
        """A node, or a ShapeError about the user's line."""
        values = [self.value_of(operand, op.name) for operand in operands]
        return self.node(op, values, attributes, self.checked_type(op, values, attributes))

    def checked_type(self, op: Op, values: Sequence[Value], attributes: Mapping[str, Any]) -> Type:
        """The type of what an op gives, or a ShapeError about the user's line."""
        type_ = result_type(op, values, attributes)
        if isinstance(type_, Reason):
            rows = {v.name: self.row(v) for v in values if v.name in self.declared or not self._is_number(v)}
            sizes = {name: (size, f"`{self.owners[name]}`") for name, size in self.sizes.items() if name in self.owners}
            headline = f"{op.name}: {self.in_names(type_, values)}"
            hint = type_.hint
            raise ShapeError(lay_out(headline, source=user_source(), values=[*rows.values()], sizes=sizes, hint=hint))
        return type_

    def node(self, op: Op, values: Sequence[Value], attributes: Mapping[str, Any], type_: Type) -> Symbol:
        if op.name == "reshape" and values[0].type.dims == type_.dims:
            return Symbol(self, values[0])
        value = Value(self.fresh_name(), type_)
        self.nodes.append(Node(value, op.name, tuple(values), tuple(attributes.items()), self.source()))
        return Symbol(self, value)

    def wish(self, symbol: Symbol, name: str) -> None:
        """Call a value by a name, if it is free; the first wish counts."""
        self.wished.setdefault(symbol._value.name, name)

    def fresh_name(self) -> str:
        taken = {p.name for p in self.ports}
        return next(name for name in self.names if name not in taken)

    @contextmanager
    def written_at(self, source: Source | None) -> Iterator[None]:
        """Nodes made within this block come from that place in the user's code."""
        before, self.source = self.source, lambda: source
        try:
            yield
        finally:
            self.source = before

    def number(self, number: float) -> Symbol:
        return Symbol(self, self.value_of(number, "constant"))

    def value_of(self, operand: Any, what: str) -> Value:
        """An operand as a value of this graph: a symbol of this trace, or a number."""
        if isinstance(operand, Symbol):
            return operand._as_operand(self, what)
        array = operand if isinstance(operand, int | float) else None
        if array is None and getattr(operand, "ndim", None) == 0 and hasattr(operand, "item"):
            array = operand.item()
        if isinstance(array, bool) or not isinstance(array, int | float):
            headline = f"{what}: an operand is {kind(operand)}; in a cell it is a symbolic value or a number"
            hint = "declare the array as a Weight and assign it to the layer" if getattr(operand, "ndim", 0) else ""
            raise SymbolError(lay_out(headline, source=user_source(), hint=hint))
        try:
            number = float(array)
        except OverflowError:
            headline = f"{what}: the number {str(array)[:12]}... is too large for {self.dtype}"
            raise SymbolError(lay_out(headline, source=user_source())) from None
        attributes = {"value": number, "dtype": self.dtype}
        type_ = result_type(ops.constant, (), attributes)
        assert isinstance(type_, Type)
        for node in self.nodes:
            # the text of a number is its identity, so that -0.0 and nan stay what they are
            if node.record is ops.constant and repr(node.options["value"]) == repr(attributes["value"]):
                return node.value
        return value_of(self.node(ops.constant, (), attributes, type_))

    def index(self, symbol: Symbol, index: Any) -> Symbol:
        """`x[a:b]`, `x[..., i]`: static ranges and places, one for each dimension; `x[:, None]`: a dimension of 1 between."""
        places = list(index) if isinstance(index, tuple) else [index]
        dims = dims_of(symbol)
        where_ = next((i for i, place in enumerate(places) if place is Ellipsis), None)
        if where_ is not None:
            places[where_ : where_ + 1] = [slice(None)] * (len(dims) - _n_used(places) + 1)
        places += [slice(None)] * (len(dims) - _n_used(places))
        if _n_used(places) > len(dims):
            self.refuse_index(symbol, f"{counted(_n_used(places), 'index', 'indices')} for {counted(len(dims), 'dimension')}")
        start, stop, step, kept = [], [], [], []
        following = iter(dims)
        for place in places:
            if place is None:
                kept.append(Dim.number(1))
                continue
            dim = next(following)
            if is_whole(place):
                if not -dim.size <= place < dim.size:
                    self.refuse_index(symbol, f"the index {place} lies outside `{dim}`")
                at = place % dim.size
                first, last, by = Dim.number(at), Dim.number(at + 1), 1
            elif isinstance(place, slice) and all(p is None or is_whole(p) for p in _ends(place)):
                a, b, by = place.indices(dim.size) if place.step != 0 else (0, 0, 0)
                if by < 1 or a >= b:
                    self.refuse_index(symbol, f"the range {_range_text(place)} of `{dim}` is empty or goes backwards")
                # by what was written, not by the size: at size 1, x[:1] is no more `n_inputs` than at size 5
                first, last = _end(place.start, a, dim, Dim.number(0)), _end(place.stop, b, dim, dim)
                kept.append(last - first if by == 1 else Dim.number(-(-(b - a) // by)))
            else:
                ends = _ends(place) if isinstance(place, slice) else (place,)
                wrong = next(kind(p) for p in ends if (p is not None or p is place) and not is_whole(p))
                self.refuse_index(symbol, f"an index is a whole number or a range of them, and not {wrong}")
            start.append(first)
            stop.append(last)
            step.append(by)
        part = ops.slice_(symbol, tuple(start), tuple(stop), tuple(step))
        return ops.reshape(part, *kept)  # type: ignore[no-any-return]

    def refuse_index(self, symbol: Symbol, reason: str) -> NoReturn:
        raise ShapeError(lay_out(f"slice: {reason}", source=user_source(), values=[self.row(value_of(symbol))]))

    def dropout(self, symbol: Symbol, rate: float, per: str) -> Symbol:
        if not self.training:
            return symbol
        taken = {p.name for p in self.ports}
        name = next(name for name in (f"mask_{i}" for i in count(1)) if name not in taken)
        varies = Varies.STEP if per == "step" else Varies.INSTANCE
        value = Value(name, Type(self.dtype, dims_of(symbol), varies))
        return symbol * self.port(Port(value, "mask", rate=rate))  # type: ignore[operator, no-any-return]

    # --- speaking of values

    def find_frame(self) -> None:
        frame = user_frame()
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        self.frame = frame

    def display_value(self, value: Value) -> str:
        if value.name in self.declared:
            return value.name
        for frame in (user_frame(), self.frame):
            for name, local in (frame.f_locals if frame else {}).items():
                if isinstance(local, Symbol) and value_of(local) == value:
                    return name
        node = next(n for n in self.nodes if n.value == value)
        if node.record is ops.constant:
            return repr(node.options["value"])
        written = node.source.expression if node.source else ""
        return written if 0 < len(written) <= LONGEST_SHOWN else f"({node.op})"

    def _is_number(self, value: Value) -> bool:
        return any(n.value == value and n.record is ops.constant for n in self.nodes)

    def row(self, value: Value) -> tuple[str, str, str]:
        shown = self.display_value(value)
        if value.name in self.declared:
            origin = f"{self.declared[value.name]} `{value.name}` of {self.name}"
        else:
            node = next(n for n in self.nodes if n.value == value)
            origin = f"result of {node.op}" + (f", {node.source.place}" if node.source else "")
        return shown, value.type.one_instance, origin

    def in_names(self, reason: Reason, values: Sequence[Value]) -> str:
        """The reason, with the operands called by their names where there are two of them."""
        if len(values) != 2 or self.display_value(values[0]) == self.display_value(values[1]):
            return reason.text
        left, right = (f"`{self.display_value(v)}`" for v in values)
        text = reason.text.replace("on the left", f"in {left}").replace("on the right", f"in {right}")
        if "of one operand" in text:
            a, b = (v.type.dims for v in values)
            first = re.search(r"`([^`]*)`", text)
            if first and first.group(1) in map(str, b) and first.group(1) not in map(str, a):
                left, right = right, left
            text = text.replace("of one operand", f"of {left}").replace("of another", f"of {right}")
        return text


def _n_used(places: Sequence[Any]) -> int:
    """How many dimensions indices speak of; None stands for a new one."""
    return sum(place is not None for place in places)


def _ends(place: slice) -> tuple[Any, ...]:
    return place.start, place.stop, place.step


def _end(written: int | None, place: int, dim: Dim, default: Dim) -> Dim:
    """Where a range begins or ends: counted from the front as a number, from the back by the name of the dimension."""
    if written is None:
        return default
    from_the_back = written < 0 and written + dim.size == place
    return dim + Dim.number(written) if from_the_back else Dim.number(place)


def _range_text(place: slice) -> str:
    parts = _ends(place) if place.step is not None else _ends(place)[:2]
    return ":".join("" if p is None else str(p) for p in parts)
