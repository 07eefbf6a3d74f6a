"""How what is made of functions goes to another process: by name where the name leads to it, else by value, else not at all.

A plain pickle holds a function as its name. cloudpickle (which joblib, Ray, Dask and Spark use) holds what no name leads to by
value: functions of a notebook or script, and functions made in functions. Cells go where functions go. A layer has no need of
the function that it was made of, since its graph says what it computes; so what it keeps of functions is `Carried`, which comes
out as it was, or else as its name.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from types import FrameType, FunctionType
from typing import Any, NoReturn

from ..errors import PicklingError, lay_out

_STOCK = pickle._Pickler.dispatch[FunctionType]  # noqa: SLF001 - what a plain pickle does


def pickler_of_functions(frame: FrameType) -> Any:
    """The pickler that asks an object how to be pickled, if it takes functions by value; else None.

    Args:
        frame: who called `__reduce_ex__`: a method of the pickler where it is written in Python, `dump` of a subclass of the
            one that is written in C, and anybody for that one itself, which knows functions by name alone.
    """
    names = frame.f_code.co_varnames
    asking = frame.f_locals.get(names[0]) if frame.f_code.co_argcount and names else None
    if isinstance(asking, pickle.Pickler) and hasattr(asking, "reducer_override"):
        return asking
    by_python = isinstance(asking, pickle._Pickler) and asking.dispatch.get(FunctionType) is not _STOCK  # noqa: SLF001
    return asking if by_python else None


def by_value(pickler: Any, module: str) -> bool:
    """Whether such a pickler takes what this module defines by value, though a name leads to it."""
    if module == "__main__":
        return True
    parents = [module[:i] for i, letter in enumerate(module + ".") if letter == "."]
    for kind in type(pickler).__mro__:  # cloudpickle, or whoever has a copy of it, has a list of modules
        listing = getattr(sys.modules.get(kind.__module__), "list_registry_pickle_by_value", None)
        if listing is not None:
            return not set(parents).isdisjoint(listing())
    return False


def leads_to(module: str, name: str) -> Any:
    """What stands under a dotted name in a module that is loaded; None where there is nothing."""
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def refuse(what: str, module: str, name: str) -> NoReturn:
    """Say why a plain pickle can not hold a cell."""
    if "<locals>" in name.split("."):
        why = "it was made in a function"
    elif leads_to(module, name) is None:
        why = "no name leads to it"
    else:
        why = f"{module}.{name} is another object"
    headline = f"{what} can not be pickled by name: {why}"
    hint = "cloudpickle takes cells by value, as it does functions; a layer of the cell goes by plain pickle, too"
    raise PicklingError(lay_out(headline, hint=hint))


class Carried:
    """A value in the state of an object, on its way to a copy: as it is if it can go, else as its name.

    A function or cell that is held by name is looked for when it comes out, and is its text where nothing is found.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Carried:
        return Carried(deepcopy(self.value, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        pickler = pickler_of_functions(sys._getframe(1))  # noqa: SLF001 - see there
        value, chosen = self.value, getattr(self.value, "chosen", {})
        named = getattr(value, "base", value)  # of a cell with structures of its own
        module, name = getattr(named, "__module__", None), getattr(named, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str) and leads_to(module, name) is named:
            if pickler is None or not by_value(pickler, module):
                return Sent, (text_of(value), module, name, chosen)
        elif pickler is None and not _plain(value, min(protocol, pickle.HIGHEST_PROTOCOL)):
            return Sent, (text_of(value),)
        return Carried, (value,)


class Sent:
    """What a pickle holds of a value instead of it: its text, the name that led to it ("" where none did), and structures."""

    __slots__ = ("chosen", "module", "name", "text")

    def __init__(self, text: str, module: str = "", name: str = "", chosen: Mapping[str, Any] | None = None) -> None:
        self.text, self.module, self.name, self.chosen = text, module, name, chosen

    def found(self) -> Any:
        """What the name leads to here; None where there is nothing, or something of another text.

        Its module is loaded, as a pickle loads the modules of what it names.
        """
        if not self.module:
            return None
        try:
            import_module(self.module)
        except Exception:  # noqa: BLE001 - whatever a module says that can not be loaded here
            return None
        value = leads_to(self.module, self.name)
        if value is None or text_of(value) != self.text:
            return None
        return value.with_structure(self.chosen) if self.chosen else value


def _plain(value: Any, protocol: int) -> bool:
    """Whether a plain pickle can hold it."""
    try:
        pickle.dumps(value, protocol)
    except Exception:  # noqa: BLE001 - whatever an object says that can not be pickled
        return False
    return True


def text_of(value: Any) -> str:
    """A value in words: what is saved of an option that is no plain value. Text stays as it is."""
    return value if isinstance(value, str) else str(getattr(value, "__name__", repr(value)))


def carried(value: Any) -> Any:
    """A value as it stands in a state; of a dictionary each of its values."""
    return {key: Carried(entry) for key, entry in value.items()} if type(value) is dict else Carried(value)


def received(value: Any) -> Any:
    """What a `carried` value has become: itself, or its text where no name leads to it any more."""
    if isinstance(value, Carried):
        return value.value
    if isinstance(value, Sent):
        found = value.found()
        return value.text if found is None else found
    if type(value) is dict:
        return {key: received(entry) for key, entry in value.items()}
    return value  # of a pickle of version 0.1
