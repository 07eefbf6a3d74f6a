"""PyTorch: its fixed layers where it has one (oneDNN as it comes), an eager loop over the steps for other cells."""
# ruff: noqa: N803 - X and Y are the symbols of the equations

from itertools import cycle

import numpy as np
import torch
from torch import nn

from ..problems import Contender

LAYERS = {
    "recurrent": (nn.RNN, nn.RNNCell),
    "gru": (nn.GRU, nn.GRUCell),
    "lstm": (nn.LSTM, nn.LSTMCell),
}


class InTorch:
    """The functions that models are written with."""

    tanh, exp, maximum, sigmoid, relu = torch.tanh, torch.exp, torch.maximum, torch.sigmoid, torch.relu

    @staticmethod
    def split(x, n):
        return x.chunk(n, -1)

    @staticmethod
    def layer_norm(x, scale):
        return nn.functional.layer_norm(x, scale.shape, scale)


def forward(problem, threads):
    torch.set_num_threads(threads)
    run, X = _sequence(problem)[0], torch.from_numpy(problem.X)

    def inference():
        with torch.inference_mode():
            return run(X)

    return Contender(inference, lambda Y: {"Y": Y.numpy()})


def backward(problem, threads):
    torch.set_num_threads(threads)
    run, parameters, names = _sequence(problem)
    X = torch.from_numpy(problem.X).requires_grad_()
    dY = torch.from_numpy(problem.dY)

    def both():
        return torch.autograd.grad(run(X), (X, *parameters), dY)

    def read(gradients):
        arrays = [g.numpy() for g in gradients]
        return {"X": arrays[0], **names(problem, arrays[1:])}

    return Contender(both, read)


def stream(problem, threads):
    torch.set_num_threads(threads)
    if problem.model.name in LAYERS:
        layer = LAYERS[problem.model.name][1](problem.size, problem.size)
        _assign(layer, problem)
        single = problem.model.name != "lstm"

        def step(x, states):
            given = layer(x, states[0] if single else states)
            return (given,) if single else given
    else:
        step = _step(problem)
    rows = cycle(list(torch.from_numpy(problem.X)))
    states = _states(problem, 1)

    def run():
        nonlocal states
        with torch.inference_mode():
            states = step(next(rows), states)
        return states[0]

    return Contender(run, lambda y: {"y": y[0].numpy()})


def compiled(problem, threads):
    """The eager loop through torch.compile, which unrolls it: minutes for 100 steps. Forward alone."""
    torch.set_num_threads(threads)
    run = torch.compile(_loop(problem)[0], dynamic=False)
    X = torch.from_numpy(problem.X)

    def inference():
        with torch.inference_mode():
            return run(X)

    return Contender(inference, lambda Y: {"Y": Y.numpy()})


def _sequence(problem):
    """(X -> Y, parameters, their gradients -> by name in merged form)."""
    if problem.model.name not in LAYERS:
        return _loop(problem)
    layer = LAYERS[problem.model.name][0](problem.size, problem.size)
    _assign(layer, problem)
    return lambda X: layer(X)[0], tuple(layer.parameters()), _named_gradients


def _assign(layer, problem):
    """Merged weights have PyTorch's order of gates (i f g o; r z n), transposed; its second bias is zero but for b_hn."""
    w = problem.merged
    second = np.zeros_like(w["b"])
    if "b_hn" in w:
        second[-problem.size :] = w["b_hn"]
    with torch.no_grad():
        for parameter, array in zip(layer.parameters(), (w["W"].T, w["U"].T, w["b"], second), strict=True):
            parameter.copy_(torch.from_numpy(array.copy()))


def _named_gradients(problem, arrays):
    W, U, b, second = arrays
    named = {"W": W.T, "U": U.T, "b": b}
    return {**named, "b_hn": second[-problem.size :]} if "b_hn" in problem.merged else named


def _states(problem, n_instances):
    return tuple(torch.zeros(n_instances, problem.sizes[name]) for name in problem.model.states)


def _parameters(problem):
    # a leaf of the graph even where inference needs none: inference_mode switches the recording off
    return {name: torch.tensor(array).requires_grad_() for name, array in problem.merged.items()}


def _loop(problem):
    model, w = problem.model, _parameters(problem)

    def run(X):
        states, outputs = _states(problem, X.shape[1]), []
        for p in model.project(InTorch, X, w).unbind(0):
            states = model.step(InTorch, p, states, w)
            outputs.append(states[0])
        return torch.stack(outputs)

    return run, tuple(w.values()), lambda problem, arrays: dict(zip(problem.merged, arrays, strict=True))


def _step(problem):
    model, w = problem.model, _parameters(problem)
    return lambda x, states: model.step(InTorch, model.project(InTorch, x, w), states, w)
