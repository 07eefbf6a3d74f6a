"""What belongs together: a network, the examples that it is to learn, and a loss; found out before the first step."""

# ruff: noqa: N806 - X and Y are the symbols of the equations

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import DataError, OptionError, lay_out
from ..layers.composite import Composite, check_layer, input_port, output_dims
from ..layers.layer import Layer
from .examples import Examples
from .losses import Loss

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK = 1 << 20  # numbers that are looked at together, so that looking takes no memory


def belonging(network: Layer | Composite, examples: Examples, loss: Loss, owner: str) -> Examples:
    """The examples as this network and this loss read them: whether there are steps, labels as whole numbers, targets as rows.

    Raises:
        OptionError: a layer that needs or gives more than one value, or outputs that no loss takes.
        DataError: X, the target or the weights do not fit; the message says where.
    """
    out = _output_size(network, owner)
    examples = _in_order(_features(examples, network, owner), network, owner)
    examples = _with_steps(examples, network, owner)
    if not len(examples):
        return examples
    if not examples.steps.any():
        raise DataError(lay_out(f"{owner}: no sequence has a step"))
    if examples.weights is not None and not examples.weights.any():
        raise DataError(lay_out(f"{owner}: all weights are 0, and there is nothing to learn"))
    if loss.labels and out == 1:
        headline = f"{owner}: {loss.name} of one output is always 0, and {_named(network)} has one"
        raise OptionError(
            lay_out(headline, hint="binary_cross_entropy is for one output; cross_entropy has one for each class")
        )
    examples = _with_target(examples, loss, out)
    limit = np.float64(np.finfo(network.dtype).max)  # not one of Python's, which a shorter dtype of the data could not hold
    _finite("X", examples.X, examples, limit, owner, network.dtype, has_steps=True)
    _finite("target", examples.target, examples, limit, owner, network.dtype, has_steps=bool(examples.per_step))
    return examples


def _output_size(network: Layer | Composite, owner: str) -> int:
    """How many numbers it gives for one instance."""
    if isinstance(network, Layer):
        check_layer(network, owner)
        results = [result.name for result in network.graph.results_with("output")]
        if len(results) > 1:
            listing = ", ".join(f"`{name}`" for name in results)
            headline = f"{owner}: {network.name} has the outputs {listing}, and a loss takes one"
            raise OptionError(lay_out(headline, hint="in a Network the first one goes on"))
    dims = output_dims(network)
    if len(dims) != 1:
        headline = f"{owner}: {_named(network)} gives ({', '.join(map(str, dims))}), and a loss takes one dimension"
        raise OptionError(lay_out(headline))
    return int(dims[0].size)


def _named(network: Layer | Composite) -> str:
    return "the network" if network.name == "network" else network.name


def _features(examples: Examples, network: Layer | Composite, owner: str) -> Examples:
    """With the dimensions that the network takes at one step; one number is taken for a row of one."""
    port = input_port(network)
    wanted, X = port.value.type.sizes, examples.X
    if examples.ragged and not X:
        return examples
    found = X[0].shape[1:] if examples.ragged else X.shape[2:]
    if found == wanted:
        return examples
    if {found, wanted} == {(), (1,)}:
        place = (..., None) if wanted else (..., 0)
        return examples._with(X=[x[place] for x in X] if examples.ragged else X[place])  # noqa: SLF001 - one of us
    order = [] if examples.ragged else ["n_samples"]
    dims = ", ".join(
        [*(["n_steps", *order] if not examples.batch_first else [*order, "n_steps"]), *map(str, port.value.type.dims)]
    )
    shape = f"X[0] has shape {X[0].shape}" if examples.ragged else f"X has shape {X.shape}"
    hint = ""
    if not examples.ragged and X.shape[1:] == wanted:
        hint = "one sequence is a list of one: [X]"
    raise DataError(lay_out(f"{owner}: {shape}, and {_named(network)} takes ({dims})", hint=hint))


def _in_order(examples: Examples, network: Layer | Composite, owner: str) -> Examples:
    """Refuse examples whose leading axes may be the other way round."""
    if examples.ragged or examples.batch_first or not network.batch_first:
        return examples  # a batch is turned, where it has to be
    n_steps, n_samples = examples.X.shape[:2]
    if examples.is_told and not examples.per_step and n_steps != n_samples:
        return examples  # the target has as many entries as there are samples
    headline = f"{owner}: the layers are batch_first, and X of the examples is said to be (n_steps, n_samples, ...)"
    raise DataError(lay_out(f"{headline} = {examples.X.shape[:2]}", hint="Examples(..., batch_first=True)"))


def _with_steps(examples: Examples, network: Layer | Composite, owner: str) -> Examples:
    """With a target for every step if the network answers at every step, and only then."""
    gives_steps = isinstance(network, Layer) or network.gives_steps
    target = examples.target
    if gives_steps and not examples.per_step:
        if not examples.is_told:
            return examples._with(per_step=True, target=[*target] if examples.ragged else target)  # noqa: SLF001
        headline = f"{owner}: {_named(network)} answers at every step, and the target has one entry for each sequence"
        around = "the layer" if isinstance(network, Layer) else "the last part that has a state"
        raise DataError(lay_out(headline, hint=f"LastStep(...) around {around} leaves the last step"))
    with_both_axes = not examples.ragged and target.ndim > 2 and target.shape[:2] == examples.X.shape[:2]
    if not gives_steps and (examples.per_step or with_both_axes):
        headline = f"{owner}: {_named(network)} answers once for each sequence, at its last step, and the target has steps"
        raise DataError(lay_out(headline, hint="without LastStep it answers at every step"))
    return examples


def _with_target(examples: Examples, loss: Loss, out: int) -> Examples:
    """With targets as the loss takes them."""
    target: Any = examples.target
    if examples.ragged and examples.per_step:
        target = [loss.fitting_target(t, (len(t), out), f"target[{i}]") for i, t in enumerate(target)]
    else:
        valid = None
        if examples.per_step and examples.lengths is not None:
            steps = np.arange(target.shape[1 if examples.batch_first else 0])
            valid = steps < examples.lengths[:, None] if examples.batch_first else steps[:, None] < examples.lengths
        leading = examples.X.shape[:2] if examples.per_step else (len(examples),)
        target = loss.fitting_target(target, (*leading, out), "target", valid)
    return examples._with(target=target)  # noqa: SLF001


def _finite(name: str, values: Any, examples: Examples, limit: np.float64, owner: str, dtype: str, *, has_steps: bool) -> None:
    """Refuse what is no finite number of the dtype where it is read; behind the end of a sequence nothing is."""
    blocks: Iterable[tuple[int, Array]]
    if isinstance(values, list):
        blocks = enumerate(values)
    elif not has_steps:
        blocks = ((start, values[start : start + CHUNK]) for start in range(0, len(values), CHUNK))
    elif _all_finite(values, limit):
        return
    else:
        by_sample = values if examples.batch_first else values.swapaxes(0, 1)
        blocks = ((i, by_sample[i][:n]) for i, n in enumerate(examples.steps.tolist()))
    for first, block in blocks:
        if _all_finite(block, limit):
            continue
        with np.errstate(invalid="ignore"):
            at = tuple(int(i) for i in np.argwhere(~(np.abs(block) <= limit))[0])
        value = block[at]
        place = (first, *at) if has_steps else (first + at[0], *at[1:])
        words = ["sample", *(["step"] if has_steps else []), "feature" if name == "X" else "output", "", "", ""]
        where = ", ".join(f"{word} {i}".strip() for word, i in zip(words, place, strict=False))
        reason = f"too large for {dtype}" if np.isfinite(value) else "no finite number"
        raise DataError(lay_out(f"{owner}: {name} is {value:g} at {where}: {reason}"))


def _all_finite(values: Array, limit: np.float64) -> bool:
    """Whether all are numbers up to the limit; NaN is the least and the greatest wherever there is one. Copies nothing."""
    if not values.size or values.dtype.kind in "iub":
        return True
    return bool(values.min() >= -limit and values.max() <= limit)
