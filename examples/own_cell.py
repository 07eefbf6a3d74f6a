"""A cell of one's own: written, explained, checked against a plain loop, and trained a little.

A leaky layer of recurrent neurons: each neuron learns how much of its old value it keeps, and so how slow it is (a leaky
integrator; Jaeger, Lukoševičius, Popovici and Siewert 2007). It is in no framework's list of cells, and takes two lines here.

    python examples/own_cell.py                                                        seconds
    ostinato explain examples/own_cell.py:leaky n_inputs=64 n_neurons=256 --program

It learns to say which of two tones is hidden in noise.
"""

# ruff: noqa: N806 - X, Y, W and U are the symbols of the equations

from __future__ import annotations

import sys

import numpy as np

from ostinato import Bias, Input, LastStep, Layer, Network, State, UpdateRule, Weight, cell, cells, sigmoid, tanh
from ostinato.learn.losses import cross_entropy


@cell
def leaky(
    x=Input("n_inputs"), y=State("n_neurons"),
    W_x=Weight("n_inputs", "n_neurons"), W_y=Weight("n_neurons", "n_neurons"), b=Bias("n_neurons"),
    leak=Bias("n_neurons", init=-1),
    *, phi=tanh,
):  # fmt: skip
    """a = sigmoid(leak);  y(t) = (1 - a) y(t-1) + a phi(x(t) W_x + y(t-1) W_y + b)."""
    a = sigmoid(leak)
    return (1 - a) * y + a * phi(x @ W_x + y @ W_y + b)


def by_hand(weights, X):
    """The same, as a loop with NumPy: X (n_steps, n_instances, n_inputs) -> Y (n_steps, n_instances, n_neurons)."""
    a = 1 / (1 + np.exp(-weights["leak"]))
    y, outputs = np.zeros((X.shape[1], len(a))), []
    for x in X:
        y = (1 - a) * y + a * np.tanh(x @ weights["W_x"] + y @ weights["W_y"] + weights["b"])
        outputs.append(y)
    return np.stack(outputs)


def tones(n_instances, generator, n_steps=40):
    """Noise with one of two tones in it: X (n_steps, n_instances, 1), and which (n_instances,)."""
    which = generator.integers(0, 2, n_instances)
    phase = generator.uniform(0, 2 * np.pi, n_instances)
    tone = np.sin(np.arange(n_steps)[:, None] * np.where(which, 0.5, 0.3) + phase)
    return (tone + generator.standard_normal(tone.shape))[..., None].astype(np.float32), which


def learn(network, updates, generator, report=print):
    """Train on tones that are drawn anew for every update; the share of 500 others that it knows is reported, and returned."""
    X_test, which = tones(500, np.random.default_rng(1))
    rule = UpdateRule("adam", learning_rate=0.01)
    known = 0.0
    for update in range(updates + 1):
        if update % 100 == 0 or update == updates:
            known = float((network(X_test).argmax(axis=-1) == which).mean())
            report(f"update {update:>4}   knows {known:.0%} of tones it has not seen")
        X, targets = tones(64, generator)
        Y, pullback = network.vjp(X)
        _, dY = cross_entropy(Y, targets)
        rule.step(network.weights, pullback(dY).weights)
    return known


def main(updates=300):
    layer = Layer(leaky, n_inputs=1, n_neurons=24, seed=0)
    print(layer.explain().short(), end="\n\n")

    X, _ = tones(4, np.random.default_rng(0))
    apart = np.abs(layer(X) - by_hand(layer.weights, X)).max()
    print(f"largest difference from a plain loop: {apart:.0e}\n")

    network = Network(LastStep(layer), Layer(cells.dense, n_inputs=24, n_outputs=2))
    known = learn(network, updates, np.random.default_rng(2))
    kept = 1 / (1 + np.exp(layer.weights["leak"]))
    print(f"\nhow much of its old value a neuron keeps, 1 - a: 0.73 before, {kept.min():.2f} to {kept.max():.2f} now")
    return 0 if apart < 1e-5 and known > 0.8 else 1


if __name__ == "__main__":
    sys.exit(main())
