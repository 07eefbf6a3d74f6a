"""The estimators keep scikit-learn's conventions, learn real data, and refuse what they can not use in plain words."""

import builtins
import copy
import importlib.util
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import ostinato
from ostinato import DataError, Input, MissingExtraError, OptionError, State, Weight, cell, cells, relu, tanh
from ostinato.estimators import RecurrentClassifier, RecurrentRegressor

from .helpers import Messages, assert_close, assert_equal

case = Messages("errors_estimators.txt")


def sequences(n_samples=60, n_steps=5, seed=0, lengths=False):
    """Sequences of two features, and whether their first feature rises in all."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_steps, 2))
    names = np.where(X[..., 0].sum(axis=1) > 0, "rising", "falling")
    if lengths:
        listed = [x[: rng.integers(1, n_steps + 1)] for x in X]
        return listed, np.where([x[:, 0].sum() > 0 for x in listed], "rising", "falling")
    return X, names


def classifier(**options):
    return RecurrentClassifier(**{"n_neurons": 8, "max_epochs": 12, "learning_rate": 0.02, "random_state": 0, **options})


def regressor(**options):
    return RecurrentRegressor(**{"n_neurons": 8, "max_epochs": 15, "learning_rate": 0.02, "random_state": 0, **options})


X, NAMES = sequences()
FITTED = classifier().fit(X, NAMES)


def test_handwritten_digits_read_row_by_row():
    digits = load_digits()
    learned, held_out, labels, answers = train_test_split(
        digits.images, digits.target, test_size=0.25, random_state=0, stratify=digits.target
    )
    model = RecurrentClassifier(random_state=0, max_epochs=12).fit(learned, labels)
    assert model.score(held_out, answers) >= 0.95
    assert model.network_.input_sizes == (8,)
    assert model.predict_proba(held_out).shape == (450, 10)


def test_fit_predict_and_what_is_there_afterwards():
    model = classifier()
    assert model.fit(X, NAMES) is model
    assert is_classifier(model)
    assert model.classes_.tolist() == ["falling", "rising"]
    assert model.n_features_in_ == 2
    assert set(model.predict(X)) == {"falling", "rising"}
    assert model.score(X, NAMES) > 0.9
    assert model.score(X, NAMES) == (model.predict(X) == NAMES).mean()
    chances = model.predict_proba(X)
    assert_close(chances.sum(axis=1), np.ones(60))
    assert_equal(model.classes_[chances.argmax(axis=1)], model.predict(X))
    odds = model.decision_function(X)
    assert odds.shape == (60,)
    assert_close(odds, np.log(chances[:, 1] / chances[:, 0]), 1e-9)
    assert 1 <= model.history_.best_epoch <= len(model.history_) <= 12
    assert model.history_.epochs[-1].validation_score is not None


@pytest.mark.parametrize("labels", [[3, 7], [False, True], ["a", "b"], [-1.0, 2.0]])
def test_labels_may_be_of_any_kind(labels):
    model = classifier(max_epochs=1).fit(X, np.array(labels)[(NAMES == "rising").astype(int)])
    assert model.classes_.tolist() == labels
    assert model.predict(X).dtype == np.array(labels).dtype
    boxed = classifier(max_epochs=1).fit(X, np.array(["up" if n == "rising" else "down" for n in NAMES], object))
    assert set(boxed.classes_) == {"down", "up"}


def test_the_same_random_state_gives_the_same_network():
    again, other = classifier().fit(X, NAMES), classifier(random_state=1).fit(X, NAMES)
    assert_equal(again.predict_proba(X), FITTED.predict_proba(X))
    assert not np.array_equal(other.predict_proba(X), FITTED.predict_proba(X))
    assert_equal(classifier(random_state=np.random.RandomState(0)).fit(X, NAMES).predict_proba(X), FITTED.predict_proba(X))
    assert classifier(random_state=None, max_epochs=1).fit(X, NAMES).predict(X).shape == (60,)


def test_scikit_learns_tools_work_with_them():
    fresh = clone(FITTED)
    assert fresh.get_params() == FITTED.get_params()
    assert not hasattr(fresh, "network_")
    assert repr(RecurrentClassifier(n_neurons=3)) == "RecurrentClassifier(n_neurons=3)"
    search = GridSearchCV(classifier(max_epochs=3), {"n_neurons": [2, 8]}, cv=2).fit(X, NAMES)
    assert search.best_params_["n_neurons"] in (2, 8)
    pipeline = make_pipeline(FunctionTransformer(lambda X: X[:, ::-1]), classifier())
    assert pipeline.fit(X, NAMES).score(X, NAMES) > 0.9
    listed, names = sequences(lengths=True)
    assert cross_val_score(classifier(max_epochs=3), listed, names, cv=2).shape == (2,)
    assert cross_val_score(regressor(max_epochs=3), X, X[:, :, 0].sum(axis=1), cv=2).shape == (2,)
    tags = FITTED.__sklearn_tags__()
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert tags.classifier_tags is not None


def test_they_are_copied_and_pickled_with_their_cells_and_activations():
    model = classifier(cell=own, options={"phi": relu}, max_epochs=2).fit(X, NAMES)
    assert clone(model).get_params() == model.get_params()
    assert clone(model).cell is own
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.cell is own
        assert again.options["phi"] is relu
        assert_equal(again.predict_proba(X), model.predict_proba(X))
    search = GridSearchCV(model, {"n_neurons": [2, 3]}, cv=2, n_jobs=2).fit(X, NAMES)
    assert search.score(X, NAMES) > 0.4


def test_sequences_of_different_lengths_and_without_steps():
    listed, names = sequences(120, lengths=True)
    model = classifier(max_epochs=20).fit(listed, names)
    assert model.score(listed, names) > 0.9
    chances = model.predict_proba(listed)
    for i in (0, 7, 33):
        assert_close(model.predict_proba([listed[i]])[0], chances[i], 1e-6)
        assert_close(model.predict_proba(listed[i][None])[0], chances[i], 1e-6)
    with_empty = model.predict_proba([listed[0], np.zeros((0, 2)), []])
    assert_close(with_empty[0], chances[0], 1e-6)
    assert_equal(with_empty[1], with_empty[2])
    assert_close(model.predict_proba([[], []])[0], with_empty[1], 1e-6)
    regular = model.predict_proba([x.tolist() for x in X[:5]])
    assert_close(regular, model.predict_proba(X[:5]), 1e-6)
    boxed = np.empty(2, object)
    boxed[:] = listed[:2]
    assert_close(model.predict_proba(boxed), chances[:2], 1e-6)


def test_empty_sequences_may_be_learned_from():
    model = classifier(max_epochs=1, validation_fraction=0).fit([[], *X[:10]], ["nothing", *NAMES[:10]])
    assert "nothing" in model.classes_


@cell
def own(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), u=Weight("n_neurons"), *, phi=tanh):
    return phi(x @ W + u * h)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": own},
        {"cell": "gru", "n_layers": 2, "dropout": 0.2},
        {"cell": cells.recurrent, "bidirectional": True, "options": {"phi": "relu"}, "init": cells.IRNN},
        {"cell": "recurrent", "options": {"phi": tanh}, "dtype": "float64", "update": "adamw", "scale_inputs": False},
        {"bidirectional": True, "n_layers": 2, "clip_norm": None, "update": "sgd", "learning_rate": 0.3},
    ],
    ids=str,
)
def test_every_parameter_reaches_the_network(options):
    model = classifier(**options).fit(X, NAMES)
    assert model.score(X, NAMES) > 0.75
    layers = list(model.network_.layers.values())
    n_cells = options.get("n_layers", 1) * (2 if options.get("bidirectional") else 1)
    wanted = options.get("cell", "lstm")
    wanted = wanted if isinstance(wanted, str) else wanted.name
    assert [layer.name for layer in layers].count(wanted) == n_cells
    assert [layer.name for layer in layers].count("dropout") == (options["n_layers"] if options.get("dropout") else 0)
    assert model.network_.dtype == options.get("dtype", "float32")
    if options.get("options", {}).get("phi") == "relu":
        assert "relu" in str(layers[0].graph)


def test_inputs_are_standardised_by_what_is_learned_from():
    moved = X * [1000, 1e-3] + [5e4, 0]
    model = classifier().fit(moved, NAMES)
    assert_close(model.predict_proba(moved), FITTED.predict_proba(X), 1e-2)
    constant = np.concatenate([X, np.full((60, 5, 1), 7.0)], axis=2)
    assert np.isfinite(classifier(max_epochs=1).fit(constant, NAMES).predict_proba(constant)).all()


def test_the_best_epoch_is_kept_and_all_epochs_run_without_validation():
    assert len(classifier(validation_fraction=0, max_epochs=4).fit(X, NAMES).history_) == 4
    model = classifier(max_epochs=200, patience=2).fit(X, NAMES)
    assert model.history_.stopped_early
    assert len(model.history_) < 200


def test_nothing_is_shown_unless_asked_for(capsys):
    classifier(max_epochs=2).fit(X, NAMES)
    assert capsys.readouterr() == ("", "")
    classifier(max_epochs=2, verbose=1).fit(X, NAMES)
    shown = capsys.readouterr()
    assert shown.out == ""
    *epochs, end = shown.err.splitlines()
    assert [line.split("  ")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert re.fullmatch(r"2 epochs in [\d.]+ s, best epoch [12]", end)
    assert "validation accuracy" in shown.err


def test_a_failed_fit_leaves_the_estimator_as_it_was():
    model = classifier(max_epochs=2).fit(X, NAMES)
    before = model.predict_proba(X)
    with pytest.raises(DataError):
        model.fit(X, NAMES[:-1])
    model.set_params(cell="gruu")
    with pytest.raises(OptionError):
        model.fit(X, np.where(NAMES == "rising", 1, 2))
    assert_equal(model.predict_proba(X), before)
    assert model.classes_.tolist() == ["falling", "rising"]


# --- the regressor


def test_a_regressor_of_one_number():
    y = X[..., 0].sum(axis=1) * 100 + 5000
    model = regressor(max_epochs=40).fit(X, y)
    assert is_regressor(model)
    assert model.predict(X).shape == (60,)
    assert model.score(X, y) > 0.9
    assert abs(model.predict(X).mean() - 5000) < 100
    raw = regressor(scale_targets=False, max_epochs=2).fit(X, y)
    assert raw.score(X, y) < 0  # two epochs do not reach 5000 from 0


def test_a_regressor_of_several_numbers():
    y = np.stack([X[..., 0].sum(axis=1), X[:, -1, 1]], axis=1)
    model = regressor(max_epochs=40).fit(X, y)
    assert model.predict(X).shape == (60, 2)
    assert model.score(X, y) > 0.8
    assert regressor(max_epochs=1).fit(X, y[:, :1]).predict(X).shape == (60, 1)


def test_a_regressor_of_every_step():
    y = np.cumsum(X, axis=1)
    model = regressor(per_step=True, max_epochs=40).fit(X, y[..., 0])
    assert model.predict(X).shape == (60, 5)
    assert model.score(X, y[..., 0]) > 0.8
    both = regressor(per_step=True, max_epochs=40).fit(X, y)
    assert both.predict(X).shape == (60, 5, 2)
    assert both.score(X, y) > 0.7
    listed, _ = sequences(lengths=True)
    sums = [np.cumsum(x[:, 0]) for x in listed]
    model = regressor(per_step=True, max_epochs=40).fit([*listed, np.zeros((0, 2))], [*sums, np.zeros(0)])
    predicted = model.predict([*listed, np.zeros((0, 2))])
    assert [len(p) for p in predicted] == [*map(len, listed), 0]
    assert model.score(listed, sums) > 0.7
    assert_close(model.predict([listed[3]])[0], predicted[3], 1e-5)


def test_a_constant_target_is_answered():
    model = regressor(max_epochs=2).fit(X, np.full(60, 4.0))
    assert np.abs(model.predict(X) - 4).max() < 2
    assert regressor(max_epochs=1, per_step=True).fit([[], [], *X[:4]], [[], [], *X[:4, :, 0]]).predict(X).shape == (60, 5)


# --- what is refused


def test_not_fitted_is_scikit_learns_own_error(tmp_path):
    for call in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), call)(X)
    with pytest.raises(NotFittedError):
        regressor().predict(X)
    with pytest.raises(NotFittedError):
        classifier().save(tmp_path / "model.safetensors")


def spoiled(place, value):
    result = X.copy()
    result[place] = value
    return result


@case(DataError)
def not_a_number():
    classifier().fit(spoiled((7, 2, 1), np.nan), NAMES)


@case(DataError)
def infinite_in_a_list():
    FITTED.predict([X[0], spoiled((1, 3, 0), -np.inf)[1]])


@case(DataError)
def far_too_large():
    classifier().fit(spoiled((4, 0, 1), 1e30), NAMES)


@case(DataError)
def flat_samples():
    classifier().fit(X[:, 0], NAMES)


@case(DataError)
def list_of_flat_samples():
    FITTED.predict([[1.0, 2.0], [3.0]])


@case(DataError)
def list_of_different_features():
    FITTED.predict([X[0], X[1, :, :1]])


@case(DataError)
def text_in_samples():
    FITTED.predict([X[0], [["a", "b"]]])


@case(DataError)
def nothing_in_any_sample():
    classifier().fit([[], []], ["a", "b"])


@case(DataError)
def no_samples():
    classifier().fit([], [])


@case(DataError)
def other_features_than_in_fit():
    FITTED.predict(np.zeros((3, 4, 5)))


@case(DataError)
def one_class():
    classifier().fit(X, ["same"] * 60)


@case(DataError)
def labels_of_other_samples():
    classifier().fit(X, NAMES[:50])


@case(DataError)
def ragged_labels():
    classifier().fit(X, [["a"], ["b", "c"]] * 30)


@case(DataError)
def labels_that_are_real_numbers():
    classifier().fit(X, X[:, 0, 0])


@case(DataError)
def labels_of_different_kinds():
    classifier().fit(X, np.array(["a", 1, None] * 20, object))


@case(DataError)
def targets_that_are_not_finite():
    regressor().fit(X, spoiled((8, 0), np.inf)[:, 0])


@case(DataError)
def targets_of_other_samples():
    regressor().fit(X, np.zeros((59, 3)))


@case(DataError)
def step_targets_of_other_samples():
    regressor(per_step=True).fit(X, np.zeros((59, 5)))


@case(DataError)
def step_targets_of_other_steps():
    regressor(per_step=True).fit(X, np.zeros((60, 4)))


@case(OptionError)
def unknown_cell():
    classifier(cell="lsmt").fit(X, NAMES)


@case(OptionError)
def unknown_activation():
    classifier(cell="recurrent", options={"phi": "than"}).fit(X, NAMES)


@case(OptionError)
def cell_of_single_numbers():
    classifier(cell=column).fit(X, NAMES)


@cell
def column(x=Input("n_inputs"), y=State("n_neurons", 1), W=Weight("n_inputs", 1)):
    return tanh(x @ W + y)


@case(OptionError)
def no_layers():
    classifier(n_layers=0).fit(X, NAMES)


@case(OptionError)
def all_for_validation():
    classifier(validation_fraction=1).fit(X, NAMES)


@case(OptionError)
def no_learning_rate():
    regressor(learning_rate=-0.1).fit(X, X[:, 0, 0])


@case(MissingExtraError)
def scikit_learn_is_missing(monkeypatch):
    real = builtins.__import__

    def without_sklearn(name, *rest, **options):
        if name.split(".")[0] == "sklearn":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_sklearn)
    path = Path(ostinato.__file__).parent / "estimators" / "base.py"
    spec = importlib.util.spec_from_file_location("ostinato.estimators.again", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request, monkeypatch):
    case.check(name, request, *([monkeypatch] if name == "scikit_learn_is_missing" else []))


def test_the_golden_file_is_complete():
    case.check_complete()
