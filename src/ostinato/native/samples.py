"""Samples of an estimator scaled and brought side by side by machine code (lower/samples.py): the tables, filled in and run."""

# ruff: noqa: N803 - X is the symbol of the equations

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ..lower.array_objects import HEADER
from ..lower.samples import SampleField, samples_module
from .code import FUNCTION, code_for
from .jit import Code
from .memory import READABLE, Array, address
from .targets import host

KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}


class Rows(NamedTuple):
    """Where the samples lie: each has rows of contiguous numbers of the kind.

    Attributes:
        kind: "f32" or "f64".
        addresses, strides: (n_samples,) of the first row, and from row to row in bytes.
        lengths: (n_samples,) how many rows each has.
    """

    kind: str
    addresses: Array
    strides: Array
    lengths: Array


def rows_of(arrays: Array | list[Array], lengths: Array) -> Rows | None:
    """Where samples lie; None where they are not of a kind, or no rows of contiguous numbers.

    Args:
        arrays: (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features).
        lengths: (n_samples,) the n_steps_i.
    """
    if isinstance(arrays, list):
        kinds = set(map(attrgetter("dtype"), arrays))
        kind = KINDS.get(kinds.pop()) if len(kinds) == 1 else None
        if kind is None:
            return None
        addresses, rows, columns = _layout(arrays)
        contiguous = arrays[0].shape[1] == 1 or (columns == arrays[0].itemsize).all()
        return Rows(kind, addresses, rows, lengths) if contiguous else None
    kind = KINDS.get(arrays.dtype)
    if kind is None or (arrays.shape[2] > 1 and arrays.strides[2] != arrays.itemsize):
        return None
    n, (by_sample, by_step, _) = len(arrays), arrays.strides
    addresses = address(arrays) + np.arange(n, dtype=np.int64) * by_sample
    return Rows(kind, addresses, np.full(n, by_step, np.int64), lengths)


def fill(X: Array, rows: Rows, places: Array, mean: Array, deviation: Array, limit: float) -> bool:
    """Scaled samples side by side. Returns whether all of it is within the limit.

    Args:
        X: (n_steps, len(places), n_features), C contiguous; what lies behind the end of a sequence stays.
        rows: of all samples.
        places: which of them.
        mean, deviation: (n_features,) of float64.
    """
    n_steps, n, n_features = X.shape
    kept = [np.ascontiguousarray(a[places], np.int64) for a in (rows.addresses, rows.strides, rows.lengths)]
    kept += [np.ascontiguousarray(a, np.float64) for a in (mean, deviation)]
    table = np.array([n, n_features, n_steps, *map(address, kept), address(X), 0, 0], np.int64)
    table[SampleField.LIMIT : SampleField.LIMIT + 1].view(np.float64)[0] = limit
    _functions(rows.kind, KINDS[X.dtype])[0](address(table))
    return not table[SampleField.WRONG]


def _layout(arrays: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Of each two-dimensional array the address of its data, and the strides of its axes."""
    return _read(arrays) if _alike() else _asked(arrays)


def _asked(arrays: Sequence[Array]) -> tuple[Array, Array, Array]:
    strides = np.array([a.strides for a in arrays], np.int64).reshape(-1, 2)
    return np.array([address(a) for a in arrays], np.int64), strides[:, 0], strides[:, 1]


def _read(arrays: Sequence[Array]) -> tuple[Array, Array, Array]:
    n = len(arrays)
    objects = np.fromiter(map(id, arrays), np.int64, n)
    found = np.empty((3, n), np.int64)
    table = np.array([n, address(objects), *(address(found) + i * found.strides[0] for i in range(3))], np.int64)
    _functions("f32", "f32")[1](address(table))
    return found[0], found[1], found[2]


@lru_cache(maxsize=1)
def _alike() -> bool:
    """Whether the objects of arrays keep their strides where lower/array_objects.py says."""
    if not READABLE or sys.maxsize < 2**63 - 1:
        return False
    whole = np.zeros((9, 6))
    samples: list[Array] = [whole, whole[::-2, 1:3], whole.T, np.zeros((3, 1), np.float32), np.zeros((0, 5), np.int8)]
    return all(np.array_equal(a, b) for a, b in zip(_read(samples), _asked(samples), strict=True))


@lru_cache
def _functions(given: str, wanted: str) -> tuple[Any, Any, Code]:
    """`ostinato_scaled` from numbers of one kind to another, and `ostinato_objects`; compiled when first asked for."""
    text = f"samples, {given} to {wanted}, object headers of {HEADER} bytes"
    code = code_for(text, host(), "samples", lambda: samples_module(host(), given, wanted))
    scaled, objects = (FUNCTION(code.address(f"ostinato_{name}")) for name in ("scaled", "objects"))
    return scaled, objects, code  # kept: with it goes its memory
