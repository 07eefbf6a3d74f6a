"""What an update rule remembers, with the names of the weights that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Kind(NamedTuple):
    """The shape and dtype of a weight."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return prod(self.shape)


class RuleState(Mapping[str, Array]):
    """What a rule remembers at one moment: state name -> (n_parameters,), all weights one behind another. Read-only copies.

    `other.state = rule.state` hands it to another rule of the same cell. The order of weights does not matter: their names go
    along, and what is remembered of each is found by its name.

    Attributes:
        weights: weight name -> its shape and dtype, in the order in which the parameters stand.
    """

    def __init__(self, arrays: Mapping[str, Array], weights: Mapping[str, Kind]) -> None:
        self._arrays, self.weights = dict(arrays), dict(weights)
        for array in self._arrays.values():
            array.setflags(write=False)

    def of_weights(self, name: str) -> dict[str, Array]:
        """One state, sorted by weights: weight name -> (size, ...)."""
        ends = np.cumsum([kind.size for kind in self.weights.values()])[:-1]
        return dict(zip(self.weights, np.split(self._arrays[name], ends), strict=True))

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        n_parameters = sum(kind.size for kind in self.weights.values())
        return f"<state of a rule: {', '.join(self._arrays) or 'nothing'}; {n_parameters:,} parameters>"
