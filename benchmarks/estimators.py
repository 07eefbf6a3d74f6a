"""What `predict` of an estimator costs beside its network, called in batches of 256: the ratio of alternating medians.

python benchmarks/estimators.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import ostinato
from ostinato import RecurrentClassifier

# samples, steps, features, neurons, given as a list, dtype of the samples
CASES = [
    (10_000, 100, 16, 8, False, "float32"),
    (10_000, 100, 16, 8, True, "float32"),
    (10_000, 100, 16, 8, False, "float64"),
    (4_000, 100, 16, 64, False, "float32"),
    (2_000, 50, 64, 32, False, "float32"),
    (10_000, 10, 2, 8, True, "float32"),
]


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    ostinato.set_threads(1)
    rng = np.random.default_rng(0)
    for n_samples, n_steps, n_features, n_neurons, listed, dtype in CASES:
        X = rng.standard_normal((n_samples, n_steps, n_features)).astype(dtype)
        model = RecurrentClassifier(n_neurons=n_neurons, max_epochs=1, random_state=0).fit(X[:64], np.arange(64) % 2)
        given = list(X) if listed else X
        calls = (
            lambda X=X, model=model: [model.network_(X[i : i + 256].swapaxes(0, 1)) for i in range(0, len(X), 256)],  # noqa: N803 - as scikit-learn has it
            lambda given=given, model=model: model.predict(given),
        )
        times = [[seconds(call) for call in calls] for _ in range(10)][1:]
        network, predict = (statistics.median(column) for column in zip(*times, strict=True))
        kind = f"{'list' if listed else 'array'} of {dtype}"
        print(f"{n_samples:6,} x {n_steps:3} x {n_features:2}, {n_neurons:2} neurons, {kind:16}: network {network:.3f} s, "
              f"predict {predict:.3f} s, ratio {predict / network:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
