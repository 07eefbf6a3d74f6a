"""Sums over all rows: weight gradients as one tall product, bias gradients as sums of columns.

A weight gradient is Xᵀ D over all steps and instances. It is summed over a few hundred rows at a time, so that what a tile
reads stays in the cache, and each of these sums begins at zero, so that many rows do not round each small term against a large
sum (blockwise summation); the order depends on nothing but the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..plan import Total
from ..shapes import Varies
from ..views import View, collapse
from . import ir
from .emit import I64, N_ROWS, PTR, THREAD, VOID, Kernel, Lanes, i64

ROWS = 256  # rows that are summed before the next tile is looked at


def lower_total(k: Kernel, total: Total) -> None:
    """Sums of equal shape share one function, which is told the addresses."""
    views = [v for v in (total.source, total.right, total.target) if v is not None]
    shape = [(v.sizes, v.strides, "p" if v.buffer in k.unit.placed else "r", k.row_stride(v)) for v in views]
    name = "sum_" + "_".join(str(n) for sizes, strides, mark, row in shape for n in (*sizes, "s", *strides, mark, row))
    found = k.unit.module.globals.get(name)
    if found is None:
        inner = Kernel(k.unit, name, ir.FunctionType(VOID, [PTR] * (len(views) + 1) + [I64] * 3))
        inner.given = dict(zip(views, inner.function.args[1:], strict=False))
        inner.row, inner.instance, inner.count = inner.function.args[-3:]
        if total.right is None:
            _columns(inner, total)
        else:
            _product(inner, total, total.right)
        found = inner.finish()
    placed = [v.buffer in k.unit.placed for v in views]
    addresses = [
        k.step(k.base(v.buffer), v, i64(v.offset)) if looked_up else k.at_row(v, i64(0))
        for v, looked_up in zip(views, placed, strict=True)
    ]
    if {k.plan.buffers[v.buffer].space for v in views[: 1 + (total.right is not None)]} - {Varies.NEVER} != {Varies.STEP}:
        k.b.call(found, [k.context, *addresses, k.row, k.instance, k.count])
        return
    # all rows at the first call: whether others make this phase go step by step differs from plan to plan, and no sum may
    with k.b.if_then(k.b.icmp_signed("==", k.row, i64(0))):
        k.b.call(found, [k.context, *addresses, k.row, k.instance, k.field(N_ROWS)])


def _row(k: Kernel, view: View, row: ir.Value) -> ir.Value:
    """Which row of a buffer the given one is: of those behind its address, or, in the user's order, of all."""
    if view.buffer not in k.unit.placed:
        return row
    first = k.row if k.plan.buffers[view.buffer].space == Varies.STEP else k.instance
    return k.place(view, k.b.add(first, row))


def _columns(k: Kernel, total: Total) -> None:
    """target += the sum of source over the rows."""
    source, target = total.source, total.target
    sizes, (strides, into) = collapse(target.sizes, [source.strides, target.strides])
    inner = sizes[-1] if sizes else 1
    last, last_into = (strides[-1], into[-1]) if sizes else (0, 0)
    mine = k.b.icmp_unsigned("==", k.field(THREAD), i64(0))  # too little to share
    with k.b.if_then(mine), k.nest(sizes[:-1]) as where, k.loop(i64(0), k.count, ROWS) as start:
        end = _end(k, start, k.count)
        begin = k.along(k.given[source], source, where, strides[:-1])
        out = k.along(k.given[target], target, where, into[:-1])
        for first, count, group in _groups(inner, k.lanes, 4):
            with k.loop(i64(first), i64(first + count), _width(group)) as column:
                pointers = [k.along(begin, source, [k.add(column, i64(j * k.lanes))], [last]) for j in range(len(group))]
                outs = [k.along(out, target, [k.add(column, i64(j * k.lanes))], [last_into]) for j in range(len(group))]

                def turn(
                    row: ir.Value, sums: list[ir.Value], pointers: list[ir.Value] = pointers, group: list[Lanes] = group
                ) -> list[ir.Value]:  # fmt: skip
                    here = _row(k, source, row)
                    at = [k.along(p, source, [here], [k.row_stride(source)]) for p in pointers]
                    rows = [k.load(p, k.unit.number, last, lanes) for p, lanes in zip(at, group, strict=True)]
                    return [k.b.fadd(s, r) for s, r in zip(sums, rows, strict=True)]

                zeros = [k.number(0.0, k.plan.program.dtype, lanes.n) for lanes in group]
                for value, pointer, lanes in zip(k.fold(start, end, 1, zeros, turn), outs, group, strict=True):
                    old = k.load(pointer, k.unit.number, last_into, lanes)
                    k.store(k.b.fadd(old, value), pointer, k.unit.number, last_into, lanes)


def _end(k: Kernel, first: ir.Value, count: ir.Value) -> ir.Value:
    """Where the rows end that are summed together with the first."""
    end = k.b.add(first, i64(ROWS))
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


@contextmanager
def _rows(k: Kernel, a: View, b: View) -> Iterator[tuple[ir.Value, ir.Value, ir.Value, int, int]]:
    """(address of a, of b, number of rows, stride of a, of b), for as few walks over rows as there can be."""
    sizes, (lead_a, lead_b) = collapse(a.sizes[:-1], [a.strides[:-1], b.strides[:-1]])
    first_a, first_b = k.given[a], k.given[b]
    row_a, row_b = k.row_stride(a), k.row_stride(b)
    together = not {a.buffer, b.buffer} & k.unit.placed
    if together and len(sizes) == 1 and row_a == sizes[0] * lead_a[0] and row_b == sizes[0] * lead_b[0]:
        yield first_a, first_b, k.times(k.count, sizes[0]), lead_a[0], lead_b[0]
        return
    with k.nest(sizes) as where:
        yield k.along(first_a, a, where, lead_a), k.along(first_b, b, where, lead_b), k.count, row_a, row_b


def _product(k: Kernel, total: Total, right: View) -> None:
    """target += leftᵀ right."""
    left, target = total.source, total.target
    m, n = target.sizes
    b = k.b
    tile = 8 if k.unit.target.n_registers >= 32 else 4
    with _rows(k, left, right) as (a, d, count, stride_a, stride_d), k.loop(i64(0), count, ROWS) as first:
        end = _end(k, first, count)
        for column, columns, group in _groups(n, k.lanes, 2):
            with k.loop(i64(column), i64(column + columns), _width(group)) as j:
                whole = m // tile * tile
                if whole:
                    with k.loop(*k.share(i64(whole), tile), tile) as i:
                        _tile(k, total, right, (a, d), (stride_a, stride_d), (first, end), i, j, tile, group)
                if m > whole:
                    with b.if_then(b.icmp_unsigned("==", k.field(THREAD), i64(0))):
                        _tile(k, total, right, (a, d), (stride_a, stride_d), (first, end), i64(whole), j, m - whole, group)


def _tile(
    k: Kernel, total: Total, right: View, bases: tuple[ir.Value, ir.Value], strides: tuple[int, int],
    rows: tuple[ir.Value, ir.Value], i: ir.Value, j: ir.Value, height: int, group: list[Lanes],
) -> None:  # fmt: skip
    """A few rows and columns of the target, over a range of rows of the operands."""
    left, target, number = total.source, total.target, k.unit.number
    offsets = [0]
    for lanes in group[:-1]:
        offsets.append(offsets[-1] + lanes.n)
    a = k.along(bases[0], left, [i], left.strides[-1:])
    d = [k.along(bases[1], right, [k.add(j, i64(o))], right.strides[-1:]) for o in offsets]
    out = k.given[target]
    places = [
        [k.along(out, target, [k.add(i, i64(r)), k.add(j, i64(o))], target.strides) for o in offsets] for r in range(height)
    ]

    def turn(row: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        here = _row(k, right, row)
        vectors = [
            k.load(k.along(p, right, [here], strides[1:]), number, right.strides[-1], lanes)
            for p, lanes in zip(d, group, strict=True)
        ]
        at = k.along(a, left, [_row(k, left, row)], strides[:1])
        result = []
        for r in range(height):
            x = k.b.load(k.step(at, left, i64(r * left.strides[-1])), typ=number)
            for g, vector in enumerate(vectors):
                result.append(k.fma(k.splat(x, group[g].n), vector, sums[r * len(group) + g]))
        return result

    flat = [(p, lanes) for line in places for p, lanes in zip(line, group, strict=True)]
    zeros = [k.number(0.0, k.plan.program.dtype, lanes.n) for _, lanes in flat]
    for value, (pointer, lanes) in zip(k.fold(rows[0], rows[1], 1, zeros, turn), flat, strict=True):
        k.store(k.b.fadd(k.load(pointer, number, 1, lanes), value), pointer, number, 1, lanes)
