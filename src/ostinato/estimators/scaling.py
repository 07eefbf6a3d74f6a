"""Bringing numbers to mean 0 and deviation 1, feature by feature; what is needed for it gathered in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import FileError, lay_out

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Scale:
    """(value - mean) / deviation, feature by feature; a feature that never changes is only moved."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, blocks: Iterable[tuple[Array, Array | None]], size: int) -> Scale:
        """What brings all rows together to mean 0 and deviation 1.

        Args:
            blocks: rows (n_rows, size), and how often each counts, (n_rows,), or None for once.
            size: how many features there are.

        Means and sums of squares are of float64 and joined block by block (Chan, Golub and LeVeque 1983, "Algorithms for
        computing the sample variance"), so that a large mean costs no digits of the deviation.
        """
        total, mean, squares = 0.0, np.zeros(size), np.zeros(size)
        for rows, weights in blocks:
            count = float(len(rows) if weights is None else weights.sum())
            if not count:
                continue
            values = rows.astype(np.float64, copy=False)
            own = values.mean(axis=0) if weights is None else weights @ values / count
            distances = values - own
            squares += np.einsum("ij,ij->j", distances if weights is None else distances * weights[:, None], distances)
            squares += (own - mean) ** 2 * (total * count / (total + count))
            mean += (own - mean) * (count / (total + count))
            total += count
        if not total:
            return cls.none(size)
        deviation = np.sqrt(squares / total)
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

    @cached_property
    def changes_nothing(self) -> bool:
        return not self.mean.any() and bool((self.deviation == 1).all())

    def apply(self, values: Array) -> Array:
        scaled: Array = (values - self.mean) / self.deviation
        return scaled

    def apply_in_place(self, rows: Array) -> None:
        """The same numbers as `apply`, for float64 rows (n_rows, n * size): n of them side by side."""
        if not self.changes_nothing:
            n = rows.shape[1] // len(self.mean)
            if n > self._longest[0]:  # a large one is made once, and cut: NumPy is fast where rows are long
                self._longest[:] = n, np.tile(self.mean, n), np.tile(self.deviation, n)
            _, mean, deviation = self._longest
            rows -= mean[: rows.shape[1]]
            rows /= deviation[: rows.shape[1]]

    @cached_property
    def _longest(self) -> list[Any]:
        return [0, self.mean[:0], self.deviation[:0]]

    def undo(self, values: Array) -> Array:
        original: Array = values * self.deviation + self.mean
        return original
