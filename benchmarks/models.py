"""The cells of the grids, as a peer's user would write them by hand: gates side by side, inputs multiplied before the loop.

A model is written once over a namespace `m` of functions (NumPy here; PyTorch and JAX in benchmarks/peers), with the best
known arrangement: one product of all inputs of all steps, one recurrent product for all gates. In NumPy and float64 it is
what every contender's figures are checked with; it shares nothing with Ostinato.
"""
# ruff: noqa: ARG001, N803 - every model has the same arguments; X and W are the symbols of the equations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ostinato import cells


class InNumPy:
    """The functions that models are written with."""

    tanh, exp, maximum = np.tanh, np.exp, np.maximum

    @staticmethod
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    @staticmethod
    def relu(x):
        return np.maximum(x, 0)

    @staticmethod
    def split(x, n):
        return np.split(x, n, axis=-1)

    @staticmethod
    def layer_norm(x, scale):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * scale


@dataclass(frozen=True)
class Model:
    """A cell twice: for Ostinato, and for its peers.

    Attributes:
        cell: Ostinato's.
        sizes: number of neurons -> the sizes of a layer.
        states: the dimension of each state; the first state is the output.
        merge: the cell's weights, or their gradients, by name -> the same numbers, arranged for `project` and `step`.
        project: (m, X, w) -> what of the step depends on the inputs alone, (n_steps, n_instances, ...).
        step: (m, projected, states, w) -> the new states.
        input_weights: the merged matrices that `project` multiplies by; all other matrices are in the loop.
    """

    name: str
    cell: Any
    merge: Callable[[dict], dict]
    project: Callable[[Any, Any, dict], Any]
    step: Callable[[Any, Any, tuple, dict], tuple]
    states: tuple[str, ...]
    input_weights: tuple[str, ...] = ("W",)
    sizes: Callable[[int], dict] = lambda n: {"n_inputs": n, "n_neurons": n}

    def multiply_adds(self, merged):
        """Those of one instance at one step: (of the inputs, of the states). Every matrix is read once."""
        found = [0, 0]
        for name, array in merged.items():
            if array.ndim == 2:
                found[name not in self.input_weights] += array.size
        return tuple(found)


def side_by_side(weights, letter, gates):
    """The matrices (or biases) of several gates as one, by the names `letter_gate`."""
    return np.concatenate([weights[f"{letter}_{gate}"] for gate in gates], axis=-1)


def projected(m, X, w):
    """All inputs of all steps in one product."""
    return X @ w["W"] + w["b"]


def _recurrent_step(m, p, states, w):
    (y,) = states
    return (m.tanh(p + y @ w["U"]),)


def _gru_step(m, p, states, w):
    (h,) = states
    p_r, p_z, p_n = m.split(p, 3)
    u_r, u_z, u_n = m.split(h @ w["U"], 3)
    z = m.sigmoid(p_z + u_z)
    n = m.tanh(p_n + m.sigmoid(p_r + u_r) * (u_n + w["b_hn"]))
    return ((1 - z) * n + z * h,)


def lstm_gates(m, gates, c):
    """Gates in the order i, f, g, o -> h, c."""
    i, f, g, o = m.split(gates, 4)
    c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(c), c


def _lstm_step(m, p, states, w):
    h, c = states
    return lstm_gates(m, p + h @ w["U"], c)


def _merge_lstm(weights):
    # ours are (n_inputs + n_neurons, n_neurons): those of the inputs above those of the state, of which there are n_neurons
    W, n_neurons = side_by_side(weights, "W", "ifgo"), weights["W_i"].shape[1]
    return {"W": W[:-n_neurons], "U": W[-n_neurons:], "b": side_by_side(weights, "b", "ifgo")}


def _merge_gru(weights):
    gates = {name: side_by_side(weights, name, "rzn") for name in ("W", "U", "b")}
    return {**gates, "b_hn": weights["b_hn"]}


BUILT_IN = {
    "recurrent": Model(
        "recurrent", cells.recurrent, lambda w: {"W": w["W_x"], "U": w["W_y"], "b": w["b"]}, projected, _recurrent_step,
        ("n_neurons",),
    ),
    "gru": Model("gru", cells.gru, _merge_gru, projected, _gru_step, ("n_neurons",)),
    "lstm": Model("lstm", cells.lstm, _merge_lstm, projected, _lstm_step, ("n_neurons", "n_neurons")),
}  # fmt: skip


def run_in_numpy(model, X, merged, sizes):
    """The outputs (n_steps, n_instances, n_outputs), in the dtype of what is given."""
    states = tuple(np.zeros((X.shape[1], sizes[name]), X.dtype) for name in model.states)
    outputs = []
    for p in model.project(InNumPy, X, merged):
        states = model.step(InNumPy, p, states, merged)
        outputs.append(states[0])
    return np.stack(outputs)
