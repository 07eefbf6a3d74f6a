"""Sums and maxima along dimensions.

Their order belongs to their meaning: it depends on the length and on the vector, on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ..ir.op import Kind
from ..ir.ops import OPS
from ..plan.stages import Reduce
from ..plan.views import View
from . import llvm_text as llvm
from .elementwise import Addresses, load_all, store_all, vectors
from .kernel import Kernel, Lanes, i64
from .vector_math import emit


def lower_reduce(k: Kernel, stage: Reduce) -> None:
    """Sums and maxima along some axes, with the elementwise nodes that feed them."""
    _Reduction(k, stage).write()


class _Reduction:
    """One stage: where the last dimension is reduced, its elements lie in the lanes; else the lanes are elements that stay."""

    def __init__(self, k: Kernel, stage: Reduce) -> None:
        self.k, self.stage = k, stage
        rank = len(stage.domain)
        reduced = sorted(rank + axis for axis in stage.axes)
        kept = [i for i in range(rank) if i not in reduced]
        self.reductions = stage.reductions
        self.inside = [n for n in stage.nodes if n.record.kind is not Kind.REDUCTION]
        self.names = {n.value.name for n in self.reductions}
        self.targets = {n: _with_kept(v, stage.domain, reduced) for n, v in stage.stores if n in self.names}
        self.views = list(dict.fromkeys([*stage.loaded, *(v for n, v in stage.stores if n not in self.names)]))
        self.along_lanes = reduced[-1] == rank - 1
        self.line = stage.domain[-1]
        self.kept = kept if self.along_lanes else kept[:-1]
        self.reduced = reduced[:-1] if self.along_lanes else reduced
        vector = llvm.vector(k.module.number, k.lanes)
        self.accumulators = {n.value.name: k.alloca(vector) for n in self.reductions}

    def write(self) -> None:
        k, domain = self.k, self.stage.domain
        with k.loop(i64(0), k.count) as row, k.nest([domain[i] for i in self.kept]) as where:

            def line(view: View) -> llvm.Value:
                return k.along(k.at_row(view, row), view, where, [view.strides[i] for i in self.kept])

            lines, out = {v: line(v) for v in self.views}, {name: line(v) for name, v in self.targets.items()}
            (self._line if self.along_lanes else self._columns)(lines, out)

    def _line(self, lines: dict[View, llvm.Value], out: dict[str, llvm.Value]) -> None:
        """One result from many elements side by side."""
        k = self.k
        n = 1 if self.line == 1 else k.lanes
        self._begin(n)
        with k.nest([self.stage.domain[i] for i in self.reduced]) as indices:
            here = {v: k.along(p, v, indices, [v.strides[i] for i in self.reduced]) for v, p in lines.items()}
            vectors(k, i64(self.line), here, {v: v.strides[-1] for v in self.views}, self._visit)
        for node in self.reductions:
            name = node.value.name
            value = k.b.load(self.accumulators[name], typ=llvm.vector(k.module.number, n))
            k.store(horizontal(k, node.op, value, n), out[name], k.module.number, 1, Lanes(1))

    def _columns(self, lines: dict[View, llvm.Value], out: dict[str, llvm.Value]) -> None:
        """Many results side by side, each from elements one after another."""
        k = self.k

        def column(lanes: Lanes, at: Addresses) -> None:
            self._begin(lanes.n)
            with k.nest([self.stage.domain[i] for i in self.reduced]) as indices:
                here = {v: k.along(at.pointers[v], v, indices, [v.strides[i] for i in self.reduced]) for v in self.views}
                self._visit(lanes, Addresses(here, at.strides))
            for node in self.reductions:
                view = self.targets[node.value.name]
                value = k.b.load(self.accumulators[node.value.name], typ=llvm.vector(k.module.number, lanes.n))
                k.store(value, at.pointers[view], k.module.number, at.strides[view], lanes)

        pointers = lines | {self.targets[name]: p for name, p in out.items()}
        vectors(k, i64(self.line), pointers, {v: v.strides[-1] for v in pointers}, column)

    def _begin(self, n: int) -> None:
        for node in self.reductions:
            self.k.b.store(_neutral(self.k, node.op, n), self.accumulators[node.value.name])

    def _visit(self, lanes: Lanes, at: Addresses) -> None:
        """Some elements: what is computed of them, and the accumulators with them."""
        k, stage = self.k, self.stage
        known = load_all(k, stage.loads, lanes, at)
        k.compute(self.inside, known, stage.loads, lanes.n)
        store_all(k, stage, {n: v for n, v in known.items() if n not in self.names}, lanes, at)
        for node in self.reductions:
            slot, source = self.accumulators[node.value.name], stage.loads.get(node.args[0].name)
            value = k.number(source, k.plan.program.dtype, lanes.n) if isinstance(source, float) else known[node.args[0].name]
            if lanes.mask is not None and self.along_lanes:
                value = k.b.select(lanes.mask, value, _neutral(k, node.op, lanes.n))
            k.b.store(emit(k.b, _combining(node.op), k.b.load(slot, typ=value.type), value), slot)


def _with_kept(view: View, domain: Sequence[int], reduced: Sequence[int]) -> View:
    """A reduction's result with all dimensions of its operand: those that are gone have stride 0."""
    strides = iter(s for s in view.strides) if len(view.sizes) == len(domain) - len(reduced) else None
    if strides is None:  # keepdims
        return View(
            view.buffer, tuple(domain), tuple(0 if i in reduced else s for i, s in enumerate(view.strides)), view.offset
        )
    full = tuple(0 if i in reduced else next(strides) for i in range(len(domain)))
    return View(view.buffer, tuple(domain), full, view.offset)


def _neutral(k: Kernel, op: str, n: int) -> llvm.Value:
    return k.number(0.0 if op == "sum" else -inf, k.plan.program.dtype, n)


def _combining(op: str) -> str:
    """The elementwise op by which a reduction joins two elements."""
    combine = OPS[op].combine
    assert combine is not None
    return combine.name


def horizontal(k: Kernel, op: str, value: llvm.Value, n: int) -> llvm.Value:
    """A horizontal reduction: the lanes of one vector together, halves by halves."""
    name = _combining(op)
    while n > 1:
        n //= 2
        undefined = llvm.Word(value.type, "poison")
        low, high = (
            k.b.shuffle_vector(value, undefined, llvm.Constant(llvm.VectorType(llvm.I32, n), range(first, first + n)))
            for first in (0, n)
        )
        value = emit(k.b, name, low, high)
    return k.b.extract_element(value, llvm.Constant(llvm.I32, 0)) if isinstance(value.type, llvm.VectorType) else value
