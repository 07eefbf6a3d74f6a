"""One picture of a grid: how many times as fast as the best peer, for every cell, size and number of instances."""

from pathlib import Path

from .report import TITLES, by_grid


def draw(folder, rows):
    """A PNG and an SVG file for each grid that is compared with peers; their paths, and why there is none."""
    try:
        import matplotlib as mpl
    except ImportError:
        return [], "plots: skipped, matplotlib not installed"
    mpl.use("Agg")
    paths = []
    for grid, found in by_grid(rows).items():
        compared = [row for row in found if row.ratio is not None]
        if compared and grid not in ("compile", "threads"):
            figure = figure_of(TITLES[grid], compared)
            for kind in ("png", "svg"):
                path = Path(folder) / f"{grid.replace(' ', '_')}.{kind}"
                figure.savefig(path, dpi=150, bbox_inches="tight")
                paths.append(path)
    return paths, ""


def figure_of(title, rows):
    """A panel for each cell; neurons from left to right, a line for each number of instances."""
    from matplotlib.figure import Figure

    cells = list(dict.fromkeys(row.cell for row in rows))
    batches = sorted({row.n_instances for row in rows})
    sizes = sorted({row.size for row in rows})
    figure = Figure(figsize=(max(3.2 * len(cells), 4), 3.2))
    axes = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
    for panel, cell in zip(axes, cells, strict=True):
        for k, batch in enumerate(batches):
            points = sorted((row.size, row.ratio) for row in rows if (row.cell, row.n_instances) == (cell, batch))
            colour = f"C{k}"
            panel.plot(*zip(*points, strict=True), marker="o", color=colour, label=f"{batch} instance{'s'[: batch != 1]}")
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}x")
        panel.set_xlabel("neurons")
        panel.set_title(cell.replace("_", " "), fontsize=10)
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("speed / that of the best peer")
    axes[-1].legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    return figure
