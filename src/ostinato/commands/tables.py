"""Sequences in files: .npz and .csv. Whatever is wrong in a file is said with its place.

.npz    X (n_samples, n_steps, n_features); y (n_samples,) or (n_samples, n_outputs); lengths (n_samples,), optional
.csv    long form, one line for one step of one sequence, with a header:

            sequence,step,speed,height,label
            a,1,0.5,1.2,bird
            a,2,0.7,1.1,bird
            b,1,0.1,0.0,plane

        `sequence` names the sequence; `step` is optional, and orders its lines (else they stand in order); `label` (text) or
        `target` (a number) is what is to be learned, the same on all lines of a sequence; every other column is a feature.
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, FileError, OptionError, lay_out
from ..files import write_atomically

Array = np.ndarray[Any, np.dtype[Any]]
ANSWERS = ("label", "target")
# what NumPy and the zip reader say of a file that is something else, or was cut or changed
DAMAGED = (
    OSError, ValueError, TypeError, AttributeError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


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
    arrays = _arrays(path)
    for name in ("X", *(["y"] if answers else [])):
        if name not in arrays:
            raise DataError(lay_out(f"{path}: it has no array `{name}`; it has {', '.join(sorted(arrays)) or 'none'}"))
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


def _arrays(path: str) -> dict[str, Array]:
    try:
        content = io.BytesIO(Path(path).read_bytes())
    except OSError as error:
        raise FileError(lay_out(f"`{path}` can not be read: {error.strerror or error}")) from None
    try:
        with np.load(content, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise FileError(lay_out(f"`{path}` is no .npz file of plain arrays, or it is damaged: {_one_line(error)}")) from None


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


@dataclass
class _Sequence:
    line: int
    answer: str
    rows: list[tuple[float, int, list[float]]]  # step, line, features


def _read_csv(path: str, *, answers: bool) -> Samples:
    lines = _csv_lines(path)
    if not lines:
        raise DataError(lay_out(f"{path}: it is empty; the first line names the columns"))
    header = [name.strip() for name in lines[0][1]]
    answer, features = _columns(path, header, answers=answers)
    found: dict[str, _Sequence] = {}
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise DataError(lay_out(f"{path}, line {number}: {len(cells)} columns, and the header names {len(header)}"))
        row = dict(zip(header, (c.strip() for c in cells), strict=True))
        values = [_number(path, number, name, row[name]) for name in features]
        given = row[answer] if answer else ""
        sequence = found.setdefault(row["sequence"], _Sequence(number, given, []))
        if given != sequence.answer:
            headline = (
                f"{path}, line {number}: `{answer}` is `{given}`, and was `{sequence.answer}` on line {sequence.line} of the "
                f"same sequence `{row['sequence']}`"
            )
            raise DataError(lay_out(headline))
        step = _number(path, number, "step", row["step"]) if "step" in row else float(len(sequence.rows))
        sequence.rows.append((step, number, values))
    if not found:
        raise DataError(lay_out(f"{path}: it names columns, and has no line under them"))
    X = [_in_order(path, name, sequence) for name, sequence in found.items()]  # noqa: N806
    return Samples(X, _answers(path, answer, found), list(found), features, _task(answer), named=True)


def _task(answer: str) -> str:
    return {"label": "classification", "target": "regression"}.get(answer, "")


def _csv_lines(path: str) -> list[tuple[int, list[str]]]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(lay_out(f"`{path}` can not be read: {error.strerror or error}")) from None
    except UnicodeDecodeError as error:
        raise FileError(lay_out(f"`{path}` is no text in UTF-8: byte {error.start}")) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise DataError(lay_out(f"{path}, line {reader.line_num}: {error}")) from None


def _columns(path: str, header: Sequence[str], *, answers: bool) -> tuple[str, list[str]]:
    """The column of the answer ("" if it is not looked at) and those of the features."""
    named = ", ".join(f"`{name}`" for name in header)
    if len(set(header)) != len(header) or "" in header:
        raise DataError(lay_out(f"{path}, line 1: every column has a name of its own; the header is {named}"))
    if "sequence" not in header:
        raise DataError(lay_out(f"{path}, line 1: there is no column `sequence`; the columns are {named}"))
    there = [name for name in ANSWERS if name in header]
    if answers and len(there) != 1:
        what = "both of the columns" if there else "neither of the columns"
        raise DataError(lay_out(f"{path}, line 1: it has {what} `label` and `target`, and needs one; the columns are {named}"))
    features = [name for name in header if name not in ("sequence", "step", *ANSWERS)]
    if not features:
        raise DataError(lay_out(f"{path}, line 1: there is no column of a feature; the columns are {named}"))
    return (there[0] if answers else ""), features


def _number(path: str, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        what = f"`{text}`" if text else "empty"
        raise DataError(lay_out(f"{path}, line {line}: `{column}` is {what}, not a number")) from None
    if not math.isfinite(value):
        raise DataError(lay_out(f"{path}, line {line}: `{column}` is `{text}`, not a finite number"))
    return value


def _in_order(path: str, name: str, sequence: _Sequence) -> Array:
    rows = sorted(sequence.rows, key=lambda row: row[0])
    for earlier, later in pairwise(rows):
        if earlier[0] == later[0]:
            place, step = f"{path}, line {later[1]}", f"step {later[0]:g} of the sequence `{name}`"
            raise DataError(lay_out(f"{place}: {step} stands on line {earlier[1]} already"))
    return np.array([values for _, _, values in rows])


def _answers(path: str, answer: str, found: dict[str, _Sequence]) -> Array | None:
    if not answer:
        return None
    for sequence in found.values():
        if not sequence.answer:
            raise DataError(lay_out(f"{path}, line {sequence.line}: `{answer}` is empty"))
    if answer == "target":
        return np.array([_number(path, s.line, answer, s.answer) for s in found.values()])
    return np.array([s.answer for s in found.values()])


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


def write_predictions(path: str, names: Sequence[str], columns: dict[str, Array]) -> None:
    """Predictions to a .csv or .npz file, whole or not at all.

    Raises:
        OptionError: another ending.
        FileError: it can not be written.
    """
    ending = Path(path).suffix.lower()
    if ending == ".npz":
        content = io.BytesIO()
        arrays: dict[str, Any] = {"sequence": np.array(names), **columns}
        np.savez(content, **arrays)
        write_atomically(path, content.getvalue())
    elif ending == ".csv":
        write_atomically(path, predictions_text(names, columns).encode())
    else:
        raise OptionError(lay_out(f"`{path}`: predictions are written to .csv or .npz files"))
