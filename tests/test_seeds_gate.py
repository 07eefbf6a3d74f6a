"""The third text that this project started from, the question about the gate of an LSTM: see tests/test_seeds.py."""

import numpy as np
import pytest

from ostinato import Input, Layer, State, Weight, cell, cells, concat, explain, sigmoid
from tests.helpers import assert_close, canonical, random
from tests.test_seeds import SIZES, inner, layer_of, neurons, product


@cell
def gate(x=Input("n_inputs"), y=State("n_neurons"), W_x=Weight("n_inputs", "n_neurons"), W_r=Weight("n_neurons", "n_neurons")):
    return sigmoid(x @ W_x + y @ W_r)


@cell
def fused_gate(x=Input("n_inputs"), y=State("n_neurons"), W_xr=Weight("n_inputs + n_neurons", "n_neurons")):
    return sigmoid(concat(x, y) @ W_xr)


def paper_matrices(k, l):
    """As the paper has them: W x, so (neurons, inputs)."""
    return random((l, k), 1), random((l, l), 2), random((k,), 3), random((l,), 4)


@pytest.mark.parametrize(("k", "l", "m"), SIZES)
def test_the_two_products_of_a_gate_are_one(k, l, m):
    W_x, W_r, x, y = paper_matrices(k, l)
    W_xr, xy = np.concatenate([W_x, W_r], axis=1), np.concatenate([x, y])
    assert_close(W_xr @ xy, [inner(W_x[i], x) + inner(W_r[i], y) for i in range(l)])
    assert_close(fused_gate(x, y, W_xr.T), gate(x, y, W_x.T, W_r.T))
    assert_close(gate(x, y, W_x.T, W_r.T), 1 / (1 + np.exp(-(W_x @ x + W_r @ y))))


def test_different_matrices_need_no_separate_products():
    sizes = {"n_inputs": 3, "n_neurons": 5}
    assert canonical(Layer(gate, **sizes).program) == canonical(Layer(fused_gate, **sizes).program)


def test_an_element_of_a_product_is_a_sum_over_the_contracted_index():
    A, B = random((3, 4), 1), random((4, 2), 2)
    C = layer_of(product, {"B": B}, n=4, p=2)(A[None])[0]
    for i in range(3):
        for j in range(2):
            assert_close(C[i, j], sum(A[i, k] * B[k, j] for k in range(4)))


@pytest.mark.parametrize("K", [1, 2, 4, 8])
def test_the_elements_of_a_product_may_be_shared_among_processes(K):
    A, B = random((8, 6), 1), random((6, 8), 2)
    whole = layer_of(product, {"B": B}, n=6, p=8)(A[None])[0]
    rows = [layer_of(product, {"B": B}, n=6, p=8)(part[None])[0] for part in np.split(A, K)]
    columns = [layer_of(product, {"B": part}, n=6, p=8 // K)(A[None])[0] for part in np.split(B, K, axis=1)]
    assert_close(np.concatenate(rows), whole)
    assert_close(np.concatenate(columns, axis=1), whole)
    assert K * explain(product, n=6, p=8 // K).step.multiply_adds == explain(product, n=6, p=8).step.multiply_adds


@pytest.mark.parametrize("n", [1, 4, 10])
def test_a_naive_product_of_n_by_n_matrices_has_n_cubed_multiplications(n):
    assert n * explain(product, n=n, p=n).step.multiply_adds == n**3  # n rows, one for each instance


def test_the_steps_of_a_recurrence_wait_for_each_other_however_many_processes_there_are():
    w_x, w_y, b = (0.5 * w for w in neurons(3, 5))
    layer = layer_of(cells.recurrent, {"W_x": w_x.T, "W_y": w_y.T, "b": b}, n_inputs=3, n_neurons=5)
    X = random((6, 3), 8)
    before = layer(X)
    X[0] += 1
    assert (np.abs(layer(X) - before).max(axis=1) > 1e-6).all()  # the first input reaches the last output
    explanation = explain(cells.recurrent, n_inputs=3, n_neurons=5)
    assert (explanation.products_before, explanation.products_in_loop) == (1, 1)  # x W leaves the loop, y W can not


@pytest.mark.parametrize(("k", "l", "m"), SIZES)
def test_block_matrices_are_multiplied_block_by_block(k, l, m):
    W_x, W_r, x, y = paper_matrices(k, l)
    other = random((m, k), 5), random((m, l), 6)
    blocks = np.block([[W_x, W_r], [other[0], other[1]]])
    found = blocks @ np.concatenate([x, y])
    assert_close(found, np.concatenate([W_x @ x + W_r @ y, other[0] @ x + other[1] @ y]))


@pytest.mark.parametrize(("k", "l", "m"), SIZES)
def test_the_block_diagonal_matrix_of_the_answer_gives_both_products_and_not_their_sum(k, l, m):
    W_x, W_r, x, y = paper_matrices(k, l)
    diagonal = np.block([[W_x, np.zeros((l, l))], [np.zeros((l, k)), W_r]])
    found = diagonal @ np.concatenate([x, y])
    assert found.shape == (2 * l,)
    assert_close(found, np.concatenate([W_x @ x, W_r @ y]))
    total = W_x @ x + W_r @ y
    assert total.shape == (l,)
    assert np.abs(found[:l] - total).min() > 1e-3
    assert np.abs(found[l:] - total).min() > 1e-3
    assert_close(np.concatenate([np.eye(l), np.eye(l)], axis=1) @ found, total)  # what adds them is another product


def test_putting_the_products_together_does_not_halve_the_multiplications():
    for k, l in ((2, 3), (64, 256), (100, 100)):
        sizes = {"n_inputs": k, "n_neurons": l}
        apart, together = (explain(made, **sizes).step.multiply_adds for made in (gate, fused_gate))
        assert apart == together == l * (k + l)
    assert explain(fused_gate, n_inputs=9, n_neurons=9).step.multiply_adds * 9 == 2 * 9**3  # n instances: 2 n³


def test_what_fusing_saves_is_products_and_not_multiplications():
    e = explain(cells.lstm, n_inputs=64, n_neurons=256)
    assert (e.products_written, e.products_before, e.products_in_loop) == (4, 1, 1)
    assert e.step.multiply_adds == 4 * 256 * (64 + 256)
