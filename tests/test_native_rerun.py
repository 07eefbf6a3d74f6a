"""A call like one before goes a short way, and gives what the long way gives."""

import threading

import numpy as np
import pytest

from ostinato import DataError, Layer, cells
from tests.library import swept
from tests.test_native import EVERY, compiled, equal, given, named, with_weights

X = np.random.default_rng(0).standard_normal((6, 3, 4)).astype("float32")


def lstm(**more):
    return Layer(cells.lstm, n_inputs=4, n_neurons=5, backend="native", **more)


def short_ways(layer, monkeypatch):
    """Counts the calls that go the long way."""
    long_way = []
    call = layer._sequences.call
    monkeypatch.setattr(layer._sequences, "call", lambda *given: long_way.append(1) or call(*given))
    return long_way


@pytest.mark.parametrize("case", swept(EVERY), ids=lambda c: c.name)
def test_the_second_call_gives_the_bits_of_the_first(case):
    values = case.values(case.sizes(5), 4, 3, dtype="float32")
    layer = with_weights(compiled(case, 5, "float32"), case, values)
    inputs, more = given(case, values)
    inputs = [np.ascontiguousarray(x) for x in inputs]
    inputs += [np.ascontiguousarray(more.pop(name)) for name in case.names("context")]
    state = more.get("state")
    for begin in (None, state):
        layer._reruns.clear()
        results = [layer.run(*inputs, state=begin) for _ in range(3)]
        for outputs, final in results[1:]:
            equal(named(outputs, case), named(results[0][0], case))
            equal(final, results[0][1])
        if begin is None:
            equal(named(layer(*inputs), case), named(results[0][0], case))


def test_calls_of_a_shape_go_the_short_way_from_the_second_on(monkeypatch):
    layer = lstm()
    long_way = short_ways(layer, monkeypatch)
    for _ in range(3):
        layer(X)
        layer.run(X)
        layer.run(X, state=layer.run(X)[1])
        layer(X[:2])
    assert len(long_way) == 2  # one for each shape


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", [(6, 4), (6, 1, 4), (0, 3, 4), (6, 0, 4), (1, 3, 4)])
def test_any_shape_of_a_batch(shape, batch_first):
    layer = lstm(batch_first=batch_first)
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    first, second = layer.run(x), layer.run(x)
    equal({"y": second[0], **second[1]}, {"y": first[0], **first[1]})


def test_what_is_given_out_is_the_callers_own():
    layer = lstm()
    wanted = layer(X).copy()
    first, state = layer.run(X)
    first[...], state["h"][...], state["c"][...] = np.nan, np.nan, np.nan
    second, again = layer.run(X, state={"h": np.zeros((3, 5), "f"), "c": np.zeros((3, 5), "f")})
    assert np.array_equal(second, wanted)
    assert not np.isnan(again["c"]).any()
    assert np.array_equal(layer(X), wanted)
    assert all(a.flags.owndata and a.flags.writeable for a in (second, *again.values()))


def test_a_state_that_was_given_is_not_remembered():
    layer = lstm()
    wanted, final = layer.run(X)
    layer.run(X, state=final)
    layer.run(X, state=final)
    equal({"y": layer.run(X)[0]}, {"y": wanted})
    equal({"y": layer(X)}, {"y": wanted})


def test_a_new_weight_counts_at_once():
    layer = lstm()
    before = [layer(X) for _ in range(3)]
    layer.weights["W_i"] = -layer.weights["W_i"]
    after = [layer(X) for _ in range(3)]
    assert np.array_equal(before[0], before[2])
    assert np.array_equal(after[0], after[2])
    assert not np.array_equal(before[0], after[0])


@pytest.mark.parametrize(
    "given_", [X.astype("float64"), X[:, ::-1], np.asfortranarray(X), X.tolist(), X.astype(X.dtype.newbyteorder())]
)
def test_what_is_not_exactly_alike_is_converted_as_ever(given_):
    layer = lstm()
    layer(X)
    assert np.array_equal(layer(given_), layer(np.ascontiguousarray(given_, "float32")))


def test_what_is_wrong_is_refused_as_ever():
    layer = lstm()
    layer(X)
    for wrong in (lambda: layer(X, X), lambda: layer(X[..., :3]), lambda: layer.run(X, state={"h": X[0]}), lambda: layer()):
        with pytest.raises(DataError):
            wrong()
    assert np.array_equal(layer(X), layer.run(X)[0])


def test_threads_that_call_the_same_layer_do_not_meet():
    layer = lstm()
    inputs = [np.random.default_rng(i).standard_normal((6, 3, 4)).astype("float32") for i in range(4)]
    wanted = [layer(x) for x in inputs]
    wrong = []

    def run(x, y):
        for _ in range(500):
            if not np.array_equal(layer(x), y):
                wrong.append(1)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(inputs, wanted, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_layer_remembers_few_shapes():
    layer = lstm()
    for n in range(1, 40):
        layer(np.zeros((n, 1, 4), "float32"))
    assert 0 < len(layer._reruns) <= 8
