"""Blocks of an explanation as HTML: every text escaped, symbols in their colours, equations as MathML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from ..document import Bars, Block, Formulas, Page, Picture, Section, Sentence, Table
from ..markup import Fraction, Marked, Power, Root, Symbol
from ..pictures.colours import Colours
from .mathml import equations

NO_COLOURS = Colours(())


def code(text: str, colours: Colours) -> str:
    """A line in which names are symbols: each in its colour."""
    if isinstance(text, Marked):
        return "".join(_piece(piece, colours) for piece in text.pieces)
    found, at = [], 0
    for match in colours.pattern.finditer(text):
        found += [escape(text[at : match.start()]), symbol(match.group(), colours.aliases[match.group(1)], colours)]
        at = match.end()
    return "".join([*found, escape(text[at:])]).replace("`", "")  # it is code already


def _piece(piece: object, colours: Colours) -> str:
    match piece:
        case Symbol():
            return symbol(str(piece), piece.name, colours)
        case Power(base, above, sign):
            return code(base, colours) + escape(sign) + code(above, colours)
        case Fraction(written=written):
            return code(written, colours)
        case Root(inside, written):
            return code(written if written.startswith("√(") else Marked("√", inside), colours)
        case _:
            return escape(str(piece))


def words(text: str) -> str:
    """A sentence; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def symbol(text: str, name: str, colours: Colours) -> str:
    """A symbol in its colour; `data-symbol` ties together what belongs to the same one."""
    return f'<span class="sym {colours(name)}" data-symbol="{escape(name)}">{escape(text)}</span>'


def block_html(block: Block, colours: Colours = NO_COLOURS) -> str:
    """One block."""
    match block:
        case Sentence(text):
            return f"<p>{words(text)}</p>"
        case Formulas(rows):
            return f'<div class="formulas" role="group" tabindex="0">{equations(list(rows), colours)}</div>'
        case Picture(lines):
            return f'<pre class="lines" tabindex="0">{code(chr(10).join(lines), colours)}</pre>'
        case Bars():
            return _bars(block)
        case Table():
            return _table(block, colours)


def _bars(block: Bars) -> str:
    largest = max(number for _, number, _ in block.rows)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="bar"><span style="width:{100 * number / largest:.1f}%"></span></td>'
        f'<td class="num">{escape(text)}</td></tr>'
        for name, number, text in block.rows
    )
    return f'<table class="bars"><caption>{escape(block.heading)}:</caption><tbody>{rows}</tbody></table>'


def _table(block: Table, colours: Colours) -> str:
    """A table that scrolls where it is too wide. On a narrow screen each row becomes a card: `data-heading` names its cells."""
    classes = ["num" if i in block.numbers else "code" if i in block.code else "" for i in range(len(block.headings))]
    head = "".join(f'<th scope="col"{_class(c)}>{escape(text)}</th>' for text, c in zip(block.headings, classes, strict=True))
    body = "\n".join(
        "<tr>" + "".join(_cell(block, i, text, classes[i], colours) for i, text in enumerate(row)) + "</tr>"
        for row in block.rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(block.headings[0])}"><table class="cards">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _cell(block: Table, i: int, text: str, classes: str, colours: Colours) -> str:
    inner = code(text, colours) if i in block.code or isinstance(text, Marked) else words(text)
    inner = inner.replace("\n", "<br>").replace("-&gt;", "→")  # which no line is broken in
    tag = 'th scope="row"' if i == 0 else "td"
    return f'<{tag}{_class(classes)} data-heading="{escape(block.headings[i])}"><span>{inner}</span></{tag.split()[0]}>'


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def section_html(section: Section, colours: Colours = NO_COLOURS) -> str:
    """The blocks of a section."""
    return "\n".join(block_html(block, colours) for block in section.blocks)


def fragment(page: Page, colours: Colours = NO_COLOURS, drawn: Sequence[str] = ()) -> str:
    """The page as one HTML element: nothing is loaded, nothing runs, and every text is escaped.

    Args:
        drawn: a drawing for each picture of characters, instead of it, in their order.
    """
    left = list(drawn)
    parts = [f"<h2>{escape(page.title)}</h2>"]
    if page.subtitle:
        parts.append(f"<p><em>{escape(page.subtitle)}</em></p>")
    for section in page.sections:
        parts.append(f"<h3>{escape(section.heading)}</h3>")
        for block in section.blocks:
            whole = isinstance(block, Picture) and left
            parts.append(f'<div class="pane">{left.pop(0)}</div>' if whole else block_html(block, colours))
    return '<div class="ostinato">\n' + "\n".join(parts) + "\n</div>"
