"""Data frames and series: the names of their columns, and their numbers, of whatever library they are.

pandas, polars and pyarrow are asked in their own words; anything else with `columns` or `__dataframe__` is a frame too. None of
them is imported here. What is no number is refused with the name of its column.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from numbers import Complex, Real
from typing import Any

import numpy as np

from ..errors import DataError, DataTypeError, lay_out

Array = np.ndarray[Any, np.dtype[Any]]

PLAIN = (np.ndarray, list, tuple, str, bytes, dict, int, float, complex, np.generic, type(None))
NO_NUMBERS = {
    "category": "leave the column out, or make numbers of its categories, as scikit-learn's OneHotEncoder does",
    "text": "leave the column out, or make numbers of its text, as scikit-learn's OneHotEncoder does",
    "date": "leave the column out, or give the time since a beginning as a number",
    "duration": "give durations as numbers, of seconds for instance",
    "complex number": "give the real and the imaginary part as two columns",
}
MISSING = "fill what is missing, or leave those rows out"


@dataclass(frozen=True)
class Column:
    """One column, or a series.

    Attributes:
        label: its name.
        kind: NumPy's letter of what it holds: f, i, u, b are numbers; O may be.
        dtype: its dtype in words.
        missing: the row of the first value that is not there; None where all are, or where NaN says it.
        values: makes an array of it.
    """

    label: Any
    kind: str
    dtype: str
    missing: int | None
    values: Callable[[], Array]

    def numbers(self, name: str, owner: str) -> Array:
        """(n_rows,) numbers.

        Raises:
            DataError: it holds something else, or a value is missing.
        """
        whose = f"{owner}: `{name}`: column `{self.label}`"
        if self.missing is not None and self.kind in "fiubO":
            raise DataError(lay_out(f"{whose} has no value in row {self.missing}; its dtype is {self.dtype}", hint=MISSING))
        if self.kind == "O" and self.dtype.lower().startswith("object"):
            return numbers_of_objects(self.values(), lambda place: f"{whose}, row {place[0]}")
        if self.kind not in "fiub":
            what = _what(self.dtype)
            headline = f"{whose} holds no numbers: its dtype is {self.dtype}"
            if what == "complex number":
                headline = f"Complex data not supported. {whose} has dtype {self.dtype}"
            raise DataError(lay_out(headline, hint=NO_NUMBERS.get(what, "")))
        return self.values()


def _what(dtype: str) -> str:
    """What a column of this dtype holds, in one word."""
    words = {
        "category": ("categor", "enum", "dictionary"), "text": ("str", "large_str", "utf8", "<u", "<s", "|s", "binary"),
        "date": ("date", "time", "period"), "duration": ("duration", "timedelta"), "complex number": ("complex",),
    }  # fmt: skip
    small = dtype.lower()
    found = [what for what, beginnings in words.items() if small.startswith(beginnings)]
    return found[-1] if found else "other"


# --- names


def labels_of_columns(value: Any) -> list[Any] | None:
    """The names of the columns of a frame, of whatever type; None where `value` is no frame."""
    if isinstance(value, PLAIN) or (hasattr(value, "collect") and not hasattr(value, "__len__")):  # polars: not computed yet
        return None
    if hasattr(value, "schema") and isinstance(getattr(value, "column_names", None), list):  # pyarrow: `columns` are arrays
        return list(value.column_names)
    columns = getattr(value, "columns", None)
    if columns is not None and not callable(columns) and isinstance(columns, Iterable) and not isinstance(columns, str):
        return list(columns)
    if hasattr(value, "__dataframe__"):
        return list(value.__dataframe__().column_names())
    return None


def is_frame(value: Any) -> bool:
    """Whether it has columns: pandas, polars, pyarrow, anything with `columns` or `__dataframe__`."""
    return labels_of_columns(value) is not None


def column_names(value: Any, what: str = "X") -> tuple[str, ...] | None:
    """The names of a frame's columns; None where it is no frame, or its columns have no names (numbers, as scikit-learn).

    Raises:
        DataTypeError: some names are text and some are not.
        DataError: a name stands twice.
    """
    labels = labels_of_columns(value)
    if not labels:
        return None
    kinds = sorted({type(label).__qualname__ for label in labels})
    if "str" not in kinds:
        return None
    if len(kinds) > 1:
        headline = (
            f"Feature names are only supported if all input features have string names, but {what} has {kinds} as feature "
            "name / column name types"
        )
        raise DataTypeError(lay_out(headline, hint="name all columns by text, or none"))
    twice = [label for i, label in enumerate(labels) if label in labels[:i]]
    if twice:
        raise DataError(lay_out(f"{what} has two columns of the name `{twice[0]}`"))
    return tuple(labels)


def order_of(names: Sequence[str], wanted: Sequence[str], what: str) -> list[int] | None:
    """The places of the wanted names among these; None where they stand in that order already.

    Raises:
        DataError: they are not the same names; in scikit-learn's words.
    """
    if tuple(names) == tuple(wanted):
        return None
    unseen, missing = sorted(set(names) - set(wanted)), sorted(set(wanted) - set(names))
    if unseen or missing:
        lines = [f"The feature names should match those that were passed during fit. {what} has others."]
        for title, some in (
            ("Feature names unseen at fit time:", unseen),
            ("Feature names seen at fit time, yet now missing:", missing),
        ):
            if some:
                lines += [title, *(f"- {name}" for name in some[:5]), *(["- ..."] if len(some) > 5 else [])]
        raise DataError(lay_out("\n".join(lines)))
    places = {name: i for i, name in enumerate(names)}
    return [places[name] for name in wanted]


# --- numbers


def numbers_of_frame(frame: Any, name: str, owner: str) -> Array:
    """(n_rows, n_columns) numbers: a view where the frame is one array, otherwise a copy.

    Raises:
        DataError: a column holds no numbers, or a value is missing; the message names the column.
    """
    labels = labels_of_columns(frame) or []
    library = _library(frame)
    if library == "pandas" and all(isinstance(d, np.dtype) for d in frame.dtypes):
        kinds = {d.kind for d in frame.dtypes}
        if kinds <= set("fiu") or kinds == {"b"}:
            return np.asarray(frame)
    if library in READERS:
        columns = [READERS[library](frame, i, label).numbers(name, owner) for i, label in enumerate(labels)]
        return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0))
    if not hasattr(frame, "__array__"):
        return numbers_of_frame(_interchanged(frame, name, owner), name, owner)
    array = np.asarray(frame)
    if array.dtype != object or array.ndim != 2:
        return array
    return numbers_of_objects(array, lambda at: f"{owner}: `{name}`: column `{labels[at[1]]}`, row {at[0]}")


def series_as_array(value: Any, name: str, owner: str) -> Array:
    """A series of pandas, polars or pyarrow: numbers where it holds numbers, otherwise what NumPy makes of it.

    Raises:
        DataError: a number is missing.
    """
    column = _series(value)
    if column is None or column.kind not in "fiub":
        return np.asarray(value)
    if column.missing is not None:
        headline = f"{owner}: `{name}` has no value at [{column.missing}]; its dtype is {column.dtype}"
        raise DataError(lay_out(headline, hint=MISSING))
    return column.values()


def _library(value: Any) -> str:
    """The library whose class the value is of."""
    for cls in type(value).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in READERS:
            return root
    return ""


def _series(value: Any) -> Column | None:
    label = getattr(value, "name", None)
    match _library(value):
        case "pandas" if hasattr(value, "dtype") and hasattr(value, "isna"):
            return _of_pandas(value, label)
        case "polars" if hasattr(value, "null_count") and hasattr(value, "dtype"):
            return _of_polars(value, label)
        case "pyarrow" if hasattr(value, "null_count") and hasattr(value, "type"):
            return _of_pyarrow(value, label)
    return None


def _of_pandas(series: Any, label: Any) -> Column:
    dtype = series.dtype
    kind = str(getattr(dtype, "kind", "O"))
    missing = None
    if not isinstance(dtype, np.dtype) and kind in "fiub":
        absent = np.asarray(series.isna())
        missing = int(absent.argmax()) if absent.any() else None
    target = {"b": bool, "i": np.int64, "u": np.uint64, "f": np.float64}.get(kind)
    return Column(label, kind, str(dtype), missing, lambda: np.asarray(series, target))


def _of_polars(series: Any, label: Any) -> Column:
    dtype = series.dtype
    text = str(dtype)
    kind = "b" if text == "Boolean" else "f" if dtype.is_numeric() else "O"
    missing = int(series.is_null().arg_max()) if kind != "O" and series.null_count() else None
    if text == "Null":
        return Column(label, "O", text, 0 if len(series) else None, series.to_numpy)
    decimal = text.startswith("Decimal")
    return Column(label, kind, text, missing, lambda: np.asarray([float(v) for v in series] if decimal else series.to_numpy()))


def _of_pyarrow(column: Any, label: Any) -> Column:
    text = str(column.type)
    numeric = text.startswith(("int", "uint", "float", "double", "halffloat", "decimal"))
    kind = "b" if text == "bool" else "f" if numeric else "O"
    missing = int(np.asarray(column.is_null()).argmax()) if kind != "O" and column.null_count else None
    if text == "null":
        return Column(label, "O", text, 0 if len(column) else None, lambda: np.asarray(column))
    if text.startswith("decimal"):
        return Column(label, kind, text, missing, lambda: np.array([float(v) for v in column.to_pylist()]))
    return Column(label, kind, text, missing, lambda: np.asarray(column))


READERS: dict[str, Callable[[Any, int, Any], Column]] = {
    "pandas": lambda frame, i, label: _of_pandas(frame.iloc[:, i], label),
    "polars": lambda frame, i, label: _of_polars(frame.to_series(i), label),
    "pyarrow": lambda frame, i, label: _of_pyarrow(frame.column(i), label),
}


def _interchanged(frame: Any, name: str, owner: str) -> Any:
    """A frame that speaks the interchange protocol and no more, as one of a library that is there."""
    if hasattr(frame, "__dataframe__"):
        for library, path in (("pyarrow", "pyarrow.interchange"), ("pandas", "pandas.api.interchange")):
            if library in sys.modules:
                return import_module(path).from_dataframe(frame)
    headline = f"{owner}: `{name}` is a {type(frame).__name__}, of which NumPy makes no array"
    raise DataError(lay_out(headline, hint="give a frame of pandas, polars or pyarrow, or an array"))


def numbers_of_objects(array: Array, where: Callable[[tuple[int, ...]], str]) -> Array:
    """An array of objects that are all numbers, as float64.

    Raises:
        DataError: an element is missing, text or a date, or too large; the message says which.
        DataTypeError: an element is something else.
    """
    if all(_is_number(kind) for kind in set(map(type, array.flat))):
        try:
            return array.astype(np.float64)
        except OverflowError:
            places = (p for p in np.ndindex(array.shape) if abs(array[p]) > sys.float_info.max)
            raise DataError(lay_out(f"{where(next(places))} is too large for float64")) from None
    place = next(p for p in np.ndindex(array.shape) if not _is_number(type(array[p])))
    value, at = array[place], where(place)
    if is_missing(value):
        raise DataError(lay_out(f"{at} has no value: {value!r}", hint=MISSING if place else ""))
    if isinstance(value, Complex):
        raise DataError(lay_out(f"Complex data not supported. {at} is {value!r}"))
    if isinstance(value, str | bytes) or hasattr(value, "isoformat"):
        kind = "text" if isinstance(value, str | bytes) else "a date"
        raise DataError(lay_out(f"{at} is {kind}, and must be a number: {value!r}"))
    reason = f"float() argument must be a string or a real number, not '{type(value).__name__}'"
    raise DataTypeError(lay_out(f"{at} is no number: {reason}"))


def _is_number(kind: type) -> bool:
    return issubclass(kind, Real | np.bool_ | Decimal)


def is_missing(value: Any) -> bool:
    """None, pandas.NA and NaT, NaN, a masked element."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    try:
        return isinstance(value, float | np.floating | np.datetime64 | np.timedelta64) and bool(value != value)  # noqa: PLR0124
    except (TypeError, ValueError):
        return False


def only_column(frame: Any) -> Any:
    """The column of a frame that has one, as a series; any other frame as it is."""
    if len(labels_of_columns(frame) or []) != 1:
        return frame
    match _library(frame):
        case "pandas":
            return frame.iloc[:, 0]
        case "polars":
            return frame.to_series(0)
        case "pyarrow":
            return frame.column(0)
    return frame
