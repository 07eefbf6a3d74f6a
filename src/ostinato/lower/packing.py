"""Panels: the weights of a product stage, packed as plan/tiling.py says."""

from __future__ import annotations

from ..plan.plan import Packing
from ..plan.tiling import Tile, panel_width, tiles_of
from ..plan.views import View
from . import llvm_text as llvm
from .kernel import I8, PTR, VOID, Kernel, Lanes, ModuleContext, i64


def tiles(module: ModuleContext, gates: int, n_panels: int) -> list[Tile]:
    """The tiles for many rows, for a few, and for one; the largest first."""
    return tiles_of(module.target.n_registers, module.target.vector_bytes, gates, n_panels)


def lower_packing(k: Kernel, packing: Packing) -> None:
    """Matrices into panels: for each k, the blocks of neurons side by side, each with the vectors of all its gates.

    Matrices of equal shape share one function, which is told the addresses.
    """
    base = k.base(packing.panels)
    for gate, right in enumerate(packing.rights):
        first = k.b.gep(base, [i64(gate * k.module.vector_bytes)], source_etype=I8)
        k.b.call(_packing(k.module, packing, right), [k.context, k.at_row(right, i64(0)), first])


def _packing(module: ModuleContext, packing: Packing, right: View) -> llvm.Function:
    """A function (context, matrix, where its first vector goes). Behind the last neuron there are zeros."""
    lanes, gates = module.lanes, len(packing.rights)
    n_panels = -(-packing.n // lanes)
    side = panel_width(packing.accumulators, n_panels)
    name = "_".join(map(str, ("pack", packing.k, packing.n, *right.strides, gates, side)))
    found: llvm.Function | None = module.llvm.globals.get(name)
    if found is not None:
        return found
    k = Kernel(module, name, llvm.FunctionType(VOID, [PTR] * 3))
    _, source, base = k.function.args
    vector = llvm.vector(module.number, lanes)
    whole = packing.n // lanes // side  # panels whose blocks are all full

    def one(first: llvm.Value, block: int, blocks: int, part: Lanes) -> None:
        """A block of neurons; `first` is the first block of its panel."""
        with k.loop(i64(0), i64(packing.k)) as at:
            pointer = k.along(source, right, [at, k.times(k.add(first, i64(block)), lanes)], right.strides)
            value = k.load(pointer, module.number, right.strides[1], part)
            place = k.add(k.times(first, packing.k * gates), k.add(k.times(at, blocks * gates), i64(block * gates)))
            k.b.store(value, k.b.gep(base, [place], source_etype=vector), align=module.vector_bytes)

    if whole:
        with k.loop(i64(0), i64(whole * side), side) as first:
            for block in range(side):
                one(first, block, side, Lanes(lanes))
    for panel in range(whole * side, n_panels):
        start = panel // side * side
        rest = min(lanes, packing.n - panel * lanes)
        part = Lanes(lanes) if rest == lanes else Lanes(lanes, k.mask(rest, lanes))
        one(i64(start), panel - start, min(side, n_panels - start), part)
    return k.finish()


def panel_elements(module: ModuleContext, packing: Packing) -> int:
    """The size of packed panels."""
    return -(-packing.n // module.lanes) * module.lanes * packing.k * len(packing.rights)
