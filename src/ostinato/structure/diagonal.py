"""Block-diagonal and diagonal matrices: what is not stored is zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

import numpy as np

from ..calls import answering
from ..initialise import Orthogonal
from ..ir import ops
from .base import Array, Constants, Parts, Structure, check_block, starts_of


@cache
def _places(parts: Parts, count: int) -> Array:
    """For each element of a dimension whose parts are cut into `count` blocks, its place in the order (block, part, place)."""
    width = [n // count for n in parts]
    starts = starts_of(width)
    found = [block * sum(width) + starts[i] + at for i, w in enumerate(width) for block in range(count) for at in range(w)]
    return np.array(found)


@dataclass(frozen=True)
class BlockDiagonal(Structure):
    """`blocks` equal blocks along the diagonal, zeros elsewhere: y[b] = x[b] W[b] for each block b.

    One block per head is the recurrent matrix of sLSTM (Beck et al. 2024, arXiv 2405.04517). Every part of a stacked dimension
    is cut into `blocks` by itself and must divide. Stored: (blocks, rows / blocks, columns / blocks).

    >>> BlockDiagonal(2).stored_shape((6,), (4,))
    (2, 3, 2)
    """

    blocks: int

    equation: ClassVar[str] = "y[b, a] = Σ_i x[b, i] W[b, i, a]"

    def __post_init__(self) -> None:
        check_block("BlockDiagonal", "blocks", self.blocks)

    def misfit(self, rows: Parts, columns: Parts) -> str:
        for what, parts in (("rows", rows), ("columns", columns)):
            for part in parts:
                if part % self.blocks:
                    return f"{part} {what} can not be cut into {self.blocks} equal blocks"
        return ""

    def stored_shape(self, rows: Parts, columns: Parts) -> tuple[int, ...]:
        return self.blocks, sum(rows) // self.blocks, sum(columns) // self.blocks

    def sizes_of(self, stored_shape: tuple[int, ...]) -> tuple[int, int]:
        _, m, n = stored_shape
        return self.blocks * m, self.blocks * n

    def rows_of(self, rows: Parts, part: int) -> tuple[Any, ...]:
        starts = starts_of([n // self.blocks for n in rows])
        return slice(None), slice(starts[part], starts[part + 1])

    def spread(self, stored: Array, rows: Parts, columns: Parts) -> Array:
        whole = np.zeros((self.blocks, stored.shape[1], self.blocks, stored.shape[2]), stored.dtype)
        for block in range(self.blocks):
            whole[block, :, block] = stored[block]
        m, n = sum(rows), sum(columns)
        # in the order (block, part, place) first, then in that of the matrix
        return whole.reshape(m, n)[_places(rows, self.blocks)][:, _places(columns, self.blocks)]

    def total(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        m, n = sum(rows), sum(columns)
        ordered = np.empty_like(dense)
        ordered[np.ix_(_places(rows, self.blocks), _places(columns, self.blocks))] = dense
        whole = ordered.reshape(self.blocks, m // self.blocks, self.blocks, n // self.blocks)
        return np.stack([whole[block, :, block] for block in range(self.blocks)])

    def defining(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        return self.total(dense, rows, columns)

    def orthogonal(self, rows: Parts, columns: Parts, generator: np.random.Generator) -> Array:
        blocks, m, n = self.stored_shape(rows, columns)
        return np.stack([Orthogonal().draw((m, n), generator) for _ in range(blocks)])

    def multiply_adds(self, rows: Parts, columns: Parts) -> int:
        return prod(self.stored_shape(rows, columns))

    def product(self, x: Any, stored: Any, rows: Parts, columns: Parts, constants: Constants) -> Any:
        del constants
        lead, h = x.shape[:-1], self.blocks
        total = None
        for part, (a, b) in enumerate(pairwise(starts_of(rows))):
            left = ops.reshape(x[..., a:b], *lead, h, 1, (b - a) // h)
            term = left @ stored[self.rows_of(rows, part)]  # (..., h, 1, columns / h): a batched product
            total = term if total is None else total + term
        together = ops.reshape(total, *lead, h, sum(columns) // h)
        ends = starts_of([n // h for n in columns])
        parts = [together[..., a:b] for a, b in pairwise(ends)]
        return ops.concat(*(ops.reshape(p, *lead, n) for p, n in zip(parts, columns, strict=True)))

    def transposed(self, stored: Any, rows: Parts, columns: Parts) -> Any:
        del rows, columns
        return ops.transpose(stored, (-3, -1, -2))


BlockDiagonal.__init__ = answering(BlockDiagonal.__init__)  # type: ignore[method-assign]


@dataclass(frozen=True)
class Diagonal(Structure):
    """Numbers on the diagonal, zeros elsewhere: y[i] = x[i] w[i], as the recurrent weights of IndRNN
    (Li et al. 2018, arXiv 1803.04831).

    The matrix is square; stacked columns ("4*n_neurons") are several square matrices side by side. Stored: (columns,).

    >>> Diagonal().dense([2.0, 3.0], 2, 2)
    array([[2., 0.],
           [0., 3.]])
    """

    equation: ClassVar[str] = "y[i] = x[i] w[i]"

    def misfit(self, rows: Parts, columns: Parts) -> str:
        if len(rows) != 1 or set(columns) != set(rows):
            shown = [" + ".join(map(str, parts)) for parts in (rows, columns)]
            return f"a diagonal matrix is square, and this one has {shown[0]} rows and {shown[1]} columns"
        return ""

    def stored_shape(self, rows: Parts, columns: Parts) -> tuple[int, ...]:
        del rows
        return (sum(columns),)

    def sizes_of(self, stored_shape: tuple[int, ...]) -> tuple[int, int]:
        (n,) = stored_shape
        return n, n

    def rows_of(self, rows: Parts, part: int) -> tuple[Any, ...]:
        del rows, part
        return (slice(None),)

    def spread(self, stored: Array, rows: Parts, columns: Parts) -> Array:
        del rows
        return np.concatenate([np.diag(part) for part in np.split(stored, len(columns))], axis=1)

    def total(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        del rows
        return np.concatenate([np.diag(part) for part in np.split(dense, len(columns), axis=1)])

    def defining(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        return self.total(dense, rows, columns)

    def orthogonal(self, rows: Parts, columns: Parts, generator: np.random.Generator) -> Array:
        return generator.choice([-1.0, 1.0], self.stored_shape(rows, columns))

    def multiply_adds(self, rows: Parts, columns: Parts) -> int:
        return prod(self.stored_shape(rows, columns))

    def product(self, x: Any, stored: Any, rows: Parts, columns: Parts, constants: Constants) -> Any:
        del rows, constants
        return ops.concat(*(x for _ in columns)) * stored

    def transposed(self, stored: Any, rows: Parts, columns: Parts) -> Any:
        del rows, columns
        return stored
