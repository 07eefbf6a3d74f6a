"""Sequences in files: .npz and .csv. Whatever is wrong in a file is said with its place.

.npz    X (n_samples, n_steps, n_features); y (n_samples,) or (n_samples, n_outputs); lengths (n_samples,), optional; further
        arrays are not read
.csv    long form, one line for one step of one sequence, with a header:

            sequence,step,speed,height,label
            a,1,0.5,1.2,bird
            a,2,0.7,1.1,bird
            b,1,0.1,0.0,plane

        `sequence` names the sequence; `step` is optional, and orders its lines (else they stand in order); `label` (text) or
        `target` (a number) is what is to be learned, the same on all lines of a sequence; every other column is a feature.
        Text in UTF-8 with commas between cells; a number is written with ASCII digits and a point. See lines.py and blocks.py.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, FileError, OptionError, lay_out
from ..files import check_writable, write_atomically
from .blocks import read_table

Array = np.ndarray[Any, np.dtype[Any]]
# what NumPy and the zip reader say of a file that is something else, or was cut or changed
DAMAGED = (
    OSError, ValueError, TypeError, AttributeError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


PLAIN = {  # what an array that is read is instead of one of objects
    "X": "not of numbers; sequences of several lengths are filled up to the longest, and `lengths` says how long each is",
    "y": "neither of numbers nor of text",
    "lengths": "not of whole numbers",
}


@dataclass(frozen=True)
class Samples:
    """Sequences with what is to be learned of them.

    Attributes:
        X: one array (n_steps, n_features) for each sequence.
        y: one answer for each sequence, or None.
        names: what each sequence is called.
        features: what each feature is called.
        task: "classification" or "regression", or "" where there is no y.
        named: whether the file names its features, so that their order does not matter.
    """

    X: list[Array]
    y: Array | None
    names: list[str]
    features: list[str]
    task: str
    named: bool = False


def read_samples(path: str, *, answers: bool) -> Samples:
    """The sequences of a .npz or .csv file.

    Args:
        path: the file.
        answers: whether what is to be learned must be there; else it is not looked at.

    Raises:
        FileError: it can not be read.
        OptionError: another ending.
        DataError: something in it is missing or wrong; the message says where.
    """
    ending = Path(path).suffix.lower()
    if ending == ".npz":
        return _read_npz(path, answers=answers)
    if ending == ".csv":
        return _read_csv(path, answers=answers)
    raise OptionError(lay_out(f"`{path}`: sequences are read from .npz or .csv files"))


# --- .npz ----------------------------------------------------------------------------------------------------------------


def _read_npz(path: str, *, answers: bool) -> Samples:
    arrays = _arrays(path, ("X", "y") if answers else ("X",), ("lengths",))
    X = arrays["X"]  # noqa: N806 - the name in the file
    if X.ndim != 3 or 0 in X.shape:
        raise DataError(lay_out(f"{path}: `X` is (n_samples, n_steps, n_features), and has the shape {X.shape}"))
    if X.dtype.kind not in "fiub":
        raise DataError(lay_out(f"{path}: `X` holds no numbers, but {X.dtype}"))
    lengths = _lengths(path, arrays.get("lengths"), X)
    samples = [np.asarray(X[i, :length], np.float64) for i, length in enumerate(lengths)]
    for i, sample in enumerate(samples):
        if not np.isfinite(sample).all():
            step, feature = np.argwhere(~np.isfinite(sample))[0]
            raise DataError(lay_out(f"{path}: X[{i}, {step}, {feature}] is {sample[step, feature]}, not a finite number"))
    y = arrays["y"] if answers else None
    if y is not None:
        _check_answers(path, y, len(X))
    task = "" if y is None else "regression" if y.dtype.kind == "f" else "classification"
    return Samples(samples, y, [str(i) for i in range(len(X))], [str(i) for i in range(X.shape[2])], task)


def _arrays(path: str, wanted: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Array]:
    """Arrays of a file by their names; no other array is read, and nothing is unpickled."""
    try:
        content = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise FileError(lay_out(f"`{path}` can not be read: {error.strerror or error}")) from None
    name = ""
    with content:
        try:
            with np.load(content, allow_pickle=False) as file:
                there = list(file.files)
                lacking = next((one for one in wanted if one not in there), "")
                found = {}
                for name in () if lacking else (*wanted, *(one for one in optional if one in there)):
                    found[name] = np.asarray(file[name])
        except DAMAGED as error:
            if name and "Object arrays" in str(error):
                raise DataError(lay_out(f"{path}: `{name}` is an array of objects, {PLAIN[name]}")) from None
            what = f"`{path}` is no .npz file of plain arrays, or it is damaged"
            what = f"`{path}`: the array `{name}` is damaged" if name else what
            raise FileError(lay_out(f"{what}: {_one_line(error)}")) from None
    if lacking:
        raise DataError(lay_out(f"{path}: it has no array `{lacking}`; it has {', '.join(sorted(there)) or 'none'}"))
    return found


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _lengths(path: str, lengths: Array | None, X: Array) -> list[int]:  # noqa: N803
    n_samples, n_steps = X.shape[:2]
    if lengths is None:
        return [n_steps] * n_samples
    if lengths.shape != (n_samples,) or lengths.dtype.kind not in "iu":
        found = f"{lengths.dtype}{lengths.shape}"
        headline = f"{path}: `lengths` is one whole number for each of {n_samples} samples, and is {found}"
        raise DataError(lay_out(headline))
    for i, length in enumerate(lengths):
        if not 1 <= length <= n_steps:
            raise DataError(lay_out(f"{path}: lengths[{i}] is {length}, and X has {n_steps} steps"))
    return [int(length) for length in lengths]


def _check_answers(path: str, y: Array, n_samples: int) -> None:
    if y.ndim not in (1, 2) or len(y) != n_samples:
        raise DataError(lay_out(f"{path}: `y` is one answer for each of {n_samples} samples, and has the shape {y.shape}"))
    if y.dtype.kind not in "fiubU":
        raise DataError(lay_out(f"{path}: `y` holds neither numbers nor text, but {y.dtype}"))
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(y))[0])
        raise DataError(lay_out(f"{path}: y[{', '.join(map(str, place))}] is {y[place]}, not a finite number"))


# --- .csv ----------------------------------------------------------------------------------------------------------------


def _read_csv(path: str, *, answers: bool) -> Samples:
    columns, table = read_table(path, answers=answers)
    task = {"label": "classification", "target": "regression"}.get(columns.answer, "")
    return Samples(table.sequences(), table.answers_of_sequences(), table.names, columns.features, task, named=True)


# --- what is written -----------------------------------------------------------------------------------------------------


def predictions_text(names: Sequence[str], columns: dict[str, Array]) -> str:
    """Predictions as CSV: `sequence`, then one column for each array (n_samples,)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sequence", *columns])
    for i, name in enumerate(names):
        writer.writerow([name, *(_shown(column[i]) for column in columns.values())])
    return text.getvalue()


def _shown(value: Any) -> str:
    return f"{float(value):.9g}" if isinstance(value, float | np.floating) else str(value)


def check_output(path: str) -> None:
    """Whether predictions can be written there, asked before they are made.

    Raises:
        OptionError: another ending.
        FileError: it can not be written.
    """
    if Path(path).suffix.lower() not in (".npz", ".csv"):
        raise OptionError(lay_out(f"`{path}`: predictions are written to .csv or .npz files"))
    check_writable(path)


def write_predictions(path: str, names: Sequence[str], columns: dict[str, Array]) -> None:
    """Predictions to a .csv or .npz file, whole or not at all.

    Raises:
        OptionError: another ending.
        FileError: it can not be written.
    """
    check_output(path)
    if Path(path).suffix.lower() == ".csv":
        write_atomically(path, predictions_text(names, columns).encode())
        return
    content = io.BytesIO()
    arrays: dict[str, Any] = {"sequence": np.array(names), **columns}
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())
