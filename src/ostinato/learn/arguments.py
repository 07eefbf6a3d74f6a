"""What people type for `train`, made into what training works with, or answered before the first step."""

# ruff: noqa: N806 - X is the symbol of the equations

from __future__ import annotations

import os
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import is_number
from ..errors import DataError, FileError, OptionError, lay_out
from ..language.cell import Cell
from ..layers.composite import Composite
from ..layers.layer import Layer
from .examples import Examples, split
from .losses import Loss
from .optimisers import UpdateRule

Array = np.ndarray[Any, np.dtype[Any]]

# what other libraries call it
ELSEWHERE = {
    "epochs": "max_epochs", "n_epochs": "max_epochs", "num_epochs": "max_epochs", "max_iter": "max_epochs",
    "lr": "learning_rate", "learning_rate_init": "learning_rate", "optimizer": "update", "optim": "update", "rule": "update",
    "criterion": "loss", "loss_fn": "loss", "validation_data": "validation", "validation_split": "validation",
    "validation_fraction": "validation", "valid": "validation", "callbacks": "callback", "scheduler": "schedule",
    "lr_scheduler": "schedule", "seed": "rng", "random_state": "rng", "generator": "rng", "metrics": "score", "metric": "score",
    "scoring": "score", "batch": "batch_size", "clip": "clip_norm", "clipnorm": "clip_norm", "max_norm": "clip_norm",
    "early_stopping": "patience", "n_iter_no_change": "patience", "y": "target", "targets": "target", "labels": "target",
    "model": "network", "net": "network", "data": "examples", "X": "examples", "progress": "verbose",
}  # fmt: skip


def check_network(network: Any, owner: str) -> None:
    """Refuse what is no layer and no network.

    Raises:
        OptionError: what it is instead.
    """
    if isinstance(network, Layer | Composite):
        return
    headline = f"{owner}: a Layer or a Network is trained, not {_named(network)}"
    hint = ""
    if isinstance(network, Cell):
        sizes = "".join(f", {name}=..." for name in network.dimensions)
        headline = f"{owner}: a Layer or a Network is trained, not the cell {network.name}"
        hint = f"Layer({network.name}{sizes})"
    elif not isinstance(network, type) and callable(getattr(network, "fit", None)):
        hint = f"{type(network).__name__} trains by itself: .fit(X, y)"
    elif isinstance(network, list | tuple) and network and all(isinstance(part, Layer | Composite) for part in network):
        hint = "Network(*layers)"
    raise OptionError(lay_out(headline, hint=hint))


def as_examples(given: Any, target: Any, network: Layer | Composite, owner: str, what: str = "examples") -> Examples:
    """Examples, of whatever they were given as: Examples, (X, y), (X, y, lengths), or X with y beside it.

    Raises:
        DataError: there is no target, or there are two.
    """
    if isinstance(given, Examples):
        if target is not None:
            raise DataError(lay_out(f"{owner}: `target` is given, and the Examples have one already"))
        return given
    if target is not None:
        parts: tuple[Any, ...] = (given, target)
    elif isinstance(given, tuple) and len(given) in (2, 3):
        parts = given
    else:
        headline = f"{owner}: the {what} are (X, y) or Examples(X, y), and not {_named(given)}"
        raise DataError(lay_out(headline))
    X, y, lengths = (*parts, None)[:3]
    return Examples(X, y, lengths, batch_first=network.batch_first)


def drawn_for_validation(
    fraction: Any, examples: Examples, loss: Loss, generator: np.random.Generator, owner: str
) -> Array | None:  # fmt: skip
    """Places of a fraction of the examples, drawn at random; None for none.

    Of every class the same fraction is drawn where there is one label for each sequence.

    Raises:
        OptionError: what is given is no fraction from 0 up to, not including, 1.
        DataError: it is so small that nothing is drawn.
    """
    if not is_number(fraction) or not 0 <= fraction < 1:
        headline = f"{owner}: `validation` is (X, y), Examples, or the fraction of the examples to draw, not {_named(fraction)}"
        raise OptionError(lay_out(headline))
    if fraction == 0:
        return None
    target = examples.target
    labels = (
        target if loss.labels and isinstance(target, np.ndarray) and target.ndim == 1 and target.dtype.kind in "iu" else None
    )
    _, held_out = split(len(examples), float(fraction), generator, labels)
    if not len(held_out):
        raise DataError(lay_out(f"{owner}: `validation` is {fraction:g}, and of {len(examples)} examples that is none"))
    return held_out


def parted(examples: Examples, held_out: Array) -> tuple[Examples, Examples]:
    """The examples to learn from, and those to look at."""
    chosen = np.zeros(len(examples), bool)
    chosen[held_out] = True
    return examples.take(np.flatnonzero(~chosen)), examples.take(np.flatnonzero(chosen))


def as_rule(update: Any, learning_rate: Any, owner: str) -> UpdateRule:
    """An update rule that was given as itself, by name or as a cell.

    Raises:
        OptionError: there is none of that name, it is nothing of the kind, or the learning rate is given twice.
    """
    if isinstance(update, UpdateRule):
        if learning_rate is not None:
            headline = f"{owner}: `learning_rate` is given beside an UpdateRule, which has its own"
            raise OptionError(lay_out(headline, hint=f'UpdateRule("{update.name}", learning_rate=...)'))
        return update
    if not isinstance(update, str | Cell):
        headline = f"{owner}: `update` is the name of an update rule, a cell or an UpdateRule, not {_named(update)}"
        raise OptionError(lay_out(headline, hint='update="adam", learning_rate=1e-3'))
    if learning_rate is None:
        return UpdateRule(update)
    check_number(owner, "learning_rate", learning_rate)
    return UpdateRule(update, learning_rate=learning_rate)


def check_number(owner: str, name: str, value: Any) -> None:
    """Refuse what is no finite number above 0."""
    if not is_number(value) or not 0 < value < inf:
        raise OptionError(lay_out(f"{owner}: `{name}` is a number above 0, not {value!r:.80}"))


def check_function(owner: str, name: str, value: Any, shape: str) -> None:
    """Refuse what can not be called.

    Args:
        shape: how it is written, for the hint.
    """
    if value is not None and (not callable(value) or isinstance(value, type)):
        raise OptionError(lay_out(f"{owner}: `{name}` is a function, not {_named(value)}", hint=f"{name}={shape}"))


def figure_of(score: Any, owner: str) -> float:
    """What a score gave, as a number.

    Raises:
        OptionError: it is none.
    """
    array = np.asarray(score)
    if array.ndim or array.dtype.kind not in "fiub":
        raise OptionError(lay_out(f"{owner}: `score` gives one number, not {_named(score)}"))
    return float(array)


def check_files(checkpoint: Any, resume: Any, owner: str) -> tuple[Path | None, Path | None]:
    """The file to go on from, if there is one, and the file to write, if there is one.

    Raises:
        OptionError: neither path nor None; or `resume=True` and no `checkpoint`.
        FileError: the file to go on from is missing, the one to write is there already, or has no folder.
    """
    for name, path in (("checkpoint", checkpoint), ("resume", resume)):
        if path is not None and not isinstance(path, str | os.PathLike) and not (name == "resume" and isinstance(path, bool)):
            raise OptionError(lay_out(f"{owner}: `{name}` is the path of a file, not {_named(path)}"))
    written = None if checkpoint is None else Path(checkpoint)
    if resume is True and written is None:
        raise OptionError(lay_out(f"{owner}: `resume=True` goes on from the checkpoint, and there is no `checkpoint`"))
    read = None if resume is None or resume is False else written if resume is True else Path(resume)
    same = read is not None and written is not None and read.absolute() == written.absolute()
    if read is not None and not read.exists():
        if not same:
            hint = f'checkpoint="{read}", resume=True begins where there is no file yet'
            raise FileError(lay_out(f"{owner}: there is no `{read}` to go on from", hint=hint))
        read = None
    if written is not None and not same and written.exists():
        hint = f'resume="{written}" goes on from it'
        raise FileError(lay_out(f"{owner}: `{written}` is there already, and is not written over", hint=hint))
    written = read if written is None else written
    if written is not None and not written.absolute().parent.is_dir():
        raise FileError(lay_out(f"{owner}: `{written}` can not be written: there is no folder `{written.parent}`"))
    return read, written


def _named(value: Any) -> str:
    """A value of the wrong kind in a few words."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, bool | int | float | str):
        return f"{value!r:.60}"
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {tuple(shape)}" if isinstance(shape, tuple) else type(value).__name__
