"""The loop over the steps of a program, and the states that one step hands to the next.

Only this file knows about lengths and resets. A state has four buffers: `begin` and `end`, which are the caller's, and `now`
and `next`, between which the steps alternate:

    for each step (against time in a backward program):
        copy begin to now      for the instances that begin with this step
        reset now              where a row is marked (backward: reset next, behind the stages)
        the stages             read now, write next
        copy next to end       for the instances that end with this step
        exchange now and next

Instances lie sorted by length, the longest first, so those that run in a step are the first so many: forward they all begin
with the first step and end one after another, against time they begin one after another and all end with step 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..plan.plan import StateSlot
from ..plan.views import BufferId, View
from . import llvm_text as llvm
from .barriers import barrier
from .context import Field
from .kernel import I1, I8, I64, PTR, VOID, Kernel, Lanes, ModuleContext, i64


def loop_over_steps(module: ModuleContext, body: llvm.Function) -> llvm.Function:
    """The steps, for the instances from `instance` up to `instance + count`."""
    states = module.plan.states
    backward = module.plan.program.direction == "backward"
    initial = {s.name: 0.0 if backward else s.initial for s in states}
    reset = _reset(module, {(s.next if backward else s.now): initial[s.name] for s in states})
    k = Kernel(module, "steps")
    b = k.b
    low, high = k.instance, b.add(k.instance, k.count)
    steps = k.field(Field.N_STEPS)

    def active(step: llvm.Value) -> llvm.Value:
        """Up to which instance a step runs; none before and behind the sequence."""
        inside = b.and_(b.icmp_signed(">=", step, i64(0)), b.icmp_signed("<", step, steps))
        safe = b.select(inside, step, i64(0))
        count = b.select(inside, entry(k, Field.COUNTS, safe), i64(0))
        count = b.select(b.icmp_signed("<", count, high), count, high)
        return b.select(b.icmp_signed("<", count, low), low, count)

    @contextmanager
    def once(*, waited_for: bool) -> Iterator[None]:
        """By one of the threads that share these instances; `waited_for` by the others."""
        with b.if_then(b.icmp_unsigned("==", k.field(Field.PART), i64(0))):
            yield
        if waited_for:
            with b.if_then(b.icmp_unsigned(">", k.field(Field.PARTS), i64(1))):
                b.call(barrier(module), [k.context])

    longest = b.select(b.icmp_signed(">", steps, i64(0)), active(i64(0)), low)
    with b.if_then(b.icmp_signed("<", longest, high)), once(waited_for=False):  # without a step, they end as they begin
        _carry(k, [(s.size, s.begin, s.end) for s in states], longest, b.sub(high, longest))
    resets = b.icmp_unsigned("!=", k.field(Field.RESET), i64(0))
    with k.loop(i64(0), steps) as turn:
        step = b.sub(b.sub(steps, i64(1)), turn) if backward else turn
        set_sweep(k, turn)
        before, after = (b.add(step, i64(1)), b.sub(step, i64(1))) if backward else (b.sub(step, i64(1)), b.add(step, i64(1)))
        until, was, will = active(step), active(before), active(after)
        first_row, count = b.add(entry(k, Field.OFFSETS, step), low), b.sub(until, low)
        with b.if_then(b.icmp_signed(">", until, was)), once(waited_for=True):
            _carry(k, [(s.size, s.begin, s.now) for s in states], was, b.sub(until, was))
        if not backward:
            with b.if_then(resets), once(waited_for=True):
                b.call(reset, [k.context, first_row, low, count])
        with b.if_then(b.icmp_signed(">", count, i64(0))):
            b.call(body, [k.context, first_row, low, count])
        if backward:
            with b.if_then(resets), once(waited_for=True):
                b.call(reset, [k.context, first_row, low, count])
        with b.if_then(b.icmp_signed(">", until, will)), once(waited_for=False):
            _carry(k, [(s.size, s.next, s.end) for s in states], will, b.sub(until, will))
        _swap(k, states)
    return k.finish()


def _swap(k: Kernel, states: tuple[StateSlot, ...]) -> None:
    """What was written for the next step is read in it."""
    for state in states:
        now, following = (
            k.b.gep(k.context, [i64(k.module.fields[name])], source_etype=I64) for name in (state.now, state.next)
        )  # fmt: skip
        a, c = k.b.load(now, typ=PTR), k.b.load(following, typ=PTR)
        k.b.store(c, now)
        k.b.store(a, following)


def _carry(k: Kernel, moves: Sequence[tuple[int, BufferId, BufferId]], first: llvm.Value, count: llvm.Value) -> None:
    """Rows of states (their size, from which buffer, to which): from where they begin, or to where they end."""
    for size, source, target in moves:
        row = i64(size * k.plan.buffers[source].item_bytes)
        # the loop exchanges buffers, so the context is asked anew
        bases = [(View.whole(name, (size,)), k.field(k.module.fields[name], PTR)) for name in (target, source)]

        def copy(at: llvm.Value, n: llvm.Value, row: llvm.Value = row, bases: list[tuple[View, llvm.Value]] = bases) -> None:
            places = [k.b.gep(base, [k.b.mul(k.row_of(view, at), row)], source_etype=I8) for view, base in bases]
            k.call_intrinsic("llvm.memcpy.p0.p0.i64", VOID, [*places, k.b.mul(n, row), llvm.Constant(I1, 0)])

        if k.module.placed.isdisjoint((source, target)):
            copy(first, count)
        else:
            with k.loop(first, k.b.add(first, count)) as instance:
                copy(instance, i64(1))


def _reset(module: ModuleContext, initial: dict[BufferId, float]) -> llvm.Function:
    """Where a row is marked, its states return to what they were declared to begin as."""
    k = Kernel(module, "reset")
    marks = k.field(Field.RESET, PTR)
    with k.loop(i64(0), k.count) as row:
        place = k.add(k.row, row)
        if module.placed:
            place = k.b.load(k.b.gep(k.field(Field.ROW_TABLE, PTR), [place], source_etype=I64), typ=I64)
        marked = k.b.load(k.b.gep(marks, [place], source_etype=I8), typ=I8)
        with k.b.if_then(k.b.icmp_unsigned("!=", marked, llvm.Constant(I8, 0))):
            for buffer, value in initial.items():
                view = View.whole(buffer, (module.plan.buffers[buffer].size,))
                pointer = k.at_row(view, row)
                with k.loop(i64(0), i64(view.sizes[0])) as index:
                    k.store(k.number(value, module.plan.program.dtype, 1), k.along(pointer, view, [index], [1]),
                            k.element(view), 1, Lanes(1))  # fmt: skip
    return k.finish()


def entry(k: Kernel, table: int, index: llvm.Value) -> llvm.Value:
    """An element of a table of whole numbers that a field points to."""
    return k.b.load(k.b.gep(k.field(table, PTR), [index], source_etype=I64), typ=I64)


def set_sweep(k: Kernel, number: llvm.Value) -> None:
    """Product stages go through their panels forwards and backwards by turns: what they read last is still in the cache."""
    k.set_field(Field.SWEEP, k.b.and_(k.b.add(number, k.field(Field.FIRST_SWEEP)), i64(1)))
