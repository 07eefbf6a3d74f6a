"""What every call of a native program has in common: the fields of its context, its new arrays, and how large its memory is.

A `Layout` is worked out once for a plan and a target, and is then only read: by a call (program.py), by a call that repeats one
before (bound_call.py), and by a stream (stepper.py). What depends on the number of steps and instances is a `CallMemory`.

    Layout       buffer -> field of the context; what is given, what is new, what goes out
    CallMemory   for one number of steps and instances: shape and place of each new array, bytes of the internal buffers
    Prepared     what was made of one set of weights: packed panels, and a context with the addresses of all that stays
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..ir.dtypes import DTYPES
from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..lower.context import context_size, internal_buffers, internal_bytes
from ..lower.kernel import ModuleContext
from ..lower.packing import panel_elements
from ..lower.target import Target
from ..plan.plan import Plan
from ..plan.views import BufferId
from .memory import LINE, Array, rounded

PIECE = 4096  # bytes of small results that share a piece of memory: whoever keeps one of them keeps at most this much alive
ROW_PLACE = 8  # bytes for each row: its index in the user's arrays, where these are not in the order of the rows


class NewArray(NamedTuple):
    """An array that a call makes, and where it lies in its piece of memory."""

    buffer: BufferId
    field: int  # of the context
    shape: tuple[int, ...]
    dtype: Any
    offset: int  # bytes from the beginning of the piece


class CallMemory(NamedTuple):
    """The new arrays of a call, and the bytes that each part takes.

    Attributes:
        results: pieces of memory, each of so many bytes; whoever keeps one of its arrays keeps the piece alive.
        handed_out: bytes of all results.
        saved: what is kept for the backward pass, in one piece of `saved_bytes`.
        internal: bytes of the buffers that nobody outside sees.
    """

    results: tuple[tuple[int, tuple[NewArray, ...]], ...]
    handed_out: int
    saved: tuple[NewArray, ...]
    saved_bytes: int
    internal: int


class Given(NamedTuple):
    """An array that comes in: the port it is given for, its field of the context, its buffer."""

    port: str
    field: int
    buffer: BufferId


@dataclass(frozen=True)
class Out:
    """A result of the program and the buffer that holds it."""

    role: str
    name: str
    buffer: BufferId
    field: int
    space: Varies
    row_bytes: int
    sizes: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True)
class Prepared:
    """What was made of one set of weights."""

    snapshot: Mapping[str, Array]
    weights: tuple[tuple[str, Array], ...]
    context: bytes  # with the addresses of everything that stays
    memory: tuple[Array, ...]

    def fits(self, weights: Mapping[str, Array]) -> bool:
        return weights is self.snapshot or all(weights[name] is array for name, array in self.weights)


Prepare = Callable[[Mapping[str, Array]], Prepared]


@dataclass(frozen=True)
class Layout:
    """The fields and buffers of a plan's calls.

    Attributes:
        fields: buffer -> the field of the context that points to it.
        context: the ctypes array that a context is.
        dtype: NumPy's, of the program.
        panels: packed weights -> their number of elements.
        parameters: the declared weights.
        given: what comes in with a call, weights aside.
        rows_given: of these, the buffers whose rows are always in the order of the rows: masks and residuals.
        results: what goes out, in the order of the program's results.
        new: buffer -> result, of those that are not simply what was given.
        users: the buffers that are arrays of the user's, with an axis of steps or instances of their own.
        saved: the buffers that are kept for the backward pass.
        internal_bytes: of the internal buffers, for each row of a space.
        internal_room: bytes that the alignment of the internal buffers may take.
    """

    plan: Plan
    fields: Mapping[BufferId, int]
    context: Any
    dtype: Any
    panels: Mapping[BufferId, int]
    parameters: tuple[str, ...]
    given: tuple[Given, ...]
    rows_given: frozenset[BufferId]
    results: tuple[Out, ...]
    new: Mapping[BufferId, Out]
    users: frozenset[BufferId]
    saved: frozenset[BufferId]
    internal_bytes: Mapping[Varies, int]
    internal_room: int

    @property
    def n_fields(self) -> int:
        return context_size(self.plan)

    @classmethod
    def of(cls, plan: Plan, target: Target) -> Layout:
        module = ModuleContext(None, plan, target)
        fields, dtype = module.fields, np.dtype(DTYPES[plan.program.dtype])
        given = tuple(Given(port, fields[b], b) for port, b in plan.ports.items() if b.role != "weight")
        outside = {g.buffer for g in given}
        by_users = [p.name for p in plan.program.with_role("input", "context", "state", "adjoint")]
        rows_given = frozenset(outside - {plan.ports[name] for name in by_users})
        results = tuple(_results(plan, fields, dtype))
        handed_out = {r.buffer for r in results if r.role in ("output", "gradient") and r.space != Varies.NEVER}
        ends = {slot.end for slot in plan.states}
        return cls(
            plan, fields, ctypes.c_int64 * context_size(plan), dtype,
            panels={p.panels: panel_elements(module, p) for p in plan.packings},
            parameters=tuple(sorted({p.parameter for p in plan.program.with_role("weight", "bias")})),
            given=given, rows_given=rows_given, results=results,
            new={r.buffer: r for r in results if r.buffer not in outside},
            users=frozenset((outside | handed_out | ends) - rows_given),
            saved=frozenset(r.buffer for r in results if r.role == "record"),
            internal_bytes=internal_bytes(plan), internal_room=LINE * (1 + len(internal_buffers(plan))),
        )  # fmt: skip

    def memory(self, timeline: Timeline) -> CallMemory:
        """Where each new array of a call lies; the size of all of them, and of the internal buffers."""
        n_rows, n_instances = timeline.n_rows, timeline.n_instances
        of_space = {Varies.NEVER: (1,), Varies.INSTANCE: (n_instances,), Varies.STEP: (n_rows,)}
        results: list[tuple[NewArray, int]] = []
        saved: list[NewArray] = []
        handed_out = saved_bytes = 0
        for name, out in self.new.items():
            leading = timeline.leading if out.space == Varies.STEP and name in self.users else of_space[out.space]
            shape, n_bytes = (*leading, *out.sizes), rounded(prod(leading) * out.row_bytes)
            if name in self.saved:
                saved.append(NewArray(name, out.field, shape, out.dtype, saved_bytes))
                saved_bytes += n_bytes
            else:
                results.append((NewArray(name, out.field, shape, out.dtype, 0), n_bytes))
                handed_out += n_bytes
        per = self.internal_bytes
        internal = per[Varies.NEVER] + per[Varies.INSTANCE] * n_instances + (per[Varies.STEP] + ROW_PLACE) * n_rows
        return CallMemory(_in_pieces(results), handed_out, tuple(saved), saved_bytes, internal + self.internal_room)


def _results(plan: Plan, fields: Mapping[BufferId, int], dtype: Any) -> Iterable[Out]:
    for result, name in zip(plan.program.results, plan.results, strict=True):
        buffer = plan.buffers[name]
        sizes = (buffer.size,) if name.role == "gradient" else result.value.type.sizes  # of the whole weight
        yield Out(result.role, result.name, name, fields[name], buffer.space, buffer.row_bytes, sizes,
                  np.dtype(bool if buffer.dtype == "bool" else dtype))  # fmt: skip


def _in_pieces(results: Iterable[tuple[NewArray, int]]) -> tuple[tuple[int, tuple[NewArray, ...]], ...]:
    """Small results share a piece of memory, since each piece takes a microsecond to get; a large one has its own."""
    pieces: list[tuple[int, tuple[NewArray, ...]]] = []
    shared: list[NewArray] = []
    size = 0
    for array, n_bytes in results:
        if n_bytes > PIECE:
            pieces.append((n_bytes, (array,)))
            continue
        if size + n_bytes > PIECE:
            pieces.append((size, tuple(shared)))
            size, shared = 0, []
        shared.append(array._replace(offset=size))
        size += n_bytes
    return (*pieces, (size, tuple(shared))) if shared else tuple(pieces)
