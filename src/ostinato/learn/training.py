"""Training: mini-batches in a fresh order, clipped gradients, a validation set, and the best weights at the end.

    history = train(network, (X, y), loss="cross_entropy", update="adam", learning_rate=1e-3, validation=0.1, verbose=1)

Training that fails or is interrupted leaves the best weights too; with a `checkpoint` it goes on where it stopped.
"""

# ruff: noqa: N803, N806 - X and Y are the symbols of the equations

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ..calls import answering
from ..checks import check_whole
from ..errors import DataError, OptionError, counted, lay_out
from ..layers.composite import Composite, input_port
from ..layers.layer import Layer
from ..process.interrupts import whole
from ..runtime.masks import generator_of
from . import arguments
from .checkpoint import Kept, Standing, fingerprint_of, name_of
from .examples import Examples, split
from .fitting import belonging
from .history import Epoch, History
from .losses import Loss, as_loss
from .optimisers import UpdateRule, clip_factor, global_norm
from .progress import Progress
from .schedules import Schedule, as_schedule, rate_of

__all__ = ["Epoch", "Examples", "History", "Progress", "outputs", "split", "train"]

Array = np.ndarray[Any, np.dtype[Any]]


Callback = Callable[[Epoch], Any]
Score = Callable[[Any, Examples], float]
OWNER, RATE = "train", "learning_rate"


@partial(answering, elsewhere=arguments.ELSEWHERE, example='train(network, X, y, loss="mse")')
def train(
    network: Layer | Composite, examples: Any, target: Any = None, *, loss: Any, update: Any = "adam",
    learning_rate: float | None = None, validation: Any = None, batch_size: int = 32, max_epochs: int = 50,
    patience: int | None = 10, clip_norm: float | None = 1.0, schedule: Any = None, score: Score | None = None,
    score_name: str = "score", rng: Any = 0, callback: Callback | None = None, checkpoint: Any = None, resume: Any = None,
    verbose: int = 0,
) -> History:  # fmt: skip
    """Train a network, or a layer.

    Args:
        examples: Examples, or (X, y), or X with y as `target`: X (n_steps, n_samples, ...), or a list of sequences.
        loss: a Loss, its name ("cross_entropy", "mse") or a cell of output and target.
        update: an UpdateRule, its name ("adam", "sgd") with a `learning_rate` beside it, or a cell.
        validation: examples that are only looked at, or the fraction of the examples to draw for that (0.1). With them,
            training stops when their loss has not fallen for `patience` epochs (None: never), and the weights of the best epoch
            are put back, with what the rule remembered then. Without them the last weights stay.
        clip_norm: the length to which all gradients of a batch together are cut; None for no limit.
        schedule: of the learning rate: one of `ostinato.schedules`, its name ("cosine", "on_plateau", "warm_up"), or a function
            epoch number, from 1 -> learning rate. The setting of the rule itself is put back at the end.
        score: (output, examples) -> a figure of the validation examples, for the history; `score_name` is shown with it.
        rng: seed or generator, for the order of the examples and the masks of dropout.
        callback: is called after every epoch; training ends if it returns True.
        checkpoint: a file that is replaced after every epoch, with all that training needs to go on. One that is there already
            is refused, unless `resume` names it too, or is True: then training goes on from it, and begins if there is none.
        resume: a file to go on from, with the same bits as if it had never stopped; it is written on after every epoch unless
            `checkpoint` is another one. Everything else is given as before; `max_epochs` may be larger.
        verbose: 1 shows progress on the standard error output.

    Returns:
        the history.

    Raises:
        OptionError: an argument that does not exist, or of an impossible value.
        DataError: no examples, data that do not fit, or a loss that is no longer finite.
        FileError: a checkpoint that can not be read or written, or is of another training.

        What ends training too early, be it an interrupt, puts back the weights of the best epoch first (without validation: of
        the lowest loss), and what the rule remembered then. It has the attribute `history`.
    """
    arguments.check_network(network, OWNER)
    settings = _Settings(batch_size, max_epochs, patience, clip_norm, score, score_name, callback, verbose)
    read, written = arguments.check_files(checkpoint, resume, OWNER)
    rule, asked = arguments.as_rule(update, learning_rate, OWNER), as_schedule(schedule, OWNER)
    standing = Standing.beginning(network, rule, generator_of(rng, OWNER), asked, max_epochs)
    training = _Training(standing, as_loss(loss, OWNER), settings, written)
    training.take(arguments.as_examples(examples, target, network, OWNER), validation)
    progress = Progress(max_epochs, score_name) if verbose else None
    training.begin(read, rng)
    with progress or contextlib.nullcontext():
        training.run(progress)
    return standing.history


@dataclass(frozen=True)
class _Settings:
    batch_size: int
    max_epochs: int
    patience: int | None
    clip_norm: float | None
    score: Score | None
    score_name: str
    callback: Callback | None
    verbose: int

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_epochs", *(["patience"] if self.patience is not None else [])):
            check_whole(OWNER, name, getattr(self, name))
        if self.clip_norm is not None:
            arguments.check_number(OWNER, "clip_norm", self.clip_norm)
        arguments.check_function(OWNER, "score", self.score, "lambda Y, examples: ...")
        arguments.check_function(OWNER, "callback", self.callback, "lambda epoch: print(epoch.loss)")
        if not isinstance(self.score_name, str):
            raise OptionError(lay_out(f"{OWNER}: `score_name` is a text, not {self.score_name!r:.80}"))
        if not isinstance(self.verbose, bool):
            check_whole(OWNER, "verbose", self.verbose, low=0)


@dataclass
class _Training:
    """One call of `train`."""

    standing: Standing
    loss: Loss
    settings: _Settings
    written: Path | None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False  # whether the file is of this call alone

    def take(self, examples: Examples, validation: Any) -> None:
        """The data: what is learned from, and what is looked at."""
        network, standing = self.standing.network, self.standing
        if not len(examples):
            raise DataError(lay_out(f"{OWNER}: there are no examples"))
        examples = belonging(network, examples, self.loss, OWNER)
        self.whole, self.examples, self.fraction = examples, examples, None
        self.validation: Examples | None = None
        if isinstance(validation, Examples | tuple):
            self.validation = arguments.as_examples(validation, None, network, OWNER, "validation examples")
            if not len(self.validation):
                raise DataError(lay_out(f"{OWNER}: there are no validation examples"))
            self.validation = belonging(network, self.validation, self.loss, f"{OWNER}, validation")
        elif validation is not None:
            standing.held_out = arguments.drawn_for_validation(validation, examples, self.loss, standing.generator, OWNER)
            self.fraction = validation
        self._part()

    def _part(self) -> None:
        if self.standing.held_out is not None:
            self.examples, self.validation = arguments.parted(self.whole, self.standing.held_out)

    def begin(self, read: Path | None, rng: Any) -> None:
        """Where the file stands that is gone on from; and the first write of the one that is written, which may be refused."""
        standing, settings = self.standing, self.settings
        if read is None and self.written is None:
            return
        told = {
            "batch_size": settings.batch_size, "patience": settings.patience, "clip_norm": settings.clip_norm,
            "schedule": name_of(standing.schedule), "score": name_of(settings.score), "rng": _seed(rng),
        }  # fmt: skip
        looked_at = self.fraction if self.fraction is not None else self.validation
        self.fingerprint = fingerprint_of(standing.network, standing.rule, self.loss, told, self.whole, looked_at)
        if read is not None:
            standing.load(read, self.fingerprint, settings.max_epochs)
            standing.history.stopped_early = self._waited_enough
            self._part()
        if self.written is not None and self.written != read:
            self.fresh = read is None
            standing.save(self.written, self.fingerprint)

    @property
    def _waited_enough(self) -> bool:
        standing = self.standing
        patience = inf if self.settings.patience is None else self.settings.patience
        return self.validation is not None and len(standing.history) - standing.kept.epoch >= patience

    def run(self, progress: Progress | None) -> None:
        """All epochs, and the weights that are to stay."""
        standing, settings = self.standing, self.settings
        history = standing.history
        try:
            while len(history) < settings.max_epochs and not history.stopped_early:
                epoch = self._epoch(len(history) + 1)
                if progress is not None:
                    progress(epoch)
                stopped = settings.callback is not None and settings.callback(epoch) is True
                history.stopped_early = stopped or self._waited_enough
                if self.written is not None:
                    standing.save(self.written, self.fingerprint)
            standing.end(best=self.validation is not None)
        except BaseException as error:
            changed = bool(len(history)) or not standing.kept.is_now(standing.network, standing.rule)
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C must not leave half of it; the first goes on
                whole(partial(standing.end, best=True))
            history.best_epoch, history.stopped_early = standing.kept.epoch, True
            if self.fresh and not len(history) and self.written is not None:
                self.written.unlink(missing_ok=True)  # nothing is lost with it, and the same call may be made again
            self._tell(error, changed=changed)
            raise
        if progress is not None:
            progress.finish(history)

    def _epoch(self, number: int) -> Epoch:
        started = time.perf_counter()
        standing, settings = self.standing, self.settings
        network, rule = standing.network, standing.rule
        if standing.schedule is not None:
            rule.settings[RATE] = rate_of(standing.schedule, number, OWNER)
        average, norm = _one_epoch(
            network, self.examples, self.loss, rule, settings.batch_size, settings.clip_norm, standing.generator
        )
        checked, figure = (None, None)
        if self.validation is not None:
            checked, figure = _looked_at(network, self.validation, self.loss, settings.score)
            figure = None if figure is None else arguments.figure_of(figure, OWNER)
        rate = float(rule.settings[RATE]) if RATE in rule.settings else None
        epoch = Epoch(number, average, checked, figure, norm, rate, time.perf_counter() - started)
        whole(partial(self._note, epoch))
        for value in (average, checked):
            if value is not None and not isfinite(value):
                headline = f"{OWNER}: the loss of epoch {number} is {value}"
                raise DataError(lay_out(headline, hint="a smaller learning_rate, or a smaller clip_norm"))
        if isinstance(standing.schedule, Schedule):
            standing.schedule.observe(average if checked is None else checked)
        return epoch

    def _note(self, epoch: Epoch) -> None:
        """An epoch in the history, and its weights kept if it is the best: both or neither."""
        standing, history = self.standing, self.standing.history
        if not history.epochs or history.epochs[-1] is not epoch:
            history.epochs.append(epoch)
        losses = [epoch.loss] if epoch.validation_loss is None else [epoch.validation_loss, epoch.loss]
        # the loss of an epoch is of before its last step, which may have broken the weights
        numbers: list[Any] = [losses, *standing.network.weights.values()]
        if losses[0] < standing.kept.loss and all(np.isfinite(a).all() for a in numbers):
            standing.kept = Kept.of(standing.network, standing.rule, epoch.number, losses[0])
        history.best_epoch = epoch.number if epoch.validation_loss is None else standing.kept.epoch

    def _tell(self, error: BaseException, *, changed: bool) -> None:
        """What became of the network, on the error that goes on to the caller."""
        history = self.standing.history
        notes = []
        if changed:
            epoch = self.standing.kept.epoch
            weights = f"of epoch {epoch}" if epoch else "that it began with"
            note = f"{OWNER}: {counted(len(history), 'epoch')} of {self.settings.max_epochs}"
            notes.append(f"{note}; the network has the weights {weights} again, and this error the attribute `history`")
            if self.written is not None and len(history):
                notes.append(f'{OWNER}: resume="{self.written}" goes on')
        with contextlib.suppress(Exception):  # an exception of the user's own making may take no attributes
            error.history = history  # type: ignore[attr-defined]
            for note in notes:
                error.add_note(note)


def _seed(rng: Any) -> Any:
    """A seed as it was given; the state of a generator is in the file."""
    return np.asarray(rng).tolist() if isinstance(rng, int | np.integer | list | tuple | np.ndarray) else None


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
        factor, norm = (1.0, global_norm(gradients)) if clip_norm is None else clip_factor(gradients, clip_norm)
        update.step(network.weights, gradients, scale=factor)
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
