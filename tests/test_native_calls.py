"""Native code called very often, and by many threads of Python at once: nothing grows, and no bit changes."""

import mmap
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ostinato import Context, Input, Layer, State, Weight, cell, cells, tanh
from ostinato.ir.timeline import Timeline
from tests.test_native import equal


def resident():
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE


def many_calls(n):
    """Small calls of every kind; how much the process has grown by them, after a tenth of as many."""
    layer = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native")
    X = np.random.default_rng(0).standard_normal((4, 2, 3)).astype("float32")
    stream = layer.stream(n_instances=2)
    before = 0
    for i in range(n + n // 10):
        if i == n // 10:
            before = resident()
        kind = i % 4
        if kind == 0:
            layer(X)
        elif kind == 1:
            layer.run(X, lengths=np.array([i % 5, 4]), reset=np.zeros((4, 2), bool))
        elif kind == 2:
            Y, pullback = layer.vjp(X)
            pullback(Y)
        else:
            stream(X[0])
        if i % 100 == 0:
            layer.weights["b_i"] = layer.weights["b_i"] + 1e-6
    return resident() - before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="as Linux counts pages")
def test_many_calls_take_no_memory():
    assert many_calls(4000) < 1 << 20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="as Linux counts pages")
def test_layers_that_are_gone_leave_little_behind():
    for _ in range(2):
        before = resident()
        for i in range(8):
            Layer(cells.recurrent, n_inputs=3, n_neurons=4 + i, backend="native")(np.zeros((2, 1, 3)))
    assert resident() - before < 4 << 20


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_array_of_the_user_is_rearranged_for_native_code(monkeypatch, batch_first, reverse):
    """Lengths, the order of axes and the direction are looked up where the rows are computed: nothing is packed before."""

    def refuse(*_):
        raise AssertionError("an array is rearranged by NumPy")

    layer = Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native", batch_first=batch_first, reverse=reverse)
    X = np.random.default_rng(0).standard_normal((4, 6, 3)).astype("float32")
    for name in ("pack", "unpack", "sort", "unsort", "places"):
        monkeypatch.setattr(Timeline, name, refuse)
    lengths = [2, 0, 4, 1] if batch_first else [2, 0, 4, 1, 3, 4]
    Y, pullback = layer.vjp(X, lengths=lengths)
    assert np.array_equal(layer(X, lengths=lengths), Y)
    assert pullback(Y).inputs.shape == X.shape


def test_rows_in_the_users_order_are_code_of_their_own_that_a_plain_call_does_not_need():
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=5, backend="native", plan="hoisted")
    X = np.zeros((4, 6, 3), "float32")
    layer(X)
    program = layer._programs.executable("forward", training=False)
    assert not program._placed
    layer(X, lengths=[1, 2, 3, 4, 0, 2])
    assert len(program._placed) == 1


def test_what_a_run_recorded_in_is_used_again_when_nobody_has_it():
    layer = Layer(cells.gru, n_inputs=3, n_neurons=5, backend="native")
    X = np.random.default_rng(0).standard_normal((3, 4, 6, 3)).astype("float32")
    Y, pullback = layer.vjp(X[0])
    wanted = pullback(Y).weights["U_n"]
    kept, where = Y.copy(), id(pullback._outcome.lease.memory[0])
    _, other = layer.vjp(X[1])  # while the first is held: memory of its own
    assert id(other._outcome.lease.memory[0]) != where
    assert np.array_equal(pullback(Y).weights["U_n"], wanted)
    del pullback
    _, third = layer.vjp(X[2])
    assert id(third._outcome.lease.memory[0]) == where
    assert np.array_equal(Y, kept)  # what was handed out is none of it
    again = layer.vjp(X[0])[1](Y).weights["U_n"]
    assert np.array_equal(again, wanted)


@cell
def rows_and_instances(x=Input("n"), s=State("n"), c=Context("n"), V=Weight("n", "n"), U=Weight("n", "n")):
    """Two gradients of one shape: the first is a sum over steps and instances, the second over instances."""
    return tanh(x @ V + s * (c @ U))


@pytest.mark.parametrize("more", [{"batch_first": True}, {"reverse": True}, {}])
def test_sums_over_steps_and_sums_over_instances_look_their_rows_up_where_they_are(more):
    layers = [Layer(rows_and_instances, n=5, seed=3, backend=b, **more) for b in ("native", "numpy")]
    generator = np.random.default_rng(0)
    x, c = (generator.standard_normal(shape).astype("float32") for shape in ((5, 7, 5), (5 if "batch_first" in more else 7, 5)))
    lengths = None if more else [5, 0, 3, 1, 4, 2, 5]
    found, expected = (layer.vjp(x, c, lengths=lengths)[1](np.ones((5, 7, 5))).weights for layer in layers)
    for name, array in expected.items():
        assert np.allclose(found[name], array, rtol=1e-4, atol=1e-4), name


def test_a_stream_of_many_has_room_for_them_after_one_sequence_as_long():
    layer = Layer(cells.lstm, n_inputs=4, n_neurons=5, batch_first=True, backend="native")
    x = np.random.default_rng(0).standard_normal((1, 512, 4)).astype("float32")
    layer(x)
    assert layer.stream(n_instances=512)(x[0]).shape == (512, 5)
    assert layer.run(x)[1]["h"].shape == (1, 5)


def side_by_side(functions):
    """Call functions in threads of their own; whatever they raise is raised here."""
    problems = []

    def call(function):
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            problems.append(error)

    threads = [threading.Thread(target=call, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


@pytest.fixture
def hasty():
    """Python changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_with_one_layer_and_with_several_get_the_same_bits(hasty):
    generator = np.random.default_rng(6)
    made = [Layer(c, n_inputs=3, n_neurons=19, backend="native") for c in (cells.lstm, cells.gru, cells.recurrent)]
    calls = [(layer, generator.standard_normal((5, n, 3)).astype("float32")) for layer in made for n in (1, 2, 5, 8)]

    def result(layer, X):
        Y, pullback = layer.vjp(X)
        grads = pullback(np.cos(Y))
        return {"run": layer(X), "Y": Y, "dX": grads.inputs, **grads.weights, **pullback.state}

    wanted = [result(*call) for call in calls]

    def work(first):
        for i in range(3 * len(calls)):
            place = (first + 5 * i) % len(calls)
            equal(result(*calls[place]), wanted[place])

    side_by_side([lambda i=i: work(i) for i in range(6)])


def test_states_begin_with_as_many_instances_as_the_call_has(hasty):
    """Native code reads as many as the inputs have: a layer must not hand out the beginning of another thread's call."""
    sequences = Layer(cells.lstm, n_inputs=3, n_neurons=4)._sequences

    def ask(n):
        for _ in range(60_000):
            call = sequences.beginning(n)
            assert all(len(state) == n for state in call.values())

    side_by_side([lambda n=n: ask(n) for n in (1, 2, 3, 4)])


def test_a_layer_may_be_compiled_by_many_threads_at_once(hasty):
    layer = Layer(cells.gru, n_inputs=3, n_neurons=6, backend="native")
    X = np.random.default_rng(1).standard_normal((3, 2, 3)).astype("float32")
    found = []
    side_by_side([lambda: found.append(layer(X)) for _ in range(6)])
    assert len(found) == 6
    for Y in found:
        assert np.array_equal(Y, found[0])


def test_a_weight_assigned_by_one_thread_is_whole_for_the_others(hasty):
    """Every run has the weights as they were before or after an assignment, never something between."""
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=33, backend="native")
    X = np.random.default_rng(1).standard_normal((2, 2, 3)).astype("float32")
    sets = [{name: w * scale for name, w in layer.weights.items()} for scale in (1.0, 2.0)]
    wanted = []
    for weights in sets:
        layer.weights.update(weights)
        wanted.append(layer(X))

    def assign():
        for i in range(200):
            layer.weights.update(sets[i % 2])

    def read():
        for _ in range(200):
            Y = layer(X)
            assert any(np.array_equal(Y, y) for y in wanted)

    side_by_side([assign, read, read])
