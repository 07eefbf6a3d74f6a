"""The unrolled network as a drawing of characters: the same step again and again, the states passed along."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.graph import Graph


def unrolled(graph: Graph, width: int = 98) -> tuple[tuple[str, ...], ...]:
    """The drawings, each narrower than the one before; the first fits in `width`.

    Of three, two or one step: inputs come from below, outputs leave above, states go to the right. The last one goes downwards.
    """
    drawings = [_drawn(graph, steps) for steps in (("1", "2", "3"), ("1", "2"), ("1",))]
    drawings.append(_downwards(graph))
    fitting = [lines for lines in drawings if max(map(len, lines)) <= width]
    return tuple(fitting or drawings[-1:])


def _downwards(graph: Graph) -> tuple[str, ...]:
    """Time goes down: inputs come from the left, outputs leave to the right."""
    states, outputs, inputs = _names(graph)
    left = max(len(_at(inputs, step)) for step in "12")
    indent = " " * (left + 5 + len(graph.name) // 2)
    lines = [indent + _at(states, "0"), indent + "↓"]
    for step in "12":
        lines.append(f"{_at(inputs, step):>{left}} → [ {graph.name} ] → {_at(outputs, step)}")
        lines.append(f"{indent}↓ {_at(states, step)}")
    return (*lines, indent + "...")


def _names(graph: Graph) -> tuple[list[str], list[str], list[str]]:
    """States, outputs (by the name of the state that one is), inputs."""
    new = {r.value.name: r.name for r in graph.results_with("state")}
    outputs = [new.get(r.value.name, r.name) for r in graph.results_with("output")]
    return [p.name for p in graph.states], outputs, [p.name for p in graph.with_role("input")]


def _drawn(graph: Graph, steps: Sequence[str]) -> tuple[str, ...]:
    states, outputs, inputs = _names(graph)
    columns = [(_at(outputs, step), f"[ {graph.name} ]", _at(inputs, step)) for step in steps]
    width = max(len(text) for column in columns for text in column)
    between = [f" ─ {_at(states, str(int(step) - 1))} → " for step in steps]
    between[0] = between[0].removeprefix(" ─ ")
    rows: list[str] = [""] * 5
    for (above, box, below), arrow in zip(columns, between, strict=True):
        for i, text in enumerate((above, "↑", box, "↑", below)):
            rows[i] += (arrow if i == 2 else " " * len(arrow)) + text.center(width)
    rows[2] += f" ─ {_at(states, steps[-1])} → ..."
    return tuple(row.rstrip() for row in rows)


def _at(names: Sequence[str], step: str) -> str:
    return ", ".join(f"{name}({step})" for name in names)
