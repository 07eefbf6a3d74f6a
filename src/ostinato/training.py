"""Training: mini-batches in a fresh order, clipped gradients, a validation set, and the best weights at the end.

history = train(network, Examples(X, labels), loss=cross_entropy, update=UpdateRule("adam"), validation=Examples(...))
"""

# ruff: noqa: N803, N806 - X and Y are the symbols of the equations

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from types import TracebackType
from typing import Any, Self

import numpy as np

from .composite import Composite
from .errors import DataError, FileError, MissingExtraError, OptionError, lay_out
from .layer import Layer
from .losses import Loss
from .masks import generator_of
from .updates import UpdateRule, clip_factor, global_norm

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Examples:
    """Sequences, and what the network should answer.

    Attributes:
        X: (n_steps, n_samples, ...), or (n_samples, n_steps, ...) for a network with batch_first.
        target: (n_samples, ...); or, for a network that answers at every step, with the two leading axes of X.
        lengths: (n_samples,) or None.
        per_step: whether the target has steps.
        batch_first: the order of the leading axes.
    """

    X: Array
    target: Array
    lengths: Array | None = None
    per_step: bool = False
    batch_first: bool = False

    def __post_init__(self) -> None:
        n_samples = self.X.shape[0 if self.batch_first else 1] if self.X.ndim > 1 else -1
        leading = self.X.shape[:2] if self.per_step else (n_samples,)
        fits = self.target.shape[: len(leading)] == leading
        if n_samples < 0 or not fits or (self.lengths is not None and self.lengths.shape != (n_samples,)):
            lengths = "" if self.lengths is None else f", lengths {self.lengths.shape}"
            order = "n_samples, n_steps" if self.batch_first else "n_steps, n_samples"
            headline = (
                f"Examples: X {self.X.shape}, target {self.target.shape}{lengths} do not belong together; X is ({order}, ...)"
            )
            raise DataError(lay_out(headline))

    def __len__(self) -> int:
        return int(self.X.shape[0 if self.batch_first else 1])

    @property
    def n_answers(self) -> int:
        """How many answers the network is asked for: one for each sequence, or one for each valid step."""
        if not self.per_step:
            return len(self)
        n_steps = self.X.shape[1 if self.batch_first else 0]
        return len(self) * n_steps if self.lengths is None else int(self.lengths.sum())

    def take(self, places: Array) -> Examples:
        """Some of them, cut behind the longest."""
        instances, steps = (0, 1) if self.batch_first else (1, 0)
        X = self.X.take(places, instances)
        target = self.target.take(places, instances if self.per_step else 0)
        if self.lengths is None:
            return replace(self, X=X, target=target)
        lengths = self.lengths[places]
        longest = range(int(lengths.max(initial=0)))
        target = target.take(longest, steps) if self.per_step else target
        return replace(self, X=X.take(longest, steps), target=target, lengths=lengths)

    def batches(self, size: int, order: Array | None = None) -> Iterator[Examples]:
        """All of them, `size` at a time."""
        order = np.arange(len(self)) if order is None else order
        for start in range(0, len(order), size):
            yield self.take(order[start : start + size])


@dataclass(frozen=True)
class Epoch:
    """What one pass over all examples gave.

    Attributes:
        number: from 1.
        loss: the average over the epoch, while the weights changed.
        validation_loss, validation_score: at its end; None without validation or score.
        gradient_norm: the average over the updates, before clipping.
        learning_rate: None where the rule has no setting of that name.
        seconds: how long it took.
    """

    number: int
    loss: float
    validation_loss: float | None
    validation_score: float | None
    gradient_norm: float
    learning_rate: float | None
    seconds: float


@dataclass
class History:
    """All epochs, and which one the weights are from."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False

    @classmethod
    def of_description(cls, saved: Mapping[str, Any]) -> History:
        """What `dataclasses.asdict` made of a history.

        Raises:
            FileError: it is something else.
        """
        try:
            history = cls(**{**saved, "epochs": [Epoch(**epoch) for epoch in saved["epochs"]]})
        except (TypeError, KeyError):
            raise FileError(lay_out("the history in the file is not one of training")) from None
        return history

    def column(self, name: str) -> list[Any]:
        """One figure of all epochs: `history.column("validation_loss")`."""
        return [asdict(epoch)[name] for epoch in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)


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
        factor, norm = (1.0, global_norm(gradients)) if clip_norm is None else clip_factor(gradients, clip_norm)
        update.step(network.weights, gradients, scale=factor)
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


def split(
    n_samples: int, fraction: float, rng: np.random.Generator, labels: Array | None = None
) -> tuple[Array, Array]:  # fmt: skip
    """Places for training and for validation, drawn at random; of each label the same fraction, if labels are given.

    Of every label at least one sample stays in training. Where validation would be empty, it is.
    """
    if labels is None:
        labels = np.zeros(n_samples, int)
    held_out = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        held_out.append(places[: min(round(fraction * len(places)), len(places) - 1)])
    chosen = np.zeros(n_samples, bool)
    chosen[np.concatenate(held_out or [np.zeros(0, int)])] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


class Progress:
    """Shows each epoch on the standard error output: a bar in a terminal, plain lines elsewhere. A context, and a callback.

    Raises:
        MissingExtraError: it is a terminal, and rich is not installed.
    """

    def __init__(self, max_epochs: int, score_name: str = "score", file: Any = None) -> None:
        self.max_epochs, self.score_name = max_epochs, score_name
        self._file = sys.stderr if file is None else file
        self._bar: Any = _bar(self._file) if self._file.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self.max_epochs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, epoch: Epoch) -> None:
        text = self.text(epoch)
        if self._bar is None:
            self._file.write(text + "\n")
            self._file.flush()
        else:
            self._bar.update(self._task, completed=epoch.number, description=text)

    def text(self, epoch: Epoch) -> str:
        """One line about an epoch."""
        text = f"epoch {epoch.number:>{len(str(self.max_epochs))}}/{self.max_epochs}  loss {epoch.loss:.4f}"
        if epoch.validation_loss is not None:
            text += f"  validation loss {epoch.validation_loss:.4f}"
        if epoch.validation_score is not None:
            text += f"  {self.score_name} {epoch.validation_score:.4f}"
        return text


def _bar(file: Any) -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        headline = 'a progress bar needs rich: pip install "ostinato[terminal]", or verbose=0'
        raise MissingExtraError(lay_out(headline)) from None
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
    return Bar(*columns, console=Console(file=file))
