"""Variants of long short-term memory. W_* are input matrices, U_* recurrent ones, p_* peephole vectors."""

from ostinato.language import Bias, Input, State, Weight, cell, concat, exp, layer_norm, maximum, sigmoid, softplus, split, tanh


@cell
def lstm_peephole(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W_i=Weight("n_inputs", "n_neurons"), U_i=Weight("n_neurons", "n_neurons"), p_i=Weight("n_neurons"), b_i=Bias("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_neurons", "n_neurons"), p_f=Weight("n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs", "n_neurons"), U_g=Weight("n_neurons", "n_neurons"), b_g=Bias("n_neurons"),
    W_o=Weight("n_inputs", "n_neurons"), U_o=Weight("n_neurons", "n_neurons"), p_o=Weight("n_neurons"), b_o=Bias("n_neurons"),
):  # fmt: skip
    """The gates see the memory: i and f its old value, o its new one (Gers, Schraudolph and Schmidhuber 2002)."""
    i = sigmoid(x @ W_i + h @ U_i + p_i * c + b_i)
    f = sigmoid(x @ W_f + h @ U_f + p_f * c + b_f)
    g = tanh(x @ W_g + h @ U_g + b_g)
    c = f * c + i * g
    o = sigmoid(x @ W_o + h @ U_o + p_o * c + b_o)
    return o * tanh(c), c


@cell
def lstm_projection(
    x=Input("n_inputs"), h=State("n_outputs"), c=State("n_neurons"),
    W_i=Weight("n_inputs", "n_neurons"), U_i=Weight("n_outputs", "n_neurons"), b_i=Bias("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_outputs", "n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs", "n_neurons"), U_g=Weight("n_outputs", "n_neurons"), b_g=Bias("n_neurons"),
    W_o=Weight("n_inputs", "n_neurons"), U_o=Weight("n_outputs", "n_neurons"), b_o=Bias("n_neurons"),
    U_p=Weight("n_neurons", "n_outputs"),
):  # fmt: skip
    """What goes out and around is a projection of the neurons: h = (o tanh(c)) U_p (Sak, Senior and Beaufays 2014).

    Without peepholes, as PyTorch's `proj_size` has it.
    """
    i, f = sigmoid(x @ W_i + h @ U_i + b_i), sigmoid(x @ W_f + h @ U_f + b_f)
    g, o = tanh(x @ W_g + h @ U_g + b_g), sigmoid(x @ W_o + h @ U_o + b_o)
    c = f * c + i * g
    return (o * tanh(c)) @ U_p, c


@cell
def google_lstm(
    x=Input("n_inputs"), h=State("n_outputs"), c=State("n_neurons"),
    W_i=Weight("n_inputs + n_outputs", "n_neurons"), p_i=Weight("n_neurons"), b_i=Bias("n_neurons"),
    W_f=Weight("n_inputs + n_outputs", "n_neurons"), p_f=Weight("n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs + n_outputs", "n_neurons"), b_g=Bias("n_neurons"),
    W_o=Weight("n_inputs + n_outputs", "n_neurons"), p_o=Weight("n_neurons"), b_o=Bias("n_neurons"),
    U_p=Weight("n_neurons", "n_outputs"),
    *, sigma=sigmoid, phi=tanh,
):  # fmt: skip
    """Peepholes and a projection, one matrix for each gate (Wang et al. 2018, C-LSTM, arXiv 1803.06305; figure 6).

    As the authors' code has it: g is a sigmoid too, and o sees the new memory. `Layer(google_lstm, n_inputs=153, n_outputs=512,
    n_neurons=1024, structure=BlockCirculant(8))` is the first layer of the paper. `sigma` and `phi` may be
    `piecewise_sigmoid` and `piecewise_tanh`.
    """
    xh = concat(x, h)
    i = sigma(xh @ W_i + p_i * c + b_i)
    f = sigma(xh @ W_f + p_f * c + b_f)
    g = sigma(xh @ W_g + b_g)
    c = f * c + g * i
    o = sigma(xh @ W_o + p_o * c + b_o)
    return (o * phi(c)) @ U_p, c


@cell
def lstm_coupled(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs", "n_neurons"), U_g=Weight("n_neurons", "n_neurons"), b_g=Bias("n_neurons"),
    W_o=Weight("n_inputs", "n_neurons"), U_o=Weight("n_neurons", "n_neurons"), b_o=Bias("n_neurons"),
):  # fmt: skip
    """Coupled input and forget gates, i = 1 - f (CIFG; Greff et al. 2015, arXiv 1503.04069)."""
    f = sigmoid(x @ W_f + h @ U_f + b_f)
    g = tanh(x @ W_g + h @ U_g + b_g)
    o = sigmoid(x @ W_o + h @ U_o + b_o)
    c = f * c + (1 - f) * g
    return o * tanh(c), c


@cell
def lstm_layer_norm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
    s_x=Bias("4*n_neurons", init=1), s_h=Bias("4*n_neurons", init=1), s_c=Bias("n_neurons", init=1), b_c=Bias("n_neurons"),
):  # fmt: skip
    """Layer normalisation of both products and of the memory (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

    One mean and variance over all four gates together, as in the authors' code. The gates lie in the order i, f, o, g.
    """
    i, f, o, g = split(layer_norm(x @ W, s_x) + layer_norm(h @ U, s_h) + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(layer_norm(c, s_c, b_c)), c


@cell
def janet(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_neurons", "n_neurons"), b_f=Bias("n_neurons", init=1),
    W_g=Weight("n_inputs", "n_neurons"), U_g=Weight("n_neurons", "n_neurons"), b_g=Bias("n_neurons"),
    *, beta=1.0,
):  # fmt: skip
    """A forget gate alone (van der Westhuizen and Lasenby 2018, arXiv 1804.04849); `beta` makes it write less than it forgets.

    s = x W_f + h U_f + b_f;  h(t) = sigmoid(s) h(t-1) + (1 - sigmoid(s - beta)) tanh(x W_g + h U_g + b_g).
    """
    s = x @ W_f + h @ U_f + b_f
    g = tanh(x @ W_g + h @ U_g + b_g)
    return sigmoid(s) * h + (1 - sigmoid(s - beta)) * g


@cell
def slstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), n=State("n_neurons"),
    m=State("n_neurons", initial=float("-inf")),
    W_i=Weight("n_inputs", "n_neurons"), R_i=Weight("n_neurons", "n_neurons"), b_i=Bias("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), R_f=Weight("n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_z=Weight("n_inputs", "n_neurons"), R_z=Weight("n_neurons", "n_neurons"), b_z=Bias("n_neurons"),
    W_o=Weight("n_inputs", "n_neurons"), R_o=Weight("n_neurons", "n_neurons"), b_o=Bias("n_neurons"),
):  # fmt: skip
    """Exponential input gate with normaliser n and stabiliser m (Beck et al. 2024, arXiv 2405.04517, sLSTM).

    The forget gate is the sigmoid variant of the paper. m begins at -infinity, so that the first step takes its own gate; n
    is then at least 1 at that step, and the division is safe. Recurrent matrices are dense here; the paper's are
    block-diagonal, one block per head.
    """
    i, f = x @ W_i + h @ R_i + b_i, x @ W_f + h @ R_f + b_f
    z, o = tanh(x @ W_z + h @ R_z + b_z), sigmoid(x @ W_o + h @ R_o + b_o)
    log_forget = -softplus(-f) + m
    m = maximum(log_forget, i)
    keep, write = exp(log_forget - m), exp(i - m)
    c = keep * c + write * z
    n = keep * n + write
    return o * c / n, c, n, m
