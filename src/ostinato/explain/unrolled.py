"""The unrolled network as a drawing of characters: the same step again and again, the states passed along."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Graph


def unrolled(graph: Graph, width: int = 98) -> tuple[str, ...]:
    """The drawing, of three steps or of as many as fit: inputs come from below, outputs leave above, states go to the right."""
    for steps in (("1", "2", "3"), ("1", "2")):
        lines = _drawn(graph, steps)
        if max(map(len, lines)) <= width:
            return lines
    return _drawn(graph, ("1",))


def _drawn(graph: Graph, steps: Sequence[str]) -> tuple[str, ...]:
    states = [p.name for p in graph.states]
    new = {r.value.name: r.name for r in graph.results_with("state")}
    outputs = [new.get(r.value.name, r.name) for r in graph.results_with("output")]
    inputs = [p.name for p in graph.with_role("input")]
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
