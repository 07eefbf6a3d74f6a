"""A sequence is its steps, its parts and its instances: however it is cut, the same comes out. Padding is never read."""

import warnings

import numpy as np
import pytest

from ostinato import Layer, cells
from tests.loops import CASES
from tests.scenarios import SCENARIOS, Scenario, apart, build, named

RECURRENT = [case for case in CASES if case.names("state")]
LIMIT = 1e-12


def ready(case, n_steps=6, n_instances=4, scenario=SCENARIOS[0], spelling="other", **more):
    sizes = case.sizes(4)
    values = case.values(sizes, n_steps, n_instances, seed=7)
    return values, build(case, spelling, sizes, values, scenario, dtype="float64", **more)


def contexts(case, values):
    return {name: values[name] for name in case.names("context")}


def states(case, values):
    return {name: values[name] for name in case.names("state")}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stream_gives_what_the_layer_gives_frame_by_frame(case, batch_first):
    scenario = Scenario("stream", n_steps=6, n_instances=4, batch_first=batch_first)
    values, layer = ready(case, scenario=scenario)
    positional, keywords = scenario.call(case, values)
    whole, final = layer.run(*positional, **keywords)
    stream = layer.stream(n_instances=4, **keywords)
    for _ in range(2):
        for t in range(6):
            frame = named(stream(*(values[name][t] for name in case.names("input"))), case)
            for name, array in named(whole, case).items():
                assert apart(frame[name], scenario.turned(array)[t]) < LIMIT
        for name, array in final.items():
            assert apart(stream.state[name], array) < LIMIT
        stream.reset()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stream_of_one_instance_has_no_axis_of_instances(case):
    values, layer = ready(case)
    whole, final = layer.run(*(values[n] for n in case.names("input")), **contexts(case, values), state=states(case, values))
    stream = layer.stream(
        state={n: v[2] for n, v in states(case, values).items()}, **{n: v[2] for n, v in contexts(case, values).items()}
    )
    for t in range(6):
        frame = named(stream(*(values[name][t, 2] for name in case.names("input"))), case)
        for name, array in named(whole, case).items():
            assert apart(frame[name], array[t, 2]) < LIMIT
    for name, array in final.items():
        assert apart(stream.state[name], array[2]) < LIMIT


@pytest.mark.parametrize("with_reset", [False, True])
@pytest.mark.parametrize("case", RECURRENT, ids=str)
def test_two_parts_of_a_sequence_with_the_state_carried_over_are_the_whole(case, with_reset):
    values, layer = ready(case)
    reset = np.random.default_rng(1).random((6, 4)) < 0.3 if with_reset else None
    inputs = [values[name] for name in case.names("input")]
    whole, final = layer.run(*inputs, **contexts(case, values), state=states(case, values), reset=reset)
    for cut in range(7):
        state, pieces = states(case, values), []
        for part in (slice(0, cut), slice(cut, 6)):
            more = {} if reset is None else {"reset": reset[part]}
            outputs, state = layer.run(*(x[part] for x in inputs), **contexts(case, values), state=state, **more)
            pieces.append(named(outputs, case))
        for name, array in named(whole, case).items():
            assert apart(np.concatenate([piece[name] for piece in pieces]), array) < LIMIT
        for name, array in final.items():
            assert apart(state[name], array) < LIMIT


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_batch_is_its_instances_each_alone_and_as_long_as_it_is(case, reverse):
    values, layer = ready(case, n_instances=5, scenario=Scenario("alone", reverse=reverse))
    lengths = np.array([3, 0, 6, 1, 6])
    inputs = [values[name] for name in case.names("input")]
    whole, final = layer.run(*inputs, **contexts(case, values), state=states(case, values), lengths=lengths)
    for b, length in enumerate(lengths):
        outputs, state = layer.run(
            *(x[:length, b] for x in inputs), **{n: v[b] for n, v in contexts(case, values).items()},
            state={n: v[b] for n, v in states(case, values).items()},
        )  # fmt: skip
        for name, array in named(outputs, case).items():
            assert apart(array, named(whole, case)[name][:length, b]) < LIMIT
            assert not named(whole, case)[name][length:, b].any()
        for name, array in state.items():
            assert apart(array, final[name][b]) < LIMIT


@pytest.mark.parametrize("case", RECURRENT, ids=str)
def test_a_reverse_layer_is_the_layer_on_the_reversed_sequence(case):
    values, layer = ready(case)
    backwards = ready(case, scenario=Scenario("reverse", reverse=True))[1]
    inputs = [values[name] for name in case.names("input")]
    more = {**contexts(case, values), "state": states(case, values)}
    forth, state = layer.run(*(x[::-1] for x in inputs), **more)
    back, state_back = backwards.run(*inputs, **more)
    for name, array in named(forth, case).items():
        assert apart(named(back, case)[name], array[::-1]) < LIMIT
    for name, array in state.items():
        assert apart(state_back[name], array) < LIMIT


@pytest.mark.parametrize("case", RECURRENT, ids=str)
def test_a_reset_begins_again_with_the_state_as_declared(case):
    values, layer = ready(case)
    reset = np.zeros((6, 4), bool)
    reset[3] = True
    inputs = [values[name] for name in case.names("input")]
    whole, final = layer.run(*inputs, **contexts(case, values), state=states(case, values), reset=reset)
    anew, state = layer.run(*(x[3:] for x in inputs), **contexts(case, values))
    for name, array in named(anew, case).items():
        assert apart(named(whole, case)[name][3:], array) < LIMIT
    for name, array in state.items():
        assert apart(final[name], array) < LIMIT


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_stands_in_the_padding_never_matters(case, bad):
    """Neither to the outputs nor to any gradient, and nothing warns: padding has no row at all."""
    lengths = np.array([4, 0, 2, 5])
    padding = np.arange(5)[:, None] >= lengths
    for reverse in (False, True):
        values, layer = ready(case, n_steps=5, scenario=Scenario("padding", reverse=reverse))
        generator = np.random.default_rng(0)
        results = []
        for filling in (0.0, bad):
            inputs = []
            for name in case.names("input"):
                array = values[name].copy()
                array[padding] = filling
                inputs.append(array)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outputs, pullback = layer.vjp(*inputs, **contexts(case, values), state=states(case, values), lengths=lengths)
                if not results:
                    dY = {name: generator.standard_normal(y.shape) for name, y in named(outputs, case).items()}
                given = {name: np.where(padding.reshape(5, 4, *[1] * (d.ndim - 2)), filling, d) for name, d in dY.items()}
                grads = pullback(given, state={name: array + 1 for name, array in pullback.state.items()})
            of_inputs = grads.inputs if isinstance(grads.inputs, dict) else {case.names("input")[0]: grads.inputs}
            results.append([named(outputs, case), pullback.state, of_inputs, grads.contexts, grads.state, grads.weights])
        for clean, padded in zip(*results, strict=True):
            for name, array in clean.items():
                assert np.isfinite(array).all()
                assert np.array_equal(array, padded[name]), name
        for array in results[1][2].values():
            assert not array[padding].any()


def test_the_cost_follows_the_valid_steps_and_not_the_padding():
    layer = Layer(cells.lstm, n_inputs=3, n_neurons=4)
    X = np.zeros((50, 6, 3))
    _, full = layer.vjp(X)
    _, short = layer.vjp(X, lengths=np.array([50, 1, 1, 1, 1, 1]))
    weights_alone = layer.vjp(X[:0])[1].recorded_bytes
    assert (short.recorded_bytes - weights_alone) * 300 == (full.recorded_bytes - weights_alone) * 55


def test_nan_in_one_instance_stays_in_that_instance():
    layer = Layer(cells.gru, n_inputs=3, n_neurons=4, dtype="float64")
    X = np.random.default_rng(0).standard_normal((5, 3, 3))
    clean = layer(X)
    X[2, 1, 0] = np.nan
    Y = layer(X)
    assert np.array_equal(Y[:, [0, 2]], clean[:, [0, 2]])
    assert np.array_equal(Y[:2, 1], clean[:2, 1])
    assert np.isnan(Y[2:, 1]).all()


def test_masks_of_dropout_do_not_depend_on_the_lengths_of_others():
    from ostinato import Input, State, cell, dropout, tanh

    @cell
    def dropping(x=Input("n"), h=State("n")):
        return tanh(dropout(x, 0.5) + dropout(h, 0.5, per="sequence"))

    layer = Layer(dropping, n=4, dtype="float64")
    X = np.random.default_rng(0).standard_normal((6, 3, 4))
    whole = layer(X, training=True, rng=5)
    part = layer(X, training=True, rng=5, lengths=np.array([2, 6, 4]))
    for b, length in enumerate([2, 6, 4]):
        assert np.array_equal(part[:length, b], whole[:length, b])
