"""How weights begin.

Every initialiser is a record with `draw(shape, generator) -> float64 array`; the same seed gives the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, Protocol

import numpy as np

from .errors import OptionError, counted, known_names, lay_out

Array = np.ndarray[Any, np.dtype[Any]]


class Initialiser(Protocol):
    """Anything that can draw a weight."""

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array: ...


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a weight of shape (..., n_in, n_out)."""
    if len(shape) < 2:
        return (shape[0] if shape else 1), 1
    return prod(shape[:-1]), shape[-1]


@dataclass(frozen=True)
class Constant:
    """Every element is `value`."""

    value: float = 0.0

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
        del generator
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Glorot:
    """Uniform between -a and a, a = gain sqrt(6 / (fan in + fan out)) (Glorot and Bengio 2010, eq. 16)."""

    gain: float = 1.0

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
        limit = self.gain * sqrt(6 / sum(_fans(shape)))
        return generator.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class Orthogonal:
    """A matrix with orthonormal rows or columns, times `gain` (Saxe, McClelland, Ganguli 2014)."""

    gain: float = 1.0

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
        rows, columns = _fans(shape)
        gaussian = generator.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(gaussian)
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # so that every orthogonal matrix is equally likely
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True)
class Identity:
    """The identity times `gain`: IRNN's recurrent matrix (Le, Jaitly, Hinton 2015)."""

    gain: float = 1.0

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
        del generator
        if len(shape) != 2:
            raise OptionError(lay_out(f"Identity: it fills a matrix, and the weight has {counted(len(shape), 'dimension')}"))
        return self.gain * np.eye(*shape)


@dataclass(frozen=True)
class Normal:
    """Gaussian with mean 0 and standard deviation `deviation`."""

    deviation: float = 0.01

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
        return generator.normal(0.0, self.deviation, shape)


@dataclass(frozen=True)
class Uniform:
    """Uniform between `low` and `high`."""

    low: float = 0.0
    high: float = 1.0

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
        return generator.uniform(self.low, self.high, shape)


NAMED: dict[str, Initialiser] = {
    "glorot": Glorot(),
    "orthogonal": Orthogonal(),
    "identity": Identity(),
    "zeros": Constant(0.0),
    "ones": Constant(1.0),
}


def initialiser(given: Any) -> Initialiser:
    """A name, a number or an object with `draw`, as an initialiser.

    Raises:
        OptionError: it is none of these.
    """
    if isinstance(given, str):
        if given not in NAMED:
            known = known_names(given, NAMED, "initialisers")
            raise OptionError(lay_out(f"there is no initialiser `{given}`; {known}"))
        return NAMED[given]
    if isinstance(given, int | float) and not isinstance(given, bool):
        return Constant(float(given))
    if hasattr(given, "draw") and not isinstance(given, type):
        return given  # type: ignore[no-any-return]
    raise OptionError(lay_out(f"an initialiser is a name, a number or an object with `draw`, not {given!r}"))
