"""A step of numbers over very many instances, as one walk over memory: what an update rule is.

The instances are the elements of arrays that lie anywhere: each array of weights with its gradient and states is a *job*. What
is the same for all instances is computed once for each job, in registers, and the rest element by element: everything that is
read is read once, and everything that is written is written once. A state may be written where it was read.

    ostinato_flat(table)    the number of jobs, which becomes 0, and then for each job:
                            count, scalars, new scalars, g, own states, own states afterwards      8 bytes each

The scalars are the factor of the gradients, the weights of the cell (the settings of a rule), and the states that are the same
for all. Each op is the vector code that layers have, so the bits are those of a layer whose instances are the elements.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..boundary import DTYPES
from ..elementwise import shared_values
from ..graph import Graph, Node
from ..threads import WORKERS
from . import ir
from .emit import ALIGNED, FLOATS, I64, PTR, VOID, i64
from .engine import FUNCTION, code_for
from .ir import I1
from .memory import Array, address
from .targets import Target, host
from .vector_math import KNOWN, emit

COUNT, SCALARS, NEW, FIRST = range(4)  # the fields of a job; the rest are arrays
THREAD = 1 << 16  # elements that are worth a thread of their own
LINE = 64  # elements by which threads share an array: they meet at the end of a cache line, whatever the dtype
SCALE = "(scale)"  # the first scalar; no name of a cell


class _Writer:
    """The function of one job."""

    def __init__(self, module: ir.Module, step: FlatStep) -> None:
        self.step, self.target, self.graph = step, step.target, step.graph
        self.number = FLOATS[self.graph.dtype]
        self.function = ir.Function(module, ir.FunctionType(VOID, [PTR]), "job")
        self.function.internal = True
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))

    def write(self) -> ir.Function:
        step, b = self.step, self.b
        count = self.field(COUNT, I64)
        known = self.scalars()
        inputs, results = ([self.field(FIRST + i + at, PTR) for i in range(n)] for at, n in step.fields)
        own = [node for node in self.graph.nodes if node.value.name not in step.shared]
        n = step.target.lanes(self.graph.dtype)  # type: ignore[arg-type]
        read = {arg.name for node in own for arg in node.args} | {SCALE, *step.new.values()}
        lanes = {name: self.splat(value, n) for name, value in known.items() if name in read}
        whole = b.and_(count, i64(-n))
        before, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("rest")
        b.cbranch(b.icmp_signed("<", i64(0), whole), loop, after)
        b.position_at_end(loop)
        index = b.phi(I64)
        index.add_incoming(i64(0), before)
        self.elements(index, inputs, results, own, lanes, n, None)
        following = b.add(index, i64(n))
        index.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, whole), loop, after)
        b.position_at_end(after)
        if n > 1:
            with b.if_then(b.icmp_signed("<", whole, count)):
                iota = ir.Constant(ir.VectorType(I64, n), range(n))
                mask = b.icmp_signed("<", iota, self.splat(b.sub(count, whole), n))
                self.elements(whole, inputs, results, own, lanes, n, mask)
        b.ret_void()
        return self.function

    def field(self, place: int, kind: ir.Type) -> ir.Value:
        return self.b.load(self.b.gep(self.function.args[0], [i64(place)], source_etype=I64), typ=kind)

    def scalars(self) -> dict[str, ir.Value]:
        """What is the same for all elements; the new states among it are stored."""
        step, b = self.step, self.b
        given, new = self.field(SCALARS, PTR), self.field(NEW, PTR)
        known = {}
        for place, name in enumerate(step.scalars):
            known[name] = b.load(b.gep(given, [i64(place)], source_etype=self.number), typ=self.number)
        self.compute([node for node in self.graph.nodes if node.value.name in step.shared], known, 1)
        for place, name in enumerate(step.shared_states):
            b.store(known[step.new[name]], b.gep(new, [i64(place)], source_etype=self.number))
        return known

    def compute(self, nodes: Sequence[Node], known: dict[str, ir.Value], n: int) -> None:
        for node in nodes:
            if node.op == "constant":
                kind = I1 if node.value.type.dtype == "bool" else self.number
                known[node.value.name] = ir.Constant(kind if n == 1 else ir.VectorType(kind, n), node.options["value"])
            else:
                operands = [known[arg.name] for arg in node.args]
                known[node.value.name] = emit(self.b, node.op, *operands, fma=self.target.fma)

    def elements(
        self, index: ir.Value, inputs: Sequence[ir.Value], results: Sequence[ir.Value], nodes: Sequence[Node],
        lanes: Mapping[str, ir.Value], n: int, mask: ir.Value | None,
    ) -> None:  # fmt: skip
        """The elements from an index on, as many as there are lanes."""
        b, step = self.b, self.step
        known = dict(lanes)
        for name, pointer in zip((step.input, *step.own), inputs, strict=True):
            known[name] = self.load(b.gep(pointer, [index], source_etype=self.number), n, mask)
        known[step.input] = b.fmul(known[step.input], lanes[SCALE])
        self.compute(nodes, known, n)
        for name, pointer in zip(step.own, results, strict=True):
            self.store(known[step.new[name]], b.gep(pointer, [index], source_etype=self.number), n, mask)

    def load(self, pointer: ir.Value, n: int, mask: ir.Value | None) -> ir.Value:
        kind, align = self.number if n == 1 else ir.VectorType(self.number, n), ALIGNED.get(self.number, 8)
        if mask is None:
            return self.b.load(pointer, typ=kind, align=align)
        name = f"llvm.masked.load.v{n}{self.graph.dtype}.p0"
        function = self.b.module.declare(name, kind, [PTR, ir.I32, mask.type, kind])
        return self.b.call(function, [pointer, ir.Constant(ir.I32, align), mask, ir.Constant(kind, 0)])

    def store(self, value: ir.Value, pointer: ir.Value, n: int, mask: ir.Value | None) -> None:
        align = ALIGNED.get(self.number, 8)
        if mask is None:
            self.b.store(value, pointer, align=align)
            return
        name = f"llvm.masked.store.v{n}{self.graph.dtype}.p0"
        function = self.b.module.declare(name, VOID, [value.type, PTR, ir.I32, mask.type])
        self.b.call(function, [value, pointer, ir.Constant(ir.I32, align), mask])

    def splat(self, value: ir.Value, n: int) -> ir.Value:
        if n == 1 or isinstance(value, ir.Constant):
            return value if n == 1 else ir.Constant(ir.VectorType(value.type, n), value.constant)  # type: ignore[union-attr]
        kind = ir.VectorType(value.type, n)
        poison = ir.Word(kind, "poison")
        one = self.b.insert_element(poison, value, ir.Constant(ir.I32, 0))
        return self.b.shuffle_vector(one, poison, ir.Word(ir.VectorType(ir.I32, n), "zeroinitializer"))


class FlatStep:
    """A step of numbers, compiled for arrays of instances.

    Attributes:
        input: its one input. own: the states that every instance has of its own; shared_states: the others.
        scalars: what is read once: SCALE, the weights, the shared states.
        shared: all values that are the same for all instances. new: state -> its new value.
        fields: where the addresses of what is read and of what is written begin in a job, and how many they are.
    """

    def __init__(self, graph: Graph, own: Sequence[str], target: Target | None = None) -> None:
        """`fits(graph)` must hold."""
        self.graph, self.own, self.target = graph, tuple(own), target or host()
        self.shared = shared_values(graph, own)
        self.input = graph.with_role("input")[0].name
        self.shared_states = [p.name for p in graph.states if p.name not in self.own]
        self.settings = [p.name for p in graph.with_role("weight", "bias")]
        self.scalars = [SCALE, *self.settings, *self.shared_states]
        self.new = {r.name: r.value.name for r in graph.results_with("state")}
        n = 1 + len(self.own)
        self.fields = ((0, n), (n, n - 1))
        self.size = FIRST + 2 * n - 1
        text = f"flat {', '.join(self.own)}\n{graph}"
        self.code = code_for(text, self.target, graph.name, self.module)
        self._function = FUNCTION(self.code.address("ostinato_flat"))
        self.dtype = np.dtype(DTYPES[graph.dtype])
        self._plans = lru_cache(maxsize=8)(self._plan)

    @classmethod
    def of(cls, graph: Graph, own: Sequence[str]) -> FlatStep | None:
        """The step as one walk; None where it is more than ops on numbers."""
        values = [p.value for p in graph.ports] + [node.value for node in graph.nodes]
        numbers = all(not value.type.dims for value in values) and all(n.op in (*KNOWN, "constant") for n in graph.nodes)
        return cls(graph, own) if numbers else None

    def module(self) -> ir.Module:
        """All jobs of a table, one after another."""
        module = ir.Module(self.target.triple)
        job = _Writer(module, self).write()
        function = ir.Function(module, ir.FunctionType(VOID, [PTR]), "ostinato_flat")
        b = ir.IRBuilder(function.append_basic_block("entry"))
        table = function.args[0]
        count = b.load(table, typ=I64)
        before, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed("<", i64(0), count), loop, after)
        b.position_at_end(loop)
        index = b.phi(I64)
        index.add_incoming(i64(0), before)
        b.call(job, [b.gep(table, [b.add(b.mul(index, i64(self.size)), i64(1))], source_etype=I64)])
        following = b.add(index, i64(1))
        index.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, count), loop, after)
        b.position_at_end(after)
        b.store(i64(0), table)
        b.ret_void()
        return module

    def call(
        self, rows: Sequence[Sequence[Array]], scale: float, settings: Mapping[str, Array], shared: Mapping[str, Array]
    ) -> FlatCall:  # fmt: skip
        """One step of arrays that are not looked at again: contiguous, of the dtype, and all those of a row of one size.

        Args:
            rows: for each array of instances the input, the own states, and where their new values go.
            shared: of each shared state its value.
        """
        scalars = np.array([scale, *(settings[name] for name in self.settings), *(shared[s] for s in self.shared_states)], self.dtype)
        new = np.empty(len(self.shared_states), self.dtype)
        n_threads, sizes = WORKERS.count, tuple(row[0].size for row in rows)
        parts, owners, shifts, counts = self._plans(sizes, min(n_threads, max(1, sum(sizes) // THREAD)))
        table = np.empty((len(parts), 1 + parts.max() * self.size), np.int64)
        addresses = np.array([[address(array) for array in row] for row in rows], np.int64)
        table[:, 0] = parts
        at = 0
        for line, part in zip(table, parts, strict=True):
            jobs = line[1 : 1 + part * self.size].reshape(part, self.size)
            here = slice(at, at + part)
            jobs[:, COUNT], jobs[:, SCALARS], jobs[:, NEW] = counts[here], address(scalars), address(new)
            jobs[:, FIRST:] = addresses[owners[here]] + shifts[here]
            at += part
        named = {state: new[i : i + 1].reshape(()) for i, state in enumerate(self.shared_states)}
        return FlatCall(self._function, table, named, (rows, scalars))

    def _plan(self, sizes: tuple[int, ...], n_threads: int) -> tuple[Array, Array, Array, Array]:
        """How many jobs each thread has; and of each job the row that it is of, where it begins in bytes, and its size."""
        total, jobs, parts = sum(sizes), [], []
        for thread in range(n_threads):
            low, high = (total * t // n_threads // LINE * LINE if t < n_threads else total for t in (thread, thread + 1))
            begin, own = 0, 0
            for row, size in enumerate(sizes):
                first, last = max(low, begin), min(high, begin + size)
                if first < last or (not total and not thread):
                    jobs.append((row, (first - begin) * self.dtype.itemsize, last - first))
                    own += 1
                begin += size
            parts.append(own)
        owners, shifts, counts = (np.array(column, np.int64) for column in zip(*jobs, strict=True))
        return np.array(parts), owners, shifts[:, None], counts


@dataclass
class FlatCall:
    """A step that is ready to run, once.

    Attributes:
        shared: the new value of each shared state, when it is done.
    """

    function: Any
    table: Array
    shared: dict[str, Array]
    alive: object

    def run(self) -> None:
        """No instruction of Python comes between its jobs: an interrupt finds all of them done, or none."""
        addresses = [address(self.table) + i * self.table.strides[0] for i in range(len(self.table))]
        if len(addresses) == 1 or not WORKERS.run(self.function, addresses):
            deque(map(self.function, addresses), maxlen=0)

    @property
    def done(self) -> bool:
        return not self.table[:, 0].any()
