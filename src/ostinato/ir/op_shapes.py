"""How shapes meet in each op: the rules that ops.py puts into its table.

A rule takes the types of the operands, for one instance at one step, and the attributes, and gives (dtype, dims) or the
`Reason` why there is none. It never raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from operator import mul
from typing import Any

from ..errors import counted
from .shapes import Dim, Dims, Reason, Type, broadcast, matmul_dims, named

Attributes = dict[str, Any]
Shape = tuple[str, Dims] | Reason


def float_dtype(types: Sequence[Type]) -> str | Reason:
    if any(t.dtype == "bool" for t in types):
        return Reason("it needs numbers, and got a truth value", hint="turn it into numbers with `where(c, 1.0, 0.0)`")
    return "f64" if any(t.dtype == "f64" for t in types) else "f32"


def same_shape(types: Sequence[Type], _: Attributes) -> Shape:
    dtype = float_dtype(types)
    dims = broadcast(types)
    if isinstance(dtype, Reason):
        return dtype
    return dims if isinstance(dims, Reason) else (dtype, dims)


def compared_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    result = same_shape(types, attributes)
    return result if isinstance(result, Reason) else ("bool", result[1])


def logical_shape(types: Sequence[Type], _: Attributes) -> Shape:
    if any(t.dtype != "bool" for t in types):
        return Reason("it needs truth values, and got numbers", hint="compare first: `(a > 0) & (b > 0)`")
    dims = broadcast(types)
    return dims if isinstance(dims, Reason) else ("bool", dims)


def where_shape(types: Sequence[Type], _: Attributes) -> Shape:
    if types[0].dtype != "bool":
        return Reason("the first operand must be a truth value, and is a number", hint="compare: `where(x > 0, a, b)`")
    dtype = float_dtype(types[1:])
    dims = broadcast(types)
    if isinstance(dtype, Reason):
        return dtype
    return dims if isinstance(dims, Reason) else (dtype, dims)


def matmul_shape(types: Sequence[Type], _: Attributes) -> Shape:
    dtype = float_dtype(types)
    dims = matmul_dims(types[0].dims, types[1].dims)
    if isinstance(dtype, Reason):
        return dtype
    return dims if isinstance(dims, Reason) else (dtype, dims)


def reduce_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    dtype = float_dtype(types)
    if isinstance(dtype, Reason):
        return dtype
    dims, axes = types[0].dims, attributes["axes"]
    if not dims:
        return Reason("there is no dimension to reduce: the value is a single number")
    if any(not -len(dims) <= axis < 0 for axis in axes) or len(set(axes)) != len(axes):
        return Reason(f"{_axes_text(axes)}: the value has {counted(len(dims), 'dimension')}")
    gone = {len(dims) + axis for axis in axes}
    if attributes["keepdims"]:
        return dtype, tuple(Dim.number(1) if i in gone else dim for i, dim in enumerate(dims))
    return dtype, tuple(dim for i, dim in enumerate(dims) if i not in gone)


def _axes_text(axes: tuple[int, ...]) -> str:
    if len(axes) == 1:
        return f"there is no axis {axes[0]}"
    return f"an axis is named twice in {axes}" if len(set(axes)) < len(axes) else f"not all of the axes {axes} are there"


def concat_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    dtype = float_dtype(types)
    if isinstance(dtype, Reason):
        return dtype
    axis = attributes["axis"]
    rank = len(types[0].dims)
    if rank == 0:
        return Reason("a value without dimensions can not be joined", hint="give it one with `reshape(v, 1)`")
    if any(len(t.dims) != rank for t in types):
        return Reason("the values have different numbers of dimensions")
    if not -rank <= axis < 0:
        return Reason(f"there is no axis {axis}: each value has {counted(rank, 'dimension')}")
    dims = list(types[0].dims)
    for t in types[1:]:
        for i, (a, b) in enumerate(zip(dims, t.dims, strict=True)):
            if i == rank + axis:
                dims[i] = a + b
            elif not a.agrees(b):
                return Reason(f"`{a}` of one value meets `{b}` of another")
            else:
                dims[i] = named(a, b)
    return dtype, tuple(dims)


def slice_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    dims = []
    start, stop, step = (attributes[key] for key in ("start", "stop", "step"))
    if not len(start) == len(stop) == len(step) == len(types[0].dims):
        return Reason(f"{counted(len(start), 'range')} for a value of {counted(len(types[0].dims), 'dimension')}")
    for dim, a, b, by in zip(types[0].dims, start, stop, step, strict=True):
        if not 0 <= a.size < b.size <= dim.size or by < 1:
            return Reason(f"the range {a.expression}:{b.expression} is empty or lies outside `{dim}`")
        dims.append((b - a) if by == 1 else Dim.number(-(-(b.size - a.size) // by)))
    return types[0].dtype, tuple(dims)


def pad_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    inner = slice_shape([types[0].with_dims(attributes["dims"])], attributes)
    if isinstance(inner, Reason):
        return inner
    if [d.size for d in inner[1]] != [d.size for d in types[0].dims]:
        return Reason("the value does not fill the range it is placed in")
    return types[0].dtype, attributes["dims"]


def reshape_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    size = prod(d.size for d in attributes["dims"])
    if size != types[0].n_elements:
        wanted = ", ".join(map(str, attributes["dims"]))
        return Reason(f"{types[0].n_elements} elements do not fill ({wanted}), which has {size}")
    return types[0].dtype, attributes["dims"]


def stretch_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    dims = broadcast([types[0], types[0].with_dims(attributes["dims"])])
    if isinstance(dims, Reason):
        return dims
    if len(dims) != len(attributes["dims"]):
        return Reason("the value has more dimensions than it is stretched to")
    return types[0].dtype, attributes["dims"]


def transpose_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    dims, axes = types[0].dims, attributes["axes"]
    if sorted(axes) != list(range(-len(dims), 0)):
        return Reason(f"the axes {axes} are no order of the axes of a value of {counted(len(dims), 'dimension')}")
    return types[0].dtype, tuple(dims[axis] for axis in axes)


def patches_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    size, stride, padding = (attributes[key] for key in ("size", "stride", "padding"))
    *space, channels = types[0].dims or [Dim.number(1)]
    if len(space) != len(size) or not size:
        wanted = f"a value of {counted(len(size) + 1, 'dimension')}: {len(size)} of space, then the channels"
        return Reason(f"a patch of {counted(len(size), 'dimension')} is cut from {wanted}")
    if not len(size) == len(stride) == len(padding) or any(len(pair) != 2 for pair in padding):
        return Reason("the stride needs a number, and the padding a pair of numbers, for each dimension of the patch")
    if min(*(k.size for k in size), *stride) < 1 or min(min(pair) for pair in padding) < 0:
        return Reason("the size and the stride of a patch are at least 1, the padding at least 0")
    dims = []
    for dim, k, s, pair in zip(space, size, stride, padding, strict=True):
        # with padding="same" the dimension keeps its name
        room = dim if sum(pair) == k.size - 1 else dim + Dim.number(sum(pair) + 1) - k
        if room.size < 1:
            return Reason(f"a patch of {k} does not fit into `{dim}`", hint="use padding='same'")
        dims.append(room if s == 1 else Dim.number(-(-room.size // s)))
    return types[0].dtype, (*dims, reduce(mul, size, channels))


def unpatches_shape(types: Sequence[Type], attributes: Attributes) -> Shape:
    inner = patches_shape([types[0].with_dims(attributes["dims"])], attributes)
    if isinstance(inner, Reason):
        return inner
    return types[0].dtype, attributes["dims"]


def total_shape(types: Sequence[Type], _: Attributes) -> Shape:
    return types[0].dtype, types[0].dims


def total_product_shape(types: Sequence[Type], _: Attributes) -> Shape:
    a, b = types[0].dims, types[1].dims
    if not a or not b or [d.size for d in a[:-1]] != [d.size for d in b[:-1]]:
        return Reason("both operands need the same rows")
    return types[0].dtype, (a[-1], b[-1])


def constant_shape(_: Sequence[Type], attributes: Attributes) -> Shape:
    return attributes["dtype"], ()
