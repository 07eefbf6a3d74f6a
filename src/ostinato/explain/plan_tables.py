"""The plan of native code in words and tables: which products there are, the stages of each phase, and what each plan costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ..ir import ops
from ..ir.shapes import Varies
from ..plan.candidates import Planned
from ..plan.cost_model import PlanCost, StageCost
from ..plan.machine import Machine, bytes_text
from ..plan.phases import CHOICES, Phase
from ..plan.plan import Plan
from ..plan.stages import Contraction, Copies, Product, Reduce, RowSum, RowSums, Segment, Stage, Walk
from ..plan.tiling import panel_bytes, stage_tiles
from ..plan.views import View
from .alternatives import seconds_text
from .document import Bars, Block, Sentence, Table
from .what_runs import WhatRuns, alternatives
from .words import plural

WHEN = {
    Phase.PREPARE: "of weights alone, once",
    Phase.INSTANCES: "once for each instance",
    Phase.BEFORE: "before the loop, all steps at once",
    Phase.LOOP: "the loop, step after step",
    Phase.AFTER: "after the loop, all steps at once",
    Phase.FINISH_INSTANCES: "at the end, once for each instance",
    Phase.FINISH: "at the end, once",
}
KINDS = {
    "product": "product", "map": "elementwise", "reduce": "reduction", "move": "moved", "contract": "product of two values",
}  # fmt: skip
MODEL = "Predicted for {machine}; the call from Python is left out. Every plan gives the same bits."


def plan_blocks(planned: Planned, n_steps: int, n_instances: int, measured: Mapping[str, float]) -> Iterator[Block]:
    """All about the plans of one program, for calls of so many steps and instances."""
    runs, costs = planned.runs(n_steps, n_instances), planned.costs(n_steps, n_instances)
    yield Sentence(f"Native code runs it by the plan `{runs}`: {CHOICES[runs]}. Why: {planned.reason}.")
    several = sizes_in_words(planned) if planned.asked == "automatic" else ""
    if several:
        yield Sentence(several)
    accounts = alternatives(planned, n_steps, n_instances)
    yield Sentence(products_in_words(planned, accounts["separate"], accounts[runs]))
    yield from stage_tables(planned.plan(runs), costs[runs], planned.machine)
    call = f"{plural(n_steps, 'step')}, {plural(n_instances, 'instance')}"
    if len({(c.n_stages, c.seconds) for c in costs.values()}) == 1:
        yield Sentence(f"{call}: predicted {seconds_text(costs[runs].seconds)}, by each plan.")
    else:
        yield Sentence(f"{call}, by each plan:")
        yield cost_table(accounts, costs, runs)
        yield Bars("Predicted times", tuple((n, c.seconds, seconds_text(c.seconds)) for n, c in costs.items()))
    yield Sentence(MODEL.format(machine=planned.machine))
    if measured:
        fastest = min(measured.values())
        times = tuple((n, s, f"{seconds_text(s)}, {s / fastest:.2f}x") for n, s in measured.items())
        yield Bars("Measured times, and how many times that of the fastest", times)


def sizes_in_words(planned: Planned) -> str:
    """Which plan for how many instances, where it depends on that."""
    choices = planned.advice.plans
    if len(set(choices)) == 1 and planned.advice.single == choices[0]:
        return ""
    for_each: dict[str, list[str]] = {}
    for n, name in enumerate(choices, 1):
        for_each.setdefault(name, []).append(f"{n} and more" if n == len(choices) else f"{n}")
    parts = [f"`{name}` for {_listed(numbers)} side by side" for name, numbers in for_each.items()]
    return f"By the number of instances: {'; '.join(parts)}; a stream takes `{planned.advice.single}`."


def _listed(numbers: list[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f"{', '.join(numbers[:-1])} and {numbers[-1]}"


def products_in_words(planned: Planned, separate: WhatRuns, runs: WhatRuns) -> str:
    """How many products there are, what fusing makes of them, and how large their packed weights are."""
    packed = sum(panel_bytes(planned.plan(runs.plan), planned.machine).values())
    walks = f"{plural(_all_products(separate), 'product')}, in {plural(_all_products(runs), 'walk')}"
    walks += f"; packed weights {bytes_text(packed)}, once for a set of weights" if packed else ""
    return f"{walks}. A step of the loop has {plural(runs.n_stages, 'stage')}." if planned.program.states else f"{walks}."


def _all_products(account: WhatRuns) -> int:
    return sum(account.products.values())


def cost_table(accounts: Mapping[str, WhatRuns], costs: Mapping[str, PlanCost], runs: str) -> Table:
    """The plans side by side: what is counted, and the seconds that the cost model predicts."""
    rows = []
    for name, account in accounts.items():
        products = " + ".join(f"{account.products[section]}" for section in ("before", "loop", "after"))
        levels = {s.weight_level for s in costs[name].phases.get(Phase.LOOP, ()) if s.weight_level}
        weights = f"{account.loop_weight_bytes:,}" + (f" ({max(levels)})" if levels else "")
        rows.append((name + (" (runs)" if name == runs else ""), products, f"{account.n_stages}", weights,
                     f"{account.moved_bytes:,}", seconds_text(costs[name].seconds)))  # fmt: skip
    headings = (
        "plan", "products before + in + after the loop", "stages a step", "weights a step reads", "bytes of values moved",
        "predicted",
    )  # fmt: skip
    return Table(headings, tuple(rows), (1, 2, 3, 4, 5))


# --- stages -------------------------------------------------------------------------------------------------------------------


def stage_tables(plan: Plan, cost: PlanCost, machine: Machine) -> Iterator[Block]:
    """A table for each phase that has something to do."""
    by_stage = {id(s.stage): s for stages in cost.phases.values() for s in stages}
    for phase, stages in plan.stages.items():
        if not stages:
            continue
        yield Sentence(f"{when(plan, phase)}:".capitalize())
        walks, sums = [s for s in stages if not s.over_rows], [s for s in stages if s.over_rows]
        rows = [_row(plan, i, s, by_stage.get(id(s)), machine) for i, s in enumerate(walks, 1)]
        if sums:
            stored = _names(view for s in sums for view in s.writes)
            read = _names(view for s in sums if isinstance(s, RowSums) and s.nodes for view in s.loaded)
            count = sum(len(s.writes) for s in sums)
            rows.append((f"{len(walks) + 1}", _sums(sums), read, stored, plural(count, "sum") + " over rows"))
        yield Table(("stage", "what it computes", "reads too", "stores", "panels and tiles"), tuple(rows), code=(1, 2, 3))
    recorded = recorded_bytes(plan)
    if recorded:
        yield Sentence(f"Recorded for the backward pass: {recorded:,} bytes per step and instance.")


def when(plan: Plan, phase: Phase) -> str:
    """When a phase runs, in words."""
    if not plan.states and phase.space == Varies.STEP:
        return "all steps at once"
    return WHEN[phase] + (", the last step first" if phase == Phase.LOOP and plan.program.direction == "backward" else "")


def _row(plan: Plan, number: int, stage: Stage, cost: StageCost | None, machine: Machine) -> tuple[str, ...]:
    return (f"{number}", computes(stage), _names(_read(stage)), _names(stage.writes),
            _panels(plan, stage, cost, machine))  # fmt: skip


def computes(stage: Stage) -> str:
    """A stage in one or two lines: its products with their shape, and what follows in registers."""
    lines = []
    if stage.over_rows:
        return _sums([stage])
    if isinstance(stage, Product):
        lines += [_product(segment) for segment in stage.segments]
    elif isinstance(stage, Contraction):
        lines.append(f"{_name(stage.left)} @ {_name(stage.right)}")
    made = stage.names if isinstance(stage, Product) else ()
    counted = Counter(
        n.op for n in stage.nodes if n.value.name not in made or (n.record.elementwise and n.record is not ops.add)
    )
    others = ", ".join(f"{op}" if n == 1 else f"{n} {op}" for op, n in counted.items() if op != "stop_gradient")
    if not isinstance(stage, Contraction) and others:
        lines.append(f"{'then ' if lines else ''}{others}")
    if not lines:
        lines.append("copied")
    return "\n".join([*lines, f"over ({_domain(stage)})"])


def _sums(stages: Iterable[Stage]) -> str:
    """Sums over all rows: of a value, or of products with it."""
    parts = []
    for stage in stages:
        if isinstance(stage, RowSum):
            parts.append(f"{_name(stage.source)}ᵀ {_name(stage.right)}" if stage.right else _name(stage.source))
        elif isinstance(stage, RowSums):
            for s in stage.sums:
                source = stage.loads.get(s.value)
                parts.append(_name(source) if isinstance(source, View) else s.value)
    return f"over all rows: {', '.join(parts)}"


def _product(segment: Segment) -> str:
    """`h @ [W_i W_f W_g W_o]`."""
    names = [_name(right) for right in segment.rights]
    same = len(set(names)) == 1
    shown = names[0] if same else f"[{' '.join(names)}]"
    return f"{_name(segment.left)} @ {shown}" + (f" ({len(names)} parts)" if same and len(names) > 1 else "")


def _domain(stage: Stage) -> str:
    """The named shape that a stage walks over."""
    for node in stage.nodes:
        value = node.args[0] if isinstance(stage, Reduce) else node.value
        if value.type.sizes == stage.domain:
            return ", ".join(map(str, value.type.dims))
    return ", ".join(map(str, stage.domain))


def _panels(plan: Plan, stage: Stage, cost: StageCost | None, machine: Machine) -> str:
    tiles = stage_tiles(stage, machine, plan.program.dtype)
    lines = [KINDS[stage.kind]] if not tiles else []
    if tiles:
        gates = len(stage.names) if isinstance(stage, Product) else 0
        shapes = ", ".join(f"{t.rows}×{t.blocks}×{gates}" for t in tiles)
        lines.append(f"rows×vectors×sums: {shapes}")
    if cost is not None and cost.weight_bytes:
        lines.append(f"{cost.weight_bytes:,} bytes packed, from {cost.weight_level}")
    return "\n".join(lines)


def _read(stage: Stage) -> tuple[View, ...]:
    """What a stage reads beside the operands that `computes` names."""
    if isinstance(stage, Walk):
        return stage.loaded
    return stage.reads if isinstance(stage, Copies) else ()


def _names(views: Iterable[View]) -> str:
    return ", ".join(dict.fromkeys(_name(v) for v in views)) or "-"


def _name(view: View) -> str:
    """What a buffer holds, in the author's words where he has some."""
    role, name = view.buffer
    return {"next": f"{name} (next)", "gradient": f"gradient {name}"}.get(role, name)


def recorded_bytes(plan: Plan) -> int:
    """What a run keeps for the backward pass, in bytes per step and instance."""
    kept = {name for result, name in zip(plan.program.results, plan.results, strict=True) if result.role == "record"}
    buffers = [plan.buffers[name] for name in kept]
    return sum(b.size * b.item_bytes for b in buffers if b.space == Varies.STEP)
