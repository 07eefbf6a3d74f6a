"""`explain_product("A[m,n] @ B[n,p]")`: any product, without a cell: shapes, what is summed over, how much is multiplied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import is_whole
from ...errors import OptionError, lay_out
from ...files import write_atomically
from ...ir.shapes import Dim, Dims, Reason, matmul_dims
from ..document import WIDTH, Block, Formulas, Page, Picture, Section, Sentence, Table, in_colour, plain
from ..equations import ATOM, POWER
from ..markup import Marked, Symbol, Under, spell
from ..page.html import fragment, section_html
from ..page.page import wrapped
from ..page.page_style import fragment_style
from ..pictures.canvas import Canvas
from ..pictures.colours import Colours
from ..pictures.product_in_characters import box_drawing, number_grid, written_number
from ..pictures.product_picture import ROW, Axis, ProductDrawing, draw_product
from ..words import plural
from .parse import Expression, Operand, Step, read_expression

MOST_DOT_PRODUCTS = 48
MOST_DRAWN = 64  # numbers in a picture
TOGETHER = "\N{NO-BREAK SPACE}"


class ProductExplanation:
    """An explanation of one product expression.

    `str()` gives plain text, rich shows it in colour, a notebook with pictures; `save` writes a page, a text or a picture.

    Attributes:
        n_products: how many products the expression has.
        multiplications: how many numbers are multiplied; where sizes are not given, with the assumed ones.
        result_shape: the sizes of the result.
        result: its numbers, if all operands are numbers; else None.
        page: title, sections and blocks, as data.
    """

    def __init__(self, expression: Expression) -> None:
        self._expression = expression
        self.n_products = len(expression.steps)
        self.multiplications = sum(_size(_multiplied(step)) for step in expression.steps)
        self.result_shape = tuple(dim.size for dim in expression.result.dims)
        self.result: Any = expression.result.array
        self.page = Page(_title(expression), _subtitle(expression), tuple(_sections(expression)))
        self._colours = Colours([*expression.operands, *(_result_name(expression, i) for i in range(self.n_products))])

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = WIDTH) -> str:
        """Plain text for a terminal so many characters wide."""
        return plain(self.page, width)

    def __repr__(self) -> str:
        return f"<explanation of {self.page.title}>"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from in_colour(self.page, min(options.max_width, WIDTH))

    def _repr_html_(self) -> str:
        drawn = [self._draw(i).svg() for i in range(self.n_products)]
        return f"<style>{fragment_style()}</style>{fragment(self.page, self._colours, drawn)}"

    def svg(self, number: int = 0) -> str:
        """The picture of a product, to scale, as SVG that stands by itself.

        Args:
            number: which of the products, from 0, in the order in which they are computed.

        Raises:
            OptionError: there is no such product.
        """
        if not is_whole(number, 0) or number >= self.n_products:
            headline = f"svg: there is no product {number!r}; they are numbered from 0 to {self.n_products - 1}"
            raise OptionError(lay_out(headline))
        return self._draw(number).svg(standalone=True)

    def _draw(self, number: int) -> Canvas:
        return draw_product(_drawing(self._expression, number, self._colours))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the explanation to a file, whole or not at all: `.html` a page, `.txt` plain text, `.svg` the first picture.

        Raises:
            OptionError: another ending.
            FileError: the file can not be written.
        """
        ending = Path(path).suffix.lower()
        if ending not in (".html", ".txt", ".svg"):
            raise OptionError(lay_out(f"`{path}`: an explanation is saved as .html, .txt or .svg, not as `{ending}`"))
        text = self._document() if ending == ".html" else self.svg() if ending == ".svg" else str(self)
        write_atomically(path, f"{text.rstrip()}\n".encode())

    def _document(self) -> str:
        sections, links, number = [], [], 0
        for i, section in enumerate(self.page.sections):
            blocks = tuple(b for b in section.blocks if not isinstance(b, Picture))
            inner = section_html(Section(section.heading, blocks), self._colours)
            if len(blocks) < len(section.blocks):
                pane = f'<div class="pane" tabindex="0" role="region" aria-label="Picture">{self._draw(number).svg()}</div>'
                inner, number = f"<figure>{pane}</figure>{inner}", number + 1
            sections.append(
                f'<section id="s-{i}" aria-labelledby="h-{i}"><h2 id="h-{i}">{escape(section.heading)}</h2>{inner}</section>'
            )
            links.append(f'<a href="#s-{i}">{escape(section.heading)}</a>')
        doc = f'<p class="doc">{escape(self.page.subtitle)}</p>' if self.page.subtitle else ""
        title = f'<h1>Product</h1><p class="sizes">{escape(self.page.title)}</p>{doc}'
        return wrapped(self.page.title, title, _facts(self._expression), "".join(links), "\n".join(sections))


def explain_product(expression: str, /, **sizes: int) -> ProductExplanation:
    """Explain a product: the shapes, which dimension is summed over, how many dot products of which length, to scale.

    Args:
        expression: operands with their dimensions, `A[m,n] @ B[n,p]`, `Q[n,d] @ K[m,d].T`, `x[k] @ W[k,n] + b[n]`,
            `A[b,m,n] @ B[b,n,p]`; or numbers, `[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]`. It is read, never run.
        sizes: sizes of dimension names; where none is given it is explained in names.

    Raises:
        OptionError: it is no product expression.
        DimensionError: a size that is impossible, or of a name that does not stand in the expression.
        ShapeError: dimensions that do not fit each other.

    >>> explain_product("A[2,3] @ B[3,4]").multiplications
    24
    """
    return ProductExplanation(read_expression(expression, sizes))


# --- counting ------------------------------------------------------------------------------------------------------------


def _size(dims: Dims) -> int:
    return prod(dim.size for dim in dims)


def _multiplied(step: Step) -> Dims:
    """The dimensions whose product is the number of multiplications: those of the result, and the one that is summed over."""
    last = 1 if len(step.right.dims) > 1 else 0
    split = len(step.result.dims) - last
    return (*step.result.dims[:split], step.contracted, *step.result.dims[split:])


def _times(expression: Expression, dims: Dims) -> str:
    """Such as "m × p = 2 × 4 = 8", as far as sizes are given."""
    if not dims:
        return "1"
    names = " × ".join(d.expression if len(d.terms) < 2 else f"({d.expression})" for d in dims)
    if not all(map(expression.known, dims)):
        return names
    numbers = " × ".join(str(d.size) for d in dims)
    parts = dict.fromkeys([names, numbers, f"{_size(dims):,}"])
    return " = ".join(parts)


def _result_name(expression: Expression, number: int) -> str:
    """A letter that is free, for a result."""
    taken = set(expression.operands)
    free = [letter for letter in "CYZRSUVFGH" if letter not in taken]
    free += [f"R_{i}" for i in range(number + 1)]
    return free[number]


def _shape(expression: Expression, dims: Dims) -> str:
    return f"({', '.join(map(expression.shown, dims))}{',' if len(dims) == 1 else ''})"


# --- sections --------------------------------------------------------------------------------------------------------------


def _title(expression: Expression) -> str:
    sizes = ", ".join(f"{name}={size}" for name, size in expression.given.items())
    return expression.text + (f"  ({sizes})" if sizes else "")


def _subtitle(expression: Expression) -> str:
    if not expression.assumed:
        return ""
    sizes = ", ".join(f"{name}={size}" for name, size in expression.assumed.items())
    return f"No size is given for {', '.join(expression.assumed)}; the picture is drawn with {sizes}."


def _facts(expression: Expression) -> list[tuple[str, str]]:
    known = all(expression.known(d) for step in expression.steps for d in _multiplied(step))
    facts = [("products", str(len(expression.steps))), ("shape of the result", _shape(expression, expression.result.dims))]
    if known:
        total = sum(_size(_multiplied(step)) for step in expression.steps)
        facts.append(("multiplications", f"{total:,}"))
    return facts


def _sections(expression: Expression) -> Iterator[Section]:
    several = len(expression.steps) > 1
    for number, step in enumerate(expression.steps):
        name = _result_name(expression, number)
        prefix = f"Product {number + 1} of {len(expression.steps)}: {step.result.source}" if several else "The product"
        yield Section(prefix, tuple(_product_blocks(expression, step, number, name)))
        if step.result.array is not None:
            yield Section(f"Every dot product of {name}" if several else "Every dot product", tuple(_dot_products(step, name)))
    total = [_size(_multiplied(step)) for step in expression.steps]
    if several and all(expression.known(d) for step in expression.steps for d in _multiplied(step)):
        text = f"{plural(len(total), 'product')}: {' + '.join(f'{n:,}' for n in total)} = {sum(total):,} multiplications."
        other = _other_order(expression)
        sentences = [text, *([other] if other else []), _result_sentence(expression)]
        yield Section("Together", tuple(map(Sentence, sentences)))
    elif expression.result is not expression.steps[-1].result or several:
        yield Section("Together", (Sentence(_result_sentence(expression)),))


def _other_order(expression: Expression) -> str:
    """Of a chain of three: what it would cost with the parentheses the other way. The result is the same."""
    if len(expression.steps) != 2:
        return ""
    first, second = expression.steps
    if second.left is first.result:
        inner, ends = (first.right, second.right), (first.left, second.right)
        a, b, c = map(_in_parentheses, (first.left, first.right, second.right))
        text = f"{a} @ ({b} @ {c})"
    elif second.right is first.result:
        inner, ends = (second.left, first.left), (second.left, first.right)
        a, b, c = map(_in_parentheses, (second.left, first.left, first.right))
        text = f"({a} @ {b}) @ {c}"
    else:
        return ""
    dims = matmul_dims(inner[0].dims, inner[1].dims)
    if isinstance(dims, Reason) or any(len(o.dims) > 2 for o in (*inner, *ends)):
        return ""
    left, right = (ends[0].dims, dims) if second.left is first.result else (dims, ends[1].dims)
    whole = matmul_dims(left, right)
    if isinstance(whole, Reason):
        return ""
    number = _size(dims) * inner[0].dims[-1].size + _size(whole) * left[-1].size
    return f"With the parentheses the other way, `{text}`, it would be {number:,} multiplications."


def _in_parentheses(operand: Operand) -> str:
    return operand.source if operand.binding >= POWER else f"({operand.source})"


def _result_sentence(expression: Expression) -> str:
    if not expression.result.dims:
        return "The whole expression is a single number."
    return f"The whole expression has the shape {_shape(expression, expression.result.dims)}."


def _product_blocks(expression: Expression, step: Step, number: int, name: str) -> Iterator[Block]:
    yield Formulas(((_element_of(expression, step, name), _sum_of(expression, step)),))
    rows = []
    for operand, what in ((step.left, "left operand"), (step.right, "right operand")):
        rows.append((operand.text, _shape(expression, operand.dims), _role(expression, operand, step, what)))
    rows.append((Marked(Symbol(name, "", name)), _shape(expression, step.result.dims), _result_role(step)))
    yield Table(("value", "shape", "what it is"), tuple(rows), code=(0, 1))
    yield Sentence(_contraction(expression, step))
    yield Sentence(_amount(expression, step, name))
    drawing = _drawing(expression, number, Colours(()))
    if drawing.numbers is not None:
        yield Picture(number_grid(*drawing.numbers))
    else:
        yield Picture(box_drawing(drawing))


def _element_of(expression: Expression, step: Step, name: str) -> Marked:
    indices = _indices(expression, step)[2]
    return _indexed(Marked(Symbol(name, "", name)), indices)


def _indices(expression: Expression, step: Step) -> tuple[list[str], list[str], list[str]]:
    """Letters for the places in the left operand, the right one and the result: none that has a meaning already."""
    left, right = len(step.left.dims), len(step.right.dims)
    taken = {*expression.sizes, *expression.operands}
    i, j, k, *others = [letter for letter in ("i", "j", "k", *"rstuvwxyzabcdefghlmnopq") if letter not in taken][:12]
    stack = (others + [f"b_{n}" for n in range(left + right)])[: max(0, max(left, right) - 2)]
    rows, columns = ([i] if left > 1 else []), ([k] if right > 1 else [])
    of_left, of_right = stack[max(0, len(stack) - left + 2) :], stack[max(0, len(stack) - right + 2) :]
    lefts = [*of_left[: max(0, left - 2)], *rows, j]
    rights = [*of_right[: max(0, right - 2)], j, *columns]
    return lefts, rights, [*stack, *rows, *columns]


def _indexed(text: Marked, indices: Sequence[str]) -> Marked:
    return Marked(text, f"[{', '.join(indices)}]") if indices else text


def _sum_of(expression: Expression, step: Step) -> Marked:
    """`Σ_{j=1..n} A[i, j] B[j, k]`; the element j, k of K.T is written K[k, j]."""
    lefts, rights, _ = _indices(expression, step)
    until = step.contracted.expression
    parts = []
    for operand, indices in ((step.left, lefts), (step.right, rights)):
        turned = operand.name and operand.turned
        text = Marked(Symbol(operand.name, "", operand.name)) if turned else operand.within(ATOM)
        parts.append(_indexed(text, [*indices[:-2], *indices[:-3:-1]] if turned else indices))
    return spell("{} {} {}", Under("Σ", f"{lefts[-1]}=1..{until}"), *parts)


def _role(expression: Expression, operand: Operand, step: Step, what: str) -> str:
    dims = operand.dims
    if len(dims) == 1:
        text = f"{what}, a vector: {'a row' if operand is step.left else 'a column'}"
    else:
        rows, columns = expression.shown(dims[-2]), expression.shown(dims[-1])
        text = f"{what}: {rows} rows of {columns}" if operand is step.left else f"{what}: {columns} columns of {rows}"
    stack = dims[:-2]
    return text + (f", for each of {' × '.join(map(expression.shown, stack))}" if stack else "")


def _result_role(step: Step) -> str:
    return "result: a single number" if not step.result.dims else "result: one dot product in each place"


def _contraction(expression: Expression, step: Step) -> str:
    name = expression.shown(step.contracted)
    where = {1: "only dimension", 2: "first"}.get(len(step.right.dims), "last but one")
    where_left = "last" if len(step.left.dims) > 1 else "only"
    text = (
        f"`{name}` is the {where_left} dimension of `{step.left.text}` and the {where} of `{step.right.text}`: it is summed "
        "over, so it stands in both operands and not in the result."
    )
    stays = [expression.shown(d) for d in step.result.dims]
    if stays:
        text += f" What stays: {', '.join(stays)}, in this order."
    return text


def _amount(expression: Expression, step: Step, name: str) -> str:
    results, inner = step.result.dims, step.contracted
    number = _times(expression, results)
    one = not results
    known = expression.known(inner)
    terms = f"{inner.expression} = {inner.size}" if known and not inner.is_number else inner.expression
    text = f"`{name}` is {number} dot product{'' if one or number == '1' else 's'} of {terms} terms each" if not one else (
        f"`{name}` is one dot product of {terms} terms")  # fmt: skip
    multiplications = _times(expression, _multiplied(step))
    text += f": {multiplications} multiplications"
    if all(map(expression.known, (*results, inner))):
        text += f" and {_size(results) * (inner.size - 1):,} additions"
    return text.replace("×", f"{TOGETHER}×{TOGETHER}").replace(f" {TOGETHER}", TOGETHER).replace(f"{TOGETHER} ", TOGETHER) + "."


def _dot_products(step: Step, name: str) -> Iterator[Block]:
    left, right = np.atleast_2d(step.left.array), step.right.array
    right = right[:, None] if right.ndim == 1 else right
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (np.broadcast_to(a, (*stack, *a.shape[-2:])) for a in (left, right))
    rows: list[tuple[str, str]] = []
    total = int(np.prod(step.result.array.shape, dtype=int))
    for place in np.ndindex(*stack, left.shape[-2], right.shape[-1]):
        if len(rows) == MOST_DOT_PRODUCTS:
            break
        *front, i, k = place
        a, b = left[(*front, i)], right[(*front, slice(None), k)]
        terms = " + ".join(f"{_factor(x)}·{_factor(y)}" for x, y in zip(a, b, strict=True))
        value = np.asarray(step.result.array).reshape(*stack, left.shape[-2], right.shape[-1])[place]
        rows.append((_place(step, name, place), f"{terms} = {written_number(float(value))}"))
    yield Formulas(tuple(rows))
    if total > len(rows):
        yield Sentence(f"And {total - len(rows):,} more.")


def _place(step: Step, name: str, place: tuple[int, ...]) -> Marked:
    """`C[1, 2]`, counted from 1; axes that the result does not have are left out."""
    *front, i, k = (p + 1 for p in place)
    kept = [*front, *([i] if len(step.left.dims) > 1 else []), *([k] if len(step.right.dims) > 1 else [])]
    return _indexed(Marked(Symbol(name, "", name)), [*map(str, kept)])


def _factor(value: float) -> str:
    text = written_number(value)
    return f"({text})" if text.startswith("-") else text


# --- the drawing -----------------------------------------------------------------------------------------------------------


def _drawing(expression: Expression, number: int, colours: Colours) -> ProductDrawing:
    step = expression.steps[number]
    name = _result_name(expression, number)

    def axis(dim: Dim | None) -> Axis:
        return ROW if dim is None else Axis(expression.shown(dim), dim.size)

    rows = axis(step.left.dims[-2] if len(step.left.dims) > 1 else None)
    columns = axis(step.right.dims[-1] if len(step.right.dims) > 1 else None)
    stack = step.result.dims[: max(len(step.left.dims), len(step.right.dims), 2) - 2]
    arrays = None
    if step.result.array is not None and not stack:
        arrays = (
            np.atleast_2d(step.left.array), step.right.array.reshape(step.contracted.size, -1),
            step.result.array.reshape(rows.length, columns.length),
        )  # fmt: skip
        arrays = arrays if max(a.size for a in arrays) <= MOST_DRAWN else None
    return ProductDrawing(
        (str(step.left.text), str(step.right.text), name), rows, axis(step.contracted), columns,
        f"for each of {' × '.join(map(expression.shown, stack))}" if stack else "",
        (len(step.left.dims) > 2, len(step.right.dims) > 2), numbers=arrays,
        symbols=(step.left.name, step.right.name, name), colours=colours,
    )  # fmt: skip
