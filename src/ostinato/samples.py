"""What scikit-learn's users give: samples first, sequences of the same length or not. Checked, and kept as they are.

Nothing is padded as a whole: a batch is gathered, scaled and brought to the network's dtype when it is its turn, behind its own
longest sequence.
"""

# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .composite import Composite
from .errors import DataError, lay_out
from .examples import parts_by_length
from .frames import column_names, is_frame, order_of
from .scaling import Scale
from .sequences import as_array, numbers

Array = np.ndarray[Any, np.dtype[Any]]
BLOCK = 2**17  # numbers that are worked on at a time: 1 MiB of float64


@dataclass(frozen=True)
class Samples:
    """Sequences, as they were given.

    Attributes:
        arrays: (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features), of any dtype of real numbers.
        lengths: (n_samples,) whole numbers.
        n_features: how many numbers a step has.
        names: of the features, in the order of the arrays; None where there are none.
        owner: who asks, for messages.
    """

    arrays: Array | list[Array]
    lengths: Array
    n_features: int
    names: tuple[str, ...] | None
    owner: str

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def is_list(self) -> bool:
        return isinstance(self.arrays, list)

    def blocks(self, places: Array, weights: Array | None = None) -> Iterator[tuple[Array, Array | None]]:
        """Rows of these samples, (n_rows, n_features), some sequences at a time; and the weight of the sample of each row."""
        rows = np.cumsum(self.lengths[places])
        start = 0
        while start < len(places):
            before = int(rows[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(rows, before + max(1, BLOCK // self.n_features), "right")))
            chosen = places[start:stop]
            if isinstance(self.arrays, list):
                found = np.concatenate([self.arrays[i] for i in chosen])
            else:
                found = self._view(chosen).reshape(-1, self.n_features)
            yield found, None if weights is None else np.repeat(weights[start:stop], self.lengths[chosen])
            start = stop

    def _view(self, places: Array) -> Array:
        """(len(places), n_steps, n_features): no copy where they stand one behind the other."""
        assert not isinstance(self.arrays, list)
        if len(places) and (np.diff(places) == 1).all():
            return self.arrays[places[0] : places[-1] + 1]
        return self.arrays[places]

    def check_numbers(self, dtype: str) -> None:
        """Refuse what is not finite, and numbers whose squares the dtype can not hold.

        Raises:
            DataError: the message says where the first stands.
        """
        limit = _largest(dtype)
        for i in range(len(self)):
            values = self.arrays[i]
            if values.size and not (values.min() >= -limit and values.max() <= limit):
                self._refuse(i, ~((values >= -limit) & (values <= limit)), dtype)

    def _refuse(self, place: int, wrong: Array, dtype: str) -> None:
        step, feature = (int(k) for k in np.argwhere(wrong)[0])
        value = float(self.arrays[place][step, feature])
        shown = "NaN" if np.isnan(value) else f"{value:g}"
        reason = f"too large for {dtype}" if np.isfinite(value) else "not a finite number"
        raise DataError(lay_out(f"{self.owner}: X[{place}][{step}, {feature}] is {shown}, {reason}"))

    # --- a batch at a time

    def batches(self, places: Array, size: int = 256) -> Iterator[Array]:
        """Places, at most `size` at a time, sequences of like lengths together: one long one takes no short ones with it."""
        ordered = places[np.argsort(-self.lengths[places], kind="stable")]
        for start in range(0, len(ordered), size):
            yield from parts_by_length(ordered[start : start + size], self.lengths)

    def batch(self, places: Array, scale: Scale, dtype: str) -> tuple[Array, Array | None]:
        """Some sequences side by side, scaled: (n_steps, n, n_features) of the dtype; and their lengths, unless all are equal.

        The numbers are those of `scale.apply` in float64, rounded once, whatever the dtype of the samples.

        Raises:
            DataError: a number is not finite, or too large.
        """
        lengths = self.lengths[places]
        n_steps, n = int(lengths.max(initial=0)), len(places)
        width, limit = n * self.n_features, _largest(dtype)
        source = self._side_by_side(places, n_steps)
        X = np.empty((n_steps, n, self.n_features), dtype)
        flat = X.reshape(n_steps, width)
        at_once = max(1, BLOCK // width)
        scratch = np.empty((min(at_once, n_steps), n, self.n_features))
        wrong = False
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, n_steps, at_once):
                part = source[start : start + at_once]
                work = scratch[: len(part)]
                work[...] = part
                rows = work.reshape(len(part), width)
                scale.apply_in_place(rows)
                flat[start : start + at_once] = rows
                wrong = wrong or not (rows.min() >= -limit and rows.max() <= limit)
        if wrong:
            for j in sorted(range(n), key=lambda j: int(places[j])):
                values = X[: lengths[j], j]
                if not (np.abs(values) <= limit).all():
                    self._refuse(int(places[j]), ~(np.abs(values) <= limit), dtype)
        return X, None if (lengths == n_steps).all() else lengths

    def _side_by_side(self, places: Array, n_steps: int) -> Array:
        """(n_steps, len(places), n_features): as they are, what is behind an end at the mean."""
        if not isinstance(self.arrays, list):
            return self._view(places).swapaxes(0, 1)
        dtype = np.result_type(*{self.arrays[i].dtype for i in places})
        padded = np.zeros((n_steps, len(places), self.n_features), dtype)
        for j, i in enumerate(places):
            padded[: self.lengths[i], j] = self.arrays[i]
        return padded

    def scaled(self, places: Array, scale: Scale, dtype: str) -> Array | list[Array]:
        """A scaled copy of the samples at these places, in rising order.

        Returns:
            (n_steps, len(places), n_features) where all are equally long, otherwise a list of (n_steps_i, n_features).
        """
        lengths = self.lengths[places]
        if (lengths == lengths[0]).all():
            whole = np.empty((int(lengths[0]), len(places), self.n_features), dtype)
            for start in range(0, len(places), 256):
                whole[:, start : start + 256] = self.batch(places[start : start + 256], scale, dtype)[0]
            return whole
        rows = np.empty((int(lengths.sum()), self.n_features), dtype)
        parts = np.split(rows, np.cumsum(lengths)[:-1])
        for chosen in self.batches(places):
            X, _ = self.batch(chosen, scale, dtype)
            for j, i in enumerate(np.searchsorted(places, chosen)):
                parts[i][...] = X[: len(parts[i]), j]
        return parts


def answers(network: Composite, samples: Samples, scale: Scale) -> Any:
    """What a network answers, as float64, a batch at a time.

    Returns:
        (n_samples, n_outputs); of a network that answers at every step (n_samples, n_steps, n_outputs), or a list of
        (n_steps_i, n_outputs) where the samples are a list.
    """
    n_samples, n_outputs = len(samples), network.output_sizes[-1]
    shape = (n_samples, int(samples.lengths.max(initial=0)), n_outputs) if network.gives_steps else (n_samples, n_outputs)
    in_list = network.gives_steps and samples.is_list
    result = np.empty((0,) if in_list else shape)
    listed = [result] * n_samples if in_list else []
    for places in samples.batches(np.arange(n_samples)):
        X, lengths = samples.batch(places, scale, network.dtype)
        Y = network(X, lengths=lengths)
        if in_list:
            for j, i in enumerate(places):
                listed[i] = Y[: samples.lengths[i], j].astype(np.float64)
        else:
            result[places] = Y.swapaxes(0, 1) if network.gives_steps else Y
    return listed if in_list else result


def _largest(dtype: str) -> np.float64:
    """The largest number whose square the dtype can hold; no number of Python's, which a shorter dtype could not hold."""
    return np.float64(np.sqrt(np.finfo(dtype).max))


# --- from what a user gives


def samples_of(X: Any, owner: str, names: Sequence[str] | None = None, n_features: int | None = None) -> Samples:
    """Samples as scikit-learn has them; shapes, names and kinds of numbers are checked, the numbers are not yet.

    Args:
        X: (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features) of any lengths, 0 among them: arrays, frames.
        owner: who asks, for messages.
        names: the order into which named columns are brought; None for that of the first frame.
        n_features: how many there are in a list whose sequences are all empty.

    Raises:
        DataError: another shape, no numbers, other names; the message says where.
        DataTypeError: a sparse matrix; names that are not all text.
    """
    if not isinstance(X, list | tuple):
        if is_frame(X):
            headline = f"{owner}: X is a single {type(X).__name__}, and must be a list of sequences, one frame each"
            raise DataError(lay_out(headline, hint="Reshape your data: [frame] is one sequence, its rows are the steps"))
        array = as_array("X", X, owner)
        if array.dtype != object or array.ndim != 1:
            return _of_array(array, owner)
        X = list(array)
    return _of_list(X, owner, names, n_features)


def _of_array(array: Array, owner: str) -> Samples:
    if array.dtype.kind not in "fiub":
        array = numbers("X", array, np.float64, owner)
    if array.ndim != 3:
        hints = {
            1: "Reshape your data: X[None, :, None] is one sequence of one feature",
            2: "Reshape your data: X[:, :, None] has one feature at each step, X[None] is one sequence; or give a list",
        }
        headline = f"{owner}: X has shape {array.shape}, and must be (n_samples, n_steps, n_features)"
        raise DataError(lay_out(headline, hint=hints.get(array.ndim, "")))
    n_samples, n_steps, n_features = array.shape
    if not n_features:
        _refuse_no_features((n_steps, 0), owner)
    if not n_samples:
        raise DataError(lay_out(f"{owner}: X has no samples"))
    return Samples(array, np.full(n_samples, n_steps, np.intp), n_features, None, owner)


def _of_list(X: Sequence[Any], owner: str, names: Sequence[str] | None, n_features: int | None) -> Samples:
    arrays = [as_array(f"X[{i}]", x, owner) for i, x in enumerate(X)]
    arrays = [a if a.dtype.kind in "fiub" else numbers(f"X[{i}]", a, np.float64, owner) for i, a in enumerate(arrays)]
    if not arrays:
        raise DataError(lay_out(f"{owner}: X has no samples"))
    found = _names_of(X, arrays, owner)
    if found:
        wanted = names or next(n for n in found if n)
        orders = [order_of(n, wanted, f"X[{i}]") if n else None for i, n in enumerate(found)]
        arrays = [a if order is None else a[:, order] for a, order in zip(arrays, orders, strict=True)]
    wide = [a for a in arrays if a.ndim == 2 and (a.shape[1] or len(a))]
    if wide and not wide[0].shape[1]:
        _refuse_no_features(wide[0].shape, owner)
    n_features = wide[0].shape[1] if wide else n_features
    if n_features is None:
        headline = f"{owner}: no sequence in X is (n_steps, n_features)"
        raise DataError(lay_out(headline, hint="for one feature, each sequence is x[:, None]"))
    for i, array in enumerate(arrays):
        if array.shape != (0,) and (array.ndim != 2 or array.shape[1] != n_features):
            raise DataError(lay_out(f"{owner}: X[{i}] has shape {array.shape}, and must be (n_steps, n_features={n_features})"))
    lengths = np.array([len(a) for a in arrays], np.intp)
    arrays = [a if a.ndim == 2 else a.reshape(0, n_features) for a in arrays]
    return Samples(arrays, lengths, n_features, tuple(wanted) if found else None, owner)


def _refuse_no_features(shape: tuple[int, ...], owner: str) -> None:
    headline = f"{owner}: found sequences with 0 feature(s) (shape={shape}) while a minimum of 1 is required."
    raise DataError(lay_out(headline))


def _names_of(X: Sequence[Any], arrays: Sequence[Array], owner: str) -> list[tuple[str, ...] | None]:
    """The names of each sequence's columns; an empty list where none has any."""
    found = [column_names(x, f"{owner}: X[{i}]") for i, x in enumerate(X)]
    named = next((i for i, names in enumerate(found) if names), None)
    if named is None:
        return []
    unnamed = next((i for i, names in enumerate(found) if not names and arrays[i].size), None)
    if unnamed is not None:
        headline = f"{owner}: the columns of X[{named}] have names, and those of X[{unnamed}] have none"
        raise DataError(lay_out(headline, hint="give frames alone, or arrays alone"))
    return found
