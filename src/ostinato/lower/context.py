"""The context: a table of 8-byte fields from which the machine code of a program reads all it has to know of a call.

A call fills it in (native/program.py) and hands over its address. First come the fields below, then one pointer for each buffer
of the plan, in the order of `Plan.buffers`. Threads that share a call have a copy each.
"""

from __future__ import annotations

from ..ir.shapes import Varies
from ..plan.plan import Plan
from ..plan.tiling import BLOCK
from ..plan.views import BufferId


class Field:
    """Indices into the context."""

    N_STEPS, N_INSTANCES, N_ROWS = 0, 1, 2
    COUNTS = 3  # pointer: for each step, how many instances run it
    OFFSETS = 4  # pointer: for each step, its first row
    RESET = 5  # pointer: a byte for each row, whether its states are reset there; 0 where none is
    ARENA = 6  # pointer: memory for the internal buffers
    THREAD, THREADS = 7, 8  # this thread, and how many share the call
    BY_NEURONS = 9  # whether threads share the loop by neurons; else by instances
    PART, PARTS = 10, 11  # which part of the panels of a product stage this thread computes, and of how many
    ARRIVED = 12  # pointer: the counter of the barrier, which all threads share
    PASSED = 13  # what that counter was when this thread last went on
    YIELD = 14  # pointer: the C function by which a waiting thread lets others run
    SWEEP = 15  # the sweep direction: 1 where product stages go through their panels from the last to the first (matmul.py)
    # for variants of `run` that address some rows through an index table (module.py), what that table is made of:
    STEP_STRIDE, INSTANCE_STRIDE = 16, 17  # rows of the user's arrays from step to step, from instance to instance
    REVERSE = 18  # whether steps run from the last to the first
    ORDER, LENGTHS = 19, 20  # pointers: the instances in the order of the rows, and their lengths in that order
    ROW_TABLE = 21  # pointer: for each row, its index in the user's arrays; it lies behind the internal buffers
    FIRST_SWEEP = 22  # SWEEP at the first step: a stream, which runs one step a call, goes to and fro as a long run does
    FIRST_BUFFER = 24  # from here on the pointers of the buffers


def buffer_fields(plan: Plan) -> dict[BufferId, int]:
    """Buffer -> the field that points to it."""
    return {name: Field.FIRST_BUFFER + i for i, name in enumerate(plan.buffers)}


def context_size(plan: Plan) -> int:
    """The number of fields."""
    return Field.FIRST_BUFFER + len(plan.buffers)


def internal_buffers(plan: Plan) -> list[BufferId]:
    """The buffers that nobody outside sees: a call has one piece of memory for all of them, its arena."""
    seen = {*plan.ports.values(), *plan.results, *plan.prepared, *(p.panels for p in plan.packings)}
    return [name for name in plan.buffers if name not in seen]


def internal_bytes(plan: Plan) -> dict[Varies, int]:
    """How large the internal buffers are, in bytes for each row of their space; block-local ones are as large as one block."""
    per = dict.fromkeys(Varies, 0)
    for name in internal_buffers(plan):
        buffer = plan.buffers[name]
        if name in plan.block_local:
            per[Varies.NEVER] += BLOCK * buffer.row_bytes
        else:
            per[buffer.space] += buffer.row_bytes
    return per
