"""Marked text as MathML Core, with every symbol in its colour.

A time index stands below, as in the book: `h(t-1)` becomes h with a small (t-1). What follows an underscore stands below too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from ..markup import Fraction, Marked, Piece, Power, Root, Symbol, Under

Colour = Callable[[str], str]  # the class of a symbol's colour, such as "s3"

TOKEN = re.compile(r"\s+[-+=<>≤≥⊙∧∨/]\s+|\s+|\d+(?:\.\d+)?(?:e[-+]?\d+)?|[A-Za-z_]\w*|.", re.DOTALL)
OPERATORS = {"-": "−", "*": "·"}
OPENING, CLOSING = "([⟨{", ")]⟩}"


def mathml(text: str, colour: Colour, *, block: bool = False) -> str:
    """A `<math>` element. Plain strings are taken as they are."""
    style = ' display="block"' if block else ""
    return f"<math{style}>{_row(_pieces(text), colour)}</math>"


def equation_row(left: str, right: str, colour: Colour) -> str:
    """A row of a MathML table, aligned at its sign."""
    cells = (_row(_pieces(left), colour), "<mo>=</mo>", _row(_pieces(right), colour))
    sides = ("right", "center", "left")
    return "<mtr>" + "".join(f'<mtd class="{s}">{c}</mtd>' for s, c in zip(sides, cells, strict=True)) + "</mtr>"


def equations(rows: list[tuple[str, str]], colour: Colour) -> str:
    """Lines below each other as one `<math>` element, aligned at the sign; its text is its label."""
    label = "; ".join(f"{left} = {right}" for left, right in rows)
    lines = "".join(equation_row(left, right, colour) for left, right in rows)
    return f'<math display="block" aria-label="{escape(label)}"><mtable class="equations">{lines}</mtable></math>'


def _pieces(text: str) -> tuple[Piece, ...]:
    return text.pieces if isinstance(text, Marked) else (text,)


def _row(pieces: tuple[Piece, ...], colour: Colour) -> str:
    return f"<mrow>{''.join(_piece(piece, colour) for piece in pieces)}</mrow>"


def _piece(piece: Piece, colour: Colour) -> str:
    match piece:
        case Symbol():
            return _symbol(piece, colour)
        case Power(base, above):
            inner = "<mo>⊤</mo>" if above == "ᵀ" else _row(above.pieces, colour)
            return f"<msup>{_row(base.pieces, colour)}{inner}</msup>"
        case Fraction(above, below):
            return f"<mfrac>{_row(above.pieces, colour)}{_row(below.pieces, colour)}</mfrac>"
        case Root(inside):
            return f"<msqrt>{_row(inside.pieces, colour)}</msqrt>"
        case Under(operator, index):
            return f"<munder><mo>{escape(operator)}</mo><mtext>{escape(index)}</mtext></munder>"
        case _:
            return "".join(map(_token, TOKEN.findall(str(piece))))


def _token(token: str) -> str:
    if token[0].isspace() and not token.isspace():  # a sign between two operands has a space of its own
        return f"<mo>{escape(OPERATORS.get(token.strip(), token.strip()))}</mo>"
    if token.isspace():
        return '<mspace width="0.3em"></mspace>'
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if token[0].isalpha() or token[0] == "_":
        return f"<mi>{escape(token)}</mi>" if len(token) > 1 else f'<mi mathvariant="normal">{token}</mi>'
    if token in OPENING or token in CLOSING:
        return f'<mo fence="true" stretchy="false" lspace="0" rspace="0">{token}</mo>'
    return f"<mo>{escape(OPERATORS.get(token, token))}</mo>"


def _symbol(symbol: Symbol, colour: Colour) -> str:
    letter, _, below = symbol.letter.partition("_")
    if not letter:  # a name that begins with an underscore
        letter, below = symbol.letter, ""
    tag = "mi" if len(below) == 1 else "mtext"
    subs = [f"<{tag}>{escape(below.replace('_', ','))}</{tag}>"] if below else []
    base = f"<mi>{escape(letter)}</mi>"
    if symbol.index:
        subs.append(_index(symbol.index))
    inner = f"<msub>{base}<mrow>{''.join(subs)}</mrow></msub>" if subs else base
    return f'<mrow class="sym {colour(symbol.name)}" data-symbol="{escape(symbol.name)}">{inner}</mrow>'


def _index(index: str) -> str:
    """`(t-1)`, small: its signs without the space that an operator has."""
    parts = []
    for token in TOKEN.findall(index):
        if token[0].isalpha():
            parts.append(f"<mi>{token}</mi>")
        elif token[0].isdigit():
            parts.append(f"<mn>{token}</mn>")
        else:
            parts.append(f'<mo stretchy="false" lspace="0" rspace="0">{escape(OPERATORS.get(token, token))}</mo>')
    return "".join(parts)
