"""`ostinato train` and `ostinato predict`: sequences from files, an estimator, a model file."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import loading
from ..errors import DataError, FileError, MissingExtraError, OptionError, lay_out
from ..files import check_writable
from ..language.cell import Cell
from .explaining import find_cell, traced
from .lines import listed, order_of_features
from .tables import Samples, check_output, predictions_text, read_samples, write_predictions

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
    check_model_path(arguments.model)
    samples = read_samples(arguments.data, answers=True)
    test = read_samples(arguments.test, answers=True) if arguments.test else None
    task = arguments.task or samples.task
    estimator = _estimator(task, arguments, len(samples.features))
    if test is not None:
        test = _checked_test(test, samples, task, arguments, estimator.dtype)
    whole = fitted(estimator, samples.X, _answers_for(task, samples, arguments.data))
    if samples.named:
        estimator.feature_names_in_ = np.array(samples.features, object)  # scikit-learn's name for it
    estimator.save(arguments.model)
    _ask_by_place(estimator)
    rows = [
        ("task", task),
        ("sequences", f"{len(samples.X):,}, of {_steps(samples)} steps"),
        ("features", ", ".join(samples.features)),
        ("network", f"{estimator.network_!r}".strip("<>")),
        ("epochs", str(len(estimator.history_))),
    ]
    score = "accuracy" if task == "classification" else "R²"
    rows.append((f"{score}, training", f"{estimator.score(samples.X, _answers_for(task, samples, arguments.data)):.4f}"))
    if test is not None:
        rows.append((f"{score}, test", f"{estimator.score(test.X, _answers_for(task, test, arguments.test)):.4f}"))
    rows.append(("saved to", arguments.model))
    width = max(len(name) for name, _ in rows)
    sys.stdout.write("".join(f"{name:<{width}}  {value}\n" for name, value in rows))
    return 0 if whole else INTERRUPTED


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


def check_model_path(path: str) -> None:
    """Whether a model can be saved there, asked before it is trained.

    Raises:
        OptionError: another ending.
        FileError: it can not be written.
    """
    if not path.endswith(".safetensors"):
        raise OptionError(lay_out(f"`{path}`: a model is saved as .safetensors"))
    check_writable(path)


def _estimator(task: str, arguments: argparse.Namespace, n_features: int) -> Any:
    module = estimators()
    cell = arguments.cell
    if ".py" in cell:
        cell = _own_cell(cell, n_inputs=n_features, n_neurons=arguments.neurons)
    made = module.RecurrentClassifier if task == "classification" else module.RecurrentRegressor
    options = {
        "cell": cell, "n_neurons": arguments.neurons, "n_layers": arguments.layers,
        "bidirectional": arguments.bidirectional, "dropout": arguments.dropout, "batch_size": arguments.batch_size,
        "max_epochs": arguments.epochs, "patience": arguments.patience, "random_state": arguments.seed,
        "verbose": 0 if arguments.quiet else 1,
    }  # fmt: skip
    if arguments.learning_rate is not None:
        options["learning_rate"] = arguments.learning_rate
    return made(**options)


def _own_cell(name: str, **sizes: int) -> Cell:
    """The cell of a file, which is run; what its author's lines do wrong is told before the training.

    Raises:
        OptionError, FileError, CellError, DimensionError: it is not there, does not run, or has no meaning at these sizes.
    """
    cell = find_cell(name)
    missing = ", ".join(f"`{size}`" for size in sizes if size not in cell.dimensions)
    if missing:
        known = listed(cell.dimensions)
        raise OptionError(
            lay_out(f"{cell.name}: a cell to train has the dimensions `n_inputs` and `n_neurons`, and has {known}")
        )
    traced(cell, sizes)
    return cell


def _checked_test(test: Samples, samples: Samples, task: str, arguments: argparse.Namespace, dtype: str) -> Samples:
    """The data to measure on, with the features in the order of training: what can not be measured is told before training.

    Raises:
        DataError: other features, answers of another kind, or numbers that are too large.
    """
    test = _as_learned(samples.features if samples.named else [], len(samples.features), test, arguments.test)
    y, learned = _answers_for(task, test, arguments.test), _answers_for(task, samples, arguments.data)
    if y.shape[1:] != learned.shape[1:] or (y.dtype.kind == "U") != (learned.dtype.kind == "U"):
        forms = [f"{'text' if a.dtype.kind == 'U' else 'numbers'} of shape {a.shape[1:]}" for a in (y, learned)]
        raise DataError(lay_out(f"{arguments.test}: its answers are {forms[0]}, and those of {arguments.data} {forms[1]}"))
    limit = float(np.sqrt(np.finfo(dtype).max))
    for name, x in zip(test.names, test.X, strict=True):
        if np.abs(x).max(initial=0.0) > limit:
            step, feature = np.argwhere(np.abs(x) > limit)[0]
            where = f"`{test.features[feature]}` at step {step} of the sequence `{name}`"
            raise DataError(lay_out(f"{arguments.test}: {where} is {x[step, feature]:g}, too large for {dtype}"))
    return test


def _answers_for(task: str, samples: Samples, path: str) -> Any:
    assert samples.y is not None
    if task == "regression" and samples.y.dtype.kind not in "fiu":
        example = samples.y.flat[0].item()
        raise DataError(lay_out(f"{path}: a regressor learns numbers, and the answers are text such as {example!r:.40}"))
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
    if output:
        check_output(output)
    estimator = load_estimator(model)
    learned = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    samples = _as_learned(learned, estimator.n_features_in_, read_samples(data, answers=False), data)
    _ask_by_place(estimator)
    columns = _predictions(estimator, samples)
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


def _as_learned(learned: Sequence[str], n_features: int, samples: Samples, path: str) -> Samples:
    """The samples with their features in the order in which they are learned; where no names are known, as they are.

    Raises:
        DataError: a feature is missing or further, or there is another number of them.
    """
    if learned and samples.named:
        order = order_of_features(path, samples.features, learned)
        if order == list(range(len(order))):
            return samples
        return replace(samples, X=[x[:, order] for x in samples.X], features=list(learned))
    if len(samples.features) != n_features:
        here = len(samples.features)
        raise DataError(lay_out(f"{path}: X has {here} features, but the model is expecting {n_features} features as input"))
    if learned:
        sys.stderr.write(f"ostinato: {path} names no features; they are taken in the order of training: {listed(learned)}\n")
    return samples


def _ask_by_place(estimator: Any) -> None:
    """What it is asked from here on are arrays whose columns have been put in the order of training."""
    vars(estimator).pop("feature_names_in_", None)


def _predictions(estimator: Any, samples: Samples) -> dict[str, Any]:
    predicted = np.asarray(estimator.predict(samples.X))
    if hasattr(estimator, "classes_"):
        probabilities = np.asarray(estimator.predict_proba(samples.X))
        chances = {f"p_{name}": probabilities[:, i] for i, name in enumerate(estimator.classes_)}
        return {"prediction": predicted, **chances}
    if predicted.ndim == 1:
        return {"prediction": predicted}
    return {f"prediction_{i + 1}": column for i, column in enumerate(predicted.reshape(len(predicted), -1).T)}
