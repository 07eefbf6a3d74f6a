"""Seconds of several functions on the same work, taken in turn, so that a noisy neighbour disturbs all of them alike.

`in_turn` measures whatever can be called; `random_inputs`, `forward_call` and `training_call` make such calls of a layer, which
stands above this module and hands in its methods.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..ir.graph import Port

Array = np.ndarray[Any, np.dtype[Any]]

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


# --- the calls of a layer -----------------------------------------------------------------------------------------------------


def random_inputs(
    ports: Iterable[Port], dtype: str, *, n_steps: int, n_instances: int, batch_first: bool
) -> tuple[list[Array], dict[str, Array]]:  # fmt: skip
    """Standard normal numbers for a call, always the same ones: the inputs in order, and the contexts by name.

    Args:
        ports: the inputs and contexts of a cell, in declared order.
        dtype: of the arrays.
        n_steps, n_instances: the size of the call.
        batch_first: whether the axis of instances stands before that of steps.
    """
    generator = np.random.default_rng(0)
    order = (n_instances, n_steps) if batch_first else (n_steps, n_instances)
    inputs: list[Array] = []
    contexts: dict[str, Array] = {}
    for port in ports:
        leading = order if port.role == "input" else (n_instances,)
        array = generator.standard_normal((*leading, *port.value.type.sizes), np.float64).astype(dtype)
        if port.role == "input":
            inputs.append(array)
        else:
            contexts[port.name] = array
    return inputs, contexts


def forward_call(run: Callable[..., Any], inputs: list[Array], contexts: Mapping[str, Any]) -> Callable[[], object]:
    """One forward pass, without arguments; `run` takes inputs and contexts, as a layer does."""
    return lambda: run(*inputs, **contexts)


def training_call(vjp: Callable[..., Any], inputs: list[Array], contexts: Mapping[str, Any]) -> Callable[[], object]:
    """One forward and one backward pass, without arguments; `vjp` is that of a layer, and the adjoints are ones."""
    outputs = vjp(*inputs, **contexts)[0]
    named = isinstance(outputs, dict)
    adjoints = {n: np.ones_like(y) for n, y in outputs.items()} if named else np.ones_like(outputs)
    return lambda: vjp(*inputs, **contexts)[1](adjoints)
