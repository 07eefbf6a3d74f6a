"""The same numbers in many kinds: what people hold in their hands when they call a layer, a network or an estimator.

Numbers are drawn as eighths between -2 and 2 (whole numbers or truth values where the kind holds no others), which every float
dtype holds exactly, so that what is made of a kind is known to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

Array = np.ndarray[Any, Any]
Generator = np.random.Generator


@dataclass
class Given:
    """One value of a call.

    Attributes:
        value: what is given.
        plain: the same numbers as a contiguous array of the dtype that is computed in.
        kind: what it is called in the log.
    """

    value: Any
    plain: Array
    kind: str

    def __post_init__(self) -> None:
        self._before = copied(self.value)

    def check_untouched(self) -> None:
        assert same_thing(self.value, self._before), f"what was given as {self.kind} has been changed"


def copied(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(copied(part) for part in value)
    return value.clone() if isinstance(value, pl.DataFrame | pl.Series) else copy.deepcopy(value)


def same_thing(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_thing, one, other))
    if isinstance(one, pd.DataFrame | pl.DataFrame):
        return bool(one.equals(other)) and list(one.columns) == list(other.columns)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, pd.Series | pl.Series):
        return bool(one.equals(other))
    return bool(one == other)


# --- arrays


def strided(array: Array) -> Array:
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1] + 1), 99.0, array.dtype)
    wide[..., 1::2] = array
    return wide[..., 1::2]


def backwards(array: Array) -> Array:
    return np.ascontiguousarray(array[::-1])[::-1]


def read_only(array: Array) -> Array:
    array = array.copy()
    array.setflags(write=False)
    return array


def misaligned(array: Array) -> Array:
    memory = np.zeros(array.nbytes + 1, np.uint8)
    moved = memory[1:].view(array.dtype).reshape(array.shape) if array.size else array.copy()
    moved[...] = array
    return moved


def broadcast(array: Array) -> Array:
    """One number for all: a view without strides."""
    return np.broadcast_to(array.reshape(-1)[:1].reshape(()) if array.size else np.zeros((), array.dtype), array.shape)


class Own(np.ndarray[Any, Any]):
    """A subclass of somebody's own."""


LAYOUTS: dict[str, Callable[[Array], Any]] = {
    "plain": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "backwards": backwards,
    "read-only": read_only,
    "misaligned": misaligned,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "broadcast": broadcast,
    "subclass": lambda array: array.copy().view(Own),
    "masked nowhere": lambda array: np.ma.masked_array(array.copy(), np.zeros(array.shape, bool)),
    "objects": lambda array: array.astype(object),
    "lists": lambda array: array.tolist(),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "transposed twice": lambda array: array.T.copy().T,
    "DLPack and back": lambda array: np.from_dlpack(array.copy()),
}
IN_LISTS = ("lists", "list of arrays", "tuple of arrays")
OF_A_NUMBER = ("read-only", "big-endian", "subclass", "masked nowhere", "lists", "DLPack and back")
DTYPES = ["float32", "float32", "float64", "float64", "float16", "int64", "int8", "uint8", "bool"]


def drawn(rng: Generator, shape: tuple[int, ...], dtype: str = "float64") -> Array:
    """Numbers that this dtype holds exactly."""
    match np.dtype(dtype).kind:
        case "f":
            return np.asarray(rng.integers(-16, 17, shape) / 8, dtype)
        case "b":
            return np.asarray(rng.random(shape) < 0.5)
    return np.asarray(rng.integers(0 if dtype.startswith("u") else -2, 3, shape), dtype)


def given(rng: Generator, shape: tuple[int, ...], dtype: str, *, lists: bool = True) -> Given:
    """Numbers of this shape, of whatever kind; `dtype` is the one that is computed in. `lists`: lists and frames among them."""
    of = str(rng.choice(DTYPES))
    layout = str(rng.choice([name for name in LAYOUTS if lists or name not in IN_LISTS]))
    if len(shape) == 0 and layout not in OF_A_NUMBER:
        layout = "lists"
    if 0 in shape and layout in ("lists", "list of arrays", "tuple of arrays", "backwards", "DLPack and back"):
        layout = "plain"  # an empty list has lost its other axes
    if of == "bool" and layout == "DLPack and back":
        of = "float32"
    if lists and rng.random() < 0.15 and 0 not in shape and len(shape) in (2, 3):
        return framed(rng, drawn(rng, shape, of), dtype)
    value = LAYOUTS[layout](drawn(rng, shape, of))
    plain = np.ascontiguousarray(np.asarray(value, np.float64), dtype).reshape(shape)
    return Given(value, plain, f"{of}, {layout}")


def framed(rng: Generator, array: Array, dtype: str) -> Given:
    """A frame, or a list of frames; columns have the same names in the same order."""
    library = str(rng.choice(["pandas", "polars"]))
    names = [f"f{i}" for i in range(array.shape[-1])]
    frames = [frame(part, names, library) for part in (array if array.ndim == 3 else [array])]
    plain = np.ascontiguousarray(array, dtype)
    return Given(frames if array.ndim == 3 else frames[0], plain, f"{array.dtype}, {library}")


def frame(array: Array, names: list[str], library: str = "pandas", *, mixed: bool = False) -> Any:
    """A frame of these columns; `mixed`: the first one of another dtype."""
    columns = {name: np.ascontiguousarray(array[:, i]) for i, name in enumerate(names)}
    if mixed:
        columns[names[0]] = columns[names[0]].astype(np.float64)
    if library == "pandas":
        made = pd.DataFrame(columns)
        return made.convert_dtypes() if mixed and len(made) else made  # nullable dtypes
    return pl.DataFrame(columns)


def permuted(rng: Generator, value: Any) -> Any:
    """A frame with its columns in another order."""
    columns = [value.columns[i] for i in rng.permutation(len(value.columns))]
    return value[columns] if isinstance(value, pd.DataFrame) else value.select(columns)


def lengths(rng: Generator, n_steps: int, n_instances: int) -> Given:
    array = rng.integers(0, n_steps + 1, n_instances)
    ways: dict[str, Callable[[Array], Any]] = {
        "list": lambda a: a.tolist(),
        "tuple": lambda a: tuple(a.tolist()),
        "int64": np.array,
        "int8": lambda a: a.astype(np.int8),
        "uint16": lambda a: a.astype(np.uint16),
        "float64": lambda a: a.astype(float),
        "list of NumPy numbers": list,
        "strided": lambda a: np.repeat(a, 2)[::2],
        "series": pd.Series,
        "polars series": pl.Series,
    }
    way = str(rng.choice(list(ways))) if n_instances else "int64"
    return Given(ways[way](array), array, f"lengths, {way}")


def wrong_lengths(rng: Generator, n_steps: int, n_instances: int) -> Any:
    array = rng.integers(0, n_steps + 1, max(n_instances, 1))
    array[0] = n_steps
    return [
        array + 1, array - n_steps - 1, array + 0.5, [*array, 1], array[:, None], "long", {"a": 1}, [None] * len(array),
        array.astype(str), np.full(len(array), np.nan), object(), [[1], [2, 3]], array.astype(complex),
    ][int(rng.integers(13))]  # fmt: skip


def wrong(rng: Generator, good: Array) -> tuple[Any, str]:
    """What is given in place of a good array, and must be refused; every one of them is wrong whatever the shape is."""
    some = np.ascontiguousarray(good, np.float64)
    masked = np.ma.masked_array(some.copy(), np.zeros(some.shape, bool))
    if some.size:
        masked[tuple(int(rng.integers(n)) for n in some.shape)] = np.ma.masked
    ways: dict[str, Callable[[], Any]] = {
        "one more feature": lambda: np.concatenate([some, some[..., :1]], axis=-1),
        "three axes more": lambda: some[None, None, None],
        "text": lambda: some.astype(str),
        "complex": lambda: some.astype(complex),
        "dates": lambda: np.zeros(some.shape, "datetime64[s]"),
        "None": lambda: None,
        "a word": lambda: "sequence",
        "bytes": lambda: b"sequence",
        "an object": object,
        "a dictionary": lambda: {"x": some},
        "a set": lambda: {1.0, 2.0},
        "a generator": lambda: (x for x in some),
        "a function": lambda: np.sin,
        "a class": lambda: np.ndarray,
        "ragged lists": lambda: [[1.0], [2.0, 3.0]],
        "records": lambda: np.zeros(3, [("a", float), ("b", float)]),
        "objects with None": lambda: np.where(np.arange(some.size).reshape(some.shape) == 0, None, some.astype(object)),
        "NumPy's None": lambda: np.array(None),
    }
    if some.size:
        ways["masked"] = lambda: masked
        ways["list with a masked part"] = lambda: list(masked)
    way = str(rng.choice(list(ways)))
    if way == "one more feature" and (some.ndim == 0 or not some.shape[-1]):
        way = "three axes more"
    if way in ("objects with None", "text", "complex", "dates") and not some.size:
        way = "None"
    return ways[way](), way
