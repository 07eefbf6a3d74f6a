"""A program as machine code: it runs what the interpreter runs, and gives the same `Outcome`."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError, lay_out
from ..ir.dtypes import DTYPES
from ..ir.interpret import Outcome
from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..lower.kernel import ARENA, ARRIVED, BY_NEURONS, LENGTHS, OFFSETS, PARTS, RESET, STEP_STRIDE, THREAD, THREADS, YIELD, Unit
from ..lower.llvm_text import Module
from ..lower.module import context_size, internal_buffers, lower
from ..lower.packing import panel_elements
from ..lower.target import Target, host
from ..plan.plan import Plan
from ..plan.tiling import BLOCK
from ..process import forking
from .bound_call import Rerun
from .cache import VARIABLE as FOLDER_VARIABLE
from .cache import Cache, version_key
from .jit import Code, compile_module, load
from .memory import KEPT, LINE, Array, Lease, address, block, rounded
from .parallel import Pace, Shares, Work, alike
from .pool import alone
from .stepper import Stepper
from .threads import WORKERS

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
GIVE_WAY = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0 if os.name == "posix" else 0
PIECE = 4096  # bytes of small results that lie together: more than its own size and this is never kept by who keeps one
ROW_PLACE = 8  # bytes for each row that say where it lies in the user's arrays


_New = tuple[str, int, tuple[int, ...], Any, int]  # an array: its buffer, its place in the context, shape, dtype, offset


class _Layout(NamedTuple):
    """The new arrays of a run, what is recorded by itself, and how many bytes each part and the internal buffers take.

    Results lie in several pieces of memory, each of so many bytes: who keeps one of them keeps its piece alive.
    """

    results: tuple[tuple[int, tuple[_New, ...]], ...] = ()
    handed_out: int = 0
    records: tuple[_New, ...] = ()
    recorded: int = 0
    internal: int = 0


@dataclass(frozen=True)
class _Out:
    """A result: where its buffer's pointer stands, and what becomes of it."""

    role: str
    name: str
    buffer: str
    place: int
    space: Varies
    size: int  # bytes of a row
    sizes: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True)
class _Prepared:
    """What was made of one set of weights."""

    snapshot: Mapping[str, Array]
    weights: tuple[tuple[str, Array], ...]
    context: bytes  # with the addresses of everything that stays
    memory: tuple[Array, ...]

    def fits(self, weights: Mapping[str, Array]) -> bool:
        return weights is self.snapshot or all(weights[name] is array for name, array in self.weights)


_LOADED: weakref.WeakValueDictionary[str, Code] = weakref.WeakValueDictionary()
_LOADING = forking.new_lock()


@lru_cache(maxsize=8)
def _cache(_: str | None) -> Cache:
    """The cache on disk, for a value of the variable that names its folder; it looks through the folder once."""
    return Cache()


def code_of(plan: Plan, target: Target, placed: frozenset[str] = frozenset()) -> Code:
    """The machine code of a plan: what this process has already loaded, what the disk holds, or new."""
    fixed = sorted(
        f"{b}" for b in plan.buffers.values() if b.space == Varies.NEVER
    )  # whole weights, of which the text knows parts
    text = "\n".join([str(plan.program), plan.choice, *fixed, *(f"placed {name}" for name in sorted(placed))])
    return code_for(text, target, plan.program.name, lambda: lower(plan, target, placed))


def code_for(text: str, target: Target, name: str, write: Callable[[], Module]) -> Code:
    """The machine code of what a text says in full: loaded already, from the disk, or of the module that `write` gives."""
    key = f"{version_key(target)}\n{text}"
    with _LOADING:
        code = _LOADED.get(key)
        if code is None:
            cache = _cache(os.environ.get(FOLDER_VARIABLE))
            entry = cache.get(key)
            if entry is None:
                object_bytes = compile_module(str(write()), target)
                cache.put(key, object_bytes, {"program": name})
            else:
                object_bytes = entry[0]
            code = _LOADED[key] = load(object_bytes)
        return code


@dataclass
class NativeOutcome(Outcome):
    """What a run of native code gave.

    Attributes:
        placed: the records that lie in the order of the user's arrays, not as rows.
        lease: the memory of the records; they may be read only while this is held.
    """

    placed: frozenset[str] = frozenset()
    lease: object = None


class NativeProgram:
    """A plan, compiled for one target. It may run in several threads at once."""

    def __init__(self, plan: Plan, target: Target | None = None) -> None:
        self.plan, self.program, self.target = plan, plan.program, target or host()
        self.masks = self.program.with_role("mask")
        self.code = code_of(plan, self.target)
        self._prepare, self._run = (FUNCTION(self.code.address(f"ostinato_{name}")) for name in ("prepare", "run"))
        self._step = FUNCTION(self.code.address("ostinato_step"))
        self._placed: dict[frozenset[str], tuple[Code, Any]] = {}  # the code for buffers that lie in the user's order
        self._lock = forking.new_lock()
        self._arenas: list[tuple[Array, int]] = []
        self._free: list[tuple[Array, int]] = []  # what earlier runs were recorded in, if nobody has it any more
        self._last: tuple[tuple[tuple[int, int], int, int], _Layout] = ((-1, -1), -1, -1), _Layout()
        self._prepared: _Prepared | None = None
        self._dtype = DTYPES[plan.program.dtype]
        self.work, self._paces = Work.of(plan), dict[tuple[Shares, int, int], Pace]()
        self._lay_out(Unit(None, plan, self.target))

    def _lay_out(self, unit: Unit) -> None:
        """What has to be known at every call, worked out once."""
        plan, places = self.plan, unit.places
        self._places = places
        self._fields = ctypes.c_int64 * context_size(plan)
        self._panels = {p.panels: panel_elements(unit, p) for p in plan.packings}
        self._parameters = sorted({p.parameter for p in plan.program.with_role("weight", "bias")})
        self._given = [(port, places[name], name) for port, name in plan.ports.items() if not name.startswith("weight ")]
        per = dict.fromkeys(Varies, 0)
        for name in internal_buffers(plan):
            buffer = plan.buffers[name]
            row = buffer.size * buffer.item_bytes
            if name in plan.passing:
                per[Varies.NEVER] += BLOCK * row
            else:
                per[buffer.space] += row
        self._internal = per, LINE * (1 + len(internal_buffers(plan)))
        given = {name for _, _, name in self._given}
        users = [p.name for p in plan.program.with_role("input", "context", "state", "adjoint")]
        self._rows_given = given - {plan.ports[name] for name in users}  # masks and records
        self._results: list[_Out] = []
        self._outs: dict[str, _Out] = {}  # those that are not simply what was given
        for result, name in zip(plan.program.results, plan.results, strict=True):
            buffer = plan.buffers[name]
            dtype = np.dtype(bool if buffer.dtype == "bool" else self._dtype)
            sizes = (buffer.size,) if name == f"gradient {result.name}" else result.value.type.sizes  # of the whole weight
            out = _Out(result.role, result.name, name, places[name], buffer.space, buffer.size * buffer.item_bytes,
                       sizes, dtype)  # fmt: skip
            self._results.append(out)
            if name not in given:
                self._outs[name] = out

        handed_out = {r.buffer for r in self._results if r.role in ("output", "gradient") and r.space != Varies.NEVER}
        ends = {slot.end for slot in plan.states}
        self._users = frozenset((given | handed_out | ends) - self._rows_given)  # the buffers that are arrays of the user's
        self._kept = frozenset(r.buffer for r in self._results if r.role == "record")

    # --- weights

    def prepared(self, weights: Mapping[str, Array]) -> _Prepared:
        """Panels and all that depends on weights alone; made again when a weight is another array."""
        ready = self._prepared
        if ready is not None and ready.fits(weights):
            return ready
        del ready  # its memory may be used again
        with self._lock:
            context = np.zeros(context_size(self.plan), np.int64)
            mine = {name: np.ascontiguousarray(weights[name]) for name in self._parameters}
            item = np.dtype(self._dtype).itemsize
            wanted = {name: size * item for name, size in self._panels.items()}
            wanted |= {name: self.plan.buffers[name].size * self.plan.buffers[name].item_bytes for name in self.plan.prepared}
            memory, start = self._panel_memory(sum(map(rounded, wanted.values())))
            at = address(memory) + start
            for name, size in wanted.items():
                context[self._places[name]] = at
                at += rounded(size)
            for name, array in mine.items():
                context[self._places[f"weight {name}"]] = address(array)
            self._prepare(address(context))
            kept = tuple((name, weights[name]) for name in self._parameters)
            self._prepared = _Prepared(weights, kept, context.tobytes(), (memory, *mine.values()))
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
        recording: Outcome | None = None,
    ) -> NativeOutcome:  # fmt: skip
        """Run the program; arguments and result as in `interpret.run_as_given`, and the run whose records it reads."""
        placed = recording.placed if isinstance(recording, NativeOutcome) else frozenset()
        ready = self.prepared(weights)
        context = self._fields.from_buffer_copy(ready.context)
        n_rows, n_instances = timeline.n_rows, timeline.n_instances
        context[: OFFSETS + 1] = [timeline.n_steps, n_instances, n_rows, *timeline.addresses]
        function = self._run if timeline.plain else self._run_placed(context, timeline, placed)
        marks = None if reset is None else np.ascontiguousarray(reset, np.uint8)
        if marks is not None:
            context[RESET] = address(marks)
        arrays = {}
        for port, place, name in self._given:
            array = values[port]
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
            arrays[name] = array
            context[place] = address(array)
        layout = self._layout(timeline)
        for n_bytes, results in layout.results:
            _put(results, self._memory(n_bytes, timeline), arrays, context)
        lease = Lease(self._free, self._again(self._free, layout.recorded, timeline)) if layout.records else None
        if lease is not None:
            _put(layout.records, lease.memory, arrays, context)
        arena = self._again(self._arenas, layout.internal, timeline)
        context[ARENA] = address(arena[0]) + arena[1]
        self._call(function, context, timeline)
        if layout.internal <= KEPT:
            self._arenas[:] = [arena]
        outcome = self._outcome(arrays, timeline, placed)
        outcome.lease = lease
        return outcome

    def _run_placed(self, context: Any, timeline: Timeline, placed: frozenset[str]) -> Any:
        """The function for rows that lie in the user's order, which is told where; compiled when it is first needed."""
        if placed not in self._placed:
            code = code_of(self.plan, self.target, self._users | {self.plan.ports[name] for name in placed})
            self._placed[placed] = code, FUNCTION(code.address("ostinato_run"))
        context[STEP_STRIDE : LENGTHS + 1] = [*timeline.strides, timeline.reverse, *timeline.sorted_addresses]
        return self._placed[placed][1]

    def _again(self, free: list[tuple[Array, int]], n_bytes: int, timeline: Timeline) -> tuple[Array, int]:
        """Memory of a run before, if there is some that is large enough and nobody has it now; else new memory.

        New memory comes from the system page by page, which can take longer than the run itself.
        """
        try:
            memory = free.pop()
        except IndexError:
            return self._memory(n_bytes, timeline)
        return memory if n_bytes <= memory[0].nbytes - LINE else self._memory(n_bytes, timeline)

    def _memory(self, n_bytes: int, timeline: Timeline) -> tuple[Array, int]:
        try:
            return block(n_bytes)
        except MemoryError:
            size = f"{timeline.n_steps} steps of {timeline.n_instances} instances need {n_bytes / 2**30:,.0f} GiB of memory"
            headline = f"{self.program.name}: {size}, which this machine does not give"
            raise DataError(lay_out(headline, hint="run fewer instances or steps at a time, and carry the state on")) from None

    def _call(self, function: Any, context: Any, timeline: Timeline) -> None:
        """On one thread, or on several where there is work enough."""
        context[THREADS] = context[PARTS] = 1
        shares = self.work.threads(timeline, WORKERS.count)
        if shares is None:
            function(context)
            return
        pace = self._paces.setdefault(alike(shares, timeline), Pace())
        shared = pace.shares()
        begin = perf_counter()
        if not (shared and self._share(function, np.frombuffer(context, np.int64), shares)):
            shared = False
            function(context)
        pace.took(perf_counter() - begin, timeline.n_rows, shared=shared)

    def _share(self, function: Any, context: Array, shares: Shares) -> bool:
        """One part of the run on each thread; False, and nothing done, where the workers are busy."""
        counter = np.zeros(LINE // 8, np.int64)
        contexts = np.tile(context, (shares.n, 1))
        contexts[:, THREADS], contexts[:, BY_NEURONS] = shares.n, shares.by_neurons
        contexts[:, ARRIVED], contexts[:, YIELD] = address(counter), GIVE_WAY
        contexts[:, THREAD] = np.arange(shares.n)
        first = address(contexts)
        return WORKERS.run(function, [first + i * contexts.strides[0] for i in range(shares.n)])

    def stepper(self, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]) -> Stepper:
        """For streams."""
        return Stepper(self, snapshot, n_instances, values)

    def rerun(
        self, timeline: Timeline, leading: tuple[int, ...], names: Sequence[str], weights: Mapping[str, Array],
        beginning: Mapping[str, Array],
    ) -> Rerun | None:  # fmt: skip
        """For further calls like this one, if they are worth it."""
        fits = Rerun.fits(self, timeline, leading, names)
        return Rerun(self, weights, timeline, leading, names, beginning) if fits else None

    def _layout(self, timeline: Timeline) -> _Layout:
        """Where each new result lies in the memory of a run; the size of all of them, and of the internal buffers."""
        sizes = timeline.leading, timeline.n_instances, timeline.n_rows
        last_sizes, last = self._last
        if last_sizes != sizes:
            n_rows, n_instances = timeline.n_rows, timeline.n_instances
            of_space = {Varies.NEVER: (1,), Varies.INSTANCE: (n_instances,), Varies.STEP: (n_rows,)}
            results: list[tuple[_New, int]] = []
            records: list[_New] = []
            handed_out = recorded = 0
            for name, out in self._outs.items():
                leading = timeline.leading if out.space == Varies.STEP and name in self._users else of_space[out.space]
                shape, n_bytes = (*leading, *out.sizes), rounded(prod(leading) * out.size)
                if name in self._kept:
                    records.append((name, out.place, shape, out.dtype, recorded))
                    recorded += n_bytes
                else:
                    results.append(((name, out.place, shape, out.dtype, 0), n_bytes))
                    handed_out += n_bytes
            per, room = self._internal
            internal = per[Varies.NEVER] + per[Varies.INSTANCE] * n_instances + (per[Varies.STEP] + ROW_PLACE) * n_rows + room
            last = _Layout(_in_pieces(results), handed_out, tuple(records), recorded, internal)
            self._last = sizes, last  # in one piece: other threads may be here too
        return last

    def _outcome(self, arrays: Mapping[str, Array], timeline: Timeline, placed: frozenset[str]) -> NativeOutcome:
        """What goes out. Nobody else holds the arrays of outputs, states and gradients."""
        outcome, taken = NativeOutcome(), set(self._kept)
        for result in self._results:
            name, array = result.buffer, arrays[result.buffer]
            if result.role == "record":
                outcome.records[result.name] = array
                continue
            if result.space == Varies.STEP and name not in self._outs:  # simply what came in
                rows = array if name in self._rows_given else timeline.pack(array)
                array = np.array(timeline.unpack(rows), order="C")
            elif result.space != Varies.STEP and result.role == "output":
                array = timeline.unpack(_as_rows(array, result.space, timeline))
            elif (name in taken or name not in self._outs) and not name.startswith("gradient "):
                array = array.copy()
            taken.add(name)
            if result.role == "output":
                outcome.outputs[result.name] = array
            elif result.role == "gradient":
                outcome.gradients.append(array)
            else:
                outcome.states[result.name] = array
        if self._kept and not timeline.plain:
            users = self._users | {self.plan.ports[name] for name in placed}
            outcome.placed = frozenset(r.name for r in self._results if r.role == "record" and r.buffer in users)
        return outcome


def _in_pieces(results: Iterable[tuple[_New, int]]) -> tuple[tuple[int, tuple[_New, ...]], ...]:
    """Small results share a piece of memory, since each piece takes a microsecond to get; a large one has its own."""
    pieces: list[tuple[int, tuple[_New, ...]]] = []
    shared: list[_New] = []
    size = 0
    for (name, place, shape, dtype, _), n_bytes in results:
        if n_bytes > PIECE:
            pieces.append((n_bytes, ((name, place, shape, dtype, 0),)))
            continue
        if size + n_bytes > PIECE:
            pieces.append((size, tuple(shared)))
            size, shared = 0, []
        shared.append((name, place, shape, dtype, size))
        size += n_bytes
    return (*pieces, (size, tuple(shared))) if shared else tuple(pieces)


def _put(new: Iterable[_New], memory: tuple[Array, int], arrays: dict[str, Array], context: Any) -> None:
    """Arrays in a piece of memory, and where they are."""
    whole, start = memory
    base = address(whole) + start
    for name, place, shape, dtype, at in new:
        arrays[name] = np.ndarray(shape, dtype, whole, start + at)
        context[place] = base + at


def _as_rows(array: Array, space: Varies, timeline: Timeline) -> Array:
    """One row for each step and instance, of what is one for each instance, or one for all."""
    if space == Varies.INSTANCE:
        return timeline.sort(array)[timeline.instance_of_row]
    return np.broadcast_to(array, (timeline.n_rows, *array.shape[1:])).copy()
