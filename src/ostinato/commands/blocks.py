"""The rows of a .csv file as arrays, a block at a time: with pyarrow if it is installed and the file plain, else by lines.

Lines of CSV in Python (lines.py) are the definition. pyarrow (`pip install "ostinato[tables]"`) reads the same numbers several
times faster. It is the reader of choice among pyarrow, pandas and polars because it refuses a line with too few cells, which
others fill up; rounds every number right and takes no other text for one; and reads in blocks, so that memory is the numbers
and one block. All three take about 100 to 180 MB of disk. Whatever it might read otherwise than the definition
(quotes inside of cells, lone carriage returns, NUL bytes, what is no UTF-8, very long lines) is looked for first, and read by
lines; whatever is wrong is read again by lines, which says where. So the answers and the words are the same with it and
without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, lay_out
from .lines import Columns, csv_lines, number

Array = np.ndarray[Any, np.dtype[Any]]
ROWS = 4096  # of a block that is read by lines
BYTES = 1 << 18  # of a block that pyarrow reads
LONGEST = 1 << 17  # a line with more bytes may have a cell that csv refuses
QUOTED = re.compile(rb'(?:(?<=[,\n])|^)"[^"\r\n]*"(?=[,\r\n]|$)')


@dataclass
class Table:
    """The rows of a file.

    Attributes:
        names: of the sequences, as they come.
        codes: (n_rows,) the place of each row's sequence among the names.
        X: (n_rows, n_features).
        steps: (n_rows,), or None where there is no such column.
        answers: (n_rows,) targets, or places among `labels`; None where they are not looked at.
        labels: texts; empty for targets.
        lines: (n_rows,) where each row stands; zeros where it is not known.
    """

    names: list[str]
    codes: Array
    X: Array
    steps: Array | None
    answers: Array | None
    labels: list[str]
    lines: Array

    @property
    def firsts(self) -> Array:
        """(n_sequences,) the first row of each."""
        before = np.maximum.accumulate(np.append(-1, self.codes[:-1]))
        return np.flatnonzero(self.codes > before)

    def fault(self, path: str, answer: str) -> str:
        """What is wrong with the rows together, "" for nothing."""
        if "" in self.names:
            row = int(np.argmax(self.codes == self.names.index("")))
            return f"{path}, line {self._line(row)}: `sequence` is empty"
        if self.answers is not None:
            first = self.firsts[self.codes]
            if "" in self.labels:
                row = int(np.argmax(self.answers == self.labels.index("")))
                return f"{path}, line {self._line(row)}: `{answer}` is empty"
            others = np.flatnonzero(self.answers != self.answers[first])
            if len(others):
                row = int(others[0])
                now, before = self._answer(row), self._answer(first[row])
                where = f"on line {self._line(first[row])} of the same sequence `{self.names[self.codes[row]]}`"
                return f"{path}, line {self._line(row)}: `{answer}` is `{now}`, and was `{before}` {where}"
        return self._repeated(path)

    def _repeated(self, path: str) -> str:
        if self.steps is None:
            return ""
        order = self._order()
        codes, steps = self.codes[order], self.steps[order]
        again = np.flatnonzero((codes[1:] == codes[:-1]) & (steps[1:] == steps[:-1]))
        if not len(again):
            return ""
        earlier, later = order[again[0]], order[again[0] + 1]
        step = f"step {self.steps[later]:g} of the sequence `{self.names[self.codes[later]]}`"
        return f"{path}, line {self._line(later)}: {step} stands on line {self._line(earlier)} already"

    def _line(self, row: int) -> int:
        return int(self.lines[row])

    def _answer(self, row: int) -> str:
        assert self.answers is not None
        return self.labels[self.answers[row]] if self.labels else repr(float(self.answers[row])).removesuffix(".0")

    def _order(self) -> Array:
        """(n_rows,) the rows of each sequence together and by their steps."""
        return np.argsort(self.codes, kind="stable") if self.steps is None else np.lexsort((self.steps, self.codes))

    def sequences(self) -> list[Array]:
        """(n_steps, n_features) for each sequence: parts of one array."""
        order = self._order()
        X = self.X if np.array_equal(order, np.arange(len(order))) else self.X[order]  # noqa: N806 - the field's name
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.names)))
        return [X[begin:end] for begin, end in pairwise((0, *ends.tolist()))]

    def answers_of_sequences(self) -> Array | None:
        """(n_sequences,) texts or numbers."""
        if self.answers is None:
            return None
        answers = self.answers[self.firsts]
        return np.array(self.labels)[answers] if self.labels else answers


def read_table(path: str, *, answers: bool) -> tuple[Columns, Table]:
    """The columns and rows of a file.

    Raises:
        FileError: it can not be read, or is no text.
        DataError: something in it is missing or wrong; the message says where.
    """
    lines = csv_lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError(lay_out(f"{path}: it is empty; the first line names the columns"))
    columns = Columns.of(path, *first, answers=answers)
    table = _read_fast(path, columns) if columns.line == 1 and Path(path).is_file() else None
    if table is None or table.fault(path, columns.answer):
        table = None  # its memory is given back first
        table = _read_lines(path, columns, lines)
        fault = table.fault(path, columns.answer)
        if fault:
            raise DataError(lay_out(fault))
    lines.close()
    return columns, table


class _Rows:
    """Rows, a block at a time, written where they stay.

    Args:
        n_rows: at most as many; memory that is not written to costs nothing.
    """

    def __init__(self, columns: Columns, n_rows: int) -> None:
        self._n_features = len(columns.features)
        self._names: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self.n_rows = 0
        self._X = np.empty((n_rows, self._n_features))
        self._more = {name: np.empty(n_rows) for name in columns.numbers[self._n_features :]}
        self._codes, self._lines = np.empty(n_rows, np.int32), np.empty(n_rows, np.int64)
        self._answers = np.empty(n_rows, np.int32)

    def add(self, numbers: Sequence[Array], lines: Sequence[int], names: Any, labels: Any) -> None:
        """A block.

        Args:
            numbers: (n_rows,) for each of `Columns.numbers`.
            lines: (n_rows,), or () where they are not known.
            names, labels: (texts, places): (n_rows,) places among the texts; labels None where there are none.
        """
        rows = slice(self.n_rows, self.n_rows + len(numbers[0]))
        for i, column in enumerate(numbers[: self._n_features]):
            self._X[rows, i] = column
        for target, column in zip(self._more.values(), numbers[self._n_features :], strict=True):
            target[rows] = column
        self._lines[rows] = lines or 0
        self._codes[rows] = _codes(self._names, *names)
        if labels is not None:
            self._answers[rows] = _codes(self._labels, *labels)
        self.n_rows = rows.stop

    def table(self) -> Table:
        n, more = self.n_rows, {name: column[: self.n_rows] for name, column in self._more.items()}
        answers = self._answers[:n] if self._labels else more.get("target")
        names, labels = list(self._names), list(self._labels)
        return Table(names, self._codes[:n], self._X[:n], more.get("step"), answers, labels, self._lines[:n])


def _codes(known: dict[str, int], texts: Iterable[str], places: Array | None) -> Array:
    """The places among the known texts, which grow."""
    codes = np.array([known.setdefault(text.strip(), len(known)) for text in texts], np.int32)
    return codes if places is None else codes[places]


# --- by lines ------------------------------------------------------------------------------------------------------------


def _read_lines(path: str, columns: Columns, lines: Iterator[tuple[int, list[str]]]) -> Table:
    rows = _Rows(columns, _most_rows(path))
    block: list[list[str]] = []
    numbers: list[int] = []
    for line, cells in lines:
        if len(cells) != len(columns.header):
            _add(path, columns, rows, numbers, block)  # what is wrong above it is told first
            headline = f"{path}, line {line}: {len(cells)} columns, and the header names {len(columns.header)}"
            raise DataError(lay_out(headline))
        numbers.append(line)
        block.append(cells)
        if len(block) == ROWS:
            _add(path, columns, rows, numbers, block)
            numbers, block = [], []
    _add(path, columns, rows, numbers, block)
    if not rows.n_rows:
        raise DataError(lay_out(f"{path}: it names columns, and has no line under them"))
    return rows.table()


def _most_rows(path: str) -> int:
    """The number of lines of a file, or more."""
    with Path(path).open("rb") as file:
        return 1 + sum(block.count(b"\n") + block.count(b"\r") for block in iter(lambda: file.read(BYTES), b""))


def _add(path: str, columns: Columns, rows: _Rows, lines: list[int], block: list[list[str]]) -> None:
    if not block:
        return
    cells = dict(zip(columns.header, zip(*block, strict=True), strict=True))
    found = [_plain_numbers(cells[name]) for name in columns.numbers]
    numbers = [column for column in found if column is not None]
    if len(numbers) < len(found):
        numbers = _one_by_one(path, columns, lines, [cells[name] for name in columns.numbers])
    rows.add(numbers, lines, (cells["sequence"], None), (cells["label"], None) if columns.answer == "label" else None)


def _plain_numbers(texts: Sequence[str]) -> Array | None:
    """Cells as numbers; None where they must be looked at one by one. Of ASCII without _ Python takes what NUMBER takes."""
    together = "".join(texts)
    if not together.isascii() or "_" in together:
        return None
    try:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _one_by_one(path: str, columns: Columns, lines: list[int], cells: list[tuple[str, ...]]) -> list[Array]:
    """The same, line by line, so that the first that is wrong is told."""
    numbers = np.empty((len(cells), len(lines)))
    for i, line in enumerate(lines):
        for j, name in enumerate(columns.numbers):
            numbers[j, i] = number(f"{path}, line {line}", name, cells[j][i].strip())
    return list(numbers)


# --- with pyarrow --------------------------------------------------------------------------------------------------------


def _read_fast(path: str, columns: Columns) -> Table | None:
    """The rows; None where pyarrow is not there, or might say something else than the definition, or finds fault."""
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError:
        return None
    n_lines = _plain_lines(path)
    if not n_lines:
        return None
    texts = ["sequence", *(["label"] if columns.answer == "label" else [])]
    types = {**dict.fromkeys(columns.numbers, pa.float64()), **dict.fromkeys(texts, pa.string())}
    reading = csv.ReadOptions(use_threads=False, block_size=BYTES, skip_rows=1, column_names=columns.header)
    converting = csv.ConvertOptions(column_types=types, include_columns=[*types], null_values=[], strings_can_be_null=False)
    rows = _Rows(columns, n_lines)
    try:
        with Path(path).open("rb") as file, csv.open_csv(file, reading, csv.ParseOptions(), converting) as reader:
            for batch in reader:
                numbers = [batch.column(name).to_numpy(zero_copy_only=False) for name in columns.numbers]
                if not all(np.isfinite(column).all() for column in numbers):
                    return None
                labels = _texts(batch.column("label")) if "label" in texts else None
                rows.add(numbers, (), _texts(batch.column("sequence")), labels)
    except pa.ArrowInvalid:
        return None
    return rows.table() if rows.n_rows else None


def _texts(column: Any) -> tuple[list[str], Array]:
    """The texts of a column, and (n_rows,) places among them."""
    encoded = column.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _plain_lines(path: str) -> int:
    """The number of lines of a file of which every byte means the same to pyarrow as to the definition; 0 for another."""
    n_lines = 1
    with Path(path).open("rb") as file:
        rest = file.read(3).removeprefix(b"\xef\xbb\xbf")
        while block := file.read(BYTES):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if len(rest) > LONGEST or not _is_plain(block[:cut]):
                return 0
            n_lines += block.count(b"\n")
    return n_lines if _is_plain(rest) else 0


def _is_plain(block: bytes) -> bool:
    """Whether some whole lines are such."""
    if b"\0" in block or block.count(b"\r") != block.count(b"\r\n"):
        return False
    if b'"' in block and block.count(b'"') != 2 * sum(1 for _ in QUOTED.finditer(block)):
        return False
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError:
            return False
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    return len(block) <= LONGEST or int(np.diff(ends, prepend=-1).max()) <= LONGEST
