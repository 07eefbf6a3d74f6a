"""A product as a drawing of characters, to scale: boxes, or the numbers themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from .product_picture import Axis, ProductDrawing

WIDEST, TALLEST = 30, 9  # characters of the longest side


def written_number(value: float) -> str:
    """A number as a person writes it: 19, 0.5, 1e+20."""
    return f"{value:.6g}"


def number_grid(left: Any, right: Any, result: Any) -> tuple[str, ...]:
    """The numbers: the left operand at the left, the right one above the result."""
    texts = [[[written_number(float(v)) for v in row] for row in np.asarray(a)] for a in (left, right, result)]
    width = max(len(text) for array in texts for row in array for text in row) + 1
    lefts, rights, results = texts

    def line(numbers: list[str]) -> str:
        return "".join(f"{number:>{width}}" for number in numbers)

    gap = " " * (width * len(lefts[0]) + 4)
    edge = "-" * (width * len(results[0]))
    lines = [f"{gap} {line(row)}" for row in rights]
    lines.append(f"{'-' * (width * len(lefts[0]))}    {edge}")
    lines += [f"{line(a)}    {line(b)}" for a, b in zip(lefts, results, strict=True)]
    return tuple(text.rstrip() for text in lines)


def box_drawing(drawing: ProductDrawing) -> tuple[str, ...]:
    """Boxes whose sides are in proportion: two characters across are as long as one line down."""
    axes = (drawing.rows, drawing.contracted, drawing.columns)
    unit = min(1.0, WIDEST / 2 / max(a.length for a in axes), TALLEST / max(drawing.rows.length, drawing.contracted.length))
    rows, inner, columns = (max(1, round(a.length * unit)) for a in axes)
    left, right, result = drawing.names
    a = _box(left, 2 * inner, rows)
    b = _box(right, 2 * columns, inner)
    c = _box(result, 2 * columns, rows)
    label = _label(drawing.rows)
    width = max(len(label) + 1, 0)
    lines = []
    pad = " " * (width + len(a[0]) + 1)
    for i, line in enumerate(b):
        mark = f"  {drawing.contracted.label} (summed over)" if i == len(b) // 2 else ""
        lines.append(f"{pad}{line}{mark}")
    for i, (x, y) in enumerate(zip(a, c, strict=True)):
        lines.append(f"{label if i == len(a) // 2 else '':>{max(width - 1, 0)}}{' ' if width else ''}{x} {y}")
    below = f"{drawing.contracted.label:^{len(a[0])}}"
    overhang = max(0, len(below) - len(a[0]))
    room = max(0, len(c[0]) - overhang)
    lines.append(f"{' ' * width}{below} {_label(drawing.columns):^{room}}")
    note = [f"({drawing.stack})"] if drawing.stack else []
    return tuple(line.rstrip() for line in [*note, *lines])


def _label(axis: Axis) -> str:
    return axis.label


def _box(name: str, width: int, height: int) -> list[str]:
    """A box with the name in its middle; a name that is longer makes it wider."""
    width = max(width, len(name))
    middle = (height - 1) // 2
    inside = [f"│{name if i == middle else '':^{width}}│" for i in range(height)]
    return [f"┌{'─' * width}┐", *inside, f"└{'─' * width}┘"]
