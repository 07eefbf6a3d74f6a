"""Training: mini-batches in a fresh order, clipped gradients, a validation set, and the best weights at the end.

history = train(network, Examples(X, labels), loss=cross_entropy, update=UpdateRule("adam"), validation=Examples(...))
"""

# ruff: noqa: N803, N806 - X and Y are the symbols of the equations

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np

from .composite import Composite
from .errors import DataError, OptionError, lay_out
from .examples import Examples, split
from .history import Epoch, History
from .layer import Layer
from .losses import Loss
from .masks import generator_of
from .progress import Progress
from .updates import UpdateRule, clip_by_global_norm, global_norm

__all__ = ["Epoch", "Examples", "History", "Progress", "outputs", "split", "train"]

Array = np.ndarray[Any, np.dtype[Any]]


Callback = Callable[[Epoch], Any]
Score = Callable[[Array, Examples], float]


def train(
    network: Layer | Composite, examples: Examples, *, loss: Loss, update: UpdateRule, validation: Examples | None = None,
    batch_size: int = 32, max_epochs: int = 50, patience: int = 10, clip_norm: float | None = 1.0,
    schedule: Callable[[int], float] | None = None, score: Score | None = None, rng: Any = 0, callback: Callback | None = None,
) -> History:  # fmt: skip
    """Train a network, or a layer.

    Args:
        validation: examples that are only looked at. With them, training stops when their loss has not fallen for `patience`
            epochs, and the weights of the best epoch are put back.
        clip_norm: the length to which all gradients of a batch together are cut; None for no limit.
        schedule: epoch number, from 1 -> learning rate.
        score: (output, examples) -> a figure of the validation examples, for the history.
        rng: seed or generator, for the order of the examples and the masks of dropout.
        callback: is called after every epoch; training ends if it returns True.

    Returns:
        the history.

    Raises:
        OptionError: a setting of an impossible value.
        DataError: no examples, data that do not fit, or a loss that is no longer finite.
    """
    _check(batch_size=batch_size, max_epochs=max_epochs, patience=patience)
    if not len(examples) or (validation is not None and not len(validation)):
        raise DataError(
            lay_out("train: there are no examples" if not len(examples) else "train: there are no validation examples")
        )
    generator = generator_of(rng, "train")
    history = History()
    best, best_weights = np.inf, dict(network.weights)
    for number in range(1, max_epochs + 1):
        started = time.perf_counter()
        if schedule is not None:
            update.settings["learning_rate"] = schedule(number)
        average, norm = _one_epoch(network, examples, loss, update, batch_size, clip_norm, generator)
        checked, figure = (None, None) if validation is None else _looked_at(network, validation, loss, score)
        for value in (average, checked):
            if value is not None and not isfinite(value):
                headline = f"train: the loss of epoch {number} is {value}"
                raise DataError(lay_out(headline, hint="a smaller learning_rate, or a smaller clip_norm"))
        rate = float(update.settings["learning_rate"]) if "learning_rate" in update.settings else None
        history.epochs.append(Epoch(number, average, checked, figure, norm, rate, time.perf_counter() - started))
        if checked is None or checked < best:
            best, history.best_epoch = np.inf if checked is None else checked, number
            best_weights = dict(network.weights)
        stopped = callback is not None and callback(history.epochs[-1]) is True
        history.stopped_early = stopped or number - history.best_epoch >= patience
        if history.stopped_early:
            break
    network.weights.update(best_weights)
    return history


def _check(**settings: int) -> None:
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise OptionError(lay_out(f"train: `{name}` is a whole number from 1 up, not {value!r}"))


def _one_epoch(
    network: Layer | Composite, examples: Examples, loss: Loss, update: UpdateRule, batch_size: int, clip_norm: float | None,
    generator: np.random.Generator,
) -> tuple[float, float]:  # fmt: skip
    """The average loss, and the average length of the gradients."""
    total, norms = 0.0, []
    for batch in examples.batches(batch_size, generator.permutation(len(examples))):
        Y, pullback = network.vjp(batch.X, lengths=batch.lengths, training=True, rng=generator)
        value, dY = loss_of(loss, Y, batch)
        gradients = pullback(dY).weights
        if clip_norm is None:
            norm = global_norm(gradients)
        else:
            gradients, norm = clip_by_global_norm(gradients, clip_norm)
        update.step(network.weights, gradients)
        total += value * batch.n_answers
        norms.append(norm)
    return total / max(1, examples.n_answers), float(np.mean(norms))


def loss_of(loss: Loss, Y: Array, examples: Examples) -> tuple[float, Array]:
    """The loss of the network's output for these examples, and its gradient."""
    lengths = examples.lengths if examples.per_step else None
    return loss(Y, examples.target, lengths=lengths, batch_first=examples.batch_first)


def _looked_at(
    network: Layer | Composite, examples: Examples, loss: Loss, score: Score | None
) -> tuple[float, float | None]:  # fmt: skip
    Y = outputs(network, examples)
    return loss_of(loss, Y, examples)[0], None if score is None else score(Y, examples)


def outputs(network: Layer | Composite, examples: Examples, batch_size: int = 256) -> Array:
    """What the network answers, a batch at a time so that memory stays small; zeros behind the end of a sequence."""
    if not len(examples):
        return np.asarray(network(examples.X, lengths=examples.lengths))
    instances, steps = (0, 1) if examples.batch_first else (1, 0)
    parts = []
    for batch in examples.batches(batch_size):
        Y = network(batch.X, lengths=batch.lengths)
        if examples.per_step:
            missing = examples.X.shape[steps] - batch.X.shape[steps]
            Y = np.pad(Y, [(0, missing if axis == steps else 0) for axis in range(Y.ndim)])
        parts.append(Y)
    return np.concatenate(parts, axis=instances if examples.per_step else 0)
