"""A module of PyTorch as a Layer or Network that needs no PyTorch, and the way back.

The cells are the library's: of PyTorch's two biases that are added there is one here, their sum; on the way back it is the
first of the two, and the second is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from .. import cells
from ..errors import DataTypeError, OstinatoError, lay_out
from ..ir.ops import relu, tanh
from ..language.cell import Cell
from ..language.functions import ACTIVATIONS, identity
from ..layers.layer import Layer
from ..layers.network import Bidirectional, Dropout, Network
from ..process.pickling import received
from .recurrent import Recurrent
from .rnn import GRU, LSTM, RNN
from .step_cells import GRUCell, LSTMCell, RNNCell

Array = np.ndarray[Any, np.dtype[Any]]
Weights = dict[str, Array]


def load(module: nn.Module) -> Layer | Network:
    """A copy of a module that needs no PyTorch: to run, to stream, to explain, to save.

    Args:
        module: an RNN, GRU or LSTM of torch.nn or ours, a cell of these, a Recurrent or a Linear; parametrized or not.

    Raises:
        DataTypeError: it is something else; a class that somebody derived from these may do something else, too.
    """
    kind = type_before_parametrizations(module)
    if kind is Recurrent:
        return _recurrent(module)
    if kind in (nn.RNN, nn.GRU, nn.LSTM, RNN, GRU, LSTM):
        return _stack(module)
    if kind in (nn.RNNCell, nn.GRUCell, nn.LSTMCell, RNNCell, GRUCell, LSTMCell):
        return _cell(module)
    if kind is nn.Linear:
        return _linear(module)
    known = "an RNN, GRU or LSTM, a cell of these, a Recurrent or a Linear"
    raise DataTypeError(lay_out(f"a layer is made of {known}, and this is a {type(module).__name__}"))


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.detach().cpu().to(torch.float64 if tensor.dtype == torch.float64 else torch.float32).numpy())


def _dtype(module: nn.Module) -> str:
    return "float64" if next(module.parameters()).dtype == torch.float64 else "float32"


def _recurrent(module: Any) -> Layer:
    cell = received(module.cell)
    layer = Layer(
        cell, dtype=_dtype(module), batch_first=module.batch_first, reverse=module.reverse, **module.sizes_and_options
    )
    layer.weights.update({name: _array(getattr(module, name)) for name in layer.weights})
    return layer


def _linear(module: Any) -> Layer:
    layer = Layer(cells.dense, n_inputs=module.in_features, n_outputs=module.out_features, dtype=_dtype(module))
    weights = {"W": _array(module.weight).T, "b": np.zeros(module.out_features) if module.bias is None else _array(module.bias)}
    layer.weights.update(weights)
    return layer


# --- recurrent modules -------------------------------------------------------------------------------------------------------


def _gates(p: Mapping[str, Array], letters: str) -> dict[str, tuple[Array, Array, Array, Array]]:
    """Letter of a gate -> its input matrix, recurrent matrix, and both biases, in our orientation."""
    n = len(p["weight_ih"]) // len(letters)
    zeros = np.zeros(len(p["weight_ih"]), p["weight_ih"].dtype)
    b_x, b_h = p.get("bias_ih", zeros), p.get("bias_hh", zeros)
    parts = {letter: slice(k * n, (k + 1) * n) for k, letter in enumerate(letters)}
    return {g: (p["weight_ih"][s].T, p["weight_hh"][s].T, b_x[s], b_h[s]) for g, s in parts.items()}


def _lstm(p: Mapping[str, Array]) -> Weights:
    found: Weights = {}
    for g, (w, u, b_x, b_h) in _gates(p, "ifgo").items():
        if "weight_hr" in p:
            found |= {f"W_{g}": w, f"U_{g}": u, f"b_{g}": b_x + b_h}
        else:
            found |= {f"W_{g}": np.concatenate([w, u]), f"b_{g}": b_x + b_h}
    return {**found, "U_p": p["weight_hr"].T} if "weight_hr" in p else found


def _gru(p: Mapping[str, Array]) -> Weights:
    found: Weights = {}
    for g, (w, u, b_x, b_h) in _gates(p, "rzn").items():
        found |= {f"W_{g}": w, f"U_{g}": u, f"b_{g}": b_x if g == "n" else b_x + b_h}
        if g == "n":
            found["b_hn"] = b_h
    return found


def _rnn(p: Mapping[str, Array]) -> Weights:
    (w, u, b_x, b_h) = _gates(p, "y")["y"]
    return {"W_x": w, "W_y": u, "b": b_x + b_h}


FROM_TORCH: dict[str, Callable[[Mapping[str, Array]], Weights]] = {
    "LSTM": _lstm, "GRU": _gru, "RNN_TANH": _rnn, "RNN_RELU": _rnn,
}  # fmt: skip


def _kind(mode: str, projected: int) -> tuple[Any, dict[str, Any]]:
    """The cell of the library, and its options."""
    if mode == "LSTM":
        return (cells.lstm_projection, {"n_outputs": projected}) if projected else (cells.lstm, {})
    return (cells.gru, {}) if mode == "GRU" else (cells.recurrent, {"phi": relu if mode == "RNN_RELU" else tanh})


def _stack(module: Any) -> Layer | Network:
    n_directions = 2 if module.bidirectional else 1
    cell, options = _kind(module.mode, module.proj_size)
    made: dict[str, Any] = {"dtype": _dtype(module), "batch_first": module.batch_first}
    parts: list[Any] = []
    for layer in range(module.num_layers):
        own = []
        for direction in range(n_directions):
            suffix = f"_l{layer}{'_reverse' if direction else ''}"
            names = [name for name in module._flat_weights_names if name.endswith(suffix)]  # noqa: SLF001 - of the base class
            names = [name for name in names if direction or not name.endswith("_reverse")]
            own.append({name.removesuffix(suffix): _array(getattr(module, name)) for name in names})
        sizes = {"n_inputs": own[0]["weight_ih"].shape[1], "n_neurons": module.hidden_size, **options}
        found = [FROM_TORCH[module.mode](p) for p in own]
        if n_directions == 1:
            part: Any = Layer(cell, **made, **sizes)
            part.weights.update(found[0])
        else:
            part = Bidirectional(cell, **made, **sizes)
            part.weights.update({f"{side}.{n}": a for side, w in zip(("forward", "reverse"), found, strict=True)
                                 for n, a in w.items()})  # fmt: skip
        parts.append(part)
        if module.dropout and layer < module.num_layers - 1:
            parts.append(Dropout(module.dropout))
    return Network(*parts) if len(parts) > 1 or n_directions == 2 else parts[0]


def _cell(module: Any) -> Layer:
    mode = module.mode if hasattr(module, "mode") else _mode_of(module)
    cell, options = _kind(mode, 0)
    layer = Layer(cell, n_inputs=module.input_size, n_neurons=module.hidden_size, dtype=_dtype(module), **options)
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    layer.weights.update(FROM_TORCH[mode]({name: _array(getattr(module, name)) for name in names}))
    return layer


def _mode_of(module: nn.RNNCellBase) -> str:
    """The mode of a cell of torch.nn."""
    if isinstance(module, nn.RNNCell):
        return f"RNN_{module.nonlinearity.upper()}"
    return "LSTM" if isinstance(module, nn.LSTMCell) else "GRU"


# --- the way back ------------------------------------------------------------------------------------------------------------


def module(layer: Layer) -> nn.Module:
    """A module with the same weights: an RNN, GRU or LSTM where the cell is one, a Linear for a dense layer, else a Recurrent.

    Raises:
        DataTypeError: it is no Layer, or one that was loaded from a file and whose cell is not of the library.
    """
    if not isinstance(layer, Layer):
        raise DataTypeError(lay_out(f"a module is made of a Layer, and this is a {type(layer).__name__}"))
    dtype = torch.float64 if layer.dtype == "float64" else torch.float32
    cell, options = _cell_of(layer)
    sizes, w = layer.sizes, layer.weights
    plain = not layer.structures and not layer.reverse
    n = {"input_size": sizes.get("n_inputs"), "hidden_size": sizes.get("n_neurons")}
    made: nn.Module
    if plain and cell is cells.dense and options["phi"] is identity:
        made = nn.Linear(sizes["n_inputs"], sizes["n_outputs"], dtype=dtype)
        return _filled(made, {"weight": w["W"].T, "bias": w["b"]})
    if plain and cell is cells.lstm and not any(options.values()):
        made = LSTM(**n, batch_first=layer.batch_first, dtype=dtype)
        split = sizes["n_inputs"]
        parts = {g: (w[f"W_{g}"][:split], w[f"W_{g}"][split:], w[f"b_{g}"], np.zeros_like(w[f"b_{g}"])) for g in "ifgo"}
        return _filled(made, _joined(parts))
    if plain and cell is cells.gru and not any(options.values()):
        made = GRU(**n, batch_first=layer.batch_first, dtype=dtype)
        parts = {
            g: (w[f"W_{g}"], w[f"U_{g}"], w[f"b_{g}"], w["b_hn"] if g == "n" else np.zeros_like(w[f"b_{g}"])) for g in "rzn"
        }
        return _filled(made, _joined(parts))
    phi = options.get("phi")
    if plain and cell is cells.recurrent and phi in (tanh, relu):
        made = RNN(**n, nonlinearity="tanh" if phi is tanh else "relu", batch_first=layer.batch_first, dtype=dtype)
        return _filled(made, _joined({"y": (w["W_x"], w["W_y"], w["b"], np.zeros_like(w["b"]))}))
    more: dict[str, Any] = {**layer.sizes, **options}
    made = Recurrent(cell, batch_first=layer.batch_first, reverse=layer.reverse, dtype=dtype, **more)
    return _filled(made, dict(w))


def _cell_of(layer: Layer) -> tuple[Cell, dict[str, Any]]:
    """The function of a layer's cell, and its options.

    A layer from a file has only the graph: a cell of the library is its cell if it gives the same graph.

    Raises:
        DataTypeError: none does.
    """
    if isinstance(layer.cell, Cell):
        return layer.cell, dict(layer.options)
    cell = getattr(cells, layer.name, None)
    if isinstance(cell, Cell) and not layer.structures:
        try:
            options = {name: _option(value) for name, value in layer.options.items()}
            if cell.trace(dtype=layer.graph.dtype, training=False, **layer.sizes, **options) == layer.graph:
                return cell, options
        except (OstinatoError, ValueError):
            pass
    headline = f"{layer.name}: a layer from a file has no function for its cell any more"
    raise DataTypeError(lay_out(headline, hint="Recurrent(your_cell, ...) and its parameters, by name"))


def _option(value: Any) -> Any:
    """An option of a library cell from what a file says: an activation or a number."""
    return ACTIVATIONS[value] if value in ACTIVATIONS else float(value)


def _joined(gates: Mapping[str, tuple[Any, Any, Any, Any]]) -> Weights:
    w, u, b_x, b_h = zip(*gates.values(), strict=True)
    return {
        "weight_ih_l0": np.concatenate(w, axis=1).T, "weight_hh_l0": np.concatenate(u, axis=1).T,
        "bias_ih_l0": np.concatenate(b_x), "bias_hh_l0": np.concatenate(b_h),
    }  # fmt: skip


def _filled(made: nn.Module, arrays: Mapping[str, Array]) -> nn.Module:
    with torch.no_grad():
        for name, array in arrays.items():
            getattr(made, name).copy_(torch.from_numpy(np.array(array, order="C")))
    return made
