"""The network as a drawing: folded, with its loop, and unrolled through time, with the numbers on their way.

After Figures 14-1 and 14-2 of A. Géron, "Hands-On Machine Learning with Scikit-Learn and TensorFlow" (2017): a recurrent
neuron, and a layer of them, at the left; at the right the same against the axis of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ...ir import ops
from ...ir.graph import Graph, Node, Port, Result
from ...ir.shapes import Dims
from ..equations import Notation
from ..flow import Flow, Row
from ..markup import symbols_of
from .canvas import Canvas, number_text
from .colours import Colours

CELL_WIDTH, CELL_HEIGHT = 40, 20
MOST_CELLS = 5
FRAME_GAP = 112
BOX_WIDTH = 176
MOST_CIRCLES = 5


@dataclass(frozen=True)
class Parts:
    """What goes in and out of a step, and by which weights it is multiplied."""

    graph: Graph
    outputs: tuple[tuple[str, Result], ...]
    colours: Colours
    multiplied_by: dict[str, tuple[str, ...]]  # input or state -> weights
    kind: str  # "sum" for a neuron that adds up and applies a function, else "cell"

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self.graph.with_role("input", "context")

    @property
    def dims(self) -> Dims:
        return self.graph.results_with("output")[0].value.type.dims

    def at(self, name: str, step: str) -> str:
        """A symbol at a step; what is the same at every step has none."""
        moves = not any(p.name == name and p.role == "context" for p in self.graph.ports)
        return f"{name}({step})" if self.graph.states and moves else name


def parts_of(graph: Graph, nodes: tuple[Node, ...], notation: Notation, colours: Colours) -> Parts:
    """What there is to draw of a step; an output goes by its symbol in the equation."""
    made = {n.value.name: n for n in nodes}
    found: dict[str, dict[str, None]] = {}
    weights = {p.name for p in graph.with_role("weight")}
    for node in nodes:
        if node.record is not ops.matmul or node.args[1].name not in weights:
            continue
        left = made.get(node.args[0].name)
        for value in (
            left.args if left is not None and left.record in (ops.concat, ops.patches, ops.multiply) else node.args[:1]
        ):
            found.setdefault(value.name, {})[node.args[1].name] = None
    first = graph.results_with("output")[0].value.name
    depth, node_ = 0, made.get(first)
    while node_ is not None and node_.record.elementwise and node_.record not in (ops.add, ops.multiply) and depth < 3:
        depth, node_ = depth + 1, made.get(node_.args[-1].name)
    is_sum = node_ is not None and len(graph.states) < 2 and _weighs(node_, made, weights)
    multiplied = {name: tuple(by) for name, by in found.items()}
    outputs = tuple((symbols_of(notation.symbol(r.value.name))[0].name, r) for r in graph.results_with("output"))
    return Parts(graph, outputs, colours, multiplied, "sum" if is_sum else "cell")


def _weighs(node: Node, made: dict[str, Node], weights: set[str]) -> bool:
    """Whether a value is a sum of products with weights: what a neuron does before its function."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.record is ops.matmul and one.args[1].name in weights:
            return True
        if one.record is ops.add:
            waiting += [made[a.name] for a in one.args if a.name in made]
    return False


# --- folded ----------------------------------------------------------------------------------------------------------------

LETTER = 8.5  # the width of a letter of the fixed font


def folded(parts: Parts) -> Canvas:
    """One step, its states going round in a loop."""
    states = parts.graph.states
    inner = max(_row_width([p.name for p in parts.inputs]), _row_width([n for n, _ in parts.outputs]))
    box_width, left = max(216, inner), 24
    box_top, box_height = 84, max(108, 40 + 24 * len(states))
    bottom, right = box_top + box_height, left + box_width
    weights = max((len(_weights_of(parts, p.name)) for p in parts.inputs), default=0)
    stem = max(46, 17 * ((weights + 1) // 2) + 18)
    reach = 34 + 22 * len(states) + LETTER * max((len(p.name) for p in states), default=0) if states else 0
    names = ", ".join(p.name for p in parts.inputs)
    words = f"{names} goes in from below, {', '.join(n for n, _ in parts.outputs)} comes out above"
    if states:
        words += f"; {', '.join(p.name for p in states)} goes round to the next step"
    layer = "a layer" if parts.dims else "a neuron"
    height = bottom + stem + 44
    canvas = Canvas(right + reach + 24, height, f"{parts.graph.name}: {layer}, folded", f"{words}.")
    canvas.rect(left, box_top, box_width, box_height, "box", 12)
    middle = left + box_width / 2
    canvas.text(middle, box_top + 24, parts.graph.name, "middle strong")
    _circles(canvas, parts, left, box_top + box_height / 2 + 2, box_width, 17)
    _size(canvas, parts, middle, bottom - 12)
    for x, (name, _) in zip(_places(parts.outputs, left, box_width), parts.outputs, strict=True):
        canvas.path(f"M{x:g} {box_top}V44", "wire", arrow=True)
        canvas.text(x, 34, parts.at(name, "t"), f"middle strong mono {parts.colours(name)}", data_symbol=name)
    _ports_below(canvas, parts, left, bottom, box_width, stem)
    if states:
        _loop(canvas, parts, right, box_top, box_height)
    return canvas


def _row_width(names: list[str]) -> float:
    return sum(max(LETTER * (len(name) + 3), 90) for name in names)


def _places(items: Sequence[object], left: float, width: float) -> list[float]:
    """The middles of equal parts."""
    return [left + width * (2 * i + 1) / (2 * len(items)) for i in range(len(items))]


def _circles(canvas: Canvas, parts: Parts, left: float, y: float, width: float, radius: float) -> None:
    """The neurons of a layer; of many, the first ones and the last."""
    total = prod(dim.size for dim in parts.dims)
    places = min(total, MOST_CIRCLES)
    gap = min(width / places, 2 * radius + 8)
    start = left + width / 2 - gap * (places - 1) / 2
    for i in range(places):
        x = start + i * gap
        if total > MOST_CIRCLES and i == places - 2:
            canvas.text(x, y + 5, "···", "middle muted")
            continue
        canvas.circle(x, y, radius, "neuron")
        if parts.kind == "sum" and radius > 12:
            canvas.text(x - radius / 2 + 1, y + 4, "Σ", "middle small")
            canvas.line(x, y - radius, x, y + radius, "thin")
            r = radius
            canvas.path(
                f"M{x + 3:g} {y + r * 0.38:g}C{x + r * 0.5:g} {y + r * 0.38:g} {x + r * 0.4:g} {y - r * 0.38:g} "
                f"{x + r * 0.8:g} {y - r * 0.38:g}", "wire",
            )  # fmt: skip


def _size(canvas: Canvas, parts: Parts, x: float, y: float) -> None:
    text = " × ".join(map(str, parts.dims)) or "one number"
    canvas.text(x, y, text, "middle small muted mono")


def _ports_below(canvas: Canvas, parts: Parts, left: float, bottom: float, width: float, stem: float) -> None:
    several = len(parts.inputs) > 1
    for i, (x, port) in enumerate(zip(_places(parts.inputs, left, width), parts.inputs, strict=True)):
        canvas.path(f"M{x:g} {bottom + stem}V{bottom + 3}", "wire", arrow=True)
        canvas.text(x, bottom + stem + 18, parts.at(port.name, "t"), f"middle strong mono {parts.colours(port.name)}",
                    data_symbol=port.name)  # fmt: skip
        if not several:
            size = " × ".join(map(str, port.value.type.dims)) or "one number"
            canvas.text(x, bottom + stem + 36, size, "middle small muted mono")
        weights = _weights_of(parts, port.name)
        for j, weight in enumerate(weights[:1] if several and i + 1 < len(parts.inputs) else weights):
            at = x + 10 + (j % 2) * (LETTER * max(map(len, weights)) + 4)
            canvas.text(at, bottom + 26 + 17 * (j // 2), weight, f"small mono {parts.colours(weight)}", data_symbol=weight)


def _weights_of(parts: Parts, name: str) -> tuple[str, ...]:
    """The weights that a value is multiplied by, beside its arrow; of many, the first three."""
    by = parts.multiplied_by.get(name, ())
    return by if len(by) <= 4 else (*by[:3], "...")


def _loop(canvas: Canvas, parts: Parts, right: float, top: float, height: float) -> None:
    """From the output round the right side and in again, one arrow for each state; the names stand at the arrows."""
    states = parts.graph.states
    for i, port in enumerate(states):
        out, back = top + 16 + i * 10, top + height - 16 - i * 10
        reach = right + 24 + 22 * (len(states) - i)
        canvas.path(f"M{right:g} {out:g}H{reach - 8:g}q8 0 8 8V{back - 8:g}q0 8 -8 8H{right + 3:g}", "wire", arrow=True)
        canvas.rect(reach - 4 - LETTER * len(port.name) / 2, (out + back) / 2 - 10 + 22 * i - 11 * (len(states) - 1),
                    LETTER * len(port.name) + 8, 20, "paper")  # fmt: skip
        canvas.text(reach, (out + back) / 2 + 5 + 22 * i - 11 * (len(states) - 1), port.name,
                    f"middle strong mono {parts.colours(port.name)}", data_symbol=port.name)  # fmt: skip
    by = dict.fromkeys(w for port in states for w in parts.multiplied_by.get(port.name, ()))
    for i, weight in enumerate([*by][:4]):
        canvas.text(right + 10 + (i % 2) * (LETTER * max(map(len, by)) + 4), top + height + 18 + 17 * (i // 2), weight,
                    f"small mono {parts.colours(weight)}", data_symbol=weight)  # fmt: skip


# --- unrolled --------------------------------------------------------------------------------------------------------------


def unrolled_picture(parts: Parts, flow: Flow, *, frames: int = 3) -> Canvas:
    """The steps side by side, the states handed along, numbers in their cells.

    The elements carry what a page needs to show other steps: `data-slot` (which frame), `data-row`, `data-element`.
    """
    frames = min(frames, flow.n_steps)
    states = parts.graph.states
    lanes = [_lane_height(flow.row(p.name)) for p in states]
    box_height = max(112, sum(lanes) + 16)
    columns = max(_strips_width(flow, parts.inputs), _outputs_width(parts, flow))
    frame_width = max(BOX_WIDTH, columns)
    width = FRAME_GAP + frames * (frame_width + FRAME_GAP)
    top = 86
    height = top + box_height + 138
    description = (
        f"{frames} steps of {parts.graph.name} side by side. Into each go its input and the state that the step before left; "
        f"the numbers stand in the table beneath. {flow.source}"
    )
    canvas = Canvas(width, height, f"{parts.graph.name}: unrolled through time", description)
    for slot in range(frames):
        x = FRAME_GAP + slot * (frame_width + FRAME_GAP)
        with canvas.group("frame", data_slot=slot):
            _frame(canvas, parts, flow, slot, x, top, frame_width, box_height)
        _states_between(canvas, parts, flow, slot, x - FRAME_GAP, top, lanes, last=False)
    _states_between(canvas, parts, flow, frames, width - FRAME_GAP, top, lanes, last=True)
    y = height - 34
    canvas.path(f"M{FRAME_GAP / 2:g} {y}H{width - 20:g}", "wire", arrow=True)
    canvas.text(width - 24, y + 22, "time", "end it muted")
    return canvas


def _shown_cells(row: Row | None) -> int:
    if row is None:
        return 0
    total = row.value.type.n_elements
    return total if total <= MOST_CELLS else MOST_CELLS - 1


def _strip_width(row: Row | None) -> float:
    more = row is not None and row.value.type.n_elements > MOST_CELLS
    return max(_shown_cells(row) * CELL_WIDTH + (24 if more else 0), 60)


def _strips_width(flow: Flow, ports: tuple[Port, ...]) -> float:
    return sum(_strip_width(flow.row(p.name)) for p in ports) + 16 * (len(ports) - 1)


def _outputs_width(parts: Parts, flow: Flow) -> float:
    rows = [flow.row(r.value.name) for _, r in parts.outputs]
    return sum(map(_strip_width, rows)) + 16 * (len(rows) - 1)


def _lane_height(row: Row | None) -> float:
    more = row is not None and row.value.type.n_elements > MOST_CELLS
    return 26 + _shown_cells(row) * CELL_HEIGHT + (14 if more else 0) + 12


def _frame(
    canvas: Canvas, parts: Parts, flow: Flow, slot: int, x: float, top: float, width: float, height: float
) -> None:  # fmt: skip
    graph, middle = parts.graph, x + width / 2
    canvas.rect(x, top, width, height, "box step-box", 12)
    canvas.text(middle, top + height / 2 - 18, graph.name, "middle strong")
    _circles(canvas, parts, x, top + height / 2 + 8, width, 9)
    _size(canvas, parts, middle, top + height / 2 + 38)
    at = x + (width - _outputs_width(parts, flow)) / 2
    for name, result in parts.outputs:
        row = flow.row(result.value.name)
        w = _strip_width(row)
        canvas.path(f"M{at + w / 2:g} {top}V{top - 26}", "wire", arrow=True)
        _strip(canvas, row, slot, at, top - 50, across=True, own=w)
        _label(canvas, parts, name, slot, 0, at + w / 2, top - 60)
        at += w + 16
    at = x + (width - _strips_width(flow, parts.inputs)) / 2
    bottom = top + height
    for port in parts.inputs:
        row = flow.row(port.name)
        w = _strip_width(row)
        canvas.path(f"M{at + w / 2:g} {bottom + 30}V{bottom + 3}", "wire", arrow=True)
        _strip(canvas, row, slot, at, bottom + 33, across=True, own=w)
        _label(canvas, parts, port.name, slot, 0, at + w / 2, bottom + 70)
        at += w + 16
    canvas.line(middle, bottom + 99, middle, bottom + 109, "wire")
    canvas.text(middle, bottom + 126, f"t = {slot + 1}", "middle mono", data_slot=slot, data_time="1")


def _label(canvas: Canvas, parts: Parts, name: str, slot: int, lag: int, x: float, y: float) -> None:
    moves = parts.at(name, "t") != name
    more: dict[str, Any] = {"data_slot": slot, "data_lag": lag, "data_label": name} if moves else {}
    text = parts.at(name, str(slot + 1 + lag))
    canvas.text(x, y, text, f"middle strong mono {parts.colours(name)}", data_symbol=name, **more)


def _states_between(
    canvas: Canvas, parts: Parts, flow: Flow, slot: int, x: float, top: float, lanes: list[float], *, last: bool
) -> None:  # fmt: skip
    """The states as frame `slot` finds them; behind the last frame, as it leaves them."""
    y = top + 8
    for port, height in zip(parts.graph.states, lanes, strict=True):
        row = flow.row(port.name)
        if last:
            new = next(r for r in parts.graph.results_with("state") if r.name == port.name)
            row = flow.row(new.value.name) or row
        strip_x = x + (FRAME_GAP - CELL_WIDTH) / 2 - 6
        wire_y = y + 24 + (height - 38) / 2
        canvas.path(f"M{x if slot else x + 18:g} {wire_y:g}H{strip_x - 2:g}", "wire")
        canvas.path(f"M{strip_x + CELL_WIDTH + 2:g} {wire_y:g}H{x + FRAME_GAP - 3:g}", "wire", arrow=True)
        lag = 0 if last else -1
        at = slot - 1 if last else slot
        _label(canvas, parts, port.name, at, lag, strip_x + CELL_WIDTH / 2, y + 17)
        _strip(canvas, row, at, strip_x, y + 24, across=False, own=CELL_WIDTH)
        y += height


def _strip(
    canvas: Canvas, row: Row | None, slot: int, x: float, y: float, *, across: bool, own: float
) -> None:  # fmt: skip
    """The elements of a value as cells, coloured by sign and size, each with its number."""
    if row is None:
        return
    shown, more = _shown_cells(row), row.value.type.n_elements > MOST_CELLS
    x += (own - shown * CELL_WIDTH - (24 if more else 0)) / 2 if across else 0
    for i in range(shown):
        cell_x, cell_y = (x + i * CELL_WIDTH, y) if across else (x, y + i * CELL_HEIGHT)
        value = float(row.numbers[slot, i])
        keys: dict[str, Any] = {"data_slot": slot, "data_row": row.value.name, "data_element": i}
        canvas.rect(cell_x, cell_y, CELL_WIDTH, CELL_HEIGHT, "cell", **keys, style=cell_style(value, row.scale))
        canvas.text(cell_x + CELL_WIDTH / 2, cell_y + 14, number_text(value), "number middle", **keys)
    if more and across:
        canvas.text(x + shown * CELL_WIDTH + 12, y + 14, "···", "middle muted")
    elif more:
        canvas.text(x + CELL_WIDTH / 2, y + shown * CELL_HEIGHT + 12, "···", "middle muted")


def cell_style(value: float, scale: float) -> str:
    """The colour of a number: warm above zero, cool below, stronger the larger it is; the number stands in it as well."""
    strength = min(abs(value) / scale, 1.0) if value == value else 0.0  # noqa: PLR0124 - not a number has no colour
    return f"fill:var(--{'warm' if value >= 0 else 'cool'});fill-opacity:{0.55 * strength:.2f}"
