"""What NumPy arrays can do and a step may ask: their methods, written with the ops.

The author of a cell writes `x.sum()`, `x.round(2)`, `x // y` as in a step of NumPy, and means the same. So these follow NumPy,
and not the functions of Ostinato, where the two differ: `x.sum()` is the sum of all elements, `ostinato.sum(x)` one over the
last dimension. Each takes a symbol first; tracer.py makes methods of them, numpy_calls.py answers NumPy's own functions with
them.

What arrays have and a step cannot use is refused; `ELSEWHERE` says what to write instead, where there is such a thing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import reduce, wraps
from math import prod as product_of
from operator import mul
from typing import Any

import numpy as np

from ..checks import is_whole
from ..errors import OstinatoError, SymbolError, lay_out, user_source
from ..ir import ops
from ..ir.dtypes import DTYPES
from ..ir.op import Op, bind_function, dims_of, rank_of, refuse, refuse_call, type_of
from ..ir.ops import axes_of
from ..ir.shapes import Dim, Reason
from . import functions

Axis = int | tuple[int, ...] | None


# --- rounding -------------------------------------------------------------------------------------------------------------


def xor(a: Any, b: Any) -> Any:
    """a ^ b, of truth values."""
    return (a & ~b) | (~a & b)


def floor_divide(a: Any, b: Any) -> Any:
    """a // b: as NumPy has it, from the remainder, so that `(a // b) * b + a % b` is a."""
    quotient = (a - ops.remainder(a, b)) / b
    below = ops.floor(quotient)
    return ops.where(quotient - below > 0.5, below + 1.0, below)


def divmod_(a: Any, b: Any) -> tuple[Any, Any]:
    """(a // b, a % b)."""
    return floor_divide(a, b), ops.remainder(a, b)


def fmod(a: Any, b: Any) -> Any:
    """What is left of a, with the sign of a."""
    return ops.sign(a) * ops.remainder(ops.abs_(a), ops.abs_(b))


def ceil(x: Any) -> Any:
    """The smallest whole number that is not below x."""
    return -ops.floor(-x)


def trunc(x: Any) -> Any:
    """The whole number next to x on the way to 0."""
    return ops.where(x < 0, ceil(x), ops.floor(x))


def rint(x: Any) -> Any:
    """The nearest whole number; of two, the even one."""
    below = ops.floor(x)
    rest = x - below
    even = 2.0 * ops.floor((below + 1.0) / 2.0)
    return ops.where(rest > 0.5, below + 1.0, ops.where(rest < 0.5, below, even))


def round_(x: Any, decimals: int = 0) -> Any:
    """x.round(decimals): the nearest number of so many digits; of two, the even one."""
    if not is_whole(decimals):
        refuse("round", Reason(f"the decimals are a whole number, and are {decimals!r}"))
    scale = 10.0 ** abs(int(decimals))
    return rint(x) if not decimals else rint(x * scale) / scale if decimals > 0 else rint(x / scale) * scale


# --- over dimensions --------------------------------------------------------------------------------------------------------


def numbers(x: Any) -> Any:
    """Truth values as 1 and 0; numbers as they are."""
    return ops.where(x, 1.0, 0.0) if type_of(x).dtype == "bool" else x


def truths(x: Any) -> Any:
    """Numbers as truth values: whether they are not 0."""
    return x if type_of(x).dtype == "bool" else x != 0.0


def _reduced(op: Op, x: Any, axis: Axis, keepdims: bool) -> Any:
    nothing = axis is None or axis == ()
    return x if nothing and not dims_of(x) else op(x, axis=axis, keepdims=keepdims)


def sum_(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return _reduced(ops.sum_, numbers(x), axis, keepdims)


def max_(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    if type_of(x).dtype == "bool":
        return any_(x, axis, keepdims=keepdims)
    return _reduced(ops.max_, x, axis, keepdims)


def min_(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    if type_of(x).dtype == "bool":
        return all_(x, axis, keepdims=keepdims)
    return -_reduced(ops.max_, -x, axis, keepdims)


def _count(x: Any, axis: Axis) -> int:
    dims = dims_of(x)
    return product_of(dims[a].size for a in axes_of(axis, len(dims)))


def mean(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return functions.mean(numbers(x), axis, keepdims) if dims_of(x) else numbers(x)


def var(x: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    x = numbers(x)
    centred = x - mean(x, axis, keepdims=True)
    total = sum_(centred * centred, axis, keepdims=keepdims)
    return total / (float(_count(x, axis)) - ddof)


def std(x: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    variance = var(x, axis, ddof=ddof, keepdims=keepdims)
    # of a constant vector it is 0, and so is its derivative here: the root is not asked for its own at 0, which is infinite
    varied = variance > 0
    return ops.where(varied, ops.sqrt(ops.where(varied, variance, 1.0)), variance)


def any_(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return truths(_reduced(ops.max_, ops.where(truths(x), 1.0, 0.0), axis, keepdims))


def all_(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    return ~any_(~truths(x), axis, keepdims=keepdims)


def dot(x: Any, other: Any) -> Any:
    if rank_of(x) == 0 or rank_of(other) == 0:
        return x * other
    if rank_of(other) > 2:
        refuse("dot", Reason("the second value has more than two dimensions", hint="stacks of matrices: `x @ y`"))
    return x @ other


def outer(x: Any, other: Any) -> Any:
    """np.outer: of all elements of one with all of the other."""
    return reshape(x, -1, 1) * reshape(other, 1, -1)


# --- arranging ----------------------------------------------------------------------------------------------------------------


def reshape(x: Any, *shape: Any) -> Any:
    return ops.reshape(x, *shape)


def flatten(x: Any) -> Any:
    return ops.reshape(x, reduce(mul, dims_of(x), Dim.number(1)))


def transpose(x: Any, *axes: Any) -> Any:
    if not axes or axes == (None,):
        return ops.transpose(x) if rank_of(x) > 1 else x
    return ops.transpose(x, tuple(axes[0]) if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    order = list(range(rank_of(x)))
    first, second = (_place("swapaxes", axis, len(order)) for axis in (axis1, axis2))
    order[first], order[second] = second, first
    return ops.transpose(x, tuple(order)) if len(order) > 1 else x


def squeeze(x: Any, axis: Axis = None) -> Any:
    dims = dims_of(x)
    gone = [i for i, d in enumerate(dims) if d.size == 1]
    if axis is not None:
        gone = [_place("squeeze", a, len(dims)) for a in (axis if isinstance(axis, tuple) else (axis,))]
    wide = [dims[i] for i in gone if dims[i].size != 1]
    if wide:
        refuse("squeeze", Reason(f"`{wide[0]}` is not 1"))
    return ops.reshape(x, *(d for i, d in enumerate(dims) if i not in gone))


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Any:
    given = axis if isinstance(axis, tuple) else (axis,)
    rank = rank_of(x) + len(given)
    new = {_place("expand_dims", a, rank) for a in given}
    dims = iter(dims_of(x))
    return ops.reshape(x, *(Dim.number(1) if i in new else next(dims) for i in range(rank)))


def _place(name: str, axis: Any, rank: int) -> int:
    if not is_whole(axis) or not -rank <= axis < rank:
        refuse(name, Reason(f"there is no axis {axis!r}: it has {rank} of them"))
    return int(axis) % rank


def stack(values: Sequence[Any], axis: int = 0) -> Any:
    """np.stack: side by side along a new dimension."""
    return ops.concat(*(expand_dims(v, axis) for v in values), axis=axis)


# --- the same numbers, or other ones ------------------------------------------------------------------------------------------


def clip(x: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - NumPy's names
    x = x if min is None else ops.maximum(x, min)
    return x if max is None else ops.minimum(x, max)


def astype(x: Any, dtype: Any) -> Any:
    type_ = type_of(x)
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        refuse("astype", Reason(f"there is no dtype {dtype!r}"))
    if wanted == np.bool_:
        return truths(x)
    if wanted == np.dtype(DTYPES[type_.dtype]) or (type_.dtype == "bool" and wanted.kind == "f"):
        return numbers(x)
    hint = "towards 0, it is `np.trunc(x)`" if wanted.kind in "iu" else "Layer(..., dtype='float64')"
    headline = f"astype: a cell computes in one dtype, which the layer chooses, and here it is not {wanted.name}"
    raise SymbolError(lay_out(headline, source=user_source(), hint=hint))


def item(x: Any) -> Any:
    if type_of(x).n_elements != 1:
        refuse("item", Reason(f"the value has {type_of(x).n_elements} elements", hint="one of them is `x[0]`"))
    return ops.reshape(x)


def itself(x: Any) -> Any:
    return x


def copy(x: Any, order: str = "C") -> Any:
    """A value of a cell is never changed, so it is its own copy."""
    del order
    return x


def _method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that refuses what it does not take in our own words."""
    whole = inspect.signature(function)
    signature = whole.replace(parameters=list(whole.parameters.values())[1:])

    @wraps(function)
    def method(x: Any, *args: Any, **options: Any) -> Any:
        bind_function(name, signature, args, options, f"x.{name}")
        try:
            return function(x, *args, **options)
        except TypeError as error:
            if isinstance(error, OstinatoError):
                raise
            plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
            refuse_call(name, f"it is called as x.{name}{inspect.Signature(plain)}", args, options)

    return method


_UNCHECKED: dict[str, Callable[..., Any]] = {
    "all": all_, "any": any_, "astype": astype, "clip": clip, "conj": itself, "conjugate": itself, "copy": copy, "dot": dot,
    "flatten": flatten, "item": item, "max": max_, "mean": mean, "min": min_, "ravel": flatten, "reshape": reshape,
    "round": round_, "squeeze": squeeze, "std": std, "sum": sum_, "swapaxes": swapaxes, "transpose": transpose, "var": var,
}  # fmt: skip
METHODS = {name: _method(name, function) for name, function in _UNCHECKED.items()}

_IN_PLACE = "a value of a cell is never changed in place: make a new one, with `concat`, `where` or an expression"
_LARGEST = "no value of a cell is a whole number; `where(x == x.max(), 1.0, 0.0)` marks the largest"
ELSEWHERE: dict[str, str] = {  # what arrays of NumPy and tensors of PyTorch have besides, and what to write in a cell
    **dict.fromkeys(("fill", "itemset", "partition", "put", "resize", "setfield", "setflags", "sort"), _IN_PLACE),
    "argmax": _LARGEST, "argmin": _LARGEST.replace("max", "min").replace("largest", "smallest"),
    "cumsum": "`x @ W`, where W is a Weight with ones on and above its diagonal and zeros below",
    "prod": "of positive numbers it is `exp(sum(log(x)))`",
    "flat": "`x.reshape(-1)`", "view": "`x.reshape(...)`", "permute": "`x.transpose(...)`", "t": "`x.T`",
    "tolist": "its elements are `x[..., i]`", "numpy": "a cell that is called on arrays computes one step with them",
    "take": "one place is `x[..., i]`, a range `x[..., a:b]`",
    "unsqueeze": "`x[None]` or `x[..., None]`", "chunk": "`split(x, parts)`", "unbind": "`split(x, parts)`",
    "clamp": "`x.clip(low, high)`", "detach": "`stop_gradient(x)`", "masked_fill": "`where(condition, value, x)`",
    "matmul": "`x @ y`", "mm": "`x @ y`", "mv": "`x @ y`", "bmm": "`x @ y`", "add": "`x + y`", "sub": "`x - y`",
    "mul": "`x * y`", "div": "`x / y`", "pow": "`x ** y`", "neg": "`-x`", "square": "`x * x`",
    "float": "a layer chooses the dtype: Layer(..., dtype='float64')", "double": "Layer(..., dtype='float64')",
}  # fmt: skip
