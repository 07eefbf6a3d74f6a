"""An update rule as a file holds it: a description, arrays, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import files
from ..errors import FileError, OstinatoError, lay_out
from ..language.cell import Cell
from ..layers.layer import Layer
from ..runtime.weights import Weights
from .rule_state import Kind

Array = np.ndarray[Any, np.dtype[Any]]


class Restorable:
    """What `UpdateRule` has to be saved and restored; its attributes are explained there."""

    name: str
    n_updates: int
    _settings: Weights
    _rule: Cell
    _options: dict[str, Any]
    _dtype: str | None
    _text: str
    _layer: Layer
    _remembered: dict[str, Kind]
    _own: dict[str, dict[str, Array]]
    _shared: dict[str, Array]
    expect: Callable[[Mapping[str, Kind]], None]
    _forget: Callable[[], None]

    @property
    def description(self) -> dict[str, Any]:
        """What the rule is and where it stands, without `arrays`; JSON keeps it exactly. Everything `restore` needs."""
        return {
            "rule": self.name,
            "graph": self._text,
            "options": {name: _written(value) for name, value in self._layer.options.items()},
            "dtype": self._dtype,
            "settings": {name: value.tolist() for name, value in self._settings.items()},
            "n_updates": self.n_updates,
            "weights": {name: {"shape": list(kind.shape), "dtype": kind.dtype.name} for name, kind in self._remembered.items()},
        }

    @property
    def arrays(self) -> dict[str, Array]:
        """What it remembers as arrays to be saved: "m.W_x" of the shape of the weight, and what is the same for all
        parameters once, as "p". Copies; none before the first step.
        """
        shapes = {name: kind.shape for name, kind in self._remembered.items()}
        own = {f"{s}.{n}": a.reshape(*shapes[n], *a.shape[1:]).copy() for n, kept in self._own.items() for s, a in kept.items()}
        return {**own, **{state: value.copy() for state, value in self._shared.items()}}

    def restore(self, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Go on where the rule stood that gave these: with its settings, number of updates and memory, to the last bit.

        Args:
            description, arrays: of a rule of the same cell, options and dtype. Nothing in them is executed.

        Raises:
            FileError: they are of another rule, or not complete. Nothing is changed then.
        """
        kinds_of_fields = {"rule": str, "graph": str, "options": dict, "settings": dict, "n_updates": int, "weights": dict}
        for key, kind in kinds_of_fields.items():
            files.field(description, key, kind)
        mine = self.description
        for key in ("rule", "options", "dtype", "graph"):
            if description.get(key) != mine[key]:
                what = {"graph": "another cell of that name"}.get(
                    key, f"{key} {description.get(key)!r}, and this one has {mine[key]!r}"
                )
                raise FileError(lay_out(f"{self.name}: the saved rule has {what}"))
        other: Any = type(self)(self._rule, dtype=self._dtype, **self._options)  # type: ignore[call-arg]
        saved, known = (", ".join(f"`{name}`" for name in one["settings"]) or "none" for one in (description, mine))
        if set(description["settings"]) != set(mine["settings"]):
            raise FileError(lay_out(f"{self.name}: the saved rule has the settings {saved}, and this one has {known}"))
        if description["n_updates"] < 0:
            raise FileError(lay_out(f"{self.name}: the saved rule has made {description['n_updates']} updates"))
        try:
            other.settings.update(description["settings"])
            kinds = {
                name: Kind(tuple(map(int, one["shape"])), np.dtype(one["dtype"]))
                for name, one in description["weights"].items()
            }
            if kinds:
                other.expect(kinds)
        except (OstinatoError, KeyError, TypeError, ValueError, MemoryError) as error:
            raise FileError(
                lay_out(f"{self.name}: the description of the saved rule says something impossible: {error}")
            ) from None
        other._fill(arrays)  # noqa: SLF001 - one of us
        other.n_updates = description["n_updates"]
        # what others hold of this rule, its settings, stays the same object
        self._settings.update(other.settings)
        self._forget()
        for name in ("_layer", "_own", "_shared", "_remembered", "n_updates"):
            setattr(self, name, getattr(other, name))

    def _fill(self, given: Mapping[str, Array]) -> None:
        """What `arrays` gave, in place of how the states begin."""
        wanted = self.arrays
        if set(given) != set(wanted):
            found, needed = (", ".join(f"`{n}`" for n in sorted(group)) or "nothing" for group in (given, wanted))
            raise FileError(lay_out(f"{self.name}: the saved rule holds {found}, and must hold {needed}"))
        for name, array in wanted.items():
            if given[name].shape != array.shape or given[name].dtype != array.dtype:
                marks = [f"{a.dtype.name} {a.shape}" for a in (given[name], array)]
                raise FileError(lay_out(f"{self.name}: `{name}` of the saved rule is {marks[0]}, and must be {marks[1]}"))
        for name, kept in self._own.items():
            for state, array in kept.items():
                array[...] = given[f"{state}.{name}"].reshape(array.shape)
        self._shared = {state: given[state].copy() for state in self._shared}


def _written(option: Any) -> str:
    """An option as text that is the same in every process: of a function its name."""
    return option if isinstance(option, str) else str(getattr(option, "__name__", repr(option)))
