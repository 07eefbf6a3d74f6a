"""LLVM code becomes machine code, and machine code becomes functions that can be called.

    compile_module(ir_text, target) -> object file      2 to 30 ms
    load(object file) -> Code                           1 ms
    Code.address("forward")                             what ctypes calls

**Which passes.** The lowering writes single assignment with explicit vectors, tiles and unrolling: there is nothing left for
the middle end of LLVM to find. Measured on an LSTM kernel of 1233 lines (tiles of 4, 2 and 1 rows), the code is equally fast
with no pass at all (29 ms), with the few below (30 ms), and with LLVM's whole -O2 (80 ms): the code generator itself moves
what does not change out of loops. A kernel written carelessly (accumulators in stack slots, addresses computed anew at every
use) was as fast with the few as with -O2, too. So at the default speed we run what the lowering may rely on for convenience:
inlining of functions marked `alwaysinline`, stack slots to values, and tidying of branches (0.4 ms). Vectorisers never run:
they would undo the plan. No pass changes a value, whatever the speed, because the lowering asks for no fast-math.

**Memory.** Every Code has a JIT of its own: its library can be unloaded with nothing left behind (a shared one keeps 10 kB
for each library it ever had), for 0.6 ms more per load. Code, constants and their stubs lie in one mapping, so the small code
model is always in reach of itself; functions of the C library (memset, memcpy) are reached through stubs.

**Interrupts.** llvmlite frees what an interrupt leaves half made twice, or in the wrong order, which ends the process. So
nothing here is interrupted: Ctrl-C goes on its way when it is done, some hundredths of a second later.

**Threads.** llvmlite lets one call into LLVM happen at a time, with the GIL released; every compilation has an LLVM context of
its own, freed at its end. A fork waits for the one call that is under way, so that the child finds LLVM, and the lock that
llvmlite has on it, at rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import llvmlite
import llvmlite.binding as llvm

from ..errors import InternalError, lay_out
from ..lower import llvm_text
from ..lower.target import Target
from ..process import forking
from ..process.interrupts import undisturbed
from .targets import prepare

llvm_text.SHORT_SPLAT = tuple(int(part) for part in llvmlite.__version__.split(".")[:2]) >= (0, 45)  # LLVM 20; 0.44 has 15

Speed = Literal[0, 1, 2, 3]
SHOWN = 30  # lines of LLVM code in an error message, at each end

forking.held(llvm.ffi.lib._lock)  # noqa: SLF001 - llvmlite has no other way to say that nobody may be in LLVM now


@undisturbed
def compile_module(ir_text: str, target: Target, *, speed: Speed = 2) -> bytes:
    """The object file of a module in LLVM's textual form.

    Args:
        ir_text: the module. What it says of triple and data layout is replaced by what the target says.
        target: the CPU.
        speed: 0: half the time to compile, and code of half the speed; 1: inlining alone; 2 (default): the passes of this
            file's docstring; 3: all of LLVM's -O2 except its vectorisers, for code that is not written in tiles.

    Returns:
        An object file in the format of the target's system, for `load` or for a linker (position independent).

    Raises:
        InternalError: LLVM does not accept the text.
    """
    with _machine(target, speed) as machine, _module(ir_text, target, machine) as module, _ours("compile", ir_text):
        _optimise(module, machine, speed)
        return bytes(machine.emit_object(module))


@undisturbed
def assembly(ir_text: str, target: Target, *, speed: Speed = 2) -> str:
    """The same code as text, to look at. Works for every target, whether this CPU can run it or not.

    Raises:
        InternalError: LLVM does not accept the text.
    """
    with _machine(target, speed) as machine, _module(ir_text, target, machine) as module, _ours("compile", ir_text):
        _optimise(module, machine, speed)
        return str(machine.emit_assembly(module))


class Code:
    """Machine code in memory, until this is collected. Whoever calls one of its functions must keep it.

    Made by `load`. Safe to use from several threads.
    """

    def __init__(self, object_bytes: bytes) -> None:
        self._lock = forking.new_lock()
        self._addresses: dict[str, int] = {}
        with _ours("load"):
            self._jit = llvm.create_lljit_compiler(use_jit_link=True, suppress_errors=True)
            library = llvm.JITLibraryBuilder().add_object_img(object_bytes).add_current_process()
            # llvmlite unloads the library as soon as one tracker of it is collected: each of them is kept
            self._trackers = [library.link(self._jit, "ostinato")]

    def address(self, symbol: str) -> int:
        """Where a function or a constant is.

        Raises:
            InternalError: there is nothing of this name, or what it calls cannot be found.
        """
        with self._lock:
            if symbol not in self._addresses:
                self._addresses[symbol] = self._find(symbol)
            return self._addresses[symbol]

    @undisturbed
    def _find(self, symbol: str) -> int:
        with _ours("find", symbol=symbol):
            tracker = self._jit.lookup("ostinato", symbol)
        self._trackers.append(tracker)
        return int(tracker[symbol])


@undisturbed
def load(object_bytes: bytes) -> Code:
    """Machine code in memory, from an object file that `compile_module` made for this CPU.

    The file is trusted: what it says is run. cache.py verifies what it reads.

    Raises:
        InternalError: LLVM cannot load it.
    """
    prepare(llvm.get_process_triple())
    return Code(object_bytes)


# --- the parts ----------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _machine(target: Target, speed: Speed) -> Iterator[llvm.TargetMachine]:
    """LLVM's description of a target. The code model is the small one, position independent: it can be loaded anywhere."""
    prepare(target.triple)
    with _ours("target"):
        made = llvm.Target.from_triple(target.triple).create_target_machine(
            target.cpu, target.features, opt=min(speed, 2), reloc="pic", codemodel="small", jit=True, abiname=target.abi
        )
    with made:
        yield made


@contextlib.contextmanager
def _module(ir_text: str, target: Target, machine: llvm.TargetMachine) -> Iterator[llvm.ModuleRef]:
    """The text, read and verified, in a context of its own: LLVM keeps the types of a context for as long as that lives."""
    with _context() as context:
        with _ours("read", ir_text):
            module = llvm.parse_assembly(ir_text, context)
        with module:
            with _ours("verify", ir_text):
                module.verify()
            module.triple, module.data_layout = target.triple, str(machine.target_data)
            yield module


def _context() -> llvm.context.ContextRef:
    """A context of its own, in which pointers are opaque: llvmlite 0.44 makes others unless the whole process says so."""
    if hasattr(llvmlite, "opaque_pointers_enabled"):
        return llvm.context.ContextRef(llvm.ffi.lib.LLVMPY_ContextCreate(True))
    return llvm.create_context()


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine, speed: Speed) -> None:
    options = llvm.create_pipeline_tuning_options(2)
    options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    if speed == 3:
        passes = builder.getModulePassManager()
    else:
        passes = llvm.create_new_module_pass_manager()
        names = ["always_inliner", "sroa", "simplify_cfg"] if speed == 2 else ["always_inliner"]
        # llvmlite 0.44 offers the last one alone; the lowering needs none of them
        for add in filter(None, (getattr(passes, f"add_{name}_pass", None) for name in names)):
            add()
    passes.run(module, builder)


@contextlib.contextmanager
def _ours(action: str, ir_text: str = "", symbol: str = "") -> Iterator[None]:
    """What LLVM refuses is a bug of ours, and says so."""
    try:
        yield
    except (RuntimeError, ValueError) as problem:
        what = f"{action} `{symbol}`" if symbol else action
        reason = "\n".join(f"  {line}" for line in str(problem).strip().splitlines())
        headline = f"this is a bug of Ostinato, in the stage `LLVM` ({what}); please report it"
        raise InternalError("\n".join(filter(None, (lay_out(headline), reason, _shortened(ir_text))))) from None


def _shortened(ir_text: str) -> str:
    """The first and last lines of a module."""
    lines = ir_text.splitlines()
    if len(lines) > 2 * SHOWN:
        left_out = len(lines) - 2 * SHOWN
        lines = [*lines[:SHOWN], f"... {left_out} lines ...", *lines[-SHOWN:]]
    return "\n" + "\n".join(lines) if lines else ""
