"""Lines of CSV, each cell as it stands there: what is a number, which columns there are, and the words for what is wrong.

This is the definition of a .csv file. It says the line and the column of whatever is wrong; blocks.py reads faster what is
plain, and gives the same.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..errors import DataError, FileError, lay_out

ANSWERS = ("label", "target")
APART = ("sequence", "step", *ANSWERS)  # columns that are no features
DIVIDERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# no digits of other scripts and no 1_000, which Python would take; no two ways to read the same digits
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE)


def number(here: str, column: str, text: str) -> float:
    """The number in a cell, whose blanks are stripped.

    Raises:
        DataError: it is empty, something else, or not finite.
    """
    if not NUMBER.fullmatch(text):
        raise DataError(lay_out(f"{here}: `{column}` is {f'`{text:.60}`' if text else 'empty'}, not a number"))
    value = float(text)
    if not math.isfinite(value):
        raise DataError(lay_out(f"{here}: `{column}` is `{text:.60}`, not a finite number"))
    return value


# --- columns -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """The columns of a file.

    Attributes:
        line: where the header stands.
        header: all names.
        answer: "label", "target", or "" where the answers are not looked at.
        features: the names of the features, in the order of the file.
    """

    line: int
    header: list[str]
    answer: str
    features: list[str]

    @classmethod
    def of(cls, path: str, line: int, header: Sequence[str], *, answers: bool) -> Columns:
        """As the header names them.

        Raises:
            DataError: a name stands twice or is empty, or a column is missing.
        """
        here, header = f"{path}, line {line}", [name.strip() for name in header]
        check_header(here, header)
        named = listed(header)
        if "sequence" not in header:
            raise DataError(lay_out(f"{here}: there is no column `sequence`; the columns are {named}"))
        there = [name for name in ANSWERS if name in header]
        if answers and len(there) != 1:
            what = "both of the columns" if there else "neither of the columns"
            raise DataError(lay_out(f"{here}: it has {what} `label` and `target`, and needs one; the columns are {named}"))
        features = [name for name in header if name not in APART]
        if not features:
            raise DataError(lay_out(f"{here}: there is no column of a feature; the columns are {named}"))
        return cls(line, header, there[0] if answers else "", features)

    @property
    def numbers(self) -> list[str]:
        """The columns that hold numbers: the features, then the target and the step where they are there."""
        target = ["target"] if self.answer == "target" else []
        return [*self.features, *target, *(["step"] if "step" in self.header else [])]


def check_header(here: str, header: Sequence[str], known: Sequence[str] = ()) -> None:
    """Names that are all different; `known`: names that are good as they are.

    Raises:
        DataError: one stands twice or is empty, or something else than a comma stands between them.
    """
    if len(header) == 1 and header[0] not in known:
        for sign, word in DIVIDERS.items():
            if sign in header[0]:
                raise DataError(lay_out(f"{here}: its cells are divided by {word}, and must be divided by commas"))
    if len(set(header)) != len(header) or "" in header:
        raise DataError(lay_out(f"{here}: every column has a name of its own; the header is {listed(header)}"))


def listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def order_of_features(place: str, names: Sequence[str], learned: Sequence[str]) -> list[int]:
    """The places of the learned features among these names.

    Raises:
        DataError: they are not the same names; in scikit-learn's words, on one line.
    """
    unseen = [name for name in names if name not in learned]
    missing = [name for name in learned if name not in names]
    if unseen or missing:
        parts = [f"{place}: The feature names should match those that were passed during fit."]
        if unseen:
            parts.append(f"Feature names unseen at fit time: {listed(unseen)}.")
        if missing:
            parts.append(f"Feature names seen at fit time, yet now missing: {listed(missing)}.")
        raise DataError(lay_out(" ".join(parts).removesuffix(".")))
    places = {name: i for i, name in enumerate(names)}
    return [places[name] for name in learned]


# --- lines ---------------------------------------------------------------------------------------------------------------


def csv_lines(path: str) -> Generator[tuple[int, list[str]], None, None]:
    """The lines that are not blank: the number of each and its cells. A quoted cell may go on over several lines.

    Raises:
        FileError: the file can not be read, or is no text.
        DataError: quotes that do not fit, a cell of more than 131,072 characters, or a NUL byte.
    """
    try:
        file = Path(path).open(encoding="utf-8-sig", newline="")  # noqa: SIM115 - closed below
    except OSError as error:
        raise FileError(lay_out(f"`{path}` can not be read: {error.strerror or error}")) from None
    with file:
        text = _Text(path, file)
        reader = csv.reader(text, strict=True, skipinitialspace=True)
        line = 1
        try:
            for cells in reader:
                if len(cells) > 1 or text.last.strip():
                    yield line, cells
                line = text.number + 1
        except csv.Error as error:
            raise DataError(lay_out(f"{path}, line {line}: {error}")) from None
        except UnicodeDecodeError:
            raise FileError(lay_out(_no_text(path))) from None


class _Text:
    """The lines of a file as they stand there. `last` is the one that was read last, `number` its number."""

    def __init__(self, path: str, file: TextIO) -> None:
        self._path, self._file, self.last, self.number = path, file, "", 0

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        self.last = next(self._file)
        self.number += 1
        if "\0" in self.last:
            raise DataError(lay_out(f"{self._path}, line {self.number}: it holds a NUL byte, and is no text"))
        return self.last


def _no_text(path: str) -> str:
    """Where a file is no text in UTF-8."""
    with Path(path).open("rb") as file:
        for i, line in enumerate(file, 1):
            if i == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                break
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"`{path}`, line {i}: it is no text in UTF-8: byte {error.start}"
    return f"`{path}` is no text in UTF-8, and begins as UTF-16 does: save it as UTF-8"
