"""A step of numbers over very many instances, as one walk over memory: what an update rule is.

The instances are the elements of arrays that lie anywhere: each array of weights with its gradient and states is a *job*. What
is the same for all instances is computed once for each job, in registers, and the rest element by element: everything that is
read is read once, and everything that is written is written once. A state may be written where it was read.

    ostinato_flat(table)    the number of jobs, which becomes 0, and then for each job, 8 bytes each:
                            how many elements, the first one in bytes, pointers to the scalars, to the new scalars, and to the
                            pointer to the first of its arrays, and the bytes from that pointer to the one of its next array

The arrays of a job are g, w, w afterwards, the other own states, and those afterwards. A pointer to an array is one to the
object that NumPy has of it (array_objects.py): to ask each array for the address of its data takes Python longer.

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
from .array_objects import HEADER
from .kernel import FLOATS, I8, I64, PTR, TABLE, Lanes, Writer, i64
from .llvm_text import I1
from .target import Target
from .vector_math import KNOWN, emit

COUNT, SHIFT, SCALARS, NEW, ARRAYS, NEXT = range(6)  # the fields of a job
SIZE = 6  # fields
GIVEN = 3  # the arrays that are others at every step: g, w, w afterwards
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
        places: of what is read and of what is written among the arrays of a job.
    """

    def __init__(self, graph: Graph, own: Sequence[str], target: Target) -> None:
        self.graph, self.own, self.target = graph, tuple(own), target
        self.shared = shared_values(graph, own)
        self.input = graph.with_role("input")[0].name
        self.shared_states = [p.name for p in graph.states if p.name not in self.own]
        self.settings = [p.name for p in graph.with_role("weight", "bias")]
        self.scalars = [SCALE, *self.settings, *self.shared_states]
        self.new = {r.name: r.value.name for r in graph.results_with("state")}
        n = len(self.own) - 1
        self.places = ((0, 1, *range(GIVEN, GIVEN + n)), (2, *range(GIVEN + n, GIVEN + 2 * n)))
        self.dtype = np.dtype(DTYPES[graph.dtype])

    def module(self) -> llvm.Module:
        """All jobs of a table, one after another."""
        module = llvm.Module(self.target.triple)
        job = _Job(module, self).write()
        k = Writer(module, self.target, "ostinato_flat", TABLE, exported=True)
        with k.loop(i64(0), k.field(0)) as index:
            k.b.call(job, [k.b.gep(k.context, [k.b.add(k.b.mul(index, i64(SIZE)), i64(1))], source_etype=I64)])
        k.b.store(i64(0), k.context)
        k.finish()
        return module


class _Job(Writer):
    """The function of one job."""

    def __init__(self, module: llvm.Module, step: FlatWalk) -> None:
        super().__init__(module, step.target, "job", TABLE)
        self.step, self.graph = step, step.graph
        self.number = FLOATS[self.graph.dtype]

    def write(self) -> llvm.Function:
        step, b = self.step, self.b
        count = self.field(COUNT)
        known = self.scalars()
        inputs, results = ([self.array(place) for place in places] for places in step.places)
        own = [node for node in self.graph.nodes if node.value.name not in step.shared]
        n = step.target.lanes(self.graph.dtype)  # type: ignore[arg-type]
        read = {arg.name for node in own for arg in node.args} | {SCALE, *step.new.values()}
        lanes = {name: self.splat(value, n) for name, value in known.items() if name in read}
        whole = b.and_(count, i64(-n))
        with self.loop(i64(0), whole, n) as index:
            self.elements(index, inputs, results, own, lanes, Lanes(n))
        if n > 1:
            with b.if_then(b.icmp_signed("<", whole, count)):
                rest = Lanes(n, self.mask(b.sub(count, whole), n))
                self.elements(whole, inputs, results, own, lanes, rest)
        return self.finish()

    def array(self, place: int) -> llvm.Value:
        """Where the elements of the job begin, in one of its arrays."""
        b = self.b
        pointer = b.gep(self.field(ARRAYS, PTR), [b.mul(self.field(NEXT), i64(place))], source_etype=I8)
        data = b.load(b.gep(b.load(pointer, typ=PTR), [i64(HEADER)], source_etype=I8), typ=PTR)
        return b.gep(data, [self.field(SHIFT)], source_etype=I8)

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
        same: Mapping[str, llvm.Value], lanes: Lanes,
    ) -> None:  # fmt: skip
        """The elements from an index on, as many as there are lanes."""
        b, step = self.b, self.step
        known = dict(same)
        for name, pointer in zip((step.input, *step.own), inputs, strict=True):
            known[name] = self.load(b.gep(pointer, [index], source_etype=self.number), self.number, 1, lanes)
        known[step.input] = b.fmul(known[step.input], same[SCALE])
        self.compute(nodes, known, lanes.n)
        for name, pointer in zip(step.own, results, strict=True):
            place = b.gep(pointer, [index], source_etype=self.number)
            self.store(known[step.new[name]], place, self.number, 1, lanes)
