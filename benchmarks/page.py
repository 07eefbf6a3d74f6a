"""Draws docs/performance/forward.svg from the first table of docs/performance.md: the picture shows what the page says.

python -m benchmarks.page
"""

import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl

from .plot import figure_of

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
ROW = re.compile(r"^\| (?P<cell>\w+), (?P<count>\d+) instances? \| (?P<figures>.*) \|$")


def rows(text):
    """The first table of figures in the page, a row for each of them."""
    table = text[text.index("| best peer / ostinato |") :].partition("\n\n")[0].splitlines()
    sizes = [int(size) for size in re.findall(r"H = (\d+)", table[0])]
    found = []
    for line in map(ROW.match, table[2:]):
        for size, figure in zip(sizes, line["figures"].split(" | "), strict=True):
            ratio = float(figure.partition(" ")[0])
            found.append(SimpleNamespace(cell=line["cell"], size=size, n_instances=int(line["count"]), ratio=ratio))
    return found


def main():
    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"], mpl.rcParams["svg.hashsalt"] = "none", "ostinato"  # text stays text, names stay the same
    target = PAGE.parent / "performance" / "forward.svg"
    target.parent.mkdir(exist_ok=True)
    drawn = figure_of("Forward, one core of an AMD EPYC (Zen 5)", rows(PAGE.read_text()))
    drawn.savefig(target, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
