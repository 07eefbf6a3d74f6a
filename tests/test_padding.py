"""Sequences of different lengths: side by side and apart again; batches are cut by length; a weight of k is k copies."""

import numpy as np
import pytest

from ostinato import (
    Layer,
    Network,
    UpdateRule,
    cells,
    cross_entropy,
    mean_squared_error,
    pad_sequences,
    train,
    unpad_sequences,
)
from ostinato.layers.network import LastStep
from ostinato.learn.padding import parts_by_length
from ostinato.learn.training import Examples, outputs

from .helpers import assert_close, assert_equal

rng = np.random.default_rng(0)
LENGTHS = np.array([3, 1, 60, 2, 7, 0, 5, 2, 1, 4])
SEQUENCES = [rng.standard_normal((n, 2)) for n in LENGTHS]
LABELS = rng.integers(0, 2, len(LENGTHS))


def network(*, last=True, batch_first=False, n_outputs=2, n_inputs=2):
    options = {"dtype": "float64", "batch_first": batch_first}
    layer = Layer(cells.gru, n_inputs=n_inputs, n_neurons=5, seed=1, **options)
    return Network(LastStep(layer) if last else layer, Layer(cells.dense, n_inputs=5, n_outputs=n_outputs, seed=2, **options))


def learned(net, examples, loss=cross_entropy, **options):
    settings = {"update": UpdateRule("adam", dtype="float64"), "max_epochs": 3, "batch_size": 4, "rng": 1, **options}
    return train(net, examples, loss=loss, **settings)


def assert_same_weights(one, other):
    for name, array in one.weights.items():
        assert_close(array, other.weights[name], 1e-9)


# --- side by side


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool"])
def test_what_is_padded_is_taken_apart_again(batch_first, dtype):
    sequences = [(x > 0).astype(dtype) for x in SEQUENCES]
    X, lengths = pad_sequences(sequences, batch_first=batch_first)
    assert X.shape == ((10, 60, 2) if batch_first else (60, 10, 2))
    assert_equal(lengths, LENGTHS)
    for one, other in zip(unpad_sequences(X, lengths, batch_first=batch_first), sequences, strict=True):
        assert_equal(one, other)
        assert one.base is None  # keeps nothing else alive


def test_what_stands_behind_an_end_is_the_value():
    X, _ = pad_sequences([[1.0], [2.0, 3.0]], value=-1)
    assert_equal(X, np.array([[1.0, 2.0], [-1.0, 3.0]]))
    X, _ = pad_sequences([[1], [2, 3]], value=-1)
    assert_equal(X, np.array([[1, 2], [-1, 3]]))
    X, _ = pad_sequences([np.array([1]), np.array([2, 3])], value=np.nan)  # what whole numbers can not hold
    assert_equal(X, np.array([[1.0, 2.0], [np.nan, 3.0]]))
    X, lengths = pad_sequences([])
    assert X.shape == (0, 0)
    assert lengths.shape == (0,)


# --- cut by length


def test_a_batch_is_cut_in_two_where_that_halves_it():
    steps = np.array([20] * 500 + [20_000])
    order = np.random.default_rng(0).permutation(501)
    parts = parts_by_length(order, steps)
    assert [part.tolist() for part in parts] == [[500], [i for i in order if i != 500]]
    assert len(parts_by_length(np.arange(6), np.arange(1, 7))) == 1  # a usual spread stays one
    assert len(parts_by_length(np.arange(4), np.zeros(4, int))) == 1
    assert len(parts_by_length(np.arange(0), np.zeros(0, int))) == 1
    assert [steps.tolist() for steps in parts_by_length(np.arange(4), np.array([10, 10, 100, 1000]))] == [[3], [2], [0, 1]]


def test_the_parts_of_a_batch_hold_every_example_once_and_no_more_than_they_need():
    rng = np.random.default_rng(0)
    for n in range(1, 60):
        steps = np.exp(rng.uniform(0, 8, n)).astype(int)
        parts = parts_by_length(rng.permutation(n), steps)
        assert sorted(np.concatenate(parts)) == list(range(n))
        area = sum(steps[part].max() * len(part) for part in parts)
        assert area <= steps.max() * n
        assert len(parts) == 1 or 2 * area <= steps.max() * n


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_list_learns_as_its_padded_array_does_in_either_order(batch_first):
    X, lengths = pad_sequences(SEQUENCES, batch_first=batch_first)
    of_list, of_array = network(), network(batch_first=batch_first)
    one = learned(of_list, Examples(SEQUENCES, LABELS), validation=Examples(SEQUENCES[:6], LABELS[:6]))
    other = learned(
        of_array, Examples(X, LABELS, lengths, batch_first=batch_first),
        validation=Examples(SEQUENCES[:6], LABELS[:6]),
    )  # fmt: skip
    assert_close(one.column("loss"), other.column("loss"), 1e-9)
    assert_close(one.column("validation_loss"), other.column("validation_loss"), 1e-9)
    assert_same_weights(of_list, of_array)


def test_a_batch_in_parts_is_one_update_of_the_whole_batch():
    net, by_hand = network(), network()
    settings = {"update": UpdateRule("sgd", dtype="float64", learning_rate=0.1), "clip_norm": None, "max_epochs": 1}
    learned(net, Examples(SEQUENCES, LABELS), batch_size=10, **settings)
    X, lengths = pad_sequences(SEQUENCES)
    Y, pullback = by_hand.vjp(X, lengths=lengths)
    gradients = pullback(cross_entropy(Y, LABELS)[1]).weights
    for name, g in gradients.items():
        assert_close(net.weights[name], by_hand.weights[name] - 0.1 * g, 1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_outputs_are_those_of_the_whole_in_their_order(batch_first):
    X, lengths = pad_sequences(SEQUENCES, batch_first=batch_first)
    for examples in (Examples(SEQUENCES, LABELS), Examples(X, LABELS, lengths, batch_first=batch_first)):
        for size in (1, 3, 256):
            net = network(batch_first=batch_first)
            assert_close(outputs(net, examples, size), net(X, lengths=lengths), 1e-12)
            assert_close(outputs(network(batch_first=not batch_first), examples, size), net(X, lengths=lengths), 1e-12)
        doubled = outputs(network(batch_first=batch_first), examples, 3, lambda X: 2 * X)
        assert_close(doubled, net(2 * X, lengths=lengths), 1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_answers_at_every_step_of_a_list_are_a_list(batch_first):
    net = network(last=False, n_outputs=1, batch_first=batch_first)
    X, lengths = pad_sequences(SEQUENCES, batch_first=batch_first)
    whole = net(X, lengths=lengths)
    targets = [np.cumsum(x, axis=0)[:, :1] for x in SEQUENCES]
    examples = Examples(SEQUENCES, targets)
    assert examples.per_step
    assert examples.n_answers == LENGTHS.sum()
    answers = outputs(net, examples, 3)
    assert isinstance(answers, list)
    for one, other in zip(answers, unpad_sequences(whole, lengths, batch_first=batch_first), strict=True):
        assert_close(one, other, 1e-12)
        assert one.base is None
    padded = Examples(X, pad_sequences(targets, batch_first=batch_first)[0], lengths, batch_first=batch_first, per_step=True)
    assert_close(outputs(net, padded, 3), whole, 1e-12)
    seen = []
    one = learned(net, examples, mean_squared_error, validation=examples, score=lambda Y, e: seen.append((Y, e)) or 0.0)
    other = learned(network(last=False, n_outputs=1, batch_first=batch_first), padded, mean_squared_error, validation=padded)
    assert_close(one.column("loss"), other.column("loss"), 1e-9)
    assert_close(one.column("validation_loss"), other.column("validation_loss"), 1e-9)
    assert [len(y) for y in seen[0][0]] == LENGTHS.tolist()
    assert outputs(net, examples.take([])) == []


# --- weights


@pytest.mark.parametrize("last", [True, False])
def test_a_weight_of_k_is_k_copies(last):
    copies = rng.integers(0, 4, len(LENGTHS))
    repeated = np.repeat(np.arange(len(LENGTHS)), copies)
    targets = LABELS if last else [np.cumsum(x, axis=0) for x in SEQUENCES]
    weighted = Examples(SEQUENCES, targets, weights=copies)
    copied = Examples([SEQUENCES[i] for i in repeated], LABELS[repeated] if last else [targets[i] for i in repeated])
    loss = cross_entropy if last else mean_squared_error
    one, other = network(last=last), network(last=last)
    first = learned(one, weighted, loss, batch_size=1000, validation=weighted)
    second = learned(other, copied, loss, batch_size=1000, validation=copied)
    assert_close(first.column("loss"), second.column("loss"), 1e-12)
    assert_close(first.column("validation_loss"), second.column("validation_loss"), 1e-12)
    assert_same_weights(one, other)


def test_the_weights_of_all_multiplied_change_nothing():
    one, other = network(), network()
    weights = rng.random(len(LENGTHS))
    learned(one, Examples(SEQUENCES, LABELS, weights=weights))
    learned(other, Examples(SEQUENCES, LABELS, weights=1000 * weights))
    assert_same_weights(one, other)


def test_what_is_taken_of_a_list_is_no_copy_and_keeps_its_weights():
    examples = Examples(SEQUENCES, LABELS, weights=np.arange(10.0))
    some = examples.take(np.array([4, 2]))
    assert some.X[0] is examples.X[4]
    assert some.steps.tolist() == [7, 60]
    assert some.weights.tolist() == [4, 2]
    assert examples.take(slice(2, 4)).target.tolist() == LABELS[2:4].tolist()
    assert [batch.X.shape for batch in examples.batches(4)] == [(60, 4, 2), (7, 4, 2), (4, 2, 2)]
    assert [batch.X.shape for batch in examples.batches(4, batch_first=True)] == [(4, 60, 2), (4, 7, 2), (2, 4, 2)]
    assert repr(examples) == "<examples: 10 sequences of 0 to 60 steps, target (10,) int64, weighted>"
    assert repr(Examples(np.zeros((3, 1, 2)), np.zeros((3, 1)))) == "<examples: 1 sequence of 3 steps, for every step>"
