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
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import cells, initialise, renamed
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
from .estimators.stream import EstimatorStream
from .explain import Explanation, ProductExplanation, explain, explain_product
from .ir import ops
from .language import (
    Bias,
    Cell,
    Context,
    Input,
    Output,
    State,
    Weight,
    affine,
    cell,
    concat,
    dropout,
    elu,
    exp,
    floor,
    hard_sigmoid,
    identity,
    layer_norm,
    leaky_relu,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    mean,
    minimum,
    norm,
    normalize,
    patches,
    piecewise_sigmoid,
    piecewise_tanh,
    relu,
    remainder,
    reshape,
    scaled_tanh,
    sigmoid,
    sign,
    softmax,
    softplus,
    softsign,
    split,
    sqrt,
    stop_gradient,
    tanh,
    thresholded_relu,
    transpose,
    where,
)
from .layers.conversion import to_structure
from .layers.layer import Gradients, Layer, Stream
from .layers.network import Bidirectional, Dropout, LastStep, Network
from .layers.network_stream import NetworkStream
from .learn import schedules
from .learn.losses import Loss, binary_cross_entropy, cross_entropy, huber, mean_absolute_error, mean_squared_error
from .learn.optimisers import UpdateRule, clip_by_global_norm
from .learn.padding import pad_sequences, unpad_sequences
from .learn.training import Epoch, Examples, History, Progress, outputs, train
from .loading import load
from .native.threads import get_threads, set_threads
from .structure import BlockCirculant, BlockDiagonal, Diagonal, Structure

# as attributes alone: `from ostinato import *` must not take the place of builtins
abs = ops.abs_  # noqa: A001
max = ops.max_  # noqa: A001
sum = ops.sum_  # noqa: A001


if TYPE_CHECKING:
    from .estimators import RecurrentClassifier, RecurrentRegressor

__version__ = "0.2.0"

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

for _name in __all__:
    if isinstance(globals().get(_name), type | FunctionType):
        renamed.public(globals()[_name])

renamed.install()


def __getattr__(name: str) -> Any:
    """What is loaded when it is asked for: the estimators, so that importing ostinato does not import scikit-learn."""
    if name in ("RecurrentClassifier", "RecurrentRegressor"):
        return getattr(import_module(".estimators", __name__), name)
    if name in renamed.RENAMED:  # a module of version 0.1
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public list: what `import *` gives, and the names that it must not take from the builtins."""
    return sorted({*__all__, "abs", "max", "sum", *(name for name in globals() if name.startswith("__"))})
