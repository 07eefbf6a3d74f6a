"""Estimators one step after another: the bits of the whole."""

import copy
import pickle

import numpy as np
import pytest

import ostinato
from ostinato import DataError, OptionError

from .helpers import assert_equal

pytest.importorskip("sklearn")
from sklearn.exceptions import NotFittedError

from ostinato.estimators import RecurrentClassifier, RecurrentRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, [1.0, 10.0, 0.1], (30, 6, 3))
NAMES = ["speed", "height", "noise"]


def classifier(classes=("bird", "plane", "cloud"), **options):
    model = RecurrentClassifier(n_neurons=4, max_epochs=1, random_state=0, **options)
    return model.fit(X, np.array(classes)[np.arange(30) % len(classes)])


def regressor(target, **options):
    return RecurrentRegressor(n_neurons=4, max_epochs=1, random_state=0, **options).fit(X, target)


def named():
    model = classifier()
    model.feature_names_in_ = np.array(NAMES, object)
    return model


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize(
    "options", [{}, {"classes": (7, 3)}, {"dtype": "float64", "n_layers": 2, "dropout": 0.2, "cell": "gru"}], ids=str
)
def test_a_classifier_answers_to_the_sequence_as_far_as_it_has_come(method, options):
    model = classifier(**options)
    whole = getattr(model, method)
    stream = model.stream(method)
    batch = model.stream(method, n_instances=5)
    for t in range(6):
        assert_equal(stream(X[0, t]), whole(X[:1, : t + 1])[0])
        assert_equal(batch(X[:5, t]), whole(X[:5, : t + 1]))
    stream.reset()
    assert_equal(stream(X[2, 0]), whole(X[2:3, :1])[0])


def test_several_methods_are_answered_together():
    model = classifier()
    stream = model.stream(("predict", "predict_proba"))
    label, chances = stream(X[0, 0])
    assert label == model.predict(X[:1, :1])[0]
    assert_equal(chances, model.predict_proba(X[:1, :1])[0])
    labels, chances = model.stream(("predict", "predict_proba"), n_instances=5)(X[:5, 0])
    assert_equal(labels, model.predict(X[:5, :1]))
    assert_equal(chances, model.predict_proba(X[:5, :1]))
    assert repr(stream) == "<stream of RecurrentClassifier.predict and predict_proba, n_features=3>"
    with pytest.raises(OptionError, match="there is no method `score` to stream"):
        model.stream(("predict", "score"))


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (X[:, -1, 0], {}),
        (X[:, -1, :2], {"dtype": "float64", "scale_inputs": False}),
        (X[:, :, 0], {"per_step": True}),
        (X[:, :, :2], {"per_step": True, "n_layers": 2}),
    ],
    ids=["one", "several", "one at every step", "several at every step"],
)
def test_a_regressor_answers_to_the_sequence_as_far_as_it_has_come(target, options):
    model = regressor(target, **options)
    stream, batch = model.stream(), model.stream(n_instances=5)
    for t in range(6):
        whole = model.predict(X[:5, : t + 1])
        at_step = whole[:, t] if model.per_step else whole
        assert_equal(stream(X[0, t]), at_step[0])
        assert_equal(batch(X[:5, t]), at_step)


def test_steps_are_read_by_the_names_of_the_features():
    pandas = pytest.importorskip("pandas")
    model, nameless = named(), classifier()
    expected = nameless.predict_proba(X[:1, :1])[0]
    turned = pandas.DataFrame(X[0], columns=NAMES)[["noise", "speed", "height"]]
    for frame in (
        dict(zip(NAMES, X[0, 0], strict=True)),
        dict(zip(NAMES[::-1], X[0, 0, ::-1], strict=True)),
        turned.iloc[0],
        turned[NAMES].iloc[0],
        pandas.Series(X[0, 0]),
        list(X[0, 0]),
    ):
        assert_equal(model.stream("predict_proba")(frame), expected)
    rows = model.stream("predict_proba", n_instances=6)
    assert_equal(rows(turned), nameless.predict_proba(X[0][:, None]))
    assert_equal(nameless.stream("predict_proba")(pandas.Series(X[0, 0], NAMES)), expected)


def test_a_refused_step_does_not_move_the_stream():
    model = named()
    stream = model.stream()
    stream(X[0, 0])
    state = stream.state
    other = "RecurrentClassifier: `x` has shape (4,), and one step must be (n_features=3)"
    names = "The feature names should match those that were passed during fit. x has others."
    cases = {
        other: np.zeros(4),
        other.replace("(4,)", "(1, 3)"): np.zeros((1, 3)),
        "RecurrentClassifier: x[1] is nan, not a finite number": [0, np.nan, 0],
        "RecurrentClassifier: x[2] is -inf, not a finite number": [0, 0, -np.inf],
        "RecurrentClassifier: x[0] is 1e+30, too large for float32": [1e30, 0, 0],
        f"{names}\nFeature names seen at fit time, yet now missing:\n- height": {"speed": 1, "noise": 2},
        f"{names}\nFeature names unseen at fit time:\n- c": {"speed": 1, "noise": 2, "height": 3, "c": 4},
        f"{names}\nFeature names unseen at fit time:\n- a0\n- a1\n- a2\n- a3\n- a4\n- ...\n"
        "Feature names seen at fit time, yet now missing:\n- height\n- noise\n- speed": {f"a{i}": 0 for i in range(7)},
    }  # fmt: skip
    for words, wrong in cases.items():
        with pytest.raises(DataError) as caught:
            stream(wrong)
        assert str(caught.value) == words
    with pytest.raises(DataError) as caught:
        model.stream(n_instances=2)(np.array([[0, 0, 0], [0, np.inf, 0]]))
    assert str(caught.value) == "RecurrentClassifier: x[1, 1] is inf, not a finite number"
    with pytest.raises(DataError) as caught:
        model.stream(n_instances=2)(np.zeros(3))
    assert str(caught.value).endswith("and one step must be (n_instances=2, n_features=3)")
    with pytest.raises(DataError) as caught:
        classifier().stream()({"speed": 1})
    assert str(caught.value) == (
        "RecurrentClassifier: `x` is given by names, and the estimator knows none: it was fitted without\n"
        "  hint: give an array, its features in the order of `fit`"
    )
    for name, array in stream.state.items():
        assert_equal(array, state[name])


def test_what_can_not_be_streamed():
    with pytest.raises(NotFittedError):
        RecurrentClassifier().stream()
    start = "did you mean `predict`? The methods that answer step by step are `predict`"
    more = ", `predict_proba`, `predict_log_proba`, `decision_function`"
    for model, method, known in (
        (classifier(), "predct", start + more),
        (regressor(X[:, 0, 0]), "predict_proba", start),
    ):
        with pytest.raises(OptionError) as caught:
            model.stream(method)
        assert str(caught.value) == f"{type(model).__name__}: there is no method `{method}` to stream; {known}"
    with pytest.raises(OptionError) as caught:
        classifier(bidirectional=True).stream()
    tail = "runs in reverse, from the last step of a sequence, and can not be streamed"
    assert str(caught.value) == f"network: the layer 0.reverse (lstm) {tail}"


def test_a_stream_goes_on_from_a_state_and_in_a_loaded_model(tmp_path):
    model = classifier()
    stream = model.stream("predict_proba")
    answers = [stream(x) for x in X[0, :3]]
    model.save(tmp_path / "model.safetensors")
    loaded = ostinato.load(tmp_path / "model.safetensors")
    assert_equal(loaded.stream("predict_proba", state=stream.state)(X[0, 3]), model.predict_proba(X[:1, :4])[0])
    stream.state = None
    assert_equal(stream(X[0, 0]), answers[0])


def test_a_stream_keeps_to_what_was_learned_when_it_was_made():
    model = classifier()
    stream = model.stream("predict")
    before = model.predict(X[:1, :1])[0]
    model.fit(X[:, :, :2], np.arange(30) % 2)
    assert stream(X[0, 0]) == before
    assert repr(stream) == "<stream of RecurrentClassifier.predict, n_features=3>"
    assert repr(model.stream(n_instances=2)) == "<stream of RecurrentClassifier.predict, n_features=2, n_instances=2>"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_stream_can_be_copied_at_every_step(copied):
    model = classifier()
    stream = model.stream("predict_proba")
    for t in range(4):
        other = copied(stream)
        expected = model.predict_proba(X[:1, : t + 1])[0]
        assert_equal(stream(X[0, t]), expected)
        assert_equal(other(X[0, t]), expected)
        assert_equal(other(X[0, t + 1]), model.predict_proba(X[:1, : t + 2])[0])
