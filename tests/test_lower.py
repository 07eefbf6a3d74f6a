"""Text of LLVM's language is made where there is no LLVM."""

import subprocess
import sys

from ostinato import Layer, cells
from ostinato.compiler import PROGRAMS
from ostinato.lower.module import llvm_of
from ostinato.lower.target import TARGETS
from ostinato.native.code import assembly_of
from ostinato.plan.planner import plan_program
from ostinato.runtime.backends import scheduled_program

WITHOUT_LLVMLITE = """
import sys
sys.modules["llvmlite"] = sys.modules["llvmlite.binding"] = None  # an import of either is refused
from ostinato import Layer, cells
from ostinato.lower.module import llvm_of
from ostinato.lower.target import TARGETS
from ostinato.plan.planner import plan_program
from ostinato.runtime.backends import scheduled_program

layer = Layer(cells.gru, n_inputs=2, n_neurons=3, backend="numpy")
for name in ("forward", "recording", "backward"):
    plan = plan_program(scheduled_program(layer.compiled(), name))
    for target in TARGETS.values():
        assert "define void @ostinato_run(ptr " in llvm_of(plan, target), target
try:
    import ostinato.native.code
except ImportError:
    print("native code needs llvmlite")
"""


def test_the_text_of_a_plan_needs_no_llvmlite():
    result = subprocess.run([sys.executable, "-c", WITHOUT_LLVMLITE], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "native code needs llvmlite", result.stderr


def test_assembly_is_made_for_any_target():
    layer = Layer(cells.recurrent, n_inputs=2, n_neurons=3, backend="numpy")
    for name in PROGRAMS:
        plan = plan_program(scheduled_program(layer.compiled(), name))
        assert "zmm" in assembly_of(plan, TARGETS["x86-64-v4"])
        assert "fmla" in assembly_of(plan, TARGETS["aarch64"])
        assert "ostinato_run" in assembly_of(plan)
    assert llvm_of(plan, TARGETS["aarch64"]).startswith('target triple = "aarch64')
