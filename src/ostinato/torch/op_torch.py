"""What each op computes with PyTorch: the table of ops in PyTorch's own functions, as ir/op_numpy.py has it for NumPy.

Every tensor has one leading axis in front of the dimensions of its type: instances, or instances and steps together, or 1.
All of it can be differentiated any number of times, mapped and moved to any device, since it is nothing but PyTorch. At
corners where a derivative is infinite the gradients are PyTorch's: it multiplies an adjoint of 0 by infinity, where the table
passes 0 back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from ..ir.op_numpy import ranges
from ..ir.ops import OPS
from ..ir.shapes import Dims

DTYPES = {"f32": torch.float32, "f64": torch.float64, "bool": torch.bool}


def compute(op: str, tensors: Sequence[Tensor], attributes: Mapping[str, Any]) -> Tensor:
    """One op on tensors; operands of elementwise ops are brought to equal ranks first."""
    if OPS[op].elementwise:
        rank = max(t.ndim for t in tensors)
        tensors = [_ranked(t, rank) for t in tensors]
    return TABLE[op](*tensors, **attributes)


def _ranked(tensor: Tensor, rank: int) -> Tensor:
    """Further axes of size 1 behind the leading one."""
    return tensor if tensor.ndim == rank else tensor.reshape(tensor.shape[0], *(1,) * (rank - tensor.ndim), *tensor.shape[1:])


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    left = a[:, None, :] if a.ndim == 2 else a
    right = b[:, :, None] if b.ndim == 2 else b
    if right.shape[0] == 1 and right.ndim == 3:  # shared by all rows: one product
        result = left @ right[0]
    else:
        rank = max(left.ndim, right.ndim)
        result = _ranked(left, rank) @ _ranked(right, rank)
    if b.ndim == 2:
        result = result[..., 0]
    return result[..., 0] if a.ndim == b.ndim == 2 else result[..., 0, :] if a.ndim == 2 else result


def _leading(tensors: Sequence[Tensor]) -> int:
    return max(t.shape[0] for t in tensors) if all(t.shape[0] for t in tensors) else 0


def _concat(*tensors: Tensor, axis: int) -> Tensor:
    leading = _leading(tensors)
    return torch.cat([t.expand(leading, *t.shape[1:]) for t in tensors], dim=axis)


def _slice(x: Tensor, start: Dims, stop: Dims, step: tuple[int, ...]) -> Tensor:
    return x[ranges(start, stop, step)]


def _pad(x: Tensor, start: Dims, stop: Dims, step: tuple[int, ...], dims: Dims) -> Tensor:
    result = x.new_zeros(x.shape[0], *(d.size for d in dims))
    result[ranges(start, stop, step)] = x
    return result


def _broadcast_to(x: Tensor, dims: Dims) -> Tensor:
    return _ranked(x, len(dims) + 1).expand(x.shape[0], *(d.size for d in dims))


def _patches(x: Tensor, size: Dims, stride: tuple[int, ...], padding: tuple[tuple[int, int], ...]) -> Tensor:
    windows = F.pad(x, [0, 0, *(n for pair in reversed(padding) for n in pair)])  # from the last axis, that of the channels
    for axis, (kernel, by) in enumerate(zip(size, stride, strict=True), 1):
        windows = windows.unfold(axis, kernel.size, by)
    n = len(size)
    windows = windows.movedim(n + 1, -1)  # the channels last, as in the kernel
    return windows.reshape(*windows.shape[: n + 1], prod(windows.shape[n + 1 :]))


def _unpatches(
    x: Tensor, size: Dims, stride: tuple[int, ...], padding: tuple[tuple[int, int], ...], dims: Dims
) -> Tensor:  # fmt: skip
    space, kernel, counts = [d.size for d in dims[:-1]], [k.size for k in size], x.shape[1:-1]
    result = x.new_zeros(x.shape[0], *(n + sum(pair) for n, pair in zip(space, padding, strict=True)), dims[-1].size)
    windows = x.reshape(*x.shape[:-1], *kernel, dims[-1].size)
    for offset in torch.cartesian_prod(*map(torch.arange, kernel)).reshape(-1, len(kernel)).tolist():
        target = tuple(slice(o, o + s * (c - 1) + 1, s) for o, s, c in zip(offset, stride, counts, strict=True))
        result[(slice(None), *target)] += windows[(*(slice(None),) * (1 + len(kernel)), *offset)]
    inside = tuple(slice(low, low + n) for n, (low, _) in zip(space, padding, strict=True))
    return result[(slice(None), *inside)]


def _total_product(a: Tensor, b: Tensor) -> Tensor:
    rows = _leading((a, b))
    flat = [t.expand(rows, *t.shape[1:]).reshape(-1, t.shape[-1]) for t in (a, b)]
    return (flat[0].T @ flat[1])[None]


TABLE: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "power": torch.pow,
    "negative": torch.neg,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "abs": torch.abs,
    "sign": torch.sign,
    "exp": torch.exp,
    "log": torch.log,
    "floor": torch.floor,
    "remainder": torch.remainder,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "less": torch.lt,
    "less_equal": torch.le,
    "equal": torch.eq,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_not": torch.logical_not,
    "where": torch.where,
    "stop_gradient": torch.detach,
    "matmul": _matmul,
    "sum": lambda x, axes, keepdims: x.sum(dim=axes, keepdim=keepdims),
    "max": lambda x, axes, keepdims: x.amax(dim=axes, keepdim=keepdims),
    "concat": _concat,
    "slice": _slice,
    "pad": _pad,
    "reshape": lambda x, dims: x.reshape(x.shape[0], *(d.size for d in dims)),
    "stretch": _broadcast_to,
    "transpose": lambda x, axes: x.permute(0, *(x.ndim + axis for axis in axes)),
    "patches": _patches,
    "unpatches": _unpatches,
    "constant": lambda value, dtype: torch.full((1,), value, dtype=DTYPES[dtype]),
    "total": lambda x: x.sum(dim=0, keepdim=True),
    "total_per_instance": lambda x: x,
    "total_product": _total_product,
}
