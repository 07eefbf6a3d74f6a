"""The language: every op traced and computed on arrays gives the same; a cell is a function, and one step of its layer."""

import math

import numpy as np
import pytest

import ostinato
from ostinato import (
    Bias,
    Context,
    Input,
    Layer,
    Output,
    State,
    Weight,
    cell,
    cells,
    concat,
    dropout,
    layer_norm,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    mean,
    minimum,
    patches,
    reshape,
    softmax,
    split,
    stop_gradient,
    tanh,
    transpose,
    where,
)
from ostinato import max as largest
from ostinato import sum as total
from ostinato.language.functions import ACTIVATIONS

from .helpers import assert_close, assert_equal, random

SHAPES = {"number": (), "vector": (4,), "matrix": (3, 4), "block": (2, 3, 4)}

ONE = {name: getattr(ostinato, name) for name in ("abs", "exp", "sign", "stop_gradient")} | ACTIVATIONS
ONE |= {
    "negative": lambda x: -x, "positive": lambda x: +x, "invert": lambda x: where(~(x > 0), 1.0, x),
    "log": lambda x: ostinato.log(x * x + 1), "sqrt": lambda x: ostinato.sqrt(x * x + 0.5), "cube": lambda x: x**3,
    "power": lambda x: 2.0**x, "root": lambda x: (x * x + 1) ** 0.5, "reversed": lambda x: 1 - 3 / (x * x + 2),
    "reshaped": lambda x: reshape(x, *reversed(x.shape), 1),
}  # fmt: skip
TWO = {
    "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (b * b + 1), "power": lambda a, b: (a * a + 1) ** b, "maximum": maximum, "minimum": minimum,
    "less": lambda a, b: where(a < b, a, 2.0), "less_equal": lambda a, b: where(a <= b, 1.0, b),
    "greater": lambda a, b: where(a > b, a, b), "greater_equal": lambda a, b: where(a >= b, a, -b),
    "equal": lambda a, b: where(a == b, a, 0.0), "unequal": lambda a, b: where(a != b, a, 0.0),
    "and": lambda a, b: where((a > 0) & (b > 0), a, b), "or": lambda a, b: where((a > 0) | (b > 0), a, b),
    "logical": lambda a, b: where(logical_or(logical_and(a > 0, b > 0), logical_not(a > 1)), a, b),
}  # fmt: skip
LAST = {
    "sum": total, "mean": mean, "max": largest, "sum_kept": lambda x: total(x, keepdims=True),
    "max_kept": lambda x: x - largest(x, keepdims=True), "softmax": softmax, "layer_norm": layer_norm,
    "sum_first": lambda x: total(x, axis=0), "mean_first": lambda x: mean(x, axis=0, keepdims=True),
    "sum_all": lambda x: total(x, axis=tuple(range(len(x.shape)))), "doubled": lambda x: concat(x, 2 * x),
    "doubled_rows": lambda x: concat(x, 2 * x, axis=0), "halves": lambda x: split(x, 2)[1] - split(x, 2)[0],
    "named_parts": lambda x: split(x, [1, 3])[1], "transposed": lambda x: x.T, "every_second": lambda x: x[..., ::2],
    "last": lambda x: x[..., -1], "middle": lambda x: x[..., 1:-1], "first_row": lambda x: x[0],
    "from_end": lambda x: x[..., -3:],
    "kept_row": lambda x: x[0:1], "steps": lambda x: x[..., 1:4:2], "all": lambda x: x[...],
}  # fmt: skip


def on_symbols(function, *arrays):
    """What a layer computes for a cell whose body is the function, with the definition and with the compiled program."""
    declared = [Input(*a.shape) for a in arrays]

    def one(a=declared[0]):
        return Output(function(a))

    def two(a=declared[0], b=declared[-1]):
        return Output(function(a, b))

    results = []
    for backend in ("reference", "numpy"):
        layer = Layer(cell(one if len(arrays) == 1 else two), dtype="float64", backend=backend)
        results.append(layer(*[np.stack([a, a])[None] for a in arrays])[0, 1])
    return results


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ONE)
def test_one_operand(name, shape):
    x = random(SHAPES[shape])
    expected = ONE[name](x)
    for found in on_symbols(ONE[name], x):
        assert_close(found, expected, 1e-14)


@pytest.mark.parametrize("left", SHAPES)
@pytest.mark.parametrize("right", SHAPES)
@pytest.mark.parametrize("name", TWO)
def test_two_operands_broadcast(name, left, right):
    a, b = random(SHAPES[left]), random(SHAPES[right], seed=1)
    expected = TWO[name](a, b)
    for found in on_symbols(TWO[name], a, b):
        assert_close(found, expected, 1e-14)


@pytest.mark.parametrize("shape", ["vector", "matrix", "block"])
@pytest.mark.parametrize("name", LAST)
def test_along_dimensions(name, shape):
    x = random(SHAPES[shape])
    expected = LAST[name](x)
    for found in on_symbols(LAST[name], x):
        assert_close(found, expected, 1e-13)


@pytest.mark.parametrize(
    ("left", "right"),
    [((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
     ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((3, 4), (2, 4, 5))],
)  # fmt: skip
@pytest.mark.parametrize("shared", [True, False])
def test_products_follow_numpy(left, right, shared):
    a, b = random(left), random(right, seed=1)

    def weighted(a=Input(*left), b=Weight(*right)):
        return a @ b

    for backend in ("reference", "numpy"):
        if shared:
            layer = Layer(cell(weighted), dtype="float64", backend=backend)
            layer.weights["b"] = b
            found = layer(np.stack([a, 2 * a, a])[None])[0]
            assert_close(found[1], 2 * (a @ b), 1e-13)
            assert_close(found[2], a @ b, 1e-13)
        else:
            assert_close(on_symbols(lambda a, b: a @ b, a, b)[backend == "numpy"], a @ b, 1e-13)


def test_weights_on_the_left():
    W, x, M = random((5, 4)), random((4,), 1), random((4, 3), 2)

    @cell
    def left(x=Input(4), M=Input(4, 3), W=Weight(5, 4)):
        return Output(W @ x, matrix=W @ M)

    layer = Layer(left, dtype="float64")
    layer.weights["W"] = W
    found = layer(x[None, None], M[None, None])
    assert_close(found["output"][0, 0], W @ x, 1e-13)
    assert_close(found["matrix"][0, 0], W @ M, 1e-13)


def test_transposes():
    x = random((2, 3, 4))
    for function, expected in (
        (lambda x: x.T, x.T),
        (lambda x: transpose(x, (1, 0, 2)), x.transpose(1, 0, 2)),
        (lambda x: transpose(x, (-1, 0, 1)), x.transpose(2, 0, 1)),
        (lambda x: x.mT if hasattr(x, "mT") else np.swapaxes(x, -1, -2), np.swapaxes(x, -1, -2)),
    ):
        for found in on_symbols(function, x):
            assert_equal(found, expected)


# --- activations and normalisation against formulas of their own ---------------------------------------------------------


FORMULAS = {
    "affine": lambda v: 1.0 * v + 0.0,
    "elu": lambda v: v if v >= 0 else math.exp(v) - 1,
    "hard_sigmoid": lambda v: max(0.0, min(1.0, 0.2 * v + 0.5)),
    "identity": lambda v: v,
    "leaky_relu": lambda v: v if v >= 0 else 0.01 * v,
    "relu": lambda v: v if v > 0 else 0.0,
    "scaled_tanh": lambda v: (math.exp(v) - math.exp(-v)) / (math.exp(v) + math.exp(-v)),
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "softplus": lambda v: math.log(1 + math.exp(v)),
    "softsign": lambda v: v / (1 + (v if v > 0 else -v)),
    "tanh": lambda v: (math.exp(v) - math.exp(-v)) / (math.exp(v) + math.exp(-v)),
    "thresholded_relu": lambda v: v if v > 1 else 0.0,
}


def test_every_activation_has_a_formula():
    assert sorted(FORMULAS) == sorted(ACTIVATIONS)


@pytest.mark.parametrize("name", FORMULAS)
def test_activations(name):
    x = np.array([-3.7, -1.0, -0.4, 0.0, 0.3, 1.0, 1.5, 6.0])
    expected = np.array([FORMULAS[name](float(v)) for v in x])
    for found in [ACTIVATIONS[name](x), *on_symbols(ACTIVATIONS[name], x)]:
        assert_close(found, expected, 1e-14)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [("affine", {"alpha": 2.0, "beta": 3.0}, 2 * 0.7 + 3), ("elu", {"alpha": 3.0}, 0.7), ("leaky_relu", {"alpha": 0.5}, 0.7),
     ("scaled_tanh", {"alpha": 1.7, "beta": 0.6}, 1.7 * math.tanh(0.6 * 0.7)),
     ("hard_sigmoid", {"alpha": 0.5, "beta": 0.1}, 0.45), ("thresholded_relu", {"alpha": 0.8}, 0.0)],
)  # fmt: skip
def test_parameters_of_activations(name, options, expected):
    assert float(ACTIVATIONS[name](np.float64(0.7), **options)) == pytest.approx(expected, rel=1e-14)
    found = on_symbols(lambda x: ACTIVATIONS[name](x, **options), np.array(0.7))
    assert [float(f) for f in found] == pytest.approx([expected] * 2, rel=1e-14)


def test_large_values_do_not_overflow():
    x = np.array([-1e4, -800.0, 800.0, 1e4])
    assert_equal(ostinato.sigmoid(x), np.array([0.0, 0.0, 1.0, 1.0]))
    assert_equal(ostinato.softplus(x), np.array([0.0, 0.0, 800.0, 1e4]))
    assert_equal(ACTIVATIONS["elu"](x), np.array([-1.0, -1.0, 800.0, 1e4]))
    assert_close(softmax(x), np.array([0.0, 0.0, 0.0, 1.0]))


def test_softmax_and_layer_norm_against_their_papers():
    x, g, b = random((3, 6)), random((6,), 1), random((6,), 2)
    for row, found in zip(x, softmax(x), strict=True):
        weights = [math.exp(v) for v in row]
        assert_close(found, np.array(weights) / sum(weights), 1e-14)
    for row, found in zip(x, layer_norm(x, g, b, epsilon=1e-3), strict=True):
        mu = sum(row) / 6
        variance = sum((v - mu) ** 2 for v in row) / 6
        assert_close(found, (row - mu) / math.sqrt(variance + 1e-3) * g + b, 1e-14)


def test_patches_against_loops():
    """A convolution written by hand: every place, every kernel, every offset."""
    image, K = random((6, 5, 2)), random((3 * 2 * 2, 4), 1)
    for stride, pad in (((1, 1), ((0, 0), (0, 0))), ((2, 1), ((1, 1), (0, 1))), ((2, 3), ((2, 0), (1, 1)))):
        padded = np.zeros((6 + sum(pad[0]), 5 + sum(pad[1]), 2))
        padded[pad[0][0] : pad[0][0] + 6, pad[1][0] : pad[1][0] + 5] = image
        rows, columns = (padded.shape[0] - 3) // stride[0] + 1, (padded.shape[1] - 2) // stride[1] + 1
        expected = np.zeros((rows, columns, 4))
        for i in range(rows):
            for j in range(columns):
                for k in range(4):
                    for di in range(3):
                        for dj in range(2):
                            for channel in range(2):
                                weight = K[(di * 2 + dj) * 2 + channel, k]
                                expected[i, j, k] += weight * padded[i * stride[0] + di, j * stride[1] + dj, channel]
        convolve = lambda x, stride=stride, pad=pad: patches(x, (3, 2), stride=stride, padding=pad)  # noqa: E731
        assert_close(convolve(image) @ K, expected, 1e-13)
        for found in on_symbols(convolve, image):
            assert_close(found @ K, expected, 1e-13)


def test_patches_with_the_same_padding_keep_the_size():
    x = random((7, 3))
    assert patches(x, 4, padding="same").shape == (7, 12)
    assert_equal(patches(x, 4, padding="same"), patches(x, 4, padding=[(1, 2)]))
    assert patches(x, 3, stride=2, padding="same").shape == (4, 9)


# --- cells -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [cells.recurrent, cells.lstm, cells.gru, cells.gru_reset_before])
def test_a_cell_on_arrays_is_one_step_of_its_layer(made):
    layer = Layer(made, n_inputs=3, n_neurons=4, dtype="float64", seed=3)
    states = {name: random((4,), seed=i + 1) for i, name in enumerate(made.with_role("state"))}
    x = random((3,))
    returned = made(x, *states.values(), **layer.weights)
    returned = returned if isinstance(returned, tuple) else (returned,)
    y, after = layer.run(x[None], state=states)
    assert_close(returned[0], y[0], 1e-14)
    for name, value in zip(states, returned, strict=True):
        assert_close(value, after[name], 1e-14)


def test_the_neuron_of_the_book_is_computed_with_numbers():
    layer = Layer(cells.neuron, n_inputs=2, dtype="float64")
    layer.weights.update({"w_x": [0.5, -1.0], "w_y": 2.0, "b": 0.25})
    y = 0.0
    for step, x in enumerate(random((4, 2))):
        y = math.tanh(0.5 * x[0] - x[1] + 2.0 * y + 0.25)
        assert float(layer(random((4, 2)))[step]) == pytest.approx(y, rel=1e-14)


def test_a_cell_inside_a_cell_is_part_of_it():
    @cell
    def two_floors(
        x=Input("n_inputs"), h=State("n_neurons"), g=State("n_neurons"),
        W=Weight("n_inputs", "n_neurons"), U=Weight("n_neurons", "n_neurons"),
        V=Weight("n_neurons", "n_neurons"), b=Bias("n_neurons"), d=Bias("n_neurons"),
    ):  # fmt: skip
        h = cells.recurrent(x, h, W, U, b)
        g = cells.recurrent(h, g, V, U, d, phi=ostinato.relu)
        return Output(g), h, g

    layer = Layer(two_floors, n_inputs=3, n_neurons=4, dtype="float64", seed=1)
    w = layer.weights
    first = Layer(cells.recurrent, n_inputs=3, n_neurons=4, dtype="float64")
    first.weights.update({"W_x": w["W"], "W_y": w["U"], "b": w["b"]})
    second = Layer(cells.recurrent, n_inputs=4, n_neurons=4, dtype="float64", phi=ostinato.relu)
    second.weights.update({"W_x": w["V"], "W_y": w["U"], "b": w["d"]})
    X = random((5, 2, 3))
    assert_close(layer(X), second(first(X)), 1e-13)


def test_options_are_settled_when_a_layer_is_made():
    @cell
    def leaky(x=Input("n"), h=State("n"), *, rate=0.5, gate=None):
        h = rate * h + x
        return gate(h) if gate else h

    X = random((3, 1, 2))
    h, expected = np.zeros((1, 2)), []
    for x in X:
        h = np.maximum(0.25 * h + x, 0)
        expected.append(h)
    assert_close(Layer(leaky, n=2, rate=0.25, gate=ostinato.relu, dtype="float64")(X), np.stack(expected))
    assert_close(leaky(np.ones(2), np.ones(2), rate=3.0), np.full(2, 4.0))


def test_dimension_expressions():
    @cell
    def sized(x=Input("2*n + m"), A=Weight("m*n", "n - 1"), z=Input("m", "n")):
        return Output(x[:4], product=reshape(z, "m*n") @ A, joined=concat(x, reshape(z, "n*m")))

    graph = sized.trace(n=3, m=2)
    shapes = {r.name: r.value.type.one_instance for r in graph.results}
    assert shapes == {"output": "f32[4]", "product": "f32[n - 1=2]", "joined": "f32[m + m*n + 2*n=14]"}


def test_several_outputs_have_names():
    @cell
    def pointing(x=Input(3), memory=Context(4, 3), h=State(3)):
        scores = softmax(memory @ h)
        return Output(scores @ memory, attention=scores), tanh(x + h)

    layer = Layer(pointing, dtype="float64")
    X, memory = random((5, 2, 3)), random((2, 4, 3), 1)
    out = layer(X, memory)
    assert list(out) == ["output", "attention"]
    h = np.zeros((2, 3))
    for t in range(5):
        scores = softmax(np.einsum("bsk,bk->bs", memory, h))
        assert_close(out["attention"][t], scores, 1e-13)
        assert_close(out["output"][t], np.einsum("bs,bsk->bk", scores, memory), 1e-13)
        h = np.tanh(X[t] + h)
    assert [a.shape for a in pointing(X[0, 0], memory[0], np.zeros(3))] == [(3,), (4,), (3,)]


def test_stop_gradient_stops():
    @cell
    def halted(x=Input(3), w=Weight(3)):
        return stop_gradient(x * w) + x

    layer = Layer(halted, dtype="float64")
    _, pullback = layer.vjp(random((2, 1, 3)))
    grads = pullback(np.ones((2, 1, 3)))
    assert_equal(grads.inputs, np.ones((2, 1, 3)))
    assert_equal(grads.weights["w"], np.zeros(3))


# --- dropout -----------------------------------------------------------------------------------------------------------------


@cell
def dropping(x=Input("n"), h=State("n"), *, rate=0.3, per="step"):
    return dropout(x, rate, per=per) + 0 * h


def test_dropout_keeps_the_mean_and_is_off_outside_of_training():
    layer = Layer(dropping, n=20, dtype="float64")
    X = np.ones((50, 40, 20))
    assert_equal(layer(X), X)
    Y = layer.run(X, training=True, rng=0)[0]
    kept = Y != 0
    assert_close(Y[kept], np.full(kept.sum(), 1 / 0.7))
    assert abs(kept.mean() - 0.7) < 5 * math.sqrt(0.7 * 0.3 / X.size)
    assert abs(kept[0].mean() - 0.7) < 0.1
    assert (kept[0] != kept[1]).any()


def test_dropout_per_sequence_has_one_mask_for_all_steps():
    Y = Layer(dropping, n=20, per="sequence", rate=0.5).run(np.ones((6, 30, 20)), training=True, rng=0)[0]
    for t in range(1, 6):
        assert_equal(Y[t], Y[0])
    assert (Y[0, 0] != Y[0, 1]).any()
    assert 0.3 < (Y[0] == 0).mean() < 0.7


def test_dropout_is_reproduced_by_its_seed():
    X = np.ones((4, 3, 20))
    layer, twin = Layer(dropping, n=20, seed=5), Layer(dropping, n=20, seed=5)
    first = layer.run(X, training=True)[0]
    assert_equal(twin.run(X, training=True)[0], first)
    assert (layer.run(X, training=True)[0] != first).any()
    assert_equal(layer.run(X, training=True, rng=9)[0], layer.run(X, training=True, rng=9)[0])


def test_the_masks_of_an_instance_do_not_depend_on_the_lengths_of_others():
    X = np.ones((6, 3, 20))
    layer = Layer(dropping, n=20)
    whole = layer.run(X, training=True, rng=1)[0]
    cut = layer.run(X, training=True, rng=1, lengths=[2, 6, 4])[0]
    assert_equal(cut[:, 1], whole[:, 1])
    assert_equal(cut[:2, 0], whole[:2, 0])


def test_a_rate_of_zero_drops_nothing():
    layer = Layer(dropping, n=3, rate=0)
    assert not layer.compiled(training=True).forward.with_role("mask")
