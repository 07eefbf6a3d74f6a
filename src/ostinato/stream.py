"""A layer one step after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, lay_out
from .graph import Port
from .sequences import Sequences

if TYPE_CHECKING:
    from .layer import Layer

Array = np.ndarray[Any, np.dtype[Any]]


class Stream:
    """A layer running one step at a time. `state` is where it stands; `reset()` begins again."""

    def __init__(
        self, layer: Layer, sequences: Sequences, state: Any, n_instances: int | None, contexts: Mapping[str, Any]
    ) -> None:  # fmt: skip
        self._layer, self._sequences, self._n_instances = layer, sequences, n_instances
        whole = isinstance(n_instances, int | np.integer) and not isinstance(n_instances, bool)
        if n_instances is not None and (not whole or n_instances < 0):
            raise DataError(lay_out(f"{layer.name}: `n_instances` is a whole number from 0 up, not {n_instances!r}"))
        self._contexts = dict(contexts)
        self._begin = self._checked(state)
        self._state = self._begin

    def _checked(self, state: Any) -> dict[str, Array]:
        batched = self._n_instances is not None
        arrays = self._sequences.state(state, self._n_instances or (0 if batched else 1), batched)
        return {name: (array if batched else array[0]).copy() for name, array in arrays.items()}

    @property
    def state(self) -> dict[str, Array]:
        """The state after the last step; a copy. Assign to continue from elsewhere."""
        return {name: array.copy() for name, array in self._state.items()}

    @state.setter
    def state(self, state: Any) -> None:
        self._state = self._checked(state)

    def reset(self) -> None:
        """Back to where the stream began."""
        self._state = self._begin

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """One step: inputs (n_instances, ...), or (...) for one instance; the output likewise."""
        axis = 1 if self._layer.batch_first and self._n_instances is not None else 0
        ports = self._layer.graph.with_role("input")
        lifted = [self._lift(x, axis, port) for x, port in zip(inputs, ports, strict=False)]
        rest: dict[str, Any] = {name: self._lift(x, axis, None) for name, x in named.items()}
        named = rest | self._contexts
        outputs, self._state = self._layer.run(*lifted, *inputs[len(ports) :], state=self._state, **named)
        if isinstance(outputs, dict):
            return {name: y.take(0, axis) for name, y in outputs.items()}
        return outputs.take(0, axis)

    def _lift(self, x: Any, axis: int, port: Port | None) -> Array:
        array = np.asarray(x)
        if port is not None and array.ndim != len(port.value.type.dims) + (self._n_instances is not None):
            dims = ", ".join([*(["n_instances"] if self._n_instances is not None else []), *map(str, port.value.type.dims)])
            headline = f"{self._layer.name}: `{port.name}` has shape {array.shape}, and one step must be ({dims})"
            raise DataError(lay_out(headline))
        return np.expand_dims(array, axis)
