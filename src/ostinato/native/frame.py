"""A native program whose inputs and results lie in anybody's memory: it is told addresses, and allocates nothing that goes out.

The first call of a size fills a context with all that stays, a further call writes the addresses that change. Where a result
cannot be written to a place of its own (it is what came in, or one for all steps), there is no frame, and a call goes the long
way (program.py).

    frame.given      names of what comes in, weights aside: inputs, contexts, states, masks, adjoints, residuals
    frame.outs       what goes out, each to an address of its own: outputs, final states, gradients
    frame.residuals  what is kept for backward: in the piece of memory for residuals, or what came in, or what went out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..lower.context import Field
from ..plan.views import BufferId
from .layout import Layout, Out, Prepared
from .memory import Array, address
from .program import NativeProgram


@dataclass(frozen=True)
class Residual:
    """Where something that is kept for backward lies.

    Attributes:
        where: "saved" (in the memory for residuals, `place` bytes from its beginning), "given" or "out" (`place` is its index).
    """

    name: str
    where: str
    place: int


@dataclass(frozen=True)
class FrameOut:
    """A result with memory of its own."""

    role: str
    buffer: BufferId
    field: int
    shape: tuple[int, ...]


class Frame:
    """Calls of one program for one number of steps and instances.

    Attributes:
        outs: what goes out, each once.
        results: for each result of the program but residuals its index in `outs`.
        saved_bytes: of the memory for residuals.
        placed: the residuals whose rows lie in the user's order.
    """

    def __init__(
        self, native: NativeProgram, timeline: Timeline, placed: frozenset[str], outs: dict[BufferId, FrameOut]
    ) -> None:  # fmt: skip
        self._native, self.timeline, self.program = native, timeline, native.program
        # what was made of the last weights, and contexts that point to it; both in one, since other threads may be here too
        self._bound: tuple[Prepared | None, list[Any]] = None, []
        layout = native.layout
        memory = layout.memory(timeline)
        self.given = tuple(g.port for g in layout.given)
        self._given_fields = tuple(g.field for g in layout.given)
        self.outs = tuple(outs.values())
        self._out_fields = tuple(out.field for out in self.outs)
        index = {buffer: i for i, buffer in enumerate(outs)}
        self.results = tuple(index[r.buffer] for r in layout.results if r.role != "record")
        self._saved = [(new.field, new.offset) for new in memory.saved if new.buffer not in index]
        self.saved_bytes = memory.saved_bytes if self._saved else 0
        self._internal = memory.internal
        self._placed_inputs = placed
        self.residuals = tuple(_residuals(layout, index, {n.buffer: n.offset for n in memory.saved}, self.given))
        users = layout.users | {native.plan.ports[name] for name in placed}
        in_order = () if timeline.plain else (r.name for r in layout.results if r.role == "record" and r.buffer in users)
        self.placed = frozenset(in_order)
        self._function: Any = native.functions.run

    @classmethod
    def of(cls, native: NativeProgram, timeline: Timeline, placed: frozenset[str] = frozenset()) -> Frame | None:
        """A frame, or None where a result has no place of its own."""
        layout, outs = native.layout, dict[BufferId, FrameOut]()
        for result in layout.results:
            if result.role == "record":
                continue
            own = _own_place(layout, result, timeline)
            if own is None or (result.buffer in outs and result.role != "gradient"):
                return None
            outs[result.buffer] = own
        return cls(native, timeline, placed, outs)

    def call(
        self, weights: Mapping[str, Array], given: Sequence[int], outs: Sequence[int], saved: int = 0, reset: int = 0
    ) -> None:  # fmt: skip
        """Run.

        Args:
            weights: every declared weight, whole.
            given, outs: the address of each, in the order of the attributes.
            saved: of the memory for residuals, at the beginning of a cache line.
            reset: of a byte for each row, or 0.
        """
        native = self._native
        ready, contexts = self._bound
        if ready is None or not ready.fits(weights):
            self._bound = None, []
            del ready, contexts  # the memory of its panels may be used again
            ready, contexts = self._bound = native.prepared(weights), []
        context = self._context(ready, contexts)
        for field, at in zip(self._given_fields, given, strict=True):
            context[field] = at
        for field, at in zip(self._out_fields, outs, strict=True):
            context[field] = at
        for field, offset in self._saved:
            context[field] = saved + offset
        context[Field.RESET] = reset
        arena = native.borrow(self._internal, self.timeline)
        context[Field.ARENA] = address(arena[0]) + arena[1]
        native.call(self._function, context, self.timeline)
        native.give_back(arena, self._internal)
        contexts.append(context)

    def _context(self, ready: Prepared, contexts: list[Any]) -> Any:
        """A context with all that stays; that of a call before, if there is one which no other thread has now."""
        try:
            return contexts.pop()
        except IndexError:
            pass
        native, timeline = self._native, self.timeline
        context = native.layout.context.from_buffer_copy(ready.context)
        context[: Field.OFFSETS + 1] = [timeline.n_steps, timeline.n_instances, timeline.n_rows, *timeline.addresses]
        if not timeline.plain:
            self._function = native.placed(context, timeline, self._placed_inputs)
        return context


def _own_place(layout: Layout, result: Out, timeline: Timeline) -> FrameOut | None:
    """Where a result may be told to lie; None where it is not an array of its own with the axes that a user sees."""
    if result.buffer not in layout.new or (result.role == "output" and result.space != Varies.STEP):
        return None
    if result.role == "state" and result.buffer in layout.saved:
        return None
    leading: tuple[int, ...] = (timeline.n_instances,) if result.space == Varies.INSTANCE else (1,)
    if result.space == Varies.STEP:
        leading = timeline.leading if result.buffer in layout.users else (timeline.n_rows,)
    return FrameOut(result.role, result.buffer, result.field, (*leading, *result.sizes))


def _residuals(
    layout: Layout, outs: Mapping[BufferId, int], saved: Mapping[BufferId, int], given: Sequence[str]
) -> list[Residual]:  # fmt: skip
    ports = {buffer: port for port, buffer in layout.plan.ports.items()}
    found = []
    for result in layout.results:
        if result.role != "record":
            continue
        if result.buffer in outs:
            found.append(Residual(result.name, "out", outs[result.buffer]))
        elif result.buffer in saved:
            found.append(Residual(result.name, "saved", saved[result.buffer]))
        else:
            found.append(Residual(result.name, "given", given.index(ports[result.buffer])))
    return found
