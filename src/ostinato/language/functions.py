"""Functions that are written with the ops: activations, softmax, layer normalisation, split.

They work on symbols and on arrays alike, since the ops do. A function marked `@composed` is shown under its own name in
equations, and as its parts in the program.

The activations of the ONNX recurrent operators carry ONNX's names and defaults (ONNX operator RNN, attribute `activations`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import reduce, wraps
from math import prod
from typing import Any, TypeVar

import numpy as np

from ..checks import is_whole
from ..errors import CellError, counted, lay_out, user_source
from ..ir.op import Symbolic, bind_function, dims_named, dims_of, rank_of, refuse
from ..ir.ops import (
    abs_,
    axes_of,
    equal,
    exp,
    max_,
    maximum,
    minimum,
    relu,
    sigmoid,
    slice_,
    softplus,
    sqrt,
    stop_gradient,
    sum_,
    tanh,
    where,
)
from ..ir.shapes import Dim, Reason

Function = TypeVar("Function", bound=Callable[..., Any])


def checked(function: Function) -> Function:
    """Let a function refuse arguments that it does not take in our own words, with the author's line."""
    signature = inspect.signature(function)

    @wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        bind_function(function.__name__, signature, args, options)
        return function(*args, **options)

    return wrapped  # type: ignore[return-value]


def composed(function: Function) -> Function:
    """Mark a function so that equations show its name instead of its parts; as `checked`, too."""
    signature = inspect.signature(function)

    @wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        given = bind_function(function.__name__, signature, args, options)
        result = function(*args, **options)
        if isinstance(result, Symbolic):
            operands = [a for a in (*args, *options.values()) if isinstance(a, Symbolic)]
            numbers = {k: v for k, v in given.arguments.items() if isinstance(v, int | float) and not isinstance(v, bool)}
            told = ", ".join(f"{name}={number:g}" for name, number in numbers.items())
            result._reads_as(function.__name__ + (f"; {told}" if told else ""), operands)  # type: ignore[attr-defined]  # noqa: SLF001
        return result

    return wrapped  # type: ignore[return-value]


def _axes(name: str, x: Any, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes that are meant; whether the value has them, the ops say."""
    try:
        return axes_of(axis, rank_of(x))
    except TypeError:
        refuse(name, Reason(f"the axis is a whole number, several of them or None, and is {axis!r}"))


@composed
def mean(x: Any, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> Any:
    """The mean over the last dimension (or `axis`; None for all)."""
    axes = _axes("mean", x, axis)
    total = sum_(x, axis=axes, keepdims=keepdims)
    dims = dims_of(x)
    return total / float(prod(dims[a].size for a in axes))


@composed
def softmax(x: Any, axis: int | tuple[int, ...] | None = -1) -> Any:
    """exp(x) over its sum along the last dimension (or `axis`); the largest is subtracted first, so that nothing overflows."""
    axes = _axes("softmax", x, axis)
    e = exp(x - stop_gradient(max_(x, axis=axes, keepdims=True)))
    return e / sum_(e, axis=axes, keepdims=True)


@composed
def layer_norm(x: Any, scale: Any = None, shift: Any = None, epsilon: float = 1e-5) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last dimension (Ba, Kiros, Hinton 2016, eq. 3 and 4).

    The variance is the biased one (divided by n), as in the paper.
    """
    x = x if isinstance(x, Symbolic) else np.asarray(x)
    # the mean of equal numbers is rounded, and what is left of it divided by sqrt(epsilon): the distance to the first is exact
    distance = x - stop_gradient(x[..., :1])
    centred = distance - mean(distance, keepdims=True)
    # one division for a line, not one for each of its elements: here and in the derivative
    normal = centred * (1.0 / sqrt(mean(centred * centred, keepdims=True) + epsilon))
    if scale is not None:
        normal = normal * scale
    return normal if shift is None else normal + shift


@composed
def norm(x: Any, axis: int | tuple[int, ...] = -1, keepdims: bool = False) -> Any:
    """The Euclidean length sqrt(Σ x²) over the last dimension (or `axis`); the derivative of a vector of zeros is 0.

    The largest element is divided out first, so that no square overflows or vanishes: lengths from the smallest number to the
    largest are right to rounding.
    """
    largest = stop_gradient(max_(abs_(x), axis=axis, keepdims=True))
    # the length does not depend on what is divided out: nothing flows back through it
    unit = where((largest > 0.0) & (largest < float("inf")), largest, 1.0)
    parts = x / unit
    squares = sum_(parts * parts, axis=axis, keepdims=True)
    nothing = equal(squares, 0.0)
    length = unit * where(nothing, 0.0, sqrt(where(nothing, 1.0, squares)))
    return length if keepdims else sum_(length, axis=axis)


@composed
def normalize(x: Any, axis: int | tuple[int, ...] = -1, epsilon: float = 1e-12) -> Any:
    """x / max(norm(x), epsilon) over the last dimension (or `axis`): length 1, and 0 for a vector of zeros.

    As PyTorch's `normalize`: below `epsilon` it is x / epsilon, whose derivative is finite.
    """
    return x / maximum(norm(x, axis=axis, keepdims=True), epsilon)


@composed
def affine(x: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """alpha x + beta (ONNX Affine)."""
    return alpha * x + beta


@composed
def leaky_relu(x: Any, alpha: float = 0.01) -> Any:
    """x where x >= 0, else alpha x (ONNX LeakyRelu)."""
    return where(x < 0, alpha * x, x)


@composed
def thresholded_relu(x: Any, alpha: float = 1.0) -> Any:
    """x where x > alpha, else 0 (ONNX ThresholdedRelu)."""
    return where(x > alpha, x, 0.0)


@composed
def scaled_tanh(x: Any, alpha: float = 1.0, beta: float = 1.0) -> Any:
    """alpha tanh(beta x) (ONNX ScaledTanh)."""
    return alpha * tanh(beta * x)


@composed
def hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """alpha x + beta, held between 0 and 1 (ONNX HardSigmoid)."""
    return maximum(minimum(alpha * x + beta, 1.0), 0.0)


@composed
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, else alpha (exp(x) - 1) (ONNX Elu)."""
    # the exponential sees no positive number, so that it cannot overflow where it is not chosen
    below = where(x > 0, 0.0, x)
    # exp(x) - 1 = tanh(x/2) (exp(x) + 1), which keeps the digits of a small x
    return where(x > 0, x, alpha * (tanh(0.5 * below) * (exp(below) + 1.0)))


@composed
def softsign(x: Any) -> Any:
    """x / (1 + |x|) (ONNX Softsign)."""
    return x / (1.0 + abs_(x))


@checked
def identity(x: Any) -> Any:
    """x itself: the activation of a linear layer."""
    return x


@checked
def split(x: Any, parts: int | Sequence[int | str], axis: int = -1) -> tuple[Any, ...]:
    """Cut a value along one dimension: into `parts` equal ones, or into parts of the given dimensions.

    `split(z, 4)` of a value of `4*n_neurons` gives four of `n_neurons`; `split(z, ["n_inputs", "n_neurons"])` names them.

    Raises:
        ShapeError: the parts do not fill the dimension.
    """
    rank = rank_of(x)
    if not is_whole(axis):
        refuse("split", Reason(f"the axis is a whole number, and is {axis!r}"))
    if not -rank <= axis < rank:
        refuse("split", Reason(f"there is no axis {axis}: the value has {counted(rank, 'dimension')}"))
    place = axis % rank
    dims = dims_of(x)
    whole = dims[place]
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        if not is_whole(parts):
            refuse("split", Reason(f"the parts are a whole number, or a list of dimensions, and are {parts!r}"))
        n = int(parts)
        if n < 1 or whole.size % n:
            refuse("split", Reason(f"`{whole}` can not be cut into {parts} equal parts"))
        pieces = [whole.divided_by(n)] * n
    else:
        pieces = list(dims_named(parts))
        if reduce(lambda n, p: n + p.size, pieces, 0) != whole.size:
            named = ", ".join(f"`{piece}`" for piece in pieces)
            refuse("split", Reason(f"the parts {named} do not fill `{whole}`"))
    result, start = [], Dim.number(0)
    for piece in pieces:
        stop = start + piece
        begin, end = [Dim.number(0)] * rank, list(dims)
        begin[place], end[place] = start, stop
        result.append(slice_(x, tuple(begin), tuple(end), (1,) * rank))
        start = stop
    return tuple(result)


@checked
def dropout(x: Any, rate: float, *, per: str = "step") -> Any:
    """In training, zero each element with probability `rate` and divide the others by 1 - rate; else the value itself.

    Args:
        x: any value of the cell.
        rate: the probability, 0 <= rate < 1.
        per: "step" for a fresh mask at every step; "sequence" for one mask per instance for the whole sequence
            (Gal and Ghahramani 2016).

    On which connections it acts is what the cell's author writes: `dropout(x, 0.5) @ W_x` drops feed-forward connections
    alone (Pham et al. 2013), `dropout(h, 0.5) @ W_h` recurrent ones. The masks come from the generator of the call that trains.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        headline = f"dropout: the rate is a number from 0 up to, but not including, 1, and is {rate!r}"
        raise CellError(lay_out(headline, source=user_source()))
    if per not in ("step", "sequence"):
        headline = f"dropout: per is 'step' or 'sequence', not {per!r}"
        raise CellError(lay_out(headline, source=user_source()))
    if isinstance(x, Symbolic) and rate:
        return x._dropped(float(rate), per)  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    return x


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        affine, elu, hard_sigmoid, identity, leaky_relu, relu, scaled_tanh, sigmoid, softplus,
        softsign, tanh, thresholded_relu,
    )
}  # fmt: skip
