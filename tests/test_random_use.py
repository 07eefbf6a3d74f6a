"""A few rounds of random use with seeds that stay, and what random use has found."""

import warnings

import numpy as np
import pytest

from ostinato import Examples, LastStep, Layer, Network, RecurrentClassifier, RecurrentRegressor, UpdateRule, cells, train
from ostinato.cli import main
from ostinato.native.memory import PooledBuffer
from ostinato.runtime.weights import Weights
from tests import random_use
from tests.helpers import assert_equal
from tests.random_actions import ACTIONS
from tests.random_learning import ROUNDS
from tests.random_travel import refused
from tests.random_use import check, outcome, script

X = np.random.default_rng(0).standard_normal((7, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("kind", ["use", *ROUNDS])
def test_random_use_finds_nothing(kind, backend):
    for seed in range(2 if kind == "use" else 1):
        log = []
        try:
            check(seed, 6, log=log, kind=kind, backend=backend)
        except Exception as error:
            error.add_note("\n".join(log[-20:]))
            raise


def test_a_failure_shows_what_was_done_and_a_script_that_shows_it_again(monkeypatch):
    def wrong(subject):
        raise AssertionError("a wrong answer")

    monkeypatch.setattr(random_use, "KINDS", {"use": 1})
    monkeypatch.setattr(random_use, "ACTIONS", {"wrong": (wrong, 1)})
    error, log = outcome(3, 5)
    assert error.endswith("AssertionError: a wrong answer\n")
    assert log[-1] == "wrong:"
    shown = script(3, 5, log)
    assert "#   wrong:\n" in shown
    assert shown.endswith("check(3, 5)\n")
    with pytest.raises(AssertionError, match="a wrong answer"):
        exec(shown)


def test_a_result_that_is_off_in_its_last_bit_is_found(monkeypatch):
    run = Layer.run

    def off(self, *inputs, **more):
        Y, state = run(self, *inputs, **more)
        return (np.nextafter(Y, np.inf) if self.plan == "separate" and isinstance(Y, np.ndarray) else Y), state

    monkeypatch.setattr(Layer, "run", off)
    monkeypatch.setattr(random_use, "KINDS", {"use": 1})
    monkeypatch.setattr(random_use, "BACKENDS", ("numpy", "numpy"))
    errors = [outcome(seed, 8)[0] for seed in range(12)]
    assert any("differ, at" in error for error in errors)


def test_an_error_in_words_of_others_is_found(monkeypatch):
    def raw(self, *inputs, **more):
        raise TypeError("raw")

    monkeypatch.setattr(Layer, "run", raw)
    monkeypatch.setattr(Layer, "vjp", raw)
    monkeypatch.setattr(random_use, "KINDS", {"use": 1})
    monkeypatch.setattr(random_use, "ACTIONS", {"mistake": ACTIONS["mistake"]})
    monkeypatch.setattr(random_use, "BACKENDS", ("numpy", "numpy"))
    assert "TypeError: raw" in outcome(0, 30)[0]


def test_every_action_is_drawn():
    drawn = {random_use.drawn_from(np.random.default_rng(seed), {n: w for n, (_, w) in ACTIONS.items()}) for seed in range(300)}
    assert drawn == set(ACTIONS)


def test_what_is_not_refused_or_refused_in_a_riddle_is_told():
    with pytest.raises(AssertionError, match="nothing was refused"):
        refused(lambda: None)
    with pytest.raises(TypeError):
        refused(lambda: len(3))


# --- what random use has found ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [[7.0, 3.0, 0.0, 1.0], np.array([7, 3, 0, 1], np.int8), (7, 3, 0, 1)])
def test_lengths_of_a_last_step_may_be_given_as_those_of_a_layer(lengths):
    network = Network(LastStep(Layer(cells.gru, n_inputs=3, n_neurons=5)), Layer(cells.dense, n_inputs=5, n_outputs=2))
    assert_equal(network(X, lengths=lengths), network(X, lengths=np.array([7, 3, 0, 1])))


@pytest.mark.parametrize("backend", ["reference", "numpy", "native"])
def test_a_pullback_remembers_where_the_states_were_set_back(backend):
    layer, reset = Layer(cells.gru, n_inputs=3, n_neurons=5, backend=backend), np.zeros((7, 4), bool)
    reset[3] = True
    Y, pullback = layer.vjp(X, reset=reset)
    before = pullback(np.ones_like(Y))
    reset[...] = True
    assert_equal(pullback(np.ones_like(Y)).inputs, before.inputs)


def test_an_interrupt_while_memory_is_leased_leaves_nothing_to_be_said(monkeypatch):
    told = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    half_made = PooledBuffer.__new__(PooledBuffer)
    del half_made
    assert not told


@pytest.mark.parametrize("way", ["rule", "update"])
@pytest.mark.parametrize("at", range(2))
def test_an_interrupt_between_the_layers_of_a_network_leaves_none_behind(way, at, monkeypatch):
    def network():
        return Network(Layer(cells.gru, n_inputs=3, n_neurons=4, seed=0), Layer(cells.dense, n_inputs=4, n_outputs=2, seed=0))

    def change(net, rule):
        ones = {name: np.ones(shape) for name, shape in net.weights.shapes.items()}
        net.weights.update(ones) if way == "update" else rule.step(net.weights, ones)

    (net, rule), (right, right_rule) = [(network(), UpdateRule("adam")) for _ in range(2)]
    change(right, right_rule)
    calls, assign = [], Weights._assign

    homes = [layer.weights for layer in net.layers.values()]

    def interrupted(self, arrays):
        if any(self is home for home in homes):
            calls.append(self)
            if len(calls) == at + 1:
                raise KeyboardInterrupt
        assign(self, arrays)

    dict(net.weights)  # they are drawn before
    monkeypatch.setattr(Weights, "_assign", interrupted)
    with pytest.raises(KeyboardInterrupt):
        change(net, rule)
    for name, array in right.weights.items():
        assert_equal(net.weights[name], array)
    assert rule.n_updates == right_rule.n_updates
    for name, array in right_rule.state.items():
        assert_equal(rule.state[name], array)


@pytest.mark.parametrize(("given", "dtype"), [("float16", "float32"), ("float32", "float64"), ("float16", "float64")])
def test_data_of_a_shorter_dtype_are_learned_without_a_warning(given, dtype):
    short, y = X.astype(given), np.arange(4.0)[:, None]
    learned = []
    for data in (short, short.astype(np.float64)):
        network = Network(LastStep(Layer(cells.gru, n_inputs=3, n_neurons=5, dtype=dtype)),
                          Layer(cells.dense, n_inputs=5, n_outputs=1, dtype=dtype))  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            train(network, Examples(data, y), loss="mse", max_epochs=2)
            model = RecurrentRegressor(n_neurons=3, max_epochs=2, dtype=dtype, random_state=0).fit(data.swapaxes(0, 1), y)
        learned.append({**network.weights, **model.network_.weights})
    for name, array in learned[0].items():
        assert_equal(array, learned[1][name])


def test_a_number_that_is_infinite_in_a_shorter_dtype_is_refused_as_what_it_is():
    bad = X.astype(np.float16).swapaxes(0, 1)
    bad[2, 1, 0] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(RecurrentClassifier(dtype="float64").fit, bad, [0, 1, 0, 1])
        refused(lambda: train(Layer(cells.gru, n_inputs=3, n_neurons=1), Examples(bad.swapaxes(0, 1), X[..., :1]), loss="mse"))


def test_a_file_with_names_is_learned_from_and_answered_without_a_warning(tmp_path, capsys):
    data, model = tmp_path / "data.csv", tmp_path / "model.safetensors"
    lines = [f"{name},{i},{i * k},{'bird' if k % 2 else 'plane'}" for k, name in enumerate("abcd") for i in range(3)]
    data.write_text("\n".join(["sequence,speed,height,label", *lines]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings = ["--quiet", "--neurons", "2", "--epochs", "1", "--test", str(data)]
        assert main(["train", str(data), "--model", str(model), *settings]) == 0
        assert main(["predict", str(model), str(data)]) == 0
    assert capsys.readouterr().err == ""
