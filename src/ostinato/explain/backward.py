"""The sections on the backward pass and on training."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import ops
from ..ir.shapes import Varies
from . import words
from .cost import products, value_bytes
from .document import Block, Formulas, Sentence, Table
from .equations import Notation
from .subject import Subject
from .words import plural


def backward_section(subject: Subject) -> Iterator[Block]:
    runs, states = subject.runs_backward, subject.graph.states
    rows = []
    for text, value in subject.kept:
        size = value_bytes([value])
        often = {Varies.STEP: "for every step", Varies.INSTANCE: "once per sequence", Varies.NEVER: "once"}
        rows.append((text, words.shape_of_batch(value), often[value.type.varies], f"{size:,}"))
    if rows:
        yield Sentence("The forward pass keeps for it:")
        yield Table(("value", "shape for a batch of m", "kept", "bytes per instance"), tuple(rows), (3,), (0, 1))
        yield Sentence(f"Together {subject.kept_bytes:,} bytes for every step and instance.")
    else:
        yield Sentence("Nothing has to be kept for it.")
    before, loop, after = (runs.products[key] for key in ("before", "loop", "after"))
    if states:
        names = ", ".join(f"d{p.name}(t)" for p in states)
        yield Sentence(
            f"Back-propagation through time runs from the last step to the first, and carries {names}. Its products: "
            f"{before} before the loop, {loop} at every step, {after} after the loop (all steps at once)."
        )
    else:
        yield Sentence(f"The backward pass runs {plural(before + loop + after, 'product')}, for all steps at once.")
    found = tuple(_product_rows(subject))
    if found:
        yield Table(("product, with its shapes", "what it gives", "where"), found, code=(0,))
    yield Sentence(f"It costs {runs.step.in_words()} per step and instance.")


def _product_rows(subject: Subject) -> Iterator[tuple[str, str, str]]:
    program = subject.runs_backward.program
    for section, nodes in program.sections.items():
        for node in products(nodes):
            alone = node.value.type.varies == Varies.NEVER and node.record is ops.matmul
            place = words.PLACES[section] if program.states else "for all steps at once"
            place = "once per call" if alone else place.replace("once for all T steps", "all T steps at once")
            steps = section != "loop" and bool(program.states)
            yield words.contraction(node, steps=steps), words.gives(program, node), place


def training_section(subject: Subject) -> Iterator[Block]:
    masks = subject.training_graph.with_role("mask")
    if not masks:
        return
    notation = Notation(subject.training_graph, subject.named, subject.training_graph.meanings)
    yield Sentence("With dropout, some elements are set to zero, and the others divided by the probability to be kept:")
    yield Formulas(tuple((e.left, e.right) for e in notation.equations()))
    rows = []
    for port in masks:
        often = "new at every step" if port.value.type.varies == Varies.STEP else "one for the whole sequence"
        values = f"0 with probability {port.rate:g}, else 1 / {1 - port.rate:g}"
        rows.append((port.name, words.shape_of_batch(port.value), values, often))
    yield Table(("mask", "shape for a batch of m", "its elements", "drawn"), tuple(rows))
