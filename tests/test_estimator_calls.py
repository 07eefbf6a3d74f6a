"""What people type for every public method of the estimators: wrong calls are answered in words, nearly right ones are taken.

Nothing raw: whatever is refused is refused by an OstinatoError, which is what scikit-learn or Python would raise, too.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import ostinato
from ostinato import Layer, OstinatoError, RecurrentClassifier, RecurrentRegressor, cells, tanh

from .helpers import Messages, assert_close

case = Messages("errors_estimator_calls.txt")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 5, 2))
Y = np.arange(24) % 2
NUMBERS = X[:, -1, 0]
NOT_FINITE = np.where(np.arange(24)[:, None, None] == 3, np.nan, X)


def small(kind=RecurrentClassifier, **settings):
    return kind(**{"cell": "recurrent", "n_neurons": 2, "max_epochs": 1, "random_state": 0, **settings})


FITTED = small().fit(X, Y)
REGRESSOR = small(RecurrentRegressor).fit(X, NUMBERS)

INPUTS = {  # wrong for whatever reads X
    "nothing": None,
    "a number": 3.0,
    "text": "sequences",
    "a set": {1, 2},
    "flat": X[:, 0, 0],
    "one sequence": X[0],
    "four dimensions": X[None],
    "no samples": X[:0],
    "an empty list": [],
    "no features": X[:, :, :0],
    "not finite": NOT_FINITE,
    "too large": X * 1e30,
    "complex": X * 1j,
    "words": X.astype(str),
    "objects": np.where(np.arange(24)[:, None, None] == 2, {"a": 1}, X.astype(object)),
    "rows of different lengths": [[[1.0, 2.0], [3.0]]],
    "different features": [X[0], X[1, :, :1]],
    "a generator": (x for x in X),
    "a dictionary": {"X": X},
    "an estimator": RecurrentClassifier(),
    "masked": np.ma.masked_greater(X, 1),
    "other features": np.zeros((3, 4, 7)),
}
LABELS = {
    "nothing": None,
    "a number": 1,
    "text": "yes",
    "of other samples": Y[:20],
    "two columns": np.stack([Y, Y], axis=1),
    "real numbers": NUMBERS,
    "one class": np.zeros(24, int),
    "missing": np.where(Y == 1, None, Y),
    "of different kinds": ["a", 1] * 12,
    "not numbers": np.full(24, np.nan),
    "dictionaries": [{"a": 1}] * 24,
}
TARGETS = {
    "nothing": None,
    "a number": 1.0,
    "text": "yes",
    "of other samples": NUMBERS[:20],
    "three dimensions": X,
    "words": NUMBERS.astype(str),
    "missing": np.where(Y == 1, None, NUMBERS),
    "infinite": np.full(24, np.inf),
    "complex": NUMBERS * 1j,
    "dictionaries": [{"a": 1}] * 24,
}
WEIGHTS = {
    "text": "balanced",
    "words": ["a"] * 24,
    "of other samples": np.ones(23),
    "with steps": np.ones((24, 5)),
    "negative": -np.ones(24),
    "not finite": np.full(24, np.inf),
    "all zero": np.zeros(24),
    "missing": [None] * 24,
    "complex": np.ones(24) * 1j,
    "a dictionary": {0: 1.0},
}
SETTINGS = {
    "n_neurons": [0, -3, 2.5, "64", None, True, [2]],
    "n_layers": [0, 1.0, "2", None],
    "batch_size": [0, 32.0, "32", None],
    "max_epochs": [0, 1.5, None],
    "patience": [0, "10", 2.5],
    "dropout": [1, -0.1, "0.5", None, True, np.nan],
    "learning_rate": [0, -1, "0.1", None, np.nan, np.inf],
    "clip_norm": [0, "1", -1, np.inf],
    "validation_fraction": [1, -0.1, "0.1", None, True],
    "cell": ["lsmt", "", None, 3, ["lstm"], Layer, np.tanh],
    "update": ["adamm", None, 3, ["adam"], tanh],
    "init": [3, "zeros", [1], {"W_q": 0.0}],
    "options": [3, {"phi": "than"}, {"n_neuron": 3}, {"phi": 3}],
    "dtype": ["float16", "int32", "text", 3, None, object],
    "random_state": ["abc", 1.5, -1, [1, "a"]],
    "verbose": ["yes", -1, None],
    "class_weight": ["balance", 3, {7: 1.0}, {0: -1.0}, {0: "a", 1: 1.0}, {0: None, 1: 1.0}, [1, 2]],
    "scale_inputs": ["yes", None, 2],
    "bidirectional": ["no", None, 2],
}  # fmt: skip


def _count():
    """Names of cases that are the same in every process: by number."""
    numbers = iter(range(1000))
    return lambda value: value if isinstance(value, str) and value in SETTINGS else f"case {next(numbers)}"


def refuses(call):
    with pytest.raises(OstinatoError) as caught:
        call()
    text = str(caught.value)
    assert isinstance(caught.value, ValueError | TypeError | OSError)
    assert text.splitlines()[0]
    for raw in ("_Recurrent", "__init__", "object at 0x", "mean_of_squares", "cross_entropy_of_logits"):
        assert raw not in text
    return text


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function", "score", "fit"])
def test_wrong_input(method, what):
    if method == "fit":
        if what == "other features":  # of which a new fit knows nothing
            return
        refuses(lambda: small().fit(INPUTS[what], Y))
        refuses(lambda: small(RecurrentRegressor).fit(INPUTS[what], NUMBERS))
    elif method == "score":
        refuses(lambda: FITTED.score(INPUTS[what], Y))
        refuses(lambda: REGRESSOR.score(INPUTS[what], NUMBERS))
    else:
        refuses(lambda: getattr(FITTED, method)(INPUTS[what]))
        if method == "predict":
            refuses(lambda: REGRESSOR.predict(INPUTS[what]))


@pytest.mark.parametrize("what", LABELS)
def test_wrong_labels(what):
    refuses(lambda: small().fit(X, LABELS[what]))
    if what != "one class":
        refuses(lambda: FITTED.score(X, LABELS[what]))


@pytest.mark.parametrize("what", TARGETS)
def test_wrong_targets(what):
    refuses(lambda: small(RecurrentRegressor).fit(X, TARGETS[what]))
    refuses(lambda: REGRESSOR.score(X, TARGETS[what]))
    if what != "three dimensions":
        refuses(lambda: small(RecurrentRegressor, per_step=True).fit(X, TARGETS[what]))


@pytest.mark.parametrize("what", WEIGHTS)
def test_wrong_weights(what):
    refuses(lambda: small().fit(X, Y, WEIGHTS[what]))
    refuses(lambda: FITTED.score(X, Y, sample_weight=WEIGHTS[what]))
    refuses(lambda: small(RecurrentRegressor).fit(X, NUMBERS, WEIGHTS[what]))
    refuses(lambda: REGRESSOR.score(X, NUMBERS, WEIGHTS[what]))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values], ids=_count()
)
def test_wrong_settings(name, value):
    refuses(lambda: small(**{name: value}).fit(X, Y))
    if name != "class_weight":
        refuses(lambda: small(RecurrentRegressor, **{name: value}).fit(X, NUMBERS))


@pytest.mark.parametrize(
    "path",
    [None, 3, "", "missing/folder/model", b"missing/\xff", ["model"], {}, object(), X, "."],
    ids=lambda p: type(p).__name__,
)
def test_wrong_paths(path):
    refuses(lambda: FITTED.save(path))
    refuses(lambda: ostinato.load(path))


@pytest.mark.parametrize("name", ["predict", "predict_proba", "predict_log_proba", "decision_function", "score", "save"])
def test_before_fit(name):
    arguments = {"score": (X, Y), "save": ("model",)}.get(name, (X,))
    text = refuses(lambda: getattr(small(), name)(*arguments))
    assert "not fitted yet" in text
    with pytest.raises(NotFittedError):
        getattr(small(), name)(*arguments)


# --- settings that do not exist


@case(ostinato.ArgumentError)
def setting_misspelled():
    RecurrentClassifier(n_neuron=8)


@case(ostinato.ArgumentError)
def setting_of_the_other_estimator():
    RecurrentClassifier(per_step=True)


@case(ostinato.ArgumentError)
def setting_of_another_library():
    RecurrentRegressor(hidden_size=64)


@case(ostinato.ArgumentError)
def settings_by_place():
    RecurrentClassifier("lstm", 64)


@case(ostinato.OptionError)
def set_params_misspelled():
    FITTED.set_params(n_layer=2)


@case(ostinato.OptionError)
def set_params_of_a_part():
    FITTED.set_params(cell__n_neurons=2)


@case(ostinato.OptionError)
def a_seed_in_words():
    small(random_state="abc").fit(X, Y)


@case(ostinato.OptionError)
def a_type_of_whole_numbers():
    small(dtype="int32").fit(X, Y)


@case(ostinato.OptionError)
def options_in_a_list():
    small(options=["relu"]).fit(X, Y)


@case(ostinato.OptionError)
def yes_for_true():
    small(bidirectional="yes").fit(X, Y)


@case(ostinato.DataError)
def no_y():
    small().fit(X, None)


@case(ostinato.DataError)
def one_feature_without_an_axis():
    small().fit(X[:, :, 0], Y)


@case(ostinato.DataError)
def flat_numbers():
    FITTED.predict(X[:, 0, 0])


@case(ostinato.DataError)
def sequences_without_features():
    small().fit([x[:, :0] for x in X], Y)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()


# --- nearly right


NEARLY = {
    "a list": lambda: (list(X), Y),
    "a tuple": lambda: (tuple(X), tuple(Y)),
    "lists of lists": lambda: (X.tolist(), Y.tolist()),
    "an array of arrays": lambda: (_boxed(X), Y),
    "other dtypes": lambda: (X.astype(np.float32), Y.astype(np.uint8)),
    "the order of Fortran": lambda: (np.asfortranarray(X), Y),
    "read-only": lambda: (_read_only(X), _read_only(Y)),
    "from behind": lambda: (X[::-1][::-1], Y[::-1][::-1]),
    "numbers as objects": lambda: (X.astype(object), Y.astype(object)),
    "a column of labels": lambda: (X, Y[:, None]),
    "nothing masked": lambda: (np.ma.array(X), np.ma.array(Y)),
    "tensors": lambda: _tensors(X, Y),
}


def _boxed(arrays):
    boxed = np.empty(len(arrays), object)
    boxed[:] = list(arrays)
    return boxed


def _read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def _tensors(*arrays):
    torch = pytest.importorskip("torch")
    return tuple(torch.tensor(array) for array in arrays)


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("what", NEARLY)
def test_nearly_right_data(what):
    given, labels = NEARLY[what]()
    model = small().fit(given, labels)
    tolerance = 1e-6
    assert_close(model.predict_proba(given), FITTED.predict_proba(X), tolerance)
    assert model.score(given, labels) == FITTED.score(X, Y)
    assert_close(REGRESSOR.predict(given), REGRESSOR.predict(X), tolerance)
    for weights in (np.ones(24), [1] * 24, 1.0, np.float32(1), np.ones(24, int), None, np.ones(24, bool)):
        assert_close(small().fit(given, labels, weights).predict_proba(X), FITTED.predict_proba(X), tolerance)
        assert model.score(given, labels, weights) == FITTED.score(X, Y)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_neurons": np.int64(2)}, {"dtype": np.float32}, {"dtype": np.dtype("float32")}, {"patience": None},
        {"learning_rate": np.float32(0.005)}, {"random_state": np.int32(0)}, {"random_state": np.random.default_rng(0)},
        {"cell": cells.recurrent}, {"options": {"phi": "tanh"}}, {"options": {"phi": tanh}}, {"clip_norm": 1},
        {"verbose": False},
        {"bidirectional": np.bool_(False)}, {"init": {}}, {"class_weight": {}}, {"class_weight": {0: 1, 1: np.float32(1)}},
    ],
    ids=_count(),
)  # fmt: skip
def test_nearly_right_settings(settings):
    model = small(**settings).fit(X, Y)
    assert model.predict(X).shape == (24,)
    assert clone(model).get_params().keys() == model.get_params().keys()
    assert small().set_params(**settings).get_params()["n_neurons"] == 2
