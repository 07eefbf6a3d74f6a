"""What one core can do at most, measured by tiny kernels: multiply-adds side by side and one after another, loads and stores.

The roofline (Williams, Waterman and Patterson 2009): no program is faster than its arithmetic at the peak, nor than its loads
at the bandwidth of the level of memory that they come from. plan/cost_model.py compares plans by these figures. Of several
short samples the best one counts, since a roof is what can be reached.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import inf
from time import perf_counter

import numpy as np

from ..errors import OstinatoError
from ..lower.target import Target
from ..plan.machine import LEVELS, Machine, known, remember, typical
from .jit import compile_module, load
from .targets import host

SECONDS = 150e-6  # of one sample: shorter than what the system gives a neighbour at a time
N_SAMPLES = 8
SIDE_BY_SIDE = 8  # loads of one turn of the loop; with 16 some prefetchers lose track
MOST_BYTES = 96 << 20  # that are read to see how fast DRAM is
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def measured(n_bytes: float = inf) -> Machine:
    """The figures of this machine: those known, else measured now and kept; typical ones where nothing can be measured.

    Args:
        n_bytes: how much memory the programs in question reach. Where the caches hold it, what lies beyond them is not
            measured: new memory of their size takes longer to get than all the rest.
    """
    found = known()
    far = (found or typical()).level(n_bytes) == "DRAM"
    if found is None or (far and found.measured and not found.far):
        target = host()
        try:
            found = measure(target, far=far)
        except (OstinatoError, MemoryError):  # no memory for it, or code that this processor does not take
            found = typical(width=target.vector_bytes)
        found = replace(found, n_registers=target.n_registers)
        remember(found)
    return found


def peak_meter() -> Callable[[], float]:
    """What measures the multiply-adds of vectors that one core does in a second at this moment; it is compiled once.

    The clock of a processor changes with its load and its warmth, so a share of the peak is of one measured in between.
    """
    target = host()
    code = load(compile_module(_module(target), target))
    kernel, memory, n = KERNEL(code.address("side_by_side")), _aligned(4 * target.vector_bytes), 100 * _chains(target)

    def rate() -> float:
        assert code is not None  # the code lives as long as what calls it
        return _best_rate(lambda times: kernel(times * 100, 0, memory.ctypes.data), n)

    return rate


def measure(target: Target, *, far: bool = True) -> Machine:
    """The figures of one core, in some hundredths of a second; `far`: those of memory beyond the caches too."""
    like = typical(width=target.vector_bytes)
    code = load(compile_module(_module(target), target))
    kernels = {name: KERNEL(code.address(name)) for name in ("side_by_side", "one_by_one", "loads", "stores")}
    small = _aligned(4 * target.vector_bytes)
    chains = _chains(target)
    multiply_add = 1 / _best_rate(lambda n: kernels["side_by_side"](n * 100, 0, small.ctypes.data), 100 * chains)
    latency = 1 / _best_rate(lambda n: kernels["one_by_one"](n * 100, 0, small.ctypes.data), 100)
    loads, stores = dict(like.loads), dict(like.stores)
    block, before = SIDE_BY_SIDE * target.vector_bytes, 0
    for level, capacity in [*like.capacity.items(), *([("DRAM", 0)] if far else [])]:
        size = min(max(4 * before, capacity // 4), capacity // 2) if capacity else min(3 * before // 2, MOST_BYTES)
        before = capacity
        if size < 4 * block or (level == "DRAM" and size <= like.capacity.get("L3", 0)):
            continue  # a cache larger than what may be read here: the typical figure stays
        memory, count = _aligned(size), size // block
        few = N_SAMPLES if level != "DRAM" else 2
        for name, table in (("loads", loads), ("stores", stores)):
            table[level] = _best_rate(partial(_repeat, kernels[name], count, memory.ctypes.data), count * block, few)
    _keep_order(loads)
    _keep_order(stores)
    del code
    return replace(like, multiply_add=multiply_add, latency=latency, loads=loads, stores=stores, measured=True, far=far)


def _repeat(kernel: Callable[[int, int, int], None], count: int, place: int, times: int) -> None:
    kernel(times, count, place)


def _keep_order(table: dict[str, float]) -> None:
    """No level is faster than the one before it: a noisy sample says so at times."""
    for near, far in pairwise(LEVELS):
        table[far] = min(table[far], table[near])


def _best_rate(run: Callable[[int], None], work: float, n_samples: int = N_SAMPLES) -> float:
    """Units of work per second: `run(n)` does n times that work."""
    n, once = 1, _seconds(run, 1)
    while once < SECONDS and n < 1 << 20:
        n *= 2
        once = _seconds(run, n)
    best = min([once, *(_seconds(run, n) for _ in range(n_samples - 1))])
    return n * work / max(best, 1e-9)


def _seconds(run: Callable[[int], None], n: int) -> float:
    start = perf_counter()
    run(n)
    return perf_counter() - start


def _aligned(n_bytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Memory that begins at a cache line, of zeros that are really there."""
    room = np.empty(n_bytes + 64, np.uint8)
    room.fill(0)
    skip = -room.ctypes.data % 64
    return room[skip : skip + n_bytes]


# --- the kernels --------------------------------------------------------------------------------------------------------------


def _chains(target: Target) -> int:
    """Multiply-adds that run side by side: enough to fill the units, few enough for the registers."""
    return target.n_registers * 3 // 4


def _module(target: Target) -> str:
    vector = f"<{target.vector_bytes // 4} x float>"
    parts = [f"declare {vector} @llvm.fma.v{target.vector_bytes // 4}f32({vector}, {vector}, {vector})"]
    parts += [_multiply_adds("side_by_side", vector, target, _chains(target)), _multiply_adds("one_by_one", vector, target, 1)]
    parts += [_memory("loads", f"<{target.vector_bytes // 4} x i32>", target, writes=False)]
    parts += [_memory("stores", f"<{target.vector_bytes // 4} x i32>", target, writes=True)]
    return "\n\n".join(parts)


def _multiply_adds(name: str, vector: str, target: Target, chains: int) -> str:
    """n turns of independent multiply-adds; each chain begins elsewhere, so that no two are the same computation."""
    starts = [f"%f{c} = getelementptr {vector}, ptr %memory, i64 {c % 3}" for c in range(chains)]
    starts += [f"%s{c} = load {vector}, ptr %f{c}, align {target.vector_bytes}" for c in range(chains)]
    phis = [f"%a{c} = phi {vector} [ %s{c}, %entry ], [ %b{c}, %turn ]" for c in range(chains)]
    steps = [_step(c, vector, target) for c in range(chains)]
    ends = [f"%t0 = fadd {vector} %b0, %x"] + [f"%t{c} = fadd {vector} %t{c - 1}, %b{c}" for c in range(1, chains)]
    return "\n".join([
        f"define void @{name}(i64 %n, i64 %unused, ptr %memory) {{", "entry:",
        f"%x = load {vector}, ptr %memory, align {target.vector_bytes}", *starts, "br label %turn", "turn:",
        "%i = phi i64 [ 0, %entry ], [ %j, %turn ]", *phis, *steps, "%j = add i64 %i, 1", "%more = icmp ult i64 %j, %n",
        "br i1 %more, label %turn, label %end", "end:", *ends,
        f"store {vector} %t{chains - 1}, ptr %memory, align {target.vector_bytes}", "ret void", "}",
    ])  # fmt: skip


def _step(c: int, vector: str, target: Target) -> str:
    """One multiply-add; of two instructions where there is none of both."""
    if not target.fma:
        return f"%m{c} = fmul {vector} %a{c}, %x\n%b{c} = fadd {vector} %m{c}, %x"
    return f"%b{c} = call {vector} @llvm.fma.v{target.vector_bytes // 4}f32({vector} %a{c}, {vector} %x, {vector} %x)"


def _memory(name: str, vector: str, target: Target, *, writes: bool) -> str:
    """Reads (or writes) `blocks` blocks of SIDE_BY_SIDE vectors from beginning to end, `times` times."""
    lanes = range(SIDE_BY_SIDE)
    outer = [f"%o{k} = phi {vector} [ zeroinitializer, %entry ], [ %n{k}, %after ]" for k in lanes]
    inner = [f"%a{k} = phi {vector} [ %o{k}, %outer ], [ %n{k}, %inner ]" for k in lanes]
    body = []
    for k in lanes:
        body += [f"%d{k} = add i64 %base, {k}", f"%p{k} = getelementptr {vector}, ptr %memory, i64 %d{k}"]
        if writes:
            body += [
                f"store {vector} %a{k}, ptr %p{k}, align {target.vector_bytes}",
                f"%n{k} = add {vector} %a{k}, zeroinitializer",
            ]
        else:
            body += [f"%v{k} = load {vector}, ptr %p{k}, align {target.vector_bytes}", f"%n{k} = xor {vector} %a{k}, %v{k}"]
    ends = ["%t0 = add " + f"{vector} %n0, %n1"] + [f"%t{k - 1} = xor {vector} %t{k - 2}, %n{k}" for k in lanes[2:]]
    return "\n".join([
        f"define void @{name}(i64 %times, i64 %blocks, ptr %memory) {{", "entry:", "br label %outer", "outer:",
        "%time = phi i64 [ 0, %entry ], [ %time.next, %after ]", *outer, "br label %inner", "inner:",
        "%i = phi i64 [ 0, %outer ], [ %i.next, %inner ]", *inner, f"%base = mul i64 %i, {SIDE_BY_SIDE}", *body,
        "%i.next = add i64 %i, 1", "%more = icmp ult i64 %i.next, %blocks", "br i1 %more, label %inner, label %after",
        "after:", "%time.next = add i64 %time, 1", "%again = icmp ult i64 %time.next, %times",
        "br i1 %again, label %outer, label %end", "end:", *ends,
        f"store {vector} %t{SIDE_BY_SIDE - 2}, ptr %memory, align {target.vector_bytes}", "ret void", "}",
    ])  # fmt: skip
