"""Progress of training, on the standard error output."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

import numpy as np

from ..checks import check_whole
from ..errors import MissingExtraError, lay_out
from .history import Epoch, History, duration


class Progress:
    """Shows each epoch on the standard error output: a bar in a terminal, plain lines elsewhere. A context, and a callback.

    `train(..., verbose=1)` makes one by itself. Used as a callback outside of a `with`, it writes plain lines.

    Args:
        max_epochs: how many epochs there are at most.
        score_name: what the score of the validation examples is called.
        file: where to write, the standard error output unless given.

    Raises:
        OptionError: `max_epochs` is no whole number from 1 up.
        MissingExtraError: it is a terminal, and rich is not installed.
    """

    def __init__(self, max_epochs: int, score_name: str = "score", file: Any = None) -> None:
        check_whole("Progress", "max_epochs", max_epochs)
        self.max_epochs, self.score_name = int(max_epochs), score_name
        self._file = sys.stderr if file is None else file
        self._bar: Any = _bar(self._file) if self._file.isatty() else None
        self._task: Any = None
        self._seconds: list[float] = []

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self.max_epochs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        if self._task is not None:
            self._bar.stop()
            self._task = None

    def __call__(self, epoch: Epoch) -> None:
        self._seconds.append(epoch.seconds)
        text = self.text(epoch)
        left = self.max_epochs - epoch.number
        if left > 0:
            usual = float(np.median(self._seconds))  # the first one may have compiled
            text += f"  at most {duration(usual * left)} left"
        if self._task is None:
            self._write(text)
        else:
            self._bar.update(self._task, completed=epoch.number, description=text)

    def text(self, epoch: Epoch) -> str:
        """One line about an epoch."""
        text = f"epoch {epoch.number:>{len(str(self.max_epochs))}}/{self.max_epochs}  loss {epoch.loss:.4f}"
        if epoch.validation_loss is not None:
            text += f"  validation loss {epoch.validation_loss:.4f}"
        if epoch.validation_score is not None:
            text += f"  {self.score_name} {epoch.validation_score:.4f}"
        if epoch.learning_rate is not None:
            text += f"  rate {epoch.learning_rate:.3g}"
        return text

    def finish(self, history: History) -> None:
        """The last line: how many epochs there were, whether they ended early, and which was the best."""
        self.__exit__(None, None, None)
        self._write(history.summary)

    def _write(self, text: str) -> None:
        self._file.write(text + "\n")
        self._file.flush()


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
