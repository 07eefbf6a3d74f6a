"""What fusing the products of an LSTM saves: the same numbers, computed in several ways, and the time that each takes.

The first table has the products of the four gates alone (what follows them is always the same), for sequences of inputs X and
of outputs Y, in plain NumPy:

    separate     as the equations stand: for each gate x W_*x + y W_*r, 8 products at every step
    one by one   as page 3 of C-LSTM has it (arXiv 1803.06305): [x y] W_*(xr), 4 products at every step
    joined       the four gates side by side as well: 1 product at every step
    hoisted      x W for all steps at once before the loop: 1 tall product, and 1 of y alone at every step

The number of multiplications is the same in all of them. The second table has a whole LSTM: as it is written, run node by node
(backend="reference"), and as Ostinato compiles it.

    python examples/fusing.py                  some sizes, a minute
    python examples/fusing.py --quick          seconds

Pin the process to one core to compare with what the pages show: OPENBLAS_NUM_THREADS=1 taskset -c 0 python examples/fusing.py
"""

# ruff: noqa: N806 - X, Y, W and U are the symbols of the equations

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from ostinato import Layer, cells

GATES = "ifgo"


class Products:
    """The products of the four gates, x W + y U + b, in every way; each gives Z (n_steps, n_instances, 4*n_neurons).

    X (n_steps, n_instances, n_inputs) are the inputs, Y (n_steps, n_instances, n_neurons) what the layer gave out one step
    before. Weights are arranged and memory is set aside here, once, as a layer would do.
    """

    def __init__(self, layer, X, Y):
        n_inputs, n_neurons, n_instances = layer.sizes["n_inputs"], layer.sizes["n_neurons"], X.shape[1]
        self.X, self.Y, self.n_inputs = X, Y, n_inputs
        self.WU = [layer.weights[f"W_{gate}"] for gate in GATES]
        self.W, self.U = [w[:n_inputs].copy() for w in self.WU], [w[n_inputs:].copy() for w in self.WU]
        self.b = [layer.weights[f"b_{gate}"] for gate in GATES]
        joined = (np.concatenate(parts, axis=-1) for parts in (self.WU, self.W, self.U, self.b))
        self.WU_joined, self.W_joined, self.U_joined, self.b_joined = joined
        self.columns = [slice(k * n_neurons, (k + 1) * n_neurons) for k in range(4)]
        self.Z, self.wide = (np.empty((*leading, 4 * n_neurons), X.dtype) for leading in (X.shape[:2], (n_instances,)))
        self.p, self.q = np.empty((2, n_instances, n_neurons), X.dtype)
        self.xy = np.empty((n_instances, n_inputs + n_neurons), X.dtype)

    def separate(self):
        for x, y, z in zip(self.X, self.Y, self.Z, strict=True):
            for W, U, b, columns in zip(self.W, self.U, self.b, self.columns, strict=True):
                np.matmul(x, W, out=self.p)
                np.matmul(y, U, out=self.q)
                self.p += self.q
                np.add(self.p, b, out=z[:, columns])
        return self.Z

    def beside(self, x, y):
        self.xy[:, : self.n_inputs] = x
        self.xy[:, self.n_inputs :] = y
        return self.xy

    def one_by_one(self):
        for x, y, z in zip(self.X, self.Y, self.Z, strict=True):
            xy = self.beside(x, y)
            for WU, b, columns in zip(self.WU, self.b, self.columns, strict=True):
                np.matmul(xy, WU, out=self.p)
                np.add(self.p, b, out=z[:, columns])
        return self.Z

    def joined(self):
        for x, y, z in zip(self.X, self.Y, self.Z, strict=True):
            np.matmul(self.beside(x, y), self.WU_joined, out=z)
            np.add(z, self.b_joined, out=z)
        return self.Z

    def hoisted(self):
        rows = self.X.reshape(-1, self.n_inputs)  # all steps and instances, one above the other
        np.matmul(rows, self.W_joined, out=self.Z.reshape(len(rows), -1))
        self.Z += self.b_joined
        for y, z in zip(self.Y, self.Z, strict=True):
            np.add(z, np.matmul(y, self.U_joined, out=self.wide), out=z)
        return self.Z

    @property
    def ways(self):
        return {"separate": self.separate, "one by one": self.one_by_one, "joined": self.joined, "hoisted": self.hoisted}


def layer_ways(layer, X):
    """A whole LSTM as it is written, and compiled."""
    written = Layer(cells.lstm, backend="reference", **layer.sizes)
    written.weights.update(layer.weights)
    return {"as written": lambda: written(X), "compiled": lambda: layer(X)}


def measure(ways, seconds):
    """Median time of each way in milliseconds. They take turns, so that all see the same machine."""
    times = {name: [] for name in ways}
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or min(map(len, times.values())) < 3:
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(found) for name, found in times.items()}


def row(size, n_instances, ways, seconds):
    """One line of a table: the time of the first way, and how often faster the others are."""
    results = [way().copy() for way in ways.values()]
    if not all(np.allclose(result, results[0], atol=1e-4) for result in results):
        sys.exit(f"{size} neurons, batch {n_instances}: the ways do not agree")
    first, *others = measure(ways, seconds).values()
    return f"{size:>7} {n_instances:>5} {first:>8.2f} ms" + "".join(f"{first / other:>11.2f}x" for other in others)


def heading(names):
    first, *others = names
    return f"{'neurons':>7} {'batch':>5} {first:>11}" + "".join(f"{name:>12}" for name in others)


def processor():
    """What the processor is called, where the system says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(arguments=None):
    parser = argparse.ArgumentParser(description="What fusing the products of an LSTM saves, on this machine.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64, 256, 512], help="inputs and neurons (16 64 256 512)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="instances at once (1 32)")
    parser.add_argument("--steps", type=int, default=100, help="the length of the sequences (100)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line (4)")
    parser.add_argument("--quick", action="store_true", help="small sizes, 0.1 seconds each")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.sizes, chosen.seconds = [8, 16], 0.1
    print(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {processor()}, NumPy {np.__version__}, {chosen.steps} steps, float32"
    )
    tables = {"the products of the gates, in NumPy": [], "a whole LSTM, in Ostinato": []}
    for size in chosen.sizes:
        for n_instances in chosen.batches:
            layer = Layer(cells.lstm, n_inputs=size, n_neurons=size)
            X = np.random.default_rng(0).standard_normal((chosen.steps, n_instances, size)).astype(np.float32)
            Y = np.concatenate([np.zeros_like(X[:1]), layer(X)[:-1]])
            for rows, ways in zip(tables.values(), (Products(layer, X, Y).ways, layer_ways(layer, X)), strict=True):
                if not rows:
                    rows.append(heading(ways))
                rows.append(row(size, n_instances, ways, chosen.seconds))
    for title, rows in tables.items():
        print(f"\n{title}")
        print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
