"""The machines that code is made for: vector width, registers, and the names LLVM knows them by.

`TARGETS` are named classes of CPU, to make code for another machine and to test narrower vectors on this one; a few have a
second name (`ALIASES`). Which of them this CPU is, native/targets.py finds out. This module needs no llvmlite: text of LLVM's
language is made for any target on any machine.

The width of vectors is decided here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..ir.dtypes import BYTES

# LLVM tunes some CPUs with AVX-512 (Zen 4, Skylake) for 256-bit vectors; explicit 512-bit vectors are faster in our kernels
WIDE = "-prefer-256-bit"


@dataclass(frozen=True)
class Target:
    """A kind of CPU that code is made for.

    Attributes:
        name: what is printed: one of TARGETS, or LLVM's name of this CPU.
        triple: LLVM's triple: architecture, vendor, system.
        cpu: LLVM's name of the CPU.
        features: LLVM's features on top of those of `cpu`: "+avx2,-avx512f".
        vector_bytes: the size of a vector register: 64 (AVX-512), 32 (AVX2), 16 (SSE, NEON, Helium, WebAssembly's SIMD, and
            the least of RISC-V's V); 4 where there are no vectors, and a register holds one number.
        n_registers: how many vector registers there are.
        fma: whether there is a fused multiply-add. Without it the `llvm.fma` of LLVM calls a function of the C library, which
            is right and very slow.
        abi: the calling convention where LLVM asks for one by name.
        needs: the features of the CPU that this runs on without which it cannot run the code: all that LLVM may use for `cpu`.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    n_registers: int
    fma: bool
    abi: str = ""
    needs: tuple[str, ...] = ()

    @property
    def masks(self) -> bool:
        """Whether a part of a vector is loaded and stored as fast as the whole."""
        return self.vector_bytes == 64  # AVX-512

    def lanes(self, dtype: Literal["f32", "f64"]) -> int:
        """How many numbers are computed at once: those of one vector, or one where there are no vectors."""
        return max(1, self.vector_bytes // BYTES[dtype])


_V2 = ("cx16", "popcnt", "sahf", "sse3", "ssse3", "sse4.1", "sse4.2")
_V3 = (*_V2, "avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_ARM7 = "+vfp4,+neon"  # vfp4 has the fused multiply-add
_RISCV = "+m,+a,+f,+d,+c"


def _x86(name: str, features: str, vector_bytes: int, n_registers: int, *, fma: bool, needs: tuple[str, ...]) -> Target:
    """LLVM's CPU has the name of the level."""
    return Target(name, "x86_64-unknown-linux-gnu", name, features, vector_bytes, n_registers, fma, needs=needs)


def _cortex(name: str, architecture: str, vector_bytes: int, n_registers: int) -> Target:
    return Target(name, f"{architecture}-none-eabihf", name, "", vector_bytes, n_registers, fma=True)


def _riscv(bits: int, *, vectors: bool) -> Target:
    name, more = (f"riscv{bits}-v", ",+v") if vectors else (f"riscv{bits}", "")
    abi = "lp64d" if bits == 64 else "ilp32d"
    return Target(name, f"riscv{bits}-unknown-linux-gnu", f"generic-rv{bits}", _RISCV + more, 16 if vectors else 4, 32,
                  fma=True, abi=abi)  # fmt: skip


TARGETS = {
    target.name: target
    for target in (
        _x86("x86-64-v4", WIDE, 64, 32, fma=True, needs=_V4),
        _x86("x86-64-v3", "", 32, 16, fma=True, needs=_V3),
        _x86("x86-64-v2", "", 16, 16, fma=False, needs=_V2),
        _x86("x86-64", "", 16, 16, fma=False, needs=()),
        Target("aarch64", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, fma=True),
        Target("armv7", "armv7-unknown-linux-gnueabihf", "generic", _ARM7, 16, 16, fma=True),
        _cortex("cortex-m4", "thumbv7em", 4, 32),
        _cortex("cortex-m7", "thumbv7em", 4, 32),
        _cortex("cortex-m55", "thumbv8.1m.main", 16, 8),
        _riscv(64, vectors=False),
        _riscv(64, vectors=True),
        _riscv(32, vectors=False),
        _riscv(32, vectors=True),
        Target("wasm32", "wasm32-unknown-unknown", "generic", "", 4, 16, fma=False),
        Target("wasm32-simd128", "wasm32-unknown-unknown", "generic", "+simd128", 16, 16, fma=False),
    )
}
ALIASES = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "sse2": "x86-64", "neon": "aarch64"}
