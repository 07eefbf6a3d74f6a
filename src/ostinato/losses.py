"""Losses: stateless cells in the same language, so that their gradient comes from the same table of derivatives.

    value, dY = cross_entropy(Y, labels)
    gradients = pullback(dY)

A loss is a cell of two inputs, what the network gave and what it should have given, that returns one number for one instance
at one step. `Loss(my_cell)` makes a loss of your own.
"""

# ruff: noqa: N806 - X, Y are the symbols of the equations

from __future__ import annotations

from typing import Any

import numpy as np

from .cell import Cell, cell
from .declarations import Input
from .errors import DataError, OptionError, lay_out
from .functions import mean
from .layer import Layer
from .ops import equal, exp, log, max_, stop_gradient, sum_, where
from .sequences import as_array, numbers

Array = np.ndarray[Any, np.dtype[Any]]


@cell
def cross_entropy_of_logits(logits=Input("n_classes"), target=Input("n_classes")):
    """-Σ target log softmax(logits). The largest logit is subtracted first, so that nothing overflows.

    Where the target is 0 a logit may be -inf: 0 log 0 is 0, as for an entropy.
    """
    shifted = logits - stop_gradient(max_(logits, keepdims=True))
    return log(sum_(exp(shifted))) * sum_(target) - sum_(where(equal(target, 0.0), 0.0, target * shifted))


@cell
def mean_of_squares(output=Input("n_outputs"), target=Input("n_outputs")):
    """The mean over the outputs of (output - target)²."""
    difference = output - target
    return mean(difference * difference)


class Loss:
    """The average of a cell of two inputs over instances, or over their valid steps.

    Args:
        of_one: a cell without state, weights and contexts; two inputs of one same dimension; it returns one number.
        labels: whether the target may be given as whole numbers, each the place of the 1 in a one-hot target.

    Raises:
        OptionError: the cell is none of this kind.
    """

    def __init__(self, of_one: Cell, *, labels: bool = False) -> None:
        inputs = of_one.with_role("input")
        dims = {of_one.declarations[name].dims for name in inputs}
        if len(of_one.declarations) != 2 or len(inputs) != 2 or len(dims) != 1 or len(of_one.dimensions) != 1:
            headline = f"Loss: {of_one.name} must declare two Inputs of one same dimension and nothing else"
            raise OptionError(lay_out(headline))
        self.of_one, self.labels, self.name = of_one, labels, of_one.name
        self._layers: dict[tuple[int, str], Layer] = {}

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def layer(self, size: int, dtype: str) -> Layer:
        """The cell as a layer, for outputs of `size` numbers; made once."""
        if (size, dtype) not in self._layers:
            layer = Layer(self.of_one, dtype=dtype, **{self.of_one.dimensions[0]: size})  # type: ignore[arg-type]
            if layer.output_sizes:
                raise OptionError(lay_out(f"Loss: {self.name} must return one number, and returns {layer.output_sizes}"))
            self._layers[size, dtype] = layer
        return self._layers[size, dtype]

    def __call__(
        self, output: Any, target: Any, *, lengths: Any = None, mask: Any = None, batch_first: bool = False
    ) -> tuple[float, Array]:
        """The loss, and its gradient with respect to the output.

        Args:
            output: (n_instances, n_outputs), (n_steps, n_instances, n_outputs), or (n_outputs) of one instance.
            target: of the same shape; for classes also whole numbers of the shape without n_outputs.
            lengths: (n_instances,) whole numbers, where the output has steps: what is behind an end does not count.
            mask: booleans of the shape without n_outputs: only where it is true does an output count.
            batch_first: the output is (n_instances, n_steps, n_outputs).

        Returns:
            the average over all that counts (0 where nothing does), and its gradient, of the shape of the output.

        Raises:
            DataError: shapes that do not fit, labels that are no classes, lengths that are no numbers of steps.
        """
        Y = as_array("output", output, self.name)
        Y = numbers("output", Y, Y.dtype if Y.dtype in (np.float32, np.float64) else np.float64, self.name)
        if Y.ndim not in (1, 2, 3):
            raise DataError(lay_out(f"{self.name}: the output has shape {Y.shape}, and must have 1 to 3 dimensions"))
        counts = self._counts(Y, lengths, mask, batch_first=batch_first)
        T = self._target(target, Y, counts)
        d_output = np.zeros_like(Y)
        rows = int(counts.sum())
        if not rows:
            return 0.0, d_output
        values, pullback = self.layer(Y.shape[-1], Y.dtype.name).vjp(Y[counts], T)
        first = next(iter(pullback(np.full(rows, 1 / rows)).inputs.values()))
        d_output[counts] = first
        return float(values.mean(dtype=np.float64)), d_output

    def _counts(self, Y: Array, lengths: Any, mask: Any, *, batch_first: bool) -> Array:
        counts = np.ones(Y.shape[:-1], bool)
        if lengths is not None:
            axes = Y.shape[:2][:: -1 if batch_first else 1]
            given = as_array("lengths", lengths, self.name)
            if Y.ndim != 3:
                headline = f"{self.name}: `lengths` has shape {given.shape}, and the output {Y.shape}"
                raise DataError(lay_out(headline, hint="lengths belong to an output with steps, one for each instance"))
            # what lengths are is said once, for layers and for losses
            checked = self.layer(Y.shape[-1], Y.dtype.name)._sequences._lengths(given, *axes)  # noqa: SLF001
            valid = np.arange(axes[0])[:, None] < checked
            counts &= valid.T if batch_first else valid
        if mask is not None:
            given = as_array("mask", mask, self.name)
            if given.shape != counts.shape or given.dtype != bool:
                headline = f"{self.name}: `mask` is {given.dtype}{given.shape}, and must be bool{counts.shape}"
                raise DataError(lay_out(headline))
            counts &= given
        return counts

    def _target(self, target: Any, Y: Array, counts: Array) -> Array:
        """(n_rows, n_outputs) where it counts; what does not count is never read."""
        T = as_array("target", target, self.name)
        if self.labels and T.dtype.kind in "iu" and T.shape == Y.shape[:-1]:
            places = T[counts]
            n_classes = Y.shape[-1]
            wrong = places[(places < 0) | (places >= n_classes)]
            if wrong.size:
                headline = f"{self.name}: the label {wrong[0]} is no class; there are {n_classes}, from 0"
                raise DataError(lay_out(headline))
            one_hot: Array = np.eye(n_classes, dtype=Y.dtype)[places]
            return one_hot
        if T.shape != Y.shape:
            also = f", or whole numbers of shape {Y.shape[:-1]}" if self.labels else ""
            headline = f"{self.name}: the target has shape {T.shape}, and the output {Y.shape}; they must be the same{also}"
            raise DataError(lay_out(headline))
        return numbers("target", T, Y.dtype, self.name)[counts]


cross_entropy = Loss(cross_entropy_of_logits, labels=True)
mean_squared_error = Loss(mean_of_squares)
