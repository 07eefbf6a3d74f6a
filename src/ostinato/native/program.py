"""A program as machine code: it runs what the interpreter runs, and gives the same `Outcome`.

A call fills a context (the table that machine code reads everything from, lower/context.py): sizes, the addresses of what is
given, of new arrays for what goes out, and of memory for the internal buffers. layout.py says where each of them stands.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import DataError, lay_out
from ..ir.interpret import Outcome
from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..lower.context import Field
from ..lower.target import Target
from ..plan.plan import Plan
from ..plan.views import BufferId
from ..process import forking
from .bound_call import BoundCall
from .code import FUNCTION, CompiledPlan, Functions, code_of
from .jit import Code
from .layout import CallMemory, Layout, NewArray, Prepared
from .memory import KEPT, LINE, Array, PooledBuffer, address, block, rounded
from .parallel import Shares, ThreadingPolicy, Work, alike
from .pool import alone
from .stepper import Stepper
from .targets import host
from .threads import WORKERS

# the address of the C function by which a thread that waits lets others run
GIVE_WAY = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0 if os.name == "posix" else 0


class NativeProgram:
    """A plan, compiled for one target. It may run in several threads at once."""

    def __init__(self, plan: Plan, target: Target | None = None) -> None:
        self.plan, self.program, self.target = plan, plan.program, target or host()
        self.masks = self.program.with_role("mask")
        self.functions = Functions.of(code_of(plan, self.target))
        self.layout = Layout.of(plan, self.target)
        self.work = Work.of(plan)
        # the variants of `run` that address some rows through an index table, by the inputs whose rows these are
        self._placed: dict[frozenset[str], tuple[Code, Any]] = {}
        self._lock = forking.new_lock()
        self._arenas: list[tuple[Array, int]] = []  # memory for internal buffers, of calls that are over
        self._free: list[tuple[Array, int]] = []  # memory for residuals that nobody has any more
        self._last: tuple[Any, CallMemory | None] = None, None  # the sizes of the last call, and what followed from them
        self._prepared: Prepared | None = None
        self._policies = dict[tuple[Shares, int, int], ThreadingPolicy]()

    @property
    def _compiled(self) -> CompiledPlan:
        return CompiledPlan(self.layout, self.functions, self.prepared)

    # --- weights

    def prepared(self, weights: Mapping[str, Array]) -> Prepared:
        """Panels and all that depends on weights alone; made again when a weight is another array."""
        ready = self._prepared
        if ready is not None and ready.fits(weights):
            return ready
        del ready  # its memory may be used again
        with self._lock:
            layout = self.layout
            context = np.zeros(layout.n_fields, np.int64)
            mine = {name: np.ascontiguousarray(weights[name]) for name in layout.parameters}
            wanted = {name: size * layout.dtype.itemsize for name, size in layout.panels.items()}
            wanted |= {name: self.plan.buffers[name].row_bytes for name in self.plan.prepared}
            memory, start = self._panel_memory(sum(map(rounded, wanted.values())))
            at = address(memory) + start
            for name, size in wanted.items():
                context[layout.fields[name]] = at
                at += rounded(size)
            for parameter, array in mine.items():
                context[layout.fields[BufferId("weight", parameter)]] = address(array)
            self.functions.prepare(address(context))
            kept = tuple((name, weights[name]) for name in layout.parameters)
            self._prepared = Prepared(weights, kept, context.tobytes(), (memory, *mine.values()))
            return self._prepared

    def _panel_memory(self, n_bytes: int) -> tuple[Array, int]:
        """Where the panels of the weights before lie, if nobody runs with them any more; else new memory."""
        box, self._prepared = [self._prepared], None  # from here on nobody else can come by it
        if box[0] is not None and alone(box):
            memory = [box[0].memory[0]]
            del box[0]  # a stream or a short call may have taken the memory out of it
            if alone(memory) and memory[0].nbytes == n_bytes + LINE:
                return memory[0], -address(memory[0]) % LINE
        return block(n_bytes)

    # --- running

    def run(
        self, timeline: Timeline, values: Mapping[str, Array], weights: Mapping[str, Array], reset: Array | None = None,
        placed: frozenset[str] = frozenset(),
    ) -> Outcome:  # fmt: skip
        """Run the program; arguments and result as in `interpret.run_as_given`."""
        ready, layout = self.prepared(weights), self.layout
        context = layout.context.from_buffer_copy(ready.context)
        n_rows, n_instances = timeline.n_rows, timeline.n_instances
        context[: Field.OFFSETS + 1] = [timeline.n_steps, n_instances, n_rows, *timeline.addresses]
        function = self.functions.run if timeline.plain else self.placed(context, timeline, placed)
        marks = None if reset is None else np.ascontiguousarray(reset, np.uint8)
        if marks is not None:
            context[Field.RESET] = address(marks)
        arrays: dict[BufferId, Array] = {}
        for port, field, name in layout.given:
            array = values[port]
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
            arrays[name] = array
            context[field] = address(array)
        memory = self._memory_of(timeline)
        for n_bytes, results in memory.results:
            _put(results, self._new(n_bytes, timeline), arrays, context)
        pooled = PooledBuffer(self._free, self._again(self._free, memory.saved_bytes, timeline)) if memory.saved else None
        if pooled is not None:
            _put(memory.saved, pooled.memory, arrays, context)
        arena = self.borrow(memory.internal, timeline)
        context[Field.ARENA] = address(arena[0]) + arena[1]
        self.call(function, context, timeline)
        self.give_back(arena, memory.internal)
        outcome = self._outcome(arrays, timeline, placed)
        outcome.lease = pooled
        return outcome

    def placed(self, context: Any, timeline: Timeline, placed: frozenset[str]) -> Any:
        """The variant that addresses rows through an index table; compiled on first use."""
        if placed not in self._placed:
            code = code_of(self.plan, self.target, self.layout.users | {self.plan.ports[name] for name in placed})
            self._placed[placed] = code, FUNCTION(code.address("ostinato_run"))
        context[Field.STEP_STRIDE : Field.LENGTHS + 1] = [*timeline.strides, timeline.reverse, *timeline.sorted_addresses]
        return self._placed[placed][1]

    def borrow(self, n_bytes: int, timeline: Timeline) -> tuple[Array, int]:
        """Memory for the internal buffers of a call."""
        return self._again(self._arenas, n_bytes, timeline)

    def give_back(self, arena: tuple[Array, int], n_bytes: int) -> None:
        """What was borrowed, for the next call."""
        if n_bytes <= KEPT:
            self._arenas[:] = [arena]

    def _again(self, free: list[tuple[Array, int]], n_bytes: int, timeline: Timeline) -> tuple[Array, int]:
        """A buffer of the free list if it is large enough, else new memory.

        New memory comes from the system page by page, which can take longer than the run itself.
        """
        try:
            memory = free.pop()
        except IndexError:
            return self._new(n_bytes, timeline)
        return memory if n_bytes <= memory[0].nbytes - LINE else self._new(n_bytes, timeline)

    def _new(self, n_bytes: int, timeline: Timeline) -> tuple[Array, int]:
        try:
            return block(n_bytes)
        except MemoryError:
            size = f"{timeline.n_steps} steps of {timeline.n_instances} instances need {n_bytes / 2**30:,.0f} GiB of memory"
            headline = f"{self.program.name}: {size}, which this machine does not give"
            raise DataError(lay_out(headline, hint="run fewer instances or steps at a time, and carry the state on")) from None

    def call(self, function: Any, context: Any, timeline: Timeline) -> None:
        """On one thread, or on several where there is work enough."""
        context[Field.THREADS] = context[Field.PARTS] = 1
        shares = self.work.threads(timeline, WORKERS.count)
        if shares is None:
            function(context)
            return
        policy = self._policies.setdefault(alike(shares, timeline), ThreadingPolicy())
        shared = policy.shares()
        begin = perf_counter()
        if not (shared and self._share(function, np.frombuffer(context, np.int64), shares)):
            shared = False
            function(context)
        policy.took(perf_counter() - begin, timeline.n_rows, shared=shared)

    def _share(self, function: Any, context: Array, shares: Shares) -> bool:
        """One part of the run on each thread; False, and nothing done, where the workers are busy."""
        counter = np.zeros(LINE // 8, np.int64)
        contexts = np.tile(context, (shares.n, 1))
        contexts[:, Field.THREADS], contexts[:, Field.BY_NEURONS] = shares.n, shares.by_neurons
        contexts[:, Field.ARRIVED], contexts[:, Field.YIELD] = address(counter), GIVE_WAY
        contexts[:, Field.THREAD] = np.arange(shares.n)
        first = address(contexts)
        return WORKERS.run(function, [first + i * contexts.strides[0] for i in range(shares.n)])

    def stepper(self, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]) -> Stepper:
        """For streams."""
        return Stepper(self._compiled, snapshot, n_instances, values)

    def rerun(
        self, timeline: Timeline, leading: tuple[int, ...], names: Sequence[str], weights: Mapping[str, Array],
        beginning: Mapping[str, Array],
    ) -> BoundCall | None:  # fmt: skip
        """For further calls like this one, if they are worth it."""
        memory = self._memory_of(timeline)
        if self.masks or not self.work.small(timeline) or not BoundCall.fits(self.layout, memory, timeline, leading, names):
            return None
        return BoundCall(self._compiled, weights, timeline, leading, names, beginning)

    def _memory_of(self, timeline: Timeline) -> CallMemory:
        """`Layout.memory`; calls of one size usually follow each other."""
        sizes = timeline.leading, timeline.n_instances, timeline.n_rows
        last_sizes, memory = self._last
        if memory is None or last_sizes != sizes:
            memory = self.layout.memory(timeline)
            self._last = sizes, memory  # one assignment: other threads may be here too
        return memory

    def _outcome(self, arrays: Mapping[BufferId, Array], timeline: Timeline, placed: frozenset[str]) -> Outcome:
        """What goes out. Nobody else holds the arrays of outputs, states and gradients."""
        outcome, layout = Outcome(), self.layout
        taken = set(layout.saved)
        for result in layout.results:
            name, array = result.buffer, arrays[result.buffer]
            if result.role == "record":
                outcome.records[result.name] = array
                continue
            if result.space == Varies.STEP and name not in layout.new:  # simply what came in
                rows = array if name in layout.rows_given else timeline.pack(array)
                array = np.array(timeline.unpack(rows), order="C")
            elif result.space != Varies.STEP and result.role == "output":
                array = timeline.unpack(_as_rows(array, result.space, timeline))
            elif (name in taken or name not in layout.new) and name.role != "gradient":
                array = array.copy()
            taken.add(name)
            if result.role == "output":
                outcome.outputs[result.name] = array
            elif result.role == "gradient":
                outcome.gradients.append(array)
            else:
                outcome.states[result.name] = array
        if layout.saved and not timeline.plain:
            users = layout.users | {self.plan.ports[name] for name in placed}
            outcome.placed = frozenset(r.name for r in layout.results if r.role == "record" and r.buffer in users)
        return outcome


def _put(new: Iterable[NewArray], memory: tuple[Array, int], arrays: dict[BufferId, Array], context: Any) -> None:
    """Arrays in a piece of memory, and where they are."""
    whole, start = memory
    base = address(whole) + start
    for name, field, shape, dtype, at in new:
        arrays[name] = np.ndarray(shape, dtype, whole, start + at)
        context[field] = base + at


def _as_rows(array: Array, space: Varies, timeline: Timeline) -> Array:
    """One row for each step and instance, of what is one for each instance, or one for all."""
    if space == Varies.INSTANCE:
        return timeline.sort(array)[timeline.instance_of_row]
    return np.broadcast_to(array, (timeline.n_rows, *array.shape[1:])).copy()
