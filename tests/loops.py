"""What cells mean, written a second time by hand: plain loops over instances and steps. No code of Ostinato computes here.

A step is written over a module `m` that has the functions of NumPy: `numpy` itself for values, `torch` for gradients by its
own automatic differentiation. Weights are one array per name; `v` holds everything that a step sees, for one instance.

`CASES` names every cell with its step; a `Variant` is a spelling of it, and how the weights of the case become its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from ostinato import cells, elu, relu, sigmoid, softsign
from tests import spelled_cells as spelled

Step = Callable[[Any, Any], tuple[dict[str, Any], dict[str, Any]]]


# --- the steps --------------------------------------------------------------------------------------------------------------


def sig(m, z):
    return 1 / (1 + m.exp(-z))


def parts(z, n):
    size = z.shape[-1] // n
    return [z[..., i * size : (i + 1) * size] for i in range(n)]


PHI = {
    "tanh": lambda m, z: m.tanh(z),
    "relu": lambda m, z: m.where(z > 0, z, 0 * z),
    "sigmoid": sig,
    "softsign": lambda m, z: z / (1 + m.abs(z)),
    "elu": lambda m, z: m.where(z > 0, z, m.exp(m.where(z > 0, 0 * z, z)) - 1),
    "identity": lambda m, z: z,
}


def neuron_step(m, v):
    y = m.tanh((v.x * v.w_x).sum() + v.y * v.w_y + v.b)
    return {"output": y}, {"y": y}


def recurrent_step(m, v, phi="tanh"):
    y = PHI[phi](m, v.x @ v.W_x + v.y @ v.W_y + v.b)
    return {"output": y}, {"y": y}


def dense_step(m, v, phi="identity"):
    return {"output": PHI[phi](m, v.x @ v.W + v.b)}, {}


def lstm_step(m, v):
    xh = m.concatenate([v.x, v.h])
    i, f, o = sig(m, xh @ v.W_i + v.b_i), sig(m, xh @ v.W_f + v.b_f), sig(m, xh @ v.W_o + v.b_o)
    c = f * v.c + i * m.tanh(xh @ v.W_g + v.b_g)
    h = o * m.tanh(c)
    return {"output": h}, {"h": h, "c": c}


def gru_step(m, v):
    r = sig(m, v.x @ v.W_r + v.h @ v.U_r + v.b_r)
    z = sig(m, v.x @ v.W_z + v.h @ v.U_z + v.b_z)
    h = (1 - z) * m.tanh(v.x @ v.W_n + v.b_n + r * (v.h @ v.U_n + v.b_hn)) + z * v.h
    return {"output": h}, {"h": h}


def gru_reset_before_step(m, v):
    r = sig(m, v.x @ v.W_r + v.h @ v.U_r + v.b_r)
    z = sig(m, v.x @ v.W_z + v.h @ v.U_z + v.b_z)
    h = (1 - z) * m.tanh(v.x @ v.W_n + v.b_n + (r * v.h) @ v.U_n) + z * v.h
    return {"output": h}, {"h": h}


def peephole_lstm_step(m, v):
    z_i, z_f, z_g, z_o = parts(v.x @ v.W + v.h @ v.U + v.b, 4)
    c = sig(m, z_f + v.p_f * v.c) * v.c + sig(m, z_i + v.p_i * v.c) * m.tanh(z_g)
    h = sig(m, z_o + v.p_o * c) * m.tanh(c)
    return {"output": h}, {"h": h, "c": c}


def projected_lstm_step(m, v):
    i, f, g, o = parts(v.x @ v.W + v.h @ v.U + v.b, 4)
    c = sig(m, f) * v.c + sig(m, i) * m.tanh(g)
    h = (sig(m, o) * m.tanh(c)) @ v.P
    return {"output": h}, {"h": h, "c": c}


def coupled_lstm_step(m, v):
    f, g, o = parts(v.x @ v.W + v.h @ v.U + v.b, 3)
    c = sig(m, f) * v.c + (1 - sig(m, f)) * m.tanh(g)
    h = sig(m, o) * m.tanh(c)
    return {"output": h}, {"h": h, "c": c}


def minimal_gated_unit_step(m, v):
    f = sig(m, v.x @ v.W_f + v.h @ v.U_f + v.b_f)
    h = (1 - f) * v.h + f * m.tanh(v.x @ v.W_n + (f * v.h) @ v.U_n + v.b_n)
    return {"output": h}, {"h": h}


def normal(m, z):
    centred = z - z.sum() / len(z)
    return centred / m.sqrt((centred**2).sum() / len(z) + 1e-3)


def layer_norm_lstm_step(m, v):
    i, f, g, o = parts(normal(m, v.x @ v.W + v.h @ v.U) * v.scale + v.shift, 4)
    c = sig(m, f) * v.c + sig(m, i) * m.tanh(g)
    h = sig(m, o) * m.tanh(normal(m, c) * v.scale_c + v.shift_c)
    return {"output": h}, {"h": h, "c": c}


def janet_step(m, v):
    s = v.x @ v.W_f + v.h @ v.U_f + v.b_f
    h = sig(m, s) * v.h + (1 - sig(m, s - 1)) * m.tanh(v.x @ v.W_g + v.h @ v.U_g + v.b_g)
    return {"output": h}, {"h": h}


def min_gru_step(m, v):
    z = sig(m, v.x @ v.W_z + v.b_z)
    h = (1 - z) * v.h + z * (v.x @ v.W_n + v.b_n)
    return {"output": h}, {"h": h}


def independent_rnn_step(m, v):
    h = PHI["relu"](m, v.x @ v.W + v.u * v.h + v.b)
    return {"output": h}, {"h": h}


def attention_decoder_step(m, v):
    e = m.exp(v.memory @ (v.h @ v.W_q))
    a = e / e.sum()
    h = m.tanh(v.x @ v.W + v.h @ v.U + (a @ v.memory) @ v.V + v.b)
    return {"output": h, "attention": a}, {"h": h}


def convolution(m, image, kernel):
    """A 3 x 3 convolution with zeros around the image, position by position; kernel (9 * channels, maps)."""
    height, width, _ = image.shape
    nothing = 0 * kernel[: image.shape[2], 0]
    rows = []
    for i in range(height):
        row = []
        for j in range(width):
            places = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
            seen = [image[p, q] if 0 <= p < height and 0 <= q < width else nothing for p, q in places]
            row.append(m.concatenate(seen) @ kernel)
        rows.append(m.stack(row))
    return m.stack(rows)


def convolutional_lstm_step(m, v):
    i, f, g, o = parts(convolution(m, v.x, v.K) + convolution(m, v.h, v.L) + v.b, 4)
    c = sig(m, f) * v.c + sig(m, i) * m.tanh(g)
    h = sig(m, o) * m.tanh(c)
    return {"output": h}, {"h": h, "c": c}


def exponential_lstm_step(m, v):
    z, i, f, o = parts(v.x @ v.W + v.h @ v.U + v.b, 4)
    top = m.where(f + v.m > i, f + v.m, i)
    c = m.exp(f + v.m - top) * v.c + m.exp(i - top) * m.tanh(z)
    n = m.exp(f + v.m - top) * v.n + m.exp(i - top)
    h = sig(m, o) * c / n
    return {"output": h}, {"h": h, "c": c, "n": n, "m": top}


def controlled_step(m, v):
    s = m.tanh(v.s * v.g + v.u + (v.h * v.w).sum())
    h = m.tanh(v.x @ v.W + (v.k * v.a) @ v.V + s * (v.h @ v.U))
    return {"output": h * h, "energy": (h * v.w * v.w).sum() + v.s, "seen": v.x * v.k}, {"h": h, "s": s}


def fast_weights_step(m, v):
    k, x, q = v.x @ v.W_k, v.x @ v.W_v, v.x @ v.W_q
    S = sig(m, v.d) * v.S + m.stack([k[i] * x for i in range(len(k))])
    return {"output": m.tanh(sum(q[i] * S[i] for i in range(len(q))))}, {"S": S}


# --- the loop ---------------------------------------------------------------------------------------------------------------


def run(case, sizes, values, *, lengths=None, reset=None, reverse=False, m=np):
    """Outputs (n_steps, n_instances, ...) and final states (n_instances, ...), instance after instance, step after step.

    `values`: every input (n_steps, n_instances, ...), context and initial state (n_instances, ...), and weight.
    """
    n_steps, n_instances = next(values[name].shape[:2] for name in case.names("input"))
    outputs = {name: [[None] * n_instances for _ in range(n_steps)] for name in case.outputs}
    final = {name: [None] * n_instances for name in case.names("state")}
    for b in range(n_instances):
        length = n_steps if lengths is None else int(lengths[b])
        state = {name: values[name][b] for name in final}
        fixed = {name: values[name][b] for name in case.names("context")}
        fixed |= {name: values[name] for name in case.names("weight", "bias")}
        for t in range(length - 1, -1, -1) if reverse else range(length):
            if reset is not None and reset[t, b]:
                state = {name: 0 * s + case.declarations[name].initial for name, s in state.items()}
            seen = {name: values[name][t, b] for name in case.names("input")}
            given, state = case.step(m, SimpleNamespace(**seen, **fixed, **state))
            for name, value in given.items():
                outputs[name][t][b] = value
        for name, rows in final.items():
            rows[b] = state[name]
    kind = next(iter(values.values())).dtype
    shapes = {name: case.shape(dims, sizes) for name, dims in case.outputs.items()}
    zeros = {name: m.zeros(shape, dtype=kind) for name, shape in shapes.items()}
    done = {}
    for name, rows in outputs.items():
        flat = [zeros[name] if value is None else value for row in rows for value in row]
        whole = m.stack(flat) if flat else m.zeros((0,), dtype=kind)
        done[name] = whole.reshape(n_steps, n_instances, *shapes[name])
    states = {name: m.stack(rows) if rows else values[name] for name, rows in final.items()}
    return done, states


# --- the cases --------------------------------------------------------------------------------------------------------------


def stacked(*groups: tuple[str, str]) -> Any:
    """Weights of another spelling: "W_i=W_i/U_i" stacks rows, "W=A|B" puts columns side by side, "b=b" takes over."""

    def convert(weights: Mapping[str, Any]) -> dict[str, Any]:
        result = {}
        for name, expression in groups:
            columns = []
            for column in expression.split("|"):
                rows = [weights[row] for row in column.split("/")]
                columns.append(rows[0] if len(rows) == 1 else np.concatenate(rows))
            result[name] = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=-1)
        return result

    return convert


def given(text: str) -> Any:
    return stacked(*(tuple(item.split("=")) for item in text.split()))  # type: ignore[misc]


def halves(weights):
    """The library's LSTM has one weight per gate over [x h]; cut into the parts for x and for h."""
    n_neurons = weights["b_i"].shape[0]
    result = {}
    for gate in "ifgo":
        result[f"W_{gate}"], result[f"U_{gate}"] = weights[f"W_{gate}"][:-n_neurons], weights[f"W_{gate}"][-n_neurons:]
        result[f"b_{gate}"] = weights[f"b_{gate}"]
    return result


def diagonal(weights):
    return {"W": np.concatenate([weights["W"], np.diag(weights["u"])]), "b": weights["b"]}


def as_row(weights):
    return {"W": np.concatenate([weights["W"], weights["b"][None]])}


def with_number(weights):
    return {"w": np.concatenate([weights["w_x"], weights["w_y"][None]]), "b": weights["b"]}


@dataclass(frozen=True)
class Case:
    """A cell with its meaning by hand, and its other spelling."""

    name: str
    cell: Any
    step: Step
    other: Any = None
    convert: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    options: dict[str, Any] = field(default_factory=dict)
    more_outputs: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __repr__(self):
        return self.name

    @property
    def declarations(self):
        return self.cell.declarations

    def names(self, *roles):
        return [name for name, d in self.declarations.items() if d.role in roles]

    @property
    def outputs(self):
        if self.more_outputs:
            return self.more_outputs
        return {"output": self.declarations[self.names("state")[0]].dims if self.names("state") else ("n_outputs",)}

    def sizes(self, n):
        """Sizes of about n for every dimension, no two alike where they could be confused."""
        small = {"height": min(n, 4), "width": min(n, 3), "n_channels": 2, "n_maps": min(n, 3), "n_keys": min(n, 7)}
        other = {"n_inputs": max(1, n - 2), "n_projected": (n + 1) // 2}
        return {name: (small | other).get(name, n) for name in self.cell.dimensions}

    @staticmethod
    def shape(dims, sizes):
        return tuple(eval(str(d), {}, dict(sizes)) for d in dims)

    def values(self, sizes, n_steps, n_instances, seed=0, dtype="float64"):
        """Generic values for everything the cell reads; weights so that nothing saturates."""
        generator = np.random.default_rng([seed, n_steps, n_instances])
        leading = {"input": (n_steps, n_instances), "context": (n_instances,), "state": (n_instances,)}
        result = {}
        for name, d in self.declarations.items():
            shape = (*leading.get(d.role, ()), *self.shape(d.dims, sizes))
            value = generator.standard_normal(shape)
            if d.role == "weight" and len(shape) > 1:
                value *= 0.6 / np.sqrt(shape[0])
            elif d.role != "input":
                value *= 0.4
            result[name] = value.astype(dtype)
        if "n" in result:
            result["n"] = np.abs(result["n"]) + np.asarray(0.5, dtype)  # what normalises is positive
        return result


def _recurrent(name, phi):
    return Case(
        f"recurrent_{name}", cells.recurrent, partial(recurrent_step, phi=name), spelled.recurrent_joined,
        given("W=W_x/W_y b=b"), {"phi": phi},
    )  # fmt: skip


_SQUARE = given("W=W/U b=b")
_FG = given("W_f=W_f/U_f b_f=b_f W_n=W_n/U_n b_n=b_n")
_PEEPHOLES = given("W=W/U b=b p_i=p_i p_f=p_f p_o=p_o")
_NORMS = given("W=W/U scale=scale shift=shift scale_c=scale_c shift_c=shift_c")

CASES = [
    Case("neuron", cells.neuron, neuron_step, spelled.neuron_joined, with_number),
    *(_recurrent(name, phi) for name, phi in {
        "tanh": spelled.tanh, "relu": relu, "sigmoid": sigmoid, "softsign": softsign, "elu": elu,
    }.items()),
    Case("dense", cells.dense, partial(dense_step, phi="tanh"), spelled.dense_joined, as_row, {"phi": spelled.tanh}),
    Case("lstm", cells.lstm, lstm_step, spelled.lstm_separate, halves),
    Case("lstm_in_one", cells.lstm, lstm_step, spelled.lstm_wide, given("W=W_i|W_f|W_g|W_o b=b_i/b_f/b_g/b_o")),
    Case("gru", cells.gru, gru_step, spelled.gru_joined,
         given("W=W_r/U_r|W_z/U_z b=b_r/b_z W_n=W_n U_n=U_n b_n=b_n b_hn=b_hn")),
    Case("gru_reset_before", cells.gru_reset_before, gru_reset_before_step, spelled.gru_reset_before_joined,
         given("W_r=W_r/U_r b_r=b_r W_z=W_z/U_z b_z=b_z W_n=W_n/U_n b_n=b_n")),
    Case("peephole_lstm", spelled.peephole_lstm, peephole_lstm_step, spelled.peephole_lstm_joined, _PEEPHOLES),
    Case("projected_lstm", spelled.projected_lstm, projected_lstm_step, spelled.projected_lstm_joined,
         given("W=W/U b=b P=P")),
    Case("coupled_lstm", spelled.coupled_lstm, coupled_lstm_step, spelled.coupled_lstm_joined, _SQUARE),
    Case("minimal_gated_unit", spelled.minimal_gated_unit, minimal_gated_unit_step, spelled.minimal_gated_unit_joined, _FG),
    Case("layer_norm_lstm", spelled.layer_norm_lstm, layer_norm_lstm_step, spelled.layer_norm_lstm_joined, _NORMS),
    Case("janet", spelled.janet, janet_step, spelled.janet_joined, given("W=W_f/U_f|W_g/U_g b=b_f/b_g")),
    Case("min_gru", spelled.min_gru, min_gru_step, spelled.min_gru_joined, given("W=W_z|W_n b=b_z/b_n")),
    Case("independent_rnn", spelled.independent_rnn, independent_rnn_step, spelled.independent_rnn_joined, diagonal),
    Case("attention_decoder", spelled.attention_decoder, attention_decoder_step, spelled.attention_decoder_joined,
         given("W_q=W_q W=W/V/U b=b"), more_outputs={"output": ("n_neurons",), "attention": ("n_keys",)}),
    Case("convolutional_lstm", spelled.convolutional_lstm, convolutional_lstm_step, spelled.convolutional_lstm_joined,
         given("K=K/L b=b")),
    Case("exponential_lstm", spelled.exponential_lstm, exponential_lstm_step, spelled.exponential_lstm_joined, _SQUARE),
    Case("controlled", spelled.controlled, controlled_step, spelled.controlled_joined, given("W=W/V/U w=w g=g"),
         more_outputs={"output": ("n_neurons",), "energy": (), "seen": ("n_inputs",)}),
    Case("fast_weights", spelled.fast_weights, fast_weights_step, spelled.fast_weights_joined,
         given("W=W_k|W_v|W_q d=d"), more_outputs={"output": ("n_values",)}),
]  # fmt: skip

SPELLINGS = [(case, spelling) for case in CASES for spelling in ("own", "other")]
