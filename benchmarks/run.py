"""The run: loads the libraries (the cores are pinned by now), goes through the grids, prints and writes."""

from importlib import util
from pathlib import Path

from . import grids, machine, peers, plot, report, variants
from .own_cells import ALL
from .settings import settings as settings_of

GRIDS = {
    "forward": grids.forward,
    "backward": grids.backward,
    "own": grids.own,
    "stream": grids.stream,
    "plans": variants.plans,
    "compile": variants.compile_time,
    "threads": variants.threads,
}


def run(arguments, cores, allowed):
    """Measure and report. Returns the rows."""
    settings = settings_of(arguments)
    for name in settings.cells or ():
        if name not in ALL:
            raise SystemExit(f"there is no cell {name}; there are {', '.join(ALL)}")
    settings.allowed_cores = allowed
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    settings.peers, remarks = peers.load(arguments.peers)
    about = machine.description(cores)
    print(f"{about['processor']}, cores {cores}, load {about['load_average']}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    roof = ""
    if settings.threads == 1:
        settings.roofline, roof = measured_roofline()
        print(roof)
    print(*remarks, sep="\n", end="\n" if remarks else "")
    rows = []
    for name in arguments.grid:
        for found in GRIDS[name](settings):
            if isinstance(found, str):
                remarks.append(found)
                print(found, flush=True)
                continue
            rows.append(found)
            print(report.line(found), flush=True)
            report.save(folder, about, settings.roofline, rows, remarks)  # what is measured is kept, whatever comes
    report.save(folder, about, settings.roofline, rows, remarks)
    finish(folder, about, roof, rows, remarks)
    return rows


def measured_roofline():
    """(the roofline, in words); (None, why not)."""
    if util.find_spec("llvmlite") is None:
        return None, "roofline: skipped, llvmlite not installed"
    from . import roofline

    found = roofline.measure()
    return found, roofline.in_words(found)


def finish(folder, about, roof, rows, remarks):
    """The table, the plots, and one line for each grid."""
    (folder / "results.md").write_text(report.markdown(about, roof, rows, remarks))
    paths, missing = plot.draw(folder, rows)
    print()
    for found in report.by_grid(rows).values():
        if text := report.summary(found):
            print(text)
    if missing:
        print(missing)
    print(f"written to {folder}: results.json, results.md" + "".join(f", {path.name}" for path in paths))
