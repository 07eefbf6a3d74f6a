"""A new op is one record and one vector function: nothing else in the package is told of it."""

import numpy as np
import pytest

import ostinato
from ostinato import Input, Layer, State, Weight, cell
from ostinato.explain.cost import Counts
from ostinato.ir import op_shapes
from ostinato.ir.op import OPS, Binding, Cost, Kind, record
from ostinato.ir.parse import read_graph
from ostinato.lower.vector_math import NUMBERS
from ostinato.plan.cost_model import CostModel

from .helpers import assert_close, random
from .test_plan import MACHINE, plans_of


@pytest.fixture(autouse=True)
def _gone_again():
    yield
    for name in ("gaussian", "dear_gaussian"):
        OPS.pop(name, None)
        NUMBERS.pop(name, None)


def new_op(name="gaussian", cost=Cost(12, 14)):
    op = record(
        name, n_operands=1, kind=Kind.ELEMENTWISE, shape=op_shapes.same_shape, numpy=lambda x: np.exp(-x * x),
        derivative=(lambda d, y, x: d * y * (-2 * x),), arithmetic="functions", cost=cost, recomputed=False,
        equation="gaussian({0})", binding=Binding.ATOM, doc="exp(-x²)",
    )  # fmt: skip
    NUMBERS[name] = lambda x: NUMBERS["exp"](-(x * x))
    return op


def bump(op):
    @cell
    def bumped(
        x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), U=Weight("n_neurons", "n_neurons")
    ):
        return op(x @ W + h @ U)

    return bumped


def test_it_is_traced_printed_and_read_back():
    graph = bump(new_op()).trace(n_inputs=2, n_neurons=3)
    assert "gaussian(" in str(graph)
    assert read_graph(str(graph)) == graph


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_it_runs_and_is_differentiated(backend):
    layer = Layer(bump(new_op()), n_inputs=2, n_neurons=3, dtype="float64", backend=backend)
    X, h = random((7, 4, 2)), np.zeros((4, 3))
    outputs, pullback = layer.vjp(X)
    for x, found in zip(X, outputs, strict=True):
        h = np.exp(-((x @ layer.weights["W"] + h @ layer.weights["U"]) ** 2))
        assert_close(found, h)
    d = random(outputs.shape, 1)
    direction, step = random(X.shape, 2), 1e-6
    ahead, behind = (layer(X + s * step * direction) for s in (1, -1))
    total = (d * (ahead - behind)).sum() / (2 * step)
    assert_close((pullback(d).inputs * direction).sum(), total, 1e-6)


def test_it_is_computed_of_arrays_and_of_numbers():
    op = new_op()
    assert_close(op(np.array([0.0, 1.0])), [1.0, np.exp(-1.0)])


def test_it_is_explained():
    explanation = ostinato.explain(bump(new_op()), n_inputs=2, n_neurons=3)
    assert explanation.step == Counts(
        multiply_adds=2 * 3 + 3 * 3, additions=0, functions=3
    )  # the bias is what the sum begins with
    assert "gaussian(" in str(explanation)


def test_a_plan_costs_what_the_record_says():
    """The same cell with an op that is said to be ten times as dear is estimated to take longer."""
    seconds = []
    for op in (new_op(), new_op("dear_gaussian", Cost(120, 140))):
        plan = plans_of(Layer(bump(op), n_inputs=2, n_neurons=3)).plan("hoisted")
        seconds.append(CostModel(plan, MACHINE).cost(100, 1).seconds)
    assert seconds[1] > 1.5 * seconds[0]
