"""The style of a page, in one text: nothing is loaded. Light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

from ..pictures.canvas import MONO, SANS, SVG_STYLE
from ..pictures.colours import HUES, variables

SERIF = "'Iowan Old Style','Palatino Linotype',Palatino,'Book Antiqua',Georgia,'DejaVu Serif',serif"
MATHS = "'STIX Two Math','Cambria Math','Latin Modern Math','Libertinus Math',math,'DejaVu Serif',serif"


def symbol_colours(scope: str) -> str:
    """Text of symbols, and nothing else in `scope`."""
    return "".join(f"{scope} .sym.s{i}{{color:var(--s{i})}}" for i in range(len(HUES)))


BLOCKS = f"""
.ostinato{{color:var(--ink);background:var(--paper);font:16px/1.55 {SANS};overflow-wrap:break-word}}
.ostinato h1,.ostinato h2,.ostinato h3{{font-family:{SERIF};line-height:1.2;font-weight:600}}
.ostinato .sym{{font-weight:600;white-space:nowrap}}
.ostinato math{{font-family:{MATHS};font-size:1.12em}}
.ostinato math .sym{{font-weight:400}}
.ostinato mtable.equations mtd{{padding:.28em .3em}}
.ostinato mtd.right{{text-align:right}}.ostinato mtd.left{{text-align:left}}
.ostinato .formulas{{overflow-x:auto;padding:.5em 1em;margin:.6em 0;background:var(--panel);border-left:3px solid var(--accent);
border-radius:4px}}
.ostinato .formulas math{{display:block math;width:max-content;text-align:left}}
.ostinato .scroll{{position:relative;overflow-x:auto;margin:.8em 0}}
.ostinato table{{border-collapse:collapse;font-size:.92em;background:none}}
.ostinato th,.ostinato td{{text-align:left;vertical-align:baseline;padding:.34em .9em .34em 0;
border-bottom:1px solid var(--line);font-weight:400;background:none;color:inherit}}
.ostinato thead th{{color:var(--muted);font-size:.86em;border-bottom:2px solid var(--line);vertical-align:bottom}}
.ostinato .num{{text-align:right;font-variant-numeric:tabular-nums}}
.ostinato td.code,.ostinato tbody th.code,.ostinato pre,.ostinato code{{font-family:{MONO};font-size:.9em}}
.ostinato pre{{overflow-x:auto;white-space:pre;margin:.6em 0;line-height:1.5;background:none;color:inherit}}
.ostinato pre.lines{{white-space:pre-wrap;padding-left:1em}}
.ostinato table.bars{{width:min(100%,46em);margin:1em 0}}
.ostinato table.bars caption{{text-align:left;color:var(--muted);font-size:.92em;padding-bottom:.3em}}
.ostinato table.bars th{{white-space:nowrap;border:0;width:1%}}.ostinato table.bars td{{border:0}}
.ostinato table.bars .num{{width:1%;white-space:nowrap}}
.ostinato td.bar span{{display:block;height:1.05em;margin-top:.22em;background:var(--accent);border-radius:2px;min-width:2px}}
.ostinato tr:last-child td.bar span{{background:var(--s0)}}
.ostinato figure{{margin:1em 0}}.ostinato figcaption{{font-size:.9em;color:var(--muted)}}
.ostinato svg{{display:block;max-width:none}}
{symbol_colours(".ostinato")}
"""

PAGE = f"""
*{{box-sizing:border-box}}
body{{margin:0}}
.page{{max-width:84rem;margin:0 auto;padding:0 1.4rem 4rem}}
a{{color:var(--s0)}}
:focus-visible{{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}}
.skip{{position:absolute;left:-99em}}.skip:focus{{left:1em;top:1em;background:var(--paper);padding:.5em;z-index:3}}
header{{padding:2.2rem 0 .6rem}}
header h1{{overflow-wrap:anywhere;font-size:clamp(1.9rem,5vw,3.1rem);margin:0;letter-spacing:-.01em}}
header .sizes{{font-family:{MONO};color:var(--muted);font-size:.95rem;margin:.3rem 0 0}}
header .doc{{font-size:1.15rem;margin:.7rem 0 0;max-width:46em;font-family:{SERIF}}}
.top>div{{min-width:0}}
.top{{display:flex;justify-content:space-between;align-items:start;gap:1rem}}
button{{font:inherit;color:var(--ink);background:var(--panel);border:1px solid var(--line);border-radius:999px;
padding:.32em .95em;cursor:pointer}}
button:hover{{border-color:var(--ink)}}
button[aria-pressed=true]{{border-color:var(--ink);box-shadow:inset 0 0 0 1px var(--ink)}}
nav{{position:sticky;top:0;z-index:2;background:var(--paper);border-bottom:1px solid var(--line);margin:1rem -1.4rem 0;
padding:.55rem 1.4rem;overflow-x:auto;white-space:nowrap;font-size:.92rem}}
nav a{{margin-right:1.3em;text-decoration:none;color:var(--muted)}}nav a:hover{{color:var(--ink);text-decoration:underline}}
.facts{{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;margin:1.3rem 0 0;padding:0}}
.facts div{{background:var(--panel);border-radius:8px;padding:.7rem .9rem}}
.facts dt{{color:var(--muted);font-size:.82rem;line-height:1.3}}
.facts dd{{margin:.1rem 0 0;font-size:1.35rem;font-family:{SERIF};line-height:1.25;font-variant-numeric:tabular-nums}}
section{{padding-top:.5rem;scroll-margin-top:3rem}}
section h2{{font-size:1.65rem;margin:2.2rem 0 .6rem}}
section h3{{font-size:1.08rem;margin:1.6rem 0 .3rem}}
p{{max-width:52em;margin:.7em 0}}
.legend{{display:flex;flex-wrap:wrap;gap:.45rem;margin:.9rem 0;padding:0}}
.legend button{{font-family:{MONO};font-size:.92rem;border-color:currentColor;background:none;padding:.18em .8em}}
.networks{{display:flex;flex-wrap:wrap;gap:1.2rem 2rem;align-items:center}}
.networks figure{{min-width:0;max-width:100%}}
.networks .unrolled{{flex:1 1 40rem;min-width:0}}
.networks .unrolled svg{{width:100%;height:auto}}
.pane{{overflow-x:auto;padding-bottom:.4rem}}
.player{{display:flex;flex-wrap:wrap;align-items:center;gap:.6rem 1rem;background:var(--panel);border-radius:8px;
padding:.7rem 1rem;margin:.6rem 0}}
.player[hidden]{{display:none}}
.player input{{flex:1 1 12rem;accent-color:var(--accent);min-width:8rem;height:1.6rem}}
.player output{{font-family:{MONO};min-width:7.5em}}
.frame.now .step-box{{stroke:var(--accent);stroke-width:3.5}}
table.values td{{padding:.2em 0;border-bottom:1px solid var(--line)}}
table.values td.symbol,table.values th{{padding-right:1.2em;white-space:nowrap}}
.cells{{display:flex;flex-wrap:wrap;gap:2px}}
.cells span{{font:.8rem/1.9 {MONO};min-width:3.7em;text-align:center;position:relative;
border:1px solid var(--line);border-radius:2px;isolation:isolate}}
.cells i{{position:absolute;inset:0;z-index:-1}}
.cells em{{font-style:normal;color:var(--muted);align-self:center;padding-left:.4em;font-size:.82rem}}
.gallery{{display:flex;flex-wrap:wrap;gap:1.1rem;margin:.8rem 0}}
.gallery figure{{margin:0;background:var(--panel);border-radius:8px;padding:.9rem 1rem;max-width:100%;min-width:0}}
.gallery figcaption{{color:var(--ink);max-width:26rem}}
.gallery .pane{{max-width:100%}}
.lanes{{display:grid;gap:1rem;margin:1rem 0;grid-template-columns:minmax(0,1fr)}}
.lane{{border:1px solid var(--line);border-radius:8px;padding:.2rem 1rem .5rem;background:var(--panel);
min-width:0}}
.lane.loop{{border:2px solid var(--accent)}}
.lane h4{{margin:.5rem 0 .1rem;font-family:{SERIF};font-size:1.05rem}}
.lane .what{{margin:0;color:var(--muted);font-size:.9rem}}
.lane pre{{margin:.4rem 0;font-size:.82rem}}
.lane .line{{display:block;padding-left:1.5em;min-height:1.5em}}
.lane .line.product{{border-radius:3px;
background:linear-gradient(90deg,color-mix(in srgb,var(--accent) 20%,transparent),transparent 75%)}}
.lane .line.product::before{{content:"@";margin-left:-1.25em;margin-right:.65em;color:var(--accent);font-weight:700}}
.lane .stage{{color:var(--muted);margin-right:1em}}
details{{margin:.8rem 0}}summary{{cursor:pointer;color:var(--s0)}}
.lit{{background:color-mix(in srgb,var(--accent) 26%,transparent);border-radius:3px}}
svg .lit{{stroke:var(--accent);stroke-width:2.5}}
svg text.lit{{stroke:none;text-decoration:underline;text-decoration-thickness:2px}}
footer{{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--muted);font-size:.9rem}}
@media(min-width:62rem){{.lanes.two{{grid-template-columns:1fr 1fr}}}}
@media(max-width:40rem){{
.page{{padding:0 .9rem 3rem}}nav{{margin:1rem -.9rem 0;padding:.55rem .9rem}}
.facts{{grid-template-columns:1fr 1fr}}.facts dd{{font-size:1.15rem}}
table.cards thead{{display:block;position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}}
table.cards,table.cards tbody{{display:block;width:100%}}
table.cards tr{{display:block;background:var(--panel);border-radius:8px;padding:.5rem .8rem;margin:.6rem 0}}
table.cards th,table.cards td{{display:grid;grid-template-columns:minmax(6.4rem,34%) 1fr;gap:.7rem;border:0;padding:.16rem 0;
text-align:left}}
table.cards th::before,table.cards td::before{{content:attr(data-heading);color:var(--muted);font:.82rem/1.6 {SANS}}}
table.cards .num{{text-align:left}}
.formulas{{padding:.5em .6em;font-size:.95em}}
table.bars th{{white-space:normal;width:30%}}
}}
@media print{{
nav,.player,.toggle,.skip,.legend{{display:none!important}}.page{{max-width:none;padding:0}}
.formulas,.facts div,.lane,.gallery figure{{background:none;border:1px solid #bbb}}
.pane,.scroll,pre,.formulas{{overflow:visible}}pre{{white-space:pre-wrap}}.networks svg{{max-width:100%;height:auto}}
figure,tr,.lane,.facts div{{break-inside:avoid}}h2,h3{{break-after:avoid}}
body{{font-size:12px}}td.bar span{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
}}
@media(prefers-reduced-motion:no-preference){{html{{scroll-behavior:smooth}}}}
"""


def page_style() -> str:
    """Everything a page needs."""
    light, dark = variables(0), variables(1)
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-scheme=light]){{color-scheme:dark;{dark}}}}}"
        f"@media screen{{:root[data-scheme=dark]{{color-scheme:dark;{dark}}}}}"
        f"svg {SVG_STYLE.replace('}', '}svg ').removesuffix('svg ')}{BLOCKS}{PAGE}"
    )


def fragment_style() -> str:
    """For an element inside somebody else's page, such as a notebook: nothing outside of it is touched."""
    inside = SVG_STYLE.replace("}", "}.ostinato svg ").removesuffix(".ostinato svg ")
    dark = f"@media(prefers-color-scheme:dark){{.ostinato{{{variables(1)}}}}}"
    frame = ".ostinato{padding:.2em 1.2em 1em;border-radius:8px}.ostinato .pane svg{max-width:100%;height:auto}"
    return f".ostinato{{{variables(0)}}}{dark}.ostinato svg {inside}{BLOCKS}{frame}"
