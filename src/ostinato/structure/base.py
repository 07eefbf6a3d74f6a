"""Structured weights: a matrix that is stored as fewer numbers than it has, and multiplied with less work.

    Weight("n_inputs", "n_neurons", structure=BlockCirculant(8))
    Layer(cells.lstm, n_inputs=64, n_neurons=256, structure=BlockCirculant(8))

A structure changes what a layer stores and what it computes with, never the text of the cell. `x @ W` is written with ordinary
ops (reshape, concat, products) when the cell is traced; everything behind the tracer sees those alone.

A matrix may be stacked: the rows of `Weight("n_inputs + n_neurons", ...)` are two parts, those of "4*n_neurons" four. Every
part is structured by itself, so that no block reaches over the border between two parts. This is how C-LSTM pads its 153
inputs to 160 while the recurrent part stays 512 (circulant.py).
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, ClassVar

import numpy as np

from ..errors import DataError, FileError, OptionError, known_names, lay_out
from ..initialise import Initialiser, Orthogonal
from ..ir import ops
from ..ir.shapes import parse_dim

Array = np.ndarray[Any, np.dtype[Any]]
Parts = tuple[int, ...]  # the sizes of what a dimension is stacked from


def parts_of(dim: str | int, sizes: Mapping[str, int]) -> Parts:
    """The sizes of the parts of a declared dimension, in the order in which they are written.

    >>> parts_of("n_inputs + 2*n_neurons", {"n_inputs": 153, "n_neurons": 512})
    (153, 512, 512)
    """

    def visit(node: ast.expr) -> Parts:
        match node:
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return visit(left) + visit(right)
            case ast.BinOp(left=ast.Constant(value=int() as times), op=ast.Mult(), right=inner) if times > 0:
                return visit(inner) * times
            case ast.BinOp(left=inner, op=ast.Mult(), right=ast.Constant(value=int() as times)) if times > 0:
                return visit(inner) * times
        return (parse_dim(ast.unparse(node), sizes).size,)

    tree = ast.parse(str(dim).strip(), mode="eval").body
    parts = visit(tree)
    return parts if min(parts) > 0 else (sum(parts),)


def starts_of(parts: Sequence[int]) -> list[int]:
    """Where each part begins, and where the last one ends."""
    return [sum(parts[:i]) for i in range(len(parts) + 1)]


class Structure(ABC):
    """What kind of matrix a weight is. `rows` and `columns` are the sizes of the parts that the matrix is stacked from.

    A kind of structure is a frozen dataclass with the methods below; `Placement` binds one to a matrix.
    """

    kinds: ClassVar[dict[str, type[Structure]]] = {}
    equation: ClassVar[str] = ""  # an element of y = x W

    def __init_subclass__(cls) -> None:
        Structure.kinds[cls.__name__] = cls

    def __str__(self) -> str:
        given = [getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(map(repr, given))})"

    @abstractmethod
    def misfit(self, rows: Parts, columns: Parts) -> str:
        """Why a matrix cannot have this structure; "" if it can."""

    @abstractmethod
    def stored_shape(self, rows: Parts, columns: Parts) -> tuple[int, ...]:
        """The shape of what is stored."""

    @abstractmethod
    def sizes_of(self, stored_shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of the largest matrix, of one part each, of which so much is stored.

        Raises:
            ValueError: nothing has that shape.
        """

    @abstractmethod
    def rows_of(self, rows: Parts, part: int) -> tuple[Any, ...]:
        """The index of what is stored of one part of the rows."""

    @abstractmethod
    def spread(self, stored: Array, rows: Parts, columns: Parts) -> Array:
        """The dense matrix."""

    def count(self, rows: Parts, columns: Parts) -> Array:
        """How many elements of the dense matrix each stored number stands for."""
        ones = np.ones((sum(rows), sum(columns)))
        return self.total(ones, rows, columns)

    @abstractmethod
    def total(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        """For each stored number, the sum of the dense elements that it stands for: the adjoint of `spread`."""

    @abstractmethod
    def defining(self, dense: Array, rows: Parts, columns: Parts) -> Array:
        """Of all those elements one alone: so a stored number is distributed as an element of the dense matrix is."""

    @abstractmethod
    def orthogonal(self, rows: Parts, columns: Parts, generator: np.random.Generator) -> Array:
        """What is stored of a matrix of this structure with orthonormal rows or columns."""

    @abstractmethod
    def multiply_adds(self, rows: Parts, columns: Parts) -> int:
        """The multiply-adds of one product with a vector."""

    @abstractmethod
    def product(self, x: Any, stored: Any, rows: Parts, columns: Parts, constants: Constants) -> Any:
        """`x @ W` in ops: x (..., sum of the rows) gives (..., sum of the columns)."""

    @abstractmethod
    def transposed(self, stored: Any, rows: Parts, columns: Parts) -> Any:
        """What is stored of the transposed matrix, in ops. Its rows are the columns."""

    # --- what a user calls: for a matrix of one part each, the sizes need not be given where they follow

    def dense(self, stored: Any, rows: int | Parts | None = None, columns: int | Parts | None = None) -> Array:
        """The dense matrix (rows, columns) of what is stored.

        Args:
            stored: an array of the stored shape.
            rows, columns: the sizes of the dense matrix, or of the parts that each is stacked from. Unless given: as many as
                the array is enough for.

        Raises:
            DataError: the array has another shape.
            OptionError: a matrix of these sizes cannot have this structure.
        """
        array = np.asarray(stored)
        try:
            most = self.sizes_of(array.shape)
        except ValueError:
            raise DataError(lay_out(f"{self}: nothing that it stores has the shape {array.shape}")) from None
        of_rows, of_columns = (n if given is None else given for n, given in zip(most, (rows, columns), strict=True))
        return Placement.of(self, of_rows, of_columns).dense(array)

    def project(self, dense: Any, rows: int | Parts | None = None, columns: int | Parts | None = None) -> Array:
        """What is stored of the matrix of this structure that is nearest to a dense one, by the sum of squared differences.

        Args:
            dense: (rows, columns).
            rows, columns: the sizes of the parts, where the matrix is stacked.

        Raises:
            DataError: the array is no matrix, or has another shape.
            OptionError: a matrix of these sizes cannot have this structure.
        """
        array = np.asarray(dense)
        if array.ndim != 2:
            raise DataError(lay_out(f"{self}: what is projected is a matrix, not an array of shape {array.shape}"))
        of_rows, of_columns = (n if given is None else given for n, given in zip(array.shape, (rows, columns), strict=True))
        return Placement.of(self, of_rows, of_columns).project(array)


class Constants:
    """Matrices of numbers in a graph, each made once.

    Args:
        number: makes a value of a number.
        name: called with a value and the name that it should have in the text of the graph.
    """

    def __init__(self, number: Callable[[float], Any], name: Callable[[Any, str], object]) -> None:
        self.number, self.name = number, name
        self.made: dict[Any, Any] = {}

    def vector(self, numbers: Sequence[float]) -> Any:
        """The numbers as a value, (len(numbers),)."""
        return ops.concat(*(ops.reshape(self.number(float(n)), 1) for n in numbers))


def _whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 1


def check_block(kind: str, field: str, given: Any) -> None:
    """Refuse what is no count of blocks or size of a block.

    Raises:
        OptionError: it is no whole number from 1 up.
    """
    if not _whole(given):
        raise OptionError(lay_out(f"{kind}: `{field}` is a whole number from 1 up, not {given!r}"))


@dataclass(frozen=True)
class Placement:
    """A structure on one matrix.

    Attributes:
        structure: its kind.
        rows, columns: the sizes of the parts that each dimension is stacked from.
    """

    structure: Structure
    rows: Parts
    columns: Parts

    @classmethod
    def of(cls, structure: Structure, rows: int | Sequence[int], columns: int | Sequence[int]) -> Placement:
        """A placement that is possible.

        Raises:
            OptionError: sizes that are none, or that the structure cannot have.
        """
        parts = []
        for what, given in (("rows", rows), ("columns", columns)):
            sizes = (given,) if not isinstance(given, Sequence) else tuple(given)
            if not sizes or not all(map(_whole, sizes)):
                raise OptionError(lay_out(f"{structure}: `{what}` is a whole number from 1 up, or several, not {given!r}"))
            parts.append(tuple(int(n) for n in sizes))
        reason = structure.misfit(*parts)
        if reason:
            raise OptionError(lay_out(f"{structure}: {reason}"))
        return cls(structure, *parts)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the dense matrix."""
        return sum(self.rows), sum(self.columns)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return self.structure.stored_shape(self.rows, self.columns)

    @property
    def n_parameters(self) -> int:
        """How many numbers are stored."""
        return prod(self.stored_shape)

    @property
    def multiply_adds(self) -> int:
        """Of one product with a vector."""
        return self.structure.multiply_adds(self.rows, self.columns)

    def dense(self, stored: Any) -> Array:
        """The dense matrix, (rows, columns).

        Raises:
            DataError: the array has another shape than what is stored.
        """
        return self.structure.spread(self._checked(stored, self.stored_shape), self.rows, self.columns)

    def project(self, dense: Any) -> Array:
        """What is stored of the nearest matrix of this structure: the mean of the elements that a number stands for.

        Raises:
            DataError: the array has another shape than the dense matrix.
        """
        array = self._checked(dense, self.shape)
        total = self.structure.total(array, self.rows, self.columns)
        count = self.structure.count(self.rows, self.columns)
        return (total / np.maximum(count, 1)).astype(array.dtype)

    def _checked(self, given: Any, shape: tuple[int, ...]) -> Array:
        array = np.asarray(given)
        if array.shape != shape:
            raise DataError(lay_out(f"{self.structure}: the array has shape {array.shape}, not {shape}"))
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)

    def draw(self, how: Sequence[Initialiser], generator: np.random.Generator) -> Array:
        """What is stored at the beginning.

        Args:
            how: one initialiser for each part of the rows. It draws a dense matrix, of which the defining elements are kept;
                an orthogonal matrix is orthogonal within the structure.
        """
        stored = np.zeros(self.stored_shape)
        for part, (size, initialiser) in enumerate(zip(self.rows, how, strict=True)):
            if isinstance(initialiser, Orthogonal):
                drawn = initialiser.gain * self.structure.orthogonal((size,), self.columns, generator)
            else:
                dense = np.asarray(initialiser.draw((size, self.shape[1]), generator), np.float64)
                drawn = self.structure.defining(self._drawn(dense, (size, self.shape[1])), (size,), self.columns)
            stored[self.structure.rows_of(self.rows, part)] = drawn
        return stored

    def _drawn(self, dense: Array, shape: tuple[int, int]) -> Array:
        if dense.shape != shape:
            raise DataError(lay_out(f"{self.structure}: the initialiser drew an array of shape {dense.shape}, not {shape}"))
        return dense

    @property
    def description(self) -> dict[str, Any]:
        """Everything `from_description` needs."""
        own = {f.name: getattr(self.structure, f.name) for f in fields(self.structure)}  # type: ignore[arg-type]
        kind = type(self.structure).__name__
        return {"kind": kind, "options": own, "rows": list(self.rows), "columns": list(self.columns)}

    @classmethod
    def from_description(cls, name: str, description: Any) -> Placement:
        """The placement that was saved.

        Raises:
            FileError: something is missing or impossible.
        """
        try:
            kind = Structure.kinds[description["kind"]]
            return cls.of(kind(**description["options"]), tuple(description["rows"]), tuple(description["columns"]))
        except (KeyError, TypeError, OptionError):
            raise FileError(lay_out(f"the structure of `{name}` in the file is none: {description!r}")) from None


def structures_of(
    name: str, given: Any, matrices: Sequence[str], known: Sequence[str]
) -> dict[str, Structure | None]:  # fmt: skip
    """What a user chose: one structure for all matrices, or a dictionary, weight name -> structure or None for dense.

    Args:
        name: of the cell.
        matrices: the weights that can have a structure: those of two dimensions.
        known: all weights.

    Raises:
        OptionError: something else, a name that does not exist, or that of a weight that is no matrix.
    """
    if isinstance(given, Structure):
        return dict.fromkeys(matrices, given)
    if not isinstance(given, Mapping):
        headline = f"{name}: `structure` is a structure, or a dictionary of weight names and structures, not {given!r}"
        raise OptionError(lay_out(headline))
    for key, structure in given.items():
        if key not in known:
            headline = f"{name}: `structure`: there is no weight `{key}`; {known_names(str(key), known, 'weights')}"
            raise OptionError(lay_out(headline))
        if key not in matrices:
            raise OptionError(lay_out(f"{name}: `structure`: `{key}` is no matrix: it was not declared with two dimensions"))
        if structure is not None and not isinstance(structure, Structure):
            raise OptionError(lay_out(f"{name}: `structure`: `{key}` is given {structure!r}, which is no structure"))
    return dict(given)
