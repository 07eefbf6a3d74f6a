"""How the weights of a layer begin: drawn by its seed, when somebody first looks at one of them.

A seed that is not given is 0 for a layer alone. In a network made before anyone looked, it is one of the layer's place, so that
two layers of one size do not begin with the same weights. What was given, drawn or assigned is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np

from ..checks import is_whole
from ..errors import OptionError, lay_out
from ..initialise import Glorot, Initialiser, Orthogonal
from ..ir import ops
from ..ir.analysis import state_dependent
from ..ir.graph import Graph
from ..ir.shapes import Varies
from ..structure.base import Placement

Array = np.ndarray[Any, np.dtype[Any]]


class NotGiven(Enum):
    """What stands for a seed that is not given: None is one that is fresh."""

    SEED = "seed"

    def __repr__(self) -> str:
        return "<not given>"


NOT_GIVEN = NotGiven.SEED
SURE = (Glorot, Orthogonal)  # they can draw every weight that may be theirs


class Beginning:
    """By what seed a layer draws its weights and its dropout masks, and how.

    Attributes:
        seed: the whole number.
        is_open: whether a network may still give another one: none was given, and nothing has been drawn.
        n_places: how many seeds networks gave it.
    """

    def __init__(self, owner: str, seed: Any) -> None:
        """`seed`: a whole number from 0 up, None for a fresh one, NOT_GIVEN for 0 or that of a place.

        Raises:
            OptionError: it is something else.
        """
        self.owner, self.is_open, self.n_places = owner, seed is NOT_GIVEN, 0
        if seed is NOT_GIVEN:
            seed = 0
        elif seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        if not is_whole(seed, 0):
            raise OptionError(lay_out(f"{owner}: `seed` is a whole number from 0 up, or None for a fresh one, not {seed!r}"))
        self.seed = int(seed)
        self._masks: np.random.Generator | None = None
        self._how: dict[str, Initialiser | None] = {}
        self._structures: Mapping[str, Placement] = {}
        self._simple: Callable[[], Graph] | None = None

    @classmethod
    def ended(cls, owner: str, seed: int, masks: np.random.Generator) -> Beginning:
        """That of a layer whose weights are drawn, and whose dropout masks go on from here: one of version 0.1."""
        beginning = cls(owner, seed)
        beginning._masks = masks
        return beginning

    def by(
        self, simple: Callable[[], Graph], how: Mapping[str, Initialiser | None], structures: Mapping[str, Placement]
    ) -> None:  # fmt: skip
        """Say how the weights are drawn.

        Args:
            simple: gives one step, simplified; asked only where an initialiser depends on it.
            how: weight name -> initialiser; None for orthogonal where it multiplies what depends on a state, Glorot elsewhere.
            structures: weight name -> placement, of structured weights.
        """
        self._simple, self._how, self._structures = cache(simple), dict(how), structures

    @property
    def unsure(self) -> list[str]:
        """The weights whose initialisers may draw what does not fit, which is found out when the layer is made."""
        return [name for name, how in self._how.items() if how is not None and not isinstance(how, SURE)]

    def draw(self, name: str, shape: tuple[int, ...]) -> Array:
        """A weight as it begins; `shape` is that of what is stored."""
        assert self._simple is not None, "nobody said how"
        generator = np.random.default_rng([self.seed, crc32(name.encode())])
        how, placement = self._how[name], self._structures.get(name)
        if how is not None and placement is None:
            return how.draw(shape, generator)
        return draw_weight(self._simple(), name, shape, how, placement, generator)

    def end(self) -> None:
        """The weights are there: the seed stays."""
        self.is_open = False

    @property
    def masks(self) -> np.random.Generator:
        """The generator of the dropout masks of a layer alone; it goes on from call to call."""
        if self._masks is None:
            self._masks = np.random.default_rng([self.seed, crc32(b"dropout")])
        return self._masks

    def move(self, place: int, taken: Iterable[int]) -> None:
        """Take the seed of a place, and none that is taken."""
        number, taken = self.n_places, set(taken)
        while (seed := _seed_at(place, number)) in taken:
            number += 1
        self.reseed(seed)
        self.n_places = number + 1

    def reseed(self, seed: int) -> None:
        """Take another seed, while it is open."""
        assert self.is_open, "a seed that was given or used stays"
        self.seed, self._masks = seed, None

    def __getstate__(self) -> dict[str, Any]:
        """A pickle, or a copy, has its weights drawn (see Weights): it is closed."""
        return {**self.__dict__, "is_open": False, "_how": {}, "_structures": {}, "_simple": None}


def give_places(beginnings: Sequence[Beginning]) -> None:
    """Give the layers of a network whose seed is open one each, by their places.

    Args:
        beginnings: of the layers that have weights, in order: so dropout put between them changes no weight. What an inner
            network gave stays, unless another layer here has it.
    """
    taken = {b.seed for b in beginnings if not b.is_open}
    moving = []
    for place, beginning in enumerate(beginnings):
        if beginning.is_open and (not beginning.n_places or beginning.seed in taken):
            moving.append(place)
        else:
            taken.add(beginning.seed)
    for place in moving:
        beginnings[place].move(place, taken)
        taken.add(beginnings[place].seed)


def give_directions(forward: Beginning, reverse: Beginning) -> None:
    """Give the two layers over one sequence different seeds, where they are open and no network gave them others."""
    taken = [] if reverse.is_open else [reverse.seed]
    if forward.is_open and forward.seed in taken:
        forward.reseed(opposite(forward.seed))
    if reverse.is_open and not reverse.n_places:
        reverse.reseed(opposite(forward.seed))


def opposite(seed: int) -> int:
    """The seed of the reverse layer beside a forward one: another draw, fixed by the same seed."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])


def _seed_at(place: int, number: int) -> int:
    return int(np.random.SeedSequence([crc32(b"place in a network"), place, number]).generate_state(1)[0])


def draw_weight(
    graph: Graph, name: str, shape: tuple[int, ...], how: Initialiser | None, placement: Placement | None,
    generator: np.random.Generator,
) -> Array:  # fmt: skip
    """A weight as it begins.

    Args:
        graph: one step, simplified.
        shape: of what is stored.
        how: None for orthogonal where it multiplies what depends on a state, Glorot elsewhere.
        placement: of a structured weight. Its initialiser is given the shape of the dense matrix.
    """
    if placement is None:
        return draw_by_blocks(graph, name, shape, generator) if how is None else how.draw(shape, generator)
    moving = _moving_blocks(graph, name)
    parts = [placement.structure.rows_of(placement.rows, part) for part in range(len(placement.rows))]
    found = [any(_overlap(part, block) for block in moving) for part in parts]
    ways: list[Initialiser] = [how or (Orthogonal() if recurrent else Glorot()) for recurrent in found]
    return placement.draw(ways, generator)


def _moving_blocks(graph: Graph, name: str) -> list[tuple[slice, ...]]:
    """The parts of what is stored that meet something that depends on a state, through whatever is made of them alone."""
    moving = state_dependent(graph.nodes, [p.name for p in graph.states])
    found = []
    for port in graph.ports:
        if port.parameter != name:
            continue
        made = {port.name}
        meets = False
        for node in graph.nodes:
            names = {a.name for a in node.args}
            if names & made:
                meets = meets or (node.record in (ops.matmul, ops.multiply) and bool(names & moving))
                if node.value.type.varies == Varies.NEVER:
                    made.add(node.value.name)
        if meets:
            found.append(port.block.slices if port.block else (slice(None),) * len(port.value.type.dims))
    return found


def _overlap(part: Sequence[slice], block: Sequence[slice]) -> bool:
    def two(a: slice, b: slice) -> bool:
        first = max(a.start or 0, b.start or 0)
        ends = [s.stop for s in (a, b) if s.stop is not None]
        return all(first < end for end in ends)

    return all(two(a, b) for a, b in zip(part, block, strict=False))


def draw_by_blocks(graph: Graph, name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Orthogonal where a part of the weight multiplies what depends on a state, Glorot elsewhere."""
    array = Glorot().draw(shape, generator)
    moving = state_dependent(graph.nodes, [p.name for p in graph.states])
    turned = {n.value.name: n.args[0].name for n in graph.nodes if n.record is ops.transpose}
    blocks = {p.name: p for p in graph.ports if p.parameter == name}
    recurrent: dict[str, bool] = {}
    for node in graph.nodes:
        if node.record is ops.matmul:
            right = turned.get(node.args[1].name, node.args[1].name)
            if right in blocks:
                recurrent[right] = recurrent.get(right, False) or node.args[0].name in moving
    for block_name, is_recurrent in recurrent.items():
        port = blocks[block_name]
        part = port.block.slices if port.block else (slice(None),) * len(shape)
        how: Initialiser = Orthogonal() if is_recurrent and len(shape) == 2 else Glorot()
        array[part] = how.draw(array[part].shape, generator)
    return array
