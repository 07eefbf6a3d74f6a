"""torch.ops.ostinato: a sequence as ops that torch.compile and torch.export keep whole.

The program travels as its text, so an exported model runs in any process that has imported `ostinato.torch`. All ops take the
same: the text; tensors (inputs, contexts, states, weights, masks); lengths and resets or nothing; and how sequences lie.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from ..errors import lay_out
from . import sequence as eager
from .refusals import TensorError, refuse_script
from .steps import Followed, Steps, steps_of_text

ARGUMENTS = "str program, Tensor[] tensors, Tensor? lengths, Tensor? reset, bool reverse, bool batch_first, bool training"
LIBRARY = torch.library.Library("ostinato", "DEF")
LIBRARY.define(f"sequence({ARGUMENTS}) -> Tensor[]")
LIBRARY.define(f"recording({ARGUMENTS}) -> Tensor[]")
LIBRARY.define(f"backward(Tensor[] adjoints, Tensor arena, {ARGUMENTS}) -> Tensor[]")
N_FOLLOWED = 256  # sets of weights whose copies are kept; the one that was used longest ago goes first
_FOLLOWED: OrderedDict[tuple[Any, ...], Followed] = OrderedDict()


def _followed(program: str, weights: list[Tensor]) -> Followed:
    """The copies of weights that lie where these lie; whether they are the same is asked bit by bit."""
    key = program, *(w.data_ptr() for w in weights)
    found = _FOLLOWED.pop(key, None) or Followed()
    _FOLLOWED[key] = found
    while len(_FOLLOWED) > N_FOLLOWED:
        _FOLLOWED.popitem(last=False)
    return found


def _call(
    program: str, tensors: list[Tensor], lengths: Tensor | None, reset: Tensor | None, *, reverse: bool, batch_first: bool,
    training: bool,
) -> tuple[eager.Call, list[Tensor]]:  # fmt: skip
    """What the ops share; the tensors without masks."""
    steps = steps_of_text(program)
    n = len(steps.inputs) + len(steps.contexts) + len(steps.states) + len(steps.weights)
    timeline = eager.timeline_for(tensors, lengths, reverse=reverse, batch_first=batch_first)
    masks = dict(zip([p.name for p in steps.masks], tensors[n:], strict=True)) if training and steps.drops else {}
    followed = _followed(program, tensors[n - len(steps.weights) : n])
    return eager.Call(steps, timeline, reset, masks, training, followed), tensors[:n]


def _run_sequence(
    program: str, tensors: list[Tensor], lengths: Tensor | None, reset: Tensor | None, reverse: bool, batch_first: bool,
    training: bool,
) -> list[Tensor]:  # fmt: skip
    call, tensors = _call(program, tensors, lengths, reset, reverse=reverse, batch_first=batch_first, training=training)
    return eager.forward(call, "forward", tensors)[0]


def _run_recording(
    program: str, tensors: list[Tensor], lengths: Tensor | None, reset: Tensor | None, reverse: bool, batch_first: bool,
    training: bool,
) -> list[Tensor]:  # fmt: skip
    call, tensors = _call(program, tensors, lengths, reset, reverse=reverse, batch_first=batch_first, training=training)
    results, outcome, _ = eager.forward(call, "recording", tensors)
    timeline = call.timeline
    arena = call.steps.arena(training=training)
    return [*results, arena.put(outcome.records, timeline.n_steps, timeline.n_instances)]


def _run_backward(
    adjoints: list[Tensor], arena: Tensor, program: str, tensors: list[Tensor], lengths: Tensor | None, reset: Tensor | None,
    reverse: bool, batch_first: bool, training: bool,
) -> list[Tensor]:  # fmt: skip
    call, tensors = _call(program, tensors, lengths, reset, reverse=reverse, batch_first=batch_first, training=training)
    return eager.backward(call, tensors, adjoints, arena)


for _name, _run in (("sequence", _run_sequence), ("recording", _run_recording), ("backward", _run_backward)):
    LIBRARY.impl(_name, _run, "CPU")


# --- shapes, for tensors without numbers -------------------------------------------------------------------------------------


def _shapes(steps: Steps, tensors: list[Tensor], *, batch_first: bool) -> tuple[list[Tensor], Any, Any]:
    """New tensors of the shapes of the results, and the numbers of steps and instances."""
    x = tensors[0]
    n_steps, n_instances = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    leading = (x.shape[0], x.shape[1])
    results = [x.new_empty((*leading, *steps.shapes[name])) for name in steps.outputs]
    results += [x.new_empty((n_instances, *steps.shapes[name])) for name in steps.states]
    return results, n_steps, n_instances


@torch.library.register_fake("ostinato::sequence", lib=LIBRARY)
def _shape_of_sequence(
    program: str, tensors: list[Tensor], lengths: Any, reset: Any, reverse: bool, batch_first: bool, training: bool
) -> list[Tensor]:  # fmt: skip
    return _shapes(steps_of_text(program), tensors, batch_first=batch_first)[0]


@torch.library.register_fake("ostinato::recording", lib=LIBRARY)
def _shape_of_recording(
    program: str, tensors: list[Tensor], lengths: Any, reset: Any, reverse: bool, batch_first: bool, training: bool
) -> list[Tensor]:  # fmt: skip
    steps = steps_of_text(program)
    results, n_steps, n_instances = _shapes(steps, tensors, batch_first=batch_first)
    n_bytes = steps.arena(training=training).n_bytes(n_steps, n_instances)
    return [*results, tensors[0].new_empty((n_bytes,), dtype=torch.uint8)]


@torch.library.register_fake("ostinato::backward", lib=LIBRARY)
def _shape_of_backward(
    adjoints: Any, arena: Any, program: str, tensors: list[Tensor], lengths: Any, reset: Any, reverse: bool, batch_first: bool,
    training: bool,
) -> list[Tensor]:  # fmt: skip
    n = len(tensors) - (len(steps_of_text(program).masks) if training else 0)
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors[:n]]


# --- gradients ---------------------------------------------------------------------------------------------------------------


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    program, tensors, lengths, reset, *how = inputs
    ctx.program, ctx.how, ctx.n = program, how, len(tensors)
    ctx.n_results = len(output) - 1
    optional = [t for t in (lengths, reset) if t is not None]
    ctx.has = lengths is not None, reset is not None
    ctx.save_for_backward(*tensors, output[-1], *optional)


def _kept(ctx: Any) -> tuple[list[Tensor], Tensor, Tensor | None, Tensor | None]:
    saved = list(ctx.saved_tensors)
    rest = iter(saved[ctx.n + 1 :])
    return saved[: ctx.n], saved[ctx.n], next(rest) if ctx.has[0] else None, next(rest) if ctx.has[1] else None


def _back(ctx: Any, adjoints: list[Tensor]) -> tuple[Any, ...]:
    tensors, arena, lengths, reset = _kept(ctx)
    steps = steps_of_text(ctx.program)
    shapes = _shapes(steps, tensors, batch_first=ctx.how[1])[0] if any(d is None for d in adjoints[: ctx.n_results]) else []
    given = [d if d is not None else torch.zeros_like(shapes[i]) for i, d in enumerate(adjoints[: ctx.n_results])]
    found = torch.ops.ostinato.backward(given, arena, ctx.program, tensors, lengths, reset, *ctx.how)
    return None, [*found, *[None] * (ctx.n - len(found))], None, None, None, None, None


torch.library.register_autograd("ostinato::recording", _back, setup_context=_keep, lib=LIBRARY)


def _refuse_again(ctx: Any, *_: Any) -> Any:
    headline = "a derivative of a derivative cannot be taken inside torch.compile"
    raise TensorError(lay_out(headline, hint="take it outside: the module itself can be differentiated any number of times"))


torch.library.register_autograd("ostinato::backward", _refuse_again, lib=LIBRARY)


@torch.compiler.assume_constant_result
def _refuse_exporter() -> bool:
    """What is in a graph for ONNX is refused while it is traced; run by Python itself, to whom Dynamo hands it over."""
    if torch.onnx.is_in_onnx_export():
        refuse_script()
    return True


def traced(
    text: str, tensors: list[Tensor], lengths: Tensor | None, reset: Tensor | None, reverse: bool, batch_first: bool, *,
    training: bool,
) -> list[Tensor]:  # fmt: skip
    """Outputs and final states, by one op of a graph that is being traced."""
    _refuse_exporter()
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return list(torch.ops.ostinato.recording(text, tensors, lengths, reset, reverse, batch_first, training)[:-1])
    return list(torch.ops.ostinato.sequence(text, tensors, lengths, reset, reverse, batch_first, training))
