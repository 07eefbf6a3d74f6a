"""Zoneout and dropout inside a recurrence: what the papers say, step by step, with the masks that the layer draws.

The loops are written from the papers, with d = 1 where a value is kept back (zoneout) and 0/1 masks over 1 - rate (dropout).
A layer draws one mask for each option that is on, in the order in which the cell uses them, from the generator of the call.
"""

import re

import numpy as np
import pytest

from ostinato import CellError, Layer, ShapeError, cells, load
from ostinato.cells import zoneout
from tests.helpers import assert_close, assert_equal, canonical, random

SIZES = {"n_inputs": 3, "n_neurons": 4}
STEPS, INSTANCES = 6, 5
RATES = {
    "lstm": {"recurrent_dropout": 0.3, "update_dropout": 0.2, "zoneout_h": 0.25, "zoneout_c": 0.5},
    "gru": {"recurrent_dropout": 0.3, "update_dropout": 0.2, "zoneout_h": 0.25},
    "gru_reset_before": {"recurrent_dropout": 0.3, "update_dropout": 0.2, "zoneout_h": 0.25},
}
# every option alone, and all of them together
CHOICES = [(name, {option: rate}) for name, rates in RATES.items() for option, rate in rates.items()]
CHOICES += list(RATES.items())


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def drawn(name, options, seed, shape=(STEPS, INSTANCES, SIZES["n_neurons"])):
    """For every option of the cell: which elements it hits, (n_steps, n_instances, n_neurons); none where it is off."""
    generator = np.random.default_rng(seed)
    hit = {}
    for option in RATES[name]:
        hit[option] = np.zeros(shape, bool)
        if options.get(option):
            per_sequence = option == "recurrent_dropout"
            numbers = generator.random(shape[1:] if per_sequence else shape)
            hit[option] = np.broadcast_to(numbers < options[option], shape)
    return hit


def kept(hit, option, options, t):
    """The factor of dropout: 0, or 1 over 1 - rate."""
    return ~hit[option][t] / (1 - options.get(option, 0.0))


def zoned(new, old, d):
    """Krueger et al. 2016: d h(t-1) + (1 - d) new."""
    return d * old + (1 - d) * new


def lstm_loop(w, X, h, c, hit, options):
    Y = []
    for t, x in enumerate(X):
        xh = np.concatenate([x, h * kept(hit, "recurrent_dropout", options, t)], axis=1)
        i, f, o = (sigmoid(xh @ w[f"W_{k}"] + w[f"b_{k}"]) for k in "ifo")
        g = np.tanh(xh @ w["W_g"] + w["b_g"]) * kept(hit, "update_dropout", options, t)
        memory = f * c + i * g
        h = zoned(o * np.tanh(memory), h, hit["zoneout_h"][t])
        c = zoned(memory, c, hit["zoneout_c"][t])
        Y.append(h)
    return np.stack(Y), {"h": h, "c": c}


def gru_loop(w, X, h, hit, options, *, before):
    Y = []
    for t, x in enumerate(X):
        read = h * kept(hit, "recurrent_dropout", options, t)
        r, z = (sigmoid(x @ w[f"W_{k}"] + read @ w[f"U_{k}"] + w[f"b_{k}"]) for k in "rz")
        inner = (r * read) @ w["U_n"] if before else r * (read @ w["U_n"] + w["b_hn"])
        n = np.tanh(x @ w["W_n"] + w["b_n"] + inner) * kept(hit, "update_dropout", options, t)
        h = zoned((1 - z) * n + z * h, h, hit["zoneout_h"][t])
        Y.append(h)
    return np.stack(Y), {"h": h}


def by_hand(name, weights, X, state, hit, options):
    if name == "lstm":
        return lstm_loop(weights, X, state["h"], state["c"], hit, options)
    return gru_loop(weights, X, state["h"], hit, options, before=name == "gru_reset_before")


def prepared(name, options, **more):
    layer = Layer(getattr(cells, name), **SIZES, dtype="float64", seed=3, **options, **more)
    for number, key in enumerate(layer.weights):
        layer.weights[key] = 0.5 * random(layer.weights[key].shape, seed=number)
    X = random((STEPS, INSTANCES, SIZES["n_inputs"]), seed=50)
    names = [result.name for result in layer.graph.results_with("state")]
    state = {key: random((INSTANCES, SIZES["n_neurons"]), seed=60 + i) for i, key in enumerate(names)}
    return layer, X, state


@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize(("name", "options"), CHOICES, ids=str)
def test_in_training_an_option_does_what_its_paper_says_step_by_step(name, options, backend):
    layer, X, state = prepared(name, options, backend=backend)
    Y, final = layer.run(X, state=state, training=True, rng=7)
    hit = drawn(name, options, seed=7)
    assert all(hit[option].any() and not hit[option].all() for option in options)
    wanted, wanted_final = by_hand(name, layer.weights, X, state, hit, options)
    assert_close(Y, wanted)
    for key, value in wanted_final.items():
        assert_close(final[key], value)


@pytest.mark.parametrize(("name", "options"), CHOICES, ids=str)
def test_outside_of_training_zoneout_takes_its_expectation_and_dropout_is_off(name, options):
    layer, X, state = prepared(name, options)
    expected = {option: np.full((STEPS, INSTANCES, 4), options.get(option, 0.0)) for option in RATES[name]}
    for option in ("recurrent_dropout", "update_dropout"):
        expected[option] = np.zeros((STEPS, INSTANCES, 4), bool)
    plain = {option: rate for option, rate in options.items() if option.startswith("zoneout")}
    wanted, wanted_final = by_hand(name, layer.weights, X, state, expected, plain)
    Y, final = layer.run(X, state=state)
    assert_close(Y, wanted)
    for key, value in wanted_final.items():
        assert_close(final[key], value)
    stream = layer.stream(state=state, n_instances=INSTANCES)
    assert_close(np.stack([stream(x) for x in X]), wanted)


@pytest.mark.parametrize("name", RATES)
def test_the_gradient_with_all_options_is_that_of_finite_differences_with_the_same_masks(name):
    options = RATES[name]
    layer, X, state = prepared(name, options)
    hit = drawn(name, options, seed=11)
    Y, pullback = layer.vjp(X, state=state, training=True, rng=11)
    dY, d_state = random(Y.shape, seed=70), {key: random(value.shape, seed=80) for key, value in state.items()}
    gradients = pullback(dY, state=d_state)
    given = {"X": X, **state, **layer.weights}
    found = {"X": gradients.inputs, **gradients.state, **gradients.weights}
    assert set(found) == set(given)

    def loss(values):
        weights = {key: values[key] for key in layer.weights}
        Y, final = by_hand(name, weights, values["X"], {key: values[key] for key in state}, hit, options)
        return (Y * dY).sum() + sum((final[key] * d_state[key]).sum() for key in state)

    for number, (key, value) in enumerate(given.items()):
        direction, step = random(value.shape, seed=90 + number), 1e-6
        above, below = (loss({**given, key: value + sign * step * direction}) for sign in (1, -1))
        assert_close((found[key] * direction).sum(), (above - below) / (2 * step), 1e-6)


@pytest.mark.parametrize("name", RATES)
def test_at_rate_0_the_cell_is_the_cell_without_options(name):
    cell = getattr(cells, name)
    nothing = dict.fromkeys(RATES[name], 0)
    for training in (False, True):
        plain, explicit = cell.trace(training=training, **SIZES), cell.trace(training=training, **SIZES, **nothing)
        assert str(plain) == str(explicit)
        assert not plain.with_role("mask")
    assert canonical(Layer(cell, **SIZES).program) == canonical(Layer(cell, **SIZES, **nothing).program)


def test_a_neuron_that_is_zoned_out_keeps_its_value_and_lets_the_gradient_pass():
    layer, X, state = prepared("gru", {"zoneout_h": 0.5})
    hit = drawn("gru", {"zoneout_h": 0.5}, seed=5)["zoneout_h"]
    Y, pullback = layer.vjp(X[:1], state=state, training=True, rng=5)
    first = hit[0]
    assert 0 < first.sum() < first.size
    assert_equal(Y[0][first], state["h"][first])
    dY = np.where(first, random(Y.shape, seed=1), 0)
    gradients = pullback(dY)
    assert_close(gradients.state["h"], dY[0])
    assert all(not gradient.any() for gradient in gradients.weights.values())


def test_the_mask_of_recurrent_dropout_is_the_same_at_every_step_and_that_of_zoneout_is_not():
    layer, _, _ = prepared("lstm", RATES["lstm"])
    masks = layer.compiled(training=True).forward.with_role("mask")
    assert [port.rate for port in masks] == list(RATES["lstm"].values())
    assert [port.value.type.varies.name for port in masks] == ["INSTANCE", "STEP", "STEP", "STEP"]


def test_lengths_and_batches_do_not_change_what_zoneout_does():
    layer, X, state = prepared("lstm", RATES["lstm"])
    whole = layer.run(X, state=state, training=True, rng=2)[0]
    lengths = [6, 0, 3, 1, 5]
    cut = layer.run(X, state=state, training=True, rng=2, lengths=lengths)[0]
    for instance, length in enumerate(lengths):
        assert_close(cut[:length, instance], whole[:length, instance])
        assert not cut[length:, instance].any()


def test_the_options_are_saved_with_the_layer(tmp_path):
    layer, X, state = prepared("lstm", RATES["lstm"])
    layer.save(tmp_path / "zoned.safetensors")
    again = load(tmp_path / "zoned.safetensors")
    assert_equal(again.run(X, state=state)[0], layer.run(X, state=state)[0])
    assert_equal(again.run(X, state=state, training=True, rng=1)[0], layer.run(X, state=state, training=True, rng=1)[0])


def test_called_on_arrays_zoneout_is_the_expectation():
    new, old = random((4,), seed=1), random((4,), seed=2)
    assert_close(zoneout(new, old, 0.25), 0.25 * old + 0.75 * new)
    assert zoneout(new, old, 0) is new
    zeros = {key: np.zeros(array.shape) for key, array in Layer(cells.lstm, **SIZES).weights.items()}
    h, c = cells.lstm(np.ones(3), old, new, **zeros, zoneout_h=0.25, zoneout_c=0.5)
    assert_close(h, 0.25 * old + 0.75 * 0.5 * np.tanh(0.5 * new))
    assert_close(c, 0.5 * new + 0.5 * 0.5 * new)


@pytest.mark.parametrize("rate", [1, 1.0, -0.1, float("nan"), "half", True, None])
def test_a_rate_that_is_none_is_refused(rate):
    message = f"zoneout: the rate is a number from 0 up to, but not including, 1, and is {rate!r}"
    with pytest.raises(CellError, match=f"^{re.escape(message)}$"):
        Layer(cells.lstm, **SIZES, zoneout_c=rate)


def test_new_and_old_of_other_sizes_are_refused():
    with pytest.raises(ShapeError, match=r"^subtract: `3` of one operand meets `4` of another"):
        zoneout(np.ones(3), np.ones(4), 0.5)
