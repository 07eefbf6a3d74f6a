"""Attention: scores are products, hence matrices; what is read is a weighted sum."""

from ostinato.language import (
    Bias,
    Context,
    Input,
    Output,
    State,
    Weight,
    cell,
    concat,
    reshape,
    sigmoid,
    softmax,
    split,
    tanh,
    transpose,
)


@cell
def attention(
    Q=Input("n_queries", "n_keys"), K=Input("n_positions", "n_keys"), V=Input("n_positions", "n_values"),
):  # fmt: skip
    """Scaled dot-product attention: softmax(Q Kᵀ / sqrt(n_keys)) V (Vaswani et al. 2017, arXiv 1706.03762, eq. 1)."""
    weights = softmax(Q @ K.T / K.shape[-1] ** 0.5)
    return Output(weights @ V, weights=weights)


@cell
def multi_head_attention(
    x=Input("n_positions", "n_features"),
    W_q=Weight("n_features", "n_heads*n_keys"), W_k=Weight("n_features", "n_heads*n_keys"),
    W_v=Weight("n_features", "n_heads*n_keys"), W_o=Weight("n_heads*n_keys", "n_features"),
):  # fmt: skip
    """Self-attention in several heads, side by side: [head_1 .. head_h] W_o (Vaswani et al. 2017, section 3.2.2)."""
    Q, K, V = (
        transpose(reshape(x @ W, "n_positions", "n_heads", "n_keys"), (1, 0, 2)) for W in (W_q, W_k, W_v)
    )  # fmt: skip
    weights = softmax(Q @ transpose(K, (0, 2, 1)) / K.shape[-1] ** 0.5)
    heads = reshape(transpose(weights @ V, (1, 0, 2)), "n_positions", "n_heads*n_keys")
    return heads @ W_o


@cell
def bahdanau_decoder(
    y=Input("n_inputs"), s=State("n_neurons"), memory=Context("n_positions", "n_features"),
    W_q=Weight("n_neurons", "n_keys"), W_k=Weight("n_features", "n_keys"), v=Weight("n_keys"),
    W_r=Weight("n_inputs + n_features", "n_neurons"), U_r=Weight("n_neurons", "n_neurons"), b_r=Bias("n_neurons"),
    W_z=Weight("n_inputs + n_features", "n_neurons"), U_z=Weight("n_neurons", "n_neurons"), b_z=Bias("n_neurons"),
    W_n=Weight("n_inputs + n_features", "n_neurons"), U_n=Weight("n_neurons", "n_neurons"), b_n=Bias("n_neurons"),
):  # fmt: skip
    """Attention before the step: additive scores, then a GRU (Bahdanau, Cho and Bengio 2015, arXiv 1409.0473).

    `memory` is what an encoder gave at its positions. The weights of the attention are a second output.
    """
    weights = softmax(tanh(s @ W_q + memory @ W_k) @ v)
    seen = concat(y, weights @ memory)
    r, z = sigmoid(seen @ W_r + s @ U_r + b_r), sigmoid(seen @ W_z + s @ U_z + b_z)
    n = tanh(seen @ W_n + (r * s) @ U_n + b_n)
    s = (1 - z) * n + z * s
    return Output(s, attention=weights), s


@cell
def luong_decoder(
    y=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), a=State("n_neurons"),
    memory=Context("n_positions", "n_features"),
    W=Weight("n_inputs + 2*n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
    W_k=Weight("n_features", "n_neurons"), W_a=Weight("n_features + n_neurons", "n_neurons"),
):  # fmt: skip
    """Attention after the step, fed back with the next input (Luong, Pham and Manning 2015, arXiv 1508.04025; "general" score).

    An LSTM reads [y a h]; its new h asks the memory; a = tanh([read h] W_a) goes out and around.
    The gates lie in the order i, f, g, o.
    """
    i, f, g, o = split(concat(y, a, h) @ W + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    weights = softmax((memory @ W_k) @ h)
    a = tanh(concat(weights @ memory, h) @ W_a)
    return Output(a, attention=weights), h, c, a
