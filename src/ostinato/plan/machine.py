"""What this machine can do: width of its vectors, sizes of its caches, and how fast it multiplies, reads and writes.

The figures are measured once, when native code is first compiled here (native/roofline.py, some hundredths of a second; of what
lies beyond the caches, when a program first reaches there), and kept beside the compiled code, in a file for each kind of
processor. Where nothing was measured or kept, typical figures stand in for them. They decide which plan runs, never what comes
out. Reading them needs no llvmlite.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

from ..files import replace_file
from ..ir.dtypes import BYTES

LEVELS = ("L1", "L2", "L3", "DRAM")
# bytes of a vector, by the names of lower/target.py: of what may run here
WIDTHS = {"x86-64-v4": 64, "x86-64-v3": 32, "x86-64-v2": 16, "x86-64": 16, "aarch64": 16}
WIDTHS |= {"avx512": WIDTHS["x86-64-v4"], "avx2": WIDTHS["x86-64-v3"], "sse2": WIDTHS["x86-64"], "neon": WIDTHS["aarch64"]}
# bytes, where neither the system's files nor sysconf say: what most x86-64 cores of the last ten years have at least
TYPICAL_CACHES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20}
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
TARGET = "OSTINATO_TARGET"
FULL = 0.9  # of the second cache: how much of it can be counted on, since other values pass through it too. Chosen by trial
# Of the last cache: how much of it can be counted on. Other cores have their part of it, and on rented machines nobody says how
# large that is. Chosen by trial.
SHARED = 0.5
FORMAT = 2  # of the file of figures; another number makes old files be measured anew


@dataclass(frozen=True)
class Machine:
    """The figures of one core.

    Attributes:
        name: the processor, and how wide its vectors are.
        vector_bytes, n_registers: of a vector register, and how many there are.
        multiply_add: seconds for one multiply-add of a vector, when many run side by side.
        latency: seconds until the result of one can be used by the next.
        capacity: bytes of each cache.
        loads, stores: bytes per second by level (LEVELS).
        measured: whether this was measured here.
        far: whether memory beyond the caches was measured too.
    """

    name: str
    vector_bytes: int
    n_registers: int
    multiply_add: float
    latency: float
    capacity: Mapping[str, int]
    loads: Mapping[str, float]
    stores: Mapping[str, float]
    measured: bool
    far: bool = False

    def level(self, n_bytes: float) -> str:
        """The nearest cache that holds so many bytes (beyond L1, beside what else passes through it), or "DRAM"."""
        for name, room in self._rooms:
            if n_bytes <= room:
                return name
        return "DRAM"

    @cached_property
    def _rooms(self) -> list[tuple[str, float]]:
        sure = {"L1": 1.0, "L2": FULL, "L3": SHARED}
        return [(name, self.capacity[name] * part) for name, part in sure.items() if name in self.capacity]

    def lanes(self, dtype: str) -> int:
        """How many numbers are in a vector; `dtype` is "f32" or "f64"."""
        return max(1, self.vector_bytes // BYTES[dtype])

    def peak(self, dtype: str) -> float:
        """Operations per second, a multiply-add counted as two."""
        return 2 * self.lanes(dtype) / self.multiply_add

    def __str__(self) -> str:
        figures = [f"{self.peak('f32') / 1e9:.0f} GFLOP/s (float32)"]
        for level in LEVELS:
            size = self.capacity.get(level)
            held = f" to {bytes_text(size)}" if size else ""
            figures.append(f"{level}{held} {self.loads[level] / 1e9:.0f} GB/s")
        origin = "measured" if self.measured else "typical figures, nothing measured yet"
        if self.measured and not self.far:
            origin += " but for DRAM, a typical figure"
        return f"{self.name}; one core: {', '.join(figures)} ({origin})"


def bytes_text(n_bytes: float) -> str:
    """A number of bytes in its own unit.

    >>> bytes_text(720), bytes_text(131_072), bytes_text(33_554_432)
    ('720 bytes', '128 KiB', '32 MiB')
    """
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n_bytes >= 10 * size or (n_bytes >= size and n_bytes % size == 0):
            return f"{n_bytes / size:.4g} {unit}"
    return f"{n_bytes:,.0f} bytes"


# --- what can be known without measuring --------------------------------------------------------------------------------------


def processor_name() -> str:
    """The name of the processor, as the system has it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "an unknown processor"


def cache_bytes(folder: Path = CACHES) -> dict[str, int]:
    """The data caches of one core: level -> bytes; from the system's files, from sysconf, or typical sizes."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        for index in sorted(folder.glob("index*")):
            if (index / "type").read_text().strip() != "Instruction":
                size = (index / "size").read_text().strip()
                found[f"L{(index / 'level').read_text().strip()}"] = int(size[:-1]) << {"K": 10, "M": 20}[size[-1]]
    if "L1" not in found and hasattr(os, "sysconf"):
        names = {"L1": "SC_LEVEL1_DCACHE_SIZE", "L2": "SC_LEVEL2_CACHE_SIZE", "L3": "SC_LEVEL3_CACHE_SIZE"}
        known = {level: os.sysconf(name) for level, name in names.items() if name in os.sysconf_names}
        found = {level: size for level, size in known.items() if size > 0}
    if "L1" not in found:
        return dict(TYPICAL_CACHES)
    return {level: found[level] for level in LEVELS if level in found}


@cache
def _core() -> tuple[str, dict[str, int]]:
    """The name of the processor and its caches; a file read for each of them."""
    return processor_name(), cache_bytes()


def vector_bytes() -> int:
    """The width of vectors that native code uses here, as native/targets.py finds it, but without llvmlite."""
    wanted = os.environ.get(TARGET, "")
    if wanted in WIDTHS:
        return WIDTHS[wanted]
    features = _features()
    if features.get("X86_V4") or features.get("AVX512_SKX"):
        return WIDTHS["avx512"]
    return WIDTHS["avx2" if features.get("AVX2") and features.get("FMA3") else "sse2"]


@cache
def _features() -> Mapping[str, bool]:
    """What the processor has, as NumPy found out when it was loaded."""
    try:
        module = import_module("numpy._core._multiarray_umath")
    except ImportError:  # where NumPy has it elsewhere, the narrowest vectors are assumed
        return {}
    return getattr(module, "__cpu_features__", {})


def typical(*, width: int | None = None) -> Machine:
    """Figures of an ordinary core, with the vectors and caches of this one."""
    width = width or vector_bytes()
    cycle = 1 / 3e9
    reads = {"L1": 2 * min(width, 32) / cycle, "L2": 0.5 * width / cycle, "L3": 30e9, "DRAM": 12e9}
    writes = {"L1": width / 2 / cycle, "L2": 40e9, "L3": 15e9, "DRAM": 8e9}
    registers = 32 if width == WIDTHS["avx512"] or platform.machine().lower() in ("arm64", "aarch64") else 16
    side_by_side = cycle * max(1, width / 32) / 2  # two units of up to 256 bits
    name, caches = _core()
    return Machine(f"{name} ({8 * width}-bit vectors)", width, registers, side_by_side, 4 * cycle, dict(caches), reads, writes,
                   measured=False)  # fmt: skip


# --- what was measured --------------------------------------------------------------------------------------------------------

_KNOWN: dict[str, Machine] = {}  # the target asked for -> the figures that this process uses


def this_machine() -> Machine:
    """The figures that were measured on this machine, by this process or an earlier one; typical ones where there are none."""
    return known() or typical()


def known() -> Machine | None:
    """The figures that this process uses, or that an earlier one has kept."""
    target = os.environ.get(TARGET, "")
    if target not in _KNOWN:
        found = _kept()
        if found is None:
            return None
        _KNOWN[target] = found
    return _KNOWN[target]


def remember(machine: Machine) -> None:
    """Use these figures in this process; keep what was measured for the next ones, where there is a folder for it."""
    _KNOWN[os.environ.get(TARGET, "")] = machine
    path = _path()
    if path is None or not machine.measured:
        return
    with contextlib.suppress(OSError):  # a full disk: they are measured again
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, json.dumps({"format": FORMAT, **asdict(machine)}, indent=1).encode(), cache=True)


def _kept() -> Machine | None:
    """What an earlier process has measured here; None where there is nothing, or nothing that makes sense."""
    path = _path()
    if path is None:
        return None
    try:
        saved = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return _read(saved)


def _read(saved: Any) -> Machine | None:
    """Figures from a file: all of them there, above 0, and of this machine."""
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        return None
    width, registers = saved.get("vector_bytes"), saved.get("n_registers")
    if width not in WIDTHS.values() or registers not in (16, 32):
        return None
    like = typical(width=width)
    tables = [saved.get(name) for name in ("loads", "stores")]
    if saved.get("name") != like.name or not all(isinstance(t, dict) and set(t) == set(LEVELS) for t in tables):
        return None
    figures = [saved.get("multiply_add"), saved.get("latency"), *(f for table in tables if table for f in table.values())]
    if not all(isinstance(f, float) and isfinite(f) and f > 0 for f in figures) or not isinstance(saved.get("far"), bool):
        return None
    return replace(like, n_registers=registers, multiply_add=figures[0], latency=figures[1], loads=saved["loads"],
                   stores=saved["stores"], measured=True, far=saved["far"])  # fmt: skip


def _path() -> Path | None:
    """The file for this kind of processor."""
    folder = cache_folder()
    name, caches = _core()
    kind = f"{name} {platform.machine()} {os.environ.get(TARGET, '')} {caches}"
    return None if folder is None else folder / f"machine-{hashlib.sha256(kind.encode()).hexdigest()[:16]}.json"


def cache_folder() -> Path | None:
    """The folder of compiled code, as native/cache.py has it, found without llvmlite; None: nothing is kept."""
    chosen = os.environ.get("OSTINATO_CACHE")
    if chosen in ("", "0"):
        return None
    try:
        if chosen is not None:
            return Path(chosen).expanduser()
        if sys.platform == "win32":
            return Path(os.environ["LOCALAPPDATA"]) / "ostinato"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "ostinato"
        named = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (named if named.is_absolute() else Path.home() / ".cache") / "ostinato"
    except (RuntimeError, KeyError):
        return None
