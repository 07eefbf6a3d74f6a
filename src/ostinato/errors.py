"""Every exception of Ostinato, and the one function that lays out a message.

    OstinatoError
    |-- CellError            what a cell says has no meaning          (also a ValueError)
    |   |-- ShapeError       shapes that do not fit each other
    |   `-- SymbolError      a symbolic value used as if it were a number (also a TypeError; asked for an attribute that it
    |                        does not have, an AttributeError too)
    |-- DimensionError       a dimension unknown, unbound or of impossible size (also a ValueError)
    |-- DataError            arrays given to a layer that do not fit it         (also a ValueError)
    |   `-- DataTypeError    what no array of numbers can be made of            (also a TypeError)
    |-- OptionError          an option, a name or a setting that does not exist (also a ValueError)
    |   `-- ArgumentError    a call with arguments that do not exist            (also a TypeError)
    |-- FileError            a file that can not be read or written             (also an OSError)
    |-- MissingExtraError    an optional dependency is not installed            (also an ImportError)
    |-- PicklingError        something that can not go to another process so    (also a pickle.PicklingError)
    `-- InternalError        a bug of ours; it names the stage and prints the graph

The layout of a message: the first line is complete in itself; then the user's own source line with a caret; then the values
with their full named shapes and where each came from; then the sizes known so far; a hint only when it is surely right.
"""

from __future__ import annotations

import difflib
import linecache
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from opcode import opname
from pathlib import Path
from types import FrameType, TracebackType


class OstinatoError(Exception):
    """The base of every exception that Ostinato raises on purpose."""


class CellError(OstinatoError, ValueError):
    """A cell says something that has no meaning: a wrong return, an op given what it can not take."""


class ShapeError(CellError):
    """Shapes that do not fit each other inside a cell, or an argument of a cell of another shape than declared."""


class SymbolError(CellError, TypeError):
    """A symbolic value was used as if it were a number or an array: `if h > 0`, `math.tanh(h)`, `h[0] = 1`."""


class SymbolAttributeError(SymbolError, AttributeError):
    """A symbolic value was asked for an attribute that it does not have; so `hasattr` can ask."""


class DimensionError(OstinatoError, ValueError):
    """A dimension that is unknown, not given, or of an impossible size."""


class DataError(OstinatoError, ValueError):
    """Arrays given to a layer that do not fit it: shapes, dtypes, lengths, states, weights."""


class DataTypeError(DataError, TypeError):
    """What no array of numbers can be made of: sparse matrices, dictionaries, names that are not all text."""


class OptionError(OstinatoError, ValueError):
    """An option, a name or a setting that does not exist."""


class ArgumentError(OptionError, TypeError):
    """A call with an argument that does not exist, given by place, or missing, where Python itself raises TypeError."""


class FileError(OstinatoError, OSError):
    """A file that can not be read, understood or written."""


class MissingExtraError(OstinatoError, ImportError):
    """An optional dependency is needed here and is not installed."""


class PicklingError(OstinatoError, pickle.PicklingError):
    """Something that can not be pickled so: a cell by name where no name leads to it, a pullback at all."""


class InternalError(OstinatoError):
    """A bug of Ostinato itself: the message names the stage and prints the graph."""


for _error in (OstinatoError, *OstinatoError.__subclasses__(), ShapeError, SymbolError, DataTypeError, ArgumentError):
    _error.__module__ = "ostinato"  # so that a traceback says `ostinato.ShapeError`, the public name


@dataclass(frozen=True)
class Source:
    """A place in the user's code: one expression on one line.

    `column` and `end_column` count characters from 0; they are None where Python does not know them.
    """

    file: str
    line: int
    function: str
    column: int | None = None
    end_column: int | None = None

    @classmethod
    def of_frame(cls, frame: FrameType) -> Source:
        """The expression that `frame` is evaluating at this moment."""
        return cls.of_instruction(frame, frame.f_lasti, frame.f_lineno)

    @classmethod
    def of_instruction(cls, frame: FrameType, instruction: int, line_number: int) -> Source:
        """The expression to which an instruction of `frame` belongs."""
        code = frame.f_code
        positions = list(code.co_positions())
        line, end_line, column, end_column = positions[instruction // 2]
        line = line or line_number
        text = linecache.getline(code.co_filename, line)
        if column is not None and end_column is not None and text:
            encoded = text.encode()  # Python counts columns in UTF-8 bytes
            last = end_column if end_line == line else len(encoded.rstrip())
            column, end_column = len(encoded[:column].decode()), len(encoded[:last].decode())
        return cls(code.co_filename, line, code.co_name, column, end_column)

    @property
    def text(self) -> str:
        """The source line, or "" where it can not be had (a cell typed at a plain prompt)."""
        return linecache.getline(self.file, self.line).rstrip()

    @property
    def expression(self) -> str:
        """The expression itself, where Python knows the columns and it stands on one line."""
        return self.text[self.column : self.end_column] if self.column is not None and self.end_column is not None else ""

    @property
    def place(self) -> str:
        return f"{Path(self.file).name}:{self.line}"

    def excerpt(self) -> list[str]:
        """The place, the source line, and a caret under the expression."""
        lines = [f"{self.place}, in {self.function}"]
        text = self.text
        if text:
            indent = len(text) - len(text.lstrip())
            lines.append("    " + text[indent:])
            if self.column is not None and self.end_column is not None:
                width = max(1, min(self.end_column, len(text)) - self.column)
                lines.append("    " + " " * (self.column - indent) + "^" * width)
        return lines


def lay_out(
    headline: str,
    *,
    source: Source | None = None,
    values: Sequence[tuple[str, str, str]] = (),
    sizes: Mapping[str, tuple[int, str]] | None = None,
    hint: str = "",
) -> str:
    """The text of an error message in the one layout of the project.

    Args:
        headline: the first line, complete in itself.
        source: where in the user's code.
        values: rows of (name, named shape, where it came from).
        sizes: the sizes known so far, each with the value that fixed it.
        hint: what to do, given only when it is surely right.
    """
    lines = [headline]
    if source is not None:
        lines += ["", *("  " + line for line in source.excerpt())]
    if values and source is None:
        lines.append("")
    if values:
        name_width = max(len(name) for name, _, _ in values)
        shape_width = max(len(shape) for _, shape, _ in values)
        for name, shape, origin in values:
            lines.append(f"  {name:<{name_width}}  {shape:<{shape_width}}  {origin}".rstrip())
    if sizes:
        known = ", ".join(f"{name}={size} (from {owner})" for name, (size, owner) in sizes.items())
        lines.append(f"  sizes so far: {known}")
    if hint:
        lines.append(f"  hint: {hint}")
    return "\n".join(lines)


def known_names(unknown: str, known: Iterable[str], what: str) -> str:
    """The end of a message about an unknown name: the closest known one, and all of them.

    >>> known_names("n_neuron", ["n_inputs", "n_neurons"], "dimensions")
    'did you mean `n_neurons`? The dimensions are `n_inputs`, `n_neurons`'
    """
    known = list(known)
    close = difflib.get_close_matches(unknown, known, n=1)
    question = f"did you mean `{close[0]}`? " if close else ""
    listing = ", ".join(f"`{name}`" for name in known)
    if not known:
        return f"there are no {what}"
    return f"{question}{'The' if question else 'the'} {what} are {listing}"


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its class, where it says nothing.

    >>> first_line(ValueError("a reason")), first_line(ZeroDivisionError())
    ('a reason', 'ZeroDivisionError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0]


def counted(number: int, one: str, several: str = "") -> str:
    """A number of things.

    >>> counted(0, "dimension"), counted(1, "dimension"), counted(2, "dimension")
    ('no dimensions', '1 dimension', '2 dimensions')
    """
    return f"{number or 'no'} {one if number == 1 else several or one + 's'}"


# --- the user's own line ------------------------------------------------------------------------------------------------------

NOT_THE_USERS = ("ostinato", "numpy", "torch", "jax", "copy", "statistics")  # packages through which a symbol comes back to us


def user_frame() -> FrameType | None:
    """The innermost frame outside of Ostinato and of what calls it back.

    The cells of the library count as outside, since they are written as a user writes.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the way to find the user's line
    while frame is not None:
        if _is_the_users(frame):
            return frame
        frame = frame.f_back
    return None


def _is_the_users(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] not in NOT_THE_USERS or module.startswith("ostinato.cells")


def user_source() -> Source | None:
    frame = user_frame()
    return Source.of_frame(frame) if frame else None


def _innermost(error: BaseException) -> TracebackType | None:
    """Where in the user's code an exception was raised."""
    found, at = None, error.__traceback__
    while at is not None:
        found = at if _is_the_users(at.tb_frame) else found
        at = at.tb_next
    return found


def source_of(error: BaseException) -> Source | None:
    """The user's own line in which an exception was raised."""
    at = _innermost(error)
    return Source.of_instruction(at.tb_frame, at.tb_lasti, at.tb_lineno) if at else None


def raised_by_the_text(error: BaseException) -> bool:
    """Whether the user's own text says `raise` (or `assert`) where an exception came from."""
    at = _innermost(error)
    code = at.tb_frame.f_code.co_code if at else b""
    return at is not None and opname[code[at.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")
