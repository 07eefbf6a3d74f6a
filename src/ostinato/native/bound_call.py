"""A call like one before: the same shapes, the same weights. Only the addresses of what goes in and comes out change.

Checking, laying out and allocating take some ten microseconds of Python, and a small cell over a short sequence takes less than
that. So the second call of a shape finds a table of addresses that was filled by the first, and writes only those that change.
What is not exactly alike goes the long way (program.py), where everything is checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..lower.context import Field
from .code import CompiledPlan
from .layout import CallMemory, Layout
from .memory import Array, address, block

LARGEST = 1 << 20  # bytes of internal buffers and results that a frame keeps, at most: the calls that matter are small


@dataclass(frozen=True)
class _Frame:
    """One table of addresses, and what it points to. Two threads that call at the same time have two.

    Attributes:
        states: for every state the addresses where it begins and ends unless a call says otherwise.
    """

    context: Any
    address: int
    states: tuple[tuple[int, int], ...]
    memory: tuple[Array, ...]


class BoundCall:
    """A program on arrays of known shapes, from the states as they were declared to begin.

    Attributes:
        snapshot: the weights it runs with.
    """

    def __init__(
        self, compiled: CompiledPlan, snapshot: Mapping[str, Array], timeline: Timeline, leading: tuple[int, ...],
        names: Sequence[str], beginning: Mapping[str, Array],
    ) -> None:  # fmt: skip
        """For calls that `fits` found to be such.

        Args:
            leading: the axes in front of an instance's own, as the user gives them.
            names: inputs and contexts, in the order in which they are given.
            beginning: the states as they were declared to begin, (n_instances, ...).
        """
        layout = compiled.layout
        program, fields = layout.plan.program, layout.fields
        self.snapshot, self._timeline, self._beginning = snapshot, timeline, beginning
        self._compiled = compiled
        self._dtype = layout.dtype
        of_instance = (timeline.n_instances,) if len(leading) == 2 else ()
        ports = {p.name: p for p in program.ports}
        self._inputs = [
            ((*(leading if ports[name].role == "input" else of_instance), *ports[name].value.type.sizes),
             fields[layout.plan.ports[name]])
            for name in names
        ]  # fmt: skip
        self._outputs = [
            (r.name, (*leading, *r.sizes), r.dtype, r.field) for r in layout.results if r.role == "output"
        ]  # fmt: skip
        self._only = self._outputs[0][1:] if len(self._outputs) == 1 else None
        self._states = [
            (slot.name, (*of_instance, *ports[slot.name].value.type.sizes), fields[slot.begin], fields[slot.end])
            for slot in layout.plan.states
        ]
        self._frames: list[_Frame] = []
        self._call = compiled.functions.run

    @staticmethod
    def fits(
        layout: Layout, memory: CallMemory, timeline: Timeline, leading: tuple[int, ...], names: Sequence[str]
    ) -> bool:  # fmt: skip
        """Whether calls of this kind can be run again: small ones, whose results are arrays of their own."""
        outputs = [r for r in layout.results if r.role == "output"]
        own = {r.buffer for r in outputs if r.space == Varies.STEP} & layout.new.keys() - layout.saved
        return (
            timeline.plain and len(leading) > 0 and len(own) == len(outputs)
            and all(name in layout.plan.ports for name in names)
            and memory.handed_out + memory.internal <= LARGEST and not memory.saved
        )  # fmt: skip

    def outputs(self, given: Sequence[Any]) -> Any:
        """The outputs alone; None where the arrays are not exactly of the known kind, and nothing is done."""
        frame = self._filled(given)
        if frame is None:
            return None
        result = self._run(frame)
        self._frames.append(frame)
        return result

    def run(self, given: Sequence[Any], state: Mapping[str, Any] | None) -> tuple[Any, dict[str, Array]] | None:
        """The outputs and the final state, from a state; None as `outputs`."""
        dtype = self._dtype
        if state is not None:
            if type(state) is not dict or len(state) != len(self._states):
                return None
            for name, shape, _, _ in self._states:
                x = state.get(name)
                if type(x) is not np.ndarray or x.shape != shape or x.dtype is not dtype or not x.flags.c_contiguous:
                    return None
        frame = self._filled(given)
        if frame is None:
            return None
        context, final = frame.context, {}
        for name, shape, begin, end in self._states:
            final[name] = array = np.empty(shape, dtype)
            context[end] = address(array)
            if state is not None:
                context[begin] = address(state[name])
        result = self._run(frame)
        for (_, _, begin, end), (first, last) in zip(self._states, frame.states, strict=True):
            context[begin], context[end] = first, last
        self._frames.append(frame)
        return result, final

    def _filled(self, given: Sequence[Any]) -> _Frame | None:
        """A frame that points to the given arrays."""
        if len(given) != len(self._inputs):
            return None
        dtype = self._dtype
        for x, (shape, _) in zip(given, self._inputs, strict=True):
            if type(x) is not np.ndarray or x.shape != shape or x.dtype is not dtype or not x.flags.c_contiguous:
                return None
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = self._new_frame()
        context = frame.context
        for x, (_, place) in zip(given, self._inputs, strict=True):
            context[place] = address(x)
        return frame

    def _run(self, frame: _Frame) -> Any:
        """New arrays for the outputs, and off."""
        if self._only is not None:
            shape, dtype, place = self._only
            result = np.empty(shape, dtype)
            frame.context[place] = address(result)
            self._call(frame.address)
            return result
        results = {}
        for name, shape, dtype, place in self._outputs:
            results[name] = array = np.empty(shape, dtype)
            frame.context[place] = address(array)
        self._call(frame.address)
        return results

    def _new_frame(self) -> _Frame:
        layout, timeline = self._compiled.layout, self._timeline
        ready = self._compiled.prepare(self.snapshot)
        context = layout.context.from_buffer_copy(ready.context)
        context[Field.N_STEPS], context[Field.N_INSTANCES], context[Field.N_ROWS] = (
            timeline.n_steps,
            timeline.n_instances,
            timeline.n_rows,
        )
        context[Field.COUNTS], context[Field.OFFSETS] = timeline.addresses
        context[Field.THREADS] = context[Field.PARTS] = 1
        memory, start = block(layout.memory(timeline).internal)
        context[Field.ARENA] = address(memory) + start
        kept, states = [memory, *ready.memory], []
        for name, _, begin, end in self._states:
            first, last = self._beginning[name], np.empty_like(self._beginning[name])
            states.append((address(first), address(last)))
            context[begin], context[end] = states[-1]
            kept += [first, last]
        return _Frame(context, ctypes.addressof(context), tuple(states), tuple(kept))
