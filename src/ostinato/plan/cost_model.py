"""What a plan costs on a machine: operations, bytes by the cache that they come from, and the seconds that follow.

    a product      the longest of: its multiply-adds at the peak, its loads of vectors from the nearest cache, its packed
                   weights once for every pass (a step of the loop, or CHUNK rows outside of it) from the cache that holds them
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
from math import inf, prod
from typing import NamedTuple

from ..ir.graph import Node
from ..ir.shapes import Varies
from .machine import LEVELS, Machine
from .phases import Phase
from .plan import Plan
from .stages import Copies, Product, RowSums, Stage, Walk
from .tiling import BLOCK, CHUNK, panel_bytes, stage_tiles, tile_for
from .views import BufferId, View

# All of these were chosen by trial in November 2026 on the machines of docs/performance.md, so that the predicted ratios
# between plans of the library's cells come near to the measured ones; none was measured by itself.
CALL = 3  # multiply-adds, one after another: as long as it takes to call a function and to begin its loops
SCATTERED = 0.55  # of the bandwidth of a stream, for values beyond L1: tiles read and write a cache line here and there
BROADCAST = 0.5  # of the time of loading a vector: loading one number into all lanes
CONTRACTED = 0.5  # of the peak: what sums over rows and products of two values reach
AHEAD = 24  # multiply-adds of an accumulation chain that out-of-order execution completes while a step waits for its state
FAR = 0.25  # of the time that weights take from beyond L2: the part that multiplications do not hide


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
        self._by_step = {phase for phase in plan.stages if plan.by_step(phase)}
        self._varying = {name for name, buffer in plan.buffers.items() if buffer.space != Varies.NEVER}
        self._stages = {phase: [_Stage(self, s) for s in stages] for phase, stages in plan.stages.items()}
        self._weights = {phase: sum(s.weight_bytes for s in stages) for phase, stages in self._stages.items()}
        self._chain = self._chain_of_loop()

    def cost(self, n_steps: int, n_instances: int) -> PlanCost:
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
        if phase in self._by_step:
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

    @cached_property
    def _made_in_loop(self) -> set[BufferId]:
        return {view.buffer for stage in self.plan.stages.get(Phase.LOOP, ()) for view in stage.writes}

    def _is_of_loop(self, buffer: BufferId) -> bool:
        """Whether a step makes what a buffer holds."""
        return buffer.role in ("now", "rows") or buffer in self._made_in_loop

    def packed(self, stage: Stage) -> int:
        """The packed bytes of a stage's weights."""
        return sum(self._panels[panels] for panels in stage.panels)

    def bytes_of(self, view: View, lead: int = 1) -> int:
        """What reading a view of one row moves; a stretched one is read once."""
        elements = prod(n for n, stride in zip(view.sizes, view.strides, strict=True) if stride) * lead
        return elements * self.plan.buffers[view.buffer].item_bytes

    def traffic(self, views: Iterable[View], in_tiles: set[BufferId]) -> list[_Traffic]:
        """What a stage moves of values that are not the same for all rows; `in_tiles`: left operands, which tiles load."""
        found = []
        for view in dict.fromkeys(views):
            if view.buffer in self._varying:
                buffer = self.plan.buffers[view.buffer]
                most = BLOCK if view.buffer in self.plan.block_local else inf
                found.append(_Traffic(self.bytes_of(view), buffer.space, buffer.row_bytes, most, view.buffer in in_tiles))
        return found


class _Traffic(NamedTuple):
    """Bytes that a stage reads or writes for one row, and how large the buffer is that they belong to."""

    n_bytes: int
    space: Varies
    row_bytes: int
    most_rows: float  # that are kept at a time
    in_tiles: bool

    def footprint(self, n_rows: int, n_instances: int) -> float:
        """The bytes of the whole buffer, or of the rows of it that are kept."""
        return min(n_instances if self.space == Varies.INSTANCE else n_rows, self.most_rows) * self.row_bytes


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
        lefts = {s.left.buffer for s in stage.segments} if isinstance(stage, Product) else set()
        self.reads = model.traffic(stage.reads, lefts)
        self.writes = [] if stage.over_rows else model.traffic(stage.writes, set())
        self.read_bytes, self.written_bytes = (sum(one.n_bytes for one in each) for each in (self.reads, self.writes))
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
            once += rows * self.operations / (CONTRACTED * machine.peak(model.dtype))
        for traffic, speed in ((self.reads, machine.loads), (self.writes, machine.stores)):
            for one in traffic:
                here = machine.level(one.footprint(n_rows, n_instances))
                if here != "L1":
                    once += rows * one.n_bytes / (speed[here] * SCATTERED)
                elif not one.in_tiles:  # left operands in L1 are among the loads of the tiles
                    once += rows * one.n_bytes / speed[here]
        seconds = once * passes
        return StageCost(
            self.stage, self.operations, self.weight_bytes, level, self.read_bytes, self.written_bytes, seconds
        )  # fmt: skip

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
