"""The boundary between what a user writes and the table of ops: symbols are traced, arrays are computed at once.

Here shapes are refused: the rules return a `Reason`, and this module raises it, with the user's own line.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from math import prod
from opcode import opname
from operator import mul
from types import FrameType, MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..checks import is_whole
from ..errors import CellError, DimensionError, ShapeError, Source, counted, known_names, lay_out
from .shapes import Dim, Dims, Reason, Type, parse_dim

if TYPE_CHECKING:
    from .ops import Op

DTYPES: dict[str, Any] = {"f32": np.float32, "f64": np.float64, "bool": np.bool_}

NOT_THE_USERS = ("ostinato", "numpy", "torch", "jax", "copy", "statistics")  # modules through which a symbol comes back to us

_sizes: ContextVar[Mapping[str, int | Dim]] = ContextVar("sizes", default=MappingProxyType({}))


class Symbolic:
    """What stands for a value while a cell is traced (`tracer.Symbol`); here only so that it can be recognised."""

    __slots__ = ()
    _type: Type

    def _traced(self, op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        raise NotImplementedError


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


def fits(
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
    dtype = "bool" if array.dtype == bool else "f32" if array.dtype == np.float32 else "f64"
    return Type(dtype, tuple(Dim.number(n) for n in array.shape))


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


def rank(value: Any) -> int:
    return len(dims_of(value)) if isinstance(value, Symbolic) else np.ndim(value)


def dims(expressions: Sequence[Any]) -> Dims:
    """The dimensions that `reshape(x, "n_heads", 4)` names."""
    return tuple(e if isinstance(e, Dim) else dim(e) for e in expressions)


def dims_filling(whole: Dims, expressions: Sequence[Any]) -> Dims:
    """As `dims`; one of the expressions may be -1: what the others leave of a value with the dimensions `whole`."""
    if len(expressions) == 1 and isinstance(expressions[0], tuple | list):
        expressions = expressions[0]
    places = [i for i, e in enumerate(expressions) if is_whole(e) and e == -1]
    if len(places) != 1:
        return dims(expressions)
    place = places[0]
    others = dims([*expressions[:place], *expressions[place + 1 :]])
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


def dim(expression: Any) -> Dim:
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


def user_frame() -> FrameType | None:
    """The innermost frame outside of Ostinato and of what calls it back.

    The cells of the library count as outside, since they are written as a user writes.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to find the user's line
    while frame is not None:
        if _is_the_users(frame):
            return frame
        frame = frame.f_back
    return None


def _is_the_users(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] not in NOT_THE_USERS or module.startswith("ostinato.cells")


def user_source() -> Source | None:
    frame = user_frame()
    return Source.of_frame(frame) if frame else None


def _innermost(error: BaseException) -> TracebackType | None:
    """Where in the user's code an exception was raised."""
    found, at = None, error.__traceback__
    while at is not None:
        found = at if _is_the_users(at.tb_frame) else found
        at = at.tb_next
    return found


def source_of(error: BaseException) -> Source | None:
    """The user's own line in which an exception was raised."""
    at = _innermost(error)
    return Source.of_instruction(at.tb_frame, at.tb_lasti, at.tb_lineno) if at else None


def raised_by_the_text(error: BaseException) -> bool:
    """Whether the user's own text says `raise` (or `assert`) where an exception came from."""
    at = _innermost(error)
    code = at.tb_frame.f_code.co_code if at else b""
    return at is not None and opname[code[at.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")
