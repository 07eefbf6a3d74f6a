"""A layer one step after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ..checks import is_whole
from ..errors import DataError, known_names, lay_out
from ..ir.graph import Graph, Port
from ..runtime.arguments import Sequences, as_array, numbers
from ..runtime.weights import Weights

Array = np.ndarray[Any, np.dtype[Any]]


class Steppable(Protocol):
    """What a stream needs of the layer that it runs."""

    name: str
    backend: str
    batch_first: bool
    weights: Weights

    @property
    def graph(self) -> Graph:
        """One step, as it was written."""

    def run(self, *, state: Mapping[str, Array], **given: Any) -> tuple[Any, dict[str, Array]]:
        """Outputs and final states of a sequence."""

    def stepper(self, n_instances: int, values: Mapping[str, Array]) -> Any:
        """A native.stepper.Stepper that begins with these states and contexts."""


class Stream:
    """A layer running one step at a time. `state` is where it stands; `reset()` begins again.

    With native code everything has its place in memory from the first step on; a step costs a microsecond and the work.
    A stream is one sequence (or one batch of them), and belongs to one thread at a time.
    """

    def __init__(
        self, layer: Steppable, sequences: Sequences, state: Any, n_instances: int | None, contexts: Mapping[str, Any]
    ) -> None:  # fmt: skip
        self._layer, self._sequences, self._n_instances = layer, sequences, n_instances
        if n_instances is not None and not is_whole(n_instances, 0):
            raise DataError(lay_out(f"{layer.name}: `n_instances` is a whole number from 0 up, not {n_instances!r}"))
        known = [p.name for p in layer.graph.with_role("context")]
        for name in contexts:
            if name not in known:
                headline = f"{layer.name}: there is no context `{name}`; {known_names(name, known, 'contexts')}"
                raise DataError(lay_out(headline))
        missing = ", ".join(f"`{name}`" for name in known if name not in contexts)
        if missing:
            raise DataError(lay_out(f"{layer.name}: a stream needs its contexts from the beginning; {missing} is missing"))
        self._batched = n_instances is not None
        self._count = int(n_instances or 0) if self._batched else 1
        self._contexts = {
            name: sequences.context(name, value, self._count, batched=self._batched) for name, value in contexts.items()
        }
        self._begin = self._checked(state)
        self._state = self._begin
        self._inputs = layer.graph.with_role("input")
        leading = (self._count,) if self._batched else ()
        self._shapes = {p.name: (*leading, *p.value.type.sizes) for p in self._inputs}
        self._first = self._shapes[self._inputs[0].name]
        self._stepper: Any = None  # a native.stepper.Stepper; None until the first step, and where NumPy runs

    def _checked(self, state: Any) -> dict[str, Array]:
        arrays = self._sequences.state(state, self._count, self._batched)
        return {name: (array if self._batched else array[0]).copy() for name, array in arrays.items()}

    @property
    def state(self) -> dict[str, Array]:
        """The state after the last step; a copy. Assign to continue from elsewhere."""
        if self._stepper is not None:
            return {n: (a if self._batched else a[0]).copy() for n, a in self._stepper.state.items()}
        return {name: array.copy() for name, array in self._state.items()}

    @state.setter
    def state(self, state: Any) -> None:
        self._state = self._checked(state)
        self._stepper = None

    def reset(self) -> None:
        """Back to where the stream began."""
        self._state = self._begin
        self._stepper = None

    def __repr__(self) -> str:
        instances = f", n_instances={self._count}" if self._batched else ""
        return f"<stream of {self._layer.name}{instances}>"

    def __call__(self, *inputs: Any, **named: Any) -> Array | Any:
        """One step: inputs (n_instances, ...), or (...) for one instance; the output likewise."""
        stepper = self._stepper
        if stepper is None or stepper.snapshot is not self._layer.weights.snapshot:
            if self._layer.backend != "native":
                return self._interpreted(inputs, named)
            stepper = self._stepper = self._new_stepper()
        if len(inputs) == 1 and not named and self._single is not None:
            x = inputs[0]
            if type(x) is np.ndarray and x.shape == self._first and x.dtype is self._sequences.dtype:
                self._single[...] = x
                stepper.step()
                return self._only.copy() if self._only is not None else self._outputs()
        arrays = self._gathered(inputs, named)
        for name, array in arrays.items():
            stepper.inputs[name][...] = array
        stepper.step()
        return self._outputs()

    def __getstate__(self) -> dict[str, Any]:
        """A copy goes on from here by itself: from the state of now, with a place in memory of its own."""
        gone = ("_single", "_only")  # they lie in the memory of the stepper
        return {**{n: v for n, v in self.__dict__.items() if n not in gone}, "_state": self.state, "_stepper": None}

    # --- native code

    def _new_stepper(self) -> Any:
        """Everything in its place, from where the stream stands now."""
        given = self.state | self._contexts
        values = given if self._batched else {name: array[None] for name, array in given.items()}
        stepper = self._layer.stepper(self._count, values)
        self._single = stepper.inputs[self._inputs[0].name] if len(self._inputs) == 1 else None
        outputs = [a if self._batched else a[0] for a in stepper.outputs.values()]
        per_instance = all(len(a) == self._count for a in stepper.outputs.values())
        self._only = outputs[0] if len(outputs) == 1 and per_instance and outputs[0].ndim else None
        if not self._batched and self._single is not None:
            self._single = self._single[0]
        return stepper

    def _outputs(self) -> Any:
        count = self._count
        whole = {n: np.broadcast_to(a, (count, *a.shape[1:])).copy() for n, a in self._stepper.outputs.items()}
        outputs = whole if self._batched else {name: array[0] for name, array in whole.items()}
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    def _gathered(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Array]:
        """The inputs of a step by name, all checked."""
        arrays = [as_array(p.name, x, self._layer.name) for p, x in zip(self._inputs, inputs, strict=False)]
        given = self._sequences.named([*arrays, *inputs[len(arrays) :]], {**named, **self._contexts})
        return {p.name: self._fitting(given[p.name], p) for p in self._inputs}

    def _fitting(self, x: Any, port: Port) -> Array:
        array = as_array(port.name, x, self._layer.name)
        if array.shape != self._shapes[port.name]:
            leading = (self._count,) if self._batched else ()
            dims = ", ".join([*(f"n_instances={n}" for n in leading), *map(str, port.value.type.dims)])
            headline = f"{self._layer.name}: `{port.name}` has shape {array.shape}, and one step must be ({dims})"
            raise DataError(lay_out(headline))
        return numbers(port.name, array, self._sequences.dtype, self._layer.name)

    # --- NumPy

    def _interpreted(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        axis = 1 if self._layer.batch_first and self._batched else 0
        arrays: dict[str, Any] = {name: np.expand_dims(a, axis) for name, a in self._gathered(inputs, named).items()}
        outputs, self._state = self._layer.run(state=self._state, **arrays, **dict[str, Any](self._contexts))
        if isinstance(outputs, dict):
            return {name: y.take(0, axis) for name, y in outputs.items()}
        return outputs.take(0, axis)
