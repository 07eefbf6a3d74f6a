"""What version 0.1 saved and pickled is loaded, answers the same and goes on working; and its modules are found by their names.

tests/data/version_0_1 holds its files, and the script that made them. Its numbers were computed by NumPy on one machine, and
another one may round a function differently: they are compared to within a few units in the last place. What a file, a pickle
and their copies answer is compared to the bit.
"""

import copy
import importlib
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ostinato
from ostinato import (
    Examples,
    Layer,
    NetworkStream,
    UpdateRule,
    cells,
    cross_entropy,
    initialise,
    load,
    mean_squared_error,
    renamed,
    train,
)

DATA = Path(__file__).parent / "data" / "version_0_1"
ANSWERS = dict(np.load(DATA / "answers.npz"))
CALLS = {"classifier": "predict_proba", "regressor": "predict"}
SUBJECTS = ["layer", "structured_layer", "optioned_layer", "network", "classifier", "regressor"]
KINDS = ["safetensors", "pickle"]


def unpickled(name):
    return pickle.loads((DATA / f"{name}.pickle").read_bytes())


def loaded(name, kind):
    return unpickled(name) if kind == "pickle" else load(DATA / f"{name}.safetensors")


def answer(name, subject):
    return np.asarray(getattr(subject, CALLS.get(name, "__call__"))(ANSWERS[f"{name} input"]))


def close(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * np.finfo(expected.dtype).eps)  # all are of the size of 1


def gate_weights(layer):
    return {name: array.tobytes() for name, array in layer.weights.items()}


# --- files and pickles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_it_answers_the_same_and_so_do_its_copies(name, kind, tmp_path):
    subject = loaded(name, kind)
    found = answer(name, subject)
    close(found, ANSWERS[name])
    subject.save(tmp_path / "again.safetensors")
    again = [pickle.loads(pickle.dumps(subject)), copy.deepcopy(subject), load(tmp_path / "again.safetensors")]
    other = loaded(name, KINDS[kind == "safetensors"])
    assert [answer(name, copied).tobytes() for copied in [*again, other]] == [found.tobytes()] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["layer", "structured_layer", "optioned_layer", "network"])
def test_it_is_explained_and_trains(name, kind):
    subject = loaded(name, kind)
    assert name == "network" or subject.name in str(subject.explain())
    X = ANSWERS[f"{name} input"]
    Y, pullback = subject.vjp(X)
    before = mean_squared_error(Y, np.zeros_like(Y))[0]
    UpdateRule("sgd", learning_rate=0.1).step(subject.weights, pullback(Y).weights)
    after = subject(X)
    assert mean_squared_error(after, np.zeros_like(after))[0] < before
    if kind == "pickle" and name != "network":
        assert subject.cell is not None
        made = Layer(subject.cell, dtype=subject.dtype, seed=subject.seed, **subject.sizes, **subject.options)
        assert made.weights.shapes == subject.weights.shapes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["layer", "structured_layer", "optioned_layer"])
def test_a_layer_streams(name, kind):
    subject = loaded(name, kind)
    stream = subject.stream(n_instances=3)
    steps = np.stack([stream(x) for x in ANSWERS[f"{name} input"]])
    close(steps, ANSWERS[name])


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_of_a_layer_draws_the_same_weights(kind):
    layer = loaded("layer", kind)
    assert layer.seed == 1
    assert gate_weights(Layer(cells.lstm_peephole, n_inputs=2, n_neurons=3, seed=1)) == gate_weights(layer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_dropout_masks_of_a_network_are_drawn_as_before(kind):
    close(loaded("network", kind).run(ANSWERS["network input"], training=True)[0], ANSWERS["network, dropped"])


def test_files_answer_natively_too(monkeypatch):
    monkeypatch.setenv("OSTINATO_BACKEND", "native")
    for name in ("structured_layer", "network"):
        np.testing.assert_allclose(answer(name, loaded(name, "safetensors")), ANSWERS[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["classifier", "regressor"])
def test_an_estimator_streams_scores_and_is_fitted_again(name, kind):
    estimator = loaded(name, kind)
    assert type(estimator).__name__ == f"Recurrent{name.title()}"
    assert len(estimator.history_) == 2
    assert estimator.history_["loss"].shape == (2,)
    X = ANSWERS[f"{name} input"]
    y = estimator.predict(X)
    assert estimator.score(X, y) == 1
    stream = estimator.stream()
    assert isinstance(stream, ostinato.EstimatorStream)
    assert estimator.get_params()["max_epochs"] == 2
    y[0] = "b" if name == "classifier" else 0
    estimator.set_params(validation_fraction=0).fit(np.concatenate([X] * 3), np.concatenate([y] * 3))
    assert estimator.predict(X).shape == y.shape


def test_a_rule_goes_on_where_it_was():
    rule = unpickled("rule")
    assert repr(rule) == "<update adam(learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-08), 2 updates>"
    weights, gradients, updated = (
        {name.removeprefix(f"{word} "): array for name, array in ANSWERS.items() if name.startswith(f"{word} ")}
        for word in ("weight", "gradient", "updated")
    )
    assert list(rule.state) == ["w", "m", "v", "p", "q"]
    again = pickle.loads(pickle.dumps(rule))
    for one in (rule, again):
        changing = dict(weights)
        one.step(changing, gradients)
        assert one.n_updates == 3
        for name, array in updated.items():
            close(changing[name], array)
    fresh = UpdateRule("adam", learning_rate=0.01)
    fresh.state = unpickled("rule").state
    assert set(fresh.state.weights) == set(weights)


def test_a_stream_goes_on_where_it_was():
    X = ANSWERS["layer input"]
    stream = unpickled("stream")
    close(np.stack([stream(x) for x in X[2:]]), ANSWERS["stream"])
    again = pickle.loads(pickle.dumps(stream))
    assert again(X[0]).tobytes() == stream(X[0]).tobytes()
    stream.reset()
    close(np.stack([stream(x) for x in X[:2]]), ANSWERS["stream begins"])


def test_examples_a_history_and_a_loss():
    examples = unpickled("examples")
    assert type(examples) is Examples
    assert repr(examples) == "<examples: 3 sequences of 2 to 4 steps, target (3, 2) float32>"
    network = load(DATA / "network.safetensors")
    history = train(network, examples, loss=mean_squared_error, max_epochs=1)
    assert len(history) == 1
    old = unpickled("history")
    assert type(old) is ostinato.History
    assert old.summary.endswith(f"best epoch {old.best_epoch}")
    assert len(str(old).splitlines()) == 4
    loss = unpickled("loss")
    assert repr(loss) == "<loss cross_entropy_of_logits>"
    logits, labels = ANSWERS["layer input"][0], np.array([0, 1, 1])
    close(loss(logits, labels)[1], ANSWERS["loss"])
    assert loss(logits, labels)[1].tobytes() == cross_entropy(logits, labels)[1].tobytes()
    assert repr(pickle.loads(pickle.dumps(loss))) == repr(loss)


def test_a_cell_an_initialiser_and_a_structure():
    assert unpickled("cell") is cells.lstm
    assert unpickled("initialiser") == initialise.Normal(0.1)
    assert unpickled("structure") == ostinato.BlockCirculant(2)


# --- names --------------------------------------------------------------------------------------------------------------------

# what 0.1 exported, under the modules in which it stood
EXPORTED = """
    cell                 Cell cell
    circulant            BlockCirculant
    conversion           to_structure
    declarations         Bias Context Input Output State Weight
    diagonal             BlockDiagonal Diagonal
    errors               OstinatoError ShapeError
    estimators           RecurrentClassifier RecurrentRegressor
    explain              Explanation explain
    explain.product      ProductExplanation explain_product
    functions            affine dropout elu hard_sigmoid identity layer_norm leaky_relu mean
    functions            scaled_tanh softmax softsign split thresholded_relu
    layer                Gradients Layer Pullback Stream Weights
    loading              load
    losses               Loss cross_entropy mean_squared_error
    network              Bidirectional Dropout LastStep Network
    ops                  concat exp log logical_and logical_not logical_or maximum minimum patches relu reshape sigmoid
    ops                  sign softplus sqrt stop_gradient tanh transpose where
    piecewise            piecewise_sigmoid piecewise_tanh
    pullback             Gradients
    stream               Stream
    structure            Structure
    threads              get_threads set_threads
    training             Epoch Examples History Progress train
    updates              UpdateRule adam adamw clip_by_global_norm sgd
"""
NAMES: dict[str, list[str]] = {}
for line in EXPORTED.strip().splitlines():
    old, *exported = line.split()
    NAMES.setdefault(old, []).extend(exported)
MOVED = sorted(renamed.RENAMED)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("module", MOVED)
def test_every_module_that_moved_is_found(module):
    found = importlib.import_module(f"ostinato.{module}")  # whoever moves a module changes the table in renamed.py
    for name in renamed.RENAMED[module]:
        today = importlib.import_module(f"ostinato.{name}")
        own = {n: value for n, value in vars(today).items() if getattr(value, "__module__", "") == today.__name__}
        assert all(getattr(found, n) is value for n, value in own.items())
    with pytest.raises(AttributeError, match="has no attribute 'not_there'"):
        _ = found.not_there


@pytest.mark.parametrize("module", sorted(NAMES))
def test_what_was_exported_is_found_where_it_stood(module):
    for name in NAMES[module]:
        namespace = {}
        exec(f"from ostinato.{module} import {name}", namespace)
        assert namespace[name] is getattr(ostinato, name, namespace[name])


def test_names_of_version_0_1_in_a_new_process():
    """Nothing is loaded that nobody asked for, nothing public is hidden, and the public list stays."""
    code = "import sys, ostinato; before = dir(ostinato); there = set(sys.modules);"
    found = python(f"{code} import ostinato.updates, ostinato.samples; print(*sorted(set(sys.modules) - there))")
    assert found == ["ostinato.samples", "ostinato.updates"]
    assert python(f"{code} print(ostinato.training.Examples is ostinato.Examples)") == ["True"]
    assert python(f"{code} print(ostinato.plan.Plan.__module__, ostinato.structure.Placement.__name__)")[1:] == ["Placement"]
    for name in ("cell", "ops", "explain", "structure", "network"):
        assert python(f"{code} import ostinato.{name}; print(dir(ostinato) == before)") == ["True"]
    code += "import ostinato.cell, ostinato.ops, ostinato.explain;"
    assert python(f"{code} print(ostinato.cell.__name__, ostinato.ops.tanh, ostinato.explain.__name__)") == [
        "cell", "tanh", "explain",
    ]  # fmt: skip
    assert python(f"{code} from ostinato.ops import tanh; print(tanh is ostinato.tanh)") == ["True"]


def test_a_pickle_is_loaded_where_nothing_was_imported():
    for name in ("network", "structured_layer", "classifier"):
        code = f"import pickle; print(type(pickle.load(open({str(DATA / f'{name}.pickle')!r}, 'rb'))).__module__)"
        assert python(code) == ["ostinato"]


def test_public_classes_and_functions_are_the_packages_own():
    for name in ostinato.__all__:
        thing = getattr(ostinato, name)
        if isinstance(thing, type) or inspect.isfunction(thing):
            assert thing.__module__ == "ostinato"
            assert pickle.loads(pickle.dumps(thing)) is thing
            assert pickle.dumps(thing, protocol=0).startswith(f"costinato\n{name}\n".encode())
        if inspect.isfunction(thing):
            assert f"def {name}(" in inspect.getsource(thing)
    assert NetworkStream.__module__ == "ostinato"
    assert "def run(" in inspect.getsource(Layer.run)
    assert cells.lstm.__module__ == "ostinato.cells.lstm"  # where pickles find it, and where it is the user's code
    with pytest.raises(OSError, match=r"source code not available|could not find class definition"):
        inspect.getsource(Layer)  # as `public` says
