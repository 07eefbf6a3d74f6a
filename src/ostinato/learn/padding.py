"""Sequences of different lengths: a list of them checked, side by side in one array, apart again, in groups of like lengths."""

# ruff: noqa: N803, N806 - X is the symbol of the equations

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..calls import answering
from ..checks import is_number, is_truth
from ..errors import DataError, OptionError, lay_out
from ..runtime.arguments import as_array, numbers, whole_lengths
from ..runtime.frames import column_names, is_frame, order_of

Array = np.ndarray[Any, np.dtype[Any]]


@answering
def pad_sequences(sequences: Any, *, batch_first: bool = False, value: float = 0.0) -> tuple[Array, Array]:
    """Sequences of any lengths side by side in one array, as a layer and `Examples` take them.

    Args:
        sequences: a list of (n_steps_i, ...): arrays, frames or lists of rows.
        batch_first: samples before steps.
        value: what stands behind the end of a sequence. A layer that is given the lengths never reads it.

    Returns:
        X (n_steps, n_samples, ...), or (n_samples, n_steps, ...), as long as the longest, of the dtype of the sequences; and
        their lengths (n_samples,).

    Raises:
        DataError: it is no list of sequences, or they differ in what stands behind the steps.
        OptionError: `value` is no number, or `batch_first` neither True nor False.

    >>> X, lengths = pad_sequences([np.ones((2, 3)), np.ones((5, 3))])
    >>> X.shape, lengths.tolist()
    ((5, 2, 3), [2, 5])
    """
    owner = "pad_sequences"
    _check_order(batch_first, owner)
    if not is_number(value):
        raise OptionError(lay_out(f"{owner}: `value` is a number, not {value!r:.60}"))
    many = isinstance(sequences, np.ndarray) and sequences.ndim > 1
    if not is_list(sequences) and not many:
        one = is_frame(sequences) or isinstance(sequences, np.ndarray)
        headline = f"{owner}: it takes a list of sequences, not {'one of them' if one else type(sequences).__name__}"
        raise DataError(lay_out(headline, hint="a list of one: [sequence]" if one else ""))
    arrays = sequences_of(sequences, owner)
    lengths = np.array([len(array) for array in arrays], np.intp)
    return stacked(arrays, lengths, batch_first=batch_first, value=value), lengths


@answering
def unpad_sequences(X: Any, lengths: Any, *, batch_first: bool = False) -> list[Array]:
    """The sequences of a padded array, each as long as it is: what `pad_sequences` was given.

    Args:
        X: (n_steps, n_samples, ...), or (n_samples, n_steps, ...) with batch_first.
        lengths: (n_samples,) whole numbers.

    Returns:
        a list of (n_steps_i, ...), copies that do not keep X alive.

    Raises:
        DataError: X has no two leading axes, or the lengths do not fit it.
        OptionError: `batch_first` is neither True nor False.

    >>> [x.shape for x in unpad_sequences(np.zeros((5, 2, 3)), [2, 5])]
    [(2, 3), (5, 3)]
    """
    owner = "unpad_sequences"
    _check_order(batch_first, owner)
    array = checked("X", X, owner)
    if array.ndim < 2:
        order = "n_samples, n_steps" if batch_first else "n_steps, n_samples"
        raise DataError(lay_out(f"{owner}: X has shape {array.shape}, and must be ({order}, ...)"))
    by_sample = array if batch_first else array.swapaxes(0, 1)
    ends = whole_lengths(lengths, by_sample.shape[1], len(by_sample), owner)
    return [row[:n].copy() for row, n in zip(by_sample, ends.tolist(), strict=True)]


def _check_order(batch_first: Any, owner: str) -> None:
    if not is_truth(batch_first):
        raise OptionError(lay_out(f"{owner}: `batch_first` is True or False, not {batch_first!r:.60}"))


def is_list(value: Any) -> bool:
    """Whether it is a list of things of any lengths, as one array is not."""
    if isinstance(value, list | tuple):
        return True
    array = value if isinstance(value, np.ndarray) else np.asarray(value) if type(value).__name__ == "Series" else None
    return array is not None and array.dtype == object and array.ndim == 1


def n_rows(value: Any) -> int | None:
    """How many entries it has; None for one thing, a text among them."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return int(shape[0]) if shape else None
    return len(value) if hasattr(value, "__len__") and not isinstance(value, str | bytes) else None


def checked(name: str, value: Any, owner: str, *, any_kind: bool = False) -> Array:
    """An array as it is; of numbers, unless any kind will do."""
    array = as_array(name, value, owner)
    if array.dtype == object and not array.ndim:
        what = "there is no" if value is None else f"a {type(value).__name__} is no"
        hint = "list(...) makes a list of it" if hasattr(value, "__next__") else ""
        raise DataError(lay_out(f"{owner}: {what} `{name}`, which is an array or a list", hint=hint))
    if any_kind or array.dtype.kind in "fiub":
        return array
    return numbers(name, value, np.float64, owner)


def sequences_of(X: Any, owner: str) -> list[Array]:
    """Each an array (n_steps_i, ...), all of the same dimensions behind the steps; columns with names in one order."""
    arrays, first = [], None
    for i, x in enumerate(X):
        array, names = checked(f"X[{i}]", x, owner), column_names(x, f"X[{i}]")
        first = names if first is None else first
        if names is not None and set(names) != set(first or ()):
            other, mine = ", ".join(f"`{n}`" for n in first or ()), ", ".join(f"`{n}`" for n in names)
            raise DataError(lay_out(f"{owner}: the columns of X[{i}] are {mine}, and those of the first frame {other}"))
        places = None if names is None else order_of(names, first or (), f"X[{i}]")
        arrays.append(array if places is None else array[:, places])
    tail = next((a.shape[1:] for a in arrays if a.ndim and a.size), arrays[0].shape[1:] if arrays else ())
    for i, array in enumerate(arrays):
        if array.ndim and not len(array):
            arrays[i] = array.reshape(0, *tail)
        elif not array.ndim or array.shape[1:] != tail:
            wanted = ", ".join(["n_steps", *map(str, tail)])
            headline = f"{owner}: X[{i}] has shape {array.shape}, and as a sequence of the list it must be ({wanted})"
            raise DataError(lay_out(headline))
    return arrays


def stacked(sequences: Sequence[Array], lengths: Array, *, batch_first: bool, value: Any = 0) -> Array:
    """Sequences (n_steps_i, ...) side by side: (n_steps, n_samples, ...), or samples first; `value` behind their ends."""
    longest, tail = int(lengths.max(initial=0)), sequences[0].shape[1:] if len(sequences) else ()
    dtype = np.result_type(*{s.dtype for s in sequences}) if len(sequences) else np.dtype(np.float64)
    if dtype.kind in "iub" and not (np.isfinite(value) and int(value) == value):
        dtype = np.dtype(np.float64)
    X = np.full((len(sequences), longest, *tail) if batch_first else (longest, len(sequences), *tail), value, dtype)
    by_sample = X if batch_first else X.swapaxes(0, 1)
    for row, sequence in zip(by_sample, sequences, strict=True):
        row[: len(sequence)] = sequence
    return X


def parts_by_length(places: Array, steps: Array) -> list[Array]:
    """The places in groups of like lengths: cut in two where that halves what is computed, and the halves again."""
    lengths = steps[places]
    order = np.argsort(-lengths, kind="stable")
    sorted_lengths = lengths[order]
    n = len(places)
    if n < 2:
        return [places]
    counts = np.arange(1, n)
    areas = sorted_lengths[0] * counts + sorted_lengths[1:] * (n - counts)
    cut = int(areas.argmin()) + 1
    if 2 * int(areas[cut - 1]) > int(sorted_lengths[0]) * n or not sorted_lengths[0]:
        return [places]
    long = np.zeros(n, bool)
    long[order[:cut]] = True
    return [*parts_by_length(places[long], steps), *parts_by_length(places[~long], steps)]
