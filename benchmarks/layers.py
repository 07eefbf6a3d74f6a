"""Ostinato against PyTorch on the same work, one thread, in one run: `taskset -c 0 python benchmarks/layers.py`.

For every case the two are checked to give the same numbers, then timed in turn, and the medians are compared. Only the ratios
of one run mean anything: machines differ, and so do their neighbours.
"""

import argparse
import os
import platform
import statistics
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

import ostinato
from ostinato import Layer, cells

N_STEPS = 100
SIZES = [(16, 1), (16, 32), (64, 1), (64, 32), (256, 1), (256, 32)]


def lstm(n):
    theirs = nn.LSTM(n, n)
    ours = Layer(cells.lstm, n_inputs=n, n_neurons=n)
    W = [p.detach().numpy() for p in (theirs.weight_ih_l0, theirs.weight_hh_l0)]
    b = (theirs.bias_ih_l0 + theirs.bias_hh_l0).detach().numpy()
    for k, gate in enumerate("ifgo"):
        rows = slice(k * n, (k + 1) * n)
        ours.weights[f"W_{gate}"] = np.concatenate([W[0][rows].T, W[1][rows].T])
        ours.weights[f"b_{gate}"] = b[rows]
    return ours, theirs


def gru(n):
    theirs = nn.GRU(n, n)
    ours = Layer(cells.gru, n_inputs=n, n_neurons=n)
    W, U, b, c = (p.detach().numpy() for p in theirs.parameters())
    for k, gate in enumerate("rzn"):
        rows = slice(k * n, (k + 1) * n)
        ours.weights[f"W_{gate}"], ours.weights[f"U_{gate}"] = W[rows].T, U[rows].T
        ours.weights[f"b_{gate}"] = b[rows] if gate == "n" else b[rows] + c[rows]
    ours.weights["b_hn"] = c[2 * n :]
    return ours, theirs


def recurrent(n):
    theirs = nn.RNN(n, n)
    ours = Layer(cells.recurrent, n_inputs=n, n_neurons=n)
    W, U, b, c = (p.detach().numpy() for p in theirs.parameters())
    ours.weights.update({"W_x": W.T, "W_y": U.T, "b": b + c})
    return ours, theirs


def alternating(first, second, seconds):
    """Medians of both in seconds, called in turn."""
    times = ([], [])
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times[0]) < 5:
        for function, found in zip((first, second), times, strict=True):
            start = time.perf_counter()
            function()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def measure(make, n, batch, seconds):
    ours, theirs = make(n)
    X = np.random.default_rng(0).standard_normal((N_STEPS, batch, n)).astype(np.float32)
    X_torch = torch.tensor(X, requires_grad=True)

    def forward_theirs():
        with torch.inference_mode():
            return theirs(torch.from_numpy(X))[0]

    def both_theirs():
        theirs.zero_grad()
        theirs(X_torch)[0].sum().backward()

    def both_ours():
        Y, pullback = ours.vjp(X)
        pullback(np.ones_like(Y))

    difference = np.abs(ours(X) - forward_theirs().numpy()).max()
    if difference > 1e-4:
        sys.exit(f"{make.__name__} n={n} batch={batch}: the outputs differ by {difference}")
    forward = alternating(lambda: ours(X), forward_theirs, seconds)
    return forward, alternating(both_ours, both_theirs, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case and direction (1)")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    print(f"ostinato {ostinato.__version__} (NumPy {np.__version__}), torch {torch.__version__}, one thread")
    print(f"{platform.machine()}, Python {platform.python_version()}, T = {N_STEPS}, float32, median milliseconds\n")
    print(f"{'':24}{'forward':^32}{'forward + backward':^32}")
    columns = f"{'ostinato':>10}{'torch':>10}{'ratio':>10}"
    print(f"{'cell':<12}{'H':>5}{'B':>5}  {columns}  {columns}")
    for make in (recurrent, gru, lstm):
        for n, batch in SIZES:
            forward, both = measure(make, n, batch, seconds)
            columns = [f"{a * 1e3:>10.2f}{b * 1e3:>10.2f}{b / a:>9.2f}x" for a, b in (forward, both)]
            print(f"{make.__name__:<12}{n:>5}{batch:>5}  {'  '.join(columns)}", flush=True)
    print("\nratio: how many times faster than torch; below 1, slower")


if __name__ == "__main__":
    main()
