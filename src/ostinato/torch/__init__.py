"""The door to PyTorch."""
from .rnn import GRU, LSTM, RNN
