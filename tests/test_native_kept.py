"""What a caller keeps costs its own size: no result keeps another one alive, whatever it is a result of."""

import numpy as np
import pytest

from ostinato import (
    Bias,
    Bidirectional,
    Input,
    LastStep,
    Layer,
    Network,
    Output,
    RecurrentClassifier,
    RecurrentRegressor,
    State,
    UpdateRule,
    Weight,
    cell,
    cells,
    cross_entropy,
    mean_squared_error,
    split,
    tanh,
)
from ostinato.native.layout import PIECE
from ostinato.native.memory import LINE

from .helpers import random
from .library import LIBRARY, swept
from .loops import CASES

N_STEPS, N_INSTANCES, N = 60, 3, 16
EVERY = [*CASES, *LIBRARY]
BACKENDS = ("native", "numpy", "reference")


def kept_bytes(array):
    """The bytes that live as long as an array does: those of what owns its memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.nbytes if array.base is None else memoryview(array.base).nbytes


def arrays_of(results):
    if isinstance(results, np.ndarray):
        yield results
    elif isinstance(results, dict):
        for value in results.values():
            yield from arrays_of(value)
    elif isinstance(results, list | tuple):
        for value in results:
            yield from arrays_of(value)
    elif hasattr(results, "weights") and hasattr(results, "inputs"):
        yield from arrays_of([results.inputs, results.contexts, results.state, dict(results.weights)])


def assert_each_keeps_itself(*results):
    """Small results may share a piece of memory; none keeps more than the larger of that and its own size."""
    found = list(arrays_of(results))
    assert found
    for array in found:
        assert kept_bytes(array) <= max(array.nbytes, PIECE) + 2 * LINE, (array.shape, kept_bytes(array))


def test_the_count_finds_an_array_that_keeps_another_one():
    whole = np.zeros((N_STEPS, N_INSTANCES, N), np.float32)
    with pytest.raises(AssertionError):
        assert_each_keeps_itself(whole[-1])
    assert_each_keeps_itself(whole[-1].copy(), whole.T)


@cell
def several(x=Input("n"), h=State("n"), c=State("n"), W=Weight("n", "2 * n"), U=Weight("n", "2 * n"), b=Bias("2 * n")):
    """Three outputs, one of them a state, one of them an input; and a state that stays as it is."""
    a, z = split(tanh(x @ W + h @ U + b), 2)
    return Output(a, raw=x, gate=z), z, c


def make(name, **options):
    if name == "several":
        return Layer(several, n=N, **options)
    sizes = {"dense": {"n_inputs": N, "n_outputs": N}}.get(name, {"n_inputs": N, "n_neurons": N})
    return Layer(getattr(cells, name), **sizes, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["plain", "batch_first", "reverse", "lengths", "unbatched", "again"])
@pytest.mark.parametrize("name", ["lstm", "several", "dense"])
def test_outputs_states_and_gradients_of_a_layer(name, how, backend):
    layer = make(name, backend=backend, batch_first=how == "batch_first", reverse=how == "reverse")
    X = random((N_STEPS, N) if how == "unbatched" else (N_STEPS, N_INSTANCES, N), 1, "float32")
    X = np.ascontiguousarray(X.swapaxes(0, 1)) if how == "batch_first" else X
    options = {"lengths": [N_STEPS, 7, 0]} if how == "lengths" else {}
    for _ in range(3 if how == "again" else 1):
        results = layer.run(X, **options)
    Y, pullback = layer.vjp(X, **options)
    assert_each_keeps_itself(results, layer(X, **options), Y, pullback.state, pullback(Y))


@pytest.mark.parametrize("case", swept(EVERY), ids=str)
def test_every_cell_of_the_library(case):
    layer = Layer(case.cell, **{name: case.sizes(5)[name] for name in case.cell.dimensions}, **case.options, backend="native")
    inputs = [random((60, 3, *p.value.type.sizes), i, "float32") for i, p in enumerate(layer.graph.with_role("input"))]
    contexts = {p.name: random((3, *p.value.type.sizes), 9, "float32") for p in layer.graph.with_role("context")}
    Y, pullback = layer.vjp(*inputs, **contexts)
    assert_each_keeps_itself(layer.run(*inputs, **contexts), Y, pullback.state, pullback(Y))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_kept_final_state_is_a_kept_final_state(backend):
    layer = make("lstm", backend=backend)
    X = random((N_STEPS, N_INSTANCES, N), 1, "float32")
    kept = [layer.run(X)[1] for _ in range(20)]
    owners = {}
    for state in kept:
        for array in state.values():
            root = array
            while root.base is not None:
                root = root.base
            owners[id(root)] = root.nbytes
    assert sum(owners.values()) <= len(kept) * (PIECE + LINE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_kept_pullback_keeps_what_it_recorded_and_no_output(backend):
    layer = make("lstm", backend=backend)
    Y, pullback = layer.vjp(random((N_STEPS, N_INSTANCES, N), 1, "float32"))
    held = pullback._outcome
    assert not held.states
    assert all(kept_bytes(shown) <= 8 for shown in held.outputs.values())
    assert not any(np.shares_memory(record, Y) for record in held.records.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_results_of_networks_and_of_last_steps(backend, batch_first):
    options = {"backend": backend, "batch_first": batch_first}
    ahead = Bidirectional(cells.lstm, n_inputs=N, n_neurons=N, **options)
    last = LastStep(Layer(cells.gru, n_inputs=2 * N, n_neurons=N, **options))
    network = Network(ahead, last, Layer(cells.dense, n_inputs=N, n_outputs=3, **options))
    X = random((N_STEPS, N_INSTANCES, N), 1, "float32")
    X = np.ascontiguousarray(X.swapaxes(0, 1)) if batch_first else X
    for part, x in ((network, X), (ahead, X), (LastStep(ahead), X)):
        Y, pullback = part.vjp(x)
        assert_each_keeps_itself(part.run(x), Y, pullback.state, pullback(Y))
    held = [c.cell_contents for c in pullback._back.__closure__]
    assert not any(isinstance(value, np.ndarray) and value.shape == (*X.shape[:2], 2 * N) for value in held)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_instances", [None, 600])
def test_what_a_stream_gives(backend, n_instances):
    stream = make("several", backend=backend).stream(n_instances=n_instances)
    x = random((N,) if n_instances is None else (n_instances, N), 1, "float32")
    for _ in range(3):
        assert_each_keeps_itself(stream(x), stream.state)


def test_gradients_of_losses():
    Y, labels = random((N_STEPS, N_INSTANCES, N), 1), np.zeros((N_STEPS, N_INSTANCES), int)
    assert_each_keeps_itself(cross_entropy(Y, labels, lengths=[1, 2, 3])[1], mean_squared_error(Y, Y[::-1])[1])


def test_weights_and_what_a_rule_remembers():
    layer = Layer(cells.lstm, n_inputs=32, n_neurons=32)
    rule = UpdateRule("adam")
    for _ in range(3):
        rule.step(layer.weights, {name: np.ones_like(w) for name, w in layer.weights.items()})
    assert_each_keeps_itself(dict(layer.weights), rule.arrays, dict(rule.state))


def test_answers_of_estimators():
    X = random((600, 10, 3), 2)
    classifier = RecurrentClassifier(max_epochs=1, n_neurons=4).fit(X, np.arange(600) % 3)
    regressor = RecurrentRegressor(max_epochs=1, n_neurons=4).fit(X, X[:, 0, :2])
    assert_each_keeps_itself(classifier.predict_proba(X), classifier.predict(X), regressor.predict(X))
