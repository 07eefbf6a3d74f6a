"""RNNCell, GRUCell and LSTMCell, as torch.nn has them: one step at a time, in a loop of the user's."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .library import traced
from .refusals import refuse_script, theirs
from .rnn import OWN, program_text, programs
from .sequence import Call, full_timeline, sequence
from .steps import DTYPES, Followed, supported


class StepCell(nn.RNNCellBase):
    """What the three have in common. Made by RNNCell, GRUCell and LSTMCell alone."""

    theirs: ClassVar[type[nn.RNNCellBase]]
    mode: str  # as nn.RNNBase names it

    def _run(self, x: Tensor, hx: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """One step; the states that follow."""
        if torch._C._get_tracing_state() is not None:  # noqa: SLF001 - what torch.jit.is_tracing asks
            refuse_script()
        single = x.dim() == 1
        if single:
            x, hx = x[None], None if hx is None else tuple(h[None] for h in hx)
        given, weight = x.dtype, self.weight_ih
        computed = weight.dtype if supported(weight.dtype) else torch.float32
        key = (self.mode, self.bias, self.input_size, self.hidden_size, 0, DTYPES[computed])
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        weights = [getattr(self, name) for name in names]
        n, n_states = x.shape[0], 2 if self.mode == "LSTM" else 1
        begin = [x.new_zeros(n, self.hidden_size)] * n_states if hx is None else list(hx)
        tensors = [x[None], *begin, *weights]
        if any(t.dtype is not computed for t in tensors):
            tensors = [t.to(computed) for t in tensors]
        if torch.compiler.is_compiling():
            states = traced(program_text(*key), tensors, None, None, reverse=False, batch_first=False, training=False)[1:]
        else:
            kept = self.__dict__.setdefault("_followed", {})
            followed = kept.setdefault(computed, Followed())
            last = kept.get("last")
            goes_on = hx is not None and last is not None and last() is hx[0]  # weights do not change inside a sequence
            stay = goes_on or self.__dict__.get("_frozen", False)
            call = Call(programs(*key), full_timeline(1, n, False, False), followed=followed, stay=stay)
            states = sequence(call, tensors)[1]
        if given is not computed:
            states = [s.to(given) for s in states]
        if single:
            states = [s[0] for s in states]
        if not torch.compiler.is_compiling():
            kept["last"] = weakref.ref(states[0])
        return tuple(states)

    def __getstate__(self) -> dict[str, Any]:
        """Without the copies of the weights, which are made again."""
        return {name: value for name, value in self.__dict__.items() if name not in OWN}

    def __prepare_scriptable__(self) -> Any:
        """What TorchScript asks first."""
        refuse_script()

    def _fits(self, x: Any, hx: Any) -> bool:
        """Whether everything is as it should be, on a CPU; what is not, PyTorch's own code is asked about."""
        if (
            not isinstance(x, Tensor)
            or not x.is_cpu
            or x.dim() not in (1, 2)
            or x.shape[-1] != self.input_size
            or not x.is_floating_point()
        ):
            return False
        weight = self.weight_ih
        casting = torch.is_autocast_enabled("cpu")
        if not isinstance(weight, Tensor) or (not casting and weight.dtype != x.dtype) or weight.device != x.device:
            return False
        if hx is None:
            return True
        wanted = (*x.shape[:-1], self.hidden_size)
        return all(
            isinstance(h, Tensor) and tuple(h.shape) == wanted and (casting or h.dtype == x.dtype) and h.device == x.device
            for h in hx
        )


class RNNCell(StepCell):
    """torch.nn.RNNCell: h = phi(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh)."""

    theirs = nn.RNNCell
    __constants__ = nn.RNNCell.__constants__
    nonlinearity: str

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        with theirs():
            super().__init__(input_size, hidden_size, bias, num_chunks=1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:  # type: ignore[override]
        return f"RNN_{self.nonlinearity.upper()}"

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - PyTorch's name
        """One step: (n_instances, n_inputs) or (n_inputs,) and the state before -> the state after it."""
        if self.nonlinearity not in ("tanh", "relu") or not self._fits(input, None if hx is None else (hx,)):
            with theirs():
                return nn.RNNCell.forward(self, input, hx)  # type: ignore[arg-type]
        return self._run(input, None if hx is None else (hx,))[0]


class GRUCell(StepCell):
    """torch.nn.GRUCell."""

    theirs, mode = nn.GRUCell, "GRU"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:  # fmt: skip
        with theirs():
            super().__init__(input_size, hidden_size, bias, num_chunks=3, device=device, dtype=dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - PyTorch's name
        """One step: (n_instances, n_inputs) or (n_inputs,) and the state before -> the state after it."""
        if not self._fits(input, None if hx is None else (hx,)):
            with theirs():
                return nn.GRUCell.forward(self, input, hx)  # type: ignore[arg-type]
        return self._run(input, None if hx is None else (hx,))[0]


class LSTMCell(StepCell):
    """torch.nn.LSTMCell."""

    theirs, mode = nn.LSTMCell, "LSTM"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:  # fmt: skip
        with theirs():
            super().__init__(input_size, hidden_size, bias, num_chunks=4, device=device, dtype=dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - PyTorch's name
        """One step: (n_instances, n_inputs) or (n_inputs,) and (h, c) before -> (h, c) after it."""
        pair = hx is None or (isinstance(hx, tuple | list) and len(hx) == 2)
        if not pair or not self._fits(input, hx):
            with theirs():
                return nn.LSTMCell.forward(self, input, hx)  # type: ignore[arg-type]
        return self._run(input, None if hx is None else tuple(hx))
