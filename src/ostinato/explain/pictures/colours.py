"""One colour for each family of symbols, the same in equations, pictures, tables and programs; light and dark.

Symbols that belong together share a hue: the gate `i` with its `W_i` and `b_i`, the state `h` with `h(t)` and `h(t-1)`. Names
stand everywhere beside the colour, so nothing is told by colour alone. The hues follow Okabe and Ito (2008, "Color Universal
Design"), darker or lighter until text has a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3); a test computes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property

# name -> (light, dark)
BASE = {
    "paper": ("#fdfcf9", "#14171c"),
    "panel": ("#f4f1ea", "#1d2229"),
    "ink": ("#1d2126", "#e9e6df"),
    "muted": ("#5a6069", "#a7afba"),
    "line": ("#d4cec2", "#3a424d"),
    "accent": ("#8a3b00", "#ffb067"),
    "warm": ("#d9662b", "#f08a4b"),
    "cool": ("#2f7fb8", "#5aa9dd"),
}
HUES = (
    ("#0b5fa5", "#79bcf5"),  # blue
    ("#a63e00", "#ff9f66"),  # vermilion
    ("#00684a", "#4fd3a5"),  # bluish green
    ("#8a2f7d", "#ec9be0"),  # reddish purple
    ("#735200", "#e6c25c"),  # ochre
    ("#006878", "#5ed3e6"),  # teal
    ("#a8134f", "#ff94b8"),  # raspberry
    ("#4b4fae", "#aeb4ff"),  # indigo
)


def variables(scheme: int) -> str:
    """The custom properties of a scheme: 0 light, 1 dark."""
    pairs = [(name, both[scheme]) for name, both in BASE.items()]
    pairs += [(f"s{i}", both[scheme]) for i, both in enumerate(HUES)]
    return "".join(f"--{name}:{value};" for name, value in pairs)


class Colours:
    """Which hue a symbol has.

    Args:
        names: every symbol, in the order in which the cell declares and makes them.
        aliases: other ways to write one: `X` for a batch of `x`, `W_1` for a part of `W`.
    """

    def __init__(self, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self.names = list(dict.fromkeys(names))
        self.aliases = {name: name for name in self.names} | dict(aliases or {})

    @cached_property
    def families(self) -> dict[str, str]:
        """symbol -> its family: what follows the first underscore, where that is a symbol, or several names share it."""
        endings = Counter(name.partition("_")[2] for name in self.names)
        found = {}
        for name in self.names:
            ending = name.partition("_")[2]
            found[name] = ending if ending and (ending in self.names or endings[ending] > 1) else name
        return found

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds the symbols in a line of text."""
        names = sorted(self.aliases, key=len, reverse=True)
        return re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, names)) or '(?!)'})(?!\w)(\(t(?:-1)?\))?")

    @cached_property
    def hues(self) -> dict[str, int]:
        families = dict.fromkeys(self.families.values())
        return {family: i % len(HUES) for i, family in enumerate(families)}

    def __call__(self, name: str) -> str:
        """The class of a symbol: `s0`, ..., or "" for a name that is none."""
        family = self.families.get(self.aliases.get(name, name))
        return "" if family is None else f"s{self.hues[family]}"


def contrast(a: str, b: str) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2, relative luminance)."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
