"""Elementwise stages and copies: walks over all rows and all elements of a domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..plan.stages import Copy, Map, Source, Walk
from ..plan.views import View, collapse
from . import llvm_text as llvm
from .kernel import Kernel, Lanes, i64

Visit = Callable[[Lanes, "Addresses"], None]


@dataclass
class Addresses:
    """Where the views of a walk are at one point of it: for each view its address and the stride of the lanes."""

    pointers: Mapping[View, llvm.Value]
    strides: Mapping[View, int]


def lower_map(k: Kernel, stage: Map) -> None:
    """Every element by itself."""
    views = list(dict.fromkeys((*stage.loaded, *stage.writes)))

    def visit(lanes: Lanes, at: Addresses) -> None:
        known = load_all(k, stage.loads, lanes, at)
        k.compute(stage.nodes, known, stage.loads, lanes.n)
        store_all(k, stage, known, lanes, at)

    over_elements(k, stage.domain, views, visit)


def load_all(k: Kernel, loads: Mapping[str, Source], lanes: Lanes, at: Addresses) -> dict[str, llvm.Value]:
    """The values that lie in memory; the same place is loaded once."""
    loaded: dict[View, llvm.Value] = {}
    known = {}
    for name, view in loads.items():
        if isinstance(view, View):
            if view not in loaded:
                loaded[view] = k.load(at.pointers[view], k.element(view), at.strides[view], lanes)
            known[name] = loaded[view]
    return known


def store_all(k: Kernel, stage: Walk, known: Mapping[str, llvm.Value], lanes: Lanes, at: Addresses) -> None:
    for name, view in stage.stores:
        if name in known:
            k.store(known[name], at.pointers[view], k.element(view), at.strides[view], lanes)


def over_elements(k: Kernel, domain: Sequence[int], views: Sequence[View], visit: Visit) -> None:
    """Walk over all rows and all elements of a domain, as many at once as a vector holds."""
    sizes, strides = collapse(domain, [v.strides for v in views])
    inner = sizes[-1] if sizes else 1
    last = [s[-1] if s else 0 for s in strides]
    steps = [
        None if v.buffer in k.module.placed else _merged_step(k.row_stride(v), inner, s, bool(sizes))
        for v, s in zip(views, last, strict=True)
    ]
    if len(sizes) <= 1 and all(step is not None for step in steps):  # rows follow each other without a gap: one long walk
        pointers = {v: k.at_row(v, i64(0)) for v in views}
        vectors(k, k.times(k.count, inner), pointers, {v: s or 0 for v, s in zip(views, steps, strict=True)}, visit)
        return
    with k.loop(i64(0), k.count) as row:
        rows = {v: k.at_row(v, row) for v in views}
        with k.nest(sizes[:-1]) as indices:
            pointers = {v: k.along(rows[v], v, indices, s[:-1]) for v, s in zip(views, strides, strict=True)}
            vectors(k, i64(inner), pointers, dict(zip(views, last, strict=True)), visit)


def _merged_step(row_stride: int, inner: int, stride: int, has_line: bool) -> int | None:
    """The stride of a walk through all rows at once, if there is one."""
    if not has_line:
        return row_stride if row_stride in (0, 1) else None
    return stride if stride in (0, 1) and row_stride == inner * stride else None


def vectors(
    k: Kernel, size: llvm.Value, pointers: Mapping[View, llvm.Value], strides: Mapping[View, int], visit: Visit
) -> None:
    """Walk along one line of elements."""

    def at(index: llvm.Value) -> Addresses:
        return Addresses({v: k.along(p, v, [index], [strides[v]]) for v, p in pointers.items()}, strides)

    n = k.lanes
    if isinstance(size, llvm.Constant):
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
    if n > 1:  # else nothing is left over
        with k.b.if_then(k.b.icmp_signed("<", whole, size)):
            visit(Lanes(n, k.mask(k.b.sub(size, whole), n)), at(whole))


# --- copies


def lower_copies(k: Kernel, copies: Sequence[Copy]) -> None:
    """Elements carried from place to place, one copy after the other."""
    for copy in copies:
        _copy(k, copy)


def _copy(k: Kernel, copy: Copy) -> None:
    views = [copy.target, *([copy.source] if isinstance(copy.source, View) else [])]
    dtype = k.plan.buffers[copy.target.buffer].dtype

    def visit(lanes: Lanes, at: Addresses) -> None:
        target = copy.target
        if isinstance(copy.source, View):
            value = k.load(at.pointers[copy.source], k.element(copy.source), at.strides[copy.source], lanes)
        else:
            value = k.number(copy.source, dtype, lanes.n)
        if copy.accumulate:
            value = k.b.fadd(k.load(at.pointers[target], k.element(target), at.strides[target], lanes), value)
        k.store(value, at.pointers[target], k.element(target), at.strides[target], lanes)

    over_elements(k, copy.target.sizes, views, visit)
