"""A function being written in LLVM's language: loops, vectors, and the addresses of views.

Every function of a program takes (context, row, instance, count): the table of a call (context.py), the first row and the first
instance that it works on, and how many. A `Kernel` writes one of them. A `Writer` has what is no matter of plans: control, and
vectors in memory; with it alone the walks over arrays that are no program are written (flat.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..ir.dtypes import BYTES
from ..ir.graph import Node
from ..ir.shapes import Varies
from ..plan.plan import Plan
from ..plan.stages import Source
from ..plan.views import BufferId, View
from . import llvm_text as llvm
from .context import Field, buffer_fields
from .target import Target
from .vector_math import emit

I1, I8, I32, I64, PTR, VOID = llvm.I1, llvm.I8, llvm.I32, llvm.I64, llvm.PTR, llvm.VOID
FLOATS = {"f32": llvm.F32, "f64": llvm.F64}
ALIGNED: dict[llvm.Type, int] = {I8: 1, llvm.F32: 4}  # bytes of an element; 8 of others
RANGE = llvm.FunctionType(VOID, [PTR, I64, I64, I64])
TABLE = llvm.FunctionType(VOID, [PTR])


def constant(kind: llvm.Type, value: float, n: int) -> llvm.Constant:
    """A number, in n lanes."""
    return llvm.Constant(llvm.vector(kind, n), value)


Body = Callable[[llvm.Value, list[llvm.Value]], list[llvm.Value]]


def i64(number: int) -> llvm.Constant:
    return llvm.Constant(I64, number)


@dataclass
class ModuleContext:
    """What all functions of one module share."""

    llvm: Any  # the llvm.Module; None where nothing is written
    plan: Plan
    target: Target
    placed: frozenset[BufferId] = frozenset()  # buffers whose rows lie in the user's order: see module.py

    @cached_property
    def fields(self) -> dict[BufferId, int]:
        """The field of the context that points to each buffer."""
        return buffer_fields(self.plan)

    @property
    def lanes(self) -> int:
        return self.target.lanes(self.plan.program.dtype)  # type: ignore[arg-type]

    @property
    def vector_bytes(self) -> int:
        """The size of one vector of numbers in memory."""
        return self.lanes * BYTES[self.plan.program.dtype]

    @property
    def number(self) -> llvm.Type:
        return FLOATS[self.plan.program.dtype]


@dataclass(frozen=True)
class Lanes:
    """How many elements are computed at once, and which of them count (None: all)."""

    n: int
    mask: llvm.Value | None = None


class Writer:
    """A function being written: a table of numbers and addresses, control, and vectors in memory."""

    def __init__(
        self, module: llvm.Module, target: Target, name: str, kind: llvm.FunctionType, *, exported: bool = False
    ) -> None:  # fmt: skip
        self.target = target
        self.function = llvm.Function(module, kind, name)
        if not exported:
            self.function.internal = True
        self.entry = self.function.append_basic_block("entry")
        body = self.function.append_basic_block("body")
        self.b = llvm.IRBuilder(body)
        self._first = llvm.IRBuilder(self.entry)  # what is loaded once stands here
        self._body = body
        self.context = self.function.args[0]  # a table

    def field(self, place: int, kind: llvm.Type = I64) -> llvm.Value:
        """A field of the table, read where the function stands."""
        return self.b.load(self.b.gep(self.context, [i64(place)], source_etype=I64), typ=kind)

    def finish(self) -> llvm.Function:
        if not self.b.block.is_terminated:
            self.b.ret_void()
        self._first.branch(self._body)
        return self.function

    def alloca(self, kind: llvm.Type, count: int = 1) -> llvm.Value:
        return self._first.alloca(kind, i64(count), align=64)

    # --- control

    @contextmanager
    def loop(self, start: llvm.Value, stop: llvm.Value, step: int = 1) -> Iterator[llvm.Value]:
        """start, start + step, ... below stop."""
        b = self.b
        if isinstance(start, llvm.Constant) and isinstance(stop, llvm.Constant) and stop.constant - start.constant <= step:
            assert start.constant < stop.constant, "a loop of no step is not written"
            yield start
            return
        before = b.block
        body, after = b.append_basic_block("loop"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed("<", start, stop), body, after)
        b.position_at_end(body)
        index = b.phi(I64)
        index.add_incoming(start, before)
        yield index
        following = b.add(index, i64(step))
        index.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, stop), body, after)
        b.position_at_end(after)

    @contextmanager
    def nest(self, sizes: Sequence[int]) -> Iterator[list[llvm.Value]]:
        """Loops of constant sizes, the last one innermost."""
        if not sizes:
            yield []
            return
        with self.loop(i64(0), i64(sizes[0])) as first, self.nest(sizes[1:]) as rest:
            yield [first, *rest]

    def loop_carrying(
        self, start: llvm.Value, stop: llvm.Value, step: int, values: Sequence[llvm.Value], body: Body
    ) -> list[llvm.Value]:
        """A loop that carries values from one iteration to the next in registers: start, start + step, ... below stop."""
        b, before = self.b, self.b.block
        surely = isinstance(start, llvm.Constant) and isinstance(stop, llvm.Constant) and start.constant < stop.constant
        block, after = b.append_basic_block("turn"), b.append_basic_block("turned")
        if surely:
            b.branch(block)
        else:
            b.cbranch(b.icmp_signed("<", start, stop), block, after)
        b.position_at_end(block)
        index, *carried = [b.phi(v.type) for v in (start, *values)]
        for phi, value in zip((index, *carried), (start, *values), strict=True):
            phi.add_incoming(value, before)
        results = body(index, list(carried))
        following = b.add(index, i64(step))
        end = b.block
        for phi, value in zip((index, *carried), (following, *results), strict=True):
            phi.add_incoming(value, end)
        b.cbranch(b.icmp_signed("<", following, stop), block, after)
        b.position_at_end(after)
        if surely:
            return results
        merged = [b.phi(v.type) for v in values]
        for phi, value, result in zip(merged, values, results, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(result, end)
        return list(merged)

    # --- vectors

    def splat(self, value: llvm.Value, n: int) -> llvm.Value:
        if n == 1:
            return value
        kind = llvm.VectorType(value.type, n)
        if isinstance(value, llvm.Constant):
            return llvm.Constant(kind, value.constant)
        poison = llvm.Word(kind, "poison")
        one = self.b.insert_element(poison, value, llvm.Constant(I32, 0))
        return self.b.shuffle_vector(one, poison, llvm.Word(llvm.VectorType(I32, n), "zeroinitializer"))

    @staticmethod
    def first_lanes(count: int, n: int) -> llvm.Constant:
        """True in the first `count` of n lanes."""
        return llvm.Constant(llvm.VectorType(I1, n), [i < count for i in range(n)])

    def mask(self, remaining: llvm.Value | int, n: int) -> llvm.Value:
        """True in the first `remaining` lanes."""
        if isinstance(remaining, int):
            return self.first_lanes(remaining, n)
        iota = llvm.Constant(llvm.VectorType(I64, n), range(n))
        return self.b.icmp_signed("<", iota, self.splat(remaining, n))

    def _intrinsic(self, name: str, result: llvm.Type, kinds: Sequence[llvm.Type]) -> llvm.Function:
        return self.b.module.declare(name, result, kinds)

    def call_intrinsic(self, name: str, result: llvm.Type, arguments: Sequence[llvm.Value]) -> llvm.Value:
        return self.b.call(self._intrinsic(name, result, [a.type for a in arguments]), arguments)

    def _name(self, kind: llvm.Type, n: int) -> str:
        return f"{f'v{n}' if n else ''}{'i8' if kind == I8 else 'f32' if kind == FLOATS['f32'] else 'f64'}"

    def load(self, pointer: llvm.Value, kind: llvm.Type, stride: int, lanes: Lanes) -> llvm.Value:
        """Elements, `stride` apart; truth values as `i1`."""
        n, align = lanes.n, ALIGNED.get(kind, 8)
        if n == 1 or stride == 0:
            value = self.splat(self.b.load(pointer, typ=kind, align=align), n)
        elif stride == 1 and lanes.mask is None:
            value = self.b.load(pointer, typ=llvm.VectorType(kind, n), align=align)
        else:
            vector, mask = llvm.VectorType(kind, n), lanes.mask if lanes.mask is not None else self.mask(n, n)
            zero = constant(kind, 0, n)
            if stride == 1:
                kinds = [PTR, I32, mask.type, vector]
                function = self._intrinsic(f"llvm.masked.load.{self._name(kind, n)}.p0", vector, kinds)
                value = self.b.call(function, [pointer, llvm.Constant(I32, align), mask, zero])
            else:
                pointers = self._pointers(pointer, kind, stride, n)
                name = f"llvm.masked.gather.{self._name(kind, n)}.v{n}p0"
                function = self._intrinsic(name, vector, [pointers.type, I32, mask.type, vector])
                value = self.b.call(function, [pointers, llvm.Constant(I32, align), mask, zero])
        return self.b.trunc(value, llvm.vector(I1, n)) if kind == I8 else value

    def _pointers(self, pointer: llvm.Value, kind: llvm.Type, stride: int, n: int) -> llvm.Value:
        offsets = llvm.Constant(llvm.VectorType(I64, n), [i * stride for i in range(n)])
        return self.b.gep(self.splat(pointer, n), [offsets], source_etype=kind)

    def store(self, value: llvm.Value, pointer: llvm.Value, kind: llvm.Type, stride: int, lanes: Lanes) -> None:
        """Elements, `stride` apart."""
        n, align = lanes.n, ALIGNED.get(kind, 8)
        if kind == I8:
            value = self.b.zext(value, llvm.vector(I8, n))
        if n == 1 or (stride == 1 and lanes.mask is None):
            self.b.store(value, pointer, align=align)
            return
        mask = lanes.mask if lanes.mask is not None else self.mask(n, n)
        if stride == 1:
            function = self._intrinsic(f"llvm.masked.store.{self._name(kind, n)}.p0", VOID, [value.type, PTR, I32, mask.type])
            self.b.call(function, [value, pointer, llvm.Constant(I32, align), mask])
            return
        pointers = self._pointers(pointer, kind, stride, n)
        name = f"llvm.masked.scatter.{self._name(kind, n)}.v{n}p0"
        function = self._intrinsic(name, VOID, [value.type, pointers.type, I32, mask.type])
        self.b.call(function, [value, pointers, llvm.Constant(I32, align), mask])

    def fma(self, a: llvm.Value, b: llvm.Value, c: llvm.Value) -> llvm.Value:
        """a * b + c, rounded once where the machine can."""
        if not self.target.fma:
            return self.b.fadd(self.b.fmul(a, b), c)
        kind = a.type
        name = self._name(kind.element, kind.count) if isinstance(kind, llvm.VectorType) else self._name(kind, 0)
        return self.b.call(self._intrinsic(f"llvm.fma.{name}", a.type, [a.type] * 3), [a, b, c])


class Kernel(Writer):
    """A function of a program being written."""

    def __init__(self, module: ModuleContext, name: str, kind: llvm.FunctionType = RANGE, *, exported: bool = False) -> None:
        self.module, self.plan, self.lanes = module, module.plan, module.lanes
        super().__init__(module.llvm, module.target, name, kind, exported=exported)
        self._bases: dict[BufferId, llvm.Value] = {}
        self._tables: dict[int, llvm.Value] = {}
        self.row, self.instance, self.count = self.function.args[1:] if kind is RANGE else (i64(0), i64(0), i64(0))
        self.given: dict[View, llvm.Value] = {}  # addresses of views that the caller has worked out
        self._fields = module.fields

    # --- the context

    def set_field(self, place: int, value: llvm.Value) -> None:
        self.b.store(value, self.b.gep(self.context, [i64(place)], source_etype=I64))

    def share(self, count: llvm.Value, unit: int = 1) -> tuple[llvm.Value, llvm.Value]:
        """From where to where this thread goes, of `count` things that are handed out by `unit` at a time."""
        return self.part(count, self.field(Field.THREAD), self.field(Field.THREADS), unit)

    def part(self, count: llvm.Value, place: llvm.Value, parts: llvm.Value, unit: int = 1) -> tuple[llvm.Value, llvm.Value]:
        """The bounds of one of `parts` parts."""
        b = self.b
        units = b.udiv(b.add(count, i64(unit - 1)), i64(unit)) if unit > 1 else count
        ends = []
        for at in (place, b.add(place, i64(1))):
            end = b.mul(b.udiv(b.mul(units, at), parts), i64(unit))
            ends.append(b.select(b.icmp_unsigned("<", end, count), end, count))
        return ends[0], ends[1]

    def base(self, buffer: BufferId) -> llvm.Value:
        """Where a buffer begins; read once, when the function begins."""
        if buffer not in self._bases:
            first = self._first
            place = first.gep(self.context, [i64(self._fields[buffer])], source_etype=I64)
            self._bases[buffer] = first.load(place, typ=PTR)
        return self._bases[buffer]

    # --- arithmetic of indices

    def add(self, a: llvm.Value, b: llvm.Value) -> llvm.Value:
        if isinstance(a, llvm.Constant) and isinstance(b, llvm.Constant):
            return i64(a.constant + b.constant)
        if isinstance(a, llvm.Constant) and a.constant == 0:
            return b
        return a if isinstance(b, llvm.Constant) and b.constant == 0 else self.b.add(a, b)

    def times(self, a: llvm.Value, number: int) -> llvm.Value:
        if number == 0:
            return i64(0)
        if isinstance(a, llvm.Constant):
            return i64(a.constant * number)
        return a if number == 1 else self.b.mul(a, i64(number))

    # --- addresses

    def element(self, view: View) -> llvm.Type:
        dtype = self.plan.buffers[view.buffer].dtype
        return I8 if dtype == "bool" else FLOATS[dtype]

    def row_stride(self, view: View) -> int:
        """Elements from one row (or instance) to the next."""
        buffer = self.plan.buffers[view.buffer]
        return 0 if buffer.space == Varies.NEVER else buffer.size

    def at_row(self, view: View, offset: llvm.Value) -> llvm.Value:
        """The address of a view in the row that lies `offset` behind the function's first."""
        space = self.plan.buffers[view.buffer].space
        if space == Varies.NEVER:
            return self.step(self.base(view.buffer), view, i64(view.offset))
        first = self.row if space == Varies.STEP else self.instance
        index = self.times(self.row_of(view, self.add(first, offset)), self.row_stride(view))
        return self.step(self.base(view.buffer), view, self.add(index, i64(view.offset)))

    def row_of(self, view: View, row: llvm.Value) -> llvm.Value:
        """Which row of a buffer a row (or an instance) of the run is."""
        if view.buffer not in self.module.placed:
            return row
        field = Field.ROW_TABLE if self.plan.buffers[view.buffer].space == Varies.STEP else Field.ORDER
        if field not in self._tables:
            self._tables[field] = self._first.load(self._first.gep(self.context, [i64(field)], source_etype=I64), typ=PTR)
        return self.b.load(self.b.gep(self._tables[field], [row], source_etype=I64), typ=I64)

    def step(self, pointer: llvm.Value, view: View, elements: llvm.Value) -> llvm.Value:
        if isinstance(elements, llvm.Constant) and elements.constant == 0:
            return pointer
        return self.b.gep(pointer, [elements], source_etype=self.element(view))

    def along(self, pointer: llvm.Value, view: View, indices: Sequence[llvm.Value], strides: Sequence[int]) -> llvm.Value:
        """Further along, by an index for each stride."""
        total: llvm.Value = i64(0)
        for index, stride in zip(indices, strides, strict=True):
            total = self.add(total, self.times(index, stride))
        return self.step(pointer, view, total)

    # --- elementwise nodes

    def number(self, value: float, dtype: str, n: int) -> llvm.Value:
        return constant(I1 if dtype == "bool" else FLOATS[dtype], bool(value) if dtype == "bool" else float(value), n)

    def compute(self, nodes: Sequence[Node], known: dict[str, llvm.Value], loads: Mapping[str, Source], n: int) -> None:
        """The values of elementwise nodes; `known` has what was loaded, and receives what is computed."""
        for node in nodes:
            operands = []
            for arg in node.args:
                source = loads.get(arg.name)
                number = self.number(source, arg.type.dtype, n) if isinstance(source, float) else known[arg.name]
                operands.append(number)
            known[node.value.name] = emit(self.b, node.op, *operands, fma=self.target.fma)
