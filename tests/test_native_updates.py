"""A step of a rule by native code: one walk, in place where nobody looks, and every bit as the layer of the rule has it."""

import copy
import pickle
import signal
import threading

import numpy as np
import pytest

from ostinato import (
    Bidirectional,
    DataError,
    Input,
    LastStep,
    Layer,
    Network,
    State,
    UpdateRule,
    Weight,
    cell,
    cells,
    set_threads,
    tanh,
    where,
)
from ostinato import sum as sum_
from ostinato.learn.optimisers import RULES
from ostinato.lower.target import TARGETS
from ostinato.native import updates
from ostinato.native.jit import compile_module
from ostinato.native.updates import FlatRun, FlatStep

from .helpers import assert_equal, random


def layer(dtype="float32", **options):
    return Layer(cells.lstm, n_inputs=5, n_neurons=7, seed=1, dtype=dtype, backend="native", **options)


def gradients_of(weights, seed=0):
    return {name: random(w.shape, seed + i, w.dtype.name) for i, (name, w) in enumerate(weights.items())}


def as_a_layer(rule):
    """The same rule, run as the layer of its cell whose instances are the parameters."""
    rule._flat_step = lambda: None
    return rule


@cell
def careful(
    g=Input(), w=State(), m=State(), t=State(initial=1.0), seen=State(), r=State(initial=0.5),
    rate=Weight(init=0.1), limit=Weight(init=0.3),
):  # fmt: skip
    """A rule of one's own: comparisons, functions, a count, a largest gradient, and a state that only settings change."""
    t, r = t * 0.9 + 0.1, tanh(r * limit)
    m = where(abs(g) < limit, (1 - t) * m + t * g, m)
    return w - rate * r * tanh(m), m, t, where(seen < abs(g), abs(g), seen), r


RULES_AND_OWN = {**RULES, "careful": careful}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES_AND_OWN)
def test_every_bit_is_that_of_the_rule_as_a_layer(name, dtype):
    one, other = layer(dtype), layer(dtype)
    rule, slow = UpdateRule(RULES_AND_OWN[name]), as_a_layer(UpdateRule(RULES_AND_OWN[name]))
    for step in range(6):
        gradients = gradients_of(one.weights, 10 * step)
        rule.step(one.weights, gradients, scale=0.75)
        slow.step(other.weights, gradients, scale=0.75)
        rate = "rate" if name == "careful" else "learning_rate"
        rule.settings[rate] = slow.settings[rate] = 0.01 / (step + 1)
    assert rule._flat_step() is not None
    for weight, array in other.weights.items():
        assert_equal(one.weights[weight], array)
    for state, array in slow.state.items():
        assert_equal(rule.state[state], array)


def test_what_no_parameter_reaches_is_one_number():
    rule = UpdateRule(careful)
    weights = layer().weights
    rule.step(weights, gradients_of(weights))
    assert {name for name, array in rule.arrays.items() if array.shape == ()} == {"t", "r"}
    n = sum(w.size for w in weights.values())
    assert {name: a.shape for name, a in rule.state.items()} == dict.fromkeys(["w", "m", "t", "seen", "r"], (n,))


@cell
def two_numbers(g=Input(), w=State(), c=State(2), scales=Weight(2, init=0.5)):
    """What is remembered of a parameter may have a dimension."""
    c = scales * c + g
    return w - 0.1 * sum_(c), c


def test_a_rule_of_more_than_numbers_runs_as_a_layer():
    weights = {"a": random((3, 4)), "b": random((5,), 1)}
    before = dict(weights)
    rule = UpdateRule(two_numbers, dtype="float64")
    gradients = gradients_of(weights)
    rule.step(weights, gradients)
    assert rule._flat_step() is None
    assert rule.state["c"].shape == (17, 2)
    assert_equal(weights["b"], before["b"] - 0.1 * (gradients["b"] + gradients["b"]))


@pytest.mark.parametrize("target", TARGETS)
def test_a_rule_is_written_for_every_target(target):
    step = FlatStep(UpdateRule("adam", dtype="float32").layer.graph, ["w", "m", "v"], TARGETS[target])
    n = TARGETS[target].lanes("f32")
    assert f"{'float' if n == 1 else f'<{n} x float>'} @llvm.sqrt" in str(step.module())
    assert compile_module(str(step.module()), TARGETS[target])


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_share_the_elements_and_change_no_bit(monkeypatch, n_threads):
    monkeypatch.setattr(updates, "THREAD", 64)
    one, other = layer(), layer()
    rule, plain = UpdateRule("adam"), as_a_layer(UpdateRule("adam"))
    try:
        set_threads(n_threads)
        for step in range(3):
            gradients = gradients_of(one.weights, 10 * step)
            rule.step(one.weights, gradients)
            plain.step(other.weights, gradients)
    finally:
        set_threads(None)
    for name, array in other.weights.items():
        assert_equal(one.weights[name], array)


def test_where_arrays_are_laid_out_otherwise_numpy_is_asked_for_addresses(monkeypatch):
    one, other = layer(), layer()
    rule, asking = UpdateRule("adam"), UpdateRule("adam")
    for step in range(3):
        gradients = gradients_of(one.weights, 10 * step)
        rule.step(one.weights, gradients)
        with monkeypatch.context() as patched:
            patched.setattr(updates, "READABLE", False)
            asking.step(other.weights, gradients)
    for name, array in other.weights.items():
        assert_equal(one.weights[name], array)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [(1,), (0,), (0, 0), (130,), (5, 0, 64, 300, 1), (1, 1, 1)])
def test_every_element_is_one_threads(sizes, n_threads):
    step = FlatStep.of(UpdateRule("sgd").layer.graph, ["w", "v"])
    plan = step.plan(sizes, n_threads)
    assert len(plan) == n_threads
    found = sorted((row, first, first + n) for jobs in plan for row, first, n in jobs if n)
    for row, size in enumerate(sizes):
        parts = [(a, b) for r, a, b in found if r == row]
        assert [a for a, _ in parts] == [0, *(b for _, b in parts[:-1])][: len(parts)]
        assert (parts[-1][1] if parts else 0) == size


def test_weights_without_an_element_are_no_trouble():
    weights = {"a": np.zeros((0, 3), np.float32), "b": np.zeros(0, np.float32)}
    rule = UpdateRule("adam")
    for _ in range(2):
        rule.step(weights, dict(weights))
    assert_equal(rule.arrays["p"], np.float32(0.9) * np.float32(0.9))


# --- what was there before a step stays as it was


def learn(part, rule, X, n=3):
    for _ in range(n):
        Y, pullback = part.vjp(X)
        rule.step(part.weights, pullback(np.ones_like(Y)).weights)


def test_best_weights_that_somebody_keeps_are_not_written():
    net = Network(Bidirectional(cells.gru, n_inputs=3, n_neurons=4, backend="native"), LastStep(layer_of(8)))
    X, rule = random((6, 2, 3), 1, "float32"), UpdateRule("adam", learning_rate=0.1)
    kept = []
    for _ in range(6):
        learn(net, rule, X, 1)
        weights = dict(net.weights)
        kept.append((weights, {name: w.copy() for name, w in weights.items()}))
    for weights, copies in kept:
        for name, w in copies.items():
            assert_equal(weights[name], w)
            assert not weights[name].flags.writeable
    net.weights.update(kept[2][0])
    learn(net, rule, X, 3)
    assert all(np.array_equal(kept[2][0][name], w) for name, w in kept[2][1].items())


def layer_of(n_inputs):
    return Layer(cells.lstm, n_inputs=n_inputs, n_neurons=5, backend="native")


def test_a_view_of_a_weight_keeps_its_values():
    one, rule = layer(), UpdateRule("adam", learning_rate=0.1)
    name = next(iter(one.weights))
    views = []
    for step in range(5):
        rule.step(one.weights, gradients_of(one.weights, step))
        view = one.weights[name].T[1:]
        views.append((view, view.copy(), memoryview(one.weights[name]), one.weights[name].tobytes()))
    for view, before, buffer, content in views:
        assert_equal(view, before)
        assert buffer.tobytes() == content


def test_a_pullback_made_before_a_step_goes_back_with_the_weights_of_then():
    one, rule, X = layer(), UpdateRule("adam", learning_rate=0.1), random((6, 2, 5), 1, "float32")
    learn(one, rule, X)
    Y, pullback = one.vjp(X)
    wanted = pullback(Y)
    learn(one, rule, X)
    again = pullback(Y)
    assert_equal(again.inputs, wanted.inputs)
    for name, gradient in wanted.weights.items():
        assert_equal(again.weights[name], gradient)
    assert not np.array_equal(one.vjp(X)[1](Y).inputs, wanted.inputs)


def test_a_stream_made_before_a_step_stands_where_it_stood_and_goes_on_with_the_new_weights():
    one, rule, X = layer(), UpdateRule("adam", learning_rate=0.1), random((6, 2, 5), 1, "float32")
    learn(one, rule, X)
    stream = one.stream(n_instances=2)
    given = [stream(x) for x in X[:3]]
    before, state = [y.copy() for y in given], stream.state
    held = stream._stepper.snapshot
    values = {name: w.copy() for name, w in held.items()}
    learn(one, rule, X)
    for y, kept in zip(given, before, strict=True):
        assert_equal(y, kept)
    for name, array in stream.state.items():
        assert_equal(array, state[name])
    for name, w in held.items():
        assert_equal(w, values[name])
    assert_equal(stream(X[3]), one.run(X[3:4], state=state)[0][0])


def test_memory_of_weights_that_nobody_has_is_used_again():
    one, rule = layer(), UpdateRule("adam")
    gradients, places = gradients_of(one.weights), []
    for _ in range(8):
        rule.step(one.weights, gradients)
        places.append({name: w.ctypes.data for name, w in one.weights.items()})
    assert places[2:] == places[:2] * 3  # to and fro between two


def test_states_change_in_place_and_nobody_else_has_them():
    one, rule = layer(), UpdateRule("adam")
    rule.step(one.weights, gradients_of(one.weights))
    kept, arrays, private = rule.state, rule.arrays, rule._own
    before = [array.copy() for array in (*kept.values(), *arrays.values())]
    places = {name: {s: a.ctypes.data for s, a in own.items()} for name, own in private.items()}
    twin, pickled = copy.copy(rule), pickle.loads(pickle.dumps(rule))
    rule.step(one.weights, gradients_of(one.weights, 9))
    assert places == {name: {s: a.ctypes.data for s, a in own.items()} for name, own in rule._own.items()}
    for array, as_before in zip((*kept.values(), *arrays.values()), before, strict=True):
        assert_equal(array, as_before)
    for other in (twin, pickled):
        for name, array in other.arrays.items():
            assert_equal(array, arrays[name])


def test_nothing_of_the_size_of_the_weights_is_allocated():
    import tracemalloc

    one = Layer(cells.lstm, n_inputs=64, n_neurons=64, backend="native")
    rule, gradients = UpdateRule("adam"), gradients_of(one.weights)
    for _ in range(3):
        rule.step(one.weights, gradients)
    tracemalloc.start()
    try:
        for _ in range(3):
            rule.step(one.weights, gradients)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.1 * sum(w.nbytes for w in one.weights.values())


def test_where_an_update_may_be_refused_nothing_changes():
    one = Layer(cells.dense, n_inputs=2, n_outputs=3, weight_format="bfloat16", backend="native")
    rule = UpdateRule("sgd", learning_rate=1.0, momentum=0.9)
    small = {name: np.ones_like(w) for name, w in one.weights.items()}
    huge = {name: np.full_like(w, -3.4e38) for name, w in one.weights.items()}
    with pytest.raises(DataError):
        rule.step(one.weights, huge)
    assert len(rule.state) == rule.n_updates == 0
    rule.step(one.weights, small)
    weights, state = dict(one.weights), rule.state
    with pytest.raises(DataError):
        rule.step(one.weights, huge)
    assert rule.n_updates == 1
    assert all(np.shares_memory(one.weights[name], w) for name, w in weights.items())
    assert_equal(rule.state["v"], state["v"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_finds_a_step_made_or_not_begun(monkeypatch, when):
    one, rule = layer(), UpdateRule("adam")
    rule.step(one.weights, gradients_of(one.weights))
    weights, state = dict(one.weights), rule.state
    run = FlatRun.run

    def interrupted(self):
        if when == "after":
            run(self)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FlatRun, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rule.step(one.weights, gradients_of(one.weights, 5))
    made = when == "after"
    assert rule.n_updates == 1 + made
    assert all(np.shares_memory(one.weights[name], w) != made for name, w in weights.items())
    assert np.array_equal(rule.state["m"], state["m"]) != made
    assert np.array_equal(rule.state["p"], state["p"]) != made


def test_panels_of_weights_that_nobody_runs_with_are_packed_over():
    one, rule, X = layer(plan="hoisted"), UpdateRule("adam"), random((6, 2, 5), 1, "float32")
    learn(one, rule, X, 2)
    program = one._programs.executable("recording", training=False)
    place = program._prepared.memory[0].ctypes.data
    learn(one, rule, X)
    assert program._prepared.memory[0].ctypes.data == place
    held = program._prepared
    content = held.memory[0].tobytes()
    learn(one, rule, X)
    assert program._prepared.memory[0].ctypes.data != place
    assert held.memory[0].tobytes() == content


def test_threads_that_run_while_weights_change_have_one_set_of_weights_each():
    one, rule, X = layer(), UpdateRule("sgd", learning_rate=1.0), random((6, 2, 5), 1, "float32")
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            weights = one.weights.snapshot
            Y, _ = one.vjp(X)
            if one.weights.snapshot is weights and len(seen) < 50:
                seen.append((weights, Y))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(20):
        rule.step(one.weights, gradients_of(one.weights, step))
    while not seen:
        pass
    stop.set()
    for thread in threads:
        thread.join()
    for weights, Y in seen:
        one.weights.update(weights)
        assert_equal(one.vjp(X)[0], Y)
