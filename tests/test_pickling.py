"""What goes to another process, and how: cells where functions go, layers and what is made of them anywhere, streams too."""

import copy
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from types import FunctionType
from typing import ClassVar

import cloudpickle
import joblib
import numpy as np
import pytest

import ostinato
from ostinato import (
    Bidirectional,
    BlockDiagonal,
    Context,
    Dropout,
    Input,
    LastStep,
    Layer,
    Loss,
    Network,
    OstinatoError,
    Output,
    PicklingError,
    State,
    UpdateRule,
    Weight,
    cell,
    cells,
    cross_entropy,
    dropout,
    elu,
    mean_squared_error,
    relu,
    sigmoid,
    tanh,
    train,
)
from ostinato.initialise import Identity, Normal
from ostinato.learn.training import Examples
from ostinato.process.pickling import Sent

from .helpers import Messages

X = np.random.default_rng(0).standard_normal((7, 4, 3)).astype(np.float32)


@cell
def of_this_module(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), *, phi=lambda z: tanh(z)):
    return phi(x @ W + h)


def swish(x):
    return x * sigmoid(x)


def local_cell(phi=tanh):
    @cell
    def inner(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), *, phi=phi):
        return phi(dropout(x, 0.2) @ W + h)

    return inner


def joblib_copy(thing):
    file = io.BytesIO()
    joblib.dump(thing, file)
    file.seek(0)
    return joblib.load(file)


PLAIN = {
    **{f"pickle {n}": lambda thing, n=n: pickle.loads(pickle.dumps(thing, n)) for n in (2, 4, pickle.HIGHEST_PROTOCOL)},
    "pickle in Python": lambda thing: pickle._loads(pickle._dumps(thing)),
    "joblib": joblib_copy,
}
COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy}
BY_VALUE = {"cloudpickle": lambda thing: pickle.loads(cloudpickle.dumps(thing))}
WAYS = {**PLAIN, **COPIES, **BY_VALUE}


# --- cells --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_cell_that_a_name_leads_to_is_itself(way):
    for made in [of_this_module, *(c for name in cells.__all__ if isinstance(c := getattr(cells, name), ostinato.Cell))]:
        assert WAYS[way](made) is made
    structured = WAYS[way](cells.lstm.with_structure(BlockDiagonal(2)))
    assert structured.base is cells.lstm
    assert structured.chosen == dict.fromkeys(["W_i", "W_f", "W_g", "W_o"], BlockDiagonal(2))


@pytest.mark.parametrize("made", [local_cell(), local_cell(lambda z: relu(z)), local_cell().with_structure({"W": None})])
def test_a_cell_made_in_a_function_goes_by_value_where_functions_do(made):
    sizes = {"n_inputs": 3, "n_neurons": 5}
    again = BY_VALUE["cloudpickle"](made)
    assert again is not made
    assert again.trace(**sizes) == made.trace(**sizes)
    assert (again.name, again.declarations, again.chosen) == (made.name, made.declarations, made.chosen)
    for way in COPIES.values():
        assert way(made) is made  # as a function


def test_a_cell_that_speaks_of_itself_and_of_another_goes_by_value():
    @cell
    def inner(x=Input("n"), h=State("n")):
        return tanh(x + h)

    @cell
    def deep(x=Input("n"), h=State("n"), *, depth=2):
        return inner(deep(x, h, depth=depth - 1) if depth else x, h)

    again = BY_VALUE["cloudpickle"](deep)
    assert again.trace(n=3) == deep.trace(n=3)
    things = (deep.function, deep.with_structure({}), deep)
    for order in (things, things[::-1], things[1:]):
        for again in BY_VALUE["cloudpickle"](order):
            made = again if isinstance(again, ostinato.Cell) else cell(again)
            assert made.trace(n=3, depth=1) == deep.trace(n=3, depth=1)


def test_a_module_that_is_registered_by_value_is_taken_by_value():
    module = sys.modules[__name__]
    layer = Layer(of_this_module, n_inputs=3, n_neurons=5)
    cloudpickle.register_pickle_by_value(module)
    try:
        again, layers = BY_VALUE["cloudpickle"]((of_this_module, layer))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert again is not of_this_module
    assert again.trace(n_inputs=3, n_neurons=5) == of_this_module.trace(n_inputs=3, n_neurons=5)
    assert layers.cell is again
    assert BY_VALUE["cloudpickle"](of_this_module) is of_this_module


class ByValue(pickle._Pickler):
    """A pickler written in Python that takes functions by value, as dill is."""

    def save_function(self, function):
        self.save_reduce(pickle.loads, (cloudpickle.dumps(function),), obj=function)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, FunctionType: save_function}


def test_whoever_takes_functions_by_value_takes_cells_so():
    file = io.BytesIO()
    layer = Layer(local_cell(), n_inputs=3, n_neurons=5)
    ByValue(file).dump([layer.cell, layer, of_this_module])
    made, again, named = pickle.loads(file.getvalue())
    assert made.trace(n_inputs=3, n_neurons=5) == layer.graph
    assert again.cell is made
    assert named is of_this_module


case = Messages("errors_pickling.txt")


@case(PicklingError)
def cell_made_in_a_function():
    pickle.dumps(local_cell())


@case(PicklingError)
def cell_made_in_a_function_with_structures():
    pickle._dumps([local_cell().with_structure({"W": None})])


@case(PicklingError)
def cell_whose_name_is_taken():
    made = cell(swish_cell.function)
    pickle.dumps(made)


@case(PicklingError)
def cell_that_no_name_leads_to():
    joblib_copy(nameless)


@case(PicklingError)
def estimator_that_is_not_fitted_and_has_such_a_cell():
    pickle.dumps(ostinato.RecurrentClassifier(cell=local_cell()))


@case(PicklingError)
def pullback():
    pickle.dumps(Layer(cells.recurrent, n_inputs=3, n_neurons=5).vjp(X)[1])


@cell
def swish_cell(x=Input("n"), h=State("n")):
    return swish(x + h)


nameless = cell(lambda x=Input("n"): Output(2 * x))


@pytest.mark.parametrize("name", case.names)
def test_what_can_not_be_pickled_is_refused_in_words(name, request):
    case.check(name, request)
    with pytest.raises(pickle.PicklingError):
        case.cases[name][1]()


def test_the_messages_are_those():
    case.check_complete()


# --- layers, networks, estimators ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_goes_anywhere_and_gives_the_same(way):
    for made in (cells.lstm, of_this_module, local_cell(), local_cell(lambda z: relu(z)), local_cell(swish), nameless):
        sizes = {name: size for name, size in (("n_inputs", 3), ("n_neurons", 5), ("n", 3)) if name in made.dimensions}
        layer = Layer(made, seed=3, **sizes)
        layer(X)
        again = WAYS[way](layer)
        assert np.array_equal(again(X), layer(X))
        assert np.array_equal(again.run(X, training=True, rng=0)[0], layer.run(X, training=True, rng=0)[0])
        assert again.description == layer.description
        assert not any(array.flags.writeable for array in again.weights.values())


@pytest.mark.parametrize("way", PLAIN)
def test_what_a_plain_pickle_keeps_of_functions(way):
    layer = PLAIN[way](Layer(of_this_module, n_inputs=3, n_neurons=5, phi=swish))
    assert layer.cell is of_this_module
    assert layer.options == {"phi": swish}
    assert PLAIN[way](Layer(of_this_module, n_inputs=3, n_neurons=5, phi=elu)).options == {"phi": elu}
    layer = PLAIN[way](Layer(local_cell(), n_inputs=3, n_neurons=5))
    assert (layer.cell, layer.options) == (None, {"phi": tanh})
    layer = PLAIN[way](Layer(of_this_module, n_inputs=3, n_neurons=5))
    assert layer.options == {"phi": "<lambda>"}  # as in a layer that was saved
    assert PLAIN[way](layer).options == {"phi": "<lambda>"}
    structured = Layer(cells.lstm, n_inputs=4, n_neurons=4, structure=BlockDiagonal(2))
    assert PLAIN[way](structured).cell.chosen == structured.cell.chosen


@pytest.mark.parametrize("way", [*COPIES, *BY_VALUE])
def test_what_others_keep_of_functions(way):
    layer = Layer(local_cell(lambda z: relu(z)), n_inputs=3, n_neurons=5)
    again = WAYS[way](layer)
    assert again.cell.trace(n_inputs=3, n_neurons=5) == layer.graph
    assert callable(again.options["phi"])
    assert callable(layer.options["phi"]), "the original keeps what it had"


def test_a_name_that_leads_to_another_cell_is_not_believed(monkeypatch):
    content = pickle.dumps(Layer(of_this_module, n_inputs=3, n_neurons=5, phi=swish))
    module = sys.modules[__name__]
    other = cell(of_another_kind)
    monkeypatch.setattr(module, "of_this_module", other)
    assert pickle.loads(content).cell is None
    monkeypatch.setattr(module, "of_this_module", 3)
    assert pickle.loads(content).cell is None
    monkeypatch.delattr(module, "of_this_module")
    monkeypatch.setattr(module, "swish", sigmoid)
    layer = pickle.loads(content)
    assert (layer.cell, layer.options) == (None, {"phi": "swish"})
    assert layer(X).shape == (7, 4, 5)


def of_another_kind(y=Input("n_inputs"), h=State("n_inputs")):
    return y + h


of_another_kind.__name__ = "of_this_module"


def test_a_module_that_can_not_be_loaded_is_no_reason_to_refuse_a_layer():
    assert Sent("f", "there_is_no_such_module", "f").found() is None
    assert Sent("f", "", "").found() is None


def test_networks_go_anywhere():
    network = Network(
        Bidirectional(local_cell(), n_inputs=3, n_neurons=5), Dropout(0.2),
        LastStep(Layer(of_this_module, n_inputs=10, n_neurons=4, phi=swish)), Layer(nameless, n=4),
    )  # fmt: skip
    network(X)
    for name, way in WAYS.items():
        again = way(network)
        assert np.array_equal(again(X), network(X)), name
        assert list(again.weights) == list(network.weights)
        weights = {n: np.zeros_like(w) for n, w in again.weights.items()}
        if name != "copy":  # which shares the layers
            again.weights.update(weights)
            assert not np.any(again(X))
    assert np.any(network(X))


@pytest.mark.parametrize("way", WAYS)
def test_a_fitted_estimator_goes_anywhere(way):
    rng = np.random.default_rng(0)
    sequences, labels = rng.standard_normal((12, 5, 2)), np.arange(12) % 2
    settings = {"n_neurons": 3, "max_epochs": 1, "random_state": 0}
    for made in (local_cell(), local_cell().with_structure({"W": None}), of_this_module):
        model = ostinato.RecurrentClassifier(cell=made, options={"phi": lambda z: relu(z)}, init={"W": Normal()}, **settings)
        model.fit(sequences, labels)
        again = WAYS[way](model)
        assert np.array_equal(again.predict_proba(sequences), model.predict_proba(sequences))
        assert again.init == {"W": Normal()}
        assert again.history_ == model.history_
        if way in PLAIN:
            assert again.cell == (made.name if made is not of_this_module else made)
            assert again.options == {"phi": "<lambda>"}
        else:
            assert again.fit(sequences, labels).cell.trace(n_inputs=2, n_neurons=3) == made.trace(n_inputs=2, n_neurons=3)
        assert callable(model.options["phi"])


def test_an_estimator_that_is_not_fitted_is_its_parameters():
    model = ostinato.RecurrentRegressor(cell=of_this_module, options={"phi": swish}, random_state=np.random.RandomState(0))
    for way in WAYS.values():
        again = way(model)
        assert (again.cell, again.options) == (of_this_module, {"phi": swish})
    assert callable(BY_VALUE["cloudpickle"](ostinato.RecurrentClassifier(cell=local_cell())).cell)


# --- rules, losses, data, errors ----------------------------------------------------------------------------------------------


def test_what_training_needs_goes_too():
    layer = Layer(of_this_module, n_inputs=3, n_neurons=5)
    rule = UpdateRule("adam", learning_rate=0.1)
    network = Network(LastStep(layer), Layer(cells.dense, n_inputs=5, n_outputs=2))
    examples = Examples(X, np.arange(4) % 2, np.array([7, 2, 3, 1]))
    history = train(network, examples, loss=cross_entropy, update=rule, max_epochs=2)
    for name, way in WAYS.items():
        again, weights = way(rule), copy.deepcopy(network)
        assert again.n_updates == rule.n_updates
        assert {n: a.tolist() for n, a in again.state.items()} == {n: a.tolist() for n, a in rule.state.items()}, name
        gradients = {n: np.ones_like(w) for n, w in network.weights.items()}
        twin = copy.deepcopy(rule)
        one, other = weights.weights, copy.deepcopy(network).weights
        again.step(one, gradients)
        twin.step(other, gradients)
        assert all(np.array_equal(one[n], other[n]) for n in one)
        assert way(history) == history
        assert np.array_equal(way(examples).X, X)
        for loss in (cross_entropy, mean_squared_error, Loss(mean_squared_error.of_one)):
            value, dY = way(loss)(np.eye(2), np.eye(2)[::-1].copy())
            assert value == loss(np.eye(2), np.eye(2)[::-1].copy())[0]
            assert dY.shape == (2, 2)
        for thing in (Normal(0.1), Identity(), BlockDiagonal(3), cells.IRNN):
            assert way(thing) == thing
        for op in (tanh, ostinato.sum, elu, ostinato.piecewise_tanh):
            assert way(op) is op


def family(error):
    """A class and everything that derives from it."""
    return {error}.union(*(family(derived) for derived in error.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(family(OstinatoError), key=str), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_whole(kind):
    error = kind("what is wrong\n  hint: what to do")
    error.history = [1, 2]
    error.add_note("in a worker")
    for way in (*PLAIN.values(), *BY_VALUE.values(), copy.copy):
        again = way(error)
        assert type(again) is kind
        assert (str(again), again.args, again.history) == (str(error), error.args, [1, 2])
        assert again.__notes__ == ["in a worker"]


# --- streams ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("way", WAYS)
def test_a_stream_is_copied_at_every_step_and_both_go_on(way, backend):
    layer = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend=backend)
    wanted = layer.stream(n_instances=4)
    outputs = [wanted(x) for x in X]
    stream = layer.stream(n_instances=4)
    for t in range(len(X)):
        again = WAYS[way](stream)
        other = X[t] + 1
        again(other)  # whatever the copy does is its own
        again = WAYS[way](stream)
        rest = [again(x) for x in X[t:]]
        assert np.array_equal(rest, outputs[t:])
        assert np.array_equal(stream(X[t]), outputs[t])
        stepped = {name: array.copy() for name, array in stream.state.items()}
        again.reset()
        assert np.array_equal(again(X[0]), outputs[0])
        assert all(np.array_equal(array, stepped[name]) for name, array in stream.state.items())


def test_a_stream_with_contexts_without_instances_and_of_several_outputs_is_copied():
    @cell
    def reading(x=Input("n"), memory=Context("m", "n"), h=State("n")):
        return Output(h * 2, scores=memory @ h), tanh(x + h)

    layer = Layer(reading, n=3, m=2, backend="native")
    stream = layer.stream(memory=X[0, :2])
    for t in range(4):
        twins = [way(stream) for way in WAYS.values()]
        given = stream(X[t, 0])
        for twin in twins:
            assert all(np.array_equal(y, given[name]) for name, y in twin(X[t, 0]).items())


def test_a_copied_stream_takes_new_weights_as_any_other():
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=5, backend="native")
    stream = layer.stream()
    stream(X[0, 0])
    shares, owns = copy.copy(stream), copy.deepcopy(stream)
    before = owns(X[1, 0])
    layer.weights["W_x"] = np.zeros((3, 5))
    assert np.array_equal(shares(X[1, 0]), stream(X[1, 0]))
    assert not np.array_equal(before, stream(X[1, 0]))


# --- native code has addresses: a copy has its own ----------------------------------------------------------------------------


def test_a_copy_of_a_layer_that_has_run_reads_nothing_of_the_original():
    """A timeline knows where its arrays lie, and is kept for the next call of the same shape."""
    layer = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native")
    wanted = layer(X)
    for way in WAYS.values():
        again = way(layer)
        timeline = copy.deepcopy(layer._sequences._last_timeline)
        assert timeline.addresses == (timeline.counts.ctypes.data, timeline.offsets.ctypes.data)
        assert np.array_equal(again(X), wanted)
        mine = again._sequences._last_timeline
        assert mine.addresses == (mine.counts.ctypes.data, mine.offsets.ctypes.data)
        assert again._sequences.dtype is np.dtype(np.float32)  # by which arrays that need no conversion are known


def test_pickles_of_version_0_1_are_read():
    """They held the whole state: a cell as it was, raw options, and a timeline with the addresses of another process."""
    layer = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native", seed=4)
    wanted = layer(X)
    old = Layer.__new__(Layer)
    sequences = object.__new__(type(layer._sequences))
    timeline = object.__new__(type(layer._sequences._last_timeline))
    timeline.__dict__.update(vars(layer._sequences._last_timeline), addresses=(8, 8), sorted_addresses=(8, 8))
    sequences.__setstate__({**vars(layer._sequences), "_last_timeline": timeline})
    made = {"_compiled": {}, "_executables": {}, "_reruns": {}, "_sequences": sequences}
    old.__setstate__({**vars(layer), **made})
    assert np.array_equal(old(X), wanted)
    assert (old.cell, old.options) == (cells.lstm, layer.options)
    rebuilt = sys.modules["ostinato.language.cell"]._with_structure(cells.lstm, {"W_i": BlockDiagonal(2)})
    assert rebuilt.chosen == {"W_i": BlockDiagonal(2)}


# --- other processes ----------------------------------------------------------------------------------------------------------

SCRIPT = """
import multiprocessing, pickle, sys, warnings
import numpy as np
import ostinato
from ostinato import Input, Layer, State, Weight, cell, sigmoid, tanh

def swish(x):
    return x * sigmoid(x)

@cell
def mine(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), *, phi=lambda z: tanh(z)):
    return phi(x @ W + h)

def local():
    @cell
    def inner(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
        return swish(x @ W + h)
    return inner

X = np.random.default_rng(0).standard_normal((6, 4, 3)).astype(np.float32)

def answer(layer, given=None):
    layer = layer if isinstance(layer, Layer) else Layer(layer, n_inputs=3, n_neurons=5)
    return layer(X).tolist() + ([given(X[0, 0]).tolist()] if given else []), layer.cell and layer.cell.name

def fail(_):
    Layer(mine, n_inputs=3, n_neurons=5)(X[..., :2])
"""


def elsewhere(folder, body, **more):
    path = folder / "main.py"
    path.write_text(SCRIPT + "\nif __name__ == '__main__':\n" + textwrap.indent(textwrap.dedent(body), "    "))
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OSTINATO_BACKEND": "numpy", **more}
    environment["PYTHONPATH"] = str(Path(ostinato.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=300, env=environment, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_multiprocessing_takes_cells_of_a_script_and_layers_of_any(tmp_path, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    assert elsewhere(tmp_path, f"""
        context = multiprocessing.get_context({start!r})
        plain, inner = Layer(mine, n_inputs=3, n_neurons=5, phi=swish), Layer(local(), n_inputs=3, n_neurons=5)
        stream = inner.stream()
        stream(X[1, 1])
        with context.Pool(1) as pool:
            jobs = [(mine,), (plain,), (inner, stream)]
            found = pool.starmap(answer, jobs)
            try:
                pool.map(fail, [0])
            except ostinato.DataError as error:
                print(str(error).split(":")[0])
            pool.close()
            pool.join()
        print(*(f[0] == answer(*j)[0] for f, j in zip(found, jobs)), *(f[1] for f in found))
    """) == ["mine", "True", "True", "True", "mine", "mine", "None"]  # fmt: skip


def test_joblib_searches_with_cells_of_a_script_and_of_a_function(tmp_path):
    assert elsewhere(tmp_path, """
        from joblib import Parallel, delayed
        from ostinato import RecurrentClassifier
        from sklearn.model_selection import GridSearchCV
        warnings.simplefilter("ignore")
        rng = np.random.default_rng(0)
        sequences, labels = rng.standard_normal((20, 4, 2)), np.arange(20) % 2
        for made in (mine, local(), mine.with_structure({"W": None})):
            model = RecurrentClassifier(cell=made, n_neurons=3, max_epochs=1, random_state=0)
            search = GridSearchCV(model, {"n_neurons": [2, 3]}, cv=2, n_jobs=2, error_score="raise").fit(sequences, labels)
            print(search.best_estimator_.cell is made)
        found = Parallel(n_jobs=2)(delayed(answer)(thing) for thing in (mine, local(), Layer(local(), n_inputs=3, n_neurons=5)))
        print([f[1] for f in found])
        try:
            Parallel(n_jobs=2)(delayed(fail)(i) for i in range(2))
        except ostinato.DataError as error:
            print(type(error).__name__)
    """) == ["True", "True", "True", "['mine',", "'inner',", "'inner']", "DataError"]  # fmt: skip


def test_a_trained_layer_is_read_where_its_script_is_not(tmp_path):
    elsewhere(tmp_path, """
        from ostinato import RecurrentClassifier
        layer = Layer(mine, n_inputs=3, n_neurons=5, phi=swish)
        rng = np.random.default_rng(0)
        model = RecurrentClassifier(cell=mine, n_neurons=3, max_epochs=1, random_state=0)
        model.fit(rng.standard_normal((20, 4, 2)), np.arange(20) % 2)
        with open("things.pkl", "wb") as file:
            pickle.dump((layer, layer(X), model, layer.stream()), file)
    """)  # fmt: skip
    with (tmp_path / "things.pkl").open("rb") as file:
        layer, wanted, model, stream = pickle.load(file)
    again = np.random.default_rng(0).standard_normal((6, 4, 3)).astype(np.float32)
    assert np.array_equal(layer(again), wanted)
    assert np.array_equal(stream(again[0, 0]), wanted[0, 0])
    assert (layer.cell, layer.options, model.cell) == (None, {"phi": "swish"}, "mine")
    assert model.predict(np.zeros((2, 4, 2))).shape == (2,)
