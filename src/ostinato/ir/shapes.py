"""Dimensions with names, the types of values, and the rules by which shapes meet.

A `Dim` is a sum of products of names, with whole coefficients, together with its size: `n_inputs + n_neurons=8`,
`4*n_channels=12`, or a plain number `7`. Two dimensions agree when they are the same expression; a plain number agrees with
anything of its size. So `n_inputs` and `n_neurons` do not agree, even where both happen to be 5: a mistake shows itself
at every size, not only at some.

The rules here return a `Reason` where shapes do not fit; they never raise. Only the boundary (language/, layers/) raises.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from math import prod

from .dtypes import BYTES

Monomial = tuple[str, ...]  # a product of names, sorted: ("n_heads", "n_keys"); () is the plain number
Terms = tuple[tuple[Monomial, int], ...]  # sorted by monomial, without zero coefficients


@dataclass(frozen=True)
class Reason:
    """Why shapes do not fit: a clause that ends a sentence. `hint` only when it is surely right."""

    text: str
    hint: str = ""


def _collect(pairs: Sequence[tuple[Monomial, int]]) -> Terms:
    total: dict[Monomial, int] = {}
    for monomial, coefficient in pairs:
        total[monomial] = total.get(monomial, 0) + coefficient
    # names before the plain number, so that it reads `n_inputs + 1`
    return tuple(sorted(((m, c) for m, c in total.items() if c), key=lambda term: (not term[0], term[0])))


@dataclass(frozen=True)
class Dim:
    """One dimension: an expression in names, and its size."""

    terms: Terms
    size: int

    @classmethod
    def number(cls, size: int) -> Dim:
        return cls(_collect([((), size)]), size)

    @classmethod
    def named(cls, name: str, size: int) -> Dim:
        return cls((((name,), 1),), size)

    @property
    def is_number(self) -> bool:
        return all(not monomial for monomial, _ in self.terms)

    @property
    def expression(self) -> str:
        """The expression alone: "n_inputs + n_neurons"; for a plain number, its digits."""
        if not self.terms:
            return "0"
        text = ""
        for monomial, coefficient in sorted(self.terms, key=lambda term: term[1] < 0):  # `6 - n`, not `-n + 6`
            factors = [*([str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []), *monomial]
            sign = ("-" if coefficient < 0 else "") if not text else (" - " if coefficient < 0 else " + ")
            text += sign + "*".join(factors)
        return text

    def __str__(self) -> str:
        return str(self.size) if self.is_number else f"{self.expression}={self.size}"

    def __add__(self, other: Dim) -> Dim:
        return Dim(_collect([*self.terms, *other.terms]), self.size + other.size)

    def __sub__(self, other: Dim) -> Dim:
        return self + other * Dim.number(-1)

    def __mul__(self, other: Dim) -> Dim:
        pairs = [(tuple(sorted(m + n)), c * d) for m, c in self.terms for n, d in other.terms]
        return Dim(_collect(pairs), self.size * other.size)

    def divided_by(self, number: int) -> Dim:
        """An equal part. It keeps its name where every coefficient divides: `4*n` by 4 is `n`; else it is a number."""
        if all(coefficient % number == 0 for _, coefficient in self.terms):
            return Dim(tuple((m, c // number) for m, c in self.terms), self.size // number)
        return Dim.number(self.size // number)

    def agrees(self, other: Dim) -> bool:
        return self.terms == other.terms or (self.size == other.size and (self.is_number or other.is_number))

    @property
    def is_one(self) -> bool:
        return self.is_number and self.size == 1


def names_in(expression: str | int) -> list[str]:
    """The names in a dimension expression, in order of appearance.

    Raises:
        ValueError: the text is not a sum of products of names and whole numbers.

    >>> names_in("n_inputs + 2*n_neurons")
    ['n_inputs', 'n_neurons']
    """
    found: dict[str, None] = {}

    def visit(node: ast.expr) -> None:
        match node:
            case ast.Name(id=name):
                found[name] = None
            case ast.Constant(value=int() as number) if not isinstance(number, bool):
                pass
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
                visit(left)
                visit(right)
            case _:
                raise ValueError(expression)

    visit(_parsed(str(expression)))
    return list(found)


def _parsed(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        raise ValueError(expression) from None


def parse_dim(expression: str | int, sizes: Mapping[str, int | Dim]) -> Dim:
    """The dimension that an expression such as "n_inputs + n_neurons" stands for.

    `sizes`: a size for each name, or the dimension that it means (within a cell that another cell calls).

    Raises:
        ValueError: the text is no dimension expression.
        KeyError: a name without a size.

    >>> str(parse_dim("n_inputs + n_neurons", {"n_inputs": 3, "n_neurons": 5}))
    'n_inputs + n_neurons=8'
    """

    def build(node: ast.expr) -> Dim:
        match node:
            case ast.Name(id=name):
                meant = sizes[name]
                return meant if isinstance(meant, Dim) else Dim.named(name, meant)
            case ast.Constant(value=int() as number):
                return Dim.number(number)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return build(left) + build(right)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return build(left) - build(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return build(left) * build(right)
        raise ValueError(expression)

    names_in(expression)
    return build(_parsed(str(expression)))


class Varies(IntEnum):
    """With what a value changes. A larger one includes the smaller: what varies by step has a value per instance too."""

    NEVER = 0  # weights, and what is computed from weights alone
    INSTANCE = 1  # contexts: one value per instance for the whole sequence
    STEP = 2  # inputs and states: a new value at every step, for every instance


Dims = tuple[Dim, ...]


@dataclass(frozen=True)
class Type:
    """dtype, the dimensions for one instance at one step, and with what the value varies.

    The axes of instances and steps are never among `dims`: a cell does not mention them.
    """

    dtype: str  # "f32", "f64" or "bool"
    dims: Dims
    varies: Varies = Varies.STEP

    def __str__(self) -> str:
        leading = ["n_steps", "n_instances"][2 - int(self.varies) :] if self.varies else []
        return f"{self.dtype}[{', '.join([*leading, *map(str, self.dims)])}]"

    @property
    def one_instance(self) -> str:
        """The shape as a cell's author sees it: without the axes of steps and instances."""
        return f"{self.dtype}[{', '.join(map(str, self.dims))}]"

    @property
    def in_loop(self) -> str:
        """The shape of one step, over a batch."""
        leading = ["n_instances"] if self.varies else []
        return f"{self.dtype}[{', '.join([*leading, *map(str, self.dims)])}]"

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(dim.size for dim in self.dims)

    @property
    def n_elements(self) -> int:
        """Elements for one instance at one step."""
        return prod(self.sizes)

    @property
    def item_bytes(self) -> int:
        return BYTES[self.dtype]

    def with_dims(self, dims: Sequence[Dim]) -> Type:
        return Type(self.dtype, tuple(dims), self.varies)

    def fits(self, other: Type) -> bool:
        """The same dtype and agreeing dimensions."""
        return (
            self.dtype == other.dtype
            and len(self.dims) == len(other.dims)
            and (self.dims is other.dims or all(a.agrees(b) for a, b in zip(self.dims, other.dims, strict=True)))
        )


def named(a: Dim, b: Dim) -> Dim:
    """Of two dimensions that agree, the one that has a name."""
    return b if a.is_number else a


def broadcast(types: Sequence[Type]) -> Dims | Reason:
    """The dimensions of an elementwise op: aligned from the right; a missing axis or a plain 1 stretches."""

    def two(left: Dims | Reason, right: Dims) -> Dims | Reason:
        if isinstance(left, Reason):
            return left
        longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
        result = list(longer[: len(longer) - len(shorter)])
        for a, b in zip(longer[len(longer) - len(shorter) :], shorter, strict=True):
            if a.agrees(b):
                result.append(named(a, b))
            elif a.is_one or b.is_one:
                result.append(b if a.is_one else a)
            else:
                return Reason(f"`{a}` of one operand meets `{b}` of another")
        return tuple(result)

    if types and all(t.dims == types[0].dims for t in types):  # as nearly always
        return types[0].dims
    nothing: Dims | Reason = ()
    return reduce(two, (t.dims for t in types), nothing)


def matmul_dims(left: Dims, right: Dims) -> Dims | Reason:
    """The dimensions of `left @ right` for one instance, by NumPy's rules.

    A vector on the left is a row, on the right a column. (k) (k, n) -> (n); (m, k) (k, n) -> (m, n); (k) (k) -> ().
    """
    if not left or not right:
        return Reason("a value without dimensions can not be an operand of `@`", hint="use `*` to scale by a number")
    contracted_left, contracted_right = left[-1], right[-2] if len(right) > 1 else right[-1]
    if not contracted_left.agrees(contracted_right):
        return Reason(f"the contracted dimension is `{contracted_left}` on the left but `{contracted_right}` on the right")
    rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
    stack = broadcast([Type("f32", left[:-2]), Type("f32", right[:-2])])
    return stack if isinstance(stack, Reason) else (*stack, *rows, *columns)
