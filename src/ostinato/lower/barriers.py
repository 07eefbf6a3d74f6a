"""Where threads that share a run wait for each other."""

from __future__ import annotations

from . import llvm_text as llvm
from .context import Field
from .kernel import I64, PTR, VOID, Kernel, ModuleContext, i64

SPINS = 5_000  # turns of a waiting thread before it gives way


def barrier(module: ModuleContext) -> llvm.Function:
    """Wait until all threads of the run are here: a counter that only grows."""
    found: llvm.Function | None = module.llvm.globals.get("barrier")
    if found is not None:
        return found
    k = Kernel(module, "barrier", llvm.FunctionType(VOID, [PTR]))
    b = k.b
    threads = k.field(Field.THREADS)
    with b.if_then(b.icmp_unsigned(">", threads, i64(1))):
        wanted = b.add(k.field(Field.PASSED), threads)
        k.set_field(Field.PASSED, wanted)
        arrived = k.field(Field.ARRIVED, PTR)
        b.atomic_rmw("add", arrived, i64(1), "seq_cst")
        spin, give_way, done = (b.append_basic_block(name) for name in ("spin", "give_way", "done"))
        before = b.block
        b.branch(spin)
        b.position_at_end(spin)
        turns = b.phi(I64)
        turns.add_incoming(i64(0), before)
        here = b.load_atomic(arrived, ordering="acquire", align=8, typ=I64)
        more = b.add(turns, i64(1))
        turns.add_incoming(more, spin)
        after = b.append_basic_block("still_waiting")
        b.cbranch(b.icmp_signed(">=", here, wanted), done, after)
        b.position_at_end(after)
        turns.incomings[1] = (more, after)
        if module.target.triple.startswith("x86"):
            k.call_intrinsic("llvm.x86.sse2.pause", VOID, [])
        b.cbranch(b.icmp_signed("<", more, i64(SPINS)), spin, give_way)
        b.position_at_end(give_way)  # somebody else may need this core
        b.call(k.field(Field.YIELD, PTR), [], llvm.FunctionType(VOID, []))
        turns.add_incoming(i64(0), give_way)
        b.branch(spin)
        b.position_at_end(done)
    return k.finish()
