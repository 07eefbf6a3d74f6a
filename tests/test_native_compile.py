"""What a compilation does, counted: nothing twice, and nothing that the call does not need."""

import numpy as np
import pytest

from ostinato import Context, Input, Layer, State, Weight, cell, cells, tanh
from ostinato.lower.module import lower
from ostinato.lower.target import TARGETS
from ostinato.passes.rewrite import Pass
from ostinato.passes.simplify import simplify
from ostinato.plan.cost_model import CostModel
from ostinato.plan.planner import plan_program
from ostinato.runtime.backends import scheduled_program


def functions(made, name, **sizes):
    """The functions that are written for a program, by name."""
    layer = Layer(made, **sizes, backend="numpy")
    plan = plan_program(scheduled_program(layer.compiled(), name), "hoisted")
    found = lower(plan, TARGETS["x86-64-v4"]).globals
    return {name: function for name, function in found.items() if function.blocks}


def test_equal_matrices_are_packed_by_one_function():
    found = functions(cells.lstm, "forward", n_inputs=24, n_neurons=24)
    assert sum(name.startswith("pack") for name in found) == 1  # eight matrices of one shape
    found = functions(cells.lstm, "forward", n_inputs=7, n_neurons=24)
    assert sum(name.startswith("pack") for name in found) == 2


def test_a_step_is_a_run_where_nothing_belongs_to_the_instances_alone():
    found = functions(cells.lstm, "forward", n_inputs=7, n_neurons=24)
    assert str(found["ostinato_step"]).count("call") == 1
    assert "call void @ostinato_run" in str(found["ostinato_step"])

    @cell
    def told(x=Input("n"), k=Context("m", "n"), h=State("n"), W=Weight("n", "n"), U=Weight("n", "n")):
        return tanh(x + h @ U + (tanh(k @ W) @ h)[0])

    found = functions(told, "forward", m=3, n=5)
    assert "call void @ostinato_run" not in str(found["ostinato_step"])  # tanh(k @ W) is there already


def test_one_call_asks_for_the_cost_of_few_calls(monkeypatch):
    """Of what it takes to know on which side of the crossing it lies, once."""
    calls, cost = [], CostModel.cost
    monkeypatch.setattr(CostModel, "cost", lambda model, *call: calls.append(call) or cost(model, *call))
    layer = Layer(cells.lstm, n_inputs=11, n_neurons=24, backend="native")
    X = np.zeros((5, 2, 11), np.float32)
    layer(X)
    asked = list(calls)
    layer(X)
    assert calls == asked
    assert asked[:2] == [(100, 4), (100, 6)]
    assert len(asked) <= 2 * (2 + 2)  # of both plans, two octaves


@pytest.mark.parametrize(("name", "most"), [("recurrent", 5), ("lstm", 5), ("gru_reset_before", 5)])
def test_rules_that_find_nothing_are_not_run(name, most, monkeypatch):
    graph = getattr(cells, name).trace(n_inputs=3, n_neurons=5)
    runs, run = [], Pass.run
    monkeypatch.setattr(Pass, "run", lambda step: runs.append(type(step).__name__) or run(step))
    simplify(graph)
    assert len(runs) <= most, runs


def test_training_is_compiled_by_itself_only_where_it_differs():
    plain = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native")
    dropping = Layer(cells.lstm, n_inputs=3, n_neurons=5, recurrent_dropout=0.5, backend="native")
    same, other = (
        [layer._programs.executable("recording", training=training) for training in (True, False)]
        for layer in (plain, dropping)
    )
    assert same[0] is same[1]
    assert other[0] is not other[1]
