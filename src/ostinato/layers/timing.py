"""Seconds of several functions on the same work, taken in turn, so that a noisy neighbour disturbs all of them alike."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

SAMPLE = 200e-6  # seconds that a sample lasts at least, in as many calls as it takes
LEAST, MOST = 5, 400  # samples of a function


def in_turn(functions: Mapping[str, Callable[[], object]], seconds: float = 0.2) -> dict[str, float]:
    """Name -> the median of the seconds of a call.

    Args:
        functions: what is called, without arguments. Each is called twice before: what it compiles is not counted.
        seconds: how long to measure each function, about; at least five samples are taken.
    """
    numbers = {}
    for name, function in functions.items():
        function()
        numbers[name] = max(1, math.ceil(SAMPLE / max(_sample(function, 1), 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a sample would be somebody else's time
    try:
        until = perf_counter() + seconds * len(functions)
        while _count(samples) < LEAST or (perf_counter() < until and _count(samples) < MOST):
            for name, function in functions.items():
                samples[name].append(_sample(function, numbers[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: median(taken) for name, taken in samples.items()}


def _count(samples: Mapping[str, list[float]]) -> int:
    return min((len(taken) for taken in samples.values()), default=LEAST)


def _sample(function: Callable[[], object], number: int) -> float:
    start = perf_counter()
    for _ in range(number):
        function()
    return (perf_counter() - start) / number
