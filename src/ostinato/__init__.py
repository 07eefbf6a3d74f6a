"""Ostinato: a compiler for recurrent neural networks. Write one step; it is checked, explained, differentiated and run."""

from . import initialise, ops
from .cell import Cell, cell
from .declarations import Bias, Context, Input, Output, State, Weight
from .errors import (
    CellError,
    DataError,
    DimensionError,
    FileError,
    InternalError,
    MissingExtraError,
    OptionError,
    OstinatoError,
    ShapeError,
    SymbolError,
)
from .explain import Explanation, explain
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

from . import cells  # isort: skip - the cells of the library are written with the names above

# as attributes alone: `from ostinato import *` must not take the place of builtins
abs = ops.abs_  # noqa: A001
max = ops.max_  # noqa: A001
sum = ops.sum_  # noqa: A001


__version__ = "0.1.0"

__all__ = [
    "Bias",
    "Cell",
    "CellError",
    "Context",
    "DataError",
    "DimensionError",
    "Explanation",
    "FileError",
    "Gradients",
    "Input",
    "InternalError",
    "Layer",
    "MissingExtraError",
    "OptionError",
    "OstinatoError",
    "Output",
    "ShapeError",
    "State",
    "Stream",
    "SymbolError",
    "Weight",
    "affine",
    "cell",
    "cells",
    "concat",
    "dropout",
    "elu",
    "exp",
    "explain",
    "hard_sigmoid",
    "identity",
    "initialise",
    "layer_norm",
    "leaky_relu",
    "log",
    "logical_and",
    "logical_not",
    "logical_or",
    "maximum",
    "mean",
    "minimum",
    "patches",
    "relu",
    "reshape",
    "scaled_tanh",
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
    "transpose",
    "where",
]
