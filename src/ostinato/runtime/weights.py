"""The weights of a layer by name. How they begin is in beginning.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from ..errors import DataError, FileError, OptionError, known_names, lay_out, user_source
from .arguments import numbers
from .beginning import Beginning

Array = np.ndarray[Any, np.dtype[Any]]
WEIGHT_FORMATS = ("bfloat16",)


class ReadOnly(np.ndarray[Any, np.dtype[Any]]):
    """A weight as a layer gives it away: an array that says what to do when it is written to.

    It looks at the array that the layer holds; nothing is copied. What is computed with it is an ordinary array again, and so
    is what comes out of a pickle.
    """

    __slots__ = ()

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        del context
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def _refuse(self, *_: Any) -> NoReturn:
        headline = "the arrays of weights are read-only, so that a layer always knows when one of them changes"
        hint = "assign another one: `b = layer.weights['b'].copy()`, change b, and then `layer.weights['b'] = b`"
        raise DataError(lay_out(headline, source=user_source(), hint=hint))

    def __setitem__(self, index: Any, value: Any) -> None:
        if not self.flags.writeable:
            self._refuse()
        super().__setitem__(index, value)

    def fill(self, value: Any) -> None:
        self[...] = value

    def copy(self, order: Any = "C") -> Any:
        return np.array(self, order=order)

    def __repr__(self) -> str:
        return repr(np.asarray(self))

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.asarray(self).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any, /) -> Any:
        del memo
        return np.array(self)


def _in_place(name: str) -> Callable[[ReadOnly, Any], Any]:
    """`layer.weights["b"] += 1`: refused, where an array that only looks like one may be changed."""
    inner = getattr(np.ndarray, name)

    def method(self: ReadOnly, other: Any) -> Any:
        if not self.flags.writeable:
            self._refuse()
        return inner(self, other)

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    setattr(ReadOnly, f"__i{_name}__", _in_place(f"__i{_name}__"))


class Weights(Mapping[str, Array]):
    """The weights of a layer by the names the cell gives them. Assign to load your own.

    The arrays are read-only, so that a layer always knows when a weight changes: `layer.weights["W"] = array`.
    What nobody assigned is drawn when one of them is first looked at; names and shapes are no look.

    `weight_format` "bfloat16": what is assigned is rounded to 16 bits (8 of them precision), and computed with as it then is.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], dtype: Any, owner: str, weight_format: str | None = None
    ) -> None:  # fmt: skip
        if weight_format is not None and weight_format not in WEIGHT_FORMATS:
            known = known_names(str(weight_format), WEIGHT_FORMATS, "formats besides None")
            raise OptionError(lay_out(f"{owner}: there is no weight format `{weight_format}`; {known}"))
        self._shapes, self._dtype, self._owner = dict(shapes), dtype, owner
        self.weight_format = weight_format
        self._arrays: dict[str, Array] = {}
        self._pending: Beginning | None = None  # what draws those that are not there yet

    def begin(self, beginning: Beginning) -> None:
        """Draw what will not have been assigned by then, at the first look.

        Raises:
            OptionError: an initialiser draws something else than the weight.
        """
        for name in beginning.unsure:
            self._drawn(beginning, name)
        self._pending = beginning

    def _drawn(self, beginning: Beginning, name: str) -> Array:
        try:
            return self._fitting(name, beginning.draw(name, self._shapes[name]))
        except DataError as error:
            what = str(error).removeprefix(f"{self._owner}: ")
            headline = f"{self._owner}: the initialiser of `{name}` drew something else: {what}"
            raise OptionError(lay_out(headline)) from None

    def _settle(self, beginning: Beginning) -> None:
        drawn = {name: self._drawn(beginning, name) for name in self._shapes if name not in self._arrays}
        if self._pending is not None:  # no other thread was first
            self._assign({name: array for name, array in drawn.items() if name not in self._arrays})

    def __getitem__(self, name: str) -> Array:
        self.check_name(name)
        return self.snapshot[name].view(ReadOnly)

    def __setitem__(self, name: str, value: Any) -> None:
        self.check_name(name)
        self._assign({name: self._fitting(name, value)})

    def _fitting(self, name: str, value: Any) -> Array:
        """A value as it is kept."""
        array = numbers(name, value, self._dtype, self._owner)
        if array.shape != self._shapes[name]:
            raise DataError(lay_out(f"{self._owner}: weight `{name}` has shape {self._shapes[name]}, not {array.shape}"))
        array = array.copy()  # nobody else holds it
        if self.weight_format:
            given, array = array, from_bfloat16(to_bfloat16(array)).astype(self._dtype)
            if (np.isinf(array) & np.isfinite(given)).any():
                raise DataError(lay_out(f"{self._owner}: weight `{name}` holds a number that is too large for bfloat16"))
        array.setflags(write=False)
        return array

    def _assign(self, arrays: Mapping[str, Array]) -> None:
        there = {**self._arrays, **arrays}
        self._arrays = {name: there[name] for name in self._shapes if name in there}
        pending = self._pending
        if pending is not None and len(there) == len(self._shapes):
            pending.end()
            self._pending = None

    def update(self, arrays: Mapping[str, Any]) -> None:
        """Assign several weights; all are checked before the first is changed."""
        for name in arrays:
            self.check_name(name)
        self._assign({name: self._fitting(name, value) for name, value in arrays.items()})

    @property
    def adopts(self) -> bool:
        """Whether arrays can become the weights as they are; else they are rounded to the weight format."""
        return self.weight_format is None

    def adopt(self, arrays: Mapping[str, Array]) -> None:
        """Make arrays the weights themselves, without a copy: right in shape and dtype, and written to by nobody any more."""
        for array in arrays.values():
            array.setflags(write=False)
        self._assign(arrays)

    @property
    def snapshot(self) -> Mapping[str, Array]:
        """All weights as they are now; the same object until one is assigned."""
        pending = self._pending  # a local name: another thread may settle them first
        if pending is not None:
            self._settle(pending)
        return self._arrays

    def check_name(self, name: str) -> None:
        """Refuse the name of a weight that does not exist."""
        if name not in self._shapes:
            headline = f"{self._owner}: there is no weight `{name}`; {known_names(name, self._shapes, 'weights')}"
            raise OptionError(lay_out(headline))

    @property
    def packed(self) -> dict[str, Array]:
        """The arrays as they are saved: bfloat16 as its 16 bits (uint16), since NumPy has no name for it."""
        return {name: to_bfloat16(array) if self.weight_format else array for name, array in self.items()}

    def unpack(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """What `packed` gave, as numbers again.

        Raises:
            FileError: 16 bits, and the format of the weights is not bfloat16.
        """
        found = {}
        for name, array in arrays.items():
            if array.dtype == np.uint16 and not self.weight_format:
                raise FileError(lay_out(f"the weight `{name}` in the file has 16 bits, and nothing says that it is bfloat16"))
            found[name] = from_bfloat16(array) if array.dtype == np.uint16 else array
        return found

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __getstate__(self) -> dict[str, Any]:
        """A pickle, or a copy, has the same weights: they are drawn now."""
        return {**self.__dict__, "_arrays": self.snapshot, "_pending": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What comes out of a pickle is read-only again."""
        self.__dict__.update({"_pending": None, **state})  # version 0.1 drew weights at once
        for array in self._arrays.values():
            array.setflags(write=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return f"<weights {', '.join(f'{name} {shape}' for name, shape in self._shapes.items())}>"


def to_bfloat16(array: Array) -> Array:
    """The 16 bits of the nearest bfloat16 numbers, ties to even: the upper half of float32 (through which float64 goes)."""
    with np.errstate(over="ignore"):
        bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(array), np.uint32(0x7FC0), rounded).astype(np.uint16)


def from_bfloat16(bits: Array) -> Array:
    """float32 numbers of 16 bits each."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
