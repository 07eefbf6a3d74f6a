"""A cell with sizes and a dtype, without weights: its programs, which run on tensors that PyTorch holds.

Weights are followed: a copy of each is kept, compared bit by bit with PyTorch's tensor where a sequence begins, and replaced (and
packed anew) only if a bit differs. PyTorch's own marks do not tell: fused optimisers, `tensor.data` and `tensor.numpy()` change
values and leave the version of a tensor as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compiler import Compiled, compile_graph
from ..language.cell import Cell
from ..runtime.backends import Executable, chosen, executable
from ..runtime.pullback import Routes

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = {torch.float32: "f32", torch.float64: "f64"}


class Steps:
    """The programs of a cell.

    Attributes:
        graph: one step, without dropout.
        inputs, contexts, states, weights: the names of each in declared order.
        outputs: the names of the outputs.
    """

    def __init__(self, cell: Cell, dtype: str, sizes_and_options: Mapping[str, Any]) -> None:
        sizes, options = cell.settle(dict(sizes_and_options))
        training = cell.trace(dtype=dtype, training=True, **sizes, **options)
        drops = bool(training.with_role("mask"))
        running = cell.trace(dtype=dtype, training=False, **sizes, **options) if drops else training
        self.cell, self.sizes, self.options = cell, sizes, options
        self.graph, self._graphs, self.drops = running, {False: running, True: training}, drops
        self.inputs, self.contexts = ([p.name for p in running.with_role(role)] for role in ("input", "context"))
        self.states = [p.name for p in running.states]
        self.initial = {p.name: p.initial for p in running.states}
        self.outputs = [r.name for r in running.results_with("output")]
        self.shapes = {p.name: p.value.type.sizes for p in running.ports}
        self.weights = [p.name for p in running.with_role("weight", "bias")]
        self.dtype = {"f32": torch.float32, "f64": torch.float64}[dtype]
        self.numpy_dtype = np.dtype({"f32": np.float32, "f64": np.float64}[dtype])
        self.backend = chosen(None, running.name)
        self._compiled: dict[bool, Compiled] = {}
        self._executables: dict[tuple[str, bool], Executable] = {}
        self._routes: dict[bool, Routes] = {}

    def compiled(self, *, training: bool) -> Compiled:
        """Every stage of the pipeline."""
        training = training and self.drops
        if training not in self._compiled:
            self._compiled[training] = compile_graph(self._graphs[training], passes=self.backend != "reference")
        return self._compiled[training]

    def executable(self, name: str, *, training: bool) -> Executable:
        """The program "forward", "recording" or "backward", ready to run."""
        key = name, training and self.drops
        if key not in self._executables:
            shapes = {n: self.shapes[n] for n in self.weights}
            self._executables[key] = executable(self.compiled(training=training), name, self.backend, shapes, "automatic")
        return self._executables[key]

    def routes(self, *, training: bool) -> Routes:
        """Whose gradients the backward program gives."""
        training = training and self.drops
        if training not in self._routes:
            self._routes[training] = Routes(self.graph, self.executable("backward", training=training).program)
        return self._routes[training]

    def __reduce__(self) -> Any:
        dtype = "f32" if self.dtype == torch.float32 else "f64"
        return steps_of, (self.cell, dtype, {**self.sizes, **self.options})


def steps_of(cell: Cell, dtype: str, sizes_and_options: Mapping[str, Any]) -> Steps:
    """The programs of a cell; those of the same cell with the same sizes are shared."""
    try:
        return _shared(cell, dtype, tuple(sorted(sizes_and_options.items())))
    except TypeError:  # an option that cannot be hashed
        return Steps(cell, dtype, sizes_and_options)


@lru_cache(maxsize=256)
def _shared(cell: Cell, dtype: str, sizes_and_options: tuple[tuple[str, Any], ...]) -> Steps:
    return Steps(cell, dtype, dict(sizes_and_options))


class Followed:
    """Copies of weights that PyTorch holds, made again where a bit differs.

    Attributes:
        n_copied: how many weights were copied so far; whoever counts sees that a second call copies nothing.
    """

    def __init__(self) -> None:
        self._copies: dict[str, Array] = {}
        self.n_copied = self.n_compared = 0

    def current(self, names: Sequence[str], tensors: Sequence[Tensor], *, stay: bool = False) -> Mapping[str, Array]:
        """Name -> array; the same dictionary as before if nothing has changed, or if weights are said to stay."""
        if stay and self._copies:
            return self._copies
        changed = {}
        for name, tensor in zip(names, tensors, strict=True):
            array = tensor.detach().numpy()
            copy = self._copies.get(name)
            self.n_compared += 1
            if copy is None or not same_bits(copy, array):
                changed[name] = np.array(array, order="C")
        if changed:
            self.n_copied += len(changed)
            self._copies = {**self._copies, **changed}  # a new one: who runs backward has the weights of his forward
        return self._copies

    def __reduce__(self) -> Any:
        """A copy begins anew."""
        return Followed, ()


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays of one dtype hold the same bits, NaN and the sign of 0 included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = np.dtype(f"u{a.dtype.itemsize}")
    return bool(np.array_equal(a.view(bits), b.view(bits)))
