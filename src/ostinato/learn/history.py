"""What training gave, epoch by epoch."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, overload

import numpy as np

from ..errors import FileError, MissingExtraError, OptionError, counted, known_names, lay_out

Array = np.ndarray[Any, np.dtype[Any]]


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


FIGURES = tuple(entry.name for entry in fields(Epoch))
HEADINGS = {"number": "epoch", "validation_loss": "validation loss", "validation_score": "validation score",
            "gradient_norm": "gradient norm", "learning_rate": "learning rate"}  # fmt: skip
SHOWN = 12  # epochs that are printed before the middle is left out


@dataclass(repr=False)
class History:
    """All epochs, and which one the weights are from. `print(history)` is a table, `history["loss"]` an array.

    Attributes:
        epochs: one after another.
        best_epoch: the number of the epoch whose weights the network has; 0: those that it began with.
        stopped_early: whether training ended before `max_epochs`, by patience or by the callback.
    """

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
        """One figure of all epochs, None where there is none: `history.column("validation_loss")`.

        Raises:
            OptionError: there is no such figure.
        """
        if name not in FIGURES:
            raise OptionError(lay_out(f"History: there is no figure `{name}`; {known_names(str(name), FIGURES, 'figures')}"))
        return [getattr(epoch, name) for epoch in self.epochs]

    @overload
    def __getitem__(self, name: str) -> Array: ...
    @overload
    def __getitem__(self, name: int) -> Epoch: ...
    def __getitem__(self, name: str | int) -> Array | Epoch:
        """`history["loss"]`: (n_epochs,), NaN where there is none; `history[-1]`: the last epoch.

        Raises:
            OptionError: there is no such figure, or no such epoch.
        """
        if isinstance(name, int | np.integer):
            if not -len(self) <= name < len(self):
                raise OptionError(lay_out(f"History: there is no epoch at place {name}; there are {len(self)}, from place 0"))
            return self.epochs[name]
        values = self.column(name)
        return np.array([np.nan if value is None else value for value in values], int if name == "number" else float)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)

    def __bool__(self) -> bool:
        return True  # a history without epochs is a history

    @property
    def best(self) -> Epoch | None:
        """The epoch whose weights the network has; None: those that it began with."""
        return next((epoch for epoch in self.epochs if epoch.number == self.best_epoch), None)

    def to_dict(self) -> dict[str, list[Any]]:
        """Every figure with its column, as `pandas.DataFrame` takes it."""
        return {name: self.column(name) for name in FIGURES}

    # --- to look at

    @property
    def summary(self) -> str:
        """One line: how many epochs in how much time, how training ended, and whose weights are there."""
        total = f"{counted(len(self), 'epoch')} in {duration(sum(self.column('seconds')))}"
        return f"{total}, {'stopped early, ' if self.stopped_early else ''}best epoch {self.best_epoch}"

    def __repr__(self) -> str:
        return f"<history of {self.summary}>"

    def __str__(self) -> str:
        heading, *rows = self._table()
        widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
        lines = ["  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in (heading, *rows)]
        return "\n".join([*lines, self.summary]) if rows else self.summary

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        heading, *rows = self._table()
        head = "".join(f"<th>{html.escape(text)}</th>" for text in heading)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        return f"{table}<p>{html.escape(self.summary)}</p>"

    def _table(self) -> list[list[str]]:
        """The headings and a row for each epoch that is shown: of many the first, the best and the last ones."""
        names = [name for name in FIGURES if any(value is not None for value in self.column(name))]
        rows = [[HEADINGS.get(name, name) for name in names]]
        chosen = list(range(len(self)))
        if len(self) > SHOWN:
            best = [i for i, epoch in enumerate(self.epochs) if epoch.number == self.best_epoch]
            chosen = sorted({*range(SHOWN // 2), *best, *range(len(self) - SHOWN // 2, len(self))})
        for i, place in enumerate(chosen):
            if i and place != chosen[i - 1] + 1:
                rows.append(["..." if name == "number" else "" for name in names])
            epoch = self.epochs[place]
            rows.append([_cell(name, getattr(epoch, name), best=epoch.number == self.best_epoch) for name in names])
        return rows

    def plot(self, axes: Any = None) -> Any:
        """The losses over the epochs, and where the best one is.

        Args:
            axes: of matplotlib, to draw into; new ones unless given.

        Returns:
            the axes.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        if axes is None:
            try:
                from matplotlib import pyplot
            except ImportError:
                raise MissingExtraError(lay_out('History.plot needs matplotlib: pip install "ostinato[plot]"')) from None
            axes = pyplot.subplots()[1]
        axes.plot(self["number"], self["loss"], label="training")
        checked = self["validation_loss"]
        if not np.isnan(checked).all():
            axes.plot(self["number"], checked, label="validation")
        if self.best is not None:
            axes.axvline(self.best_epoch, color="grey", linestyle=":", label=f"best epoch {self.best_epoch}")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.legend()
        return axes


def _cell(name: str, value: Any, *, best: bool) -> str:
    if value is None:
        return ""
    match name:
        case "number":
            return f"{'* ' if best else ''}{value}"
        case "learning_rate" | "gradient_norm":
            return f"{value:.4g}"
        case "seconds":
            return f"{value:.2f}"
        case _:
            return f"{value:.4f}"


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(0.25), duration(75), duration(7500)
    ('0.2 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
