"""Training: the best weights are kept, the same seed gives the same network, and a network learns what its paper says."""

import builtins
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from ostinato import DataError, Layer, MissingExtraError, OptionError, cells, relu
from ostinato.layers.network import Dropout, LastStep, Network
from ostinato.learn.losses import cross_entropy, mean_squared_error
from ostinato.learn.optimisers import UpdateRule
from ostinato.learn.training import Epoch, Examples, History, Progress, outputs, split, train

from .helpers import Messages, assert_close, assert_equal

case = Messages("errors_training.txt")
ROOT = Path(__file__).parent.parent


def signs(n_samples, seed, n_steps=6):
    """Whether the sum of a sequence is positive, of sequences of different lengths; noise behind their ends."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_steps, n_samples, 2))
    lengths = rng.integers(1, n_steps + 1, n_samples)
    valid = np.arange(n_steps)[:, None] < lengths
    return Examples(X, (X[..., 0] * valid).sum(axis=0) > 0, lengths)


def labelled(n_samples, seed):
    examples = signs(n_samples, seed)
    return Examples(examples.X, examples.target.astype(int), examples.lengths)


def network(seed=0, rate=0.0, **options):
    dropout = [Dropout(rate)] if rate else []
    return Network(
        LastStep(Layer(cells.gru, n_inputs=2, n_neurons=8, seed=seed, **options)),
        *dropout,
        Layer(cells.dense, n_inputs=8, n_outputs=2, seed=seed, **options),
    )


def learn(net, examples=None, **options):
    settings = {"loss": cross_entropy, "update": UpdateRule("adam", learning_rate=0.01), "max_epochs": 3, "rng": 1}
    return train(net, labelled(100, 0) if examples is None else examples, **{**settings, **options})


def test_a_network_learns_and_its_history_says_how():
    net, validation = network(), labelled(60, 1)
    history = learn(
        net, labelled(300, 0), validation=validation, max_epochs=12, batch_size=20,
        score=lambda Y, examples: (Y.argmax(axis=1) == examples.target).mean(),
    )  # fmt: skip
    last = history.epochs[history.best_epoch - 1]
    assert last.loss < 0.5 * history.epochs[0].loss
    assert last.validation_score > 0.85
    assert history.column("number") == list(range(1, len(history) + 1))
    assert all(epoch.gradient_norm > 0 and epoch.seconds > 0 for epoch in history.epochs)
    assert_close(history.column("learning_rate"), [0.01] * len(history), 1e-6)
    Y = outputs(net, validation)
    assert_close(cross_entropy(Y, validation.target)[0], last.validation_loss)  # the weights are those of the best epoch
    assert last.validation_loss == min(history.column("validation_loss"))


def test_training_stops_when_nothing_gets_better_and_puts_the_best_weights_back():
    net, rising = network(), iter([0.01, *[100.0] * 50])
    history = learn(net, validation=labelled(40, 1), schedule=lambda _: next(rising), max_epochs=40, patience=3)
    assert history.best_epoch == 1
    assert history.stopped_early
    assert len(history) == 4
    other = network()
    learn(other, validation=labelled(40, 1), max_epochs=1)
    for name, array in other.weights.items():
        assert_equal(net.weights[name], array)


def test_without_validation_the_last_weights_stay():
    net, other = network(), network()
    history = learn(net)
    assert (history.best_epoch, history.stopped_early, history.column("validation_loss")) == (3, False, [None] * 3)
    seen = []
    learn(other, callback=lambda _: seen.append(dict(other.weights)))
    for name, array in net.weights.items():
        assert_equal(array, seen[-1][name])


def test_the_same_seed_gives_the_same_network_and_another_seed_another():
    nets = [network(rate=0.3) for _ in range(3)]
    for net, seed in zip(nets, (5, 5, 6), strict=True):
        learn(net, rng=seed)
    assert all(np.array_equal(nets[0].weights[n], nets[1].weights[n]) for n in nets[0].weights)
    assert not np.array_equal(nets[0].weights["2.W"], nets[2].weights["2.W"])


def test_a_callback_may_end_training():
    history = learn(network(), max_epochs=10, callback=lambda epoch: epoch.number == 2)
    assert len(history) == 2
    assert history.stopped_early


def test_one_update_is_that_of_the_written_out_loop_in_either_order():
    examples = labelled(30, 0)
    net, other, by_hand = network(), network(batch_first=True), network()
    turned = Examples(examples.X.swapaxes(0, 1), examples.target, examples.lengths, batch_first=True)
    options = {"update": UpdateRule("sgd", learning_rate=0.1), "max_epochs": 1, "batch_size": 30, "clip_norm": 0.01}
    learn(net, **{**options, "examples": examples})
    learn(other, **{**options, "examples": turned})
    Y, pullback = by_hand.vjp(examples.X, lengths=examples.lengths)
    gradients = pullback(cross_entropy(Y, examples.target)[1]).weights
    length = np.sqrt(sum(np.square(g, dtype=float).sum() for g in gradients.values()))
    for name, g in gradients.items():
        assert_close(net.weights[name], by_hand.weights[name] - 0.1 * g * min(1, 0.01 / length), 1e-6)
        assert_close(other.weights[name], net.weights[name], 1e-6)


def test_every_step_may_have_an_answer():
    rng = np.random.default_rng(0)
    X = rng.random((7, 40, 2))
    lengths = rng.integers(0, 8, 40)
    examples = Examples(X, np.cumsum(X, axis=0)[..., :1], lengths, per_step=True)
    assert examples.n_answers == lengths.sum()
    assert Examples(X, X, per_step=True).n_answers == 280
    net = Network(Layer(cells.gru, n_inputs=2, n_neurons=8), Layer(cells.dense, n_inputs=8, n_outputs=1))
    update = UpdateRule("adam", learning_rate=0.02)
    history = learn(net, examples, loss=mean_squared_error, update=update, validation=examples, max_epochs=40, clip_norm=None)
    assert history.epochs[-1].validation_loss < 0.1 * history.epochs[0].validation_loss
    Y = outputs(net, examples, batch_size=9)
    assert_close(Y, net(X, lengths=lengths), 1e-5)
    assert not Y[lengths.max() :].any()


def test_batches_are_cut_behind_their_longest_and_hold_every_example_once():
    examples = Examples(np.arange(24.0).reshape(4, 6, 1), np.arange(6), np.array([1, 4, 2, 0, 0, 3]))
    batches = list(examples.batches(2, np.array([0, 2, 3, 4, 5, 1])))
    assert [batch.X.shape for batch in batches] == [(2, 2, 1), (0, 2, 1), (4, 2, 1)]
    assert np.concatenate([batch.target for batch in batches]).tolist() == [0, 2, 3, 4, 5, 1]
    assert_equal(batches[0].X[..., 0], np.array([[0.0, 2.0], [6.0, 8.0]]))
    net = network()
    assert_close(outputs(net, labelled(10, 0), batch_size=3), outputs(net, labelled(10, 0)), 1e-6)
    assert outputs(net, labelled(10, 0).take(np.zeros(0, int))).shape == (0, 2)


def test_a_split_takes_the_same_part_of_every_label_and_never_all_of_one():
    labels = np.array(["a"] * 50 + ["b"] * 20 + ["c"])
    learned, held_out = split(71, 0.2, np.random.default_rng(0), labels)
    assert sorted([*learned, *held_out]) == list(range(71))
    assert [(labels[held_out] == label).sum() for label in "abc"] == [10, 4, 0]
    assert len(split(30, 0.1, np.random.default_rng(0))[1]) == 3
    assert len(split(3, 0.1, np.random.default_rng(0))[1]) == 0
    assert len(split(2, 0.9, np.random.default_rng(0))[0]) == 1


# --- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


EPOCH = Epoch(7, 0.25, 0.5, 0.875, 1.5, 0.01, 2.0)


def test_progress_is_a_plain_line_where_there_is_no_terminal():
    file = io.StringIO()
    with Progress(20, "accuracy", file) as callback:
        callback(EPOCH)
        callback(Epoch(12, 0.125, None, None, 1.5, None, 2.0))
    assert file.getvalue() == (
        "epoch  7/20  loss 0.2500  validation loss 0.5000  accuracy 0.8750  rate 0.01  at most 26 s left\n"
        "epoch 12/20  loss 0.1250  at most 16 s left\n"
    )


def test_progress_is_a_bar_in_a_terminal():
    file = Terminal()
    with Progress(20, "accuracy", file) as callback:
        callback(EPOCH)
    assert "epoch  7/20  loss 0.2500" in " ".join(file.getvalue().split("\n")).replace("\x1b[0m", "")
    assert "━" in file.getvalue()


# --- the adding problem


@pytest.mark.sweep
def test_an_irnn_learns_the_adding_problem_far_below_the_baseline():
    spec = importlib.util.spec_from_file_location("adding_problem", ROOT / "examples" / "adding_problem.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    net = example.make_network(100, seed=0)
    assert_equal(net.weights["0.W_y"], np.eye(100, dtype=np.float32))
    lines = []
    error, updates = example.learn(
        net, 20, seconds=300, updates=2000, goal=0.01, batch_size=64, learning_rate=2e-3, clip_norm=1.0, seed=0,
        report=lines.append,
    )  # fmt: skip
    assert error < 0.02 < example.BASELINE / 8
    X, sums = example.draw(20, 5000, np.random.default_rng(77))
    assert_equal(X[..., 1].sum(axis=0), np.full(5000, 2, np.float32))
    assert_close((X[..., 0] * X[..., 1]).sum(axis=0)[:, None], sums, 1e-5)
    assert abs(np.var(sums) - example.BASELINE) < 0.01
    assert mean_squared_error(net(X), sums)[0] < 0.02
    assert len(lines) == 1 + -(-updates // 250)


# --- what is refused


@case(OptionError)
def batches_of_nothing():
    learn(network(), batch_size=0)


@case(DataError)
def no_examples():
    learn(network(), labelled(10, 0).take(np.zeros(0, int)))


@case(DataError)
def no_validation_examples():
    learn(network(), validation=labelled(10, 0).take(np.zeros(0, int)))


@case(DataError)
def loss_no_longer_finite():
    net = Network(
        LastStep(Layer(cells.recurrent, n_inputs=2, n_neurons=4, phi=relu, seed=0)),
        Layer(cells.dense, n_inputs=4, n_outputs=1, seed=0),
    )
    examples = labelled(50, 0)
    targets = Examples(examples.X, examples.target[:, None] * 1.0, examples.lengths)
    learn(net, targets, loss=mean_squared_error, update=UpdateRule("sgd", learning_rate=1e18), batch_size=50, clip_norm=None)


@case(DataError)
def targets_of_other_samples():
    Examples(np.zeros((5, 4, 3)), np.zeros(3), np.zeros(4, int))


@case(DataError)
def targets_without_steps():
    Examples(np.zeros((2, 7, 3)), np.zeros((7, 2)), per_step=True, batch_first=True)


@case(MissingExtraError)
def bar_without_rich(monkeypatch):
    real = builtins.__import__

    def without_rich(name, *rest, **options):
        if name.split(".")[0] == "rich":
            raise ImportError(name)
        return real(name, *rest, **options)

    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_rich)
    Progress(5, file=Terminal())


@pytest.mark.parametrize("name", case.names)
def test_message(name, request, monkeypatch):
    case.check(name, request, *([monkeypatch] if name == "bar_without_rich" else []))


def test_the_golden_file_is_complete():
    case.check_complete()


def test_a_history_is_read_back():
    from dataclasses import asdict

    history = History([EPOCH], 7, True)
    assert History.of_description(asdict(history)) == history
