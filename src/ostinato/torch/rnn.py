"""RNN, GRU and LSTM, as torch.nn has them: the same constructor, parameters, initial values, arguments, results and errors.

They are subclasses of nn.RNNBase and not of nn.LSTM itself, since TorchDynamo refuses every subclass of nn.RNN, nn.GRU and nn.LSTM;
`isinstance(module, nn.LSTM)` is False therefore.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.nn.utils.rnn import PackedSequence

from ..ir.timeline import Timeline
from .cells import cell_for
from .packed import pack, timeline_of, unpack
from .refusals import theirs
from .sequence import sequence, supported
from .steps import DTYPES, Followed, Steps, steps_of

Hidden = Any  # a tensor, or a pair of tensors
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
        weights = [getattr(self, name) for name in self._flat_weights_names]
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        if not self._fits(x, hx, weights, int(input.batch_sizes[0]) if packed else None):
            with theirs():
                return self.theirs.forward(self, input, hx)
        if packed:
            return self._run_packed(input, hx, weights)
        single, batch = x.dim() == 2, 0 if self.batch_first else 1
        if single:
            x, hx = x.unsqueeze(batch), _each(hx, lambda h: h.unsqueeze(1))
        n_steps, n_instances = (x.shape[1], x.shape[0]) if self.batch_first else (x.shape[0], x.shape[1])
        timelines = [Timeline(n_steps, n_instances, reverse=reverse, batch_first=self.batch_first) for reverse in (False, True)]
        Y, final = self._layers(x, hx, weights, timelines, n_instances)  # noqa: N806 - as in formulas
        if single:
            return Y.squeeze(batch), _each(final, lambda h: h.squeeze(1))
        return Y, final

    def _run_packed(self, given: PackedSequence, hx: Hidden, weights: list[Tensor]) -> Any:
        """Rows straight in and out, in PyTorch's order of instances."""
        x, batch_sizes, sorted_indices, unsorted_indices = given
        if sorted_indices is not None:
            hx = _each(hx, lambda h: h.index_select(1, sorted_indices))
        timelines = [timeline_of(batch_sizes, reverse=reverse) for reverse in (False, True)]
        Y, final = self._layers(x, hx, weights, timelines, timelines[0].n_instances)  # noqa: N806
        if unsorted_indices is not None:
            final = _each(final, lambda h: h.index_select(1, unsorted_indices))
        return PackedSequence(Y, batch_sizes, sorted_indices, unsorted_indices), final

    def _layers(
        self, x: Tensor, hx: Hidden, weights: list[Tensor], timelines: list[Timeline], n_instances: int
    ) -> tuple[Tensor, Hidden]:  # fmt: skip
        """All layers, each in one direction or in both, with dropout between them."""
        given = x.dtype
        computed = weights[0].dtype if supported(weights[0].dtype) else torch.float32
        x, weights = x.to(computed), [w.to(computed) for w in weights]
        n_directions = 2 if self.bidirectional else 1
        per = len(weights) // (self.num_layers * n_directions)
        states = None if hx is None else [h.to(computed) for h in (hx if isinstance(hx, tuple | list) else (hx,))]
        final: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(n_directions):
                place = layer * n_directions + direction
                steps = self._steps(x.shape[-1], computed)
                begin = (
                    [x.new_zeros(n_instances, *steps.shapes[name]) for name in steps.states]
                    if states is None
                    else [h[place] for h in states]
                )
                y, end = self._direction(steps, place, timelines[direction], x, begin, weights[place * per : (place + 1) * per])
                outputs.append(y)
                final.append(end)
            x = outputs[0] if n_directions == 1 else torch.cat(outputs, -1)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = self._dropped(x)
        ends = tuple(torch.stack(column).to(given) for column in zip(*final, strict=True))
        return x.to(given), ends if len(ends) > 1 else ends[0]

    def _direction(
        self, steps: Steps, place: int, timeline: Timeline, x: Tensor, begin: list[Tensor], weights: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        followed = self.__dict__.setdefault("_followed", {}).setdefault((place, steps.dtype), Followed())
        rows = x.dim() == 2  # those of a PackedSequence
        outputs, end = sequence(
            steps,
            timeline,
            [unpack(x, timeline) if rows else x],
            begin,
            weights,
            followed=followed,
            training=self.training,
            stay=self.__dict__.get("_frozen", False),
        )
        return pack(outputs[0], timeline) if rows else outputs[0], end

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout with the masks that torch.nn draws: it has steps first, whatever the user has."""
        if self.batch_first and x.dim() == 3:
            return F.dropout(x.transpose(0, 1).contiguous(), self.dropout, training=True).transpose(0, 1)
        return F.dropout(x, self.dropout, training=True)

    def _steps(self, n_inputs: int, dtype: torch.dtype) -> Steps:
        """The programs of a layer."""
        cell, options = cell_for(self.mode, bias=self.bias, projected=bool(self.proj_size))
        sizes = {"n_inputs": n_inputs, "n_neurons": self.hidden_size}
        if self.proj_size:
            sizes["n_projected"] = self.proj_size
        return steps_of(cell, DTYPES[dtype], {**sizes, **options})

    def _fits(self, x: Any, hx: Hidden, weights: list[Any], n_packed: int | None) -> bool:
        """Whether everything is as it should be; what is not, PyTorch's own code is asked about."""
        if not isinstance(x, Tensor) or not all(isinstance(w, Tensor) for w in weights):
            return False
        packed = n_packed is not None
        if x.dim() not in ((2,) if packed else (2, 3)) or x.shape[-1] != self.input_size or not x.is_floating_point():
            return False
        casting = torch.is_autocast_enabled(x.device.type)
        if not casting and any(w.dtype != x.dtype or w.device != x.device for w in weights):
            return False
        single, first = x.dim() == 2, self.batch_first
        n_steps = x.shape[0] if packed or single or not first else x.shape[1]
        if not n_steps:
            return False
        if hx is None:
            return True
        n_instances = n_packed if packed else 1 if single else x.shape[0 if first else 1]
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


def _each(hx: Hidden, function: Any) -> Hidden:
    """The function of a tensor, of each of a pair, or of nothing."""
    if hx is None:
        return None
    return tuple(map(function, hx)) if isinstance(hx, tuple | list) else function(hx)


class RNN(Recurrence):
    """torch.nn.RNN: h = phi(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh)."""

    theirs = nn.RNN

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with theirs():
            if "proj_size" in kwargs:
                raise ValueError(NO_PROJECTION)
            nonlinearity = args[3] if len(args) > 3 else kwargs.pop("nonlinearity", "tanh")
            args = args[:3] + args[4:]
            if nonlinearity not in ("tanh", "relu"):
                raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
            self.nonlinearity = nonlinearity
            super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)


class GRU(Recurrence):
    """torch.nn.GRU: gates r and z, the reset gate on what the recurrent product gave."""

    theirs = nn.GRU

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with theirs():
            if "proj_size" in kwargs:
                raise ValueError(NO_PROJECTION)
            super().__init__("GRU", *args, **kwargs)


class LSTM(Recurrence):
    """torch.nn.LSTM: gates i, f, g and o; with `proj_size` the projection of Sak, Senior and Beaufays 2014."""

    theirs = nn.LSTM
    check_forward_args = nn.LSTM.check_forward_args  # what nn.LSTM.forward asks of itself
    permute_hidden = nn.LSTM.permute_hidden
    get_expected_cell_size = nn.LSTM.get_expected_cell_size

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with theirs():
            super().__init__("LSTM", *args, **kwargs)
