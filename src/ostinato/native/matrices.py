"""Stages with products: register tiles over packed panels, packing, products of two moving matrices, sums over rows.

Every element of a panel product is one accumulator: it begins as its addend, and takes one fused multiply-add for each k, upward. Tiles
only say which elements are computed side by side, so no tile changes a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from llvmlite import ir

from ..plan import Contraction, Packing, Segment, Stage
from ..views import View, collapse
from .emit import I64, PART, PARTS, PTR, VOID, Kernel, Lanes, Unit, i64
from .walks import Addresses, across, load_all, store_all

WORK = 16  # multiply-adds of one turn of the loop over k: short tiles write several steps out


Key = tuple[int, int, int]  # an accumulator: row, panel, gate of a tile


@dataclass(frozen=True)
class Tile:
    """How many rows and how many panels are computed side by side."""

    rows: int
    panels: int


def width(gates: int, n_panels: int) -> int:
    """How many blocks of neurons lie side by side in a panel: so many that a step through k reads a few whole cache lines."""
    return min(n_panels, {1: 4, 2: 2}.get(gates, 1))


def tiles(unit: Unit, gates: int, n_panels: int) -> list[Tile]:
    """The tiles for many rows, for a few, and for one, by the number of vector registers; the largest first."""
    room = 16 if unit.target.n_registers >= 32 else 10
    most = max(1, min(4, (room + 8) // gates if room == 16 else room // gates))
    side = width(gates, n_panels)
    found = []
    for rows in (4, 3, 2, 1):
        if rows == most or (rows < most and rows != 3):
            blocks = max(room // (rows * gates), -(-8 // gates) if rows == 1 else 1)
            found.append(Tile(rows, max(side, min(n_panels, blocks) // side * side)))
    return found


class ProductStage:
    """Writes one product stage: its tiles, and the work before and behind them."""

    def __init__(self, k: Kernel, stage: Stage) -> None:
        assert stage.product is not None
        self.k, self.stage, self.product = k, stage, stage.product
        self.lanes, self.gates = k.lanes, len(stage.product.names)
        self.n = stage.domain[-1]
        self.n_panels = -(-self.n // self.lanes)
        self.vector = ir.VectorType(k.unit.number, self.lanes)
        self.tiles = tiles(k.unit, self.gates, self.n_panels)
        self.width = width(self.gates, self.n_panels)
        self._lead()
        # rows, panels, what stands before and behind the tile is written once, as functions
        self.kind = ir.FunctionType(VOID, [PTR, I64, I64, I64, I64, I64, PTR, *[I64] * len(self.lead_sizes)])
        self.starts = [s for s in self.product.starts if s is not None]
        name = k.function.name
        self.prologue = self._around(f"{name}_start", behind=False) if self.starts else None
        self.epilogue = self._around(f"{name}_end", behind=True)
        self.buffer = k.alloca(self.vector, self.gates * max(t.rows * t.panels for t in self.tiles))
        self.runs = self._runs()

    def _lead(self) -> None:
        """The dimensions in front of the columns: none for a vector per instance."""
        views = [v for v in self.stage.loads.values() if isinstance(v, View)] + [v for _, v in self.stage.stores]
        self.views = list(dict.fromkeys(views))
        lefts = [s.left for s in self.product.segments]
        strides = [v.strides[:-1] for v in self.views] + [v.strides[:-1] for v in lefts]
        self.lead_sizes, collapsed = collapse(self.stage.domain[:-1], strides)
        self.lead = dict(zip(self.views, collapsed[: len(self.views)], strict=True))
        self.left_lead = dict(zip(lefts, collapsed[len(self.views) :], strict=True))

    # --- the loops around the tiles

    def write(self) -> None:
        k = self.k
        self.tables = [self._table(run) if len(run) > 1 else None for run in self.runs]
        if self.lead_sizes:
            count = self.lead_sizes[-1]
            with k.loop(i64(0), k.count) as row, k.nest(self.lead_sizes[:-1]) as lead:
                self._panels(row, lead, i64(count), next(t for t in self.tiles if t.rows <= count))
            return
        self._by_count(self.tiles)

    def _by_count(self, choice: list[Tile]) -> None:
        """The largest tile that has enough rows."""
        k = self.k
        if len(choice) == 1:
            self._panels(i64(0), [], k.count, choice[0])
            return
        with k.b.if_else(k.b.icmp_signed(">=", k.count, i64(choice[0].rows))) as (enough, fewer):
            with enough:
                self._panels(i64(0), [], k.count, choice[0])
            with fewer:
                self._by_count(choice[1:])

    def _panels(self, row: ir.Value, lead: Sequence[ir.Value], count: ir.Value, tile: Tile) -> None:
        k, panels = self.k, tile.panels
        whole, left_over = divmod(self.n_panels, panels)
        place, parts = k.field(PART), k.field(PARTS)
        if whole:
            low, high = k.part(i64(whole), place, parts)
            with k.loop(k.times(low, panels), k.times(high, panels), panels) as panel:
                self._rows(row, lead, count, panel, tile)
        if left_over:
            with k.b.if_then(k.b.icmp_unsigned("==", k.b.add(place, i64(1)), parts)):
                self._rows(row, lead, count, i64(whole * panels), Tile(tile.rows, left_over))

    def _rows(self, row: ir.Value, lead: Sequence[ir.Value], count: ir.Value, panel: ir.Value, tile: Tile) -> None:
        """All rows; the last tile may overlap the one before it, and computes the same numbers there again."""
        k, b = self.k, self.k.b
        last = i64(count.constant - tile.rows) if isinstance(count, ir.Constant) else b.sub(count, i64(tile.rows))
        with k.loop(i64(0), count, tile.rows) as first:
            if tile.rows > 1 and not isinstance(first, ir.Constant):
                first = b.select(b.icmp_signed("<", first, last), first, last)  # noqa: PLW2901
            self._tile(row, lead, first, tile.rows, panel, tile.panels)

    def _runs(self) -> list[list[Segment]]:
        """Segments of one shape that follow each other are one loop."""
        runs: list[list[Segment]] = []
        for segment in self.product.segments:
            if runs and self._shape(runs[-1][0]) == self._shape(segment):
                runs[-1].append(segment)
            else:
                runs.append([segment])
        return runs

    def _shape(self, segment: Segment) -> tuple[object, ...]:
        left = segment.left
        space = self.k.plan.buffers[left.buffer].space
        return segment.k, segment.gates, left.strides[-1], self.k.row_stride(left), space, tuple(self.left_lead[left])

    def _table(self, run: list[Segment]) -> ir.Value:
        """For each segment of a run, the addresses of its left operand and of its panels."""
        k = self.k
        table = k.alloca(PTR, 2 * len(run))
        for i, segment in enumerate(run):
            for j, pointer in enumerate((k.at_row(segment.left, i64(0)), k.base(segment.panels))):
                k.b.store(pointer, k.b.gep(table, [i64(2 * i + j)], source_etype=PTR))
        return table

    # --- one tile

    def _tile(
        self, row: ir.Value, lead: Sequence[ir.Value], first: ir.Value, rows: int, panel: ir.Value, panels: int
    ) -> None:  # fmt: skip
        """Rows first, first + 1, ... against a few panels."""
        k = self.k
        around = [k.context, k.row, k.instance, first if not self.lead_sizes else row, i64(rows), i64(panels), self.buffer]
        indices = [*lead, first] if self.lead_sizes else []
        around += indices
        if self.prologue:
            k.b.call(self.prologue, [*around[:5], self._packed(panel, panels), *around[6:]])
        accumulators = {}
        for place, key in enumerate((i, p, g) for i in range(rows) for p in range(panels) for g in range(self.gates)):
            if self.product.starts[key[2]] is None:
                accumulators[key] = k.number(0.0, k.plan.program.dtype, self.lanes)
            else:
                accumulators[key] = k.b.load(self._slot(place), typ=self.vector, align=64)
        for run, table in zip(self.runs, self.tables, strict=True):
            self._run(run, table, (row, lead, first, rows, panel, panels), accumulators)
        for place, value in enumerate(accumulators.values()):
            k.b.store(value, self._slot(place), align=64)
        k.b.call(self.epilogue, [*around[:5], self._packed(panel, panels), *around[6:]])

    def _packed(self, panel: ir.Value, panels: int) -> ir.Value:
        """The first panel and their number in one argument."""
        return self.k.add(self.k.times(panel, 256), i64(panels))

    def _slot(self, place: int) -> ir.Value:
        return self.k.b.gep(self.buffer, [i64(place)], source_etype=self.vector)

    def _run(
        self, run: list[Segment], table: ir.Value | None, where: tuple[Any, ...], accumulators: dict[Key, ir.Value]
    ) -> None:  # fmt: skip
        """All segments of a run, one after another."""
        k, segment = self.k, run[0]
        keys = [key for key in accumulators if key[2] in segment.gates]
        values = [accumulators[key] for key in keys]
        if table is None:
            values = self._accumulate(segment, k.at_row(segment.left, i64(0)), k.base(segment.panels), where, keys, values)
        else:

            def turn(index: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                left, panels = (
                    k.b.load(k.b.gep(table, [k.add(k.times(index, 2), i64(j))], source_etype=PTR), typ=PTR) for j in (0, 1)
                )  # fmt: skip
                return self._accumulate(segment, left, panels, where, keys, carried)

            values = k.fold(i64(0), i64(len(run)), 1, values, turn)
        accumulators.update(zip(keys, values, strict=True))

    def _accumulate(
        self, segment: Segment, left: ir.Value, base: ir.Value, where: tuple[Any, ...], keys: list[Key], values: list[ir.Value]
    ) -> list[ir.Value]:  # fmt: skip
        """accumulator += left[k] * right[k, :], upward through k."""
        k, gates = self.k, segment.gates
        row, lead, first, n_rows, panel, panels = where
        rows = []
        for i in range(n_rows):
            if self.lead_sizes:
                at = k.step(left, segment.left, k.times(row, k.row_stride(segment.left)))
                here = [*lead, k.add(first, i64(i))]
                rows.append(k.along(at, segment.left, here, self.left_lead[segment.left]))
            else:
                rows.append(k.step(left, segment.left, k.times(k.add(first, i64(i)), k.row_stride(segment.left))))
        number = k.unit.number
        streams = self._streams(base, segment, panel, panels)
        stride = segment.left.strides[-1]


        def turn(at: ir.Value, values: list[ir.Value], steps: int = 1) -> list[ir.Value]:
            new = dict(zip(keys, values, strict=True))
            lefts = [k.b.gep(r, [k.times(at, stride)], source_etype=number) for r in rows]
            weights = [k.b.gep(s, [k.times(at, per_k)], source_etype=number) for s, per_k, _ in streams]
            for step in range(steps):
                here = [k.b.load(_further(k, x, step * stride), typ=number) for x in lefts]
                splats = [k.splat(x, self.lanes) for x in here]
                for pointer, (_, per_k, blocks) in zip(weights, streams, strict=True):
                    for place, (p, g) in enumerate((p, g) for p in blocks for g in gates):
                        where = _further(k, pointer, step * per_k + place * self.lanes)
                        weight = k.b.load(where, typ=self.vector, align=k.unit.target.vector_bytes)
                        for i, x in enumerate(splats):
                            new[i, p, g] = k.fma(x, weight, new[i, p, g])
            return list(new.values())

        unroll = max(1, WORK // len(keys))
        done = segment.k // unroll * unroll if segment.k >= 2 * unroll else 0
        if done:
            values = k.fold(i64(0), i64(done), unroll, values, partial(turn, steps=unroll))
        if segment.k > done:
            values = turn(i64(done), values, segment.k - done)
        return values

    def _streams(
        self, base: ir.Value, segment: Segment, panel: ir.Value, panels: int
    ) -> list[tuple[ir.Value, int, list[int]]]:  # fmt: skip
        """For each panel of a tile: where it begins, how far it goes for a step through k, and its blocks of neurons."""
        k, gates = self.k, len(segment.gates)
        found = []
        for p in range(0, panels, self.width):
            blocks = list(range(p, min(p + self.width, panels)))
            start = k.times(k.add(panel, i64(p)), segment.k * gates * self.lanes)
            pointer = k.b.gep(base, [start], source_etype=k.unit.number)
            found.append((pointer, len(blocks) * gates * self.lanes, blocks))
        return found

    # --- what stands before and behind a tile

    def _around(self, name: str, *, behind: bool) -> ir.Function:
        """A function over the rows and panels of a tile: the starts of its accumulators, or all that follows them."""
        unit = self.k.unit
        inner = Kernel(unit, name, self.kind)
        args = inner.function.args
        inner.row, inner.instance, first, rows, packed, buffer = *args[1:5], args[5], args[6]
        lead = list(args[7:])
        panels, panel = inner.b.and_(packed, i64(255)), inner.b.ashr(packed, i64(8))
        with inner.loop(i64(0), rows) as i:
            row = first if self.lead_sizes else inner.add(first, i)
            here = [*lead[:-1], inner.add(lead[-1], i)] if self.lead_sizes else []
            starts = {v: inner.along(inner.at_row(v, row), v, here, self.lead[v]) for v in self.views}
            with inner.loop(i64(0), panels) as p:
                slot = inner.times(inner.add(inner.b.mul(i, panels), p), self.gates)
                column = inner.times(inner.add(panel, p), self.lanes)
                at = Addresses({v: inner.along(q, v, [column], [v.strides[-1]]) for v, q in starts.items()},
                               {v: v.strides[-1] for v in self.views})  # fmt: skip
                self._one(inner, at, buffer, slot, column, behind=behind)
        return inner.finish()

    def _one(
        self, k: Kernel, at: Addresses, buffer: ir.Value, slot: ir.Value, column: ir.Value, *, behind: bool
    ) -> None:  # fmt: skip
        work = self._behind if behind else self._before
        rest = self.n % self.lanes
        if rest == 0:
            work(k, Lanes(self.lanes), at, buffer, slot)
        elif self.n < self.lanes:
            work(k, Lanes(self.lanes, k.mask(rest, self.lanes)), at, buffer, slot)
        elif k.unit.target.masks:  # one piece of code for all panels: a mask costs nothing here
            work(k, Lanes(self.lanes, k.mask(k.b.sub(i64(self.n), column), self.lanes)), at, buffer, slot)
        else:
            with k.b.if_else(k.b.icmp_signed("<=", column, i64(self.n - self.lanes))) as (whole, part):
                with whole:
                    work(k, Lanes(self.lanes), at, buffer, slot)
                with part:
                    work(k, Lanes(self.lanes, k.mask(rest, self.lanes)), at, buffer, slot)

    def _needed(self) -> set[str]:
        """The nodes that the starts of the accumulators are computed from."""
        needed = set(self.starts)
        for node in reversed(self.stage.nodes):
            if node.value.name in needed and node.value.name not in self.product.names:
                needed.update(a.name for a in node.args)
        return needed

    def _before(self, k: Kernel, lanes: Lanes, at: Addresses, buffer: ir.Value, slot: ir.Value) -> None:
        needed = self._needed()
        nodes = [n for n in self.stage.nodes if n.value.name in needed and n.value.name not in self.product.names]
        read = {a.name for n in nodes for a in n.args} | set(self.starts)
        part = Stage("map", self.stage.domain, tuple(nodes), {n: v for n, v in self.stage.loads.items() if n in read})
        known = load_all(k, part, lanes, at)
        k.compute(nodes, known, self.stage.loads, lanes.n)
        for gate, start in enumerate(self.product.starts):
            if start is None:
                continue
            source = self.stage.loads.get(start)
            value = k.number(source, k.plan.program.dtype, lanes.n) if isinstance(source, float) else known[start]
            place = k.b.gep(buffer, [k.add(slot, i64(gate))], source_etype=self.vector)
            k.b.store(value, place, align=64)

    def _behind(self, k: Kernel, lanes: Lanes, at: Addresses, buffer: ir.Value, slot: ir.Value) -> None:
        nodes = [n for n in self.stage.nodes if n.value.name not in self.product.names]
        read = {a.name for n in nodes for a in n.args}
        part = Stage("map", self.stage.domain, loads={n: v for n, v in self.stage.loads.items() if n in read})
        known = load_all(k, part, lanes, at)
        for gate, name in enumerate(self.product.names):
            place = k.b.gep(buffer, [k.add(slot, i64(gate))], source_etype=self.vector)
            known[name] = k.b.load(place, typ=self.vector, align=64)
        k.compute(nodes, known, self.stage.loads, lanes.n)
        store_all(k, self.stage, known, lanes, at)


def _further(k: Kernel, pointer: ir.Value, elements: int) -> ir.Value:
    return k.b.gep(pointer, [i64(elements)], source_etype=k.unit.number) if elements else pointer


def lower_packing(k: Kernel, packing: Packing) -> None:
    """Matrices into panels: for each k, the blocks of neurons side by side, each with the vectors of all its gates; zeros behind the last."""
    lanes, gates = k.lanes, len(packing.rights)
    n_panels = -(-packing.n // lanes)
    side = width(packing.gates, n_panels)
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


def lower_contraction(k: Kernel, contraction: Contraction) -> None:
    """A product of two matrices of each instance: columns side by side in a vector, or one dot product after another."""
    left, right, target = contraction.left, contraction.right, contraction.target
    *stack, m, n = target.sizes
    contracted = left.sizes[-1]
    number = k.unit.number
    dots = left.strides[-1] == 1 and right.strides[-2] == 1 and right.strides[-1] != 1 and contracted >= k.lanes
    slot = k.alloca(k.vector(number, k.lanes))

    def vectors(a: ir.Value, b: ir.Value, c: ir.Value, lanes: Lanes) -> None:
        kind = k.vector(number, lanes.n)
        k.b.store(k.number(0.0, k.plan.program.dtype, lanes.n), slot)
        with k.loop(i64(0), i64(contracted)) as at:
            x = k.splat(k.b.load(k.along(a, left, [at], left.strides[-1:]), typ=number), lanes.n)
            w = k.load(k.along(b, right, [at], right.strides[-2:-1]), number, right.strides[-1], lanes)
            k.b.store(k.fma(x, w, k.b.load(slot, typ=kind)), slot)
        k.store(k.b.load(slot, typ=kind), c, number, target.strides[-1], lanes)

    def dot(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        kind = k.vector(number, k.lanes)
        k.b.store(k.number(0.0, k.plan.program.dtype, k.lanes), slot)
        whole = contracted // k.lanes * k.lanes

        def part(at: ir.Value, lanes: Lanes) -> None:
            x = k.load(k.along(a, left, [at], [1]), number, 1, lanes)
            w = k.load(k.along(b, right, [at], [1]), number, 1, lanes)
            k.b.store(k.fma(x, w, k.b.load(slot, typ=kind)), slot)

        with k.loop(i64(0), i64(whole), k.lanes) as at:
            part(at, Lanes(k.lanes))
        if contracted > whole:
            part(i64(whole), Lanes(k.lanes, k.mask(contracted - whole, k.lanes)))
        k.store(across(k, "sum", k.b.load(slot, typ=kind), k.lanes), c, number, 1, Lanes(1))

    with k.loop(i64(0), k.count) as row:
        pointers = {v: k.at_row(v, row) for v in (left, right, target)}
        with k.nest(stack) as where, k.loop(i64(0), i64(m)) as i:
            a = k.along(pointers[left], left, [*where, i], left.strides[:-1])
            b = k.along(pointers[right], right, where, right.strides[:-2])
            c = k.along(pointers[target], target, [*where, i], target.strides[:-1])
            if dots:
                with k.loop(i64(0), i64(n)) as j:
                    dot(a, k.along(b, right, [j], right.strides[-1:]), k.along(c, target, [j], target.strides[-1:]))
                return
            whole = n // k.lanes * k.lanes
            if n == 1:
                vectors(a, b, c, Lanes(1))
                return
            if whole:
                with k.loop(i64(0), i64(whole), k.lanes) as j:
                    vectors(a, k.along(b, right, [j], right.strides[-1:]), k.along(c, target, [j], target.strides[-1:]), Lanes(k.lanes))
            if n > whole:
                j = i64(whole)
                vectors(a, k.along(b, right, [j], right.strides[-1:]), k.along(c, target, [j], target.strides[-1:]),
                        Lanes(k.lanes, k.mask(n - whole, k.lanes)))  # fmt: skip
