"""What PyTorch refuses is refused here too: an error of ours that is of PyTorch's class and begins with its first sentence."""

from __future__ import annotations

from typing import NoReturn

from ..errors import DataError, DataTypeError, lay_out, user_source


class TensorError(DataError, RuntimeError):
    """Tensors that do not fit, where PyTorch raises a RuntimeError."""


class TensorValueError(DataError, ValueError):
    """Tensors or arguments that do not fit, where PyTorch raises a ValueError."""


class TensorTypeError(DataTypeError, TypeError):
    """Something of another type, where PyTorch raises a TypeError."""


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
    """PyTorch's code, whose refusals are raised again as ours; what has a class of its own (out of memory) goes on as it is."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        text = lay_out(str(error), source=user_source())
        if kind is RuntimeError:
            raise TensorError(text) from None
        if kind is ValueError:
            raise TensorValueError(text) from None
        if kind is TypeError:
            raise TensorTypeError(text) from None
