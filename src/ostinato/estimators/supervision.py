"""What a network is to answer, and how much each sample counts: labels, targets and weights of scikit-learn's users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from ..errors import DataError, DataTypeError, OptionError, lay_out
from ..runtime.arguments import as_array, numbers
from ..runtime.frames import is_frame, is_missing, only_column
from .samples import Samples

Array = np.ndarray[Any, np.dtype[Any]]
KINDS = {"U": "text", "S": "bytes", "b": "numbers", "i": "numbers", "u": "numbers", "f": "numbers"}


def labels_of(y: Any, n_samples: int, owner: str) -> tuple[Array, bool]:
    """(n_samples,) labels of any kind that can be sorted; and whether they were given as a column, (n_samples, 1).

    Raises:
        DataError: another shape, missing labels, labels of different kinds, or real numbers.
        DataTypeError: labels that have no order.
    """
    given = _given(y, owner)
    if isinstance(given, list | tuple) and len({kind_of(label) for label in given}) > 1:
        given = _boxed(given)  # NumPy makes text of numbers beside text
    labels = as_array("y", only_column(given) if is_frame(given) else given, owner)
    is_column = labels.ndim == 2 and labels.shape == (n_samples, 1)
    labels = labels.reshape(-1) if is_column else labels
    if labels.shape != (n_samples,):
        raise DataError(lay_out(f"{owner}: y has shape {labels.shape}, and must be (n_samples={n_samples},)"))
    if labels.dtype.kind == "T":  # NumPy's own strings of any length
        labels = labels.astype(object)
    if labels.dtype == object:
        labels = _of_objects(labels, owner)
    if labels.dtype.kind == "c":
        raise DataError(lay_out(f"Complex data not supported. {owner}: y has dtype {labels.dtype}"))
    if labels.dtype.kind in "fmM":
        _refuse_missing(labels, owner)
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.floor(labels)):
        headline = f"Unknown label type: continuous. {owner}: y holds real numbers, and must hold labels"
        raise DataError(lay_out(headline, hint="RecurrentRegressor learns real numbers"))
    return labels, is_column


def _boxed(labels: Sequence[Any]) -> Array:
    boxed = np.empty(len(labels), object)
    boxed[:] = labels
    return boxed


def _given(y: Any, owner: str) -> Any:
    if y is None:
        raise DataError(lay_out(f"{owner} requires y to be passed, but the target y is None"))
    return y


def _refuse_missing(values: Array, owner: str) -> None:
    """Refuse NaN, NaT and infinity, in scikit-learn's words."""
    wrong = np.isnat(values) if values.dtype.kind in "mM" else ~np.isfinite(values)
    if not wrong.any():
        return
    place = np.argwhere(wrong)[0].tolist()
    value = values[tuple(place)]
    what = "infinity or a value too large for dtype('float64')" if value == value else "NaN"  # noqa: PLR0124
    raise DataError(lay_out(f"Input y contains {what}. {owner}: y{place} is {value}"))


def _of_objects(labels: Array, owner: str) -> Array:
    """Text and bytes stay objects; truth values and numbers become arrays of theirs."""
    for i, label in enumerate(labels):
        if is_missing(label):
            raise DataError(lay_out(f"Input y contains NaN. {owner}: y[{i}] has no value: {label!r}"))
    kinds = {kind_of(label) for label in labels}
    if len(kinds) > 1:
        types = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise DataError(lay_out(f"{owner}: y holds labels of different kinds: {types}"))
    if kinds == {"numbers"}:
        return np.array(labels.tolist())
    if not kinds <= {"text", "bytes"}:
        try:
            ordered = not isinstance(labels[0], AbstractSet) and np.sort(labels) is not None
        except TypeError:
            ordered = False
        if not ordered:
            name = type(labels[0]).__name__
            headline = f"Unknown label type: {owner}: y holds labels of type {name}, which have no order"
            raise DataTypeError(lay_out(headline, hint="give text or whole numbers"))
    return labels


def kind_of(label: Any) -> str:
    """Which labels may be compared: text with text, bytes with bytes, numbers and truth values with each other."""
    if isinstance(label, str):
        return "text"
    if isinstance(label, bytes):
        return "bytes"
    if isinstance(label, bool | int | float | np.bool_ | np.integer | np.floating):
        return "numbers"
    return type(label).__name__


def hits(labels: Array, predicted: Array, owner: str) -> Array:
    """(n_samples,) 1.0 where the label is predicted, 0.0 elsewhere.

    Raises:
        DataError: the labels are of another kind than those that were learned.
    """
    kinds = [KINDS.get(some.dtype.kind) or kind_of(some[0]) for some in (labels, predicted)]
    if kinds[0] != kinds[1]:
        headline = f"{owner}: y holds {kinds[0]}, and the labels of `fit` were {kinds[1]}"
        raise DataError(lay_out(headline))
    equal: Array = np.fromiter((a == b for a, b in zip(labels.tolist(), predicted.tolist(), strict=True)), np.float64)
    return equal


# --- targets


def targets_of(y: Any, n_samples: int, owner: str) -> tuple[Array, bool]:
    """(n_samples, n_targets) float64; and whether y had no n_targets.

    Raises:
        DataError: shapes that do not fit X, or what is no finite number.
    """
    array = finite("y", _given(y, owner), owner)
    if array.ndim not in (1, 2) or len(array) != n_samples or not array.size:
        wanted = f"(n_samples={n_samples}) or (n_samples={n_samples}, n_targets)"
        raise DataError(lay_out(f"{owner}: y has shape {array.shape}, and must be {wanted}"))
    return array.reshape(n_samples, -1), array.ndim == 1


def targets_of_steps(y: Any, samples: Samples) -> tuple[list[Array], bool]:
    """For each sample (n_steps_i, n_targets) float64: an answer for every step; and whether y had no n_targets.

    Args:
        y: (n_samples, n_steps), (n_samples, n_steps, n_targets), or a list of (n_steps_i,) or (n_steps_i, n_targets).
        samples: whose steps are answered.

    Raises:
        DataError: shapes that do not fit X, or what is no finite number.
    """
    owner = samples.owner
    y = _given(y, owner)
    if not isinstance(y, list | tuple):
        y = as_array("y", y, owner)
        if not y.ndim:
            raise DataError(lay_out(f"{owner}: y is a single value, and must have an answer for every step"))
    if len(y) != len(samples):
        raise DataError(lay_out(f"{owner}: y has {len(y)} sequences, and X {len(samples)}"))
    arrays = [finite(f"y[{i}]", part, owner) for i, part in enumerate(y)]
    n_targets = next((a.shape[1] for a in arrays if a.ndim == 2), 1)
    for i, (array, length) in enumerate(zip(arrays, samples.lengths.tolist(), strict=True)):
        if array.shape not in ((length, n_targets), *([(length,)] if n_targets == 1 else [])):
            headline = f"{owner}: y[{i}] has shape {array.shape}, and must have an answer for each of {length} steps"
            raise DataError(lay_out(headline))
    return [a.reshape(len(a), n_targets) for a in arrays], all(a.ndim == 1 for a in arrays)


def finite(name: str, value: Any, owner: str) -> Array:
    """An array of finite float64 numbers.

    Raises:
        DataError: it is something else.
    """
    array = numbers(name, value, np.float64, owner)
    if not np.isfinite(array).all():
        place = ", ".join(map(str, np.argwhere(~np.isfinite(array))[0]))
        wrong = array[~np.isfinite(array)][0]
        what = "NaN" if np.isnan(wrong) else "infinity or a value too large for dtype('float64')"
        raise DataError(lay_out(f"Input y contains {what}. {owner}: {name}[{place}] is not a finite number"))
    return array


# --- weights


def weights_of(given: Any, n_samples: int, owner: str) -> Array | None:
    """(n_samples,) float64: how often each sample counts; None where all count once.

    Raises:
        DataError: another shape, no finite numbers, numbers below 0, or none above.
    """
    if given is None:
        return None
    weights = numbers("sample_weight", given, np.float64, owner)
    if weights.ndim == 0:
        weights = np.full(n_samples, float(weights))
    if weights.ndim != 1:
        headline = f"{owner}: Sample weights must be 1D array or scalar, got {weights.ndim}D array"
        raise DataError(lay_out(headline))
    if weights.shape != (n_samples,):
        raise DataError(lay_out(f"{owner}: sample_weight.shape == {weights.shape}, expected {(n_samples,)}!"))
    wrong = np.flatnonzero(~np.isfinite(weights))
    if len(wrong):
        headline = f"{owner}: sample_weight[{wrong[0]}] is {weights[wrong[0]]}, not a finite number"
        raise DataError(lay_out(headline))
    wrong = np.flatnonzero(weights < 0)
    if len(wrong):
        which = f"{owner}: sample_weight[{wrong[0]}] is {weights[wrong[0]]:g}"
        raise DataError(lay_out(f"Negative values in data passed to `sample_weight`. {which}"))
    if not weights.any():
        raise DataError(lay_out(f"{owner}: Sample weights must contain at least one non-zero number."))
    return weights


def weights_of_classes(class_weight: Any, classes: Array, places: Array, weights: Array | None, owner: str) -> Array | None:
    """(n_classes,): by what the weights of a class are multiplied; None where by 1.

    Args:
        class_weight: None; "balanced": all classes count the same together; or label -> weight, 1 for those it does not name.
            As in scikit-learn it may name labels that y lacks, if it names all that y has.
        classes: the labels.
        places: (n_samples,) the class of each sample.
        weights: of the samples.
        owner: who asks, for messages.

    Raises:
        OptionError: something else, a label that y does not have, or a weight below 0.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        sums = np.bincount(places, weights, len(classes))
        balanced: Array = sums.sum() / (len(classes) * sums)
        return balanced
    if not isinstance(class_weight, Mapping):
        headline = f'{owner}: `class_weight` is None, "balanced" or a dictionary of labels, not {class_weight!r}'
        raise OptionError(lay_out(headline))
    known = classes.tolist()
    unnamed = [label for label in known if label not in class_weight]
    for label, weight in class_weight.items():
        if unnamed and label not in known:
            listing = ", ".join(map(repr, known))
            headline = f"{owner}: `class_weight` names the label {label!r}, and the classes of y are {listing}"
            raise OptionError(lay_out(headline))
        if not isinstance(weight, int | float | np.integer | np.floating) or not 0 <= weight < np.inf:
            raise OptionError(lay_out(f"{owner}: the `class_weight` of {label!r} is a number from 0 up, not {weight!r}"))
    return np.array([float(class_weight.get(label, 1.0)) for label in known])
