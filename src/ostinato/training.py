"""Training: mini-batches in a fresh order, clipped gradients, a validation set, and the best weights at the end.

history = train(network, Examples(X, labels), loss=cross_entropy, update=UpdateRule("adam"), validation=Examples(...))
"""

# ruff: noqa: N803, N806 - X and Y are the symbols of the equations

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

import numpy as np

from .composite import Composite, input_port
from .errors import DataError, OptionError, lay_out
from .examples import Examples, split
from .fitting import belonging
from .history import Epoch, History
from .layer import Layer
from .losses import Loss
from .masks import generator_of
from .progress import Progress
from .updates import UpdateRule, clip_by_global_norm, global_norm

__all__ = ["Epoch", "Examples", "History", "Progress", "outputs", "split", "train"]

Array = np.ndarray[Any, np.dtype[Any]]


Callback = Callable[[Epoch], Any]
Score = Callable[[Any, Examples], float]


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
    examples = belonging(network, examples, loss, "train")
    validation = None if validation is None else belonging(network, validation, loss, "train")
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
    total, norms, answers = 0.0, [], examples.answers
    # so that the weights are 1 on average: a batch's loss is Σ weight loss / answers, and the batches of an epoch sum to
    # Σ weight loss / Σ weight
    mean_weight = examples.total_weight / max(1, examples.n_answers)
    order = generator.permutation(len(examples))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        n_answers = int(answers[places].sum())
        value, gradients = _gradients(network, examples, places, loss, n_answers * mean_weight, generator)
        if clip_norm is None:
            norm = global_norm(gradients)
        else:
            gradients, norm = clip_by_global_norm(gradients, clip_norm)
        update.step(network.weights, gradients)
        total += value * n_answers
        norms.append(norm)
    return total / max(1, examples.n_answers), float(np.mean(norms))


def _gradients(
    network: Layer | Composite, examples: Examples, places: Array, loss: Loss, divisor: float, generator: np.random.Generator
) -> tuple[float, Mapping[str, Array]]:  # fmt: skip
    """The loss of one batch, Σ weight loss / divisor, and its gradients."""
    value, gradients = 0.0, dict[str, Array]()
    for _, part in examples.passes(places, batch_first=network.batch_first):
        Y, pullback = network.vjp(part.X, lengths=part.lengths, training=True, rng=generator)
        whole = part.weights is None and len(part) == len(places)  # its average is that of the batch
        of_part, dY = loss_of(loss, Y, part, None if whole else divisor)
        found = pullback(dY).weights
        value += of_part
        gradients = {name: gradients[name] + g for name, g in found.items()} if gradients else dict(found)
    return value, gradients


def loss_of(loss: Loss, Y: Any, examples: Examples, divisor: float | None = None) -> tuple[float, Any]:
    """The loss of the network's output for these examples, and its gradient.

    The average, weighted if the examples are; with a divisor Σ weight loss / divisor. `Y` is as `outputs` gives it: for answers
    at every step of a list of sequences a list.
    """
    if not examples.per_step:
        return loss.average(Y, examples.target, weights=examples.weights, divisor=divisor)
    if not examples.ragged:
        return loss.average(Y, examples.target, examples.lengths, weights=examples.weights,
                            batch_first=examples.batch_first, divisor=divisor)  # fmt: skip
    ends = np.cumsum(examples.steps)[:-1]
    weights = None if examples.weights is None else np.repeat(examples.weights, examples.steps)
    value, dY = loss.average(np.concatenate(Y), np.concatenate(examples.target), weights=weights, divisor=divisor)
    return value, np.split(dY, ends)


def _looked_at(
    network: Layer | Composite, examples: Examples, loss: Loss, score: Score | None
) -> tuple[float, float | None]:  # fmt: skip
    """The loss of examples that are not learned, a batch at a time, and their score."""
    value, parts = 0.0, list[tuple[Array, Examples, Array]]()
    for places, part, Y in _answered(network, examples, 256):
        value += loss_of(loss, Y, part, examples.total_weight)[0]
        parts += [(places, part, Y)] if score is not None else []
    return value, None if score is None else score(_together(network, examples, parts), examples)


Prepare = Callable[[Array], Array]


def outputs(network: Layer | Composite, examples: Examples, batch_size: int = 256, prepare: Prepare | None = None) -> Any:
    """What the network answers, a batch at a time so that memory is that of one batch and of the answers.

    Args:
        batch_size: how many sequences at a time; sequences of like lengths run together.
        prepare: what is done to the X of a batch first, X -> X of the same shape; padding included.

    Returns:
        (n_samples, ...); of a network that answers at every step in the order of X, with zeros behind the end of a sequence;
        where X is a list, a list of (n_steps_i, ...).
    """
    return _together(network, examples, _answered(network, examples, batch_size, prepare))


def _answered(
    network: Layer | Composite, examples: Examples, batch_size: int, prepare: Prepare | None = None
) -> Iterator[tuple[Any, Examples, Array]]:  # fmt: skip
    """Places, these examples as one array, and what the network answers; sequences of like lengths together."""
    lengths = examples.lengths
    if lengths is None or (not examples.ragged and (lengths == lengths.max(initial=0)).all()):
        for start in range(0, len(examples), batch_size):  # slices, which copy nothing
            places = slice(start, min(start + batch_size, len(examples)))
            batch = examples.take(places).padded(batch_first=network.batch_first)
            yield places, batch, _answer(network, batch, prepare)
        return
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        for some, batch in examples.passes(order[start : start + batch_size], batch_first=network.batch_first):
            yield some, batch, _answer(network, batch, prepare)


def _answer(network: Layer | Composite, batch: Examples, prepare: Prepare | None) -> Array:
    Y: Array = network(batch.X if prepare is None else prepare(batch.X), lengths=batch.lengths)
    return Y


def _together(network: Layer | Composite, examples: Examples, parts: Iterable[tuple[Any, Examples, Array]]) -> Any:
    """The answers of all parts in the order of the examples."""
    result: Any = None
    n_samples, n_steps = len(examples), int(examples.steps.max(initial=0))
    if not examples.ragged:
        n_steps = examples.X.shape[1 if examples.batch_first else 0]
    for places, batch, Y in parts:
        if not examples.per_step:
            result = np.zeros((n_samples, *Y.shape[1:]), Y.dtype) if result is None else result
            result[places] = Y
            continue
        by_sample = Y if batch.batch_first else Y.swapaxes(0, 1)
        if examples.ragged:
            result = [None] * n_samples if result is None else result
            for place, answer, length in zip(range(n_samples)[places] if isinstance(places, slice) else places, by_sample,
                                             batch.steps, strict=True):  # fmt: skip
                result[place] = answer[:length].copy()
            continue
        if result is None:
            axes = (n_samples, n_steps) if examples.batch_first else (n_steps, n_samples)
            result = np.zeros((*axes, *Y.shape[2:]), Y.dtype)
        (result if examples.batch_first else result.swapaxes(0, 1))[places, : by_sample.shape[1]] = by_sample
    if result is not None:
        return result
    if examples.ragged and examples.per_step:
        return []
    X = np.zeros((0, 0, *input_port(network).value.type.sizes)) if examples.ragged else examples.padded().X
    return np.asarray(network(X))
