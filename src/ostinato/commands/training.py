"""`ostinato train` and `ostinato predict`: sequences from files, an estimator, a model file."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import loading
from ..errors import DataError, FileError, MissingExtraError, OptionError, lay_out
from .tables import Samples, predictions_text, read_samples, write_predictions

LEARN = 'pip install "ostinato[learn]"'
INTERRUPTED = 130  # the exit code of what Ctrl-C has ended, as shells have it


def estimators() -> Any:
    """The module of estimators.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        import sklearn  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtraError(lay_out(f"training needs scikit-learn: {LEARN}")) from None
    from .. import estimators as module

    return module


def train_command(arguments: argparse.Namespace) -> int:
    """Train on a file, save the estimator, and print what came of it."""
    if not arguments.model.endswith(".safetensors"):
        raise OptionError(lay_out(f"`{arguments.model}`: a model is saved as .safetensors"))
    samples = read_samples(arguments.data, answers=True)
    test = read_samples(arguments.test, answers=True) if arguments.test else None
    task = arguments.task or samples.task
    if test is not None:
        _check_same_features(samples, test, arguments)
    estimator = _estimator(task, arguments)
    whole = fitted(estimator, samples.X, _answers_for(task, samples, arguments.data))
    if samples.named:
        estimator.feature_names_in_ = np.array(samples.features, object)  # scikit-learn's name for it
    estimator.save(arguments.model)
    rows = [
        ("task", task),
        ("sequences", f"{len(samples.X):,}, of {_steps(samples)} steps"),
        ("features", ", ".join(samples.features)),
        ("network", f"{estimator.network_!r}".strip("<>")),
        ("epochs", str(len(estimator.history_))),
    ]
    score = "accuracy" if task == "classification" else "R²"
    with in_their_order():
        rows.append((f"{score}, training", f"{estimator.score(samples.X, _answers_for(task, samples, arguments.data)):.4f}"))
        if test is not None:
            rows.append((f"{score}, test", f"{estimator.score(test.X, _answers_for(task, test, arguments.test)):.4f}"))
    rows.append(("saved to", arguments.model))
    width = max(len(name) for name, _ in rows)
    sys.stdout.write("".join(f"{name:<{width}}  {value}\n" for name, value in rows))
    return 0 if whole else INTERRUPTED


@contextmanager
def in_their_order() -> Iterator[None]:
    """The columns of a file have been matched by name, so that the arrays made of them have no need of names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        yield


def fitted(estimator: Any, X: Any, y: Any) -> bool:  # noqa: N803 - scikit-learn's names
    """Fit an estimator; False if Ctrl-C has ended that. What it keeps then, or after it diverged, is told in one line.

    An interrupt before there is anything to keep goes on as it is.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        estimator.fit(X, y)
    whole = True
    for warning in told:
        if issubclass(warning.category, ConvergenceWarning):
            sys.stderr.write(f"ostinato: {warning.message}\n")
            whole = whole and "interrupted" not in str(warning.message)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return whole


def _estimator(task: str, arguments: argparse.Namespace) -> Any:
    module = estimators()
    made = module.RecurrentClassifier if task == "classification" else module.RecurrentRegressor
    options = {
        "cell": arguments.cell, "n_neurons": arguments.neurons, "n_layers": arguments.layers,
        "bidirectional": arguments.bidirectional, "dropout": arguments.dropout, "batch_size": arguments.batch_size,
        "max_epochs": arguments.epochs, "patience": arguments.patience, "random_state": arguments.seed,
        "verbose": 0 if arguments.quiet else 1,
    }  # fmt: skip
    if arguments.learning_rate is not None:
        options["learning_rate"] = arguments.learning_rate
    return made(**options)


def _check_same_features(samples: Samples, test: Samples, arguments: argparse.Namespace) -> None:
    if test.features != samples.features:
        headline = f"{arguments.test}: its features are {test.features}, and those of {arguments.data} are {samples.features}"
        raise DataError(lay_out(headline))


def _answers_for(task: str, samples: Samples, path: str) -> Any:
    assert samples.y is not None
    if task == "regression" and samples.y.dtype.kind not in "fiu":
        raise DataError(lay_out(f"{path}: a regressor learns numbers, and the answers are text such as {samples.y[0]!r:.40}"))
    return samples.y.astype(np.float64) if task == "regression" else samples.y


def _steps(samples: Samples) -> str:
    lengths = sorted({len(x) for x in samples.X})
    return str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"


def predict_command(model: str, data: str, output: str) -> int:
    """Predict with a saved estimator; to the screen as CSV, or to a file."""
    if output and Path(output).resolve() in (Path(data).resolve(), Path(model).resolve()):
        raise OptionError(
            lay_out(f"`{output}` is read here, and would be written over; choose another file for the predictions")
        )
    estimator = load_estimator(model)
    samples = read_samples(data, answers=False)
    with in_their_order():
        columns = _predictions(estimator, _as_learned(estimator, samples, data))
    if output:
        write_predictions(output, samples.names, columns)
    else:
        sys.stdout.write(predictions_text(samples.names, columns))
    return 0


def load_estimator(model: str) -> Any:
    """The estimator that `ostinato train` saved.

    Raises:
        FileError: the file can not be read, or holds something else.
        MissingExtraError: scikit-learn is not installed.
    """
    estimators()
    estimator = loading.load(model)
    if not hasattr(estimator, "predict"):
        kind = type(estimator).__name__.lower()
        raise FileError(lay_out(f"`{model}` holds a {kind}, not what `ostinato train` saves"))
    return estimator


def _as_learned(estimator: Any, samples: Samples, path: str) -> Samples:
    """The samples with their features in the order in which the model learned them.

    Raises:
        DataError: a feature is missing, or one is there that the model does not know.
    """
    learned = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    if not learned or not samples.named or learned == samples.features:
        return samples
    for here, there, what in ((learned, samples.features, "lacks"), (samples.features, learned, "has")):
        odd = ", ".join(f"`{name}`" for name in here if name not in there)
        if odd:
            known = ", ".join(f"`{name}`" for name in learned)
            raise DataError(lay_out(f"{path}: it {what} the feature {odd}, and the model was trained on {known}"))
    order = [samples.features.index(name) for name in learned]
    return replace(samples, X=[x[:, order] for x in samples.X], features=learned)


def _predictions(estimator: Any, samples: Samples) -> dict[str, Any]:
    predicted = np.asarray(estimator.predict(samples.X))
    if hasattr(estimator, "classes_"):
        probabilities = np.asarray(estimator.predict_proba(samples.X))
        chances = {f"p_{name}": probabilities[:, i] for i, name in enumerate(estimator.classes_)}
        return {"prediction": predicted, **chances}
    if predicted.ndim == 1:
        return {"prediction": predicted}
    return {f"prediction_{i + 1}": column for i, column in enumerate(predicted.reshape(len(predicted), -1).T)}
