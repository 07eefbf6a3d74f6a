"""Products of two matrices that both belong to an instance: attention, and whatever is no product with plain weights."""

from __future__ import annotations

from ..plan.stages import Contraction
from . import llvm_text as llvm
from .kernel import Kernel, Lanes, i64
from .reductions import horizontal


def lower_contraction(k: Kernel, contraction: Contraction) -> None:
    """A product of two matrices of each instance: columns side by side in a vector, or one dot product after another."""
    _Contraction(k, contraction).write()


class _Contraction:
    def __init__(self, k: Kernel, contraction: Contraction) -> None:
        self.k = k
        self.left, self.right, self.target = contraction.left, contraction.right, contraction.target
        self.contracted = self.left.sizes[-1]
        # both operands lie along the contracted dimension: then its elements are the lanes
        along = self.left.strides[-1] == 1 and self.right.strides[-2] == 1 and self.right.strides[-1] != 1
        self.dots = along and self.contracted >= k.lanes
        self.slot = k.alloca(llvm.vector(k.module.number, k.lanes))

    def write(self) -> None:
        k = self.k
        *stack, m, n = self.target.sizes
        views = (self.left, self.right, self.target)
        with k.loop(i64(0), k.count) as row:
            rows = {v: k.at_row(v, row) for v in views}
            with k.nest(stack) as where, k.loop(i64(0), i64(m)) as i:
                a = k.along(rows[self.left], self.left, [*where, i], self.left.strides[:-1])
                b = k.along(rows[self.right], self.right, where, self.right.strides[:-2])
                c = k.along(rows[self.target], self.target, [*where, i], self.target.strides[:-1])
                self._row(a, b, c, n)

    def _row(self, a: llvm.Value, b: llvm.Value, c: llvm.Value, n: int) -> None:
        """One row of the left matrix with all columns of the right one."""
        k = self.k

        def at(j: llvm.Value, lanes: Lanes) -> None:
            here = k.along(b, self.right, [j], self.right.strides[-1:]), k.along(c, self.target, [j], self.target.strides[-1:])
            (self._dot if self.dots else self._columns)(a, *here, lanes)

        if self.dots or n == 1:
            with k.loop(i64(0), i64(n)) as j:
                at(j, Lanes(1))
            return
        whole = n // k.lanes * k.lanes
        if whole:
            with k.loop(i64(0), i64(whole), k.lanes) as j:
                at(j, Lanes(k.lanes))
        if n > whole:
            at(i64(whole), Lanes(k.lanes, k.mask(n - whole, k.lanes)))

    def _columns(self, a: llvm.Value, b: llvm.Value, c: llvm.Value, lanes: Lanes) -> None:
        k, number = self.k, self.k.module.number
        kind = llvm.vector(number, lanes.n)
        k.b.store(k.number(0.0, k.plan.program.dtype, lanes.n), self.slot)
        with k.loop(i64(0), i64(self.contracted)) as at:
            x = k.splat(k.b.load(k.along(a, self.left, [at], self.left.strides[-1:]), typ=number), lanes.n)
            w = k.load(k.along(b, self.right, [at], self.right.strides[-2:-1]), number, self.right.strides[-1], lanes)
            k.b.store(k.fma(x, w, k.b.load(self.slot, typ=kind)), self.slot)
        k.store(k.b.load(self.slot, typ=kind), c, number, self.target.strides[-1], lanes)

    def _dot(self, a: llvm.Value, b: llvm.Value, c: llvm.Value, _: Lanes) -> None:
        k, number = self.k, self.k.module.number
        kind = llvm.vector(number, k.lanes)
        k.b.store(k.number(0.0, k.plan.program.dtype, k.lanes), self.slot)
        whole = self.contracted // k.lanes * k.lanes

        def part(at: llvm.Value, lanes: Lanes) -> None:
            x = k.load(k.along(a, self.left, [at], [1]), number, 1, lanes)
            w = k.load(k.along(b, self.right, [at], [1]), number, 1, lanes)
            k.b.store(k.fma(x, w, k.b.load(self.slot, typ=kind)), self.slot)

        with k.loop(i64(0), i64(whole), k.lanes) as at:
            part(at, Lanes(k.lanes))
        if self.contracted > whole:
            part(i64(whole), Lanes(k.lanes, k.mask(self.contracted - whole, k.lanes)))
        k.store(horizontal(k, "sum", k.b.load(self.slot, typ=kind), k.lanes), c, number, 1, Lanes(1))
