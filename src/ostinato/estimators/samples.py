"""What scikit-learn's users give: samples first, sequences of the same length or not. Checked, and kept as they are.

Nothing is padded as a whole: a batch is gathered, scaled and brought to the network's dtype when it is its turn, behind its own
longest sequence.
"""

# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np

from ..errors import DataError, lay_out
from ..layers.composite import Composite
from ..learn.padding import parts_by_length
from ..runtime.arguments import as_array, numbers
from ..runtime.frames import column_names, is_frame, order_of
from .scaling import Scale

Array = np.ndarray[Any, np.dtype[Any]]
BATCH = 256  # samples at a time
_DTYPE, _SHAPE = attrgetter("dtype"), attrgetter("shape")
BLOCK = 2**15  # numbers that are worked on at a time: 256 KiB of float64, so that they stay near the processor


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
            found = self._rows(chosen).reshape(-1, self.n_features)
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
            if values.size and not (float(values.min()) >= -limit and float(values.max()) <= limit):
                self._refuse(i, ~(np.abs(values.astype(np.float64)) <= limit), dtype)

    def _refuse(self, place: int, wrong: Array, dtype: str) -> None:
        step, feature = (int(k) for k in np.argwhere(wrong)[0])
        value = float(self.arrays[place][step, feature])
        shown = "NaN" if np.isnan(value) else f"{value:g}"
        reason = f"too large for {dtype}" if np.isfinite(value) else "not a finite number"
        raise DataError(lay_out(f"{self.owner}: X[{place}][{step}, {feature}] is {shown}, {reason}"))

    # --- a batch at a time

    def batches(self, places: Array, size: int = BATCH) -> Iterator[Array]:
        """Places, at most `size` at a time, sequences of like lengths together: one long one takes no short ones with it."""
        lengths = self.lengths[places]
        if len(places) and lengths.min() == lengths.max():
            yield from (places[start : start + size] for start in range(0, len(places), size))
            return
        ordered = places[np.argsort(-lengths, kind="stable")]
        for start in range(0, len(ordered), size):
            yield from parts_by_length(ordered[start : start + size], self.lengths)

    def batch(self, places: Array, scale: Scale, dtype: str, *, native: bool = False) -> tuple[Array, Array | None]:
        """Some sequences side by side, scaled: (n_steps, n, n_features) of the dtype; and their lengths, unless all are equal.

        The numbers are those of `scale.apply` in float64, rounded once, whatever the dtype of the samples.

        Args:
            native: by native code, where the samples lie so that it can read them: the same numbers.

        Raises:
            DataError: a number is not finite, or too large.
        """
        lengths = self.lengths[places]
        n_steps, n = int(lengths.max(initial=0)), len(places)
        equal = bool((lengths == n_steps).all())
        X = (np.empty if equal else np.zeros)((n_steps, n, self.n_features), dtype)
        rows, limit = self._where if native else None, _largest(dtype)
        if rows is None:
            fits = self._fill(X, places, scale, limit)
        else:
            from ..native.samples import fill

            fits = fill(X, rows, places, scale.mean, scale.deviation, float(limit))
        if not fits:
            for j in sorted(range(n), key=lambda j: int(places[j])):
                values = X[: lengths[j], j]
                if not (np.abs(values) <= limit).all():
                    self._refuse(int(places[j]), ~(np.abs(values) <= limit), dtype)
        return X, None if equal else lengths

    @cached_property
    def _where(self) -> Any:
        """Where the samples lie, a native.samples.Rows; None where native code does not read them."""
        from ..native.samples import rows_of  # llvmlite is loaded when it is needed

        return rows_of(self.arrays, self.lengths)

    def _fill(self, X: Array, places: Array, scale: Scale, limit: np.float64) -> bool:
        """Scaled samples side by side, zeros behind them. Returns whether all of it is within the limit."""
        n_steps, n, _ = X.shape
        lengths, dtype = self.lengths[places], X.dtype
        equal = bool((lengths == n_steps).all())
        by_sample, wrong = X.swapaxes(0, 1), False
        at_once = max(1, BLOCK // max(1, n_steps * self.n_features))
        room = min(at_once, n) * n_steps * self.n_features
        wide, narrow = np.empty(room), np.empty(room, dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, n, at_once):
                # in the order of the samples, a little at a time, while it is near; then each step to its place
                found, own = self._rows(places[start : start + at_once]), lengths[start : start + at_once]
                shape = (len(own), -1) if equal and n_steps else (1, -1)
                work, rows = wide[: found.size].reshape(found.shape), narrow[: found.size]
                work[...] = found
                scale.apply_in_place(work.reshape(shape))
                rows[...] = work.reshape(-1)
                wrong = wrong or bool(rows.size and not (rows.min() >= -limit and rows.max() <= limit))
                if equal:
                    by_sample[start : start + at_once] = rows.reshape(len(own), n_steps, self.n_features)
                    continue
                for j, part in enumerate(np.split(rows.reshape(-1, self.n_features), np.cumsum(own)[:-1]), start):
                    by_sample[j, : len(part)] = part
        return not wrong

    def _rows(self, places: Array) -> Array:
        """Some sequences: (n, n_steps, n_features), or one behind the other, (n_rows, n_features)."""
        if isinstance(self.arrays, list):
            return np.concatenate([self.arrays[i] for i in places.tolist()])
        return self._view(places)

    def scaled(self, places: Array, scale: Scale, dtype: str, *, native: bool = False) -> Array | list[Array]:
        """A scaled copy of the samples at these places, in rising order.

        Returns:
            (n_steps, len(places), n_features) where all are equally long, otherwise a list of (n_steps_i, n_features).
        """
        lengths = self.lengths[places]
        if (lengths == lengths[0]).all():
            whole = np.empty((int(lengths[0]), len(places), self.n_features), dtype)
            for start in range(0, len(places), BATCH):
                whole[:, start : start + BATCH] = self.batch(places[start : start + BATCH], scale, dtype, native=native)[0]
            return whole
        rows = np.empty((int(lengths.sum()), self.n_features), dtype)
        parts = np.split(rows, np.cumsum(lengths)[:-1])
        for chosen in self.batches(places):
            X, _ = self.batch(chosen, scale, dtype, native=native)
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
    native = is_native(network)
    longest = max(1, int(samples.lengths.max(initial=0)) * samples.n_features)
    size = min(max(BATCH, BLOCK // longest), 4 * BATCH)  # Python costs a call the same, however small
    for places in samples.batches(np.arange(n_samples), size):
        X, lengths = samples.batch(places, scale, network.dtype, native=native)
        Y = network(X, lengths=lengths)
        if in_list:
            for j, i in enumerate(places):
                listed[i] = Y[: samples.lengths[i], j].astype(np.float64)
        else:
            result[places] = Y.swapaxes(0, 1) if network.gives_steps else Y
    return listed if in_list else result


def is_native(network: Composite) -> bool:
    """Whether native code runs it."""
    return all(layer.backend == "native" for layer in network.layers.values())


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
    plain = set(map(type, X)) == {np.ndarray}
    if plain and all(dtype.kind in "fiub" for dtype in set(map(_DTYPE, X))):
        shapes = list(map(_SHAPE, X))
        kinds = set(shapes)
        tails = {shape[1:] for shape in kinds}
        if len(tails) == 1 and len(tail := tails.pop()) == 1 and tail[0]:  # nothing more to be found out
            first = np.full(len(X), shapes[0][0], np.intp)
            lengths = first if len(kinds) == 1 else np.fromiter(map(itemgetter(0), shapes), np.intp, len(X))
            return Samples(list(X), lengths, tail[0], None, owner)
    arrays = list(X) if plain else [as_array(f"X[{i}]", x, owner) for i, x in enumerate(X)]
    arrays = [a if a.dtype.kind in "fiub" else numbers(f"X[{i}]", a, np.float64, owner) for i, a in enumerate(arrays)]
    if not arrays:
        raise DataError(lay_out(f"{owner}: X has no samples"))
    found = [] if plain else _names_of(X, arrays, owner)
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
