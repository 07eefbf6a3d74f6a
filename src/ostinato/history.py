"""What training gave, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import FileError, lay_out


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
