"""Cells of the library, compiled for one target. A process that LLVM may abort.

python -m tests.foreign cortex-m4               every cell
python -m tests.foreign cortex-m4 lstm gru      these
"""

import sys

from ostinato import Cell, Layer, cells
from ostinato.lower.module import lower
from ostinato.lower.target import TARGETS
from ostinato.native.jit import compile_module
from ostinato.plan.planner import plan_program
from ostinato.runtime.backends import scheduled_program

DOUBLE = ("lstm", "gru_reset_before", "lstm_layer_norm", "attention")  # cells that are compiled in float64 too


def library_cells():
    return [made for name in cells.__all__ if isinstance(made := getattr(cells, name), Cell)]


def objects(cell, target):
    """The object files of a cell, forward and backward."""
    sizes = {name: 2 if name == "n_heads" else 6 for name in cell.dimensions}
    for dtype in ("float32", "float64") if cell.name in DOUBLE else ("float32",):
        layer = Layer(cell, dtype=dtype, backend="native", **sizes)
        for name in ("forward", "backward"):
            plan = plan_program(scheduled_program(layer.compiled(), name))
            yield compile_module(str(lower(plan, target)), target)


if __name__ == "__main__":
    chosen = [cell for cell in library_cells() if cell.name in sys.argv[2:] or not sys.argv[2:]]
    found = [sum(map(len, objects(cell, TARGETS[sys.argv[1]]))) for cell in chosen]
    print(len(found), sum(found))
