"""A program as machine code: it runs what the interpreter runs, and gives the same `Outcome`."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np

from ..boundary import DTYPES
from ..errors import DataError, lay_out
from ..interpret import Outcome
from ..plan import Plan
from ..shapes import Varies
from ..threads import WORKERS
from ..tiling import BLOCK
from ..timeline import Timeline
from ..work import Pace, Shares, Work
from .cache import VARIABLE as FOLDER_VARIABLE
from .cache import Cache, version_key
from .emit import (
    ARENA,
    ARRIVED,
    BY_NEURONS,
    COUNTS,
    N_INSTANCES,
    N_ROWS,
    N_STEPS,
    OFFSETS,
    PARTS,
    RESET,
    THREAD,
    THREADS,
    YIELD,
    Unit,
    rounded,
)
from .jit import Code, compile_module, load
from .lower import context_size, internal_buffers, lower
from .panels import panel_elements
from .targets import Target, host

Array = np.ndarray[Any, np.dtype[Any]]
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
GIVE_WAY = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0 if os.name == "posix" else 0
KEPT = 1 << 30  # bytes of internal buffers that are kept from run to run, at most
LINE = 64  # bytes of a cache line, where every buffer begins


def _asked(array: Array) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def _read(array: Array) -> int:
    return _POINTER(id(array) + _HEAD).value or 0


# An array begins with the head of every Python object and then the address of its data (NumPy's PyArrayObject_fields, a part
# of its binary interface). Reading it there takes a fifth of the time; it is believed only where it is found to be so.
_POINTER = ctypes.c_void_p.from_address
_HEAD = object.__basicsize__
_samples = [np.zeros(n, kind) for n, kind in ((1, np.float32), (1000, np.float64), (3, bool))]
_samples.append(_samples[1][17:])
_alike = sys.implementation.name == "cpython" and all(_read(sample) == _asked(sample) for sample in _samples)
address = _read if _alike else _asked


def block(n_bytes: int) -> tuple[Array, int]:
    """Memory whose second value, a multiple of LINE, is how far its first cache line lies behind its beginning."""
    raw = np.empty(n_bytes + LINE, np.uint8)
    return raw, -address(raw) % LINE


_Layout = tuple[list[tuple[str, int, tuple[int, ...], Any, int]], int, int]


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
_LOADING = threading.Lock()


@lru_cache(maxsize=8)
def _cache(_: str | None) -> Cache:
    """The cache on disk, for a value of the variable that names its folder; it looks through the folder once."""
    return Cache()


def code_of(plan: Plan, target: Target) -> Code:
    """The machine code of a plan: what this process has already loaded, what the disk holds, or new."""
    fixed = sorted(
        f"{b}" for b in plan.buffers.values() if b.space == Varies.NEVER
    )  # whole weights, of which the text knows parts
    text = "\n".join([str(plan.program), plan.choice, *fixed])
    key = f"{version_key(target)}\n{text}"
    with _LOADING:
        code = _LOADED.get(key)
        if code is None:
            cache = _cache(os.environ.get(FOLDER_VARIABLE))
            entry = cache.get(key)
            if entry is None:
                object_bytes = compile_module(str(lower(plan, target)), target)
                cache.put(key, object_bytes, {"program": plan.program.name})
            else:
                object_bytes = entry[0]
            code = _LOADED[key] = load(object_bytes)
        return code


class NativeProgram:
    """A plan, compiled for one target. It may run in several threads at once."""

    def __init__(self, plan: Plan, target: Target | None = None) -> None:
        self.plan, self.program, self.target = plan, plan.program, target or host()
        self.masks = self.program.with_role("mask")
        self.code = code_of(plan, self.target)
        self._prepare, self._run = (FUNCTION(self.code.address(f"ostinato_{name}")) for name in ("prepare", "run"))
        self._step = FUNCTION(self.code.address("ostinato_step"))
        self._lock = threading.Lock()
        self._arenas: list[tuple[Array, int]] = []
        self._last: tuple[tuple[int, int], _Layout] = (-1, -1), ([], 0, 0)
        self._prepared: _Prepared | None = None
        self._dtype = DTYPES[plan.program.dtype]
        self.work, self._paces = Work.of(plan), dict[Shares, Pace]()
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
        self._results: list[_Out] = []
        self._outs: dict[str, _Out] = {}  # those that are not simply what was given
        for result, name in zip(plan.program.results, plan.results, strict=True):
            buffer = plan.buffers[name]
            dtype = np.dtype(bool if buffer.dtype == "bool" else self._dtype)
            out = _Out(result.role, result.name, name, places[name], buffer.space, buffer.size * buffer.item_bytes,
                       result.value.type.sizes, dtype)  # fmt: skip
            self._results.append(out)
            if name not in given:
                self._outs[name] = out

        new = [r for r in self._results if r.buffer in self._outs and (r.space == Varies.STEP or r.role == "gradient")]
        first = {r.buffer: r for r in reversed(new)}
        self.owned = frozenset(r.name for r in first.values() if r.role in ("output", "gradient"))

    # --- weights

    def prepared(self, weights: Mapping[str, Array]) -> _Prepared:
        """Panels and all that depends on weights alone; made again when a weight is another array."""
        ready = self._prepared
        if ready is not None and ready.fits(weights):
            return ready
        with self._lock:
            context = np.zeros(context_size(self.plan), np.int64)
            mine = {name: np.ascontiguousarray(weights[name]) for name in self._parameters}
            item = np.dtype(self._dtype).itemsize
            wanted = {name: size * item for name, size in self._panels.items()}
            wanted |= {name: self.plan.buffers[name].size * self.plan.buffers[name].item_bytes for name in self.plan.prepared}
            memory, start = block(sum(map(rounded, wanted.values())))
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

    # --- running

    def run(
        self, timeline: Timeline, values: Mapping[str, Array], weights: Mapping[str, Array], reset: Array | None = None
    ) -> Outcome:  # fmt: skip
        """Run the program; arguments and result as in `interpret.run`."""
        ready = self.prepared(weights)
        context = self._fields.from_buffer_copy(ready.context)
        n_rows, n_instances = timeline.n_rows, timeline.n_instances
        context[: OFFSETS + 1] = [timeline.n_steps, n_instances, n_rows, *timeline.addresses]
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
        layout, handed_out, internal = self._layout(n_rows, n_instances)
        memory, start = self._memory(handed_out, timeline)
        base = address(memory) + start
        for name, place, shape, dtype, at in layout:
            arrays[name] = np.ndarray(shape, dtype, memory, start + at)
            context[place] = base + at
        arena = self._arena(internal, timeline)
        context[ARENA] = address(arena[0]) + arena[1]
        self._call(context, timeline)
        if internal <= KEPT:
            self._arenas[:] = [arena]
        return self._outcome(arrays, timeline)

    def _arena(self, n_bytes: int, timeline: Timeline) -> tuple[Array, int]:
        """Memory for the internal buffers: that of the run before, if it is large enough and nobody has it now.

        New memory comes from the system page by page, which can take longer than the run itself.
        """
        try:
            arena = self._arenas.pop()
        except IndexError:
            return self._memory(n_bytes, timeline)
        return arena if n_bytes <= arena[0].nbytes - LINE else self._memory(n_bytes, timeline)

    def _memory(self, n_bytes: int, timeline: Timeline) -> tuple[Array, int]:
        try:
            return block(n_bytes)
        except MemoryError:
            size = f"{timeline.n_steps} steps of {timeline.n_instances} instances need {n_bytes / 2**30:,.0f} GiB of memory"
            headline = f"{self.program.name}: {size}, which this machine does not give"
            raise DataError(lay_out(headline, hint="run fewer instances or steps at a time, and carry the state on")) from None

    def _call(self, context: Any, timeline: Timeline) -> None:
        """On one thread, or on several where there is work enough."""
        context[THREADS] = context[PARTS] = 1
        shares = self.work.threads(timeline, WORKERS.count)
        if shares is None:
            self._run(context)
            return
        pace = self._paces.setdefault(shares, Pace())
        shared = pace.shares()
        begin = perf_counter()
        if not (shared and self._share(np.frombuffer(context, np.int64), shares)):
            shared = False
            self._run(context)
        pace.took(perf_counter() - begin, timeline.n_rows, shared=shared)

    def _share(self, context: Array, shares: Shares) -> bool:
        """One part of the run on each thread; False, and nothing done, where the workers are busy."""
        counter = np.zeros(LINE // 8, np.int64)
        contexts = np.tile(context, (shares.n, 1))
        contexts[:, THREADS], contexts[:, BY_NEURONS] = shares.n, shares.by_neurons
        contexts[:, ARRIVED], contexts[:, YIELD] = address(counter), GIVE_WAY
        contexts[:, THREAD] = np.arange(shares.n)
        first = address(contexts)
        return WORKERS.run(self._run, [first + i * contexts.strides[0] for i in range(shares.n)])

    def stepper(self, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]) -> Stepper:
        """For streams."""
        return Stepper(self, snapshot, n_instances, values)

    def _layout(self, n_rows: int, n_instances: int) -> _Layout:
        """Where each new result lies in the memory of a run; the size of all of them, and of the internal buffers."""
        last_sizes, last = self._last
        if last_sizes != (n_rows, n_instances):
            count = (1, n_instances, n_rows)
            at, results = 0, []
            for name, out in self._outs.items():
                results.append((name, out.place, (count[out.space], *out.sizes), out.dtype, at))
                at += rounded(count[out.space] * out.size)
            per, room = self._internal
            internal = per[Varies.NEVER] + per[Varies.INSTANCE] * n_instances + per[Varies.STEP] * n_rows + room
            last = results, at, internal
            self._last = (n_rows, n_instances), last  # in one piece: other threads may be here too
        return last

    def _outcome(self, arrays: Mapping[str, Array], timeline: Timeline) -> Outcome:
        outcome = Outcome()
        for result in self._results:
            array = arrays[result.buffer]
            if result.role == "output":
                outcome.outputs[result.name] = _as_rows(array, result.space, timeline)
            elif result.role == "record":
                outcome.records[result.name] = array
            elif result.role == "gradient":
                outcome.gradients.append(array)
            else:
                outcome.states[result.name] = array
        return outcome


def _as_rows(array: Array, space: Varies, timeline: Timeline) -> Array:
    """One row for each step and instance."""
    if space == Varies.STEP:
        return array
    if space == Varies.INSTANCE:
        return array[timeline.instance_of_row]
    return np.broadcast_to(array, (timeline.n_rows, *array.shape[1:])).copy()


class Stepper:
    """A program taking one step at a time, with everything in its place: inputs, outputs and states are arrays that stay.

    Attributes:
        snapshot: the weights it runs with.
        inputs, outputs: name -> (n_instances, ...), to be written before and read after a step.
    """

    def __init__(
        self, native: NativeProgram, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]
    ) -> None:  # fmt: skip
        """`values`: what does not change (contexts), and the states to begin with, (n_instances, ...)."""
        program, places = native.program, native._places  # noqa: SLF001 - a part of it, in a class of its own
        self.snapshot, self._native = snapshot, native
        ready = native.prepared(snapshot)
        self._timeline = Timeline(1, n_instances)
        self.inputs = {
            p.name: np.zeros((n_instances, *p.value.type.sizes), native._dtype)  # noqa: SLF001
            for p in program.with_role("input")
        }
        self._states = [{p.name: np.array(values[p.name]) for p in program.states} for _ in range(2)]
        fixed = {p.name: np.array(values[p.name], order="C") for p in program.with_role("context")}
        layout, handed_out, internal = native._layout(n_instances, n_instances)  # noqa: SLF001
        memory, start = block(rounded(handed_out) + internal)
        arrays = {name: np.ndarray(shape, dtype, memory, start + at) for name, _, shape, dtype, at in layout}
        arrays |= {buffer: (self.inputs | fixed)[port] for port, _, buffer in native._given if port in self.inputs | fixed}  # noqa: SLF001
        context = np.frombuffer(ready.context, np.int64).copy()
        context[N_STEPS], context[N_INSTANCES], context[N_ROWS] = 1, n_instances, n_instances
        context[THREADS] = context[PARTS] = 1
        context[COUNTS], context[OFFSETS] = self._timeline.addresses
        context[ARENA] = address(memory) + start + rounded(handed_out)
        for name, array in arrays.items():
            context[places[name]] = address(array)
        contexts = [context, context.copy()]
        for side, filled in enumerate(contexts):
            for slot in native.plan.states:
                filled[places[slot.begin]] = address(self._states[side][slot.name])
                filled[places[slot.end]] = address(self._states[1 - side][slot.name])
        outputs = [r for r in native._results if r.role == "output"]  # noqa: SLF001
        self.outputs = {r.name: arrays[r.buffer] for r in outputs}
        self._alive = ready, memory, fixed, contexts
        self._addresses = [address(c) for c in contexts]
        self._side = 0
        self._function = native._run  # noqa: SLF001 - the first step computes what belongs to the instances

    def step(self) -> None:
        """From the inputs and the states to the outputs and the next states."""
        self._function(self._addresses[self._side])
        self._side = 1 - self._side
        self._function = self._native._step  # noqa: SLF001

    @property
    def state(self) -> dict[str, Array]:
        """The states as they are now; not copies."""
        return self._states[self._side]
