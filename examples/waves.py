"""Sequences to try the command line with: waves.csv to learn from, more_waves.csv to test on, new_waves.csv to name.

Every sequence is one wave with noise on it, a sine, a square or a sawtooth, of its own length, speed and phase.

    python examples/waves.py                          writes the three files here, or into --directory
    ostinato train waves.csv --test more_waves.csv --model waves.safetensors --cell gru --neurons 32
    ostinato predict waves.safetensors new_waves.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

KINDS = ("sine", "square", "sawtooth")


def wave(kind, turns):
    """The height at each place of the period, between -1 and 1; `turns` (n_steps,) counts periods."""
    place = turns % 1.0
    return {"sine": np.sin(2 * np.pi * place), "square": np.where(place < 0.5, 1.0, -1.0), "sawtooth": 2 * place - 1}[kind]


def rows(n_sequences, generator, *, labels):
    """Lines of the file: one for each step of each sequence."""
    yield ["sequence", "step", "height", *(["label"] if labels else [])]
    for number in range(n_sequences):
        kind = KINDS[number % len(KINDS)]
        n_steps = int(generator.integers(25, 40))
        turns = generator.uniform(0, 1) + np.arange(n_steps) * generator.uniform(0.05, 0.12)
        heights = wave(kind, turns) + 0.1 * generator.standard_normal(n_steps)
        for step, height in enumerate(heights, start=1):
            yield [f"wave {number + 1}", step, f"{height:.3f}", *([kind] if labels else [])]


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Write sequences for `ostinato train` and `ostinato predict`.")
    parser.add_argument("--directory", type=Path, default=Path(), help="where to write (here)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    generator = np.random.default_rng(chosen.seed)
    for name, n_sequences, labels in (("waves.csv", 180, True), ("more_waves.csv", 60, True), ("new_waves.csv", 6, False)):
        with (chosen.directory / name).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows(n_sequences, generator, labels=labels))
        print(f"{chosen.directory / name}: {n_sequences} sequences{'' if labels else ', without labels'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
