"""What is printed and written: lines as they are measured, a JSON file with everything, tables in Markdown."""

import json
from dataclasses import asdict
from pathlib import Path

from .results import OURS, geometric_mean

UNITS = {"stream": ("us", 1e6), "compile": ("s", 1.0)}  # of a grid's times; milliseconds elsewhere
TITLES = {
    "forward": "Forward",
    "backward": "Forward and backward",
    "own forward": "Own cells, forward",
    "own backward": "Own cells, forward and backward",
    "stream": "One streamed step",
    "plans": "Plans of one cell",
    "compile": "Until the first result, in a fresh process",
    "threads": "Two threads",
}
FIGURES = (
    "GFLOP/s", "of peak", "weights in", "of its bandwidth", "of roofline", "per operation, LSTM = 1", "against one thread",
)  # fmt: skip


def unit(grid):
    return UNITS.get(grid, ("ms", 1e3))


def number(value):
    """Three significant digits."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def figure(name, value):
    """A detail: a share in percent, a level of memory by its name, another number as it is."""
    if isinstance(value, str):
        return value
    return f"{value:.0%}" if name.startswith("of ") and value is not None else number(value)


def contenders(rows):
    """Ours and its variants first, then the peers, as they come."""
    names = list(dict.fromkeys(name for row in rows for name in row.times))
    return sorted(names, key=lambda name: not name.startswith(OURS))


def details(rows):
    """The names of further figures, in one order; what a peer does not have is no figure."""
    names = {name for row in rows for name in row.details}
    return [name for name in FIGURES if name in names]


def line(row):
    """One row while the grid is running."""
    name, factor = unit(row.grid)
    text = f"{row.grid:<12} {row.cell:<20} H {row.size:<4} B {row.n_instances:<3} T {row.n_steps:<4}"
    text += "  ".join(f"{who} {number(times.median * factor)}" for who, times in row.times.items()) + f" {name}"
    if row.ratio is not None:
        text += f"  | {number(row.ratio)} x {row.peers[0]}"
    figures = [f"{key} {figure(key, row.details[key])}" for key in details([row])]
    worst = max(row.differences.values(), default=None)
    figures += [f"differences to {worst:.0e}"] if worst is not None else []
    return "\n    ".join([text + (f"  | {', '.join(figures)}" if figures else ""), *row.notes])


def table(rows):
    """A grid in Markdown: medians, the best of each row in bold, and the ratio of the best peer to ours."""
    grid, names, extra = rows[0].grid, contenders(rows), details(rows)
    name, factor = unit(grid)
    several = len({row.n_steps for row in rows}) > 1
    compared = any(row.ratio is not None for row in rows)
    head = ["cell", "neurons", "instances", *(["steps"] if several else []), *(f"{who} ({name})" for who in names)]
    head += (["best peer / ours"] if compared else []) + extra
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for row in rows:
        best = min(times.median for times in row.times.values()) if row.times else None
        cells = [row.cell, str(row.size), str(row.n_instances), *([str(row.n_steps)] if several else [])]
        for who in names:
            text = number(row.times[who].median * factor) if who in row.times else "-"
            cells.append(f"**{text}**" if who in row.times and row.times[who].median == best else text)
        cells += [number(row.ratio)] if compared else []
        cells += [figure(key, row.details.get(key)) for key in extra]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compact(rows):
    """How many times as fast as the best peer: cells and instances down, neurons across; "" where nothing is compared."""
    compared = {(row.cell, row.n_instances, row.size): row for row in rows if row.ratio is not None}
    if not compared:
        return ""
    sizes = sorted({size for _, _, size in compared})
    lines = [f"| best peer / ostinato | {' | '.join(f'H = {size}' for size in sizes)} |", f"| --- |{' ---: |' * len(sizes)}"]
    for cell, batch in dict.fromkeys((cell, batch) for cell, batch, _ in compared):
        found = [compared.get((cell, batch, size)) for size in sizes]
        texts = ["-" if row is None else f"{number(row.ratio)} ({row.peers[0]})" for row in found]
        lines.append(f"| {cell}, {batch} instance{'s'[: batch != 1]} | {' | '.join(texts)} |")
    return "\n".join(lines)


def summary(rows):
    """One line: the geometric mean of the ratios, and in how many cases ours is the fastest; "" where nothing is compared."""
    ratios = [row.ratio for row in rows if row.ratio is not None]
    if not ratios:
        return ""
    won = sum(ratio >= 1 for ratio in ratios)
    return (
        f"{TITLES[rows[0].grid]}: {number(geometric_mean(ratios))} times as fast as the best peer of each case (geometric mean;"
        f" {number(min(ratios))} to {number(max(ratios))}); fastest in {won} of {len(ratios)}"
    )


def by_grid(rows):
    found = {}
    for row in rows:
        found.setdefault(row.grid, []).append(row)
    return found


def markdown(machine, roofline, rows, remarks):
    """Everything in one page."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [f"Measured on {machine['processor']}, core {machine['cores']}; {versions}.", *([roofline] if roofline else [])]
    parts += remarks
    for grid, found in by_grid(rows).items():
        notes = [f"{row.cell}, {row.size} neurons, {row.n_instances} instances: {note}" for row in found for note in row.notes]
        parts += [f"### {TITLES[grid]}", *filter(None, [summary(found), compact(found)]), table(found), *notes]
    return "\n\n".join(parts) + "\n"


def save(folder, machine, roofline, rows, remarks):
    """results.json, with everything that was measured."""
    everything = {
        "machine": machine,
        "roofline": None if roofline is None else asdict(roofline),
        "rows": [asdict(row) for row in rows],
        "remarks": remarks,
    }
    (Path(folder) / "results.json").write_text(json.dumps(everything, indent=1) + "\n")
