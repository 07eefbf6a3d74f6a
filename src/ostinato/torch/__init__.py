"""The door to PyTorch: recurrent modules that are drop-ins for torch.nn, and any cell of yours as a module.

from ostinato.torch import LSTM             # instead of torch.nn.LSTM: the same arguments, parameters and results
from ostinato.torch import replace          # print(replace(model)): every recurrent module of a model, in place
from ostinato.torch import Recurrent        # Recurrent(my_cell, n_inputs=40, n_neurons=128): any cell
from ostinato.torch import load             # load(module): a Layer or Network that needs no PyTorch
"""

from ..errors import MissingExtraError, lay_out

try:
    import torch as _torch  # noqa: F401
except ImportError:
    _headline = 'ostinato.torch needs PyTorch: pip install "ostinato[torch]"'
    raise MissingExtraError(lay_out(_headline)) from None

from .conversion import load, module
from .recurrent import Recurrent
from .rnn import GRU, LSTM, RNN
from .step_cells import GRUCell, LSTMCell, RNNCell
from .swapping import Report, frozen, replace, restore

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "Report",
    "frozen",
    "load",
    "module",
    "replace",
    "restore",
]
