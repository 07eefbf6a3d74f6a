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
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..ir.dtypes import DTYPES
from ..ir.graph import Graph, Node
from ..lower import llvm_text as llvm
from ..lower.kernel import ALIGNED, FLOATS, I64, PTR, VOID, i64
from ..lower.llvm_text import I1
from ..lower.target import Target, host
from ..lower.vector_math import KNOWN, emit
from ..passes.per_instance import shared_values
from .memory import Array, address
from .program import FUNCTION, code_for
from .threads import WORKERS

COUNT, SCALARS, NEW, FIRST = range(4)  # the fields of a job; the rest are arrays
THREAD = 1 << 16  # elements that are worth a thread of their own
LINE = 64  # elements by which threads share an array: they meet at the end of a cache line, whatever the dtype
SCALE = "(scale)"  # the first scalar; no name of a cell


class _Writer:
    """The function of one job."""

    def __init__(self, module: llvm.Module, step: FlatStep) -> None:
        self.step, self.target, self.graph = step, step.target, step.graph
        self.number = FLOATS[self.graph.dtype]
        self.function = llvm.Function(module, llvm.FunctionType(VOID, [PTR]), "job")
        self.function.internal = True
        self.b = llvm.IRBuilder(self.function.append_basic_block("entry"))

    def write(self) -> llvm.Function:
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
                iota = llvm.Constant(llvm.VectorType(I64, n), range(n))
                mask = b.icmp_signed("<", iota, self.splat(b.sub(count, whole), n))
                self.elements(whole, inputs, results, own, lanes, n, mask)
        b.ret_void()
        return self.function

    def field(self, place: int, kind: llvm.Type) -> llvm.Value:
        return self.b.load(self.b.gep(self.function.args[0], [i64(place)], source_etype=I64), typ=kind)

    def scalars(self) -> dict[str, llvm.Value]:
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

    def compute(self, nodes: Sequence[Node], known: dict[str, llvm.Value], n: int) -> None:
        for node in nodes:
            if node.op == "constant":
                kind = I1 if node.value.type.dtype == "bool" else self.number
                known[node.value.name] = llvm.Constant(llvm.vector(kind, n), node.options["value"])
            else:
                operands = [known[arg.name] for arg in node.args]
                known[node.value.name] = emit(self.b, node.op, *operands, fma=self.target.fma)

    def elements(
        self, index: llvm.Value, inputs: Sequence[llvm.Value], results: Sequence[llvm.Value], nodes: Sequence[Node],
        lanes: Mapping[str, llvm.Value], n: int, mask: llvm.Value | None,
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

    def load(self, pointer: llvm.Value, n: int, mask: llvm.Value | None) -> llvm.Value:
        kind, align = llvm.vector(self.number, n), ALIGNED.get(self.number, 8)
        if mask is None:
            return self.b.load(pointer, typ=kind, align=align)
        name = f"llvm.masked.load.v{n}{self.graph.dtype}.p0"
        function = self.b.module.declare(name, kind, [PTR, llvm.I32, mask.type, kind])
        return self.b.call(function, [pointer, llvm.Constant(llvm.I32, align), mask, llvm.Constant(kind, 0)])

    def store(self, value: llvm.Value, pointer: llvm.Value, n: int, mask: llvm.Value | None) -> None:
        align = ALIGNED.get(self.number, 8)
        if mask is None:
            self.b.store(value, pointer, align=align)
            return
        name = f"llvm.masked.store.v{n}{self.graph.dtype}.p0"
        function = self.b.module.declare(name, VOID, [value.type, PTR, llvm.I32, mask.type])
        self.b.call(function, [value, pointer, llvm.Constant(llvm.I32, align), mask])

    def splat(self, value: llvm.Value, n: int) -> llvm.Value:
        if n == 1:
            return value
        if isinstance(value, llvm.Constant):
            return llvm.Constant(llvm.VectorType(value.type, n), value.constant)
        kind = llvm.VectorType(value.type, n)
        poison = llvm.Word(kind, "poison")
        one = self.b.insert_element(poison, value, llvm.Constant(llvm.I32, 0))
        return self.b.shuffle_vector(one, poison, llvm.Word(llvm.VectorType(llvm.I32, n), "zeroinitializer"))


class FlatStep:
    """A step of numbers, for arrays of instances; made by `of`.

    Attributes:
        input: its one input. own: the states that every instance has of its own; shared_states: the others.
        scalars: what is read once: SCALE, the weights, the shared states.
        shared: all values that are the same for all instances. new: state -> its new value.
        fields: where the addresses of what is read and of what is written begin in a job, and how many they are.
    """

    def __init__(self, graph: Graph, own: Sequence[str], target: Target | None = None) -> None:
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
        self.dtype = np.dtype(DTYPES[graph.dtype])

    @classmethod
    def of(cls, graph: Graph, own: Sequence[str]) -> FlatStep | None:
        """The step as one walk; None where it is more than ops on numbers."""
        values = [p.value for p in graph.ports] + [node.value for node in graph.nodes]
        numbers = all(not value.type.dims for value in values) and all(n.op in (*KNOWN, "constant") for n in graph.nodes)
        return cls(graph, own) if numbers else None

    @cached_property
    def function(self) -> Any:
        """What runs a table; compiled when it is first asked for."""
        text = f"flat {', '.join(self.own)}\n{self.graph}"
        self._code = code_for(text, self.target, self.graph.name, self.module)  # kept: with it goes its memory
        return FUNCTION(self._code.address("ostinato_flat"))

    def module(self) -> llvm.Module:
        """All jobs of a table, one after another."""
        module = llvm.Module(self.target.triple)
        job = _Writer(module, self).write()
        function = llvm.Function(module, llvm.FunctionType(VOID, [PTR]), "ostinato_flat")
        b = llvm.IRBuilder(function.append_basic_block("entry"))
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

    def plan(self, sizes: Sequence[int], n_threads: int) -> list[list[tuple[int, int, int]]]:
        """The jobs of each thread, for arrays of these sizes: which array, its first element, and how many."""
        total = sum(sizes)
        threads = []
        for thread in range(n_threads):
            low, high = (total if t == n_threads else total * t // n_threads // LINE * LINE for t in (thread, thread + 1))
            begin, jobs = 0, []
            for row, size in enumerate(sizes):
                first, last = max(low, begin), min(high, begin + size)
                if first < last or not total:
                    jobs.append((row, first - begin, last - first))
                begin += size
            threads.append(jobs)
        return threads


class FlatRun:
    """A step of certain arrays, to be made again and again; by one thread at a time.

    Attributes:
        done: whether the step that was prepared is made. An interrupt finds all of it done, or nothing.
    """

    def __init__(
        self, step: FlatStep, sizes: Sequence[int], before: Sequence[Sequence[Array]], after: Sequence[Sequence[Array]]
    ) -> None:  # fmt: skip
        """All arrays, here and in `prepare`, are contiguous and of the dtype of the step.

        Args:
            sizes: of the arrays of instances.
            before, after: of each of them the own states but the first; they may be the same arrays.
        """
        self.step, self._sizes, self._alive = step, tuple(sizes), (before, after)
        (_, n), (out, _) = step.fields
        self._addresses = np.zeros((len(before), step.size - FIRST), np.int64)
        for row, (kept, new) in enumerate(zip(before, after, strict=True)):
            self._addresses[row, 2:n] = [address(array) for array in kept]
            self._addresses[row, out + 1 :] = [address(array) for array in new]
        self._scalars = np.zeros(len(step.scalars), step.dtype)
        self._new = np.zeros(max(1, len(step.shared_states)), step.dtype)
        self._snapshot: Mapping[str, Array] | None = None
        self._tables: dict[int, tuple[Array, list[tuple[Array, Array, Array]]]] = {}  # threads -> their jobs

    def prepare(
        self, inputs: Iterable[Array], before: Iterable[Array], after: Iterable[Array], scale: float,
        settings: Mapping[str, Array], shared: Mapping[str, Array],
    ) -> None:  # fmt: skip
        """What the next step is of.

        Args:
            inputs, before, after: of each array of instances its input, its first state, and where the new one is written.
            scale: the factor of the inputs.
            settings: the weights of the cell; looked at again only where it is another object.
            shared: of each shared state its value.
        """
        step, addresses = self.step, self._addresses
        addresses[:, 0], addresses[:, 1] = [address(a) for a in inputs], [address(a) for a in before]
        addresses[:, step.fields[1][0]] = [address(a) for a in after]
        scalars, n = self._scalars, 1 + len(step.settings)
        scalars[0] = scale
        if settings is not self._snapshot:
            scalars[1:n] = [settings[name] for name in step.settings]
            self._snapshot = settings
        for place, state in enumerate(step.shared_states, n):
            scalars[place] = shared[state]
        n_threads = min(WORKERS.count, max(1, sum(self._sizes) // THREAD))
        self._table, parts = self._tables.get(n_threads) or self._table_of(n_threads)
        for line, (jobs, rows, shifts) in zip(self._table, parts, strict=True):
            jobs[:, FIRST:] = addresses[rows] + shifts
            line[0] = len(jobs)

    def run(self) -> None:
        """Make the step that is prepared, once."""
        function, table = self.step.function, self._table
        where = [address(table) + i * table.strides[0] for i in range(len(table))]
        if len(where) == 1 or not WORKERS.run(function, where):
            deque(map(function, where), maxlen=0)  # without an instruction of Python in between

    def _table_of(self, n_threads: int) -> tuple[Array, list[tuple[Array, Array, Array]]]:
        """A line for each thread, and of each line its jobs, the array that each is of, and where it begins in bytes."""
        step, threads = self.step, self.step.plan(self._sizes, n_threads)
        table = np.zeros((n_threads, 1 + max(map(len, threads)) * step.size), np.int64)
        parts = []
        for line, given in zip(table, threads, strict=True):
            jobs = line[1 : 1 + len(given) * step.size].reshape(len(given), step.size)
            rows, firsts, counts = np.array(given, np.int64).reshape(-1, 3).T
            jobs[:, COUNT], jobs[:, SCALARS], jobs[:, NEW] = counts, address(self._scalars), address(self._new)
            parts.append((jobs, rows, firsts[:, None] * step.dtype.itemsize))
        self._tables[n_threads] = table, parts
        return table, parts

    @property
    def done(self) -> bool:
        return not self._table[:, 0].any()

    @property
    def shared(self) -> dict[str, Array]:
        """The new value of each shared state, once the run is done."""
        return {state: self._new[place].copy() for place, state in enumerate(self.step.shared_states)}
