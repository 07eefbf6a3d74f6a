"""The shapes of panels and tiles, as numbers: how native code packs weights, and how much it computes side by side.

native/panels.py packs so, native/matrices.py computes so; nothing here needs llvmlite, so that a plan can be told without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .machine import Machine
from .plan import Packing, Plan, Stage

CHUNK = 128  # rows that go through all stages of a phase together
BLOCK = 256  # rows that are summed together, and whose values are kept where only one phase reads them


@dataclass(frozen=True)
class Tile:
    """How many rows and how many blocks of neurons (one vector wide) are computed side by side, each with all its gates."""

    rows: int
    blocks: int


def panel_width(n_registers: int, gates: int, n_blocks: int) -> int:
    """How many blocks of neurons lie side by side in a panel: so many that a step through k reads a few whole cache lines."""
    wide = {1: 4, 2: 2} if n_registers >= 32 else {1: 2}
    return min(n_blocks, wide.get(gates, 1))


def tiles_of(n_registers: int, gates: int, n_blocks: int) -> list[Tile]:
    """The tiles for many rows, for a few, and for one, by the number of vector registers; the largest first."""
    room = 16 if n_registers >= 32 else 10
    most = max(1, min(4, (room + 8) // gates if room == 16 else room // gates))
    side = panel_width(n_registers, gates, n_blocks)
    if gates * n_blocks == 1 and room == 16:
        most = 8  # one vector for each row: as many rows as it takes until the first sum is ready for its next term
    found = []
    for rows in (8, 4, 3, 2, 1):
        if rows == most or (rows < most and rows != 3):
            blocks = max(room // (rows * gates), -(-8 // gates) if rows == 1 else 1)
            found.append(Tile(rows, max(side, min(n_blocks, blocks) // side * side)))
    return found


def stage_tiles(stage: Stage, machine: Machine, dtype: str) -> list[Tile]:
    """The tiles of a product stage; none of another."""
    if stage.product is None:
        return []
    n_blocks = -(-stage.domain[-1] // machine.lanes(dtype))
    return tiles_of(machine.n_registers, len(stage.product.names), n_blocks)


def tile_for(tiles: list[Tile], rows: int) -> Tile:
    """The largest tile that has enough rows."""
    return next((tile for tile in tiles if tile.rows <= rows), tiles[-1])


def packed_bytes(packing: Packing, machine: Machine, dtype: str) -> int:
    """The bytes of packed panels: the last block is filled up with zeros."""
    lanes = machine.lanes(dtype)
    return -(-packing.n // lanes) * lanes * packing.k * len(packing.rights) * (8 if dtype == "f64" else 4)


def panel_bytes(plan: Plan, machine: Machine) -> dict[str, int]:
    """For every packing of a plan by the name of its panels, the bytes."""
    return {p.panels: packed_bytes(p, machine, plan.program.dtype) for p in plan.packings}
