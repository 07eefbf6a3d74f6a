"""Inputs and weights from 1e-30 to 1e6, and constant ones: native code and NumPy against the definition in float64.

What is allowed, and why, stands in tests/extremes.py.
"""

import numpy as np
import pytest

import ostinato
from ostinato import Bias, Input, Layer, State, Weight, cell, cells, elu, layer_norm, mean, norm, normalize, sigmoid, sqrt
from ostinato.language import functions
from ostinato.learn.optimisers import clip_by_global_norm
from tests import extremes
from tests.extremes import ACTIVATIONS, CELLS, CONSTANT, SCALES, activations, cell_is_right, function_is_right, over_a_line

BACKENDS = ("numpy", "native")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [1, 2, 7, 33])
@pytest.mark.parametrize("functions", [activations, over_a_line])
def test_a_function_is_right_to_a_few_roundings_at_every_scale(functions, n, backend):
    function_is_right(functions, backend, n)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_as_right_as_float32_can_be_at_every_scale(name):
    for backend in BACKENDS:
        cell_is_right(name, backend)


def test_all_activations_and_losses_are_among_them():
    assert set(functions.ACTIVATIONS) <= set(ACTIVATIONS)
    losses = [v for v in vars(ostinato).values() if isinstance(v, ostinato.Loss)]
    assert {loss.of_one for loss in losses} <= {function for function, _ in CELLS.values()}


# --- the comparison sees what it is there for ---------------------------------------------------------------------------------


def test_the_ratio_of_two_closed_gates_is_seen(monkeypatch):
    @cell
    def quotient(
        x=Input("n_inputs"), h=State("n_neurons"),
        W_f=Weight("n_inputs", "n_neurons"), b_f=Bias("n_neurons"),
        W_i=Weight("n_inputs", "n_neurons"), b_i=Bias("n_neurons"),
        W_n=Weight("n_inputs", "n_neurons"), b_n=Bias("n_neurons"),
    ):  # fmt: skip
        f, i = sigmoid(x @ W_f + b_f), sigmoid(x @ W_i + b_i)
        return (f * h + i * (x @ W_n + b_n)) / (f + i)

    monkeypatch.setitem(CELLS, "quotient", (quotient, {}))
    with pytest.raises(AssertionError, match=r"quotient, .*the definition itself is not finite"):
        cell_is_right("quotient", "numpy")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "function"),
    [
        (
            "layer_norm",
            lambda x: (x - mean(x, keepdims=True)) / sqrt(mean((x - mean(x, keepdims=True)) ** 2, keepdims=True) + 1e-5),
        ),
        ("norm", lambda x: sqrt(ostinato.sum(x * x))),
    ],
)
def test_a_rounded_mean_and_a_lost_square_are_seen(name, function, backend, monkeypatch):
    monkeypatch.setitem(extremes.OVER_A_LINE, name, function)

    @cell
    def spelled(x=Input("n")):
        return ostinato.Output(**{n: f(x) for n, f in extremes.OVER_A_LINE.items()})

    with pytest.raises(AssertionError, match="are wrong"):
        function_is_right(spelled, backend, 7)


# --- what it found ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_min_lstm_with_both_gates_closed_is_the_mean_that_its_logarithms_give(backend):
    """f / (f + i) for s_f = s_i + 1 is sigmoid(1), however far below zero both are."""
    layer = Layer(
        cells.min_lstm, n_inputs=1, n_neurons=1, backend=backend, init={"W_f": 1, "W_i": 1, "W_n": 0, "b_f": 1, "b_n": 3}
    )
    X = np.array([-10.0, -50.0, -104.0, -300.0, -1e4], np.float32)
    y, pullback = layer.vjp(X[None, :, None], state={"h": np.ones((5, 1), np.float32)})
    share = 1 / (1 + np.exp(-1))
    assert np.allclose(y[0, :, 0], share + (1 - share) * 3, rtol=1e-4)
    gradients = pullback(np.ones_like(y), state={"h": np.zeros((5, 1))})
    assert np.allclose(gradients.state["h"], share, rtol=1e-4)
    assert gradients.weights["b_f"] == pytest.approx(5 * share * (1 - share) * (1 - 3), rel=1e-3)
    assert all(np.isfinite(g).all() for g in gradients.weights.values())


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("n", [1, 3, 7, 64, 1000])
def test_layer_norm_of_a_constant_vector_is_0(n, backend):
    @cell
    def normal(x=Input("n")):
        return layer_norm(x)

    X = np.array([[np.full(n, sign * CONSTANT * scale)] for scale in SCALES for sign in (1, -1)], np.float32)
    assert not Layer(normal, n=n, backend=backend)(X).any()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_elu_of_a_small_number_keeps_its_digits(backend):
    @cell
    def q(x=Input("n")):
        return elu(x, 0.5)

    x = -np.logspace(-30, 3, 67, dtype=np.float32)
    y, pullback = Layer(q, n=67, backend=backend).vjp(x[None, None])
    exact = x.astype(np.float64)
    assert np.allclose(y[0, 0], 0.5 * np.expm1(exact), rtol=1e-6, atol=0)
    assert np.allclose(pullback(np.ones_like(y)).inputs[0, 0], 0.5 * np.exp(exact), rtol=1e-6, atol=1e-7)


def test_the_length_of_a_vector_is_right_from_the_smallest_number_to_the_largest():
    x = np.array([3.0, 4.0])
    for scale in (1e-300, 1e-30, 1.0, 1e30, 1e300):
        assert norm(x * scale) == pytest.approx(5 * scale, rel=1e-15)
    assert norm(np.float32([3e-45, 4e-45])) > 0
    assert norm(np.array([1.0, np.inf])) == np.inf
    assert np.isnan(norm(np.array([1.0, np.nan, np.inf])))
    assert normalize(x * 1e300).tolist() == [0.6, 0.8]


@pytest.mark.parametrize("largest", [1e-30, 1.0, 1e37])
def test_clipping_is_right_where_its_factor_is_beyond_float32(largest):
    g = {"w": np.array([3.0, 4.0], np.float32) * np.float32(largest)}
    clipped, length = clip_by_global_norm(g, 1e-9 if largest > 1e-20 else 1e-37)
    assert length == pytest.approx(5 * largest, rel=1e-6)
    assert np.allclose(clipped["w"], np.array([0.6, 0.8]) * (1e-9 if largest > 1e-20 else 1e-37), rtol=1e-6, atol=0)
