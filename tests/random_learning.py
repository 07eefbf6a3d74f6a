"""Trainings, estimators and commands in random use; each round makes its own and does something with it, again and again.

A training that was interrupted is compared with one that was never begun so long, one that goes on from its file with one that
never stopped, what was learned from frames with what was learned from arrays: to the last bit.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ostinato import Bidirectional, Dropout, Examples, LastStep, Layer, Network, UpdateRule, cells, train
from tests.random_commands import commands
from tests.random_data import given, lengths, wrong
from tests.random_estimators import estimators
from tests.random_moments import interrupted
from tests.random_subjects import all_same, same_bits
from tests.random_travel import carry, refused

Array = np.ndarray[Any, Any]
Generator = np.random.Generator
N_EPOCHS = 5


class Task:
    """A training that can be made again and again, each time from its beginning."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.n_samples, self.n_steps, self.n_features = (
            int(rng.integers(8, 20)),
            int(rng.integers(1, 7)),
            int(rng.integers(1, 4)),
        )
        self.n_outputs, self.n_neurons = int(rng.integers(2, 4)), int(rng.integers(1, 7))
        self.classes, self.per_step = bool(rng.random() < 0.5), bool(rng.random() < 0.3)
        self.form, self.dtype = int(rng.integers(4)), str(rng.choice(["float32", "float64"]))
        self.batch_first, self.cell = bool(rng.random() < 0.3), [cells.lstm, cells.gru, cells.recurrent][int(rng.integers(3))]
        steps_first = (self.n_steps, self.n_samples)
        self.leading = steps_first[::-1] if self.batch_first else steps_first
        self.X = given(rng, (*self.leading, self.n_features), "float64", lists=False)
        leading = self.leading if self.per_step else (self.n_samples,)
        if self.classes:
            places = rng.integers(0, self.n_outputs, leading)
            places.reshape(-1)[:2] = 0, 1
            self.y, self.plain_y = [places, places.astype(np.int8), places.tolist()][int(rng.integers(3))], places
        else:
            target = given(rng, (*leading, self.n_outputs), "float64")
            self.y, self.plain_y = target.value, target.plain
        self.lengths = None
        if rng.random() < 0.4:
            self.lengths = lengths(rng, self.n_steps, self.n_samples)
        self.weights = rng.integers(0, 3, self.n_samples) + 0.5 if rng.random() < 0.2 else None
        self.options: dict[str, Any] = {
            "loss": "cross_entropy" if self.classes else str(rng.choice(["mse", "mae", "huber"])),
            "validation": [None, 0.25, 0.4][int(rng.integers(3))],
            "batch_size": int(rng.integers(2, 12)),
            "rng": int(rng.integers(99)),
            "schedule": [None, None, "cosine", "on_plateau", "warm_up"][int(rng.integers(5))],
            "clip_norm": [None, 1.0, 0.1][int(rng.integers(3))],
            "patience": [None, 2, 10][int(rng.integers(3))],
        }
        self.update = str(rng.choice(["adam", "sgd", "adamw", "rmsprop"]))
        self.rate = float(rng.choice([0.003, 0.03, 0.3]))

    def __str__(self) -> str:
        data = (
            f"X {self.leading} {self.X.kind}, lengths {self.lengths and self.lengths.kind}, weights {self.weights is not None}"
        )
        return f"{self.network()!r}, per_step={self.per_step}, {data}, {self.update} {self.rate}, {self.options}"

    def network(self) -> Network:
        layer = partial(Layer, dtype=self.dtype, batch_first=self.batch_first)
        first: Any = layer(self.cell, n_inputs=self.n_features, n_neurons=self.n_neurons, seed=1)
        width = self.n_neurons
        if self.form == 1:
            behind = layer(self.cell, n_inputs=self.n_features, n_neurons=self.n_neurons, seed=2, reverse=True)
            first, width = Bidirectional(first, behind), 2 * width
        last = first if self.per_step else LastStep(first)
        dropped = [Dropout(0.3)] if self.form == 2 else []
        return Network(last, *dropped, layer(cells.dense, n_inputs=width, n_outputs=self.n_outputs, seed=3))

    def examples(self, *, plain: bool = False) -> Examples:
        X, y = (self.X.plain.copy(), self.plain_y.copy()) if plain else (self.X.value, self.y)
        n = None if self.lengths is None else self.lengths.plain.copy() if plain else self.lengths.value
        return Examples(X, y, n, per_step=self.per_step, batch_first=self.batch_first, weights=self.weights)

    def rule(self) -> UpdateRule:
        return UpdateRule(self.update, learning_rate=self.rate)

    def train(self, network: Network, *, plain: bool = True, rule: Any = None, **more: Any) -> Any:
        options = {"max_epochs": N_EPOCHS, "update": rule or self.rule(), **self.options, **more}
        return train(network, self.examples(plain=plain), **options)


def weights_of(network: Any) -> dict[str, Array]:
    return {name: np.array(array) for name, array in network.weights.items()}


def figures(history: Any, n: int | None = None) -> list[Any]:
    rows = zip(history["loss"], history["validation_loss"], history["gradient_norm"], strict=True)
    return [tuple(map(repr, map(float, row))) for row in rows][:n]


def training(rng: Generator, n_actions: int, log: list[str]) -> None:
    """One task, trained as a whole, and in all the ways in which that can be disturbed."""
    task = Task(rng)
    log.append(str(task))
    network = task.network()
    history = task.train(network)
    right = weights_of(network)
    assert len(history) <= N_EPOCHS
    assert all(np.isfinite(array).all() for array in right.values())
    for _ in range(max(1, n_actions // 4)):
        action = [other_kinds, ended_by_callback, ended_by_timer, ended_by_timer, gone_on, gone_on, mistaken][
            int(rng.integers(7))
        ]
        log.append(f"{action.__name__}:")
        action(task, right, history, log)


def other_kinds(task: Task, right: dict[str, Array], history: Any, log: list[str]) -> None:
    network = task.network()
    way, network = carry(task.rng, network)
    log.append(f"  a network by {way}")
    again = task.train(network, plain=False)
    all_same("weights learned from other kinds", weights_of(network), right)
    assert figures(again) == figures(history)
    task.X.check_untouched()


def check_best(task: Task, network: Any, begun: dict[str, Array], history: Any) -> None:
    """The weights are those that a training gives that ends at the best epoch, which is the one of the lowest loss."""
    if not history.best_epoch:
        all_same("weights that it began with", weights_of(network), begun)
        return
    watched = history["loss"] if task.options["validation"] is None else history["validation_loss"]
    assert history.best_epoch == 1 + int(np.nanargmin(watched))
    if task.options["schedule"] in ("cosine", "warm_up"):
        return  # they look at max_epochs
    other = task.network()
    task.train(other, max_epochs=history.best_epoch, patience=None)
    all_same("weights of the best epoch", weights_of(network), weights_of(other))


class ThisError(Exception):
    """An error of a user's own."""


def ended_by_callback(task: Task, right: dict[str, Array], history: Any, log: list[str]) -> None:
    network, rule = task.network(), task.rule()
    begun = weights_of(network)
    at = int(task.rng.integers(1, N_EPOCHS + 2))
    error = [KeyboardInterrupt(), ThisError("here")][int(task.rng.integers(2))]
    log.append(f"  {error!r} in epoch {at}")

    def callback(epoch: Any) -> None:
        if epoch.number == at:
            raise error

    try:
        again = task.train(network, rule=rule, callback=callback)
    except (KeyboardInterrupt, ThisError) as caught:
        again = caught.history  # type: ignore[union-attr]
        assert len(again) == at
        assert again.stopped_early
        check_best(task, network, begun, again)
    else:
        all_same("weights", weights_of(network), right)
    assert figures(again) == figures(history, len(again))
    assert float(rule.settings["learning_rate"]) == task.rate


def ended_by_timer(task: Task, right: dict[str, Array], history: Any, log: list[str]) -> None:
    network, rule = task.network(), task.rule()
    begun, told = weights_of(network), []
    n_done = 0

    def once() -> None:
        nonlocal network, rule, n_done
        network, rule = task.network(), task.rule()
        begun_now = weights_of(network)
        all_same("new weights", begun_now, begun)
        try:
            task.train(network, rule=rule)
        except KeyboardInterrupt as error:
            told.append(getattr(error, "history", None))
            raise
        n_done += 1

    seconds = float(task.rng.random() ** 2 * 0.2)
    stopped = interrupted(once, seconds)
    log.append(f"  after {seconds} s: {told}, {n_done} were done")
    now = weights_of(network)
    if told and told[0] is not None:
        assert figures(told[0]) == figures(history, len(told[0]))
        check_best(task, network, begun, told[0])
        assert float(rule.settings["learning_rate"]) == task.rate
    elif stopped:  # before the first epoch, or behind the last one
        assert any(all(np.array_equal(now[name], side[name]) for name in side) for side in (begun, right))
    task.train(network, rule=rule, max_epochs=1)  # and it can go on


def gone_on(task: Task, right: dict[str, Array], history: Any, log: list[str]) -> None:
    at = int(task.rng.integers(1, N_EPOCHS + 1))
    by_timer, seconds = bool(task.rng.random() < 0.4), float(task.rng.random() * 0.2)
    log.append(f"  checkpoint, {f'{seconds} s' if by_timer else f'epoch {at}'}")

    def callback(epoch: Any) -> None:
        if epoch.number == at:
            raise KeyboardInterrupt

    with TemporaryDirectory() as folder:
        path = Path(folder) / "night.safetensors"
        network = task.network()
        if by_timer:
            interrupted(lambda: task.train(task.network(), checkpoint=path, resume=path), seconds)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                task.train(network, checkpoint=path, callback=callback)
        left = [p.name for p in Path(folder).iterdir() if p.name != path.name]
        assert not left or by_timer, f"files are left: {left}"
        if path.exists():
            other = task.network()
            before = weights_of(other)
            refused(task.train, other, resume=path, batch_size=task.options["batch_size"] + 1)
            refused(task.train, other, checkpoint=path)
            all_same("weights of a training that was refused", weights_of(other), before)
        _, network = carry(task.rng, task.network())
        again = task.train(network, checkpoint=path, resume=path)
        assert figures(again) == figures(history), "a history that went on"
        assert (again.best_epoch, again.stopped_early) == (history.best_epoch, history.stopped_early)
        all_same("weights of a training that went on", weights_of(network), right)


def mistaken(task: Task, right: dict[str, Array], history: Any, log: list[str]) -> None:
    rng = task.rng
    network = task.network()
    before = weights_of(network)
    bad, way = wrong(rng, task.X.plain)
    log.append(f"  X is {way}")
    X, y = task.X.plain, task.plain_y
    options = {"max_epochs": 1, **task.options}
    refused(lambda: train(network, (bad, y), **options))
    settings = {
        "update": "adama",
        "loss": "msa",
        "batch_size": 0,
        "patience": -1,
        "clip_norm": "1",
        "schedule": "cosines",
        "rng": "seed",
        "validation": 1.5,
        "max_epochs": 2.5,
        "callback": 3,
        "learning": 0.1,
        "checkpoint": 7,
    }
    name = str(rng.choice(list(settings)))
    log.append(f"  {name} is {settings[name]!r}")
    refused(lambda: train(network, task.examples(plain=True), **{**options, name: settings[name]}))
    refused(lambda: train(network, (X[:, :0], y[:0]), **options))
    refused(lambda: train(network, task.examples(plain=True), y, **options))
    nan = X.copy()
    nan.reshape(-1)[int(rng.integers(nan.size))] = np.nan
    all_same("weights of a training that was refused", weights_of(network), before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        refused(lambda: train(network, Examples(nan, y, per_step=task.per_step, batch_first=task.batch_first), **options))
    assert all(np.isfinite(array).all() for array in weights_of(network).values()), "weights are not finite"
    same_bits("X", X, task.X.plain)


ROUNDS: dict[str, tuple[Callable[[Generator, int, list[str]], None], int]] = {
    "training": (training, 2), "estimators": (estimators, 2), "commands": (commands, 1),
}  # fmt: skip
