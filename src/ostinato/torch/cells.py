"""The recurrent cells of torch.nn in PyTorch's own layout: weights (n_gates * n_neurons, n_inputs), gates by their place in it.

PyTorch 2.13, torch.nn.modules.rnn. Two biases are added where one would do, as in cuDNN; there is a cell for each set of
parameters, because a cell's weights are its declared ones.
"""

from __future__ import annotations

from typing import Any

from ..language import Bias, Cell, Input, State, Weight, cell, relu, sigmoid, split, tanh

ACTIVATIONS = {"RNN_TANH": tanh, "RNN_RELU": relu}


@cell
def rnn(
    x=Input("n_inputs"), h=State("n_neurons"),
    weight_ih=Weight("n_neurons", "n_inputs"), weight_hh=Weight("n_neurons", "n_neurons"),
    bias_ih=Bias("n_neurons"), bias_hh=Bias("n_neurons"), *, phi=tanh,
):  # fmt: skip
    """h = phi(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh) (torch.nn.RNN)."""
    return phi(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)


@cell
def rnn_without_bias(
    x=Input("n_inputs"), h=State("n_neurons"),
    weight_ih=Weight("n_neurons", "n_inputs"), weight_hh=Weight("n_neurons", "n_neurons"), *, phi=tanh,
):  # fmt: skip
    """h = phi(x W_ihᵀ + h W_hhᵀ) (torch.nn.RNN, bias=False)."""
    return phi(x @ weight_ih.T + h @ weight_hh.T)


def _gru(from_x: Any, from_h: Any, h: Any) -> Any:
    """The gates r, z and n in this order; r acts on what the recurrent product gave, its bias included."""
    rx, zx, nx = split(from_x, 3)
    rh, zh, nh = split(from_h, 3)
    r, z = sigmoid(rx + rh), sigmoid(zx + zh)
    n = tanh(nx + r * nh)
    return (1 - z) * n + z * h


@cell
def gru(
    x=Input("n_inputs"), h=State("n_neurons"),
    weight_ih=Weight("3*n_neurons", "n_inputs"), weight_hh=Weight("3*n_neurons", "n_neurons"),
    bias_ih=Bias("3*n_neurons"), bias_hh=Bias("3*n_neurons"),
):  # fmt: skip
    """r, z, n = gates; h = (1 - z) n + z h (torch.nn.GRU)."""
    return _gru(x @ weight_ih.T + bias_ih, h @ weight_hh.T + bias_hh, h)


@cell
def gru_without_bias(
    x=Input("n_inputs"), h=State("n_neurons"),
    weight_ih=Weight("3*n_neurons", "n_inputs"), weight_hh=Weight("3*n_neurons", "n_neurons"),
):  # fmt: skip
    """r, z, n = gates; h = (1 - z) n + z h (torch.nn.GRU, bias=False)."""
    return _gru(x @ weight_ih.T, h @ weight_hh.T, h)


def _lstm(gates: Any, c: Any) -> tuple[Any, Any]:
    """The gates i, f, g and o in this order; the output before a projection, and the new memory."""
    i, f, g, o = split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell
def lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    weight_ih=Weight("4*n_neurons", "n_inputs"), weight_hh=Weight("4*n_neurons", "n_neurons"),
    bias_ih=Bias("4*n_neurons"), bias_hh=Bias("4*n_neurons"),
):  # fmt: skip
    """i, f, g, o = gates; c = f c + i g; h = o tanh(c) (torch.nn.LSTM)."""
    return _lstm(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, c)


@cell
def lstm_without_bias(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    weight_ih=Weight("4*n_neurons", "n_inputs"), weight_hh=Weight("4*n_neurons", "n_neurons"),
):  # fmt: skip
    """i, f, g, o = gates; c = f c + i g; h = o tanh(c) (torch.nn.LSTM, bias=False)."""
    return _lstm(x @ weight_ih.T + h @ weight_hh.T, c)


@cell
def lstm_projection(
    x=Input("n_inputs"), h=State("n_projected"), c=State("n_neurons"),
    weight_ih=Weight("4*n_neurons", "n_inputs"), weight_hh=Weight("4*n_neurons", "n_projected"),
    bias_ih=Bias("4*n_neurons"), bias_hh=Bias("4*n_neurons"), weight_hr=Weight("n_projected", "n_neurons"),
):  # fmt: skip
    """As `lstm`, with h = (o tanh(c)) W_hrᵀ (torch.nn.LSTM, proj_size; Sak, Senior and Beaufays 2014)."""
    y, c = _lstm(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, c)
    return y @ weight_hr.T, c


@cell
def lstm_projection_without_bias(
    x=Input("n_inputs"), h=State("n_projected"), c=State("n_neurons"),
    weight_ih=Weight("4*n_neurons", "n_inputs"), weight_hh=Weight("4*n_neurons", "n_projected"),
    weight_hr=Weight("n_projected", "n_neurons"),
):  # fmt: skip
    """As `lstm_projection` (torch.nn.LSTM, proj_size, bias=False)."""
    y, c = _lstm(x @ weight_ih.T + h @ weight_hh.T, c)
    return y @ weight_hr.T, c


def cell_for(mode: str, *, bias: bool, projected: bool = False) -> tuple[Cell, dict[str, Any]]:
    """The cell of a mode of nn.RNNBase, and its options."""
    if mode in ACTIVATIONS:
        return (rnn if bias else rnn_without_bias), {"phi": ACTIVATIONS[mode]}
    if mode == "GRU":
        return (gru if bias else gru_without_bias), {}
    if projected:
        return (lstm_projection if bias else lstm_projection_without_bias), {}
    return (lstm if bias else lstm_without_bias), {}
