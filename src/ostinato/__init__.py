"""Ostinato: a compiler for recurrent neural networks. Write one step; it is checked, explained, differentiated and run.

    import numpy as np
    import ostinato
    from ostinato import Bias, Input, Layer, State, Weight, cell, tanh

    @cell
    def recurrent(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"),
                  U=Weight("n_neurons", "n_neurons"), b=Bias("n_neurons")):
        return tanh(x @ W + h @ U + b)

    layer = Layer(recurrent, n_inputs=3, n_neurons=5)
    Y = layer(np.zeros((7, 2, 3)))      # (n_steps, n_instances, n_inputs) -> (n_steps, n_instances, n_neurons)
    print(layer.explain())              # its equation, shapes, products and cost

Where things are:

    writing a step   cell, Input, State, Context, Weight, Bias, Output; in it: @ + - * / ** % < ==, tanh, sigmoid, softmax,
                     layer_norm, concat, split, where, dropout, ...; what arrays have: x.sum(), x.T, x[..., 1:], np.exp(x)
    ready cells      ostinato.cells: lstm, gru, recurrent, dense, attention and more; Layer(cells.lstm, n_inputs=3, n_neurons=5)
    running          Layer: layer(X), layer.run(X, lengths=...), layer.stream(), layer.vjp(X); Network, Bidirectional, LastStep
    training         train, Examples, cross_entropy, mean_squared_error, UpdateRule, clip_by_global_norm
    scikit-learn     RecurrentClassifier, RecurrentRegressor
    explaining       layer.explain(), layer.program, explain_product("A @ B", ...)
    files            layer.save(path), load(path)
    structure        BlockCirculant, BlockDiagonal, Diagonal; to_structure
    errors           every one is an OstinatoError

In a shell: ostinato demo, ostinato explain lstm, ostinato train data.csv, ostinato bench.
"""

from importlib import import_module, util
from typing import TYPE_CHECKING, Any

from . import initialise, ops, schedules
from .cell import Cell, cell
from .circulant import BlockCirculant
from .conversion import to_structure
from .declarations import Bias, Context, Input, Output, State, Weight
from .diagonal import BlockDiagonal, Diagonal
from .errors import (
    ArgumentError,
    CellError,
    DataError,
    DataTypeError,
    DimensionError,
    FileError,
    InternalError,
    MissingExtraError,
    OptionError,
    OstinatoError,
    PicklingError,
    ShapeError,
    SymbolError,
)
from .estimator_stream import EstimatorStream
from .explain import Explanation, ProductExplanation, explain, explain_product
from .functions import (
    affine,
    dropout,
    elu,
    hard_sigmoid,
    identity,
    layer_norm,
    leaky_relu,
    mean,
    norm,
    normalize,
    scaled_tanh,
    softmax,
    softsign,
    split,
    thresholded_relu,
)
from .layer import Gradients, Layer, Stream
from .loading import load
from .losses import Loss, binary_cross_entropy, cross_entropy, huber, mean_absolute_error, mean_squared_error
from .network import Bidirectional, Dropout, LastStep, Network
from .network_stream import NetworkStream
from .ops import (
    concat,
    exp,
    floor,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    patches,
    relu,
    remainder,
    reshape,
    sigmoid,
    sign,
    softplus,
    sqrt,
    stop_gradient,
    tanh,
    transpose,
    where,
)
from .padding import pad_sequences, unpad_sequences
from .piecewise import piecewise_sigmoid, piecewise_tanh
from .structure import Structure
from .threads import get_threads, set_threads
from .training import Epoch, Examples, History, Progress, outputs, train
from .updates import UpdateRule, clip_by_global_norm

from . import cells  # isort: skip - the cells of the library are written with the names above

# as attributes alone: `from ostinato import *` must not take the place of builtins
abs = ops.abs_  # noqa: A001
max = ops.max_  # noqa: A001
sum = ops.sum_  # noqa: A001


if TYPE_CHECKING:
    from .estimators import RecurrentClassifier as RecurrentClassifier
    from .estimators import RecurrentRegressor as RecurrentRegressor

__version__ = "0.1.0"

__all__ = [  # and the estimators, where scikit-learn can be imported: see below
    "ArgumentError",
    "Bias",
    "Bidirectional",
    "BlockCirculant",
    "BlockDiagonal",
    "Cell",
    "CellError",
    "Context",
    "DataError",
    "DataTypeError",
    "Diagonal",
    "DimensionError",
    "Dropout",
    "Epoch",
    "EstimatorStream",
    "Examples",
    "Explanation",
    "FileError",
    "Gradients",
    "History",
    "Input",
    "InternalError",
    "LastStep",
    "Layer",
    "Loss",
    "MissingExtraError",
    "Network",
    "NetworkStream",
    "OptionError",
    "OstinatoError",
    "Output",
    "PicklingError",
    "ProductExplanation",
    "Progress",
    "ShapeError",
    "State",
    "Stream",
    "Structure",
    "SymbolError",
    "UpdateRule",
    "Weight",
    "affine",
    "binary_cross_entropy",
    "cell",
    "cells",
    "clip_by_global_norm",
    "concat",
    "cross_entropy",
    "dropout",
    "elu",
    "exp",
    "explain",
    "explain_product",
    "floor",
    "get_threads",
    "hard_sigmoid",
    "huber",
    "identity",
    "initialise",
    "layer_norm",
    "leaky_relu",
    "load",
    "log",
    "logical_and",
    "logical_not",
    "logical_or",
    "maximum",
    "mean",
    "mean_absolute_error",
    "mean_squared_error",
    "minimum",
    "norm",
    "normalize",
    "outputs",
    "pad_sequences",
    "patches",
    "piecewise_sigmoid",
    "piecewise_tanh",
    "relu",
    "remainder",
    "reshape",
    "scaled_tanh",
    "schedules",
    "set_threads",
    "sigmoid",
    "sign",
    "softmax",
    "softplus",
    "softsign",
    "split",
    "sqrt",
    "stop_gradient",
    "tanh",
    "thresholded_relu",
    "to_structure",
    "train",
    "transpose",
    "unpad_sequences",
    "where",
]


if util.find_spec("sklearn") is not None:  # found, and not imported
    __all__ += ["RecurrentClassifier", "RecurrentRegressor"]
    __all__.sort()


def __getattr__(name: str) -> Any:
    """The estimators, loaded when asked for: importing ostinato does not import scikit-learn."""
    if name in ("RecurrentClassifier", "RecurrentRegressor"):
        return getattr(import_module(".estimators", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public list: what `import *` gives, and the names that it must not take from the builtins."""
    return sorted({*__all__, "abs", "max", "sum", *(name for name in globals() if name.startswith("__"))})
