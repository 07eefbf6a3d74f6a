"""What PyTorch refuses is refused here too: an error of ours that is of PyTorch's class and begins with its first sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ArgumentError, DataError, DataTypeError, OstinatoError, lay_out
from ..ir.op import user_source


class TensorError(DataError, RuntimeError):
    """Tensors that do not fit, where PyTorch raises a RuntimeError."""


class TensorValueError(DataError, ValueError):
    """Tensors or arguments that do not fit, where PyTorch raises a ValueError."""


class TensorTypeError(DataTypeError, TypeError):
    """Something of another type, where PyTorch raises a TypeError."""


class NoSuchArgumentError(ArgumentError, TypeError):
    """A call with arguments that do not exist or are missing, where Python raises a TypeError."""


CLASSES: dict[type[Exception], type[OstinatoError]] = {
    RuntimeError: TensorError, ValueError: TensorValueError, TypeError: TensorTypeError,
}  # fmt: skip


@contextmanager
def theirs() -> Iterator[None]:
    """PyTorch's code, whose errors are raised again as ours."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, OstinatoError):
            raise
        ours = next(mine for known, mine in CLASSES.items() if isinstance(error, known))
        raise ours(lay_out(str(error), source=user_source())) from None
