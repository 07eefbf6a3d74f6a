"""What people type for `train`: nearly right is taken, wrong is answered in words before the first step."""

import io

import numpy as np
import pytest
import torch

import ostinato
from ostinato import ArgumentError, DataError, Layer, OptionError, cells, clip_by_global_norm
from ostinato.estimators import RecurrentClassifier
from ostinato.layers.network import LastStep, Network
from ostinato.learn.losses import Loss, cross_entropy, mean_squared_error
from ostinato.learn.optimisers import UpdateRule
from ostinato.learn.rules import adam
from ostinato.learn.schedules import Cosine, OnPlateau, WarmUp
from ostinato.learn.training import Epoch, Examples, History, Progress, train

from .helpers import Messages, assert_equal

case = Messages("errors_train.txt")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 40, 2)).astype(np.float32)
y = (X[0, :, 0] > 0).astype(int)
LIST = [X[: 2 + i % 5, i] for i in range(40)]


def network(batch_first=False, n_outputs=2):
    return Network(
        LastStep(Layer(cells.gru, n_inputs=2, n_neurons=4, seed=0, batch_first=batch_first)),
        Layer(cells.dense, n_inputs=4, n_outputs=n_outputs, seed=1, batch_first=batch_first),
    )


def every_step():
    return Network(Layer(cells.gru, n_inputs=2, n_neurons=4, seed=0), Layer(cells.dense, n_inputs=4, n_outputs=2, seed=1))


def quick(*arguments, **options):
    net = network() if not arguments else arguments[0]
    return train(net, *(arguments[1:] or ((X, y),)), **{"loss": "cross_entropy", "max_epochs": 1, **options})


# --- nearly right


TAKEN = {
    "a pair": lambda: quick(network(), (X, y)),
    "a triple with lengths as a list": lambda: quick(network(), (X, y, [3] * 40)),
    "X and y": lambda: quick(network(), X, y),
    "X and y by name": lambda: quick(network(), X, target=y),
    "a list of sequences": lambda: quick(network(), (LIST, y)),
    "a list of sequences and of labels": lambda: quick(network(), LIST, y.tolist()),
    "torch tensors": lambda: quick(network(), (torch.tensor(X), torch.tensor(y))),
    "batch_first said once": lambda: quick(network(batch_first=True), (X.swapaxes(0, 1), y)),
    "a number for each sequence": lambda: quick(network(n_outputs=1), (X, X[0, :, 0]), loss="mse"),
    "an answer at every step": lambda: quick(every_step(), (X, X), loss="mse"),
    "a loss by its short name": lambda: quick(network(), (X, np.eye(2)[y]), loss="MSE"),
    "a loss as a cell": lambda: quick(network(), (X, np.eye(2)[y]), loss=mean_squared_error.of_one),
    "a rule by name": lambda: quick(update="sgd"),
    "a rule by name, and its rate": lambda: quick(update="sgd", learning_rate=0.1),
    "a rule as a cell": lambda: quick(update=adam, learning_rate=np.float32(0.1)),
    "a rule that is not said": lambda: train(network(), (X, y), loss=cross_entropy, max_epochs=1),
    "a schedule by name": lambda: quick(schedule="cosine"),
    "a schedule by another name": lambda: quick(schedule="reduce-on-plateau"),
    "a validation pair": lambda: quick(validation=(X, y)),
    "validation as a fraction": lambda: quick(validation=0.25),
    "no validation as a fraction": lambda: quick(validation=0.0),
    "no patience": lambda: quick(validation=(X, y), patience=None),
    "numbers of NumPy": lambda: quick(batch_size=np.int64(16), max_epochs=np.int32(1), clip_norm=np.float32(1)),
    "a generator": lambda: quick(rng=np.random.default_rng(3)),
    "no seed": lambda: quick(rng=None),
    "no clipping": lambda: quick(clip_norm=None),
    "a layer alone": lambda: quick(Layer(cells.gru, n_inputs=2, n_neurons=2), (X, X), loss="mse"),
    "an object as a callback": lambda: quick(callback=Progress(1, file=io.StringIO())),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_nearly_right_is_taken(name):
    history = TAKEN[name]()
    assert len(history) == 1
    assert np.isfinite(history["loss"]).all()


def test_what_is_typed_is_what_it_stands_for():
    def learned(*data, **options):
        net = network()
        train(net, *data, **{"loss": "cross_entropy", "max_epochs": 3, "batch_size": 8, **options})
        return net.weights

    expected = learned(Examples(X, y), loss=cross_entropy, update=UpdateRule("adam", learning_rate=0.01))
    for found in (
        learned((X, y), learning_rate=0.01),
        learned(X, y, update=adam, learning_rate=0.01),
        learned(X, y, update=UpdateRule(learning_rate=0.01)),
        learned(([X[:, i] for i in range(40)], y), learning_rate=0.01),
    ):
        for name, array in expected.items():
            assert_equal(found[name], array)


def test_a_schedule_by_name_begins_with_the_rate_of_the_rule_and_gives_it_back():
    rule = UpdateRule("sgd", learning_rate=0.5)
    history = quick(update=rule, schedule="cosine", max_epochs=4)
    begun = Cosine().begun(0.5, 4)
    assert history.column("learning_rate") == [begun(epoch) for epoch in (1, 2, 3, 4)]
    assert float(rule.settings["learning_rate"]) == 0.5
    warm = WarmUp(2, start=0.5).then(Cosine())
    again = quick(update=rule, schedule=warm, max_epochs=4)
    assert_equal(again["learning_rate"][:3], np.array([0.25, 0.375, 0.5]))
    assert warm == WarmUp(2, start=0.5).then(Cosine())


def test_on_a_plateau_the_rate_follows_the_validation_loss():
    options = {"update": UpdateRule("sgd", learning_rate=0.0078125), "max_epochs": 6, "patience": None, "loss": "mse"}
    schedule = OnPlateau(factor=0.5, patience=0, threshold=0.9)  # nothing is good enough
    data = (X, np.eye(2)[y])
    history = quick(network(), data, validation=data, schedule=schedule, **options)
    assert history.column("learning_rate") == [0.0078125, *(0.0078125 * 0.5**n for n in range(5))]
    assert schedule.seen["waited"] == 0  # train works with a copy
    without = quick(network(), data, schedule=schedule, **options)
    assert without.column("learning_rate") == history.column("learning_rate")


def test_a_fraction_for_validation_is_drawn_from_every_class_and_not_learned():
    rare = np.r_[np.zeros(30, int), np.ones(10, int)]
    seen = []

    def score(Y, examples):
        seen.append(examples)
        return 0.0

    net = network()
    before = net(X)
    quick(net, (X, rare), validation=0.2, score=score, rng=5)
    held_out = seen[0]
    assert len(held_out) == 8
    assert np.bincount(held_out.target).tolist() == [6, 2]
    columns = {X[:, i].tobytes() for i in range(40)}
    assert {held_out.X[:, i].tobytes() for i in range(8)} <= columns
    assert not np.array_equal(net(X), before)
    quick(validation=0.2, score=score, rng=5)
    quick(validation=0.2, score=score, rng=6)
    assert not np.array_equal(seen[1].X, seen[2].X)


# --- wrong: the network


@case(OptionError)
def the_class_of_a_network():
    quick(Network)


@case(OptionError)
def a_cell():
    quick(cells.gru)


@case(OptionError)
def an_estimator():
    quick(RecurrentClassifier())


@case(OptionError)
def a_list_of_layers():
    quick([Layer(cells.gru, n_inputs=2, n_neurons=2)])


@case(OptionError)
def a_module_of_torch():
    quick(torch.nn.LSTM(2, 3))


# --- wrong: the examples


@case(DataError)
def an_array_alone():
    quick(network(), X)


@case(DataError)
def a_list_alone():
    quick(network(), LIST)


@case(DataError)
def two_targets():
    quick(network(), Examples(X, y), y)


@case(DataError)
def nothing_to_look_at():
    quick(validation=0.001)


@case(DataError)
def a_forgotten_last_step():
    quick(every_step())


@case(DataError)
def samples_first():
    quick(network(), (X.swapaxes(0, 1), y))


@case(DataError)
def validation_of_other_features():
    quick(validation=(X[..., :1], y))


@case(OptionError)
def validation_as_an_array():
    quick(validation=X)


@case(OptionError)
def validation_of_everything():
    quick(validation=1.0)


@case(OptionError)
def validation_as_a_yes():
    quick(validation=True)


# --- wrong: everything else


@case(OptionError)
def a_rule_that_is_misspelled():
    quick(update="adm")


@case(OptionError)
def the_class_of_a_rule():
    quick(update=UpdateRule)


@case(OptionError)
def an_optimiser_of_torch():
    quick(update=torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1))


@case(OptionError)
def two_rates():
    quick(update=UpdateRule("sgd"), learning_rate=0.1)


@case(OptionError)
def a_rate_as_text():
    quick(learning_rate="0.1")


@case(OptionError)
def a_rate_below_zero():
    quick(learning_rate=-0.1)


@case(OptionError)
def a_loss_that_is_misspelled():
    quick(loss="cros_entropy")


@case(OptionError)
def a_loss_of_torch():
    quick(loss=torch.nn.CrossEntropyLoss())


@case(OptionError)
def a_function_as_a_loss():
    quick(loss=lambda Y, T: ((Y - T) ** 2).mean())


@case(OptionError)
def the_class_of_losses():
    quick(loss=Loss)


@case(OptionError)
def a_schedule_that_is_misspelled():
    quick(schedule="cosin")


@case(OptionError)
def a_schedule_as_a_number():
    quick(schedule=0.1)


@case(OptionError)
def a_schedule_that_gives_text():
    quick(schedule=lambda epoch: "0.1")


@case(OptionError)
def a_schedule_for_a_rule_without_a_rate():
    @ostinato.cell
    def drift(g=ostinato.Input(), w=ostinato.State()):
        return w - 0.01 * g

    quick(update=drift, schedule="cosine")


@case(OptionError)
def half_a_batch():
    quick(batch_size=0.5)


@case(OptionError)
def no_epochs():
    quick(max_epochs=0)


@case(OptionError)
def patience_below_one():
    quick(patience=0)


@case(OptionError)
def a_clip_of_zero():
    quick(clip_norm=0)


@case(OptionError)
def a_clip_as_text():
    quick(clip_norm="1")


@case(OptionError)
def a_callback_that_is_a_list():
    quick(callback=[print])


@case(OptionError)
def a_score_by_name():
    quick(score="accuracy")


@case(OptionError)
def a_score_that_gives_an_array():
    quick(validation=(X, y), score=lambda Y, examples: Y)


@case(OptionError)
def a_name_of_a_score_that_is_none():
    quick(score_name=None)


@case(OptionError)
def a_seed_as_text():
    quick(rng="seed")


@case(OptionError)
def verbose_below_zero():
    quick(verbose=-1)


@case(ArgumentError)
def epochs_as_in_keras():
    quick(epochs=10)


@case(ArgumentError)
def an_argument_that_is_misspelled():
    quick(max_epoch=10)


@case(ArgumentError)
def no_loss():
    train(network(), (X, y))


@case(ArgumentError)
def everything_by_place():
    train(network(), X, y, "mse", "adam")


# --- wrong: what stands around it


@case(OptionError)
def clipping_to_nothing():
    clip_by_global_norm({"W": np.ones(3)}, 0)


@case(OptionError)
def a_figure_that_does_not_exist():
    History([Epoch(1, 0.5, None, None, 1.0, None, 2.0)])["los"]


@case(OptionError)
def an_epoch_that_does_not_exist():
    History([Epoch(1, 0.5, None, None, 1.0, None, 2.0)])[1]


@case(OptionError)
def progress_of_no_epochs():
    Progress(0)


@case(ostinato.MissingExtraError)
def a_plot_without_matplotlib():
    import builtins

    real = builtins.__import__

    def without(name, *rest, **options):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "__import__", without)
        History([Epoch(1, 0.5, None, None, 1.0, None, 2.0)]).plot()


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()


def test_nothing_is_changed_by_what_is_refused():
    net = network()
    before = dict(net.weights)
    for options in ({"epochs": 3}, {"update": "adm"}, {"schedule": "cosin"}, {"clip_norm": 0}, {"validation": (X[..., :1], y)}):
        with pytest.raises(ostinato.OstinatoError):
            quick(net, (X, y), **options)
    assert all(np.shares_memory(net.weights[name], array) for name, array in before.items())
