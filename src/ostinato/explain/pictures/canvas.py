"""A drawing surface: SVG elements one after another, every text escaped, colours by class.

A drawing stands by itself (its own style, light and dark) or inside a page, whose style it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from zlib import crc32

from .colours import HUES, variables

MONO = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
SANS = "system-ui,-apple-system,'Segoe UI','Liberation Sans',sans-serif"

SVG_STYLE = (
    f"text{{font:14px {SANS};fill:var(--ink)}}"
    f".mono{{font-family:{MONO}}}.number{{font:11px {MONO}}}.small{{font-size:12px}}"
    ".muted{fill:var(--muted)}.strong{font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}.it{font-style:italic}"
    ".box{fill:var(--panel);stroke:var(--ink);stroke-width:1.5}.soft{fill:var(--panel);stroke:var(--line)}"
    ".wire{fill:none;stroke:var(--ink);stroke-width:1.6}.thin{fill:none;stroke:var(--line);stroke-width:1}"
    ".grid{fill:none;stroke:var(--paper);stroke-width:1}.neuron{fill:var(--paper);stroke:var(--ink);stroke-width:1.4}"
    ".halo{fill:none;stroke:var(--accent);stroke-width:2}.hatch{stroke:var(--accent);stroke-width:2}"
    ".paper{fill:var(--paper)}.accent{fill:var(--accent)}.cell{stroke:var(--line);stroke-width:1}"
    + "".join(f".s{i}{{fill:var(--s{i})}}.f{i}{{fill:var(--s{i});fill-opacity:.22;stroke:var(--s{i})}}"
              f".w{i}{{fill:none;stroke:var(--s{i});stroke-width:2}}" for i in range(len(HUES)))
)  # fmt: skip


def number_text(value: float) -> str:
    """A number in at most six characters: 0.76, -0.05, 12.5, 1e+06.

    >>> [number_text(v) for v in (0.7615, -0.05, 0.0, 12.5, 1234567.0, float("inf"))]
    ['0.76', '-0.05', '0', '12.5', '1e+06', '∞']
    """
    if value != value:  # noqa: PLR0124 - not a number
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size >= 10_000 or 0 < size < 0.005:
        return f"{value:.0e}"
    text = f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:.0f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


class Canvas:
    """SVG in the making.

    Args:
        width, height: of the drawing, in its own units.
        title: its name, for those who do not see it.
        description: what it shows, in words.
    """

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self.width, self.height, self.title, self.description = width, height, title, description
        self.parts: list[str] = []

    def add(self, element: str) -> None:
        self.parts.append(element)

    @contextmanager
    def group(self, classes: str = "", **attributes: object) -> Iterator[None]:
        self.add(f"<g{_attributes(classes, attributes)}>")
        yield
        self.add("</g>")

    def rect(self, x: float, y: float, width: float, height: float, classes: str, radius: float = 0, **more: object) -> None:
        rounded = f' rx="{radius:g}"' if radius else ""
        self.add(
            f'<rect x="{x:g}" y="{y:g}" width="{max(width, 0):g}" height="{max(height, 0):g}"{rounded}'
            f"{_attributes(classes, more)}/>"
        )

    def circle(self, x: float, y: float, radius: float, classes: str, **more: object) -> None:
        self.add(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}"{_attributes(classes, more)}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str, **more: object) -> None:
        self.add(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"{_attributes(classes, more)}/>')

    def path(self, d: str, classes: str, *, arrow: bool = False, **more: object) -> None:
        """A path; with `arrow` its last point, where it must end in a straight piece, has a head."""
        head = ' marker-end="url(#arrow)"' if arrow else ""
        self.add(f'<path d="{d}"{head}{_attributes(classes, more)}/>')

    def text(self, x: float, y: float, text: str, classes: str = "", **more: object) -> None:
        self.add(f'<text x="{x:g}" y="{y:g}"{_attributes(classes, more)}>{escape(text)}</text>')

    def svg(self, *, standalone: bool = False, key: str = "") -> str:
        """The drawing as an `<svg>` element.

        Args:
            standalone: with its own style and background, for a file of its own.
            key: tells it from the same drawing elsewhere on a page.
        """
        body = "\n".join(self.parts)
        identity = f"d{crc32((key + self.title + self.description + body).encode()):08x}"  # the same drawing, the same text
        style = ""
        if standalone:
            dark = f"@media(prefers-color-scheme:dark){{svg{{{variables(1)}}}}}"
            style = f"<style>svg{{{variables(0)}background:var(--paper)}}{dark}{SVG_STYLE}</style>"
        body = body.replace("url(#arrow)", f"url(#{identity}a)")
        marker = (
            f'<defs><marker id="{identity}a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0.5L8 4L0 7.5z" fill="var(--ink)"/></marker></defs>'
        )
        namespace = ' xmlns="http://www.w3.org/2000/svg"'
        size = f'width="{self.width:g}" height="{self.height:g}"'
        return (
            f'<svg{namespace} viewBox="0 0 {self.width:g} {self.height:g}" {size} role="img" '
            f'aria-labelledby="{identity}t {identity}d"><title id="{identity}t">{escape(self.title)}</title>'
            f'<desc id="{identity}d">{escape(self.description)}</desc>{style}{marker}\n{body}\n</svg>'
        )


def _attributes(classes: str, more: dict[str, object]) -> str:
    text = f' class="{escape(classes)}"' if classes else ""
    for key, value in more.items():
        text += f' {key.replace("_", "-").strip("-")}="{escape(str(value))}"'
    return text
