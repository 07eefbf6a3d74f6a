"""Numbers of a cell's text as its author wrote them: `√n_keys` where the source line says `K.shape[-1] ** 0.5`.

A cell is run to be traced, so the graph holds what such an expression came to, 2.82843. The source line says how it was
computed; what is read there is believed only if it comes to the same number.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from math import isclose, sqrt

from ..ir.graph import Node
from ..ir.shapes import Dim, Dims
from .markup import Fraction, Marked, Power, Root, spell

DimsOf = Callable[[str], Dims | None]
Found = tuple[float, Marked]  # what it comes to, and how it is written
SIDES = {ast.Div: "divide", ast.Mult: "multiply", ast.Pow: "power"}


def number_as_written(node: Node, place: int, value: float, dims_of: DimsOf) -> Marked | None:
    """How the author computed a number that is an operand; None where the source does not say, or is a plain number.

    Args:
        node: a product, quotient or power of two operands.
        place: which operand is the number, 0 or 1.
        value: the number.
        dims_of: the dimensions of a value, by its name in the cell's text.
    """
    parsed = _expression(node)
    if not isinstance(parsed, ast.BinOp) or SIDES.get(type(parsed.op)) != node.op:
        return None
    side = parsed.left if place == 0 else parsed.right
    found = _read(side, dims_of)
    if found is None or isinstance(side, ast.Constant | ast.UnaryOp) or not isclose(found[0], value, rel_tol=1e-9):
        return None
    return found[1]


def _expression(node: Node) -> ast.expr | None:
    written = node.source.expression if node.source else ""
    try:
        return ast.parse(written, mode="eval").body if written else None
    except SyntaxError:  # a part of a line may be no expression by itself
        return None


def _read(tree: ast.expr, dims_of: DimsOf) -> Found | None:
    """What an expression in sizes and numbers comes to; None where it is something else."""
    match tree:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number), Marked(f"{number:g}")
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=name), attr="shape"), slice=place):
            dims, index = dims_of(name), _whole(place)
            inside = dims is not None and index is not None and -len(dims) <= index < len(dims)
            return _size(dims[index]) if inside and dims and index is not None else None
        case ast.Call(func=ast.Name(id="sqrt") | ast.Attribute(attr="sqrt"), args=[inner]):
            return _root(_read(inner, dims_of))
        case ast.Call(func=ast.Name(id="float" | "int"), args=[inner]):
            return _read(inner, dims_of)
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(_read(left, dims_of), op, _read(right, dims_of))
    return None


def _whole(tree: ast.expr) -> int | None:
    match tree:
        case ast.Constant(value=int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
    return None


def _size(dim: Dim) -> Found:
    return float(dim.size), Marked(dim.expression)


def _root(inner: Found | None) -> Found | None:
    if inner is None or inner[0] < 0:
        return None
    simple = inner[1].replace("_", "").isalnum()
    return sqrt(inner[0]), Marked(Root(inner[1], f"√{inner[1]}" if simple else f"√({inner[1]})"))


def _binary(left: Found | None, op: ast.operator, right: Found | None) -> Found | None:
    if left is None or right is None:
        return None
    (a, above), (b, below) = left, right
    match op:
        case ast.Pow() if b == 0.5:
            return _root(left)
        case ast.Pow() if a > 0:
            return a**b, Marked(Power(above, below))
        case ast.Div() if b:
            return a / b, Marked(Fraction(above, below, spell("({} / {})", above, below)))
        case ast.Mult():
            return a * b, spell("({} {})", above, below)
    return None


def patches_options(node: Node) -> str:
    """The size of a patch, and stride and padding where they are not 1 and 0: "3 × 3, stride=2, padding=1"."""
    options = node.options
    parts = [" × ".join(dim.expression for dim in options["size"])]
    if any(step != 1 for step in options["stride"]):
        parts.append(f"stride={_alike(options['stride'])}")
    pairs = [pair[0] if pair[0] == pair[1] else f"({pair[0]}, {pair[1]})" for pair in options["padding"]]
    if any(pair != 0 for pair in pairs):
        parts.append(f"padding={_alike(pairs)}")
    return ", ".join(parts)


def _alike(items: object) -> str:
    texts = [str(item) for item in items]  # type: ignore[attr-defined]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"
