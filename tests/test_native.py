"""Native code computes what the definition computes; and what must not change a bit does not change one.

Two kinds of promises. Against NumPy: close, within `LIMIT` of the scale of the values, because NumPy adds in another order and
has another tanh and exp. Among native runs: equal to the last bit, whatever the plan, the batch, the cut of a sequence.
"""

from copy import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import given as given_
from hypothesis import strategies as st

from ostinato import Bias, Context, Input, Layer, Output, State, Weight, cell, cells, patches, stop_gradient, tanh
from ostinato import sum as sum_
from ostinato.runtime.arguments import Sequences
from tests.library import LIBRARY, TWINS, swept
from tests.loops import CASES
from tests.random_cells import check_native, near, script
from tests.random_cells import equal as equal_in_bits
from tests.random_writer import write
from tests.scenarios import SCENARIOS, apart, named

PLANS = ("separate", "fused", "hoisted")
LIMIT = {"float32": 2e-5, "float64": 1e-12}  # relative to the scale of an array, at least 1
EVERY = [*CASES, *LIBRARY]
RECURRENT = [case for case in EVERY if case.names("state")]
# sizes around one vector of 16 and two of them, and those that fit in less; each cell gets two of them
TAILS = (17, 5, 33, 16, 1, 31, 15)
PLACE = {id(case): i for i, case in enumerate(EVERY)}
_MADE = {}  # layers whose programs are made once for all tests of a process


def compiled(case, n, dtype, backend="native", plan="automatic"):
    """The layer of a case in a size."""
    key = id(case), n, dtype, backend, plan
    if key not in _MADE:
        sizes = {name: case.sizes(n)[name] for name in case.cell.dimensions}
        _MADE[key] = Layer(case.cell, **sizes, **case.options, dtype=dtype, backend=backend, plan=plan)
    return _MADE[key]


def sibling(layer, *, batch_first=False, reverse=False):
    """The layer for another order of axes or direction in time. Neither is part of a program: nothing is compiled again."""
    made = copy(layer)
    made._programs = layer._programs
    made.batch_first, made.reverse = batch_first, reverse
    made._sequences = Sequences(layer.graph, batch_first=batch_first, reverse=reverse)
    return made


def everything(layer, case, inputs, more, seed=3):
    """All that comes out of a layer by name: outputs, final states, and what flows back from random adjoints of both."""
    outputs, state = layer.run(*inputs, **more)
    recorded, pullback = layer.vjp(*inputs, **more)
    outputs, recorded = named(outputs, case), named(recorded, case)
    if layer.backend == "native":
        equal(recorded, outputs)
        equal(pullback.state, state)
    generator = np.random.default_rng(seed)
    dY = {name: generator.standard_normal(y.shape) for name, y in outputs.items()}
    dS = {name: generator.standard_normal(s.shape) for name, s in state.items()}
    grads = pullback(dY, state=dS)
    dX = grads.inputs if isinstance(grads.inputs, dict) else {case.names("input")[0]: grads.inputs}
    parts = {"output": outputs, "final": state, "gradient of input": dX, "gradient of context": grads.contexts,
             "gradient of state": grads.state, "gradient of weight": grads.weights}  # fmt: skip
    return {f"{part} {name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def equal(found, expected):
    """To the last bit, and NaN where there is NaN."""
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert np.array_equal(found[name], array, equal_nan=True), f"{name}: {different(found[name], array)}"


def different(found, expected):
    """Where two arrays are not equal, in words."""
    places = np.argwhere(~((found == expected) | (np.isnan(found) & np.isnan(expected))))
    first = tuple(int(i) for i in places[0])
    return f"{len(places)} of {expected.size} differ; at {first}: {found[first]!r}, expected {expected[first]!r}"


def close(found, expected, limit):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert apart(found[name], array) <= limit, name


def with_weights(layer, case, values):
    layer.weights.update({name: values[name] for name in case.names("weight", "bias")})
    return layer


def given(case, values, instances=slice(None), steps=slice(None)):
    """Positional inputs and keywords of a plain call; some instances, some steps."""
    more = {name: values[name][instances] for name in case.names("context")}
    if case.names("state"):
        more["state"] = {name: values[name][instances] for name in case.names("state")}
    return [values[name][steps, instances] for name in case.names("input")], more


# --- against NumPy, and plan against plan -------------------------------------------------------------------------------------


def check_scenarios(case, n, dtype, plans):
    sizes = case.sizes(n)
    layers = {plan: compiled(case, n, dtype, plan=plan) for plan in plans}
    layers["numpy"] = compiled(case, n, dtype, "numpy")
    for scenario in SCENARIOS:
        values = case.values(sizes, scenario.n_steps, scenario.n_instances, dtype=dtype)
        inputs, more = scenario.call(case, values)
        results = {}
        for name, layer in layers.items():
            here = sibling(layer, batch_first=scenario.batch_first, reverse=scenario.reverse)
            results[name] = everything(with_weights(here, case, values), case, inputs, more)
        for plan in plans:
            close(results[plan], results["numpy"], LIMIT[dtype])
            equal(results[plan], results[plans[0]])


# and these have the products of others, so that every plan of them is left to a sweep as well
RELATIVES = (*TWINS, "lstm_in_one", "recurrent_elu", "google_lstm", "ligru", "luong_decoder", "lstm_coupled")


@pytest.mark.parametrize("case", swept(EVERY, lambda case: case.name not in RELATIVES), ids=str)
def test_every_plan_computes_what_numpy_computes_and_the_same_bits_as_every_other(case):
    check_scenarios(case, TAILS[PLACE[id(case)] % len(TAILS)], "float32", PLANS)


SOME = [case for case in EVERY if case.name in ("gru_reset_before", "projected_lstm", "layer_norm_lstm", "fast_weights")]
IN_DOUBLE = ("lstm", "gru_layer_norm", "attention_decoder", "multi_head_attention", "conv_lstm", "min_lstm")


@pytest.mark.parametrize("case", swept([c for c in EVERY if c not in SOME], lambda case: case.name in IN_DOUBLE), ids=str)
def test_native_code_computes_what_numpy_computes_in_float64(case):
    check_scenarios(case, TAILS[(PLACE[id(case)] + 3) % len(TAILS)], "float64", ("hoisted",))


@pytest.mark.parametrize("case", SOME, ids=str)
def test_plans_agree_in_float64(case):
    check_scenarios(case, TAILS[(PLACE[id(case)] + 3) % len(TAILS)], "float64", PLANS)


@pytest.mark.parametrize("n", [2, 15, 16, 31, 32, 100])
def test_every_size_of_a_vector_and_its_tail(n):
    for case in SOME[:3]:
        values = case.values(case.sizes(n), 3, 5, dtype="float32")
        expected = everything(with_weights(compiled(case, n, "float32", "numpy"), case, values), case, *given(case, values))
        found = everything(with_weights(compiled(case, n, "float32"), case, values), case, *given(case, values))
        close(found, expected, LIMIT["float32"])


# --- a batch is its instances, a sequence its parts ---------------------------------------------------------------------------


def usual(case, n_steps=5, n_instances=9, plan="automatic"):
    """A layer with weights, and values for a call."""
    n = TAILS[PLACE[id(case)] % len(TAILS)]
    values = case.values(case.sizes(n), n_steps, n_instances, seed=4, dtype="float32")
    return with_weights(compiled(case, n, "float32", plan=plan), case, values), values


@pytest.mark.parametrize("case", swept(EVERY), ids=str)
def test_a_batch_is_its_instances_whatever_its_size(case):
    """Forwards and backwards. Gradients of weights are sums over instances, and have no bits of one of them."""
    layer, values = usual(case)
    generator = np.random.default_rng(8)
    whole, pullback = layer.vjp(*(call := given(case, values))[0], **call[1])
    whole = named(whole, case)
    dY = {name: generator.standard_normal(y.shape).astype("float32") for name, y in whole.items()}
    dS = {name: generator.standard_normal(s.shape).astype("float32") for name, s in pullback.state.items()}
    grads = pullback(dY, state=dS)
    for n_instances in range(1, 10):
        for part in (slice(n_instances), slice(9 - n_instances, 9)):
            inputs, more = given(case, values, part)
            outputs, final = layer.run(*inputs, **more)
            equal(named(outputs, case), {name: y[:, part] for name, y in whole.items()})
            equal(final, {name: s[part] for name, s in pullback.state.items()})
            _, back = layer.vjp(*inputs, **more)
            found = back({name: d[:, part] for name, d in dY.items()}, state={name: d[part] for name, d in dS.items()})
            equal(found.state, {name: d[part] for name, d in grads.state.items()})
            equal(found.contexts, {name: d[part] for name, d in grads.contexts.items()})
            names = case.names("input")
            one, all_ = (g.inputs if isinstance(g.inputs, dict) else {names[0]: g.inputs} for g in (found, grads))
            equal(one, {name: d[:, part] for name, d in all_.items()})


@pytest.mark.parametrize("case", swept(RECURRENT), ids=str)
def test_two_halves_are_one_whole_and_a_stream_is_a_run(case):
    layer, values = usual(case)
    inputs, more = given(case, values)
    whole, final = layer.run(*inputs, **more)
    for cut in (0, 1, 3, 5):
        first, state = layer.run(*(x[:cut] for x in inputs), **more)
        second, end = layer.run(*(x[cut:] for x in inputs), **{**more, "state": state})
        parts = {name: np.concatenate([y, named(second, case)[name]]) for name, y in named(first, case).items()}
        equal(parts, named(whole, case))
        equal(end, final)
    stream = layer.stream(n_instances=9, **more)
    for t in range(5):
        frame = named(stream(*(x[t] for x in inputs)), case)
        equal(frame, {name: y[t] for name, y in named(whole, case).items()})
    equal(stream.state, final)
    single = layer.stream(
        state={name: s[4] for name, s in more["state"].items()}, **{name: values[name][4] for name in case.names("context")}
    )
    for t in range(5):
        frame = named(single(*(x[t, 4] for x in inputs)), case)
        equal(frame, {name: y[t, 4] for name, y in named(whole, case).items()})


@pytest.mark.parametrize("case", swept(EVERY), ids=str)
def test_an_instance_with_a_length_is_the_sequence_cut_there_and_a_reset_begins_again(case):
    layer, values = usual(case)
    inputs, more = given(case, values)
    lengths = np.array([3, 0, 5, 1, 4, 5, 2, 0, 3])
    outputs, final = layer.run(*inputs, **more, lengths=lengths)
    for i, length in enumerate(lengths):
        one, more_of_one = given(case, values, slice(i, i + 1), slice(int(length)))
        alone, state = layer.run(*one, **more_of_one)
        equal({name: y[:length, i : i + 1] for name, y in named(outputs, case).items()}, named(alone, case))
        equal({name: s[i : i + 1] for name, s in final.items()}, state)
        for y in named(outputs, case).values():
            assert not y[length:, i].any()
    reset = np.zeros((5, 9), bool)
    reset[2, ::2] = True
    outputs, final = layer.run(*inputs, **more, reset=reset)
    begun = {k: v for k, v in more.items() if k != "state"}
    anew, state = layer.run(*(x[2:] for x in inputs), **begun)
    equal({name: y[2:, ::2] for name, y in named(outputs, case).items()}, {n: y[:, ::2] for n, y in named(anew, case).items()})
    equal({name: s[::2] for name, s in final.items()}, {name: s[::2] for name, s in state.items()})


@pytest.mark.parametrize("plan", PLANS)
def test_a_hundred_neurons_many_steps_and_many_instances(plan):
    """Long enough for every loop to turn more than once: chunks of rows, rows of a sum, tiles, panels."""
    case = next(c for c in CASES if c.name == "lstm")
    sizes = case.sizes(100)
    for n_steps, n_instances in ((300, 1), (41, 33)):
        values = case.values(sizes, n_steps, n_instances, dtype="float32")
        layers = [compiled(case, 100, "float32", plan=p) for p in (plan, "hoisted")] + [compiled(case, 100, "float32", "numpy")]
        found, other, expected = (everything(with_weights(layer, case, values), case, *given(case, values)) for layer in layers)
        equal(found, other)
        close(found, expected, LIMIT["float32"])


def test_automatic_is_one_of_the_plans_and_gives_their_bits():
    case = next(c for c in CASES if c.name == "gru")
    values = case.values(case.sizes(5), 4, 3, dtype="float32")
    results = [
        everything(with_weights(compiled(case, 5, "float32", plan=p), case, values), case, *given(case, values))
        for p in ("automatic", *PLANS)
    ]
    for result in results[1:]:
        equal(results[0], result)


# --- random cells, and what they have found -----------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given_(seed=st.integers(0, 2**32 - 1), n_statements=st.integers(3, 14))
def test_native_code_of_a_random_cell_means_what_the_cell_means(seed, n_statements):
    """By every plan, by threads, in parts; `python -m tests.random_cells --backend native` goes on where this ends."""
    note(script(seed, n_statements, "native"))
    assert check_native(seed, n_statements, n_cases=4) == 4 * len(PLANS)


def test_wrong_results_of_a_random_cell_would_be_found():
    exact = {"output `y`": np.linspace(-3, 3, 7)}
    right = {"output `y`": np.float32(exact["output `y`"])}
    near(right, exact, "float32", list)
    moved = {"output `y`": right["output `y`"] + np.float32(1e-4)}
    with pytest.raises(AssertionError, match="wrong by"):
        near(moved, exact, "float32", lambda: [right])
    near(moved, exact, "float32", lambda: [{"output `y`": exact["output `y`"] + 1e-5}])  # of a cell that magnifies errors
    with pytest.raises(AssertionError, match="1 of 7 differ, at \\(3,\\)"):
        equal_in_bits("plans", {"y": np.float32([0, 1, 2, np.nan, 4, 5, 6])}, {"y": np.float32([0, 1, 2, 3, 4, 5, 6])})


def test_the_script_of_a_native_failure_shows_how_to_see_it_again():
    text, sizes = write(7, 3, wide=True)
    shown = script(7, 3, "native")
    assert text in shown
    assert str(sizes) in shown
    assert "check_native(7, 3)" in shown


def against_numpy(made, dtype="float32", limit=2e-5, n_steps=4, n_instances=3, **sizes):
    """Outputs, states and gradients of a cell by every plan."""
    layers = [Layer(made, **sizes, dtype=dtype, backend="native", plan=plan) for plan in PLANS]
    layers.append(Layer(made, **sizes, dtype=dtype, backend="numpy"))
    generator = np.random.default_rng(1)
    leading = {"input": (n_steps, n_instances), "context": (n_instances,)}
    ports = layers[0].graph.with_role("input", "context")
    inputs = [generator.standard_normal(leading[p.role] + p.value.type.sizes) for p in ports]
    results = []
    for layer in layers:
        Y, pullback = layer.vjp(*inputs)
        outputs = Y if isinstance(Y, dict) else {"y": Y}
        grads = pullback({n: np.cos(y) for n, y in outputs.items()} if isinstance(Y, dict) else np.cos(Y))
        results.append({**outputs, **pullback.state, "dX": grads.inputs, **{f"d {n}": g for n, g in grads.weights.items()}})
    for result in results[:-1]:
        close(result, results[-1], limit)
        equal(result, results[0])


@cell
def multiplying(x=Input("n", "n"), A=State("n", "n"), w=State("n")):
    """States whose new value is a product, of two matrices of an instance, and of a matrix and a vector."""
    return A @ x * 0.3, x @ w * 0.5 + 1


@cell
def chained(x=Input("n", "n"), A=State("n", "n", initial=0.5)):
    return A @ x


def test_a_product_of_two_matrices_of_an_instance_may_be_the_new_state():
    for n in (1, 3, 17):
        against_numpy(multiplying, n=n)
        against_numpy(chained, n=n, limit=1e-4)


@cell
def weights_handed_out(x=Input("n"), h=State("n"), W=Weight("n", "n"), b=Bias("n")):
    return Output(b, W=W.T, f=tanh(W[0]), row=W[0]), tanh(x @ W + h)


def test_an_output_that_depends_on_weights_alone_is_made_by_every_run():
    layer = Layer(weights_handed_out, n=5, backend="native")
    for n_steps in (3, 1, 3):
        Y, _ = layer.run(np.ones((n_steps, 2, 5)))
        assert np.array_equal(Y["W"], np.broadcast_to(layer.weights["W"].T, (n_steps, 2, 5, 5)))
        assert np.array_equal(Y["row"], np.broadcast_to(layer.weights["W"][0], (n_steps, 2, 5)))
        for y in Y.values():
            y[...] = 7  # the user's own
    against_numpy(weights_handed_out, n=5)


@cell
def summed_patches(x=Input(), h=State("n"), w=Weight("m", "n")):
    """What flows back to patches here is one number, stretched to all of them."""
    return tanh(0.5 * h + sum_(patches(w, (3,), padding="same"), axis=(0, 1)) * 0.1 + x)


def test_what_flows_back_to_patches_may_be_one_number_for_all():
    against_numpy(summed_patches, n=4, m=7)


def test_gradients_of_weights_over_many_rows_are_exact():
    """Sums over rows are made of blocks, or each small term would be rounded against the large sum of all before it."""
    X = np.random.default_rng(0).standard_normal((1000, 64, 6)).astype("float32")
    gradients = {}
    for dtype, backend in (("float64", "numpy"), ("float32", "native")):
        layer = Layer(cells.recurrent, n_inputs=6, n_neurons=5, dtype=dtype, backend=backend)
        layer.weights.update({name: np.float32(w) for name, w in layer.weights.items()})
        Y, pullback = layer.vjp(X)
        gradients[dtype, backend] = pullback(np.ones(Y.shape)).weights
    for name, exact in gradients["float64", "numpy"].items():
        assert np.abs(gradients["float32", "native"][name] - exact).max() <= 1e-6 * np.abs(exact).max(), name


def test_a_sum_over_rows_is_the_same_whether_its_phase_goes_step_by_step_or_not():
    """What belongs to an instance is read step by step, and in which phase depends on the plan: here, before or in the loop."""

    @cell
    def replaced(x=Input("n"), k=Context("n"), h=State("n"), W=Weight("n", "n")):
        return Output(tanh((h * stop_gradient(k)) @ W)), x

    for n in (1, 5):
        against_numpy(replaced, n=n, n_steps=300)
