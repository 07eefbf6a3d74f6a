"""From dense weights to structured ones and back: the same cell, the nearest weights."""

from __future__ import annotations

from typing import Any

from ..errors import OptionError, lay_out
from .layer import Layer


def to_structure(layer: Layer, structure: Any, *, weight_format: str | None = None) -> Layer:
    """A layer of the same cell with structured weights: of each the nearest to what the layer has.

    Nearest by the sum of squared differences (Frobenius): a stored number is the mean of the dense elements that it stands for.
    What training had found is lost as far as it does not have the structure; train the new layer some more.

    Args:
        layer: dense or structured itself; it stays as it is.
        structure: as `Layer(..., structure=...)` has it; None for dense matrices, which are then the same matrices exactly.
        weight_format: of the new layer.

    Raises:
        OptionError: the layer was read from a file, and has no cell that could be traced again; a structure that is none, or
            that a weight can not have.

    >>> from ostinato import BlockCirculant, Layer, cells, to_structure
    >>> to_structure(Layer(cells.gru, n_inputs=8, n_neurons=16), BlockCirculant(4)).weights["W_n"].shape
    (4, 2, 4)
    """
    if not isinstance(layer, Layer):
        raise OptionError(lay_out(f"to_structure: the first argument is a layer, not {type(layer).__name__}"))
    if layer.cell is None:
        headline = f"{layer.name}: it was read from a file, which holds its graph and not the cell that would be traced again"
        raise OptionError(lay_out(headline, hint="make a Layer of the cell, and give it the weights of this one"))
    matrices = [n for n, d in layer.cell.declarations.items() if d.role == "weight" and len(d.dims) == 2]
    sizes_and_options: dict[str, Any] = {**layer.sizes, **layer.options}
    made = Layer(
        layer.cell, seed=layer.seed, dtype=layer.dtype, batch_first=layer.batch_first, reverse=layer.reverse,
        backend=layer.backend, plan=layer.plan, weight_format=weight_format,
        structure=dict.fromkeys(matrices) if structure is None else structure, **sizes_and_options,
    )  # fmt: skip
    dense, placed = layer.dense_weights, made.structures
    made.weights.update({n: placed[n].project(array) if n in placed else array for n, array in dense.items()})
    return made
