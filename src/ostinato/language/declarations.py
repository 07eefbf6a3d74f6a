"""What the parameters of a cell are: declarations, written as default values.

`Input`, `Context`, `State`, `Weight` and `Bias` are functions that promise `Any`, so that type checkers and editors see
ordinary operators in the body of a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from numbers import Real
from typing import Any

from ..calls import answering
from ..errors import DimensionError, OptionError, counted, lay_out
from ..initialise import Initialiser, initialiser
from ..ir.shapes import Dims, names_in, parse_dim
from ..structure.base import Placement, Structure, parts_of


@dataclass(frozen=True)
class Declaration:
    """One parameter of a cell: its role, its dimensions as written, how it begins, and what kind of matrix it is."""

    role: str  # "input", "context", "state", "weight" or "bias"
    dims: tuple[str | int, ...]
    init: Initialiser | None = None
    initial: float = 0.0
    structure: Structure | None = None  # None: dense

    def dims_with(self, sizes: Mapping[str, int]) -> Dims:
        return tuple(parse_dim(dim, sizes) for dim in self.dims)

    @property
    def names(self) -> list[str]:
        return list({name: None for dim in self.dims for name in names_in(dim)})

    def placement(self, owner: str, name: str, sizes: Mapping[str, int]) -> Placement | None:
        """The structure of a weight at the given sizes; None for a dense one.

        Raises:
            OptionError: a matrix of these sizes cannot have the structure.
        """
        if self.structure is None:
            return None
        rows, columns = (parts_of(dim, sizes) for dim in self.dims)
        reason = self.structure.misfit(rows, columns)
        if reason:
            shape = ", ".join(map(str, self.dims_with(sizes)))
            raise OptionError(lay_out(f"{owner}: `{name}` ({shape}) can not be {self.structure}: {reason}"))
        return Placement(self.structure, rows, columns)


def _checked(role: str, dims: tuple[str | int, ...]) -> tuple[str | int, ...]:
    for dim in dims:
        try:
            whole = isinstance(dim, str) or (isinstance(dim, int) and not isinstance(dim, bool) and dim >= 1)
            if not whole:
                raise ValueError
            names_in(dim)
        except ValueError:
            headline = f"{role}: {dim!r} is no dimension; write a sum of names and whole numbers, such as 'n_inputs + 1'"
            if isinstance(dim, int) and not isinstance(dim, bool):
                headline = f"{role}: a dimension is at least 1, and not {dim}"
            raise DimensionError(lay_out(headline)) from None
    return dims


@answering
def Input(*dims: str | int) -> Any:  # noqa: N802 - it reads as a declaration
    """A value that is new at every step. `Input()` is a single number."""
    return Declaration("input", _checked("Input", dims))


@answering
def Context(*dims: str | int) -> Any:  # noqa: N802
    """One value per instance for the whole sequence, for example what attention reads."""
    return Declaration("context", _checked("Context", dims))


@answering
def State(*dims: str | int, initial: float = 0.0) -> Any:  # noqa: N802
    """A value carried from step to step. It begins as `initial` (0; may be infinite), unless a state is given to the layer."""
    if isinstance(initial, bool) or not isinstance(initial, Real) or isnan(initial):
        raise OptionError(lay_out(f"State: `initial` is a number, not {initial!r}"))
    return Declaration("state", _checked("State", dims), initial=float(initial))


@answering
def Weight(*dims: str | int, init: Any = None, structure: Structure | None = None) -> Any:  # noqa: N802
    """A parameter shared by all steps and instances.

    `init` says how it begins: a name ("glorot", "orthogonal", "identity", "zeros"), a number, or an object of
    `ostinato.initialise`. Unless given: orthogonal where it multiplies a state, Glorot elsewhere.

    `structure` says what kind of matrix it is: `BlockCirculant(8)`, `BlockDiagonal(4)`, `Diagonal()`; dense unless given. It is
    stored as fewer numbers, and can multiply, `x @ W`, and nothing else. `Layer(..., structure=...)` chooses another one.
    """
    if structure is not None and not isinstance(structure, Structure):
        raise OptionError(lay_out(f"Weight: `structure` is a structure such as BlockCirculant(8), not {structure!r}"))
    if structure is not None and len(dims) != 2:
        headline = f"Weight: {structure} is a matrix, of two dimensions, and the weight has {counted(len(dims), 'dimension')}"
        raise OptionError(lay_out(headline))
    start = None if init is None else initialiser(init)
    return Declaration("weight", _checked("Weight", dims), init=start, structure=structure)


@answering
def Bias(*dims: str | int, init: Any = 0.0) -> Any:  # noqa: N802
    """A parameter that is added: like a Weight, and zero unless `init` says otherwise."""
    return Declaration("bias", _checked("Bias", dims), init=initialiser(init))


class Output:
    """Marks outputs of a cell that are no state: `return Output(p, attention=a), h, c`. The unnamed one is `output`."""

    def __init__(self, *values: Any, **named: Any) -> None:
        if len(values) > 1 or not (values or named):
            given = counted(len(values), "unnamed value")
            raise OptionError(lay_out(f"Output: it takes one unnamed value or named ones, and was called with {given}"))
        if values and "output" in named:
            headline = "Output: the unnamed value is called `output` already, and another is given that name"
            raise OptionError(lay_out(headline))
        self.values, self.named_values = values, named

    def named(self) -> dict[str, Any]:
        return {**({"output": self.values[0]} if self.values else {}), **self.named_values}
