"""Calls by address: native code reads PyTorch's tensors where they lie and writes into tensors that PyTorch has allocated.

What a tensor is for is worked out once for a cell and a number of steps and instances (`Pass`); a call then collects
addresses. A residual is in one tensor of bytes, or is an input or an output, which PyTorch keeps for backward by itself. Where
a program has no frame (native/frame.py) the call goes by NumPy's arrays (sequence.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..native.frame import Frame
from ..runtime.pullback import Routes
from .steps import Array, Steps

NOTHING = torch.empty(0, dtype=torch.uint8)
N_SIZES = 64  # numbers of steps and instances whose frames a cell keeps; the one used longest ago goes first


class Pass:
    """The frames of a cell for one timeline: forward, or recording and backward.

    Attributes:
        forward: the frame of the forward or of the recording program.
        backward: of the backward program; None for a pass that records nothing.
        kept: the places, among outputs and final states, of those that are residuals too.
    """

    def __init__(self, steps: Steps, timeline: Timeline, frame: Frame, back: Frame | None, *, training: bool) -> None:
        self._steps, self._timeline, self._training = steps, timeline, training
        self.forward, self.backward = frame, back
        names = [*steps.inputs, *steps.contexts, *steps.states]
        self._order = [names.index(name) for name in frame.given]
        own = [(r.role, r.name) for r in frame.program.results if r.role != "record"]
        wanted = [*(("output", name) for name in steps.outputs), *(("state", name) for name in steps.states)]
        self._places = [frame.results[own.index(key)] for key in wanted]
        leading = {"output": timeline.leading, "state": (timeline.n_instances,)}
        self._shapes = [(*leading[role], *steps.shapes[name]) for role, name in wanted]
        by_out = {out: k for k, out in enumerate(self._places)}
        self.kept = [by_out[r.place] for r in frame.residuals if r.where == "out"]
        within = {"saved": lambda i: i, "given": self._order.__getitem__, "out": lambda i: self.kept.index(by_out[i])}
        self._residuals = {r.name: (r.where, within[r.where](r.place)) for r in frame.residuals}
        self._sources = [] if back is None else self._bind(back)
        # of each gradient, and of the adjoint of each state, its place among what comes out of the backward program
        outs = (
            []
            if back is None
            else list(zip((r for r in back.program.results if r.role != "record"), back.results, strict=True))
        )
        self._gradients = [out for result, out in outs if result.role == "gradient"]
        self._states = {result.name: out for result, out in outs if result.role == "state"}

    def run(self, weights: Mapping[str, Array], tensors: Sequence[Tensor], reset: int) -> tuple[list[Tensor], Tensor]:
        """Outputs and final states, and the memory for residuals.

        Args:
            tensors: inputs, contexts, states, each with its elements row by row.
            reset: the address of a byte for each row, or 0.
        """
        frame, like = self.forward, tensors[0]
        outs = [like.new_empty(shape) for shape in self._shapes]
        addresses = [0] * len(outs)
        for place, out in zip(self._places, outs, strict=True):
            addresses[place] = out.data_ptr()
        saved = torch.empty(frame.saved_bytes, dtype=torch.uint8) if frame.saved_bytes else NOTHING
        frame.call(weights, [tensors[i].data_ptr() for i in self._order], addresses, saved.data_ptr(), reset)
        return outs, saved

    def back(
        self, weights: Mapping[str, Array], tensors: Sequence[Tensor], adjoints: Sequence[Tensor], saved: Tensor,
        kept: Sequence[Tensor], reset: int,
    ) -> list[Tensor | None]:  # fmt: skip
        """Gradients of inputs, contexts, states and weights; None where nothing depends on an input or context."""
        steps, frame = self._steps, self.backward
        assert frame is not None
        groups = {"given": tensors, "out": kept, "adjoint": adjoints}
        given = [
            saved.data_ptr() + place if where == "saved" else groups[where][place].data_ptr() for where, place in self._sources
        ]  # fmt: skip
        outs = [tensors[0].new_empty(out.shape) for out in frame.outs]
        frame.call(weights, given, [out.data_ptr() for out in outs], 0, reset)
        routes, gradients = steps.routes(training=self._training), [outs[i] for i in self._gradients]
        found: list[Tensor | None] = []
        for name, tensor in zip([*steps.inputs, *steps.contexts], tensors, strict=False):
            place = routes.others.get(name)
            if place is None:
                found.append(None)
            elif name in steps.inputs and routes.varies[place] != Varies.STEP:
                array = routes.of_input(name, [g.numpy() for g in gradients], self._timeline)
                found.append(None if array is None else torch.from_numpy(np.array(array)))
            else:
                found.append(gradients[place].view(tensor.shape))
        of = {state: outs[self._states[name]] for name, state in routes.states}
        found += [of[name] for name in steps.states]
        return [*found, *(self._of_weight(routes, name, weights[name], gradients) for name in steps.weights)]

    @staticmethod
    def _of_weight(routes: Routes, name: str, weight: Array, gradients: list[Tensor]) -> Tensor:
        parts = routes.parts.get(name, [])
        if parts and (name in routes.split or len(parts) == 1) and gradients[parts[0][0]].numel() == weight.size:
            return gradients[parts[0][0]].view(weight.shape)
        return torch.from_numpy(routes.of_weight(name, weight, [g.numpy() for g in gradients]))

    def _bind(self, frame: Frame) -> list[tuple[str, int]]:
        """Where each port of the backward program lies: which tensor, or which byte of the residuals."""
        steps = self._steps
        routes = steps.routes(training=self._training)
        names = [*steps.inputs, *steps.contexts, *steps.states]
        sources = {name: ("given", i) for i, name in enumerate(names)} | self._residuals
        sources |= {port: ("adjoint", steps.outputs.index(of)) for port, of in routes.adjoints}
        sources |= {port: ("adjoint", len(steps.outputs) + steps.states.index(of)) for port, of in routes.states}
        return [sources[name] for name in frame.given]


def _frame(
    steps: Steps, program: str, timeline: Timeline, placed: frozenset[str] = frozenset(), *, training: bool
) -> Frame | None:  # fmt: skip
    ready = steps.executable(program, training=training)
    make = getattr(ready, "frame", None)  # the interpreters have none
    return None if make is None else make(timeline, placed)


def pass_of(steps: Steps, timeline: Timeline, *, recording: bool, training: bool) -> Pass | None:
    """The frames of a cell for a timeline, made once; None where there are none."""
    if steps.drops and training:
        return None
    kept: OrderedDict[Any, Pass | None] = steps.passes
    key = recording, timeline.key
    try:
        found = kept.pop(key)
    except KeyError:
        frame = _frame(steps, "recording" if recording else "forward", timeline, training=training)
        back = None
        if recording and frame is not None:
            back = _frame(steps, "backward", timeline, frame.placed, training=training)
        complete = frame is not None and (back is not None or not recording)
        found = Pass(steps, timeline, frame, back, training=training) if frame is not None and complete else None
    kept[key] = found
    if len(kept) > N_SIZES:
        kept.popitem(last=False)
    return found
