"""The text form of stages and buffers, of which `str(plan)` is made.

    1  product (n_neurons=4)
         u1    = [b_i] + [x] @ W_i[0:12]              an accumulator: where it begins, and the products that it takes
         i     = sigmoid(u1)                          computed in registers
         c_new = f * [c@now]              -> c@next   stored

What stands in brackets is read from memory, what stands behind an arrow is written there. A part of a buffer's row says which
of its elements: `[a:b]` where they follow each other, `.T` where their order is turned around, else an offset with sizes and
strides, `[a: 2x3 by 8,1]`. Weights of products are read packed: `prepare` says which panels are made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod
from textwrap import wrap

from ..ir.graph import Node, Value, expression
from ..ir.shapes import Varies
from .stages import Contraction, Copies, Product, Reduce, RowSum, RowSums, Source, Stage, Walk
from .views import Buffer, BufferId, View, compact_strides

WIDTH = 110  # characters of a line of buffers
SPACES = {Varies.NEVER: "once", Varies.INSTANCE: "each instance", Varies.STEP: "each step"}
Buffers = Mapping[BufferId, Buffer]


def view_text(view: View, buffers: Buffers) -> str:
    """A buffer, and which of its elements.

    >>> x = BufferId("port", "x")
    >>> buffers = {x: Buffer(x, Varies.STEP, 12, "f32")}
    >>> [view_text(view, buffers) for view in (View.whole(x, (3, 4)), View(x, (2, 4), (4, 1), 4), View(x, (4, 3), (1, 4)))]
    ['x', 'x[4:12]', 'x.T']
    """
    kept = [(n, stride) for n, stride in zip(view.sizes, view.strides, strict=True) if stride and n > 1]
    sizes, strides = tuple(n for n, _ in kept), tuple(stride for _, stride in kept)
    n, size = prod(sizes), buffers[view.buffer].size if view.buffer in buffers else 0
    part = "" if view.offset == 0 and n == size else f"[{view.offset}:{view.offset + n}]"
    buffer = view.buffer.name if view.buffer.role == "weight" else view.buffer
    if strides == compact_strides(sizes):
        return f"{buffer}{part}"
    if strides[::-1] == compact_strides(sizes[::-1]):
        return f"{buffer}{part}.T"
    return f"{buffer}[{view.offset}: {'x'.join(map(str, sizes))} by {','.join(map(str, strides))}]"


def domain_text(stage: Stage) -> str:
    """What a stage walks over, with the names of the dimensions where one of its nodes has them."""
    for node in stage.nodes:
        value = node.args[0] if isinstance(stage, Reduce) else node.value
        if value.type.sizes == stage.domain:
            return ", ".join(map(str, value.type.dims))
    return ", ".join(map(str, stage.domain))


HEADS = {"map": "elementwise", "move": "copies", "contract": "product of two values", "sum": "sums over all rows",
         "total": "sum over all rows", "reduce": "reduction"}  # fmt: skip


def stage_lines(number: int, stage: Stage, buffers: Buffers) -> list[str]:
    """A stage: what it is and walks over, then a line for everything that it computes."""
    rows = list(_rows(stage, buffers))
    names = max((len(name) for name, _, _ in rows), default=0)
    width = max((len(text) for _, text, stored in rows if stored), default=0)
    head = HEADS.get(stage.kind, stage.kind)
    lines = [f"  {number}  {head} ({domain_text(stage)})"]
    for name, text, stored in rows:
        lines.append(f"       {name:<{names}} {text:<{width}}   -> {stored}" if stored else f"       {name:<{names}} {text}")
    return lines


def _rows(stage: Stage, buffers: Buffers) -> Iterator[tuple[str, str, str]]:
    """(what is made, how, where it is stored)."""
    if isinstance(stage, Contraction):
        yield view_text(stage.target, buffers), f"= {_loaded(stage.left, buffers)} @ {_loaded(stage.right, buffers)}", ""
    elif isinstance(stage, RowSum):
        left = _loaded(stage.source, buffers)
        yield (
            view_text(stage.target, buffers),
            f"+= {left}ᵀ {_loaded(stage.right, buffers)}" if stage.right else f"+= {left}",
            "",
        )
    elif isinstance(stage, Copies):
        for copy in stage.copies:
            sign = "+=" if copy.accumulate else "="
            yield view_text(copy.target, buffers), f"{sign} {_loaded(copy.source, buffers)}", ""
    elif isinstance(stage, Walk):
        yield from _walk(stage, buffers)


def _walk(stage: Walk, buffers: Buffers) -> Iterator[tuple[str, str, str]]:
    stores: dict[str, list[str]] = {}
    for name, view in stage.stores:
        stores.setdefault(name, []).append(view_text(view, buffers))
    names = {name: _loaded(source, buffers) for name, source in stage.loads.items()}
    made = stage.names if isinstance(stage, Product) else ()
    for node in stage.nodes:
        name = node.value.name
        text = _accumulated(stage, made.index(name), names, buffers) if isinstance(stage, Product) and name in made else None
        yield name, f"= {text or _computed(node, names)}", ", ".join(stores.get(name, ()))
    if isinstance(stage, RowSums):
        for s in stage.sums:
            yield view_text(s.target, buffers), f"+= {names.get(s.value, s.value)}", ""


def _computed(node: Node, names: Mapping[str, str]) -> str:
    args = tuple(Value(names.get(a.name, a.name), a.type) for a in node.args)
    return args[0].name if node.op == "stop_gradient" else expression(replace(node, args=args))


def _accumulated(stage: Product, index: int, names: Mapping[str, str], buffers: Buffers) -> str:
    start = stage.starts[index]
    terms = [] if start is None else [names.get(start, start)]
    for segment in stage.segments:
        if index in segment.accumulators:
            right = segment.rights[segment.accumulators.index(index)]
            terms.append(f"{_loaded(segment.left, buffers)} @ {view_text(right, buffers)}")
    return " + ".join(terms)


def _loaded(source: Source, buffers: Buffers) -> str:
    return f"[{view_text(source, buffers)}]" if isinstance(source, View) else f"{source:g}"


def buffer_lines(buffers: Iterable[Buffer]) -> list[str]:
    """The buffers by how often there is a row of them, each with its elements; panels are as large as a target says."""
    groups: dict[str, list[str]] = {"weights": [], **{words: [] for words in SPACES.values()}}
    for b in buffers:
        if b.id.role == "weight":
            groups["weights"].append(f"{b.id.name}:\0{b.size}")
        elif b.id.role != "panels":
            groups[SPACES[b.space]].append(f"{b.id}:\0{b.size}" + ("\0bool" if b.dtype == "bool" else ""))
    lines = []
    for words, texts in groups.items():
        text = ", ".join(texts)
        if text:
            rows = wrap(f"{words:<15}{text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 17, break_on_hyphens=False)
            lines += [row.replace("\0", " ") for row in rows]
    return lines
