"""A program as machine code: it runs what the interpreter runs, and gives the same `Outcome`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..boundary import DTYPES
from ..interpret import Outcome
from ..plan import Plan
from ..shapes import Varies
from ..timeline import Timeline
from .emit import ARENA, COUNTS, N_INSTANCES, N_ROWS, N_STEPS, OFFSETS, RESET, Unit, rounded
from .jit import Code, compile_module, load
from .lower import context_size, internal_buffers, lower
from .matrices import panel_elements
from .targets import Target, host

Array = np.ndarray[Any, np.dtype[Any]]
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
LINE = 64  # bytes of a cache line, where every buffer begins


def address(array: Array) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def block(n_bytes: int) -> tuple[Array, int]:
    """Memory whose second value, a multiple of LINE, is how far its first cache line lies behind its beginning."""
    raw = np.empty(n_bytes + LINE, np.uint8)
    return raw, -address(raw) % LINE


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

    weights: tuple[tuple[str, Array], ...]
    context: Array  # with the addresses of everything that stays
    memory: tuple[Array, ...]

    def fits(self, weights: Mapping[str, Array]) -> bool:
        return all(weights[name] is array for name, array in self.weights)


class NativeProgram:
    """A plan, compiled for one target. It may run in several threads at once."""

    def __init__(self, plan: Plan, target: Target | None = None) -> None:
        self.plan, self.program, self.target = plan, plan.program, target or host()
        module = lower(plan, self.target)
        self.code: Code = load(compile_module(str(module), self.target))
        self._prepare, self._run = (FUNCTION(self.code.address(f"ostinato_{name}")) for name in ("prepare", "run"))
        self._lock = threading.Lock()
        self._prepared: _Prepared | None = None
        self._dtype = DTYPES[plan.program.dtype]
        self._lay_out(Unit(module, plan, self.target))

    def _lay_out(self, unit: Unit) -> None:
        """What has to be known at every call, worked out once."""
        plan, places = self.plan, unit.places
        self._places = places
        self._panels = {p.panels: panel_elements(unit, p) for p in plan.packings}
        self._parameters = sorted({p.parameter for p in plan.program.with_role("weight", "bias")})
        self._given = [(port, places[name], name) for port, name in plan.ports.items() if not name.startswith("weight ")]
        per = dict.fromkeys(Varies, 0)
        for name in internal_buffers(plan):
            buffer = plan.buffers[name]
            per[buffer.space] += buffer.size * buffer.item_bytes
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

    # --- weights

    def prepared(self, weights: Mapping[str, Array]) -> _Prepared:
        """Panels and all that depends on weights alone; made again when a weight is another array."""
        with self._lock:
            if self._prepared is not None and self._prepared.fits(weights):
                return self._prepared
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
            self._prepared = _Prepared(kept, context, (memory, *mine.values()))
            return self._prepared

    # --- running

    def run(
        self, timeline: Timeline, values: Mapping[str, Array], weights: Mapping[str, Array], reset: Array | None = None
    ) -> Outcome:  # fmt: skip
        """Run the program; arguments and result as in `interpret.run`."""
        ready = self.prepared(weights)
        context = ready.context.copy()
        n_rows, n_instances = timeline.n_rows, timeline.n_instances
        count = (1, n_instances, n_rows)
        context[N_STEPS], context[N_INSTANCES], context[N_ROWS] = timeline.n_steps, n_instances, n_rows
        context[COUNTS], context[OFFSETS] = timeline.addresses
        marks = None if reset is None else np.ascontiguousarray(reset, np.uint8)
        if marks is not None:
            context[RESET] = address(marks)
        given = {}
        for port, place, name in self._given:
            array = values[port]
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
            given[name] = array
            context[place] = address(array)
        per, room = self._internal
        sizes = {name: rounded(count[out.space] * out.size) for name, out in self._outs.items()}
        internal = per[Varies.NEVER] + per[Varies.INSTANCE] * n_instances + per[Varies.STEP] * n_rows + room
        memory, start = block(sum(sizes.values()) + internal)
        at, base = start, address(memory)
        arrays = dict(given)
        for name, size in sizes.items():
            out = self._outs[name]
            arrays[name] = np.ndarray((count[out.space], *out.sizes), out.dtype, memory, at)
            context[out.place] = base + at
            at += size
        context[ARENA] = base + at
        self._run(address(context))
        return self._outcome(arrays, timeline)

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
