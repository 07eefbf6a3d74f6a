"""The programs of a layer: each is compiled when it is first asked for, and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks import check_whole
from ..compiler import PROGRAMS, Compiled, compile_graph
from ..errors import OptionError, known_names, lay_out
from ..ir.graph import Graph
from ..plan.candidates import Planned
from .backends import Executable, assembled, executable, planned


class Programs:
    """What the compiler made of one step, and what runs it.

    Args:
        graphs: the step as it was written, outside training (False) and in training (True): the same object where nothing is
            dropped, and then nothing is compiled twice.
        backend: one of BACKENDS.
        plan: one of PLANS.
    """

    def __init__(self, graphs: Mapping[bool, Graph], backend: str, plan: str) -> None:
        self._graphs, self._backend, self._plan = graphs, backend, plan
        self._compiled: dict[bool, Compiled] = {}
        self._executables: dict[tuple[str, bool], Executable] = {}

    def with_plan(self, plan: str) -> Programs:
        """The same programs run by another plan: the stages are shared, what runs them is not."""
        other = Programs(self._graphs, self._backend, plan)
        other._compiled = {training: compiled.with_plan(plan, assembled) for training, compiled in self._compiled.items()}
        return other

    def compiled(self, *, training: bool = False) -> Compiled:
        """Every stage of the pipeline."""
        training = training and self._graphs[True] is not self._graphs[False]
        if training not in self._compiled:
            passes = self._backend != "reference"
            self._compiled[training] = compile_graph(self._graphs[training], passes=passes, plan=self._plan, assemble=assembled)
        return self._compiled[training]

    def executable(self, name: str, *, training: bool = False) -> Executable:
        """One of the PROGRAMS, ready to run."""
        ready = self._executables.get((name, training))
        if ready is None:
            compiled = self.compiled(training=training)
            key = name, compiled is not self._compiled.get(False)
            ready = self._executables.get(key) or executable(compiled, name, self._backend, self._plan)
            self._executables[key] = ready
        return ready

    @property
    def made(self) -> Mapping[tuple[str, bool], Executable]:
        """What is ready to run by now: (name, whether it is the one of training) -> the program."""
        return self._executables

    def planned(self, name: str, *, measure: bool = False) -> Planned:
        """The plans of one of the PROGRAMS outside training, and what they cost; see `backends.planned`."""
        return planned(self.compiled(), name, self._plan, measure=measure)


def check_call(owner: str, program: Any, n_steps: Any, n_instances: Any) -> None:
    """Refuse a program that is not there, and a call of an impossible size.

    Raises:
        OptionError: it is none of PROGRAMS; a size is no whole number from 1 up.
    """
    if not isinstance(program, str) or program not in PROGRAMS:
        headline = f"{owner}: there is no program `{program}`; {known_names(str(program), PROGRAMS, 'programs')}"
        raise OptionError(lay_out(headline))
    for name, size in (("n_steps", n_steps), ("n_instances", n_instances)):
        check_whole(owner, name, size)
