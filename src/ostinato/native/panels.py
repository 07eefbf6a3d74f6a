"""Panels: the weights of a product stage, packed as tiling.py says."""

from __future__ import annotations

from ..plan import Packing
from ..tiling import Tile, panel_width, tiles_of
from . import ir
from .emit import Kernel, Lanes, Unit, i64


def width(unit: Unit, gates: int, n_panels: int) -> int:
    """How many blocks of neurons lie side by side in a panel."""
    return panel_width(unit.target.n_registers, gates, n_panels)


def tiles(unit: Unit, gates: int, n_panels: int) -> list[Tile]:
    """The tiles for many rows, for a few, and for one; the largest first."""
    return tiles_of(unit.target.n_registers, gates, n_panels)


def lower_packing(k: Kernel, packing: Packing) -> None:
    """Matrices into panels: for each k, the blocks of neurons side by side, each with the vectors of all its gates.

    Behind the last neuron there are zeros.
    """
    lanes, gates = k.lanes, len(packing.rights)
    n_panels = -(-packing.n // lanes)
    side = width(k.unit, packing.gates, n_panels)
    vector = ir.VectorType(k.unit.number, lanes)
    base = k.base(packing.panels)
    whole = packing.n // lanes // side  # panels whose blocks are all full

    def one(gate: int, first: ir.Value, block: int, blocks: int, part: Lanes) -> None:
        """A block of neurons of one gate; `first` is the first block of its panel."""
        right = packing.rights[gate]
        source = k.at_row(right, i64(0))
        with k.loop(i64(0), i64(packing.k)) as at:
            pointer = k.along(source, right, [at, k.times(k.add(first, i64(block)), lanes)], right.strides)
            value = k.load(pointer, k.unit.number, right.strides[1], part)
            place = k.add(k.times(first, packing.k * gates), k.add(k.times(at, blocks * gates), i64(block * gates + gate)))
            k.b.store(value, k.b.gep(base, [place], source_etype=vector), align=k.unit.target.vector_bytes)

    for gate in range(gates):
        if whole:
            with k.loop(i64(0), i64(whole * side), side) as first:
                for block in range(side):
                    one(gate, first, block, side, Lanes(lanes))
        for panel in range(whole * side, n_panels):
            first_block = panel // side * side
            rest = min(lanes, packing.n - panel * lanes)
            part = Lanes(lanes) if rest == lanes else Lanes(lanes, k.mask(rest, lanes))
            one(gate, i64(first_block), panel - first_block, min(side, n_panels - first_block), part)


def panel_elements(unit: Unit, packing: Packing) -> int:
    """The size of packed panels."""
    return -(-packing.n // unit.lanes) * unit.lanes * packing.k * len(packing.rights)
