"""The sections of an explanation, each made from the graphs and programs of one cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..ir.dtypes import LONG
from ..ir.graph import Node, Port, Value
from ..ir.ops import concat
from . import words
from .backward import backward_section, training_section
from .cost import counts
from .document import Block, Formulas, Page, Picture, Section, Sentence, Table
from .equations import Notation, joined_sums
from .pictures.unrolled import unrolled
from .running import cost_section, native_section, runs_section
from .structures import product_rows, role_of, structured_section
from .subject import Subject
from .words import plural

ROLES = {
    "input": "An input is new at every step.",
    "context": "A context is the same at every step.",
    "state": "A state is carried from step to step; it begins as 0 unless the table or the caller says otherwise.",
    "weight": "Weights and biases are shared by all steps and all instances.",
}


def page_of(subject: Subject) -> Page:
    """The whole explanation."""
    graph = subject.graph
    sizes = ", ".join(f"{name}={size}" for name, size in graph.sizes)
    title = f"{graph.name}({sizes}): {subject.n_parameters:,} parameters, {LONG[graph.dtype]}"
    doc = " ".join(graph.doc.strip().split("\n\n")[0].split())
    makers = (
        ("Equation", _equation), ("Unrolled through time", _unrolled), ("Symbols and shapes", _symbols),
        ("Products", _products), ("Structured weights", structured_section), ("What runs", runs_section),
        ("Native code", native_section), ("What it costs", cost_section), ("Backward", backward_section),
        ("In training", training_section),
    )  # fmt: skip
    sections = ((heading, tuple(make(subject))) for heading, make in makers)
    return Page(title, doc, tuple(Section(heading, blocks) for heading, blocks in sections if blocks))


def _equation(subject: Subject) -> Iterator[Block]:
    lines = subject.notation.equations()
    yield Formulas(tuple((e.left, e.right) for e in lines))
    batch = Notation(subject.graph, subject.named, subject.graph.meanings, batch=True, joined=True)
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
        yield Table(
            ("weights, one above the other", "operands, side by side", "shape of the weights"), tuple(rows), code=(0, 1, 2)
        )


def _unrolled(subject: Subject) -> Iterator[Block]:
    if subject.graph.states:
        drawings = unrolled(subject.graph)
        yield Picture(drawings[0], drawings[1:])
        yield Sentence("Every step has the same weights; only what stands at the arrows changes from step to step.")


# --- symbols -----------------------------------------------------------------------------------------------------------


def _symbols(subject: Subject) -> Iterator[Block]:
    graph, notation = subject.graph, subject.notation
    batch = subject.batch
    rows = [_symbol_row(notation, batch, p.value, role_of(subject, p, _role(p))) for p in graph.ports]
    new_states = {r.value.name: r.name for r in graph.results_with("state")}
    outputs = {r.value.name: r.name for r in graph.results_with("output")}
    made = {n.value.name: n for n in subject.written_nodes}
    for name, node in made.items():
        if (name in notation.lines or name in subject.named) and not subject.in_structure(name):
            role = _made_role(node, new_states, outputs, subject)
            rows.append(_symbol_row(notation, batch, node.value, role))
    yield Table(("symbol", "one instance", "a batch of m instances", "what it is"), tuple(rows), code=(0, 1, 2))
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
    if name in subject.graph.meanings:
        return f"result of {subject.graph.meanings[name][0].partition('; ')[0]}"
    if node.record is concat:
        return "values side by side: " + subject.notation.right(name)
    return node.record.gist or "made in the step"


# --- products ------------------------------------------------------------------------------------------------------------


def _products(subject: Subject) -> Iterator[Block]:
    rows: list[tuple[str, str, str]] = []
    for node in subject.written_products:
        terms = counts([node]).multiply_adds
        text = f"{words.contraction(node)}\n{words.summed_over(node)}"
        rows.append((subject.notation.right(node.value.name), text, f"{terms:,}"))
    rows += product_rows(subject)
    if rows:
        yield Table(("product", "shapes for a batch of m", "multiply-adds"), tuple(rows), (2,), (0, 1))
        total = sum(int(row[2].replace(",", "")) for row in rows)
        yield Sentence(f"{plural(len(rows), 'product')} written; {total:,} multiply-adds per step and instance.")
        yield Sentence("What is summed over stands in both operands, and not in the result: so it disappears.")
    else:
        yield Sentence("No product is written: nothing is summed over.")
