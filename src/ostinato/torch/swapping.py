"""All recurrent modules of a model exchanged in place, and back: by their class, so that who holds them holds them still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import DataTypeError, lay_out
from .recurrent import Recurrent
from .rnn import GRU, LSTM, RNN, Recurrence
from .step_cells import GRUCell, LSTMCell, RNNCell, StepCell

OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM, nn.RNNCell: RNNCell, nn.GRUCell: GRUCell, nn.LSTMCell: LSTMCell,
}  # fmt: skip
THEIRS = {ours: theirs for theirs, ours in OURS.items()}
BASES = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Report:
    """What was exchanged, by the name of the module in the model; `print` shows it.

    Attributes:
        swapped: name -> the class that it has now.
        left: name -> why it was left as it was.
    """

    swapped: dict[str, str]
    left: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{name or '(the model itself)'}: {what}" for name, what in self.swapped.items()]
        lines += [f"{name or '(the model itself)'}: left, {why}" for name, why in self.left.items()]
        return "\n".join(lines) or "no recurrent module"


def replace(model: nn.Module) -> Report:
    """Exchange every nn.RNN, GRU, LSTM, RNNCell, GRUCell and LSTMCell of a model for ours, in place.

    Parameters, hooks, modules that are used twice and optimisers made before stay what they are: only the class of a module
    changes. `restore` undoes it.

    Returns:
        a report: `print(replace(model))`.

    Raises:
        DataTypeError: it is no nn.Module.
    """
    swapped, left = {}, {}
    for name, module in _modules(model):
        if type(module) in OURS:
            ours = OURS[type(module)]
            module.__class__ = ours
            swapped[name] = f"ostinato.torch.{ours.__name__}"
        elif isinstance(module, BASES) and not isinstance(module, Recurrence | StepCell):
            left[name] = _why(module)
    return Report(swapped, left)


def restore(model: nn.Module) -> Report:
    """Exchange our modules for those of torch.nn, in place; a Recurrent has no class there and is left.

    Raises:
        DataTypeError: it is no nn.Module.
    """
    swapped, left = {}, {}
    for name, module in _modules(model):
        if type(module) in THEIRS:
            theirs = THEIRS[type(module)]
            module.__dict__.pop("_followed", None)
            module.__class__ = theirs
            swapped[name] = f"torch.nn.{theirs.__name__}"
        elif isinstance(module, Recurrent):
            left[name] = f"torch.nn has no {module.cell.name} of this kind"
        elif isinstance(module, Recurrence | StepCell):
            left[name] = _why(module)
    return Report(swapped, left)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within this block the weights of a model do not change, and are not compared at every call.

    Raises:
        DataTypeError: it is no nn.Module.
    """
    modules = [m for _, m in _modules(model) if isinstance(m, Recurrence | StepCell | Recurrent)]
    before = [m.__dict__.get("_frozen", False) for m in modules]
    for module in modules:
        module.__dict__["_frozen"] = True
        module.__dict__.pop("_followed", None)  # once, at the first call: what they are now
    try:
        yield
    finally:
        for module, was in zip(modules, before, strict=True):
            module.__dict__["_frozen"] = was


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, by its first name."""
    if not isinstance(model, nn.Module):
        raise DataTypeError(lay_out(f"a model is an nn.Module, and this is a {type(model).__name__}"))
    yield from model.named_modules()


def _why(module: nn.Module) -> str:
    if torch.nn.utils.parametrize.is_parametrized(module):
        return f"its parameters are parametrized ({type(module).__name__}): exchange it first, then parametrize"
    return f"{type(module).__module__}.{type(module).__name__} is a class of its own, which may do something else"
