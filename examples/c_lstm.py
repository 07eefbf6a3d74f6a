"""C-LSTM: an LSTM with block-circulant weights, 16-bit weights and activations of straight lines: what it saves, what it costs.

Wang, Li, Ding et al. (2018, arXiv 1803.06305) replace every matrix of an LSTM with peepholes and a projection by k x k
circulant blocks: k times fewer weights, and less arithmetic by the Fourier transform. Here the same cell is trained on two
tasks, dense and with k = 2, 4, 8, 16:

* handwritten digits (8 x 8, from scikit-learn), read row by row: how many of 360 unseen ones are recognised;
* the adding problem (see adding_problem.py): the mean squared error; always answering 1 has 0.167.

Every trained network is then run once more as the hardware of the paper would: with weights rounded to 16 bits (bfloat16),
and with 22 straight lines for the logistic function and for tanh; neither is trained further.

The times are those of the paper's first layer, 153 inputs, 1024 neurons, 512 outputs: 100 steps of one instance, on one core;
medians of runs that take turns.

    python examples/c_lstm.py                 some minutes on one core
    python examples/c_lstm.py --quick         small, few epochs: seconds
"""

# ruff: noqa: N806 - X, Y and dY are the symbols of the equations

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

from ostinato import BlockCirculant, LastStep, Layer, Network, cells, piecewise_sigmoid, piecewise_tanh, to_structure
from ostinato.learn.losses import cross_entropy, mean_squared_error
from ostinato.learn.optimisers import UpdateRule, clip_by_global_norm
from ostinato.learn.training import Examples, outputs, train

BLOCKS = (1, 2, 4, 8, 16)  # 1 is dense
N_TEST = 360
PAPER = {"n_inputs": 153, "n_outputs": 512, "n_neurons": 1024}


def structure_of(k):
    return None if k == 1 else BlockCirculant(k)


@dataclass(frozen=True)
class Found:
    """A figure of a trained network: as it was trained, with 16-bit weights, and with straight lines too."""

    trained: float
    bfloat16: float
    lines: float


def make_network(k, n_inputs, n_neurons, n_answers, seed, backend):
    """The cell of the paper with n_neurons / 2 outputs, and a dense layer that reads the last one."""
    sizes = {"n_inputs": n_inputs, "n_neurons": n_neurons, "n_outputs": n_neurons // 2}
    # with a forget gate that is open at first, so that gradients reach the first steps
    layer = Layer(cells.google_lstm, structure=structure_of(k), seed=seed, init={"b_f": 1}, backend=backend, **sizes)
    answer = Layer(cells.dense, n_inputs=n_neurons // 2, n_outputs=n_answers, seed=seed, backend=backend)
    return Network(LastStep(layer), answer)


def as_hardware(network, n_inputs, n_neurons, k, *, lines):
    """The same weights in 16 bits; with `lines`, other activations too."""
    sizes = {"n_inputs": n_inputs, "n_neurons": n_neurons, "n_outputs": n_neurons // 2}
    options = {"sigma": piecewise_sigmoid, "phi": piecewise_tanh} if lines else {}
    backend, rounded = network.parts["1"].backend, {"weight_format": "bfloat16"}
    layer = Layer(cells.google_lstm, structure=structure_of(k), backend=backend, **rounded, **options, **sizes)
    n_answers = network.weights["1.b"].shape[0]
    answer = Layer(cells.dense, n_inputs=n_neurons // 2, n_outputs=n_answers, backend=backend, **rounded)
    other = Network(LastStep(layer), answer)
    other.weights.update(network.weights)
    return other


def found_by(network, score, **description):
    rounded, lines = (as_hardware(network, lines=lines, **description) for lines in (False, True))
    return Found(score(network), score(rounded), score(lines))


# --- digits


def digits(k, *, n_neurons, epochs, seed, backend="native"):
    """The share of unseen digits that are recognised."""
    data = load_digits()
    X = (data.images.transpose(1, 0, 2) / 16).astype(np.float32)  # (n_steps, n_samples, n_inputs): row by row
    order = np.random.default_rng(0).permutation(X.shape[1])
    seen, unseen = order[N_TEST:], order[:N_TEST]
    network = make_network(k, 8, n_neurons, 10, seed, backend)
    examples = Examples(X[:, seen], data.target[seen])
    rule = UpdateRule("adam", learning_rate=5e-3)
    train(network, examples, loss=cross_entropy, update=rule, batch_size=32, max_epochs=epochs, rng=seed)
    test = Examples(X[:, unseen], data.target[unseen])

    def score(trained):
        return float((outputs(trained, test).argmax(axis=-1) == test.target).mean())

    return found_by(network, score, n_inputs=8, n_neurons=n_neurons, k=k)


# --- the adding problem


def draw(n_steps, n_instances, generator):
    """X (n_steps, n_instances, 2): numbers and marks; and the sums (n_instances, 1) of the two marked numbers."""
    numbers, marks = generator.random((n_steps, n_instances)), np.zeros((n_steps, n_instances))
    instances = np.arange(n_instances)
    marks[generator.integers(0, n_steps // 2, n_instances), instances] = 1
    marks[generator.integers(n_steps // 2, n_steps, n_instances), instances] = 1
    sums = (numbers * marks).sum(axis=0)[:, None]
    return np.stack([numbers, marks], axis=-1).astype(np.float32), sums.astype(np.float32)


def adding(k, *, n_neurons, n_steps, updates, seed, backend="native"):
    """The mean squared error on 1,000 unseen sequences."""
    network = make_network(k, 2, n_neurons, 1, seed, backend)
    generator, rule = np.random.default_rng(seed), UpdateRule("adam", learning_rate=2e-3)
    for _ in range(updates):
        X, sums = draw(n_steps, 64, generator)
        Y, pullback = network.vjp(X)
        _, dY = mean_squared_error(Y, sums)
        gradients, _ = clip_by_global_norm(pullback(dY).weights, 1.0)
        rule.step(network.weights, gradients)
    X_test, sums_test = draw(n_steps, 1000, np.random.default_rng(seed + 1))

    def score(trained):
        return float(mean_squared_error(trained(X_test), sums_test)[0])

    return found_by(network, score, n_inputs=2, n_neurons=n_neurons, k=k)


# --- speed


def times(sizes, blocks, *, n_steps, rounds):
    """k -> (numbers in the matrices, seconds of a run): the layers take turns, so that they share good moments and bad ones."""
    dense = Layer(cells.google_lstm, **sizes)
    layers = {k: dense if k == 1 else to_structure(dense, structure_of(k)) for k in blocks}
    X = np.random.default_rng(0).standard_normal((n_steps, 1, sizes["n_inputs"])).astype(np.float32)
    seconds = {k: [] for k in blocks}
    for layer in layers.values():
        layer(X)  # compiled
    for _ in range(rounds):
        for k, layer in layers.items():
            started = time.perf_counter()
            layer(X)
            seconds[k].append(time.perf_counter() - started)
    stored = {k: sum(a.size for n, a in layer.weights.items() if n.startswith(("W", "U"))) for k, layer in layers.items()}
    return {k: (stored[k], float(np.median(seconds[k]))) for k in blocks}


def main(arguments=None):
    parser = argparse.ArgumentParser(description="An LSTM with block-circulant weights: what it saves, what it costs.")
    parser.add_argument("--neurons", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=40, help="of the digits (40)")
    parser.add_argument("--updates", type=int, default=3000, help="of the adding problem, T = 30 (3,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="dense and k = 4 alone, small, few epochs and updates")
    chosen = parser.parse_args(arguments)
    steps, sizes, rounds, blocks, backend = 30, PAPER, 15, BLOCKS, "native"
    if chosen.quick:
        chosen.neurons, chosen.epochs, chosen.updates = 32, 2, 5
        steps, sizes, rounds, blocks = 6, {"n_inputs": 20, "n_outputs": 32, "n_neurons": 64}, 3, (1, 4)
        backend = "numpy"  # so little is computed that compiling would take the most time
    timed = times(sizes, blocks, n_steps=100, rounds=rounds)
    settings = {"n_neurons": chosen.neurons, "seed": chosen.seed, "backend": backend}
    print("              first layer of the paper      digits recognised          error of the adding problem")
    print("  k    numbers     time    speed-up      trained  16 bits    lines     trained  16 bits    lines")
    for k in blocks:
        stored, seconds = timed[k]
        print(f" {k:>2} {stored:>10,} {seconds * 1e3:>6.2f} ms {timed[1][1] / seconds:>8.2f} x", end="", flush=True)
        shares = digits(k, epochs=chosen.epochs, **settings)
        print(f"  {shares.trained:>10.1%} {shares.bfloat16:>8.1%} {shares.lines:>8.1%}", end="", flush=True)
        errors = adding(k, n_steps=steps, updates=chosen.updates, **settings)
        print(f"  {errors.trained:>10.4f} {errors.bfloat16:>8.4f} {errors.lines:>8.4f}")
    print(f"\nnumbers: in the matrices of a layer of {sizes}; digits and adding: {chosen.neurons} neurons.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
