"""Two of the three texts that this project started from, statement by statement; docs/seeds.md is the list of them.

The note on recurrent neurons, and the text on matrix operations; the question about the gate is in tests/test_seeds_gate.py.

Each test is named after what the text says, or after what is true where the text is wrong. Numbers are checked against plain
NumPy, most of it written as loops over single numbers.
"""

import numpy as np
import pytest

import ostinato
from ostinato import (
    Bias,
    Input,
    Layer,
    ShapeError,
    State,
    UpdateRule,
    Weight,
    cell,
    cells,
    concat,
    dropout,
    explain,
    patches,
    relu,
    tanh,
)
from tests.helpers import assert_close, assert_equal, canonical, random

SIZES = [(1, 1, 1), (3, 5, 4), (7, 2, 6)]  # k inputs, l neurons, m instances


def layer_of(made, values, **sizes_and_options):
    """A layer in double precision with the given weights."""
    layer = Layer(made, dtype="float64", **sizes_and_options)
    layer.weights.update(values)
    return layer


def neurons(k, l, seed=0):
    """The weight vectors of l neurons: w_x (l, k), w_y (l, l), b (l,)."""
    return random((l, k), seed), random((l, l), seed + 1), random((l,), seed + 2)


def inner(a, b):
    """The inner product, one product of numbers after the other."""
    return sum(float(p) * float(q) for p, q in zip(a, b, strict=True))


# --- the note on recurrent neurons --------------------------------------------------------------------------------------------


def test_a_single_neuron_gives_phi_of_inner_product_feedback_and_bias():
    for phi, function in ((tanh, np.tanh), (relu, lambda z: max(z, 0.0))):
        x, w_x = random((3,), 1), random((3,), 2)
        for y_before, w_y, b in ((0.5, 0.4, -0.1), (-1.5, 2.0, 0.3)):
            y = cells.neuron(x, y_before, w_x, w_y, b, phi=phi)
            assert_close(y, function(inner(x, w_x) + y_before * w_y + b))


@pytest.mark.parametrize("k", [1, 2, 17])
def test_a_single_neuron_takes_any_number_of_inputs(k):
    X = random((4, k), 3)
    layer = layer_of(cells.neuron, {"w_x": random((k,), 4), "w_y": 0.5, "b": 0.1}, n_inputs=k)
    y = 0.0
    for x, found in zip(X, layer(X), strict=True):
        y = np.tanh(inner(x, layer.weights["w_x"]) + 0.5 * y + 0.1)
        assert_close(found, y)


def test_the_output_the_feedback_weight_and_the_bias_of_a_single_neuron_are_numbers():
    layer = Layer(cells.neuron, n_inputs=3)
    assert layer.weights["w_y"].shape == layer.weights["b"].shape == layer.output_sizes == ()
    assert layer.weights["w_x"].shape == (3,)
    assert np.shape(cells.neuron(np.ones(3), 0.0, np.ones(3), 1.0, 0.0)) == ()


def test_equation_14_1_has_an_inner_product_with_the_last_outputs_in_a_layer_and_a_product_of_numbers_in_a_single_neuron():
    w_x, w_y, b = neurons(3, 5)
    x, y = random((3,), 6), random((5,), 7)
    layer = cells.recurrent(x, y, w_x.T, w_y.T, b)
    assert_close(layer[2], np.tanh(inner(x, w_x[2]) + inner(y, w_y[2]) + b[2]))
    with pytest.raises(ShapeError, match=r"^neuron: `y` has shape \(5,\), and was declared \[\]"):
        cells.neuron(x, y, w_x[2], w_y[2], b[2])


def test_a_recurrent_neuron_receives_its_own_last_output():
    w_x, w_y, b = random((3,), 1), 0.7, 0.2
    layer = layer_of(cells.neuron, {"w_x": w_x, "w_y": w_y, "b": b}, n_inputs=3)
    X = random((2, 3), 2)
    first, second = layer(X)
    assert_close(second, np.tanh(inner(X[1], w_x) + first * w_y + b))
    assert abs(second - np.tanh(inner(X[1], w_x) + b)) > 1e-3


def test_unrolling_is_the_same_network_once_for_every_step():
    w_x, w_y, b = neurons(3, 5)
    layer = layer_of(cells.recurrent, {"W_x": w_x.T, "W_y": w_y.T, "b": b}, n_inputs=3, n_neurons=5)
    X = random((6, 3), 8)
    y = np.zeros(5)
    for x, found in zip(X, layer(X), strict=True):
        y = cells.recurrent(x, y, w_x.T, w_y.T, b)
        assert_close(found, y)


def test_every_neuron_of_a_layer_receives_the_whole_input_and_all_last_outputs():
    w_x, w_y, b = (0.1 * w for w in neurons(3, 5))
    x, y = random((3,), 9), random((5,), 10)
    before = cells.recurrent(x, y, w_x.T, w_y.T, b)
    for i in range(3):
        assert (cells.recurrent(x + np.eye(3)[i], y, w_x.T, w_y.T, b) != before).all()
    for j in range(5):
        assert (cells.recurrent(x, y + np.eye(5)[j], w_x.T, w_y.T, b) != before).all()


def test_inputs_and_outputs_of_a_layer_are_vectors():
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=5)
    assert layer.output_sizes == (5,)
    assert layer(np.zeros((7, 3))).shape == (7, 5)


def test_each_neuron_has_two_sets_of_weights_and_a_bias_of_its_own():
    w_x, w_y, b = neurons(3, 5)
    x, y = random((3,), 9), random((5,), 10)
    before = cells.recurrent(x, y, w_x.T, w_y.T, b)
    for j in range(5):
        for changed in range(3):
            more = [np.array(w) for w in (w_x, w_y, b)]
            more[changed][j] += 0.5
            different = cells.recurrent(x, y, more[0].T, more[1].T, more[2]) != before
            assert different.tolist() == [n == j for n in range(5)]


def test_five_neurons_one_by_one_are_the_layer():
    w_x, w_y, b = neurons(3, 5)
    x, y = random((3,), 11), random((5,), 12)
    wanted = [np.tanh(inner(x, w_x[j]) + inner(y, w_y[j]) + b[j]) for j in range(5)]
    assert_close(cells.recurrent(x, y, w_x.T, w_y.T, b), wanted)


@pytest.mark.parametrize(("k", "l", "m"), SIZES)
def test_with_columns_the_layer_is_the_transposed_matrices_times_the_vectors(k, l, m):
    w_x, w_y, b = neurons(k, l)
    x, y = random((k,), 13), random((l,), 14)
    W_x, W_y = w_x.T, w_y.T
    assert_close(cells.recurrent(x, y, W_x, W_y, b), np.tanh(W_x.T @ x + W_y.T @ y + b))


def test_the_columns_of_the_matrices_are_the_weight_vectors():
    w_x, w_y, b = neurons(3, 5)
    W_x, W_y = np.empty((3, 5)), np.empty((5, 5))
    for j in range(5):
        W_x[:, j], W_y[:, j] = w_x[j], w_y[j]
    x, y = random((3,), 11), random((5,), 12)
    for j in range(5):
        assert_equal(W_x.T[j], w_x[j])
        assert_close(cells.recurrent(x, y, W_x, W_y, b)[j], np.tanh(inner(x, W_x[:, j]) + inner(y, W_y[:, j]) + b[j]))


def test_for_a_batch_the_transposes_become_a_product_from_the_left():
    W_x, X = random((3, 5), 1), random((4, 3), 2)
    layer = layer_of(cells.recurrent, {"W_x": W_x, "W_y": np.zeros((5, 5))}, n_inputs=3, n_neurons=5, phi=ostinato.identity)
    assert_close(layer(X[None])[0], np.stack([W_x.T @ x for x in X]))
    assert_close((W_x.T @ X.T).T, X @ W_x)


@pytest.mark.parametrize(("k", "l", "m"), SIZES)
def test_equation_14_2_computes_all_instances_of_a_batch_in_one_shot(k, l, m):
    w_x, w_y, b = neurons(k, l)
    X, Y = random((m, k), 15), random((m, l), 16)
    layer = layer_of(cells.recurrent, {"W_x": w_x.T, "W_y": w_y.T, "b": b}, n_inputs=k, n_neurons=l)
    found = layer(X[None], state={"y": Y})[0]
    assert_close(found, np.tanh(X @ w_x.T + Y @ w_y.T + b))
    for i in range(m):
        assert_close(found[i], [np.tanh(inner(X[i], w_x[j]) + inner(Y[i], w_y[j]) + b[j]) for j in range(l)])


@cell
def joined(x=Input("n_inputs"), y=State("n_neurons"), W=Weight("n_inputs + n_neurons", "n_neurons"), b=Bias("n_neurons")):
    return tanh(concat(x, y) @ W + b)


@pytest.mark.parametrize(("k", "l", "m"), SIZES)
def test_the_second_line_of_equation_14_2_is_the_first(k, l, m):
    W_x, W_y, b = (w.T for w in neurons(k, l))
    sizes = {"n_inputs": k, "n_neurons": l}
    first = layer_of(cells.recurrent, {"W_x": W_x, "W_y": W_y, "b": b}, **sizes)
    second = layer_of(joined, {"W": np.concatenate([W_x, W_y]), "b": b}, **sizes)
    X = random((5, m, k), 17)
    assert_close(second(X), first(X))
    XY, W = np.concatenate([X[0], random((m, l), 18)], axis=1), np.concatenate([W_x, W_y])
    assert_close(XY @ W, X[0] @ W_x + XY[:, k:] @ W_y)
    assert canonical(first.program) == canonical(second.program)


def test_the_shapes_of_equation_14_2():
    k, l, m = 3, 5, 4
    layer, one_matrix = (Layer(made, n_inputs=k, n_neurons=l) for made in (cells.recurrent, joined))
    assert {name: array.shape for name, array in layer.weights.items()} == {"W_x": (k, l), "W_y": (l, l), "b": (l,)}
    assert {name: array.shape for name, array in one_matrix.weights.items()} == {"W": (k + l, l), "b": (l,)}
    outputs, state = layer.run(np.zeros((1, m, k)))
    assert outputs[0].shape == state["y"].shape == (m, l)
    text = str(explain(cells.recurrent, n_inputs=k, n_neurons=l))
    for row in ("X(t) (m, n_inputs=3)", "Y(t-1) (m, n_neurons=5)", "(n_inputs + n_neurons=8, n_neurons=5)"):
        assert row in text


def test_a_bias_of_shape_1_l_is_a_bias_of_shape_l():
    X, W, b = random((4, 3), 1), random((3, 5), 2), random((5,), 3)
    layer = layer_of(cells.dense, {"W": W, "b": b}, n_inputs=3, n_outputs=5)
    assert_close(layer(X[None])[0], X @ W + b.reshape(1, 5))


def test_phi_may_be_relu_or_tanh():
    w_x, w_y, b = neurons(3, 5)
    x, y = random((3,), 11), random((5,), 12)
    z = x @ w_x.T + y @ w_y.T + b
    assert (z > 0).any()
    assert (z < 0).any()
    assert_close(cells.recurrent(x, y, w_x.T, w_y.T, b, phi=tanh), np.tanh(z))
    assert_close(cells.recurrent(x, y, w_x.T, w_y.T, b, phi=relu), [max(number, 0.0) for number in z])


def test_recurrent_layers_of_relu_are_possible_beginning_with_the_identity():
    layer = Layer(cells.recurrent, n_inputs=2, n_neurons=6, phi=relu, init=cells.IRNN, dtype="float64")
    assert_equal(layer.weights["W_y"], np.eye(6))
    assert_equal(layer.weights["b"], np.zeros(6))
    assert 0 < np.abs(layer.weights["W_x"]).max() < 0.01
    layer.weights["W_x"] = np.full((2, 6), 0.5)
    X = np.abs(random((200, 3, 2), 5))
    Y, pullback = layer.vjp(X)
    assert_close(Y, np.repeat(X.sum(axis=-1, keepdims=True).cumsum(axis=0) / 2, 6, axis=-1))
    dY = np.zeros_like(Y)
    dY[-1, :, 0] = 1
    assert_close(pullback(dY).inputs, np.full(X.shape, 0.5))  # the same from the last step to the first of 200


@cell
def careful(
    x=Input("n_inputs"), y=State("n_neurons"), W_x=Weight("n_inputs", "n_neurons"), W_y=Weight("n_neurons", "n_neurons"),
):  # fmt: skip
    return tanh(dropout(x, 0.5) @ W_x + y @ W_y)


def test_dropout_on_feed_forward_connections_leaves_the_recurrent_ones_alone():
    layer = Layer(careful, n_inputs=3, n_neurons=5, dtype="float64")
    X, Y, W_x, W_y = random((6, 4, 3), 1), random((4, 5), 2), layer.weights["W_x"], layer.weights["W_y"]
    mask = (np.random.default_rng(3).random(X.shape) >= 0.5) / 0.5
    found = layer.run(X, state={"y": Y}, training=True, rng=3)[0]
    y = Y
    for t in range(6):
        y = np.tanh((X[t] * mask[t]) @ W_x + y @ W_y)
        assert_close(found[t], y)
    nothing = np.zeros_like(X)
    kept = (layer.run(nothing, state={"y": Y}, training=training)[0] for training in (False, True))
    assert_close(*kept)


# --- the text on matrix operations ------------------------------------------------------------------------------------------


@cell
def product(a=Input("n"), B=Weight("n", "p")):
    return a @ B


@pytest.mark.parametrize(("m", "n", "p"), [(2, 2, 2), (4, 3, 5), (1, 6, 1)])
def test_the_product_of_m_by_n_and_n_by_p_is_m_by_p(m, n, p):
    layer = layer_of(product, {"B": random((n, p), 1)}, n=n, p=p)
    A = random((m, n), 2)
    C = layer(A[None])[0]
    assert C.shape == (m, p)
    assert_close(C, A @ layer.weights["B"])


def test_the_contracted_dimension_is_in_both_operands_and_not_in_the_result():
    text = str(explain(product, n=3, p=5))
    assert "(m, n=3) @ (n=3, p=5) -> (m, p=5)" in text
    assert "summed over n: 3 terms" in text
    with pytest.raises(ShapeError, match=r"^matmul: the contracted dimension is `p=5` in `B` but `n=3` in `a`"):
        Layer(cell(lambda a=Input("n"), B=Weight("n", "p"): B @ a), n=3, p=5)


def test_the_example_of_the_text():
    layer = layer_of(product, {"B": [[5, 6], [7, 8]]}, n=2, p=2)
    C = layer(np.array([[[1, 2], [3, 4]]]))[0]
    assert_equal(C, np.array([[1 * 5 + 2 * 7, 1 * 6 + 2 * 8], [3 * 5 + 4 * 7, 3 * 6 + 4 * 8]], float))
    assert_equal(C, np.array([[19.0, 22.0], [43.0, 50.0]]))


def test_every_element_of_a_product_is_a_dot_product():
    A, B = random((4, 3), 1), random((3, 5), 2)
    C = layer_of(product, {"B": B}, n=3, p=5)(A[None])[0]
    assert_close(C, [[inner(A[i], B[:, j]) for j in range(5)] for i in range(4)])


def test_a_neuron_is_a_dot_product_with_a_bias():
    x, w = random((4,), 1), random((4, 1), 2)
    assert_close(cells.dense(x, w, np.array([0.25])), [inner(x, w[:, 0]) + 0.25])


def test_the_output_of_a_layer_is_input_times_weights_plus_bias():
    X, W, b = random((6, 4), 1), random((4, 3), 2), random((3,), 3)
    layer = layer_of(cells.dense, {"W": W, "b": b}, n_inputs=4, n_outputs=3)
    assert_close(layer(X[None])[0], [[inner(X[i], W[:, j]) + b[j] for j in range(3)] for i in range(6)])


@cell
def matrices(A=Input("n_rows", "p"), B=Input("p", "n_columns")):
    return A @ B


def test_a_product_in_three_dimensions_is_a_product_of_two_for_each_place_in_the_first():
    A, B = random((4, 2, 3), 1), random((4, 3, 5), 2)
    C = Layer(matrices, n_rows=2, p=3, n_columns=5, dtype="float64")(A[None], B[None])[0]
    assert C.shape == (4, 2, 5)
    for i in range(4):
        assert_close(C[i], [[inner(A[i, j], B[i, :, k]) for k in range(5)] for j in range(2)])


def test_the_dimension_held_fixed_is_the_number_of_samples():
    layer = Layer(matrices, n_rows=2, p=3, n_columns=5, dtype="float64")
    A, B = random((6, 2, 3), 1), random((6, 3, 5), 2)
    whole = layer(A[None], B[None])[0]
    for i in range(6):
        assert_close(layer(A[i : i + 1], B[i : i + 1])[0], whole[i])
    assert "(m, n_rows=2, p=3) @ (m, p=3, n_columns=5)" in str(layer.explain())


PATCH, KERNEL = np.arange(1.0, 13).reshape(2, 2, 3), np.array([[[1.0, 0, -1], [2, 0, -2]], [[1, 1, 0], [0, 1, 1]]])


def test_a_patch_times_a_kernel_element_by_element_has_their_shape():
    @cell
    def elementwise(x=Input(2, 2, 3), K=Weight(2, 2, 3)):
        return x * K

    layer = layer_of(elementwise, {"K": KERNEL})
    assert layer(PATCH[None, None]).shape == (1, 1, 2, 2, 3)
    assert_equal(layer(PATCH[None, None])[0, 0], PATCH * KERNEL)


def test_a_patch_and_a_kernel_give_one_number_by_a_dot_product_of_both_flattened():
    number = patches(PATCH, (2, 2)) @ KERNEL.reshape(12, 1)
    assert number.shape == (1, 1, 1)
    assert number.item() == inner(PATCH.ravel(), KERNEL.ravel()) == 32


def test_the_dot_products_of_the_three_channels_add_up_to_one_feature():
    channels = [inner(PATCH[..., c].ravel(), KERNEL[..., c].ravel()) for c in range(3)]
    assert channels == [16, 19, -3]
    sizes = {"height": 2, "width": 2, "n_channels": 3, "size": 2, "n_kernels": 1}
    layer = layer_of(cells.convolution_2d, {"K": KERNEL.reshape(12, 1)}, padding="valid", **sizes)
    assert_equal(layer(PATCH[None, None]), np.full((1, 1, 1, 1, 1), float(sum(channels))))


def test_a_convolution_is_the_dot_product_at_every_place():
    image, kernels = random((4, 5, 3), 1), random((2, 2, 3, 6), 2)
    sizes = {"height": 4, "width": 5, "n_channels": 3, "size": 2, "n_kernels": 6}
    layer = layer_of(cells.convolution_2d, {"K": kernels.reshape(12, 6)}, padding="valid", **sizes)
    found = layer(image[None, None])[0, 0]
    assert found.shape == (3, 4, 6)
    for i in range(3):
        for j in range(4):
            for k in range(6):
                assert_close(found[i, j, k], inner(image[i : i + 2, j : j + 2].ravel(), kernels[..., k].ravel()))


def test_q_times_k_transposed_is_a_matrix_of_dot_products_and_no_scalar():
    Q, K = random((2, 4), 1), random((3, 4), 2)
    scores = cell(lambda Q=Input("n_queries", "d"), K=Input("n_positions", "d"): Q @ K.T)(Q, K)
    assert scores.shape == (2, 3)
    assert_close(scores, [[inner(q, k) for k in K] for q in Q])
    _, weights = cells.attention(Q, K, random((3, 5), 3))
    wanted = np.exp(scores / 2)
    assert_close(weights, wanted / wanted.sum(axis=1, keepdims=True))


def test_a_weight_update_is_a_matrix_product_too():
    X, W, dY = random((6, 4), 1), random((4, 3), 2), random((6, 3), 3)
    layer = layer_of(cells.dense, {"W": W}, n_inputs=4, n_outputs=3)
    _, pullback = layer.vjp(X[None])
    gradients = pullback(dY[None]).weights
    assert_close(gradients["W"], [[inner(X[:, i], dY[:, j]) for j in range(3)] for i in range(4)])
    assert_close(gradients["W"], sum(np.outer(x, d) for x, d in zip(X, dY, strict=True)))
    UpdateRule("sgd", learning_rate=0.1).step(layer.weights, gradients)
    assert_close(layer.weights["W"], W - 0.1 * X.T @ dY)
