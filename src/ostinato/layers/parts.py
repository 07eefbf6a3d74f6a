"""The layers of a network by their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import OptionError, known_names, lay_out
from .layer import Layer


class Layers(Mapping[str, Layer]):
    """Layers by their prefixed place: "0", "1.forward", "1.reverse". Called, it is itself: `network.layers()`."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self._layers = dict(layers)

    def __call__(self) -> Layers:
        return self

    def __getitem__(self, place: str) -> Layer:
        """The layer at a place.

        Raises:
            OptionError: there is none.
        """
        if place not in self._layers:
            raise OptionError(lay_out(f"there is no layer `{place}`; {known_names(str(place), self._layers, 'layers')}"))
        return self._layers[place]

    def get(self, place: str, default: Any = None) -> Any:
        return self._layers.get(place, default)

    def __contains__(self, place: object) -> bool:
        return place in self._layers

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"<layers {', '.join(f'{place or repr(place)} {layer.name}' for place, layer in self._layers.items())}>"
