"""Calls with arguments that do not exist, are missing or too many: answered in our own words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from .errors import ArgumentError, counted, known_names, lay_out

P = ParamSpec("P")
R = TypeVar("R")
NOTHING: Mapping[str, str] = MappingProxyType({})


def answering(function: Callable[P, R], *, elsewhere: Mapping[str, str] = NOTHING, example: str = "") -> Callable[P, R]:
    """The same function; a call that does not fit its signature raises an ArgumentError, which is a TypeError too.

    A call that fits costs nothing further: the signature is looked at when Python has refused the call.

    Args:
        elsewhere: what other libraries call an argument -> its name here.
        example: a call that fits, as a hint.
    """

    @wraps(function)
    def answered(*given: P.args, **named: P.kwargs) -> R:
        try:
            return function(*given, **named)
        except TypeError as error:
            traceback = error.__traceback__
            if traceback is None or traceback.tb_next is not None:  # from inside: the call itself was right
                raise
        raise ArgumentError(_answer(function, given, named, elsewhere, example))

    return answered


def _answer(
    function: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any], elsewhere: Mapping[str, str], example: str
) -> str:
    """What does not fit, in the name of the object: the method may be one of a class that nobody has heard of."""
    parameters = list(inspect.signature(function).parameters.values())
    owner = function.__name__
    if parameters and parameters[0].name == "self":
        itself, given, parameters = given[0], given[1:], parameters[1:]
        kind = type(itself).__name__
        owner = kind if owner == "__init__" else str(getattr(itself, "name", kind))
    headline, hint = _words(owner, parameters, given, named, elsewhere)
    return lay_out(headline, hint="" if hint is None else example or hint)


def _words(
    owner: str, parameters: list[inspect.Parameter], given: tuple[Any, ...], named: Mapping[str, Any],
    elsewhere: Mapping[str, str],
) -> tuple[str, str | None]:  # fmt: skip
    """What does not fit, and a hint; None where that says all there is to say."""
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = next((name for name in named if name not in names), None)
    if unknown is not None and not any(p.kind == p.VAR_KEYWORD for p in parameters):
        listing = known_names(unknown, names, "arguments") if names else "what it takes is given without a name"
        here = f"here it is called `{elsewhere[unknown]}`" if unknown in elsewhere else listing
        return f"{owner}: there is no argument `{unknown}`; {here}", None
    if len(given) > len(positional) and not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        by_name = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY]
        hint = f"{by_name[0]}=..." if by_name else ""
        return f"{owner}: {counted(len(given), 'value')} given without a name, and it takes {len(positional)}", hint
    twice = next((p.name for p in positional[: len(given)] if p.name in named), None)
    if twice is not None:
        return f"{owner}: `{twice}` is given twice", ""
    missing = [f"`{p.name}`" for p in parameters if p.default is p.empty and p.name not in named
               and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p not in positional[: len(given)]]  # fmt: skip
    return f"{owner}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing", ""
