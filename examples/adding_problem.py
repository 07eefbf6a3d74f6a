"""The adding problem: a layer of rectified linear units learns to remember two numbers over a hundred steps.

At every step the network sees a random number between 0 and 1 and a mark; two steps are marked, one in each half of the
sequence. At the end it must give the sum of the two marked numbers. Always answering 1 has a mean squared error of 1/6 = 0.167.

A plain recurrent layer loses the first number on the way. Le, Jaitly and Hinton (2015, arXiv 1504.00941) begin with the
identity as the recurrent matrix, so that at first every neuron adds up what it sees, and its gradient neither grows nor fades.
They train with SGD; Adam needs fewer updates here, and so fewer minutes.

    python examples/adding_problem.py                 T = 100, a minute or two on one core
    python examples/adding_problem.py --quick         T = 20, seconds

The training loop is written out: what a Network gives, what flows back, and how the weights change.
"""

# ruff: noqa: N806 - X, Y and dY are the symbols of the equations

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from ostinato import Layer, cells, relu
from ostinato.layers.network import LastStep, Network
from ostinato.learn.losses import mean_squared_error
from ostinato.learn.optimisers import UpdateRule, clip_by_global_norm

BASELINE = 1 / 6  # the variance of the sum of two numbers from [0, 1]: the error of always answering 1


def draw(n_steps, n_instances, generator):
    """X (n_steps, n_instances, 2): numbers and marks; and the sums (n_instances, 1)."""
    numbers = generator.random((n_steps, n_instances))
    marks = np.zeros((n_steps, n_instances))
    instances = np.arange(n_instances)
    marks[generator.integers(0, n_steps // 2, n_instances), instances] = 1
    marks[generator.integers(n_steps // 2, n_steps, n_instances), instances] = 1
    sums = (numbers * marks).sum(axis=0)[:, None]
    return np.stack([numbers, marks], axis=-1).astype(np.float32), sums.astype(np.float32)


def make_network(n_neurons, seed):
    irnn = Layer(cells.recurrent, n_inputs=2, n_neurons=n_neurons, phi=relu, init=cells.IRNN, seed=seed)
    return Network(LastStep(irnn), Layer(cells.dense, n_inputs=n_neurons, n_outputs=1, seed=seed))


def learn(network, n_steps, *, seconds, updates, goal, batch_size, learning_rate, clip_norm, seed, report=print):
    """Train until the error on 1,000 sequences that are only looked at is below the goal, or time or updates are over.

    Returns: that error, and the number of updates.
    """
    generator = np.random.default_rng(seed)
    X_test, sums_test = draw(n_steps, 1000, np.random.default_rng(seed + 1))
    rule = UpdateRule("adam", learning_rate=learning_rate)
    started = time.perf_counter()
    error = mean_squared_error(network(X_test), sums_test)[0]
    report(f"update {0:>6}   error {error:.4f}   (always answering 1: {BASELINE:.4f})")
    for update in range(1, updates + 1):
        X, sums = draw(n_steps, batch_size, generator)
        Y, pullback = network.vjp(X)
        _, dY = mean_squared_error(Y, sums)
        gradients, _ = clip_by_global_norm(pullback(dY).weights, clip_norm)
        rule.step(network.weights, gradients)
        elapsed = time.perf_counter() - started
        if update % 250 == 0 or elapsed > seconds or update == updates:
            error = mean_squared_error(network(X_test), sums_test)[0]
            report(f"update {update:>6}   error {error:.4f}   {elapsed:5.0f} s")
            if error < goal or elapsed > seconds:
                break
    return error, update


def main(arguments=None):
    parser = argparse.ArgumentParser(description="An IRNN learns the adding problem.")
    parser.add_argument("--steps", type=int, default=100, help="the length T of a sequence (100)")
    parser.add_argument("--seconds", type=float, default=300, help="stop after this time (300)")
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--clip-norm", type=float, default=1.0)
    parser.add_argument("--goal", type=float, default=0.002, help="stop when the error is below (0.002)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="T = 20, and at most 2,000 updates")
    chosen = parser.parse_args(arguments)
    if chosen.steps < 2:
        parser.error("--steps is at least 2: one marked number in each half")
    if chosen.quick:
        chosen.steps, chosen.goal = 20, 0.01
    network = make_network(chosen.neurons, chosen.seed)
    print(f"T = {chosen.steps}, {network}")
    error, updates = learn(
        network, chosen.steps, seconds=chosen.seconds, updates=2_000 if chosen.quick else 1_000_000, goal=chosen.goal,
        batch_size=chosen.batch_size, learning_rate=chosen.learning_rate, clip_norm=chosen.clip_norm, seed=chosen.seed,
    )  # fmt: skip
    learned = error < BASELINE / 8
    print(f"{'learned' if learned else 'not learned'}: {error:.4f} after {updates} updates; always answering 1: {BASELINE:.4f}")
    return 0 if learned else 1


if __name__ == "__main__":
    sys.exit(main())
