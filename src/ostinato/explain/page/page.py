"""The HTML page of a cell: one file, nothing loaded; the same sections as the text, with pictures and numbers.

Readable without its script, without a mouse, on a phone and on paper.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from math import isfinite

from ...ir import ops
from ...ir.graph import Node, Value
from ..cost import products
from ..document import Page, Picture, Section
from ..equations import Notation
from ..flow import Flow, Row
from ..markup import Marked, symbols_of
from ..pictures.canvas import Canvas, number_text
from ..pictures.network_picture import folded, parts_of, unrolled_picture
from ..pictures.product_picture import Reader, draw_product, drawing_of
from ..subject import Subject
from .html import block_html, code, section_html
from .page_script import SCRIPT
from .page_style import page_style
from .program_view import program_html

MOST_PICTURES = 12


def document(page: Page, subject: Subject) -> str:
    """The whole page."""
    sections = [_section(section, subject) for section in page.sections]
    if not subject.graph.states:
        sections.insert(1, _numbers_section(subject))
    links = "".join(f'<a href="#{anchor}">{escape(heading)}</a>' for anchor, heading, _ in sections)
    body = "\n".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-h"><h2 id="{anchor}-h">{escape(heading)}</h2>\n{inner}\n</section>'
        for anchor, heading, inner in sections
    )
    header, facts = _header(page, subject)
    numbers = json.dumps(_numbers(subject.flow), separators=(",", ":")).replace("</", "<\\/")
    return wrapped(page.title, header, facts, links, body, f'<script type="application/json" id="numbers">{numbers}</script>')


Facts = list[tuple[str, str]]


def wrapped(title: str, header: str, facts: Facts, links: str, body: str, data: str = "") -> str:
    """A page around its content: style, script, the toggle of the colour scheme, and what a screen reader needs."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{page_style()}</style>\n</head>\n"
        '<body class="ostinato">\n<a class="skip" href="#content">To the content</a>\n<div class="page">\n'
        f'<header><div class="top"><div>{header}</div>'
        '<button type="button" class="toggle" id="scheme" aria-label="Switch between light and dark" hidden>Dark</button></div>'
        f'{facts_html(facts)}</header>\n<nav aria-label="Sections">{links}</nav>\n<main id="content">\n{body}\n</main>\n'
        "<footer>Made by Ostinato: every shape, count and number here is computed from what is explained. "
        "This file loads nothing.</footer>\n</div>\n"
        f"{data}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def facts_html(facts: Facts) -> str:
    """The figures at the top."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


def _header(page: Page, subject: Subject) -> tuple[str, Facts]:
    sizes = page.title.removeprefix(subject.graph.name)
    runs = subject.runs
    facts = [
        ("parameters", f"{subject.n_parameters:,}"),
        ("products written", f"{subject.n_products_written}"),
        ("products that run", runs.products_in_words),
        ("multiplications per step and instance", f"{runs.step.all_multiplications:,}"),
        ("kept for the backward pass, per step and instance", f"{subject.kept_bytes:,} bytes"),
    ]
    plans = subject.plans
    if plans and plans[0].calls > runs.calls:
        facts.append(("products saved by fusing and hoisting", f"{100 * (1 - runs.calls / plans[0].calls):.0f}%"))
    doc = f'<p class="doc">{escape(page.subtitle)}</p>' if page.subtitle else ""
    name = escape(subject.graph.name).replace("_", "_<wbr>")  # a long name breaks there
    return f'<h1>{name}</h1><p class="sizes">{escape(sizes)}</p>{doc}', facts


def _section(section: Section, subject: Subject) -> tuple[str, str, str]:
    """Anchor, heading and content: the blocks of the text, with what a page can show beside them."""
    anchor = section.heading.lower().replace(" ", "-")
    more = ADDED.get(section.heading)
    blocks = [b for b in section.blocks if not (section.heading.startswith("Unrolled") and isinstance(b, Picture))]
    inner = section_html(Section(section.heading, tuple(blocks)), subject.colours)
    if section.heading == "Equation":
        inner = block_html(section.blocks[0], subject.colours) + _legend(subject)
        inner += "\n".join(block_html(b, subject.colours) for b in section.blocks[1:])
    elif more is not None:
        before, after = more(subject)
        first = 1 if section.heading == "What runs" else 0  # its first sentence says what the pictures show
        parts = [
            section_html(Section(section.heading, tuple(part)), subject.colours) for part in (blocks[:first], blocks[first:])
        ]
        inner = "\n".join([parts[0], before, parts[1], after])
    return anchor, section.heading, inner


def _legend(subject: Subject) -> str:
    buttons = "".join(
        f'<button type="button" class="sym {subject.colours(name)}" data-symbol="{escape(name)}" aria-pressed="false" '
        f'title="show {escape(name)} everywhere">{escape(name)}</button>'
        for name in subject.colours.names
    )
    return f'<div class="legend" role="group" aria-label="Symbols: press one to show it everywhere">{buttons}</div>'


# --- the network and its numbers -----------------------------------------------------------------------------------------


def network(subject: Subject) -> tuple[Canvas, Canvas | None]:
    """The folded picture, and the unrolled one if there is a state."""
    parts = parts_of(subject.graph, subject.written_nodes, subject.notation, subject.colours)
    return folded(parts), unrolled_picture(parts, subject.flow) if subject.graph.states else None


def _unrolled(subject: Subject) -> tuple[str, str]:
    left, right = network(subject)
    assert right is not None
    wide = right.svg().replace("<svg", f'<svg style="min-width:{0.85 * right.width:.0f}px"', 1)  # smaller can not be read
    panes = (
        f'<div class="networks"><figure><div class="pane">{left.svg()}</div><figcaption>folded: one step, its state going round'
        '</figcaption></figure><figure class="unrolled"><div class="pane" tabindex="0" role="region" aria-label="The unrolled '
        f'network; scrolls sideways">{wide}</div><figcaption>unrolled through time: warm cells are positive, cool ones '
        "negative, stronger where larger</figcaption></figure></div>"
    )
    return _player(subject.flow) + panes + _values(subject), ""


def _numbers_section(subject: Subject) -> tuple[str, str, str]:
    """For a cell without a state: the layer, and what flows through it."""
    left, _ = network(subject)
    return (
        "layer",
        "The layer",
        f'<figure><div class="pane">{left.svg()}</div></figure>{_player(subject.flow)}{_values(subject)}',
    )


def _values(subject: Subject) -> str:
    flow = subject.flow
    rows = "".join(
        f'<tr><th scope="row" class="code">{code(row.label, subject.colours)}</th><td>{_cells(row)}</td></tr>'
        for row in flow.rows
    )
    return (
        f'<p>{escape(flow.source)}</p><div class="scroll" tabindex="0" role="region" aria-label="The numbers of one step">'
        f'<table class="values"><caption class="skip">The numbers of one step</caption><tbody>{rows}</tbody></table></div>'
        f"{_all_steps(flow, subject)}"
    )


def _player(flow: Flow) -> str:
    if flow.n_steps == 1:
        return ""
    return (
        '<div class="player" id="player" hidden><label for="step">Time step</label>'
        f'<input type="range" id="step" min="1" max="{flow.n_steps}" value="1" step="1">'
        f'<output id="step-text" for="step">t = 1 of {flow.n_steps}</output></div>'
    )


def _cells(row: Row) -> str:
    cells = []
    for i, value in enumerate(row.numbers[0]):
        keys = f'data-slot="live" data-row="{escape(row.value.name)}" data-element="{i}"'
        strength = _strength(float(value), row.scale)
        colour = f"background:var(--{'cool' if strength < 0 else 'warm'});opacity:{abs(strength):.2f}"
        cells.append(
            f'<span><i {keys} style="{colour}"></i><b {keys} style="font-weight:400">{number_text(float(value))}</b></span>'
        )
    more = f"<em>and {row.left_out:,} more</em>" if row.left_out else ""
    return f'<div class="cells">{"".join(cells)}{more}</div>'


def _all_steps(flow: Flow, subject: Subject) -> str:
    """Every number as a table, for those who print, listen or copy."""
    heads = "".join(f'<th scope="col" class="num">t = {t + 1}</th>' for t in range(flow.n_steps))
    rows = []
    for row in flow.rows:
        for i in range(row.numbers.shape[1]):
            single = row.value.type.n_elements == 1
            label = code(row.label, subject.colours) + ("" if single else f"[{i + 1}]")
            numbers = "".join(f'<td class="num">{number_text(float(v))}</td>' for v in row.numbers[:, i])
            rows.append(f'<tr><th scope="row" class="code">{label}</th>{numbers}</tr>')
    return (
        "<details><summary>All steps as a table</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="All numbers">'
        f'<table><thead><tr><th scope="col">element</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _strength(value: float, scale: float) -> float:
    return max(-1.0, min(1.0, value / scale)) * 0.55 if isfinite(value) else 0.0


def _numbers(flow: Flow) -> dict[str, object]:
    rows = {}
    for row in flow.rows:
        texts = [[number_text(float(v)) for v in step] for step in row.numbers]
        strengths = [[round(_strength(float(v), row.scale), 2) for v in step] for step in row.numbers]
        rows[row.value.name] = {"texts": texts, "strengths": strengths}
    return {"steps": flow.n_steps, "rows": rows}


# --- products and programs -----------------------------------------------------------------------------------------------


Pictures = list[tuple[Marked, Canvas]]


def written_pictures(subject: Subject) -> Pictures:
    """The products of the cell's text to scale: (the product as it is written, its picture)."""
    reader = _reader(subject, [n for n in subject.graph.nodes if n.record is ops.concat], subject.notation)
    return [
        (subject.notation.right(n.value.name), draw_product(drawing_of(n, reader, "")))
        for n in subject.written_products[:MOST_PICTURES]
    ]  # fmt: skip


def run_pictures(subject: Subject) -> Pictures:
    """The same of the products that run."""
    program, notation = subject.runs.program, subject.program_notation
    reader = _reader(subject, [n for n in program.nodes if n.record is ops.concat], notation)
    found = []
    for section, nodes in program.sections.items():
        for node in products(nodes):
            drawing = drawing_of(node, reader, "", steps=section != "loop" and bool(program.states))
            found.append((notation.right(node.value.name), draw_product(drawing)))
    return found[:MOST_PICTURES]


def _reader(subject: Subject, concats: list[Node], notation: Notation) -> Reader:
    made = {n.value.name: n for n in concats}
    known = subject.colours.aliases

    def write(name: str) -> tuple[str, str]:
        text = notation.written(name).text
        inside = {symbol.name for symbol in symbols_of(text)}
        return str(text), known.get(name, "") or (inside.pop() if len(inside) == 1 else "")

    def parts(name: str, axis: int) -> tuple[Value, ...]:
        node = made.get(name)
        return node.args if node is not None and node.options["axis"] == axis else ()

    return Reader(write, parts, subject.colours)


def _gallery(pictures: Pictures, subject: Subject, key: str) -> str:
    figures = "".join(
        f"<figure><figcaption><code>{code(text, subject.colours)}</code></figcaption>"
        '<div class="pane" tabindex="0" role="region" '
        f'aria-label="Picture of the product">{canvas.svg(key=f"{key} {i}")}</div></figure>'
        for i, (text, canvas) in enumerate(pictures)
    )
    return f'<div class="gallery">{figures}</div>'


def _products(subject: Subject) -> tuple[str, str]:
    pictures = written_pictures(subject)
    if not pictures:
        return "", ""
    words = (
        "<p>Drawn to scale: the left operand at the left, the right one above, the result where they meet. The marked row and "
        "column give the marked element, as one dot product. The bracket is the dimension that is summed over; it is as long "
        "in both.</p>"
    )
    return words + _gallery(pictures, subject, "written"), ""


def _runs(subject: Subject) -> tuple[str, str]:
    pictures = run_pictures(subject)
    before = _gallery(pictures, subject, "runs") if pictures else ""
    return (
        before,
        f"<h3>The forward program</h3>{program_html(subject.runs.program, subject.colours, staged=not subject.planned)}",
    )


def _backward(subject: Subject) -> tuple[str, str]:
    program = subject.runs_backward.program
    return "", f"<h3>The backward program</h3>{program_html(program, subject.colours, staged=not subject.planned)}"


ADDED: dict[str, Callable[[Subject], tuple[str, str]]] = {
    "Unrolled through time": _unrolled,
    "Products": _products,
    "What runs": _runs,
    "Backward": _backward,
}
