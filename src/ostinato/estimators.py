"""Recurrent networks with scikit-learn's conventions: fit, predict, score, pipelines, searches, clone.

    classifier = RecurrentClassifier(n_neurons=64, random_state=0).fit(X, labels)
    classifier.predict(X)

The network is one or more recurrent layers of any cell, dropout on the feed-forward connections between them, and a dense layer
on the last step (or on every step, for a regressor that answers at every step).
"""

# ruff: noqa: N803, N806 - X and y are scikit-learn's names

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from . import cells, files
from .cell import Cell
from .errors import DataError, FileError, MissingExtraError, OptionError, known_names, lay_out
from .functions import ACTIVATIONS, softmax
from .layer import Layer
from .losses import Loss, cross_entropy, mean_squared_error
from .network import Bidirectional, Dropout, LastStep, Network, Part
from .samples import Padded, Scale, answers_of_steps, finite, labels_of, padded
from .training import Epoch, Examples, History, Progress, outputs, split, train
from .updates import UpdateRule

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    _headline = 'the estimators need scikit-learn: pip install "ostinato[learn]"'
    raise MissingExtraError(lay_out(_headline)) from None

Array = np.ndarray[Any, np.dtype[Any]]
CELLS: dict[str, Cell] = {name: c for name in cells.__all__ if isinstance(c := getattr(cells, name), Cell)}


class _Recurrent(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share. `network_`, `history_` and `n_features_in_` are there after `fit`."""

    kind = ""
    network_: Network
    history_: History
    n_features_in_: int
    input_scale_: Scale

    def __init__(
        self, *, cell: str | Cell = "lstm", n_neurons: int = 64, n_layers: int = 1, bidirectional: bool = False,
        dropout: float = 0.0, update: str | Cell = "adam", learning_rate: float = 5e-3, batch_size: int = 32,
        max_epochs: int = 50, validation_fraction: float = 0.1, patience: int = 10, clip_norm: float | None = 1.0,
        scale_inputs: bool = True, init: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
        dtype: str = "float32", random_state: Any = None, verbose: int = 0,
    ) -> None:  # fmt: skip
        self.cell, self.n_neurons, self.n_layers, self.bidirectional = cell, n_neurons, n_layers, bidirectional
        self.dropout, self.update, self.learning_rate, self.batch_size = dropout, update, learning_rate, batch_size
        self.max_epochs, self.validation_fraction, self.patience = max_epochs, validation_fraction, patience
        self.clip_norm, self.scale_inputs, self.init, self.options = clip_norm, scale_inputs, init, options
        self.dtype, self.random_state, self.verbose = dtype, random_state, verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    # --- learning

    def _learn(
        self, samples: Padded, target: Array, *, loss: Loss, n_outputs: int, per_step: bool = False,
        labels: Array | None = None, score: Callable[[Array, Examples], float], score_name: str,
    ) -> None:  # fmt: skip
        """Train a new network; the estimator changes only when it is done."""
        self._check_settings()
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        learned, held_out = split(samples.n_samples, self.validation_fraction, rng, labels)
        rows = samples.X[:, learned][samples.valid[:, learned]]
        scale = Scale.of(rows) if self.scale_inputs else Scale.none(samples.n_features)
        X = scale.apply(samples.X).astype(self.dtype)
        examples = Examples(X, target, samples.lengths, per_step=per_step)
        network = self._network(samples.n_features, n_outputs, rng, last_step=not per_step)
        showing: AbstractContextManager[Callable[[Epoch], Any] | None] = (
            Progress(self.max_epochs, score_name) if self.verbose else nullcontext()
        )
        with showing as callback:
            history = train(
                network, examples.take(learned), loss=loss,
                update=UpdateRule(self.update, dtype=self.dtype, learning_rate=self.learning_rate),
                validation=examples.take(held_out) if len(held_out) else None, batch_size=self.batch_size,
                max_epochs=self.max_epochs, patience=self.patience, clip_norm=self.clip_norm, score=score, rng=rng,
                callback=callback,
            )  # fmt: skip
        self.network_, self.history_, self.input_scale_ = network, history, scale
        self.n_features_in_ = samples.n_features

    def _check_settings(self) -> None:
        """Refuse what no layer and no rule would refuse, before the first step."""
        name = type(self).__name__
        if isinstance(self.n_layers, bool) or not isinstance(self.n_layers, int | np.integer) or self.n_layers < 1:
            raise OptionError(lay_out(f"{name}: `n_layers` is a whole number from 1 up, not {self.n_layers!r}"))
        fraction = self.validation_fraction
        if not isinstance(fraction, int | float) or not 0 <= fraction < 1:
            headline = f"{name}: `validation_fraction` is a number from 0 up to, not including, 1, and is {fraction!r}"
            raise OptionError(lay_out(headline))
        positive = {"learning_rate": self.learning_rate, "clip_norm": 1.0 if self.clip_norm is None else self.clip_norm}
        for setting, value in positive.items():
            if not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
                raise OptionError(lay_out(f"{name}: `{setting}` is a number above 0, not {value!r}"))

    def _network(self, n_features: int, n_outputs: int, rng: np.random.Generator, *, last_step: bool) -> Network:
        cell = self._cell()
        parts: list[Part | Dropout] = []
        n_inputs = n_features
        for i in range(self.n_layers):
            sizes = {"n_inputs": n_inputs, "n_neurons": self.n_neurons, **self._options(cell)}
            make = Bidirectional if self.bidirectional else Layer
            part = make(cell, seed=int(rng.integers(2**31)), dtype=self.dtype, init=self.init, **sizes)
            if len(part.output_sizes) != 1:
                headline = f"{type(self).__name__}: the output of {cell.name} has shape {part.output_sizes}, not one dimension"
                raise OptionError(lay_out(headline))
            n_inputs = part.output_sizes[-1]
            parts.append(LastStep(part) if last_step and i == self.n_layers - 1 else part)
            if self.dropout:
                parts.append(Dropout(self.dropout))
        seed = int(rng.integers(2**31))
        parts.append(Layer(cells.dense, n_inputs=n_inputs, n_outputs=n_outputs, seed=seed, dtype=self.dtype))
        return Network(*parts)

    def _cell(self) -> Cell:
        if isinstance(self.cell, Cell):
            return self.cell
        if self.cell not in CELLS:
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
        return given

    # --- answering

    def _samples(self, X: Any) -> Padded:
        check_is_fitted(self, "network_")
        owner = type(self).__name__
        samples = padded(X, owner, self.network_.dtype, self.n_features_in_)
        if samples.n_features != self.n_features_in_:
            headline = f"X has {samples.n_features} features, but {owner} is expecting {self.n_features_in_} features as input"
            raise DataError(lay_out(headline))
        return samples

    def _answers(self, samples: Padded) -> Array:
        X = self.input_scale_.apply(samples.X).astype(self.network_.dtype)
        per_step = self.network_.gives_steps
        target = np.empty(X.shape[:2] if per_step else (samples.n_samples,))
        answers: Array = outputs(self.network_, Examples(X, target, samples.lengths, per_step=per_step)).astype(np.float64)
        return answers

    # --- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file, atomically. `ostinato.load` gives it back.

        Parameters that are no plain values (a cell of your own, an initialiser) are written by name: the loaded estimator
        predicts, and to be fitted again it must be given them.

        Raises:
            NotFittedError: it has not been fitted.
            FileError: it can not be written.
        """
        check_is_fitted(self, "network_")
        arrays = {f"network.{name}": array for name, array in self.network_.weights.items()}
        arrays |= {"input.mean": self.input_scale_.mean, "input.deviation": self.input_scale_.deviation}
        history = asdict(self.history_)
        description = {
            "kind": self.kind,
            "parameters": {name: _plain(value) for name, value in self.get_params(deep=False).items()},
            "network": self.network_.description,
            "history": history,
            "features": [str(name) for name in getattr(self, "feature_names_in_", [])],
        }
        files.write(path, {**arrays, **self._own_arrays()}, {**description, **self._own_description()})

    def _own_arrays(self) -> dict[str, Array]:
        return {}

    def _own_description(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """The estimator that was saved. Nothing in the description is executed.

        Raises:
            FileError: something is missing or does not fit.
        """
        parameters = files.field(description, "parameters", dict)
        known = set(cls._get_param_names())
        if set(parameters) != known:
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

    def _restore(self, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """What a subclass keeps besides the network."""


class RecurrentClassifier(ClassifierMixin, _Recurrent):  # type: ignore[misc]
    """A classifier of sequences.

    Args:
        cell: a cell of `ostinato.cells` by name, or a Cell of your own with the dimensions n_inputs and n_neurons.
        n_neurons, n_layers, bidirectional: the size of each layer, how many, and whether each runs in both directions.
        dropout: the rate on the feed-forward connections behind each recurrent layer (Pham et al. 2013).
        update, learning_rate: "adam", "adamw", "sgd" or a Cell; see ostinato.updates.
        batch_size, max_epochs: how many samples at a time, how often all of them.
        validation_fraction, patience: this part is held out (of every class the same); training stops when its loss has not
            fallen for `patience` epochs, and the best weights are kept. With 0, training runs for max_epochs.
        clip_norm: the limit of the length of all gradients together; None for no limit.
        scale_inputs: bring each feature to mean 0 and deviation 1 first.
        init, options: for the layers: weight name -> initialiser; further dimensions and options of the cell.
        dtype: "float32" or "float64".
        random_state: an int for results that can be repeated.
        verbose: 1 shows each epoch on the standard error output.

    X is (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features); y (n_samples,) labels of any kind.

    Attributes: classes_, network_ (a Network), history_ (a training.History), n_features_in_, input_scale_.
    """

    kind = "classifier"
    classes_: Array

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from sequences and their labels.

        Raises:
            DataError: X or y of another form, NaN or infinite numbers, fewer than two classes.
            OptionError, DimensionError: a parameter of an impossible value.
        """
        owner = type(self).__name__
        samples = padded(X, owner, self.dtype)
        labels = labels_of(y, samples.n_samples, owner)
        classes, places = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(lay_out(f"{owner}: y has only the class `{classes[0]}`, and two are needed"))
        self._learn(
            samples, places, loss=cross_entropy, n_outputs=len(classes), labels=places,
            score=lambda Y, examples: float((Y.argmax(axis=1) == examples.target).mean()), score_name="validation accuracy",
        )  # fmt: skip
        self.classes_ = classes
        return self

    def decision_function(self, X: Any) -> Array:
        """(n_samples, n_classes): the logits."""
        return self._answers(self._samples(X))

    def predict_proba(self, X: Any) -> Array:
        """(n_samples, n_classes): the probability of each class, in the order of `classes_`."""
        return np.asarray(softmax(self.decision_function(X)))

    def predict(self, X: Any) -> Array:
        """(n_samples,): the most probable class of each sequence.

        Raises:
            NotFittedError: it has not been fitted.
            DataError: X of another form than in `fit`.
        """
        places = self.decision_function(X).argmax(axis=1)
        return np.asarray(self.classes_[places])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of sequences whose label is predicted."""
        samples = self._samples(X)
        labels = labels_of(y, samples.n_samples, type(self).__name__)
        predicted = self.classes_[self._answers(samples).argmax(axis=1)]
        return float(accuracy_score(labels, predicted, sample_weight=sample_weight))

    def _own_description(self) -> dict[str, Any]:
        dtype = "text" if all(isinstance(label, str) for label in self.classes_) else self.classes_.dtype.name
        return {"classes": {"dtype": dtype, "labels": self.classes_.tolist(), "boxed": self.classes_.dtype == object}}

    def _restore(self, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:  # noqa: ARG002
        saved = files.field(description, "classes", dict)
        labels, dtype = files.field(saved, "labels", list), files.field(saved, "dtype", str)
        kinds = {"b": bool, "i": int, "u": int, "f": float, "t": str}
        kind = kinds.get(dtype[:1], type(None))
        known = dtype in ("text", "bool") or dtype in {np.dtype(code).name for code in "bhilBHILefd"}
        if not known or not all(type(label) is kind for label in labels) or (len(labels),) != self.network_.output_sizes:
            raise FileError(lay_out(f"the file has {len(labels)} classes of dtype {dtype!r} that do not fit its network"))
        boxed = files.field(saved, "boxed", bool)
        self.classes_ = np.array(labels, object if boxed else str if dtype == "text" else dtype)


class RecurrentRegressor(RegressorMixin, _Recurrent):  # type: ignore[misc]
    """A regressor: one answer, or several, for each sequence; or with `per_step` for each of its steps.

    Its parameters are those of RecurrentClassifier, and:
        per_step: y has an answer for every step, and so has `predict`.
        scale_targets: bring each target to mean 0 and deviation 1 for training.

    X is (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features); y (n_samples,) or (n_samples, n_targets). With
    per_step, y is (n_samples, n_steps), (n_samples, n_steps, n_targets), or a list of (n_steps_i,) or (n_steps_i, n_targets).

    Attributes: network_ (a Network), history_ (a training.History), n_features_in_, input_scale_, target_scale_.
    """

    kind = "regressor"
    target_scale_: Scale
    single_target_: bool

    def __init__(
        self, *, cell: str | Cell = "lstm", n_neurons: int = 64, n_layers: int = 1, bidirectional: bool = False,
        dropout: float = 0.0, update: str | Cell = "adam", learning_rate: float = 5e-3, batch_size: int = 32,
        max_epochs: int = 50, validation_fraction: float = 0.1, patience: int = 10, clip_norm: float | None = 1.0,
        scale_inputs: bool = True, scale_targets: bool = True, per_step: bool = False, init: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None, dtype: str = "float32", random_state: Any = None, verbose: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(
            cell=cell, n_neurons=n_neurons, n_layers=n_layers, bidirectional=bidirectional, dropout=dropout, update=update,
            learning_rate=learning_rate, batch_size=batch_size, max_epochs=max_epochs,
            validation_fraction=validation_fraction, patience=patience, clip_norm=clip_norm, scale_inputs=scale_inputs,
            init=init, options=options, dtype=dtype, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.scale_targets, self.per_step = scale_targets, per_step

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from sequences and what to answer.

        Raises:
            DataError: X or y of another form, NaN or infinite numbers.
            OptionError, DimensionError: a parameter of an impossible value.
        """
        samples = padded(X, type(self).__name__, self.dtype)
        target, single = self._target(y, samples)
        rows = target[samples.valid] if self.per_step else target
        scale = Scale.of(rows) if self.scale_targets else Scale.none(target.shape[-1])
        self._learn(
            samples, scale.apply(target).astype(self.dtype), loss=mean_squared_error, n_outputs=target.shape[-1],
            per_step=self.per_step, score=_r2, score_name="validation R²",
        )  # fmt: skip
        self.target_scale_, self.single_target_ = scale, single
        return self

    def predict(self, X: Any) -> Any:
        """(n_samples,) or (n_samples, n_targets), as y was; with per_step as y was: a list if X is one.

        Raises:
            NotFittedError: it has not been fitted.
            DataError: X of another form than in `fit`.
        """
        samples = self._samples(X)
        answers = self.target_scale_.undo(self._answers(samples))
        if self.single_target_:
            answers = answers[..., 0]
        if not self.network_.gives_steps:
            return answers
        by_sample = answers.swapaxes(0, 1)
        return by_sample if samples.lengths is None else [a[:n] for a, n in zip(by_sample, samples.lengths, strict=True)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R²: 1 is perfect, 0 is as good as always answering the mean. With per_step over all steps (without weights)."""
        samples = self._samples(X)
        target, _ = self._target(y, samples)
        answers = self.target_scale_.undo(self._answers(samples))
        if self.network_.gives_steps:
            target, answers = target[samples.valid], answers[samples.valid]
        return float(r2_score(target, answers, sample_weight=sample_weight))

    def _target(self, y: Any, samples: Padded) -> tuple[Array, bool]:
        """(n_samples, n_targets), or with per_step (n_steps, n_samples, n_targets); and whether y had no n_targets."""
        owner = type(self).__name__
        if self.per_step:
            target = answers_of_steps(y, samples, owner)
            return target, all(np.ndim(part) == 1 for part in y)
        array = finite("y", y, owner)
        if array.ndim not in (1, 2) or len(array) != samples.n_samples or not array.size:
            wanted = f"(n_samples={samples.n_samples}) or (n_samples={samples.n_samples}, n_targets)"
            raise DataError(lay_out(f"{owner}: y has shape {array.shape}, and must be {wanted}"))
        return array.reshape(samples.n_samples, -1), array.ndim == 1

    def _own_arrays(self) -> dict[str, Array]:
        return {"target.mean": self.target_scale_.mean, "target.deviation": self.target_scale_.deviation}

    def _own_description(self) -> dict[str, Any]:
        return {"single_target": self.single_target_}

    def _restore(self, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self.target_scale_ = Scale.of_file(arrays, "target", self.network_.output_sizes[0])
        self.single_target_ = files.field(description, "single_target", bool)


def _r2(Y: Array, examples: Examples) -> float:
    """R² of answers as they are trained for: 1 - (sum of squared errors) / (sum of squared deviations from the mean)."""
    target = examples.target
    if examples.per_step and examples.lengths is not None:
        valid = np.arange(len(Y))[:, None] < examples.lengths
        Y, target = Y[valid], target[valid]
    Y, target = Y.reshape(-1, Y.shape[-1]), target.reshape(-1, Y.shape[-1])
    deviations = np.square(target - target.mean(axis=0)).sum()
    return float(1 - np.square(Y - target).sum() / deviations) if deviations else float("nan")


def _plain(value: Any) -> Any:
    """A parameter as JSON can hold it; what it can not hold by its name."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return value.name if isinstance(value, Cell) else getattr(value, "__name__", repr(value))
