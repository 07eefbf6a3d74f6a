"""The weights of all parts of a network, by the place of their layer and their name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import DataError, OptionError, known_names, lay_out
from ..ir.dtypes import DTYPES, SHORT
from ..process.interrupts import whole
from ..runtime.arguments import numbers
from ..runtime.weights import Weights

Array = np.ndarray[Any, np.dtype[Any]]


class NetworkWeights(Mapping[str, Array]):
    """The weights of all parts, by prefixed name. Assign to load your own.

    Args:
        owner: the name of the network, for messages.
        dtype: "float32" or "float64".
        parts: the prefix of each part, and its weights.
    """

    def __init__(self, owner: str, dtype: str, parts: Iterable[tuple[str, Weights | NetworkWeights]]) -> None:
        self._owner = owner
        self._dtype = DTYPES[SHORT[dtype]]
        self._homes = {prefix + name: (weights, name) for prefix, weights in parts for name in weights}

    def __getitem__(self, name: str) -> Array:
        self.check_name(name)
        home, own_name = self._homes[name]
        return home[own_name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, arrays: Mapping[str, Any]) -> None:
        """Assign several weights; all are checked before the first is changed.

        Raises:
            OptionError: there is no weight of that name.
            DataError: a value of another shape.
        """
        checked = {}
        for name, value in arrays.items():
            self.check_name(name)
            home, own_name = self._homes[name]
            shape = home.shapes[own_name]
            checked[name] = numbers(name, value, self._dtype, self._owner)
            if checked[name].shape != shape:
                headline = f"{self._owner}: weight `{name}` has shape {shape}, not {checked[name].shape}"
                raise DataError(lay_out(headline))

        def assign() -> None:
            for name, array in checked.items():
                home, own_name = self._homes[name]
                home[own_name] = array

        whole(assign)

    @property
    def snapshot(self) -> dict[str, Array]:
        """All weights as they are now: the arrays themselves."""
        return {name: home.snapshot[own_name] for name, (home, own_name) in self._homes.items()}

    @property
    def adopts(self) -> bool:
        """As `Weights.adopts`: whether those of all parts do."""
        return all(home.adopts for home, _ in self._homes.values())

    def adopt(self, arrays: Mapping[str, Array]) -> None:
        """As `Weights.adopt`, for any of them."""
        homes: dict[int, tuple[Any, dict[str, Array]]] = {}
        for name, array in arrays.items():
            home, own_name = self._homes[name]
            homes.setdefault(id(home), (home, {}))[1][own_name] = array
        for home, own in homes.values():
            home.adopt(own)

    def check_name(self, name: str) -> None:
        """Refuse the name of a weight that does not exist."""
        if name not in self._homes:
            headline = f"{self._owner}: there is no weight `{name}`; {known_names(name, self._homes, 'weights')}"
            raise OptionError(lay_out(headline))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: home.shapes[own_name] for name, (home, own_name) in self._homes.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __repr__(self) -> str:
        return f"<weights {', '.join(f'{name} {shape}' for name, shape in self.shapes.items())}>"
