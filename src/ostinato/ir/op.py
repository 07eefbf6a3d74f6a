"""What an op is, and how it is called: on symbols it becomes a node of the graph being traced, on arrays it computes at once.

The table itself is ops.py. Here shapes are refused: the rules return a `Reason`, and this module raises it, with the user's
own line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cached_property, reduce
from math import prod
from operator import mul
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from ..checks import is_whole
from ..errors import CellError, DimensionError, ShapeError, counted, known_names, lay_out, user_source
from .dtypes import dtype_of
from .op_shapes import Attributes, Shape
from .shapes import Dim, Dims, Reason, Type, Varies, parse_dim

Array = np.ndarray[Any, np.dtype[Any]]

_sizes: ContextVar[Mapping[str, int | Dim]] = ContextVar("sizes", default=MappingProxyType({}))


class Symbolic:
    """What stands for a value while a cell is traced (`tracer.Symbol`); here only so that it can be recognised."""

    __slots__ = ()
    _type: Type

    def _traced(self, op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        raise NotImplementedError


def _operands_only(*operands: Any) -> tuple[tuple[Any, ...], Attributes]:
    return operands, {}


class Kind(Enum):
    """What an op does with the elements of its operands; passes and plans treat the ops of one kind alike."""

    ELEMENTWISE = "each element of the result from one element of every operand"
    VIEW = "the same elements in another order or number: no element is computed or carried"
    COPY = "elements are carried to other places, or added there"
    REDUCTION = "along dimensions of one instance at one step"
    PRODUCT = "a dimension is contracted"
    ROW_SUM = "over all steps and instances"
    CONSTANT = "a number"


class Binding(IntEnum):
    """How strongly an expression binds in an equation; an operand that binds less is put into parentheses."""

    CHOICE = 0
    OR = 1
    AND = 2
    NOT = 3
    COMPARED = 4
    SUM = 5
    TERM = 6
    SIGN = 7
    PRODUCT = 8
    POWER = 9
    ATOM = 10


@dataclass(frozen=True)
class Cost:
    """What one vector of results takes of a processor, in multiply-adds of the same vector.

    Attributes:
        operations: how much of the throughput of a core: so many multiply-adds could have been done meanwhile.
        latency: how long the result is waited for: so many multiply-adds one after another.
    """

    operations: int
    latency: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """One record of the table: all that passes, plans, explanations and tests know of an op.

    Attributes:
        name: as the text of a graph spells it, and by which vector code is registered (lower/vector_math.py).
        n_operands: how many; None for any number from 1 up.
        kind: what it does with elements.
        shape: `shape(types, attributes)` gives (dtype, dims), or the `Reason` why there is none. It sees one instance at one
            step.
        numpy: `numpy(*arrays, **attributes)` computes. Every array has one leading axis in front of the dimensions of its type:
            the instances, or instances and steps together, or 1 for what does not vary. Operands of elementwise ops come with
            equal ranks.
        derivative: one formula per operand: `(d, y, *operands, **attributes) -> contribution`, where `d` is the adjoint of the
            result `y`. It is written with the same ops, so that it reads as a formula and is compiled like any other. None
            means that nothing flows back. Where a formula gives too many dimensions, differentiate.py sums over those along
            which the operand was broadcast.
        arithmetic: what its elements count as in an account of arithmetic: "multiply_adds", "multiplications", "additions",
            "functions", "others", or "" for none (explain/cost.py).
        cost: what the cost model charges for a vector of results.
        recomputed: whether computing it again in the backward pass is cheaper than storing and loading its result.
        equation: how an equation writes it: `{0}` and `{1}` are the operands.
        binding: of that equation.
        doc: what the author of a cell reads, without a full stop.
        call: turns what the user passes into operands and attributes.
        infix: Python's operator between two operands, "" if there is none. The text of a graph is written with it.
        prefix: the same in front of one operand.
        commutative: whether a op b is b op a.
        combine: of a reduction, the elementwise op that joins two elements.
        sums_over_steps: whether the result takes in all steps; only backward programs have such ops.
        whole_operands: whether one element of the result reads elements of an operand that lie elsewhere, so that a loop has
            to finish the operand before.
        internal: whether only passes make it; the author of a cell has no name for it.
        result_varies: with what the result varies; None for: with whatever the operands vary.
        dim_attributes: the attributes that are made of dimensions.
        positional: the attribute whose dimensions follow the operands in the text of a graph, without its name; "" for none.
        usual: attributes with the values that the text leaves out.
        gist: a few words for what a result is; "" where there is nothing to say.
    """

    name: str
    n_operands: int | None
    kind: Kind
    shape: Callable[[Sequence[Type], Attributes], Shape]
    numpy: Callable[..., Any]
    derivative: tuple[Callable[..., Any] | None, ...]
    arithmetic: str
    cost: Cost
    recomputed: bool
    equation: str
    binding: Binding
    doc: str
    call: Callable[..., tuple[tuple[Any, ...], Attributes]] = _operands_only
    infix: str = ""
    prefix: str = ""
    commutative: bool = False
    combine: Op | None = None
    sums_over_steps: bool = False
    whole_operands: bool = False
    internal: bool = False
    result_varies: Varies | None = None
    dim_attributes: tuple[str, ...] = ()
    positional: str = ""
    usual: Mapping[str, Any] = field(default_factory=dict)
    gist: str = ""

    @cached_property
    def elementwise(self) -> bool:
        return self.kind is Kind.ELEMENTWISE

    def __call__(self, *args: Any, **options: Any) -> Any:
        return apply(self, args, options)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str], Op], tuple[str]]:
        """Pickled by its name: there is one record of each op."""
        return _of_name, (self.name,)

    def derivative_for(self, index: int) -> Callable[..., Any] | None:
        """The formula for one operand; an op of any number of operands has one formula, which takes the index first."""
        if self.n_operands is None:
            formula = self.derivative[0]
            return None if formula is None else (lambda *a, **k: formula(index, *a, **k))
        return self.derivative[index]

    def compute(self, arrays: Sequence[Array], attributes: Attributes) -> Array:
        """The NumPy meaning; operands of elementwise ops are brought to equal ranks first."""
        if self.elementwise:
            rank = max(array.ndim for array in arrays)
            arrays = [a if a.ndim == rank else a.reshape(a.shape[0], *(1,) * (rank - a.ndim), *a.shape[1:]) for a in arrays]
        result: Array = self.numpy(*arrays, **attributes)
        return result


OPS: dict[str, Op] = {}


def _of_name(name: str) -> Op:
    return OPS[name]


def record(name: str, *alike: Mapping[str, Any], **own: Any) -> Op:
    """Add a record to the table; it is the function that the author of a cell calls, too.

    Args:
        alike: fields that it shares with others; a later one counts before an earlier one.
        own: its own fields, which count before those.
    """
    fields: dict[str, Any] = {key: value for shared in (*alike, own) for key, value in shared.items()}
    op = Op(name=name, **fields)
    object.__setattr__(op, "__doc__", op.doc)
    object.__setattr__(op, "__name__", name)
    OPS[name] = op
    return op


@contextmanager
def sizes_known(sizes: Mapping[str, int] | Mapping[str, int | Dim]) -> Iterator[None]:
    """Within this block a dimension name in `reshape(x, "n_heads", ...)` has a size."""
    token = _sizes.set(sizes)
    try:
        yield
    finally:
        _sizes.reset(token)


def apply(op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call an op on what a user passed: a node if a symbol is among it, else an array."""
    for arg in args:
        if isinstance(arg, Symbolic):
            return arg._traced(op, args, options)  # noqa: SLF001 - ours, and no name for a cell's author
    return _compute(op, args, options)


def bind(op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Operands and attributes of a call, or a CellError that says which arguments the op takes."""
    listed = [a for a in args if isinstance(a, list | tuple) and any(isinstance(i, Symbolic | np.ndarray) for i in a)]
    if listed:
        headline = f"{op.name}: an operand is a {type(listed[0]).__name__} of values; they are given one by one"
        raise CellError(lay_out(headline, source=user_source(), hint="`concat(a, b)`, not `concat([a, b])`"))
    try:
        operands, attributes = op.call(*args, **options)
        misfit = len(operands) != op.n_operands if op.n_operands is not None else not operands
    except TypeError:
        misfit = True
    if misfit:
        hint = f"of two values, elementwise: `{op.name}imum(a, b)`" if op.name == "max" and len(args) > 1 else ""
        refuse_call(op.name, _usage(op), args, options, hint)
    return operands, attributes


def refuse_call(name: str, usage: str, args: Sequence[Any], options: Mapping[str, Any], hint: str = "") -> NoReturn:
    """Say how something is called that was called in another way."""
    given = " and ".join([counted(len(args), "argument"), *(f"{key}={value!r}" for key, value in options.items())])
    raise CellError(lay_out(f"{name}: {usage}, and was called with {given}", source=user_source(), hint=hint)) from None


def bind_function(
    name: str, signature: inspect.Signature, args: Sequence[Any], options: Mapping[str, Any], shown: str = ""
) -> inspect.BoundArguments:  # fmt: skip
    """The arguments of a function that is written with ops, or a CellError that says which it takes."""
    try:
        return signature.bind(*args, **options)
    except TypeError:
        plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        usage = f"it is called as {shown or name}{inspect.Signature(plain)}"
        meant = {"dim": "axis", "keepdim": "keepdims"}  # as PyTorch has them
        known = [meant[key] for key in options if key in meant and meant[key] in signature.parameters]
        refuse_call(name, usage, args, options, f"the name is `{known[0]}`" if known else "")


def _usage(op: Op) -> str:
    """How an op is called, in words."""
    parameters = list(inspect.signature(op.call).parameters.values())
    named = [p.replace(annotation=p.empty) for p in parameters if p.kind is not p.VAR_POSITIONAL]
    if named:
        shown = [str(p.replace(annotation=p.empty)) for p in parameters]
        return f"it is called as {op.name}({', '.join(shown)})"
    return f"it takes {counted(op.n_operands, 'value') if op.n_operands else 'at least 1 value'}"


def _compute(op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    operands, attributes = bind(op, args, options)
    floats = [a.dtype for a in operands if isinstance(a, np.ndarray | np.generic) and a.dtype.kind == "f"]
    weak = np.result_type(*floats) if floats else np.dtype(np.float64)
    arrays = [_array_of(op, a, weak) for a in operands]
    result = op.shape([type_of(a) for a in arrays], attributes)
    if isinstance(result, Reason):
        values = [(f"operand {i + 1}", str(type_of(a).one_instance), "") for i, a in enumerate(arrays)]
        refuse(op.name, result, values)
    with np.errstate(all="ignore"):
        return op.compute([a[None] for a in arrays], attributes)[0]


def _array_of(op: Op, operand: Any, weak: Any) -> np.ndarray[Any, Any]:
    """An operand as an array of float32, float64 or truth values; a plain number takes the dtype of the other operands."""
    try:
        array = np.asarray(operand, weak if isinstance(operand, int | float) and not isinstance(operand, bool) else None)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        what = f"of dtype {array.dtype}" if isinstance(operand, np.ndarray) else kind(operand)
        headline = f"{op.name}: an operand holds no real numbers; it is {what}"
        raise CellError(lay_out(headline, source=user_source()))
    return array if array.dtype in (np.float32, np.float64, np.bool_) else array.astype(np.float64)


def kind(given: Any) -> str:
    """What a user gave, in words."""
    if given is None or given is Ellipsis:
        return "None" if given is None else "a second `...`"
    return "a symbolic value" if isinstance(given, Symbolic) else f"of type {type(given).__name__}"


def type_of(value: Any) -> Type:
    """The type of a symbol; of an array, whose dimensions have no names."""
    if isinstance(value, Symbolic):
        return value._type  # noqa: SLF001 - ours, and no name for a cell's author
    array = np.asarray(value)
    return Type(dtype_of(array), tuple(Dim.number(n) for n in array.shape))


def refuse(
    what: str,
    reason: Reason,
    values: Sequence[tuple[str, str, str]] = (),
    sizes: Mapping[str, tuple[int, str]] | None = None,
) -> NoReturn:
    """Raise a ShapeError about the user's own expression."""
    headline = f"{what}: {reason.text}"
    raise ShapeError(lay_out(headline, source=user_source(), values=values, sizes=sizes, hint=reason.hint))


def dims_of(value: Any) -> Dims:
    """The dimensions of a symbol; of an array, plain numbers."""
    return type_of(value).dims


def rank_of(value: Any) -> int:
    return len(dims_of(value)) if isinstance(value, Symbolic) else np.ndim(value)


def dims_named(expressions: Sequence[Any]) -> Dims:
    """The dimensions that `reshape(x, "n_heads", 4)` names."""
    return tuple(e if isinstance(e, Dim) else dim_named(e) for e in expressions)


def dims_filling(whole: Dims, expressions: Sequence[Any]) -> Dims:
    """As `dims_named`; one of the expressions may be -1: what the others leave of a value with the dimensions `whole`."""
    if len(expressions) == 1 and isinstance(expressions[0], tuple | list):
        expressions = expressions[0]
    places = [i for i, e in enumerate(expressions) if is_whole(e) and e == -1]
    if len(places) != 1:
        return dims_named(expressions)
    place = places[0]
    others = dims_named([*expressions[:place], *expressions[place + 1 :]])
    rest = _left(whole, others)
    return (*others[:place], rest, *others[place:])


def _left(whole: Dims, others: Dims) -> Dim:
    """What `others` leave of the elements: by name where they are some of the dimensions themselves, else a number."""
    remaining = list(whole)
    for dim_ in others:
        if dim_ in remaining:
            remaining.remove(dim_)
        elif dim_.size != 1:
            n, taken = (prod(d.size for d in each) for each in (whole, others))
            return Dim.number(max(1, n // taken))  # where it does not divide, the op says so
    return reduce(mul, remaining, Dim.number(1))


def dim_named(expression: Any) -> Dim:
    sizes = _sizes.get()
    if not isinstance(expression, str) and not is_whole(expression):
        headline = f"a dimension is a name, a sum of names or a whole number, not {expression!r}"
        raise DimensionError(lay_out(headline, source=user_source()))
    try:
        found = Dim.number(int(expression)) if not isinstance(expression, str) else parse_dim(expression, sizes)
    except KeyError as missing:
        name = missing.args[0]
        known = known_names(name, sizes, "dimensions")
        headline = f"`{name}` is no dimension of this cell; {known}"
        if not sizes:
            headline = f"`{name}` has no size: outside of a cell, dimensions are whole numbers"
        raise DimensionError(lay_out(headline, source=user_source())) from None
    except ValueError:
        headline = f"{expression!r} is no dimension: write a sum of names and whole numbers, such as 'n_inputs + 1'"
        raise DimensionError(lay_out(headline, source=user_source())) from None
    if found.size < 1:
        which = f"`{expression}` is {found.size}" if isinstance(expression, str) else f"not {expression}"
        headline = f"a dimension is at least 1, and {which}"
        raise DimensionError(lay_out(headline, source=user_source()))
    return found
