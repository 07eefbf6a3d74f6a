"""One cell over one sequence of tensors: by native code where that can be, else by the cell's own graph in PyTorch's ops.

Native code computes outputs and first derivatives of plain tensors on a CPU. The graph in PyTorch's ops (definition.py) does
the rest: other devices, mapped and forward-mode tensors, and derivatives of derivatives, for which the forward pass is computed
once more where they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..ir.shapes import Varies
from ..ir.timeline import Timeline
from ..native.threads import set_threads
from . import definition
from .frames import pass_of
from .steps import Followed, Steps

Array = np.ndarray[Any, np.dtype[Any]]


NO_MASKS: Mapping[str, Tensor] = MappingProxyType({})
PLAIN = (Tensor, torch.nn.Parameter)


class Call(NamedTuple):
    """What a sequence is run with besides tensors that may have gradients.

    Attributes:
        reset: (*leading,) true where states return to what they were declared to begin as, or None.
        masks: dropout masks by name: (*leading, ...) or (n_instances, ...).
        followed: the copies of the weights, which native code reads.
        stay: whether the weights are what they were at the call before.
    """

    steps: Steps
    timeline: Timeline
    reset: Tensor | None = None
    masks: Mapping[str, Tensor] = NO_MASKS
    training: bool = False
    followed: Followed | None = None
    stay: bool = False

    def split(self, tensors: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Inputs and contexts; states; weights."""
        first = len(self.steps.inputs) + len(self.steps.contexts)
        second = first + len(self.steps.states)
        return tensors[:first], tensors[first:second], tensors[second:]


def sequence(call: Call, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Run a cell over a sequence.

    Args:
        tensors: inputs, each (*leading, ...); contexts and states, each (n_instances, ...); weights; all in declared order.

    Returns:
        the outputs in declared order, each (*leading, ...), and the final states.
    """
    if not native_can(call.steps, tensors):
        return by_definition(call, tensors)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        results = _Sequence.apply(call, *tensors)
    elif (bound := pass_of(call.steps, call.timeline, recording=False, training=call.training)) is not None:
        results = bound.run(_weights(call, tensors), _rows(call, tensors), _reset(call))[0]
    else:
        results = forward(call, "forward", tensors)[0]
    n = len(call.steps.outputs)
    return list(results[:n]), list(results[n:])


def timeline_for(
    tensors: Sequence[Tensor], lengths: Tensor | None, *, reverse: bool, batch_first: bool
) -> Timeline:  # fmt: skip
    """The steps and instances of these tensors."""
    first, second = tensors[0].shape[:2]
    n_steps, n_instances = (second, first) if batch_first else (first, second)
    if lengths is None:
        return full_timeline(int(n_steps), int(n_instances), reverse, batch_first)
    return Timeline(
        int(n_steps), int(n_instances), lengths.cpu().numpy().astype(np.intp), reverse=reverse, batch_first=batch_first
    )


@lru_cache(maxsize=64)
def full_timeline(n_steps: int, n_instances: int, reverse: bool, batch_first: bool) -> Timeline:
    """That of sequences which are all equally long."""
    return Timeline(n_steps, n_instances, reverse=reverse, batch_first=batch_first)


def drawn(call: Call, like: Tensor) -> dict[str, Tensor]:
    """The dropout masks of a call, of PyTorch's generator: 0 with the probability that the cell says, else 1 / (1 - rate)."""
    leading = {Varies.STEP: call.timeline.leading, Varies.INSTANCE: (call.timeline.n_instances,), Varies.NEVER: (1,)}
    found = {}
    for port in call.steps.masks:
        kind = port.value.type
        keep = torch.rand(*leading[kind.varies], *kind.sizes, device=like.device) >= port.rate
        found[port.name] = keep.to(call.steps.dtype) / (1 - port.rate)
    return found


def native_can(steps: Steps, tensors: Sequence[Tensor]) -> bool:
    """Whether these are plain tensors of a CPU, and nobody maps over them or pushes tangents through them."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # noqa: SLF001 - there is no public question
        return False
    dtype = steps.dtype
    for t in tensors:
        if type(t) not in PLAIN or t.dtype is not dtype or not t.is_cpu or t.layout is not torch.strided or t.is_neg():
            return False
    # inside of a level of forward mode: whether one of them has a tangent
    return forward_ad._current_level < 0 or all(forward_ad.unpack_dual(t).tangent is None for t in tensors)  # noqa: SLF001


# --- native code -------------------------------------------------------------------------------------------------------------


def _weights(call: Call, tensors: Sequence[Tensor]) -> Mapping[str, Array]:
    """The copies that native code reads, as many threads as PyTorch has."""
    _follow_threads()
    followed = call.followed or Followed()
    return followed.current(call.steps.weights, call.split(tensors)[2], stay=call.stay)


def _rows(call: Call, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Inputs, contexts and states, each with its elements row by row."""
    given, states, _ = call.split(tensors)
    return [t if t.is_contiguous() else t.contiguous() for t in (*given, *states)]


def _reset(call: Call) -> int:
    """The address of the marks; the call holds them."""
    return 0 if call.reset is None else call.reset.data_ptr()


def _array(tensor: Tensor) -> Array:
    """The memory of a tensor; a copy only where its elements do not lie row by row."""
    tensor = tensor.detach()
    array: Array = (tensor if tensor.is_contiguous() else tensor.contiguous()).resolve_neg().numpy()
    return array


def _values(call: Call, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """What a program is given by name, as users' arrays; masks as rows."""
    steps, timeline = call.steps, call.timeline
    given, states, _ = call.split(tensors)
    values = dict(zip([*steps.inputs, *steps.contexts, *steps.states], map(_array, (*given, *states)), strict=True))
    for port in steps.masks if call.masks else ():
        array = _array(call.masks[port.name])
        values[port.name] = timeline.pack(array) if port.value.type.varies == Varies.STEP else timeline.sort(array)
    return values


_threads = [0]  # those of PyTorch when they were last looked at


def _follow_threads() -> None:
    """As many threads as PyTorch has: whoever sets those means ours too."""
    n = torch.get_num_threads()
    if n != _threads[0]:
        _threads[0] = n
        set_threads(n)


def forward(call: Call, program: str, tensors: Sequence[Tensor]) -> tuple[list[Tensor], Any, Any]:
    """By native code: outputs and final states; what was recorded; the weights that it was computed with."""
    steps = call.steps
    weights = _weights(call, tensors)
    reset = None if call.reset is None else call.reset.numpy()
    ready = steps.executable(program, training=call.training)
    outcome = ready.run(call.timeline, _values(call, tensors), weights, reset)
    results = [torch.from_numpy(outcome.outputs[name]) for name in steps.outputs]
    results += [torch.from_numpy(outcome.states[name]) for name in steps.states]
    if program == "recording":
        steps.placed[call.training, call.timeline.plain] = outcome.placed
    return results, outcome, weights


def backward(call: Call, tensors: Sequence[Tensor], adjoints: Sequence[Tensor], arena: Tensor) -> list[Tensor]:
    """By native code: the gradients of all tensors, from the adjoints of outputs and final states."""
    steps, timeline, training = call.steps, call.timeline, call.training
    placed = steps.placed[training, timeline.plain]
    rows = {Varies.STEP: (timeline.n_rows,), Varies.INSTANCE: (timeline.n_instances,), Varies.NEVER: (1,)}
    known = steps.arena(training=training)
    shapes = {
        n: (*(timeline.leading if varies == Varies.STEP and n in placed else rows[varies]), *sizes)
        for n, varies, sizes, _ in known.records
    }
    values = _values(call, tensors) | known.take(arena, shapes, timeline.n_steps, timeline.n_instances)
    names = [*(("output", n) for n in steps.outputs), *(("state", n) for n in steps.states)]
    of = dict(zip(names, map(_array, adjoints), strict=True))
    routes = steps.routes(training=training)
    values |= {name: of["output", output] for name, output in routes.adjoints}
    values |= {name: of["state", state] for name, state in routes.states}
    weights = _weights(call, tensors)
    reset = None if call.reset is None else call.reset.numpy()
    outcome = steps.executable("backward", training=training).run(timeline, values, weights, reset, placed)
    found: list[Array | None] = [routes.of_input(name, outcome.gradients, timeline) for name in steps.inputs]
    places = [routes.others.get(name) for name in steps.contexts]
    found += [None if place is None else outcome.gradients[place] for place in places]
    states = {state: outcome.states[name] for name, state in routes.states}
    found += [states[name] for name in steps.states]
    found += [routes.of_weight(name, weights[name], outcome.gradients) for name in steps.weights]
    return [_gradient(array, tensor) for array, tensor in zip(found, tensors, strict=True)]


def _gradient(array: Array | None, tensor: Tensor) -> Tensor:
    """As a tensor of the same shape; zeros where nothing depends on it."""
    if array is None:
        return torch.zeros_like(tensor, memory_format=torch.contiguous_format)
    if array.shape != tuple(tensor.shape):
        array = np.array(np.broadcast_to(array, tuple(tensor.shape)))
    return torch.from_numpy(np.ascontiguousarray(array))


class _Sequence(torch.autograd.Function):
    """A recording run; backward is back-propagation through time."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor) -> Any:
        bound = pass_of(call.steps, call.timeline, recording=True, training=call.training)
        ctx.call, ctx.bound, kept = call, bound, []
        if bound is not None:
            results, saved = bound.run(_weights(call, tensors), _rows(call, tensors), _reset(call))
            kept = [results[i] for i in bound.kept]
        else:
            results, outcome, _ = forward(call, "recording", tensors)
            arena = call.steps.arena(training=call.training)
            saved = arena.put(outcome.records, call.timeline.n_steps, call.timeline.n_instances)
        ctx.shapes = [r.shape for r in results]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, saved, *kept)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor | None) -> Any:
        call, bound, wanted = ctx.call, ctx.bound, ctx.needs_input_grad[1:]
        n, everything = len(wanted), ctx.saved_tensors
        tensors = everything[:n]
        saved, *kept = (t.contiguous() for t in everything[n:])  # hooks of saved tensors may give them back otherwise
        if torch.is_grad_enabled():
            return None, *_again(call, tensors, adjoints, wanted)
        like = tensors[0]
        given = [like.new_zeros(s) if d is None else d.contiguous() for s, d in zip(ctx.shapes, adjoints, strict=True)]
        found: Sequence[Tensor | None]
        if bound is not None:
            found = bound.back(_weights(call, tensors), _rows(call, tensors), given, saved, kept, _reset(call))
        else:
            found = backward(call, tensors, given, saved)
        grads = [torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors, strict=True)]
        return None, *(g if w else None for g, w in zip(grads, wanted, strict=True))


def _again(
    call: Call, tensors: Sequence[Tensor], adjoints: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:  # fmt: skip
    """The same gradients with a graph of their own, so that they can be differentiated again."""
    # leaves of this call alone, so that a tensor that is given twice has two gradients
    mine = [t.view_as(t) if w else t for t, w in zip(tensors, wanted, strict=True)]
    outputs, states = by_definition(call, mine)
    pairs = [(y, d) for y, d in zip((*outputs, *states), adjoints, strict=True) if d is not None and y.requires_grad]
    asked = [t for t, w in zip(mine, wanted, strict=True) if w]
    found: list[Tensor | None] = [None] * len(asked)
    if pairs:
        results, given = [y for y, _ in pairs], [d for _, d in pairs]
        found = list(torch.autograd.grad(results, asked, given, create_graph=True, allow_unused=True))
    left = iter(found)
    return [(torch.zeros_like(t) if (g := next(left)) is None else g) if w else None for t, w in zip(mine, wanted, strict=True)]


# --- the cell's graph in PyTorch's ops ---------------------------------------------------------------------------------------


def by_definition(call: Call, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The same by PyTorch alone, on any device."""
    steps, timeline = call.steps, call.timeline
    given, states, weights = call.split(tensors)
    device = tensors[0].device
    place = None if timeline.plain else torch.as_tensor(timeline.places, device=device)
    order = torch.as_tensor(timeline.order, device=device)
    n_inputs = len(steps.inputs)

    def packed(x: Tensor) -> Tensor:
        if len(timeline.leading) == 1:  # those of a PackedSequence are rows already
            return x
        flat = x.reshape(timeline.n_steps * timeline.n_instances, *x.shape[2:])
        return flat if place is None else flat[place]

    values = {name: packed(x) for name, x in zip(steps.inputs, given, strict=False)}
    values |= {name: x[order] for name, x in zip(steps.contexts, given[n_inputs:], strict=True)}
    values |= {name: x[order] for name, x in zip(steps.states, states, strict=True)}
    for port in steps.masks if call.masks else ():
        mask = call.masks[port.name].to(device)
        values[port.name] = packed(mask) if port.value.type.varies == Varies.STEP else mask[order]
    program = steps.compiled(training=call.training).stages["forward"]
    reset = None if call.reset is None else packed(call.reset.to(device))
    run = definition.run(program, timeline, values, dict(zip(steps.weights, weights, strict=True)), reset)
    back = torch.as_tensor(np.argsort(timeline.order), device=device)
    outputs = []
    for name in steps.outputs:
        rows = run.outputs[name]
        if place is not None:
            whole = rows.new_zeros(timeline.n_steps * timeline.n_instances, *rows.shape[1:])
            rows = whole.index_copy(0, place, rows)
        outputs.append(rows.reshape(*timeline.leading, *rows.shape[1:]))
    return outputs, [run.states[name][back] for name in steps.states]
