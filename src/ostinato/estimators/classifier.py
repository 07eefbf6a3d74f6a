"""RecurrentClassifier: which class a sequence is of."""

# ruff: noqa: N803 - X and y are scikit-learn's names

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from .. import files
from ..errors import DataError, FileError, lay_out
from ..language.cell import Cell
from ..learn.losses import cross_entropy
from ..learn.training import Examples
from ..renamed import public
from .base import RecurrentEstimator, warn
from .samples import samples_of
from .supervision import hits, labels_of, weights_of, weights_of_classes

from sklearn import exceptions  # isort: skip - base.py says what to install where it is missing
from sklearn.base import ClassifierMixin  # isort: skip

Array = np.ndarray[Any, np.dtype[Any]]
Plain = str | bool | int | float
SAVED = {"b": bool, "i": int, "u": int, "f": float, "t": str}


@public
class RecurrentClassifier(ClassifierMixin, RecurrentEstimator):  # type: ignore[misc]
    """A classifier of sequences.

    Args:
        cell: a cell of `ostinato.cells` by name, or a Cell of your own with the dimensions n_inputs and n_neurons.
        n_neurons, n_layers, bidirectional: the size of each layer, how many, and whether each runs in both directions.
        dropout: the rate on the feed-forward connections behind each recurrent layer (Pham et al. 2013).
        update, learning_rate: "adam", "adamw", "sgd", "rmsprop", "nadam", "adagrad", or a Cell; see ostinato.updates.
        batch_size, max_epochs: how many samples at a time, how often all of them.
        validation_fraction, patience: this part is held out (of every class the same); training stops when its loss has not
            fallen for `patience` epochs, and the best weights are kept. With 0, training runs for max_epochs.
        clip_norm: the limit of the length of all gradients together; None for no limit.
        scale_inputs: bring each feature to mean 0 and deviation 1 first.
        class_weight: None; "balanced", so that all classes count the same together; or label -> weight.
        init, options: for the layers: weight name -> initialiser; further dimensions and options of the cell.
        dtype: "float32" or "float64".
        random_state: an int for results that can be repeated.
        verbose: 1 shows each epoch on the standard error output.

    X is (n_samples, n_steps, n_features), or a list of (n_steps_i, n_features): arrays, or frames, whose columns are told
    apart by their names. y is (n_samples,): labels of any kind.

    Attributes: classes_, network_ (a Network), history_ (a training.History), n_features_in_, input_scale_, and
    feature_names_in_ where X had names.
    """

    kind = "classifier"
    classes_: Array

    def __init__(
        self, *, cell: str | Cell = "lstm", n_neurons: int = 64, n_layers: int = 1, bidirectional: bool = False,
        dropout: float = 0.0, update: str | Cell = "adam", learning_rate: float = 5e-3, batch_size: int = 32,
        max_epochs: int = 50, validation_fraction: float = 0.1, patience: int = 10, clip_norm: float | None = 1.0,
        scale_inputs: bool = True, class_weight: Any = None, init: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None, dtype: str = "float32", random_state: Any = None, verbose: int = 0,
    ) -> None:  # fmt: skip
        self.cell, self.n_neurons, self.n_layers, self.bidirectional = cell, n_neurons, n_layers, bidirectional
        self.dropout, self.update, self.learning_rate, self.batch_size = dropout, update, learning_rate, batch_size
        self.max_epochs, self.validation_fraction, self.patience = max_epochs, validation_fraction, patience
        self.clip_norm, self.scale_inputs, self.class_weight = clip_norm, scale_inputs, class_weight
        self.init, self.options, self.dtype = init, options, dtype
        self.random_state, self.verbose = random_state, verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from sequences and their labels.

        A training that diverges or is interrupted (Ctrl-C) ends with the weights of its best epoch and a ConvergenceWarning.

        Args:
            X, y: see the class.
            sample_weight: (n_samples,) numbers from 0 up: how often each sample counts. A weight of 2 is two copies (for one
                full batch exactly, in mini-batches on average), one of 0 is none: such a sample is as if it were not there.

        Raises:
            DataError: X, y or weights of another form, NaN or infinite numbers, fewer than two classes.
            OptionError, DimensionError: a parameter of an impossible value.
        """
        owner = type(self).__name__
        self._check_settings()
        samples = samples_of(X, owner)
        labels, is_column = labels_of(y, len(samples), owner)
        weights = weights_of(sample_weight, len(samples), owner)
        samples.check_numbers(self._dtype())
        if is_column:
            message = f"A column-vector y was passed when a 1d array was expected. {owner} takes it as y.ravel()"
            warn(message, exceptions.DataConversionWarning)
        kept = np.arange(len(samples)) if weights is None else np.flatnonzero(weights)
        classes, places = np.unique(labels[kept], return_inverse=True)
        if len(classes) < 2:
            raise DataError(lay_out(f"{owner}: y has only 1 class, `{classes[0]}`, and two are needed"))
        counts = None if weights is None else weights[kept]
        of_classes = weights_of_classes(self.class_weight, classes, places, counts, owner)
        if of_classes is not None:
            counts = of_classes[places] if counts is None else counts * of_classes[places]
        self._learn(
            samples, places, counts, places=kept, loss=cross_entropy, n_outputs=len(classes), labels=places, score=_accuracy,
            score_name="validation accuracy",
        )  # fmt: skip
        self.classes_ = classes
        return self

    def decision_function(self, X: Any) -> Array:
        """How sure it is, in logarithms.

        Returns:
            of two classes (n_samples,): the log-odds log(p / (1 - p)) of `classes_[1]`, above 0 where it is predicted; of more
            classes (n_samples, n_classes): the logits, whose softmax is `predict_proba`.

        Raises:
            NotFittedError: it has not been fitted.
            DataError: X of another form than in `fit`.
        """
        return self.answers_to("decision_function", self._logits(X))

    def predict_log_proba(self, X: Any) -> Array:
        """(n_samples, n_classes): the logarithms of `predict_proba`, exact where those are too small for a number."""
        return self.answers_to("predict_log_proba", self._logits(X))

    def predict_proba(self, X: Any) -> Array:
        """(n_samples, n_classes): the probability of each class, in the order of `classes_`."""
        return self.answers_to("predict_proba", self._logits(X))

    def predict(self, X: Any) -> Array:
        """(n_samples,): the most probable class of each sequence.

        Raises:
            NotFittedError: it has not been fitted.
            DataError: X of another form than in `fit`.
        """
        return self.answers_to("predict", self._logits(X))

    def answers_to(self, method: str, outputs: Array) -> Array:
        """What a method makes of the network's outputs, the logits (n_samples, n_classes)."""
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        match method:
            case "decision_function":
                return np.asarray(outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs)
            case "predict_log_proba":
                return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
            case "predict_proba":
                exponentials = np.exp(shifted)
                return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
        return np.asarray(self.classes_[outputs.argmax(axis=1)])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of sequences whose label is predicted; with weights, of their sum."""
        samples = self._samples(X)
        labels, _ = labels_of(y, len(samples), type(self).__name__)
        weights = weights_of(sample_weight, len(samples), type(self).__name__)
        predicted = self.classes_[self._answers(samples).argmax(axis=1)]
        return float(np.average(hits(labels, predicted, type(self).__name__), weights=weights))

    def _logits(self, X: Any) -> Array:
        return np.asarray(self._answers(self._samples(X)))

    def _own_arrays(self) -> dict[str, Array]:
        return {}

    def _own_description(self) -> dict[str, Any]:
        labels = self.classes_.tolist()
        boxed = self.classes_.dtype == object
        dtype = "text" if isinstance(labels[0], str) else self.classes_.dtype.name
        if isinstance(labels[0], bytes):
            dtype, labels = "bytes", [label.decode("latin-1") for label in labels]
        if dtype not in ("text", "bytes") and not isinstance(labels[0], bool | int | float):
            headline = f"{type(self).__name__}: classes of type {type(labels[0]).__name__} can not be saved"
            raise FileError(lay_out(headline, hint="learn from text or whole numbers"))
        weights = list(self.class_weight.items()) if isinstance(self.class_weight, Mapping) else None
        of_classes = None if weights is None else [_saved(label, weight) for label, weight in weights]
        return {"classes": {"dtype": dtype, "labels": labels, "boxed": boxed}, "class_weight": of_classes}

    def _restore(self, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:  # noqa: ARG002
        saved = files.field(description, "classes", dict)
        labels, dtype = files.field(saved, "labels", list), files.field(saved, "dtype", str)
        kind = str if dtype == "bytes" else SAVED.get(dtype[:1], type(None))
        known = dtype in ("text", "bytes", "bool") or dtype in {np.dtype(code).name for code in "bhilBHILefd"}
        if not known or not all(type(label) is kind for label in labels) or (len(labels),) != self.network_.output_sizes:
            raise FileError(lay_out(f"the file has {len(labels)} classes of dtype {dtype!r} that do not fit its network"))
        boxed = files.field(saved, "boxed", bool)
        if dtype == "bytes":
            labels = [label.encode("latin-1") for label in labels]
        self.classes_ = np.array(labels, object if boxed else {"text": str, "bytes": bytes}.get(dtype, dtype))
        if description.get("class_weight") is not None:
            pairs = files.field(description, "class_weight", list)
            if not all(isinstance(pair, list) and len(pair) == 3 and isinstance(pair[0], Plain) for pair in pairs):
                raise FileError(lay_out("the file has a `class_weight` that is no list of labels and weights"))
            self.class_weight = {label.encode("latin-1") if kind == "bytes" else label: w for label, kind, w in pairs}


def _saved(label: Any, weight: float) -> list[Any]:
    """An entry of `class_weight` as JSON can hold it."""
    label = label.item() if isinstance(label, np.generic) else label
    kind = type(label).__name__
    return [label.decode("latin-1") if isinstance(label, bytes) else label, kind, float(weight)]


def _accuracy(Y: Array, examples: Examples) -> float:
    return float(np.average(Y.argmax(axis=1) == examples.target, weights=examples.weights))
