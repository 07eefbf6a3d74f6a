"""The weights of a layer by name, and how they begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from .boundary import user_source
from .errors import DataError, FileError, OptionError, known_names, lay_out
from .graph import Graph
from .initialise import Glorot, Initialiser, Orthogonal
from .sequences import numbers
from .shapes import Varies
from .simplify import state_dependent
from .structure import Placement

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
        self._shown: dict[str, ReadOnly] = {}  # the same arrays as they are given away

    def __getitem__(self, name: str) -> Array:
        self.check_name(name)
        array, shown = self._arrays[name], self._shown.get(name)
        if shown is None or shown.base is not array:
            shown = self._shown[name] = array.view(ReadOnly)
        return shown

    def __setitem__(self, name: str, value: Any) -> None:
        self.check_name(name)
        array = numbers(name, value, self._dtype, self._owner)
        if array.shape != self._shapes[name]:
            raise DataError(lay_out(f"{self._owner}: weight `{name}` has shape {self._shapes[name]}, not {array.shape}"))
        array = array.copy()  # nobody else holds it
        if self.weight_format:
            given, array = array, from_bfloat16(to_bfloat16(array)).astype(self._dtype)
            if (np.isinf(array) & np.isfinite(given)).any():
                raise DataError(lay_out(f"{self._owner}: weight `{name}` holds a number that is too large for bfloat16"))
        array.setflags(write=False)
        self._arrays = {**self._arrays, name: array}

    def update(self, arrays: Mapping[str, Any]) -> None:
        """Assign several weights; all are checked before the first is changed."""
        checked = Weights(self._shapes, self._dtype, self._owner, self.weight_format)
        for name, value in arrays.items():
            checked[name] = value
        self._arrays = {**self._arrays, **checked._arrays}

    @property
    def snapshot(self) -> Mapping[str, Array]:
        """All weights as they are now; the same object until one is assigned."""
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
        return {**self.__dict__, "_shown": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What comes out of a pickle is read-only again."""
        self.__dict__.update(state)
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


def draw_weight(
    graph: Graph, name: str, shape: tuple[int, ...], how: Initialiser | None, placement: Placement | None,
    generator: np.random.Generator,
) -> Array:  # fmt: skip
    """A weight as it begins.

    Args:
        graph: one step, simplified.
        shape: of what is stored.
        how: None for orthogonal where it multiplies what depends on a state, Glorot elsewhere.
        placement: of a structured weight. Its initialiser is given the shape of the dense matrix.
    """
    if placement is None:
        return draw_by_blocks(graph, name, shape, generator) if how is None else how.draw(shape, generator)
    moving = _moving_blocks(graph, name)
    parts = [placement.structure.rows_of(placement.rows, part) for part in range(len(placement.rows))]
    found = [any(_overlap(part, block) for block in moving) for part in parts]
    ways: list[Initialiser] = [how or (Orthogonal() if recurrent else Glorot()) for recurrent in found]
    return placement.draw(ways, generator)


def _moving_blocks(graph: Graph, name: str) -> list[tuple[slice, ...]]:
    """The parts of what is stored that meet something that depends on a state, through whatever is made of them alone."""
    moving = state_dependent(graph.nodes, [p.name for p in graph.states])
    found = []
    for port in graph.ports:
        if port.parameter != name:
            continue
        made = {port.name}
        meets = False
        for node in graph.nodes:
            names = {a.name for a in node.args}
            if names & made:
                meets = meets or (node.op in ("matmul", "multiply") and bool(names & moving))
                if node.value.type.varies == Varies.NEVER:
                    made.add(node.value.name)
        if meets:
            found.append(port.block.slices if port.block else (slice(None),) * len(port.value.type.dims))
    return found


def _overlap(part: Sequence[slice], block: Sequence[slice]) -> bool:
    def two(a: slice, b: slice) -> bool:
        first = max(a.start or 0, b.start or 0)
        ends = [s.stop for s in (a, b) if s.stop is not None]
        return all(first < end for end in ends)

    return all(two(a, b) for a, b in zip(part, block, strict=False))


def draw_by_blocks(graph: Graph, name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Orthogonal where a part of the weight multiplies what depends on a state, Glorot elsewhere."""
    array = Glorot().draw(shape, generator)
    moving = state_dependent(graph.nodes, [p.name for p in graph.states])
    turned = {n.value.name: n.args[0].name for n in graph.nodes if n.op == "transpose"}
    blocks = {p.name: p for p in graph.ports if p.parameter == name}
    recurrent: dict[str, bool] = {}
    for node in graph.nodes:
        if node.op == "matmul":
            right = turned.get(node.args[1].name, node.args[1].name)
            if right in blocks:
                recurrent[right] = recurrent.get(right, False) or node.args[0].name in moving
    for block_name, is_recurrent in recurrent.items():
        port = blocks[block_name]
        part = port.block.slices if port.block else (slice(None),) * len(shape)
        how: Initialiser = Orthogonal() if is_recurrent and len(shape) == 2 else Glorot()
        array[part] = how.draw(array[part].shape, generator)
    return array
