"""Plan: a scheduled program becomes stages over buffers, which native/ turns into machine code.

A stage is one walk over a domain: a fused product with everything elementwise that follows it in registers, a walk over
elements, a reduction, a sum over rows. A new stage begins only where a value is needed whole: as a left operand of a product,
in a reduction, through a view. Everything here is independent of the batch and of the number of steps.

    Plan   ::= choice, Buffer*, Phase -> Stage*, Port -> Buffer, Result -> Buffer
    Stage  ::= kind, domain, Product?, Node*, Move*, Contraction?, Total*, Sum*, loads (name -> View or number),
               stores (name, View)*
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..ir.graph import Node, Program
from ..ir.shapes import Varies
from .phases import Phase
from .views import Buffer, View

Source = View | float


@dataclass(frozen=True)
class Move:
    """target = source, or target += source: what concat, pad, patches and copies come to."""

    target: View
    source: Source
    accumulate: bool = False


@dataclass(frozen=True)
class Segment:
    """One left operand of a product stage, and the accumulators that it feeds.

    The weights lie packed in `panels`: for each block of neurons (one vector), for each k, the vectors of all gates.
    """

    left: View
    k: int
    gates: tuple[int, ...]
    rights: tuple[View, ...]  # (k, n) for each gate
    panels: str  # the buffer


@dataclass(frozen=True)
class Product:
    """The accumulators of a product stage: one for each gate."""

    names: tuple[str, ...]
    starts: tuple[str | None, ...]  # the value that each begins with
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Contraction:
    """A product of two matrices that both vary, or whose right one is no plain matrix: stack, rows, columns, contracted."""

    left: View  # (*stack, m, k)
    right: View  # (*stack, k, n)
    target: View  # (*stack, m, n)


@dataclass(frozen=True)
class Total:
    """A sum over rows, into one row: target += sum of source; or target += leftᵀ right."""

    target: View
    source: View
    right: View | None = None


@dataclass(frozen=True)
class Sum:
    """target += the sum over rows of a value that the stage computes, or loads."""

    value: str
    target: View


@dataclass(frozen=True)
class Stage:
    """One walk; see the module."""

    kind: str  # "product", "map", "reduce", "move", "contract", "total", "sum"
    domain: tuple[int, ...]
    nodes: tuple[Node, ...] = ()
    loads: Mapping[str, Source] = field(default_factory=dict)
    stores: tuple[tuple[str, View], ...] = ()
    product: Product | None = None
    axes: tuple[int, ...] = ()  # of a reduction
    moves: tuple[Move, ...] = ()
    contraction: Contraction | None = None
    totals: tuple[Total, ...] = ()
    sums: tuple[Sum, ...] = ()


@dataclass(frozen=True)
class Packing:
    """What `prepare` does for one segment: from matrices to panels."""

    panels: str
    k: int
    n: int
    rights: tuple[View, ...]
    gates: int  # accumulators of the whole stage, which the shape of the panels follows from


@dataclass(frozen=True)
class StateSlot:
    """Where a state lies: read at this step, written for the next, as it began, as it ends."""

    name: str
    size: int
    initial: float

    @property
    def now(self) -> str:
        return f"{self.name}@now"

    @property
    def next(self) -> str:
        return f"{self.name}@next"

    @property
    def begin(self) -> str:
        return f"{self.name}@begin"

    @property
    def end(self) -> str:
        return f"{self.name}@end"


@dataclass(frozen=True)
class Plan:
    """What runs, in which order, on which buffers."""

    program: Program
    choice: str
    buffers: Mapping[str, Buffer]
    stages: Mapping[Phase, tuple[Stage, ...]]
    packings: tuple[Packing, ...]
    states: tuple[StateSlot, ...]
    ports: Mapping[str, str]  # port name -> buffer (weights: the whole weight)
    results: tuple[str, ...]  # for each result of the program, its buffer
    zeroed: tuple[str, ...]  # buffers that must begin as zeros
    prepared: tuple[str, ...]  # buffers of what depends on weights alone

    def by_step(self, phase: Phase) -> bool:
        """Whether a phase of rows has to go step by step: because it reads or writes something of each instance."""
        if phase.space != Varies.STEP or phase == Phase.LOOP:
            return phase == Phase.LOOP
        return any(self.buffers[name].space == Varies.INSTANCE for s in self.stages.get(phase, ()) for name in touched(s))

    @cached_property
    def passing(self) -> Mapping[str, Phase]:
        """The buffers of rows that one phase outside the loop writes and reads, and nobody else: a block of rows is enough."""
        users: dict[str, set[Phase]] = {}
        for phase, stages in self.stages.items():
            for name in (name for stage in stages for name in touched(stage)):
                users.setdefault(name, set()).add(phase)
        outside = {*self.ports.values(), *self.results}
        found = {
            name: next(iter(phases)) for name, phases in users.items()
            if len(phases) == 1 and name not in outside and self.buffers[name].space == Varies.STEP
        }  # fmt: skip
        return {name: phase for name, phase in found.items() if phase != Phase.LOOP and not self.by_step(phase)}


def touched(stage: Stage) -> list[str]:
    """The names of the buffers that a stage reads or writes, each once."""
    views: list[Source] = [*stage.loads.values(), *(view for _, view in stage.stores), *(s.target for s in stage.sums)]
    for move in stage.moves:
        views += [move.target, move.source]
    for total in stage.totals:
        views += [total.target, total.source] + ([total.right] if total.right else [])
    if stage.contraction:
        views += [stage.contraction.left, stage.contraction.right, stage.contraction.target]
    names = [v.buffer for v in views if isinstance(v, View)]
    if stage.product:
        names += [name for s in stage.product.segments for name in (s.left.buffer, s.panels)]
    return list(dict.fromkeys(names))
