"""A program as three listings, before / loop / after, products marked, with the stages of the loop."""

from __future__ import annotations

import re
from html import escape

from ...ir.graph import Program, print_program
from ..alternatives import stages_of
from ..cost import is_product
from ..pictures.colours import Colours
from ..words import plural
from .html import code

HEADINGS = {
    "before": ("Before the loop", "for all steps at once"),
    "loop": ("Loop", "one step after another"),
    "after": ("After the loop", "for all steps at once"),
}


def listings(program: Program) -> dict[str, list[str]]:
    """The text of a program in parts: "ports", "before", "loop", "after", "results"; places in files are left out."""
    parts: dict[str, list[str]] = {"ports": []}
    part = "ports"
    for line in print_program(program).splitlines()[1:]:
        found = re.match(r"(before|loop|after|results)\b.*:$", line)
        if found:
            part = found.group(1)
            parts[part] = []
        elif line.strip() and not line.lstrip().startswith("#"):
            parts[part].append(re.sub(r"\s+#.*$", "", line[2:]).rstrip())
    return parts


def program_html(program: Program, colours: Colours, *, staged: bool = True) -> str:
    """The lanes of a program, and what comes in and goes out in a fold.

    Args:
        staged: with the stages of the loop; not where native code has stages of its own, which another table shows.
    """
    parts = listings(program)
    stages = stages_of(program.loop) if staged else {}
    several = max(stages.values(), default=1) > 1
    lanes = []
    for section, nodes in program.sections.items():
        if not nodes:
            continue
        heading, what = HEADINGS[section]
        if not program.states:
            heading = "For all steps at once"
            what = "the cell has no state"
        elif section == "loop" and program.direction == "backward":
            what += ", the last step first"
        number = sum(map(is_product, nodes))
        what += f"; {plural(number, 'product')}, marked @" if number else ""
        what += "; the number in front is the stage" if section == "loop" and several else ""
        marked = {n.value.name for n in nodes if is_product(n)}
        lines = [_line(line, marked, stages if section == "loop" and several else {}, colours) for line in parts[section]]
        lanes.append(
            f'<div class="lane {section}"><h4>{escape(heading)}</h4><p class="what">{escape(what)}</p>'
            f'<pre tabindex="0" aria-label="{escape(heading)}: the program">{"".join(lines)}</pre></div>'
        )
    inside = "\n".join(["comes in:", *("  " + p for p in parts["ports"]), "goes out:", *("  " + p for p in parts["results"])])
    return (
        f'<div class="lanes">{"".join(lanes)}</div>'
        f'<details><summary>What comes in and goes out</summary><pre tabindex="0">{code(inside, colours)}</pre></details>'
    )


def _line(line: str, marked: set[str], stages: dict[str, int], colours: Colours) -> str:
    name = line.partition(" ")[0]
    kind = "line product" if name in marked else "line"
    stage = f'<span class="stage">{stages[name]}</span>' if name in stages else ""
    return f'<span class="{kind}">{stage}{code(line, colours)}</span>'
