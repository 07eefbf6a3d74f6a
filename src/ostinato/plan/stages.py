"""The stages of a plan: each is one walk over a domain, and says what it reads, what it writes and how much it computes.

    Map            elementwise nodes
    Product        accumulators, each a sum of products of rows with packed weights, and elementwise nodes around them
    Reduce         sums and maxima along axes, and the elementwise nodes that feed them
    RowSums        sums over all rows of several values, and the elementwise nodes that compute these
    RowSum         a sum over all rows of one value, or of the product of two: a weight's gradient
    Contraction    a product of two matrices that both belong to an instance
    Copies         elements carried from place to place

What a walk computes stays in registers. It is stored where `stores` says so, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, NamedTuple

from ..ir.graph import Node
from ..ir.op import Kind
from .views import BufferId, View

Source = View | float  # where a value is read: in memory, or it is the same number everywhere

# Accumulators of one product stage, and sums over rows of one stage; more make further stages. Of the 16 vector registers of
# AVX2, 12 hold accumulators (tiling.py): with eight, a tile still has room for one row of each.
MAX_ACCUMULATORS = 8
MAX_SUMS = 8


class Operations(NamedTuple):
    """How much a stage computes for one row: numbers of multiply-adds, of other elementwise functions, of terms of sums."""

    multiply_adds: float = 0.0
    functions: float = 0.0
    terms: float = 0.0


@dataclass(frozen=True)
class Stage:
    """What all stages have.

    Attributes:
        kind: one word.
        over_rows: whether it sums over rows, and so runs when all other stages of its phase have run.
        domain: the sizes of what it walks over, for each row.
        nodes: what it computes, in order.
    """

    kind: ClassVar[str]
    over_rows: ClassVar[bool] = False
    domain: tuple[int, ...]
    nodes: tuple[Node, ...]

    @property
    def reads(self) -> tuple[View, ...]:
        """What it reads from memory, packed weights aside."""
        raise NotImplementedError

    @property
    def writes(self) -> tuple[View, ...]:
        """What it writes to memory, or adds to."""
        raise NotImplementedError

    @property
    def panels(self) -> tuple[BufferId, ...]:
        """The packed weights that it reads."""
        return ()

    @property
    def buffers(self) -> tuple[BufferId, ...]:
        """The buffers that it reads or writes, each once."""
        return tuple(dict.fromkeys([*(view.buffer for view in (*self.reads, *self.writes)), *self.panels]))

    @property
    def operations(self) -> Operations:
        """How much it computes for one row."""
        raise NotImplementedError

    @property
    def elements(self) -> int:
        """The number of elements of its domain."""
        return prod(self.domain)


@dataclass(frozen=True)
class Walk(Stage):
    """A stage that loads values, computes elementwise nodes of them in registers, and stores some.

    Attributes:
        loads: the name of each value that it reads -> where; views have the shape of the domain.
        stores: the name of a value that it computes, and where it goes; a value may go to several places.
    """

    loads: Mapping[str, Source] = field(default_factory=dict)
    stores: tuple[tuple[str, View], ...] = ()

    @property
    def loaded(self) -> tuple[View, ...]:
        """What `loads` reads from memory."""
        return tuple(source for source in self.loads.values() if isinstance(source, View))

    @property
    def reads(self) -> tuple[View, ...]:
        return self.loaded

    @property
    def writes(self) -> tuple[View, ...]:
        return tuple(view for _, view in self.stores)


@dataclass(frozen=True)
class Map(Walk):
    """Every element by itself."""

    kind = "map"

    @property
    def operations(self) -> Operations:
        return Operations(functions=float(self.elements * len(self.nodes)))


@dataclass(frozen=True)
class Segment:
    """One left operand of a product stage, and the accumulators that it feeds.

    Attributes:
        left: (..., k) for each row.
        accumulators: indices of those that take it.
        rights: for each of these its matrix, (k, n).
        panels: where the matrices lie packed: for each block of neurons (one vector), for each k, the vectors of all of them.
    """

    left: View
    k: int
    accumulators: tuple[int, ...]
    rights: tuple[View, ...]
    panels: BufferId


@dataclass(frozen=True)
class Product(Walk):
    """Accumulators, elementwise nodes that their start values are computed by, and elementwise nodes that follow.

    Each accumulator begins as its start value and takes the segments that feed it, in order: one fused multiply-add for each k.

    Attributes:
        names: the value that each accumulator makes; its node is among `nodes`.
        starts: the value that each begins with; None for zero.
    """

    kind = "product"
    names: tuple[str, ...] = ()
    starts: tuple[str | None, ...] = ()
    segments: tuple[Segment, ...] = ()

    @property
    def reads(self) -> tuple[View, ...]:
        return (*self.loaded, *(segment.left for segment in self.segments))

    @property
    def panels(self) -> tuple[BufferId, ...]:
        return tuple(segment.panels for segment in self.segments)

    @property
    def operations(self) -> Operations:
        elements = float(self.elements)
        multiply_adds = sum(elements * s.k * len(s.accumulators) for s in self.segments)
        return Operations(multiply_adds, functions=elements * (len(self.nodes) - len(self.names)))


@dataclass(frozen=True)
class Reduce(Walk):
    """Sums and maxima along `axes`, counted from the last (-1)."""

    kind = "reduce"
    axes: tuple[int, ...] = ()

    @property
    def reductions(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.record.kind is Kind.REDUCTION)

    @property
    def operations(self) -> Operations:
        reductions = len(self.reductions)
        return Operations(0.0, float(self.elements * (len(self.nodes) - reductions)), float(self.elements * reductions))


class Sum(NamedTuple):
    """target += the sum over the rows of a value that a stage computes, or loads."""

    value: str
    target: View


@dataclass(frozen=True)
class RowSums(Walk):
    """Sums over all rows of values that are never stored."""

    kind = "sum"
    over_rows = True
    sums: tuple[Sum, ...] = ()

    @property
    def writes(self) -> tuple[View, ...]:
        return tuple(s.target for s in self.sums)

    @property
    def operations(self) -> Operations:
        elements = float(self.elements)
        return Operations(functions=elements * len(self.nodes), terms=elements * len(self.sums))


@dataclass(frozen=True)
class RowSum(Stage):
    """target += sum over the rows of source; with a right operand, target += sourceᵀ right."""

    kind = "total"
    over_rows = True
    target: View
    source: View
    right: View | None = None

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.source,) if self.right is None else (self.source, self.right)

    @property
    def writes(self) -> tuple[View, ...]:
        return (self.target,)

    @property
    def operations(self) -> Operations:
        """An addition takes as long as a multiply-add does."""
        rows = prod(self.source.sizes[:-1]) if self.right is not None else 1
        return Operations(float(prod(self.target.sizes) * rows))


@dataclass(frozen=True)
class Contraction(Stage):
    """A product of two matrices that both vary, or whose right one is no plain matrix."""

    kind = "contract"
    left: View  # (*stack, m, k)
    right: View  # (*stack, k, n)
    target: View  # (*stack, m, n)

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.left, self.right)

    @property
    def writes(self) -> tuple[View, ...]:
        return (self.target,)

    @property
    def operations(self) -> Operations:
        return Operations(float(prod(self.target.sizes) * self.left.sizes[-1]))


@dataclass(frozen=True)
class Copy:
    """target = source, or target += source."""

    target: View
    source: Source
    accumulate: bool = False


@dataclass(frozen=True)
class Copies(Stage):
    """What concat, pad, patches and their like come to: copies, one after another."""

    kind = "move"
    copies: tuple[Copy, ...]

    @property
    def reads(self) -> tuple[View, ...]:
        return tuple(copy.source for copy in self.copies if isinstance(copy.source, View))

    @property
    def writes(self) -> tuple[View, ...]:
        return tuple(copy.target for copy in self.copies)

    @property
    def operations(self) -> Operations:
        return Operations()
