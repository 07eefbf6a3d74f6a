"""Plan: a scheduled program as stages over buffers, which lower/ turns into machine code.

A stage is one walk over a domain (stages.py). A new stage begins only where a value is needed whole: as a left operand of a
product, in a reduction, through a view. Everything here is independent of the batch and of the number of steps.

    Plan   ::= Program, choice, Buffer*, Phase -> Stage*, Packing*, StateSlot*, Port -> Buffer, Result -> Buffer

planner.py makes a plan, text.py prints it, verify.py says whether it is well made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..ir.graph import Program
from ..ir.shapes import Varies
from .phases import Phase
from .stages import Stage
from .text import buffer_lines, stage_lines, view_text
from .views import Buffer, BufferId, View


@dataclass(frozen=True)
class Packing:
    """What `prepare` does for one segment of a product stage: from matrices to panels.

    Attributes:
        rights: the matrices, (k, n) each.
        accumulators: of the whole stage; the shape of the panels follows from their number.
    """

    panels: BufferId
    k: int
    n: int
    rights: tuple[View, ...]
    accumulators: int


@dataclass(frozen=True)
class StateSlot:
    """Where a state lies: read at this step, written for the next, as it begins, as it ends."""

    name: str
    size: int
    initial: float

    @property
    def now(self) -> BufferId:
        return BufferId("now", self.name)

    @property
    def next(self) -> BufferId:
        return BufferId("next", self.name)

    @property
    def begin(self) -> BufferId:
        return BufferId("begin", self.name)

    @property
    def end(self) -> BufferId:
        return BufferId("end", self.name)


@dataclass(frozen=True)
class Plan:
    """What runs, in which order, on which buffers."""

    program: Program
    choice: str
    buffers: Mapping[BufferId, Buffer]
    stages: Mapping[Phase, tuple[Stage, ...]]
    packings: tuple[Packing, ...]
    states: tuple[StateSlot, ...]
    ports: Mapping[str, BufferId]  # port name -> buffer (weights: the whole weight)
    results: tuple[BufferId, ...]  # for each result of the program, its buffer
    zeroed: tuple[BufferId, ...]  # buffers that must begin as zeros
    prepared: tuple[BufferId, ...]  # buffers of what depends on weights alone

    def by_step(self, phase: Phase) -> bool:
        """Whether a phase of rows has to go step by step: because it reads or writes something of each instance."""
        if phase.space != Varies.STEP or phase == Phase.LOOP:
            return phase == Phase.LOOP
        return any(self.buffers[b].space == Varies.INSTANCE for stage in self.stages.get(phase, ()) for b in stage.buffers)

    def __str__(self) -> str:
        return print_plan(self)

    @cached_property
    def block_local(self) -> Mapping[BufferId, Phase]:
        """The buffers of rows that one phase outside the loop writes and reads, and nobody else: a block of rows is enough."""
        users: dict[BufferId, set[Phase]] = {}
        for phase, stages in self.stages.items():
            for buffer in (buffer for stage in stages for buffer in stage.buffers):
                users.setdefault(buffer, set()).add(phase)
        outside = {*self.ports.values(), *self.results}
        found = {
            buffer: next(iter(users[buffer])) for buffer in self.buffers
            if len(users.get(buffer, ())) == 1 and buffer not in outside and self.buffers[buffer].space == Varies.STEP
        }  # fmt: skip
        return {buffer: phase for buffer, phase in found.items() if phase != Phase.LOOP and not self.by_step(phase)}


HEADINGS = {
    Phase.PREPARE: "of weights alone, once for a set of them",
    Phase.INSTANCES: "once for each instance",
    Phase.BEFORE: "before the loop, for all steps at once",
    Phase.LOOP: "loop, one step after another",
    Phase.AFTER: "after the loop, for all steps at once",
    Phase.FINISH_INSTANCES: "at the end, once for each instance",
    Phase.FINISH: "at the end, once",
}


def print_plan(plan: Plan) -> str:
    """A plan as text: its buffers, what is packed, the stages of each phase, and where its results are (see text.py)."""
    program = plan.program
    sizes = [f"{name}={size}" for name, size in program.sizes]
    lines = [f"plan {program.name} ({', '.join([plan.choice, program.direction, program.dtype, *sizes])})"]
    lines += ["", "buffers, and the elements of a row:", *buffer_lines(plan.buffers.values())]
    for phase in Phase:
        stages = plan.stages.get(phase, ())
        if stages:
            lines += ["", f"{_heading(plan, phase)}:"]
        for number, stage in enumerate(stages, 1):
            lines += stage_lines(number, stage, plan.buffers)
        if phase == Phase.PREPARE and plan.packings:
            lines += ["", "packed, once for a set of weights:"]
            width = max(len(str(p.panels)) for p in plan.packings)
            for p in plan.packings:
                matrices = ", ".join(view_text(right, plan.buffers) for right in p.rights)
                lines.append(f"  {p.panels!s:<{width}} = {matrices}   ({p.k}, {p.n})" + (" each" if len(p.rights) > 1 else ""))
    lines += ["", "results:"]
    lines += [f"  {r.role:<8} {r.name} = {b}" for r, b in zip(program.results, plan.results, strict=True)]
    return "\n".join(lines)


def _heading(plan: Plan, phase: Phase) -> str:
    if not plan.states and phase.space == Varies.STEP:
        return "for all steps at once"
    backwards = phase == Phase.LOOP and plan.program.direction == "backward"
    return HEADINGS[phase] + (", the last step first" if backwards else "")
