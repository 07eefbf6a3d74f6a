"""One piece of work for all contenders: a cell, its sizes, weights, inputs and adjoints; and whether a result is right."""
# ruff: noqa: N802, N803 - X and Y are the symbols of the equations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ostinato import Layer

from .models import Model, run_in_numpy

TOLERANCE = 2e-4  # of an output, absolute (they are about 1); of a gradient, relative to its largest element
N_CHECKED = 4  # instances that are computed in float64


class Unsupported(Exception):
    """A peer has no such thing; the text says what."""


@dataclass(frozen=True)
class Contender:
    """What is timed: `run` does the work; `read` turns what it gave into name -> NumPy array."""

    run: Callable[[], Any]
    read: Callable[[Any], dict]

    def results(self):
        return self.read(self.run())


@dataclass(frozen=True)
class Problem:
    """`n_steps` steps of `n_instances` sequences through `size` neurons, as many inputs. Everything follows from the seed."""

    model: Model
    size: int
    n_instances: int
    n_steps: int = 100
    seed: int = 0

    @cached_property
    def sizes(self):
        return self.model.sizes(self.size)

    @property
    def n_outputs(self):
        return self.sizes[self.model.states[0]]

    def layer(self, **options):
        """Ostinato's, with the weights of the problem."""
        layer = Layer(self.model.cell, **self.sizes, **options)
        layer.weights.update(self.weights)
        return layer

    @cached_property
    def weights(self):
        """By the cell's names; uniform in +-1/sqrt(n), as PyTorch begins."""
        shapes = Layer(self.model.cell, **self.sizes).weights.shapes
        rng = np.random.default_rng([self.seed, 1])
        bound = self.size**-0.5
        return {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}

    @cached_property
    def merged(self):
        return {name: np.ascontiguousarray(array) for name, array in self.model.merge(self.weights).items()}

    @cached_property
    def X(self):
        rng = np.random.default_rng([self.seed, 2])
        return rng.standard_normal((self.n_steps, self.n_instances, self.sizes["n_inputs"]), np.float32)

    @cached_property
    def dY(self):
        rng = np.random.default_rng([self.seed, 3])
        return rng.standard_normal((self.n_steps, self.n_instances, self.n_outputs), np.float32)

    @cached_property
    def checked(self):
        """The instances that are checked: first, last and some between."""
        return np.unique(np.linspace(0, self.n_instances - 1, N_CHECKED).astype(int))

    def in_float64(self, X, merged):
        return run_in_numpy(self.model, X, merged, self.sizes)

    @cached_property
    def expected(self):
        """The outputs of the checked instances in float64, by the plain loop of benchmarks/models.py."""
        merged = {name: array.astype(np.float64) for name, array in self.merged.items()}
        return self.in_float64(self.X[:, self.checked].astype(np.float64), merged)

    @property
    def product_operations(self):
        """Floating-point operations of all products, forward: (of the inputs, of the states); 2 for each multiply-add."""
        return tuple(2 * n * self.n_steps * self.n_instances for n in self.model.multiply_adds(self.merged))

    @property
    def recurrent_bytes(self):
        """Bytes of weights that every step reads."""
        return 4 * self.model.multiply_adds(self.merged)[1]

    # --- checking

    def output_difference(self, results):
        """The largest difference from what is expected."""
        Y = results["Y"]
        if Y.shape != self.dY.shape:
            return float("inf")
        return _largest(Y[:, self.checked] - self.expected)

    def masked_adjoints(self):
        """dY, zero but for the checked instances: the gradient is then theirs alone, and quickly checked."""
        mask = np.zeros((1, self.n_instances, 1), np.float32)
        mask[:, self.checked] = 1
        return self.dY * mask

    def gradient_difference(self, gradients):
        """How far gradients for `masked_adjoints` are from the derivative along a random direction, in float64, relative.

        The direction d has independent normal elements, each array's scaled by its gradient's norm. <g, d> then is about as
        large as the square root of the number of arrays, and an error of g by a part e of its norm shows as about e.
        """
        rng = np.random.default_rng([self.seed, 4])
        point = {name: array.astype(np.float64) for name, array in self.merged.items()}
        point["X"] = self.X[:, self.checked].astype(np.float64)
        gradients = {**gradients, "X": gradients["X"][:, self.checked]}
        norms = {name: float(np.linalg.norm(gradients[name])) for name in point}
        if not all(norm > 0 for norm in norms.values()):
            return float("inf")
        direction = {name: rng.standard_normal(a.shape) / norms[name] for name, a in point.items()}
        claimed = sum(float(np.vdot(gradients[name].astype(np.float64), d)) for name, d in direction.items())
        step = 1e-5 * min(norms.values())  # no element of the point moves by more than a few 1e-5
        return abs(claimed - self._slope(point, direction, step)) / len(point) ** 0.5

    def _slope(self, point, direction, step):
        """The central difference of <dY, Y> along a direction."""
        dY, values = self.dY[:, self.checked], []
        for sign in (1, -1):
            moved = {name: array + sign * step * direction[name] for name, array in point.items()}
            values.append(float(np.vdot(dY, self.in_float64(moved.pop("X"), moved))))
        return (values[0] - values[1]) / (2 * step)


def relative_difference(found, expected):
    """The largest difference of any array, relative to the largest element of that array; infinite if one is missing."""
    if set(found) != set(expected) or any(found[k].shape != expected[k].shape for k in expected):
        return float("inf")
    return max(_largest(found[k] - expected[k]) / (_largest(expected[k]) or 1) for k in expected)


def _largest(array):
    largest = float(np.abs(array).max(initial=0))
    return largest if np.isfinite(largest) else float("inf")
