"""Ostinato against PyTorch, ONNX Runtime, OpenVINO and JAX on the same work, cores and threads, in one run.

    python -m benchmarks                                     all grids
    python -m benchmarks --quick                             few cases of each
    python -m benchmarks --grid forward --cells lstm --sizes 64 256 --batches 1 32 --peers torch onnxruntime

For every case all contenders get the same weights and inputs, are checked (a wrong one is reported, not timed), and take turns;
medians are compared. Only the ratios of one run mean anything: machines differ, and so do their neighbours (a note says when
those had the core; `--clock processor` leaves out what they took). The roofline of the machine is measured in the same run, and
the share of it that is reached stands in the table.
"""

from . import machine
from .settings import parser


def main():
    arguments = parser().parse_args()
    if arguments.threads > 1 and arguments.clock == "processor":
        parser().error("the processor's time of several threads together is no duration: --clock wall")
    allowed = tuple(machine.allowed_cores())
    cores = machine.pin(arguments.threads)  # before any library that counts cores is loaded

    from .run import run

    run(arguments, cores, allowed)


if __name__ == "__main__":
    main()
