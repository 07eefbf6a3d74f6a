"""Product stages: register tiles over packed panels.

Every element of a panel product is one accumulator: it begins as its addend, and takes one fused multiply-add for each k,
upward. Tiles only say which elements are computed side by side, so no tile changes a bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ..plan.stages import Product, Segment
from ..plan.tiling import Tile, panel_width, tile_for, too_many
from ..plan.views import View, collapse
from . import llvm_text as llvm
from .context import Field
from .elementwise import Addresses, load_all, store_all
from .kernel import I64, PTR, VOID, Kernel, Lanes, i64
from .packing import tiles

WORK = 16  # multiply-adds of one turn of the loop over k: short tiles write several steps out

Key = tuple[int, int, int]  # an accumulator: row, panel, gate of a tile
Where = tuple[
    llvm.Value, Sequence[llvm.Value], llvm.Value, int, llvm.Value, int
]  # row, lead indices, first row, rows, panel, panels


class ProductStage:
    """Writes one product stage: its tiles, and the work before and behind them."""

    def __init__(self, k: Kernel, stage: Product) -> None:
        self.k, self.stage = k, stage
        self.lanes, self.gates = k.lanes, len(stage.names)
        self.n = stage.domain[-1]
        self.n_panels = -(-self.n // self.lanes)
        self.vector = llvm.vector(k.module.number, self.lanes)
        self.tiles = tiles(k.module, self.gates, self.n_panels)
        self.width = panel_width(self.gates, self.n_panels)
        self._lead()
        # rows, panels, what stands before and behind the tile is written once, as functions
        self.kind = llvm.FunctionType(VOID, [PTR, I64, I64, I64, I64, I64, PTR, *[I64] * len(self.lead_sizes)])
        self.starts = [s for s in self.stage.starts if s is not None]
        name = k.function.name
        self.prologue = self._around(f"{name}_start", behind=False) if self.starts else None
        self.epilogue = self._around(f"{name}_end", behind=True)
        self.buffer = k.alloca(self.vector, self.gates * max(t.rows * t.blocks for t in self.tiles))
        self.runs = self._runs()

    def _lead(self) -> None:
        """The dimensions in front of the columns: none for a vector per instance."""
        self.views = list(dict.fromkeys((*self.stage.loaded, *self.stage.writes)))
        lefts = [s.left for s in self.stage.segments]
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
                self._panels(row, lead, i64(count), tile_for(self.tiles, count))
            return
        self._by_count(self.tiles)

    def _by_count(self, choice: list[Tile]) -> None:
        """What `tile_for` says, of a number of rows that is known when it runs."""
        k = self.k
        if len(choice) == 1:
            self._panels(i64(0), [], k.count, choice[0])
            return
        tile, smaller = choice[:2]
        enough_rows = k.b.icmp_signed(">=", k.count, i64(tile.rows))
        for rows in range(tile.rows, tile.rows * smaller.rows):  # beyond, the last tile is a small part of all
            if too_many(tile, smaller, rows):
                enough_rows = k.b.and_(enough_rows, k.b.icmp_signed("!=", k.count, i64(rows)))
        with k.b.if_else(enough_rows) as (enough, fewer):
            with enough:
                self._panels(i64(0), [], k.count, choice[0])
            with fewer:
                self._by_count(choice[1:])

    def _panels(self, row: llvm.Value, lead: Sequence[llvm.Value], count: llvm.Value, tile: Tile) -> None:
        k, panels = self.k, tile.blocks
        whole, left_over = divmod(self.n_panels, panels)
        place, parts = k.field(Field.PART), k.field(Field.PARTS)
        if whole:
            low, high = (k.times(end, panels) for end in k.part(i64(whole), place, parts))
            turned, both = k.b.icmp_unsigned("!=", k.field(Field.SWEEP), i64(0)), k.b.sub(k.add(low, high), i64(panels))
            with k.loop(low, high, panels) as index:
                self._rows(row, lead, count, k.b.select(turned, k.b.sub(both, index), index), tile)
        if left_over:
            with k.b.if_then(k.b.icmp_unsigned("==", k.b.add(place, i64(1)), parts)):
                self._rows(row, lead, count, i64(whole * panels), Tile(tile.rows, left_over))

    def _rows(self, row: llvm.Value, lead: Sequence[llvm.Value], count: llvm.Value, panel: llvm.Value, tile: Tile) -> None:
        """All rows; the last tile may overlap the one before it, and computes the same numbers there again."""
        k, b = self.k, self.k.b
        if tile.rows == 3 and not isinstance(count, llvm.Constant):  # of 8 rows it would compute 9: the last two by themselves
            whole = b.mul(b.udiv(count, i64(3)), i64(3))
            with k.loop(i64(0), whole, 3) as first:
                self._tile(row, lead, first, 3, panel, tile.blocks)
            with b.if_then(b.icmp_signed("<", whole, count)):
                self._tile(row, lead, b.sub(count, i64(2)), 2, panel, tile.blocks)
            return
        last = i64(count.constant - tile.rows) if isinstance(count, llvm.Constant) else b.sub(count, i64(tile.rows))
        with k.loop(i64(0), count, tile.rows) as first:
            if tile.rows > 1 and not isinstance(first, llvm.Constant):
                first = b.select(b.icmp_signed("<", first, last), first, last)  # noqa: PLW2901
            self._tile(row, lead, first, tile.rows, panel, tile.blocks)

    def _runs(self) -> list[list[Segment]]:
        """Segments of one shape that follow each other are one loop."""
        runs: list[list[Segment]] = []
        for segment in self.stage.segments:
            if runs and self._shape(runs[-1][0]) == self._shape(segment):
                runs[-1].append(segment)
            else:
                runs.append([segment])
        return runs

    def _shape(self, segment: Segment) -> tuple[object, ...]:
        left = segment.left
        space = self.k.plan.buffers[left.buffer].space
        placed = left if left.buffer in self.k.module.placed else None  # its rows are looked up, not counted from an address
        return (
            segment.k,
            segment.accumulators,
            left.strides[-1],
            self.k.row_stride(left),
            space,
            tuple(self.left_lead[left]),
            placed,
        )

    def _table(self, run: list[Segment]) -> llvm.Value:
        """For each segment of a run, the addresses of its left operand and of its panels."""
        k = self.k
        table = k.alloca(PTR, 2 * len(run))
        for i, segment in enumerate(run):
            for j, pointer in enumerate((k.at_row(segment.left, i64(0)), k.base(segment.panels))):
                k.b.store(pointer, k.b.gep(table, [i64(2 * i + j)], source_etype=PTR))
        return table

    # --- one tile

    def _tile(
        self, row: llvm.Value, lead: Sequence[llvm.Value], first: llvm.Value, rows: int, panel: llvm.Value, panels: int
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
            if self.stage.starts[key[2]] is None:
                accumulators[key] = k.number(0.0, k.plan.program.dtype, self.lanes)
            else:
                accumulators[key] = k.b.load(self._slot(place), typ=self.vector, align=64)
        for run, table in zip(self.runs, self.tables, strict=True):
            self._run(run, table, (row, lead, first, rows, panel, panels), accumulators)
        for place, value in enumerate(accumulators.values()):
            k.b.store(value, self._slot(place), align=64)
        k.b.call(self.epilogue, [*around[:5], self._packed(panel, panels), *around[6:]])

    def _packed(self, panel: llvm.Value, panels: int) -> llvm.Value:
        """The first panel and their number in one argument."""
        return self.k.add(self.k.times(panel, 256), i64(panels))

    def _slot(self, place: int) -> llvm.Value:
        return self.k.b.gep(self.buffer, [i64(place)], source_etype=self.vector)

    def _run(
        self, run: list[Segment], table: llvm.Value | None, where: Where, accumulators: dict[Key, llvm.Value]
    ) -> None:  # fmt: skip
        """All segments of a run, one after another."""
        k, segment = self.k, run[0]
        keys = [key for key in accumulators if key[2] in segment.accumulators]
        values = [accumulators[key] for key in keys]
        if table is None:
            values = self._accumulate(segment, k.at_row(segment.left, i64(0)), k.base(segment.panels), where, keys, values)
        else:

            def turn(index: llvm.Value, carried: list[llvm.Value]) -> list[llvm.Value]:
                left, panels = (
                    k.b.load(k.b.gep(table, [k.add(k.times(index, 2), i64(j))], source_etype=PTR), typ=PTR) for j in (0, 1)
                )  # fmt: skip
                return self._accumulate(segment, left, panels, where, keys, carried)

            values = k.loop_carrying(i64(0), i64(len(run)), 1, values, turn)
        accumulators.update(zip(keys, values, strict=True))

    def _accumulate(
        self, segment: Segment, left: llvm.Value, base: llvm.Value, where: Where, keys: list[Key], values: list[llvm.Value]
    ) -> list[llvm.Value]:  # fmt: skip
        """accumulator += left[k] * right[k, :], upward through k."""
        k, gates = self.k, segment.accumulators
        row, lead, first, n_rows, panel, panels = where
        rows = []
        for i in range(n_rows):
            if self.lead_sizes:
                at = self._row_of(segment.left, left, row)
                here = [*lead, k.add(first, i64(i))]
                rows.append(k.along(at, segment.left, here, self.left_lead[segment.left]))
            else:
                rows.append(self._row_of(segment.left, left, k.add(first, i64(i))))
        number = k.module.number
        streams = self._streams(base, segment, panel, panels)
        stride = segment.left.strides[-1]

        def turn(at: llvm.Value, values: list[llvm.Value], steps: int = 1) -> list[llvm.Value]:
            new = dict(zip(keys, values, strict=True))
            lefts = [k.b.gep(r, [k.times(at, stride)], source_etype=number) for r in rows]
            weights = [k.b.gep(s, [k.times(at, per_k)], source_etype=number) for s, per_k, _ in streams]
            for step in range(steps):
                ours = [_further(k, x, step * stride) for x in lefts]
                theirs = {
                    (p, g): _further(k, pointer, step * per_k + place * self.lanes)
                    for pointer, (_, per_k, blocks) in zip(weights, streams, strict=True)
                    for place, (p, g) in enumerate((p, g) for p in blocks for g in gates)
                }
                self._step(new, ours, theirs)
            return list(new.values())

        unroll = max(1, WORK // len(keys))
        done = segment.k // unroll * unroll if segment.k >= 2 * unroll else 0
        if done:
            values = k.loop_carrying(i64(0), i64(done), unroll, values, partial(turn, steps=unroll))
        if segment.k > done:
            values = turn(i64(done), values, segment.k - done)
        return values

    def _row_of(self, left: View, base: llvm.Value, row: llvm.Value) -> llvm.Value:
        """The address of one row of a left operand that begins at `base`."""
        k = self.k
        return k.at_row(left, row) if left.buffer in k.module.placed else k.step(base, left, k.times(row, k.row_stride(left)))

    def _step(
        self, sums: dict[Key, llvm.Value], ours: Sequence[llvm.Value], theirs: Mapping[tuple[int, int], llvm.Value]
    ) -> None:  # fmt: skip
        """One k: what is at `ours` (for each row) times the weights at `theirs` (for each panel and gate).

        What there are fewer of stays in registers meanwhile, and the others come one after another.
        """
        k = self.k
        align = k.module.vector_bytes
        if len(ours) > len(theirs):
            weights = {at: k.b.load(where, typ=self.vector, align=align) for at, where in theirs.items()}
            for i, where in enumerate(ours):
                x = k.splat(k.b.load(where, typ=k.module.number), self.lanes)
                for (p, g), weight in weights.items():
                    sums[i, p, g] = k.fma(x, weight, sums[i, p, g])
        else:
            splats = [k.splat(k.b.load(where, typ=k.module.number), self.lanes) for where in ours]
            for (p, g), where in theirs.items():
                weight = k.b.load(where, typ=self.vector, align=align)
                for i, x in enumerate(splats):
                    sums[i, p, g] = k.fma(x, weight, sums[i, p, g])

    def _streams(
        self, base: llvm.Value, segment: Segment, panel: llvm.Value, panels: int
    ) -> list[tuple[llvm.Value, int, list[int]]]:  # fmt: skip
        """For each panel of a tile: where it begins, how far it goes for a step through k, and its blocks of neurons."""
        k, gates = self.k, len(segment.accumulators)
        found = []
        for p in range(0, panels, self.width):
            blocks = list(range(p, min(p + self.width, panels)))
            start = k.times(k.add(panel, i64(p)), segment.k * gates * self.lanes)
            pointer = k.b.gep(base, [start], source_etype=k.module.number)
            found.append((pointer, len(blocks) * gates * self.lanes, blocks))
        return found

    # --- what stands before and behind a tile

    def _around(self, name: str, *, behind: bool) -> llvm.Function:
        """A function over the rows and panels of a tile: the starts of its accumulators, or all that follows them."""
        module = self.k.module
        inner = Kernel(module, name, self.kind)
        args = inner.function.args
        inner.row, inner.instance, first, rows, packed, buffer = list(args)[1:7]
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
        self, k: Kernel, at: Addresses, buffer: llvm.Value, slot: llvm.Value, column: llvm.Value, *, behind: bool
    ) -> None:  # fmt: skip
        work = self._behind if behind else self._before
        rest = self.n % self.lanes
        if rest == 0:
            work(k, Lanes(self.lanes), at, buffer, slot)
        elif self.n < self.lanes:
            work(k, Lanes(self.lanes, k.mask(rest, self.lanes)), at, buffer, slot)
        elif k.module.target.masks:  # one piece of code for all panels: a mask costs nothing here
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
            if node.value.name in needed and node.value.name not in self.stage.names:
                needed.update(a.name for a in node.args)
        return needed

    def _before(self, k: Kernel, lanes: Lanes, at: Addresses, buffer: llvm.Value, slot: llvm.Value) -> None:
        needed = self._needed()
        nodes = [n for n in self.stage.nodes if n.value.name in needed and n.value.name not in self.stage.names]
        read = {a.name for n in nodes for a in n.args} | set(self.starts)
        known = load_all(k, {n: v for n, v in self.stage.loads.items() if n in read}, lanes, at)
        k.compute(nodes, known, self.stage.loads, lanes.n)
        for gate, start in enumerate(self.stage.starts):
            if start is None:
                continue
            source = self.stage.loads.get(start)
            value = k.number(source, k.plan.program.dtype, lanes.n) if isinstance(source, float) else known[start]
            place = k.b.gep(buffer, [k.add(slot, i64(gate))], source_etype=self.vector)
            k.b.store(value, place, align=64)

    def _behind(self, k: Kernel, lanes: Lanes, at: Addresses, buffer: llvm.Value, slot: llvm.Value) -> None:
        nodes = [n for n in self.stage.nodes if n.value.name not in self.stage.names]
        read = {a.name for n in nodes for a in n.args}
        known = load_all(k, {n: v for n, v in self.stage.loads.items() if n in read}, lanes, at)
        for gate, name in enumerate(self.stage.names):
            place = k.b.gep(buffer, [k.add(slot, i64(gate))], source_etype=self.vector)
            known[name] = k.b.load(place, typ=self.vector, align=64)
        k.compute(nodes, known, self.stage.loads, lanes.n)
        store_all(k, self.stage, known, lanes, at)


def _further(k: Kernel, pointer: llvm.Value, elements: int) -> llvm.Value:
    return k.b.gep(pointer, [i64(elements)], source_etype=k.module.number) if elements else pointer
