"""JAX: the model of benchmarks/models.py in one jitted function: inputs in one product, then lax.scan over the steps.

Calls run in the calling thread (`jax_cpu_enable_async_dispatch` off): on one core a second thread only costs a switch, and a
streamed step is several times as fast. A short step is unrolled by 1 or by 4, whichever is faster in a first try.
"""
# ruff: noqa: ARG001, N803 - the number of threads is set before JAX is loaded; X and Y are the symbols of the equations

import time
from itertools import cycle

import jax
import jax.numpy as jnp
import numpy as np

from ..problems import Contender

jax.config.update("jax_cpu_enable_async_dispatch", False)

UNROLL = (1, 4)
SMALL = 1024  # neurons times instances; a longer step gains nothing from unrolling, and 64 neurons of 32 instances lose


class InJax:
    """The functions that models are written with."""

    tanh, exp, maximum, sigmoid, relu = jnp.tanh, jnp.exp, jnp.maximum, jax.nn.sigmoid, jax.nn.relu

    @staticmethod
    def split(x, n):
        return jnp.split(x, n, axis=-1)

    @staticmethod
    def layer_norm(x, scale):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * scale


def _outputs(problem, unroll):
    model, sizes = problem.model, problem.sizes

    def run(X, w):
        states = tuple(jnp.zeros((X.shape[1], sizes[name]), X.dtype) for name in model.states)

        def step(states, p):
            states = model.step(InJax, p, states, w)
            return states, states[0]

        return jax.lax.scan(step, states, model.project(InJax, X, w), unroll=unroll)[1]

    return run


def _fastest(unrolled, problem, unrollings):
    """What `unrolled` makes for that unrolling which has the shortest of three calls; one before compiles."""
    if problem.size * problem.n_instances > SMALL or len(unrollings) == 1:
        return unrolled(unrollings[0])

    def seconds(run):
        run()
        times = []
        for _ in range(3):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times)

    return min(map(unrolled, unrollings), key=seconds)


def forward(problem, threads, unrollings=UNROLL):
    X, w = jnp.asarray(problem.X), _weights(problem)

    def unrolled(unroll):
        run = jax.jit(_outputs(problem, unroll))
        return lambda: run(X, w).block_until_ready()

    return Contender(_fastest(unrolled, problem, unrollings), lambda Y: {"Y": np.asarray(Y)})


def backward(problem, threads, unrollings=UNROLL):
    X, w, dY = jnp.asarray(problem.X), _weights(problem), jnp.asarray(problem.dY)

    def unrolled(unroll):
        outputs = _outputs(problem, unroll)
        run = jax.jit(lambda X, w, dY: jax.vjp(outputs, X, w)[1](dY))
        return lambda: jax.block_until_ready(run(X, w, dY))

    def read(given):
        return {"X": np.asarray(given[0]), **{name: np.asarray(g) for name, g in given[1].items()}}

    return Contender(_fastest(unrolled, problem, unrollings), read)


def stream(problem, threads):
    model, w = problem.model, _weights(problem)

    @jax.jit
    def step(x, states, w):
        return model.step(InJax, model.project(InJax, x, w), states, w)

    rows = cycle([jnp.asarray(x) for x in problem.X])
    states = tuple(jnp.zeros((1, problem.sizes[name]), jnp.float32) for name in model.states)

    def run():
        nonlocal states
        states = jax.block_until_ready(step(next(rows), states, w))
        return states[0]

    return Contender(run, lambda y: {"y": np.asarray(y)[0]})


def _weights(problem):
    return {name: jnp.asarray(array) for name, array in problem.merged.items()}
