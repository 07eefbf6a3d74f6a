"""Schedules of the learning rate: plain objects, `schedule(epoch) -> rate`, the first epoch being 1.

    train(..., schedule="cosine")
    train(..., schedule=WarmUp(5).then(Cosine(minimum=1e-5)))
    train(..., schedule=lambda epoch: 0.01 if epoch < 10 else 0.001)      # any function is a schedule

What is not given, the learning rate and the number of epochs, `train` fills in: the rate of its update rule, and its
max_epochs. It works with a copy, so that one object serves any number of trainings. The formulas are those of
torch.optim.lr_scheduler, whose epochs begin with 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import cos, inf, isfinite, pi
from typing import Any, Self

from ..checks import check_whole, is_number
from ..errors import FileError, OptionError, known_names, lay_out

__all__ = ["SCHEDULES", "Constant", "Cosine", "Exponential", "OnPlateau", "Schedule", "Step", "WarmUp"]


def _number(owner: str, name: str, value: Any, *, low: float = 0.0, high: float = inf, closed: bool = False) -> None:
    """Refuse what is no number between two bounds; the lower one itself is taken if it is closed."""
    if not is_number(value) or not (low < value < high or (closed and value == low)):
        bounds = f"from {low:g} up" if closed else f"above {low:g}"
        bounds += f" and below {high:g}" if high < inf else ""
        raise OptionError(lay_out(f"{owner}: `{name}` is a number {bounds}, not {value!r}"))


@dataclass
class Schedule(ABC):
    """What all schedules share.

    Attributes:
        n_epochs: over how many epochs it goes; None: all of a training.
        learning_rate: where it begins; None: the rate of the update rule.
    """

    n_epochs: int | None = field(default=None, kw_only=True)
    learning_rate: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.n_epochs is not None:
            check_whole(name, "n_epochs", self.n_epochs)
        if self.learning_rate is not None:
            _number(name, "learning_rate", self.learning_rate)

    def __call__(self, epoch: int) -> float:
        """The learning rate of an epoch, from 1.

        Raises:
            OptionError: this is no number of an epoch, or the schedule does not know yet where to begin.
        """
        check_whole(type(self).__name__, "epoch", epoch)
        missing = [name for name in self._needed() if getattr(self, name) is None]
        if missing:
            name, wanted = type(self).__name__, " and ".join(f"`{name}`" for name in missing)
            headline = f"{name}: outside of training it needs {wanted}"
            raise OptionError(lay_out(headline, hint=f"{name}({', '.join(f'{name}=...' for name in missing)})"))
        return self._rate(int(epoch))

    def _needed(self) -> tuple[str, ...]:
        return ("learning_rate",)

    @abstractmethod
    def _rate(self, epoch: int) -> float: ...

    def begun(self, learning_rate: float, n_epochs: int) -> Self:
        """A copy with what was not given filled in, at the beginning of a training."""
        rate = learning_rate if self.learning_rate is None else self.learning_rate
        ends = max(1, n_epochs) if self.n_epochs is None and "n_epochs" in self._needed() else self.n_epochs
        return replace(self, learning_rate=rate, n_epochs=ends)

    def observe(self, loss: float) -> None:  # noqa: B027 - most schedules only count
        """What an epoch gave: the validation loss, or without validation the loss. `train` calls it after each."""

    def then(self, following: Schedule) -> Then:
        """This one for its `n_epochs`, and another one from there on, whose epochs begin with 1 again.

        Raises:
            OptionError: what follows is no schedule, or this one has no number of epochs.
        """
        return Then(self, following)

    @property
    def description(self) -> dict[str, Any]:
        """What it is, without what it has seen."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.init}
        shown = {name: value.description if isinstance(value, Schedule) else value for name, value in values.items()}
        return {"kind": type(self).__name__, **shown}

    @property
    def seen(self) -> dict[str, Any]:
        """What it remembers of the epochs so far, as JSON keeps it; {} if it only counts them."""
        return {}

    def restore(self, seen: Mapping[str, Any]) -> None:
        """Go on with what `seen` gave.

        Raises:
            FileError: it is something else.
        """
        if seen:
            raise FileError(
                lay_out(f"{type(self).__name__}: the file has something that it remembers, and it remembers nothing")
            )


@dataclass
class Constant(Schedule):
    """The same rate in every epoch; in front of another schedule: `Constant(n_epochs=10).then(Exponential())`."""

    def _rate(self, epoch: int) -> float:  # noqa: ARG002 - the same in all
        assert self.learning_rate is not None
        return float(self.learning_rate)


@dataclass
class Cosine(Schedule):
    """Half a wave down (Loshchilov and Hutter 2017, equation 5, without restarts); from n_epochs + 1 on the minimum.

    rate = minimum + (learning_rate - minimum) (1 + cos(π (epoch - 1) / n_epochs)) / 2.
    """

    minimum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _number("Cosine", "minimum", self.minimum, closed=True)

    def _needed(self) -> tuple[str, ...]:
        return ("learning_rate", "n_epochs")

    def _rate(self, epoch: int) -> float:
        assert self.learning_rate is not None
        assert self.n_epochs is not None
        passed = min(1.0, (epoch - 1) / self.n_epochs)
        return self.minimum + (self.learning_rate - self.minimum) * (1 + cos(pi * passed)) / 2


@dataclass
class Step(Schedule):
    """Times `factor` after `every` epochs: rate = learning_rate factor^⌊(epoch - 1) / every⌋."""

    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("Step", "every", self.every)
        _number("Step", "factor", self.factor)

    def _rate(self, epoch: int) -> float:
        assert self.learning_rate is not None
        return float(self.learning_rate * self.factor ** ((epoch - 1) // self.every))


@dataclass
class Exponential(Schedule):
    """Times `factor` after every epoch: rate = learning_rate factor^(epoch - 1)."""

    factor: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        _number("Exponential", "factor", self.factor)

    def _rate(self, epoch: int) -> float:
        assert self.learning_rate is not None
        return float(self.learning_rate * self.factor ** (epoch - 1))


@dataclass
class WarmUp(Schedule):
    """In even steps from start times the rate up to the rate itself, which epoch n_epochs + 1 has first; it stays there.

    rate = learning_rate (start + (1 - start) min(1, (epoch - 1) / n_epochs)). Followed by another one it is left behind after
    n_epochs: `WarmUp(5).then(Cosine())`.
    """

    n_epochs: int | None = 5
    start: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _number("WarmUp", "start", self.start, closed=True)

    def _needed(self) -> tuple[str, ...]:
        return ("learning_rate", "n_epochs")

    def _rate(self, epoch: int) -> float:
        assert self.learning_rate is not None
        assert self.n_epochs is not None
        return self.learning_rate * (self.start + (1 - self.start) * min(1.0, (epoch - 1) / self.n_epochs))


@dataclass
class OnPlateau(Schedule):
    """Times `factor` whenever the validation loss has not fallen for more than `patience` epochs (without validation the loss).

    It has fallen if it is below (1 - threshold) times the lowest one so far. Take a patience below that of training, which
    stops otherwise before the rate gets smaller.
    """

    factor: float = 0.1
    patience: int = 4
    threshold: float = 1e-4
    minimum: float = 0.0
    _rate_now: float | None = field(default=None, init=False, repr=False)
    _lowest: float = field(default=inf, init=False, repr=False)
    _waited: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _number("OnPlateau", "factor", self.factor, high=1.0)
        check_whole("OnPlateau", "patience", self.patience, low=0)
        _number("OnPlateau", "threshold", self.threshold, high=1.0, closed=True)
        _number("OnPlateau", "minimum", self.minimum, closed=True)

    def _rate(self, epoch: int) -> float:  # noqa: ARG002 - what it has seen decides
        assert self.learning_rate is not None
        return float(self.learning_rate if self._rate_now is None else self._rate_now)

    def observe(self, loss: float) -> None:
        if loss < self._lowest * (1 - self.threshold):
            self._lowest, self._waited = float(loss), 0
        else:
            self._waited += 1
        if self._waited > self.patience:
            self._rate_now, self._waited = max(self.minimum, self(1) * self.factor), 0

    @property
    def seen(self) -> dict[str, Any]:
        return {"rate": self._rate_now, "lowest": self._lowest, "waited": self._waited}

    def restore(self, seen: Mapping[str, Any]) -> None:
        try:
            rate, lowest, waited = seen["rate"], float(seen["lowest"]), int(seen["waited"])
            self._rate_now, self._lowest, self._waited = None if rate is None else float(rate), lowest, waited
        except (KeyError, TypeError, ValueError):
            raise FileError(lay_out("OnPlateau: the file does not say what it has seen")) from None


@dataclass
class Then(Schedule):
    """One schedule after another: `first.then(following)`."""

    first: Schedule
    following: Schedule

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.following, Schedule):
            headline = f"{type(self.first).__name__}: what follows is a schedule, not {self.following!r}"
            raise OptionError(lay_out(headline, hint="WarmUp(5).then(Cosine())"))
        if self.first.n_epochs is None:
            headline = f"{type(self.first).__name__}: it is followed by another, and has no `n_epochs` of its own"
            raise OptionError(lay_out(headline))
        if self.n_epochs is None and self.following.n_epochs is not None:
            self.n_epochs = int(self.first.n_epochs + self.following.n_epochs)
        self._passed = 0

    @property
    def _ends(self) -> int:
        assert self.first.n_epochs is not None
        return int(self.first.n_epochs)

    def _needed(self) -> tuple[str, ...]:
        return ()

    def _rate(self, epoch: int) -> float:
        return self.first(epoch) if epoch <= self._ends else self.following(epoch - self._ends)

    def begun(self, learning_rate: float, n_epochs: int) -> Self:
        first = self.first.begun(learning_rate, n_epochs)
        rest = self.following.begun(learning_rate, n_epochs - self._ends)
        return replace(self, first=first, following=rest)

    def observe(self, loss: float) -> None:
        self._passed += 1
        (self.first if self._passed <= self._ends else self.following).observe(loss)

    @property
    def seen(self) -> dict[str, Any]:
        return {"passed": self._passed, "first": self.first.seen, "following": self.following.seen}

    def restore(self, seen: Mapping[str, Any]) -> None:
        try:
            self.first.restore(seen["first"])
            self.following.restore(seen["following"])
            self._passed = int(seen["passed"])
        except (KeyError, TypeError, ValueError):
            raise FileError(lay_out("Then: the file does not say what the two schedules have seen")) from None


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant, "cosine": Cosine, "step": Step, "exponential": Exponential, "warm_up": WarmUp,
    "on_plateau": OnPlateau,
}  # fmt: skip
_ALSO = {"plateau": "on_plateau", "reduce_on_plateau": "on_plateau", "warmup": "warm_up", "cosine_annealing": "cosine"}


def as_schedule(schedule: Any, owner: str) -> Callable[[int], float] | None:
    """A schedule that was given as itself or by name; None for none.

    Raises:
        OptionError: there is none of that name, or it is nothing that can be called.
    """
    if isinstance(schedule, str):
        name = schedule.strip().lower().replace("-", "_").replace(" ", "_")
        name = _ALSO.get(name, name)
        if name not in SCHEDULES:
            known = known_names(name, SCHEDULES, "schedules")
            raise OptionError(lay_out(f"{owner}: there is no schedule `{schedule}`; {known}"))
        return SCHEDULES[name]()
    if isinstance(schedule, type) and issubclass(schedule, Schedule):
        headline = f"{owner}: `schedule` is the class {schedule.__name__}, not a schedule of that kind"
        raise OptionError(lay_out(headline, hint=f"schedule={schedule.__name__}()"))
    if schedule is None or (callable(schedule) and not isinstance(schedule, type)):
        return schedule
    headline = f"{owner}: `schedule` is a schedule, its name or a function of the number of the epoch, not {schedule!r:.80}"
    raise OptionError(lay_out(headline, hint='schedule="cosine", or schedule=lambda epoch: 0.01 * 0.9 ** epoch'))


def rate_of(schedule: Callable[[int], float], epoch: int, owner: str) -> float:
    """What a schedule says of an epoch.

    Raises:
        OptionError: it is no finite number from 0 up.
    """
    rate: Any = schedule(epoch)
    if not is_number(rate) or not isfinite(rate) or rate < 0:
        headline = f"{owner}: the schedule gives {rate!r:.80} for epoch {epoch}; a learning rate is a finite number from 0 up"
        raise OptionError(lay_out(headline))
    return float(rate)
