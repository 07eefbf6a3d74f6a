"""What each op computes with NumPy, where it is more than one function of NumPy.

Every array has one leading axis in front of the dimensions of its type: instances, or instances and steps together, or 1.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .shapes import Dims

Array = np.ndarray[Any, np.dtype[Any]]


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows
    result: Array = np.where(x >= 0, 1, e) / (1 + e)
    return result


def matmul(a: Array, b: Array) -> Array:
    if b.shape[0] == 1 and b.ndim <= 3:  # the right operand is shared: one product for all rows
        rows = a.reshape(prod(a.shape[:-1]), a.shape[-1]) @ b[0]
        shared: Array = rows.reshape(*a.shape[:-1], *b.shape[2:])
        return shared
    left = a[:, None, :] if a.ndim == 2 else a
    right = b[:, :, None] if b.ndim == 2 else b
    rank = max(left.ndim, right.ndim)
    left, right = (m.reshape(m.shape[0], *(1,) * (rank - m.ndim), *m.shape[1:]) for m in (left, right))
    result: Array = np.matmul(left, right)
    if b.ndim == 2:
        result = result[..., 0]
    return result[..., 0] if a.ndim == b.ndim == 2 else result[..., 0, :] if a.ndim == 2 else result


def concat(*arrays: Array, axis: int) -> Array:
    lead = max(a.shape[0] for a in arrays) if all(a.shape[0] for a in arrays) else 0
    return np.concatenate([np.broadcast_to(a, (lead, *a.shape[1:])) for a in arrays], axis=axis)


def ranges(start: Dims, stop: Dims, step: tuple[int, ...]) -> tuple[slice, ...]:
    return (slice(None), *(slice(a.size, b.size, by) for a, b, by in zip(start, stop, step, strict=True)))


def pad(x: Array, start: Dims, stop: Dims, step: tuple[int, ...], dims: Dims) -> Array:
    result = np.zeros((x.shape[0], *(d.size for d in dims)), x.dtype)
    result[ranges(start, stop, step)] = x
    return result


def patches(x: Array, size: Dims, stride: tuple[int, ...], padding: tuple[tuple[int, int], ...]) -> Array:
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    n = len(size)
    windows = sliding_window_view(padded, tuple(k.size for k in size), axis=tuple(range(1, n + 1)))
    windows = windows[(slice(None), *(slice(None, None, s) for s in stride))]
    windows = np.moveaxis(windows, n + 1, -1)  # the channels last, as in the kernel
    return np.ascontiguousarray(windows).reshape(*windows.shape[: n + 1], prod(windows.shape[n + 1 :]))


def unpatches(x: Array, size: Dims, stride: tuple[int, ...], padding: tuple[tuple[int, int], ...], dims: Dims) -> Array:
    space = [d.size for d in dims[:-1]]
    result = np.zeros((x.shape[0], *(n + sum(pair) for n, pair in zip(space, padding, strict=True)), dims[-1].size), x.dtype)
    counts = x.shape[1:-1]
    kernel = tuple(k.size for k in size)
    windows = x.reshape(*x.shape[:-1], *kernel, dims[-1].size)
    for offset in np.ndindex(*kernel):
        target = tuple(slice(o, o + s * (c - 1) + 1, s) for o, s, c in zip(offset, stride, counts, strict=True))
        result[(slice(None), *target)] += windows[(*(slice(None),) * (1 + len(size)), *offset)]
    inside = tuple(slice(low, low + n) for n, (low, _) in zip(space, padding, strict=True))
    return result[(slice(None), *inside)]


def total_product(a: Array, b: Array) -> Array:
    rows = max(a.shape[0], b.shape[0]) if a.shape[0] and b.shape[0] else 0
    a, b = (np.broadcast_to(m, (rows, *m.shape[1:])) for m in (a, b))
    flat = [m.reshape(prod(m.shape[:-1]), m.shape[-1]) for m in (a, b)]
    result: Array = (flat[0].T @ flat[1])[None]
    return result
