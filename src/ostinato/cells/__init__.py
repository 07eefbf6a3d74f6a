"""The library of cells: each a short function, with its equation and its source."""

from .basic import dense, neuron, recurrent
from .gru import gru, gru_reset_before
from .lstm import lstm
from .irnn import IRNN

__all__ = ["IRNN", "dense", "gru", "gru_reset_before", "lstm", "neuron", "recurrent"]
