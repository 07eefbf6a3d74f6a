"""Every cell, in every spelling, computes what a loop written by hand computes."""

import warnings

import numpy as np
import pytest

from ostinato import Layer, cells
from ostinato.language.functions import ACTIVATIONS
from tests.loops import CASES, SPELLINGS, run
from tests.scenarios import SCENARIOS, Scenario, apart, build, named

LIMIT = {"float32": 1e-6, "float64": 1e-12}


def check(case, spelling, sizes, scenario, dtype, backend, ready=None):
    values = case.values(sizes, scenario.n_steps, scenario.n_instances, dtype=dtype)
    layer = build(case, spelling, sizes, values, scenario, ready, dtype=dtype, backend=backend)
    positional, keywords = scenario.call(case, values)
    outputs, state = layer.run(*positional, **keywords)
    exact = {name: value.astype(np.float64) for name, value in values.items()}
    wanted, wanted_state = run(case, sizes, exact, **scenario.keywords)
    outputs = named(outputs, case)
    assert set(outputs) == set(wanted)
    assert set(state) == set(wanted_state)
    for name, array in wanted.items():
        assert outputs[name].dtype == np.dtype(dtype)
        assert apart(outputs[name], scenario.turned(array)) < LIMIT[dtype], name
    for name, array in wanted_state.items():
        assert state[name].dtype == np.dtype(dtype)
        assert apart(state[name], scenario.single(array)) < LIMIT[dtype], name


@pytest.mark.parametrize(("case", "spelling"), SPELLINGS, ids=str)
def test_a_layer_computes_what_the_loop_by_hand_computes_however_the_sequences_come(case, spelling):
    ready = {}
    for k, scenario in enumerate(SCENARIOS):
        others = [("float32", "numpy"), ("float64", "reference"), ("float32", "reference")]
        for dtype, backend in (("float64", "numpy"), others[k % 3]):
            check(case, spelling, case.sizes(4), scenario, dtype, backend, ready)


@pytest.mark.parametrize("n", [1, 5, 17, 100])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_computes_what_the_loop_by_hand_computes_at_odd_sizes(case, n):
    scenario = Scenario("odd", n_steps=2, n_instances=5, lengths=(0, 2, 1, 2, 2))
    for spelling in ("own", "other"):
        check(case, spelling, case.sizes(n), scenario, "float32" if spelling == "own" else "float64", "numpy")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_state_that_is_not_given_begins_as_it_was_declared(case):
    sizes = case.sizes(3)
    values = case.values(sizes, 4, 2)
    for name in case.names("state"):
        values[name] = np.full_like(values[name], case.declarations[name].initial)
    layer = build(case, "own", sizes, values, dtype="float64")
    wanted, wanted_state = run(case, sizes, values)
    positional = [values[name] for name in (*case.names("input"), *case.names("context"))]
    outputs, state = layer.run(*positional)
    for name, array in wanted.items():
        assert apart(named(outputs, case)[name], array) < 1e-12
    for name, array in wanted_state.items():
        assert apart(state[name], array) < 1e-12


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cell_called_on_arrays_is_one_step_of_the_loop_by_hand(case):
    sizes = case.sizes(5)
    values = case.values(sizes, 1, 1)
    wanted, wanted_state = run(case, sizes, values)
    leading = {"input": (0, 0), "context": 0, "state": 0}
    arguments = {name: values[name][leading.get(d.role, ...)] for name, d in case.declarations.items()}
    returned = case.cell(**arguments, **case.options)
    returned = list(returned) if isinstance(returned, tuple) else [returned]
    expected = [array[0] for array in wanted_state.values()]
    if len(returned) > len(expected):
        expected = [array[0, 0] for array in wanted.values()] + expected
    assert len(returned) == len(expected)
    for got, array in zip(returned, expected, strict=True):
        assert apart(got, array) < 1e-14


def test_an_irnn_begins_with_the_identity_and_computes_what_the_loop_by_hand_computes():
    layer = Layer(cells.recurrent, n_inputs=2, n_neurons=17, phi=ACTIVATIONS["relu"], init=cells.IRNN, dtype="float64", seed=3)
    assert np.array_equal(layer.weights["W_y"], np.eye(17))
    assert not layer.weights["b"].any()
    assert 0 < np.abs(layer.weights["W_x"]).max() < 0.01
    X = np.random.default_rng(0).standard_normal((9, 4, 2))
    case = next(c for c in CASES if c.name == "recurrent_relu")
    wanted, _ = run(case, layer.sizes, {"x": X, "y": np.zeros((4, 17)), **layer.weights})
    assert apart(layer(X), wanted["output"]) < 1e-12
    with_nothing_to_learn = Layer(cells.recurrent, n_inputs=2, n_neurons=17, phi=ACTIVATIONS["relu"], init=cells.IRNN)
    assert np.array_equal(with_nothing_to_learn(np.zeros((50, 1, 2)), state=np.full((1, 17), 2.0))[-1, 0], np.full(17, 2.0))


BY_HAND = {
    "affine": lambda z: 1.0 * z + 0.0,
    "elu": lambda z: z if z > 0 else np.exp(z) - 1,
    "hard_sigmoid": lambda z: max(0.0, min(1.0, 0.2 * z + 0.5)),
    "identity": lambda z: z,
    "leaky_relu": lambda z: z if z >= 0 else 0.01 * z,
    "relu": lambda z: z if z > 0 else 0.0,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "tanh": np.tanh,
    "thresholded_relu": lambda z: z if z > 1 else 0.0,
}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_an_activation_in_a_layer_is_its_formula(name):
    layer = Layer(cells.dense, n_inputs=1, n_outputs=1, phi=ACTIVATIONS[name], dtype="float64")
    layer.weights.update({"W": np.ones((1, 1)), "b": np.zeros(1)})
    X = np.linspace(-4, 4, 33)[:, None]
    assert apart(layer(X)[:, 0], np.array([BY_HAND[name](z) for z in X[:, 0]])) < 1e-15


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_overflows_where_the_formula_has_a_limit(dtype):
    X = np.array([[-1e4], [1e4], [0.0], [-np.inf], [np.inf]], dtype)
    limits = {
        "sigmoid": [0, 1, 0.5, 0, 1], "tanh": [-1, 1, 0, -1, 1], "softplus": [0, 1e4, np.log(2), 0, np.inf],
        "elu": [-1, 1e4, 0, -1, np.inf], "relu": [0, 1e4, 0, 0, np.inf],
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, limit in limits.items():
            layer = Layer(cells.dense, n_inputs=1, n_outputs=1, phi=ACTIVATIONS[name], dtype=dtype)
            layer.weights.update({"W": np.ones((1, 1)), "b": np.zeros(1)})
            assert np.allclose(layer(X)[:, 0], limit, rtol=1e-6, atol=0), name


def test_inputs_of_another_dtype_order_or_stride_mean_the_same():
    layer = Layer(cells.lstm, n_inputs=3, n_neurons=4, dtype="float64")
    X = np.random.default_rng(1).integers(-3, 4, (5, 2, 3))
    Y = layer(X.astype(np.float64))
    assert np.array_equal(layer(X), Y)
    assert np.array_equal(layer(X.astype(np.int8)), Y)
    assert np.array_equal(layer(X.astype(np.float32)), Y)
    assert np.array_equal(layer(np.asfortranarray(X)), Y)
    assert np.array_equal(layer(X[::-1].copy()[::-1]), Y)
    assert np.array_equal(layer(np.repeat(X, 2, axis=2)[..., ::2]), Y)
    assert np.array_equal(layer(X.tolist()), Y)


def test_a_call_changes_none_of_its_arguments_and_its_results_are_nobody_elses():
    layer = Layer(cells.gru, n_inputs=3, n_neurons=4)
    generator = np.random.default_rng(2)
    X, h = generator.standard_normal((5, 2, 3)).astype(np.float32), generator.standard_normal((2, 4)).astype(np.float32)
    for array in (X, h):
        array.setflags(write=False)
    Y, state = layer.run(X, state={"h": h})
    again = Y.copy()
    state["h"][...] = np.nan
    assert np.array_equal(layer(X, state={"h": h}), again)
    assert np.array_equal(Y, again)
    Y[...] = np.nan
    assert np.array_equal(layer(X, state={"h": h}), again)
