"""The weights of a layer by name, and how they begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import DataError, OptionError, known_names, lay_out
from .graph import Graph
from .initialise import Glorot, Initialiser, Orthogonal
from .sequences import numbers
from .simplify import state_dependent

Array = np.ndarray[Any, np.dtype[Any]]


class Weights(Mapping[str, Array]):
    """The weights of a layer by the names the cell gives them. Assign to load your own.

    The arrays are read-only, so that a layer always knows when a weight changes: `layer.weights["W"] = array`.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: Any, owner: str) -> None:
        self._shapes, self._dtype, self._owner = dict(shapes), dtype, owner
        self._arrays: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        self.check_name(name)
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.check_name(name)
        array = numbers(name, value, self._dtype, self._owner)
        if array.shape != self._shapes[name]:
            raise DataError(lay_out(f"{self._owner}: weight `{name}` has shape {self._shapes[name]}, not {array.shape}"))
        array = array.copy()  # nobody else holds it
        array.setflags(write=False)
        self._arrays = {**self._arrays, name: array}

    def update(self, arrays: Mapping[str, Any]) -> None:
        """Assign several weights; all are checked before the first is changed."""
        checked = Weights(self._shapes, self._dtype, self._owner)
        for name, value in arrays.items():
            checked[name] = value
        self._arrays = {**self._arrays, **checked._arrays}

    @property
    def snapshot(self) -> Mapping[str, Array]:
        """All weights as they are now; the same object until one is assigned."""
        return self._arrays

    def check_name(self, name: str) -> None:
        """Refuse the name of a weight that does not exist."""
        if name not in self._shapes:
            headline = f"{self._owner}: there is no weight `{name}`; {known_names(name, self._shapes, 'weights')}"
            raise OptionError(lay_out(headline))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What comes out of a pickle is read-only again."""
        self.__dict__.update(state)
        for array in self._arrays.values():
            array.setflags(write=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return f"<weights {', '.join(f'{name} {shape}' for name, shape in self._shapes.items())}>"


def draw_by_blocks(graph: Graph, name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Orthogonal where a part of the weight multiplies what depends on a state, Glorot elsewhere."""
    array = Glorot().draw(shape, generator)
    moving = state_dependent(graph.nodes, [p.name for p in graph.states])
    turned = {n.value.name: n.args[0].name for n in graph.nodes if n.op == "transpose"}
    blocks = {p.name: p for p in graph.ports if p.parameter == name}
    recurrent: dict[str, bool] = {}
    for node in graph.nodes:
        if node.op == "matmul":
            right = turned.get(node.args[1].name, node.args[1].name)
            if right in blocks:
                recurrent[right] = recurrent.get(right, False) or node.args[0].name in moving
    for block_name, is_recurrent in recurrent.items():
        port = blocks[block_name]
        part = port.block.slices if port.block else (slice(None),) * len(shape)
        how: Initialiser = Orthogonal() if is_recurrent and len(shape) == 2 else Glorot()
        array[part] = how.draw(array[part].shape, generator)
    return array
