"""`ostinato bench`: one cell at given sizes, by every plan, on this machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np

from ..errors import OptionError, lay_out
from ..explain.alternatives import seconds_text
from ..explain.document import Page, Section, Sentence, Table, in_colour, plain
from ..explain.pictures.canvas import Canvas
from ..files import check_writable, write_atomically
from ..layers.layer import Layer
from ..native import threads
from ..plan.machine import Machine, this_machine
from ..plan.phases import CHOICES
from ..process import cores
from .explaining import find_cell, read_settings

PASSES = {"forward": "forward", "both": "forward + backward"}


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        passes: "forward" or "both" (forward and backward together).
        n_instances: how many sequences side by side.
        seconds: plan -> the median of a call.
        runs: the plan that "automatic" takes.
        predicted: plan -> what the cost model says of native code alone; the call from Python is not in it.
        operations: of the call, a multiply-add counted as two.
        share: operations per second of the fastest plan, as a part of what all threads together could do at most: of `peak`.
        peak: operations per second of multiply-adds alone on so many cores: the most that was reached in this run, by them or
            by a call; so no share is above 1.
    """

    passes: str
    n_instances: int
    seconds: dict[str, float]
    runs: str
    predicted: dict[str, float]
    operations: float
    share: float
    peak: float


def bench_command(
    cell_name: str, settings: Sequence[tuple[str, str]], *, steps: int, batches: Sequence[int], dtype: str, seconds: float,
    n_threads: int, output: str, as_json: bool, plain_text: bool,
) -> int:  # fmt: skip
    """Measure a cell by each plan, print a table or JSON, and draw it.

    Args:
        cell_name: a cell of the library, or `path/file.py:name`.
        settings: pairs of a dimension or option and its value, as text.
        steps: of every sequence.
        batches: how many sequences side by side, one row of the table for each.
        dtype: "float32" or "float64".
        seconds: how long to measure each plan for each row, about.
        n_threads: how many threads a call may use.
        output: an SVG file for the plot; "" for none.
        as_json: print JSON instead of the table.
        plain_text: no colour, even in a terminal.
    """
    if output and not output.lower().endswith(".svg"):
        raise OptionError(lay_out(f"bench: the plot is written to a .svg file, not to `{output}`"))
    if output:
        check_writable(output)
    cell = find_cell(cell_name)
    layer = Layer(cell, **read_settings(cell, settings), dtype=dtype, backend="native")
    before = threads.get_threads()
    threads.set_threads(n_threads)
    try:
        rows = measure(layer, steps, batches, seconds)
    finally:
        threads.set_threads(before)
    machine = this_machine()
    if as_json:
        sys.stdout.write(json.dumps(as_data(layer, machine, steps, n_threads, rows), indent=1) + "\n")
    else:
        _print(page(layer, machine, steps, n_threads, rows), plain_text=plain_text)
    if output:
        write_atomically(output, f"{drawing(layer, steps, rows).svg(standalone=True)}\n".encode())
        sys.stderr.write(f"written to {output}\n")
    return 0


def measure(layer: Layer, steps: int, batches: Iterable[int], seconds: float) -> list[Row]:
    """A row for each number of instances, forward and both ways."""
    found: list[Row] = []
    meter = _peak_meter(layer.graph.dtype)  # in turn with the plans: the clock of the processor is the same then
    peak = meter()
    for passes in PASSES:
        names = ("forward",) if passes == "forward" else ("recording", "backward")
        for n_instances in batches:
            measured = layer.measure_plans(steps, n_instances, backward=passes == "both", seconds=seconds)
            reports = [layer.plan_of(name, n_steps=steps, n_instances=n_instances) for name in names]
            predicted = {plan: sum(r.costs[plan].seconds for r in reports) for plan in CHOICES}
            operations = sum(r.costs[r.choice].operations for r in reports)
            choice = " + ".join(dict.fromkeys(r.choice for r in reports))
            found.append(Row(passes, n_instances, measured, choice, predicted, operations, 0.0, 0.0))
            peak = max(peak, meter())
    rates = [row.operations / min(row.seconds.values()) for row in found]
    peak = max(threads.get_threads() * peak, *rates)
    return [replace(row, share=rate / peak, peak=peak) for row, rate in zip(found, rates, strict=True)]


def _peak_meter(dtype: str) -> Callable[[], float]:
    """What measures the operations per second of one core at this moment, a multiply-add counted as two."""
    from ..native.roofline import peak_meter  # native code is loaded for a command that measures it, and for no other

    lanes, rate = this_machine().lanes(dtype), peak_meter()
    return lambda: 2 * lanes * rate()


# --- what is shown ------------------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """What the figures depend on, besides the machine."""
    return {"ostinato": metadata.version("ostinato"), "llvmlite": metadata.version("llvmlite"), "numpy": np.__version__,
            "python": platform.python_version()}  # fmt: skip


def title(layer: Layer, steps: int) -> str:
    """What was measured."""
    sizes = ", ".join(f"{name}={size}" for name, size in layer.graph.sizes)
    return f"{layer.name}({sizes}), {layer.dtype}, {steps} steps"


def conditions(machine: Machine, n_threads: int) -> str:
    """On what it was measured. The machine by its name alone: its kept figures are of another day than the peak of this run."""
    used = f"{n_threads} thread{'s'[: n_threads != 1]}"
    load = f"; load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    made_of = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{machine.name}; {used} of {cores.processors()} cores{load}; {platform.system()}; {made_of}."


def page(layer: Layer, machine: Machine, steps: int, n_threads: int, rows: Sequence[Row]) -> Page:
    """The table with its conditions."""
    headings = ("passes", "instances", *CHOICES, "automatic takes", "fastest, a step", "share of the peak")
    body = []
    for row in rows:
        fastest = min(row.seconds.values())
        times = [seconds_text(row.seconds[plan]) + (" *" if row.seconds[plan] == fastest else "") for plan in CHOICES]
        body.append((PASSES[row.passes], f"{row.n_instances}", *times, row.runs, seconds_text(fastest / steps),
                     f"{100 * row.share:.0f}%"))  # fmt: skip
    blocks = (
        Table(headings, tuple(body), (1, 2, 3, 4, 6, 7)),
        Sentence("Medians of a whole call, the plans in turn; * the fastest. Every plan gives the same bits."),
        Sentence(
            f"The peak is {max(row.peak for row in rows) / 1e9:.0f} GFLOP/s: the most that was reached in this run, by "
            f"multiply-adds alone on {n_threads} core{'s'[: n_threads != 1]} or by a call."
        ),
        Sentence(conditions(machine, n_threads)),
    )
    return Page(title(layer, steps), "", (Section("Times by plan", blocks),))


def as_data(layer: Layer, machine: Machine, steps: int, n_threads: int, rows: Sequence[Row]) -> dict[str, Any]:
    """The same as JSON's kinds; the figures of the machine, kept from when it was measured, are what `predicted` is made of."""
    return {
        "cell": layer.name, "sizes": dict(layer.graph.sizes), "dtype": layer.dtype, "n_steps": steps, "threads": n_threads,
        "machine": asdict(machine), "system": platform.system(), "versions": versions(),
        "rows": [asdict(row) for row in rows],
    }  # fmt: skip


def _print(shown: Page, *, plain_text: bool) -> None:
    if not plain_text and sys.stdout.isatty():
        try:
            from rich.console import Console
        except ImportError:  # colour is an extra, and the text is the same
            pass
        else:
            console = Console()
            console.print(*in_colour(shown, console.width), sep="\n")
            return
    sys.stdout.write(f"{plain(shown, 120)}\n")


BAR, GAP, LEFT, WIDTH = 16, 14, 190, 420  # of the plot, in its own units


def drawing(layer: Layer, steps: int, rows: Sequence[Row]) -> Canvas:
    """A bar for each plan, within each row relative to the slowest of it."""
    height = 70 + len(rows) * (len(CHOICES) * BAR + GAP)
    words = "; ".join(
        f"{PASSES[r.passes]}, {r.n_instances} instances: " + ", ".join(f"{p} {seconds_text(s)}" for p, s in r.seconds.items())
        for r in rows
    )
    canvas = Canvas(LEFT + WIDTH + 150, height, f"Times by plan: {title(layer, steps)}", words)
    canvas.text(12, 26, title(layer, steps), "strong")
    canvas.text(12, 46, "seconds of a call, each group relative to its slowest plan", "small muted")
    y = 64
    for row in rows:
        slowest = max(row.seconds.values())
        name = f"{PASSES[row.passes]}, {row.n_instances}"
        canvas.text(12, y + len(CHOICES) * BAR / 2 + 4, name, "small")
        for i, (plan, seconds) in enumerate(row.seconds.items()):
            canvas.rect(LEFT, y + i * BAR, WIDTH * seconds / slowest, BAR - 3, f"f{i}")
            label = f"{plan} {seconds_text(seconds)}"
            canvas.text(LEFT + WIDTH * seconds / slowest + 6, y + i * BAR + BAR - 5, label, "small")
        y += len(CHOICES) * BAR + GAP
    return canvas
