"""The shapes of panels and tiles: how native code packs weights, and how much it computes side by side.

A *tile* is what a product computes at a time with all its accumulators in registers: some rows, times some blocks of neurons
(one vector wide), times all accumulators of the stage. A *panel* holds the weights of the blocks that lie side by side: for
each k the vectors that a tile multiplies next, so that it reads memory from beginning to end.

lower/packing.py packs so, lower/matmul.py computes so, and the cost model counts so.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.dtypes import BYTES
from .machine import Machine
from .plan import Packing, Plan
from .stages import Product, Stage
from .views import BufferId

# Rows that go through all stages of a phase before the next rows do, so that what one stage stores the next one finds in the
# cache: 128 rows of 256 float32 values are 128 KiB, which fit a second-level cache beside packed weights. Chosen by trial.
CHUNK = 128
# Rows that are summed into one partial sum, which begins at zero: many rows do not round each small term against a large sum.
# A buffer that only one phase outside the loop reads and writes is as large as one block. Another number would give other bits.
BLOCK = 256


@dataclass(frozen=True)
class Tile:
    """How many rows and how many blocks of neurons (one vector wide) are computed side by side, each with all its gates."""

    rows: int
    blocks: int


def panel_width(gates: int, n_blocks: int) -> int:
    """How many blocks of neurons lie side by side in a panel: so many that a step through k reads a few whole cache lines."""
    return min(n_blocks, {1: 4, 2: 2}.get(gates, 1))


def sums(n_registers: int, vector_bytes: int) -> int:
    """How many accumulators a tile has room for.

    The other registers hold one operand of a step through k, and one vector of the other operand; of SSE2, which has no fused
    multiply-add, the products too. Of 32 registers (AVX-512, NEON) 16 were as fast as more; chosen by trial.
    """
    if n_registers >= 32:
        return 16
    if n_registers < 16:
        return n_registers - 2
    return 12 if vector_bytes > 16 else 10


def tiles_of(n_registers: int, vector_bytes: int, gates: int, n_blocks: int) -> list[Tile]:
    """The tiles for many rows, for a few, and for one, by the number of vector registers; the largest first."""
    many, room = n_registers >= 32, sums(n_registers, vector_bytes)
    side = panel_width(gates, n_blocks)
    most = max(1, min(4, (room + 8) // gates if many else room // (gates * side)))
    if gates * n_blocks == 1 and many:
        most = 8  # one vector for each row: as many rows as it takes until the first sum is ready for its next term
    found = []
    for rows in (8, 4, 3, 2, 1):
        if rows == most or (rows < most and rows != 3):
            blocks = max(room // (rows * gates), 1)
            if rows == 1 and n_registers >= 16:  # enough to fill the units; one row alone is bound by loads, not by registers
                blocks = max(blocks if many else 1, -(-8 // gates))
            found.append(Tile(rows, max(side, min(n_blocks, blocks) // side * side)))
    return found


def stage_tiles(stage: Stage, machine: Machine, dtype: str) -> list[Tile]:
    """The tiles of a product stage; none of another."""
    if not isinstance(stage, Product):
        return []
    n_blocks = -(-stage.domain[-1] // machine.lanes(dtype))
    return tiles_of(machine.n_registers, machine.vector_bytes, len(stage.names), n_blocks)


def tile_for(tiles: list[Tile], rows: int) -> Tile:
    """The largest tile that has enough rows, and no smaller one needs far fewer."""
    fits = [tile for tile in tiles if tile.rows <= rows] or tiles[-1:]
    return next(tile for tile, smaller in zip(fits, [*fits[1:], fits[-1]], strict=True) if not too_many(tile, smaller, rows))


def too_many(tile: Tile, smaller: Tile, rows: int) -> bool:
    """Whether the smaller tile computes less than three quarters of what this one does: its last one is filled up with rows."""
    return 4 * -(-rows // smaller.rows) * smaller.rows < 3 * -(-rows // tile.rows) * tile.rows


def packed_bytes(packing: Packing, machine: Machine, dtype: str) -> int:
    """The bytes of packed panels: the last block is filled up with zeros."""
    lanes = machine.lanes(dtype)
    return -(-packing.n // lanes) * lanes * packing.k * len(packing.rights) * BYTES[dtype]


def panel_bytes(plan: Plan, machine: Machine) -> dict[BufferId, int]:
    """For every packing of a plan by the name of its panels, the bytes."""
    return {p.panels: packed_bytes(p, machine, plan.program.dtype) for p in plan.packings}
