"""What a plan costs on a machine: operations, bytes by the cache that they come from, and the seconds that follow.

    a product      the longest of: its multiply-adds at the peak, its loads of vectors from the nearest cache, its packed
                   weights once for every pass (a step of the loop, or 128 rows outside of it) from the cache that holds them
    elementwise    vectors times what each function takes
    values         what a stage reads and writes in memory, from the cache that holds the whole buffer
    the loop       no step is shorter than the chain of operations from one state to the next

This is the roofline model (Williams, Waterman and Patterson 2009), for one core; `machine.py` has the figures. It leaves out
what every plan has alike: the call from Python, checking inputs. Its purpose is to choose between plans, and to say why; no
plan changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ..ir.dtypes import BYTES
from ..ir.graph import Node
from ..ir.shapes import Varies
from .machine import LEVELS, Machine
from .phases import CHOICES, Phase
from .plan import Plan
from .stages import Copies, Product, RowSums, Stage, Walk
from .tiling import BLOCK, CHUNK, panel_bytes, stage_tiles, tile_for
from .views import BufferId, View

STEPS, MANY = 100, 16  # what is assumed of a call: so many steps; from so many instances on, more make no difference
CALL = 3  # multiply-adds one after another that a call of a function and its loops take
SCATTERED = 0.55  # of the bandwidth of a stream, beyond L1: tiles read and write a cache line here and there
BROADCAST = 0.5  # of a load of a vector: one number for all lanes
CLEARLY = 0.97  # of the seconds of the plan that would be taken otherwise: the model is not more exact than that
TOTAL = 0.5  # of the peak: sums over rows
AHEAD = 24  # multiply-adds of a chain that a processor does before it is their turn
FAR = 0.25  # of the time that weights take from beyond L2: what multiplications do not hide


@dataclass(frozen=True)
class StageCost:
    """One stage of a plan.

    Attributes:
        stage: what it is.
        operations: for one row (a multiply-add is two).
        weight_bytes: packed weights, read in every pass.
        weight_level: where they come from: "L1", "L2", "L3" or "DRAM"; "" where there are none.
        read_bytes, written_bytes: values in memory, for one row; what is the same for all rows is not counted.
        seconds: of all passes together.
    """

    stage: Stage
    operations: float
    weight_bytes: int
    weight_level: str
    read_bytes: int
    written_bytes: int
    seconds: float


@dataclass(frozen=True)
class PlanCost:
    """One plan, for one number of steps and instances.

    Attributes:
        choice: "separate", "fused" or "hoisted".
        n_steps, n_instances: what it was worked out for.
        phases: the costs of the stages of each phase.
        waiting: seconds that the loop waits because each step needs the one before, beyond the work of its stages.
    """

    choice: str
    n_steps: int
    n_instances: int
    phases: Mapping[Phase, tuple[StageCost, ...]]
    waiting: float

    @cached_property
    def seconds(self) -> float:
        """Predicted, of native code alone on one core."""
        return self.waiting + sum(stage.seconds for stages in self.phases.values() for stage in stages)

    def seconds_in(self, phase: Phase) -> float:
        """The part of one phase."""
        waiting = self.waiting if phase == Phase.LOOP else 0.0
        return waiting + sum(stage.seconds for stage in self.phases.get(phase, ()))

    @property
    def n_stages(self) -> int:
        """How many stages a step of the loop has."""
        return len(self.phases.get(Phase.LOOP, ()))

    @property
    def operations(self) -> float:
        """Of the whole call."""
        rows = {p: self.n_steps * self.n_instances if p.space == Varies.STEP else 1 for p in Phase}
        return sum(rows[p] * s.operations for p, stages in self.phases.items() for s in stages if p.space == Varies.STEP)

    @property
    def loop_weight_bytes(self) -> int:
        """Packed weights that every step reads."""
        return sum(s.weight_bytes for s in self.phases.get(Phase.LOOP, ()))

    @property
    def moved_bytes(self) -> int:
        """Values that all stages of the call read and write in memory, weights aside."""
        rows = self.n_steps * self.n_instances
        inside = [s for p, stages in self.phases.items() for s in stages if p.space == Varies.STEP]
        return rows * sum(s.read_bytes + s.written_bytes for s in inside)


class CostModel:
    """The costs of one plan; what does not depend on the size of a call is worked out once."""

    def __init__(self, plan: Plan, machine: Machine) -> None:
        self.plan, self.machine = plan, machine
        self.dtype = plan.program.dtype
        self._panels = panel_bytes(plan, machine)
        self._stages = {phase: [_Stage(self, s) for s in stages] for phase, stages in plan.stages.items()}
        self._weights = {phase: sum(s.weight_bytes for s in stages) for phase, stages in self._stages.items()}
        self._chain = self._chain_of_loop()

    def cost(self, n_steps: int = STEPS, n_instances: int = 1) -> PlanCost:
        """The cost of a call."""
        found: dict[Phase, tuple[StageCost, ...]] = {}
        for phase, stages in self._stages.items():
            if phase == Phase.PREPARE:
                continue  # once for a set of weights
            rows, passes = self._rows(phase, n_steps, n_instances)
            total = n_steps * n_instances
            found[phase] = tuple(s.cost(rows, passes, total, n_instances, self._weights[phase]) for s in stages)
        looped = sum(s.seconds for s in found.get(Phase.LOOP, ()))
        waiting = max(0.0, n_steps * self._chain - looped) if n_steps > 1 else 0.0
        return PlanCost(self.plan.choice, n_steps, n_instances, found, waiting)

    def _rows(self, phase: Phase, n_steps: int, n_instances: int) -> tuple[int, float]:
        """How many rows a pass has, and how many passes there are."""
        if phase.space == Varies.NEVER:
            return 1, 1
        if phase.space == Varies.INSTANCE:
            return n_instances, 1
        if phase == Phase.LOOP or self.plan.by_step(phase):
            return n_instances, n_steps
        total = n_steps * n_instances
        return min(total, CHUNK), max(1.0, total / CHUNK)

    def _chain_of_loop(self) -> float:
        """Seconds from one state to the next, if nothing else had to be done: what waits for the state, one after another."""
        latency, length = self.machine.latency, 0.0
        for stage in self.plan.stages.get(Phase.LOOP, ()):
            segments = stage.segments if isinstance(stage, Product) else ()
            if any(self._is_of_loop(segment.left.buffer) for segment in segments):
                # an accumulator takes all of its products one after another; those that need no state come first, and of them
                # the processor does only so much while it still waits for the state
                loop = [self._is_of_loop(segment.left.buffer) for segment in segments]
                length += sum(segment.k for segment, waits in zip(segments, loop, strict=True) if waits)
                ahead = sum(segment.k for segment, waits in zip(segments, loop, strict=True) if not waits)
                length += max(0, ahead - AHEAD)
            length += CALL + _depth(stage.nodes)
        return length * latency if self.plan.states else 0.0

    def _is_of_loop(self, buffer: BufferId) -> bool:
        """Whether a step makes what a buffer holds."""
        made = {view.buffer for s in self.plan.stages.get(Phase.LOOP, ()) for view in s.writes}
        return buffer.role in ("now", "rows") or buffer in made

    def packed(self, stage: Stage) -> int:
        """The packed bytes of a stage's weights."""
        return sum(self._panels[panels] for panels in stage.panels)

    def bytes_of(self, view: View, lead: int = 1) -> int:
        """What reading a view of one row moves; a stretched one is read once."""
        elements = prod(n for n, stride in zip(view.sizes, view.strides, strict=True) if stride) * lead
        return elements * self.plan.buffers[view.buffer].item_bytes

    def footprint(self, buffer: BufferId, n_rows: int, n_instances: int) -> float:
        """The bytes of a whole buffer, or of the rows of it that are kept."""
        found = self.plan.buffers[buffer]
        rows = {Varies.NEVER: 1, Varies.INSTANCE: n_instances, Varies.STEP: n_rows}[found.space]
        rows = min(rows, BLOCK) if buffer in self.plan.block_local else rows
        return float(rows * found.row_bytes)


class _Stage:
    """One stage, and what is the same for every call."""

    def __init__(self, model: CostModel, stage: Stage) -> None:
        self.model, self.stage, machine = model, stage, model.machine
        lanes = machine.lanes(model.dtype)
        self.weight_bytes = model.packed(stage)
        self.operations = arithmetic(stage)
        self.lead = prod(stage.domain[:-1]) if stage.domain else 1
        self.n_blocks = -(-(stage.domain[-1] if stage.domain else 1) // lanes)
        self.tiles = stage_tiles(stage, machine, model.dtype)
        varying = {name for name, buffer in model.plan.buffers.items() if buffer.space != Varies.NEVER}
        self.reads = [(v.buffer, model.bytes_of(v)) for v in dict.fromkeys(stage.reads) if v.buffer in varying]
        self.lefts = {s.left.buffer for s in stage.segments} if isinstance(stage, Product) else set()
        self.writes = [] if stage.over_rows else [
            (v.buffer, model.bytes_of(v)) for v in dict.fromkeys(stage.writes) if v.buffer in varying
        ]  # fmt: skip
        self.elementwise = self._vectors(lanes) * machine.multiply_add

    def _vectors(self, lanes: int) -> float:
        """Vector operations on elements, for one row."""
        if isinstance(self.stage, Copies):
            return -(-self.stage.elements // lanes)
        if not isinstance(self.stage, Walk):
            return 0
        each = sum(node.record.cost.operations for node in self.stage.nodes)
        sums = len(self.stage.sums) if isinstance(self.stage, RowSums) else 0
        return self.lead * self.n_blocks * (each + sums)

    def cost(self, rows: int, passes: float, n_rows: int, n_instances: int, weights: int) -> StageCost:
        machine, model = self.model.machine, self.model
        level = machine.level(weights) if self.weight_bytes else ""
        once = CALL * machine.latency + rows * self.elementwise
        if isinstance(self.stage, Product):
            once += self._product(self.stage, rows, level)
        elif not isinstance(self.stage, Walk):
            once += rows * self.operations / (TOTAL * machine.peak(model.dtype))
        for views, speed in ((self.reads, machine.loads), (self.writes, machine.stores)):
            for buffer, size in views:
                here = machine.level(model.footprint(buffer, n_rows, n_instances))
                if here != "L1" or buffer not in self.lefts:  # those are among the loads of the tiles
                    once += rows * size / (speed[here] * (1 if here == "L1" else SCATTERED))
        read, written = (sum(size for _, size in views) for views in (self.reads, self.writes))
        return StageCost(self.stage, self.operations, self.weight_bytes, level, read, written, once * passes)

    def _product(self, product: Product, rows: int, level: str) -> float:
        """The tiles of one pass."""
        machine = self.model.machine
        count = rows if self.lead == 1 else product.domain[-2]
        tile = tile_for(self.tiles, count)
        n_row_tiles = -(-count // tile.rows) * (1 if self.lead == 1 else rows * self.lead // count)
        load = machine.vector_bytes / machine.loads["L1"]
        seconds = 0.0
        for segment in product.segments:
            gates = len(segment.accumulators)
            blocks = min(tile.blocks, self.n_blocks)
            step = max(tile.rows * blocks * gates * machine.multiply_add, (blocks * gates + BROADCAST * tile.rows) * load)
            seconds += segment.k * step * self.n_blocks / blocks * n_row_tiles
        weights = 0.0 if level == "L1" else self.weight_bytes / machine.loads[level]
        around = 1 + any(start is not None for start in product.starts)
        calls = around * n_row_tiles * -(-self.n_blocks // tile.blocks)
        far = level not in ("", *LEVELS[:2])
        return max(seconds, weights) + (FAR * min(seconds, weights) if far else 0.0) + calls * CALL * machine.latency


def arithmetic(stage: Stage) -> float:
    """Operations for one row: two for a multiply-add, one for every function of an element and every term of a sum."""
    count = stage.operations
    return 2 * count.multiply_adds + count.functions + count.terms


def _depth(nodes: Iterable[Node]) -> int:
    """The longest chain of elementwise operations in a stage, in multiply-adds one after another."""
    depth: dict[str, int] = {}
    for node in nodes:
        depth[node.value.name] = node.record.cost.latency + max((depth.get(a.name, 0) for a in node.args), default=0)
    return max(depth.values(), default=0)


# --- choosing -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Advice:
    """Which plan a call should take, as far as the model knows.

    Attributes:
        plans: the plan for 1, 2, ... instances that run side by side; the last one is for more of them too.
        single: the plan for one step at a time, as in a stream.
        reason: in words.
    """

    plans: tuple[str, ...]
    single: str
    reason: str

    def choice(self, n_steps: int, n_rows: int) -> str:
        """The plan of a call with so many steps, and so many rows (valid steps of all instances together)."""
        if n_steps <= 1:
            return self.single
        return self.plans[min(len(self.plans), max(1, -(-n_rows // n_steps))) - 1]


def advice(models: Mapping[str, CostModel]) -> Advice:
    """Which plan is the cheapest, by the model: for sequences of STEPS steps by their number, and for one step.

    `separate` is looked at and never taken: it does what `fused` does in more stages. Where the model does not find `hoisted`
    clearly cheaper, `fused` is taken, which keeps less in memory.
    """
    fused, hoisted = (models[name] for name in ("fused", "hoisted"))
    if not hoisted.plan.states:
        return Advice(("hoisted",), "hoisted", "there is no state, so there is no loop: all plans are one")
    if not differ(fused.plan, hoisted.plan):
        return Advice(("hoisted",), "hoisted", "there is no product that could leave the loop: both are one plan")
    best = [better(models, STEPS, n) for n in range(1, MANY + 1)]
    while len(best) > 1 and best[-1] == best[-2]:
        best.pop()
    single = better(models, 1, 1)
    return Advice(tuple(best), single, _reason(fused, hoisted, best))


def better(models: Mapping[str, CostModel], n_steps: int, n_instances: int) -> str:
    """Of the plans that `advice` decides between, the cheaper one for a call."""
    fused, hoisted = (models[name].cost(n_steps, n_instances).seconds for name in ("fused", "hoisted"))
    return "hoisted" if hoisted < CLEARLY * fused else "fused"


def differ(fused: Plan, hoisted: Plan) -> bool:
    """Whether there is a product that one of them runs before the loop."""
    before = [sum(isinstance(s, Product) for s in plan.stages.get(Phase.BEFORE, ())) for plan in (fused, hoisted)]
    return before[0] != before[1]


def _reason(fused: CostModel, hoisted: CostModel, best: list[str]) -> str:
    """Why, with the figures of the smallest call."""
    one, level = [model.cost(STEPS, 1) for model in (fused, hoisted)], fused.machine.level
    if len(best) == 1 and best[0] == "fused":
        return "keeping sums for later costs more memory traffic than running their products at once saves"
    weights = " and ".join(
        f"{c.loop_weight_bytes:,} bytes from {level(c.loop_weight_bytes)} ({c.choice})" for c in one
    )  # fmt: skip
    why = f"with one instance a step waits for its weights, {weights}"
    if best[-1] == "fused":
        why += "; with many it is bound by multiplications, and keeping sums for later costs memory traffic"
    return why


def largest(plan: Plan) -> float:
    """The bytes of what is largest in the calls that `advice` looks at: a buffer, or all weights together."""
    rows = {Varies.NEVER: 1, Varies.INSTANCE: MANY, Varies.STEP: MANY * STEPS}
    buffers = [rows[b.space] * b.row_bytes for b in plan.buffers.values()]
    elements = sum(p.k * p.n * len(p.rights) for p in plan.packings)
    return float(max(*buffers, elements * BYTES[plan.program.dtype], 0))


def models_of(plans: Mapping[str, Plan], machine: Machine) -> dict[str, CostModel]:
    """The models of plans, in the order of CHOICES."""
    return {name: CostModel(plans[name], machine) for name in CHOICES if name in plans}
