"""What this machine can do at most, measured by small kernels: multiply-adds, and loads from every level of memory.

The roofline (Williams, Waterman and Patterson 2009): no program is faster than its arithmetic at the peak, nor than its
loads at the bandwidth of the level that they come from.
"""

import ctypes
import time
from dataclasses import dataclass
from itertools import product

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from . import machine

POINTER, COUNT, VOID = ir.PointerType(), ir.IntType(64), ir.VoidType()
SECONDS = 0.002  # of one sample: shorter than what the system gives a neighbour at a time
N_SAMPLES = 30  # of each figure; the best one counts, since a roof is what can be reached
UNROLLED = (4, 8)  # loads in one round of the loop; with 16 the prefetcher of a Zen 4 loses track, and DRAM a factor of three


@dataclass(frozen=True)
class Roofline:
    """Operations per second (2 for a multiply-add) by dtype; bytes per second by level, nearest first; bytes of each cache."""

    peak: dict
    bandwidth: dict
    capacity: dict

    def level(self, n_bytes):
        """The nearest cache that holds so many bytes, or "DRAM"."""
        return next((name for name, capacity in self.capacity.items() if n_bytes <= capacity), "DRAM")

    def seconds(self, problem, *, backward=False):
        """The least time for the products of a problem.

        What is not in the loop can reach the peak. In the loop every step reads the recurrent weights anew, so that it takes
        its arithmetic or its loads, whichever is longer. Backward, there are three products for one: forward, the adjoint
        of the left operand (in the loop for the state), and that of the weight (for all steps at once).
        """
        outside, inside = problem.product_operations
        peak, loads = self.peak["f32"], problem.recurrent_bytes * problem.n_steps
        loop = max(inside / peak, loads / self.bandwidth[self.level(problem.recurrent_bytes)])
        if not backward:
            return outside / peak + loop
        return (3 * outside + inside) / peak + 2 * loop


class Machine:
    """Host code, with vectors as wide as the processor has them."""

    def __init__(self):
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        self.vector_bytes = 64 if features.get("avx512f") else 32 if features.get("avx") else 16
        self.n_registers = 32 if features.get("avx512f") or not features.get("sse2") else 16
        self._features = features.flatten() + (",-prefer-256-bit" if self.vector_bytes == 64 else "")
        self._engines = []

    def compile(self, module):
        """The address of the first function of a module."""
        parsed = llvm.parse_assembly(str(module))
        target = llvm.Target.from_default_triple()
        host = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=self._features, opt=3)
        engine = llvm.create_mcjit_compiler(parsed, host)
        engine.finalize_object()
        self._engines.append(engine)  # the code lives as long as its engine
        return engine.get_function_address(next(iter(module.functions)).name)


def _function(name, arguments):
    module = ir.Module(name)
    function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
    return module, function, ir.IRBuilder(function.append_basic_block("begin"))


def _loop(builder, n, values, body):
    """`n` rounds; `body(index, values)` gives the next values. Returns the last ones."""
    begin = builder.block
    block, end = (builder.function.append_basic_block(name) for name in ("loop", "end"))
    builder.branch(block)
    builder.position_at_end(block)
    index = builder.phi(COUNT)
    phis = [builder.phi(value.type) for value in values]
    new = body(index, phis)
    following = builder.add(index, COUNT(1))
    for phi, first, last in zip((index, *phis), (COUNT(0), *values), (following, *new), strict=True):
        phi.add_incoming(first, begin)
        phi.add_incoming(last, builder.block)
    builder.cbranch(builder.icmp_unsigned("<", following, n), block, end)
    builder.position_at_end(end)
    return new


def _multiply_adds(host, dtype):
    """A kernel (n, two vectors and room for one): n rounds of independent fused multiply-adds; and how many in a round."""
    element = {"f32": ir.FloatType(), "f64": ir.DoubleType()}[dtype]
    lanes = host.vector_bytes // (4 if dtype == "f32" else 8)
    vector = ir.VectorType(element, lanes)
    module, function, builder = _function(f"multiply_adds_{dtype}", [COUNT, POINTER])
    n, memory = function.args
    factors = [builder.load(builder.gep(memory, [COUNT(k)], source_etype=vector), typ=vector, align=16) for k in (0, 1)]
    n_chains = host.n_registers * 3 // 4
    fma = ir.Function(module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}{dtype}")

    def body(_, sums):
        return [builder.call(fma, (*factors, value)) for value in sums]

    # each chain begins elsewhere, so that no two are the same computation
    begin = [builder.fadd(factors[0], ir.Constant(vector, [float(k)] * lanes)) for k in range(n_chains)]
    sums = _loop(builder, n, begin, body)
    for value in sums[1:]:
        sums[0] = builder.fadd(sums[0], value)
    builder.store(sums[0], builder.gep(memory, [COUNT(2)], source_etype=vector), align=16)
    builder.ret_void()
    return host.compile(module), 2 * n_chains * lanes


def _loads(host, vector_bytes, unrolled):
    """A kernel (times, n, memory): reads n blocks of `unrolled` vectors from beginning to end, so many times."""
    vector = ir.VectorType(ir.IntType(32), vector_bytes // 4)
    module, function, builder = _function("loads", [COUNT, COUNT, POINTER])
    times, n, memory = function.args

    def block(index, sums):
        offset = builder.mul(index, COUNT(unrolled))
        new = list(sums)
        for k in range(unrolled):
            address = builder.gep(memory, [builder.add(offset, COUNT(k))], source_etype=vector)
            new[k] = builder.xor(new[k], builder.load(address, typ=vector, align=vector_bytes))
        return new

    zero = ir.Constant(vector, None)
    sums = _loop(builder, times, [zero] * unrolled, lambda _, values: _loop(builder, n, values, block))
    for value in sums[1:]:
        sums[0] = builder.xor(sums[0], value)
    builder.store(sums[0], memory, align=vector_bytes)
    builder.ret_void()
    return host.compile(module)


def _best_rate(run, work):
    """Units of `work` per second. `run(n)` does n times that work; n is doubled until it takes long enough to be timed."""
    n, best = 1, 0.0
    while _seconds(run, n) < SECONDS:
        n *= 2
    for _ in range(N_SAMPLES):
        best = max(best, n * work / _seconds(run, n))
    return best


def _seconds(run, n):
    start = time.perf_counter()
    run(n)
    return time.perf_counter() - start


def aligned(n_bytes):
    """Zeros on a boundary of 64 bytes. Not by np.zeros: only np.empty asks the system for large pages."""
    room = np.empty(n_bytes + 64, np.uint8)
    room[:] = 0
    skip = -room.ctypes.data % 64
    return room[skip : skip + n_bytes]


def caches():
    """Cache -> its bytes; a guess where the system does not say."""
    return {f"L{level}": size for level, size in machine.cache_bytes().items()} or {"L1": 32 << 10, "L2": 512 << 10}


def read_bytes(sizes):
    """Level -> how many bytes to read for its bandwidth: well inside of it, and far outside of the one before.

    Two numbers for a cache, since where the pages of a piece of memory lie decides how much of it stays.
    """
    found, before = {}, 0
    for name, size in sizes.items():
        inside = min(max(4 * before, size // 4), size // 2)
        found[name] = (inside, inside * 3 // 2 // 4096 * 4096)
        before = size
    return {**found, "DRAM": (max(4 * before, 128 << 20),)}


def measure():
    """The roofline of one core, in about four seconds."""
    host, peak, bandwidth = Machine(), {}, {}
    for dtype in ("f32", "f64"):
        address, operations = _multiply_adds(host, dtype)
        kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(address)
        memory = aligned(4 * host.vector_bytes)
        memory.view({"f32": np.float32, "f64": np.float64}[dtype])[:] = 0.5
        peak[dtype] = _best_rate(lambda n, k=kernel, m=memory: k(n * 1000, m.ctypes.data), 1000 * operations)
    # a processor may be better at half a vector, or at fewer loads in a round: the fastest way counts
    for width, unrolled in product((host.vector_bytes, host.vector_bytes // 2), UNROLLED):
        kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(_loads(host, width, unrolled))
        for name, sizes in read_bytes(caches()).items():
            for read in sizes:
                memory, count = aligned(read), read // (unrolled * width)
                rate = _best_rate(lambda n, k=kernel, c=count, m=memory: k(n, c, m.ctypes.data), count * unrolled * width)
                bandwidth[name] = max(rate, bandwidth.get(name, 0.0))
    return Roofline(peak, bandwidth, caches())


def in_words(roofline):
    lines = [f"peak {dtype}: {value / 1e9:.1f} GFLOP/s" for dtype, value in roofline.peak.items()]
    for name, value in roofline.bandwidth.items():
        size = roofline.capacity.get(name)
        text = f" (to {size >> 10} KiB)" if size else ""
        lines.append(f"loads {name}{text}: {value / 1e9:.1f} GB/s")
    return "one core: " + "; ".join(lines)
