"""The pipeline runs to its end: each stage is asked for by name, made once, and printed."""

import re
import subprocess
import sys

import pytest

from ostinato import Layer, OptionError, cells
from ostinato.compiler import NATIVE, PROGRAMS, compile_graph, llvm_text
from ostinato.native.code import assembly_of
from ostinato.plan.plan import Plan
from tests.test_cli import SMALL, complaint, run

SIZES = {"n_inputs": 3, "n_neurons": 5}
NAMES = [f"{stage}{ending}" for stage in NATIVE for ending in ("", "_recording", "_backward")]


def test_the_stages_of_native_code_stand_behind_the_programs():
    stages = Layer(cells.lstm, **SIZES, backend="native").compiled().stages
    assert list(stages)[-len(NAMES) :] == NAMES
    assert repr(stages).startswith("<stages trace, simplify, differentiate, schedule, ")
    assert not set(NAMES) & set(Layer(cells.lstm, **SIZES, backend="reference").compiled().stages)
    assert "assembly" not in compile_graph(cells.lstm.trace(**SIZES)).stages  # nobody said who makes it


@pytest.mark.parametrize("which", PROGRAMS)
def test_a_plan_and_its_code_are_those_of_the_program(which):
    ending = "" if which == "forward" else f"_{which}"
    stages = Layer(cells.gru_reset_before, **SIZES, backend="native").compiled().stages
    plan = stages[f"plan{ending}"]
    assert isinstance(plan, Plan)
    assert plan.program is stages[f"schedule_{which}"]
    assert stages[f"plan{ending}"] is plan
    assert stages[f"llvm{ending}"] == llvm_text(plan)
    text = stages[f"assembly{ending}"]
    instructions = [line.split() for line in assembly_of(plan).splitlines() if re.match(r"\t[a-z]", line)]
    assert [line.split() for line in text.splitlines() if re.match(r"  [a-z]", line)] == instructions
    for code, mark in ((stages[f"llvm{ending}"], ";"), (text, "#")):
        assert code.startswith(f"{mark} {plan.program.name}, {plan.program.direction}, by the plan `{plan.choice}`\n")
        assert re.search(r"\n\n(define [^\n]*@)?ostinato_run", code)


def test_another_plan_shares_what_was_compiled():
    layer = Layer(cells.lstm, **SIZES, backend="native")
    layers = {plan: layer.with_plan(plan).compiled() for plan in ("separate", "fused", "hoisted")}
    first = layer.compiled()
    again = {plan: layer.with_plan(plan).compiled() for plan in layers}
    for plan, compiled in again.items():
        assert compiled.stages["plan"].choice == plan
        assert compiled.forward is first.forward
        assert compiled.stages["llvm"] == layers[plan].stages["llvm"]
    reference = Layer(cells.lstm, **SIZES, backend="reference")
    assert reference.with_plan("fused").compiled() is reference.compiled()


def test_no_stage_but_assembly_needs_llvmlite():
    code = """
import sys
from ostinato import Layer, cells
stages = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native").compiled().stages
for name in stages:
    if not name.startswith("assembly"):
        str(stages[name])
print("llvmlite" in sys.modules, "ostinato_run" in stages["assembly"], "llvmlite" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False True True", done.stderr


@pytest.mark.parametrize("name", ["trace", "schedule_backward", "plan", "llvm_recording", "assembly"])
def test_explain_stops_after_a_stage(name, capsys):
    code, out, err = run(capsys, "explain", "lstm", *SMALL, "--stop-after", name)
    assert (code, err) == (0, "")
    assert out.rstrip() == str(Layer(cells.lstm, **SIZES).compiled().stages[name]).rstrip()


def test_a_stage_that_is_not_there(capsys):
    names = ", ".join(f"`{name}`" for name in Layer(cells.lstm, **SIZES).compiled().stages)
    headline = f"there is no stage `asembly`; did you mean `assembly`? The stages are {names}"
    assert complaint(capsys, "explain", "lstm", *SMALL, "--stop-after", "asembly") == headline
    with pytest.raises(OptionError) as caught:
        Layer(cells.lstm, **SIZES).compiled().stage("asembly")
    assert str(caught.value) == headline
    product = "explain: --stop-after shows how a cell is compiled; a product has no stages"
    assert complaint(capsys, "explain", "A[m,n] @ B[n,p]", "--stop-after", "llvm") == product
