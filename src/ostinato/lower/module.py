"""Lower: a plan becomes one module of LLVM's language.

    ostinato_prepare(context)    what depends on weights alone; weights into panels
    ostinato_run(context)        everything else: instances, before, loop, after, finish
    ostinato_step(context)       the same without `instances`, whose values are still there: the next steps of a stream

The context is the table of a call's sizes and addresses (context.py); the steps, with lengths and resets, are loop.py.

Where sequences have different lengths, run in reverse, or come batch first, the rows of a step do not follow each other in the
user's arrays. Then the buffers that are the user's are *placed*: a run first works out where each of its rows lies in them
(`_place_rows`), and all stages look their rows up there. Nothing is copied. That is a module of its own, compiled when such a
call comes; where the rows do follow each other, nothing is looked up.
"""

from __future__ import annotations

from ..ir.shapes import Varies
from ..plan.phases import Phase
from ..plan.plan import Plan
from ..plan.stages import Contraction, Copies, Map, Product, Reduce, RowSum, RowSums, Stage
from ..plan.tiling import BLOCK, CHUNK
from ..plan.views import BufferId
from . import llvm_text as llvm
from .barriers import barrier
from .batched_matmul import lower_contraction
from .context import Field, internal_buffers
from .elementwise import lower_copies, lower_map
from .kernel import I1, I8, I64, PTR, TABLE, VOID, Kernel, ModuleContext, i64
from .loop import entry, loop_over_steps, set_sweep
from .matmul import ProductStage
from .packing import lower_packing
from .reductions import lower_reduce
from .row_sums import lower_sums, lower_total
from .target import Target

SHARE = 4  # rows that are handed out to threads together


def lower(plan: Plan, target: Target, placed: frozenset[BufferId] = frozenset()) -> llvm.Module:
    """The module of a plan; with `placed` buffers, `ostinato_run` alone."""
    written = llvm.Module(target.triple)
    module = ModuleContext(written, plan, target, placed)
    phases = {phase: _phase(module, phase) for phase in plan.stages if not (placed and phase == Phase.PREPARE)}
    loop = loop_over_steps(module, phases[Phase.LOOP]["stages"]) if plan.states else None
    if not placed:
        _prepare(module, phases)
    run = _run(module, "ostinato_run", phases, loop)
    if placed:
        return written
    if Phase.INSTANCES in phases:
        _run(module, "ostinato_step", {p: f for p, f in phases.items() if p != Phase.INSTANCES}, loop)
    else:  # nothing belongs to the instances alone
        k = Kernel(module, "ostinato_step", TABLE, exported=True)
        k.b.call(run, [k.context])
        k.finish()
    return written


def llvm_of(plan: Plan, target: Target) -> str:
    """The text of a plan's module in LLVM's language; it needs no LLVM."""
    return str(lower(plan, target))


def _stage(module: ModuleContext, name: str, stage: Stage, *, by_step: bool) -> llvm.Function:
    k = Kernel(module, name)
    match stage:
        case Product():
            ProductStage(k, stage).write()
        case Map():
            lower_map(k, stage)
        case Reduce():
            lower_reduce(k, stage)
        case Copies():
            lower_copies(k, stage.copies)
        case Contraction():
            lower_contraction(k, stage)
        case RowSums():
            lower_sums(k, stage, by_step=by_step)
        case RowSum():
            lower_total(k, stage, by_step=by_step)
    return k.finish()


def _phase(module: ModuleContext, phase: Phase) -> dict[str, llvm.Function]:
    """The functions of a phase: its stages one after another, and the sums over rows by themselves."""
    name = phase.name.lower()
    by_step = module.plan.by_step(phase)
    made = [(s, _stage(module, f"{name}_{i}_{s.kind}", s, by_step=by_step)) for i, s in enumerate(module.plan.stages[phase])]
    found = {}
    for part in ("stages", "totals"):
        inside = [(s, f) for s, f in made if s.over_rows == (part == "totals")]
        if inside:
            k = Kernel(module, f"{name}_{part}")
            for stage, function in inside:
                if phase == Phase.LOOP and module.plan.states:
                    _loop_stage(k, stage, function)
                else:
                    k.b.call(function, k.function.args)
            found[part] = k.finish()
    return found


def _loop_stage(k: Kernel, stage: Stage, function: llvm.Function) -> None:
    """A stage of the loop. Threads that share it by neurons wait for each other at its end; the first does all but products."""
    if isinstance(stage, Product):
        k.b.call(function, k.function.args)
    else:
        with k.b.if_then(k.b.icmp_unsigned("==", k.field(Field.PART), i64(0))):
            k.b.call(function, k.function.args)
    with k.b.if_then(k.b.icmp_unsigned(">", k.field(Field.PARTS), i64(1))):
        k.b.call(barrier(k.module), [k.context])


def _prepare(module: ModuleContext, phases: dict[Phase, dict[str, llvm.Function]]) -> None:
    k = Kernel(module, "ostinato_prepare", TABLE, exported=True)
    for function in phases.get(Phase.PREPARE, {}).values():
        k.b.call(function, [k.context, i64(0), i64(0), i64(1)])
    for packing in module.plan.packings:
        lower_packing(k, packing)
    k.finish()


def _run(
    module: ModuleContext, name: str, phases: dict[Phase, dict[str, llvm.Function]], loop: llvm.Function | None
) -> llvm.Function:
    k = Kernel(module, name, TABLE, exported=True)
    _place_internal(k)
    wait = barrier(module)
    with k.b.if_then(k.b.icmp_unsigned("==", k.field(Field.THREAD), i64(0))):
        for buffer in module.plan.zeroed:
            _zero(k, buffer)
        if module.placed:
            k.b.call(_place_rows(module), [k.context])
            padded = k.b.icmp_signed("<", k.field(Field.N_ROWS), k.b.mul(k.field(Field.N_STEPS), k.field(Field.N_INSTANCES)))
            with k.b.if_then(padded):
                for buffer in _padded_results(module):
                    _zero(k, buffer)
    for phase in Phase:
        if phase == Phase.LOOP and loop:
            k.b.call(wait, [k.context])
            _shared_loop(k, loop)
        if phase not in phases or phase in (Phase.PREPARE, Phase.LOOP):
            continue
        block_local = [b for b, p in module.plan.block_local.items() if p == phase]
        if phase.space == Varies.STEP and not module.plan.by_step(phase) and (block_local or "totals" in phases[phase]):
            _in_blocks(k, phases[phase], block_local)
            continue
        for part, function in phases[phase].items():
            k.b.call(wait, [k.context])
            _shared_phase(k, phase, part, function)
    return k.finish()


def _shared_phase(k: Kernel, phase: Phase, part: str, function: llvm.Function) -> None:
    """The share of this thread in a phase: some of the rows or instances; of sums over rows, some of the sums."""
    if phase.space == Varies.NEVER:
        with k.b.if_then(k.b.icmp_unsigned("==", k.field(Field.THREAD), i64(0))):
            k.b.call(function, [k.context, i64(0), i64(0), i64(1)])
        return
    by_step = k.plan.by_step(phase)
    count = k.field(Field.N_INSTANCES if phase.space == Varies.INSTANCE or by_step else Field.N_ROWS)
    low, high = (i64(0), count) if part == "totals" else k.share(count, SHARE)
    if by_step:
        _each_step(k, function, low, high)
    elif part == "totals" or phase.space == Varies.INSTANCE:
        k.b.call(function, [k.context, low, low, k.b.sub(high, low)])
    else:
        _in_chunks(k, function, low, high)


def _in_blocks(k: Kernel, functions: dict[str, llvm.Function], block_local: list[BufferId]) -> None:
    """A phase for some rows after the others: its stages, then its sums over them, which find in the cache what they read.

    What no other phase reads is kept for these rows alone: its address moves back by a block after each, so that the next
    rows, counted from the first of all, lie where these did.
    """
    b, wait = k.b, barrier(k.module)
    rows = k.field(Field.N_ROWS)
    b.call(wait, [k.context])
    with k.loop(i64(0), rows, BLOCK) as first:
        left = b.sub(rows, first)
        count = b.select(b.icmp_signed("<", left, i64(BLOCK)), left, i64(BLOCK))
        if "stages" in functions:
            low, high = k.share(count, SHARE)
            _in_chunks(k, functions["stages"], b.add(first, low), b.add(first, high))
        b.call(wait, [k.context])
        if "totals" in functions:
            b.call(functions["totals"], [k.context, first, i64(0), count])
            b.call(wait, [k.context])
        for name in block_local:
            place = k.module.fields[name]
            k.set_field(place, b.sub(k.field(place), i64(BLOCK * k.plan.buffers[name].row_bytes)))


def _shared_loop(k: Kernel, loop: llvm.Function) -> None:
    """All steps for some instances; or for all instances, with the neurons shared."""
    instances = k.field(Field.N_INSTANCES)
    low, high = k.share(instances, SHARE)
    by_neurons = k.b.icmp_unsigned("!=", k.field(Field.BY_NEURONS), i64(0))
    low = k.b.select(by_neurons, i64(0), low)
    high = k.b.select(by_neurons, instances, high)
    k.set_field(Field.PART, k.b.select(by_neurons, k.field(Field.THREAD), i64(0)))
    k.set_field(Field.PARTS, k.b.select(by_neurons, k.field(Field.THREADS), i64(1)))
    k.b.call(loop, [k.context, i64(0), low, k.b.sub(high, low)])
    k.set_field(Field.PART, i64(0))
    k.set_field(Field.PARTS, i64(1))


def _place_internal(k: Kernel) -> None:
    """The internal buffers, one behind another, each from a cache line on."""
    at = k.field(Field.ARENA)
    for name in internal_buffers(k.plan):
        buffer = k.plan.buffers[name]
        k.b.store(at, k.b.gep(k.context, [i64(k.module.fields[name])], source_etype=I64))
        row = i64(buffer.row_bytes)
        count = {Varies.NEVER: Field.N_STEPS, Varies.INSTANCE: Field.N_INSTANCES, Varies.STEP: Field.N_ROWS}[buffer.space]
        size = row if buffer.space == Varies.NEVER else k.b.mul(row, k.field(count))
        if name in k.plan.block_local:
            size = i64(BLOCK * buffer.row_bytes)
        at = k.b.add(at, k.b.and_(k.b.add(size, i64(63)), i64(-64)))
    k.set_field(Field.ROW_TABLE, at)


def _place_rows(module: ModuleContext) -> llvm.Function:
    """Where each row of the run lies in the user's arrays."""
    k = Kernel(module, "place_rows", TABLE)
    by_step, by_instance, backwards = k.field(Field.STEP_STRIDE), k.field(Field.INSTANCE_STRIDE), k.field(Field.REVERSE)
    places = k.field(Field.ROW_TABLE, PTR)
    with k.loop(i64(0), k.field(Field.N_STEPS)) as step:
        first = entry(k, Field.OFFSETS, step)
        with k.loop(i64(0), entry(k, Field.COUNTS, step)) as i:
            last = k.b.sub(entry(k, Field.LENGTHS, i), i64(1))
            time = k.b.select(k.b.icmp_unsigned("!=", backwards, i64(0)), k.b.sub(last, step), step)
            place = k.b.add(k.b.mul(time, by_step), k.b.mul(entry(k, Field.ORDER, i), by_instance))
            k.b.store(place, k.b.gep(places, [k.b.add(first, i)], source_etype=I64))
    return k.finish()


def _padded_results(module: ModuleContext) -> list[BufferId]:
    """The user's arrays that a run fills, where padding is zeros."""
    given = set(module.plan.ports.values())
    return [
        n
        for n in dict.fromkeys(module.plan.results)
        if n in module.placed - given and module.plan.buffers[n].space == Varies.STEP
    ]


def _zero(k: Kernel, name: BufferId) -> None:
    buffer = k.plan.buffers[name]
    size: llvm.Value = i64(buffer.row_bytes)
    if buffer.space != Varies.NEVER:
        size = k.b.mul(size, k.field(Field.N_INSTANCES))
    if buffer.space == Varies.STEP:
        size = k.b.mul(size, k.field(Field.N_STEPS))
    place = k.b.load(k.b.gep(k.context, [i64(k.module.fields[name])], source_etype=I64), typ=PTR)
    k.call_intrinsic("llvm.memset.p0.i64", VOID, [place, llvm.Constant(I8, 0), size, llvm.Constant(I1, 0)])


def _in_chunks(k: Kernel, function: llvm.Function, low: llvm.Value, high: llvm.Value) -> None:
    """Rows, some at a time."""
    with k.loop(low, high, CHUNK) as first:
        left = k.b.sub(high, first)
        count = k.b.select(k.b.icmp_signed("<", left, i64(CHUNK)), left, i64(CHUNK))
        set_sweep(k, k.b.udiv(first, i64(CHUNK)))
        k.b.call(function, [k.context, first, i64(0), count])


def _each_step(k: Kernel, function: llvm.Function, low: llvm.Value, high: llvm.Value) -> None:
    """Rows step by step, so that a row's instance is known."""
    b = k.b
    with k.loop(i64(0), k.field(Field.N_STEPS)) as step:
        running = entry(k, Field.COUNTS, step)
        until = b.select(b.icmp_signed("<", running, high), running, high)
        with b.if_then(b.icmp_signed("<", low, until)):
            b.call(function, [k.context, b.add(entry(k, Field.OFFSETS, step), low), low, b.sub(until, low)])
