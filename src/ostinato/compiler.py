"""The pipeline: from the text of a cell to the programs that run.

    trace -> simplify -> (differentiate) -> schedule -> fuse

`compile_graph` reads like this table of contents; each stage of a `Compiled` can be printed and asked for by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from .differentiate import differentiate
from .errors import OptionError, known_names, lay_out
from .fuse import fuse
from .graph import Graph, Program, Value
from .rewrite import in_order_of_results
from .schedule import schedule
from .simplify import simplify


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of one step.

    Attributes:
        stages: stage name -> graph or program, in the order of the pipeline.
        forward: runs the cell.
        recording: runs the cell and keeps what the backward program asks for.
        backward: runs the adjoint.
    """

    stages: dict[str, Graph | Program]
    forward: Program
    recording: Program
    backward: Program

    def stage(self, name: str) -> Graph | Program:
        """A stage by its name.

        Raises:
            OptionError: there is no such stage.
        """
        if name not in self.stages:
            raise OptionError(lay_out(f"there is no stage `{name}`; {known_names(name, self.stages, 'stages')}"))
        return self.stages[name]


def compile_graph(traced: Graph, *, passes: bool = True) -> Compiled:
    """Compile one traced step.

    Args:
        traced: the graph of the cell as it was written.
        passes: False for the reference: no pass touches the graph, everything is computed where it was written.
    """
    if not passes:
        return _as_written(traced)
    simple = simplify(traced)
    adjoint = simplify(differentiate(in_order_of_results(simple)), drop_stops=True)
    forward_graph = simplify(traced, drop_stops=True)
    scheduled = schedule(forward_graph)
    forward = fuse(scheduled)
    recording = fuse(schedule(simple, record=recorded(simple, adjoint)))
    backward_scheduled = schedule(adjoint, direction="backward")
    backward = fuse(backward_scheduled)
    stages: dict[str, Graph | Program] = {
        "trace": traced,
        "simplify": forward_graph,
        "differentiate": adjoint,
        "schedule": scheduled,
        "schedule_backward": backward_scheduled,
        "forward": forward,
        "recording": recording,
        "backward": backward,
    }
    return Compiled(stages, forward, recording, backward)


def _as_written(traced: Graph) -> Compiled:
    adjoint = differentiate(traced)
    forward = schedule(traced, hoist=False)
    recording = schedule(traced, record=recorded(traced, adjoint), hoist=False)
    backward = schedule(adjoint, direction="backward", hoist=False)
    stages: dict[str, Graph | Program] = {
        "trace": traced, "differentiate": adjoint, "forward": forward, "recording": recording, "backward": backward,
    }  # fmt: skip
    return Compiled(stages, forward, recording, backward)


def recorded(graph: Graph, adjoint: Graph) -> dict[str, Value]:
    """The values of a step that its adjoint asks for."""
    values = {v.name: v for v in [p.value for p in graph.ports] + [n.value for n in graph.nodes]}
    return {p.name: values[p.name] for p in adjoint.with_role("recorded")}
