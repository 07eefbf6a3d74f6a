"""How much each sample and each class counts, two classes as scikit-learn has them, and its tools that ask for both."""

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, cross_validate
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import ostinato
from ostinato import DataError, OptionError, RecurrentClassifier, RecurrentRegressor

from .helpers import Messages, assert_close, assert_equal

case = Messages("errors_estimator_weights.txt")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5, 2))
y = (X[..., 0].sum(axis=1) > 0).astype(int)
THREE = np.digitize(X[..., 0].sum(axis=1), [-1.0, 1.0])
COUNTS = RNG.integers(0, 4, 60)
WHOLE = {"batch_size": 1000, "validation_fraction": 0, "dtype": "float64"}


def classifier(**options):
    return RecurrentClassifier(**{"n_neurons": 6, "max_epochs": 6, "learning_rate": 0.02, "random_state": 0, **options})


def regressor(**options):
    return RecurrentRegressor(**{"n_neurons": 6, "max_epochs": 6, "learning_rate": 0.02, "random_state": 0, **options})


FITTED = classifier(max_epochs=2).fit(X, y)

# --- two classes


def test_two_classes_have_one_decision_value_that_agrees_with_everything():
    model = classifier(max_epochs=12).fit(X, y)
    odds, chances = model.decision_function(X), model.predict_proba(X)
    assert odds.shape == (60,)
    assert_equal(odds > 0, model.predict(X) == 1)
    assert_equal(chances.argmax(axis=1), model.predict(X))
    assert_close(odds, np.log(chances[:, 1]) - np.log(chances[:, 0]), 1e-9)
    by_hand = roc_auc_score(y, chances[:, 1])
    assert by_hand > 0.8
    for scoring in ("roc_auc", "average_precision"):
        assert np.isfinite(cross_val_score(classifier(), X, y, scoring=scoring, cv=2, error_score="raise")).all()
    assert abs(get_scorer("roc_auc")(model, X, y) - by_hand) < 1e-12


def test_three_classes_have_a_value_for_each():
    model = classifier().fit(X, THREE)
    assert model.decision_function(X).shape == (60, 3)
    assert_equal(model.decision_function(X).argmax(axis=1), model.predict(X))


def test_logarithms_of_probabilities_are_exact_where_those_are_no_numbers():
    model = classifier().fit(X, THREE)
    assert_close(model.predict_log_proba(X), np.log(model.predict_proba(X)), 1e-12)
    model.network_.weights["1.b"] = [0.0, 2000.0, -3000.0]
    found = model.predict_log_proba(X)
    assert np.isfinite(found).all()
    assert (found[:, 2] < -4000).all()


@pytest.mark.parametrize("labels", [y, THREE], ids=["two classes", "three classes"])
@pytest.mark.parametrize(
    "around",
    [
        lambda c: OneVsRestClassifier(c),
        lambda c: CalibratedClassifierCV(c, cv=2),
        lambda c: CalibratedClassifierCV(c, cv=2, method="isotonic"),
        lambda c: VotingClassifier([("one", c), ("two", c)], voting="soft"),
        lambda c: StackingClassifier([("one", c)], final_estimator=None, cv=2),
        lambda c: make_pipeline(FunctionTransformer(lambda X: X[:, ::-1]), c),
        lambda c: GridSearchCV(c, {"n_neurons": [2, 4]}, cv=2, scoring="balanced_accuracy"),
    ],
    ids=["rest", "calibrated", "isotonic", "voting", "stacking", "pipeline", "grid"],
)  # fmt: skip
def test_what_scikit_learn_builds_around_a_classifier(around, labels):
    model = around(classifier(max_epochs=4)).fit(X, labels)
    assert model.predict(X).shape == (60,)
    assert model.score(X, labels) > 0.3


def test_boosting_and_predictions_across_folds():
    boosted = AdaBoostClassifier(classifier(), n_estimators=2, random_state=0).fit(X, y)
    assert boosted.predict(X).shape == (60,)
    assert cross_val_predict(classifier(max_epochs=2), X, y, cv=2, method="predict_proba").shape == (60, 2)
    assert cross_val_predict(classifier(max_epochs=2), X, y, cv=2, method="decision_function").shape == (60,)
    both = np.stack([y, THREE > 1], axis=1)
    assert MultiOutputClassifier(classifier(max_epochs=1)).fit(X, both).predict(X).shape == (60, 2)
    assert MultiOutputRegressor(regressor(max_epochs=1)).fit(X, X[:, -1]).predict(X).shape == (60, 2)
    assert regressor(max_epochs=1).fit(X, X[:, -1]).predict(X).shape == (60, 2)  # several targets need no wrapper
    assert AdaBoostRegressor(regressor(max_epochs=1), n_estimators=2).fit(X, X[:, 0, 0]).predict(X).shape == (60,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: BaggingClassifier(classifier(max_epochs=1), n_estimators=2).fit(X, y),
        lambda: OneVsOneClassifier(classifier(max_epochs=1)).fit(X, y),
        lambda: permutation_importance(FITTED, X, y, n_repeats=1),
    ],
    ids=["bagging", "one against one", "permutation_importance"],
)
def test_these_scikit_learn_refuses_for_arrays_of_three_dimensions(call):
    with pytest.raises(ValueError, match="Found array with dim 3"):
        call()


# --- weights


def test_a_weight_of_k_is_k_copies():
    copies = np.repeat(np.arange(60), COUNTS)
    for model, target in ((classifier(**WHOLE), y), (classifier(**WHOLE, class_weight="balanced"), THREE)):
        weighted = sklearn.clone(model).fit(X, target, sample_weight=COUNTS)
        copied = sklearn.clone(model).fit(X[copies], target[copies])
        assert_close(weighted.predict_proba(X), copied.predict_proba(X), 1e-9)
        assert_close(weighted.input_scale_.mean, copied.input_scale_.mean)
        assert_close(weighted.input_scale_.deviation, copied.input_scale_.deviation)
        assert abs(weighted.score(X, target, COUNTS) - copied.score(X[copies], target[copies])) < 1e-12
    listed = [x[: 1 + i % 5] for i, x in enumerate(X)]
    sums = [np.cumsum(x[:, 0]) for x in listed]
    weighted = regressor(per_step=True, **WHOLE).fit(listed, sums, COUNTS)
    copied = regressor(per_step=True, **WHOLE).fit([listed[i] for i in copies], [sums[i] for i in copies])
    assert_close(np.concatenate(weighted.predict(listed)), np.concatenate(copied.predict(listed)), 1e-9)
    assert_close(weighted.target_scale_.mean, copied.target_scale_.mean)
    wanted = copied.score([listed[i] for i in copies], [sums[i] for i in copies])
    assert abs(weighted.score(listed, sums, COUNTS) - wanted) < 1e-12


def test_equal_weights_change_nothing_and_zeros_are_absent():
    plain = classifier(**WHOLE).fit(X, y)
    assert_close(classifier(**WHOLE).fit(X, y, np.full(60, 2.5)).predict_proba(X), plain.predict_proba(X), 1e-9)
    weights = np.ones(60)
    weights[10:] = 0
    kept = classifier().fit(X, y, weights)
    assert_close(kept.predict_proba(X), classifier().fit(X[:10], y[:10]).predict_proba(X), 1e-6)
    labels = np.where(weights == 0, "absent", np.where(y == 1, "up", "down"))
    assert classifier(max_epochs=1).fit(X, labels, weights).classes_.tolist() == ["down", "up"]


def test_wrong_labels_of_no_weight_are_not_learned():
    wrong = np.arange(60) % 3 != 0
    noisy = np.where(wrong, 1 - y, y)
    model = classifier(max_epochs=40, validation_fraction=0).fit(X, noisy, sample_weight=np.where(wrong, 0.0, 1.0))
    assert model.score(X, y) > 0.75
    assert model.score(X, noisy, np.where(wrong, 0.0, 1.0)) > 0.9


def test_rare_classes_may_count_more():
    rare = (X[..., 0].sum(axis=1) > 2.5).astype(int)
    assert 0 < rare.sum() < 15
    plain, balanced = (classifier(max_epochs=3, class_weight=w).fit(X, rare) for w in (None, "balanced"))
    assert balanced.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.05
    by_hand = {0: 60 / (2 * (60 - rare.sum())), 1: 60 / (2 * rare.sum())}
    told = classifier(max_epochs=3, class_weight=by_hand).fit(X, rare)
    assert_close(told.predict_proba(X), balanced.predict_proba(X), 1e-6)
    one_named = classifier(max_epochs=3, class_weight={1: by_hand[1] / by_hand[0]}, **WHOLE).fit(X, rare)
    balanced = classifier(max_epochs=3, class_weight="balanced", **WHOLE).fit(X, rare)
    assert_close(one_named.predict_proba(X), balanced.predict_proba(X), 1e-9)


def test_class_weights_are_saved_with_labels_of_any_kind(tmp_path):
    for labels in ([0, 1], ["a", "b"], [b"a", b"b"], [False, True]):
        weights = dict(zip(labels, [1.0, 3.5], strict=True))
        model = classifier(max_epochs=1, class_weight=weights).fit(X, np.array(labels)[y])
        model.save(tmp_path / "model.safetensors")
        again = ostinato.load(tmp_path / "model.safetensors")
        assert again.class_weight == weights
        assert again.classes_.tolist() == labels
        assert_equal(again.predict_proba(X), model.predict_proba(X))


def test_metadata_routing_hands_weights_on():
    with sklearn.config_context(enable_metadata_routing=True):
        model = classifier(max_epochs=1).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = cross_validate(model, X, y, params={"sample_weight": COUNTS}, cv=2, error_score="raise")
        assert len(found["test_score"]) == 2
        search = GridSearchCV(model, {"n_neurons": [2, 3]}, cv=2, error_score="raise").fit(X, y, sample_weight=COUNTS)
        assert search.best_estimator_.network_.input_sizes == (2,)


# --- what is refused


@case(DataError)
def weights_of_other_samples():
    classifier().fit(X, y, np.ones(59))


@case(DataError)
def weights_with_steps():
    classifier().fit(X, y, np.ones((60, 5)))


@case(DataError)
def negative_weight():
    regressor().fit(X, y, np.where(np.arange(60) == 7, -0.5, 1))


@case(DataError)
def weight_that_is_not_finite():
    regressor().fit(X, y, np.where(np.arange(60) == 8, np.nan, 1))


@case(DataError)
def no_weight_at_all():
    classifier().fit(X, y, np.zeros(60))


@case(DataError)
def weights_in_words():
    classifier().fit(X, y, ["much"] * 60)


@case(OptionError)
def class_weight_in_another_word():
    classifier(class_weight="balance").fit(X, y)


@case(OptionError)
def class_weight_of_no_class():
    classifier(class_weight={0: 1.0, 2: 3.0}).fit(X, y)


@case(OptionError)
def negative_class_weight():
    classifier(class_weight={0: 1.0, 1: -3.0}).fit(X, y)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
