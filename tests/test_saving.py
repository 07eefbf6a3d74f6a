"""What is saved comes back to the last bit, and a file that is damaged, foreign or hostile is refused as such."""

import json
import pickle
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import save

from ostinato import FileError, Input, Layer, MissingExtraError, OptionError, State, Weight, cell, cells, files, loading, tanh
from ostinato.estimators import RecurrentClassifier, RecurrentRegressor
from ostinato.layers.network import Bidirectional, Dropout, LastStep, Network
from ostinato.loading import load

from .helpers import Messages, assert_equal, random

case = Messages("errors_loading.txt")
X = random((5, 20, 3))
SAMPLES = X.swapaxes(0, 1)
LENGTHS = np.arange(20) % 6


@cell
def own(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), u=Weight("n_neurons"), *, phi=tanh):
    """h(t) = phi(x W + u h(t-1))"""
    return phi(x @ W + u * h)


PARTS = {
    "layer": lambda: Layer(own, n_inputs=3, n_neurons=4),
    "bidirectional": lambda: Bidirectional(cells.gru, n_inputs=3, n_neurons=4, dtype="float64"),
    "last_step": lambda: LastStep(Layer(cells.lstm, n_inputs=3, n_neurons=4)),
    "last_step_both": lambda: LastStep(Bidirectional(cells.lstm, n_inputs=3, n_neurons=4)),
    "network": lambda: Network(
        Dropout(0.5), Bidirectional(own, n_inputs=3, n_neurons=4), Dropout(0.3, per="sequence"),
        LastStep(Layer(cells.gru, n_inputs=8, n_neurons=5)), Layer(cells.dense, n_inputs=5, n_outputs=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_a_part_comes_back_to_the_last_bit(name, tmp_path):
    part = PARTS[name]()
    part.save(tmp_path / "part.safetensors")
    again = load(tmp_path / "part.safetensors")
    assert type(again) is type(part)
    assert repr(again.weights) == repr(part.weights)
    assert repr(again) == repr(part) or name not in ("layer", "network")
    assert list(again.weights) == list(part.weights)
    assert_equal(again(X, lengths=LENGTHS), part(X, lengths=LENGTHS))
    if name != "layer":
        assert_equal(again(X, training=True, rng=3), part(X, training=True, rng=3))
    Y, pullback = again.vjp(X)
    for weight, gradient in part.vjp(X)[1](Y).weights.items():
        assert_equal(pullback(Y).weights[weight], gradient)
    again.save(tmp_path / "again.safetensors")
    assert load(tmp_path / "again.safetensors").description == again.description


def classifier(**options):
    return RecurrentClassifier(**{"n_neurons": 4, "max_epochs": 2, "random_state": 0, **options})


def regressor(**options):
    return RecurrentRegressor(**{"n_neurons": 4, "max_epochs": 2, "random_state": 0, **options})


PLACES = np.arange(20) % 3
LABELS = {
    "text": np.array(["a", "é", "long one"])[PLACES],
    "boxed": np.array(["a", "b", "c"], object)[PLACES],
    "whole": np.array([-5, 0, 7], np.int16)[PLACES],
    "truth": PLACES > 0,
    "real": np.array([0.0, 1.0, 2.0], np.float32)[PLACES],
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_classifier_comes_back_with_its_labels(kind, tmp_path):
    model = classifier(cell="gru", bidirectional=True, dropout=0.1).fit(SAMPLES, LABELS[kind])
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert type(again) is RecurrentClassifier
    assert_equal(again.predict_proba(SAMPLES), model.predict_proba(SAMPLES))
    assert_equal(again.predict(SAMPLES), model.predict(SAMPLES))
    assert_equal(again.classes_, model.classes_)
    assert again.get_params() == model.get_params()
    assert asdict(again.history_) == asdict(model.history_)
    assert again.n_features_in_ == 3
    again.fit(SAMPLES, LABELS[kind])
    assert_equal(again.predict_proba(SAMPLES), model.predict_proba(SAMPLES))


@pytest.mark.parametrize("per_step", [False, True])
def test_a_regressor_comes_back(per_step, tmp_path):
    y = SAMPLES[..., :2] if per_step else SAMPLES.sum(axis=(1, 2)) * 50 - 3
    model = regressor(per_step=per_step).fit(SAMPLES, y)
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert type(again) is RecurrentRegressor
    assert_equal(again.predict(SAMPLES), model.predict(SAMPLES))
    assert again.score(SAMPLES, y) == model.score(SAMPLES, y)
    assert again.get_params() == model.get_params()


def test_a_cell_of_your_own_is_saved_by_its_graph_and_named_in_the_parameters(tmp_path):
    model = classifier(cell=own, options={"phi": tanh}, init={"u": cells.IRNN["W_x"]}, random_state=np.random.RandomState(0))
    model.set_params(n_neurons=np.int64(4)).fit(SAMPLES, LABELS["text"]).save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert_equal(again.predict_proba(SAMPLES), model.predict_proba(SAMPLES))
    assert again.cell == "own"
    assert again.options == {"phi": "tanh"}
    assert again.init == {"u": "Normal(deviation=0.001)"}
    assert again.n_neurons == 4


def test_saving_replaces_the_old_file_whole(tmp_path):
    path = tmp_path / "part.safetensors"
    PARTS["network"]().save(path)
    PARTS["layer"]().save(path)
    assert isinstance(load(path), Layer)
    assert [p.name for p in tmp_path.iterdir()] == ["part.safetensors"]
    with pytest.raises(FileError):
        PARTS["network"]().save(tmp_path / "nowhere" / "part.safetensors")


# --- damage

MODEL = classifier().fit(SAMPLES, LABELS["text"])
REGRESSOR = regressor().fit(SAMPLES, SAMPLES[:, 0, 0])


def described(model, path):
    model.save(path)
    return files.read(path)


def test_a_file_that_is_cut_or_changed_anywhere_is_refused_or_means_the_same_kind_of_thing(tmp_path):
    path = tmp_path / "model.safetensors"
    MODEL.save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(150):
        damaged = bytearray(content)
        if i % 3 == 0:
            damaged = damaged[: rng.integers(len(content))]
        else:
            header = 8 + int.from_bytes(content[:8], "little")
            damaged[rng.integers(header)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            again = load(path)
        except FileError as error:
            refused += "model.safetensors" in str(error)
        else:  # a byte of a comment, a name or a number was another
            assert isinstance(again, RecurrentClassifier)
    assert refused > 75


def changes(description, rng):
    """Entries of a description replaced by what does not belong there, one at a time."""
    wrong = [None, -1, 10**30, "", "x", [], {}, True, 1.5, [None], {"kind": "network"}]

    def walk(node, path):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield (*path, key)
            if isinstance(node[key], dict | list):
                yield from walk(node[key], (*path, key))

    for path in walk(description, ()):
        for value in rng.permutation(np.array(wrong, object))[:3]:
            changed = json.loads(json.dumps(description))
            node = changed
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value
            yield changed


@pytest.mark.parametrize("name", [*PARTS, "classifier", "regressor"])
def test_an_entry_of_another_kind_is_refused_or_harmless(name, tmp_path):
    thing = {"classifier": MODEL, "regressor": REGRESSOR}.get(name) or PARTS[name]()
    path = tmp_path / "thing.safetensors"
    arrays, description = described(thing, path)
    refused = 0
    for changed in changes(description, np.random.default_rng(1)):
        path.write_bytes(save(arrays, metadata={files.KEY: json.dumps(changed)}))
        try:
            load(path)
        except FileError:
            refused += 1
    assert refused > 5


def test_nothing_in_a_file_is_executed(tmp_path):
    path = tmp_path / "hostile.safetensors"
    marker = tmp_path / "executed"
    arrays, description = described(MODEL, path)
    attack = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    for changed in changes(description, np.random.default_rng(2)):
        text = json.dumps(changed).replace('"x"', json.dumps(attack))
        path.write_bytes(save(arrays, metadata={files.KEY: text}))
        try:
            load(path)
        except FileError:
            continue
    assert not marker.exists()


def reload(model, tmp_path, arrays=None, **entries):
    """What `load` says of a saved model with some arrays or entries of the description changed."""
    found, description = described(model, tmp_path / "model.safetensors")
    reload_written(tmp_path, {**found, **(arrays or {})}, {**description, **entries})


def reload_written(tmp_path, arrays, description):
    """What `load` says of a file, with a short path."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(arrays, metadata={files.KEY: json.dumps(description)}))
    try:
        load(path)
    except FileError as error:
        raise FileError(str(error).replace(str(tmp_path), "...")) from None


@case(FileError)
def no_file(tmp_path):
    load("nowhere.safetensors")


@case(FileError)
def unknown_kind(tmp_path):
    reload(PARTS["network"](), tmp_path, kind="orchestra")


@case(FileError)
def network_in_a_network(tmp_path):
    network = PARTS["network"]()
    reload(network, tmp_path, parts=[network.description] * 5)


@case(FileError)
def last_step_of_a_last_step(tmp_path):
    part = PARTS["last_step"]()
    reload(part, tmp_path, part=part.description)


@case(FileError)
def weight_of_no_part(tmp_path):
    reload(PARTS["bidirectional"](), tmp_path, {"sideways.b_r": np.zeros(4)})


@case(FileError)
def parts_that_do_not_fit(tmp_path):
    layers = [Layer(own, n_inputs=3, n_neurons=4), Layer(own, n_inputs=5, n_neurons=2)]
    description = {**Network(layers[0]).description, "parts": [layer.description for layer in layers]}
    arrays = {f"{i}.{name}": array for i, layer in enumerate(layers) for name, array in layer.weights.items()}
    reload_written(tmp_path, arrays, {"format": files.FORMAT, **description})


@case(FileError)
def bidirectional_of_the_wrong_directions(tmp_path):
    both = PARTS["bidirectional"]()
    reload(both, tmp_path, reverse=both.forward.description)


@case(FileError)
def parameters_of_something_else(tmp_path):
    reload(MODEL, tmp_path, parameters={"n_neurons": 3})


@case(FileError)
def network_that_is_none_of_an_estimator(tmp_path):
    layer = Layer(single, n_inputs=3)
    arrays = {f"network.0.{name}": array for name, array in layer.weights.items()}
    _, description = described(MODEL, tmp_path / "model.safetensors")
    reload_written(tmp_path, arrays, {**description, "network": Network(layer).description})


@cell
def single(x=Input("n_inputs"), y=State(), w=Weight("n_inputs")):
    return tanh(x @ w + y)


@case(FileError)
def scale_of_another_size(tmp_path):
    reload(MODEL, tmp_path, {"input.mean": np.zeros(7)})


@case(FileError)
def history_of_something_else(tmp_path):
    reload(MODEL, tmp_path, history={"epochs": [{"number": 1}]})


@case(FileError)
def labels_of_another_network(tmp_path):
    reload(MODEL, tmp_path, classes={"dtype": "text", "labels": ["a", "b"], "boxed": False})


@pytest.mark.parametrize("name", case.names)
def test_message(name, request, tmp_path):
    case.check(name, request, tmp_path)


def test_the_golden_file_is_complete():
    case.check_complete()


def test_a_missing_library_is_said_as_such(monkeypatch, tmp_path):
    MODEL.save(tmp_path / "model.safetensors")

    def missing(*_):
        raise MissingExtraError("the estimators need scikit-learn")

    monkeypatch.setattr(loading.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError):
        load(tmp_path / "model.safetensors")


def test_the_weights_of_an_unpickled_layer_are_read_only_again():
    layer = pickle.loads(pickle.dumps(Layer(cells.recurrent, n_inputs=3, n_neurons=5)))
    with pytest.raises(ValueError, match="read-only"):
        layer.weights["W_x"][0, 0] = 1.0


def test_a_backend_that_does_not_exist_is_no_fault_of_the_file(tmp_path, monkeypatch):
    Layer(cells.neuron, n_inputs=2).save(tmp_path / "neuron.safetensors")
    monkeypatch.setenv("OSTINATO_BACKEND", "quick")
    with pytest.raises(OptionError) as caught:
        load(tmp_path / "neuron.safetensors")
    known = "the backends are `native`, `numpy`, `reference`"
    assert str(caught.value) == f"load: there is no backend `quick` (in OSTINATO_BACKEND); {known}"
