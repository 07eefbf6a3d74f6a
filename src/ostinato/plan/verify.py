"""Whether a plan is well made. In tests this runs behind the planner, for every plan.

    views        every view lies inside its buffer, and a walk's views have the shape of its domain
    products     no stage has more accumulators than a tile has room for, each takes a product, and its matrices are packed so
    registers    a node's operands are loaded, or computed before it; no start value waits for an accumulator of its own stage
    memory       what is loaded was written before, element by element: by a stage, by a call, or as zeros to add to; what the
                 loop makes for its own steps alone is read nowhere else; nothing that is given is written, and nothing twice
    results      every result, every new state and every prepared buffer is written to the last element

Phases run in order, and in each the stages in theirs, sums over rows behind the others (lower/module.py runs them so).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import InternalError
from ..ir.op import Kind
from ..ir.shapes import Varies
from .phases import Phase
from .plan import Plan
from .stages import MAX_ACCUMULATORS, MAX_SUMS, Copies, Map, Product, Reduce, RowSums, Stage, Walk
from .text import domain_text, view_text
from .views import BufferId, View

Written = dict[BufferId, np.ndarray[tuple[int], np.dtype[np.bool_]]]


def verify(plan: Plan) -> Plan:
    """The plan itself.

    Raises:
        InternalError: it is not well made, which is a bug of the planner.
    """
    found = problems(plan)
    if found:
        listing = "\n".join(f"  {line}" for line in found)
        raise InternalError(f"this is a bug of Ostinato, in the stage `plan`; please report it\n{listing}\n\n{plan}")
    return plan


def problems(plan: Plan) -> list[str]:
    """What is not well made, in words; an empty list if all is well."""
    found = [f"{where}: {what}" for _, where, stage in _in_order(plan) for what in _view_problems(plan, stage)]
    found += [f"{p.panels}: {what}" for p in plan.packings for right in p.rights for what in _outside(plan, right)]
    found += [f"the stages of {phase.name} stand before those of {list(plan.stages)[i].name}"
              for i, phase in enumerate(list(plan.stages)[1:]) if phase < list(plan.stages)[i]]  # fmt: skip
    if found:
        return found  # what follows walks through buffers, in the order of the phases
    for _, where, stage in _in_order(plan):
        if isinstance(stage, Walk):
            found += [f"{where}: {what}" for what in _register_problems(stage)]
        if isinstance(stage, Product):
            found += [f"{where}: {what}" for what in _product_problems(plan, stage)]
        if isinstance(stage, RowSums) and len(stage.sums) > MAX_SUMS:
            found.append(f"{where}: {len(stage.sums)} sums, and a stage has at most {MAX_SUMS}")
    return [*found, *_memory_problems(plan)]


def _in_order(plan: Plan) -> Iterator[tuple[Phase, str, Stage]]:
    """Each stage as it runs, its phase and its name."""
    for phase in plan.stages:
        numbered = list(enumerate(plan.stages[phase], 1))
        for number, stage in sorted(numbered, key=lambda pair: pair[1].over_rows):
            yield phase, f"{phase.name.lower()} {number} ({stage.kind})", stage


# --- views


def _view_problems(plan: Plan, stage: Stage) -> Iterator[str]:
    for view in (*stage.reads, *stage.writes):
        yield from _outside(plan, view)
    for buffer in stage.panels:
        if buffer not in plan.buffers:
            yield f"there is no buffer `{buffer}`"
    if isinstance(stage, Walk):
        results = {n.value.name for n in stage.nodes if n.record.kind is Kind.REDUCTION}
        walked = [*stage.loaded, *(view for name, view in stage.stores if name not in results)]
        walked += stage.writes if isinstance(stage, RowSums) else ()
        for view in walked:
            if view.sizes != stage.domain:
                what = view_text(view, plan.buffers)
                yield f"the sizes of `{what}` are {view.sizes}, and the domain is ({domain_text(stage)})"


def _outside(plan: Plan, view: View) -> Iterator[str]:
    buffer = plan.buffers.get(view.buffer)
    if buffer is None:
        yield f"there is no buffer `{view.buffer}`"
        return
    last = view.offset + sum((n - 1) * stride for n, stride in zip(view.sizes, view.strides, strict=True))
    if view.offset < 0 or min(view.strides, default=0) < 0 or last >= buffer.size:
        yield f"`{view_text(view, plan.buffers)}` goes from {view.offset} to {last}, and a row of it has {buffer.size} elements"


# --- registers and products


def _register_problems(stage: Walk) -> Iterator[str]:
    ready = set(stage.loads)
    accumulators = dict(zip(stage.names, stage.starts, strict=True)) if isinstance(stage, Product) else {}
    late: set[str] = set()  # what waits for an accumulator
    for node in stage.nodes:
        name = node.value.name
        start = accumulators.get(name)
        operands = [a.name for a in node.args] if name not in accumulators else [] if start is None else [start]
        for operand in operands:
            if operand not in ready:
                yield f"`{name}` reads `{operand}`, which is neither loaded nor computed before"
        if name in accumulators and start in late:
            yield f"the accumulator `{name}` begins with `{start}`, which waits for another one"
        if name in accumulators or not late.isdisjoint(operands):
            late.add(name)
        if node.record.kind is not Kind.REDUCTION:
            ready.add(name)
    reductions = {n.value.name for n in stage.nodes if n.record.kind is Kind.REDUCTION}
    stored = [name for name, _ in stage.stores] + ([s.value for s in stage.sums] if isinstance(stage, RowSums) else [])
    for name in stored:
        if name not in ready | reductions:
            yield f"`{name}` is stored or summed, and not computed"
    if isinstance(stage, Map | Product | Reduce) and not stage.stores:
        yield "nothing is stored"


def _product_problems(plan: Plan, stage: Product) -> Iterator[str]:
    if len(stage.names) > MAX_ACCUMULATORS:
        yield f"{len(stage.names)} accumulators, and a tile has room for {MAX_ACCUMULATORS}"
    packings = {p.panels: p for p in plan.packings}
    for segment in stage.segments:
        shapes = {right.sizes for right in segment.rights}
        if shapes != {(segment.k, stage.domain[-1])} or segment.left.sizes[-1] != segment.k:
            yield f"`{segment.panels}`: {segment.left.sizes} times {sorted(shapes)} over ({domain_text(stage)})"
        if len(segment.rights) != len(segment.accumulators):
            yield f"`{segment.panels}`: {len(segment.rights)} matrices for {len(segment.accumulators)} accumulators"
        packing = packings.get(segment.panels)
        if packing is None or (packing.rights, packing.accumulators) != (segment.rights, len(stage.names)):
            yield f"`{segment.panels}` is not packed as it is read"
    taken = {i for segment in stage.segments for i in segment.accumulators}
    for i, name in enumerate(stage.names):
        if i not in taken:
            yield f"the accumulator `{name}` takes no product"


# --- memory


def _memory_problems(plan: Plan) -> Iterator[str]:
    written: Written = {b: np.zeros(buffer.size, bool) for b, buffer in plan.buffers.items()}
    given = {b for b in plan.ports.values() if b.role != "weight"} | {slot.now for slot in plan.states}
    whole = given | {b for b in plan.buffers if b.role == "weight"}
    for buffer in (*whole, *plan.zeroed):
        if buffer in written:
            written[buffer][:] = True
    makers: dict[BufferId, Phase] = {}
    for phase, where, stage in _in_order(plan):
        for view in stage.writes:
            if view.buffer in whole:
                yield f"{where}: `{view.buffer}` is given, and written"
        yield from (f"{where}: {what}" for what in _loads_and_stores(plan, phase, stage, written, makers))
    for packing in plan.packings:
        for right in packing.rights:
            of_weights = right.buffer.role == "weight" or makers.get(right.buffer) == Phase.PREPARE
            if not of_weights or not _elements(right, written).all():
                yield f"`{packing.panels}`: `{view_text(right, plan.buffers)}` is packed, and does not come from weights alone"
    yield from _unwritten(plan, written)


def _loads_and_stores(
    plan: Plan, phase: Phase, stage: Stage, written: Written, makers: dict[BufferId, Phase]
) -> Iterator[str]:  # fmt: skip
    for view in stage.reads if not isinstance(stage, Copies) else ():
        yield from _read(plan, phase, view, written, makers)
    if stage.over_rows:
        yield from (f"`{v.buffer}` is added to, and not zero at first" for v in stage.writes if v.buffer not in plan.zeroed)
        return
    before = {view.buffer: written[view.buffer].copy() for view in stage.writes}
    accumulated = [copy.accumulate for copy in stage.copies] if isinstance(stage, Copies) else [False] * len(stage.writes)
    sources = [copy.source for copy in stage.copies] if isinstance(stage, Copies) else []
    for i, (view, adds) in enumerate(zip(stage.writes, accumulated, strict=True)):
        if sources and isinstance(source := sources[i], View):
            yield from _read(plan, phase, source, written, makers)
        if adds and not _elements(view, written).all():
            yield f"`{view_text(view, plan.buffers)}` is added to, and was not written"
        if not adds and _elements(view, before).any():
            yield f"`{view_text(view, plan.buffers)}` is written a second time"
        _elements(view, written)[...] = True
        makers.setdefault(view.buffer, phase)


def _read(plan: Plan, phase: Phase, view: View, written: Written, makers: dict[BufferId, Phase]) -> Iterator[str]:
    if not _elements(view, written).all():
        yield f"`{view_text(view, plan.buffers)}` is read, and was not written"
    local = plan.buffers[view.buffer].space == Varies.INSTANCE and makers.get(view.buffer) == Phase.LOOP
    if phase != Phase.LOOP and (local or view.buffer.role in ("now", "next")):
        yield f"`{view.buffer}` is of one step of the loop, and read outside of it"


def _elements(view: View, written: Written) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """The marks of a view's elements."""
    return np.lib.stride_tricks.as_strided(written[view.buffer][view.offset :], view.sizes, view.strides)


def _unwritten(plan: Plan, written: Written) -> Iterator[str]:
    sizes: dict[BufferId, int] = {slot.next: slot.size for slot in plan.states}
    for result, buffer in zip(plan.program.results, plan.results, strict=True):
        if result.role != "state":
            sizes.setdefault(buffer, result.value.type.n_elements)
    sizes |= {buffer: plan.buffers[buffer].size for buffer in _known(plan, plan.prepared)}
    for buffer in (*plan.results, *plan.prepared, *plan.zeroed):
        if buffer not in plan.buffers:
            yield f"there is no buffer `{buffer}`"
    for buffer, size in sizes.items():
        if buffer in written and not written[buffer][:size].all():
            yield f"`{buffer}` is not written to its end"


def _known(plan: Plan, buffers: Iterable[BufferId]) -> list[BufferId]:
    return [buffer for buffer in buffers if buffer in plan.buffers]
