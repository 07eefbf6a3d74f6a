"""Ostinato: a compiler for recurrent neural networks. Write one step; it checks, explains, fuses, differentiates and runs it."""

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
from .ops import abs_ as abs
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
from .ops import max_ as max
from .ops import sum_ as sum
from .layer import Gradients, Layer, Stream  # isort: skip
from . import cells  # isort: skip  - cells import the names above
