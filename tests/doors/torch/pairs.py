"""Modules of torch.nn beside ours, with the same parameters, and what is asked of both."""

import itertools
import warnings

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import ostinato.torch as ours

SEQUENCES = ("RNN", "GRU", "LSTM")
CELLS = ("RNNCell", "GRUCell", "LSTMCell")
N_INPUTS, N_NEURONS = 3, 4


def options(kind):
    """Every combination of constructor arguments that a kind of module has, each with few layers."""
    for bias, layers, both, first, dropout in itertools.product(
        (True, False), (1, 2), (False, True), (False, True), (0.0, 0.4)
    ):
        if dropout and layers == 1:
            continue
        found = {"bias": bias, "num_layers": layers, "bidirectional": both, "batch_first": first, "dropout": dropout}
        yield found
        if kind == "LSTM":
            yield {**found, "proj_size": 2}
        if kind == "RNN":
            yield {**found, "nonlinearity": "relu"}


def named(options):
    """A short name of a combination, for test ids."""
    return " ".join(
        f"{k}={v}" for k, v in options.items() if v not in (False, 0, 0.0) and (k, v) not in {("bias", True), ("num_layers", 1)}
    )


def pair(kind, *arguments, seed=0, **more):
    """(theirs, ours): made from the same seed."""
    sizes = arguments or (N_INPUTS, N_NEURONS)
    made = []
    for library in (nn, ours):
        torch.manual_seed(seed)
        made.append(getattr(library, kind)(*sizes, **more))
    return made


def given(how, module, dtype, *, hidden, seed=1):
    """An input of a kind ("batched", "single", "packed", "packed unsorted") and a state or None."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype, generator=generator)

    n_steps, n_instances = 5, 3
    if how == "batched":
        x = draw(n_instances, n_steps, N_INPUTS) if module.batch_first else draw(n_steps, n_instances, N_INPUTS)
    elif how == "single":
        x = draw(n_steps, N_INPUTS)
    else:
        lengths = [5, 3, 2] if how == "packed" else [2, 5, 3]
        x = pack_sequence([draw(n, N_INPUTS) for n in lengths], enforce_sorted=how == "packed")
    if not hidden:
        return x, None
    leading = (module.num_layers * (2 if module.bidirectional else 1), *(() if how == "single" else (n_instances,)))
    h = draw(*leading, module.proj_size or N_NEURONS)
    return x, (h, draw(*leading, N_NEURONS)) if module.mode == "LSTM" else h


def everything(module, x, hx, seed=2):
    """Outputs, final states and all gradients of a module, as a list of tensors."""
    torch.manual_seed(seed)
    packed = not isinstance(x, torch.Tensor)
    leaf = (x.data if packed else x).clone().requires_grad_()
    x = x._replace(data=leaf) if packed else leaf
    states = [h.clone().requires_grad_() for h in ([] if hx is None else hx if isinstance(hx, tuple) else [hx])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oneDNN has no projections, and says so
        y, final = module(x, None if hx is None else tuple(states) if len(states) > 1 else states[0])
    final = final if isinstance(final, tuple) else (final,)
    y = y.data if packed else y
    weights = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape).sin()
    loss = (y * weights).sum() + sum((h * h).sum() for h in final)
    gradients = torch.autograd.grad(loss, [leaf, *states, *module.parameters()])
    return [y.detach(), *(h.detach() for h in final), *gradients]


def apart(found, expected):
    """The largest distance of two lists of tensors of the same shapes."""
    assert [t.shape for t in found] == [t.shape for t in expected]
    return max(float((a - b).detach().abs().max()) if a.numel() else 0.0 for a, b in zip(found, expected, strict=True))
