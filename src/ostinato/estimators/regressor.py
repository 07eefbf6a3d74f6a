"""RecurrentRegressor: numbers for a sequence, or for each of its steps."""

# ruff: noqa: N803, N806 - X and y are scikit-learn's names

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from .. import files
from ..language.cell import Cell
from ..learn.losses import mean_squared_error
from ..learn.training import Examples
from ..renamed import public
from .base import RecurrentEstimator
from .samples import Samples, samples_of
from .scaling import Scale
from .supervision import targets_of, targets_of_steps, weights_of

from sklearn.base import RegressorMixin  # isort: skip - base.py says what to install where it is missing
from sklearn.metrics import r2_score  # isort: skip

Array = np.ndarray[Any, np.dtype[Any]]


@public
class RecurrentRegressor(RegressorMixin, RecurrentEstimator):  # type: ignore[misc]
    """A regressor: one answer, or several, for each sequence; or with `per_step` for each of its steps.

    Its parameters are those of RecurrentClassifier but for `class_weight`, and:
        per_step: y has an answer for every step, and so has `predict`.
        scale_targets: bring each target to mean 0 and deviation 1 for training.

    X is (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features); y (n_samples,) or (n_samples, n_targets). With
    per_step, y is (n_samples, n_steps), (n_samples, n_steps, n_targets), or a list of (n_steps_i,) or (n_steps_i, n_targets).

    Attributes: network_ (a Network), history_ (a training.History), n_features_in_, input_scale_, target_scale_, and
    feature_names_in_ where X had names.
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
        self.cell, self.n_neurons, self.n_layers, self.bidirectional = cell, n_neurons, n_layers, bidirectional
        self.dropout, self.update, self.learning_rate, self.batch_size = dropout, update, learning_rate, batch_size
        self.max_epochs, self.validation_fraction, self.patience = max_epochs, validation_fraction, patience
        self.clip_norm, self.scale_inputs, self.scale_targets = clip_norm, scale_inputs, scale_targets
        self.per_step, self.init, self.options, self.dtype = per_step, init, options, dtype
        self.random_state, self.verbose = random_state, verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from sequences and what to answer.

        A training that diverges or is interrupted (Ctrl-C) ends with the weights of its best epoch and a ConvergenceWarning.

        Args:
            X, y: see the class.
            sample_weight: (n_samples,) numbers from 0 up: how often each sample, with all its steps, counts; as for
                RecurrentClassifier.

        Raises:
            DataError: X, y or weights of another form, NaN or infinite numbers.
            OptionError, DimensionError: a parameter of an impossible value.
        """
        owner = type(self).__name__
        self._check_settings()
        samples = samples_of(X, owner)
        target, single = self._target(y, samples)
        weights = weights_of(sample_weight, len(samples), owner)
        samples.check_numbers(self._dtype())
        kept = np.arange(len(samples)) if weights is None else np.flatnonzero(weights)
        counts = None if weights is None else weights[kept]
        own = [target[i] for i in kept]
        of_rows = None if counts is None else np.repeat(counts, [len(part) if self.per_step else 1 for part in own])
        rows = np.concatenate(own) if self.per_step else np.stack(own)
        scale = Scale.of([(rows, of_rows)], rows.shape[-1]) if self.scale_targets else Scale.none(rows.shape[-1])
        scaled = [scale.apply(part).astype(self._dtype()) for part in own]
        self._learn(
            samples, scaled if self.per_step else np.stack(scaled), counts, places=kept, loss=mean_squared_error,
            n_outputs=rows.shape[-1], per_step=self.per_step, score=_r2, score_name="validation R²",
        )  # fmt: skip
        self.target_scale_, self.single_target_ = scale, single
        return self

    def predict(self, X: Any) -> Any:
        """(n_samples,) or (n_samples, n_targets), as y was; with per_step as y was: a list if X is one.

        Raises:
            NotFittedError: it has not been fitted.
            DataError: X of another form than in `fit`.
        """
        found = self._undone(self._samples(X))
        if not self.single_target_:
            return found
        return [part[..., 0] for part in found] if isinstance(found, list) else found[..., 0]

    def answers_to(self, method: str, outputs: Array) -> Array:  # noqa: ARG002 - a regressor predicts, and nothing else
        """What `predict` makes of the network's outputs (n_samples, n_targets)."""
        found = self.target_scale_.undo(outputs)
        return found[..., 0] if self.single_target_ else found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R²: 1 is perfect, 0 is as good as always answering the mean. With per_step over all steps."""
        samples = self._samples(X)
        target, _ = self._target(y, samples)
        weights = weights_of(sample_weight, len(samples), type(self).__name__)
        found = self._undone(samples)
        if self.network_.gives_steps:
            target, found = np.concatenate(target), np.concatenate(list(found))
            weights = None if weights is None else np.repeat(weights, samples.lengths)
        return float(r2_score(target, found, sample_weight=weights))

    def _undone(self, samples: Samples) -> Any:
        """What the network answers, in the targets' own units."""
        found = self._answers(samples)
        return [self.target_scale_.undo(part) for part in found] if isinstance(found, list) else self.target_scale_.undo(found)

    def _target(self, y: Any, samples: Samples) -> tuple[Any, bool]:
        """(n_samples, n_targets), or with per_step a list of (n_steps_i, n_targets); and whether y had no n_targets."""
        return targets_of_steps(y, samples) if self.per_step else targets_of(y, len(samples), samples.owner)

    def _own_arrays(self) -> dict[str, Array]:
        return {"target.mean": self.target_scale_.mean, "target.deviation": self.target_scale_.deviation}

    def _own_description(self) -> dict[str, Any]:
        return {"single_target": self.single_target_}

    def _restore(self, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self.target_scale_ = Scale.of_file(arrays, "target", self.network_.output_sizes[0])
        self.single_target_ = files.field(description, "single_target", bool)


def _r2(Y: Any, examples: Examples) -> float:
    """R² of answers as they are trained for: 1 - (sum of squared errors) / (sum of squared deviations from the mean)."""
    target, weights = examples.target, examples.weights
    if isinstance(target, list):
        weights = None if weights is None else np.repeat(weights, [len(part) for part in target])
        Y, target = np.concatenate(Y), np.concatenate(target)
    elif examples.per_step and weights is not None:
        weights = np.tile(weights, len(Y))  # steps stand before samples
    Y, target = Y.reshape(-1, Y.shape[-1]), target.reshape(-1, Y.shape[-1])
    mean = np.average(target, axis=0, weights=weights)
    count = np.ones(len(target)) if weights is None else weights
    deviations = (count[:, None] * np.square(target - mean)).sum()
    return float(1 - (count[:, None] * np.square(Y - target)).sum() / deviations) if deviations else float("nan")
