"""Layers one behind the other, one step after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ..errors import OptionError, lay_out
from .layer import Layer
from .stream import Stream

Array = np.ndarray[Any, np.dtype[Any]]


class Chain(Protocol):
    """What a stream needs of the network that it runs."""

    name: str

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers by their prefixed place, in the order in which they run."""

    def lifted_states(self, given: Any, n_leading: int) -> dict[str, Array]:
        """States by prefixed name, checked, with an axis of instances."""


class NetworkStream:
    """A network running one step at a time. `state` is where it stands; `reset()` begins again.

    What a `LastStep` gives is the answer to the sequence as far as it has come. Dropout is for training, and leaves no trace.
    A stream is one sequence (or one batch of them), and belongs to one thread at a time.
    """

    def __init__(self, network: Chain, state: Any, n_instances: int | None) -> None:
        name, layers = network.name, network.layers
        for place, layer in layers.items():
            if layer.reverse:
                where = f"the layer {place} ({layer.name})" if place else layer.name
                headline = f"{name}: {where} runs in reverse, from the last step of a sequence, and can not be streamed"
                raise OptionError(lay_out(headline))
        self._network, self._n_instances = network, n_instances
        self._layers = {place: layer for place, layer in layers.items() if not _changes_nothing(layer)}
        self._use(self._made(state))
        self._begin = self.state

    def _made(self, given: Any) -> dict[str, Stream]:
        """A stream for each layer, from the states by prefixed name."""
        state, made = self._network.lifted_states(given, 2), {}
        for place, layer in self._layers.items():
            names = {f"{place}.{p.name}" if place else p.name: p.name for p in layer.graph.states}
            own = {name: state[prefixed] for prefixed, name in names.items() if prefixed in state}
            made[place] = layer.stream(state=own, n_instances=self._n_instances)
        return made

    def _use(self, streams: dict[str, Stream]) -> None:
        self._streams = streams
        self._chain = [(stream, len(self._layers[place].graph.results_with("output")) > 1) for place, stream in streams.items()]

    def __call__(self, x: Any) -> Array:
        """One step: x (n_instances, ...), or (...) for one instance; the output of the last layer likewise."""
        for stream, gives_several in self._chain:
            x = stream(x)
            if gives_several:  # the first goes on, as in `run`
                x = next(iter(x.values()))
        return x  # type: ignore[no-any-return]

    @property
    def state(self) -> dict[str, Array]:
        """The states after the last step by prefixed name; a copy. Assign to continue from elsewhere."""
        return {
            f"{place}.{name}" if place else name: array
            for place, stream in self._streams.items()
            for name, array in stream.state.items()
        }

    @state.setter
    def state(self, state: Any) -> None:
        for place, stream in self._made(state).items():  # all of them fit, before the first is changed
            self._streams[place].state = stream.state

    def reset(self) -> None:
        """Back to where the stream began."""
        for stream in self._streams.values():
            stream.reset()

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or a pickle, goes on by itself from here."""
        return {**self.__dict__, "_streams": {}, "_chain": [], "_now": self.state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        now = state.pop("_now")
        self.__dict__.update(state)
        self._use(self._made(self._begin))
        self.state = now

    def __repr__(self) -> str:
        names = " -> ".join(layer.name for layer in self._layers.values())
        instances = "" if self._n_instances is None else f", n_instances={self._n_instances}"
        return f"<stream of {self._network.name}: {names}{instances}>"


def _changes_nothing(layer: Layer) -> bool:
    """Whether it gives what it takes, as one of dropout does outside training."""
    (output, *more), (taken, *_) = layer.graph.results_with("output"), layer.graph.with_role("input")
    return not more and not layer.graph.states and output.value.name == taken.value.name
