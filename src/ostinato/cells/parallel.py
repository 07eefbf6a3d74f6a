"""Recurrences without a product in the loop: every product leaves it, and what stays is elementwise."""

from ostinato.language import Bias, Input, Output, State, Weight, cell, sigmoid, softplus, tanh


@cell
def min_gru(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_z=Weight("n_inputs", "n_neurons"), b_z=Bias("n_neurons"), W_n=Weight("n_inputs", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    """minGRU: h(t) = (1 - z) h(t-1) + z n, z = sigmoid(x W_z + b_z), n = x W_n + b_n (Feng et al. 2024, arXiv 2410.01201)."""
    z = sigmoid(x @ W_z + b_z)
    return (1 - z) * h + z * (x @ W_n + b_n)


@cell
def min_lstm(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), b_f=Bias("n_neurons"),
    W_i=Weight("n_inputs", "n_neurons"), b_i=Bias("n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    """minLSTM, its gates normalised to a sum of 1 (Feng et al. 2024, arXiv 2410.01201).

    h(t) = f / (f + i) h(t-1) + i / (f + i) n;  f, i = sigmoid(x W_* + b_*), n = x W_n + b_n. The ratios are taken in
    logarithms, as in the paper: f / (f + i) = sigmoid(log f - log i), which is finite where both gates are closed, too.
    """
    ratio = softplus(-(x @ W_i + b_i)) - softplus(-(x @ W_f + b_f))  # log f - log i
    return sigmoid(ratio) * h + sigmoid(-ratio) * (x @ W_n + b_n)


@cell
def sru(
    x=Input("n_inputs"), c=State("n_neurons"),
    W=Weight("n_inputs", "n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), v_f=Weight("n_neurons"), b_f=Bias("n_neurons"),
    W_r=Weight("n_inputs", "n_neurons"), v_r=Weight("n_neurons"), b_r=Bias("n_neurons"),
    W_s=Weight("n_inputs", "n_neurons"),
):  # fmt: skip
    """The simple recurrent unit with a highway around it (Lei et al. 2018, arXiv 1709.02755v5).

    f = sigmoid(x W_f + v_f c(t-1) + b_f);  c(t) = f c(t-1) + (1 - f) x W;  r = sigmoid(x W_r + v_r c(t-1) + b_r);
    h(t) = r c(t) + (1 - r) x W_s.  Where n_inputs = n_neurons the paper has the input itself for x W_s.
    """
    f = sigmoid(x @ W_f + v_f * c + b_f)
    r = sigmoid(x @ W_r + v_r * c + b_r)
    c = f * c + (1 - f) * (x @ W)
    return Output(r * c + (1 - r) * (x @ W_s)), c


@cell
def qrnn(
    x=Input("n_inputs"), x_last=State("n_inputs"), c=State("n_neurons"),
    W_z=Weight("n_inputs", "n_neurons"), V_z=Weight("n_inputs", "n_neurons"), b_z=Bias("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), V_f=Weight("n_inputs", "n_neurons"), b_f=Bias("n_neurons"),
    W_o=Weight("n_inputs", "n_neurons"), V_o=Weight("n_inputs", "n_neurons"), b_o=Bias("n_neurons"),
):  # fmt: skip
    """A quasi-recurrent network: convolutions of width 2 over time and fo-pooling (Bradbury et al. 2016, arXiv 1611.01576).

    z, f, o = tanh, sigmoid, sigmoid(x(t) W_* + x(t-1) V_* + b_*);  c(t) = f c(t-1) + (1 - f) z;  h(t) = o c(t).
    """
    z = tanh(x @ W_z + x_last @ V_z + b_z)
    f = sigmoid(x @ W_f + x_last @ V_f + b_f)
    o = sigmoid(x @ W_o + x_last @ V_o + b_o)
    c = f * c + (1 - f) * z
    return Output(o * c), x, c
