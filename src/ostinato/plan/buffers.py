"""Where every value of a program lies: which are computed, which are only views, what is stored, and what goes out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from math import prod

from ..errors import InternalError
from ..ir.analysis import apart
from ..ir.graph import Node, Program, Result, Value
from ..ir.op import Kind
from ..ir.shapes import Varies
from .accumulation import is_panel_product
from .copies import moves_of
from .phases import Phase, phases
from .plan import Source, StateSlot
from .views import Buffer, View, compact_strides

COPY = "stop_gradient"  # the identity: what an author wrote is resolved before the planner adds its own

# rows of so many elements, or a multiple, would all begin in the same few lines of a cache, and drive each other out of it
SPREAD, GAP = 128, 16


class Places:
    """The values of a program and where they lie.

    Attributes:
        nodes: what is computed, in order; views, constants and identities are gone.
        phase: when each node runs.
        views: where each value lies (or would lie, if it were stored), or the number that it is.
        stored: the names of nodes whose values are in memory.
        targets: node name -> where else it is stored: as the new value of states, as a part of a joined value.
        joined: (a joined value, a part of it) where the part is stored by what computes it.
        results: for each result, the buffer where it is found.
        homes: a sum over rows -> the part of a weight's gradient where it is summed up.
    """

    def __init__(self, program: Program, choice: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.program = program
        self.phase = phases(program, choice)
        self.states = {p.name: StateSlot(p.name, p.value.type.n_elements, p.initial) for p in program.states}
        self.nodes: list[Node] = []
        self.views: dict[str, Source] = {}
        self.stored: set[str] = set()
        self.targets: dict[str, list[View]] = defaultdict(list)
        self.joined: set[tuple[str, str]] = set()
        self.ports: dict[str, str] = {}
        self.buffers: dict[str, Buffer] = {}
        self._same: dict[str, Value] = {}  # an identity -> what it is
        self._made: dict[str, Node] = {}
        self._later: set[str] = set()  # values of the loop that are read after it, or go out
        for port in program.ports:
            self._place_port(port.name, port.value, shapes)
        for node in program.nodes:
            self._place(node)
        self._join()
        self.homes = self._gradients(shapes)
        self.results = tuple(self._place_result(r) for r in program.results)
        for result in program.results_with("state"):
            self._close(result)
        self._keep_states()

    # --- looking up

    def source(self, value: Value, phase: Phase) -> Source:
        """Where a value is read from in a phase."""
        source = self.views[value.name]
        if isinstance(source, View) and source.buffer.endswith("@now") and phase > Phase.LOOP:
            return source.in_buffer(source.buffer.removesuffix("now") + "rows")
        return source

    def node_of(self, value: Value) -> Node | None:
        """The node that computes exactly this value."""
        return self._made.get(value.name)

    @cached_property
    def crossing(self) -> set[str]:
        """The nodes whose values another phase than their own reads."""
        found = set()
        for node in self.nodes:
            for source in (self.views[arg.name] for arg in node.args):
                if isinstance(source, View) and self.phase.get(source.buffer) not in (None, self.phase[node.value.name]):
                    found.add(source.buffer)
        return found

    def store(self, source: Source) -> None:
        """What is read as a view of a node's value must be in memory."""
        if isinstance(source, View) and source.buffer in self._made:
            self.stored.add(source.buffer)

    def make_buffers(self) -> None:
        """A buffer for everything that turned out to be stored."""
        for node in self.nodes:
            name, value = node.value.name, node.value
            if name not in self.stored or name in self.homes:
                continue
            phase = self.phase[name]
            space = phase.space
            if node.record.sums_over_steps:
                space = value.type.varies
            elif phase == Phase.LOOP and name not in self._later:
                space = Varies.INSTANCE
            size = value.type.n_elements
            if space == Varies.STEP and size % SPREAD == 0 and name not in self.results:
                size += GAP
            self.buffers[name] = Buffer(name, space, size, value.type.dtype)

    # --- placing

    def _place_port(self, name: str, value: Value, shapes: Mapping[str, tuple[int, ...]]) -> None:
        port = next(p for p in self.program.ports if p.name == name)
        if port.role in ("weight", "bias"):
            buffer, sizes = f"weight {port.parameter}", shapes[port.parameter]
            view = View.whole(buffer, sizes)
            if port.block:
                start, stop = ([d.size for d in ends] for ends in (port.block.start, port.block.stop))
                view = view.cut(start, stop, [1] * len(sizes))
            size = View.whole(buffer, sizes)
            self.buffers[buffer] = Buffer(buffer, Varies.NEVER, max(1, _count(size.sizes)), value.type.dtype)
        elif port.role == "state":
            slot = self.states[name]
            for buffer in (slot.now, slot.next, slot.begin, slot.end):
                self.buffers[buffer] = Buffer(buffer, Varies.INSTANCE, slot.size, value.type.dtype)
            view = View.whole(slot.now, value.type.sizes)
            buffer = slot.begin
        else:
            buffer = name
            view = View.whole(name, value.type.sizes)
            self.buffers[name] = Buffer(name, value.type.varies, value.type.n_elements, value.type.dtype)
        self.ports[name] = buffer
        self.views[name] = view

    def _place(self, node: Node) -> None:
        name = node.value.name
        node = replace(node, args=tuple(self._same.get(a.name, a) for a in node.args))
        if node.op == "constant":
            self.views[name] = float(node.options["value"])
        elif self._is_identity(node):
            self._same[name] = node.args[0]
            self.views[name] = self.views[node.args[0].name]
            if node.args[0].name in self._made:
                self._made[name] = self._made[node.args[0].name]
        elif node.record.kind is Kind.VIEW:
            self._place_view(node)
        else:
            self._compute(self._with_places(node), self.phase[name])

    def _with_places(self, node: Node) -> Node:
        """Products and sums over rows walk through memory: a number that one of them reads is put there."""
        if node.op != "matmul" and not node.record.sums_over_steps:
            return node
        args = []
        for i, arg in enumerate(node.args):
            plain = isinstance(self.views[arg.name], float)
            args.append(self._copy(f"{node.value.name}@{i}", arg, self.phase[arg.name]) if plain else arg)
        return replace(node, args=tuple(args))

    def _is_identity(self, node: Node) -> bool:
        if node.op == "total" and node.args[0].type.varies == Varies.NEVER:
            return True
        renamed = node.op in ("reshape", "stretch") and node.args[0].type.sizes == node.value.type.sizes
        return node.op == COPY or renamed

    def _compute(self, node: Node, phase: Phase) -> View:
        view = View.whole(node.value.name, node.value.type.sizes)
        self.nodes.append(node)
        self.phase[node.value.name] = phase
        self.views[node.value.name] = view
        self._made[node.value.name] = node
        if node.record.kind in (Kind.COPY, Kind.REDUCTION) or node.record.sums_over_steps:
            self.stored.add(node.value.name)
        return view

    def _place_view(self, node: Node) -> None:
        name, options, base = node.value.name, node.options, node.args[0]
        phase = self.phase[name]
        source = self.source(base, phase)
        if not isinstance(source, View):
            self.views[name] = source
            return
        sizes = node.value.type.sizes
        if node.op == "slice":
            start, stop = ([d.size for d in options[key]] for key in ("start", "stop"))
            view: View | None = source.cut(start, stop, options["step"])
        elif node.op == "transpose":
            view = source.transposed([len(source.sizes) + axis for axis in options["axes"]])
        elif node.op == "stretch":
            view = source.stretched(sizes)
        else:
            view = source.reshaped(sizes)
        if view is None:
            copy = self._copy(f"{name}@copy", base, phase)
            view = View.whole(copy.name, base.type.sizes).reshaped(sizes)
            source = View.whole(copy.name, base.type.sizes)
        assert view is not None
        self.store(source)
        self._note_later(source, phase)
        self.views[name] = view

    def _copy(self, name: str, value: Value, phase: Phase) -> Value:
        """A stored copy of a value, made in a phase."""
        copy = Value(name, value.type)
        self._compute(Node(copy, COPY, (value,)), phase)
        self.stored.add(name)
        return copy

    def _join(self) -> None:
        """What is computed as a part of a joined value is written to its place in it: no copy is made."""
        for node in self.nodes:
            if node.op != "concat":
                continue
            target = View.whole(node.value.name, node.value.type.sizes)
            for arg, move in zip(node.args, moves_of(node, [0.0] * len(node.args), target), strict=True):
                maker = self._made.get(arg.name)
                plain = maker is not None and (maker.record.elementwise or is_panel_product(maker))
                if maker is not None and plain and self.phase[arg.name] == self.phase[node.value.name]:
                    self.targets[maker.value.name].append(move.target)
                    self.joined.add((node.value.name, arg.name))

    def _gradients(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, View]:
        """Where the parts of a weight's gradient are summed up: side by side, as the weight is, if they do not overlap."""
        read = Counter(a.name for n in self.nodes for a in n.args) + Counter(r.value.name for r in self.program.results)
        homes: dict[str, View] = {}
        for name, shape in shapes.items():
            parts = [r for r in self.program.results_with("gradient") if r.name == name]
            alone = all(r.block and read[r.value.name] == 1 and r.value.name in self._made for r in parts)
            totals = alone and all(self._made[r.value.name].op in ("total", "total_product") for r in parts)
            blocks = [r.block.slices for r in parts if r.block]
            if len(parts) < 2 or not totals or not all(apart(a, b) for a, b in combinations(blocks, 2)):
                continue
            buffer = f"gradient {name}"
            self.buffers[buffer] = Buffer(buffer, Varies.NEVER, prod(shape), self.program.dtype)
            for result, block in zip(parts, blocks, strict=True):
                start, stop = [s.start for s in block], [s.stop for s in block]
                homes[result.value.name] = View.whole(buffer, shape).cut(start, stop, [1] * len(shape))
        return homes

    def _place_result(self, result: Result) -> str:
        if result.role == "state":
            return self.states[result.name].end
        if result.role == "gradient" and result.value.name in self.homes:
            return self.homes[result.value.name].buffer
        value = self._same.get(result.value.name, result.value)
        phase = self.phase[value.name]
        node = self.node_of(value)
        if value.name in self.states:
            return f"{value.name}@rows"
        port = next((p for p in self.program.ports if p.name == value.name), None)
        if port is not None and port.role not in ("weight", "bias"):
            return self.ports[value.name]
        if phase == Phase.PREPARE:
            node, phase = None, Phase.FINISH  # what is handed out is the caller's: every run makes it anew
        if node is None:
            name = f"{value.name}@out"
            if name not in self._made:
                self._copy(name, value, phase)
        else:
            name = node.value.name
        self.stored.add(name)
        self._later.add(name)
        return name

    def _close(self, result: Result) -> None:
        """The new value of a state is stored for the next step."""
        slot = self.states[result.name]
        value = self._same.get(result.value.name, result.value)
        target = View.whole(slot.next, value.type.sizes)
        node = self.node_of(value)
        plain = node is not None and (node.record.elementwise or is_panel_product(node))  # others have one target
        if node is None or self.phase[node.value.name] != Phase.LOOP or not plain:
            name = f"{result.name}@new"
            self._compute(Node(Value(name, value.type), COPY, (value,)), Phase.LOOP)
            self.targets[name].append(target)
        else:
            self.targets[node.value.name].append(target)

    def _keep_states(self) -> None:
        """A state that is read after the loop, or goes out, is copied at every step."""
        kept = {name.removesuffix("@rows") for name in self.results if name.endswith("@rows")}
        for node in tuple(self.nodes):
            phase = self.phase[node.value.name]
            for arg in node.args:
                source = self.views[arg.name]
                if isinstance(source, View):
                    self._note_later(source, phase)
                    if source.buffer.endswith(("@now", "@rows")) and phase > Phase.LOOP:
                        kept.add(source.buffer.rsplit("@", 1)[0])
        for name in sorted(kept):
            state = next(p.value for p in self.program.states if p.name == name)
            self._copy(f"{name}@rows", state, Phase.LOOP)
            self._later.add(f"{name}@rows")

    def _note_later(self, source: Source, phase: Phase) -> None:
        """What the loop made and a later phase reads is kept for every step."""
        if isinstance(source, View) and phase > Phase.LOOP and self.phase.get(source.buffer) == Phase.LOOP:
            self._later.add(source.buffer)
            self.stored.add(source.buffer)


def _count(sizes: tuple[int, ...]) -> int:
    return compact_strides((*sizes, 1))[0] * (sizes[0] if sizes else 1) if sizes else 1


def broken(what: str) -> InternalError:
    """A bug of the planner, in words."""
    return InternalError(f"this is a bug of Ostinato, in the stage `plan`; please report it\n  {what}")
