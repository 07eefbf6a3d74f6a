"""A cell with sizes and a dtype, without weights: its programs, which run on tensors that PyTorch holds.

Weights are followed: a copy of each is kept, compared bit by bit with PyTorch's tensor where a sequence begins, and replaced
(and packed anew) only if a bit differs. PyTorch's own marks do not tell: fused optimisers, `tensor.data` and `tensor.numpy()`
change values and leave the version of a tensor as it was.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compiler import Compiled, compile_graph
from ..ir.graph import Graph, Program
from ..ir.parse import read_step
from ..ir.shapes import Varies
from ..language.cell import Cell
from ..runtime.backends import Executable, chosen, executable
from ..runtime.pullback import Routes

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = {torch.float32: "f32", torch.float64: "f64"}
SEPARATOR = "\n\nin training:\n"  # between the graphs of a step outside training and in it
LINE = 64  # bytes of a cache line


def supported(dtype: torch.dtype) -> bool:
    """Whether cells are computed in this dtype; others are converted at the boundary."""
    return dtype in DTYPES


class Steps:
    """The programs of a cell.

    Attributes:
        graph: one step, without dropout.
        text: both graphs, from which the same is made again.
        inputs, contexts, states, weights, outputs: the names of each in declared order.
        shapes: of every one of them, for one instance at one step.
    """

    def __init__(self, running: Graph, training: Graph) -> None:
        self.graph, self.drops = running, training is not running
        self._graphs = {False: running, True: training}
        self.text = SEPARATOR.join(map(str, [running, training] if self.drops else [running]))
        self.inputs, self.contexts = ([p.name for p in running.with_role(role)] for role in ("input", "context"))
        self.states = [p.name for p in running.states]
        self.initial = {p.name: p.initial for p in running.states}
        self.outputs = [r.name for r in running.results_with("output")]
        self.shapes = {p.name: p.value.type.sizes for p in running.ports}
        self.shapes |= {r.name: r.value.type.sizes for r in running.results_with("output")}
        self.weights = [p.name for p in running.with_role("weight", "bias")]
        self.masks = training.with_role("mask")
        self.dtype = {"f32": torch.float32, "f64": torch.float64}[running.dtype]
        self.numpy_dtype = np.dtype({"f32": np.float32, "f64": np.float64}[running.dtype])
        self.backend = chosen(None, running.name)
        self._compiled: dict[bool, Compiled] = {}
        self._executables: dict[tuple[str, bool], Executable] = {}
        self._routes: dict[bool, Routes] = {}
        self._arenas: dict[bool, Arena] = {}
        self.passes: OrderedDict[Any, Any] = OrderedDict()  # the frames of calls by address: see frames.py
        self.placed: dict[
            tuple[bool, bool], frozenset[str]
        ] = {}  # by training and a plain timeline: records in the user's order

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
            self._executables[key] = executable(self.compiled(training=training), name, self.backend, "automatic")
        return self._executables[key]

    def routes(self, *, training: bool) -> Routes:
        """Whose gradients the backward program gives."""
        training = training and self.drops
        if training not in self._routes:
            self._routes[training] = Routes(self.graph, self.executable("backward", training=training).program)
        return self._routes[training]

    def arena(self, *, training: bool) -> Arena:
        """How what a recording run keeps lies in one tensor."""
        training = training and self.drops
        if training not in self._arenas:
            program = self.executable("recording", training=training).program
            self._arenas[training] = Arena.of(program, self.numpy_dtype)
        return self._arenas[training]

    def __reduce__(self) -> Any:
        return steps_of_text, (self.text,)


@dataclass(frozen=True)
class Arena:
    """Records behind each other in one tensor of bytes, each from a cache line on.

    A record of every step has a row for each step and instance, also where sequences are shorter, so that the size of the whole
    follows from the number of both.
    """

    records: tuple[tuple[str, Varies, tuple[int, ...], np.dtype[Any]], ...]

    @classmethod
    def of(cls, program: Program, dtype: np.dtype[Any]) -> Arena:
        """That of a recording program."""
        found = []
        for result in program.results_with("record"):
            kind = result.value.type
            found.append((result.name, kind.varies, kind.sizes, np.dtype(bool) if kind.dtype == "bool" else dtype))
        return cls(tuple(found))

    def n_bytes(self, n_steps: int, n_instances: int) -> int:
        return sum(self._sizes(n_steps, n_instances))

    def _sizes(self, n_steps: int, n_instances: int) -> Iterator[int]:
        rows = {Varies.STEP: n_steps * n_instances, Varies.INSTANCE: n_instances, Varies.NEVER: 1}
        for _, varies, sizes, dtype in self.records:
            yield (rows[varies] * prod(sizes) * dtype.itemsize + LINE - 1) // LINE * LINE

    def put(self, records: Mapping[str, Array], n_steps: int, n_instances: int) -> Tensor:
        """All of them in a new tensor."""
        whole = torch.empty(self.n_bytes(n_steps, n_instances), dtype=torch.uint8)
        memory, at = whole.numpy(), 0
        for (name, *_), size in zip(self.records, self._sizes(n_steps, n_instances), strict=True):
            flat = np.ascontiguousarray(records[name]).reshape(-1).view(np.uint8)
            memory[at : at + flat.size] = flat
            memory[at + flat.size : at + size] = 0  # so that the same call gives the same bytes
            at += size
        return whole

    def take(self, whole: Tensor, shapes: Mapping[str, tuple[int, ...]], n_steps: int, n_instances: int) -> dict[str, Array]:
        """Views of what was put, by name."""
        memory, at, found = whole.numpy(), 0, {}
        for (name, _, _, dtype), size in zip(self.records, self._sizes(n_steps, n_instances), strict=True):
            shape = shapes[name]
            found[name] = memory[at : at + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
            at += size
        return found


def steps_of(cell: Cell, dtype: str, sizes_and_options: Mapping[str, Any]) -> Steps:
    """The programs of a cell; those of the same cell with the same sizes are shared.

    Args:
        dtype: "f32" or "f64".
    """
    try:
        return _shared(cell, dtype, tuple(sorted(sizes_and_options.items())))
    except TypeError:  # an option that cannot be hashed
        return _traced(cell, dtype, sizes_and_options)


@lru_cache(maxsize=256)
def _shared(cell: Cell, dtype: str, sizes_and_options: tuple[tuple[str, Any], ...]) -> Steps:
    return _traced(cell, dtype, dict(sizes_and_options))


def _traced(cell: Cell, dtype: str, sizes_and_options: Mapping[str, Any]) -> Steps:
    sizes, options = cell.settle(dict(sizes_and_options))
    training = cell.trace(dtype=dtype, training=True, **sizes, **options)
    drops = bool(training.with_role("mask"))
    return Steps(cell.trace(dtype=dtype, training=False, **sizes, **options) if drops else training, training)


@lru_cache(maxsize=256)
def steps_of_text(text: str) -> Steps:
    """The programs of the graphs that a text holds; nothing in it is executed.

    Raises:
        FileError: it is no text of a cell.
    """
    running, _, training = text.partition(SEPARATOR)
    graph = read_step(running, training=False)
    return Steps(graph, read_step(training, training=True) if training else graph)


def in_dtype(text: str, dtype: str) -> str:
    """The text of the same cell in another dtype, "f32" or "f64"."""
    return re.sub(r"\bf(32|64)\b", dtype, text)


class Followed:
    """Copies of weights that PyTorch holds, made again where a bit differs.

    Attributes:
        n_compared, n_copied: how many weights were compared and copied so far: a second call copies nothing.
    """

    def __init__(self) -> None:
        self._copies: dict[str, Array] = {}
        self._known: dict[str, tuple[int, int, torch.Size]] = {}  # the address of each copy, its bytes, its shape
        self.n_copied = self.n_compared = 0

    def current(self, names: Sequence[str], tensors: Sequence[Tensor], *, stay: bool = False) -> Mapping[str, Array]:
        """Name -> array; the same dictionary as before if nothing has changed, or if weights are said to stay."""
        if stay and self._copies:
            return self._copies
        known, changed = self._known, []
        self.n_compared += len(names)
        for name, tensor in zip(names, tensors, strict=True):
            copy = known.get(name)
            if (
                copy is None
                or tensor.shape != copy[2]
                or not tensor.is_contiguous()
                or same_bytes(tensor.data_ptr(), copy[0], copy[1])
            ):
                changed.append((name, tensor))
        return self._copied(changed) if changed else self._copies

    def _copied(self, changed: Sequence[tuple[str, Tensor]]) -> Mapping[str, Array]:
        """A new dictionary, so that who runs backward has the weights of his forward."""
        copies, known = dict(self._copies), dict(self._known)
        for name, tensor in changed:
            copies[name] = array = np.array(tensor.detach().numpy(), order="C")
            known[name] = array.ctypes.data, array.nbytes, tensor.shape
        self.n_copied += len(changed)
        self._copies, self._known = copies, known
        return copies

    def __reduce__(self) -> Any:
        """A copy begins anew."""
        return Followed, ()


# memcmp of C's library: 0 where so many bytes are the same, NaN and the sign of 0 included
same_bytes = (ctypes.CDLL(None) if os.name == "posix" else ctypes.cdll.msvcrt).memcmp
same_bytes.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
same_bytes.restype = ctypes.c_int
