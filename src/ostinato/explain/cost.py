"""What a step costs: exact counts, from the types of a graph alone.

Every count is for one instance at one step. Moving numbers about (concat, slice, reshape, transpose, patches) counts as
nothing: no arithmetic is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from ..ir.graph import Node, Program, Value
from ..ir.op import Kind
from ..ir.shapes import Dim, Varies


@dataclass(frozen=True)
class Counts:
    """Arithmetic, counted in single numbers.

    Attributes:
        multiply_adds: of products: one multiplication and one addition each.
        multiplications: elementwise ones.
        additions: and subtractions; a sum of n numbers is n - 1 of them.
        functions: tanh, the logistic function, exp, log, a root, a power: evaluated so often.
        others: divisions, remainders, whole numbers below, comparisons, choices, largest and smallest, changes of sign.
    """

    multiply_adds: int = 0
    multiplications: int = 0
    additions: int = 0
    functions: int = 0
    others: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def all_multiplications(self) -> int:
        """Those of products and the elementwise ones."""
        return self.multiply_adds + self.multiplications

    def in_words(self) -> str:
        """Such as "40 multiply-adds, 5 function values"; "no arithmetic" if there is none."""
        names = {
            "multiply_adds": "multiply-add", "multiplications": "multiplication", "additions": "addition",
            "functions": "function value", "others": "other operation",
        }  # fmt: skip
        parts = [f"{n:,} {text}{'s'[: n != 1]}" for key, text in names.items() if (n := getattr(self, key))]
        return ", ".join(parts) or "no arithmetic"


def arithmetic(node: Node) -> Counts:
    """What a node computes: its elements, as what the record of its op says that they count."""
    op = node.record
    return Counts(**{op.arithmetic: _how_many(node)}) if op.arithmetic else Counts()


def _how_many(node: Node) -> int:
    given, made = [arg.type for arg in node.args], node.value.type
    match node.record.kind:
        case Kind.PRODUCT if node.record.sums_over_steps:  # the rows of both operands are what is contracted
            return given[0].n_elements * given[1].dims[-1].size
        case Kind.PRODUCT:
            return made.n_elements * contracted(node).size
        case Kind.REDUCTION:
            return given[0].n_elements - made.n_elements
        case Kind.COPY if not node.record.sums_over_steps:
            return given[0].n_elements
    return made.n_elements


def contracted(node: Node) -> Dim:
    """The dimension that a product sums over: the last one of its left operand."""
    left, right = (arg.type.dims for arg in node.args)
    other = right[-2] if len(right) > 1 else right[-1]
    return other if left[-1].is_number else left[-1]


def counts(nodes: Iterable[Node]) -> Counts:
    """The arithmetic of nodes, for one instance at one step (for a value of weights alone: once)."""
    return sum(map(arithmetic, nodes), Counts())


def value_bytes(values: Iterable[Value]) -> int:
    """The bytes of distinct values, for one instance at one step."""
    return sum(v.type.n_elements * v.type.item_bytes for v in {v.name: v for v in values}.values())


def weights_read(nodes: Iterable[Node]) -> tuple[Value, ...]:
    """The values of weights alone that nodes read from outside of themselves, each once; numbers of the text aside."""
    nodes = tuple(nodes)
    made = {node.value.name for node in nodes}
    read = [arg for node in nodes for arg in node.args if arg.type.varies == Varies.NEVER and arg.name not in made]
    return tuple({v.name: v for v in read}.values())


def is_product(node: Node) -> bool:
    """Whether a node is a product in the sense of this page: something is contracted."""
    return node.record.kind is Kind.PRODUCT


def products(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The products among nodes."""
    return tuple(node for node in nodes if is_product(node))


def loop_weight_bytes(program: Program) -> int:
    """How many bytes of weights every step of the loop reads; the batch shares them."""
    constants = {n.value.name for n in program.nodes if n.record.kind is Kind.CONSTANT}
    return value_bytes(v for v in weights_read(program.loop) if v.name not in constants)
