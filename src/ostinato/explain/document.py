"""A page of explanation: sections of sentences, lines and tables, shown as plain text or in colour; html.py shows it as HTML.

All show the same content. Plain text needs nothing; colour needs rich, which shows itself only where rich prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

WIDTH = 100
TOGETHER = "\N{NO-BREAK SPACE}"  # where a line is broken last


@dataclass(frozen=True)
class Sentence:
    """A paragraph of words."""

    text: str


@dataclass(frozen=True)
class Formulas:
    """Lines `left = right`, aligned at the sign."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """Lines of characters that stay as they are where they fit. `narrower`: other drawings of the same, for less room."""

    lines: tuple[str, ...]
    narrower: tuple[tuple[str, ...], ...] = ()

    def fitting(self, width: int) -> list[str]:
        """The widest drawing that fits, indented; lines that are too long even then go on below."""
        choices = (self.lines, *self.narrower)
        best = next((c for c in choices if max(map(len, c), default=0) + 2 <= width), choices[-1])
        lines: list[str] = []
        for line in best:
            whole = len(line) + 2 <= width
            more = " " * 6
            lines += ["  " + line] if whole else wrap(line, width, initial_indent="  ", subsequent_indent=more)
        return lines


@dataclass(frozen=True)
class Table:
    """Rows of cells; a cell may have several lines.

    `numbers`: columns that are aligned to the right. `code`: columns in which names are symbols of the cell.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    code: tuple[int, ...] = ()


@dataclass(frozen=True)
class Bars:
    """Numbers that are compared: (name, number, number as text); the longest bar is the largest."""

    heading: str
    rows: tuple[tuple[str, float, str], ...]

    def lines(self, width: int) -> list[str]:
        names = max(len(name) for name, _, _ in self.rows)
        room = min(40, width - names - max(len(text) for _, _, text in self.rows) - 6)
        largest = max(number for _, number, _ in self.rows)
        bars = [(name, "█" * max(1, round(room * number / largest)), text) for name, number, text in self.rows]
        return [f"{self.heading}:", *(f"  {name:<{names}}  {bar} {text}" for name, bar, text in bars)]


Block = Sentence | Formulas | Picture | Table | Bars


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A title and sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]


# --- plain text ----------------------------------------------------------------------------------------------------------


def plain(page: Page, width: int = WIDTH) -> str:
    """The page as text without colour, no line longer than `width` unless a single word is."""
    title = wrap(page.title, width, break_long_words=False) or [""]
    lines = [*title, "=" * max(map(len, title))]
    if page.subtitle:
        lines += wrap(page.subtitle, width, break_long_words=False)
    for section in page.sections:
        lines += ["", section.heading, "-" * len(section.heading)]
        for i, block in enumerate(section.blocks):
            if i:
                lines.append("")
            lines += _plain_block(block, width)
    return "\n".join(line.rstrip() for line in lines).replace(TOGETHER, " ")


def _plain_block(block: Block, width: int) -> list[str]:
    match block:
        case Sentence(text):
            return wrap(text, width, break_long_words=False, break_on_hyphens=False)
        case Formulas(rows):
            return [line for row in _formula_lines(rows, width) for line in row]
        case Picture():
            return block.fitting(width)
        case Bars():
            return block.lines(width)
        case Table():
            lines = list(_plain_table(block, width))
            return lines if max(map(len, lines)) <= width else list(_cards(block, width))


def _formula_lines(rows: Sequence[tuple[str, str]], width: int) -> Iterator[list[str]]:
    indent = max(len(left) for left, _ in rows)
    for left, right in rows:
        head = f"  {left:<{indent}} = "
        yield wrap(
            right, width, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip


def _cell_width(cell: str) -> int:
    return max(len(line) for line in cell.split("\n"))


def _column_widths(table: Table, width: int) -> list[int]:
    """As wide as the cells; the widest column gives way where the table is too wide."""
    columns = [*zip(table.headings, *table.rows, strict=True)]
    widths = [max(map(_cell_width, column)) for column in columns]
    room = width - 2 - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > 12:
        widths[widths.index(max(widths))] -= 1
    return widths


def _plain_table(table: Table, width: int) -> Iterator[str]:
    widths = _column_widths(table, width)
    yield from _table_row(table.headings, widths, table.numbers)
    yield "  " + "  ".join("-" * w for w in widths)
    for row in table.rows:
        yield from _table_row(row, widths, table.numbers)


def _cards(table: Table, width: int) -> Iterator[str]:
    """For a narrow terminal: every row as lines of its own, each cell with the heading of its column."""
    for row in table.rows:
        for i, (heading, cell) in enumerate(zip(table.headings, row, strict=True)):
            indent = "  " if i == 0 else "    "
            text = " ".join(cell.replace(TOGETHER, " ").split())
            yield from wrap(f"{heading}: {text}", width, initial_indent=indent, subsequent_indent=" " * 8)


def _table_row(row: Sequence[str], widths: Sequence[int], numbers: Sequence[int]) -> Iterator[str]:
    cells = [_wrapped(cell, w) for cell, w in zip(row, widths, strict=True)]
    for i in range(max(map(len, cells))):
        yield _table_line([c[i] if i < len(c) else "" for c in cells], widths, numbers)


def _wrapped(cell: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in cell.split("\n"):
        fits = max(map(len, line.split(" "))) <= width - 2
        whole = line if fits else line.replace(TOGETHER, " ")  # it has to be broken somewhere
        lines += wrap(whole, width, break_long_words=False, break_on_hyphens=False, subsequent_indent="  ") or [""]
    return lines


def _table_line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[int]) -> str:
    padded = (f"{c:>{w}}" if i in numbers else f"{c:<{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
    return ("  " + "  ".join(padded)).rstrip()


# --- in colour -----------------------------------------------------------------------------------------------------------


def in_colour(page: Page, width: int) -> Iterator[Any]:
    """What rich prints; called by rich alone, so rich is there."""
    from rich.text import Text

    yield Text(page.title, style="bold")
    if page.subtitle:
        yield Text(page.subtitle, style="italic")
    for section in page.sections:
        yield Text()
        yield Text(section.heading, style="bold cyan")
        for i, block in enumerate(section.blocks):
            if i:
                yield Text()
            yield _rich_block(block, width)


def _rich_block(block: Block, width: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    match block:
        case Sentence(text):
            return Text(text)
        case Formulas(rows):
            lines = [line for row in _formula_lines(rows, max(width, 40)) for line in row]
            return Text("\n".join(lines), style="green", no_wrap=True)
        case Picture():
            return Text("\n".join(block.fitting(width)), style="green", no_wrap=True)
        case Bars():
            return Text("\n".join(block.lines(width)), style="green", no_wrap=True)
        case Table(headings, rows, numbers):
            shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
            for i, heading in enumerate(headings):
                shown.add_column(Text(heading), justify="right" if i in numbers else "left", overflow="fold")
            for row in rows:
                shown.add_row(*(Text(cell, style="" if i else "green") for i, cell in enumerate(row)))
            return shown
