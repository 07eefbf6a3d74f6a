"""Products as text: `A[m,n] @ B[n,p]`, `Q[n,d] @ K[m,d].T`, `[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]`; nothing in it is run.

    expression ::= expression ("@" | "*" | "+" | "-") expression | "-" expression | "(" expression ")"
                 | expression ".T" | expression ".mT" | operand
    operand    ::= name "[" dimension, ... "]" | name | number | [[1, 2], [3, 4]]
    dimension  ::= name | whole number | sum or product of them

Python's own parser reads it (`ast`), and only what stands above has a meaning here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ...checks import is_whole
from ...errors import DimensionError, OptionError, OstinatoError, ShapeError, Source, known_names, lay_out
from ...ir.shapes import Dim, Dims, Reason, Type, broadcast, matmul_dims, names_in, parse_dim
from ..equations import ATOM, POWER, PRODUCT, SIGN, SUM, TERM
from ..markup import Marked, Power, Symbol, spell

LONGEST = 2000  # characters of an expression
LARGEST = 10**12  # a size
MOST_NUMBERS = 10_000
EXAMPLE = 'write a product such as "A[m,n] @ B[n,p]" or "[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]"'
ASSUMED = (2, 3, 4, 5, 6)  # sizes to draw with, where none are given
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MEANT = f"an operand has its dimensions in brackets: {EXAMPLE}"


@dataclass(frozen=True)
class Operand:
    """A value of the expression.

    Attributes:
        text: as it is written, `Kᵀ`, with the strength of its outermost binding.
        dims: its dimensions.
        source: the text it was read from.
        array: its numbers, where they are given.
        name, turned: the operand's name where it is one; whether its last two dimensions have changed places.
    """

    text: Marked
    binding: int
    dims: Dims
    source: str
    array: Any = None
    name: str = ""
    turned: bool = False

    def within(self, least: int) -> Marked:
        return self.text if self.binding >= least else spell("({})", self.text)


@dataclass(frozen=True)
class Step:
    """One product: its operands, what it gives, and what it sums over."""

    left: Operand
    right: Operand
    result: Operand
    contracted: Dim


@dataclass
class Expression:
    """What was read.

    Attributes:
        text: the expression itself.
        operands: name -> leaf, in order.
        steps: the products, in the order in which they are computed.
        result: the whole.
        given: the sizes that were given; the others are assumed, to have something to draw.
    """

    text: str
    given: dict[str, int]
    sizes: dict[str, int] = field(default_factory=dict)
    operands: dict[str, Operand] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    result: Operand = field(init=False)

    def known(self, dim: Dim) -> bool:
        """Whether the size of a dimension was given."""
        return dim.is_number or all(name in self.given for monomial, _ in dim.terms for name in monomial)

    def shown(self, dim: Dim) -> str:
        """`n=3`, or `n` where its size is only assumed."""
        return str(dim) if self.known(dim) else dim.expression

    @property
    def assumed(self) -> dict[str, int]:
        return {name: size for name, size in self.sizes.items() if name not in self.given}


def read_expression(text: str, given: Mapping[str, Any]) -> Expression:
    """Read an expression.

    Args:
        text: see the module.
        given: a size for dimension names.

    Raises:
        OptionError: it is no product expression.
        DimensionError: a size that is impossible, or of a name that does not stand in the expression.
        ShapeError: dimensions that do not fit each other.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        headline = f"explain: an expression is a text of at most {LONGEST:,} characters"
        raise OptionError(lay_out(headline, hint=EXAMPLE))
    expression = Expression(text.strip(), _sizes(given))
    try:
        tree = ast.parse(expression.text, mode="eval").body
        expression.result = _Reader(expression, tree).read(tree)
    except OstinatoError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply, or holds what is no text"
        raise OptionError(lay_out(f"`{expression.text:.80}` can not be read: {why}", hint=EXAMPLE)) from None
    if not expression.steps:
        raise OptionError(lay_out(f"`{expression.text:.80}` holds no product `@`", hint=EXAMPLE))
    for name in given:
        if name not in expression.sizes:
            known = known_names(name, expression.sizes, "dimensions")
            raise DimensionError(lay_out(f"`{expression.text:.80}` has no dimension `{name}`; {known}"))
    return expression


def _sizes(given: Mapping[str, Any]) -> dict[str, int]:
    for name, size in given.items():
        if not is_whole(size, 1) or size > LARGEST:
            raise DimensionError(lay_out(f"`{name}` must be a whole number from 1 to {LARGEST:,}, and is {size!r}"))
    return {name: int(size) for name, size in given.items()}


@dataclass(frozen=True)
class _Place(Source):
    """A place in the expression, so that an error can point at it."""

    written: str = ""

    @property
    def text(self) -> str:
        return self.written

    def excerpt(self) -> list[str]:
        assert self.column is not None
        assert self.end_column is not None
        return ["    " + self.written, "    " + " " * self.column + "^" * max(1, self.end_column - self.column)]


class _Reader:
    """Walks the tree and collects what it finds in the expression."""

    def __init__(self, expression: Expression, tree: ast.expr) -> None:
        self.expression = expression
        self.names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        self.letters = (letter for letter in LETTERS if letter not in self.names)

    def place(self, tree: ast.expr) -> _Place | None:
        text = self.expression.text
        if "\n" in text or tree.end_col_offset is None:
            return None
        start, end = (len(text.encode()[:at].decode()) for at in (tree.col_offset, tree.end_col_offset))
        return _Place("", 1, "", start, end, text)

    def segment(self, tree: ast.expr) -> str:
        return ast.get_source_segment(self.expression.text, tree) or ast.unparse(tree)

    def refuse(self, tree: ast.expr, reason: str, hint: str = EXAMPLE) -> NoReturn:
        headline = f"`{self.segment(tree):.80}`: {reason}"
        raise OptionError(lay_out(headline, source=self.place(tree), hint=hint))

    def read(self, tree: ast.expr) -> Operand:  # noqa: RET503 - `refuse` never returns
        match tree:
            case ast.BinOp(op=ast.MatMult()):
                return self.product(tree)
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult()):
                return self.elementwise(tree)
            case ast.UnaryOp(op=ast.USub(), operand=inner) if not isinstance(inner, ast.Constant):
                operand = self.read(inner)
                array = None if operand.array is None else -operand.array
                return Operand(spell("-{}", operand.within(PRODUCT)), SIGN, operand.dims, self.segment(tree), array)
            case ast.Attribute(value=inner, attr="T" | "mT" as attribute):
                return self.turned(tree, self.read(inner), attribute)
            case ast.Subscript(value=ast.Name(id=name), slice=dims):
                return self.leaf(tree, name, dims)
            case ast.Name(id=name) if name in self.expression.operands:
                return self.expression.operands[name]
            case ast.Name(id=name):
                self.refuse(tree, f"the dimensions of `{name}` are not given", f"write them in brackets: {name}[m,n]")
            case ast.List() | ast.Tuple():
                return self.literal(tree)
            case ast.Constant() | ast.UnaryOp():
                return self.number(tree)
            case _:
                self.refuse(tree, "this has no meaning in a product", MEANT)

    def product(self, tree: ast.BinOp) -> Operand:
        left, right = self.read(tree.left), self.read(tree.right)
        dims = matmul_dims(left.dims, right.dims)
        if isinstance(dims, Reason):
            self.do_not_fit(tree, left, right, dims)
        contracted = right.dims[-2] if len(right.dims) > 1 else right.dims[-1]
        contracted = contracted if left.dims[-1].is_number else left.dims[-1]
        with np.errstate(all="ignore"):  # what is too large is infinite, as IEEE says
            array = None if left.array is None or right.array is None else np.matmul(left.array, right.array)
        text = spell("{} {}", left.within(PRODUCT), right.within(POWER))
        if len(left.dims) == len(right.dims) == 1:
            text = spell("⟨{}, {}⟩", left.text, right.text)
        result = Operand(text, ATOM if text.startswith("⟨") else PRODUCT, dims, self.segment(tree), array)
        self.expression.steps.append(Step(left, right, result, contracted))
        return result

    def do_not_fit(self, tree: ast.BinOp, left: Operand, right: Operand, reason: Reason) -> NoReturn:
        shown = self.expression.shown
        names = [f"`{self.segment(side)}`" for side in (tree.left, tree.right)]
        if not left.dims or not right.dims:
            text = reason.text
        elif "contracted" in reason.text:
            second = right.dims[-2] if len(right.dims) > 1 else right.dims[-1]
            ends = shown(left.dims[-1]), shown(second)
            text = f"the contracted dimension is `{ends[0]}` in {names[0]} but `{ends[1]}` in {names[1]}"
        else:
            text = "the dimensions in front, one product for each of them, do not fit: " + self.in_names(reason, left, right)
        rows = []
        for side, operand, what in ((tree.left, left, "left"), (tree.right, right, "right")):
            which = "last " if what == "left" else "last but one " if len(operand.dims) > 1 else ""
            origin = f"{what}: its {which}dimension is summed over" if operand.dims else f"{what}: a single number"
            rows.append((self.segment(side), _shape(self.expression, operand), origin))
        hint = self._hint(tree, left, right) if "contracted" in reason.text else reason.hint
        raise ShapeError(lay_out(f"matmul: {text}", source=self.place(tree), values=rows, hint=hint))

    def _hint(self, tree: ast.BinOp, left: Operand, right: Operand) -> str:
        """The other way round, where exactly one operand has to be turned and names say that it is meant."""
        sides = ((tree.left, left), (tree.right, right))
        a, b = (text if side.binding == ATOM else f"({text})" for text, side in ((self.segment(t), o) for t, o in sides))
        found = []
        if len(right.dims) == 2 and left.dims[-1].agrees(right.dims[-1]) and not left.dims[-1].is_number:
            found.append(f"`{a} @ {b}.T` sums over `{left.dims[-1].expression}`")
        if len(left.dims) == 2 and len(right.dims) > 1 and left.dims[0].agrees(right.dims[-2]) and not left.dims[0].is_number:
            found.append(f"`{a}.T @ {b}` sums over `{left.dims[0].expression}`")
        return found[0] if len(found) == 1 else ""

    def elementwise(self, tree: ast.BinOp) -> Operand:
        left, right = self.read(tree.left), self.read(tree.right)
        dims = broadcast([Type("f64", left.dims), Type("f64", right.dims)])
        if isinstance(dims, Reason):
            shown = [(self.segment(s), _shape(self.expression, o), "") for s, o in ((tree.left, left), (tree.right, right))]
            reason = self.in_names(dims, left, right)
            raise ShapeError(lay_out(f"`{self.segment(tree)}`: {reason}", source=self.place(tree), values=shown))
        sign, binding, function = {
            ast.Add: ("{} + {}", SUM, np.add), ast.Sub: ("{} - {}", SUM, np.subtract), ast.Mult: ("{} ⊙ {}", TERM, np.multiply),
        }[type(tree.op)]  # fmt: skip
        with np.errstate(all="ignore"):
            array = None if left.array is None or right.array is None else function(left.array, right.array)
        text = spell(sign, left.within(binding), right.within(binding + 1))
        return Operand(text, binding, dims, self.segment(tree), array)

    def in_names(self, reason: Reason, left: Operand, right: Operand) -> str:
        """A reason without the sizes that are only assumed."""
        text = reason.text
        for dim in (*left.dims, *right.dims):
            text = text.replace(f"`{dim}`", f"`{self.expression.shown(dim)}`")
        return text

    def turned(self, tree: ast.expr, operand: Operand, attribute: str) -> Operand:
        rank = len(operand.dims)
        if rank < 2 or (rank > 2 and attribute == "T"):
            self.refuse(tree, f"`.{attribute}` of a value with {rank} dimension{'s'[: rank != 1]}",
                        "`.T` turns a matrix; `.mT` turns the last two dimensions of a stack of them")  # fmt: skip
        dims = (*operand.dims[:-2], operand.dims[-1], operand.dims[-2])
        array = None if operand.array is None else np.swapaxes(operand.array, -1, -2)
        text = Marked(Power(operand.within(ATOM), Marked("ᵀ"), ""))
        return Operand(text, POWER, dims, self.segment(tree), array, operand.name, not operand.turned)

    def leaf(self, tree: ast.expr, name: str, slice_: ast.expr) -> Operand:
        items = slice_.elts if isinstance(slice_, ast.Tuple) else [slice_]
        dims = tuple(self.dim(item) for item in items)
        operand = Operand(Marked(Symbol(name, "", name)), ATOM, dims, self.segment(tree), name=name)
        before = self.expression.operands.setdefault(name, operand)
        if before.dims != dims:
            rows = [(name, _shape(self.expression, o), "") for o in (before, operand)]
            raise ShapeError(lay_out(f"`{name}` has two shapes", source=self.place(tree), values=rows))
        return operand

    def dim(self, tree: ast.expr) -> Dim:
        written = ast.unparse(tree)
        try:
            names = names_in(written)
        except ValueError:
            self.refuse(tree, "this is no dimension", "a dimension is a name, a whole number, or a sum of them: A[m,n], A[2,3]")
        for name in names:
            number = len(self.expression.sizes)
            size = self.expression.given.get(name, ASSUMED[number % len(ASSUMED)])
            self.expression.sizes.setdefault(name, size)
        dim = parse_dim(written, self.expression.sizes)
        if not 1 <= dim.size <= LARGEST:
            limits = f"a dimension is at least 1 and at most {LARGEST:,}"
            headline = f"`{self.expression.text:.80}`: {limits}, and `{written}` is {dim.size}"
            raise DimensionError(lay_out(headline, source=self.place(tree)))
        return dim

    def literal(self, tree: ast.expr) -> Operand:
        try:
            array = np.array(ast.literal_eval(tree))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            self.refuse(tree, "this is no array of numbers: its rows have different lengths, or it holds something else")
        if array.dtype.kind not in "iuf" or not array.size or array.size > MOST_NUMBERS:
            self.refuse(tree, f"an array here holds 1 to {MOST_NUMBERS:,} numbers, and nothing else")
        name = next(self.letters, "")
        dims = tuple(Dim.number(n) for n in array.shape)
        operand = Operand(Marked(Symbol(name, "", name)), ATOM, dims, self.segment(tree), array.astype(np.float64), name)
        self.expression.operands[name] = operand
        return operand

    def number(self, tree: ast.expr) -> Operand:
        try:
            value = ast.literal_eval(tree)
        except (ValueError, TypeError):
            value = None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(tree, "this has no meaning in a product", MEANT)
        binding = SIGN if value < 0 else ATOM
        return Operand(Marked(f"{float(value):g}"), binding, (), self.segment(tree), np.float64(value))


def _shape(expression: Expression, operand: Operand) -> str:
    return f"({', '.join(map(expression.shown, operand.dims))})"
