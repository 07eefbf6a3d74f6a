"""However training ends, the network has whole weights, the best ones, and what happened is known."""

import io
import json

import numpy as np
import pytest

from ostinato import DataError, Layer, cells
from ostinato.layers.network import LastStep, Network
from ostinato.learn.checkpoint import Kept
from ostinato.learn.losses import cross_entropy
from ostinato.learn.optimisers import UpdateRule
from ostinato.learn.training import Epoch, Examples, History, Progress, train

from .helpers import assert_close, assert_equal


def labelled(n_samples, seed, n_steps=5):
    X = np.random.default_rng(seed).standard_normal((n_steps, n_samples, 2)).astype(np.float32)
    return Examples(X, (X[0, :, 0] > 0).astype(int))


def network():
    return Network(
        LastStep(Layer(cells.gru, n_inputs=2, n_neurons=6, seed=0)), Layer(cells.dense, n_inputs=6, n_outputs=2, seed=1)
    )


def learn(net, examples=None, **options):
    usual = {"loss": cross_entropy, "update": UpdateRule("adam", learning_rate=0.02), "validation": labelled(30, 1),
             "max_epochs": 8, "rng": 1, "clip_norm": None}  # fmt: skip
    return train(net, labelled(60, 0) if examples is None else examples, **{**usual, **options})


def measured(n_samples, seed):
    """Targets that are numbers: their squares overflow."""
    examples = labelled(n_samples, seed)
    return Examples(examples.X, np.stack([examples.target, 1 - examples.target], axis=1) * 1.0)


class Broken(Exception):
    """What a user's callback raises."""


def rising(epoch):
    return 0.02 if epoch <= 4 else 30.0  # worse and worse, and finite


def raising(error, number=6):
    def callback(epoch):
        if epoch.number == number:
            raise error

    return callback


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("no more"), Broken("in the callback"), SystemExit(3)])
@pytest.mark.parametrize("validated", [True, False])
def test_whatever_ends_training_leaves_the_best_weights_and_the_rule_of_then(error, validated):
    seen, remembered, losses = {}, {}, []
    net, rule = network(), UpdateRule("adam", learning_rate=0.02)

    def callback(epoch):
        seen[epoch.number] = dict(net.weights)
        remembered[epoch.number] = rule.arrays
        losses.append(epoch.validation_loss if validated else epoch.loss)
        raising(error)(epoch)

    with pytest.raises(type(error)) as caught:
        learn(net, update=rule, schedule=rising, callback=callback, **({} if validated else {"validation": None}))
    assert caught.value is error
    history, best = error.history, 1 + int(np.argmin(losses))
    assert best < 6
    assert (len(history), history.best_epoch, history.stopped_early) == (6, best, True)
    for name, array in net.weights.items():
        assert_equal(array, seen[best][name])
    for name, array in rule.arrays.items():
        assert_equal(array, remembered[best][name])
    assert rule.n_updates == 2 * best
    assert_close(rule.settings["learning_rate"], 0.02)  # that of before the schedule
    assert error.__notes__ == [
        f"train: 6 epochs of 8; the network has the weights of epoch {best} again, and this error the attribute `history`"
    ]
    error.__notes__.clear()


@pytest.mark.parametrize("validated", [True, False])
def test_a_loss_that_is_no_longer_finite_is_in_the_history_of_the_error(validated):
    net = network()
    options = {"loss": "mse", "validation": measured(30, 1) if validated else None, "examples": measured(60, 0)}
    with pytest.raises(DataError, match="the loss of epoch 5 is") as caught:
        learn(net, schedule=lambda epoch: 0.02 if epoch < 5 else 1e30, **options)
    history = caught.value.history
    assert len(history) == 5
    last = history[-1]
    assert not np.isfinite(last.loss if not validated else last.validation_loss + last.loss)
    assert history.best_epoch == (4 if validated else 1 + int(np.nanargmin(history["loss"][:4])))
    other = network()
    learn(other, max_epochs=history.best_epoch, **options)
    for name, array in net.weights.items():
        assert_equal(array, other.weights[name])


def test_gradients_that_are_not_finite_end_training_in_the_middle_of_an_epoch():
    net = network()
    with pytest.raises(DataError, match="is not finite") as caught:
        learn(net, measured(60, 0), loss="mse", validation=None, clip_norm=1.0, batch_size=10,
              schedule=lambda epoch: 0.02 if epoch < 3 else 1e30)  # fmt: skip
    assert caught.value.history.best_epoch == len(caught.value.history) == 2
    assert all(np.isfinite(array).all() for array in net.weights.values())


def test_an_interrupt_in_the_middle_of_an_update_leaves_no_half_of_it(monkeypatch):
    net, rule, calls = network(), UpdateRule("sgd", learning_rate=0.1), []
    before = dict(net.weights)
    step = rule.step

    def interrupted(weights, gradients, **options):
        calls.append(1)
        if len(calls) == 2:
            weights["0.W_r"] = np.zeros_like(weights["0.W_r"])  # one weight of several
            raise KeyboardInterrupt
        step(weights, gradients, **options)

    monkeypatch.setattr(rule, "step", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        learn(net, update=rule)
    assert len(caught.value.history) == caught.value.history.best_epoch == 0
    assert caught.value.__notes__[0].startswith("train: no epochs of 8; the network has the weights that it began with again")
    for name, array in net.weights.items():
        assert_equal(array, before[name])
    assert rule.n_updates == 0


@pytest.mark.parametrize("validated", [True, False])
def test_an_epoch_that_an_interrupt_meets_while_it_is_noted_is_kept_if_it_is_the_best(validated, monkeypatch):
    keep, calls = Kept.of.__func__, []

    def interrupted(cls, *arguments):
        calls.append(arguments)
        if len(calls) == 2:  # the first is of the weights that it began with
            raise KeyboardInterrupt
        return keep(cls, *arguments)

    monkeypatch.setattr(Kept, "of", classmethod(interrupted))
    net = network()
    with pytest.raises(KeyboardInterrupt) as caught:
        learn(net, **({} if validated else {"validation": None}))
    history = caught.value.history
    losses = history["validation_loss" if validated else "loss"]
    assert history.best_epoch == len(history) == 1 + int(np.argmin(losses))
    other = network()
    learn(other, max_epochs=len(history), **({} if validated else {"validation": None}))
    for name, array in net.weights.items():
        assert_equal(array, other.weights[name])


def test_a_second_interrupt_while_the_weights_are_put_back_does_not_stop_that(monkeypatch):
    net, rule, seen = network(), UpdateRule("adam", learning_rate=0.02), {}
    restore, pressed = rule.restore, []

    def pressed_again(*arguments):
        if not pressed:
            pressed.append(1)
            raise KeyboardInterrupt
        restore(*arguments)

    monkeypatch.setattr(rule, "restore", pressed_again)

    def callback(epoch):
        seen[epoch.number] = rule.arrays
        raising(KeyboardInterrupt)(epoch)

    with pytest.raises(KeyboardInterrupt) as caught:
        learn(net, update=rule, schedule=rising, callback=callback)
    assert pressed
    for name, array in rule.arrays.items():
        assert_equal(array, seen[caught.value.history.best_epoch][name])


def test_data_that_are_refused_change_nothing_and_say_nothing_of_weights():
    net = network()
    before = dict(net.weights)
    with pytest.raises(DataError) as caught:
        train(net, Examples(np.zeros((4, 3, 5)), np.zeros(3, int)), loss="cross_entropy")
    assert not hasattr(caught.value, "__notes__")
    assert all(np.shares_memory(net.weights[name], array) for name, array in before.items())


def test_training_goes_on_with_the_same_rule_after_it_diverged():
    net, rule = network(), UpdateRule("adam", learning_rate=0.02)
    options = {"update": rule, "loss": "mse", "validation": measured(30, 1)}
    with pytest.raises(DataError):
        learn(net, measured(60, 0), **options, schedule=lambda epoch: 0.02 if epoch < 4 else 1e30)
    history = learn(net, measured(60, 0), **options)
    assert np.isfinite(history["loss"]).all()


def test_at_the_end_the_weights_and_the_rule_are_of_the_best_epoch_and_without_validation_of_the_last():
    for validated in (True, False):
        net, rule, remembered = network(), UpdateRule("adam", learning_rate=0.02), {}

        def callback(epoch, rule=rule, remembered=remembered):
            remembered[epoch.number] = rule.arrays

        history = learn(net, update=rule, schedule=rising, callback=callback, **({} if validated else {"validation": None}))
        assert history.best_epoch == (1 + int(np.argmin(history["validation_loss"])) if validated else 8)
        for name, array in rule.arrays.items():
            assert_equal(array, remembered[history.best_epoch][name])


def test_an_error_that_takes_no_attributes_is_raised_all_the_same():
    class Closed(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    with pytest.raises(Closed):
        learn(network(), callback=raising(Closed()))


# --- what is shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_verbose_training_shows_every_epoch_and_how_it_ended(capsys):
    history = learn(network(), schedule=rising, patience=2, verbose=1, score=lambda Y, examples: 0.5, score_name="accuracy")
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert not shown.out
    assert len(lines) == len(history) + 1
    first = history[0]
    assert lines[0].startswith(
        f"epoch 1/8  loss {first.loss:.4f}  validation loss {first.validation_loss:.4f}  accuracy 0.5000  rate 0.02  at most "
    )
    assert lines[0].endswith(" left")
    assert lines[-1].endswith(f", stopped early, best epoch {history.best_epoch}")
    learn(network(), verbose=0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["train", "with"])
def test_a_bar_is_closed_when_training_fails(how, monkeypatch):
    file = Terminal()
    monkeypatch.setattr("sys.stderr", file)
    bars = []
    original = Progress.__enter__
    monkeypatch.setattr(Progress, "__enter__", lambda self: (bars.append(self), original(self))[1])

    def inside():
        with Progress(8) as progress:
            learn(network(), callback=lambda epoch: (progress(epoch), raising(KeyboardInterrupt, 2)(epoch)))

    def by_itself():
        learn(network(), verbose=True, callback=raising(KeyboardInterrupt, 2))

    with pytest.raises(KeyboardInterrupt):
        (by_itself if how == "train" else inside)()
    assert len(bars) == 1
    assert bars[0]._bar.finished is False
    assert not bars[0]._bar.live.is_started


def test_progress_outside_of_a_with_writes_lines():
    file = Terminal()
    Progress(3, file=file)(Epoch(3, 0.5, None, None, 1.0, None, 2.0))
    assert file.getvalue() == "epoch 3/3  loss 0.5000\n"


# --- the history


EPOCHS = [Epoch(n, 1.0 / n, 1.0 / n if n < 18 else 1.0, None, 0.5 * n, 0.01, 0.25) for n in range(1, 31)]


def test_a_history_gives_columns_epochs_and_the_best_one():
    history = History(EPOCHS[:20], 17, True)
    assert_equal(history["loss"], np.array([1.0 / n for n in range(1, 21)]))
    assert_equal(history["number"], np.arange(1, 21))
    assert np.isnan(history["validation_score"]).all()
    assert history.column("validation_score") == [None] * 20
    assert history[-1] is EPOCHS[19]
    assert list(history) == EPOCHS[:20]
    assert history.best is EPOCHS[16]
    assert History().best is None
    assert bool(History())
    assert list(history.to_dict()) == list(json.loads(json.dumps(history.to_dict())))
    assert history.to_dict()["loss"] == history["loss"].tolist()


def test_a_history_is_printed_as_a_small_table():
    assert str(History(EPOCHS[:2], 2)) == (
        "epoch    loss  validation loss  gradient norm  learning rate  seconds\n"
        "    1  1.0000           1.0000            0.5           0.01     0.25\n"
        "  * 2  0.5000           0.5000              1           0.01     0.25\n"
        "2 epochs in 0.5 s, best epoch 2"
    )
    lines = str(History(EPOCHS, 17, True)).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [*"123456", "...", "*", "...", "25", "26", "27", "28", "29", "30"]
    assert len({len(line) for line in lines[:-1]} - {len("  ...")}) <= 2
    assert lines[-1] == "30 epochs in 7.5 s, stopped early, best epoch 17"
    assert repr(History(EPOCHS, 17, True)) == "<history of 30 epochs in 7.5 s, stopped early, best epoch 17>"
    assert str(History()) == "no epochs in 0.0 s, best epoch 0"


def test_a_notebook_shows_the_table():
    page = History(EPOCHS, 17)._repr_html_()
    assert page.startswith("<table><thead><tr><th>epoch</th><th>loss</th>")
    assert page.count("<tr>") == 1 + 15
    assert History()._repr_html_() == "<p>no epochs in 0.0 s, best epoch 0</p>"


class Axes:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments, **options: self.calls.append((name, arguments, options))


def test_a_history_is_drawn_into_axes():
    axes = Axes()
    assert History(EPOCHS, 17).plot(axes) is axes
    drawn = {options["label"]: arguments for name, arguments, options in axes.calls if name == "plot"}
    assert_equal(drawn["training"][1], History(EPOCHS)["loss"])
    assert_equal(drawn["validation"][0], np.arange(1, 31))
    assert [arguments for name, arguments, _ in axes.calls if name == "axvline"] == [(17,)]
    without = Axes()
    History([Epoch(1, 0.5, None, None, 1.0, None, 2.0)]).plot(without)
    assert [options["label"] for name, _, options in without.calls if name == "plot"] == ["training"]


def test_a_history_is_drawn_by_matplotlib(monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    axes = History(EPOCHS, 17).plot()
    assert_equal(axes.lines[0].get_ydata(), History(EPOCHS)["loss"])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation", "best epoch 17"]
    matplotlib.pyplot.close(axes.figure)


def test_a_history_of_an_older_file_is_read():
    old = {"epochs": [{"number": 1, "loss": 0.5, "validation_loss": None, "validation_score": None, "gradient_norm": 1.0,
                       "learning_rate": 0.01, "seconds": 2.0}], "best_epoch": 1, "stopped_early": False}  # fmt: skip
    assert History.of_description(old).best.loss == 0.5
