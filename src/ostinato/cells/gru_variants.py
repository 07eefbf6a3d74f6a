"""Variants of gated recurrent units."""

from ostinato.language import Bias, Input, State, Weight, cell, layer_norm, relu, sigmoid, split, tanh


@cell
def gru_layer_norm(
    x=Input("n_inputs"), h=State("n_neurons"),
    W=Weight("n_inputs", "2*n_neurons"), U=Weight("n_neurons", "2*n_neurons"), b=Bias("2*n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
    s_x=Bias("2*n_neurons", init=1), s_h=Bias("2*n_neurons", init=1),
    s_nx=Bias("n_neurons", init=1), s_nh=Bias("n_neurons", init=1),
):  # fmt: skip
    """Layer normalisation of all products (Ba, Kiros and Hinton 2016, arXiv 1607.06450): r and z share mean and variance."""
    r, z = split(sigmoid(layer_norm(x @ W, s_x) + layer_norm(h @ U, s_h) + b), 2)
    n = tanh(layer_norm(x @ W_n, s_nx) + r * layer_norm(h @ U_n, s_nh) + b_n)
    return z * h + (1 - z) * n


@cell
def mgu(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    """The minimal gated unit: one gate that resets and updates (Zhou, Wu, Zhang and Zhou 2016, arXiv 1603.09420)."""
    f = sigmoid(x @ W_f + h @ U_f + b_f)
    n = tanh(x @ W_n + (f * h) @ U_n + b_n)
    return (1 - f) * h + f * n


@cell
def ligru(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_z=Weight("n_inputs", "n_neurons"), U_z=Weight("n_neurons", "n_neurons"), b_z=Bias("n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    """The light GRU: no reset gate, rectified candidate (Ravanelli, Brakel, Omologo and Bengio 2018, arXiv 1803.10225).

    The paper normalises x W_* over the mini-batch; a cell sees one instance, so biases stand in its place here.
    """
    z = sigmoid(x @ W_z + h @ U_z + b_z)
    n = relu(x @ W_n + h @ U_n + b_n)
    return z * h + (1 - z) * n
