"""The library of cells: each a short function, with its equation and its source."""

from .basic import dense, neuron, recurrent
from .gru import gru, gru_reset_before
from .irnn import IRNN
from .lstm import lstm

__all__ = ["IRNN", "dense", "gru", "gru_reset_before", "lstm", "neuron", "recurrent"]
