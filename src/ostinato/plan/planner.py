"""How a plan is made: every node finds its stage. See plan.py for what comes out, buffers.py for where values lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..ir.graph import Node, Program, Value
from ..ir.op import Kind
from ..ir.shapes import Varies
from .accumulation import Chain, chains
from .buffers import Places
from .copies import moves_of
from .phases import Phase
from .plan import Contraction, Move, Packing, Plan, Product, Segment, Source, Stage, Sum, Total
from .views import Buffer, View

MAX_SUMS = 8  # sums over rows of one stage
LAST = 1 << 30  # the level of sums over rows: they run behind all other stages of their phase
MAX_GATES = 8  # accumulators of one stage; more products of one operand make more stages


def plan_program(program: Program, choice: str = "hoisted") -> Plan:
    """The plan of a program.

    Args:
        program: as it comes from `schedule` (before `fuse`, whose joined products are for NumPy).
        choice: "separate", "fused" or "hoisted" (phases.CHOICES).
    """
    places = Places(program, choice, program.parameter_sizes)
    accumulations, swallowed = chains(program, places.nodes, places.phase)
    nodes = [n for n in places.nodes if n.value.name not in swallowed]
    phases = {}
    for phase in Phase:
        inside = [n for n in nodes if places.phase[n.value.name] == phase]
        if inside:
            phases[phase] = _PhasePlanner(places, phase, inside, accumulations, separate=choice == "separate")
    drafts = {phase: planner.draft() for phase, planner in phases.items()}  # all, before it is known what is stored
    places.make_buffers()
    stages = {phase: tuple(phases[phase].finished(stage) for stage in draft) for phase, draft in drafts.items()}
    packings = [p for planner in phases.values() for p in planner.packings]
    for packing in packings:
        places.buffers[packing.panels] = Buffer(packing.panels, Varies.NEVER, 0, program.dtype)  # sized by the target
    summed = [n.value.name for n in nodes if n.record.sums_over_steps]
    zeroed = tuple(dict.fromkeys(places.homes[name].buffer if name in places.homes else name for name in summed))
    prepared = tuple(name for name in places.buffers if places.phase.get(name) == Phase.PREPARE and name in places.stored)
    return Plan(program, choice, places.buffers, stages, tuple(packings), tuple(places.states.values()), places.ports,
                places.results, zeroed, prepared)  # fmt: skip


@dataclass(frozen=True)
class _Key:
    """Nodes with the same key and the same level share a stage."""

    kind: str  # "elements", "reduce", "sum", or "alone"
    domain: tuple[int, ...]
    axes: tuple[int, ...] = ()
    name: str = ""


class _PhasePlanner:
    """The stages of one phase."""

    def __init__(
        self, places: Places, phase: Phase, nodes: list[Node], accumulations: Mapping[str, Chain], *, separate: bool
    ) -> None:  # fmt: skip
        self.places, self.phase, self.nodes = places, phase, nodes
        self.chains = {n.value.name: accumulations[n.value.name] for n in nodes if n.value.name in accumulations}
        self.separate = separate
        self.here = {n.value.name: n for n in nodes}
        self.packings: list[Packing] = []
        self.users: dict[str, list[Node]] = defaultdict(list)
        for node in nodes:
            for value in self.operands(node):
                base = self.made_here(value)
                if base is not None:
                    self.users[base.value.name].append(node)
        self.summed = self._summed()
        self.keys: dict[str, _Key] = {}
        for node in reversed(nodes):
            self.keys[node.value.name] = self._key(node)

    def operands(self, node: Node) -> list[Value]:
        """What a node reads; of a sum of products, the parts."""
        chain = self.chains.get(node.value.name)
        if chain is None:
            return list(node.args)
        return [*([chain.start] if chain.start else []), *(v for t in chain.terms for v in (t.left, t.right))]

    def made_here(self, value: Value) -> Node | None:
        """The node of this phase that computes a value, or the one it is a view of."""
        source = self.places.views[value.name]
        return self.here.get(source.buffer) if isinstance(source, View) else None

    # --- sums over rows

    def _summed(self) -> set[str]:
        """Sums over all rows of one value, and the elementwise nodes that they alone read: these are never stored."""
        found = {
            n.value.name for n in self.nodes if n.op == "total" and n.args[0].type.varies == Varies.STEP
        }  # see lower_total
        totals = set(found)
        for node in reversed(self.nodes):
            if self._only_summed(node, found):
                found.add(node.value.name)
        kept: set[str] = set()
        while kept != found:  # what one of them waits for may have to be stored, and then there is nothing left to save
            kept = set(found)
            for node in self.nodes:
                name = node.value.name
                if name in found - totals:
                    at_hand = all(self._at_hand(arg, found) for arg in node.args)
                    if not at_hand or any(r.value.name not in found for r in self.users[name]):
                        found.discard(name)
        return found

    def _only_summed(self, node: Node, found: set[str]) -> bool:
        name, places = node.value.name, self.places
        readers = self.users[name]
        if not node.record.elementwise or name in self.chains or name in places.targets:
            return False
        if name in places.stored or name in places.crossing:
            return False
        if not readers or any(r.value.name not in found for r in readers):
            return False
        pairs = [(r, v) for r in readers for v in r.args if self.made_here(v) is node]
        return all(places.node_of(v) is node and v.type.sizes == r.value.type.sizes for r, v in pairs)

    def _at_hand(self, value: Value, found: set[str]) -> bool:
        """Whether a sum over rows finds a value in memory, or computes it, without one more being stored for it."""
        if value.type.varies == Varies.INSTANCE:
            return False
        maker = self.made_here(value)
        if maker is None or maker.value.name in found or maker.value.name in self.places.stored:
            return True
        whole = [r for r in self.users[maker.value.name] if r.value.name not in found]
        return any(r.op in ("matmul", "total_product") or r.value.name in self.chains for r in whole)

    def _sum_stages(self, domain: tuple[int, ...], nodes: list[Node]) -> list[Stage]:
        made = {n.value.name: n for n in nodes if n.op != "total"}
        totals = [n for n in nodes if n.op == "total"]
        stages = []
        for first in range(0, len(totals), MAX_SUMS):
            part = totals[first : first + MAX_SUMS]
            needed = {a.name for n in part for a in n.args}
            for node in reversed(list(made.values())):
                if node.value.name in needed:
                    needed.update(a.name for a in node.args)
            inside = [n for n in made.values() if n.value.name in needed]
            walk = self._walk("sum", domain, [*inside, *part])
            sums = tuple(Sum(n.args[0].name, self._target(n)) for n in part)
            stages.append(replace(walk, nodes=tuple(inside), sums=sums))
        return stages

    # --- keys and levels

    def _key(self, node: Node) -> _Key:
        name = node.value.name
        if name in self.summed:
            return _Key("sum", node.value.type.sizes)
        if name in self.chains:
            return _Key("alone" if self.separate else "elements", node.value.type.sizes, name=name if self.separate else "")
        if node.record.kind is Kind.REDUCTION:
            return _Key("reduce", node.args[0].type.sizes, node.options["axes"])
        if node.record.elementwise:
            return self._with_reductions(node) or _Key("elements", node.value.type.sizes)
        return _Key("alone", node.value.type.sizes, name=name)

    def _with_reductions(self, node: Node) -> _Key | None:
        """A node that reductions read, and nothing else before they are done, is computed where they walk."""
        readers, sizes = self.users[node.value.name], node.value.type.sizes
        keys = [self.keys[r.value.name] for r in readers]
        keys = [key for key in dict.fromkeys(keys) if key.kind == "reduce" and key.domain == sizes]
        if len(keys) != 1:
            return None
        key = keys[0]
        waiting = {r.value.name for r in readers if self.keys[r.value.name] == key}
        others = [r for r in readers if r.value.name not in waiting]
        return key if all(self._waits_for(r, waiting) for r in others) else None

    def _waits_for(self, node: Node, names: set[str]) -> bool:
        stack, seen = [node], set()
        while stack:
            current = stack.pop()
            for value in self.operands(current):
                base = self.made_here(value)
                if base is None or base.value.name in seen:
                    continue
                if base.value.name in names:
                    return True
                seen.add(base.value.name)
                stack.append(base)
        return False

    def in_register(self, reader: Node, value: Value) -> bool:
        """Whether the reader finds a value in a register, if both are on the same level."""
        maker = self.places.node_of(value)
        if maker is None or maker.value.name not in self.here:
            return False
        name = maker.value.name
        if self.keys[name] != self.keys[reader.value.name] or self.keys[name].kind == "alone":
            return False
        if maker.record.kind is Kind.REDUCTION:
            return False
        chain = self.chains.get(reader.value.name)
        if chain is not None and any(self.made_here(v) is maker for t in chain.terms for v in (t.left, t.right)):
            return False
        return maker.value.type.sizes == self.keys[name].domain

    def _all_in_register(self, reader: Node, maker: Node) -> bool:
        return all(self.in_register(reader, value) for value in self.operands(reader) if self.made_here(value) is maker)

    def _levels(self) -> dict[str, int]:
        levels: dict[str, int] = {}
        fixed: set[str] = set()  # on the level of a product or a reduction, whose registers they read
        for node in self.nodes:
            name, level = node.value.name, 0
            if name in self.summed:
                levels[name] = LAST
                continue
            for value in self.operands(node):
                base = self.made_here(value)
                if base is not None:
                    # an accumulator can not begin with what other accumulators of its stage have to be finished for
                    late = name in self.chains and base.value.name in fixed
                    near_enough = self.in_register(node, value) and not late
                    level = max(level, levels[base.value.name] + (0 if near_enough else 1))
            levels[name] = level
            near = [b.value.name for v in self.operands(node) if (b := self.made_here(v)) and self.in_register(node, v)]
            plain = node.record.elementwise and name not in self.chains
            if not plain or any(levels[b] == level and b in fixed for b in near):
                fixed.add(name)
        for node in reversed(self.nodes):  # what waits for nothing is computed where it is first read
            name = node.value.name
            readers = [r for r in self.users[name] if levels[r.value.name] < LAST]
            if name in fixed or not readers:
                continue
            wanted = [levels[r.value.name] - (0 if self._all_in_register(r, node) else 1) for r in readers]
            levels[name] = max(levels[name], min(wanted))
        return levels

    # --- stages

    def draft(self) -> list[Stage]:
        """The stages in order; stores are not known yet."""
        levels = self._levels()
        groups: dict[tuple[int, _Key], list[Node]] = {}
        for node in sorted(self.nodes, key=lambda n: levels[n.value.name]):
            groups.setdefault((levels[node.value.name], self.keys[node.value.name]), []).append(node)
        self._join_reductions(groups, levels)
        return [stage for (_, key), nodes in groups.items() for stage in self._stages(key, nodes)]

    def _join_reductions(self, groups: dict[tuple[int, _Key], list[Node]], levels: dict[str, int]) -> None:
        """Elementwise work joins the next reduction over the same elements, if nothing waits for it in between."""
        order = {n.value.name: i for i, n in enumerate(self.nodes)}
        for place, nodes in list(groups.items()):
            level, key = place
            if key.kind != "elements" or any(n.value.name in self.chains for n in nodes):
                continue
            others = [p for p in groups if p[1].kind == "reduce" and p[1].domain == key.domain and p[0] >= level]
            found = next((p for p in sorted(others, key=lambda p: p[0]) if self._may_join(nodes, groups[p], levels)), None)
            if found is not None:
                groups[found] = sorted((*groups.pop(place), *groups[found]), key=lambda n: order[n.value.name])
                levels |= {n.value.name: found[0] for n in nodes}

    def _comes_after(self, reader: Node, level: int, levels: dict[str, int]) -> bool:
        """Whether a node needs its operands behind a level only; a joined value whose parts are put in place is no stage."""
        if reader.op == "concat" and all((reader.value.name, a.name) in self.places.joined for a in reader.args):
            return all(self._comes_after(r, level, levels) for r in self.users[reader.value.name])
        return levels[reader.value.name] > level

    def _may_join(self, nodes: list[Node], reduction: list[Node], levels: dict[str, int]) -> bool:
        """Whether the reduction finds in registers what it reads of the nodes, and all others come after it."""
        level, near = levels[reduction[0].value.name], {n.value.name for n in reduction}
        inside = near | {n.value.name for n in nodes}
        for node in nodes:
            readers = self.users[node.value.name]
            if not all(r.value.name in inside or self._comes_after(r, level, levels) for r in readers):
                return False
            read = [v for r in readers if r.value.name in near for v in self.operands(r) if self.made_here(v) is node]
            if any(self.places.node_of(v) is not node for v in read):
                return False
        return True

    def _stages(self, key: _Key, nodes: list[Node]) -> list[Stage]:
        node = nodes[0]
        if key.kind == "sum":
            return self._sum_stages(key.domain, nodes)
        if node.value.name in self.chains or key.kind == "elements":
            return self._split_products(key, nodes)
        if key.kind == "reduce":
            return [replace(self._walk("reduce", key.domain, nodes), axes=key.axes)]
        if node.record.kind is Kind.COPY:
            moves = self._moves(node)
            return [Stage("move", key.domain, (node,), moves=moves)] if moves else []
        if node.op == "matmul":
            return [Stage("contract", key.domain, (node,), contraction=self._contraction(node))]
        return [Stage("total", key.domain, (node,), totals=(self._total(node),))]

    def _moves(self, node: Node) -> tuple[Move, ...]:
        """Those that are left when parts of a joined value are stored by what computes them."""
        joined = [(node.value.name, a.name) in self.places.joined for a in node.args]
        sources = [0.0 if direct else self.read(a) for direct, a in zip(joined, node.args, strict=True)]
        sources = [s.stretched(a.type.sizes) if isinstance(s, View) else s for s, a in zip(sources, node.args, strict=True)]
        moves = moves_of(node, sources, View.whole(node.value.name, node.value.type.sizes))
        return tuple(m for m, direct in zip(moves, joined, strict=True) if not direct) if any(joined) else moves

    def read(self, value: Value) -> Source:
        """Where a value is read from; what is read from memory is stored."""
        source = self.places.source(value, self.phase)
        self.places.store(source)
        return source

    def _view(self, value: Value) -> View:
        source = self.read(value)
        assert isinstance(source, View), f"{value} is a number, and buffers.py puts those into memory"
        return source

    def _split_products(self, key: _Key, nodes: list[Node]) -> list[Stage]:
        products = [n for n in nodes if n.value.name in self.chains]
        stages = []
        while len(products) > MAX_GATES:  # too many accumulators: some products make stages of their own, and are stored
            part, products = products[:MAX_GATES], products[MAX_GATES:]
            stages.append(self._product_stage(key, part))
            nodes = [n for n in nodes if n not in part]
            self.places.stored.update(n.value.name for n in part)
        if products:
            return [*stages, self._product_stage(key, nodes)]
        return [*stages, self._walk("map", key.domain, nodes)]

    def _walk(self, kind: str, domain: tuple[int, ...], nodes: list[Node]) -> Stage:
        """A stage, with everything it reads from memory."""
        inside = {n.value.name for n in nodes if n.record.kind not in (Kind.REDUCTION, Kind.ROW_SUM)}
        loads: dict[str, Source] = {}
        for node in nodes:
            chain = self.chains.get(node.value.name)
            operands = node.args if chain is None else ((chain.start,) if chain.start else ())
            for value in operands:
                if not ((maker := self.places.node_of(value)) and maker.value.name in inside):
                    source = self.read(value)
                    loads[value.name] = source.stretched(domain) if isinstance(source, View) else source
        return Stage(kind, domain, tuple(nodes), loads)

    def _product_stage(self, key: _Key, nodes: list[Node]) -> Stage:
        products = [self.chains[n.value.name] for n in nodes if n.value.name in self.chains]
        starts = tuple(None if p.start is None else p.start.name for p in products)
        segments: list[Segment] = []
        waiting = {gate: [self._left(chain, place) for place in range(len(chain.terms))] for gate, chain in enumerate(products)}
        while any(waiting.values()):
            left, gates = _next_together(waiting)
            places = {g: len(products[g].terms) - len(waiting[g]) for g in gates}
            rights = tuple(self._right(products[g], place) for g, place in places.items())
            panels = f"panels {products[gates[0]].value.name} {places[gates[0]]}"
            segments.append(Segment(left, left.sizes[-1], gates, rights, panels))
            self.packings.append(Packing(panels, left.sizes[-1], key.domain[-1], rights, len(products)))
            for gate in gates:
                waiting[gate].pop(0)
        stage = self._walk("product", key.domain, nodes)
        return replace(stage, product=Product(tuple(p.value.name for p in products), starts, tuple(segments)))

    def _left(self, chain: Chain, place: int) -> View:
        return self._view(chain.terms[place].left)

    def _right(self, chain: Chain, place: int) -> View:
        term = chain.terms[place]
        view = self._view(term.right)
        return view.transposed((1, 0)) if term.turned else view

    def _contraction(self, node: Node) -> Contraction:
        """Both operands with the same stack of matrices, by NumPy's rules for vectors."""
        a, b = (self._view(arg) for arg in node.args)
        sizes = node.value.type.sizes
        target = View.whole(node.value.name, sizes)
        self.places.stored.add(node.value.name)
        row, column = len(a.sizes) == 1, len(b.sizes) == 1
        if row:
            a = View(a.buffer, (1, *a.sizes), (0, *a.strides), a.offset)
        if column:
            b = View(b.buffer, (*b.sizes, 1), (*b.strides, 0), b.offset)
        stack = sizes[: len(sizes) - (not row) - (not column)]
        full = (*stack, a.sizes[-2], b.sizes[-1])
        reshaped = target.reshaped(full)
        assert reshaped is not None
        return Contraction(a.stretched((*stack, *a.sizes[-2:])), b.stretched((*stack, *b.sizes[-2:])), reshaped)

    def _target(self, node: Node) -> View:
        """Where a sum over rows goes."""
        return self.places.homes.get(node.value.name) or View.whole(node.value.name, node.value.type.sizes)

    def _total(self, node: Node) -> Total:
        views = [self._view(a) for a in node.args]
        return Total(self._target(node), views[0], views[1] if len(views) > 1 else None)

    def finished(self, stage: Stage) -> Stage:
        """With what it stores."""
        stores = []
        for node in stage.nodes:
            name = node.value.name
            if stage.kind not in ("product", "map", "reduce"):
                continue
            if name in self.places.stored:
                stores.append((name, View.whole(name, node.value.type.sizes)))
            stores += [(name, view) for view in self.places.targets.get(name, ())]
        return replace(stage, stores=tuple(stores))


def _next_together(waiting: Mapping[int, list[View]]) -> tuple[View, tuple[int, ...]]:
    """The left operand that comes next, and the accumulators that take it now: all that ever will, if their order allows it.

    Every accumulator takes its own operands in its own order, whatever the others do.
    """
    first = list(dict.fromkeys(lefts[0] for lefts in waiting.values() if lefts))
    later = {left for lefts in waiting.values() for left in lefts[1:]}
    left = next((left for left in first if left not in later), first[0])
    return left, tuple(gate for gate, lefts in waiting.items() if lefts and lefts[0] == left)
