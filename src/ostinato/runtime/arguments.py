"""What a user gives to a layer, checked and brought into the form that programs run on.

Everything wrong is refused here, at once and with names, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from ..errors import DataError, DataTypeError, OstinatoError, known_names, lay_out
from ..ir.dtypes import DTYPES
from ..ir.graph import Graph, Port
from ..ir.timeline import Timeline
from .frames import column_names, is_frame, numbers_of_frame, numbers_of_objects, series_as_array

Array = np.ndarray[Any, np.dtype[Any]]
OPTIONS = ("state", "lengths", "reset", "training", "rng")  # what a call of a layer takes beside its inputs
NUMBERS = {float, int, bool, np.float64, np.float32, np.int64, np.bool_, str, bytes}  # lists of which hold nothing else


@dataclass
class Call:
    """The arguments of one call, ready to run.

    Attributes:
        timeline: the steps and instances.
        n_leading: axes the user gave in front of an instance's own: 2 (steps and instances), 1 (steps), 0 (one instance).
        values: port name -> (*timeline.leading, ...), or (n_instances, ...).
        reset: of shape timeline.leading, or None.
    """

    timeline: Timeline
    n_leading: int
    values: dict[str, Array] = field(default_factory=dict)
    reset: Array | None = None

    @property
    def batched(self) -> bool:
        """Whether the user gave an axis of instances."""
        return self.n_leading == 2


def numbers(name: str, value: Any, dtype: Any, owner: str) -> Array:
    """An array of the dtype the layer computes in; a copy only if it has to be.

    Raises:
        DataError: it holds no numbers, or rows of different lengths, or a value is missing; or there is no memory for a copy.
    """
    if type(value) is np.ndarray and value.dtype is dtype and value.flags.c_contiguous:
        return value  # nothing to do, and nothing to be found out
    array = as_array(name, value, owner, hint="X, lengths = pad_sequences(sequences)")
    if array.dtype.kind not in "fiub":
        array = _only_numbers(name, array, owner)
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinity, as IEEE says
            return np.ascontiguousarray(array, dtype).reshape(array.shape)
    except MemoryError:
        size = f"{array.size * np.dtype(dtype).itemsize / 2**30:,.0f} GiB"
        headline = (
            f"{owner}: `{name}` has shape {array.shape}: a copy of it needs {size} of memory, which this machine does not give"
        )
        raise DataError(lay_out(headline, hint=f"give an array of {np.dtype(dtype)} whose elements lie row by row")) from None


def _only_numbers(name: str, array: Array, owner: str) -> Array:
    """An array of objects that are all numbers, as numbers; whatever else is refused."""
    if array.dtype == object:
        return numbers_of_objects(array, lambda place: f"{owner}: `{name}`{list(place) if place else ''}")
    if array.dtype.kind == "c":
        raise DataError(lay_out(f"Complex data not supported. {owner}: `{name}` has dtype {array.dtype}"))
    raise DataError(lay_out(f"{owner}: `{name}` holds no real numbers: its dtype is {array.dtype}"))


def as_array(name: str, value: Any, owner: str, hint: str = "") -> Array:
    """Anything that NumPy makes an array of, and nothing less: a frame gives its numbers, and a masked element is refused.

    Raises:
        DataError: its rows have different lengths; an element is masked or missing; a column of a frame holds no numbers.
    """
    if type(value) is np.ndarray:
        return value
    try:
        return _array_of(name, value, owner)
    except OstinatoError:
        raise
    except ValueError:
        headline = f"{owner}: `{name}` is no array: its rows have different lengths"
        raise DataError(lay_out(headline, hint=hint)) from None
    except Exception as error:  # noqa: BLE001 - whatever an object says that will not be an array
        raise DataError(lay_out(f"{owner}: `{name}` can not be made an array: {error}")) from None


def _array_of(name: str, value: Any, owner: str) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            place = np.argwhere(np.ma.getmaskarray(value))[0].tolist()
            headline = f"{owner}: `{name}` is masked{f' at {place}' if place else ''}: a masked element has no value"
            raise DataError(lay_out(headline, hint="fill it, as array.filled(value) does, or leave it out"))
        return np.asarray(value)
    if isinstance(value, list | tuple) and not set(map(type, value)) <= NUMBERS:
        found = [_array_of(f"{name}[{i}]", part, owner) if _is_inside(part) else part for i, part in enumerate(value)]
        _same_columns(name, value)
        # what is no array stays itself: pandas.NA as an array of nothing could no more be told from one
        return np.asarray([part if np.ndim(array) == 0 else array for part, array in zip(value, found, strict=True)])
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        headline = f"Sparse data was passed for {name}, but dense data is required."
        raise DataTypeError(lay_out(f"{headline} Use '.toarray()' to convert to a dense numpy array."))
    if hasattr(value, "collect") and not hasattr(value, "__len__"):
        headline = f"{owner}: `{name}` is a {type(value).__name__}, which has not been computed"
        raise DataError(lay_out(headline, hint="give what its .collect() returns"))
    if is_frame(value):
        return numbers_of_frame(value, name, owner)
    return series_as_array(value, name, owner)


def _is_inside(part: Any) -> bool:
    """Whether a part of a list may hold what NumPy would drop in silence: a mask, or the names of columns."""
    plain = str | bytes | int | float | complex | np.generic | np.ndarray
    return not isinstance(part, plain) or isinstance(part, np.ma.MaskedArray)


def _same_columns(name: str, parts: Sequence[Any]) -> None:
    """Refuse frames side by side whose columns do not stand in the same order."""
    found = [(i, names) for i, part in enumerate(parts) if (names := column_names(part, f"{name}[{i}]"))]
    for i, names in found:
        if names != found[0][1]:
            first, other = (", ".join(f"`{n}`" for n in some) for some in (found[0][1], names))
            raise DataError(lay_out(f"the columns of {name}[{found[0][0]}] are {first}, and those of {name}[{i}] {other}"))


def whole_lengths(lengths: Any, n_steps: int, n_instances: int, owner: str) -> Array:
    """(n_instances,): how many steps each instance has. One number will do for one instance; 7.0 is 7.

    Raises:
        DataError: another shape, no whole numbers, below 0 or beyond the steps.
    """
    array = as_array("lengths", lengths, owner)
    if array.ndim == 0 and n_instances == 1:
        array = array[None]
    if array.shape != (n_instances,):
        raise DataError(lay_out(f"{owner}: `lengths` has shape {array.shape}, and must be (n_instances={n_instances},)"))
    if array.dtype == object and all(isinstance(n, Integral) and not isinstance(n, bool) for n in array):
        array = array.astype(np.int64)
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((array == np.floor(array)).all()))
    if n_instances and not whole:
        raise DataError(lay_out(f"{owner}: `lengths` must be whole numbers, and has dtype {array.dtype}"))
    if n_instances and not (array.min() >= 0 and array.max() <= n_steps):
        wrong = next(n for n in array if not 0 <= n <= n_steps)
        raise DataError(lay_out(f"{owner}: `lengths` must lie between 0 and n_steps={n_steps}, and one is {wrong}"))
    return array.astype(np.intp)


class Sequences:
    """Checks the arguments of calls of one layer."""

    def __init__(self, graph: Graph, *, batch_first: bool, reverse: bool) -> None:
        self.graph, self.batch_first, self.reverse = graph, batch_first, reverse
        self.dtype = np.dtype(DTYPES[graph.dtype])
        self.inputs = graph.with_role("input")
        self.contexts = graph.with_role("context")
        self.names = [p.name for p in (*self.inputs, *self.contexts)]
        self._sizes = {p.name: p.value.type.sizes for p in graph.ports}
        self._states = {p.name: p for p in graph.states}
        self._last_timeline: Timeline | None = None
        self._initial: dict[str, Array] = {}  # states as they begin, for the number of instances of the last call

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last_timeline": None, "_initial": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # in a pickle of version 0.1 a timeline remembers where its arrays were; and a dtype is known by its identity
        self.__dict__.update({**state, "_last_timeline": None, "_initial": {}, "dtype": np.dtype(DTYPES[state["graph"].dtype])})

    def call(
        self, given: Sequence[Any], named: Mapping[str, Any], state: Any, lengths: Any, reset: Any
    ) -> Call:  # fmt: skip
        """Check everything a user gave to a call.

        Raises:
            DataError: something is missing, unknown, or of another shape or dtype.
        """
        arrays = self.named(given, named, OPTIONS)
        n_leading = self._leading(self.inputs[0], arrays[self.inputs[0].name])
        shape: tuple[int, ...] = ()
        steps: dict[str, Array] = {}
        for port in self.inputs:
            array = self._fitting(port, arrays[port.name], n_leading)
            leading = array.shape[:n_leading]
            if steps and leading != shape:
                first = self.inputs[0].name
                headline = f"{self.graph.name}: `{first}` has {self.steps_text(n_leading)} = {shape}"
                raise DataError(lay_out(f"{headline}, but `{port.name}` has {leading}"))
            shape = leading
            steps[port.name] = self.with_axes(array, n_leading)
        n_steps, n_instances = (*shape, 1, 1)[:2] if n_leading < 2 else reversed(shape) if self.batch_first else shape
        timeline = self._timeline(n_steps, n_instances, self._lengths(lengths, n_steps, n_instances))
        batched = n_leading == 2
        call = Call(timeline, n_leading)
        call.values = steps
        for port in self.contexts:
            call.values[port.name] = self._per_instance(port, arrays[port.name], n_instances, batched)
        call.values |= self.beginning(n_instances) if state is None else self.state(state, n_instances, batched)
        if reset is not None:
            call.reset = self._reset(reset, shape, n_leading)
        return call

    def _timeline(self, n_steps: int, n_instances: int, lengths: Array | None) -> Timeline:
        """The one of the call before, if it would be the same."""
        if lengths is not None:
            return Timeline(n_steps, n_instances, lengths, reverse=self.reverse, batch_first=self.batch_first)
        last = self._last_timeline
        if last is None or (last.n_steps, last.n_instances) != (n_steps, n_instances):
            last = Timeline(n_steps, n_instances, reverse=self.reverse, batch_first=self.batch_first)
            self._last_timeline = last
        return last

    def with_axes(self, array: Array, n_leading: int) -> Array:
        """With both axes, of steps and of instances, in the user's order."""
        if n_leading == 2:
            return array
        return array[None, None] if n_leading == 0 else array[None] if self.batch_first else array[:, None]

    def as_given(self, array: Array, n_leading: int) -> Array:
        """With those axes of steps and instances that the user gave."""
        if n_leading == 2:
            return array
        return array[0, 0] if n_leading == 0 else array[0] if self.batch_first else array[:, 0]

    @staticmethod
    def given_states(states: Mapping[str, Array], call: Call) -> dict[str, Array]:
        """States or contexts without the axis of instances, if none was given."""
        return dict(states) if call.batched else {name: array[0] for name, array in states.items()}

    def steps_text(self, n_leading: int) -> str:
        order = ["n_instances", "n_steps"] if self.batch_first else ["n_steps", "n_instances"]
        return f"({', '.join(order if n_leading == 2 else ['n_steps'][:n_leading])})"

    def named(self, given: Sequence[Any], named: Mapping[str, Any], options: Sequence[str] = ()) -> dict[str, Any]:
        """Inputs and contexts by name, each an array of the layer's dtype."""
        names = self.names
        owner = self.graph.name
        if not named and len(given) == len(names):
            return {name: numbers(name, value, self.dtype, owner) for name, value in zip(names, given, strict=True)}
        if len(given) > len(names):
            listing = ", ".join(f"`{n}`" for n in names)
            hint = "a state is given by name, state=..." if options and self._states else ""
            raise DataError(lay_out(f"{owner}: {len(given)} values are given, and it takes {len(names)}: {listing}", hint=hint))
        values = dict(zip(names, given, strict=False))
        for name, value in named.items():
            if name in values:
                raise DataError(lay_out(f"{owner}: `{name}` is given twice"))
            if name not in names:
                what = "arguments" if options else "inputs"
                headline = f"{owner}: there is no input `{name}`; {known_names(name, [*names, *options], what)}"
                raise DataError(lay_out(headline))
            values[name] = value
        missing = [f"`{n}`" for n in names if n not in values]
        if missing:
            raise DataError(lay_out(f"{owner}: no value is given for {', '.join(missing)}"))
        return {name: numbers(name, value, self.dtype, owner) for name, value in values.items()}

    def _leading(self, port: Port, array: Array) -> int:
        n_leading = array.ndim - len(self._sizes[port.name])
        if n_leading in ((1, 2) if self._states else (0, 1, 2)):
            return n_leading
        self._refuse(port, array, 2, self.steps_text(2))
        raise AssertionError

    def _fitting(self, port: Port, array: Array, n_leading: int, leading: str | None = None) -> Array:
        sizes = self._sizes[port.name]
        if array.ndim != n_leading + len(sizes) or array.shape[n_leading:] != sizes:
            self._refuse(port, array, n_leading, self.steps_text(n_leading) if leading is None else leading)
        return array

    def _refuse(self, port: Port, array: Array, n_leading: int, leading: str) -> None:
        parts = [p for p in leading.strip("()").split(", ") if p] + [str(d) for d in port.value.type.dims]
        headline = f"{self.graph.name}: `{port.name}` has shape {array.shape}, and must be ({', '.join(parts)})"
        if n_leading == 2 and port.name == self.inputs[0].name:
            single = ", ".join(["n_steps", *map(str, port.value.type.dims)])
            headline += f", or ({single}) for one instance" if self.graph.states else ", with or without the first two"
        raise DataError(lay_out(headline))

    def context(self, name: str, value: Any, n_instances: int, *, batched: bool) -> Array:
        """A context of a stream, checked and copied, of the shape it was given in."""
        port = next(p for p in self.contexts if p.name == name)
        array = numbers(name, value, self.dtype, self.graph.name)
        self._per_instance(port, array, n_instances, batched)
        return array.copy()

    def _per_instance(self, port: Port, array: Array, n_instances: int, batched: bool) -> Array:
        leading = f"(n_instances={n_instances})" if batched else "()"
        self._fitting(port, array, int(batched), leading)
        if batched and array.shape[0] != n_instances:
            self._refuse(port, array, 1, leading)
        return array if batched else array[None]

    def state(self, given: Any, n_instances: int, batched: bool) -> dict[str, Array]:
        """One array per state, (n_instances, ...): as given, or as it was declared to begin.

        Raises:
            DataError: a state that is unknown or of another shape.
        """
        states = self._states
        owner = self.graph.name
        if given is None:
            given = {}
        elif not isinstance(given, Mapping):
            if not states:
                raise DataError(lay_out(f"{owner}: it has no state, and one is given"))
            if len(states) != 1:
                names = ", ".join(f"`{n}`" for n in states)
                raise DataError(lay_out(f"{owner}: `state` must be a dictionary with {names}"))
            given = dict.fromkeys(states, given)
        for name in given:
            if name not in states:
                raise DataError(lay_out(f"{owner}: there is no state `{name}`; {known_names(name, states, 'states')}"))
        result = {}
        for name, port in states.items():
            if name in given:
                array = numbers(name, given[name], self.dtype, owner)
                result[name] = self._per_instance(port, array, n_instances, batched)
            else:
                result[name] = np.full((n_instances, *port.value.type.sizes), port.initial, self.dtype)
        return result

    def beginning(self, n_instances: int) -> dict[str, Array]:
        """All states as they were declared to begin; read-only."""
        initial = self._initial  # a local name: another thread may put another number of instances there
        if not initial or len(next(iter(initial.values()))) != n_instances:
            initial = self.state(None, n_instances, batched=True)
            for array in initial.values():
                array.setflags(write=False)
            self._initial = initial
        return initial

    def _lengths(self, lengths: Any, n_steps: int, n_instances: int) -> Array | None:
        return None if lengths is None else whole_lengths(lengths, n_steps, n_instances, self.graph.name)

    def _reset(self, reset: Any, shape: tuple[int, ...], n_leading: int) -> Array:
        owner = self.graph.name
        array = as_array("reset", reset, owner)
        if array.shape != shape:
            wanted = f"{self.steps_text(n_leading)} = {shape}"
            raise DataError(lay_out(f"{owner}: `reset` has shape {array.shape}, and must be {wanted}"))
        if array.dtype != bool:
            raise DataError(lay_out(f"{owner}: `reset` must be truth values (bool), and has dtype {array.dtype}"))
        if self.reverse:
            raise DataError(lay_out(f"{owner}: `reset` has no meaning in a reverse layer, which runs from the last step"))
        return self.with_axes(array, n_leading)
