"""What a step costs: exact counts, from the types of a graph alone.

Every count is for one instance at one step. Moving numbers about (concat, slice, reshape, transpose, patches) counts as
nothing: no arithmetic is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from ..ir.graph import Node, Program, Value
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
        """Such as "40 multiply-adds, 5 function values"; "nothing but moving" if there is none."""
        names = {
            "multiply_adds": "multiply-add", "multiplications": "multiplication", "additions": "addition",
            "functions": "function value", "others": "other operation",
        }  # fmt: skip
        parts = [f"{n:,} {text}{'s'[: n != 1]}" for key, text in names.items() if (n := getattr(self, key))]
        return ", ".join(parts) or "no arithmetic"


def _product(node: Node) -> Counts:
    return Counts(multiply_adds=node.value.type.n_elements * contracted(node).size)


def _reduction(node: Node) -> int:
    return node.args[0].type.n_elements - node.value.type.n_elements


def _elements(kind: str) -> Callable[[Node], Counts]:
    return lambda node: Counts(**{kind: node.value.type.n_elements})


def _nothing(_: Node) -> Counts:
    return Counts()


RULES: dict[str, Callable[[Node], Counts]] = {
    "matmul": _product,
    "total_product": lambda node: Counts(multiply_adds=node.args[0].type.n_elements * node.args[1].type.dims[-1].size),
    "sum": lambda node: Counts(additions=_reduction(node)),
    "max": lambda node: Counts(others=_reduction(node)),
    "unpatches": lambda node: Counts(additions=node.args[0].type.n_elements),
    **dict.fromkeys(("multiply",), _elements("multiplications")),
    **dict.fromkeys(("add", "subtract", "total", "total_per_instance"), _elements("additions")),
    **dict.fromkeys(("tanh", "sigmoid", "exp", "log", "sqrt", "softplus", "power"), _elements("functions")),
    **dict.fromkeys(
        ("divide", "remainder", "negative", "maximum", "minimum", "abs", "floor", "sign", "relu", "less", "less_equal", "equal",
         "logical_and", "logical_or", "logical_not", "where"),
        _elements("others"),
    ),
    **dict.fromkeys(
        ("constant", "stop_gradient", "concat", "slice", "pad", "reshape", "stretch", "transpose", "patches"), _nothing
    ),
}  # fmt: skip


def contracted(node: Node) -> Dim:
    """The dimension that a product sums over: the last one of its left operand."""
    left, right = (arg.type.dims for arg in node.args)
    other = right[-2] if len(right) > 1 else right[-1]
    return other if left[-1].is_number else left[-1]


def counts(nodes: Iterable[Node]) -> Counts:
    """The arithmetic of nodes, for one instance at one step (for a value of weights alone: once)."""
    return sum((RULES[node.op](node) for node in nodes), Counts())


def value_bytes(values: Iterable[Value]) -> int:
    """The bytes of distinct values, for one instance at one step."""
    return sum(v.type.n_elements * v.type.item_bytes for v in {v.name: v for v in values}.values())


def weights_read(nodes: Iterable[Node]) -> tuple[Value, ...]:
    """The values of weights alone that nodes read from outside of themselves, each once; numbers of the text aside."""
    nodes = tuple(nodes)
    made = {node.value.name for node in nodes}
    read = [arg for node in nodes for arg in node.args if arg.type.varies == Varies.NEVER and arg.name not in made]
    return tuple({v.name: v for v in read}.values())


def step_nodes(nodes: Iterable[Node], varies: Varies) -> tuple[Node, ...]:
    """The nodes whose value varies in that way."""
    return tuple(node for node in nodes if node.value.type.varies == varies)


def is_product(node: Node) -> bool:
    """Whether a node is a product in the sense of this page: something is contracted."""
    return node.op in ("matmul", "total_product")


def products(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The products among nodes."""
    return tuple(node for node in nodes if is_product(node))


def loop_weight_bytes(program: Program) -> int:
    """How many bytes of weights every step of the loop reads; the batch shares them."""
    constants = {n.value.name for n in program.nodes if n.op == "constant"}
    return value_bytes(v for v in weights_read(program.loop) if v.name not in constants)
