"""Estimators in random use: what was learned from anything is what was learned from plain arrays, and answers everywhere."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import ostinato
from ostinato import RecurrentClassifier, RecurrentRegressor
from tests.random_data import LAYOUTS, copied, drawn, frame, permuted, same_thing, wrong
from tests.random_moments import interrupted
from tests.random_subjects import all_same, same_bits
from tests.random_travel import carry, refused

Array = np.ndarray[Any, Any]
Generator = np.random.Generator
LABELS = (
    ["bird", "plane", "kite"], [b"bird", b"plane", b"kite"], [3, -1, 7], [False, True, True], [2.0, 1.0, 4.0], ["é", "", " "]
)  # fmt: skip


class Data:
    """Sequences and answers of some kind, and the same as plain float64 arrays."""

    def __init__(self, rng: Generator, *, regression: bool) -> None:
        self.rng = rng
        self.n_samples, self.n_features = int(rng.integers(8, 16)), int(rng.integers(1, 4))
        self.ragged = bool(rng.random() < 0.6)
        n_steps = rng.integers(0, 7, self.n_samples) if self.ragged else np.full(self.n_samples, rng.integers(1, 7))
        if self.ragged:
            n_steps[:2] = 1, rng.choice([4, 60])  # and one long sequence among short ones
        dtype = str(rng.choice(["float64", "float64", "float32", "float16", "int8", "bool"]))
        self.plain = [drawn(rng, (int(n), self.n_features), dtype) for n in n_steps]
        self.names = [f"f{i}" for i in range(self.n_features)]
        self.kind = str(rng.choice(["arrays", "frames"] if self.ragged else ["arrays", "frames", "array", "array"]))
        self.X = self.spelled()
        self.regression, self.classes = regression, LABELS[int(rng.integers(len(LABELS)))]
        self.single = bool(rng.random() < 0.5)
        if regression:
            self.plain_y: Any = drawn(rng, (self.n_samples,) if self.single else (self.n_samples, 2))
            self.y = _a_way(rng, self.plain_y)
        else:
            places = rng.integers(0, int(rng.integers(2, 4)), self.n_samples)
            places[:4] = 0, 1, 0, 1
            chosen = [self.classes[i] for i in places]
            self.plain_y = np.array(chosen)
            self.y = _labels(rng, chosen)
        self.log = (
            f"{self.kind} of {dtype}, {n_steps.tolist()} steps of {self.n_features}, y {type(self.y).__name__} {self.y!r:.80}"
        )

    def spelled(self) -> Any:
        """X in a fresh spelling of its kind; the first frame has the names in their order."""
        rng = self.rng
        unfit = {"broadcast", *(["DLPack and back"] if self.plain[0].dtype == bool else [])}
        layouts = [name for name in LAYOUTS if name not in unfit]
        if self.kind == "array":
            stacked = np.stack(self.plain)
            return LAYOUTS[str(rng.choice(layouts))](stacked)
        if self.kind == "arrays":
            ways = [str(rng.choice(layouts)) if x.size else "plain" for x in self.plain]
            return [LAYOUTS[way](x) for way, x in zip(ways, self.plain, strict=True)]
        library = str(rng.choice(["pandas", "polars"]))
        made = [frame(x, self.names, library, mixed=bool(rng.random() < 0.3)) for x in self.plain]
        return [made[0], *(permuted(rng, f) for f in made[1:])]

    def plain_X(self) -> Any:
        arrays = [x.astype(np.float64) for x in self.plain]
        return arrays if self.kind != "array" else np.stack(arrays)


def _a_way(rng: Generator, y: Array) -> Any:
    ways = [y, y.tolist(), y.astype(np.float32), np.asfortranarray(y), np.repeat(y, 2, axis=0)[::2], y.astype(object)]
    if y.ndim == 1:
        ways += [pd.Series(y, index=np.arange(len(y))[::-1]), pl.Series(y)]
    else:
        ways += [pd.DataFrame(y), pl.DataFrame(y)]
    return ways[int(rng.integers(len(ways)))]


def _labels(rng: Generator, labels: list[Any]) -> Any:
    array = np.array(labels)
    ways = [array, labels, tuple(labels), array.astype(object), np.repeat(array, 2)[::2]]
    if not isinstance(labels[0], bytes):
        ways += [pd.Series(labels), pl.Series(labels), pd.Series(labels, dtype="category"), pd.DataFrame({"y": labels})]
    return ways[int(rng.integers(len(ways)))]


def settings(rng: Generator) -> dict[str, Any]:
    return {
        "cell": str(rng.choice(["lstm", "gru", "recurrent", "min_gru"])),
        "n_neurons": int(rng.integers(1, 7)),
        "n_layers": int(rng.choice([1, 1, 2])),
        "bidirectional": bool(rng.random() < 0.25),
        "max_epochs": int(rng.integers(1, 4)),
        "dropout": float(rng.choice([0, 0, 0.3])),
        "batch_size": int(rng.choice([3, 5, 64])),
        "random_state": int(rng.integers(99)),
        "validation_fraction": float(rng.choice([0, 0.3])),
        "scale_inputs": bool(rng.random() < 0.7),
        "dtype": str(rng.choice(["float32", "float64"])),
        "clip_norm": [None, 1.0][int(rng.integers(2))],
    }


def answers(model: Any, X: Any) -> Array:
    """The finest that it says."""
    return np.asarray(model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X))


def estimators(rng: Generator, n_actions: int, log: list[str]) -> None:
    """One estimator, fitted and asked in random ways."""
    regression = bool(rng.random() < 0.4)
    data = Data(rng, regression=regression)
    made = (RecurrentRegressor if regression else RecurrentClassifier)(**settings(rng))
    log += [repr(made), data.log]
    before = copied(data.X)
    model = made.fit(data.X, data.y)
    assert same_thing(data.X, before), "X has been changed by fit"
    plain = clone(made).fit(data.plain_X(), data.plain_y)
    all_same("what was learned", dict(model.network_.weights), dict(plain.network_.weights))
    right = answers(plain, data.plain_X())
    if not regression:
        same_bits("classes", np.asarray(model.classes_.tolist()), np.asarray(plain.classes_.tolist()))
    for _ in range(max(1, n_actions // 3)):
        action = [asked, asked, one_by_one, streamed, carried, carried, mistaken, weighed, stopped][int(rng.integers(9))]
        log.append(f"{action.__name__}:")
        model = action(model, data, right, log) or model
        with warnings.catch_warnings():  # plain arrays, of a model that knows names
            warnings.simplefilter("ignore", UserWarning)
            same_bits("answers behind an action", answers(model, data.plain_X()), right)


def asked(model: Any, data: Data, right: Array, log: list[str]) -> None:
    X = data.spelled()
    if data.kind == "frames":
        X = [permuted(data.rng, x) for x in X]
    before = copied(X)
    same_bits("answers", answers(model, X), right)
    assert same_thing(X, before), "X has been changed by predict"
    if not data.regression:
        best = model.classes_[right.argmax(axis=1)]
        assert model.predict(X).tolist() == best.tolist()
        assert (
            abs(model.score(X, data.y) - np.mean([a == b for a, b in zip(best.tolist(), data.plain_y.tolist(), strict=True)]))
            < 1e-12
        )
    order = data.rng.permutation(len(data.plain))
    if data.rng.random() < 0.5 and data.kind != "array":
        some = answers(model, [X[i] for i in order])
        _alike(model, "answers in another order", some, right[order])


def _alike(model: Any, what: str, found: Array, expected: Array) -> None:
    """The same bits of native code; of NumPy, which multiplies other shapes in another order, the same to rounding."""
    if next(iter(model.network_.layers.values())).backend == "native":
        same_bits(what, found, expected)
    else:
        limit = 1e-3 if model.dtype == "float32" else 1e-9
        assert np.max(np.abs(found - expected), initial=0) <= limit * max(1.0, np.max(np.abs(expected))), what


def one_by_one(model: Any, data: Data, right: Array, log: list[str]) -> None:
    X = data.spelled()
    for i in data.rng.permutation(len(data.plain))[:4]:
        one = X[i : i + 1]
        _alike(model, f"answer {i} by itself", answers(model, one), right[i : i + 1])


def streamed(model: Any, data: Data, right: Array, log: list[str]) -> None:
    method = "predict" if data.regression else "predict_proba"
    if model.bidirectional:
        refused(model.stream, method)
        return
    stream = model.stream(method)
    for i in data.rng.permutation(len(data.plain))[:4]:
        stream.reset()
        answer = None
        for t, row in enumerate(data.plain[i]):
            if data.rng.random() < 0.2:
                way, stream = carry(data.rng, stream)
                log.append(f"  a stream by {way} before step {t}")
            if data.rng.random() < 0.1:
                bad, way = wrong(data.rng, row)
                log.append(f"  step {t}: {way}")
                if way != "a dictionary":
                    refused(stream, bad)
            given = row.tolist() if data.rng.random() < 0.3 else row
            if data.kind == "frames" and data.rng.random() < 0.3:
                given = {name: row[data.names.index(name)] for name in data.rng.permutation(data.names)}
            answer = stream(given)
        if answer is not None:
            _alike(model, f"the last answer to {i}", np.asarray(answer), right[i])


def carried(model: Any, data: Data, right: Array, log: list[str]) -> Any:
    if data.rng.random() < 0.4:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            model.save(path)
            other = ostinato.load(path)
        way = "save"
    else:
        way, other = carry(data.rng, model)
    log.append(f"  by {way}")
    if not data.regression:
        assert other.classes_.tolist() == model.classes_.tolist()
    assert other.get_params() == model.get_params()
    assert (
        getattr(other, "feature_names_in_", np.array([])).tolist() == getattr(model, "feature_names_in_", np.array([])).tolist()
    )
    assert other.history_["loss"].tolist() == model.history_["loss"].tolist()
    return other


def mistaken(model: Any, data: Data, right: Array, log: list[str]) -> None:
    rng = data.rng
    i = int(rng.integers(1, len(data.plain)))
    bad, way = wrong(rng, data.plain[i] if data.plain[i].size else np.ones((1, data.n_features)))
    log.append(f"  X[{i}] is {way}")
    X = [*data.plain[:i], bad, *data.plain[i + 1 :]]
    ask = [lambda: model.fit(X, data.plain_y), lambda: model.predict(X)][int(rng.integers(2))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        refused(ask)
        refused(lambda: model.fit(data.X, data.plain_y[:-1]))
        refused(lambda: model.fit(data.X, None))
        refused(lambda: clone(model).predict(data.X))
        refused(lambda: clone(model).set_params(batch_size=0).fit(data.X, data.y))
        refused(lambda: model.set_params(neurons=3))
        refused(lambda: model.fit(data.X, data.y, sample_weight=-np.ones(len(data.plain))))
        spoiled = [x.astype(np.float64) for x in data.plain]
        spoiled[1][0, 0] = [np.nan, np.inf, -np.inf][int(rng.integers(3))]
        refused(lambda: model.fit(spoiled, data.plain_y))
        refused(lambda: model.predict(spoiled))


def weighed(model: Any, data: Data, right: Array, log: list[str]) -> None:
    """A weight of k is k copies, in one full batch."""
    whole = {"batch_size": 10_000, "validation_fraction": 0, "dtype": "float64", "dropout": 0, "max_epochs": 2}
    counts = data.rng.integers(0, 4, len(data.plain))
    counts[:2] = 1, 2
    places = np.repeat(np.arange(len(counts)), counts)
    one = clone(model).set_params(**whole).fit(data.plain_X(), data.plain_y, sample_weight=counts)
    X = data.plain_X()
    copies = X[places] if data.kind == "array" else [X[i] for i in places]
    other = clone(model).set_params(**whole).fit(copies, data.plain_y[places])
    for name, array in other.network_.weights.items():
        off = float(np.max(np.abs(array - one.network_.weights[name]), initial=0))
        assert off < 1e-5, f"weight {name} with copies and with weights: {off}"


def stopped(model: Any, data: Data, right: Array, log: list[str]) -> None:
    """Ctrl-C in `fit`: what was fitted before is still there, or what the best epoch gave."""
    other = clone(model).set_params(max_epochs=50, patience=50)
    seconds = float(data.rng.random() ** 2 * 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        out = interrupted(lambda: other.fit(data.X, data.y), seconds)
    log.append(f"  after {seconds} s: {'KeyboardInterrupt' if out else 'fitted'}")
    if hasattr(other, "network_"):
        epochs = other.history_.best_epoch
        plain = clone(model).set_params(max_epochs=max(1, epochs), patience=50).fit(data.plain_X(), data.plain_y)
        if epochs:
            all_same("weights of the best epoch", dict(other.network_.weights), dict(plain.network_.weights))
            same_bits("answers", answers(other, data.X), answers(plain, data.plain_X()))
    else:
        assert out
        refused(other.predict, data.X)
