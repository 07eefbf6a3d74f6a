"""The boundary between what a user writes and the table of ops: symbols are traced, arrays are computed at once.

Here shapes are refused: the rules return a `Reason`, and this module raises it, with the user's own line.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .errors import CellError, DimensionError, ShapeError, Source, counted, known_names, lay_out
from .shapes import Dim, Dims, Reason, Type, parse_dim

if TYPE_CHECKING:
    from .ops import Op

DTYPES: dict[str, Any] = {"f32": np.float32, "f64": np.float64, "bool": np.bool_}

_sizes: ContextVar[Mapping[str, int | Dim]] = ContextVar("sizes", default=MappingProxyType({}))


class Symbolic:
    """What stands for a value while a cell is traced (`trace.Symbol`); here only so that it can be recognised."""

    __slots__ = ()
    type: Type

    def traced(self, op: Op, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
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
            return arg.traced(op, args, options)
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
        given = " and ".join([counted(len(args), "argument"), *(f"{name}={value!r}" for name, value in options.items())])
        raise CellError(lay_out(f"{op.name}: {_usage(op)}, and was called with {given}", source=user_source())) from None
    return operands, attributes


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


def is_whole(given: Any) -> bool:
    return isinstance(given, int | np.integer) and not isinstance(given, bool)


def kind(given: Any) -> str:
    """What a user gave, in words."""
    if given is None or given is Ellipsis:
        return "None" if given is None else "a second `...`"
    return "a symbolic value" if isinstance(given, Symbolic) else f"of type {type(given).__name__}"


def type_of(array: np.ndarray[Any, Any]) -> Type:
    """The type of an array whose dimensions have no names."""
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


def rank(value: Any) -> int:
    return len(value.type.dims) if isinstance(value, Symbolic) else np.ndim(value)


def dims(expressions: Sequence[Any]) -> Dims:
    """The dimensions that `reshape(x, "n_heads", 4)` names."""
    return tuple(e if isinstance(e, Dim) else dim(e) for e in expressions)


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
    """The innermost frame outside of Ostinato; its cells count as outside, since they are written as a user writes."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to find the user's line
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not (module == "ostinato" or module.startswith("ostinato.")) or module.startswith("ostinato.cells"):
            return frame
        frame = frame.f_back
    return None


def user_source() -> Source | None:
    frame = user_frame()
    return Source.of_frame(frame) if frame else None
