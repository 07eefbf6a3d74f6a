"""A product drawn to scale: the left operand at the left, the right one above, the result where their rows and columns meet.

       k  [ B ]      The width of A and the height of B are the contracted dimension: the same length, and marked.
    [ A ] [ C ]      Each element of C is one dot product, of a row of A with a column of B.

This arrangement is known as Falk's scheme.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir import ops
from ...ir.graph import Node
from ...ir.shapes import Dim, Varies
from .canvas import Canvas, number_text
from .colours import Colours

LARGEST, SMALLEST, UNIT = 150.0, 16.0, 21.0
NUMBER_CELL = (46.0, 28.0)
MANY = 3  # rows drawn for the instances of a batch
LETTER = 7.3
GAP = 26.0


@dataclass(frozen=True)
class Axis:
    """One side of an operand: its label, its length in elements, and whether that length is its size (m has none)."""

    label: str
    length: int
    exact: bool = True

    @classmethod
    def of(cls, dim: Dim) -> Axis:
        return cls(str(dim), dim.size)


BATCH = Axis("m", MANY, exact=False)
ROW = Axis("", 1)


@dataclass(frozen=True)
class Band:
    """A part of an operand along one side: what stands beside or above something else."""

    label: str
    length: int
    symbol: str


@dataclass(frozen=True)
class ProductDrawing:
    """What is drawn of a product.

    Attributes:
        names: of the left operand, the right one, the result.
        rows, contracted, columns: the three sides.
        stack: "for each ..." where there is one product for every instance or head; "" otherwise.
        stacked: whether the left operand and the right one are another for each of them.
        across: the parts of the left operand, along the contracted side.
        down: the parts of the right operand, along the contracted side.
        beside: the parts of the right operand and of the result, along the columns.
        numbers: the arrays of the left operand, the right one and the result, (rows, columns) each.
    """

    names: tuple[str, str, str]
    rows: Axis
    contracted: Axis
    columns: Axis
    stack: str = ""
    stacked: tuple[bool, bool] = (True, True)
    across: tuple[Band, ...] = ()
    down: tuple[Band, ...] = ()
    beside: tuple[Band, ...] = ()
    numbers: tuple[Any, Any, Any] | None = None
    symbols: tuple[str, str, str] = ("", "", "")
    colours: Colours = field(default_factory=lambda: Colours(()))

    @property
    def words(self) -> str:
        """The picture in a sentence."""
        left, right, result = self.names
        shapes = f"{left} is {_shape(self.rows, self.contracted)}, {right} is {_shape(self.contracted, self.columns)}"
        of = f"{self.stack}: " if self.stack else ""
        return (
            f"{of}{shapes}; the result {result} is {_shape(self.rows, self.columns)}. "
            f"Summed over {self.contracted.label}, the width of {left} and the height of {right}."
        )


def _shape(rows: Axis, columns: Axis) -> str:
    """In words: `(m, n_neurons=5)`; a side without a name is that of a vector."""
    return f"({', '.join(a.label for a in (rows, columns) if a.label)})"


def _lengths(drawing: ProductDrawing) -> tuple[tuple[float, float, float], bool]:
    """Rows, contracted and columns in units of the drawing, and whether they are to scale."""
    axes = (drawing.rows, drawing.contracted, drawing.columns)
    unit = min(UNIT, LARGEST / max((a.length for a in axes if a.exact), default=1))
    lengths, to_scale = [], True
    for axis in axes:
        true = axis.length * unit if axis.exact else max(axis.length * unit, SMALLEST * axis.length * 0.9)
        least = SMALLEST if axis.exact else true
        to_scale = to_scale and (true >= least or axis is ROW)
        lengths.append(max(true, least))
    return (lengths[0], lengths[1], lengths[2]), to_scale


def draw_product(drawing: ProductDrawing) -> Canvas:
    """The picture."""
    if drawing.numbers is not None:
        rows, tall = drawing.rows.length * NUMBER_CELL[1], drawing.contracted.length * NUMBER_CELL[1]
        inner, columns, to_scale = drawing.contracted.length * NUMBER_CELL[0], drawing.columns.length * NUMBER_CELL[0], True
    else:
        (rows, inner, columns), to_scale = _lengths(drawing)
        tall = inner
    left_x = max(LETTER * len(drawing.rows.label) + 30, (LETTER * len(drawing.contracted.label) - inner) / 2 + 16, 30)
    labels = [b.label for b in drawing.beside]
    slanted = bool(labels) and (max(map(len, labels)) + 1) * LETTER * len(labels) > columns
    top = 16 + (26 if drawing.stack or not to_scale else 0) + (20 if labels else 0)
    top += max(map(len, labels)) * 5 if slanted else 0
    right_x, low_y = left_x + inner + GAP, top + tall + GAP
    side = right_x + columns + 34 + LETTER * len(drawing.contracted.label)
    width = max(side, right_x + columns / 2 + LETTER * len(drawing.columns.label) / 2 + 12, 250)
    height = low_y + rows + 66
    canvas = Canvas(width, height, f"{drawing.names[0]} times {drawing.names[1]}, to scale" if to_scale else
                    f"{drawing.names[0]} times {drawing.names[1]}", drawing.words)  # fmt: skip
    behind = ((left_x, low_y, inner, rows), (right_x, top, columns, tall), (right_x, low_y, columns, rows))
    for (x, y, w, h), several in zip(behind, (*drawing.stacked, True), strict=True):
        for shift in (8, 4) if drawing.stack and several else ():
            canvas.rect(x + shift, y - shift, w, h, "soft", 3)
    _operand(canvas, drawing, 0, left_x, low_y, inner, rows)
    _operand(canvas, drawing, 1, right_x, top, columns, tall)
    _operand(canvas, drawing, 2, right_x, low_y, columns, rows)
    _one_dot_product(canvas, drawing, (left_x, low_y, inner, rows), (right_x, top, columns, tall))
    _marks(canvas, drawing, (left_x, low_y, inner, rows), (right_x, top, columns, tall))
    _column_labels(canvas, drawing, right_x, top, columns, slanted=slanted)
    if not to_scale:
        canvas.text(2, 14, "sides not to scale" + (f"; {drawing.stack}" if drawing.stack else ""), "small muted it")
    elif drawing.stack:
        canvas.text(2, 14, drawing.stack, "small muted it")
    return canvas


def _operand(
    canvas: Canvas, drawing: ProductDrawing, which: int, x: float, y: float, width: float, height: float
) -> None:  # fmt: skip
    """A rectangle with its parts, its grid where the elements are few, its numbers or its name."""
    horizontal = (drawing.across, drawing.beside, drawing.beside)[which]
    hue = drawing.colours(drawing.symbols[which])
    canvas.rect(x, y, width, height, f"soft {hue.replace('s', 'f')}".strip(), 3)
    at, total = x, sum(band.length for band in horizontal)
    for band in horizontal:
        w = width * band.length / total
        hue_ = drawing.colours(band.symbol).replace("s", "f")
        canvas.rect(at, y, w, height, hue_ or "soft", 2, data_symbol=band.symbol)
        at += w
    down, at = (drawing.down if which == 1 else ()), y
    total = sum(band.length for band in down)
    for band in down:
        h = height * band.length / total
        canvas.rect(x, at, width, h, drawing.colours(band.symbol).replace("s", "f") or "soft", 2, data_symbol=band.symbol)
        if h >= 13 and not horizontal:
            canvas.text(x + width / 2, at + h / 2 + 4, _fitting(band.label, width),
                        f"middle small mono {drawing.colours(band.symbol)}", data_symbol=band.symbol)  # fmt: skip
        at += h
    axes = ((drawing.rows, drawing.contracted), (drawing.contracted, drawing.columns), (drawing.rows, drawing.columns))
    _grid(canvas, axes[which], x, y, width, height)
    if drawing.numbers is not None:
        _write_numbers(canvas, drawing.numbers[which], x, y)
    elif which == 0 and horizontal:
        _across_labels(canvas, drawing, x, y, width, height)
    elif not down and not (which and horizontal):
        name, symbol = drawing.names[which], drawing.symbols[which]
        canvas.text(x + width / 2, y + height / 2 + 4, _fitting(name, width),
                    f"middle small mono strong {drawing.colours(symbol)}", data_symbol=symbol)  # fmt: skip


def _fitting(label: str, width: float) -> str:
    """A label without its time index, or cut, where it does not fit."""
    room = int((width - 2) / LETTER)
    if len(label) > room:
        label = label.removesuffix("(t)").removesuffix("(t-1)")
    return label if len(label) <= max(room, 3) else label[: max(room - 1, 1)] + "…"


def _across_labels(canvas: Canvas, drawing: ProductDrawing, x: float, y: float, width: float, height: float) -> None:
    at, total = x, sum(band.length for band in drawing.across)
    for band in drawing.across:
        w = width * band.length / total
        canvas.text(at + w / 2, y + height / 2 + 4, _fitting(band.label, w),
                    f"middle small mono strong {drawing.colours(band.symbol)}", data_symbol=band.symbol)  # fmt: skip
        at += w


def _grid(canvas: Canvas, axes: tuple[Axis, Axis], x: float, y: float, width: float, height: float) -> None:
    rows, columns = axes
    if columns.length <= 24 and width / columns.length >= 6:
        for i in range(1, columns.length):
            canvas.line(x + width * i / columns.length, y, x + width * i / columns.length, y + height, "grid")
    if rows.length <= 24 and height / rows.length >= 6:
        for i in range(1, rows.length):
            canvas.line(x, y + height * i / rows.length, x + width, y + height * i / rows.length, "grid")


def _write_numbers(canvas: Canvas, array: Any, x: float, y: float) -> None:
    w, h = NUMBER_CELL
    for (i, j), value in np.ndenumerate(array):
        canvas.text(x + (j + 0.5) * w, y + (i + 0.5) * h + 5, number_text(float(value)), "middle mono small")


Rectangle = tuple[float, float, float, float]


def _one_dot_product(canvas: Canvas, drawing: ProductDrawing, left: Rectangle, right: Rectangle) -> None:
    """A row of A, a column of B, and the element where they meet."""
    x, y, width, height = left
    up_x, up_y, columns, tall = right
    h = min(height / drawing.rows.length, height)
    w = min(columns / drawing.columns.length, columns)
    h, w = max(h, 5), max(w, 5)
    canvas.rect(x, y, width, h, "halo", 3)
    canvas.rect(up_x, up_y, w, tall, "halo", 3)
    canvas.rect(up_x, y, w, h, "halo", 3)


def _marks(canvas: Canvas, drawing: ProductDrawing, left: Rectangle, right: Rectangle) -> None:
    """The lengths: the contracted one twice, with a mark; rows and columns."""
    x, y, width, height = left
    up_x, up_y, columns, tall = right
    below = y + height + 12
    canvas.path(f"M{x:g} {below - 5:g}v5H{x + width:g}v-5", "wire hatch")
    canvas.text(x + width / 2, below + 18, drawing.contracted.label, "middle small mono accent strong")
    canvas.text(x + width / 2, below + 34, "summed over", "middle small accent it")
    aside = up_x + columns + 10
    canvas.path(f"M{aside - 5:g} {up_y:g}h5V{up_y + tall:g}h-5", "wire hatch")
    canvas.text(aside + 8, up_y + tall / 2 + 4, drawing.contracted.label, "small mono accent strong")
    if drawing.rows.label:
        canvas.text(x - 8, y + height / 2 + 4, drawing.rows.label, "end small mono")
    if drawing.columns.label:
        apart = up_x + columns / 2 - x - width / 2
        touch = LETTER * (len(drawing.contracted.label) + len(drawing.columns.label) + 2) / 2 > apart
        canvas.text(up_x + columns / 2, y + height + (58 if touch else 30), drawing.columns.label, "middle small mono")


def _column_labels(canvas: Canvas, drawing: ProductDrawing, x: float, y: float, width: float, *, slanted: bool) -> None:
    """Names above what stands side by side; slanted where they would touch."""
    at, total = x, sum(band.length for band in drawing.beside)
    for band in drawing.beside:
        w = width * band.length / total
        classes = f"small mono strong {drawing.colours(band.symbol)}"
        if slanted:
            turn = f"rotate(-50 {at + w / 2:g} {y - 6:g})"
            canvas.text(at + w / 2, y - 6, band.label, classes, transform=turn, data_symbol=band.symbol)
        else:
            canvas.text(at + w / 2, y - 8, band.label, f"middle {classes}", data_symbol=band.symbol)
        at += w


# --- from a node ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """How a node's operands are written, and of which values they are made side by side.

    Attributes:
        write: a value's name in the graph -> its text and its symbol.
        parts: a value's name -> the values side by side in it along an axis (-1 or -2); () if it is no such value.
    """

    write: Any
    parts: Any
    colours: Colours


def drawing_of(node: Node, reader: Reader, result: str, *, steps: bool = False) -> ProductDrawing:
    """The drawing of a product of a graph or program.

    Args:
        node: a `matmul` or `total_product`.
        reader: see there.
        result: the name of the result.
        steps: all time steps at once: T m rows instead of m.
    """
    left, right = node.args
    (left_text, left_symbol), (right_text, right_symbol) = reader.write(left.name), reader.write(right.name)
    names, symbols = (left_text, right_text, result), (left_symbol, right_symbol, "")
    if node.record is ops.total_product:
        everything = Axis("T m", 2 * MANY, exact=False)
        rows = Axis.of(left.type.dims[-1]) if left.type.dims else ROW
        columns = Axis.of(right.type.dims[-1]) if right.type.dims else ROW
        beside = _bands(reader, right.name, -1)
        return ProductDrawing((f"{left_text}ᵀ", right_text, result), rows, everything, columns, beside=beside,
                              symbols=symbols, colours=reader.colours)  # fmt: skip
    many = Axis("T m", 2 * MANY, exact=False) if steps and left.type.varies == Varies.STEP else BATCH
    per_instance = [v.type.varies != Varies.NEVER for v in node.args]
    vector = len(left.type.dims) == 1
    rows = (many if vector and per_instance[0] and not per_instance[1] else ROW) if vector else Axis.of(left.type.dims[-2])
    columns = Axis.of(right.type.dims[-1]) if len(right.type.dims) > 1 else ROW
    stacked = list(map(str, (left if len(left.type.dims) > len(right.type.dims) else right).type.dims[:-2]))
    if any(per_instance) and rows not in (many, BATCH):
        stacked.insert(0, "of the m instances")
    return ProductDrawing(
        names, rows, Axis.of(left.type.dims[-1]), columns, f"for each {', each '.join(stacked)}" if stacked else "",
        (per_instance[0] or len(left.type.dims) > 2, per_instance[1] or len(right.type.dims) > 2),
        _bands(reader, left.name, -1), _bands(reader, right.name, -2), _bands(reader, right.name, -1),
        symbols=symbols, colours=reader.colours,
    )  # fmt: skip


def _bands(reader: Reader, name: str, axis: int) -> tuple[Band, ...]:
    values = reader.parts(name, axis)
    bands = []
    for value in values:
        text, symbol = reader.write(value.name)
        bands.append(Band(text, value.type.dims[axis].size, symbol))
    return tuple(bands)
