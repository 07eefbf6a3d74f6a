"""`ostinato predict MODEL -`: lines of CSV from the standard input, each answered at once.

The lines are as in a file (see tables.py): a header, then one line for one step of one sequence. They are answered as they
come, so there is no order but theirs, and no line can wait for another: a quoted cell ends on its line.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, OptionError, lay_out
from .lines import APART, check_header, number, order_of_features
from .training import load_estimator

Array = np.ndarray[Any, np.dtype[Any]]
PLACE = "standard input"
N_AT_HAND = 256  # sequences whose streams stay in memory as they are; of older ones the states are kept


def stream_command(model: str, output: str) -> int:
    """Answer every line of the standard input with a line on the standard output, until the input ends."""
    if output:
        headline = f"`{output}`: what is read from the {PLACE} is answered line by line on the standard output"
        raise OptionError(lay_out(headline, hint=f"ostinato predict {model} - > {output}"))
    estimator = load_estimator(model)
    lines = _rows(sys.stdin.buffer if sys.stdin else io.BytesIO())
    found = next(lines, None)
    if found is None:
        raise DataError(lay_out(f"{PLACE}: it is empty; the first line names the columns"))
    columns = Columns.of(*found, estimator)
    answers = Answers(estimator)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    _write(writer, [*(["sequence"] if columns.sequence is not None else []), *answers.names])
    for line, cells in lines:
        name, x = columns.read(line, cells)
        _write(writer, [*([name] if columns.sequence is not None else []), *answers.to(name, x)])
    return 0


def _write(writer: Any, cells: Sequence[str]) -> None:
    writer.writerow(cells)
    sys.stdout.flush()  # whoever reads them waits for each


# --- lines ---------------------------------------------------------------------------------------------------------------


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, each as soon as it is there: its number and its cells."""
    for line, content in enumerate(iter(file.readline, b""), 1):
        try:
            text = content.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(lay_out(f"{PLACE}, line {line}: it is no text in UTF-8: byte {error.start}")) from None
        if not text.strip():
            continue
        try:
            (cells,) = csv.reader([text], strict=True, skipinitialspace=True)
        except csv.Error as error:
            raise DataError(lay_out(f"{PLACE}, line {line}: {error}")) from None
        yield line, [cell.strip() for cell in cells]


@dataclass
class Columns:
    """What stands where in a line.

    Attributes:
        header: the names of the columns.
        features: the places of the features, in the order in which the model learned them.
        dtype: what the model computes in.
        sequence, step: the places of these columns; None where they are not there.
        steps: sequence -> the step of its last line.
    """

    header: list[str]
    features: list[int]
    dtype: str
    sequence: int | None
    step: int | None
    steps: dict[str, float]

    @classmethod
    def of(cls, line: int, header: list[str], estimator: Any) -> Columns:
        """As the header names them.

        Raises:
            DataError: names that stand twice or are empty, or features that are not those of the model.
        """
        here = f"{PLACE}, line {line}"
        learned = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
        check_header(here, header, learned)
        features = [name for name in header if name not in APART]
        if not learned and len(features) != estimator.n_features_in_:
            wanted = estimator.n_features_in_
            raise DataError(lay_out(f"{here}: it names {len(features)} features, and the model was trained on {wanted}"))
        places = [i for i, name in enumerate(header) if name not in APART]
        order = [places[i] for i in order_of_features(here, features, learned or features)]
        apart = {name: i for i, name in enumerate(header) if name in APART}
        return cls(header, order, estimator.network_.dtype, apart.get("sequence"), apart.get("step"), {})

    def read(self, line: int, cells: list[str]) -> tuple[str, Array]:
        """The sequence of a line, "" where none is named, and its features.

        Raises:
            DataError: too many cells or too few, what is no finite number or too large, or a step that does not follow.
        """
        here = f"{PLACE}, line {line}"
        if len(cells) != len(self.header):
            raise DataError(lay_out(f"{here}: {len(cells)} columns, and the header names {len(self.header)}"))
        x = np.array([number(here, self.header[place], cells[place]) for place in self.features])
        large = np.flatnonzero(np.abs(x) > np.sqrt(np.finfo(self.dtype).max))
        if len(large):
            place = self.features[large[0]]
            raise DataError(lay_out(f"{here}: `{self.header[place]}` is `{cells[place]}`, too large for {self.dtype}"))
        name = "" if self.sequence is None else cells[self.sequence]
        if not name and self.sequence is not None:
            raise DataError(lay_out(f"{here}: `sequence` is empty"))
        if self.step is not None:
            step = number(here, "step", cells[self.step])
            if name in self.steps and step <= self.steps[name]:
                whose = f" of the sequence `{name}`" if self.sequence is not None else ""
                headline = f"{here}: step {step:g}{whose} comes after step {self.steps[name]:g}, which has been answered"
                raise DataError(lay_out(headline))
            self.steps[name] = step
        return name, x


# --- answers -------------------------------------------------------------------------------------------------------------


class Answers:
    """The answers of a model to many sequences at once, each with a stream of its own.

    Attributes:
        names: of the columns of an answer.
    """

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator
        self._classifies = hasattr(estimator, "classes_")
        self._methods = ("predict", "predict_proba") if self._classifies else ("predict",)
        self._streams: OrderedDict[str, Any] = OrderedDict()  # the one that was asked last comes last
        self._states: dict[str, dict[str, Array]] = {}
        n_targets = estimator.network_.output_sizes[-1]
        if self._classifies:
            self.names = ["prediction", *(f"p_{name}" for name in estimator.classes_)]
        else:
            self.names = ["prediction"] if estimator.single_target_ else [f"prediction_{i + 1}" for i in range(n_targets)]
        self._stream("")  # what can not be streamed is refused before the first line

    def to(self, name: str, x: Array) -> list[str]:
        """The answer to the next step of a sequence."""
        answers = self._stream(name)(x)
        return [_shown(number) for answer in answers for number in np.ravel(answer)]

    def _stream(self, name: str) -> Any:
        if name not in self._streams:
            self._streams[name] = self._estimator.stream(self._methods, state=self._states.pop(name, None))
            if len(self._streams) > N_AT_HAND:
                old, stream = self._streams.popitem(last=False)
                self._states[old] = stream.state
        self._streams.move_to_end(name)
        return self._streams[name]


def _shown(value: Any) -> str:
    return f"{float(value):.9g}" if isinstance(value, float | np.floating) else str(value)
