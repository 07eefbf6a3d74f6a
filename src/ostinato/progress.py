"""Progress of training, on the standard error output."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from .errors import MissingExtraError, lay_out
from .history import Epoch


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
