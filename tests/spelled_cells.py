"""Cells for the tests, each in more than one spelling: separate products, `concat`, one wide weight with `split`.

Their meaning is written a second time, by hand and without Ostinato, in loops.py.
"""

# ruff: noqa: E501
from ostinato import (
    Bias,
    Context,
    Input,
    Output,
    State,
    Weight,
    cell,
    concat,
    exp,
    layer_norm,
    maximum,
    minimum,
    patches,
    relu,
    reshape,
    sigmoid,
    softmax,
    split,
    tanh,
)  # fmt: skip


@cell
def recurrent_joined(
    x=Input("n_inputs"), y=State("n_neurons"), W=Weight("n_inputs + n_neurons", "n_neurons"), b=Bias("n_neurons"), *, phi=tanh
):
    return phi(concat(x, y) @ W + b)


@cell
def dense_joined(x=Input("n_inputs"), W=Weight("n_inputs + 1", "n_outputs"), *, phi=tanh):
    return phi(concat(x, reshape(1.0 + 0.0 * x[0], 1)) @ W)


@cell
def neuron_joined(x=Input("n_inputs"), y=State(), w=Weight("n_inputs + 1"), b=Bias()):
    return tanh(concat(x, reshape(y, 1)) @ w + b)


@cell
def lstm_separate(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W_i=Weight("n_inputs", "n_neurons"), U_i=Weight("n_neurons", "n_neurons"), b_i=Bias("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs", "n_neurons"), U_g=Weight("n_neurons", "n_neurons"), b_g=Bias("n_neurons"),
    W_o=Weight("n_inputs", "n_neurons"), U_o=Weight("n_neurons", "n_neurons"), b_o=Bias("n_neurons"),
):  # fmt: skip
    i = sigmoid(x @ W_i + h @ U_i + b_i)
    f = sigmoid(b_f + h @ U_f + x @ W_f)
    g = tanh(x @ W_g + (b_g + h @ U_g))
    o = sigmoid(x @ W_o + h @ U_o + b_o)
    c = f * c + i * g
    return o * tanh(c), c


@cell
def lstm_wide(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs + n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
):  # fmt: skip
    i, f, g, o = split(concat(x, h) @ W + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell
def gru_joined(
    x=Input("n_inputs"), h=State("n_neurons"),
    W=Weight("n_inputs + n_neurons", "2*n_neurons"), b=Bias("2*n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"), b_hn=Bias("n_neurons"),
):  # fmt: skip
    r, z = split(sigmoid(concat(x, h) @ W + b), 2)
    n = tanh(x @ W_n + r * (h @ U_n + b_hn) + b_n)
    return n + z * (h - n)


@cell
def gru_reset_before_joined(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_r=Weight("n_inputs + n_neurons", "n_neurons"), b_r=Bias("n_neurons"),
    W_z=Weight("n_inputs + n_neurons", "n_neurons"), b_z=Bias("n_neurons"),
    W_n=Weight("n_inputs + n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    xh = concat(x, h)
    r, z = sigmoid(xh @ W_r + b_r), sigmoid(xh @ W_z + b_z)
    return (1 - z) * tanh(concat(x, r * h) @ W_n + b_n) + z * h


@cell
def peephole_lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
    p_i=Weight("n_neurons"), p_f=Weight("n_neurons"), p_o=Weight("n_neurons"),
):  # fmt: skip
    """Gers and Schmidhuber 2000: the gates see the memory."""
    z_i, z_f, z_g, z_o = split(x @ W + h @ U + b, 4)
    c_new = sigmoid(z_f + p_f * c) * c + sigmoid(z_i + p_i * c) * tanh(z_g)
    return sigmoid(z_o + p_o * c_new) * tanh(c_new), c_new


@cell
def peephole_lstm_joined(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs + n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
    p_i=Weight("n_neurons"), p_f=Weight("n_neurons"), p_o=Weight("n_neurons"),
):  # fmt: skip
    z = concat(x, h) @ W + b
    z_if, z_go = split(z, 2)
    (z_i, z_f), (z_g, z_o) = split(z_if, 2), split(z_go, 2)
    c = sigmoid(z_f + p_f * c) * c + sigmoid(z_i + p_i * c) * tanh(z_g)
    return sigmoid(z_o + p_o * c) * tanh(c), c


@cell
def projected_lstm(
    x=Input("n_inputs"), h=State("n_projected"), c=State("n_neurons"),
    W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_projected", "4*n_neurons"), b=Bias("4*n_neurons"),
    P=Weight("n_neurons", "n_projected"),
):  # fmt: skip
    """Sak, Senior and Beaufays 2014: the state is a projection."""
    i, f, g, o = split(x @ W + h @ U + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return (sigmoid(o) * tanh(c)) @ P, c


@cell
def projected_lstm_joined(
    x=Input("n_inputs"), h=State("n_projected"), c=State("n_neurons"),
    W=Weight("n_inputs + n_projected", "4*n_neurons"), b=Bias("4*n_neurons"), P=Weight("n_neurons", "n_projected"),
):  # fmt: skip
    i, f, go = split(concat(x, h) @ W + b, ["n_neurons", "n_neurons", "2*n_neurons"])
    g, o = split(go, 2)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return (sigmoid(o) * tanh(c)) @ P, c


@cell
def coupled_lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs", "3*n_neurons"), U=Weight("n_neurons", "3*n_neurons"), b=Bias("3*n_neurons"),
):  # fmt: skip
    """Greff et al. 2017: input and forget gate coupled."""
    f, g, o = split(x @ W + h @ U + b, 3)
    f = sigmoid(f)
    c = f * c + (1 - f) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell
def coupled_lstm_joined(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs + n_neurons", "3*n_neurons"), b=Bias("3*n_neurons"),
):  # fmt: skip
    f, g, o = split(concat(x, h) @ W + b, ["n_neurons", "n_neurons", "n_neurons"])
    f = sigmoid(f)
    c = f * c + (1 - f) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell
def minimal_gated_unit(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_n=Weight("n_inputs", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    """Zhou et al. 2016."""
    f = sigmoid(x @ W_f + h @ U_f + b_f)
    return (1 - f) * h + f * tanh(x @ W_n + (f * h) @ U_n + b_n)


@cell
def minimal_gated_unit_joined(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_f=Weight("n_inputs + n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_n=Weight("n_inputs + n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    f = sigmoid(concat(x, h) @ W_f + b_f)
    return (1 - f) * h + f * tanh(concat(x, f * h) @ W_n + b_n)


@cell
def layer_norm_lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_neurons", "4*n_neurons"),
    scale=Weight("4*n_neurons"), shift=Bias("4*n_neurons"), scale_c=Weight("n_neurons"), shift_c=Bias("n_neurons"),
):  # fmt: skip
    """After Ba, Kiros and Hinton 2016, with one normalisation over all gates together."""
    i, f, g, o = split(layer_norm(x @ W + h @ U, scale, shift, epsilon=1e-3), 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(layer_norm(c, scale_c, shift_c, epsilon=1e-3)), c


@cell
def layer_norm_lstm_joined(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), W=Weight("n_inputs + n_neurons", "4*n_neurons"),
    scale=Weight("4*n_neurons"), shift=Bias("4*n_neurons"), scale_c=Weight("n_neurons"), shift_c=Bias("n_neurons"),
):  # fmt: skip
    i, f, g, o = split(layer_norm(concat(x, h) @ W, epsilon=1e-3) * scale + shift, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(layer_norm(c, scale_c, shift_c, epsilon=1e-3)), c


@cell
def janet(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_f=Weight("n_inputs", "n_neurons"), U_f=Weight("n_neurons", "n_neurons"), b_f=Bias("n_neurons"),
    W_g=Weight("n_inputs", "n_neurons"), U_g=Weight("n_neurons", "n_neurons"), b_g=Bias("n_neurons"),
    *, beta=1.0,
):  # fmt: skip
    """van der Westhuizen and Lasenby 2018: the forget gate alone."""
    s = x @ W_f + h @ U_f + b_f
    return sigmoid(s) * h + (1 - sigmoid(s - beta)) * tanh(x @ W_g + h @ U_g + b_g)


@cell
def janet_joined(
    x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs + n_neurons", "2*n_neurons"), b=Bias("2*n_neurons")
):
    s, g = split(concat(x, h) @ W + b, 2)
    return sigmoid(s) * h + (1 - sigmoid(s - 1)) * tanh(g)


@cell
def min_gru(
    x=Input("n_inputs"), h=State("n_neurons"),
    W_z=Weight("n_inputs", "n_neurons"), b_z=Bias("n_neurons"), W_n=Weight("n_inputs", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    """Feng et al. 2024: no product in the loop."""
    z = sigmoid(x @ W_z + b_z)
    return (1 - z) * h + z * (x @ W_n + b_n)


@cell
def min_gru_joined(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "2*n_neurons"), b=Bias("2*n_neurons")):
    z, n = split(x @ W + b, 2)
    z = sigmoid(z)
    return h + z * (n - h)


@cell
def independent_rnn(
    x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), u=Weight("n_neurons"), b=Bias("n_neurons")
):
    """Li et al. 2018."""
    return relu(x @ W + u * h + b)


@cell
def independent_rnn_joined(
    x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs + n_neurons", "n_neurons"), b=Bias("n_neurons")
):
    return relu(concat(x, h) @ W + b)


@cell
def attention_decoder(
    x=Input("n_inputs"), h=State("n_neurons"), memory=Context("n_keys", "n_memory"), W_q=Weight("n_neurons", "n_memory"),
    W=Weight("n_inputs", "n_neurons"), U=Weight("n_neurons", "n_neurons"), V=Weight("n_memory", "n_neurons"), b=Bias("n_neurons"),
):  # fmt: skip
    """Multiplicative attention over a memory (Luong, Pham and Manning 2015)."""
    attention = softmax(memory @ (h @ W_q))
    h = tanh(x @ W + h @ U + (attention @ memory) @ V + b)
    return Output(h, attention=attention), h


@cell
def attention_decoder_joined(
    x=Input("n_inputs"), h=State("n_neurons"), memory=Context("n_keys", "n_memory"), W_q=Weight("n_neurons", "n_memory"),
    W=Weight("n_inputs + n_memory + n_neurons", "n_neurons"), b=Bias("n_neurons"),
):  # fmt: skip
    attention = softmax((h @ W_q) @ memory.T)
    h = tanh(concat(x, attention @ memory, h) @ W + b)
    return Output(h, attention=attention), h


@cell
def convolutional_lstm(
    x=Input("height", "width", "n_channels"), h=State("height", "width", "n_maps"), c=State("height", "width", "n_maps"),
    K=Weight("9*n_channels", "4*n_maps"), L=Weight("9*n_maps", "4*n_maps"), b=Bias("4*n_maps"),
):  # fmt: skip
    """Shi et al. 2015, without peepholes."""
    i, f, g, o = split(patches(x, (3, 3), padding="same") @ K + patches(h, (3, 3), padding="same") @ L + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell
def convolutional_lstm_joined(
    x=Input("height", "width", "n_channels"), h=State("height", "width", "n_maps"), c=State("height", "width", "n_maps"),
    K=Weight("9*n_channels + 9*n_maps", "4*n_maps"), b=Bias("4*n_maps"),
):  # fmt: skip
    seen = concat(patches(x, (3, 3), padding="same"), patches(h, (3, 3), padding="same"))
    i, f, g, o = split(seen @ K + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell
def exponential_lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), n=State("n_neurons", initial=1.0),
    m=State("n_neurons", initial=-0.5), W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
):  # fmt: skip
    """sLSTM (Beck et al. 2024): exponential gates with a normaliser and a stabiliser."""
    z, i, f, o = split(x @ W + h @ U + b, 4)
    m_new = maximum(f + m, i)
    i, f = exp(i - m_new), exp(f + m - m_new)
    c, n = f * c + i * tanh(z), f * n + i
    return sigmoid(o) * (c / n), c, n, m_new


@cell
def exponential_lstm_joined(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), n=State("n_neurons", initial=1.0),
    m=State("n_neurons", initial=-0.5), W=Weight("n_inputs + n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
):  # fmt: skip
    z, i, f, o = split(concat(x, h) @ W + b, 4)
    m_new = -minimum(-(f + m), -i)
    i, f = exp(i - m_new), exp(f + m - m_new)
    c, n = f * c + i * tanh(z), f * n + i
    return sigmoid(o) * c / n, c, n, m_new


@cell
def controlled(
    x=Input("n_inputs"), u=Input(), k=Context("n_inputs"), a=Context(), h=State("n_neurons"), s=State(initial=0.5),
    W=Weight("n_inputs", "n_neurons"), V=Weight("n_inputs", "n_neurons"), U=Weight("n_neurons", "n_neurons"),
    w=Weight("n_neurons"), g=Weight(),
):  # fmt: skip
    """Several inputs, contexts and outputs, and states of different ranks."""
    s_new = tanh(s * g + u + h @ w)
    h = tanh(x @ W + (k * a) @ V + s_new * (h @ U))
    return Output(h * h, energy=(h * w) @ w + s, seen=x * k), h, s_new


@cell
def controlled_joined(
    x=Input("n_inputs"), u=Input(), k=Context("n_inputs"), a=Context(), h=State("n_neurons"), s=State(initial=0.5),
    W=Weight("2*n_inputs + n_neurons", "n_neurons"), w=Weight("n_neurons"), g=Weight(),
):  # fmt: skip
    s_new = tanh(u + s * g + w @ h)
    h = tanh(concat(x, k * a, s_new * h) @ W)
    return Output(h**2, energy=h * w @ w + s, seen=k * x), h, s_new


@cell
def fast_weights(
    x=Input("n_inputs"), S=State("n_keys", "n_values"),
    W_k=Weight("n_inputs", "n_keys"), W_v=Weight("n_inputs", "n_values"), W_q=Weight("n_inputs", "n_keys"), d=Weight("n_keys", 1),
):  # fmt: skip
    """Linear attention (Katharopoulos et al. 2020) with decay: the state is a matrix."""
    k, v, q = x @ W_k, x @ W_v, x @ W_q
    S = sigmoid(d) * S + reshape(k, "n_keys", 1) * v
    return Output(tanh(q @ S)), S


@cell
def fast_weights_joined(
    x=Input("n_inputs"), S=State("n_keys", "n_values"), W=Weight("n_inputs", "2*n_keys + n_values"), d=Weight("n_keys", 1)
):
    k, v, q = split(x @ W, ["n_keys", "n_values", "n_keys"])
    S = sigmoid(d) * S + reshape(k, "n_keys", 1) @ reshape(v, 1, "n_values")
    return Output(tanh((q.reshape(1, "n_keys") @ S).reshape("n_values"))), S
