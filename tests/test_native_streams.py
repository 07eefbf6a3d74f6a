"""Networks one step after another: the bits of the whole."""

import copy
import pickle

import numpy as np
import pytest

from ostinato import (
    Bidirectional,
    DataError,
    Dropout,
    Input,
    LastStep,
    Layer,
    Network,
    OptionError,
    Output,
    State,
    Weight,
    cell,
    cells,
    tanh,
)

from .helpers import assert_equal, random


@cell
def two_outputs(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
    h = tanh(x @ W + h)
    return Output(h * 2, other=h), h


def tagger(**options):
    """An answer at every step."""
    return Network(
        Dropout(0.2),
        Layer(cells.gru, n_inputs=3, n_neurons=5, **options),
        Dropout(0.3, per="sequence"),
        Layer(two_outputs, n_inputs=5, n_neurons=4, **options),
        Layer(cells.dense, n_inputs=4, n_outputs=2, phi=tanh, **options),
    )


def classifier(**options):
    """One answer, at the end."""
    return Network(
        Layer(cells.dense, n_inputs=3, n_outputs=6, **options),
        LastStep(Layer(cells.lstm, n_inputs=6, n_neurons=4, **options)),
        Dropout(0.5),
        Layer(cells.dense, n_inputs=4, n_outputs=2, phi=tanh, **options),
        Layer(cells.dense, n_inputs=2, n_outputs=3, **options),
    )


def last(**options):
    return LastStep(Layer(cells.gru, n_inputs=3, n_neurons=5, **options))


def stateless(**options):
    return Network(
        Layer(cells.dense, n_inputs=3, n_outputs=2, **options), Layer(cells.dense, n_inputs=2, n_outputs=2, **options)
    )


def whole(network, X, t):
    """What the network answers to the first t + 1 steps, at the last of them."""
    Y = network(X[:, : t + 1] if network.batch_first and X.ndim == 3 else X[: t + 1])
    if not network.gives_steps:
        return Y
    return Y[:, -1] if network.batch_first and X.ndim == 3 else Y[-1]


@pytest.mark.parametrize("make", [tagger, classifier, last, stateless])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_instances", [None, 1, 5])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_stream_gives_the_bits_of_the_whole(make, dtype, n_instances, batch_first):
    network = make(dtype=dtype, batch_first=batch_first)
    X = random((7, 3) if n_instances is None else (n_instances, 7, 3) if batch_first else (7, n_instances, 3)).astype(dtype)
    stream = network.stream(n_instances=n_instances)
    for t in range(7):
        frame = X[:, t] if batch_first and n_instances is not None else X[t]
        assert_equal(stream(frame), whole(network, X, t))
    final = network.run(X)[1]
    assert list(stream.state) == list(final)
    for name, array in stream.state.items():
        assert_equal(array, final[name])


@pytest.mark.parametrize("make", [tagger, classifier, last])
def test_a_stream_goes_on_from_a_state_and_begins_again(make):
    network = make()
    X = random((8, 3)).astype(np.float32)
    _, state = network.run(X[:3])
    stream = network.stream(state=state)
    answers = [stream(x) for x in X[3:]]
    assert_equal(answers[-1], whole(network, X, 7))
    stream.reset()
    assert_equal(np.stack([stream(x) for x in X[3:]]), np.stack(answers))
    stream.state = state
    assert_equal(stream(X[3]), answers[0])
    stream.state = None
    assert_equal(stream(X[0]), whole(network, X, 0))


def test_a_stream_begins_again_where_it_began_whatever_it_was_told_since():
    network = tagger()
    x = random((3,)).astype(np.float32)
    stream = network.stream()
    first = stream(x)
    stream.state = {"1.h": np.ones(5)}
    assert not np.array_equal(stream(x), first)
    stream.reset()
    assert_equal(stream(x), first)


def test_a_stream_takes_new_weights_at_the_next_step():
    network = classifier()
    X = random((4, 3)).astype(np.float32)
    stream = network.stream()
    stream(X[0])
    state = stream.state
    network.weights["4.b"] = np.full(3, 10.0)
    assert_equal(stream(X[1]), network.run(X[1:2], state=state)[0])
    assert stream(X[2]).min() > 5


def test_what_a_stream_gave_stays():
    stream = tagger().stream(n_instances=2)
    X = random((2, 2, 3)).astype(np.float32)
    first = stream(X[0])
    kept = first.copy()
    stream(X[1])
    assert_equal(first, kept)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_stream_can_be_copied_at_every_step(copied):
    network = tagger()
    X = random((5, 3)).astype(np.float32)
    Y = network(X)
    stream = network.stream(state={"1.h": np.ones(5)})
    begun = stream(X[0])
    stream.state = None
    for t in range(5):
        other = copied(stream)
        for other_stream in (stream, other):
            assert_equal(other_stream(X[t]), Y[t])
        if t < 4:
            assert_equal(other(X[t + 1]), Y[t + 1])
        other.reset()
        assert_equal(other(X[0]), begun)


def test_dropout_as_the_last_part_gives_what_stands_before_it():
    network = Network(Layer(cells.gru, n_inputs=3, n_neurons=5), Dropout(0.5))
    X = random((3, 3)).astype(np.float32)
    stream = network.stream()
    assert_equal(np.stack([stream(x) for x in X]), network(X))
    assert repr(stream) == "<stream of network: gru>"
    assert repr(network[0].stream()) == "<stream of gru>"
    assert repr(network[0].stream(n_instances=2)) == "<stream of gru, n_instances=2>"
    assert repr(classifier().stream(n_instances=2)) == "<stream of network: dense -> lstm -> dense -> dense, n_instances=2>"


def test_both_directions_can_not_be_streamed():
    both = Bidirectional(cells.gru, n_inputs=3, n_neurons=4)
    tail = ", from the last step of a sequence, and can not be streamed"
    for part, start in (
        (both, "bidirectional(gru): the layer reverse (gru) runs in reverse"),
        (LastStep(both), "last step of bidirectional(gru): the layer reverse (gru) runs in reverse"),
        (Network(Layer(cells.dense, n_inputs=3, n_outputs=3), both), "network: the layer 1.reverse (gru) runs in reverse"),
        (LastStep(Layer(cells.gru, n_inputs=3, n_neurons=4, reverse=True)), "last step of gru: gru runs in reverse"),
    ):
        with pytest.raises(OptionError) as caught:
            part.stream()
        assert str(caught.value) == start + tail


def test_a_refused_step_or_state_changes_nothing():
    network = tagger()
    x = random((3,)).astype(np.float32)
    stream = network.stream()
    stream(x)
    state = stream.state
    for wrong in (np.zeros(4), np.zeros((1, 3)), ["a", "b", "c"]):
        with pytest.raises(DataError):
            stream(wrong)
    for wrong, words in (
        ({"1.h": np.zeros(5), "3.h": np.zeros(9)}, r"`h` has shape \(9,\)"),
        ({"2.h": np.zeros(5)}, "there is no state `2.h`"),
        (np.zeros(5), "is a dictionary by name, not ndarray"),
    ):
        with pytest.raises(DataError, match=words):
            stream.state = wrong
        with pytest.raises(DataError, match=words):
            network.stream(state=wrong)
    with pytest.raises(DataError, match="n_instances"):
        network.stream(n_instances=-1)
    for name, array in stream.state.items():
        assert_equal(array, state[name])
