"""The pipeline: from the text of a cell to the programs that run.

    trace -> simplify -> (differentiate) -> schedule -> fuse      the programs that NumPy runs
                                            schedule -> plan      what becomes native code (plan/, native/)

`compile_graph` reads like this table of contents; each stage of a `Compiled` can be printed and asked for by name. A stage is
made when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .errors import OptionError, known_names, lay_out
from .ir import ops
from .ir.analysis import in_order_of_results
from .ir.graph import Graph, Program, Value
from .passes.differentiate import differentiate
from .passes.fuse import fuse
from .passes.schedule import schedule
from .passes.simplify import simplify


class Stages(Mapping[str, Any]):
    """Stage name -> graph or program, in the order of the pipeline; each is made once, when it is first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Graph | Program]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, Graph | Program] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class Compiled:
    """What the compiler made of one step.

    Attributes:
        stages: stage name -> graph or program, in the order of the pipeline.
    """

    def __init__(self, stages: Stages) -> None:
        self.stages = stages

    @property
    def forward(self) -> Program:
        """Runs the cell."""
        return self.stages["forward"]  # type: ignore[no-any-return]

    @property
    def recording(self) -> Program:
        """Runs the cell and keeps what the backward program asks for."""
        return self.stages["recording"]  # type: ignore[no-any-return]

    @property
    def backward(self) -> Program:
        """Runs the adjoint."""
        return self.stages["backward"]  # type: ignore[no-any-return]

    def stage(self, name: str) -> Graph | Program:
        """A stage by its name.

        Raises:
            OptionError: there is no such stage.
        """
        if name not in self.stages:
            raise OptionError(lay_out(f"there is no stage `{name}`; {known_names(name, self.stages, 'stages')}"))
        return self.stages[name]  # type: ignore[no-any-return]


def compile_graph(traced: Graph, *, passes: bool = True) -> Compiled:
    """Compile one traced step.

    Args:
        traced: the graph of the cell as it was written.
        passes: False for the reference: no pass touches the graph, everything is computed where it was written.
    """
    if not passes:
        return _as_written(traced)
    simple = _once(lambda: simplify(traced))
    stages: Stages = Stages({
        "trace": lambda: traced,
        "simplify": lambda: simplify(traced, drop_stops=True) if _has_stops(traced) else simple(),
        "differentiate": lambda: simplify(differentiate(in_order_of_results(simple())), drop_stops=True),
        "schedule": lambda: schedule(stages["simplify"]),
        # with the stops that a recording run has, so that both join their sums alike: native code gives the same bits
        "schedule_forward": lambda: schedule(simple()) if _has_stops(traced) else stages["schedule"],
        "schedule_recording": lambda: schedule(simple(), record=recorded(simple(), stages["differentiate"])),
        "schedule_backward": lambda: schedule(stages["differentiate"], direction="backward"),
        "forward": lambda: fuse(stages["schedule"]),
        "recording": lambda: fuse(stages["schedule_recording"]),
        "backward": lambda: fuse(stages["schedule_backward"]),
    })  # fmt: skip
    return Compiled(stages)


def _as_written(traced: Graph) -> Compiled:
    stages: Stages = Stages({
        "trace": lambda: traced,
        "differentiate": lambda: differentiate(traced),
        "forward": lambda: schedule(traced, hoist=False),
        "recording": lambda: schedule(traced, record=recorded(traced, stages["differentiate"]), hoist=False),
        "backward": lambda: schedule(stages["differentiate"], direction="backward", hoist=False),
    })  # fmt: skip
    return Compiled(stages)


def _has_stops(graph: Graph) -> bool:
    return any(node.record is ops.stop_gradient for node in graph.nodes)


def _once(make: Callable[[], Graph]) -> Callable[[], Graph]:
    made: list[Graph] = []

    def get() -> Graph:
        if not made:
            made.append(make())
        return made[0]

    return get


def recorded(graph: Graph, adjoint: Graph) -> dict[str, Value]:
    """The values of a step that its adjoint asks for."""
    values = {v.name: v for v in [p.value for p in graph.ports] + [n.value for n in graph.nodes]}
    return {p.name: values[p.name] for p in adjoint.with_role("recorded")}
