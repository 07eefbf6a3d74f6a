"""Ostinato as a contender: the public interface, and nothing else."""
# ruff: noqa: N803 - X and Y are the symbols of the equations

from itertools import cycle

from .problems import Contender


def forward(problem, **options):
    layer, X = problem.layer(**options), problem.X
    return Contender(lambda: layer(X), lambda Y: {"Y": Y})


def backward(problem, dY=None, **options):
    """Forward, then the gradients of the inputs and of all weights for the adjoint `dY` of the outputs."""
    layer, X = problem.layer(**options), problem.X
    dY = problem.dY if dY is None else dY

    def run():
        _, pullback = layer.vjp(X)
        return pullback(dY)

    def read(gradients):
        return {"X": gradients.inputs, **problem.model.merge(gradients.weights)}

    return Contender(run, read)


def stream(problem, **options):
    """One step for each call: the inputs of the problem in turn, one instance."""
    stream, rows = problem.layer(**options).stream(), cycle(problem.X[:, 0])
    return Contender(lambda: stream(next(rows)), lambda y: {"y": y})
