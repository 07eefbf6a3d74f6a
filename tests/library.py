"""The steps of the further cells of the library, written from their papers, over NumPy or torch as `m` (see tests/loops.py)."""

import pytest

from ostinato import cells
from tests.loops import Case, sig


def softplus(m, z):
    return m.log(1 + m.exp(z))


def norm(m, z, scale, shift=0):
    """Layer normalisation, equation 3 and 4 of the paper, biased variance."""
    mu = z.sum() / len(z)
    return (z - mu) / m.sqrt(((z - mu) ** 2).sum() / len(z) + 1e-5) * scale + shift


def soft(m, e):
    return m.exp(e) / m.exp(e).sum()


def gate(m, v, k, h, function=sig):
    W, U, b = (getattr(v, f"{name}_{k}") for name in ("W", "U", "b"))
    return function(m, v.x @ W + h @ U + b)


def tanh(m, z):
    return m.tanh(z)


def plain(m, z):
    return z


def indrnn(m, v):
    z = v.x @ v.W + v.u * v.h + v.b
    h = m.where(z > 0, z, 0 * z)
    return {"output": h}, {"h": h}


def lstm_peephole(m, v):
    i = sig(m, gate(m, v, "i", v.h, plain) + v.c * v.p_i)
    f = sig(m, gate(m, v, "f", v.h, plain) + v.c * v.p_f)
    c = v.c * f + gate(m, v, "g", v.h, tanh) * i
    h = m.tanh(c) * sig(m, gate(m, v, "o", v.h, plain) + c * v.p_o)
    return {"output": h}, {"h": h, "c": c}


def lstm_projection(m, v):
    i, f, o = (gate(m, v, k, v.h) for k in "ifo")
    c = v.c * f + gate(m, v, "g", v.h, tanh) * i
    h = (m.tanh(c) * o) @ v.U_p
    return {"output": h}, {"h": h, "c": c}


def google_lstm(m, v):
    xh = m.concatenate((v.x, v.h))
    i, f = sig(m, xh @ v.W_i + v.b_i + v.c * v.p_i), sig(m, xh @ v.W_f + v.b_f + v.c * v.p_f)
    c = v.c * f + i * sig(m, xh @ v.W_g + v.b_g)
    h = (m.tanh(c) * sig(m, xh @ v.W_o + v.b_o + c * v.p_o)) @ v.U_p
    return {"output": h}, {"h": h, "c": c}


def lstm_coupled(m, v):
    f, o = gate(m, v, "f", v.h), gate(m, v, "o", v.h)
    c = gate(m, v, "g", v.h, tanh) * (1 - f) + v.c * f
    h = m.tanh(c) * o
    return {"output": h}, {"h": h, "c": c}


def lstm_layer_norm(m, v):
    n = len(v.c)
    a = norm(m, v.x @ v.W, v.s_x) + norm(m, v.h @ v.U, v.s_h) + v.b
    c = sig(m, a[n : 2 * n]) * v.c + sig(m, a[:n]) * m.tanh(a[3 * n :])
    h = sig(m, a[2 * n : 3 * n]) * m.tanh(norm(m, c, v.s_c, v.b_c))
    return {"output": h}, {"h": h, "c": c}


def janet(m, v):
    s = v.x @ v.W_f + v.h @ v.U_f + v.b_f
    h = sig(m, s) * v.h + (1 - sig(m, s - 1)) * gate(m, v, "g", v.h, tanh)
    return {"output": h}, {"h": h}


def slstm(m, v):
    raw = {k: v.x @ getattr(v, f"W_{k}") + v.h @ getattr(v, f"R_{k}") + getattr(v, f"b_{k}") for k in "ifzo"}
    log_f = m.log(sig(m, raw["f"])) + v.m
    top = m.where(log_f > raw["i"], log_f, raw["i"])
    i, f = m.exp(raw["i"] - top), m.exp(log_f - top)
    c = f * v.c + i * m.tanh(raw["z"])
    n = f * v.n + i
    h = sig(m, raw["o"]) * (c / n)
    return {"output": h}, {"h": h, "c": c, "n": n, "m": top}


def gru_layer_norm(m, v):
    size = len(v.h)
    a = sig(m, norm(m, v.x @ v.W, v.s_x) + norm(m, v.h @ v.U, v.s_h) + v.b)
    r, z = a[:size], a[size:]
    n = m.tanh(norm(m, v.x @ v.W_n, v.s_nx) + r * norm(m, v.h @ v.U_n, v.s_nh) + v.b_n)
    h = z * v.h + (1 - z) * n
    return {"output": h}, {"h": h}


def mgu(m, v):
    f = gate(m, v, "f", v.h)
    h = (1 - f) * v.h + f * gate(m, v, "n", v.h * f, tanh)
    return {"output": h}, {"h": h}


def ligru(m, v):
    z = gate(m, v, "z", v.h)
    n = gate(m, v, "n", v.h, plain)
    h = z * v.h + (1 - z) * m.where(n > 0, n, 0 * n)
    return {"output": h}, {"h": h}


def min_gru(m, v):
    z = sig(m, v.x @ v.W_z + v.b_z)
    h = v.h - z * v.h + z * (v.x @ v.W_n + v.b_n)
    return {"output": h}, {"h": h}


def min_lstm(m, v):
    f, i = sig(m, v.x @ v.W_f + v.b_f), sig(m, v.x @ v.W_i + v.b_i)
    h = f / (f + i) * v.h + i / (f + i) * (v.x @ v.W_n + v.b_n)
    return {"output": h}, {"h": h}


def sru(m, v):
    f = sig(m, v.x @ v.W_f + v.v_f * v.c + v.b_f)
    r = sig(m, v.x @ v.W_r + v.v_r * v.c + v.b_r)
    c = v.c * f + (v.x @ v.W) * (1 - f)
    return {"output": c * r + (v.x @ v.W_s) * (1 - r)}, {"c": c}


def qrnn(m, v):
    z, f, o = (
        a(m, v.x @ getattr(v, f"W_{k}") + v.x_last @ getattr(v, f"V_{k}") + getattr(v, f"b_{k}"))
        for k, a in (("z", tanh), ("f", sig), ("o", sig))
    )
    c = f * v.c + (1 - f) * z
    return {"output": o * c}, {"x_last": v.x, "c": c}


def attention(m, v):
    weights = m.stack([soft(m, m.stack([(q * k).sum() for k in v.K]) / len(q) ** 0.5) for q in v.Q])
    return {"output": weights @ v.V, "weights": weights}, {}


def multi_head_attention(m, v):
    heads = []
    size = v.W_o.shape[0] // 2
    for head in range(2):
        part = slice(head * size, (head + 1) * size)
        Q, K, V = v.x @ v.W_q[:, part], v.x @ v.W_k[:, part], v.x @ v.W_v[:, part]
        heads.append(m.stack([soft(m, K @ q / size**0.5) @ V for q in Q]))
    return {"output": m.concatenate(heads, 1) @ v.W_o}, {}


def bahdanau_decoder(m, v):
    a = soft(m, m.stack([m.tanh(v.s @ v.W_q + e @ v.W_k) @ v.v for e in v.memory]))
    x = m.concatenate([v.y, a @ v.memory])
    r, z = sig(m, x @ v.W_r + v.s @ v.U_r + v.b_r), sig(m, x @ v.W_z + v.s @ v.U_z + v.b_z)
    s = (1 - z) * m.tanh(x @ v.W_n + (r * v.s) @ v.U_n + v.b_n) + z * v.s
    return {"output": s, "attention": a}, {"s": s}


def luong_decoder(m, v):
    n = len(v.h)
    z = m.concatenate([v.y, v.a, v.h]) @ v.W + v.b
    c = sig(m, z[n : 2 * n]) * v.c + sig(m, z[:n]) * m.tanh(z[2 * n : 3 * n])
    h = sig(m, z[3 * n :]) * m.tanh(c)
    weights = soft(m, m.stack([h @ (e @ v.W_k) for e in v.memory]))
    a = m.tanh(m.concatenate([weights @ v.memory, h]) @ v.W_a)
    return {"output": a, "attention": weights}, {"h": h, "c": c, "a": a}


def windows(m, x, size):
    """All patches of an image with zeros around it, each flattened by (row, column, channel)."""
    height, width, channels = x.shape
    zero = 0 * x[0, 0]
    around = (size - 1) // 2
    rows = []
    for i in range(height):
        for j in range(width):
            places = [(i + di - around, j + dj - around) for di in range(size) for dj in range(size)]
            rows.append(m.concatenate([x[a, b] if 0 <= a < height and 0 <= b < width else zero for a, b in places]))
    return m.stack(rows).reshape(height, width, size * size * channels)


def convolution_1d(m, v):
    around = [0 * v.x[0], *v.x, 0 * v.x[0]]
    return {"output": m.stack([m.concatenate(around[t : t + 3]) @ v.K + v.b for t in range(len(v.x))])}, {}


def convolution_2d(m, v):
    return {"output": windows(m, v.x, 3) @ v.K + v.b}, {}


def conv_lstm(m, v):
    x, h = windows(m, v.X, 3), windows(m, v.H, 3)
    i = sig(m, x @ v.W_i + h @ v.U_i + v.P_i * v.C + v.b_i)
    f = sig(m, x @ v.W_f + h @ v.U_f + v.P_f * v.C + v.b_f)
    C = f * v.C + i * m.tanh(x @ v.W_g + h @ v.U_g + v.b_g)
    H = sig(m, x @ v.W_o + h @ v.U_o + v.P_o * C + v.b_o) * m.tanh(C)
    return {"output": H}, {"H": H, "C": C}


class LibraryCase(Case):
    def sizes(self, n):
        small = {
            "height": 4, "width": 3, "length": 5, "size": 3, "n_channels": 2, "n_kernels": 3, "n_heads": 2, "n_keys": min(n, 3),
            "n_positions": 4, "n_queries": 2, "n_values": 3, "n_features": 6, "n_inputs": max(1, n - 2), "n_neurons": n,
            "n_outputs": (n + 1) // 2,
        }  # fmt: skip
        return {name: small[name] for name in self.cell.dimensions}


OUTPUTS = {
    "sru": {"output": ("n_neurons",)},
    "qrnn": {"output": ("n_neurons",)},
    "attention": {"output": ("n_queries", "n_values"), "weights": ("n_queries", "n_positions")},
    "multi_head_attention": {"output": ("n_positions", "n_features")},
    "bahdanau_decoder": {"output": ("n_neurons",), "attention": ("n_positions",)},
    "luong_decoder": {"output": ("n_neurons",), "attention": ("n_positions",)},
    "convolution_1d": {"output": ("length", "n_kernels")},
    "convolution_2d": {"output": ("height", "width", "n_kernels")},
}
STEPS = {
    step.__name__: step
    for step in (
        indrnn, lstm_peephole, lstm_projection, google_lstm, lstm_coupled,
        lstm_layer_norm, janet, slstm, gru_layer_norm, mgu, ligru,
        min_gru, min_lstm, sru, qrnn, attention, multi_head_attention, bahdanau_decoder, luong_decoder,
        convolution_1d, convolution_2d,
        conv_lstm,
    )
}  # fmt: skip
# cells of tests/loops.py that the library has too: what native code makes of them is left to a sweep
TWINS = (
    "peephole_lstm", "projected_lstm", "coupled_lstm", "minimal_gated_unit", "layer_norm_lstm", "independent_rnn",
    "convolutional_lstm", "exponential_lstm", "recurrent_relu", "recurrent_sigmoid", "recurrent_softsign",
)  # fmt: skip


def swept(cases, chosen=lambda case: case.name not in TWINS):
    """Cases for `parametrize`: those that are chosen, and the others as sweeps."""
    return [case if chosen(case) else pytest.param(case, marks=pytest.mark.sweep) for case in cases]


LIBRARY = [LibraryCase(name, getattr(cells, name), step, more_outputs=OUTPUTS.get(name, {})) for name, step in STEPS.items()]
