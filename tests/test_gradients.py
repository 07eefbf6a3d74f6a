"""Gradients are derivatives: every op against central differences in float64, and the conventions where there is none."""

import inspect

import numpy as np
import pytest

import ostinato
from ostinato import Bias, Context, Input, Layer, Output, State, Weight, cell, dropout, tanh
from ostinato.ir import op, ops
from ostinato.ir.shapes import Dim
from ostinato.language import functions
from tests.loops import CASES
from tests.scenarios import SCENARIOS, apart, build, named

LIMIT = 1e-6
ROLES = {"i": Input, "c": Context, "w": Weight}
NAMES = {
    **vars(op), **vars(ops), **vars(ostinato),
    **functions.ACTIVATIONS, "number": lambda *sizes: tuple(map(Dim.number, sizes)),
}  # fmt: skip


def layer_of(text, shapes, roles="i", n_outputs=1):
    """A layer without a state: operands a, b, c of the given shapes and roles; x is there for the axes."""
    roles = roles * len(shapes) if len(roles) == 1 else roles
    operands = dict(zip("abc", zip(shapes, roles, strict=True), strict=False))
    scope = {f"_{name}": ROLES[role](*shape) for name, (shape, role) in operands.items()}
    scope |= {name: value for name, value in NAMES.items() if not name.startswith("_")} | {"Output": Output, "Input": Input}
    head = ", ".join(["x=Input()", *(f"{name}=_{name}" for name in operands)])
    exec(f"def function({head}):\n    return Output(({text}))\n", scope)
    return Layer(cell(scope["function"]), dtype="float64")


def directional(layer, inputs, contexts, weights, generator, n_directions=3, step=1e-6, **more):
    """Central differences against the pullback, along random directions through everything at once, and each thing alone."""
    state = more.pop("state", {})
    things = {**inputs, **contexts, **state, **weights}

    def value(values, adjoints=None):
        layer.weights.update({name: values[name] for name in weights})
        call = {name: values[name] for name in (*inputs, *contexts)}
        given = {"state": {name: values[name] for name in state}} if state else {}
        outputs, pullback = layer.vjp(**call, **given, **more)
        outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
        outputs |= {f"final {name}": array for name, array in pullback.state.items()}
        if adjoints is None:
            return outputs, pullback
        return sum(float((adjoints[name] * y).sum()) for name, y in outputs.items())

    outputs, pullback = value(things)
    adjoints = {name: generator.standard_normal(y.shape) for name, y in outputs.items()}
    finals = {name: adjoints[f"final {name}"] for name in pullback.state}
    d_outputs = {name: d for name, d in adjoints.items() if not name.startswith("final ")}
    grads = pullback(d_outputs if len(d_outputs) > 1 else next(iter(d_outputs.values())), state=finals)
    of_inputs = grads.inputs if isinstance(grads.inputs, dict) else {next(iter(inputs)): grads.inputs}
    found = {**of_inputs, **grads.contexts, **grads.state, **grads.weights}
    directions = []
    for _ in range(n_directions):
        directions.append({name: generator.standard_normal(np.shape(v)) for name, v in things.items()})
    for name, v in things.items():
        alone = {n: np.zeros(np.shape(w)) for n, w in things.items()}
        directions.append({**alone, name: generator.standard_normal(np.shape(v))})
        if np.size(v):
            single = np.zeros(np.size(v))
            single[generator.integers(np.size(v))] = 1.0
            directions.append({**alone, name: single.reshape(np.shape(v))})
    for direction in directions:
        above, below = ({n: v + s * direction[n] for n, v in things.items()} for s in (step, -step))
        expected = (value(above, adjoints) - value(below, adjoints)) / (2 * step)
        got = sum(float((found[name] * direction[name]).sum()) for name in things)
        moved = [n for n, d in direction.items() if np.any(d)]
        assert abs(got - expected) <= LIMIT * max(1.0, abs(expected)), (moved, got, expected)
    return found


# --- every op -----------------------------------------------------------------------------------------------------------------

# text, shapes of a, b, c: values are drawn between 0.4 and 1.6 with signs where the op takes them, away from every kink
OPS = {
    "add": [("a + b", [(3,), (3,)]), ("a + 2.5", [()])],
    "subtract": [("a - b", [(3,), (3,)]), ("1.5 - a", [(2,)])],
    "multiply": [("a * b", [(3,), (3,)]), ("a * a", [(3,)]), ("a * -3.0", [(3,)])],
    "divide": [("a / b", [(3,), (3,)]), ("a / a * a", [(2,)]), ("2.0 / a", [(2,)])],
    "power": [("abs(a) ** b", [(3,), (3,)]), ("a ** 2", [(3,)]), ("a ** 3", [(3,)]), ("a ** -1", [(3,)]), ("a ** 1", [(2,)]),
              ("abs(a) ** 0.5", [(3,)]), ("2.0 ** a", [(3,)]), ("a ** 0", [(2,)])],
    "negative": [("-a", [(3,)]), ("-(-a)", [(3,)])],
    "maximum": [("maximum(a, b)", [(5,), (5,)]), ("maximum(a, 0.1)", [(5,)])],
    "minimum": [("minimum(a, b)", [(5,), (5,)]), ("minimum(-0.1, a)", [(5,)])],
    "abs": [("abs(a)", [(5,)])],
    "sign": [("sign(a) * a", [(5,)])],
    "exp": [("exp(a)", [(3,)])],
    "log": [("log(abs(a))", [(3,)])],
    "floor": [("floor(a + b) * a", [(5,), (5,)])],
    "remainder": [("remainder(a, b)", [(3,), (3,)]), ("a % 0.3 * a", [(5,)]), ("1.7 % a", [(3,)]),
                  ("a // b * a", [(3,), (3,)])],
    "sqrt": [("sqrt(abs(a))", [(3,)])],
    "tanh": [("tanh(a)", [(3,)])],
    "sigmoid": [("sigmoid(a)", [(3,)])],
    "relu": [("relu(a)", [(5,)])],
    "softplus": [("softplus(a)", [(3,)])],
    "less": [("where(a < b, a * b, b)", [(5,), (5,)])],
    "less_equal": [("where(a <= b, a, a * b)", [(5,), (5,)]), ("where(a >= 0.0, a, b)", [(5,), (5,)])],
    "equal": [("where(a == b, a, a * b)", [(5,), (5,)]), ("where(a != b, a * a, b)", [(5,), (5,)])],
    "logical_and": [("where((a > 0.0) & (b > 0.0), a, b)", [(5,), (5,)])],
    "logical_or": [("where((a > 0.0) | (b > 0.0), a, b)", [(5,), (5,)])],
    "logical_not": [("where(~(a > b), a, b)", [(5,), (5,)])],
    "where": [("where(a > b, c, a)", [(5,), (5,), (5,)]), ("where(a > 0.0, b, 0.5)", [(4, 1), (5,)])],
    "matmul": [("a @ b", shapes) for shapes in (
        [(3,), (3,)], [(3,), (3, 4)], [(2, 3), (3,)], [(2, 3), (3, 4)], [(5, 2, 3), (3, 4)], [(5, 2, 3), (3,)],
        [(5, 2, 3), (5, 3, 4)], [(2, 3), (5, 3, 4)], [(3,), (5, 3, 4)], [(5, 2, 3), (1, 3, 4)], [(1, 2, 3), (5, 3, 1)],
        [(1,), (1, 1)], [(1,), (1,)], [(2, 5, 2, 3), (5, 3, 4)], [(5, 2, 3), (2, 1, 3, 4)],
    )] + [("a @ a", [(3, 3)]), ("a @ a.T", [(2, 3)]), ("a @ a", [(3,)])],
    "sum": [("sum(a)", [(3,)]), ("sum(a)", [(2, 3)]), ("sum(a, axis=0) * b", [(2, 3), (3,)]),
            ("sum(a, axis=(0, 2))", [(2, 3, 4)]), ("sum(a, keepdims=True) * a", [(2, 3)]),
            ("sum(a, axis=-2, keepdims=True) * b", [(2, 3, 4), (3, 1)])],
    "max": [("max(a)", [(5,)]), ("max(a)", [(3, 5)]), ("max(a, axis=0)", [(3, 5)]), ("max(a, axis=(0, 1))", [(3, 5)]),
            ("a / max(abs(a), keepdims=True)", [(3, 5)])],
    "concat": [("concat(a, b) * concat(b, a)", [(2,), (3,)]), ("concat(a, b, axis=0)", [(2, 3), (4, 3)]),
               ("concat(a, b, c, axis=1)", [(2, 1, 2), (2, 3, 2), (2, 2, 2)]), ("concat(a, a)", [(2,)]), ("concat(a)", [(2,)]),
               ("concat(a, b) @ c", [(2,), (3,), (5, 4)]), ("concat(a, b) @ c", [(2, 2), (2, 3), (5, 4)])],
    "slice": [("a[1:3]", [(5,)]), ("a[::2]", [(5,)]), ("a[1::2]", [(6,)]), ("a[0]", [(4,)]), ("a[-1] * a[0]", [(4,)]),
              ("a[1, 1:, ::3]", [(3, 4, 7)]), ("a[..., 0]", [(3, 2)]), ("a[:, 1:3] @ b[1:3]", [(2, 4), (5, 2)]),
              ("a[1:4] * a[0:3] + a[2:5]", [(5,)])],
    "pad": [("pad(a, number(1, 0), number(3, 4), (1, 2), number(4, 5))", [(2, 2)])],
    "reshape": [("reshape(a, 6)", [(2, 3)]), ("reshape(a, 3, 2) @ reshape(b, 2, 1)", [(6,), (2,)]), ("reshape(a, 1, 1)", [()]),
                ("a.reshape(2, 3) * b", [(6,), (3,)])],
    "stretch": [("stretch(a, 4, 3) * b", [(3,), (4, 3)]), ("stretch(a, 2, 3, 4)", [(3, 1)]), ("stretch(a, 5)", [()])],
    "transpose": [("a.T @ b", [(3, 2), (3,)]), ("transpose(a, (2, 0, 1)) * b", [(2, 3, 4), (2, 3)]), ("a.mT @ a", [(2, 3, 2)]),
                  ("transpose(transpose(a, (1, 2, 0)), (1, 2, 0))", [(2, 3, 4)]), ("a.T", [(3,)])],
    "patches": [("patches(a, 3) @ b", [(7, 2), (6, 3)]), ("patches(a, (2, 3), stride=(2, 1))", [(5, 6, 2)]),
                ("patches(a, 3, padding='same')", [(4, 2)]),
                ("patches(a, (2, 2), stride=2, padding=((1, 0), (0, 2)))", [(4, 5, 1)]),
                ("patches(a, 1, stride=3)", [(8, 1)])],
    "unpatches": [("unpatches(a, number(3), (2,), ((1, 1),), number(5, 2))", [(3, 6)]),
                  ("unpatches(a, number(2, 2), (1, 1), ((0, 0), (0, 0)), number(3, 4, 1))", [(2, 3, 4)])],
    "stop_gradient": [("a * a", [(3,)])],  # its derivative is a convention, see below
}  # fmt: skip
COMPOSED = {
    "mean": [("mean(a)", [(2, 3)]), ("mean(a, axis=(0, 1))", [(2, 3)]), ("mean(a, axis=0, keepdims=True) * a", [(2, 3)])],
    "softmax": [("softmax(a)", [(5,)]), ("softmax(a) @ b", [(2, 5), (5, 3)])],
    "layer_norm": [("layer_norm(a)", [(5,)]), ("layer_norm(a, b, c)", [(2, 5), (5,), (5,)]), ("layer_norm(a, b)", [(5,), ()])],
    "norm": [("norm(a)", [(5,)]), ("norm(a, axis=0) * b", [(2, 3), (3,)]), ("norm(a, axis=(0, 1), keepdims=True)", [(2, 3)])],
    "normalize": [
        ("normalize(a)", [(5,)]),
        ("normalize(a, axis=0) * b", [(2, 3), (3,)]),
        ("normalize(a, epsilon=20.0)", [(3,)]),
    ],
    "split": [("split(a, 2)[0] * split(a, 2)[1]", [(6,)]), ("split(a, [1, 3], axis=0)[1] @ b", [(4, 2), (2,)])],
    **{name: [(f"{name}(a)", [(7,)])] for name in functions.ACTIVATIONS},
}
NO_DERIVATIVE = {"constant", "total", "total_per_instance", "total_product"}  # made by the compiler, and linear or fixed


def test_every_op_of_the_table_is_checked_here():
    assert set(OPS) | NO_DERIVATIVE == set(ops.OPS)
    assert all(d is None for name in NO_DERIVATIVE for d in ops.OPS[name].derivative)


def operands(shapes, roles, generator):
    """Generic values between 0.4 and 1.6 with either sign: no two meet, none is near 0 or 1."""
    result = {}
    for name, shape, role in zip("abc", shapes, roles, strict=False):
        whole = {"i": (2, 3), "c": (3,), "w": ()}[role] + tuple(shape)
        size = int(np.prod(whole))
        spread = 0.41 + 1.17 * (generator.permutation(size) + generator.uniform(0.2, 0.8, size)) / size
        spread = np.where(np.abs(spread - 1) < 0.02, spread + 0.05, spread)
        result[name] = (spread * generator.choice([-1.0, 1.0], size)).reshape(whole)
    return result


def check_op(text, shapes, roles, seed=0):
    layer = layer_of(text, shapes, roles)
    generator = np.random.default_rng(seed)
    values = operands(shapes, roles, generator)
    of_role = {r: {n: v for (n, v), role in zip(values.items(), roles, strict=True) if role == r} for r in "icw"}
    found = directional(layer, {"x": np.ones((2, 3)), **of_role["i"]}, of_role["c"], of_role["w"], generator)
    assert not found["x"].any()


def role_choices(n):
    return {1: ["i", "c", "w"], 2: ["ii", "iw", "wi", "ic", "ci", "wc", "ww"], 3: ["iii", "wwi", "iww", "icw", "cwi"]}[n]


@pytest.mark.parametrize("name", [*OPS, *(f"{name} (composed)" for name in COMPOSED)])
def test_the_derivative_of_an_op_is_that_of_central_differences(name):
    for text, shapes in COMPOSED[name.removesuffix(" (composed)")] if "composed" in name else OPS[name]:
        for roles in role_choices(len(shapes)):
            check_op(text, shapes, roles)


BROADCASTS = [
    [(), (3,)], [(3,), ()], [(), ()], [(1,), (3,)], [(2, 3), (3,)], [(3,), (2, 3)], [(2, 1), (3,)], [(2, 1), (1, 3)],
    [(4, 1, 3), (2, 1)], [(1, 1), (2, 3)], [(4, 2, 3), ()], [(1,), (1,)], [(1, 3), (3,)],
]  # fmt: skip


@pytest.mark.parametrize("text", ["a + b", "a - b", "a * b", "a / b", "abs(a) ** b", "maximum(a, b)", "where(a < b, a, b * b)"])
def test_gradients_are_summed_over_what_broadcasting_stretched(text):
    for k, shapes in enumerate(BROADCASTS):
        for roles in ("ii", ["iw", "wi", "ic", "ci", "wc", "ww"][k % 6]):
            check_op(text, shapes, roles, seed=k)


# --- where there is no derivative -------------------------------------------------------------------------------------------


def gradient_of(text, **values):
    shapes = [np.shape(v) for v in values.values()]
    layer = layer_of(text, shapes, "i")
    _, pullback = layer.vjp(np.ones(1), *(np.asarray(v)[None] for v in values.values()))
    outputs = layer(np.ones(1), *(np.asarray(v)[None] for v in values.values()))
    grads = pullback(np.ones_like(outputs)).inputs
    return [grads[name][0] for name in values]


def test_the_derivatives_of_relu_and_abs_at_zero_are_zero():
    assert gradient_of("relu(a)", a=np.array([0.0, -0.0, 2.0, -2.0]))[0].tolist() == [0, 0, 1, 0]
    assert gradient_of("abs(a)", a=np.array([0.0, -0.0, 2.0, -2.0]))[0].tolist() == [0, 0, 1, -1]
    assert gradient_of("sign(a)", a=np.array([0.0, 2.0, -2.0]))[0].tolist() == [0, 0, 0]


def test_equal_operands_of_maximum_and_minimum_share_alike():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    for text, first in (("maximum(a, b)", [0.5, 0.0, 1.0]), ("minimum(a, b)", [0.5, 1.0, 0.0])):
        got = gradient_of(text, a=a, b=b)
        assert got[0].tolist() == first
        assert got[1].tolist() == [1 - g for g in first]
    assert gradient_of("maximum(a, a)", a=a)[0].tolist() == [1, 1, 1]


def test_equal_largest_values_share_alike():
    third = 1 / 3
    assert gradient_of("max(a)", a=np.array([2.0, 1.0, 2.0, 2.0]))[0].tolist() == [third, 0, third, third]
    assert gradient_of("max(a, axis=0)", a=np.array([[2.0, 1.0], [2.0, 0.0]]))[0].tolist() == [[0.5, 1], [0.5, 0]]


def test_a_truth_value_and_a_stopped_gradient_let_nothing_through():
    assert gradient_of("stop_gradient(a) * a", a=np.array([3.0]))[0].tolist() == [3]
    assert gradient_of("stop_gradient(a * a)", a=np.array([3.0]))[0].tolist() == [0]
    assert gradient_of("where(a > b, 1.0, 2.0) * 1.0", a=np.array([3.0]), b=np.array([1.0]))[1].tolist() == [0]


def test_zero_to_a_whole_power_has_the_derivative_of_the_polynomial():
    assert gradient_of("a ** 2", a=np.array([0.0, -1.0]))[0].tolist() == [0, -2]
    assert gradient_of("a ** 3", a=np.array([0.0, -1.0]))[0].tolist() == [0, 3]
    assert gradient_of("a ** 1", a=np.array([0.0, -1.0]))[0].tolist() == [1, 1]


# --- through time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_back_propagation_through_time_is_that_of_central_differences(case):
    generator = np.random.default_rng(21)
    for scenario in SCENARIOS:
        if scenario.name not in ("reset and lengths", "reverse lengths", "batch first", "unbatched"):
            continue
        sizes = case.sizes(3)
        values = case.values(sizes, scenario.n_steps, scenario.n_instances, seed=2)
        layer = build(case, "own", sizes, values, scenario, dtype="float64")
        positional, more = scenario.call(case, values)
        inputs = dict(zip(case.names("input"), positional, strict=True))
        contexts = {name: more.pop(name) for name in case.names("context")}
        weights = {name: values[name] for name in case.names("weight", "bias")}
        directional(layer, inputs, contexts, weights, generator, n_directions=2, **more)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_in_float32_are_those_of_float64(case):
    scenario = SCENARIOS[5]
    sizes = case.sizes(17 if "convolution" not in case.name else 4)
    values = case.values(sizes, scenario.n_steps, scenario.n_instances, seed=2, dtype="float32")
    positional, more = scenario.call(case, values)
    results = []
    for dtype in ("float32", "float64"):
        layer = build(case, "other", sizes, values, scenario, dtype=dtype)
        outputs, pullback = layer.vjp(*positional, **more)
        generator = np.random.default_rng(3)
        given = {name: generator.standard_normal(y.shape).astype(np.float32) for name, y in named(outputs, case).items()}
        final = {name: generator.standard_normal(s.shape).astype(np.float32) for name, s in pullback.state.items()}
        grads = pullback(given, state=final)
        of_inputs = grads.inputs if isinstance(grads.inputs, dict) else {"x": grads.inputs}
        results.append({**of_inputs, **grads.contexts, **grads.state, **grads.weights})
    for name, array in results[0].items():
        assert array.dtype == np.float32
        assert apart(array, results[1][name]) < 1e-5, name


@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_pullback_may_be_called_again_and_is_linear(case, backend):
    sizes = case.sizes(3)
    values = case.values(sizes, 4, 2)
    layer = build(case, "own", sizes, values, dtype="float64", backend=backend)
    positional, more = SCENARIOS[0].call(case, values)
    outputs, pullback = layer.vjp(*positional, **more)
    generator = np.random.default_rng(3)
    given = [{n: generator.standard_normal(y.shape) for n, y in named(outputs, case).items()} for _ in range(2)]
    final = [{n: generator.standard_normal(s.shape) for n, s in pullback.state.items()} for _ in range(2)]
    calls = [flat(pullback(given[k], state=final[k])) for k in range(2)]
    both = [{n: first + 2 * second[n] for n, first in one.items()} for one, second in (given, final)]
    total = flat(pullback(both[0], state=both[1]))
    layer.weights.update({name: np.zeros_like(array) for name, array in layer.weights.items()})
    again = flat(pullback(given[0], state=final[0]))
    for name, array in calls[0].items():
        assert np.array_equal(again[name], array), name
        assert apart(total[name], array + 2 * calls[1][name]) < 1e-12, name
    nothing = flat(pullback())
    assert not any(array.any() for array in nothing.values())


def flat(grads):
    of_inputs = grads.inputs if isinstance(grads.inputs, dict) else {"x": grads.inputs}
    return {**of_inputs, **grads.contexts, **{f"state {n}": a for n, a in grads.state.items()}, **grads.weights}


def test_what_nothing_depends_on_has_the_gradient_zero():
    @cell
    def forgetful(x=Input(2), z=Input(3), k=Context(2), h=State(2), W=Weight(2, 2), V=Weight(3, 2), b=Bias(2)):
        return tanh(x @ W)

    layer = Layer(forgetful, dtype="float64")
    for backend in ("numpy", "reference"):
        layer = Layer(forgetful, dtype="float64", backend=backend)
        Y, pullback = layer.vjp(np.ones((4, 3, 2)), np.ones((4, 3, 3)), np.ones((3, 2)))
        grads = pullback(np.ones_like(Y))
        assert grads.inputs["x"].any()
        assert grads.weights["W"].any()
        assert grads.inputs["z"].shape == (4, 3, 3)
        for array in (grads.inputs["z"], grads.contexts["k"], grads.state["h"], grads.weights["V"], grads.weights["b"]):
            assert not array.any()


# --- dropout ------------------------------------------------------------------------------------------------------------------


@cell
def dropping(
    x=Input("n_inputs"), k=Context("n_neurons"), h=State("n_neurons"),
    W=Weight("n_inputs", "n_neurons"), U=Weight("n_neurons", "n_neurons"),
):  # fmt: skip
    z = dropout(x, 0.4) @ W + dropout(h, 0.3, per="sequence") @ U
    return dropout(tanh(z + dropout(k, 0.5, per="sequence")), 0.2)


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_the_gradient_of_a_run_with_dropout_is_that_of_central_differences_with_the_same_masks(backend):
    generator = np.random.default_rng(9)
    for reverse in (False, True):
        layer = Layer(dropping, n_inputs=4, n_neurons=3, dtype="float64", backend=backend, reverse=reverse)
        weights = {name: generator.standard_normal(array.shape) for name, array in layer.weights.items()}
        state = {"h": generator.standard_normal((3, 3))}
        inputs, contexts = {"x": generator.standard_normal((5, 3, 4))}, {"k": generator.standard_normal((3, 3))}
        directional(
            layer, inputs, contexts, weights, generator, state=state, lengths=np.array([5, 0, 3]), training=True, rng=77
        )


def test_dropout_drops_in_training_alone_at_its_rate_and_keeps_the_mean():
    @cell
    def only(x=Input(1000)):
        return dropout(x, 0.25)

    layer = Layer(only, dtype="float64")
    X = np.ones((20, 1000))
    assert np.array_equal(layer(X), X)
    Y = layer(X, training=True, rng=1)
    assert set(np.unique(Y)) == {0.0, 4 / 3}
    assert abs((Y == 0).mean() - 0.25) < 0.02
    assert np.array_equal(Y, layer(X, training=True, rng=1))
    assert not np.array_equal(Y, layer(X, training=True, rng=2))
    assert not np.array_equal(layer(X, training=True), layer(X, training=True))


def test_a_mask_per_sequence_is_one_mask_and_a_mask_per_step_is_many():
    @cell
    def both(x=Input(50), s=State()):
        return Output(step=dropout(x, 0.5), sequence=dropout(x, 0.5, per="sequence")), s + 1

    Y, _ = Layer(both).run(np.ones((6, 4, 50)), training=True, rng=3)
    assert all(np.array_equal(Y["sequence"][0], frame) for frame in Y["sequence"])
    assert not any(np.array_equal(Y["step"][0], frame) for frame in Y["step"][1:])
    assert not np.array_equal(Y["sequence"][0, 0], Y["sequence"][0, 1])


def test_both_backends_draw_the_same_masks():
    X, k = np.random.default_rng(0).standard_normal((5, 3, 4)), np.zeros((3, 3))
    first, second = (Layer(dropping, n_inputs=4, n_neurons=3, dtype="float64", backend=b) for b in ("numpy", "reference"))
    assert apart(first(X, k, training=True, rng=4), second(X, k, training=True, rng=4)) < 1e-14
    assert inspect.signature(first.run).parameters["training"].default is False
