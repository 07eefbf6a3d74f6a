"""What the compiler made of a cell, in words: read from the programs alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..compiler import Compiled
from ..ir import ops
from ..ir.graph import Graph, Meanings, Node, Program, Rule, Value, Why
from ..ir.shapes import Varies
from .cost import contracted, is_product
from .document import TOGETHER
from .equations import Notation, is_generated

LONG = 48  # characters; a value inside a composed function is not spelled out if it is longer
PLACES = {
    "before": "before the loop, once for all T steps",
    "loop": "in the loop, at every step",
    "after": "after the loop, once for all T steps",
}
BY_RULE = {
    Rule.INSTANCE: "before the loop, once for each instance",
    Rule.WEIGHTS: "before the loop, once per call",
}


@dataclass(frozen=True)
class Placed:
    """A product that runs: where, and why there."""

    section: str
    text: str
    node: Node
    joined: int  # how many products of the program before fusing it stands for
    why: Why | None  # None where a pass did not say

    @property
    def place(self) -> str:
        """Where, in words."""
        return BY_RULE.get(self.why.rule, PLACES[self.section]) if self.why else PLACES[self.section]


def _parts(program: Program, value: Value, axis: int) -> tuple[Value, ...]:
    """The values that stand side by side in a value."""
    made = {n.value.name: n for n in program.nodes}
    node = made.get(value.name)
    return node.args if node is not None and node.record is ops.concat and node.options["axis"] == axis else ()


def placed_products(program: Program, notation: Notation) -> list[Placed]:
    """Every product that the program runs."""
    found = []
    for section, nodes in program.sections.items():
        for node in filter(is_product, nodes):
            why = program.reasons.get(node.value.name)
            found.append(Placed(section, notation.right(node.value.name), node, how_many(program, node), why))
    return found


def how_many(program: Program, node: Node) -> int:
    """How many products stand side by side in one: the blocks of its weights (or, of a weight gradient, of its right)."""
    right = node.args[1]
    if node.record is ops.total_product:
        return max(1, len(_parts(program, right, -1)))
    columns, rows = _parts(program, right, -1), _parts(program, right, -2)
    return max(1, len(columns), len(rows))


def fusing(program: Program, notation: Notation) -> list[str]:
    """Which products became one, each a sentence."""
    sentences = []
    for placed in placed_products(program, notation):
        if placed.joined < 2:
            continue
        beside = bool(_parts(program, placed.node.args[1], -1))
        why = (
            "they have the same left operand, so their weights stand side by side"
            if beside
            else ("they were added together, so their operands stand side by side and their weights one above the other")
        )
        sentences.append(f"{placed.joined} products became one, {placed.text}: {why}.")
    return sentences


def blocks(program: Program, traced: Graph) -> list[str]:
    """Which parts of weights a program reads apart from the others: such as "W_1: the part [0:n_inputs, :] of W"."""
    whole = {p.name: p.value.type.dims for p in traced.ports}
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for port in program.ports:
        if port.block is None:
            continue
        ends = zip(port.block.start, port.block.stop, whole[port.block.of], strict=True)
        ranges = [":" if b.size - a.size == d.size else f"{a.expression}:{b.expression}" for a, b, d in ends]
        names, wholes = groups.setdefault(", ".join(ranges), ([], []))
        names.append(port.name)
        wholes.append(port.block.of)
    lines = []
    for ranges_, (names, wholes) in groups.items():
        lines.append(f"{', '.join(names)}: the part [{ranges_}] of {', '.join(wholes)}")
    return lines


def gives(program: Program, product: Node) -> str:
    """What a product of a backward program is for: which gradients or adjoint states are made of it."""
    reached = {product.value.name}
    for node in program.nodes:
        passed_on = not is_product(node) or node is product
        if passed_on and any(arg.name in reached for arg in node.args):
            reached.add(node.value.name)
    ports = {p.name: p.of for p in program.ports}
    found: dict[str, dict[str, None]] = {}
    for result in program.results:
        if result.value.name in reached:
            kind = "gradient" if result.role == "gradient" else "adjoint"
            found.setdefault(kind, {})[result.name if kind == "gradient" else ports.get(result.name, result.name)] = None
    if not found:
        return "what other products read"
    texts = {"gradient": "the gradient{} of {}", "adjoint": "the adjoint state{} of {}"}
    parts = [texts[kind].format("s"[: len(names) != 1], ", ".join(names)) for kind, names in found.items()]
    return "; ".join(parts)


def kept(compiled: Compiled, traced: Graph, named: set[str], meanings: Meanings) -> list[tuple[str, Value]]:
    """What the forward pass keeps for the backward pass: each as the cell's text would write it, and its value."""
    simple = compiled.stages.get("simplify", traced)
    texts = [Notation(graph, named, meanings) for graph in (traced, simple, compiled.recording)]
    rows: dict[str, tuple[str, Value]] = {}
    for result in compiled.recording.results_with("record"):
        rows.setdefault(result.value.name, (_text(result.name, result.value.name, texts), result.value))
    return [*rows.values()]


def _text(name: str, other: str, notations: Sequence[Notation]) -> str:
    """A value in the first notation that knows it; under its own name where it has one."""
    lines = notations[0].lines
    for notation in notations:
        for candidate in (name, other):
            if candidate in notation.known:
                text = notation.right(candidate) if is_generated(candidate) else notation.symbol(candidate)
                whole = notation.inside(candidate) if len(text) > LONG else ""
                if whole:
                    spelled = notation.right(whole)
                    return f"a value inside {spelled if len(spelled) <= LONG else notation.meant[whole][0]}"
                unknown = set(re.findall(r"\b[tu]_*\d+\b", text)) - lines
                return f"`{name}` of the program" if unknown or len(text) > 2 * LONG else text
    return name


def contraction(node: Node, *, steps: bool = False) -> str:
    """How a dimension disappears: "(m, n_inputs=3) @ (n_inputs=3, n_neurons=5) -> (m, n_neurons=5)".

    `steps`: with T in front of what varies by step, where all steps are computed at once.
    """
    if node.record is ops.total_product:
        columns = [f"(T m{', ' if v.type.dims else ''}{', '.join(map(str, v.type.dims[-1:]))})" for v in node.args]
        parts = (f"{columns[0]}ᵀ", f"@ {columns[1]}", f"-> {shape(node.value)}")
        return " ".join(part.replace(" ", TOGETHER) for part in parts)
    left, right, result = (
        shape(v, leading="T, m" if steps and v.type.varies == Varies.STEP else "m" if v.type.varies else "")
        for v in (*node.args, node.value)
    )
    return " ".join(part.replace(" ", TOGETHER) for part in (left, f"@ {right}", f"-> {result}"))


def summed_over(node: Node) -> str:
    """Which dimension a product sums over, and how many terms that are: "summed over n_inputs: 3 terms"."""
    dim = contracted(node)
    return f"summed over {dim.expression}: {dim.size} term{'s'[: dim.size != 1]}"


def shape_of_batch(value: Value) -> str:
    """The shape for a batch of m instances."""
    return shape(value, leading="" if value.type.varies == Varies.NEVER else "m")


def shape(value: Value, *, leading: str = "") -> str:
    """The shape with names and sizes: "(m, n_inputs=3)"; a single number has the shape "()"."""
    parts = [*([leading] if leading else []), *map(str, value.type.dims)]
    return f"({', '.join(parts)}{',' if parts == ['m'] else ''})"


def plural(number: int, noun: str) -> str:
    """A number of things: "1 product", "2 products"."""
    return f"{number} {noun}{'s'[: number != 1]}"
