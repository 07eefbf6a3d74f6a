"""What PyTorch refuses is refused here too: an error of ours that is of PyTorch's class and begins with its first sentence."""

from __future__ import annotations

from typing import Any, NoReturn

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


def refuse_script() -> NoReturn:
    """TorchScript and the exporter to ONNX know no ops but PyTorch's.

    Raises:
        TensorError: always.
    """
    headline = "TorchScript and torch.onnx.export know PyTorch's own modules alone: call ostinato.torch.restore(model) first"
    raise TensorError(lay_out(headline, source=user_source()))


def refuse(sentence: str) -> NoReturn:
    """What torch.nn answers with a ValueError.

    Raises:
        TensorValueError: always.
    """
    raise TensorValueError(lay_out(sentence, source=user_source()))


class theirs:  # noqa: N801 - `with theirs():` is read as a sentence
    """PyTorch's code, whose errors are raised again as ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None or isinstance(error, OstinatoError):
            return
        for known, ours in CLASSES.items():
            if isinstance(error, known):
                raise ours(lay_out(str(error), source=user_source())) from None
