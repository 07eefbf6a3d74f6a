"""Cells: a function of one step, run once on symbols, becomes a Graph.

    @cell
    def recurrent(x=Input("n_inputs"), y=State("n_neurons"), W_x=Weight("n_inputs", "n_neurons"), ...):
        return tanh(x @ W_x + y @ W_y + b)

Declarations are default values. The names of the graph's values are the author's own variables wherever there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from types import FrameType
from typing import Any, NoReturn

from ..checks import is_whole
from ..errors import CellError, ShapeError, Source, SymbolError, counted, lay_out
from ..ir import ops
from ..ir.graph import VARIES, Graph, Node, Port, Result, Value, rename, result_type, verify
from ..ir.op import bind, dims_of, kind, sizes_known, user_frame, user_source
from ..ir.shapes import Dim, Reason, Type, Varies
from ..structure.base import Constants, Placement
from .declarations import Declaration, Output
from .structured import Structured, apply, refuse
from .tracer import Symbol, tracer_of, value_of

LONGEST_SHOWN = 32  # characters of the author's own text that stand for a value without a name


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
        self.constants = Constants(self.number, lambda symbol, name: self.wished.setdefault(value_of(symbol).name, name))

    def port(self, port: Port, declaration: str = "") -> Symbol:
        self.ports.append(port)
        self.declared[port.name] = declaration or port.role
        for dim in port.value.type.dims:
            for monomial, _ in dim.terms:
                if len(dim.terms) == 1 and len(monomial) == 1:
                    self.owners.setdefault(monomial[0], port.name)
        return Symbol(self, port.value)

    def structured_port(self, port: Port, declaration: str, placement: Placement, dense: Type) -> Structured:
        """A port for what is stored of a structured weight; the symbol has the type of the dense matrix."""
        stored = self.port(port, declaration)
        return Structured(self, Value(port.name, dense), stored, placement, self.constants)

    # --- making nodes

    def apply(self, op: ops.Op, args: Sequence[Any], options: Mapping[str, Any]) -> Symbol:
        operands, attributes = bind(op, args, options)
        if self.frame is None or self.frame.f_code is not self.code:
            self.find_frame()
        if any(isinstance(operand, Structured) for operand in operands):
            return apply(self, op, operands, attributes)  # type: ignore[no-any-return]
        values = [self.value_of(operand, op) for operand in operands]
        return self.node(op, values, attributes, self.checked_type(op, values, attributes))

    def checked_type(self, op: ops.Op, values: Sequence[Value], attributes: Mapping[str, Any]) -> Type:
        """The type of what an op gives, or a ShapeError about the user's line."""
        type_ = result_type(op, values, attributes)
        if isinstance(type_, Reason):
            rows = {v.name: self.row(v) for v in values if v.name in self.declared or not self._is_number(v)}
            sizes = {name: (size, f"`{self.owners[name]}`") for name, size in self.sizes.items() if name in self.owners}
            headline = f"{op.name}: {self.in_names(type_, values)}"
            hint = type_.hint
            raise ShapeError(lay_out(headline, source=user_source(), values=[*rows.values()], sizes=sizes, hint=hint))
        return type_

    def node(self, op: ops.Op, values: Sequence[Value], attributes: Mapping[str, Any], type_: Type) -> Symbol:
        if op.name == "reshape" and values[0].type.dims == type_.dims:
            return Symbol(self, values[0])
        value = Value(self.fresh_name(), type_)
        self.nodes.append(Node(value, op.name, tuple(values), tuple(attributes.items()), self.source()))
        return Symbol(self, value)

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
        return Symbol(self, self.value_of(number, ops.constant))

    def value_of(self, operand: Any, op: ops.Op) -> Value:
        """An operand as a value of this graph: a symbol of this trace, or a number."""
        if isinstance(operand, Structured):
            refuse(operand, op.name)
        if isinstance(operand, Symbol):
            if tracer_of(operand) is not self or self.closed:
                headline = f"{op.name}: a symbolic value of another cell, {tracer_of(operand).name}, was used in {self.name}"
                if tracer_of(operand) is self:
                    headline = f"{op.name}: a symbolic value of {self.name} was used after the cell had been traced"
                hint = "a cell keeps nothing from one call to another"
                raise SymbolError(lay_out(headline, source=user_source(), hint=hint))
            return value_of(operand)
        array = operand if isinstance(operand, int | float) else None
        if array is None and getattr(operand, "ndim", None) == 0 and hasattr(operand, "item"):
            array = operand.item()
        if isinstance(array, bool) or not isinstance(array, int | float):
            headline = f"{op.name}: an operand is {kind(operand)}; in a cell it is a symbolic value or a number"
            hint = "declare the array as a Weight and assign it to the layer" if getattr(operand, "ndim", 0) else ""
            raise SymbolError(lay_out(headline, source=user_source(), hint=hint))
        try:
            number = float(array)
        except OverflowError:
            headline = f"{op.name}: the number {str(array)[:12]}... is too large for {self.dtype}"
            raise SymbolError(lay_out(headline, source=user_source())) from None
        attributes = {"value": number, "dtype": self.dtype}
        type_ = result_type(ops.constant, (), attributes)
        assert isinstance(type_, Type)
        for node in self.nodes:
            # the text of a number is its identity, so that -0.0 and nan stay what they are
            if node.op == "constant" and repr(node.options["value"]) == repr(attributes["value"]):
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
        if node.op == "constant":
            return repr(node.options["value"])
        written = node.source.expression if node.source else ""
        return written if 0 < len(written) <= LONGEST_SHOWN else f"({node.op})"

    def display(self, symbol: Symbol) -> str:
        return self.display_value(value_of(symbol))

    def origin(self, symbol: Symbol) -> str:
        return self.row(value_of(symbol))[2]

    def _is_number(self, value: Value) -> bool:
        return any(n.value == value and n.op == "constant" for n in self.nodes)

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


def trace(
    name: str,
    function: Callable[..., Any],
    declarations: Mapping[str, Declaration],
    options: Mapping[str, Any],
    sizes: Mapping[str, int],
    dtype: str,
    training: bool,
) -> tuple[Graph, dict[str, tuple[str, tuple[str, ...]]]]:
    """Run a cell's function on symbols.

    Returns:
        the graph, and for values made by a composed function (softmax, ...) its name and operands.

    Raises:
        CellError: the cell says something that has no meaning.
    """
    tracer = Tracer(name, dtype, sizes, training)
    tracer.code = function.__code__
    symbols: dict[str, Symbol] = {}
    for key, declaration in declarations.items():
        type_ = Type(dtype, declaration.dims_with(sizes), VARIES[declaration.role])
        placement = declaration.placement(name, key, sizes)
        if placement is not None:
            stored = Type(dtype, tuple(map(Dim.number, placement.stored_shape)), type_.varies)
            port = Port(Value(key, stored), declaration.role)
            symbols[key] = tracer.structured_port(port, f"{placement.structure} weight", placement, type_)
            continue
        port = Port(Value(key, type_), declaration.role, initial=declaration.initial)
        symbols[key] = tracer.port(port)
    with sizes_known(sizes):
        returned = function(**symbols, **options)
        results = list(_results(tracer, returned, declarations))
    tracer.closed = True
    graph = Graph(name, dtype, tuple(sizes.items()), tuple(tracer.ports), tuple(tracer.nodes), tuple(results))
    names = _names(tracer, results)
    meanings = {names.get(k, k): (f, tuple(names.get(a, a) for a in args)) for k, (f, args) in tracer.meanings.items()}
    graph = rename(graph, names)
    return verify(replace(graph, doc=function.__doc__ or ""), "trace"), meanings


def _names(tracer: Tracer, results: Sequence[Result]) -> dict[str, str]:
    """The author's variable names for the values; `h_new` for the new value of state `h`."""
    taken = {p.name for p in tracer.ports} | {n.value.name for n in tracer.nodes}
    names: dict[str, str] = {}

    def give(value: Value, name: str) -> None:
        if value.name in tracer.declared or value.name in names:
            return
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        names[value.name] = unique

    for result in results:
        if result.role == "state":
            give(result.value, f"{result.name}_new")
    for name, local in (tracer.frame.f_locals if tracer.frame else {}).items():
        if isinstance(local, Symbol) and tracer_of(local) is tracer and name.isidentifier() and name.isascii():
            give(value_of(local), name)
    made = {n.value.name: n.value for n in tracer.nodes}
    for name, wished in tracer.wished.items():
        give(made[name], wished)
    return names


def _results(tracer: Tracer, returned: Any, declarations: Mapping[str, Declaration]) -> Iterator[Result]:
    items = list(returned) if isinstance(returned, tuple | list) else [returned]
    states = [name for name, d in declarations.items() if d.role == "state"]
    marked = [item for item in items if isinstance(item, Output)]
    new_states = [item for item in items if not isinstance(item, Output)]
    wanted = ", ".join(states)
    source = _return_source(tracer)
    if not states and not marked and len(new_states) == 1:
        marked, new_states = [Output(new_states[0])], []
    if len(new_states) != len(states):
        declared = f"{len(states)} state{'s'[: len(states) != 1]} ({wanted})" if states else "no state"
        headline = f"{tracer.name}: it declares {declared}, and returns {len(new_states)} value{'s'[: len(new_states) != 1]}"
        headline += " beside its outputs" if marked else ""
        hint = "mark what is no state: `return Output(p), h`" if len(new_states) > len(states) else f"return {wanted}"
        hint = hint if states else "give outputs names: `return Output(p, q=q)`"
        raise CellError(lay_out(headline, source=source, hint=hint))
    for state, item in zip(states, new_states, strict=True):
        yield Result(state, _returned(tracer, item, f"the new value of state `{state}`", declarations[state]), "state")
    outputs: dict[str, Any] = {}
    for output in marked:
        for key, item in output.named().items():
            if key in outputs:
                raise CellError(lay_out(f"{tracer.name}: two outputs have the name `{key}`", source=source))
            outputs[key] = item
    if not marked:
        outputs["output"] = new_states[0]
    for key, item in outputs.items():
        yield Result(key, _returned(tracer, item, f"the output `{key}`", None), "output")


def _return_source(tracer: Tracer) -> Any:
    if tracer.frame is None:  # it has made no value at all
        return Source(tracer.code.co_filename, tracer.code.co_firstlineno, tracer.code.co_name)
    return replace(Source.of_frame(tracer.frame), column=None, end_column=None)


def _returned(tracer: Tracer, item: Any, what: str, declaration: Declaration | None) -> Value:
    if not isinstance(item, Symbol) and not isinstance(item, int | float):
        headline = f"{tracer.name}: {what} is {kind(item)}, not a value of the cell"
        raise CellError(lay_out(headline, source=_return_source(tracer)))
    if isinstance(item, Structured):
        refuse(item, what)
    symbol = item if isinstance(item, Symbol) else Symbol(tracer, tracer.value_of(item, ops.constant))
    value = tracer.value_of(symbol, ops.stop_gradient)
    if declaration is None:
        return value
    wanted = Type(tracer.dtype, declaration.dims_with(tracer.sizes))
    if not value.type.fits(wanted):
        headline = f"{tracer.name}: {what} is {value.type.one_instance}, and was declared {wanted.one_instance}"
        raise ShapeError(lay_out(headline, source=_return_source(tracer), values=[tracer.row(value)]))
    return value
