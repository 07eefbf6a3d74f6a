"""One cell over one sequence of tensors: by native code where that can be, else by the cell's own graph in PyTorch's ops.

Native code computes outputs and first derivatives of plain tensors on a CPU. The graph in PyTorch's ops (definition.py) does the
rest: other devices, mapped and forward-mode tensors, and derivatives of derivatives, for which the forward pass is computed once
more where they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ir.timeline import Timeline
from ..runtime.masks import draw_masks
from . import definition
from .steps import DTYPES, Followed, Steps

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Call:
    """What a sequence is run with besides tensors that may have gradients.

    Attributes:
        reset: (*leading,) true where states return to what they were declared to begin as, or None.
        masks: dropout masks by name, as rows.
        followed: the copies of the weights, which native code reads.
        stay: whether the weights are what they were at the call before.
    """

    steps: Steps
    timeline: Timeline
    reset: Tensor | None
    masks: dict[str, Array]
    training: bool
    followed: Followed
    stay: bool = False

    def split(self, tensors: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Inputs and contexts; states; weights."""
        first = len(self.steps.inputs) + len(self.steps.contexts)
        second = first + len(self.steps.states)
        return tensors[:first], tensors[first:second], tensors[second:]


def sequence(
    steps: Steps, timeline: Timeline, inputs: Sequence[Tensor], states: Sequence[Tensor], weights: Sequence[Tensor], *,
    followed: Followed, reset: Tensor | None = None, training: bool = False, stay: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """Run a cell over a sequence.

    Args:
        inputs: in declared order, each (*leading, ...), then the contexts, each (n_instances, ...).
        states: in declared order, each (n_instances, ...).
        weights: in declared order.
        followed: the copies of these weights from earlier calls.
        reset: (*leading,) booleans.
        training: with dropout; its masks are drawn from a seed that PyTorch's generator gives.
        stay: the weights are what they were at the call before, and need not be compared.

    Returns:
        the outputs in declared order, each (*leading, ...), and the final states.
    """
    masks: dict[str, Array] = {}
    if training and steps.drops:
        generator = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        ports = steps.compiled(training=True).stages["forward"].with_role("mask")
        masks = draw_masks(ports, timeline, generator, steps.numpy_dtype)
    call = Call(steps, timeline, reset, masks, training, followed, stay)
    tensors = (*inputs, *states, *weights)
    if not native_can(steps, tensors):
        return by_definition(call, tensors)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        results = _Sequence.apply(call, *tensors)
    else:
        results = _forward(call, "forward", tensors)[0]
    n = len(steps.outputs)
    return list(results[:n]), list(results[n:])


def native_can(steps: Steps, tensors: Sequence[Tensor]) -> bool:
    """Whether these are plain tensors of a CPU, and nobody maps over them or pushes tangents through them."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # noqa: SLF001 - there is no public question
        return False
    dtype = steps.dtype
    for t in tensors:
        if t.dtype is not dtype or t.device.type != "cpu" or t.layout is not torch.strided or t._is_zerotensor():  # noqa: SLF001
            return False
        if type(t) is not Tensor and type(t) is not torch.nn.Parameter:
            return False
        if torch.autograd.forward_ad.unpack_dual(t).tangent is not None:
            return False
    return True


# --- native code ----------------------------------------------------------------------------------------------------------------


def _array(tensor: Tensor) -> Array:
    """The memory of a tensor; a copy only where its elements do not lie row by row."""
    tensor = tensor.detach()
    return (tensor if tensor.is_contiguous() else tensor.contiguous()).resolve_neg().numpy()


def _values(call: Call, tensors: Sequence[Tensor]) -> dict[str, Array]:
    steps = call.steps
    given, states, _ = call.split(tensors)
    names = [*steps.inputs, *steps.contexts, *steps.states]
    return {name: _array(t) for name, t in zip(names, (*given, *states), strict=True)} | call.masks


def _forward(call: Call, program: str, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Any, Any]:
    """Outputs and final states; what was recorded; the weights that it was computed with."""
    steps = call.steps
    weights = call.followed.current(steps.weights, call.split(tensors)[2], stay=call.stay)
    reset = None if call.reset is None else call.reset.numpy()
    ready = steps.executable(program, training=call.training)
    outcome = ready.run(call.timeline, _values(call, tensors), weights, reset)
    results = [torch.from_numpy(outcome.outputs[name]) for name in steps.outputs]
    results += [torch.from_numpy(outcome.states[name]) for name in steps.states]
    return results, outcome, weights


class _Sequence(torch.autograd.Function):
    """A recording run; backward is back-propagation through time."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor) -> Any:
        results, outcome, weights = _forward(call, "recording", tensors)
        ctx.call, ctx.weights, ctx.lease, ctx.placed = call, weights, outcome.lease, outcome.placed
        ctx.records = list(outcome.records)
        ctx.shapes = [r.shape for r in results]
        ctx.set_materialize_grads(False)  # noqa: FBT003 - PyTorch's
        ctx.save_for_backward(*tensors, *(torch.from_numpy(array) for array in outcome.records.values()))
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> Any:  # type: ignore[override]
        call: Call = ctx.call
        n = len(ctx.saved_tensors) - len(ctx.records)
        tensors, records = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *_again(call, tensors, adjoints, wanted)
        steps, timeline = call.steps, call.timeline
        values = _values(call, tensors)
        values |= {name: record.numpy() for name, record in zip(ctx.records, records, strict=True)}
        given = [
            np.zeros(tuple(shape), steps.numpy_dtype) if d is None else _array(d)
            for shape, d in zip(ctx.shapes, adjoints, strict=True)
        ]
        of = dict(zip([*(("output", n) for n in steps.outputs), *(("state", n) for n in steps.states)], given, strict=True))
        routes = steps.routes(training=call.training)
        values |= {name: of["output", output] for name, output in routes.adjoints}
        values |= {name: of["state", state] for name, state in routes.states}
        reset = None if call.reset is None else call.reset.numpy()
        outcome = steps.executable("backward", training=call.training).run(timeline, values, ctx.weights, reset, ctx.placed)
        found: list[Array | None] = [routes.of_input(name, outcome.gradients, timeline) for name in steps.inputs]
        places = [routes.others.get(name) for name in steps.contexts]
        found += [None if place is None else outcome.gradients[place] for place in places]
        states = {state: outcome.states[name] for name, state in routes.states}
        found += [states[name] for name in steps.states]
        found += [routes.of_weight(name, ctx.weights[name], outcome.gradients) for name in steps.weights]
        return None, *(_gradient(a, t) if w else None for a, t, w in zip(found, tensors, wanted, strict=True))


def _gradient(array: Array | None, tensor: Tensor) -> Tensor:
    """As a tensor of the same shape; zeros where nothing depends on it."""
    if array is None:
        return torch.zeros_like(tensor)
    if array.shape != tuple(tensor.shape):
        array = np.array(np.broadcast_to(array, tuple(tensor.shape)))
    return torch.from_numpy(np.ascontiguousarray(array))


def _again(
    call: Call, tensors: Sequence[Tensor], adjoints: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:  # fmt: skip
    """The same gradients with a graph of their own, so that they can be differentiated again."""
    # leaves of this call alone, so that a tensor that is given twice has two gradients
    mine = [t.view_as(t) if w else t for t, w in zip(tensors, wanted, strict=True)]
    outputs, states = by_definition(call, mine)
    pairs = [(y, d) for y, d in zip((*outputs, *states), adjoints, strict=True) if d is not None and y.requires_grad]
    asked = [t for t, w in zip(mine, wanted, strict=True) if w]
    found = iter(
        torch.autograd.grad([y for y, _ in pairs], asked, [d for _, d in pairs], create_graph=True, allow_unused=True)
        if pairs
        else [None] * len(asked)
    )
    return [
        (torch.zeros_like(t) if (g := next(found)) is None else g) if w else None for t, w in zip(mine, wanted, strict=True)
    ]


# --- the cell's graph in PyTorch's ops ------------------------------------------------------------------------------------------


def by_definition(call: Call, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The same by PyTorch alone, on any device."""
    steps, timeline = call.steps, call.timeline
    given, states, weights = call.split(tensors)
    device = tensors[0].device
    place = None if timeline.plain else torch.as_tensor(timeline.places, device=device)
    order = torch.as_tensor(timeline.order, device=device)
    n_inputs = len(steps.inputs)

    def packed(x: Tensor) -> Tensor:
        flat = x.reshape(timeline.n_steps * timeline.n_instances, *x.shape[2:])
        return flat if place is None else flat[place]

    values = {name: packed(x) for name, x in zip(steps.inputs, given, strict=False)}
    values |= {name: x[order] for name, x in zip(steps.contexts, given[n_inputs:], strict=True)}
    values |= {name: x[order] for name, x in zip(steps.states, states, strict=True)}
    values |= {name: torch.from_numpy(mask).to(device) for name, mask in call.masks.items()}
    program = steps.compiled(training=call.training).stages["forward"]
    reset = None if call.reset is None else packed(call.reset.to(device))
    run = definition.run(program, timeline, values, dict(zip(steps.weights, weights, strict=True)), reset)
    back = torch.argsort(order)
    outputs = []
    for name in steps.outputs:
        rows = run.outputs[name]
        if place is not None:
            whole = rows.new_zeros(timeline.n_steps * timeline.n_instances, *rows.shape[1:])
            rows = whole.index_copy(0, place, rows)
        outputs.append(rows.reshape(*timeline.leading, *rows.shape[1:]))
    return outputs, [run.states[name][back] for name in steps.states]


def supported(dtype: torch.dtype) -> bool:
    """Whether cells are computed in this dtype; others are converted at the boundary."""
    return dtype in DTYPES
