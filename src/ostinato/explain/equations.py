"""A graph as mathematics: one line for every value that the author named, the others inlined, each with its time index.

    x(t)      an input at this step            h(t-1)   a state as the step finds it
    h(t)      a state as the step leaves it    W, c     weights and contexts are the same at every step

A product is written side by side, `x(t) W`; of two vectors as `⟨x(t), w⟩`; elementwise as `⊙`. Composed functions (softmax,
layer_norm) go by their names. Other ops are written as their records say (ir/ops.py, `equation`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from ..ir import ops
from ..ir.analysis import addends
from ..ir.graph import Graph, Meanings, Node, Port, Program, Value, expression
from ..ir.op import Binding
from ..ir.shapes import Dims, Varies
from .markup import Fraction, Marked, Piece, Power, Root, Symbol, Under, joined, spell
from .numbers import number_as_written, patches_options

CHOICE, OR, AND, NOT, COMPARED, SUM, TERM, SIGN, PRODUCT, POWER, ATOM = Binding
INLINED = ("concat",)  # a name for values side by side says less than the values


@dataclass(frozen=True)
class Equation:
    """One line: `left = right`, each a string with its marks (markup.py). `name` is the value's own name in the graph."""

    left: str
    right: str
    name: str

    def __str__(self) -> str:
        return f"{self.left} = {self.right}"


@dataclass
class Written:
    """Text with the strength of its outermost binding."""

    text: Marked
    binding: Binding

    def within(self, least: Binding) -> Marked:
        return self.text if self.binding >= least else spell("({})", self.text)


def _atom(template: str, *parts: Piece) -> Written:
    return Written(spell(template, *parts), ATOM)


def named_by_author(graph: Graph) -> set[str]:
    """The values of a traced graph that go by a name from the cell's text: not by `t1`, `t2`, ..., which tracing gave."""
    ports = {p.name for p in graph.ports}
    given = (f"t{i}" for i in count(1))
    fresh = (name for name in given if name not in ports)
    return {node.value.name for node, name in zip(graph.nodes, fresh, strict=False) if node.value.name != name}


@dataclass
class Notation:
    """Writes the values of one graph or program.

    Attributes:
        graph: whose values are written.
        named: values that stand under their own names.
        meanings: values made by composed functions: the function's name and operands.
        batch: capital letters for inputs, contexts, states and outputs, which have a row for each instance.
        joined: write a sum of products as one product, `[x h] [W_x; W_h]`.
        before_fusing: for a fused program, the notation of the graph before: a part of a joined product is written as the
            product that it is.
    """

    graph: Graph | Program
    named: set[str]
    meanings: Meanings = field(default_factory=dict)
    batch: bool = False
    joined: bool = False
    before_fusing: Notation | None = None

    def __post_init__(self) -> None:
        self.now = "(t)" if self.graph.states else ""  # without a state a step is like every other
        self.ports: dict[str, Port] = {p.name: p for p in self.graph.ports}
        self.made: dict[str, Node] = {n.value.name: n for n in self.graph.nodes}
        self.new: dict[str, str] = {}
        for result in self.graph.results:
            if result.role == "state" and result.value.name not in self.ports:
                self.new.setdefault(result.value.name, result.name)
        outputs = [r for r in self.graph.results if r.role == "output" and r.value.name not in self.ports]
        self.outputs = {r.value.name: r.name for r in outputs if r.value.name not in self.new}
        self.known = {*self.ports, *self.made}
        meant = {n: m for n, m in self.meanings.items() if n in self.made and n not in m[1] and self.known >= set(m[1])}
        self.meant: dict[str, tuple[str, tuple[str, ...]]] = meant
        self.lines = self._lines()

    # --- which values get a line

    def operands(self, name: str) -> tuple[str, ...]:
        """What the text of a value reads."""
        if name in self.meant:
            return self.meant[name][1]
        node = self.made.get(name)
        return tuple(arg.name for arg in node.args) if node else ()

    def _lines(self) -> set[str]:
        uses: Counter[str] = Counter()
        waiting = [*{r.value.name: None for r in self.graph.results}]
        seen = set(waiting)
        while waiting:
            operands = self.operands(waiting.pop())
            uses.update(operands)
            waiting += [o for o in dict.fromkeys(operands) if o not in seen]
            seen.update(operands)
        shared = {n for n in seen if uses[n] > 1 and n in self.made and self.made[n].record not in (ops.constant, ops.concat)}
        if self.before_fusing is not None:
            shared = {n for n in shared if not is_joined(self.made[n])}
        lines = {n for n in seen & self.named if self._worth_a_line(n)} | shared | set(self.new) | set(self.outputs)
        return {n for n in lines if n in self.made}

    def _worth_a_line(self, name: str) -> bool:
        node = self.made.get(name)
        return node is not None and not (node.op in INLINED and all(arg.name in self.ports for arg in node.args))

    # --- names

    def symbol(self, name: str) -> Marked:
        """A value by its name, with the time index it has."""
        if name in self.new:
            return self._mark(self.new[name], "(t)")
        if name in self.outputs:
            own = name if name in self.named else self.outputs[name]
            return self._mark(own, self.now)
        port = self.ports.get(name)
        index = {"input": self.now, "state": "(t-1)"}.get(port.role, "") if port else ""
        return self._mark(name, index)

    def _mark(self, name: str, index: str) -> Marked:
        port = self.ports.get(name)
        return Marked(Symbol(self.letter(name), index, port.parameter if port else name))

    def letter(self, name: str) -> str:
        taken = name.upper() in self.known or name.upper() in self.new.values()
        moves = name in self.ports and self.ports[name].role in ("input", "context", "state")
        outside = moves or name in self.outputs or name in self.outputs.values()
        return name.upper() if self.batch and len(name) == 1 and name.islower() and outside and not taken else name

    # --- expressions

    def equations(self) -> list[Equation]:
        """The lines, in the order in which the step computes them; then the states that only pass something on."""
        lines = [Equation(self.symbol(n), self.right(n), n) for n in self.made if n in self.lines]
        shown = set(self.new.values())
        passed_on = {r.value.name for r in self.graph.results if r.role == "state"}
        for result in self.graph.results:
            if result.role == "state" and result.name not in shown:
                lines.append(Equation(self._mark(result.name, "(t)"), self.symbol(result.value.name), result.value.name))
            elif result.role == "output" and result.value.name in self.ports and result.value.name not in passed_on:
                lines.append(Equation(self._mark(result.name, self.now), self.symbol(result.value.name), result.value.name))
        return lines

    def right(self, name: str) -> Marked:
        """What a value is, whether or not it has a line."""
        return self._spelled(name).text

    def inside(self, name: str) -> str:
        """The value made by a composed function in which a value is a part; "" if there is none."""
        for whole, (_, operands) in self.meant.items():
            waiting, seen = [whole], set(operands)
            while waiting:
                node = self.made.get(waiting.pop())
                names = [arg.name for arg in node.args if arg.name not in seen] if node else []
                if name in names:
                    return whole
                seen.update(names)
                waiting += names
        return ""

    def written(self, value: Value | str) -> Written:
        """A value as an operand: its name if it has a line or comes in, else what it is."""
        name = value if isinstance(value, str) else value.name
        if name in self.ports or name in self.lines or name not in self.made:
            return Written(self.symbol(name), ATOM)
        older = self.before_fusing
        if (
            older is not None
            and self.made[name].record is ops.slice_
            and name in older.made
            and older.made[name].record is not ops.slice_
        ):
            return older.written(name)
        return self._spelled(name)

    def operands_of(self, node: Node) -> list[Written]:
        """The operands; a number as the author computed it, `√n_keys`, where the source line says how."""
        found = []
        for i, arg in enumerate(node.args):
            made = self.made.get(arg.name)
            text = (
                number_as_written(node, i, made.options["value"], self._dims) if made and made.record is ops.constant else None
            )
            found.append(self.written(arg) if text is None else Written(text, ATOM))
        return found

    def _dims(self, name: str) -> Dims | None:
        value = self.made[name].value if name in self.made else self.ports[name].value if name in self.ports else None
        return value.type.dims if value else None

    def _spelled(self, name: str) -> Written:
        if name in self.meant:
            function, _, options = self.meant[name][0].partition("; ")
            if function == "matmul":  # by a structured weight: how it is computed is not part of the equation
                left, right = (self.written(o) for o in self.meant[name][1])
                return Written(spell("{} {}", left.within(PRODUCT), right.within(POWER)), PRODUCT)
            parts = [self.written(o).text for o in self.meant[name][1]]
            return _atom("{}({})", function, joined(", ", [*parts, *([Marked(options)] if options else [])]))
        node = self.made[name]
        method = getattr(self, f"_{node.op}", None)
        if method is not None:
            written: Written = method(node)
            return written
        binding, parts_ = node.record.binding, self.operands_of(node)
        template = node.record.equation
        if binding == ATOM:
            return _atom(template, *(part.text for part in parts_))
        return Written(spell(template, *(part.within(Binding(binding + 1)) for part in parts_)), binding)

    def _constant(self, node: Node) -> Written:
        value = node.options["value"]
        exact, rounded = f"{value:.12g}", f"{value:.6g}"
        text = (rounded if len(exact) > 9 else exact).replace("inf", "∞")
        return Written(Marked(text), SIGN if text.startswith("-") else ATOM)

    def _add(self, node: Node) -> Written:
        if self.joined:
            joined_ = self.join(self.addends(node))
            if joined_ is not None:
                return joined_
        left, right = (self.written(a) for a in node.args)
        return Written(spell("{} + {}", left.within(SUM), right.within(SUM)), SUM)

    def addends(self, node: Node) -> list[Value]:
        """What is added, however it is nested; a value with a line of its own is one addend."""
        return addends(node, self.nested_sum)

    def nested_sum(self, value: Value) -> Node | None:
        node = self.made.get(value.name)
        return (
            node if node and node.record is ops.add and value.name not in self.lines and value.name not in self.meant else None
        )

    def can_join(self, addends: Sequence[Value]) -> list[Node]:
        """The products of vectors with matrices of weights among addends of the same shape."""
        nodes = [self.made[v.name] for v in addends if v.name in self.made and v.name not in self.lines]
        parts = [
            n for n in nodes
            if n.record is ops.matmul and len(n.args[0].type.dims) == 1 and len(n.args[1].type.dims) == 2
            and n.args[1].type.varies == Varies.NEVER and n.args[0].type.varies != Varies.NEVER
        ]  # fmt: skip
        return parts if len(parts) > 1 else []

    def join(self, addends: Sequence[Value]) -> Written | None:
        parts = self.can_join(addends)
        if not parts:
            return None
        left, right = self.sides(parts)
        texts, names = [], {n.value.name for n in parts}
        for value in addends:
            if value.name not in names:
                texts.append(self.written(value).within(SUM))
            elif value.name == parts[0].value.name:
                texts.append(spell("{} {}", left, right))
        return Written(joined(" + ", texts), SUM if len(texts) > 1 else PRODUCT)

    def sides(self, parts: Sequence[Node]) -> tuple[Marked, Marked]:
        """The operands of products side by side, and their weights one above the other."""
        lefts: list[Marked] = []
        for value in (n.args[0] for n in parts):
            node = self.made.get(value.name)
            inner = node is not None and node.record is ops.concat and value.name not in self.lines
            lefts += [self._beside(a) for a in node.args] if inner and node else [self._beside(value)]
        return spell("[{}]", joined(" ", lefts)), spell("[{}]", joined("; ", [self._beside(n.args[1]) for n in parts]))

    def _subtract(self, node: Node) -> Written:
        left, right = (self.written(a) for a in node.args)
        return Written(spell("{} - {}", left.within(SUM), right.within(TERM)), SUM)

    def _multiply(self, node: Node) -> Written:
        parts = self.operands_of(node)
        if all(arg.type.dims for arg in node.args):
            return Written(spell("{} ⊙ {}", parts[0].within(TERM), parts[1].within(SIGN)), TERM)
        number = self.made.get(node.args[1].name)
        if number is not None and number.record is ops.constant:
            parts.reverse()  # 2 x, not x 2
        return Written(spell("{} {}", parts[0].within(PRODUCT), parts[1].within(POWER)), PRODUCT)

    def _divide(self, node: Node) -> Written:
        left, right = self.operands_of(node)
        line = spell("{} / {}", left.within(TERM), right.within(SIGN))
        return Written(Marked(Fraction(left.text, right.text, line)), TERM)

    def _negative(self, node: Node) -> Written:
        return Written(spell("-{}", self.written(node.args[0]).within(PRODUCT)), SIGN)

    def _logical_not(self, node: Node) -> Written:
        return Written(spell("¬{}", self.written(node.args[0]).within(ATOM)), NOT)

    def _matmul(self, node: Node) -> Written:
        left, right = (self.written(a) for a in node.args)
        if all(len(arg.type.dims) == 1 for arg in node.args):
            return _atom("⟨{}, {}⟩", left.text, right.text)
        return Written(spell("{} {}", left.within(PRODUCT), right.within(POWER)), PRODUCT)

    def _total_product(self, node: Node) -> Written:
        left, right = (self.written(a) for a in node.args)
        turned = Marked(Power(left.within(ATOM), Marked("ᵀ"), ""))
        return Written(spell("Σ_t {} {}", turned, right.within(POWER)), PRODUCT)

    def _power(self, node: Node) -> Written:
        left, right = self.operands_of(node)
        return Written(Marked(Power(left.within(ATOM), right.within(ATOM))), POWER)

    def _sqrt(self, node: Node) -> Written:
        inside = self.written(node.args[0]).text
        return Written(Marked(Root(inside, f"√({inside})")), ATOM)

    def _stop_gradient(self, node: Node) -> Written:
        return self.written(node.args[0])

    _stretch = _stop_gradient

    def _transpose(self, node: Node) -> Written:
        rank, axes = len(node.args[0].type.dims), node.options["axes"]
        inner = self.written(node.args[0])
        last_two = (*range(-rank, -2), -1, -2)
        if axes in (last_two, tuple(-1 - i for i in range(rank))):
            return Written(Marked(Power(inner.within(ATOM), Marked("ᵀ"), "")), POWER)
        return _atom("transpose({}; {})", inner.text, ", ".join(str(rank + a) for a in axes))

    def _concat(self, node: Node) -> Written:
        axis = node.options["axis"]
        between = {-1: " ", -2: "; "}.get(axis, ", ")
        inner = joined(between, [self._beside(a) for a in node.args])
        return _atom("[{}]", inner) if axis >= -2 else _atom("concat({}; axis={})", inner, str(axis))

    def _beside(self, value: Value) -> Marked:
        return self.written(value).within(ATOM)

    def _patches(self, node: Node) -> Written:
        return _atom("patches({}; {})", self.written(node.args[0]).text, patches_options(node))

    def _slice(self, node: Node) -> Written:
        ranges = expression(node)[len(node.args[0].name) :]
        return _atom("{}{}", self.written(node.args[0]).within(ATOM), ranges)

    def _reshape(self, node: Node) -> Written:
        inner = self.made.get(node.args[0].name)
        dims, old = node.options["dims"], node.args[0].type.dims
        if inner is not None and inner.record is ops.slice_ and len(dims) < len(old) and inner.value.name not in self.lines:
            return self._place(inner)
        shape = ", ".join(d.expression for d in dims)
        text = self.written(node.args[0])
        return _atom("reshape({}; {})", text.text, shape) if dims else text

    def _place(self, node: Node) -> Written:
        """`x[:, 2]`: a slice of one place whose dimension was dropped."""
        ranges = expression(node)[len(node.args[0].name) :]
        options = zip(node.options["start"], node.options["stop"], strict=True)
        for a, b in options:
            if b.size == a.size + 1:
                ranges = ranges.replace(f"{a.expression}:{b.expression}", a.expression)
        return _atom("{}{}", self.written(node.args[0]).within(ATOM), ranges)

    def _sum(self, node: Node) -> Written:
        return self._reduced("Σ", node)

    def _max(self, node: Node) -> Written:
        return self._reduced("max", node)

    def _reduced(self, name: str, node: Node) -> Written:
        """The dimensions that go are named where there is more than one to choose from."""
        dims = node.args[0].type.dims
        gone = ", ".join(dims[axis].expression for axis in node.options["axes"])
        operator: Piece = Under(name, gone) if len(dims) > 1 else name
        return _atom("{}({})", operator, self.written(node.args[0]).text)


def joined_sums(notation: Notation) -> list[list[Node]]:
    """The sums of a graph in which several products meet; each as its products."""
    inside: set[str] = set()
    found = []
    for node in reversed(notation.graph.nodes):
        if node.record is not ops.add:
            continue
        if node.value.name not in inside:
            parts = notation.can_join(notation.addends(node))
            if parts:
                found.append(parts)
        inside |= {arg.name for arg in node.args} - notation.lines
    return found[::-1]


def is_joined(node: Node) -> bool:
    """Whether a pass made a value that the cell's text does not have: it goes by what it is."""
    return node.record in (ops.matmul, ops.add, ops.slice_, ops.concat) and not is_generated(node.value.name)


def is_generated(name: str) -> bool:
    """Whether a name was made by a pass: it says nothing to a reader."""
    return re.fullmatch(r"[tub]_*\d+", name) is not None
