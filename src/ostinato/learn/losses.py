"""Losses: stateless cells in the same language, so that their gradient comes from the same table of derivatives.

    value, dY = cross_entropy(Y, labels)
    gradients = pullback(dY)

A loss is a cell of two inputs, what the network gave and what it should have given, that returns one number for one instance
at one step. `Loss(my_cell)` makes a loss of your own. `LOSSES` has those that are here by the names that people give them.
"""

# ruff: noqa: N806 - X, Y are the symbols of the equations

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any

import numpy as np

from ..calls import answering
from ..errors import DataError, OptionError, known_names, lay_out
from ..ir.ops import abs_, equal, exp, log, max_, minimum, softplus, stop_gradient, sum_, where
from ..language.cell import Cell, cell
from ..language.declarations import Input
from ..language.functions import mean
from ..layers.layer import Layer
from ..runtime.arguments import as_array, numbers, whole_lengths

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


@cell
def mean_of_magnitudes(output=Input("n_outputs"), target=Input("n_outputs")):
    """The mean over the outputs of |output - target|; its derivative is 0 where they are equal."""
    return mean(abs_(output - target))


@cell
def binary_cross_entropy_of_logits(logits=Input("n_outputs"), target=Input("n_outputs")):
    """The mean over the outputs of -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), each output a question of its own.

    Neither term overflows, and neither is the small difference of two large ones.
    """
    return mean(target * softplus(-logits) + (1 - target) * softplus(logits))


@cell
def mean_of_huber(output=Input("n_outputs"), target=Input("n_outputs"), *, delta: float = 1.0):
    """The mean over the outputs of d² / 2 up to |d| = delta, and behind that delta (|d| - delta / 2) (Huber 1964).

    d = output - target; the derivative is d up to delta, and behind that delta sign(d). Nothing large is squared.
    """
    distance = abs_(output - target)
    near = minimum(distance, delta)
    return mean(near * (distance - 0.5 * near))


class Loss:
    """The average of a cell of two inputs over instances, or over their valid steps.

    Args:
        of_one: a cell without state, weights and contexts; two inputs of one same dimension; it returns one number.
        labels: whether the target may be given as whole numbers, each the place of the 1 in a one-hot target.
        shares: whether a target is refused that is not from 0 to 1.
        name: what messages call it; unless given, the name of the cell.
        options: of the cell: `Loss(huber.of_one, delta=0.1)`.

    Raises:
        OptionError: the cell is none of this kind, or has no such option.
    """

    @answering
    def __init__(
        self, of_one: Cell, *, labels: bool = False, shares: bool = False, name: str | None = None, **options: Any
    ) -> None:  # fmt: skip
        if not isinstance(of_one, Cell):
            headline = f"Loss: it is made of a cell, not of {type(of_one).__name__}"
            raise OptionError(lay_out(headline, hint="decorate a function of output and target with @cell"))
        inputs = of_one.with_role("input")
        dims = {of_one.declarations[declared].dims for declared in inputs}
        if len(of_one.declarations) != 2 or len(inputs) != 2 or len(dims) != 1 or len(of_one.dimensions) != 1:
            headline = f"Loss: {of_one.name} must declare two Inputs of one same dimension and nothing else"
            raise OptionError(lay_out(headline))
        self.of_one, self.labels, self.shares, self.options = of_one, labels, shares, options
        self.name = of_one.name if name is None else name
        of_one.settle({of_one.dimensions[0]: 1, **options})
        self._layers: dict[tuple[int, str], Layer] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"shares": False, "options": {}, **state})  # a loss of version 0.1 had neither

    def __repr__(self) -> str:
        return f"<loss {self.name}>"

    def layer(self, size: int, dtype: str) -> Layer:
        """The cell as a layer, for outputs of `size` numbers; made once."""
        if (size, dtype) not in self._layers:
            given: dict[str, Any] = {self.of_one.dimensions[0]: size, **self.options}
            layer = Layer(self.of_one, dtype=dtype, **given)
            if layer.output_sizes:
                raise OptionError(lay_out(f"Loss: {self.name} must return one number, and returns {layer.output_sizes}"))
            self._layers[size, dtype] = layer
        return self._layers[size, dtype]

    @answering
    def __call__(
        self, output: Any, target: Any, *, lengths: Any = None, mask: Any = None, weights: Any = None, batch_first: bool = False
    ) -> tuple[float, Array]:  # fmt: skip
        """The loss, and its gradient with respect to the output.

        Args:
            output: (n_instances, n_outputs), (n_steps, n_instances, n_outputs), or (n_outputs) of one instance.
            target: of the same shape, or without n_outputs where that is 1; for classes also whole numbers of the shape
                without n_outputs.
            lengths: (n_instances,) whole numbers, where the output has steps: what is behind an end does not count.
            mask: booleans of the shape without n_outputs: only where it is true does an output count.
            weights: (n_instances,) numbers from 0 up, or of the shape without n_outputs. A weight of k is k copies; what has
                the weight 0 does not count.
            batch_first: the output is (n_instances, n_steps, n_outputs).

        Returns:
            the average over all that counts, Σ weight loss / Σ weight (0 where nothing counts), and its gradient, of the shape
            of the output.

        Raises:
            DataError: shapes that do not fit, labels that are no classes, lengths that are no numbers of steps, weights below
                0 or not finite.
        """
        return self.average(output, target, lengths, mask, weights, batch_first=batch_first)

    def average(
        self, output: Any, target: Any, lengths: Any = None, mask: Any = None, weights: Any = None, *,
        batch_first: bool = False, divisor: float | None = None,
    ) -> tuple[float, Array]:  # fmt: skip
        """As a call; with a `divisor` Σ weight loss / divisor, which is how the parts of a batch add up to its loss."""
        Y = as_array("output", output, self.name)
        Y = numbers("output", Y, Y.dtype if Y.dtype in (np.float32, np.float64) else np.float64, self.name)
        if Y.ndim not in (1, 2, 3):
            raise DataError(lay_out(f"{self.name}: the output has shape {Y.shape}, and must have 1 to 3 dimensions"))
        counts = self._counts(Y, lengths, mask, batch_first=batch_first)
        W = None if weights is None else self._weights(weights, counts, batch_first=batch_first)
        if W is not None:
            counts &= W > 0
        T = self._target(target, Y, counts)
        d_output = np.zeros_like(Y)
        rows = int(counts.sum())
        if not rows:
            return 0.0, d_output
        values, pullback = self.layer(Y.shape[-1], Y.dtype.name).vjp(Y[counts], T)
        if W is None and divisor is None:
            value, shares = values.mean(dtype=np.float64), np.full(rows, 1 / rows)
        else:
            row_weights = np.ones(rows) if W is None else W[counts]
            shares = row_weights / (row_weights.sum() if divisor is None else divisor)
            value = (values * shares).sum()
        d_output[counts] = next(iter(pullback(shares).inputs.values()))
        return float(value), d_output

    def _counts(self, Y: Array, lengths: Any, mask: Any, *, batch_first: bool) -> Array:
        counts = np.ones(Y.shape[:-1], bool)
        if lengths is not None:
            axes = Y.shape[:2][:: -1 if batch_first else 1]
            if Y.ndim != 3:
                headline = f"{self.name}: `lengths` is given, and the output has shape {Y.shape}"
                raise DataError(lay_out(headline, hint="lengths belong to an output with steps, one for each instance"))
            valid = np.arange(axes[0])[:, None] < whole_lengths(lengths, axes[0], axes[1], self.name)
            counts &= valid.T if batch_first else valid
        if mask is not None:
            given = as_array("mask", mask, self.name)
            if given.shape != counts.shape or given.dtype != bool:
                headline = f"{self.name}: `mask` is {given.dtype}{given.shape}, and must be bool{counts.shape}"
                raise DataError(lay_out(headline))
            counts &= given
        return counts

    def _weights(self, weights: Any, counts: Array, *, batch_first: bool) -> Array:
        """One for each that may count, of the shape of `counts`."""
        W = numbers("weights", weights, np.float64, self.name)
        instances = counts.ndim - 1 if not batch_first else 0
        if W.shape not in ((counts.shape[instances : instances + 1],) if counts.ndim else ()) + (counts.shape,):
            n_instances = f"(n_instances={counts.shape[instances]},)" if counts.ndim else ""
            wanted = " or ".join(filter(None, [n_instances, str(counts.shape) if counts.ndim != 1 else ""]))
            headline = f"{self.name}: `weights` has shape {W.shape}, and must be {wanted}"
            raise DataError(lay_out(headline))
        check_weights(W, self.name)
        if W.ndim == 1 and counts.ndim == 2:
            W = W[:, None] if batch_first else W
        return np.broadcast_to(W, counts.shape)

    def _target(self, target: Any, Y: Array, counts: Array) -> Array:
        """(n_rows, n_outputs) where it counts; what does not count is never read."""
        T = self.fitting_target(as_array("target", target, self.name), Y.shape, "target", counts)
        if T.shape == Y.shape:
            return numbers("target", T, Y.dtype, self.name)[counts]
        one_hot: Array = np.eye(Y.shape[-1], dtype=Y.dtype)[T[counts]]
        return one_hot

    def fitting_target(self, T: Array, shape: tuple[int, ...], name: str, counts: Array | None = None) -> Array:
        """The target for outputs of a shape: numbers of that shape, or labels as whole numbers of the shape without n_outputs.

        Args:
            counts: where it is read, booleans of the shape without n_outputs; None for everywhere.

        Raises:
            DataError: another shape, no numbers, labels that are no classes, shares below 0 or above 1.
        """
        leading, n_outputs = shape[:-1], shape[-1]
        if T.dtype.kind not in "fiub":
            T = self._numbers_of(T, name)
        if T.shape == shape:
            return self._shares(T, name, counts) if self.shares else T
        if self.labels and T.shape in (leading, (*leading, 1)):
            return self._labels(T.reshape(leading), n_outputs, name, counts)
        if not self.labels and n_outputs == 1 and T.shape == leading:
            return self.fitting_target(T[..., None], shape, name, counts)
        also = f", or whole numbers of shape {leading}" if self.labels else f", or {leading}" if n_outputs == 1 else ""
        headline = f"{self.name}: the {name} has shape {T.shape}, and the output {shape}; they must be the same{also}"
        whole = T.dtype.kind in "iu" and T.shape == leading and not self.labels
        raise DataError(lay_out(headline, hint="cross_entropy takes the labels of classes" if whole else ""))

    def _numbers_of(self, T: Array, name: str) -> Array:
        """An array of objects that are all numbers, as numbers; whatever else is refused."""
        first = next((value for value in T.flat if not isinstance(value, Real | np.bool_)), None)
        if T.dtype == object and first is None:
            return numbers(name, T, np.float64, self.name)
        first = first.item() if isinstance(first, np.generic) else first
        hint = ""
        if self.labels and isinstance(first, str | bytes):
            hint = "classes, labels = numpy.unique(names, return_inverse=True)"
        raise DataError(lay_out(f"{self.name}: the {name} holds {first!r:.60}, and must hold numbers", hint=hint))

    def _labels(self, T: Array, n_classes: int, name: str, counts: Array | None) -> Array:
        """Whole numbers from 0 to n_classes - 1 where it counts; truth values are 0 and 1, and 2.0 is 2."""
        read = T if counts is None else T[counts]
        if T.dtype.kind == "f":
            broken = read[~(read == np.floor(read))]
            if broken.size:
                headline = f"{self.name}: the {name} has {broken[0]:g}, and a label is a whole number"
                raise DataError(lay_out(headline, hint="mean_squared_error is for numbers" if np.isfinite(broken[0]) else ""))
        wrong = read[(read < 0) | (read >= n_classes)]
        if wrong.size:
            raise DataError(lay_out(f"{self.name}: the label {wrong[0]:g} is no class; there are {n_classes}, from 0"))
        if T.dtype.kind in "iu":
            return T
        return T.astype(np.intp) if counts is None else np.where(counts, T, 0).astype(np.intp)

    def _shares(self, T: Array, name: str, counts: Array | None) -> Array:
        read = T if counts is None else T[counts]
        wrong = read[(read < 0) | (read > 1)]
        if wrong.size:
            raise DataError(lay_out(f"{self.name}: the {name} has {wrong[0]:g}, and must be from 0 to 1"))
        return T


def check_weights(weights: Array, owner: str) -> None:
    """Refuse weights that are below 0, or not finite.

    Raises:
        DataError: the first of them.
    """
    wrong = ~((weights >= 0) & (weights < np.inf))
    if wrong.any():
        place = ", ".join(map(str, np.argwhere(wrong)[0]))
        headline = f"{owner}: weights[{place}] is {weights[wrong].flat[0]:g}, and a weight is a finite number from 0 up"
        raise DataError(lay_out(headline))


cross_entropy = Loss(cross_entropy_of_logits, labels=True, name="cross_entropy")
mean_squared_error = Loss(mean_of_squares, name="mean_squared_error")
mean_absolute_error = Loss(mean_of_magnitudes, name="mean_absolute_error")
binary_cross_entropy = Loss(binary_cross_entropy_of_logits, shares=True, name="binary_cross_entropy")
huber = Loss(mean_of_huber, name="huber")

# the first name of each is its own; the others are what it is called elsewhere
_NAMES = {
    cross_entropy: ("cross_entropy", "crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy", "log_loss"),
    mean_squared_error: ("mean_squared_error", "mse", "mse_loss", "squared_error"),
    mean_absolute_error: ("mean_absolute_error", "mae", "l1", "l1_loss", "absolute_error"),
    binary_cross_entropy: ("binary_cross_entropy", "bce", "binary_crossentropy", "bce_with_logits"),
    huber: ("huber", "huber_loss", "smooth_l1"),
}
LOSSES: Mapping[str, Loss] = MappingProxyType({name: loss for loss, names in _NAMES.items() for name in names})


def as_loss(loss: Any, owner: str) -> Loss:
    """A loss that was given as itself, by one of its names, or as a cell of two inputs.

    Raises:
        OptionError: there is no loss of that name, or it is none of these.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, Cell):
        return Loss(loss)
    if isinstance(loss, str):
        found = LOSSES.get(loss.strip().lower().replace("-", "_").replace(" ", "_"))
        if found is None:
            known = known_names(loss, [names[0] for names in _NAMES.values()], "losses")
            raise OptionError(lay_out(f"{owner}: there is no loss `{loss}`; {known}"))
        return found
    headline = f"{owner}: `loss` is a loss, its name or a cell of two inputs, not {type(loss).__name__}"
    raise OptionError(lay_out(headline, hint='loss="mse", or loss=Loss(my_cell)'))
