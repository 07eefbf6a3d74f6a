"""NumPy's own functions on the values of a cell: `np.tanh(h)`, `alpha * h` with a number of NumPy, `np.concatenate([x, h])`.

Those that a cell can compute become the same ops that the functions of Ostinato do, and mean what they mean to NumPy. Others
are refused. (NumPy asks through `__array_ufunc__`, NEP 13, and `__array_function__`, NEP 18.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from math import inf
from typing import Any

import numpy as np

from ..checks import is_whole
from ..errors import OstinatoError
from ..ir import ops
from ..ir.op import bind_function, dims_of, rank_of, refuse, refuse_call
from ..ir.shapes import Reason
from . import array_methods as arrays
from . import functions

Function = Callable[..., Any]

UFUNCS: dict[str, Function] = {
    "absolute": ops.abs_, "add": ops.add, "bitwise_and": ops.logical_and, "bitwise_or": ops.logical_or,
    "bitwise_xor": arrays.xor, "ceil": arrays.ceil, "conjugate": arrays.itself, "divide": ops.divide, "divmod": arrays.divmod_,
    "equal": ops.equal, "exp": ops.exp, "exp2": lambda x: 2.0**x, "fabs": ops.abs_, "floor": ops.floor,
    "floor_divide": arrays.floor_divide, "fmod": arrays.fmod, "greater": lambda a, b: ops.less(b, a),
    "greater_equal": lambda a, b: ops.less_equal(b, a), "invert": ops.logical_not, "isfinite": lambda x: ops.abs_(x) < inf,
    "isinf": lambda x: ops.abs_(x) == inf, "isnan": lambda x: ~ops.equal(x, x), "less": ops.less, "less_equal": ops.less_equal,
    "log": ops.log, "logaddexp": lambda a, b: ops.maximum(a, b) + ops.softplus(-ops.abs_(a - b)),
    "logical_and": lambda a, b: arrays.truths(a) & arrays.truths(b), "logical_not": lambda a: ~arrays.truths(a),
    "logical_or": lambda a, b: arrays.truths(a) | arrays.truths(b),
    "logical_xor": lambda a, b: arrays.xor(arrays.truths(a), arrays.truths(b)),
    "matmul": ops.matmul, "maximum": ops.maximum, "minimum": ops.minimum, "multiply": ops.multiply, "negative": ops.negative,
    "not_equal": lambda a, b: ops.logical_not(ops.equal(a, b)), "positive": arrays.itself, "power": ops.power,
    "reciprocal": lambda x: 1.0 / x, "remainder": ops.remainder, "rint": arrays.rint, "sign": ops.sign, "sqrt": ops.sqrt,
    "square": lambda x: x * x, "subtract": ops.subtract, "tanh": ops.tanh, "trunc": arrays.trunc,
}  # fmt: skip


def _concatenate(values: Sequence[Any], axis: int | None = 0) -> Any:
    return ops.concat(*map(arrays.flatten, values)) if axis is None else ops.concat(*values, axis=axis)


def _hstack(tup: Sequence[Any]) -> Any:
    return ops.concat(*(ops.reshape(x, 1) if not rank_of(x) else x for x in tup), axis=0 if rank_of(tup[0]) < 2 else 1)


def _vstack(tup: Sequence[Any]) -> Any:
    return ops.concat(*(arrays.reshape(x, 1, -1) if rank_of(x) < 2 else x for x in tup), axis=0)


def _split(ary: Any, indices_or_sections: int, axis: int = 0) -> list[Any]:
    if not is_whole(indices_or_sections):
        refuse("np.split", Reason("in a cell the sections are a whole number", hint="`split(x, [3, 'n_neurons'])`"))
    return list(functions.split(ary, indices_or_sections, axis))


def _where(condition: Any, x: Any, y: Any) -> Any:
    return ops.where(arrays.truths(condition), x, y)


def _full_like(a: Any, fill_value: float) -> Any:
    number = a._number(fill_value)  # noqa: SLF001 - of a symbol; no name for a cell's author
    return ops.stretch(number, *dims_of(a)) if dims_of(a) else number


def _broadcast_to(array: Any, shape: int | Sequence[int]) -> Any:
    return ops.stretch(array, *(shape if isinstance(shape, Sequence) else (shape,)))


def _reshape(a: Any, shape: Any) -> Any:
    return arrays.reshape(a, *(shape if isinstance(shape, tuple | list) else (shape,)))


def _inner(a: Any, b: Any) -> Any:
    if rank_of(a) != 1 or rank_of(b) != 1:
        refuse("np.inner", Reason("in a cell both values have one dimension", hint="products are written `a @ b`"))
    return a @ b


_METHODS = (
    "all",
    "any",
    "clip",
    "copy",
    "dot",
    "max",
    "mean",
    "min",
    "ravel",
    "round",
    "squeeze",
    "std",
    "sum",
    "swapaxes",
    "var",
)
FUNCTIONS: dict[str, Function] = {
    **{name: arrays.METHODS[name] for name in _METHODS},
    "amax": arrays.METHODS["max"], "amin": arrays.METHODS["min"], "around": arrays.METHODS["round"],
    "broadcast_to": _broadcast_to, "concatenate": _concatenate, "expand_dims": arrays.expand_dims,
    "full_like": _full_like, "hstack": _hstack, "inner": _inner, "ndim": rank_of,
    "ones_like": lambda a: _full_like(a, 1.0), "outer": arrays.outer, "real": arrays.itself, "reshape": _reshape,
    "shape": lambda a: a.shape, "size": lambda a: a.size,
    "split": _split, "stack": arrays.stack, "transpose": lambda a, axes=None: arrays.transpose(a, axes), "vdot": _inner,
    "vstack": _vstack, "where": _where, "zeros_like": lambda a: _full_like(a, 0.0),
}  # fmt: skip

INSTEAD: dict[str, str] = {  # what NumPy can compute and no op does, as other ops: the same but for rounding
    "expm1": "`exp(x) - 1`", "log1p": "`log(1 + x)`", "log2": "`log(x) / 0.6931471805599453`",
    "log10": "`log(x) / 2.302585092994046`", "sinh": "`(exp(x) - exp(-x)) / 2`", "cosh": "`(exp(x) + exp(-x)) / 2`",
    "float_power": "`x ** y`", "norm": "`sqrt(sum(x * x))`", "fmax": "`maximum(x, y)`", "fmin": "`minimum(x, y)`",
    "hypot": "`sqrt(x * x + y * y)`",
    "cumsum": arrays.ELSEWHERE["cumsum"], "prod": arrays.ELSEWHERE["prod"], "argmax": arrays.ELSEWHERE["argmax"],
    "argmin": arrays.ELSEWHERE["argmin"], "einsum": "products are written `x @ y`", "tensordot": "products are written `x @ y`",
    "hsplit": "`split(x, parts)`", "array_split": "`split(x, parts)`",
}  # fmt: skip


def of_ufunc(ufunc: np.ufunc, method: str, options: Mapping[str, Any]) -> Function | None:
    """What computes a ufunc in a cell; None for what none can: `np.add.reduce`, `out=`."""
    return UFUNCS.get(ufunc.__name__) if method == "__call__" and not options else None


def of_function(function: Function) -> Function | None:
    """What computes a function of NumPy in a cell; None for what none can."""
    known = FUNCTIONS.get(function.__name__) if function.__module__ == "numpy" else None
    if known is None:
        return None
    name = f"np.{function.__name__}"

    def called(*given: Any, **more: Any) -> Any:
        bind_function(name, signature(known), given, more)
        try:
            return known(*given, **more)
        except TypeError as error:
            if isinstance(error, OstinatoError):
                raise
            shown = [p.replace(annotation=p.empty) for p in signature(known).parameters.values()]
            refuse_call(name, f"in a cell it is called as {name}({', '.join(map(str, shown))})", given, more)

    return called
