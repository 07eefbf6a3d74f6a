"""The unrolled network as a drawing of characters: the same step three times, the states passed along."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Graph


def unrolled(graph: Graph, steps: Sequence[str] = ("1", "2", "3")) -> tuple[str, ...]:
    """The drawing: inputs come from below, outputs leave above, states go from left to right.

    A cell without a state is drawn once, since nothing is passed along.
    """
    states = [p.name for p in graph.states]
    new = {r.value.name: r.name for r in graph.results_with("state")}
    outputs = [new.get(r.value.name, r.name) for r in graph.results_with("output")]
    inputs = [p.name for p in graph.with_role("input")]
    if not states:
        steps = ("t",)
    moments = [int(s) - 1 if s.isdigit() else 0 for s in steps]
    columns = [
        (_at(outputs, step), f"[ {graph.name} ]", _at(inputs, step))
        for step in steps
    ]
    width = max(len(text) for column in columns for text in column)
    between = [f" ─ {_at(states, str(m))} → " if states else "" for m in moments]
    between[0] = between[0].removeprefix(" ─ ")
    rows: list[str] = [""] * 5
    for (above, box, below), arrow in zip(columns, between, strict=True):
        for i, text in enumerate((above, "↑", box, "↑", below)):
            rows[i] += (arrow if i == 2 else " " * len(arrow)) + text.center(width)
    if states:
        rows[2] += f" ─ {_at(states, steps[-1])} → ..."
    return tuple(row.rstrip() for row in rows)


def _at(names: Sequence[str], step: str) -> str:
    return ", ".join(f"{name}({step})" for name in names)
