"""The sections of an explanation, each made from the graphs and programs of one cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..compiler import Compiled
from ..graph import Graph, Node, Port, Program, Value
from ..rewrite import live
from ..shapes import Varies
from . import words
from .cost import Counts, counts, loop_weight_bytes, products, step_nodes, value_bytes
from .document import Block, Formulas, Page, Picture, Section, Sentence, Table
from .equations import Meanings, Notation, joined_sums
from .unrolled import unrolled

if TYPE_CHECKING:
    from collections.abc import Mapping

DTYPES = {"f32": "float32", "f64": "float64"}
ROLES = {
    "input": "An input is new at every step.",
    "context": "A context is the same at every step.",
    "state": "A state is carried from step to step; it begins as 0 unless the table or the caller says otherwise.",
    "weight": "Weights and biases are shared by all steps and all instances.",
}
PARTS = "What is cut into parts is computed in parts. The parts of the weights:"
BLOCKS = (
    "A product with values side by side is a sum: [x h] W is x times the upper rows of W plus h times the lower ones. So each "
    "part runs where its own operand is known. The parts of the weights:"
)


@dataclass(frozen=True)
class Subject:
    """What is explained.

    Attributes:
        graph: one step, as it was written.
        meanings: which values are the results of composed functions.
        named: the values that the author named.
        compiled: the programs.
        training_graph: the step with dropout; the same as `graph` without.
        training_meanings: the same as `meanings`, of the step with dropout.
        training: the programs with dropout.
    """

    graph: Graph
    meanings: Meanings
    named: set[str]
    compiled: Compiled
    training_graph: Graph
    training_meanings: Meanings
    training: Compiled

    @cached_property
    def notation(self) -> Notation:
        return Notation(self.graph, self.named, self.meanings)

    @cached_property
    def written_nodes(self) -> tuple[Node, ...]:
        return live(self.graph.nodes, self.graph.results)

    @cached_property
    def written_products(self) -> tuple[Node, ...]:
        return products(self.written_nodes)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        return words.counted(self.compiled.forward)

    @property
    def n_parameters(self) -> int:
        return sum(p.value.type.n_elements for p in self.graph.with_role("weight", "bias"))

    @cached_property
    def kept(self) -> list[tuple[str, Value]]:
        return words.kept(self.training, self.training_graph, self.named, self.training_meanings)

    @property
    def kept_bytes(self) -> int:
        return value_bytes(v for _, v in self.kept if v.type.varies == Varies.STEP)


def page_of(subject: Subject) -> Page:
    """The whole explanation."""
    graph = subject.graph
    sizes = ", ".join(f"{name}={size}" for name, size in graph.sizes)
    title = f"{graph.name}({sizes}): {subject.n_parameters:,} parameters, {DTYPES[graph.dtype]}"
    doc = " ".join(graph.doc.strip().split("\n\n")[0].split())
    makers = (
        ("Equation", _equation), ("Unrolled through time", _unrolled), ("Symbols and shapes", _symbols),
        ("Products", _products), ("What runs", _runs), ("What it costs", _cost), ("Backward", _backward),
        ("In training", _training),
    )  # fmt: skip
    sections = ((heading, tuple(make(subject))) for heading, make in makers)
    return Page(title, doc, tuple(Section(heading, blocks) for heading, blocks in sections if blocks))


def _equation(subject: Subject) -> Iterator[Block]:
    lines = subject.notation.equations()
    yield Formulas(tuple((e.left, e.right) for e in lines))
    batch = Notation(subject.graph, subject.named, subject.meanings, batch=True, joined=True)
    sums = joined_sums(batch)
    if sums:
        yield Sentence("The same for a batch of m instances, one row each; what is added together is one product:")
        yield Formulas(tuple((e.left, e.right) for e in batch.equations()))
        rows = []
        for parts in sums:
            beside, above = batch.sides(parts)
            left = parts[0].args[0].type.dims[-1]
            for node in parts[1:]:
                left = left + node.args[0].type.dims[-1]
            rows.append((above, beside, f"({left}, {parts[0].value.type.dims[-1]})"))
        yield Table(("weights, one above the other", "operands, side by side", "shape of the weights"), tuple(rows))


def _unrolled(subject: Subject) -> Iterator[Block]:
    if subject.graph.states:
        yield Picture(unrolled(subject.graph))
        yield Sentence("Every step has the same weights; only what stands at the arrows changes from step to step.")


# --- symbols -----------------------------------------------------------------------------------------------------------


def _symbols(subject: Subject) -> Iterator[Block]:
    graph, notation = subject.graph, subject.notation
    batch = Notation(graph, subject.named, subject.meanings, batch=True)
    rows = [_symbol_row(notation, batch, p.value, _role(p)) for p in graph.ports]
    new_states = {r.value.name: r.name for r in graph.results_with("state")}
    outputs = {r.value.name: r.name for r in graph.results_with("output")}
    made = {n.value.name: n for n in subject.written_nodes}
    for name, node in made.items():
        if name in notation.lines or name in subject.named:
            role = _made_role(node, new_states, outputs, subject)
            rows.append(_symbol_row(notation, batch, node.value, role))
    yield Table(("symbol", "one instance", "a batch of m instances", "what it is"), tuple(rows))
    plain_number = any(not v.type.dims for v in [p.value for p in graph.ports])
    sentences = ["() is a single number."] if plain_number else []
    sentences += [text for role, text in ROLES.items() if graph.with_role(role)]
    yield Sentence(" ".join(sentences))


def _symbol_row(one: Notation, batch: Notation, value: Value, role: str) -> tuple[str, str, str, str]:
    letter, capital = one.symbol(value.name), batch.symbol(value.name)
    shown = words.shape_of_batch(value)
    return letter, words.shape(value), f"{capital} {shown}" if capital != letter else shown, role


def _role(port: Port) -> str:
    begin = f", begins as {port.initial:g}".replace("inf", "∞") if port.initial else ""
    return {
        "input": "input",
        "context": "context",
        "state": f"state before the step{begin}",
        "weight": "weight",
        "bias": "bias",
    }[port.role]


def _made_role(node: Node, new: Mapping[str, str], outputs: Mapping[str, str], subject: Subject) -> str:
    name = node.value.name
    if name in new:
        return "state after the step" + (", and the output" if name in outputs else "")
    if name in outputs:
        return f"output `{outputs[name]}`" if len(outputs) > 1 else "output"
    if name in subject.meanings:
        return f"result of {subject.meanings[name][0]}"
    return {
        "sigmoid": "gate, between 0 and 1",
        "tanh": "between -1 and 1",
        "concat": "values side by side: " + subject.notation.right(name) if node.op == "concat" else "",
        "matmul": "product",
    }.get(node.op, "made in the step")


# --- products ------------------------------------------------------------------------------------------------------------


def _products(subject: Subject) -> Iterator[Block]:
    rows = []
    for node in subject.written_products:
        terms = counts([node]).multiply_adds
        text = f"{words.contraction(node)}\n{words.summed_over(node)}"
        rows.append((subject.notation.right(node.value.name), text, f"{terms:,}"))
    if rows:
        yield Table(("product", "shapes for a batch of m", "multiply-adds"), tuple(rows), (2,))
        total = sum(counts([n]).multiply_adds for n in subject.written_products)
        yield Sentence(f"{_plural(len(rows), 'product')} written; {total:,} multiply-adds per step and instance.")
        yield Sentence("What is summed over stands in both operands, and not in the result: so it disappears.")
    else:
        yield Sentence("No product is written: nothing is summed over.")


# --- what runs -----------------------------------------------------------------------------------------------------------


def _runs(subject: Subject) -> Iterator[Block]:
    program, numbers = subject.compiled.forward, subject.numbers
    simple = subject.compiled.stages.get("simplify", subject.graph)
    notation = Notation(
        program, subject.named, subject.meanings, before_fusing=Notation(simple, subject.named, subject.meanings)
    )
    yield Sentence(_how_many_run(subject))
    placed = words.placed_products(program, notation)
    if placed:
        yield Table(("product that runs, with its shapes", "where, and why"), tuple(_placed_row(p, program) for p in placed))
    for sentence in words.fusing(program, notation):
        yield Sentence(sentence)
    parts = words.blocks(program, subject.graph)
    if parts:
        joined = {n.value.name for n in subject.graph.nodes if n.op == "concat"}
        side_by_side = any(n.args[0].name in joined for n in subject.written_products)
        yield Sentence(BLOCKS if side_by_side else PARTS)
        yield Picture(tuple(parts))
    if program.states:
        elsewhere = {"before": "before the loop", "loop": "at every step", "after": "after the loop"}
        counted = [f"{n} {elsewhere[s]}" for s, nodes in program.sections.items() if (n := words.elementwise_count(nodes))]
        if counted:
            yield Sentence(f"Elementwise operations: {', '.join(counted)}.")
        if not numbers["loop"]:
            yield Sentence("No product stays in the loop: a step costs elementwise operations alone.")


def _placed_row(placed: words.Placed, program: Program) -> tuple[str, str]:
    steps = placed.section != "loop" and bool(program.states)
    place = placed.place if program.states else "for all steps at once"
    return f"{placed.text}\n{words.contraction(placed.node, steps=steps)}", f"{place}\n{placed.reason}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"


def _how_many_run(subject: Subject) -> str:
    numbers, written = subject.numbers, len(subject.written_products)
    first = f"{_plural(written, 'product')} written."
    if not subject.graph.states:
        number = numbers["before"]
        return f"{first} The cell has no state, so nothing waits: {number} run{'s'[: number == 1]}, for all steps at once."
    before, loop, after = (numbers[key] for key in ("before", "loop", "after"))
    parts = [f"{before} before the loop (once per sequence)", f"{loop} at every step"]
    if after:
        parts.append(f"{after} after the loop (once per sequence)")
    if numbers["weights"]:
        parts.append(f"{numbers['weights']} of weights alone (once per call)")
    return f"{first} After fusing these run: {', '.join(parts)}."


# --- cost ----------------------------------------------------------------------------------------------------------------


def _cost(subject: Subject) -> Iterator[Block]:
    program = subject.compiled.forward
    rows = []
    where = {"before": "before the loop", "loop": "in the loop", "after": "after the loop"}
    total = Counts()
    for section, nodes in program.sections.items():
        here = counts(step_nodes(nodes, Varies.STEP))
        if nodes or section == "loop":
            rows.append(_cost_row(where[section] if program.states else "all steps at once", here))
        total += here
        if not program.states:
            break
    rows.append(_cost_row("together", total))
    headings = ("per step and instance", "multiply-adds", "multiplications", "additions", "functions", "others")
    yield Table(headings, tuple(rows), (1, 2, 3, 4, 5))
    yield Sentence(_multiplications(total))
    once = _once(subject)
    if once:
        yield Sentence(once)
    yield Sentence(_bytes(subject))


def _cost_row(name: str, c: Counts) -> tuple[str, ...]:
    return name, *(f"{n:,}" for n in (c.multiply_adds, c.multiplications, c.additions, c.functions, c.others))


def _multiplications(total: Counts) -> str:
    return (
        f"Multiplications: {total.all_multiplications:,} per step and instance ({total.multiply_adds:,} in products, "
        f"{total.multiplications:,} elementwise); for T steps and m instances T × m times as many."
    )


def _once(subject: Subject) -> str:
    """What is not computed at every step."""
    nodes = subject.compiled.forward.nodes
    instance = counts(step_nodes(nodes, Varies.INSTANCE))
    weights = counts(step_nodes(nodes, Varies.NEVER))
    parts = []
    if instance != Counts():
        parts.append(f"once per sequence for each instance: {instance.in_words()}")
    if weights != Counts():
        parts.append(f"once per call: {weights.in_words()}")
    return f"Beside that, {'; '.join(parts)}." if parts else ""


def _bytes(subject: Subject) -> str:
    program = subject.compiled.forward
    parameters = value_bytes(p.value for p in subject.graph.with_role("weight", "bias"))
    parts = [f"parameters {parameters:,}"]
    if program.states:
        parts.append(f"weights read by every step of the loop {loop_weight_bytes(program):,}")
        parts.append(f"state {value_bytes(p.value for p in program.states):,} per instance")
    parts.append(f"kept for the backward pass {subject.kept_bytes:,} per step and instance")
    return f"Bytes: {', '.join(parts)}."


# --- backward, training ----------------------------------------------------------------------------------------------------


def _backward(subject: Subject) -> Iterator[Block]:
    compiled, states = subject.training, subject.graph.states
    rows = []
    for text, value in subject.kept:
        size = value_bytes([value])
        often = {Varies.STEP: "for every step", Varies.INSTANCE: "once per sequence", Varies.NEVER: "once"}
        rows.append((text, words.shape_of_batch(value), often[value.type.varies], f"{size:,}"))
    if rows:
        yield Sentence("The forward pass keeps for it:")
        yield Table(("value", "shape for a batch of m", "kept", "bytes per instance"), tuple(rows), (3,))
    else:
        yield Sentence("Nothing has to be kept for it.")
    numbers = words.counted(compiled.backward)
    before, loop, after = (numbers[key] for key in ("before", "loop", "after"))
    total = counts(step_nodes(compiled.backward.nodes, Varies.STEP)) + counts(
        n for n in compiled.backward.nodes if n.op.startswith("total")
    )
    if states:
        names = ", ".join(f"d{p.name}(t)" for p in states)
        yield Sentence(
            f"Back-propagation through time runs from the last step to the first, and carries {names}. Its products: "
            f"{before} before the loop, {loop} at every step, {after} after the loop (all steps at once)."
        )
    else:
        yield Sentence(f"The backward pass runs {_plural(before + after, 'product')}, for all steps at once.")
    gradients = [n for n in compiled.backward.nodes if n.op == "total_product"]
    if gradients:
        number = _plural(len(gradients), "product")
        yield Sentence(f"For the gradients of weight matrices: {number}, summed over all steps and instances at once.")
    yield Sentence(f"It costs {total.in_words()} per step and instance.")


def _training(subject: Subject) -> Iterator[Block]:
    masks = subject.training_graph.with_role("mask")
    if not masks:
        return
    notation = Notation(subject.training_graph, subject.named, subject.training_meanings)
    yield Sentence("With dropout, some elements are set to zero, and the others divided by the probability to be kept:")
    yield Formulas(tuple((e.left, e.right) for e in notation.equations()))
    rows = []
    for port in masks:
        often = "new at every step" if port.value.type.varies == Varies.STEP else "one for the whole sequence"
        values = f"0 with probability {port.rate:g}, else 1 / {1 - port.rate:g}"
        rows.append((port.name, words.shape_of_batch(port.value), values, often))
    yield Table(("mask", "shape for a batch of m", "its elements", "drawn"), tuple(rows))
