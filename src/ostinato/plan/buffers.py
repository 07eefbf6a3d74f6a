"""Buffer assignment: where every value of a program lies, before it is known which of them its stages need in memory.

One walk over the program, then four over what it found:

    ports       each has a buffer; a state has four, and a part of a weight is a view of the whole weight's buffer
    nodes       a constant is a number; an identity is its operand; a slice, transpose, broadcast or reshape is a view of its
                operand, where strides can express it, else of a copy; every other node is computed, into a buffer of its own
    parts       a part of a `concat` that is computed in the same phase is written to its place there: no copy is made
    gradients   parts of one weight's gradient are summed up side by side, as the weight is
    results     what goes out has a buffer of its own: what is only a view, or came in, is copied
    states      a new state is written to the buffer from which the next step reads; one that is read behind the loop, or goes
                out for every step, is copied at every step

`assign` returns an `Assignment`, which nobody changes. A node that is nowhere in memory by these rules may still have to be
stored, because a stage reads it: planner.py finds out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import prod

from ..ir.analysis import apart
from ..ir.graph import Node, Port, Program, Result, Value
from ..ir.op import Kind
from ..ir.shapes import Varies
from .accumulation import is_panel_product
from .copies import copies_of
from .phases import Phase
from .plan import StateSlot
from .stages import Source
from .views import Buffer, BufferId, View

IDENTITY = "stop_gradient"  # the op of copies: those that an author wrote are resolved before the planner adds its own


@dataclass(frozen=True)
class Assignment:
    """The values of a program and where they lie.

    Attributes:
        nodes: what is computed, in order; views, constants and identities are gone.
        phase: when each port and node runs.
        sources: where each value lies (or would lie, if it were stored), or the number that it is.
        node_in: buffer -> the node that computes what it holds.
        made: value -> the node that computes exactly it; an identity has the node of its operand.
        buffer_of: node -> the buffer that it would be stored in.
        in_memory: the nodes that are stored, whatever stages read.
        kept: the nodes of the loop whose values are kept for every step.
        targets: node -> where else it is stored: as the new value of states, as a part of a `concat`.
        joined: (a `concat`, a part of it) where the part is stored by what computes it.
        slices: a sum over rows -> the part of a weight's gradient where it is summed up.
        buffers: those of ports, states and gradients.
        ports: port -> its buffer.
        results: for each result, the buffer where it is found.
    """

    program: Program
    nodes: tuple[Node, ...]
    phase: Mapping[str, Phase]
    sources: Mapping[str, Source]
    node_in: Mapping[BufferId, Node]
    made: Mapping[str, Node]
    buffer_of: Mapping[str, BufferId]
    in_memory: frozenset[str]
    kept: frozenset[str]
    targets: Mapping[str, tuple[View, ...]]
    joined: frozenset[tuple[str, str]]
    slices: Mapping[str, View]
    buffers: Mapping[BufferId, Buffer]
    states: tuple[StateSlot, ...]
    ports: Mapping[str, BufferId]
    results: tuple[BufferId, ...]

    def source(self, value: Value, phase: Phase) -> Source:
        """Where a value is read from in a phase."""
        return _behind_the_loop(self.sources[value.name], phase)

    def whole(self, node: Node) -> View:
        """A node's own buffer as a view."""
        return View.whole(self.buffer_of[node.value.name], node.value.type.sizes)

    @cached_property
    def crossing(self) -> frozenset[str]:
        """The nodes whose values another phase than their own reads."""
        found = set()
        for node in self.nodes:
            for source in (self.sources[arg.name] for arg in node.args):
                maker = self.node_in.get(source.buffer) if isinstance(source, View) else None
                if maker is not None and self.phase[maker.value.name] != self.phase[node.value.name]:
                    found.add(maker.value.name)
        return frozenset(found)


def assign(program: Program, phase: Mapping[str, Phase]) -> Assignment:
    """Where the values of a program lie.

    Args:
        phase: of every port and node (phases.py).
    """
    walk = _Walk(program, phase)
    for port in program.ports:
        walk.port(port)
    for node in program.nodes:
        walk.node(node)
    walk.parts()
    walk.gradients()
    results = tuple(walk.result(r) for r in program.results)
    for result in program.results_with("state"):
        walk.new_state(result)
    walk.states_of_every_step(results)
    return walk.finished(results)


def _behind_the_loop(source: Source, phase: Phase) -> Source:
    """A state is read behind the loop from where it is kept for every step."""
    if isinstance(source, View) and source.buffer.role == "now" and phase > Phase.LOOP:
        return source.in_buffer(BufferId("rows", source.buffer.name))
    return source


class _Walk:
    """The tables of an assignment while they are filled in; only `assign` uses it."""

    def __init__(self, program: Program, phase: Mapping[str, Phase]) -> None:
        self.program, self.phase = program, dict(phase)
        self.weight_sizes = program.parameter_sizes  # of every declared weight, whole
        self.slots = {p.name: StateSlot(p.name, p.value.type.n_elements, p.initial) for p in program.states}
        self.nodes: list[Node] = []
        self.sources: dict[str, Source] = {}
        self.node_in: dict[BufferId, Node] = {}
        self.made: dict[str, Node] = {}
        self.buffer_of: dict[str, BufferId] = {}
        self.in_memory: set[str] = set()
        self.kept: set[str] = set()
        self.targets: dict[str, list[View]] = defaultdict(list)
        self.joined: set[tuple[str, str]] = set()
        self.slices: dict[str, View] = {}
        self.buffers: dict[BufferId, Buffer] = {}
        self.ports: dict[str, BufferId] = {}
        self._same: dict[str, Value] = {}  # an identity -> its operand

    def finished(self, results: tuple[BufferId, ...]) -> Assignment:
        return Assignment(
            self.program, tuple(self.nodes), self.phase, self.sources, self.node_in, self.made, self.buffer_of,
            frozenset(self.in_memory), frozenset(self.kept), {name: tuple(views) for name, views in self.targets.items()},
            frozenset(self.joined), self.slices, self.buffers, tuple(self.slots.values()), self.ports, results,
        )  # fmt: skip

    # --- ports

    def port(self, port: Port) -> None:
        name, value = port.name, port.value
        if port.role in ("weight", "bias"):
            buffer, sizes = BufferId("weight", port.parameter), self.weight_sizes[port.parameter]
            view = View.whole(buffer, sizes)
            if port.block:
                start, stop = ([d.size for d in ends] for ends in (port.block.start, port.block.stop))
                view = view.cut(start, stop, [1] * len(sizes))
            self._add_buffer(buffer, Varies.NEVER, max(1, prod(sizes)), value.type.dtype)
        elif port.role == "state":
            slot = self.slots[name]
            for each in (slot.now, slot.next, slot.begin, slot.end):
                self._add_buffer(each, Varies.INSTANCE, slot.size, value.type.dtype)
            buffer, view = slot.begin, View.whole(slot.now, value.type.sizes)
        else:
            buffer = BufferId("port", name)
            view = View.whole(buffer, value.type.sizes)
            self._add_buffer(buffer, value.type.varies, value.type.n_elements, value.type.dtype)
        self.ports[name] = buffer
        self.sources[name] = view

    def _add_buffer(self, buffer: BufferId, space: Varies, size: int, dtype: str) -> None:
        self.buffers[buffer] = Buffer(buffer, space, size, dtype)

    # --- nodes

    def node(self, node: Node) -> None:
        name = node.value.name
        if any(a.name in self._same for a in node.args):
            node = replace(node, args=tuple(self._same.get(a.name, a) for a in node.args))
        if node.op == "constant":
            self.sources[name] = float(node.options["value"])
        elif _is_identity(node):
            self._same[name] = node.args[0]
            self.sources[name] = self.sources[node.args[0].name]
            if node.args[0].name in self.made:
                self.made[name] = self.made[node.args[0].name]
        elif node.record.kind is Kind.VIEW:
            self._view(node)
        else:
            self._compute(self._with_numbers_in_memory(node), self.phase[name])

    def _with_numbers_in_memory(self, node: Node) -> Node:
        """Products and sums over rows walk through memory: a number that one of them reads is put there."""
        product = node.op == "matmul" or node.record.sums_over_steps
        if not product or not any(isinstance(self.sources[arg.name], float) for arg in node.args):
            return node
        args = []
        for i, arg in enumerate(node.args):
            if isinstance(self.sources[arg.name], float):
                args.append(self._copy(BufferId("operand", f"{node.value.name}.{i}"), arg, self.phase[arg.name]))
            else:
                args.append(arg)
        return replace(node, args=tuple(args))

    def _compute(self, node: Node, phase: Phase, buffer: BufferId | None = None) -> None:
        name = node.value.name
        buffer = buffer or BufferId("value", name)
        self.nodes.append(node)
        self.phase[name] = phase
        self.sources[name] = View.whole(buffer, node.value.type.sizes)
        self.buffer_of[name], self.node_in[buffer], self.made[name] = buffer, node, node
        if node.record.kind in (Kind.COPY, Kind.REDUCTION) or node.record.sums_over_steps:
            self.in_memory.add(name)

    def _copy(self, buffer: BufferId, value: Value, phase: Phase) -> Value:
        """A stored copy of a value, made in a phase."""
        copy = Value(str(buffer), value.type)
        self._compute(Node(copy, IDENTITY, (value,)), phase, buffer)
        self.in_memory.add(copy.name)
        return copy

    def _view(self, node: Node) -> None:
        name, options, base = node.value.name, node.options, node.args[0]
        phase = self.phase[name]
        source = _behind_the_loop(self.sources[base.name], phase)
        if not isinstance(source, View):
            self.sources[name] = source
            return
        sizes = node.value.type.sizes
        if node.op == "slice":
            start, stop = ([d.size for d in options[key]] for key in ("start", "stop"))
            view: View | None = source.cut(start, stop, options["step"])
        elif node.op == "transpose":
            view = source.transposed([len(source.sizes) + axis for axis in options["axes"]])
        elif node.op == "stretch":
            view = source.broadcast_to(sizes)
        else:
            view = source.reshaped(sizes)
        if view is None:
            buffer = BufferId("copy", name)
            self._copy(buffer, base, phase)
            source = View.whole(buffer, base.type.sizes)
            view = source.reshaped(sizes)
        assert view is not None
        if source.buffer in self.node_in:
            self.in_memory.add(self.node_in[source.buffer].value.name)
        self._keep_if_read_later(source, phase)
        self.sources[name] = view

    def _keep_if_read_later(self, source: Source, phase: Phase) -> None:
        """What the loop made and a later phase reads is kept for every step."""
        maker = self.node_in.get(source.buffer) if isinstance(source, View) else None
        if maker is not None and phase > Phase.LOOP and self.phase[maker.value.name] == Phase.LOOP:
            self._keep(maker.value.name)

    def _keep(self, name: str) -> None:
        self.kept.add(name)
        self.in_memory.add(name)

    # --- parts of what is joined, and of gradients

    def parts(self) -> None:
        """What is computed as a part of a `concat` is written to its place in it."""
        for node in self.nodes:
            if node.op != "concat":
                continue
            target = View.whole(self.buffer_of[node.value.name], node.value.type.sizes)
            for arg, copy in zip(node.args, copies_of(node, [0.0] * len(node.args), target), strict=True):
                maker = self.made.get(arg.name)
                if maker is not None and _has_stores(maker) and self.phase[arg.name] == self.phase[node.value.name]:
                    self.targets[maker.value.name].append(copy.target)
                    self.joined.add((node.value.name, arg.name))

    def gradients(self) -> None:
        """Parts of a weight's gradient are summed up side by side, as the weight is, if they do not overlap."""
        program = self.program
        read = Counter(a.name for n in self.nodes for a in n.args) + Counter(r.value.name for r in program.results)
        for name, shape in self.weight_sizes.items():
            parts = [r for r in program.results_with("gradient") if r.name == name]
            alone = all(r.block and read[r.value.name] == 1 and r.value.name in self.made for r in parts)
            summed = alone and all(self.made[r.value.name].op in ("total", "total_product") for r in parts)
            blocks = [r.block.slices for r in parts if r.block]
            if len(parts) < 2 or not summed or not all(apart(a, b) for a, b in combinations(blocks, 2)):
                continue
            buffer = BufferId("gradient", name)
            self._add_buffer(buffer, Varies.NEVER, prod(shape), program.dtype)
            for result, block in zip(parts, blocks, strict=True):
                start, stop = [s.start for s in block], [s.stop for s in block]
                self.slices[result.value.name] = View.whole(buffer, shape).cut(start, stop, [1] * len(shape))

    # --- what goes out

    def result(self, result: Result) -> BufferId:
        """The buffer where a result is found."""
        if result.role == "state":
            return self.slots[result.name].end
        if result.role == "gradient" and result.value.name in self.slices:
            return self.slices[result.value.name].buffer
        value = self._same.get(result.value.name, result.value)
        if value.name in self.slots:
            return BufferId("rows", value.name)
        port = next((p for p in self.program.ports if p.name == value.name), None)
        if port is not None and port.role not in ("weight", "bias"):
            return self.ports[value.name]
        phase, node = self.phase[value.name], self.made.get(value.name)
        if phase == Phase.PREPARE:
            node, phase = None, Phase.FINISH  # what is handed out is the caller's: every run makes it anew
        if node is not None:
            self._keep(node.value.name)
            return self.buffer_of[node.value.name]
        buffer = BufferId("out", value.name)
        if buffer not in self.node_in:
            self._copy(buffer, value, phase)
        self._keep(str(buffer))
        return buffer

    def new_state(self, result: Result) -> None:
        """The new value of a state is stored for the next step."""
        value = self._same.get(result.value.name, result.value)
        target = View.whole(self.slots[result.name].next, value.type.sizes)
        node = self.made.get(value.name)
        if node is None or self.phase[node.value.name] != Phase.LOOP or not _has_stores(node):
            buffer = BufferId("new", result.name)
            node = Node(Value(str(buffer), value.type), IDENTITY, (value,))
            self._compute(node, Phase.LOOP, buffer)
        self.targets[node.value.name].append(target)

    def states_of_every_step(self, results: Sequence[BufferId]) -> None:
        """A state that is read behind the loop, or goes out, is copied at every step."""
        read = {buffer.name for buffer in results if buffer.role == "rows"}
        for node in self.nodes:
            phase = self.phase[node.value.name]
            for source in (self.sources[arg.name] for arg in node.args):
                self._keep_if_read_later(source, phase)
                if isinstance(source, View) and source.buffer.role in ("now", "rows") and phase > Phase.LOOP:
                    read.add(source.buffer.name)
        for name in sorted(read):
            buffer = BufferId("rows", name)
            self._copy(buffer, next(p.value for p in self.program.states if p.name == name), Phase.LOOP)
            self.kept.add(str(buffer))


def _is_identity(node: Node) -> bool:
    if node.op == "total" and node.args[0].type.varies == Varies.NEVER:
        return True
    renamed = node.op in ("reshape", "stretch") and node.args[0].type.sizes == node.value.type.sizes
    return node.op == IDENTITY or renamed


def _has_stores(node: Node) -> bool:
    """Whether its stage can store its value to several places; what other stages make has one target."""
    return node.record.elementwise or is_panel_product(node)
