"""Which nodes of a phase share a stage: one walk with everything in registers.

    key      what a stage walks over, and how: nodes share a stage only where their keys are equal
                 elements, domain         elementwise nodes, and accumulations of products
                 reduce, domain, axes     sums and maxima, and elementwise nodes that only they read until they are done
                 sum, domain              sums over rows, and elementwise nodes that they alone read: these are never stored
                 alone                    everything else
    level    how many stages of the phase have to be finished before: a node stands one level above what it reads, or on the
             same one where it finds that in a register. A node that waits for nothing goes to the level of its first reader.

Nodes with one level and one key are a stage. At last, elementwise stages join a later reduction over the same domain, where
nothing waits for them in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..ir.graph import Node, Value
from ..ir.op import Kind
from ..ir.shapes import Varies
from .accumulation import Chain
from .buffers import Assignment
from .phases import Phase
from .views import View

LAST = 1 << 30  # the level of sums over rows: they run behind all other stages of their phase


@dataclass(frozen=True)
class Key:
    """Nodes with the same key and the same level share a stage."""

    kind: str  # "elements", "reduce", "sum", or "alone"
    domain: tuple[int, ...]
    axes: tuple[int, ...] = ()
    name: str = ""


Groups = dict[tuple[int, Key], list[Node]]


@dataclass(frozen=True)
class Section:
    """The nodes of one phase.

    Attributes:
        chains: the accumulations among them, by the name of the value that each makes.
        separate: whether every accumulation is a stage of its own.
    """

    assignment: Assignment
    phase: Phase
    nodes: tuple[Node, ...]
    chains: Mapping[str, Chain]
    separate: bool

    def operands(self, node: Node) -> list[Value]:
        """What a node reads; of an accumulation, its start and the operands of its products."""
        chain = self.chains.get(node.value.name)
        if chain is None:
            return list(node.args)
        return [*([chain.start] if chain.start else []), *(v for t in chain.terms for v in (t.left, t.right))]

    @cached_property
    def _here(self) -> dict[str, Node]:
        return {n.value.name: n for n in self.nodes}

    def base(self, value: Value) -> Node | None:
        """The node of this phase that computes a value, or the one that it is a view of."""
        source = self.assignment.sources[value.name]
        node = self.assignment.node_in.get(source.buffer) if isinstance(source, View) else None
        return None if node is None else self._here.get(node.value.name)

    def maker(self, value: Value) -> Node | None:
        """The node of this phase that computes exactly this value."""
        node = self.assignment.made.get(value.name)
        return node if node is not None and node.value.name in self._here else None

    @cached_property
    def readers(self) -> Mapping[str, list[Node]]:
        """For each node, those of this phase that read its value or a view of it, once for each operand."""
        found: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for value in self.operands(node):
                base = self.base(value)
                if base is not None:
                    found[base.value.name].append(node)
        return found

    @cached_property
    def summed(self) -> frozenset[str]:
        """Sums over all rows, and the elementwise nodes that they alone read."""
        return _summed(self)

    @cached_property
    def keys(self) -> Mapping[str, Key]:
        """The key of each node."""
        keys: dict[str, Key] = {}
        for node in reversed(self.nodes):
            keys[node.value.name] = _key(self, node, keys)
        return keys

    def in_register(self, reader: Node, value: Value) -> bool:
        """Whether the reader finds a value in a register, if both are on the same level."""
        maker = self.maker(value)
        if maker is None or maker.record.kind is Kind.REDUCTION:
            return False
        key = self.keys[maker.value.name]
        if key != self.keys[reader.value.name] or key.kind == "alone":
            return False
        chain = self.chains.get(reader.value.name)
        if chain is not None and any(self.base(v) is maker for t in chain.terms for v in (t.left, t.right)):
            return False  # a left operand is needed whole
        return maker.value.type.sizes == key.domain


def stage_groups(section: Section) -> Groups:
    """The nodes of each stage, in the order in which the stages run."""
    levels = _levels(section)
    groups: Groups = {}
    for node in sorted(section.nodes, key=lambda n: levels[n.value.name]):
        groups.setdefault((levels[node.value.name], section.keys[node.value.name]), []).append(node)
    _join_reductions(section, groups, levels)
    return groups


# --- sums over rows


def _summed(section: Section) -> frozenset[str]:
    # sums over the rows of instances are stages of their own: see lower/row_sums.py
    sums = {n.value.name for n in section.nodes if n.record.kind is Kind.ROW_SUM and n.args[0].type.varies == Varies.STEP}
    found = set(sums)
    for node in reversed(section.nodes):
        if _only_summed(section, node, found):
            found.add(node.value.name)
    kept: set[str] = set()
    while kept != found:  # what one of them waits for may have to be stored, and then there is nothing left to save
        kept = set(found)
        for node in section.nodes:
            name = node.value.name
            if name in found - sums:
                at_hand = all(_at_hand(section, arg, found) for arg in node.args)
                if not at_hand or any(r.value.name not in found for r in section.readers[name]):
                    found.discard(name)
    return frozenset(found)


def _only_summed(section: Section, node: Node, found: set[str]) -> bool:
    """Whether sums over rows alone read an elementwise node, element by element."""
    name, assignment = node.value.name, section.assignment
    readers = section.readers[name]
    if not node.record.elementwise or name in section.chains or name in assignment.targets:
        return False
    if name in assignment.in_memory or name in assignment.crossing:
        return False
    if not readers or any(r.value.name not in found for r in readers):
        return False
    pairs = [(r, v) for r in readers for v in r.args if section.base(v) is node]
    return all(assignment.made.get(v.name) is node and v.type.sizes == r.value.type.sizes for r, v in pairs)


def _at_hand(section: Section, value: Value, found: set[str]) -> bool:
    """Whether a sum over rows finds a value in memory, or computes it, without one more being stored for it."""
    if value.type.varies == Varies.INSTANCE:
        return False
    base = section.base(value)
    if base is None or base.value.name in found or base.value.name in section.assignment.in_memory:
        return True
    whole = [r for r in section.readers[base.value.name] if r.value.name not in found]
    return any(r.record.kind is Kind.PRODUCT or r.value.name in section.chains for r in whole)


# --- keys


def _key(section: Section, node: Node, keys: Mapping[str, Key]) -> Key:
    """The key of a node, when those of its readers are known."""
    name = node.value.name
    if name in section.summed:
        return Key("sum", node.value.type.sizes)
    if name in section.chains:
        alone = section.separate
        return Key("alone" if alone else "elements", node.value.type.sizes, name=name if alone else "")
    if node.record.kind is Kind.REDUCTION:
        return Key("reduce", node.args[0].type.sizes, node.options["axes"])
    if node.record.elementwise:
        return _key_of_reductions(section, node, keys) or Key("elements", node.value.type.sizes)
    return Key("alone", node.value.type.sizes, name=name)


def _key_of_reductions(section: Section, node: Node, keys: Mapping[str, Key]) -> Key | None:
    """A node that reductions read, and nothing else before they are done, is computed where they walk."""
    readers, sizes = section.readers[node.value.name], node.value.type.sizes
    of_readers = dict.fromkeys(keys[r.value.name] for r in readers)
    found = [key for key in of_readers if key.kind == "reduce" and key.domain == sizes]
    if len(found) != 1:
        return None
    waiting = {r.value.name for r in readers if keys[r.value.name] == found[0]}
    others = [r for r in readers if r.value.name not in waiting]
    return found[0] if all(_waits_for(section, r, waiting) for r in others) else None


def _waits_for(section: Section, node: Node, names: set[str]) -> bool:
    """Whether a node reads one of the named ones, directly or through others."""
    stack, seen = [node], set()
    while stack:
        for value in section.operands(stack.pop()):
            base = section.base(value)
            if base is None or base.value.name in seen:
                continue
            if base.value.name in names:
                return True
            seen.add(base.value.name)
            stack.append(base)
    return False


# --- levels


def _levels(section: Section) -> dict[str, int]:
    levels: dict[str, int] = {}
    fixed: set[str] = set()  # products and reductions, and what reads their registers: these cannot sink
    for node in section.nodes:
        name, level, near = node.value.name, 0, []
        if name in section.summed:
            levels[name] = LAST
            continue
        for value in section.operands(node):
            base = section.base(value)
            if base is None:
                continue
            read = section.in_register(node, value)
            if read:
                near.append(base.value.name)
            # the start of an accumulator must not depend on another one of the same stage, which is not finished yet
            unfinished = name in section.chains and base.value.name in fixed
            level = max(level, levels[base.value.name] + (0 if read and not unfinished else 1))
        levels[name] = level
        plain = node.record.elementwise and name not in section.chains
        if not plain or any(levels[b] == level and b in fixed for b in near):
            fixed.add(name)
    for node in reversed(section.nodes):
        name = node.value.name
        readers = [r for r in section.readers[name] if levels[r.value.name] < LAST]
        if name in fixed or not readers:
            continue
        wanted = [levels[r.value.name] - (0 if _all_in_register(section, r, node) else 1) for r in readers]
        levels[name] = max(levels[name], min(wanted))
    return levels


def _all_in_register(section: Section, reader: Node, maker: Node) -> bool:
    return all(section.in_register(reader, value) for value in section.operands(reader) if section.base(value) is maker)


# --- elementwise stages that join a reduction


def _join_reductions(section: Section, groups: Groups, levels: dict[str, int]) -> None:
    """Elementwise work joins the next reduction over the same elements, if nothing waits for it in between."""
    order = {n.value.name: i for i, n in enumerate(section.nodes)}
    for place, nodes in list(groups.items()):
        level, key = place
        if key.kind != "elements" or any(n.value.name in section.chains for n in nodes):
            continue
        later = [p for p in groups if p[1].kind == "reduce" and p[1].domain == key.domain and p[0] >= level]
        found = next((p for p in sorted(later, key=lambda p: p[0]) if _may_join(section, nodes, groups[p], levels)), None)
        if found is not None:
            groups[found] = sorted((*groups.pop(place), *groups[found]), key=lambda n: order[n.value.name])
            levels |= {n.value.name: found[0] for n in nodes}


def _may_join(section: Section, nodes: Iterable[Node], reduction: list[Node], levels: Mapping[str, int]) -> bool:
    """Whether the reduction finds in registers what it reads of the nodes, and all others come after it."""
    level, near = levels[reduction[0].value.name], {n.value.name for n in reduction}
    inside = near | {n.value.name for n in nodes}
    for node in nodes:
        readers = section.readers[node.value.name]
        if not all(r.value.name in inside or _comes_after(section, r, level, levels) for r in readers):
            return False
        read = [v for r in readers if r.value.name in near for v in section.operands(r) if section.base(v) is node]
        if any(section.assignment.made.get(v.name) is not node for v in read):
            return False
    return True


def _comes_after(section: Section, reader: Node, level: int, levels: Mapping[str, int]) -> bool:
    """Whether a node needs its operands behind a level only; a `concat` whose parts are put in place is no stage."""
    if reader.op == "concat" and all((reader.value.name, a.name) in section.assignment.joined for a in reader.args):
        return all(_comes_after(section, r, level, levels) for r in section.readers[reader.value.name])
    return levels[reader.value.name] > level
