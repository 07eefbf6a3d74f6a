"""Sequences are kept as they are: a fit or a prediction needs one batch besides, and answers do not depend on the batch."""

import numpy as np
import pytest

import ostinato
from ostinato import RecurrentClassifier, RecurrentRegressor
from ostinato.estimators.base import NotFittedError
from ostinato.estimators.samples import samples_of
from ostinato.estimators.scaling import Scale

from .helpers import assert_close, assert_equal, peak

RNG = np.random.default_rng(0)


def classifier(**options):
    return RecurrentClassifier(**{"cell": "recurrent", "n_neurons": 2, "max_epochs": 1, "random_state": 0, **options})


def test_one_long_sequence_takes_no_short_ones_with_it():
    X = [RNG.standard_normal((20, 4)) for _ in range(300)]
    X.append(RNG.standard_normal((3_000, 4)))
    y = np.arange(301) % 2
    given = sum(x.nbytes for x in X)
    padded = 301 * 3_000 * 4 * 8  # 28 MiB
    model = classifier().fit(X[:40], y[:40])
    model.predict(X)
    assert peak(lambda: model.predict(X)) < 6 * given < padded / 10
    assert peak(lambda: classifier().fit(X, y)) < 20 * given < padded / 4


@pytest.mark.parametrize("listed", [False, True])
def test_a_prediction_takes_one_batch(listed):
    X = RNG.standard_normal((8192, 40, 4)).astype(np.float32)
    model = classifier().fit(X[:64], np.arange(64) % 2)
    given = list(X) if listed else X
    model.predict(given[:512])
    assert peak(lambda: model.predict(given)) < X.nbytes / 2
    assert peak(lambda: model.decision_function(X)) < X.nbytes / 2


def test_a_fit_takes_a_scaled_copy_and_one_batch():
    X = RNG.standard_normal((4096, 60, 4)).astype(np.float32)
    y = np.arange(4096) % 2
    classifier().fit(X[:64], y[:64])
    assert peak(lambda: classifier().fit(X, y)) < 1.7 * X.nbytes


def test_a_frame_that_is_one_array_is_not_copied():
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame(RNG.standard_normal((5, 2)), columns=["a", "b"]) for _ in range(3)]
    samples = samples_of(frames, "test")
    assert all(np.shares_memory(a, f.to_numpy()) for a, f in zip(samples.arrays, frames, strict=True))
    X = RNG.standard_normal((4, 5, 2))
    assert np.shares_memory(samples_of(X, "test").arrays, X)


def test_nothing_given_is_changed():
    X = RNG.standard_normal((30, 5, 2))
    listed, before = [x[: 2 + i % 4] for i, x in enumerate(X)], X.copy()
    X.setflags(write=False)
    y = np.arange(30) % 2
    for given in (X, listed):
        classifier().fit(given, y).predict(given)
    assert_equal(X, before)


@pytest.mark.parametrize(
    "kind", [np.float16, np.float32, np.float64, np.int8, np.uint32, np.longdouble, bool, ">f8", "fortran"]
)
def test_numbers_and_not_their_dtype_say_what_is_answered(kind):
    X = RNG.integers(0, 2, (20, 6, 3)).astype(np.float64)
    model = classifier(max_epochs=3).fit(X, np.arange(20) % 2)
    wanted = model.predict_proba(X)
    given = np.asfortranarray(X) if kind == "fortran" else X.astype(kind)
    assert_equal(model.predict_proba(given), wanted)
    assert_close(model.predict_proba(list(given)), wanted, 1e-6)
    assert_equal(classifier(max_epochs=3).fit(given, np.arange(20) % 2).predict_proba(X), wanted)


def test_a_batch_is_what_the_scale_makes_of_each_sequence():
    X = [RNG.standard_normal((n, 3)) * [1, 1e3, 1e-3] + [5, 1e6, 0] for n in (4, 0, 9, 9, 2)]
    samples = samples_of(X, "test")
    scale = Scale.of(samples.blocks(np.arange(5)), 3)
    rows = np.concatenate(X)
    assert_close(scale.mean, rows.mean(axis=0), 1e-12)
    assert_close(scale.deviation, rows.std(axis=0), 1e-12)
    batch, lengths = samples.batch(np.array([2, 0, 1, 4]), scale, "float32")
    assert lengths.tolist() == [9, 4, 0, 2]
    for j, i in enumerate([2, 0, 1, 4]):
        assert_equal(batch[: len(X[i]), j], scale.apply(X[i]).astype(np.float32))
    whole, none = samples.batch(np.array([2, 3]), scale, "float64")
    assert none is None
    assert_equal(whole[:, 1], scale.apply(X[3]))


def test_statistics_of_many_blocks_lose_no_digits():
    X = RNG.standard_normal((300, 500, 2)) + np.array([1e6, 0])  # several blocks
    samples = samples_of(X, "test")
    scale = Scale.of(samples.blocks(np.arange(300)), 2)
    rows = X.reshape(-1, 2)
    assert_close(scale.deviation, rows.std(axis=0), 1e-9)
    weights = RNG.integers(0, 4, 300).astype(float)
    some = np.flatnonzero(weights)
    weighted = Scale.of(samples.blocks(some, weights[some]), 2)
    copied = np.repeat(X, weights.astype(int), axis=0).reshape(-1, 2)
    assert_close(weighted.mean, copied.mean(axis=0), 1e-12)
    assert_close(weighted.deviation, copied.std(axis=0), 1e-9)


def test_answers_stand_in_the_order_of_the_samples():
    lengths = RNG.integers(0, 60, 700)
    X = [RNG.standard_normal((n, 2)) for n in lengths]
    y = np.array([x.sum() for x in X])
    model = RecurrentRegressor(cell="recurrent", n_neurons=3, max_epochs=1, random_state=0).fit(X[:50], y[:50])
    together = model.predict(X)
    some = [0, 3, 350, 699]
    assert_close(together[some], np.concatenate([model.predict([X[i]]) for i in some]), 1e-5)
    steps = [np.cumsum(x, axis=0) for x in X]
    model = RecurrentRegressor(cell="recurrent", n_neurons=3, max_epochs=1, per_step=True, random_state=0).fit(
        X[:50], steps[:50]
    )
    together = model.predict(X)
    assert [len(a) for a in together] == lengths.tolist()
    for i in some:
        assert_close(together[i], model.predict([X[i]])[0], 1e-5)


# --- training that ends too early


def stopping(at, error=KeyboardInterrupt):
    """A stand-in for the step of a rule, whose n-th raises the error; or spoils the weights, if there is none."""
    from ostinato.learn.optimisers import UpdateRule

    original, count = UpdateRule.step, [0]

    def step(self, weights, gradients, **options):
        count[0] += 1
        if count[0] == at and error is not None:
            raise error
        if count[0] == at:
            gradients = {name: gradient * np.nan for name, gradient in gradients.items()}
        return original(self, weights, gradients, **options)

    return step


X, Y = RNG.standard_normal((40, 5, 2)), np.arange(40) % 2


def test_an_interrupted_fit_keeps_its_best_epoch(monkeypatch):
    from sklearn.exceptions import ConvergenceWarning

    monkeypatch.setattr("ostinato.learn.optimisers.UpdateRule.step", stopping(at=8))  # two steps an epoch
    with pytest.warns(ConvergenceWarning, match="interrupted by user. It keeps the weights of epoch") as caught:
        model = classifier(max_epochs=10).fit(X, Y)
    assert caught[0].filename == __file__
    monkeypatch.undo()
    best = model.history_.best_epoch
    assert 1 <= best <= len(model.history_) == 3
    assert_equal(model.predict_proba(X), classifier(max_epochs=best).fit(X, Y).predict_proba(X))


@pytest.mark.parametrize("validation_fraction", [0, 0.1])
def test_a_diverging_fit_keeps_its_best_epoch(validation_fraction, monkeypatch):
    from sklearn.exceptions import ConvergenceWarning

    def model(max_epochs):
        settings = {"n_neurons": 3, "random_state": 0, "validation_fraction": validation_fraction}
        return RecurrentRegressor(max_epochs=max_epochs, **settings)

    y = X[:, -1, 0]
    monkeypatch.setattr("ostinato.learn.optimisers.UpdateRule.step", stopping(at=8, error=None))
    with pytest.warns(ConvergenceWarning, match="nan. It keeps|is not finite. It keeps the weights of epoch"):
        found = model(10).fit(X, y)
    monkeypatch.undo()
    assert len(found.history_) >= 3
    assert_equal(found.predict(X), model(found.history_.best_epoch).fit(X, y).predict(X))


def test_a_fit_that_no_epoch_of_answers_numbers_is_lost():
    y = X[:, -1, 0]
    model = RecurrentRegressor(
        cell="recurrent", options={"phi": "identity"}, update="sgd", clip_norm=None, learning_rate=3.0, max_epochs=20,
        n_neurons=4, random_state=0, validation_fraction=0,
    )  # fmt: skip
    with pytest.raises(ostinato.DataError, match="the loss of epoch"), np.errstate(all="ignore"):
        model.fit(X, y)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_before_the_first_epoch_there_is_nothing_to_keep(error, monkeypatch):
    monkeypatch.setattr("ostinato.learn.optimisers.UpdateRule.step", stopping(at=2, error=error))
    model = classifier(max_epochs=10)
    with pytest.raises(error):
        model.fit(X, Y)
    with pytest.raises(NotFittedError):
        model.predict(X)
