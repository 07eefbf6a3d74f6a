"""Text that remembers its structure: which parts are symbols, powers, fractions and roots.

A `Marked` is a string, and reads as one everywhere; mathml.py and html.py look at its pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


class Marked(str):
    """A string made of pieces; `pieces` are plain strings and marks."""

    __slots__ = ("pieces",)

    pieces: tuple[Piece, ...]

    def __new__(cls, *pieces: Piece) -> Self:
        flat: list[Piece] = []
        for piece in pieces:
            flat += piece.pieces if isinstance(piece, Marked) else [piece]
        made = super().__new__(cls, "".join(map(str, flat)))
        made.pieces = tuple(piece for piece in flat if piece != "")
        return made


@dataclass(frozen=True)
class Symbol:
    """A name with its time index. `name` is the symbol it belongs to: `h` for h(t), h(t-1) and H(t)."""

    letter: str
    index: str
    name: str

    def __str__(self) -> str:
        return self.letter + self.index


@dataclass(frozen=True)
class Power:
    """A base with something above; `sign` is written between them on a line of text."""

    base: Marked
    above: Marked
    sign: str = "^"

    def __str__(self) -> str:
        return f"{self.base}{self.sign}{self.above}"


@dataclass(frozen=True)
class Fraction:
    """One over the other. On a line of text the two need their parentheses, in a typeset fraction they do not."""

    above: Marked
    below: Marked
    written: Marked

    def __str__(self) -> str:
        return str(self.written)


@dataclass(frozen=True)
class Root:
    """A square root. On a line of text its parentheses are left out where it holds one name."""

    inside: Marked
    written: str

    def __str__(self) -> str:
        return self.written


@dataclass(frozen=True)
class Under:
    """An operator such as Σ with an index under it."""

    operator: str
    index: str

    def __str__(self) -> str:
        return f"{self.operator}_{{{self.index}}}"


Piece = str | Symbol | Power | Fraction | Root | Under


def spell(template: str, *parts: Piece) -> Marked:
    """The template with a part for every `{}` (or `{0}`, `{1}`): like `str.format`, and the marks are kept.

    >>> spell("{} + {}", Symbol("x", "(t)", "x"), "1")
    'x(t) + 1'
    """
    pieces: list[Piece] = []
    rest, following = template, iter(parts)
    while rest:
        literal, brace, rest = rest.partition("{")
        pieces.append(literal)
        if brace:
            number, _, rest = rest.partition("}")
            pieces.append(parts[int(number)] if number else next(following))
    return Marked(*pieces)


def joined(between: str, parts: list[Marked]) -> Marked:
    """The parts with something between them."""
    pieces: list[Piece] = []
    for i, part in enumerate(parts):
        pieces += [between, part] if i else [part]
    return Marked(*pieces)


def symbols_of(text: str) -> list[Symbol]:
    """Every symbol in a text, from left to right; a fraction counts once."""
    found: list[Symbol] = []
    for piece in text.pieces if isinstance(text, Marked) else ():
        match piece:
            case Symbol():
                found.append(piece)
            case Power(base, above):
                found += [*symbols_of(base), *symbols_of(above)]
            case Fraction(above, below):
                found += [*symbols_of(above), *symbols_of(below)]
            case Root(inside):
                found += symbols_of(inside)
    return found
