"""RNN, GRU and LSTM, as torch.nn has them: the same constructor, parameters, initial values, arguments, results and errors.

They are subclasses of nn.RNNBase and not of nn.LSTM itself, since TorchDynamo refuses every subclass of nn.RNN, nn.GRU and
nn.LSTM; `isinstance(module, nn.LSTM)` is False therefore.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.nn.utils.rnn import PackedSequence

from ..ir.timeline import Timeline
from .cells import cell_for
from .library import traced
from .packed import turned_rows
from .refusals import refuse, refuse_script, theirs
from .sequence import Call, full_timeline, sequence
from .steps import DTYPES, Followed, Steps, steps_of, supported

Hidden = Any  # a tensor, or a pair of tensors
OWN = ("_followed", "_frozen")  # attributes of ours, which a copy does not take along
NO_PROJECTION = "proj_size argument is only supported for LSTM, not RNN or GRU"


class Recurrence(nn.RNNBase):
    """What the three have in common. Made by RNN, GRU and LSTM alone."""

    theirs: ClassVar[type[nn.RNNBase]]

    def forward(self, input: Any, hx: Hidden = None) -> Any:  # noqa: A002 - PyTorch's name
        """Run over sequences; see the class of torch.nn for shapes.

        Args:
            input: (n_steps, n_instances, n_inputs), with `batch_first` (n_instances, n_steps, n_inputs); without the axis of
                instances for one sequence; or a PackedSequence.
            hx: (n_layers * n_directions, n_instances, n_neurons); of an LSTM a pair (h, c). None: zeros.

        Raises:
            TensorError, TensorValueError: what torch.nn refuses.
        """
        if torch._C._get_tracing_state() is not None:  # noqa: SLF001 - what torch.jit.is_tracing asks
            refuse_script()
        weights = [getattr(self, name) for name in self._flat_weights_names]
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        if not self._fits(x, hx, weights, int(input.batch_sizes[0]) if packed else None):
            with theirs():
                return self.theirs.forward(self, input, hx)
        if not x.is_cpu:
            return self.theirs.forward(self, input, hx)
        if packed:
            return self._run_packed(input, hx, weights)
        single, batch = x.dim() == 2, 0 if self.batch_first else 1
        if single:
            x, hx = x.unsqueeze(batch), _each(hx, torch.unsqueeze, 1)
        Y, final = self._layers(x, hx, weights, None)  # noqa: N806 - as in formulas
        if single:
            return Y.squeeze(batch), _each(final, torch.squeeze, 1)
        return Y, final

    def _run_packed(self, given: PackedSequence, hx: Hidden, weights: list[Tensor]) -> Any:
        """Rows straight in and out, in PyTorch's order of instances."""
        x, batch_sizes, sorted_indices, unsorted_indices = given
        if sorted_indices is not None:
            hx = _each(hx, torch.index_select, 1, sorted_indices)
        Y, final = self._layers(x, hx, weights, batch_sizes)  # noqa: N806
        if unsorted_indices is not None:
            final = _each(final, torch.index_select, 1, unsorted_indices)
        return PackedSequence(Y, batch_sizes, sorted_indices, unsorted_indices), final

    def _layers(
        self, x: Tensor, hx: Hidden, weights: list[Tensor], batch_sizes: Tensor | None
    ) -> tuple[Tensor, Hidden]:  # fmt: skip
        """All layers, each in one direction or in both, with dropout between them."""
        given, computed = x.dtype, weights[0].dtype if supported(weights[0].dtype) else torch.float32
        states = [] if hx is None else list(hx) if isinstance(hx, tuple | list) else [hx]
        if any(t.dtype is not computed for t in (x, *weights, *states)):  # under autocast they may differ
            x, weights, states = x.to(computed), [w.to(computed) for w in weights], [h.to(computed) for h in states]
        n_directions = 2 if self.bidirectional else 1
        per = len(weights) // (self.num_layers * n_directions)
        final: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(n_directions):
                place = layer * n_directions + direction
                begin = [h[place] for h in states] or self._zeros(x, batch_sizes)
                own = weights[place * per : (place + 1) * per]
                y, end = self._direction(place, x, begin, own, batch_sizes, reverse=direction == 1)
                outputs.append(y)
                final.append(end)
            x = outputs[0] if n_directions == 1 else torch.cat(outputs, -1)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = self._dropped(x)
        if len(final) == 1:
            ends = [h.unsqueeze(0) for h in final[0]]
        else:
            ends = [torch.stack(column) for column in zip(*final, strict=True)]
        if given != computed:
            x, ends = x.to(given), [h.to(given) for h in ends]
        return x, tuple(ends) if len(ends) > 1 else ends[0]

    def _zeros(self, x: Tensor, batch_sizes: Tensor | None) -> list[Tensor]:
        """The states before the first step."""
        n = int(batch_sizes[0]) if batch_sizes is not None else x.shape[0 if self.batch_first else 1]
        sizes = [self.proj_size or self.hidden_size, *([self.hidden_size] if self.mode == "LSTM" else [])]
        return [x.new_zeros(n, size) for size in sizes]

    def _direction(
        self, place: int, x: Tensor, begin: list[Tensor], weights: list[Tensor], batch_sizes: Tensor | None, *, reverse: bool
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        """One layer in one direction: its output and its final states."""
        n_directions = 2 if self.bidirectional else 1
        n_inputs = self.input_size if place < n_directions else n_directions * (self.proj_size or self.hidden_size)
        key = (self.mode, self.bias, n_inputs, self.hidden_size, self.proj_size, DTYPES[x.dtype])
        if batch_sizes is None and torch.compiler.is_compiling():
            tensors = [x, *begin, *weights]
            found = traced(program_text(*key), tensors, None, None, reverse, self.batch_first, training=False)
            return found[0], found[1:]
        steps, followed = programs(*key), _followed(self, place, x.dtype)
        stay = self.__dict__.get("_frozen", False)
        if batch_sizes is None:
            n_steps, n_instances = (x.shape[1], x.shape[0]) if self.batch_first else (x.shape[0], x.shape[1])
            timeline = full_timeline(n_steps, n_instances, reverse, self.batch_first)
            outputs, end = sequence(Call(steps, timeline, followed=followed, stay=stay), (x, *begin, *weights))
            return outputs[0], end
        timeline = Timeline.of_rows(batch_sizes.numpy())
        turned = torch.from_numpy(turned_rows(timeline)) if reverse else None
        given = x if turned is None else x.index_select(0, turned)
        (y,), end = sequence(Call(steps, timeline, followed=followed, stay=stay), (given, *begin, *weights))
        return y if turned is None else y.index_select(0, turned), end

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout with the masks that torch.nn draws: it has steps first, whatever the user has."""
        if self.batch_first and x.dim() == 3:
            return F.dropout(x.transpose(0, 1).contiguous(), self.dropout, training=True).transpose(0, 1)
        return F.dropout(x, self.dropout, training=True)

    def __getstate__(self) -> dict[str, Any]:
        """Without the copies of the weights, which are made again."""
        return {name: value for name, value in super().__getstate__().items() if name not in OWN}

    def __prepare_scriptable__(self) -> Any:
        """What TorchScript asks first."""
        refuse_script()

    def _fits(self, x: Any, hx: Hidden, weights: list[Any], n_packed: int | None) -> bool:
        """Whether everything is as it should be; what is not, PyTorch's own code is asked about."""
        if not isinstance(x, Tensor) or not all(isinstance(w, Tensor) for w in weights):
            return False
        packed = n_packed is not None
        if x.dim() not in ((2,) if packed else (2, 3)) or x.shape[-1] != self.input_size or not x.is_floating_point():
            return False
        casting = x.is_cpu and torch.is_autocast_enabled("cpu")
        if not casting and any(w.dtype is not x.dtype or w.is_cpu is not x.is_cpu for w in weights):
            return False
        single, first = x.dim() == 2, self.batch_first
        n_steps = x.shape[0] if packed or single or not first else x.shape[1]
        if not n_steps:
            return False
        if hx is None:
            return True
        n_instances = n_packed if n_packed is not None else 1 if single else x.shape[0 if first else 1]
        return self._hidden_fits(x, hx, n_instances, 2 if single and not packed else 3, casting=casting)

    def _hidden_fits(self, x: Tensor, hx: Hidden, n_instances: int, rank: int, *, casting: bool) -> bool:
        projected = self.proj_size or self.hidden_size
        wanted = [projected, self.hidden_size] if self.mode == "LSTM" else [projected]
        parts = list(hx) if self.mode == "LSTM" and isinstance(hx, tuple | list) else [hx]
        n = self.num_layers * (2 if self.bidirectional else 1)
        if len(parts) != len(wanted):
            return False
        for h, size in zip(parts, wanted, strict=True):
            if not isinstance(h, Tensor) or h.dim() != rank or (not casting and h.dtype != x.dtype) or h.device != x.device:
                return False
            if tuple(h.shape) != (n, *((n_instances,) if rank == 3 else ()), size):
                return False
        return True


def _each(hx: Hidden, function: Any, *arguments: Any) -> Hidden:
    """The function of a tensor, of each of a pair, or of nothing."""
    if hx is None:
        return None
    return tuple(function(h, *arguments) for h in hx) if isinstance(hx, tuple | list) else function(hx, *arguments)


def _followed(module: nn.Module, *key: Any) -> Followed:
    """The copies of some weights of a module."""
    kept: dict[Any, Followed] = module.__dict__.setdefault("_followed", {})
    if key not in kept:
        kept[key] = Followed()
    return kept[key]


@lru_cache(maxsize=256)
def programs(mode: str, bias: bool, n_inputs: int, n_neurons: int, n_projected: int, dtype: str) -> Steps:
    """The programs of one layer of one direction."""
    cell, options = cell_for(mode, bias=bias, projected=n_projected > 0)
    projected = {"n_projected": n_projected} if n_projected else {}
    return steps_of(cell, dtype, {"n_inputs": n_inputs, "n_neurons": n_neurons, **projected, **options})


@torch.compiler.assume_constant_result
def program_text(mode: str, bias: bool, n_inputs: int, n_neurons: int, n_projected: int, dtype: str) -> str:
    """Their text, for a graph that is being traced."""
    return programs(mode, bias, n_inputs, n_neurons, n_projected, dtype).text


class RNN(Recurrence):
    """torch.nn.RNN: h = phi(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh)."""

    theirs = nn.RNN

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with theirs():
            if "proj_size" in kwargs:
                refuse(NO_PROJECTION)
            nonlinearity = args[3] if len(args) > 3 else kwargs.pop("nonlinearity", "tanh")
            args = args[:3] + args[4:]
            if nonlinearity not in ("tanh", "relu"):
                refuse(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
            self.nonlinearity = nonlinearity
            super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)


class GRU(Recurrence):
    """torch.nn.GRU: gates r and z, the reset gate on what the recurrent product gave."""

    theirs = nn.GRU

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with theirs():
            if "proj_size" in kwargs:
                refuse(NO_PROJECTION)
            super().__init__("GRU", *args, **kwargs)


class LSTM(Recurrence):
    """torch.nn.LSTM: gates i, f, g and o; with `proj_size` the projection of Sak, Senior and Beaufays 2014."""

    theirs = nn.LSTM
    check_forward_args = nn.LSTM.check_forward_args  # type: ignore[assignment] # what nn.LSTM.forward asks of itself
    permute_hidden = nn.LSTM.permute_hidden  # type: ignore[assignment]
    get_expected_cell_size = nn.LSTM.get_expected_cell_size

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with theirs():
            super().__init__("LSTM", *args, **kwargs)
