"""The dropout masks of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import OptionError, lay_out
from ..ir.graph import Port
from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..process import forking

Array = np.ndarray[Any, np.dtype[Any]]


def generator_of(rng: Any, owner: str) -> np.random.Generator:
    """The generator that was given, or one that begins with the seed that was given.

    Raises:
        OptionError: it is neither.
    """
    try:
        generator = np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise OptionError(lay_out(f"{owner}: `rng` is a seed or a generator of NumPy, not {rng!r}")) from None
    forking.renewed(generator.bit_generator.lock)  # held while it draws
    return generator


def draw_masks(ports: Sequence[Port], timeline: Timeline, generator: np.random.Generator, dtype: Any) -> dict[str, Array]:
    """For each mask, as rows or one for each instance: 0 with the probability that the port says, else 1 / (1 - rate)."""
    forking.renewed(generator.bit_generator.lock)  # of a layer's own generator too
    found = {}
    for port in ports:
        sizes, per_step = port.value.type.sizes, port.value.type.varies == Varies.STEP
        # drawn for padding too, so that a mask does not depend on the lengths of others
        shape = (timeline.n_steps, timeline.n_instances, *sizes) if per_step else (timeline.n_instances, *sizes)
        keep = ((generator.random(shape) >= port.rate) / (1 - port.rate)).astype(dtype)
        if per_step:
            found[port.name] = timeline.pack(np.ascontiguousarray(keep.swapaxes(0, 1)) if timeline.batch_first else keep)
        else:
            found[port.name] = timeline.sort(keep)
    return found
