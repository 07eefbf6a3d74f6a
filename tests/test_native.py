"""Native code computes what the definition computes; and what must not change a bit does not change one.

Two kinds of promises. Against NumPy: close, within `LIMIT` of the scale of the values, because NumPy adds in another order and
has another tanh and exp. Among native runs: equal to the last bit, whatever the plan, the batch, the cut of a sequence.
"""

from copy import copy

import numpy as np
import pytest

from ostinato import Layer
from ostinato.sequences import Sequences
from tests.library import LIBRARY
from tests.loops import CASES
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


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_every_plan_computes_what_numpy_computes_and_the_same_bits_as_every_other(case):
    check_scenarios(case, TAILS[PLACE[id(case)] % len(TAILS)], "float32", PLANS)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_native_code_computes_what_numpy_computes_in_float64(case):
    check_scenarios(case, TAILS[(PLACE[id(case)] + 3) % len(TAILS)], "float64", ("hoisted",))


SOME = [case for case in EVERY if case.name in ("gru_reset_before", "projected_lstm", "layer_norm_lstm", "fast_weights", "sru")]


@pytest.mark.parametrize("case", SOME, ids=str)
def test_plans_agree_in_float64(case):
    check_scenarios(case, TAILS[(PLACE[id(case)] + 3) % len(TAILS)], "float64", PLANS)


@pytest.mark.parametrize("n", [2, 15, 16, 17, 31, 32, 33, 100])
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


@pytest.mark.parametrize("case", EVERY, ids=str)
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


@pytest.mark.parametrize("case", RECURRENT, ids=str)
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


@pytest.mark.parametrize("case", EVERY, ids=str)
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
