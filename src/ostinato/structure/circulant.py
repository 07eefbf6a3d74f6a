"""Block-circulant matrices: k x k blocks of which one vector is stored (Wang, Li, Ding et al. 2018, C-LSTM, arXiv 1803.06305).

In the row-vector convention of Ostinato, y = x W:

    W[k p + r, k q + a] = w[(r - a) mod k, p, q]        so  w[:, p, q] is the first column of block (p, q) of W
    y[k q + a] = sum over p and j of  x[k p + (a + j) mod k] w[j, p, q]                (a circular correlation)
    W = sum over j of  w[j] (Kronecker) P^j, where P shifts cyclically

This is the matrix of the paper's figure 2, whose blocks are W x with the first row stored and each further row rotated to
the right: W in `W x` is the transpose of W in `x W`, and its first row is our first column. The paper's formula for the
product, F^-1[F(w) F(x)], is a circular convolution, where w is the first column in `W x`: the authors' code stores that
one. The two differ by the order of j: w[0], w[k-1], ..., w[1].

Stored: (k, rows / k, columns / k). What k does not divide is padded by zeros, each part of a stacked dimension by itself, and
the outputs that are too many are dropped (153 inputs become 160, as in the paper).

Two ways to multiply, by parts of p = rows / k and q = columns / k:

* direct: the k windows of the doubled x form a matrix (k, k p), which multiplies w as a (k p, q) matrix: k k p q multiply-adds,
  as many as a dense product, while each stored number is read once for k of them;
* by the Fourier transform along j: Y_f = X_f conj(W_f) for each frequency f, a product (p) (p, q) for the one or two real
  frequencies and, with the real and the imaginary part as numbers, a product (2, 2 p) (2 p, q) for the others. w is transformed
  once per assignment of weights, x once for all matrices that it is multiplied by, and the sum over p is taken before the one
  inverse transform (the paper's "decoupling"). For k = 8: 14 p q multiply-adds instead of 64 p q.

"automatic" takes the transform for every k from 2 on. By counting, its 2 k k p + k k q multiply-adds for the transforms do
not pay where a matrix has few blocks; but the direct product then has few columns, and vectors that are mostly empty.
Measured in native code (LSTMs of 32 to 512 neurons, 1 and 16 instances; the paper's with 1024), the transform was the
faster one at every size: from 1.2 times at k = 2 to 4 times at k = 16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin
from typing import Any, ClassVar

import numpy as np

from ..calls import answering
from ..errors import OptionError, known_names, lay_out
from ..ir import ops
from ..ir.shapes import Dim
from .base import Array, Constants, Parts, Structure, check_block, starts_of

METHODS = ("automatic", "direct", "fft")


@dataclass(frozen=True)
class BlockCirculant(Structure):
    """Blocks of `block` x `block`, each circulant: `block` times fewer numbers. See the module for the equations.

    Args:
        block: k, the size of a block; 1 is a dense matrix.
        method: "direct", "fft", or "automatic": fft for every k from 2 on.

    >>> import numpy as np
    >>> BlockCirculant(3).dense(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1))
    array([[1., 3., 2.],
           [2., 1., 3.],
           [3., 2., 1.]])
    """

    block: int
    method: str = "automatic"

    equation: ClassVar[str] = "y[q, a] = Σ_p Σ_j x[p, (a + j) mod k] W[j, p, q]"

    def __post_init__(self) -> None:
        check_block("BlockCirculant", "block", self.block)
        if self.method not in METHODS:
            known = known_names(str(self.method), METHODS, "methods")
            raise OptionError(lay_out(f"BlockCirculant: there is no method `{self.method}`; {known}"))

    # --- numbers

    def misfit(self, rows: Parts, columns: Parts) -> str:
        del rows, columns
        return ""  # what k does not divide is padded

    def blocks(self, parts: Parts) -> Parts:
        """The number of blocks of each part."""
        return tuple(-(-n // self.block) for n in parts)

    def kept(self, parts: Parts) -> Array:
        """Where the elements of a dimension lie among the padded ones."""
        starts = starts_of(self.blocks(parts))
        return np.concatenate([self.block * start + np.arange(n) for start, n in zip(starts, parts, strict=False)])

    def stored_shape(self, rows: Parts, columns: Parts) -> tuple[int, ...]:
        return self.block, sum(self.blocks(rows)), sum(self.blocks(columns))

    def sizes_of(self, stored_shape: tuple[int, ...]) -> tuple[int, int]:
        _, p, q = stored_shape
        return self.block * p, self.block * q

    def rows_of(self, rows: Parts, part: int) -> tuple[Any, ...]:
        starts = starts_of(self.blocks(rows))
        return slice(None), slice(starts[part], starts[part + 1])

    def _shift(self) -> Array:
        """[r, a] -> j."""
        return (np.arange(self.block)[:, None] - np.arange(self.block)) % self.block

    def spread(self, stored: Array, rows: Parts, columns: Parts) -> Array:
        k, p, q = stored.shape
        whole = stored[self._shift()].transpose(2, 0, 3, 1).reshape(k * p, k * q)  # (r, a, p, q) -> (p, r, q, a)
        return whole[self.kept(rows)][:, self.kept(columns)]

    def _blocks_of(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        """(r, a, p, q), with zeros where it is padded."""
        k, p, q = self.stored_shape(rows, columns)
        whole = np.zeros((k * p, k * q), dense.dtype)
        whole[np.ix_(self.kept(rows), self.kept(columns))] = dense
        return whole.reshape(p, k, q, k).transpose(1, 3, 0, 2)

    def total(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        total = np.zeros(self.stored_shape(rows, columns), dense.dtype)
        np.add.at(total, self._shift(), self._blocks_of(dense, rows, columns))
        return total

    def defining(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        """The first columns of the blocks; where padding cuts one short, the element of another column."""
        blocks = self._blocks_of(dense, rows, columns)
        there = self._blocks_of(np.ones_like(dense), rows, columns)
        found = np.zeros(self.stored_shape(rows, columns), dense.dtype)
        for a in reversed(range(self.block)):  # the first column last, so that it stands
            place = (np.arange(self.block) - a) % self.block
            found[place] = np.where(there[:, a] > 0, blocks[:, a], found[place])
        return found

    def orthogonal(self, rows: Parts, columns: Parts, generator: np.random.Generator) -> Array:
        """Of each frequency the nearest orthogonal (unitary) matrix: so the whole is orthogonal, up to padding."""
        gaussian = generator.standard_normal(self.stored_shape(rows, columns))
        left, _, right = np.linalg.svd(np.fft.rfft(gaussian, axis=0), full_matrices=False)
        return np.fft.irfft(left @ right, self.block, axis=0)

    # --- counting

    @property
    def n_real(self) -> int:
        """Frequencies whose transform is real: 0, and k / 2 where that is whole."""
        return 1 + (self.block % 2 == 0)

    @property
    def n_complex(self) -> int:
        return (self.block - self.n_real) // 2

    def chosen(self, rows: Parts, columns: Parts) -> str:
        """The method for a matrix: "direct" or "fft"."""
        del rows, columns  # of every size that was measured, the transform is the faster one
        if self.block == 1:
            return "direct"
        return "direct" if self.method == "direct" else "fft"

    def counted(self, method: str, rows: Parts, columns: Parts) -> int:
        """The multiply-adds of one product of a vector with a matrix; that of the weights' transform is not counted."""
        k, p, q = self.stored_shape(rows, columns)
        if method == "direct":
            return k * k * p * q
        left = self.n_real + 4 * self.n_complex
        return k * left * p + left * p * q + k * k * q

    def multiply_adds(self, rows: Parts, columns: Parts) -> int:
        return self.counted(self.chosen(rows, columns), rows, columns)

    # --- products, in ops

    def product(self, x: Any, stored: Any, rows: Parts, columns: Parts, constants: Constants) -> Any:
        fourier = self.chosen(rows, columns) == "fft"
        lead, k = x.shape[:-1], self.block
        pieces = list(self._pieces(x, stored, rows))
        if fourier:
            y = self._by_frequencies(pieces, constants)
        else:
            y = ops.transpose(self._by_windows(pieces), _last_two_turned(len(lead) + 2))
        padded = ops.reshape(y, *lead, k * sum(self.blocks(columns)))
        starts = starts_of(self.blocks(columns))
        parts = [padded[..., k * start : k * start + n] for start, n in zip(starts, columns, strict=False)]
        return ops.concat(*parts)

    def _pieces(self, x: Any, stored: Any, rows: Parts) -> Iterator[tuple[Any, Any]]:
        """For each part of the rows: x as (..., p, k), padded, and what is stored of the part, (k, p, q)."""
        lead, k = x.shape[:-1], self.block
        for part, (a, b) in enumerate(pairwise(starts_of(rows))):
            piece, p = x[..., a:b], -(-(b - a) // k)
            if b - a < k * p:
                zeros = (Dim.number(0),) * (len(lead) + 1)
                whole = tuple(map(Dim.number, (*lead, k * p)))
                piece = ops.pad(piece, zeros, (*whole[:-1], Dim.number(b - a)), (1,) * len(zeros), whole)
            yield ops.reshape(piece, *lead, p, k), stored[self.rows_of(rows, part)]

    def _by_windows(self, pieces: list[tuple[Any, Any]]) -> Any:
        """(..., k, q): row a is the window of the doubled x that begins at a, times all weights."""
        total = None
        for x, weights in pieces:
            *lead, p, k = x.shape
            turned = ops.transpose(x, _last_two_turned(len(lead) + 2))  # (..., k, p): a window is k p numbers in a row
            doubled = ops.concat(turned, turned[..., : k - 1, :], axis=-2) if k > 1 else turned
            windows = ops.patches(doubled, (*(1 for _ in lead), k))  # (..., k, k p)
            term = windows @ ops.reshape(weights, k * p, weights.shape[-1])
            total = term if total is None else total + term
        return total

    def _by_frequencies(self, pieces: list[tuple[Any, Any]], constants: Constants) -> Any:
        """(..., q, k): the transform, a product for each frequency, and back."""
        there, weights_there, back = _transforms(self, constants)
        n_real, k, q = self.n_real, self.block, pieces[0][1].shape[-1]
        lead = pieces[0][0].shape[:-2]
        sums: list[Any] = [None] * (n_real + self.n_complex)
        for x, weights in pieces:
            p = weights.shape[1]
            turned = ops.transpose(x @ there, _last_two_turned(len(lead) + 2))  # (..., left, p)
            spectrum = ops.reshape(turned, *lead, turned.shape[-2] * p)  # so that every part of it lies in one piece
            weight_spectrum = ops.reshape(weights_there @ ops.reshape(weights, k, p * q), k, p, q)
            constants.name(spectrum, "spectrum")
            constants.name(weight_spectrum, "weight_spectrum")
            for f in range(len(sums)):
                first, row = (f, f) if f < n_real else (n_real + 4 * (f - n_real), n_real + 2 * (f - n_real))
                n = 1 if f < n_real else 2  # its numbers: the real part, or both
                left = ops.reshape(spectrum[..., first * p : (first + n * n) * p], *lead, n, n * p)
                term = left @ ops.reshape(weight_spectrum[row : row + n], n * p, q)
                sums[f] = term if sums[f] is None else sums[f] + term
        columns = [ops.transpose(each, _last_two_turned(len(lead) + 2)) for each in sums]  # (..., q, 1 or 2)
        return ops.concat(*columns, axis=-1) @ back

    def transposed(self, stored: Any, rows: Parts, columns: Parts) -> Any:
        """The blocks change places, and in each the vector is read against itself: w[0], w[k-1], ..., w[1]."""
        del rows, columns
        turned = ops.transpose(stored, (-3, -1, -2))
        return ops.concat(*(turned[(-j) % self.block : (-j) % self.block + 1] for j in range(self.block)), axis=-3)


BlockCirculant.__init__ = answering(BlockCirculant.__init__)  # type: ignore[method-assign]


def _last_two_turned(rank: int) -> tuple[int, ...]:
    return (*range(-rank, -2), -1, -2)


def _transforms(structure: BlockCirculant, constants: Constants) -> tuple[Any, Any, Any]:
    """The real matrices of the Fourier transform of k numbers.

    Returns:
        (k, left) for x: for a real frequency its number; for another [Re, Im, Im, -Re], the rows [Re Im] and [Im -Re] of the
            left operand;
        (k, k) for w, whose rows are Re or [Re, Im]: a right operand is w's transform, one above the other. So the two rows of a
            product are Re and Im of X conj(W);
        (k, k) back: from [Re] and [Re, Im] of every frequency to the k numbers.
    """
    k, n_real = structure.block, structure.n_real
    key = "fourier", k
    if key not in constants.made:
        forth = _rows_of_transform(k, constants)
        left = [forth[:n_real]]
        for row in range(n_real, k, 2):
            re, im = forth[row : row + 1], forth[row + 1 : row + 2]
            left += [re, im, im, -re]
        scaled = ops.concat(forth[:n_real] * (1 / k), forth[n_real:] * (2 / k), axis=0) if k > n_real else forth * (1 / k)
        constants.made[key] = ops.transpose(ops.concat(*left, axis=0)), forth, scaled
        for value, name in zip(constants.made[key], ("fourier_x", "fourier_W", "fourier_y"), strict=True):
            constants.name(value, name)
    found: tuple[Any, Any, Any] = constants.made[key]
    return found


def _rows_of_transform(k: int, constants: Constants) -> Any:
    """(k, k): cos(2 pi j f / k) for the real frequencies; then, for each other one, that and -sin(2 pi j f / k).

    Every row is made of two tables of k numbers, read with a step of f: so that a graph holds few numbers.
    """
    angles = [2 * pi * j / k for j in range(k)]
    tables = [[cos(angle) for angle in angles], [-sin(angle) for angle in angles]]
    repeated = [ops.concat(*[constants.vector([_rounded(n) for n in table])] * max(1, k // 2)) for table in tables]
    rows = [constants.vector([1.0] * k)]
    if k % 2 == 0:
        rows.append(constants.vector([1.0, -1.0] * (k // 2)))
    for f in range(1, (k + 1) // 2):
        rows += [table[: f * (k - 1) + 1 : f] for table in repeated]
    return ops.concat(*(ops.reshape(row, 1, k) for row in rows), axis=0)


def _rounded(number: float) -> float:
    """sin(pi) is 0, and 0 has no sign."""
    return number if abs(number) > 1e-15 else 0.0
