"""One account of what runs: every place that shows a number of it shows the same one, and the Plan says it too."""

import re

import numpy as np
import pytest

from ostinato import Layer, OptionError, cells, explain
from ostinato.explain.document import Table
from ostinato.explain.what_runs import SECTIONS, alternatives, n_products, of_planned, of_program, program_of
from ostinato.ir.graph import Rule, Why
from ostinato.ir.interpret import run_as_given
from ostinato.ir.timeline import Timeline
from ostinato.ir.verify import verify
from ostinato.language.cell import Cell
from ostinato.plan.phases import CHOICES, Phase
from tests.test_plan import native, plans_of

LIBRARY = [name for name in cells.__all__ if isinstance(getattr(cells, name), Cell)]
BIG = {"height": 5, "width": 6}


def sizes_of(cell, base):
    """Sizes of which no two are equal, as far as the cell lets them be."""
    sizes = {dim: BIG.get(dim, base + i) for i, dim in enumerate(cell.dimensions)}
    try:
        cell.trace(**sizes)
    except ValueError:  # heads, groups, kernels: sizes that have to divide each other
        sizes = {dim: BIG.get(dim, 4) for dim in cell.dimensions}
    return sizes


def library_layer(name, base=3, **more):
    cell = getattr(cells, name)
    return Layer(cell, **sizes_of(cell, base), **more)


# --- the Plan, the account and the Program ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["forward", "recording", "backward"])
@pytest.mark.parametrize("name", LIBRARY)
def test_the_account_is_that_of_the_plan_and_of_the_program_that_is_printed(name, which):
    """Of every plan: as many products in each section as the stages have, and as the printed program has."""
    planned = plans_of(library_layer(name, 9, backend="native"), which)
    for choice, account in alternatives(planned, 20, 3).items():
        plan, sections = planned.plan(choice), dict.fromkeys(SECTIONS, 0)
        for phase, stages in plan.stages.items():
            place = "weights" if phase == Phase.PREPARE else "loop" if phase == Phase.LOOP else "before"
            place = "after" if phase > Phase.LOOP else place
            sections[place] += sum(map(n_products, stages))
        shown = of_program(verify(program_of(plan), "what runs"), 20, 3)
        assert dict(account.products) == sections == dict(shown.products), choice
        assert account.n_stages == len(plan.stages.get(Phase.LOOP, ()))
        for section in ("before", "loop", "after"):  # sums of products are a part of the products: no plan adds more
            mine, printed = account.arithmetic[section], shown.arithmetic[section]
            assert mine.multiply_adds == printed.multiply_adds, (choice, section)
            assert mine.additions <= printed.additions
        assert account.moved_bytes == planned.models[choice].cost(20, 3).moved_bytes


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "lstm_projection", "sru", "indrnn", "luong_decoder"])
def test_the_program_that_is_printed_computes_the_same(name, choice):
    layer = library_layer(name, backend="native", plan=choice, dtype="float64")
    generator, timeline = np.random.default_rng(1), Timeline(4, 2)
    program = layer.program
    values = {
        p.name: generator.standard_normal((*((4, 2) if p.role == "input" else (2,)), *p.value.type.sizes))
        for p in program.with_role("input", "context", "state")
    }  # fmt: skip
    wanted = run_as_given(layer.compiled().forward, timeline, values, layer.weights.snapshot)
    found = run_as_given(program, timeline, values, layer.weights.snapshot)
    for key, array in wanted.outputs.items():
        np.testing.assert_allclose(found.outputs[key], array, rtol=1e-9, atol=1e-12)


def test_an_account_of_an_lstm():
    planned = plans_of(native(cells.lstm, 64, 64))
    found = alternatives(planned, 100, 1)
    assert [tuple(a.products[s] for s in ("before", "loop", "after")) for a in found.values()] == [
        (0, 8, 0),
        (0, 2, 0),
        (1, 1, 0),
    ]
    assert [a.calls for a in found.values()] == [800, 200, 101]
    fused, hoisted = found["fused"], found["hoisted"]
    assert fused.loop_weight_bytes == 4 * (4 * 128 * 64 + 4 * 64)  # both halves of four weights, and four biases
    assert hoisted.loop_weight_bytes == 4 * 4 * 64 * 64  # the biases are in what is hoisted
    assert fused.step.multiply_adds == hoisted.step.multiply_adds == 4 * 128 * 64
    assert fused.loop_multiply_adds == fused.step.multiply_adds
    assert hoisted.loop_multiply_adds == 4 * 64 * 64
    assert fused.products_in_words == "2 each step"
    assert hoisted.products_in_words == "1 before + 1 each step"


# --- everywhere that it is shown ----------------------------------------------------------------------------------------------


def row_that_runs(page, heading):
    """Of the table with this heading, the row of the plan that runs, by headings; None where there is no such table."""
    tables = [block for section in page.sections for block in section.blocks if isinstance(block, Table)]
    for table in (table for table in tables if heading in table.headings):
        (row,) = (row for row in table.rows if row[0].endswith(" (runs)"))
        return dict(zip(table.headings, row, strict=True))
    return None


@pytest.mark.parametrize(
    ("backend", "call"), [("native", (100, 1)), ("native", (7, 40)), ("numpy", (7, 40))], ids=lambda x: f"{x}"
)
@pytest.mark.parametrize("name", LIBRARY)
def test_the_same_numbers_everywhere(name, backend, call, tmp_path):
    layer = library_layer(name, backend=backend)
    inputs = {
        p.name: np.zeros((*(call if p.role == "input" else call[1:]), *p.value.type.sizes))
        for p in layer.graph.with_role("input", "context")
    }
    explanation = explain(layer, **inputs)
    account, text = explanation.what_runs, str(explanation)
    again = layer.what_runs(n_steps=call[0], n_instances=call[1])
    assert again == account
    assert (account.n_steps, account.n_instances) == call
    products = account.products
    assert (explanation.products_before, explanation.products_in_loop, explanation.products_after) == tuple(
        products[s] for s in ("before", "loop", "after")
    )
    # the terminal: "What runs" and "What it costs"
    flat = " ".join(text.split())
    if layer.graph.states:
        assert f"these run: {products['before']} before the loop (once per sequence), {products['loop']} at every step" in flat
        assert f"weights read by every step of the loop {account.loop_weight_bytes:,}" in flat
    else:
        number = products["before"] + products["loop"] + products["after"]
        assert f"so nothing waits: {number} run" in flat
    assert f"Multiplications: {account.step.all_multiplications:,} per step and instance" in flat
    assert f"It costs {layer.what_runs('backward', n_steps=call[0], n_instances=call[1]).step.in_words()} per" in flat
    # the tiles at the page's head
    explanation.save(tmp_path / "page.html")
    tiles = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", (tmp_path / "page.html").read_text()))
    assert tiles["products that run"] == account.products_in_words
    assert tiles["multiplications per step and instance"] == f"{account.step.all_multiplications:,}"
    # the rows of the plans
    for plan in (plan for plan in explanation.plans if plan.runs):
        assert (plan.calls, plan.moved, plan.weights_read) == (account.calls, account.moved_bytes, account.loop_weight_bytes)
        assert plan.each_step == products["loop"]
        row = row_that_runs(explanation.page, "loop multiply-adds")
        assert (row["each step"], row["bytes moved"]) == (f"{plan.each_step}", f"{plan.moved:,}")
    if backend == "native":
        report = layer.plan_of(n_steps=call[0], n_instances=call[1])
        assert report.choice == account.plan
        assert report.plan.choice == account.plan
        row = row_that_runs(report.page, "stages a step")
        assert row is not None or len({c.seconds for c in report.costs.values()}) == 1
        if row is not None:
            assert row["plan"] == f"{account.plan} (runs)"
            assert row["products before + in + after the loop"] == " + ".join(str(products[s]) for s in SECTIONS[1:])
            assert row["stages a step"] == f"{account.n_stages}"
            assert row["weights a step reads"].partition(" (")[0] == f"{account.loop_weight_bytes:,}"
            assert row["bytes of values moved"] == f"{account.moved_bytes:,}"


def test_print_shows_what_runs():
    layer = Layer(cells.lstm, n_inputs=64, n_neurons=64, backend="native", plan="hoisted")
    account = layer.what_runs()
    assert str(layer) == (
        "layer lstm(n_inputs=64, n_neurons=64), float32, 33,024 parameters\n"
        "  a call of 100 steps of 1 instance is run by native code, by the plan `hoisted`\n"
        f"  products: 1 before + 1 each step; {account.step.all_multiplications:,} multiplications per step and instance\n"
        f"  bytes: {account.moved_bytes:,} of values moved; {account.loop_weight_bytes:,} of weights read by a step"
    )
    assert repr(layer) == "<layer lstm(n_inputs=64, n_neurons=64), float32, 33,024 parameters>"
    other = str(Layer(cells.dense, n_inputs=3, n_outputs=2, backend="reference")).splitlines()
    assert other[1:3] == [
        "  a call of 100 steps of 1 instance is run by NumPy, as it was written",
        "  products: 1; 6 multiplications per step and instance",
    ]


def test_the_program_of_a_layer_is_what_its_backend_runs():
    made = {plan: Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native", plan=plan) for plan in ("fused", "hoisted")}
    assert "x @ weights_of_x" in str(made["fused"].program).partition("loop, one step")[2]
    assert "x @ weights_of_x" in str(made["hoisted"].program).partition("loop, one step")[0]
    other = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="numpy")
    assert other.program is other.compiled().forward
    assert other.backward_program is other.compiled().backward


def test_a_call_that_is_none():
    layer = Layer(cells.lstm, n_inputs=3, n_neurons=5)
    with pytest.raises(OptionError) as caught:
        layer.what_runs("backwards")
    assert str(caught.value) == (
        "lstm: there is no program `backwards`; did you mean `backward`? The programs are `forward`, `recording`, `backward`"
    )
    with pytest.raises(OptionError, match="lstm: `n_steps` is a whole number from 1 up, not 0"):
        layer.what_runs(n_steps=0)


def test_a_reason_has_fields():
    """What a node stands by is data: the rule, and the state or the plan that it speaks of."""
    planned = plans_of(native(cells.lstm, 3, 5))
    reasons = [of_planned(planned, choice=choice).program.reasons for choice in ("hoisted", "fused")]
    hoisted, fused = (reasons[i]["products_of_x"] for i in (0, 1))
    assert (hoisted.rule, fused.rule, fused.plan) == (Rule.NOT_REACHED, Rule.PLANNED, "fused")
    assert str(fused) == "the plan `fused` computes it where it is read, and keeps nothing for it"
    assert reasons[0]["products_of_h"] == reasons[1]["products_of_h"] == Why(Rule.AWAITED, "h")
    assert str(Why(Rule.AWAITED, "h")) == "it reads the state `h`, and the next state waits for it"
