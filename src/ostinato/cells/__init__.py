"""The library of cells: each a short function, with its equation and its source. Made for reading, and for copying from."""

from .attention import attention, bahdanau_decoder, luong_decoder, multi_head_attention
from .basic import dense, neuron, recurrent
from .convolution import conv_lstm, convolution_1d, convolution_2d
from .gru import gru, gru_reset_before
from .gru_variants import gru_layer_norm, ligru, mgu
from .independent import indrnn
from .irnn import IRNN
from .lstm import lstm
from .lstm_variants import google_lstm, janet, lstm_coupled, lstm_layer_norm, lstm_peephole, lstm_projection, slstm
from .parallel import min_gru, min_lstm, qrnn, sru
from .zoneout import zoneout

__all__ = [
    "IRNN", "attention", "bahdanau_decoder", "conv_lstm", "convolution_1d", "convolution_2d", "dense", "google_lstm", "gru",
    "gru_layer_norm", "gru_reset_before", "indrnn", "janet", "ligru", "lstm", "lstm_coupled", "lstm_layer_norm",
    "lstm_peephole", "lstm_projection", "luong_decoder", "mgu", "min_gru", "min_lstm", "multi_head_attention", "neuron",
    "qrnn", "recurrent", "slstm", "sru", "zoneout",
]  # fmt: skip
