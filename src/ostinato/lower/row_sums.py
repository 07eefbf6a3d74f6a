"""Sums over all rows: weight gradients as one tall product, bias gradients as sums of columns.

A weight gradient is Xᵀ D over all steps and instances. It is summed over a few hundred rows at a time, so that what a tile
reads stays in the cache, and each of these sums begins at zero, so that many rows do not round each small term against a large
sum (blockwise summation); the order depends on nothing but the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..ir.shapes import Varies
from ..plan.stages import RowSum, RowSums, Sum
from ..plan.tiling import BLOCK
from ..plan.views import View, collapse
from . import llvm_text as llvm
from .context import Field
from .elementwise import Addresses, load_all
from .kernel import I32, I64, PTR, VOID, Kernel, Lanes, i64

FAR = 128  # elements between rows of which a few columns are read: such rows are asked for in advance
AHEAD = 24  # rows


def lower_total(k: Kernel, total: RowSum, *, by_step: bool) -> None:
    """Sums of equal shape share one function, which is told the addresses."""
    views = [v for v in (total.source, total.right, total.target) if v is not None]
    # where a placed row is looked up depends on whether it is one of steps or of instances
    marks = [k.plan.buffers[v.buffer].space.name.lower() if v.buffer in k.module.placed else "r" for v in views]
    shape = [(v.sizes, v.strides, mark, k.row_stride(v)) for v, mark in zip(views, marks, strict=True)]
    name = "sum_" + "_".join(str(n) for sizes, strides, mark, row in shape for n in (*sizes, "s", *strides, mark, row))
    found = k.module.llvm.globals.get(name)
    if found is None:
        inner = Kernel(k.module, name, llvm.FunctionType(VOID, [PTR] * (len(views) + 1) + [I64] * 3))
        inner.given = dict(zip(views, inner.function.args[1:], strict=False))
        inner.row, inner.instance, inner.count = inner.function.args[-3:]
        if total.right is None:
            _columns(inner, total.source, total.target)
        else:
            _product(inner, total, total.right)
        found = inner.finish()
    addresses = [_address(k, v) for v in views]
    spaces = {k.plan.buffers[v.buffer].space for v in views[: 1 + (total.right is not None)]}
    if not by_step or spaces - {Varies.NEVER} != {Varies.STEP}:
        k.b.call(found, [k.context, *addresses, k.row, k.instance, k.count])
        return
    # all rows at the first call: whether others make this phase go step by step differs from plan to plan, and no sum may
    with k.b.if_then(k.b.icmp_signed("==", k.row, i64(0))):
        k.b.call(found, [k.context, *addresses, k.row, k.instance, k.field(Field.N_ROWS)])


def _address(k: Kernel, view: View) -> llvm.Value:
    """Of the function's first row; of a buffer in the user's order, where it begins."""
    looked_up = view.buffer in k.module.placed
    return k.step(k.base(view.buffer), view, i64(view.offset)) if looked_up else k.at_row(view, i64(0))


def _row(k: Kernel, view: View, row: llvm.Value) -> llvm.Value:
    """Which row of a buffer the given one is: of those behind its address, or, in the user's order, of all."""
    if view.buffer not in k.module.placed:
        return row
    first = k.row if k.plan.buffers[view.buffer].space == Varies.STEP else k.instance
    return k.row_of(view, k.b.add(first, row))


def _columns(k: Kernel, source: View, target: View) -> None:
    """target += the sum of source over the rows."""
    addresses = {view: k.given[view] for view in (source, target)}
    _sums(k, RowSums(target.sizes, (), {"": source}, sums=(Sum("", target),)), addresses, k.count)


def lower_sums(k: Kernel, stage: RowSums, *, by_step: bool) -> None:
    """Sums over rows of several values, with the elementwise nodes that they are computed by."""
    addresses = {v: _address(k, v) for v in (*stage.loaded, *stage.writes)}
    if not by_step:
        _sums(k, stage, addresses, k.count)
        return
    with k.b.if_then(k.b.icmp_signed("==", k.row, i64(0))):  # all rows at the first call: see lower_total
        _sums(k, stage, addresses, k.field(Field.N_ROWS))


def _sums(k: Kernel, stage: RowSums, addresses: Mapping[View, llvm.Value], count: llvm.Value) -> None:
    """Some columns, so that all their sums are in registers, with a block of rows."""
    targets = [s.target for s in stage.sums]
    views = list(addresses)
    sizes, collapsed = collapse(stage.domain, [v.strides for v in views])
    strides = dict(zip(views, collapsed, strict=True))
    last = {v: strides[v][-1] if sizes else 0 for v in views}
    room = 16 if k.module.target.n_registers >= 32 else 8
    mine = k.b.icmp_unsigned("==", k.field(Field.THREAD), i64(0))  # too little to share
    with k.b.if_then(mine), k.nest(sizes[:-1]) as where, k.loop(i64(0), count, BLOCK) as start:
        end = _end(k, start, count)
        lines = {v: k.along(p, v, where, strides[v][:-1]) for v, p in addresses.items()}
        for first, columns, group in _groups(sizes[-1] if sizes else 1, k.lanes, max(1, min(4, room // len(targets)))):
            with k.loop(i64(first), i64(first + columns), _width(group)) as column:
                places = [k.add(column, i64(j * k.lanes)) for j in range(len(group))]
                pointers = [{v: k.along(p, v, [at], [last[v]]) for v, p in lines.items()} for at in places]
                _block(k, stage, (start, end), group, pointers, last)


def _block(
    k: Kernel, stage: RowSums, rows: tuple[llvm.Value, llvm.Value], group: list[Lanes],
    pointers: list[dict[View, llvm.Value]], strides: Mapping[View, int],
) -> None:  # fmt: skip
    """Some columns of a block of rows."""
    dtype = k.plan.program.dtype

    def turn(row: llvm.Value, sums: list[llvm.Value]) -> list[llvm.Value]:
        found: list[llvm.Value] = []
        for lanes, starts in zip(group, pointers, strict=True):
            here = {v: k.along(p, v, [_row(k, v, row)], [k.row_stride(v)]) for v, p in starts.items()}
            known = load_all(k, stage.loads, lanes, Addresses(here, strides))
            k.compute(stage.nodes, known, stage.loads, lanes.n)
            for s in stage.sums:
                source = stage.loads.get(s.value)
                value = k.number(source, dtype, lanes.n) if isinstance(source, float) else known[s.value]
                found.append(k.b.fadd(sums[len(found)], value))
        return found

    zeros = [k.number(0.0, dtype, lanes.n) for lanes in group for _ in stage.sums]
    totals = iter(k.loop_carrying(rows[0], rows[1], 1, zeros, turn))
    for lanes, starts in zip(group, pointers, strict=True):
        for s in stage.sums:
            pointer, stride = starts[s.target], strides[s.target]
            old = k.load(pointer, k.module.number, stride, lanes)
            k.store(k.b.fadd(old, next(totals)), pointer, k.module.number, stride, lanes)


def _end(k: Kernel, first: llvm.Value, count: llvm.Value) -> llvm.Value:
    """Where the rows end that are summed together with the first."""
    end = k.b.add(first, i64(BLOCK))
    return k.b.select(k.b.icmp_signed("<", end, count), end, count)


def _groups(size: int, n: int, most: int) -> Iterator[tuple[int, int, list[Lanes]]]:
    """Columns in groups of vectors: (first column, columns, the vectors of one group); the last vector may be a part of one."""
    if size == 1:
        yield 0, 1, [Lanes(1)]
        return
    vectors = size // n
    whole = vectors // most * most
    if whole:
        yield 0, whole * n, [Lanes(n)] * most
    rest = [Lanes(n)] * (vectors - whole)
    if size % n:
        rest.append(Lanes(n, Kernel.first_lanes(size % n, n)))
    if rest:
        yield whole * n, len(rest) * n, rest


def _width(group: Sequence[Lanes]) -> int:
    return sum(lanes.n for lanes in group)


@dataclass(frozen=True)
class _Walk:
    """One operand of a product, and how to come from its address to one of its rows."""

    k: Kernel
    view: View
    address: llvm.Value
    lines: int  # so many lines of the operand in each of the run's rows are rows of the product, one after another
    stride: int  # elements from one to the next

    def to(self, row: llvm.Value) -> llvm.Value:
        """Elements from the address to a row."""
        k = self.k
        if self.lines == 1 or self.view.buffer not in k.module.placed:
            return k.times(_row(k, self.view, row), self.stride)
        whole = k.b.udiv(row, i64(self.lines))
        line = k.b.sub(row, k.times(whole, self.lines))
        return k.add(k.times(_row(k, self.view, whole), k.row_stride(self.view)), k.times(line, self.stride))


@contextmanager
def _rows(k: Kernel, a: View, b: View) -> Iterator[tuple[_Walk, _Walk, llvm.Value]]:
    """Both operands and the number of rows, for as few walks over rows as there can be.

    Which rows are summed together does not depend on where they lie: no order of the user's arrays changes a bit.
    """
    sizes, leads = collapse(a.sizes[:-1], [a.strides[:-1], b.strides[:-1]])
    views = (a, b)
    if len(sizes) == 1 and all(k.row_stride(v) == sizes[0] * lead[0] for v, lead in zip(views, leads, strict=True)):
        left, right = (_Walk(k, v, k.given[v], sizes[0], lead[0]) for v, lead in zip(views, leads, strict=True))
        yield left, right, k.times(k.count, sizes[0])
        return
    with k.nest(sizes) as where:
        left, right = (
            _Walk(k, v, k.along(k.given[v], v, where, lead), 1, k.row_stride(v)) for v, lead in zip(views, leads, strict=True)
        )
        yield left, right, k.count


def _product(k: Kernel, total: RowSum, right: View) -> None:
    """target += leftᵀ right."""
    left, target = total.source, total.target
    m, n = target.sizes
    b = k.b
    tile = 8 if k.module.target.n_registers >= 32 else 4
    with _rows(k, left, right) as (*walks, count), k.loop(i64(0), count, BLOCK) as first:
        end = _end(k, first, count)
        for column, columns, group in _groups(n, k.lanes, 2):
            with k.loop(i64(column), i64(column + columns), _width(group)) as j:
                whole = m // tile * tile
                if whole:
                    with k.loop(*k.share(i64(whole), tile), tile) as i:
                        _tile(k, total, walks, (first, end), i, j, tile, group)
                if m > whole:
                    with b.if_then(b.icmp_unsigned("==", k.field(Field.THREAD), i64(0))):
                        _tile(k, total, walks, (first, end), i64(whole), j, m - whole, group)


def _tile(
    k: Kernel, total: RowSum, walks: Sequence[_Walk], rows: tuple[llvm.Value, llvm.Value], i: llvm.Value, j: llvm.Value,
    height: int, group: list[Lanes],
) -> None:  # fmt: skip
    """A few rows and columns of the target, over a range of rows of the operands."""
    (left, right), target, number = (walk.view for walk in walks), total.target, k.module.number
    offsets = [0]
    for lanes in group[:-1]:
        offsets.append(offsets[-1] + lanes.n)
    a = k.along(walks[0].address, left, [i], left.strides[-1:])
    d = [k.along(walks[1].address, right, [k.add(j, i64(o))], right.strides[-1:]) for o in offsets]
    out = k.given[target]
    places = [
        [k.along(out, target, [k.add(i, i64(r)), k.add(j, i64(o))], target.strides) for o in offsets] for r in range(height)
    ]

    ahead = walks[1].stride >= FAR and right.buffer not in k.module.placed and right.buffer not in k.plan.block_local

    def turn(row: llvm.Value, sums: list[llvm.Value]) -> list[llvm.Value]:
        here = walks[1].to(row)
        vectors = [k.load(k.step(p, right, here), number, right.strides[-1], lanes) for p, lanes in zip(d, group, strict=True)]
        if ahead:  # a few columns of long rows are no stream that a processor would see by itself
            further = walks[1].to(k.add(row, i64(AHEAD)))
            for p in d:
                k.call_intrinsic(
                    "llvm.prefetch.p0", VOID, [k.step(p, right, further), *(llvm.Constant(I32, n) for n in (0, 3, 1))]
                )
        at = k.step(a, left, walks[0].to(row))
        result = []
        for r in range(height):
            x = k.b.load(k.step(at, left, i64(r * left.strides[-1])), typ=number)
            for g, vector in enumerate(vectors):
                result.append(k.fma(k.splat(x, group[g].n), vector, sums[r * len(group) + g]))
        return result

    flat = [(p, lanes) for line in places for p, lanes in zip(line, group, strict=True)]
    zeros = [k.number(0.0, k.plan.program.dtype, lanes.n) for _, lanes in flat]
    for value, (pointer, lanes) in zip(k.loop_carrying(rows[0], rows[1], 1, zeros, turn), flat, strict=True):
        k.store(k.b.fadd(k.load(pointer, number, 1, lanes), value), pointer, number, 1, lanes)
