"""The sections on what runs and what it costs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..ir import ops
from ..ir.graph import Program
from . import words
from .alternatives import Plan, seconds_text, stages_of
from .cost import Counts, value_bytes
from .document import Bars, Block, Formulas, Picture, Sentence, Table
from .equations import Notation, is_generated
from .plan_tables import plan_blocks
from .subject import Subject
from .words import plural

PARTS = "What is cut into parts is computed in parts. The parts of the weights:"
BLOCKS = (
    "A product with values side by side is a sum: [x h] W is x times the upper rows of W plus h times the lower ones. So each "
    "part runs where its own operand is known. The parts of the weights:"
)


def runs_section(subject: Subject) -> Iterator[Block]:
    program, numbers = subject.runs.program, subject.runs.products
    notation = subject.program_notation
    yield Sentence(_how_many_run(subject))
    placed = words.placed_products(program, notation)
    if placed:
        yield Table(
            ("product that runs, with its shapes", "where, and why"), tuple(_placed_row(p, program) for p in placed), code=(0,)
        )
    for sentence in words.fusing(program, notation):
        yield Sentence(sentence)
    parts = words.blocks(program, subject.graph)
    if parts:
        joined = {n.value.name for n in subject.graph.nodes if n.record is ops.concat}
        side_by_side = any(n.args[0].name in joined for n in subject.written_products)
        yield Sentence(BLOCKS if side_by_side else PARTS)
        yield Picture(tuple(parts))
    if program.states:
        elsewhere = {"before": "before the loop", "loop": "at every step", "after": "after the loop"}
        counted = [f"{n} {elsewhere[s]}" for s, n in subject.runs.elementwise.items() if n]
        if counted:
            yield Sentence(f"Elementwise operations: {', '.join(counted)}.")
        if not numbers["loop"]:
            yield Sentence("No product stays in the loop: a step costs elementwise operations alone.")
        if not subject.planned:
            yield Sentence(_stages(program))


def native_section(subject: Subject) -> Iterator[Block]:
    """How native code runs both programs: stages, tiles, packed weights; and what the plans cost by the model."""
    shown: list[Block] = []
    call = subject.runs.n_steps, subject.runs.n_instances
    for name, planned in subject.planned.items():
        shown += [Sentence(f"The {name} program, {planned.program.name}."), *plan_blocks(planned, *call, {})]
    yield from shown
    cells = " ".join(text for block in shown if isinstance(block, Table) for row in block.rows for text in row)
    unnamed = [n for n in subject.notation.made if is_generated(n) and re.search(rf"\b(d_)?{n}\b", cells)]
    if unnamed:
        yield Sentence(
            "These values have no name in the cell; one that is given there is used here (d_ stands before adjoints):"
        )
        notation = Notation(subject.graph, subject.named, subject.graph.meanings)
        notation.lines |= set(unnamed)  # each by those before it
        yield Formulas(tuple((n, notation.right(n)) for n in unnamed))


def _placed_row(placed: words.Placed, program: Program) -> tuple[str, str]:
    steps = placed.section != "loop" and bool(program.states)
    place = placed.place if program.states else "for all steps at once"
    return f"{placed.text}\n{words.contraction(placed.node, steps=steps)}", f"{place}\n{placed.why or ''}"


def _stages(program: Program) -> str:
    """Where the loop has to stop and wait for whole values."""
    number = max(stages_of(program.loop).values(), default=1)
    if number == 1:
        return (
            "The loop is one stage: no value made in it is needed whole before the step ends, so all of it can stay in "
            "registers."
        )
    return (
        f"The loop has {number} stages: a new one begins where a value made in the step is needed whole, as an operand of a "
        "product or in a sum."
    )


def _how_many_run(subject: Subject) -> str:
    numbers, written = subject.runs.products, subject.n_products_written
    first = f"{plural(written, 'product')} written."
    if not subject.graph.states:
        number = sum(numbers[section] for section in ("before", "loop", "after"))
        return f"{first} The cell has no state, so nothing waits: {number} run{'s'[: number == 1]}, for all steps at once."
    before, loop, after = (numbers[key] for key in ("before", "loop", "after"))
    parts = [f"{before} before the loop (once per sequence)", f"{loop} at every step"]
    if after:
        parts.append(f"{after} after the loop (once per sequence)")
    if numbers["weights"]:
        parts.append(f"{numbers['weights']} of weights alone (once per call)")
    by = f"By the plan `{subject.runs.plan}` these run" if subject.runs.plan else "After fusing these run"
    return f"{first} {by}: {', '.join(parts)}."


def cost_section(subject: Subject) -> Iterator[Block]:
    program, runs = subject.runs.program, subject.runs
    rows = []
    where = {"before": "before the loop", "loop": "in the loop", "after": "after the loop"}
    for section, nodes in program.sections.items():
        if nodes or (section == "loop" and program.states):
            rows.append(_cost_row(where[section] if program.states else "all steps at once", runs.arithmetic[section]))
    rows.append(_cost_row("together", runs.step))
    headings = ("per step and instance", "multiply-adds", "multiplications", "additions", "functions", "others")
    yield Table(headings, tuple(rows), (1, 2, 3, 4, 5))
    yield Sentence(_multiplications(runs.step))
    once = _once(subject)
    if once:
        yield Sentence(once)
    yield Sentence(_bytes(subject))
    yield from _alternatives(subject)
    if subject.measured:
        fastest = min(subject.measured.values())
        times = tuple((n, s, f"{seconds_text(s)}, {s / fastest:.2f}x") for n, s in subject.measured.items())
        yield Bars("Measured times, and how many times that of the fastest", times)


def _alternatives(subject: Subject) -> Iterator[Block]:
    """What runs against what could run instead."""
    plans, runs = subject.plans, subject.runs
    if not plans:
        return
    yield Sentence(
        f"What fusing and hoisting save, counted for {plural(runs.n_steps, 'step')} of {plural(runs.n_instances, 'instance')}. "
        "Every plan multiplies the same numbers; they differ in how many products are started, and how often weights and "
        "values are read and written:"
    )
    rows = tuple(
        (p.name + (" (runs)" if p.runs else ""), f"{p.once}", f"{p.each_step}", f"{p.calls:,}", f"{p.multiply_adds:,}",
         f"{p.weights_read:,}", f"{p.moved:,}") for p in plans
    )  # fmt: skip
    steps = plural(runs.n_steps, "step")
    headings = ("plan", "products once", "each step", steps, "loop multiply-adds", "weights a step", "bytes moved")
    yield Table(headings, rows, (1, 2, 3, 4, 5, 6))
    yield Bars(f"Products started in {steps}", tuple((p.name, p.calls, f"{p.calls:,}") for p in plans))
    yield Bars("Bytes of values moved", tuple((p.name, p.moved, f"{p.moved:,}") for p in plans))
    yield Sentence(_saved(plans, runs.n_steps))


def _saved(plans: list[Plan], n_steps: int) -> str:
    first, last = plans[0], next(p for p in plans if p.runs)
    calls, moved = first.calls - last.calls, first.moved - last.moved
    parts = []
    if calls > 0:
        parts.append(f"{calls:,} of {first.calls:,} products ({100 * calls / first.calls:.0f}%)")
    if moved > 0:
        parts.append(f"{moved:,} of {first.moved:,} bytes of values ({100 * moved / first.moved:.0f}%)")
    weights = [n_steps * plan.weights_read for plan in (first, last)]
    if weights[0] > weights[1]:
        parts.append(
            f"{weights[0] - weights[1]:,} of {weights[0]:,} bytes of weights ({100 * (1 - weights[1] / weights[0]):.0f}%)"
        )
    return f"Against `separate` this saves {', '.join(parts)}." if parts else "Against `separate` this saves nothing here."


def _cost_row(name: str, c: Counts) -> tuple[str, ...]:
    return name, *(f"{n:,}" for n in (c.multiply_adds, c.multiplications, c.additions, c.functions, c.others))


def _multiplications(total: Counts) -> str:
    return (
        f"Multiplications: {total.all_multiplications:,} per step and instance ({total.multiply_adds:,} in products, "
        f"{total.multiplications:,} elementwise); for T steps and m instances T × m times as many."
    )


def _once(subject: Subject) -> str:
    """What is not computed at every step."""
    instance, weights = subject.runs.per_instance, subject.runs.per_call
    parts = []
    if instance != Counts():
        parts.append(f"once per sequence for each instance: {instance.in_words()}")
    if weights != Counts():
        parts.append(f"once per call: {weights.in_words()}")
    return f"Beside that, {'; '.join(parts)}." if parts else ""


def _bytes(subject: Subject) -> str:
    program = subject.runs.program
    parameters = value_bytes(p.value for p in subject.graph.with_role("weight", "bias"))
    parts = [f"parameters {parameters:,}"]
    if program.states:
        parts.append(f"weights read by every step of the loop {subject.runs.loop_weight_bytes:,}")
        parts.append(f"state {value_bytes(p.value for p in program.states):,} per instance")
    parts.append(f"kept for the backward pass {subject.kept_bytes:,} per step and instance")
    return f"Bytes: {', '.join(parts)}."
