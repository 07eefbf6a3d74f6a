"""Which sums and products are one accumulation. This belongs to the meaning of a native program, not to its plan.

`b + x @ W + h @ U` is one chain: every element starts as `b`, and each product is added to it one fused multiply-add at a
time, upward through the contracted index. Because every plan accumulates the same chain in the same order, no plan changes a
bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..ir.analysis import state_dependent
from ..ir.graph import Node, Program, Value
from ..ir.shapes import Varies
from .phases import Phase


@dataclass(frozen=True)
class Term:
    """One product of a chain: rows of `left` times a matrix that varies with nothing."""

    left: Value
    right: Value
    transposed: bool = False  # the matrix is contracted along its last dimension: `W @ x`


@dataclass(frozen=True)
class Chain:
    """start + left_1 @ right_1 + left_2 @ right_2 + ..., accumulated in this order."""

    value: Value
    terms: tuple[Term, ...]
    start: Value | None = None


def is_panel_product(node: Node) -> bool:
    """Rows that vary times a matrix that does not: what weight panels are packed for."""
    if node.op != "matmul":
        return False
    a, b = (arg.type for arg in node.args)
    if b.varies == Varies.NEVER and len(b.dims) == 2:
        return a.varies != Varies.NEVER and node.value.type.n_elements > 1
    return a.varies == Varies.NEVER and len(a.dims) == 2 and len(b.dims) == 1 and b.varies != Varies.NEVER


def _term(node: Node) -> Term:
    a, b = node.args
    return Term(a, b) if b.type.varies == Varies.NEVER else Term(b, a, transposed=True)


def chains(program: Program, nodes: Sequence[Node], phases: Mapping[str, Phase]) -> tuple[dict[str, Chain], set[str]]:
    """The accumulations of a program by the names of the values they make, and the nodes that they have absorbed.

    A product that is added to something and read by nothing else has no chain of its own: it is part of the sum's. Within a
    chain, what depends on a state never stands before what does not: otherwise the part of a chain that runs before the loop
    would differ from plan to plan, and with it the order of additions.
    """
    uses = Counter(arg.name for node in nodes for arg in node.args)
    uses.update(r.value.name for r in program.results if r.role != "record")
    recorded = {r.value.name for r in program.results_with("record")}  # these are read by the backward pass
    dependent = state_dependent(nodes, [p.name for p in program.states])
    found: dict[str, Chain] = {}
    absorbed: set[str] = set()

    def product(value: Value, node: Node) -> Chain | None:
        """A plain product that nothing but this sum reads, and that is not broadcast in it."""
        chain = found.get(value.name)
        fits = uses[value.name] == 1 and value.type.sizes == node.value.type.sizes
        return chain if chain is not None and fits and chain.start is None and len(chain.terms) == 1 else None

    for node in nodes:
        if is_panel_product(node):
            found[node.value.name] = Chain(node.value, (_term(node),))
        elif node.op == "add" and node.value.type.varies != Varies.NEVER:
            a, b = node.args
            if product(b, node) is None or (a.name in dependent and b.name not in dependent):
                a, b = b, a
            last = product(b, node)
            if last is None or (a.name in dependent and b.name not in dependent):
                continue
            absorbed.add(b.name)
            first = found.get(a.name)
            joined = first is not None and uses[a.name] == 1 and a.type.sizes == node.value.type.sizes
            if first is not None and joined and phases[a.name] == phases[node.value.name]:
                found[node.value.name] = Chain(node.value, first.terms + last.terms, first.start)
                absorbed.add(a.name)
            else:
                found[node.value.name] = Chain(node.value, last.terms, a)
    absorbed -= recorded
    return {name: chain for name, chain in found.items() if name not in absorbed}, absorbed
