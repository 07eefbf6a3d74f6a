"""What layers together have in common: weights and states under prefixed names, one call through all parts, and back.

Inside, what goes from part to part always has an axis of steps; `LastStep` leaves one step. The axes are put on and taken off
where the user is. The parts themselves are in network.py.
"""

# ruff: noqa: N803, N806 - X, Y and dY are the symbols of the equations

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

from .. import files
from ..calls import answering
from ..errors import DataError, OptionError, known_names, lay_out
from ..ir.dtypes import DTYPES, SHORT
from ..ir.graph import Port
from ..ir.shapes import Dims
from ..runtime.arguments import as_array, numbers
from ..runtime.masks import generator_of
from .layer import Gradients, Layer, Pullback
from .network_stream import NetworkStream
from .network_weights import NetworkWeights
from .parts import Layers

Array = np.ndarray[Any, np.dtype[Any]]
Back = Callable[[Array, Mapping[str, Any], Gradients], Array]  # adjoint of a part's output -> of its input


@dataclass
class Passage:
    """One call on its way through the parts. `rng` has the generator of dropout masks of each layer, by its place."""

    recording: bool
    state: dict[str, Array]
    lengths: Any
    reset: Any
    training: bool
    rng: Mapping[str, np.random.Generator]
    final: dict[str, Array] = field(default_factory=dict)
    pullbacks: list[Pullback] = field(default_factory=list)


class NetworkPullback:
    """Takes the adjoint of a network's output back to its input, initial states and weights. May be called again and again.

    Attributes:
        state: the final states by prefixed name.
    """

    name = "pullback"

    def __init__(self, network: Composite, call: Passage, back: Back, Y: Array, n_leading: int) -> None:
        self._network, self._back, self._n_leading = network, back, n_leading
        self._shape, self._dtype = Y.shape, Y.dtype
        self._pullbacks = call.pullbacks
        self.state = network.states_as_given(call.final, n_leading)

    @property
    def recorded_bytes(self) -> int:
        """Bytes kept for the backward pass."""
        return sum(pullback.recorded_bytes for pullback in self._pullbacks)

    @answering
    def __call__(self, dY: Any = None, *, state: Any = None) -> Gradients:
        """Back-propagation through all parts.

        Args:
            dY: the adjoint of the output, of its shape. None: zeros.
            state: the adjoints of the final states by prefixed name; what is not given is 0.

        Raises:
            DataError: shapes that do not fit the output or the states.
        """
        network, n_leading = self._network, self._n_leading
        shape = network.as_given(np.empty(self._shape, bool), n_leading).shape
        array = np.zeros(shape, self._dtype) if dY is None else numbers("dY", dY, self._dtype, network.name)
        if array.shape != shape:
            headline = f"{network.name}: the adjoint of the output has shape {array.shape}, and the output has {shape}"
            raise DataError(lay_out(headline))
        gradients = Gradients(None)
        dX = self._back(array.reshape(self._shape), network.lifted_states(state, n_leading), gradients)
        gradients.inputs = network.input_as_given(dX, n_leading)
        # in the order of the network, which back-propagation met from behind
        gradients.weights = {name: gradients.weights[name] for name in network.weights}
        ordered = {name: gradients.state[name] for name in network.state_names}
        gradients.state = network.states_as_given(ordered, n_leading)
        return gradients


class Composite(ABC):
    """What networks, bidirectional layers and last steps share.

    Attributes:
        name: "network", "bidirectional(lstm)" and so on, for messages.
        parts: key -> layer or composite; the key "" adds nothing to the names of weights.
        weights: all weights by prefixed name, assignable.
        gives_steps: whether the output has an axis of steps.
    """

    name: str
    parts: dict[str, Layer | Composite]
    weights: NetworkWeights
    dtype: str
    batch_first: bool
    gives_steps = True

    def _settle(self) -> None:
        """Check what all parts must have in common, and gather the weights."""
        parts = list(self.parts.values())
        first = parts[0]
        for part in parts[1:]:
            if part.dtype != first.dtype or part.batch_first != first.batch_first:
                marks = [f"{p.name} ({p.dtype}, batch_first={p.batch_first})" for p in (first, part)]
                raise OptionError(lay_out(f"{self.name}: its parts differ in dtype or batch_first: {marks[0]} and {marks[1]}"))
        self.dtype, self.batch_first = first.dtype, first.batch_first
        self.weights = NetworkWeights(self.name, self.dtype, [(prefix, p.weights) for prefix, p in self.prefixed_parts()])

    @cached_property
    def _generators(self) -> dict[str, np.random.Generator]:
        """By seed and place: layers that were made with the same seed have the same masks nowhere."""
        return {
            place: np.random.default_rng([layer.seed, zlib.crc32(f"dropout at {place}".encode())])
            for place, layer in self.layers.items()
        }

    def prefixed_parts(self) -> list[tuple[str, Layer | Composite]]:
        return [(f"{key}." if key else "", part) for key, part in self.parts.items()]

    @property
    def layers(self) -> Layers:
        """The layers by their prefixed place, in the order in which they run: "0", "1.forward", "1.reverse"."""
        found: dict[str, Layer] = {}
        for prefix, part in self.prefixed_parts():
            if isinstance(part, Layer):
                found[prefix.removesuffix(".")] = part
            else:
                found |= {(prefix + key).removesuffix("."): layer for key, layer in part.layers.items()}
        return Layers(found)

    @property
    def n_parameters(self) -> int:
        return sum(map(prod, self.weights.shapes.values()))

    @property
    def state_names(self) -> list[str]:
        return [f"{place}.{p.name}" if place else p.name for place, layer in self.layers.items() for p in layer.graph.states]

    @property
    def input_port(self) -> Port:
        return input_port(next(iter(self.parts.values())))

    @property
    @abstractmethod
    def output_dims(self) -> Dims:
        """The named dimensions of the output, for one instance at one step."""

    @property
    def input_sizes(self) -> tuple[int, ...]:
        return self.input_port.value.type.sizes

    @property
    def output_sizes(self) -> tuple[int, ...]:
        return tuple(dim.size for dim in self.output_dims)

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What it is, without its weights."""

    @abstractmethod
    def through(self, X: Array, call: Passage, prefix: str) -> tuple[Array, Back]:
        """One call through all parts; X with both leading axes. Used by the parts among themselves."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and description to a safetensors file, atomically.

        Raises:
            FileError: it can not be written.
        """
        files.write(path, dict(self.weights), self.description)

    # --- running

    @answering
    def __call__(self, X: Any, **options: Any) -> Array:
        """The output; see `run`, which gives the final states too."""
        return self.run(X, **options)[0]

    @answering
    def run(
        self, X: Any, *, state: Any = None, lengths: Any = None, reset: Any = None, training: bool = False, rng: Any = None
    ) -> tuple[Array, dict[str, Array]]:  # fmt: skip
        """Run over whole sequences.

        Args:
            X: (n_steps, n_instances, ...), or (n_steps, ...) for one instance; with batch_first, instances before steps.
                Where no part has a state: (n_instances, ...) and (...) too.
            state: prefixed state name -> (n_instances, ...); what is not given begins as it was declared.
            lengths, reset: as in `Layer.run`; they reach every part that has steps.
            training: with dropout.
            rng: seed or generator of the dropout masks of all parts; unless given, each layer has a generator of its
                own, made of its seed and its place.

        Returns:
            the output, and the final states by prefixed name. Of a cell with several outputs the first goes on.

        Raises:
            DataError: anything that does not fit.
            OptionError: `rng` is neither seed nor generator.
        """
        Y, call, _, n_leading = self._started(X, False, state, lengths, reset, training, rng)
        return self.as_given(Y, n_leading), self.states_as_given(call.final, n_leading)

    @answering
    def vjp(
        self, X: Any, *, state: Any = None, lengths: Any = None, reset: Any = None, training: bool = False, rng: Any = None
    ) -> tuple[Array, NetworkPullback]:  # fmt: skip
        """Run, and keep what back-propagation needs: `Y, pullback = network.vjp(X); grads = pullback(dY)`."""
        Y, call, back, n_leading = self._started(X, True, state, lengths, reset, training, rng)
        return self.as_given(Y, n_leading), NetworkPullback(self, call, back, Y, n_leading)

    def stream(self, *, state: Any = None, n_instances: int | None = None) -> NetworkStream:
        """One step after another: `y_t = stream(x_t)` gives what `network(X)` gives at each step.

        Behind a `LastStep`, y_t is the answer to the sequence as far as it has come: that of `network(X[: t + 1])`.

        Args:
            state: where to begin, by prefixed name; as in `run`.
            n_instances: how many at once; None for one, without the axis.

        Raises:
            OptionError: a layer runs in reverse, as one of a `Bidirectional` does.
            DataError: a state that does not fit.
        """
        return NetworkStream(self, state, n_instances)

    def _started(
        self, X: Any, recording: bool, state: Any, lengths: Any, reset: Any, training: bool, rng: Any
    ) -> tuple[Array, Passage, Back, int]:  # fmt: skip
        X, n_leading = self._lifted(X)
        if reset is not None and n_leading == 1:
            reset = as_array("reset", reset, self.name)
            reset = np.expand_dims(reset, min(self._instances, reset.ndim))
        generators = self._generators
        if rng is not None:
            generators = dict.fromkeys(generators, generator_of(rng, self.name))
        call = Passage(recording, self.lifted_states(state, n_leading), lengths, reset, training, generators)
        Y, back = self.through(X, call, "")
        return Y, call, back, n_leading

    def __repr__(self) -> str:
        return f"<{self.name}, {self.dtype}, {self.n_parameters:,} parameters>"

    # --- axes

    @property
    def _steps(self) -> int:
        return 1 if self.batch_first else 0

    @property
    def _instances(self) -> int:
        return 0 if self.batch_first else 1

    @property
    def _has_steps(self) -> bool:
        """Whether steps and instances are told apart: some part has a state or looks for the last step."""
        return bool(self.state_names) or not self.gives_steps

    def _lifted(self, X: Any) -> tuple[Array, int]:
        """X with both leading axes, and how many the user gave."""
        port = self.input_port
        array = numbers(port.name, X, DTYPES[SHORT[self.dtype]], self.name)
        n_leading = array.ndim - len(port.value.type.dims)
        if n_leading not in ((1, 2) if self._has_steps else (0, 1, 2)) or array.shape[n_leading:] != port.value.type.sizes:
            order = ["n_instances", "n_steps"] if self.batch_first else ["n_steps", "n_instances"]
            wanted = ", ".join([*order, *map(str, port.value.type.dims)])
            raise DataError(lay_out(f"{self.name}: `{port.name}` has shape {array.shape}, and must be ({wanted})"))
        return np.expand_dims(array, self._added(n_leading)), n_leading

    def _added(self, n_leading: int) -> tuple[int, ...]:
        """The leading axes that the user did not give."""
        if n_leading == 2:
            return ()
        if n_leading == 1:
            return (self._instances,) if self._has_steps else (self._steps,)
        return (0, 1)

    def input_as_given(self, array: Array, n_leading: int) -> Array:
        return np.squeeze(array, self._added(n_leading))

    def as_given(self, Y: Array, n_leading: int) -> Array:
        """An output with the axes that the user gave, without that of steps after the last one."""
        gone = {*self._added(n_leading), *(() if self.gives_steps else (self._steps,))}
        return np.squeeze(Y, tuple(gone))

    def lifted_states(self, given: Any, n_leading: int) -> dict[str, Array]:
        names = self.state_names
        if given is not None and not isinstance(given, Mapping):
            raise DataError(lay_out(f"{self.name}: `state` is a dictionary by name, not {type(given).__name__}"))
        for name in given or {}:
            if name not in names:
                raise DataError(lay_out(f"{self.name}: there is no state `{name}`; {known_names(name, names, 'states')}"))
        arrays = {name: as_array(name, value, self.name) for name, value in (given or {}).items()}
        return {name: array if n_leading == 2 else array[None] for name, array in arrays.items()}

    @staticmethod
    def states_as_given(states: Mapping[str, Array], n_leading: int) -> dict[str, Array]:
        return {name: array if n_leading == 2 else array[0] for name, array in states.items()}


def input_port(part: Layer | Composite) -> Port:
    return part.graph.with_role("input")[0] if isinstance(part, Layer) else part.input_port


def output_dims(part: Layer | Composite) -> Dims:
    return part.graph.results_with("output")[0].value.type.dims if isinstance(part, Layer) else part.output_dims


def check_layer(layer: Layer, owner: str) -> None:
    """Refuse a layer that needs more than one value from the part before it."""
    names = [p.name for p in layer.graph.with_role("input", "context")]
    if len(names) > 1:
        listing = ", ".join(f"`{name}`" for name in names)
        headline = f"{owner}: {layer.name} takes {listing}, and a part takes the one value that the part before it gives"
        raise OptionError(lay_out(headline))


def through(part: Layer | Composite, X: Array, call: Passage, prefix: str) -> tuple[Array, Back]:
    """One part: its output, and the way back through it."""
    if isinstance(part, Composite):
        return part.through(X, call, prefix)
    names = [p.name for p in part.graph.states]
    options: dict[str, Any] = {
        "state": {n: call.state[prefix + n] for n in names if prefix + n in call.state},
        "lengths": call.lengths,
        "reset": call.reset if names else None,
        "training": call.training,
        "rng": call.rng[prefix.removesuffix(".")],
    }
    pullback: Pullback | None = None
    if call.recording:
        Y, pullback = part.vjp(X, **options)
        call.pullbacks.append(pullback)
        final = pullback.state
    else:
        Y, final = part.run(X, **options)
    call.final |= {prefix + n: array for n, array in final.items()}
    first: Array = next(iter(Y.values())) if isinstance(Y, dict) else Y
    return first, partial(_layer_back, pullback, names, prefix)


def _layer_back(
    pullback: Pullback | None, names: list[str], prefix: str, dY: Array, state: Mapping[str, Any], into: Gradients
) -> Array:  # fmt: skip
    assert pullback is not None, "run() keeps nothing for a way back"
    found = pullback(dY, state={n: state[prefix + n] for n in names if prefix + n in state})
    into.weights |= {prefix + n: array for n, array in found.weights.items()}
    into.state |= {prefix + n: array for n, array in found.state.items()}
    dX: Array = found.inputs
    return dX
