"""A layer one step after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, known_names, lay_out
from .graph import Port
from .sequences import Sequences, as_array

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
        known = [p.name for p in layer.graph.with_role("context")]
        for name in contexts:
            if name not in known:
                headline = f"{layer.name}: there is no context `{name}`; {known_names(name, known, 'contexts')}"
                raise DataError(lay_out(headline))
        missing = ", ".join(f"`{name}`" for name in known if name not in contexts)
        if missing:
            raise DataError(lay_out(f"{layer.name}: a stream needs its contexts from the beginning; {missing} is missing"))
        batched = n_instances is not None
        self._contexts = {
            name: sequences.context(name, value, n_instances or (0 if batched else 1), batched=batched)
            for name, value in contexts.items()
        }
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
        by_name = {p.name: p for p in ports}
        rest: dict[str, Any] = {name: self._lift(x, axis, by_name[name]) if name in by_name else x for name, x in named.items()}
        named = rest | self._contexts
        outputs, self._state = self._layer.run(*lifted, *inputs[len(ports) :], state=self._state, **named)
        if isinstance(outputs, dict):
            return {name: y.take(0, axis) for name, y in outputs.items()}
        return outputs.take(0, axis)

    def _lift(self, x: Any, axis: int, port: Port) -> Array:
        array = as_array(port.name, x, self._layer.name)
        leading = () if self._n_instances is None else (self._n_instances,)
        if array.shape != (*leading, *port.value.type.sizes):
            dims = ", ".join([*(f"n_instances={n}" for n in leading), *map(str, port.value.type.dims)])
            headline = f"{self._layer.name}: `{port.name}` has shape {array.shape}, and one step must be ({dims})"
            raise DataError(lay_out(headline))
        return np.expand_dims(array, axis)
