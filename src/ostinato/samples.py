"""What scikit-learn's users give: samples first, sequences of the same length or not. Checked, padded, scaled."""

# ruff: noqa: N803 - X and y are scikit-learn's names

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import DataError, FileError, lay_out
from .sequences import numbers

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Padded:
    """Sequences side by side.

    Attributes:
        X: (n_steps, n_samples, n_features) float64, zeros behind the ends.
        lengths: (n_samples,), or None where all are equally long.
    """

    X: Array
    lengths: Array | None

    @property
    def n_samples(self) -> int:
        return int(self.X.shape[1])

    @property
    def n_features(self) -> int:
        return int(self.X.shape[2])

    @property
    def valid(self) -> Array:
        """(n_steps, n_samples) booleans."""
        n_steps, n_samples = self.X.shape[:2]
        lengths = np.full(n_samples, n_steps) if self.lengths is None else self.lengths
        mask: Array = np.arange(n_steps)[:, None] < lengths
        return mask


def padded(X: Any, owner: str, dtype: str = "float32", n_features: int | None = None) -> Padded:
    """Samples as scikit-learn has them, checked.

    Args:
        X: (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features) of any lengths, 0 among them.
        owner: who asks, for messages.
        dtype: what will be computed in: numbers whose squares it can not hold are refused.
        n_features: how many there are in a list whose sequences are all empty.

    Raises:
        DataError: another shape, no numbers, NaN, infinite or far too large; the message says where.
    """
    if isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        result = _of_list(X, owner, n_features)
    else:
        array = numbers("X", X, np.float64, owner)
        if array.ndim != 3 or not array.shape[2]:
            headline = f"{owner}: X has shape {array.shape}, and must be (n_samples, n_steps, n_features)"
            hint = "a list of arrays (n_steps, n_features) is taken too"
            raise DataError(lay_out(headline, hint=hint))
        result = Padded(np.ascontiguousarray(array.swapaxes(0, 1)), None)
    if not result.n_samples:
        raise DataError(lay_out(f"{owner}: X has no samples"))
    limit = float(np.sqrt(np.finfo(dtype).max))
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(result.X) <= limit)
    if wrong.any():
        sample, step, feature = min((int(i), int(t), int(k)) for t, i, k in np.argwhere(wrong))
        value = result.X[step, sample, feature]
        reason = f"too large for {dtype}" if np.isfinite(value) else "not a finite number"
        raise DataError(lay_out(f"{owner}: X[{sample}][{step}, {feature}] is {value:g}, {reason}"))
    return result


def _of_list(X: Iterable[Any], owner: str, n_features: int | None) -> Padded:
    arrays = [numbers(f"X[{i}]", x, np.float64, owner) for i, x in enumerate(X)]
    n_features = next((a.shape[1] for a in arrays if a.ndim == 2 and a.shape[1]), n_features)
    if not arrays:
        return Padded(np.zeros((0, 0, 1)), None)
    if n_features is None:
        headline = f"{owner}: no sequence in X is (n_steps, n_features)"
        raise DataError(lay_out(headline, hint="for one feature, each sequence is x[:, None]"))
    for i, array in enumerate(arrays):
        if array.shape != (0,) and (array.ndim != 2 or array.shape[1] != n_features):
            raise DataError(lay_out(f"{owner}: X[{i}] has shape {array.shape}, and must be (n_steps, n_features={n_features})"))
    lengths = np.array([len(a) for a in arrays], np.intp)
    result = np.zeros((int(lengths.max()), len(arrays), n_features))
    for i, array in enumerate(arrays):
        result[: len(array), i] = array.reshape(-1, n_features)
    return Padded(result, lengths)


def answers_of_steps(y: Any, samples: Padded, owner: str) -> Array:
    """(n_steps, n_samples, n_targets) float64: an answer for every step, zeros behind the ends.

    Args:
        y: (n_samples, n_steps), (n_samples, n_steps, n_targets), or a list of (n_steps_i,) or (n_steps_i, n_targets).

    Raises:
        DataError: shapes that do not fit X, or what is no finite number.
    """
    n_steps, n_samples = samples.X.shape[:2]
    lengths = [n_steps] * n_samples if samples.lengths is None else samples.lengths.tolist()
    if len(y) != n_samples:
        raise DataError(lay_out(f"{owner}: y has {len(y)} sequences, and X {n_samples}"))
    arrays = [finite(f"y[{i}]", part, owner) for i, part in enumerate(y)]
    n_targets = next((a.shape[1] for a in arrays if a.ndim == 2), 1)
    result = np.zeros((n_steps, n_samples, n_targets))
    for i, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
        if array.shape not in ((length, n_targets), *([(length,)] if n_targets == 1 else [])):
            headline = f"{owner}: y[{i}] has shape {array.shape}, and must have an answer for each of {length} steps"
            raise DataError(lay_out(headline))
        result[:length, i] = array.reshape(length, n_targets)
    return result


def labels_of(y: Any, n_samples: int, owner: str) -> Array:
    """(n_samples,): labels of any kind that can be sorted.

    Raises:
        DataError: another shape, missing labels, or real numbers.
    """
    try:
        labels = np.asarray(y)
    except ValueError:
        raise DataError(lay_out(f"{owner}: y is no array: its rows have different lengths")) from None
    if labels.shape != (n_samples,):
        raise DataError(lay_out(f"{owner}: y has shape {labels.shape}, and must be (n_samples={n_samples},)"))
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.floor(labels)):
        hint = "RecurrentRegressor learns real numbers"
        raise DataError(lay_out(f"{owner}: y holds real numbers, and must hold labels", hint=hint))
    if labels.dtype == object and len({type(label) for label in labels}) > 1:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise DataError(lay_out(f"{owner}: y holds labels of different kinds: {kinds}"))
    return labels


def finite(name: str, value: Any, owner: str) -> Array:
    """An array of finite float64 numbers.

    Raises:
        DataError: it is something else.
    """
    array = numbers(name, value, np.float64, owner)
    if not np.isfinite(array).all():
        place = ", ".join(map(str, np.argwhere(~np.isfinite(array))[0]))
        raise DataError(lay_out(f"{owner}: {name}[{place}] is not a finite number"))
    return array


@dataclass(frozen=True)
class Scale:
    """(value - mean) / deviation, feature by feature; a feature that never changes is only moved."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, rows: Array) -> Scale:
        """What brings rows (n_rows, n_features) to mean 0 and deviation 1."""
        if not len(rows):
            return cls.none(rows.shape[1])
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        return cls(mean, np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0))

    @classmethod
    def none(cls, size: int) -> Scale:
        """What changes nothing."""
        return cls(np.zeros(size), np.ones(size))

    @classmethod
    def of_file(cls, arrays: Mapping[str, Array], name: str, size: int) -> Scale:
        """What was saved as "<name>.mean" and "<name>.deviation".

        Raises:
            FileError: it is missing, of another shape, or no scale.
        """
        mean, deviation = (arrays.get(f"{name}.{part}", np.zeros(0)) for part in ("mean", "deviation"))
        fits = mean.shape == deviation.shape == (size,) and mean.dtype == deviation.dtype == np.float64
        if not fits or not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise FileError(lay_out(f"the file has no `{name}.mean` and `{name}.deviation` of {size} numbers"))
        return cls(mean, deviation)

    def apply(self, values: Array) -> Array:
        scaled: Array = (values - self.mean) / self.deviation
        return scaled

    def undo(self, values: Array) -> Array:
        original: Array = values * self.deviation + self.mean
        return original
