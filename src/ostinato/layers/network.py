"""Layers together: one after another, in both directions, and what is left of a sequence at its end.

    Network(
        Bidirectional(cells.lstm, n_inputs=8, n_neurons=32),
        Dropout(0.3),
        LastStep(Layer(cells.gru, n_inputs=64, n_neurons=64)),
        Layer(cells.dense, n_inputs=64, n_outputs=10),
    )

Every part is used in the same way, alone or in a network: `part(X)`, `part.run`, `part.vjp`, `part.weights`, `part.save`.
Weights and states carry the place of their layer: "0.forward.W_i", "2.h". `lengths` reach every part that has steps.
"""

# ruff: noqa: N803, N806 - X, Y and dY are the symbols of the equations

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from .. import files
from ..calls import answering
from ..errors import DimensionError, FileError, OptionError, lay_out
from ..ir.shapes import Dims
from ..language import functions
from ..language.cell import Cell, cell
from ..language.declarations import Input
from ..runtime.arguments import whole_lengths
from ..runtime.beginning import give_directions, give_places, opposite
from .composite import Array, Back, Composite, Passage, check_layer, input_port, output_dims, through
from .layer import Gradients, Layer

Part = Layer | Composite


@cell
def dropout(x: Any = Input("n_inputs"), *, rate: float = 0.5, per: str = "step") -> Any:  # noqa: B008 - a declaration
    """Y = dropout(X): the layer that a `Dropout` becomes."""
    return functions.dropout(x, rate, per=per)


dropped = dropout  # as pickles of version 0.1 call it


@dataclass(frozen=True)
class Dropout:
    """Dropout between two parts of a network: on feed-forward connections only (Pham et al. 2013, arXiv 1312.4569).

    In a network it becomes a layer of the size that stands before it (or, as the first part, behind it). `per="sequence"` keeps
    one mask for all steps. For dropout on the connections inside a recurrence, call `ostinato.dropout` in the cell.
    """

    rate: float
    per: str = "step"

    def layer(self, dims: Dims, like: Part, seed: int) -> Layer:
        """The layer that does it, for values of these dimensions.

        Raises:
            DimensionError: the values have not exactly one dimension.
            CellError: the rate is not from 0 up to, not including, 1, or `per` is unknown.
        """
        if len(dims) != 1:
            shown = ", ".join(map(str, dims))
            headline = f"Dropout: it acts on values of one dimension, and {like.name} has ({shown})"
            raise DimensionError(lay_out(headline, hint="call ostinato.dropout in the cell"))
        return Layer(
            dropout,
            n_inputs=dims[0].size,
            rate=self.rate,
            per=self.per,
            seed=seed,
            dtype=like.dtype,
            batch_first=like.batch_first,
        )


Dropout.__init__ = answering(Dropout.__init__)  # type: ignore[method-assign]


class Bidirectional(Composite):
    """Two layers over the same sequence, one in reverse; outputs side by side on the last dimension (Schuster, Paliwal 1997).

    `Bidirectional(cell, n_inputs=..., n_neurons=..., seed=0, ...)` makes both from one cell, with weights drawn apart;
    `Bidirectional(forward_layer, reverse_layer)` takes two ready ones. Weights: "forward.W_x", "reverse.W_x".

    Two ready layers without seeds begin with different weights too (as those made from one cell do), unless somebody has looked
    at them before. Seeds that are given stay: give two different ones. Dropout masks differ all the same.

    Raises:
        OptionError: the layers run in the wrong directions, or what makes a layer is given beside two ready ones.
        DimensionError: they differ in their input, or their outputs can not stand side by side.
    """

    @answering
    def __init__(self, forward: Cell | Layer, reverse: Layer | None = None, **options: Any) -> None:
        if isinstance(forward, Cell):
            if reverse is not None or "reverse" in options:
                headline = f"Bidirectional: of the cell {forward.name} it makes both layers; `reverse` is not given"
                raise OptionError(lay_out(headline))
            cell = forward
            forward = Layer(cell, **options)
            given = {"seed": opposite(forward.seed)} if "seed" in options else {}
            reverse = Layer(cell, **{**options, **given, "reverse": True})
        elif options or not (isinstance(forward, Layer) and isinstance(reverse, Layer)):
            headline = "Bidirectional: it takes a cell with its sizes, or a forward and a reverse layer and nothing else"
            raise OptionError(lay_out(headline))
        if forward.reverse or not reverse.reverse:
            marks = [f"{layer.name} has reverse={layer.reverse}" for layer in (forward, reverse)]
            headline = f"Bidirectional: the first layer runs forward and the second in reverse, and {' and '.join(marks)}"
            raise OptionError(lay_out(headline))
        self.parts = {"forward": forward, "reverse": reverse}
        self.name = f"bidirectional({', '.join(dict.fromkeys([forward.name, reverse.name]))})"
        self.forward, self.reverse = forward, reverse
        for layer in (forward, reverse):
            check_layer(layer, self.name)
        self._check_sizes()
        self._settle()
        give_directions(forward._beginning, reverse._beginning)  # noqa: SLF001 - one of us

    def _check_sizes(self) -> None:
        taken = [input_port(layer).value.type.dims for layer in self.parts.values()]
        given = [output_dims(layer) for layer in self.parts.values()]
        if _sizes(taken[0]) != _sizes(taken[1]):
            headline = f"{self.name}: the forward layer takes ({_shown(taken[0])}), and the reverse layer ({_shown(taken[1])})"
            raise DimensionError(lay_out(headline))
        if not (given[0] and given[1]) or _sizes(given[0][:-1]) != _sizes(given[1][:-1]):
            headline = f"{self.name}: outputs ({_shown(given[0])}) and ({_shown(given[1])}) can not stand side by side"
            raise DimensionError(lay_out(headline))

    @property
    def output_dims(self) -> Dims:
        """The named dimensions of both outputs side by side: the last one is the sum of theirs."""
        one, other = output_dims(self.forward), output_dims(self.reverse)
        return (*one[:-1], one[-1] + other[-1])

    @property
    def description(self) -> dict[str, Any]:
        """Both layers, without their weights: everything `part_from_description` needs."""
        return {"kind": "bidirectional", **{key: part.description for key, part in self.parts.items()}}

    def through(self, X: Array, call: Passage, prefix: str) -> tuple[Array, Back]:
        """X through both layers: (n_steps, n_instances, ..., n_forward + n_reverse), and the way back.

        Both leading axes are there; with batch_first, instances stand before steps. Used by the parts among themselves.
        """
        ahead, back_ahead = through(self.forward, X, call, f"{prefix}forward.")
        behind, back_behind = through(self.reverse, X, call, f"{prefix}reverse.")
        n = ahead.shape[-1]

        def back(dY: Array, state: Mapping[str, Any], into: Gradients) -> Array:
            return back_ahead(dY[..., :n], state, into) + back_behind(dY[..., n:], state, into)

        return np.concatenate([ahead, behind], axis=-1), back


class LastStep(Composite):
    """What a layer gives at its own last step: the last valid one, and for the reverse direction the first.

    (n_instances, ...) instead of (n_steps, n_instances, ...); zeros where the length is 0. The names of weights do not change.

    Raises:
        OptionError: the part is no layer and not bidirectional.
    """

    gives_steps = False

    @answering
    def __init__(self, part: Layer | Bidirectional) -> None:
        if not isinstance(part, Layer | Bidirectional):
            headline = f"LastStep: it takes a layer or a Bidirectional, not {type(part).__name__}"
            hint = "in a network, put it around the last part that has steps" if isinstance(part, Composite) else ""
            raise OptionError(lay_out(headline, hint=hint))
        self.part = part
        self.parts = {"": part}
        self.name = f"last step of {part.name}"
        if isinstance(part, Layer):
            check_layer(part, self.name)
        self._settle()

    @property
    def output_dims(self) -> Dims:
        """The named dimensions of what the part gives at one step."""
        return output_dims(self.part)

    @property
    def description(self) -> dict[str, Any]:
        """The part, without its weights: everything `part_from_description` needs."""
        return {"kind": "last_step", "part": self.part.description}

    def through(self, X: Array, call: Passage, prefix: str) -> tuple[Array, Back]:
        """X through the part, and its last step: (1, n_instances, ...), and the way back.

        The axis of steps stays, with one step; with batch_first, instances stand before it. Used by the parts among themselves.
        """
        Y, back_part = through(self.part, X, call, prefix)
        steps_first = partial(np.swapaxes, axis1=0, axis2=1) if self.batch_first else _as_it_is
        places = self._places(steps_first(Y).shape, call.lengths)
        shape, dtype = Y.shape, Y.dtype  # the way back needs no more of it
        last = np.zeros((1, *steps_first(Y).shape[1:]), Y.dtype)
        for part, steps, instances in places:
            last[0, instances, ..., part] = steps_first(Y)[steps, instances, ..., part]

        def back(dlast: Array, state: Mapping[str, Any], into: Gradients) -> Array:
            dY = np.zeros(shape, dtype)
            for part, steps, instances in places:
                steps_first(dY)[steps, instances, ..., part] = steps_first(dlast)[0, instances, ..., part]
            return back_part(dY, state, into)

        return steps_first(last), back

    def _places(self, shape: tuple[int, ...], lengths: Any) -> list[tuple[slice, Array, Array]]:
        """Of each direction: its part of the last dimension, and the step of each instance that has one."""
        n_steps, n_instances = shape[:2]
        ends = np.full(n_instances, n_steps) if lengths is None else whole_lengths(lengths, n_steps, n_instances, self.name)
        instances = np.flatnonzero(ends > 0)
        last, first = ends[instances] - 1, np.zeros(len(instances), np.intp)
        if isinstance(self.part, Bidirectional):
            n = output_dims(self.part.forward)[-1].size
            return [(slice(None, n), last, instances), (slice(n, None), first, instances)]
        return [(slice(None), first if self.part.reverse else last, instances)]


class Network(Composite):
    """Parts one after another: layers, `Bidirectional`, `LastStep`, `Dropout`, and networks (whose parts it takes over).

    Behind a `LastStep` stand only layers without a state.

    A layer without a seed draws its weights by its place in the network, unless somebody has looked at them before: layers of
    one cell and of the same sizes begin with different weights. Seeds that are given stay: give different ones. Dropout masks
    differ all the same: they are drawn by the seed of a layer and its place.

    Raises:
        OptionError: what is no part, a part twice or in the wrong place, parts of different dtype or batch_first.
        DimensionError: a part takes other sizes than the part before it gives.
    """

    @answering
    def __init__(self, *parts: Part | Dropout) -> None:
        self.name = "network"
        flat: list[Part | Dropout] = []
        for part in parts[0] if len(parts) == 1 and isinstance(parts[0], list | tuple) else parts:
            if not isinstance(part, Layer | Composite | Dropout):
                raise OptionError(_no_part(part))
            flat += list(part.parts.values()) if isinstance(part, Network) else [part]
        if all(isinstance(part, Dropout) for part in flat):
            raise OptionError(lay_out("Network: it has no layer"))
        self.parts = {str(i): part for i, part in enumerate(_with_layers_of_dropout(flat))}
        self._check_places()
        for before, after in pairwise(self.parts.items()):
            self._check_sizes(before, after)
        self._settle()
        give_places([layer._beginning for layer in self.layers.values() if layer.weights])  # noqa: SLF001 - one of us

    def _check_places(self) -> None:
        places: dict[int, str] = {}
        last_step = ""
        for key, part in self.parts.items():
            for layer in _layers_of(part):
                check_layer(layer, f"network, part {key}")
                if id(layer) in places:
                    headline = f"Network: the same layer {layer.name} stands at {places[id(layer)]} and at {key}"
                    raise OptionError(lay_out(headline))
                places[id(layer)] = key
                if last_step and layer.graph.states:
                    headline = f"Network: part {key} ({layer.name}) has a state, and part {last_step} leaves only the last step"
                    raise OptionError(lay_out(headline))
            if isinstance(part, LastStep):
                last_step = f"{key} ({part.name})"

    @staticmethod
    def _check_sizes(before: tuple[str, Part], after: tuple[str, Part]) -> None:
        given, taken = output_dims(before[1]), input_port(after[1]).value.type.dims
        if _sizes(given) != _sizes(taken):
            left = f"part {before[0]} ({before[1].name}) gives ({_shown(given)})"
            right = f"part {after[0]} ({after[1].name}) takes ({_shown(taken)})"
            raise DimensionError(lay_out(f"Network: {left}, and {right}"))

    @property
    def gives_steps(self) -> bool:  # type: ignore[override]
        """Whether the output has an axis of steps: no part is a `LastStep`."""
        return not any(isinstance(part, LastStep) for part in self.parts.values())

    @property
    def output_dims(self) -> Dims:
        """The named dimensions of what the last part gives, for one instance at one step."""
        return output_dims(list(self.parts.values())[-1])

    def __repr__(self) -> str:
        names = " -> ".join(part.name for part in self.parts.values())
        return f"<network {names}, {self.dtype}, {self.n_parameters:,} parameters>"

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> Part:
        return list(self.parts.values())[place]

    @property
    def description(self) -> dict[str, Any]:
        """All parts, without their weights: everything `from_description` needs."""
        return {"kind": "network", "parts": [part.description for part in self.parts.values()]}

    def through(self, X: Array, call: Passage, prefix: str) -> tuple[Array, Back]:
        """X through all parts: (n_steps, n_instances, ...), one step behind a `LastStep`, and the way back.

        Both leading axes are there; with batch_first, instances stand before steps. Used by the parts among themselves.
        """
        ways: list[Back] = []
        here = call
        for key, part in self.parts.items():
            X, back = through(part, X, here, f"{prefix}{key}.")
            ways.append(back)
            if isinstance(part, LastStep):  # one step is left, and every instance has it
                here = replace(call, lengths=None, reset=None)
        return X, partial(_all_the_way_back, ways)

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Network:
        """The network that was saved. Nothing in the description is executed.

        Raises:
            FileError: something is missing or does not fit.
            OstinatoError: what is said of a network that is made so.
        """
        parts = files.field(description, "parts", list)
        sorted_arrays = _by_part(arrays, [str(i) for i in range(len(parts))])
        if any(isinstance(part, dict) and part.get("kind") == "network" for part in parts):
            raise FileError(lay_out("the description in the file has a network as a part of a network"))
        return cls(*(part_from_description(part, sorted_arrays[str(i)]) for i, part in enumerate(parts)))


def part_from_description(description: Any, arrays: Mapping[str, Array]) -> Part:
    """A layer or composite that was saved, by the kind that its description names.

    Raises:
        FileError: something is missing, of an unknown kind or does not fit.
    """
    kind = description.get("kind") if isinstance(description, Mapping) else None
    match kind:
        case "layer":
            return Layer.from_description(description, arrays)
        case "bidirectional":
            parts = _by_part(arrays, ["forward", "reverse"])
            layers = [Layer.from_description(files.field(description, key, dict), parts[key]) for key in parts]
            return Bidirectional(*layers)
        case "last_step":
            inner = files.field(description, "part", dict)
            if inner.get("kind") not in ("layer", "bidirectional"):
                raise FileError(lay_out(f"the file has the last step of a {inner.get('kind')!r}"))
            part = part_from_description(inner, arrays)
            assert isinstance(part, Layer | Bidirectional)
            return LastStep(part)
        case "network":
            return Network.from_description(description, arrays)
    raise FileError(lay_out(f"the file has a part of the unknown kind {kind!r}"))


def _by_part(arrays: Mapping[str, Array], keys: Sequence[str]) -> dict[str, dict[str, Array]]:
    """Weights sorted by the part that their names begin with."""
    parts: dict[str, dict[str, Array]] = {key: {} for key in keys}
    for name, array in arrays.items():
        key, _, rest = name.partition(".")
        if key not in parts:
            raise FileError(lay_out(f"the file holds a weight `{name}` that belongs to no part"))
        parts[key][rest] = array
    return parts


def _no_part(given: Any) -> str:
    """What is said to one who gives something else for a part."""
    if isinstance(given, Cell):
        sizes = "".join(f", {name}=..." for name in given.dimensions)
        return lay_out(f"Network: a part is a layer, not the cell {given.name}", hint=f"Layer({given.name}{sizes})")
    if isinstance(given, type):
        return lay_out(f"Network: a part is a layer, not the class {given.__name__}", hint=f"{given.__name__}(...) makes one")
    hint = f"Dropout({given})" if isinstance(given, float) and 0 <= given < 1 else ""
    shown = f"{given!r:.40}" if isinstance(given, str | int | float | None) else type(given).__name__
    return lay_out(f"Network: a part is a layer, not {shown}", hint=hint)


def _with_layers_of_dropout(parts: Sequence[Part | Dropout]) -> list[Part]:
    """Every `Dropout` as a layer, with a seed that no other layer of the network has."""
    seeds = [layer.seed for p in parts if not isinstance(p, Dropout) for layer in _layers_of(p)]
    result: list[Part] = []
    for i, part in enumerate(parts):
        if not isinstance(part, Dropout):
            result.append(part)
        elif result:
            result.append(part.layer(output_dims(result[-1]), result[-1], max(seeds) + 1 + i))
        else:
            following = next(p for p in parts if not isinstance(p, Dropout))
            result.append(part.layer(input_port(following).value.type.dims, following, max(seeds) + 1 + i))
    return result


def _layers_of(part: Part) -> list[Layer]:
    return list(part.layers.values()) if isinstance(part, Composite) else [part]


def _all_the_way_back(
    ways: Sequence[Callable[..., Array]], dY: Array, state: Mapping[str, Any], into: Gradients
) -> Array:  # fmt: skip
    for back in reversed(ways):
        dY = back(dY, state, into)
    return dY


def _as_it_is(array: Array) -> Array:
    return array


def _sizes(dims: Dims) -> tuple[int, ...]:
    return tuple(dim.size for dim in dims)


def _shown(dims: Dims) -> str:
    return ", ".join(map(str, dims))
