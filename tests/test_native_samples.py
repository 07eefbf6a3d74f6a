"""Batches of an estimator by native code: the bits of the definition, `Scale.apply` in float64, wherever the samples lie."""

import numpy as np
import pytest

from ostinato import DataError
from ostinato.lower.samples import samples_module
from ostinato.lower.target import TARGETS
from ostinato.native import samples as native_samples
from ostinato.native.jit import compile_module
from ostinato.native.samples import fill, rows_of

from .helpers import assert_equal

pytest.importorskip("sklearn")
from ostinato.estimators import RecurrentClassifier
from ostinato.estimators.samples import samples_of
from ostinato.estimators.scaling import Scale

RNG = np.random.default_rng(0)
GIVEN = {
    "array": lambda X: X,
    "list": list,
    "every other step": lambda X: X[:, ::2],
    "reversed samples": lambda X: X[::-1],
    "reversed list": lambda X: [x[::-1] for x in X],
    "steps first": lambda X: np.ascontiguousarray(X.swapaxes(0, 1)).swapaxes(0, 1),
    "one step for all": lambda X: np.broadcast_to(X[:, :1], X.shape),
    "of other lengths": lambda X: [x[: i % (len(x) + 1)] for i, x in enumerate(X)],
    "nowhere aligned": lambda X: np.frombuffer(b"." + X.tobytes(), X.dtype, X.size, offset=1).reshape(X.shape),
    "features of a table": lambda X: np.concatenate([X, X], axis=2)[:, :, : X.shape[2]],
    "columns, which NumPy reads": lambda X: [np.asfortranarray(x) for x in X],
    "every other column, which NumPy reads": lambda X: np.repeat(X, 2, axis=2)[:, :, ::2],
    "of several dtypes, which NumPy reads": lambda X: [
        x.astype(("float32", "float64", "int32")[i % 3]) for i, x in enumerate(X)
    ],
    "the other byte order, which NumPy reads": lambda X: X.astype(X.dtype.newbyteorder()),
    "whole numbers, which NumPy reads": lambda X: X.astype(np.int16),
}


def scale_of(n_features):
    return Scale(RNG.normal(3.0, 1.0, n_features), RNG.uniform(0.1, 2.0, n_features))


def numbers(*shape, dtype="float32"):
    return RNG.normal(3.0, 100.0, shape).astype(dtype)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 8, 17])
@pytest.mark.parametrize("after", ["float32", "float64"])
@pytest.mark.parametrize("before", ["float32", "float64"])
@pytest.mark.parametrize("given", GIVEN)
def test_every_bit_is_that_of_the_definition(given, before, after, n_features):
    samples = samples_of(GIVEN[given](numbers(37, 6, n_features, dtype=before)), "test")
    by_numpy = given.endswith("NumPy reads") and not (n_features == 1 and "column" in given)
    assert (rows_of(samples.arrays, samples.lengths) is None) == by_numpy
    scale, places = scale_of(n_features), RNG.permutation(37)[:35]
    found, lengths = samples.batch(places, scale, after, native=True)
    known, same_lengths = samples.batch(places, scale, after)
    assert found.dtype == after
    assert_equal(found, known)
    assert (lengths is None) == (same_lengths is None)
    for j, i in enumerate(places):
        x = samples.arrays[i]
        assert_equal(found[: len(x), j], scale.apply(x.astype(np.float64)).astype(after))
        assert not found[len(x) :, j].any()


def test_one_feature_as_a_column_of_a_row():
    X = [numbers(n)[:, None] for n in (5, 1, 0, 7)]
    samples = samples_of(X, "test")
    assert rows_of(samples.arrays, samples.lengths) is not None
    scale = scale_of(1)
    assert_equal(
        samples.batch(np.arange(4), scale, "float32", native=True)[0], samples.batch(np.arange(4), scale, "float32")[0]
    )


def test_sequences_that_are_all_empty():
    samples = samples_of([np.zeros((0, 3)), np.zeros((0, 3))], "test")
    found, _ = samples.batch(np.arange(2), scale_of(3), "float32", native=True)
    assert found.shape == (0, 2, 3)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("n_features", [1, 3, 8])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_what_is_no_number_is_found_wherever_it_stands(value, n_features, listed):
    for place in [(0, 0, 0), (20, 5, n_features - 1), (7, 3, n_features // 2)]:
        X = numbers(21, 6, n_features, dtype="float64")
        X[place] = value
        samples = samples_of(list(X) if listed else X, "test")
        said = []
        for native in (False, True):
            with pytest.raises(DataError) as error:
                samples.batch(np.arange(21), Scale.none(n_features), "float32", native=native)
            said.append(str(error.value))
        assert said[0] == said[1]
        assert f"X[{place[0]}][{place[1]}, {place[2]}] is" in said[1]


def test_the_limit_itself_fits():
    limit = float(np.sqrt(np.finfo("float32").max))
    X = np.array([[[-limit], [0.0], [limit]]])
    out, arguments = np.empty((3, 1, 1)), (rows_of(X, np.array([3])), np.arange(1), np.zeros(1), np.ones(1))
    assert fill(out, *arguments, limit)
    assert not fill(out, *arguments, float(np.nextafter(limit, 0)))


def test_where_arrays_lie_is_read_as_numpy_says():
    arrays = [numbers(4, 6)[::-1, 1:3], numbers(3, 5).T, np.zeros((0, 3)), numbers(9)[:, None]]
    assert native_samples._alike()
    for found, asked in zip(native_samples._read(arrays), native_samples._asked(arrays), strict=True):
        assert_equal(found, asked)


def test_where_arrays_are_laid_out_otherwise_numpy_is_asked(monkeypatch):
    samples = samples_of(list(numbers(9, 4, 3)), "test")
    monkeypatch.setattr(native_samples, "_alike", lambda: False)
    monkeypatch.setattr(native_samples, "_read", None)
    scale = scale_of(3)
    assert_equal(
        samples.batch(np.arange(9), scale, "float32", native=True)[0], samples.batch(np.arange(9), scale, "float32")[0]
    )


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_written_for_every_target(target):
    assert compile_module(str(samples_module(TARGETS[target], "f32", "f32")), TARGETS[target])


@pytest.mark.parametrize("listed", [False, True])
def test_an_estimator_learns_and_answers_the_same_however_its_samples_lie(listed):
    X, y = numbers(1500, 5, 2), np.arange(1500) % 2
    model = RecurrentClassifier(n_neurons=3, max_epochs=1, random_state=0).fit(X[:200], y[:200])
    other = RecurrentClassifier(n_neurons=3, max_epochs=1, random_state=0).fit(np.asfortranarray(X[:200]), y[:200])
    given = [x[: 1 + i % 5] for i, x in enumerate(X)] if listed else X
    found = model.decision_function(given)
    assert_equal(found, other.decision_function([np.asfortranarray(x) for x in given] if listed else np.asfortranarray(X)))
    assert_equal(found[::100], np.concatenate([model.decision_function([given[i]]) for i in range(0, 1500, 100)]))
