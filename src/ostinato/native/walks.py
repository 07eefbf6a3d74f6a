"""Stages without products: elementwise walks, reductions, moves of elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from llvmlite import ir

from ..plan import Move, Stage
from ..views import View, collapse
from .emit import Kernel, Lanes, i64
from .vector_math import emit

Visit = Callable[[Lanes, "Addresses"], None]


@dataclass
class Addresses:
    """Where the views of a walk are at one point of it: for each view its address and the stride of the lanes."""

    pointers: Mapping[View, ir.Value]
    strides: Mapping[View, int]


def lower_map(k: Kernel, stage: Stage) -> None:
    """Every element by itself."""
    views = list(dict.fromkeys([v for v in stage.loads.values() if isinstance(v, View)] + [v for _, v in stage.stores]))

    def visit(lanes: Lanes, at: Addresses) -> None:
        known = load_all(k, stage, lanes, at)
        k.compute(stage.nodes, known, stage.loads, lanes.n)
        store_all(k, stage, known, lanes, at)

    over_elements(k, stage.domain, views, visit)


def load_all(k: Kernel, stage: Stage, lanes: Lanes, at: Addresses) -> dict[str, ir.Value]:
    """What a stage reads from memory; the same place is loaded once."""
    loaded: dict[View, ir.Value] = {}
    known = {}
    for name, view in stage.loads.items():
        if isinstance(view, View):
            if view not in loaded:
                loaded[view] = k.load(at.pointers[view], k.element(view), at.strides[view], lanes)
            known[name] = loaded[view]
    return known


def store_all(k: Kernel, stage: Stage, known: Mapping[str, ir.Value], lanes: Lanes, at: Addresses) -> None:
    for name, view in stage.stores:
        if name in known:
            k.store(known[name], at.pointers[view], k.element(view), at.strides[view], lanes)


def over_elements(k: Kernel, domain: Sequence[int], views: Sequence[View], visit: Visit) -> None:
    """Walk over all rows and all elements of a domain, as many at once as a vector holds."""
    sizes, strides = collapse(domain, [v.strides for v in views])
    inner = sizes[-1] if sizes else 1
    last = [s[-1] if s else 0 for s in strides]
    steps = [_merged_step(k.row_stride(v), inner, s, bool(sizes)) for v, s in zip(views, last, strict=True)]
    if len(sizes) <= 1 and all(step is not None for step in steps):  # rows follow each other without a gap: one long walk
        pointers = {v: k.at_row(v, i64(0)) for v in views}
        _vectors(k, k.times(k.count, inner), pointers, {v: s or 0 for v, s in zip(views, steps, strict=True)}, visit)
        return
    with k.loop(i64(0), k.count) as row:
        rows = {v: k.at_row(v, row) for v in views}
        with k.nest(sizes[:-1]) as indices:
            pointers = {v: k.along(rows[v], v, indices, s[:-1]) for v, s in zip(views, strides, strict=True)}
            _vectors(k, i64(inner), pointers, dict(zip(views, last, strict=True)), visit)


def _merged_step(row_stride: int, inner: int, stride: int, has_line: bool) -> int | None:
    """The stride of a walk through all rows at once, if there is one."""
    if not has_line:
        return row_stride if row_stride in (0, 1) else None
    return stride if stride in (0, 1) and row_stride == inner * stride else None


def _vectors(k: Kernel, size: ir.Value, pointers: Mapping[View, ir.Value], strides: Mapping[View, int], visit: Visit) -> None:
    """Walk along one line of elements."""

    def at(index: ir.Value) -> Addresses:
        return Addresses({v: k.along(p, v, [index], [strides[v]]) for v, p in pointers.items()}, strides)

    n = k.lanes
    if isinstance(size, ir.Constant):
        whole = size.constant // n * n
        if size.constant == 1:
            visit(Lanes(1), at(i64(0)))
            return
        if whole:
            with k.loop(i64(0), i64(whole), n) as index:
                visit(Lanes(n), at(index))
        if size.constant > whole:
            visit(Lanes(n, k.mask(size.constant - whole, n)), at(i64(whole)))
        return
    whole = k.b.and_(size, i64(-n))
    with k.loop(i64(0), whole, n) as index:
        visit(Lanes(n), at(index))
    with k.b.if_then(k.b.icmp_signed("<", whole, size)):
        visit(Lanes(n, k.mask(k.b.sub(size, whole), n)), at(whole))


# --- reductions: the order of a sum belongs to its meaning, and depends on its length and on the vector alone


def lower_reduce(k: Kernel, stage: Stage) -> None:
    """Sums and maxima along some axes, with the elementwise nodes that feed them."""
    rank = len(stage.domain)
    reduced = sorted(rank + axis for axis in stage.axes)
    kept = [i for i in range(rank) if i not in reduced]
    reductions = [n for n in stage.nodes if n.op in ("sum", "max")]
    inside = [n for n in stage.nodes if n.op not in ("sum", "max")]
    names = {n.value.name for n in reductions}
    targets = {name: view for name, view in stage.stores if name in names}
    views = list(dict.fromkeys([v for v in stage.loads.values() if isinstance(v, View)]
                               + [v for name, v in stage.stores if name not in names]))  # fmt: skip
    targets = {n: _with_kept(v, stage.domain, reduced) for n, v in targets.items()}
    along_lanes = bool(reduced) and reduced[-1] == rank - 1
    line = stage.domain[-1]
    outer_kept = kept if along_lanes else kept[:-1]
    outer_reduced = reduced[:-1] if along_lanes else reduced
    accumulators = {n.value.name: k.alloca(k.vector(k.unit.number, k.lanes)) for n in reductions}

    def visit(lanes: Lanes, at: Addresses) -> None:
        known = load_all(k, stage, lanes, at)
        k.compute(inside, known, stage.loads, lanes.n)
        store_all(k, stage, {n: v for n, v in known.items() if n not in names}, lanes, at)
        for node in reductions:
            slot = accumulators[node.value.name]
            argument = node.args[0].name
            source = stage.loads.get(argument)
            value = k.number(source, k.plan.program.dtype, lanes.n) if isinstance(source, float) else known[argument]
            if lanes.mask is not None and along_lanes:
                value = k.b.select(lanes.mask, value, _neutral(k, node.op, lanes.n))
            old = k.b.load(slot, typ=value.type)
            k.b.store(emit(k.b, {"sum": "add", "max": "maximum"}[node.op], old, value), slot)

    def begin(n: int) -> None:
        for node in reductions:
            k.b.store(_neutral(k, node.op, n), accumulators[node.value.name])

    with k.loop(i64(0), k.count) as row:
        rows = {v: k.at_row(v, row) for v in views}
        out = {name: k.at_row(v, row) for name, v in targets.items()}
        with k.nest([stage.domain[i] for i in outer_kept]) as where:
            starts = {v: k.along(rows[v], v, where, [v.strides[i] for i in outer_kept]) for v in views}
            out = {n: k.along(p, targets[n], where, [targets[n].strides[i] for i in outer_kept]) for n, p in out.items()}
            inner_sizes = [stage.domain[i] for i in outer_reduced]
            if along_lanes:
                n = 1 if line == 1 else k.lanes
                begin(n)
                with k.nest(inner_sizes) as indices:
                    lines = {v: k.along(p, v, indices, [v.strides[i] for i in outer_reduced]) for v, p in starts.items()}
                    _vectors(k, i64(line), lines, {v: v.strides[-1] for v in views}, visit)
                for node in reductions:
                    name = node.value.name
                    value = k.b.load(accumulators[name], typ=k.vector(k.unit.number, n))
                    k.store(across(k, node.op, value, n), out[name], k.unit.number, 1, Lanes(1))
                return

            def column(lanes: Lanes, at: Addresses) -> None:
                begin(lanes.n)
                with k.nest(inner_sizes) as indices:
                    here = {v: k.along(at.pointers[v], v, indices, [v.strides[i] for i in outer_reduced]) for v in views}
                    visit(lanes, Addresses(here, at.strides))
                for node in reductions:
                    view = targets[node.value.name]
                    value = k.b.load(accumulators[node.value.name], typ=k.vector(k.unit.number, lanes.n))
                    k.store(value, at.pointers[view], k.unit.number, at.strides[view], lanes)

            pointers = starts | {targets[name]: p for name, p in out.items()}
            strides = {v: v.strides[-1] for v in views} | {v: v.strides[-1] for v in targets.values()}
            _vectors(k, i64(line), pointers, strides, column)


def _with_kept(view: View, domain: Sequence[int], reduced: Sequence[int]) -> View:
    """A reduction's result with all dimensions of its operand: those that are gone have stride 0."""
    strides = iter(s for s in view.strides) if len(view.sizes) == len(domain) - len(reduced) else None
    if strides is None:  # keepdims
        return View(
            view.buffer, tuple(domain), tuple(0 if i in reduced else s for i, s in enumerate(view.strides)), view.offset
        )
    full = tuple(0 if i in reduced else next(strides) for i in range(len(domain)))
    return View(view.buffer, tuple(domain), full, view.offset)


def _neutral(k: Kernel, op: str, n: int) -> ir.Value:
    return k.number(0.0 if op == "sum" else -inf, k.plan.program.dtype, n)


def across(k: Kernel, op: str, value: ir.Value, n: int) -> ir.Value:
    """The lanes of one vector together, halves by halves."""
    name = {"sum": "add", "max": "maximum"}[op]
    while n > 1:
        n //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low, high = (
            k.b.shuffle_vector(value, undefined, ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(first, first + n))))
            for first in (0, n)
        )
        value = emit(k.b, name, low, high)
    return k.b.extract_element(value, ir.Constant(ir.IntType(32), 0)) if isinstance(value.type, ir.VectorType) else value


# --- moves


def lower_moves(k: Kernel, moves: Sequence[Move]) -> None:
    """Elements carried from place to place, one move after the other."""
    for move in moves:
        _move(k, move)


def _move(k: Kernel, move: Move) -> None:
    views = [move.target, *([move.source] if isinstance(move.source, View) else [])]
    dtype = k.plan.buffers[move.target.buffer].dtype

    def visit(lanes: Lanes, at: Addresses) -> None:
        target = move.target
        if isinstance(move.source, View):
            value = k.load(at.pointers[move.source], k.element(move.source), at.strides[move.source], lanes)
        else:
            value = k.number(move.source, dtype, lanes.n)
        if move.accumulate:
            value = k.b.fadd(k.load(at.pointers[target], k.element(target), at.strides[target], lanes), value)
        k.store(value, at.pointers[target], k.element(target), at.strides[target], lanes)

    over_elements(k, move.target.sizes, views, visit)
