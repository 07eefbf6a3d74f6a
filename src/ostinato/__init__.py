"""Ostinato: a compiler for recurrent neural networks. Write one step; it is checked, explained, differentiated and run."""

from importlib import import_module
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
    ShapeError,
    SymbolError,
)
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
from .ops import (
    concat,
    exp,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    patches,
    relu,
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
from .training import train
from .updates import UpdateRule, clip_by_global_norm

from . import cells  # isort: skip - the cells of the library are written with the names above

# as attributes alone: `from ostinato import *` must not take the place of builtins
abs = ops.abs_  # noqa: A001
max = ops.max_  # noqa: A001
sum = ops.sum_  # noqa: A001


if TYPE_CHECKING:
    from .estimators import RecurrentClassifier, RecurrentRegressor

__version__ = "0.1.0"

__all__ = [
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
    "Explanation",
    "FileError",
    "Gradients",
    "Input",
    "InternalError",
    "LastStep",
    "Layer",
    "Loss",
    "MissingExtraError",
    "Network",
    "OptionError",
    "OstinatoError",
    "Output",
    "ProductExplanation",
    "RecurrentClassifier",
    "RecurrentRegressor",
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
    "pad_sequences",
    "patches",
    "piecewise_sigmoid",
    "piecewise_tanh",
    "relu",
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


def __getattr__(name: str) -> Any:
    """The estimators, loaded when asked for: importing ostinato does not import scikit-learn."""
    if name in ("RecurrentClassifier", "RecurrentRegressor"):
        return getattr(import_module(".estimators", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
