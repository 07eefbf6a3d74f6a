"""Cells that no library has as a fixed layer: three from papers, and three that somebody might invent on a Tuesday.

Each is written twice: as the equation, for Ostinato; and as a peer's user would write it by hand (see benchmarks/models.py).
"""
# ruff: noqa: ARG001, B008, N803 - every model has the same arguments; declarations are default values; equations have symbols

import numpy as np

from ostinato import Bias, Input, State, Weight, cell, cells, exp, maximum, relu, sigmoid, split, tanh

from .models import BUILT_IN, Model, lstm_gates, projected, side_by_side


@cell
def peephole_projection(
    x=Input("n_inputs"), h=State("n_outputs"), c=State("n_neurons"),
    W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_outputs", "4*n_neurons"), b=Bias("4*n_neurons"),
    p_i=Weight("n_neurons"), p_f=Weight("n_neurons"), p_o=Weight("n_neurons"), U_p=Weight("n_neurons", "n_outputs"),
):  # fmt: skip
    """LSTM with peepholes and a projection (Sak, Senior and Beaufays 2014, arXiv 1402.1128, eq. 1 to 6 without p)."""
    i, f, g, o = split(x @ W + h @ U + b, 4)
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
    return (sigmoid(o + p_o * c) * tanh(c)) @ U_p, c


@cell
def leaky_gru(
    x=Input("n_inputs"), h=State("n_neurons"),
    W=Weight("n_inputs", "2*n_neurons"), U=Weight("n_neurons", "2*n_neurons"), b=Bias("2*n_neurons"),
    leak=Weight("n_neurons"),
):  # fmt: skip
    """A leaky integrator with one gate and a squared rectifier: each neuron learns how fast it forgets."""
    z, n = split(x @ W + h @ U + b, 2)
    n = relu(n)
    return sigmoid(leak) * h + sigmoid(z) * (n * n - h) * (1 - sigmoid(leak))


@cell
def gate_attention_lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W=Weight("n_inputs", "5*n_neurons"), U=Weight("n_neurons", "5*n_neurons"), b=Bias("5*n_neurons"),
):  # fmt: skip
    """An LSTM whose gates compete: a softmax over four of them shares out the memory of each neuron."""
    i, f, r, s, g = split(x @ W + h @ U + b, 5)
    top = maximum(maximum(i, f), maximum(r, s))
    i, f, r, s = exp(i - top), exp(f - top), exp(r - top), exp(s - top)
    total = i + f + r + s
    c = (f * c + i * tanh(g) + r * h) / total
    return (1 - s / total) * tanh(c), c


@cell
def multiplicative_lstm(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"),
    W_m=Weight("n_inputs", "n_neurons"), U_m=Weight("n_neurons", "n_neurons"),
    W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
):  # fmt: skip
    """Each input chooses its own recurrent matrix, factorised (Krause, Lu, Murray and Renals 2016, arXiv 1609.07959).

    The output gate acts after tanh here, as in an LSTM; the paper has it inside.
    """
    m = (x @ W_m) * (h @ U_m)
    i, f, g, o = split(x @ W + m @ U + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _as_it_is(weights):
    return dict(weights)


def _layer_norm_project(m, X, w):
    return m.layer_norm(X @ w["W"], w["s_x"]) + w["b"]


def _layer_norm_step(m, p, states, w):
    h, c = states
    i, f, o, g = m.split(p + m.layer_norm(h @ w["U"], w["s_h"]), 4)
    c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(m.layer_norm(c, w["s_c"]) + w["b_c"]), c


def _peephole_step(m, p, states, w):
    h, c = states
    i, f, g, o = m.split(p + h @ w["U"], 4)
    c = m.sigmoid(f + w["p_f"] * c) * c + m.sigmoid(i + w["p_i"] * c) * m.tanh(g)
    return (m.sigmoid(o + w["p_o"] * c) * m.tanh(c)) @ w["U_p"], c


def _merge_mgu(weights):
    merged = {name: side_by_side(weights, name, "fn") for name in ("W", "b")}
    return {**merged, "U_f": weights["U_f"], "U_n": weights["U_n"]}


def _mgu_step(m, p, states, w):
    (h,) = states
    p_f, p_n = m.split(p, 2)
    f = m.sigmoid(p_f + h @ w["U_f"])
    n = m.tanh(p_n + (f * h) @ w["U_n"])
    return ((1 - f) * h + f * n,)


def _leaky_step(m, p, states, w):
    (h,) = states
    z, n = m.split(p + h @ w["U"], 2)
    leak, n = m.sigmoid(w["leak"]), m.relu(n)
    return (leak * h + m.sigmoid(z) * (n * n - h) * (1 - leak),)


def _gate_attention_step(m, p, states, w):
    h, c = states
    i, f, r, s, g = m.split(p + h @ w["U"], 5)
    top = m.maximum(m.maximum(i, f), m.maximum(r, s))
    i, f, r, s = m.exp(i - top), m.exp(f - top), m.exp(r - top), m.exp(s - top)
    total = i + f + r + s
    c = (f * c + i * m.tanh(g) + r * h) / total
    return (1 - s / total) * m.tanh(c), c


def _merge_multiplicative(weights):
    merged = {name: weights[name] for name in ("U_m", "U", "b")}
    return {"W": np.concatenate([weights["W_m"], weights["W"]], axis=1), **merged}


def _multiplicative_project(m, X, w):
    return X @ w["W"]


def _multiplicative_step(m, p, states, w):
    h, c = states
    n_neurons = c.shape[-1]
    around = p[..., :n_neurons] * (h @ w["U_m"])
    return lstm_gates(m, p[..., n_neurons:] + w["b"] + around @ w["U"], c)


def _projected_sizes(n):
    return {"n_inputs": n, "n_neurons": n, "n_outputs": n // 2}


TWO = ("n_neurons", "n_neurons")

OWN = {
    "layer_norm_lstm": Model(
        "layer_norm_lstm", cells.lstm_layer_norm, _as_it_is, _layer_norm_project, _layer_norm_step, TWO
    ),
    "peephole_projection": Model(
        "peephole_projection", peephole_projection, _as_it_is, projected, _peephole_step, ("n_outputs", "n_neurons"),
        sizes=_projected_sizes,
    ),
    "mgu": Model("mgu", cells.mgu, _merge_mgu, projected, _mgu_step, ("n_neurons",)),
    "leaky_gru": Model("leaky_gru", leaky_gru, _as_it_is, projected, _leaky_step, ("n_neurons",)),
    "gate_attention_lstm": Model("gate_attention_lstm", gate_attention_lstm, _as_it_is, projected, _gate_attention_step, TWO),
    "multiplicative_lstm": Model(
        "multiplicative_lstm", multiplicative_lstm, _merge_multiplicative, _multiplicative_project, _multiplicative_step, TWO
    ),
}  # fmt: skip

ALL = BUILT_IN | OWN
