"""Ops that only carry elements from place to place: what they come to, as copies between views."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from ..ir.graph import Node
from .stages import Copy, Source
from .views import View, compact_strides


def copies_of(node: Node, sources: Sequence[Source], target: View) -> tuple[Copy, ...]:
    """The copies of a node whose operands lie at `sources` and whose result lies at `target`."""
    return tuple({"concat": _concat, "pad": _pad, "patches": _patches, "unpatches": _unpatches,
                  "total_per_instance": _accumulate}[node.op](node, sources, target))  # fmt: skip


def _accumulate(_: Node, sources: Sequence[Source], target: View) -> list[Copy]:
    return [Copy(target, sources[0], accumulate=True)]


def _concat(node: Node, sources: Sequence[Source], target: View) -> list[Copy]:
    axis = len(target.sizes) + node.options["axis"]
    copies, at = [], 0
    for arg, source in zip(node.args, sources, strict=True):
        size = arg.type.sizes[axis]
        copies.append(Copy(_part(target, axis, at, at + size), source))
        at += size
    return copies


def _part(view: View, axis: int, start: int, stop: int) -> View:
    low, high = [0] * len(view.sizes), list(view.sizes)
    low[axis], high[axis] = start, stop
    return view.cut(low, high, [1] * len(low))


def _pad(node: Node, sources: Sequence[Source], target: View) -> list[Copy]:
    start, stop = ([d.size for d in node.options[key]] for key in ("start", "stop"))
    return [Copy(target, 0.0), Copy(target.cut(start, stop, node.options["step"]), sources[0])]


def _offsets(node: Node, image: View, patches: View) -> list[tuple[View, View]]:
    """For each place in a patch: that place of all patches, and the part of the image it comes from."""
    size = [d.size for d in node.options["size"]]
    stride, padding = node.options["stride"], node.options["padding"]
    counts, channels = patches.sizes[:-1], image.sizes[-1]
    inner = patches.strides[-1]  # 0 where one number was stretched to all of them
    within = [n * inner for n in compact_strides((*size, channels))]
    split = View(patches.buffer, (*counts, *size, channels), (*patches.strides[:-1], *within), patches.offset)
    pairs = []
    for offset in product(*map(range, size)):
        low, high, first = [], [], []
        for o, (before, _), by, n, count in zip(offset, padding, stride, image.sizes, counts, strict=False):
            a = max(0, -(-(before - o) // by))  # the first patch whose place lies in the image
            b = min(count, (n - 1 + before - o) // by + 1)
            low.append(a)
            high.append(max(a, b))
            first.append(a * by + o - before)
        sizes = [b - a for a, b in zip(low, high, strict=True)]
        if prod(sizes) == 0:
            continue
        places = split.cut([*low, *offset, 0], [*high, *(o + 1 for o in offset), channels], [1] * (2 * len(size) + 1))
        places = View(places.buffer, (*sizes, channels), (*places.strides[: len(size)], inner), places.offset)
        stops = [f + (s - 1) * by + 1 for f, s, by in zip(first, sizes, stride, strict=True)]
        pairs.append((places, image.cut([*first, 0], [*stops, channels], [*stride, 1])))
    return pairs


def _patches(node: Node, sources: Sequence[Source], target: View) -> list[Copy]:
    image = sources[0]
    if not isinstance(image, View):
        return [Copy(target, image)]
    padded = any(any(pair) for pair in node.options["padding"])
    copies = [Copy(target, 0.0)] if padded else []
    return copies + [Copy(places, part) for places, part in _offsets(node, image, target)]


def _unpatches(node: Node, sources: Sequence[Source], target: View) -> list[Copy]:
    patches = sources[0]
    assert isinstance(patches, View)
    return [Copy(target, 0.0)] + [Copy(part, places, accumulate=True) for places, part in _offsets(node, target, patches)]
