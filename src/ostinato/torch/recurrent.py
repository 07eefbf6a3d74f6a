"""Any cell as a module of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import OptionError, known_names, lay_out
from ..ir.timeline import Timeline
from ..language.cell import Cell, refuse_no_cell
from ..layers.layer import Layer
from ..process.pickling import carried, received
from ..runtime.arguments import whole_lengths
from .library import traced
from .refusals import TensorError, refuse_script
from .rnn import OWN
from .sequence import NO_MASKS, Call, drawn, full_timeline, sequence
from .steps import DTYPES, SEPARATOR, Followed, in_dtype, steps_of, steps_of_text, supported


class Recurrent(nn.Module):
    """A cell over whole sequences, its weights parameters under the cell's own names.

    Args:
        cell: a Cell, of the library or of your own.
        batch_first: inputs and outputs are (n_instances, n_steps, ...).
        reverse: run from each instance's own last step to its first.
        init: weight name -> initialiser, instead of the one its declaration names.
        device, dtype: of the parameters, as in torch.nn.
        sizes_and_options: a size for every dimension of the cell, and its options.

    The initial weights are those of a Layer whose seed PyTorch's generator draws: `torch.manual_seed` repeats them.

    Raises:
        DimensionError, OptionError: a size that is missing or impossible, a name that does not exist.

    >>> import torch
    >>> from ostinato import cells
    >>> from ostinato.torch import Recurrent
    >>> module = Recurrent(cells.gru, n_inputs=3, n_neurons=5)
    >>> Y, (h,) = module(torch.zeros(7, 4, 3))
    >>> Y.shape, h.shape
    (torch.Size([7, 4, 5]), torch.Size([4, 5]))
    """

    def __init__(
        self, cell: Cell, *, batch_first: bool = False, reverse: bool = False, init: Mapping[str, Any] | None = None,
        device: Any = None, dtype: torch.dtype | None = None, **sizes_and_options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(cell, Cell):
            refuse_no_cell(cell)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise OptionError(lay_out(f"{cell.name}: dtype is one of PyTorch's floating point numbers, not {dtype!r}"))
        seed = int(torch.randint(2**31 - 1, ()).item())
        name = "float64" if dtype == torch.float64 else "float32"
        layer = Layer(cell, seed=seed, dtype=name, init=init, **sizes_and_options)
        self.cell, self.batch_first, self.reverse = cell, bool(batch_first), bool(reverse)
        self.sizes_and_options = {**layer.sizes, **layer.options}
        steps = steps_of(cell, "f32", self.sizes_and_options)
        self.texts = {kind: in_dtype(steps.text, kind) for kind in DTYPES.values()}
        self.names = {"input": steps.inputs, "context": steps.contexts, "state": steps.states, "output": steps.outputs,
                      "weight": steps.weights}  # fmt: skip
        self.shapes, self.initial = {**steps.shapes}, {**steps.initial}
        for weight, array in layer.weights.items():
            if hasattr(self, weight):
                headline = f"{cell.name}: a module has an attribute `{weight}` already, and a parameter cannot be called so"
                raise OptionError(lay_out(headline))
            self.register_parameter(weight, nn.Parameter(torch.tensor(array, device=device, dtype=dtype)))

    def extra_repr(self) -> str:
        sizes = [f"{n}={getattr(v, '__name__', v)}" for n, v in self.sizes_and_options.items()]
        return ", ".join([self.cell_name, *sizes, *(f"{n}=True" for n in ("batch_first", "reverse") if getattr(self, n))])

    def forward(
        self, *inputs: Tensor, state: Any = None, lengths: Any = None, reset: Any = None, **named: Tensor
    ) -> tuple[Any, tuple[Tensor, ...]]:  # fmt: skip
        """Run over whole sequences.

        Args:
            inputs: the cell's inputs, then its contexts, in declared order or by name: (n_steps, n_instances, ...) each, with
                `batch_first` (n_instances, n_steps, ...), without the axis of instances for one sequence; a context
                (n_instances, ...).
            state: a tuple in declared order, a dictionary by name, or the tensor of a single state: (n_instances, ...) each.
            lengths: (n_instances,) whole numbers; outputs behind the end of an instance are 0.
            reset: (n_steps, n_instances) booleans, in the order of the inputs.

        Returns:
            the output, or a dictionary of them if the cell has several; and the final states as a tuple in declared order.

        Raises:
            TensorError: something does not fit.
        """
        if torch._C._get_tracing_state() is not None:  # noqa: SLF001 - what torch.jit.is_tracing asks
            refuse_script()
        weights = [getattr(self, name) for name in self.names["weight"]]
        given = self._given(inputs, named)
        x = given[0]
        dtype = weights[0].dtype if weights else x.dtype
        computed = dtype if supported(dtype) else torch.float32
        n_inputs, axis = len(self.names["input"]), 0 if self.batch_first else 1
        single = x.dim() == len(self.shapes[self.names["input"][0]]) + 1
        if single:
            given = [x.unsqueeze(axis) for x in given[:n_inputs]] + [x.unsqueeze(0) for x in given[n_inputs:]]
        leading = given[0].shape[:2]
        n_instances = leading[axis]
        self._check(given, leading, n_instances)
        begin = self._begin(state, n_instances, given[0], single=single)
        marks = None if reset is None else self._reset(reset, leading, single=single)
        tensors = [t.to(computed) for t in (*given, *begin, *weights)]
        outputs, final = self._run(tensors, lengths, marks, DTYPES[computed])
        outputs, final = [y.to(dtype) for y in outputs], [h.to(dtype) for h in final]
        if single:
            outputs, final = [y.squeeze(axis) for y in outputs], [h.squeeze(0) for h in final]
        one = outputs[0] if len(outputs) == 1 else dict(zip(self.names["output"], outputs, strict=True))
        return one, tuple(final)

    def _run(
        self, tensors: list[Tensor], lengths: Any, reset: Tensor | None, dtype: str
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        text, n = self.texts[dtype], len(self.names["output"])
        plain = tensors[0].device.type == "cpu"
        if torch.compiler.is_compiling() and plain and not (self.training and SEPARATOR in text):
            ends = None if lengths is None else torch.as_tensor(lengths)
            found = traced(text, tensors, ends, reset, self.reverse, self.batch_first, training=False)
            return found[:n], found[n:]
        steps, x = steps_of_text(text), tensors[0]
        n_steps, n_instances = (x.shape[1], x.shape[0]) if self.batch_first else (x.shape[0], x.shape[1])
        if lengths is None:
            timeline = full_timeline(n_steps, n_instances, self.reverse, self.batch_first)
        else:
            counts = whole_lengths(np.asarray(torch.as_tensor(lengths).cpu()), n_steps, n_instances, self.cell_name)
            timeline = Timeline(n_steps, n_instances, counts, reverse=self.reverse, batch_first=self.batch_first)
        followed = self.__dict__.setdefault("_followed", {}).setdefault(dtype, Followed())
        call = Call(steps, timeline, reset, NO_MASKS, self.training, followed, self.__dict__.get("_frozen", False))
        if self.training and steps.drops:
            call = call._replace(masks=drawn(call, x))
        return sequence(call, tensors)

    @property
    def cell_name(self) -> str:
        """The name of the cell, which the text of its graph tells too."""
        return self.texts["f32"].split(maxsplit=2)[1]

    def _given(self, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> list[Tensor]:
        """Inputs and contexts in declared order."""
        names, owner = [*self.names["input"], *self.names["context"]], self.cell_name
        if len(inputs) > len(names):
            listing = ", ".join(f"`{n}`" for n in names)
            raise TensorError(lay_out(f"{owner}: {len(inputs)} values are given, and it takes {len(names)}: {listing}"))
        values = dict(zip(names, inputs, strict=False))
        for name, value in named.items():
            if name in values:
                raise TensorError(lay_out(f"{owner}: `{name}` is given twice"))
            if name not in names:
                known = known_names(name, [*names, "state", "lengths", "reset"], "arguments")
                raise TensorError(lay_out(f"{owner}: there is no input `{name}`; {known}"))
            values[name] = value
        missing = [f"`{n}`" for n in names if n not in values]
        if missing:
            raise TensorError(lay_out(f"{owner}: no value is given for {', '.join(missing)}"))
        for name, value in values.items():
            if not isinstance(value, Tensor):
                raise TensorError(lay_out(f"{owner}: `{name}` is a tensor, not of the type {type(value).__name__}"))
        return [values[name] for name in names]

    def _check(self, given: list[Tensor], leading: Any, n_instances: int) -> None:
        """Shapes of inputs and contexts, with both leading axes."""
        axes = "n_instances, n_steps" if self.batch_first else "n_steps, n_instances"
        for i, (name, x) in enumerate(zip([*self.names["input"], *self.names["context"]], given, strict=True)):
            sizes = self.shapes[name]
            is_input = i < len(self.names["input"])
            wanted = (*leading, *sizes) if is_input else (n_instances, *sizes)
            if tuple(x.shape) != tuple(wanted):
                text = ", ".join([axes if is_input else f"n_instances={n_instances}", *map(str, sizes)])
                raise TensorError(lay_out(f"{self.cell_name}: `{name}` has shape {tuple(x.shape)}, and must be ({text})"))

    def _begin(self, state: Any, n_instances: int, like: Tensor, *, single: bool) -> list[Tensor]:
        """The states before the first step, each (n_instances, ...)."""
        owner, names = self.cell_name, self.names["state"]
        if isinstance(state, Tensor):
            state = (state,)
        if isinstance(state, tuple | list):
            if len(state) != len(names):
                listing = ", ".join(f"`{n}`" for n in names)
                raise TensorError(lay_out(f"{owner}: {len(state)} states are given, and it has {len(names)}: {listing}"))
            state = dict(zip(names, state, strict=True))
        if state is not None and not isinstance(state, Mapping):
            raise TensorError(
                lay_out(f"{owner}: `state` is a tuple of tensors or a dictionary, not of the type {type(state).__name__}")
            )
        state = state or {}
        for name in state:
            if name not in names:
                raise TensorError(lay_out(f"{owner}: there is no state `{name}`; {known_names(name, names, 'states')}"))
        found = []
        for name in names:
            shape = (n_instances, *self.shapes[name])
            if name not in state:
                found.append(like.new_full(shape, self.initial[name]))
                continue
            h = state[name].unsqueeze(0) if single else state[name]
            if tuple(h.shape) != shape:
                wanted = ", ".join(map(str, shape[1:] if single else shape))
                raise TensorError(
                    lay_out(f"{owner}: the state `{name}` has shape {tuple(state[name].shape)}, and must be ({wanted})")
                )
            found.append(h)
        return found

    def _reset(self, reset: Any, leading: Any, *, single: bool) -> Tensor:
        marks = torch.as_tensor(reset)
        marks = marks.unsqueeze(0 if self.batch_first else 1) if single and marks.dim() == 1 else marks
        if marks.dtype != torch.bool or tuple(marks.shape) != tuple(leading):
            headline = f"{self.cell_name}: `reset` is {tuple(leading)} booleans, not {tuple(marks.shape)} of {marks.dtype}"
            raise TensorError(lay_out(headline))
        if self.reverse:
            raise TensorError(
                lay_out(f"{self.cell_name}: `reset` has no meaning in a reverse module, which runs from the last step")
            )
        return marks.contiguous()

    def __prepare_scriptable__(self) -> Any:
        """What TorchScript asks first."""
        refuse_script()

    def __getstate__(self) -> dict[str, Any]:
        """The graph goes anywhere, as text; the cell's function where a function goes."""
        own = {name: value for name, value in self.__dict__.items() if name not in OWN}
        return {**own, "cell": carried(self.cell), "sizes_and_options": carried(self.sizes_and_options)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(
            {**state, "cell": received(state["cell"]), "sizes_and_options": received(state["sizes_and_options"])}
        )
