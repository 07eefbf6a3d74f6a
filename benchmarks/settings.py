"""What was asked for: the command line, and what follows from it. Loads no numeric library."""

import argparse
from dataclasses import dataclass, field
from typing import Any

GRIDS = ("forward", "backward", "own", "stream", "plans", "compile", "threads")
PEERS = ("torch", "onnxruntime", "openvino", "jax")


@dataclass
class Settings:
    """What every grid is told; None: all of them."""

    seconds: float = 0.3
    clock: str = "wall"
    steps: int = 100
    threads: int = 1
    quick: bool = False
    cells: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None
    batches: tuple[int, ...] | None = None
    torch_compile: bool = False
    options: dict[str, Any] = field(default_factory=dict)  # of every layer of ours
    peers: dict[str, Any] = field(default_factory=dict)  # name -> module
    roofline: Any = None
    allowed_cores: tuple[int, ...] = ()


def parser():
    found = argparse.ArgumentParser(prog="python -m benchmarks", description="Ostinato against its peers, on the same cores.")
    add = found.add_argument
    add("--grid", nargs="+", choices=GRIDS, default=list(GRIDS), help="these grids alone")
    add("--quick", action="store_true", help="few cases of each grid")
    add("--seconds", type=float, default=0.3, help="for each contender in each case (0.3)")
    add("--clock", choices=("wall", "processor"), default="wall", help="processor: leaves out what neighbours take (wall)")
    add("--steps", type=int, default=100, help="steps of a sequence (100)")
    add("--cells", nargs="+", help="these cells alone")
    add("--sizes", nargs="+", type=int, help="these numbers of neurons, instead of the grid's")
    add("--batches", nargs="+", type=int, help="these numbers of instances, instead of the grid's")
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="these peers alone; none: ours alone")
    add("--threads", type=int, default=1, help="for everybody, on as many cores (1)")
    add("--backend", help="of our layers, instead of the default one")
    add("--torch-compile", action="store_true", help="in the compile grid: torch.compile of a layer-norm LSTM (minutes)")
    add("--output", default="build/benchmarks", help="folder for the figures, tables and plots (build/benchmarks)")
    return found


def settings(arguments):
    """Of parsed arguments; peers and roofline are added when their libraries may be loaded."""

    def chosen(values):
        return None if values is None else tuple(values)

    return Settings(
        seconds=arguments.seconds,
        clock=arguments.clock,
        steps=arguments.steps,
        threads=arguments.threads,
        quick=arguments.quick,
        cells=chosen(arguments.cells),
        sizes=chosen(arguments.sizes),
        batches=chosen(arguments.batches),
        torch_compile=arguments.torch_compile,
        options={"backend": arguments.backend} if arguments.backend else {},
    )
