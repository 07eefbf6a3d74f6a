"""What the classifier and the regressor share: settings, learning, answering, saving, with scikit-learn's conventions."""

# ruff: noqa: N803, N806 - X and y are scikit-learn's names

from __future__ import annotations

import inspect
import os
import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Self, cast

import numpy as np

from .. import cells, files
from ..checks import is_number, is_truth, is_whole
from ..errors import ArgumentError, DataError, FileError, MissingExtraError, OptionError, OstinatoError, known_names, lay_out
from ..language.cell import Cell
from ..language.functions import ACTIVATIONS
from ..layers.layer import Layer
from ..layers.network import Bidirectional, Dropout, LastStep, Network, Part
from ..learn.losses import Loss
from ..learn.optimisers import UpdateRule
from ..learn.training import Examples, History, outputs, split, train
from ..process.pickling import carried, received, text_of
from .samples import Samples, answers, is_native, samples_of
from .scaling import Scale
from .stream import Streaming

try:
    from sklearn import exceptions
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state
except ImportError:
    _headline = 'the estimators need scikit-learn: pip install "ostinato[learn]"'
    raise MissingExtraError(lay_out(_headline)) from None

Array = np.ndarray[Any, np.dtype[Any]]
CELLS: dict[str, Cell] = {name: c for name in cells.__all__ if isinstance(c := getattr(cells, name), Cell)}


WHOLE = (lambda value: is_whole(value, 1), "a whole number from 1 up")
FRACTION = (lambda value: is_number(value) and 0 <= value < 1, "a number from 0 to below 1")
POSITIVE = (lambda value: is_number(value) and 0 < value < np.inf, "a number above 0")
TRUTH = (is_truth, "True or False")
NAMED = (lambda value: value is None or isinstance(value, Mapping), "a dictionary by name, or None")
SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n_neurons": WHOLE, "n_layers": WHOLE, "batch_size": WHOLE, "max_epochs": WHOLE,
    "patience": (lambda value: value is None or is_whole(value, 1), "a whole number from 1 up, or None"),
    "validation_fraction": FRACTION, "dropout": FRACTION, "learning_rate": POSITIVE,
    "clip_norm": (lambda value: value is None or POSITIVE[0](value), "a number above 0, or None"),
    "init": NAMED, "options": NAMED,
    "bidirectional": TRUTH, "scale_inputs": TRUTH, "scale_targets": TRUTH, "per_step": TRUTH,
}  # fmt: skip


class NotFittedError(OstinatoError, exceptions.NotFittedError):  # type: ignore[misc]
    """An estimator is asked before it has learned."""


class RecurrentEstimator(Streaming, BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share. `network_`, `history_` and `n_features_in_` are there after `fit`."""

    kind = ""
    network_: Network
    history_: History
    n_features_in_: int
    input_scale_: Scale

    def __new__(cls, *arguments: Any, **settings: Any) -> Self:
        """Refuse settings that do not exist, before Python does so in its own words."""
        if not arguments and not settings:  # as pickle makes one, too
            return cast("Self", super().__new__(cls))
        signature = inspect.signature(cls.__init__)
        try:
            signature.bind(None, *arguments, **settings)
        except TypeError:
            known = list(signature.parameters)[1:]
            unknown = next((name for name in settings if name not in known), None)
            headline = f"{cls.__name__}: settings are given by name, as in {cls.__name__}(n_neurons=64)"
            if unknown is not None:
                headline = f"{cls.__name__}: there is no setting `{unknown}`; {known_names(unknown, known, 'settings')}"
            raise ArgumentError(lay_out(headline)) from None
        return cast("Self", super().__new__(cls))

    def set_params(self, **params: Any) -> Self:
        """Change settings. Returns itself.

        Raises:
            OptionError: a setting that does not exist.
        """
        known = self._get_param_names()
        for name in params:
            if name not in known:
                owner = type(self).__name__
                headline = f"Invalid parameter {name!r} for estimator {owner}; {known_names(name, known, 'settings')}"
                raise OptionError(lay_out(headline))
        super().set_params(**params)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    # --- learning

    def _learn(
        self, samples: Samples, target: Any, weights: Array | None, *, places: Array, loss: Loss, n_outputs: int,
        per_step: bool = False, labels: Array | None = None, score: Callable[[Any, Examples], float], score_name: str,
    ) -> None:  # fmt: skip
        """Train a new network on the samples at these places; the estimator changes only when it is done.

        The target, the weights and the labels are of those samples alone. What is interrupted or diverges keeps its best epoch.
        """
        rng = np.random.default_rng(self._seed())
        learned, held_out = np.arange(len(places)), places[:0]
        if self.validation_fraction:  # otherwise nothing is drawn: the first weights do not depend on the number of samples
            learned, held_out = split(len(places), self.validation_fraction, rng, labels)
        scale = Scale.none(samples.n_features)
        if self.scale_inputs:
            of_rows = samples.blocks(places[learned], None if weights is None else weights[learned])
            scale = Scale.of(of_rows, samples.n_features)
        dtype = self._dtype()
        network = self._network(samples.n_features, n_outputs, rng, last_step=not per_step)

        def examples(chosen: Array) -> Examples:
            X = samples.scaled(places[chosen], scale, dtype, native=is_native(network))
            own = [target[i] for i in chosen] if isinstance(target, list) else target[chosen]
            if per_step and not isinstance(X, list):
                own = np.stack(own, axis=1)
            return Examples(X, own, per_step=per_step, weights=None if weights is None else weights[chosen])

        learning = examples(learned)
        try:
            history = train(
                network, learning, loss=loss, update=UpdateRule(self.update, dtype=dtype, learning_rate=self.learning_rate),
                validation=examples(held_out) if len(held_out) else None, batch_size=self.batch_size,
                max_epochs=self.max_epochs, patience=self.patience, clip_norm=self.clip_norm, score=score,
                score_name=score_name, rng=rng, verbose=self.verbose,
            )  # fmt: skip
        except (DataError, KeyboardInterrupt) as error:
            history = getattr(error, "history", None) or History()
            if not history.best_epoch or not _answers_numbers(network, learning):
                raise
            reason = "Training interrupted by user." if isinstance(error, KeyboardInterrupt) else f"{_first_line(error)}."
            message = f"{type(self).__name__}: {reason} It keeps the weights of epoch {history.best_epoch}, the best so far."
            warn(message, exceptions.ConvergenceWarning)
        self.network_, self.history_, self.input_scale_ = network, history, scale
        self.n_features_in_ = samples.n_features
        if samples.names is not None:
            self.feature_names_in_ = np.array(samples.names, object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _seed(self) -> int:
        given = self.random_state
        if isinstance(given, np.random.Generator):
            return int(given.integers(2**31 - 1))
        try:
            return int(check_random_state(given).randint(2**31 - 1))
        except ValueError:
            headline = f"{type(self).__name__}: `random_state` is a whole number, a generator of NumPy or None, not {given!r}"
            raise OptionError(lay_out(headline)) from None

    def _dtype(self) -> str:
        try:
            name = "" if self.dtype is None else np.dtype(self.dtype).name
        except TypeError:
            name = ""
        if name not in ("float32", "float64"):
            headline = f'{type(self).__name__}: `dtype` is "float32" or "float64", not {self.dtype!r}'
            raise OptionError(lay_out(headline))
        return name

    def _check_settings(self) -> None:
        """Refuse what no layer and no rule would refuse, before anything is looked at."""
        for setting, (fits, wanted) in SETTINGS.items():
            value = getattr(self, setting, None)
            if hasattr(self, setting) and not fits(value):
                raise OptionError(lay_out(f"{type(self).__name__}: `{setting}` is {wanted}, not {value!r}"))
        self._dtype()
        self._cell()

    def _network(self, n_features: int, n_outputs: int, rng: np.random.Generator, *, last_step: bool) -> Network:
        cell, dtype = self._cell(), self._dtype()
        parts: list[Part | Dropout] = []
        n_inputs = n_features
        for i in range(self.n_layers):
            sizes = {"n_inputs": n_inputs, "n_neurons": self.n_neurons, **self._options(cell)}
            make = Bidirectional if self.bidirectional else Layer
            part = make(cell, seed=int(rng.integers(2**31)), dtype=dtype, init=self.init, **sizes)
            if len(part.output_sizes) != 1:
                headline = f"{type(self).__name__}: the output of {cell.name} has shape {part.output_sizes}, not one dimension"
                raise OptionError(lay_out(headline))
            n_inputs = part.output_sizes[-1]
            parts.append(LastStep(part) if last_step and i == self.n_layers - 1 else part)
            if self.dropout:
                parts.append(Dropout(self.dropout))
        seed = int(rng.integers(2**31))
        parts.append(Layer(cells.dense, n_inputs=n_inputs, n_outputs=n_outputs, seed=seed, dtype=dtype))
        return Network(*parts)

    def _cell(self) -> Cell:
        if isinstance(self.cell, Cell):
            return self.cell
        if not isinstance(self.cell, str) or self.cell not in CELLS:
            known = known_names(str(self.cell), CELLS, "cells of the library")
            raise OptionError(lay_out(f"{type(self).__name__}: there is no cell `{self.cell}`; {known}"))
        return CELLS[self.cell]

    def _options(self, cell: Cell) -> dict[str, Any]:
        """Options of the cell; an activation may be given by its name."""
        given = dict(self.options or {})
        for name, value in given.items():
            if isinstance(value, str) and callable(cell.options.get(name)):
                if value not in ACTIVATIONS:
                    known = known_names(value, ACTIVATIONS, "activations")
                    raise OptionError(lay_out(f"{type(self).__name__}: there is no activation `{value}`; {known}"))
                given[name] = ACTIVATIONS[value]
            elif callable(cell.options.get(name)) and not callable(value):
                headline = f"{type(self).__name__}: `{name}` of {cell.name} is an activation or its name, not {value!r}"
                raise OptionError(lay_out(headline))
        return given

    # --- answering

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            headline = f"This {type(self).__name__} instance is not fitted yet. Call `fit` before using this estimator."
            raise NotFittedError(lay_out(headline))

    def _samples(self, X: Any) -> Samples:
        """What is to be answered, its columns in the order of those that were learned from."""
        self._check_fitted()
        owner = type(self).__name__
        learned = getattr(self, "feature_names_in_", None)
        samples = samples_of(X, owner, None if learned is None else tuple(learned), self.n_features_in_)
        if samples.names is None and learned is not None and samples.lengths.any():
            message = f"X does not have valid feature names, but {owner} was fitted with feature names"
            warn(message, UserWarning)
        if samples.names is not None and learned is None:
            warn(f"X has feature names, but {owner} was fitted without feature names", UserWarning)
        if samples.n_features != self.n_features_in_:
            headline = f"X has {samples.n_features} features, but {owner} is expecting {self.n_features_in_} features as input"
            raise DataError(lay_out(headline))
        return samples

    def _answers(self, samples: Samples) -> Any:
        return answers(self.network_, samples, self.input_scale_)

    # --- saving

    def __getstate__(self) -> dict[str, Any]:
        """A fitted estimator goes anywhere, as its network does; a cell that can not go with it is left as its name."""
        own = self._get_param_names() if hasattr(self, "network_") else []
        return {name: carried(value) if name in own else value for name, value in super().__getstate__().items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parameters = inspect.signature(type(self)).parameters.values()
        state = {**{p.name: p.default for p in parameters}, **state}  # version 0.1 had no `class_weight`
        super().__setstate__({n: received(value) if n in self._get_param_names() else value for n, value in state.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file, atomically. `ostinato.load` gives it back.

        Parameters that are no plain values (a cell of your own, an initialiser) are written by name: the loaded estimator
        predicts, and to be fitted again it must be given them.

        Raises:
            NotFittedError: it has not been fitted.
            FileError: it can not be written.
        """
        self._check_fitted()
        arrays = {f"network.{name}": array for name, array in self.network_.weights.items()}
        arrays |= {"input.mean": self.input_scale_.mean, "input.deviation": self.input_scale_.deviation}
        description = {
            "kind": self.kind,
            "parameters": {name: _plain(value) for name, value in self.get_params(deep=False).items()},
            "network": self.network_.description,
            "history": asdict(self.history_),
            "features": [str(name) for name in getattr(self, "feature_names_in_", [])],
        }
        files.write(path, {**arrays, **self._own_arrays()}, {**description, **self._own_description()})

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """The estimator that was saved. Nothing in the description is executed.

        Raises:
            FileError: something is missing or does not fit.
        """
        parameters = files.field(description, "parameters", dict)
        known = set(cls._get_param_names())
        if not known - {"class_weight"} <= set(parameters) <= known:  # files of version 0.1 have no class_weight
            headline = f"the parameters in the file are not those of {cls.__name__}: {sorted(set(parameters) ^ known)}"
            raise FileError(lay_out(headline))
        estimator = cls(**parameters)
        of_network = {n.removeprefix("network."): a for n, a in arrays.items() if n.startswith("network.")}
        network = Network.from_description(files.field(description, "network", dict), of_network)
        if len(network.input_sizes) != 1 or len(network.output_sizes) != 1:
            raise FileError(lay_out("the network in the file takes or gives values that are not of one dimension"))
        estimator.network_ = network
        estimator.n_features_in_ = network.input_sizes[0]
        features = files.field(description, "features", list)
        if features:
            if len(features) != estimator.n_features_in_ or not all(isinstance(name, str) for name in features):
                wanted = estimator.n_features_in_
                raise FileError(lay_out(f"the file names {len(features)} features, and the network takes {wanted}"))
            estimator.feature_names_in_ = np.array(features, object)
        estimator.input_scale_ = Scale.of_file(arrays, "input", estimator.n_features_in_)
        estimator.history_ = History.of_description(files.field(description, "history", dict))
        estimator._restore(description, arrays)
        return estimator

    @abstractmethod
    def _own_arrays(self) -> dict[str, Array]: ...

    @abstractmethod
    def _own_description(self) -> dict[str, Any]: ...

    @abstractmethod
    def _restore(self, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """What a subclass keeps besides the network."""


def warn(message: str, category: type[Warning]) -> None:
    """A warning that shows the line of whoever called the estimator, however deep in it this is."""
    level, frame = 1, sys._getframe(0)  # noqa: SLF001 - as the module warnings does itself
    while frame.f_back is not None and frame.f_globals.get("__package__") == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _answers_numbers(network: Network, examples: Examples) -> bool:
    """Whether the network answers some of the examples by finite numbers."""
    Y = outputs(network, examples.take(slice(0, 256)))
    return bool(np.isfinite(np.concatenate(Y) if isinstance(Y, list) else Y).all())


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _plain(value: Any) -> Any:
    """A parameter as JSON can hold it; what it can not hold by its name."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return text_of(value)
