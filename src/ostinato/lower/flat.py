"""A step of numbers over very many instances, as one walk over memory: what an update rule is.

The instances are the elements of arrays that lie anywhere: each array of weights with its gradient and states is a *job*. What
is the same for all instances is computed once for each job, in registers, and the rest element by element: everything that is
read is read once, and everything that is written is written once. A state may be written where it was read.

    ostinato_flat(table)    the number of jobs, which becomes 0, and then for each job:
                            count, scalars, new scalars, g, own states, own states afterwards      8 bytes each

The scalars are the factor of the gradients, the weights of the cell (the settings of a rule), and the states that are the same
for all. Each op is the vector code that layers have, so the bits are those of a layer whose instances are the elements.
native/updates.py fills tables in and runs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..ir.dtypes import DTYPES
from ..ir.graph import Graph, Node
from ..passes.per_instance import shared_values
from . import llvm_text as llvm
from .kernel import ALIGNED, FLOATS, I64, PTR, VOID, i64
from .llvm_text import I1
from .target import Target
from .vector_math import KNOWN, emit

COUNT, SCALARS, NEW, FIRST = range(4)  # the fields of a job; the rest are arrays
SCALE = "(scale)"  # the first scalar, the factor of the gradients; no name of a cell has parentheses


def is_of_numbers(graph: Graph) -> bool:
    """Whether a step is nothing but ops on numbers, so that it can be such a walk."""
    values = [p.value for p in graph.ports] + [node.value for node in graph.nodes]
    return all(not value.type.dims for value in values) and all(n.op in (*KNOWN, "constant") for n in graph.nodes)


class FlatWalk:
    """A step of numbers, for arrays of instances.

    Attributes:
        input: its one input. own: the states that every instance has of its own; shared_states: the others.
        scalars: what is read once: SCALE, the weights, the shared states.
        shared: all values that are the same for all instances. new: state -> its new value.
        fields: where the addresses of what is read and of what is written begin in a job, and how many they are.
    """

    def __init__(self, graph: Graph, own: Sequence[str], target: Target) -> None:
        self.graph, self.own, self.target = graph, tuple(own), target
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


class _Writer:
    """The function of one job."""

    def __init__(self, module: llvm.Module, step: FlatWalk) -> None:
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
