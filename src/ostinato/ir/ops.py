"""The closed table of ops. An op is one record: how shapes meet, what it computes, its derivative, how it is written.

A record is also the function that the author of a cell calls: `ostinato.tanh` is the record of tanh. Called on symbols it
adds a node to the graph being traced; called on arrays it computes with NumPy.

What each field means, op.py says.

Corners (all of them, with a test each, in docs/language.md): the derivative of relu and of abs at 0 is 0; of maximum, minimum
and max, equal operands share alike; of `a ** b`, it is 0 by `a` where b is 0, and 0 by `b` where a is 0 and b is not negative.
Where a derivative can be infinite at a finite operand (division, power, log, sqrt, exp), an adjoint of 0 passes 0 back, and not
0 * infinity: what `where` or `maximum` did not choose has no part in the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from ..checks import is_whole
from . import op_numpy as compute
from . import op_shapes as rules
from .dtypes import DTYPES
from .op import OPS as OPS  # noqa: PLC0414 - who imports it from here finds the table complete
from .op import Binding, Cost, Kind, Op, dims_filling, dims_named, dims_of, rank_of, record, refuse, type_of
from .op_shapes import Attributes
from .shapes import Dim, Dims, Reason, Varies

Array = np.ndarray[Any, np.dtype[Any]]


# --- derivatives that are longer than a formula --------------------------------------------------------------------------


def _if_any(d: Any, contribution: Any) -> Any:
    """A contribution of an op whose derivative may be infinite: 0 where the adjoint is 0, so that 0 * infinity is 0."""
    return where(equal(d, 0.0), 0.0, contribution)


def _power_by_exponent(d: Any, y: Any, a: Any, b: Any) -> Any:
    return where(equal(a, 0.0) & (b >= 0.0), 0.0, _if_any(d, d * y * log(a)))


def unbroadcast(d: Any, dims: Dims) -> Any:
    """Sum over the axes along which a value of `dims` was broadcast to the shape of `d`."""
    extra = len(dims_of(d)) - len(dims)
    repeated = [i - len(dims_of(d)) for i in range(extra)]
    repeated += [i - len(dims) for i, dim in enumerate(dims) if dim.is_one and not dims_of(d)[extra + i].is_one]
    if repeated:
        d = sum_(d, axis=tuple(repeated))
    return d if dims_of(d) == dims else reshape(d, *dims)


def _kept(value: Any, dims: Dims, axes: tuple[int, ...]) -> Any:
    """The result of a reduction with the reduced axes as 1, so that it broadcasts against the operand."""
    gone = {len(dims) + axis for axis in axes}
    return reshape(value, *(Dim.number(1) if i in gone else dim for i, dim in enumerate(dims)))


def _max_derivative(d: Any, y: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    dims = dims_of(x)
    at_max = where(equal(x, y if keepdims else _kept(y, dims, axes)), 1.0, 0.0)
    share = (d if keepdims else _kept(d, dims, axes)) / sum_(at_max, axis=axes, keepdims=True)
    return at_max * share


def _matmul_left(d: Any, _: Any, a: Any, b: Any) -> Any:
    if len(dims_of(a)) == 1 and len(dims_of(b)) > 2:  # one row against a stack of matrices: d has no axis for the row
        row = reshape(d, *dims_of(d)[:-1], Dim.number(1), dims_of(d)[-1])
        return reshape(row @ b.mT, *dims_of(d)[:-1], dims_of(a)[-1])
    if len(dims_of(b)) > 1:
        return d @ b.mT
    return d * b if len(dims_of(a)) == 1 else reshape(d, *dims_of(d), Dim.number(1)) * b


def _matmul_right(d: Any, _: Any, a: Any, b: Any) -> Any:
    if len(dims_of(b)) == 1:
        return d * a if len(dims_of(a)) == 1 else d @ a if len(dims_of(a)) == 2 else reshape(d, *dims_of(d), 1) * a
    if len(dims_of(b)) == 2 and type_of(b).varies == Varies.NEVER and type_of(d).varies != Varies.NEVER:
        return total_product(a, d)  # a weight gradient: one product over all steps and instances
    if len(dims_of(a)) > 1:
        return a.mT @ d
    one = Dim.number(1)
    return reshape(a, *dims_of(a), one) @ reshape(d, *dims_of(d)[:-1], one, dims_of(d)[-1])


def _concat_derivative(index: int, d: Any, _: Any, *operands: Any, axis: int) -> Any:
    place = len(dims_of(d)) + axis
    before = [dims_of(x)[place] for x in operands]
    first = Dim.number(0)
    for dim in before[:index]:
        first = first + dim
    start = [Dim.number(0)] * len(dims_of(d))
    stop = list(dims_of(d))
    start[place], stop[place] = first, first + before[index]
    return slice_(d, tuple(start), tuple(stop), (1,) * len(start))


# --- how the user calls those that take more than operands -----------------------------------------------------------------


def _call_reduce(x: Any, *, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> Any:
    rank = rank_of(x)
    return (x,), {"axes": axes_of(axis, rank), "keepdims": bool(keepdims)}


def axes_of(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """The axes that are meant, counted from the last one; None for all of them.

    Raises:
        TypeError: it is something else.
    """
    given = tuple(range(rank)) if axis is None else tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    return tuple(_from_the_end(index(a), rank) for a in given)


def _from_the_end(axis: int, rank: int) -> int:
    """An axis counted from the last one; what does not exist stays as it is, for the message."""
    return axis - rank if 0 <= axis < rank else axis


def _call_concat(*values: Any, axis: int = -1) -> Any:
    return values, {"axis": _from_the_end(axis, rank_of(values[0])) if values else axis}


def _call_reshape(x: Any, *dims: Any) -> Any:
    return (x,), {"dims": dims_filling(dims_of(x), dims)}


def _call_transpose(x: Any, axes: tuple[int, ...] | None = None) -> Any:
    rank = rank_of(x)
    order = range(rank - 1, -1, -1) if axes is None else axes
    counted = tuple(_from_the_end(a, rank) for a in order)
    return (x,), {"axes": counted if len(set(counted)) == rank else tuple(order)}


def _call_slice(x: Any, start: Dims, stop: Dims, step: tuple[int, ...]) -> Any:
    return (x,), {"start": start, "stop": stop, "step": step}


def _call_patches(x: Any, size: Any, *, stride: Any = 1, padding: Any = "valid") -> Any:
    size = dims_named(size if isinstance(size, tuple | list) else (size,))  # names or numbers
    strides = _whole_numbers("stride", stride, len(size))
    if padding == "valid":
        padding = ((0, 0),) * len(size)
    elif padding == "same":  # the larger half behind, as TensorFlow and PyTorch do
        padding = tuple(((k.size - 1) // 2, k.size // 2) for k in size)
    elif isinstance(padding, str) or not isinstance(padding, Sequence) or not all(isinstance(p, Sequence) for p in padding):
        wanted = "padding is 'valid', 'same' or a pair of numbers for each dimension"
        refuse("patches", Reason(f"{wanted}, not {padding!r}"))
    pairs = tuple(_whole_numbers("padding", pair, 2) for pair in padding)
    return (x,), {"size": size, "stride": strides, "padding": pairs}


def _whole_numbers(what: str, given: Any, count: int) -> tuple[int, ...]:
    """A whole number for all dimensions, or one for each."""
    numbers = (given,) * count if not isinstance(given, Sequence) or isinstance(given, str) else tuple(given)
    if any(not is_whole(n) for n in numbers):
        refuse("patches", Reason(f"the {what} is made of whole numbers, and is {given!r}"))
    return tuple(map(int, numbers))


# --- the table ---------------------------------------------------------------------------------------------------------

# The costs of functions in the table were measured with vectors of AVX-512 in 2026, as multiples of a multiply-add; on which
# machine was not noted.
PLAIN = Cost(1, 1)  # one instruction per vector; so is what adds a result to others, or carries it
FREE = Cost(0, 0)  # nothing is done when it is the turn of the op

_elementwise: Attributes = {"kind": Kind.ELEMENTWISE, "shape": rules.same_shape, "recomputed": False, "binding": Binding.ATOM}
_unary: Attributes = {**_elementwise, "n_operands": 1}
_binary: Attributes = {**_elementwise, "n_operands": 2}
_plain: Attributes = {"arithmetic": "others", "cost": PLAIN}
_cheap: Attributes = {**_plain, "recomputed": True}
_comparison: Attributes = {
    **_binary,
    **_plain,
    "shape": rules.compared_shape,
    "binding": Binding.COMPARED,
    "derivative": (None, None),
}
_logical: Attributes = {**_elementwise, **_plain, "shape": rules.logical_shape}
_moving: Attributes = {"arithmetic": "", "binding": Binding.ATOM}
_view: Attributes = {**_moving, "kind": Kind.VIEW, "cost": FREE, "recomputed": True}
_copy: Attributes = {**_moving, "kind": Kind.COPY, "cost": PLAIN, "recomputed": False}
_reduction: Attributes = {"kind": Kind.REDUCTION, "shape": rules.reduce_shape, "call": _call_reduce, "cost": PLAIN,
                          "recomputed": False, "binding": Binding.ATOM, "whole_operands": True,
                          "usual": {"axes": (-1,), "keepdims": False}}  # fmt: skip
_row_sum: Attributes = {"kind": Kind.ROW_SUM, "shape": rules.total_shape, "derivative": (None,), "arithmetic": "additions",
                        "cost": PLAIN, "recomputed": False, "binding": Binding.ATOM, "sums_over_steps": True,
                        "whole_operands": True, "internal": True}  # fmt: skip
_product: Attributes = {"n_operands": 2, "kind": Kind.PRODUCT, "arithmetic": "multiply_adds", "cost": PLAIN,
                        "recomputed": False, "whole_operands": True}  # fmt: skip

add: Op = record("add", _binary, _cheap, arithmetic="additions", binding=Binding.SUM, commutative=True, numpy=np.add,
    derivative=(lambda d, y, a, b: d, lambda d, y, a, b: d),
    equation="{0} + {1}", infix="+", doc="a + b")  # fmt: skip
subtract: Op = record("subtract", _binary, _cheap, arithmetic="additions", binding=Binding.SUM, numpy=np.subtract,
    derivative=(lambda d, y, a, b: d, lambda d, y, a, b: -d),
    equation="{0} - {1}", infix="-", doc="a - b")  # fmt: skip
multiply: Op = record("multiply", _binary, _cheap, arithmetic="multiplications", binding=Binding.TERM, commutative=True,
    numpy=np.multiply,
    derivative=(lambda d, y, a, b: d * b, lambda d, y, a, b: d * a),
    equation="{0} ⊙ {1}", infix="*", doc="a * b, elementwise (the Hadamard product)")  # fmt: skip
divide: Op = record("divide", _binary, arithmetic="others", cost=Cost(8, 5), binding=Binding.TERM, numpy=np.divide,
    derivative=(lambda d, y, a, b: _if_any(d, d / b), lambda d, y, a, b: _if_any(d, -(d * y) / b)),
    equation="{0} / {1}", infix="/", doc="a / b, elementwise")  # fmt: skip
power: Op = record("power", _binary, arithmetic="functions", cost=Cost(30, 28), binding=Binding.POWER, numpy=np.power,
    derivative=(lambda d, y, a, b: where(equal(b, 0.0), 0.0, _if_any(d, d * b * a ** (b - 1))),
                _power_by_exponent),
    equation="{0}^{1}", infix="**", doc="a ** b, elementwise")  # fmt: skip
negative: Op = record("negative", _unary, _cheap, prefix="-", binding=Binding.SIGN, numpy=np.negative,
    derivative=(lambda d, y, x: -d,),
    equation="-{0}", doc="-x")  # fmt: skip
maximum: Op = record("maximum", _binary, _cheap, numpy=np.maximum,
    derivative=(lambda d, y, a, b: where(a > b, d, where(equal(a, b), d * 0.5, 0.0)),
                lambda d, y, a, b: where(b > a, d, where(equal(a, b), d * 0.5, 0.0))),
    equation="max({0}, {1})", doc="The larger of a and b, elementwise")  # fmt: skip
minimum: Op = record("minimum", _binary, _cheap, numpy=np.minimum,
    derivative=(lambda d, y, a, b: where(a < b, d, where(equal(a, b), d * 0.5, 0.0)),
                lambda d, y, a, b: where(b < a, d, where(equal(a, b), d * 0.5, 0.0))),
    equation="min({0}, {1})", doc="The smaller of a and b, elementwise")  # fmt: skip
abs_: Op = record("abs", _unary, _cheap, numpy=np.abs, derivative=(lambda d, y, x: d * sign(x),),
    equation="|{0}|", doc="|x|")  # fmt: skip
sign: Op = record("sign", _unary, _plain, numpy=np.sign, derivative=(None,), equation="sign({0})", doc="-1, 0 or 1")
exp: Op = record("exp", _unary, arithmetic="functions", cost=Cost(10, 12), numpy=np.exp,
    derivative=(lambda d, y, x: _if_any(d, d * y),),
    equation="exp({0})", doc="e to the power of x")  # fmt: skip
log: Op = record("log", _unary, arithmetic="functions", cost=Cost(14, 14), numpy=np.log,
    derivative=(lambda d, y, x: _if_any(d, d / x),),
    equation="log({0})", doc="The natural logarithm")  # fmt: skip
floor: Op = record("floor", _unary, arithmetic="others", cost=Cost(6, 5), numpy=np.floor, derivative=(None,), equation="⌊{0}⌋",
    doc="The largest whole number that is not above x; its derivative is 0")  # fmt: skip
remainder: Op = record("remainder", _binary, arithmetic="others", cost=Cost(24, 16), binding=Binding.TERM, numpy=np.remainder,
    derivative=(lambda d, y, a, b: d, lambda d, y, a, b: -d * floor((a - y) / b + 0.5)),
    equation="{0} mod {1}", doc="a % b, elementwise: what is left of a, with the sign of b")  # fmt: skip
sqrt: Op = record("sqrt", _unary, arithmetic="functions", cost=Cost(8, 5), numpy=np.sqrt,
    derivative=(lambda d, y, x: _if_any(d, d * 0.5 / y),),
    equation="√({0})", doc="The square root")  # fmt: skip
tanh: Op = record("tanh", _unary, arithmetic="functions", cost=Cost(10, 16), gist="between -1 and 1", numpy=np.tanh,
    derivative=(lambda d, y, x: d * (1 - y * y),),
    equation="tanh({0})", doc="The hyperbolic tangent")  # fmt: skip
sigmoid: Op = record("sigmoid", _unary, arithmetic="functions", cost=Cost(12, 20), gist="gate, between 0 and 1",
    numpy=compute.sigmoid, derivative=(lambda d, y, x: d * (y * (1 - y)),),
    equation="σ({0})", doc="The logistic function 1 / (1 + exp(-x))")  # fmt: skip
relu: Op = record("relu", _unary, _plain, numpy=lambda x: np.maximum(x, 0), derivative=(lambda d, y, x: where(y > 0, d, 0.0),),
    equation="relu({0})", doc="max(x, 0); its derivative at 0 is 0")  # fmt: skip
softplus: Op = record("softplus", _unary, arithmetic="functions", cost=Cost(24, 26),
    numpy=lambda x: np.logaddexp(x, np.zeros((), x.dtype)),
    derivative=(lambda d, y, x: d * sigmoid(x),),
    equation="softplus({0})", doc="log(1 + exp(x)), without overflow")  # fmt: skip
less: Op = record("less", _comparison, numpy=np.less, equation="{0} < {1}", infix="<", doc="a < b")
less_equal: Op = record("less_equal", _comparison, numpy=np.less_equal, equation="{0} ≤ {1}", infix="<=", doc="a <= b")
equal: Op = record("equal", _comparison, commutative=True, numpy=np.equal, equation="{0} = {1}", infix="==", doc="a == b")
logical_and: Op = record("logical_and", _logical, n_operands=2, binding=Binding.AND, commutative=True, numpy=np.logical_and,
    derivative=(None, None), equation="{0} ∧ {1}", infix="&", doc="a & b, of truth values")  # fmt: skip
logical_or: Op = record("logical_or", _logical, n_operands=2, binding=Binding.OR, commutative=True, numpy=np.logical_or,
    derivative=(None, None), equation="{0} ∨ {1}", infix="|", doc="a | b, of truth values")  # fmt: skip
logical_not: Op = record("logical_not", _logical, n_operands=1, binding=Binding.NOT, numpy=np.logical_not,
    derivative=(None,), equation="¬{0}", doc="~a, of a truth value")  # fmt: skip
where: Op = record("where", _elementwise, _plain, n_operands=3, shape=rules.where_shape, binding=Binding.CHOICE, numpy=np.where,
    derivative=(None, lambda d, y, c, a, b: where(c, d, 0.0), lambda d, y, c, a, b: where(c, 0.0, d)),
    equation="{1} if {0} else {2}", doc="a where the condition is true, b elsewhere")  # fmt: skip
stop_gradient: Op = record("stop_gradient", _unary, arithmetic="", cost=PLAIN, numpy=lambda x: x, derivative=(None,),
    equation="{0}",
    doc="The value itself; nothing flows back through it")  # fmt: skip
matmul: Op = record("matmul", _product, shape=rules.matmul_shape, binding=Binding.PRODUCT, gist="product",
    numpy=compute.matmul, derivative=(_matmul_left, _matmul_right),
    equation="{0} {1}", infix="@", doc="a @ b by NumPy's rules, for one instance")  # fmt: skip
sum_: Op = record("sum", _reduction, n_operands=1, arithmetic="additions", combine=add, equation="Σ({0})",
    numpy=lambda x, axes, keepdims: np.sum(x, axis=axes, keepdims=keepdims),
    derivative=(lambda d, y, x, axes, keepdims: stretch(
        d if keepdims else _kept(d, dims_of(x), axes), *dims_of(x)),),
    doc="The sum over the last dimension (or `axis`)")  # fmt: skip
max_: Op = record("max", _reduction, n_operands=1, arithmetic="others", combine=maximum, equation="max({0})",
    numpy=lambda x, axes, keepdims: np.max(x, axis=axes, keepdims=keepdims), derivative=(_max_derivative,),
    doc="The largest value along the last dimension (or `axis`)")  # fmt: skip
concat: Op = record("concat", _copy, n_operands=None, shape=rules.concat_shape, usual={"axis": -1}, call=_call_concat,
    numpy=compute.concat,
    derivative=(_concat_derivative,), equation="[{0} {1}]",
    doc="The values side by side along the last dimension (or `axis`)")  # fmt: skip
slice_: Op = record("slice", _view, n_operands=1, shape=rules.slice_shape, call=_call_slice, equation="{0}[..]",
    dim_attributes=("start", "stop"),
    numpy=lambda x, start, stop, step: x[compute.ranges(start, stop, step)],
    derivative=(lambda d, y, x, start, stop, step: pad(d, start, stop, step, dims_of(x)),),
    doc="x[a:b]: a static part of a value")  # fmt: skip
pad: Op = record("pad", _copy, n_operands=1, shape=rules.pad_shape, internal=True, numpy=compute.pad, equation="pad({0})",
    dim_attributes=("start", "stop", "dims"),
    call=lambda x, start, stop, step, dims: (
        (x,), {"start": start, "stop": stop, "step": step, "dims": dims}),
    derivative=(lambda d, y, x, start, stop, step, dims: slice_(d, start, stop, step),),
    doc="Zeros of the given dimensions with x placed in the range: the adjoint of a slice")  # fmt: skip
reshape: Op = record("reshape", _view, n_operands=1, shape=rules.reshape_shape, positional="dims", call=_call_reshape,
    equation="reshape({0})",
    dim_attributes=("dims",),
    numpy=lambda x, dims: x.reshape(x.shape[0], *(d.size for d in dims)),
    derivative=(lambda d, y, x, dims: reshape(d, *dims_of(x)),),
    doc="The same elements, row by row, in other dimensions (names or numbers)")  # fmt: skip
stretch: Op = record("stretch", _view, n_operands=1, shape=rules.stretch_shape, positional="dims", internal=True,
    call=_call_reshape, equation="{0}", dim_attributes=("dims",),
    numpy=lambda x, dims: np.broadcast_to(
        x.reshape(x.shape[0], *(1,) * (len(dims) + 1 - x.ndim), *x.shape[1:]),
        (x.shape[0], *(d.size for d in dims))),
    derivative=(lambda d, y, x, dims: unbroadcast(d, dims_of(x)),),
    doc="The value repeated along new dimensions: the adjoint of a sum")  # fmt: skip
transpose: Op = record("transpose", _view, n_operands=1, shape=rules.transpose_shape, binding=Binding.POWER,
    whole_operands=True, call=_call_transpose, equation="{0}ᵀ",
    numpy=lambda x, axes: np.transpose(x, (0, *(x.ndim + axis for axis in axes))),
    derivative=(lambda d, y, x, axes: transpose(
        d, tuple(axes.index(axis) - len(axes) for axis in range(-len(axes), 0))),),
    doc="x.T: the dimensions in reverse order (or in the order `axes`)")  # fmt: skip
patches: Op = record("patches", _copy, n_operands=1, shape=rules.patches_shape, whole_operands=True, call=_call_patches,
    numpy=compute.patches,
    equation="patches({0})", dim_attributes=("size",),
    derivative=(lambda d, y, x, size, stride, padding: unpatches(d, size, stride, padding, dims_of(x)),),
    doc="Every patch of an image (height, width, channels), flattened")  # fmt: skip
unpatches: Op = record("unpatches", _copy, n_operands=1, shape=rules.unpatches_shape, arithmetic="additions",
    whole_operands=True, internal=True, numpy=compute.unpatches, equation="unpatches({0})",
    dim_attributes=("size", "dims"), call=lambda x, size, stride, padding, dims: (
        (x,), {"size": size, "stride": stride, "padding": padding, "dims": dims}),
    derivative=(lambda d, y, x, size, stride, padding, dims: patches(
        d, size, stride=stride, padding=padding),),
    doc="Patches added back into place: the adjoint of patches")  # fmt: skip
constant: Op = record("constant", n_operands=0, kind=Kind.CONSTANT, derivative=(), arithmetic="", cost=FREE, recomputed=False,
    binding=Binding.ATOM, internal=True, shape=rules.constant_shape,
    numpy=lambda value, dtype: np.full(1, value, DTYPES[dtype]),
    equation="{value}", result_varies=Varies.NEVER, doc="A number of the cell's text",
    call=lambda value, dtype: ((), {"value": value, "dtype": dtype}))  # fmt: skip
total: Op = record("total", _row_sum, n_operands=1, numpy=lambda x: np.sum(x, axis=0, keepdims=True),
    equation="Σ_t,instances {0}", result_varies=Varies.NEVER,
    doc="The sum over all steps and instances (in a backward program)")  # fmt: skip
total_per_instance: Op = record("total_per_instance", _row_sum, n_operands=1, kind=Kind.COPY, numpy=lambda x: x,
    equation="Σ_t {0}", result_varies=Varies.INSTANCE,
    doc="The sum over all steps, for each instance (in a backward program)")  # fmt: skip
total_product: Op = record("total_product", _product, shape=rules.total_product_shape, binding=Binding.PRODUCT,
    sums_over_steps=True, internal=True, numpy=compute.total_product,
    derivative=(None, None),
    equation="Σ_t {0}ᵀ {1}", result_varies=Varies.NEVER,
    doc="Xᵀ D over all steps, instances and rows as one product: a weight gradient")  # fmt: skip
