"""Where a training stands, in one file: what goes on from it has the same bits as what never stopped.

    arrays       network.*, rule.*          the weights now, and what the rule remembers of them
                 best.*, best_rule.*        of the best epoch, where that is not now
    description  history, epoch of the best weights, state of the generator and of the schedule
                 fingerprint                what the training is: network, rule, loss, settings, and a hash of the data
                 digest                     of all of it, so that a damaged file is known

Dropout in training draws from the generator of `train`, so that the layers' own generators have no part in it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import FileError, OptionError, counted, lay_out
from ..layers.composite import Composite
from ..layers.layer import Layer
from .examples import Examples
from .history import History
from .losses import Loss
from .optimisers import UpdateRule
from .schedules import Schedule

Array = np.ndarray[Any, np.dtype[Any]]
KIND, RATE = "training", "learning_rate"


@dataclass(frozen=True)
class Kept:
    """The weights of one epoch, and what the rule was then."""

    epoch: int
    loss: float
    weights: Mapping[str, Array]
    rule: Mapping[str, Any]
    remembered: Mapping[str, Array]

    @classmethod
    def of(cls, network: Layer | Composite, rule: UpdateRule, epoch: int = 0, loss: float = inf) -> Kept:
        """As both are now. The arrays of weights are never written to, so that they are not copied."""
        return cls(epoch, loss, dict(network.weights), rule.description, rule.arrays)

    def put_back(self, network: Layer | Composite, rule: UpdateRule) -> None:
        """Both as they were. The weights first, and without new memory, which may be what was missing."""
        if network.weights.adopts:
            network.weights.adopt(self.weights)
        else:
            network.weights.update(self.weights)
        rule.restore(self.rule, self.remembered)

    def is_now(self, network: Layer | Composite, rule: UpdateRule) -> bool:
        """Whether nothing has changed since."""
        return self.rule == rule.description and all(network.weights[name] is array for name, array in self.weights.items())


@dataclass
class Standing:
    """Where a training stands: everything that changes while it runs."""

    network: Layer | Composite
    rule: UpdateRule
    generator: np.random.Generator
    schedule: Callable[[int], float] | None
    history: History
    kept: Kept
    rate: float | None  # the setting of the rule before a schedule changed it
    held_out: Array | None = None  # the places of the examples that were drawn for validation

    @classmethod
    def beginning(
        cls, network: Layer | Composite, rule: UpdateRule, generator: np.random.Generator,
        schedule: Callable[[int], float] | None, max_epochs: int,
    ) -> Standing:  # fmt: skip
        """Before the first epoch.

        Raises:
            OptionError: there is a schedule, and the rule has no learning rate.
        """
        rate = float(rule.settings[RATE]) if RATE in rule.settings else None
        if schedule is not None and rate is None:
            headline = f"train: the rule {rule.name} has no setting `{RATE}` that a schedule could change"
            raise OptionError(lay_out(headline))
        if isinstance(schedule, Schedule):
            assert rate is not None
            schedule = schedule.begun(rate, max_epochs)
        return cls(network, rule, generator, schedule, History(), Kept.of(network, rule), rate)

    def end(self, *, best: bool) -> None:
        """The best weights and what the rule remembered of them, or what is there now; and the learning rate of before."""
        if best and not self.kept.is_now(self.network, self.rule):
            self.kept.put_back(self.network, self.rule)
        if self.schedule is not None:
            self.rule.settings[RATE] = self.rate

    def save(self, path: Path, fingerprint: Mapping[str, Any]) -> None:
        """Replace the file, whole or not at all.

        Raises:
            FileError: it can not be written.
        """
        arrays = _prefixed("network.", dict(self.network.weights)) | _prefixed("rule.", self.rule.arrays)
        if not self.kept.is_now(self.network, self.rule):
            arrays |= _prefixed("best.", self.kept.weights) | _prefixed("best_rule.", self.kept.remembered)
        if self.held_out is not None:
            arrays["held_out"] = self.held_out
        description = {
            "kind": KIND,
            "network": self.network.description,
            "fingerprint": fingerprint,
            "history": asdict(self.history),
            "rule": self.rule.description,
            "best": {"epoch": self.kept.epoch, "loss": self.kept.loss, "rule": self.kept.rule},
            "generator": _plain(self.generator.bit_generator.state),
            "schedule": self.schedule.seen if isinstance(self.schedule, Schedule) else {},
        }
        files.write(path, arrays, {**description, "digest": _digest(arrays, description)})

    def load(self, path: Path, fingerprint: Mapping[str, Any], max_epochs: int) -> None:
        """Stand where the file says. Nothing is changed if anything is wrong, and nothing of the file is executed.

        Raises:
            FileError: it can not be read, is damaged, or is of another training.
        """
        arrays, description = read(path)
        _check_same(path, files.field(description, "fingerprint", dict), fingerprint)
        history = History.of_description(files.field(description, "history", dict))
        if len(history) > max_epochs:
            headline = f"train: `{path}` has {counted(len(history), 'epoch')} already, and `max_epochs` is {max_epochs}"
            raise FileError(lay_out(headline))
        now, remembered = _part(arrays, "network."), _part(arrays, "rule.")
        best = files.field(description, "best", dict)
        rules = [self._ordered(files.field(part, "rule", dict)) for part in (description, best)]
        apart = bool(_part(arrays, "best."))
        best_weights = _part(arrays, "best.") if apart else now
        for weights in (now, best_weights):
            _check_weights(path, weights, self.network)
        generator = _restored(path, self.generator, files.field(description, "generator", dict))
        schedule = copy.deepcopy(self.schedule)
        if isinstance(schedule, Schedule):
            schedule.restore(files.field(description, "schedule", dict))
        kept = Kept(
            files.field(best, "epoch", int), files.field(best, "loss", float), best_weights, rules[1],
            _part(arrays, "best_rule.") if apart else remembered,
        )  # fmt: skip
        before = Kept.of(self.network, self.rule)
        try:
            self.rule.restore(kept.rule, kept.remembered)
            self.rule.restore(rules[0], remembered)
            self.network.weights.update(now)
        except BaseException:
            before.put_back(self.network, self.rule)
            raise
        self.generator.bit_generator.state = generator
        self.schedule, self.history, self.held_out = schedule, history, arrays.get("held_out", self.held_out)
        # the arrays of the network itself, where they are the best ones
        self.kept = kept if apart else Kept.of(self.network, self.rule, kept.epoch, kept.loss)

    def _ordered(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """A description whose weights have the order of the network's, which sorted JSON does not keep."""
        weights = files.field(rule, "weights", dict)
        order = [
            *(name for name in self.network.weights if name in weights),
            *(n for n in weights if n not in self.network.weights),
        ]
        return {**rule, "weights": {name: weights[name] for name in order}}


def read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the description of a checkpoint.

    Raises:
        FileError: it can not be read, is damaged, or is something else.
    """
    arrays, description = files.read(path)
    if description.get("kind") != KIND:
        raise FileError(lay_out(f"`{path}` is no checkpoint of training: it holds a {description.get('kind')}"))
    if description.get("digest") != _digest(arrays, description):
        raise FileError(lay_out(f"`{path}` is damaged: its content is not what was written"))
    return arrays, description


def network_arrays(description: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The weights that training would leave if it ended now: with validation those of the best epoch, without the last ones."""
    best = _part(arrays, "best.")
    validated = files.field(files.field(description, "fingerprint", dict), "validation", object) is not None
    return best if best and validated else _part(arrays, "network.")


# --- what a training is


def fingerprint_of(
    network: Layer | Composite, rule: UpdateRule, loss: Loss, settings: Mapping[str, Any], examples: Examples,
    validation: Examples | float | None,
) -> dict[str, Any]:  # fmt: skip
    """What makes a training this one and no other; its parts have the names that a message calls them by."""
    described = rule.description
    return {
        "network": _meaning(network.description),
        "rule": _meaning({key: described[key] for key in ("rule", "graph", "options", "dtype", "settings")}),
        "loss": {"name": loss.name, "graph": _meaning(loss.layer(2, "float64").description)},
        "settings": dict(settings),
        "examples": _of_examples(examples),
        "validation": _of_examples(validation) if isinstance(validation, Examples) else validation,
    }


def name_of(function: Any) -> Any:
    """What can be told of a function of the user's: its name. A schedule of ours tells everything."""
    if isinstance(function, Schedule):
        return function.description
    return None if function is None else getattr(function, "__qualname__", type(function).__qualname__)


def _of_examples(examples: Examples) -> dict[str, Any]:
    assert is_dataclass(examples)
    return {entry.name: _of_data(getattr(examples, entry.name)) for entry in fields(examples) if entry.init}


def _of_data(value: Any) -> Any:
    """Data in a few words: kind, shape and a hash of every byte."""
    if isinstance(value, list | tuple):
        hasher = hashlib.sha256()
        for array in value:
            hasher.update(str(_of_data(array)).encode())
        return f"{len(value)} sequences, sha256 {hasher.hexdigest()[:32]}"
    if not isinstance(value, np.ndarray):
        return value
    hasher = hashlib.sha256()
    for block in _blocks(value):
        hasher.update(block)
    return f"{value.dtype} {value.shape}, sha256 {hasher.hexdigest()[:32]}"


def _blocks(array: Array, size: int = 1 << 24) -> Iterator[Any]:
    """The bytes of an array in its order, without a copy of the whole."""
    if array.flags.c_contiguous or array.ndim == 0:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return
    rows = max(1, size // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8)


def _meaning(description: Any) -> Any:
    """A description without what may change: the seed of weights that come from the file, words, and lines of source files."""
    if isinstance(description, Mapping):
        return {key: _meaning(value) for key, value in description.items() if key not in ("seed", "doc")}
    if isinstance(description, list | tuple):
        return [_meaning(value) for value in description]
    if isinstance(description, str) and "\n" in description:  # a graph; what follows `#` is for people alone
        return re.sub(r" *#.*$", "", description, flags=re.MULTILINE)
    return description


def _check_same(path: Path, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse another training, naming what differs."""
    given = json.loads(json.dumps(given))
    parts = [name for name in given if saved.get(name) != given[name]]
    if not parts:
        return
    rows = dict[str, str]()  # what is said twice, of a graph and of its form in training, is told once
    for name in parts:
        for where, old, new in _differences(name, saved.get(name), given[name]):
            rows.setdefault(f"{_short(old)} in the file, {_short(new)} given", where)
    headline = f"train: `{path}` is of another training; what differs: {', '.join(parts)}"
    raise FileError(lay_out(headline, values=[(where, "", what) for what, where in rows.items()][:6]))


def _differences(where: str, saved: Any, given: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(saved, dict) and isinstance(given, dict):
        for key in [*given, *(key for key in saved if key not in given)]:
            yield from _differences(f"{where}.{key}", saved.get(key), given.get(key))
    elif isinstance(saved, list) and isinstance(given, list) and len(saved) == len(given):
        for place, (old, new) in enumerate(zip(saved, given, strict=True)):
            yield from _differences(f"{where}.{place}", old, new)
    elif saved != given and isinstance(saved, str) and isinstance(given, str):
        lines = zip_longest(saved.splitlines(), given.splitlines())
        yield where, *next(((old, new) for old, new in lines if old != new), (saved, given))
    elif saved != given:
        yield where, saved, given


def _short(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return "none" if value is None else "some"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- parts of the file


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {prefix + name: array for name, array in arrays.items()}


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _digest(arrays: Mapping[str, Array], description: Mapping[str, Any]) -> str:
    """Of everything but the digest itself and the number of the format."""
    told = {key: value for key, value in description.items() if key not in ("digest", "format")}
    hasher = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(arrays):
        hasher.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        for block in _blocks(arrays[name]):
            hasher.update(block)
    return hasher.hexdigest()


def _check_weights(path: Path, arrays: Mapping[str, Array], network: Layer | Composite) -> None:
    wanted = {name: (array.shape, array.dtype) for name, array in network.weights.items()}
    if {name: (array.shape, array.dtype) for name, array in arrays.items()} != wanted:
        raise FileError(lay_out(f"`{path}` does not hold the weights of the network that it describes"))


def _plain(state: Any) -> Any:
    """The state of a generator as JSON keeps it: arrays as lists with their dtype."""
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return {"dtype": state.dtype.name, "numbers": state.tolist()}
    return state.item() if isinstance(state, np.generic) else state


def _arrays_again(state: Any) -> Any:
    if not isinstance(state, Mapping):
        return state
    if set(state) == {"dtype", "numbers"}:
        return np.array(state["numbers"], state["dtype"])
    return {key: _arrays_again(value) for key, value in state.items()}


def _restored(path: Path, generator: np.random.Generator, saved: Mapping[str, Any]) -> Any:
    """The state to give to the generator, tried on a copy of it first."""
    trial = copy.deepcopy(generator.bit_generator)
    found = type(trial).__name__
    if saved.get("bit_generator") != found:
        headline = f"train: `{path}` has the state of a {saved.get('bit_generator')}, and the generator given is a {found}"
        raise FileError(lay_out(headline))
    try:
        trial.state = _arrays_again(saved)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise FileError(lay_out(f"`{path}` does not hold the state of a generator")) from None
    return trial.state
