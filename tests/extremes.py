"""Very small, very large and constant numbers: what is compared with what in tests/test_native_extremes.py.

The measure is the definition computed in float64. Two kinds of comparison:

* A function alone (activation, normalisation) is given numbers that float32 holds exactly, so its result has to be right to a
  few roundings of its own: `function_is_right`.
* A cell adds up products, whose roundings are as large as the products, and passes them through gates: what float32 can know of
  the result depends on how much the result depends on each rounding. So the definition is computed several times in float64
  with every op's result disturbed by as much as float32 (and native code, see lower/vector_math.py) may err: Monte Carlo
  arithmetic (Parker 1997). Where these results lie together, float32 has to lie with them; where they lie apart (a sum that
  cancels, a gate's 1 - y), float32 can not do better: `cell_is_right`.

Either way inf and NaN are let pass only where the result in float64 is beyond float32.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest

from ostinato import (
    Input,
    Layer,
    Output,
    cell,
    cells,
    layer_norm,
    mean,
    norm,
    normalize,
    piecewise_sigmoid,
    piecewise_tanh,
    softmax,
)
from ostinato.ir import op, ops
from ostinato.language import functions
from ostinato.language.cell import Cell
from ostinato.learn.losses import LOSSES
from ostinato.learn.optimisers import RULES

SCALES = (1e-30, 1.0, 1e2, 1e4, 1e6)
EPS = 2.0**-24  # half a unit in the last place of float32
LEAST = 2.0**-149  # the least subnormal number
LARGEST = float(np.finfo(np.float32).max)
CONSTANT = float(np.float32(0.7358))  # the sum of several of it is rounded

# --- functions ----------------------------------------------------------------------------------------------------------------

ACTIVATIONS = {**functions.ACTIVATIONS, "piecewise_sigmoid": piecewise_sigmoid, "piecewise_tanh": piecewise_tanh}
OVER_A_LINE = {
    "layer_norm": layer_norm,
    "mean": mean,
    "norm": norm,
    "normalize": normalize,
    "softmax": softmax,
    "max": ops.max_,
}
# an activation that adds or takes away a number errs by a rounding of that number, where the result is near 0
ADDED = {"hard_sigmoid": 1.0}
# the steepest slope of a function of a line; of all others it is 1. What flows back is a difference of such slopes
STEEPEST = {
    "layer_norm": lambda x: 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5),
    "normalize": lambda x: 1 / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12),
}
FEW = 16  # roundings of a function: vector_math.py has up to 8 halves of a unit in the last place for one op


@cell
def activations(x=Input("n")):
    return Output(**{name: function(x) for name, function in ACTIVATIONS.items()})


@cell
def over_a_line(x=Input("n")):
    return Output(**{name: function(x) for name, function in OVER_A_LINE.items()})


def lines(n):
    """(n_lines, n), float32: random and constant lines of every scale, zeros, and one large number among small ones."""
    generator = np.random.default_rng(n)
    rows = [np.zeros(n)]
    for scale in SCALES:
        rows += [generator.standard_normal(n) * scale, np.full(n, CONSTANT * scale), np.full(n, -CONSTANT * scale)]
        rows.append(np.where(np.arange(n) == n // 2, scale, 1.0))
    return np.array(rows, np.float32)


def function_is_right(function, backend, n):
    """Every output of a cell of functions, and what flows back from it."""
    X = lines(n)
    d = np.random.default_rng(1).choice([-1.0, 0.5, 2.0], X.shape)
    results = {}
    for dtype, kind in (("float64", "reference"), ("float32", backend)):
        outputs, pullback = Layer(function, n=n, dtype=dtype, backend=kind).vjp(X[:, None].astype(dtype))
        for name, y in outputs.items():
            d_y = {other: np.zeros_like(v) for other, v in outputs.items()}
            d_y[name] = d[:, None, : y.shape[-1]] if y.ndim == 3 else d[:, :1]
            results.setdefault(name, []).append((y, pullback(d_y).inputs))
    for name, ((exact, d_exact), (y, d_x)) in results.items():
        alone = name in ACTIVATIONS  # each element alone, or all of a line together
        size = np.abs(exact) + ADDED.get(name, 0.0) if alone or exact.ndim < 3 else np.abs(exact).max(-1, keepdims=True)
        assert_near(y, exact, FEW * EPS * size + LEAST, name)
        steepest = STEEPEST.get(name, np.ones_like)(X[:, None].astype(np.float64))
        assert_near(d_x, d_exact, FEW * EPS * steepest * np.abs(d).max() + LEAST, f"derivative of {name}")


def assert_near(found, exact, limit, what):
    """Finite where the exact result is a float32, and there within the limit."""
    assert np.isfinite(exact).all(), f"{what}: the definition itself is not finite"
    here = np.abs(exact) <= LARGEST
    limit = np.broadcast_to(limit, exact.shape)
    with np.errstate(all="ignore"):
        wrong = here & ~(np.abs(found.astype(np.float64) - exact) <= limit)  # NaN is wrong, too
    shown = [(*map(int, at), float(found[*at]), float(exact[*at]), float(limit[*at])) for at in np.argwhere(wrong)[:3]]
    assert not wrong.any(), f"{what}: {wrong.sum()} are wrong; (place, found, exact, allowed): {shown}"


# --- cells --------------------------------------------------------------------------------------------------------------------

SIZES = {
    "height": 3, "width": 2, "length": 4, "size": 3, "n_channels": 2, "n_kernels": 2, "n_heads": 2, "n_keys": 3,
    "n_positions": 3, "n_queries": 2, "n_values": 3, "n_features": 4, "n_inputs": 3, "n_neurons": 5, "n_outputs": 4,
    "n_classes": 5,
}  # fmt: skip
OPTIONS = {
    "lstm, zoneout": ("lstm", {"zoneout_h": 0.2, "zoneout_c": 0.1}),
    "gru, zoneout": ("gru", {"zoneout_h": 0.2}),
    "recurrent, relu": ("recurrent", {"phi": ops.relu}),
    "dense, softmax": ("dense", {"phi": softmax}),
}
CELLS = {
    **{name: (getattr(cells, name), {}) for name in cells.__all__ if isinstance(getattr(cells, name), Cell)},
    **{name: (getattr(cells, of), options) for name, (of, options) in OPTIONS.items()},
    **{loss.of_one.name: (loss.of_one, {}) for loss in LOSSES.values()},
    **{name: (rule, {}) for name, rule in RULES.items()},
}
N_STEPS = 2  # unbounded cells grow by 1e6 at each step, and are to stay within float32
# the scale of the input of each instance, and whether it is constant
INSTANCES = [(scale, constant) for scale in SCALES for constant in (False, True)]
WEIGHTS = [*((scale, False) for scale in SCALES), (1.0, True), (1e6, True)]
# (seed, part of what float32 may err). Small disturbances, enlarged again, say what rounding does where two equal sums stay
# nearly equal, as they do in float32; full ones say what it does where a gate changes its mind
DISTURBANCES = ((0, 1.0), (1, 1.0), (2, 1e-6), (3, 1e-6))
MARGIN = 8.0  # by how much the largest of a few disturbed results may fall short of the largest possible

# how much the result of an op errs, in halves of a unit in the last place (twice the bounds of lower/vector_math.py)
ERRORS = {"exp": 5, "log": 3, "tanh": 6, "sigmoid": 7, "softplus": 8, "power": 2}
EXACT = {
    "negative", "maximum", "minimum", "abs", "sign", "relu", "where", "stop_gradient", "max", "less", "less_equal", "equal",
    "logical_and", "logical_or", "logical_not", "concat", "slice", "pad", "reshape", "stretch", "transpose", "patches",
}  # fmt: skip
SUMS = {"matmul", "sum", "total", "total_product", "total_per_instance", "unpatches"}


@contextmanager
def disturbed(seed, part):
    """Within this block every op of the definition errs as it may in float32, or by a part of that."""
    generator = np.random.default_rng(seed)
    compute = op.Op.compute

    def noise(array):
        return generator.uniform(-part, part, array.shape)

    def erring(op, arrays, attributes):
        if op.name == "constant":
            exact = compute(op, arrays, attributes)
            return exact + part * (exact.astype(np.float32) - exact)
        if op.name in EXACT:
            return compute(op, arrays, attributes)
        if op.name in SUMS:  # every addend, by the sums that it goes through
            first, *others = arrays
            arrays = [first * (1 + EPS * np.sqrt(first.shape[-1]) * noise(first)), *others]
        result = compute(op, arrays, attributes)
        erred = result * (1 + ERRORS.get(op.name, 1) * EPS * noise(result)) + np.where(result == 0, 0, LEAST * noise(result))
        return np.where(np.sign(erred) == np.sign(result), erred, 0.0)  # what is too small is 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.Op, "compute", erring)
        yield


def numbers(shape, scale, constant, generator):
    values = np.full(shape, CONSTANT) if constant else generator.standard_normal(shape)
    return (values * scale).astype(np.float32)


@cache
def layer_of(name, backend, dtype):
    function, options = CELLS[name]
    return Layer(function, dtype=dtype, backend=backend, **{d: SIZES[d] for d in function.dimensions}, **options)


def inputs_of(name):
    return CELLS[name][0].with_role("input")


def results(name, backend, dtype, kind):
    """Everything that a cell gives: outputs, final states, and what flows back, in parts that are compared one by one."""
    layer, generator = layer_of(name, backend, dtype), np.random.default_rng(5)
    for w, v in layer.weights.items():
        layer.weights[w] = v.astype(np.float32) if name in RULES else numbers(v.shape, *kind, generator)
    given = {}
    for port in layer.graph.with_role("input", "context"):
        leading = (N_STEPS,) if port.role == "input" else ()
        shape = (*leading, *port.value.type.sizes)
        given[port.name] = np.stack([numbers(shape, *i, generator) for i in INSTANCES], axis=len(leading))
    outputs, pullback = layer.vjp(**given)
    outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
    d_outputs = {n: generator.choice([-1.0, 0.5, 2.0], y.shape) for n, y in outputs.items()}
    d_state = {n: generator.choice([-1.0, 0.5, 2.0], y.shape) for n, y in pullback.state.items()}
    found = {f"output {n}": y for n, y in outputs.items()} | {f"final {n}": y for n, y in pullback.state.items()}
    if name in RULES:  # nothing flows back through a rule
        return found
    for i, scale in enumerate(SCALES):
        # what flows back from the instances of one scale alone: the largest gradient of a weight would hide the others
        chosen = np.array([scale == of for of, _ in INSTANCES])
        alone = {n: d * chosen.reshape(-1, *(1,) * (d.ndim - 2)) for n, d in d_outputs.items()}
        gradients = pullback(alone, state={n: d * chosen.reshape(-1, *(1,) * (d.ndim - 1)) for n, d in d_state.items()})
        of_inputs = gradients.inputs if isinstance(gradients.inputs, dict) else {inputs_of(name)[0]: gradients.inputs}
        for n, d in {**of_inputs, **gradients.contexts, **gradients.state}.items():
            found[f"gradient of {n}"] = found.get(f"gradient of {n}", 0) + d
        found |= {f"gradient of {n} from scale {i}": d for n, d in gradients.weights.items()}
    return found


@cache
def wanted(name, kind):
    """For each part of the results: what it is in float64, and how far from it float32 may be."""
    exact = results(name, "reference", "float64", kind)
    apart = {part: np.zeros_like(array) for part, array in exact.items()}
    for seed, enlarged in DISTURBANCES:
        with disturbed(seed, enlarged):
            for part, array in results(name, "reference", "float64", kind).items():
                apart[part] = np.maximum(apart[part], np.abs(array - exact[part]) / enlarged)
    limits = {}
    for part, array in exact.items():
        # all of one instance at one step together, and all of one gradient of a weight: by chance a single one lies near
        leading = (
            0 if "from scale" in part else 2 if "output" in part or part.removeprefix("gradient of ") in inputs_of(name) else 1
        )
        axes = tuple(range(leading, array.ndim))
        size, spread = (np.max(np.abs(a), axis=axes, keepdims=True, initial=0.0) for a in (array, apart[part]))
        limits[part] = MARGIN * (spread + EPS * size) + LEAST
    return exact, limits


def cell_is_right(name, backend):
    """A cell with weights of every scale, on inputs of every scale, forward and backward."""
    for kind in WEIGHTS if CELLS[name][0].with_role("weight") and name not in RULES else WEIGHTS[:1]:
        exact, limits = wanted(name, kind)
        found = results(name, backend, "float32", kind)
        for part, array in exact.items():
            assert_near(found[part], array, limits[part], f"{name}, weights of {kind}: {part}")
