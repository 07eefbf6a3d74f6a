"""What runs a program: native code, NumPy, or the definition."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..compiler import Compiled
from ..errors import OptionError, known_names, lay_out
from ..ir.graph import Port, Program
from ..ir.interpret import Outcome, run_as_given
from ..ir.timeline import Timeline
from ..plan.candidates import Planned
from ..plan.machine import this_machine
from ..plan.phases import CHOICES
from ..plan.plan import Plan
from ..plan.planner import plan_program
from ..process.forking import IMPORTING

Array = np.ndarray[Any, np.dtype[Any]]

BACKENDS = {
    "native": "machine code for this CPU, made by LLVM when it is first needed",
    "numpy": "the compiled program, interpreted with NumPy",
    "reference": "the definition: the cell as it was written, no pass",
}
PLANS = {"automatic": "what the cost model finds cheapest for the call: fused or hoisted", **CHOICES}
VARIABLE = "OSTINATO_BACKEND"


def chosen(backend: str | None, owner: str) -> str:
    """The backend that was asked for; else what the environment variable OSTINATO_BACKEND names; else native code.

    Raises:
        OptionError: there is no such backend.
    """
    name = os.environ.get(VARIABLE, "") or "native" if backend is None else backend
    if not isinstance(name, str) or name not in BACKENDS:
        known = known_names(str(name), BACKENDS, "backends")
        where = f" (in {VARIABLE})" if backend is None else ""
        raise OptionError(lay_out(f"{owner}: there is no backend `{name}`{where}; {known}"))
    return name


def checked_plan(owner: str, plan: Any) -> str:
    """The name of a plan, as it was given.

    Raises:
        OptionError: there is no such plan.
    """
    if not isinstance(plan, str) or plan not in PLANS:
        raise OptionError(lay_out(f"{owner}: there is no plan `{plan}`; {known_names(str(plan), PLANS, 'plans')}"))
    return plan


class Executable(Protocol):
    """A program that can run."""

    @property
    def program(self) -> Program: ...

    @property
    def masks(self) -> tuple[Port, ...]:
        """The dropout masks that it asks for."""

    def run(
        self, timeline: Timeline, values: Mapping[str, Array], weights: Mapping[str, Array], reset: Array | None = None,
        placed: frozenset[str] = frozenset(),
    ) -> Outcome:  # fmt: skip
        """As `interpret.run_as_given`."""

    def rerun(
        self, timeline: Timeline, leading: tuple[int, ...], names: Sequence[str], weights: Mapping[str, Array],
        beginning: Mapping[str, Array],
    ) -> Any:  # fmt: skip
        """A native.bound_call.BoundCall for further calls like this one; None where there is none."""

    def stepper(self, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]) -> Any:
        """One step at a time; native code only."""


@dataclass(frozen=True)
class Interpreted:
    """A program run by NumPy."""

    program: Program

    @property
    def masks(self) -> tuple[Port, ...]:
        """The dropout masks that it asks for."""
        return self.program.with_role("mask")

    def run(
        self, timeline: Timeline, values: Mapping[str, Array], weights: Mapping[str, Array], reset: Array | None = None,
        placed: frozenset[str] = frozenset(),
    ) -> Outcome:  # fmt: skip
        """As `interpret.run_as_given`."""
        return run_as_given(self.program, timeline, values, weights, reset, placed)

    def rerun(
        self, timeline: Timeline, leading: tuple[int, ...], names: Sequence[str], weights: Mapping[str, Array],
        beginning: Mapping[str, Array],
    ) -> None:  # fmt: skip
        """Not here: a call costs what NumPy's do."""

    def stepper(self, snapshot: Mapping[str, Array], n_instances: int, values: Mapping[str, Array]) -> Any:
        """Not here: NumPy runs a step as a sequence of one."""
        raise NotImplementedError


def executable(compiled: Compiled, name: str, backend: str, plan: str) -> Executable:
    """One of the PROGRAMS of a step, ready to run.

    Args:
        plan: one of PLANS; native code only. With "automatic" the cost model chooses, for each call (see plan/candidates.py).
    """
    if backend != "native":
        return Interpreted(compiled.stages[name])
    with IMPORTING:  # llvmlite is loaded when it is needed, and in one piece, whoever forks meanwhile
        from ..native.automatic import AutomaticProgram
        from ..native.program import NativeProgram

    scheduled = scheduled_program(compiled, name)
    if plan == "automatic":
        return AutomaticProgram(scheduled)
    return NativeProgram(plan_program(scheduled, plan))


def assembled(plan: Plan) -> str:
    """The machine code of a plan as assembly text; loads llvmlite."""
    with IMPORTING:
        from ..native.code import assembly_of

    return assembly_of(plan)


def scheduled_program(compiled: Compiled, name: str) -> Program:
    """What a plan is made of, for one of the PROGRAMS."""
    return compiled.stages[f"schedule_{name}"]  # type: ignore[no-any-return]


def planned(compiled: Compiled, name: str, plan: str, *, measure: bool = False) -> Planned:
    """The plans of one of the PROGRAMS and what they cost, for native code.

    Args:
        measure: measure this machine if that was not done before, which loads llvmlite; else typical figures stand in.
    """
    if measure:
        with IMPORTING:
            from ..native.roofline import measured

        return Planned(scheduled_program(compiled, name), plan, measured())
    return Planned(scheduled_program(compiled, name), plan, this_machine())
