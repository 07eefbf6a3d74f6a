"""The three dtypes of a value: what they are called, here and by NumPy, and how large an element is."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES: dict[str, Any] = {"f32": np.float32, "f64": np.float64, "bool": np.bool_}
BYTES = {"f32": 4, "f64": 8, "bool": 1}  # of one element in memory; NumPy and native code store a truth value as one byte
LONG = {"f32": "float32", "f64": "float64"}  # what a user calls the dtype of a layer
SHORT = {long: short for short, long in LONG.items()}


def short_of(dtype: Any) -> str | None:
    """The short name of what a user calls a dtype, in NumPy's words or ours; None for any other."""
    try:
        return None if dtype is None else SHORT.get(str(np.dtype(dtype).name))  # NumPy takes None for float64
    except TypeError:
        return None


def dtype_of(array: np.ndarray[Any, Any]) -> str:
    """The name of the dtype of an array; what is neither float32 nor a truth value is computed in float64."""
    return "bool" if array.dtype == np.bool_ else "f32" if array.dtype == np.float32 else "f64"
