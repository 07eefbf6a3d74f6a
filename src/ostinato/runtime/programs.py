"""The programs of a layer: each is compiled when it is first asked for, and kept."""

from __future__ import annotations

from collections.abc import Mapping

from ..compiler import Compiled, compile_graph
from ..ir.graph import Graph
from ..plan.candidates import Planned
from .backends import Executable, executable, planned


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
        other._compiled = self._compiled
        return other

    def compiled(self, *, training: bool = False) -> Compiled:
        """Every stage of the pipeline."""
        training = training and self._graphs[True] is not self._graphs[False]
        if training not in self._compiled:
            self._compiled[training] = compile_graph(self._graphs[training], passes=self._backend != "reference")
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
