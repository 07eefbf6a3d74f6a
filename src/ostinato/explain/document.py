"""A page of explanation: sections of sentences, lines and tables, shown as plain text, in colour, or as HTML.

The three show the same content. Plain text needs nothing; colour needs rich, which shows itself only where rich prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
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
    """Lines of characters that must stay as they are."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells; a cell may have several lines."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()  # columns that are aligned to the right


Block = Sentence | Formulas | Picture | Table


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
    lines = [page.title, "=" * len(page.title)]
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
        case Picture(lines):
            return ["  " + line for line in lines]
        case Table():
            return list(_plain_table(block, width))


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
    yield _table_line(table.headings, widths, table.numbers)
    yield "  " + "  ".join("-" * w for w in widths)
    for row in table.rows:
        cells = [_wrapped(cell, w) for cell, w in zip(row, widths, strict=True)]
        height = max(map(len, cells))
        for i in range(height):
            yield _table_line([c[i] if i < len(c) else "" for c in cells], widths, table.numbers)


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
        case Picture(lines):
            return Text("\n".join("  " + line for line in lines), style="green", no_wrap=True)
        case Table(headings, rows, numbers):
            shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
            for i, heading in enumerate(headings):
                shown.add_column(Text(heading), justify="right" if i in numbers else "left", overflow="fold")
            for row in rows:
                shown.add_row(*(Text(cell, style="" if i else "green") for i, cell in enumerate(row)))
            return shown


# --- HTML ----------------------------------------------------------------------------------------------------------------

STYLE = (
    "font-family: system-ui, sans-serif; max-width: 60em; line-height: 1.45",
    "font-family: ui-monospace, monospace; margin: 0.4em 1.2em; white-space: pre-wrap",
    "border-collapse: collapse; margin: 0.4em 0",
    "padding: 0.15em 0.9em 0.15em 0; vertical-align: top; white-space: pre-line; border-bottom: 1px solid #8884",
)


def fragment(page: Page) -> str:
    """The page as one HTML element, for a notebook: nothing is loaded, nothing runs, and every text is escaped."""
    parts = [f'<div class="ostinato-explanation" style="{STYLE[0]}">', f"<h3>{escape(page.title)}</h3>"]
    if page.subtitle:
        parts.append(f"<p><em>{escape(page.subtitle)}</em></p>")
    for section in page.sections:
        parts.append(f"<h4>{escape(section.heading)}</h4>")
        parts += map(_html_block, section.blocks)
    return "\n".join([*parts, "</div>"])


def _html_block(block: Block) -> str:
    match block:
        case Sentence(text):
            return f"<p>{escape(text)}</p>"
        case Formulas(rows):
            width = max(len(left) for left, _ in rows)
            lines = "\n".join(f"{left:<{width}} = {right}" for left, right in rows)
            return f'<pre style="{STYLE[1]}">{escape(lines)}</pre>'
        case Picture(lines):
            return f'<pre style="{STYLE[1]}; white-space: pre">{escape(chr(10).join(lines))}</pre>'
        case Table(headings, rows, numbers):
            head = "".join(_html_cell("th", text, i in numbers) for i, text in enumerate(headings))
            body = "".join(
                f"<tr>{''.join(_html_cell('td', c, i in numbers) for i, c in enumerate(row))}</tr>\n" for row in rows
            )
            return f'<table style="{STYLE[2]}">\n<tr>{head}</tr>\n{body}</table>'


def _html_cell(tag: str, text: str, number: bool) -> str:
    return f'<{tag} style="{STYLE[3]}; text-align: {"right" if number else "left"}">{escape(text)}</{tag}>'


def document(page: Page) -> str:
    """The page as a whole HTML file."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(page.title)}</title>\n</head>\n'
        f"<body>\n{fragment(page)}\n</body>\n</html>\n"
    )
