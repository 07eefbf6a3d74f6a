"""Networks: parts together compute, and learn, what the parts alone compute and learn."""

import numpy as np
import pytest

from ostinato import (
    CellError,
    Context,
    DataError,
    DimensionError,
    Input,
    Layer,
    OptionError,
    State,
    Weight,
    cell,
    cells,
    dropout,
    tanh,
)
from ostinato.layers.network import Bidirectional, Dropout, LastStep, Network

from .helpers import Messages, assert_close, assert_equal, random

case = Messages("errors_network.txt")
LENGTHS = [6, 2, 0, 5]
D = {"dtype": "float64"}


def lstm(n_inputs=3, n_neurons=4, **options):
    return Layer(cells.lstm, n_inputs=n_inputs, n_neurons=n_neurons, **{**D, **options})


def gru(n_inputs=3, n_neurons=4, **options):
    return Layer(cells.gru, n_inputs=n_inputs, n_neurons=n_neurons, **{**D, **options})


def dense(n_inputs=4, n_outputs=2, **options):
    return Layer(cells.dense, n_inputs=n_inputs, n_outputs=n_outputs, **{**D, **options})


def everything(**options):
    """A network of every kind of part; its weights are (nearly) all different."""
    return Network(
        Dropout(0.2),
        Bidirectional(cells.lstm, n_inputs=3, n_neurons=4, seed=1, **{**D, **options}),
        Dropout(0.3, per="sequence"),
        dense(8, 3, seed=2, phi=tanh, **options),
        LastStep(Bidirectional(gru(seed=3, **options), lstm(n_neurons=2, seed=4, reverse=True, **options))),
        Dropout(0.1),
        dense(6, 2, seed=5, **options),
    )


X = random((6, 4, 3))


def test_a_network_computes_what_its_parts_compute_one_after_another():
    first, second, last = lstm(seed=1), gru(4, 5, seed=2), dense(5, 2, seed=3)
    network = Network(first, second, last)
    assert_equal(network(X, lengths=LENGTHS), last(second(first(X, lengths=LENGTHS), lengths=LENGTHS), lengths=LENGTHS))
    assert network(X).shape == (6, 4, 2)
    Y, state = network.run(X, lengths=LENGTHS)
    assert list(state) == ["0.h", "0.c", "1.h"]
    assert_equal(state["1.h"], second.run(first(X, lengths=LENGTHS), lengths=LENGTHS)[1]["h"])
    assert not Y[2:, 1].any()


def test_both_directions_stand_side_by_side_and_begin_with_other_weights():
    both = Bidirectional(cells.gru, n_inputs=3, n_neurons=4, seed=7, **D)
    alone = gru(seed=7)
    behind = gru(reverse=True)
    behind.weights.update(dict(both.reverse.weights))
    assert_equal(both(X, lengths=LENGTHS), np.concatenate([alone(X, lengths=LENGTHS), behind(X, lengths=LENGTHS)], axis=-1))
    assert not np.array_equal(both.weights["forward.W_r"], both.weights["reverse.W_r"])
    assert_equal(
        both.weights["reverse.W_r"], Bidirectional(cells.gru, n_inputs=3, n_neurons=4, seed=7, **D).weights["reverse.W_r"]
    )


def test_the_last_step_is_each_instances_own_and_the_first_for_the_reverse_direction():
    both = Bidirectional(cells.lstm, n_inputs=3, n_neurons=4, **D)
    Y = both(X, lengths=LENGTHS)
    last = LastStep(both)(X, lengths=LENGTHS)
    for i, length in enumerate(LENGTHS):
        expected = np.zeros(8) if not length else np.concatenate([Y[length - 1, i, :4], Y[0, i, 4:]])
        assert_equal(last[i], expected)
    state = both.run(X, lengths=LENGTHS)[1]
    assert_equal(last, np.concatenate([state["forward.h"], state["reverse.h"]], axis=-1))  # h is what an LSTM gives
    assert_equal(LastStep(lstm(reverse=True))(X), lstm(reverse=True)(X)[0])
    assert_equal(LastStep(lstm())(X), lstm()(X)[-1])


def test_a_sequence_without_steps_ends_with_zeros():
    assert_equal(LastStep(lstm())(X[:0]), np.zeros((4, 4)))
    Y, pullback = LastStep(lstm()).vjp(X[:0])
    assert pullback(np.ones_like(Y)).inputs.shape == (0, 4, 3)


def test_a_batch_is_its_instances_and_padding_is_never_read():
    network = everything()
    padded = X.copy()
    for i, length in enumerate(LENGTHS):
        padded[length:, i] = np.nan
    Y = network(padded, lengths=LENGTHS)
    for i, length in enumerate(LENGTHS):
        assert_close(Y[i], network(X[:length, i]))
        assert_close(Y[i], network(X[:, i], lengths=length))


def test_the_other_order_and_the_single_instance_give_the_same():
    network, other = everything(), everything(batch_first=True)
    dY = random((4, 2), 1)
    Y, pullback = network.vjp(X, lengths=LENGTHS)
    Z, other_pullback = other.vjp(X.swapaxes(0, 1), lengths=LENGTHS)
    assert_close(Z, Y)
    grads, other_grads = pullback(dY), other_pullback(dY)
    assert_close(other_grads.inputs.swapaxes(0, 1), grads.inputs)
    for name, gradient in grads.weights.items():
        assert_close(other_grads.weights[name], gradient)
    steps = Network(lstm(), dense())
    one, one_pullback = steps.vjp(X[:, 0], state={"0.h": np.ones(4)})
    all_, all_pullback = steps.vjp(X[:, :1], state={"0.h": np.ones((1, 4))})
    assert_equal(one, all_[:, 0])
    assert_equal(one_pullback.state["0.c"], all_pullback.state["0.c"][0])
    assert_equal(one_pullback(one).inputs, all_pullback(all_).inputs[:, 0])
    assert_equal(one_pullback(one).state["0.h"], all_pullback(all_).state["0.h"][0])


def test_two_halves_with_the_state_carried_on_are_the_whole():
    network = Network(lstm(seed=1), gru(4, 5, seed=2), dense(5, 2))
    Y, state = network.run(X)
    first, between = network.run(X[:2])
    rest, end = network.run(X[2:], state=between)
    assert_close(np.concatenate([first, rest]), Y)
    for name in state:
        assert_close(end[name], state[name])


def test_a_reset_reaches_every_recurrent_part():
    network = Network(lstm(seed=1), dense(4, 3), gru(3, 5, seed=2))
    reset = np.zeros((6, 4), bool)
    reset[3] = True
    assert_close(network(X, reset=reset)[3:], network(X[3:]))
    assert_close(network(X[:, 0], reset=reset[:, 0])[3:], network(X[3:, 0]))


def test_layers_without_memory_need_no_steps():
    network = Network(dense(3, 5, seed=1), Dropout(0.5, per="sequence"), dense(5, 2, seed=2))
    rows = X[0]
    assert_equal(network(rows), network(X)[0])
    assert_close(network(rows[1]), network(rows)[1])
    # every instance has a mask of its own
    Y, pullback = network.vjp(np.ones((50, 3)), training=True, rng=1)
    assert len(np.unique(Y.round(9), axis=0)) > 5
    assert pullback(Y).inputs.shape == (50, 3)
    assert network.vjp(rows[1])[1](np.ones(2)).inputs.shape == (3,)


def assert_slope(function, array, gradient, seed, tolerance=1e-7):
    """The gradient in one random direction is the slope of the function in it."""
    direction = random(array.shape, seed)
    slope = (function(array + 1e-6 * direction) - function(array - 1e-6 * direction)) / 2e-6
    assert abs(slope - (gradient * direction).sum()) < tolerance * (1 + abs(slope))


def test_gradients_are_those_of_finite_differences_with_dropout_and_lengths():
    network = everything()
    sizes = {name: array.shape[1] for name, array in network.run(X)[1].items()}
    state = {name: random((4, size), i + 3) for i, (name, size) in enumerate(sizes.items())}
    dY = random((4, 2), 1)
    ends = {name: random(array.shape, i + 20) for i, (name, array) in enumerate(state.items())}
    options = {"lengths": LENGTHS, "training": True, "rng": 5}

    def total(inputs, state):
        Y, end = network.run(inputs, state=state, **options)
        return (Y * dY).sum() + sum((end[name] * ends[name]).sum() for name in ends)

    Y, pullback = network.vjp(X, state=state, **options)
    assert_equal(Y, network(X, state=state, **options))
    grads = pullback(dY, state=ends)
    assert list(grads.weights) == list(network.weights)
    assert list(grads.state) == list(state)
    assert pullback.recorded_bytes > 0
    for seed in (30, 31, 32):
        assert_slope(lambda x: total(x, state), X, grads.inputs, seed)
        for name, array in state.items():
            assert_slope(lambda s, name=name: total(X, {**state, name: s}), array, grads.state[name], seed)
        for name, original in dict(network.weights).items():

            def with_weight(weight, name=name):
                network.weights[name] = weight
                return total(X, state)

            assert_slope(with_weight, original, grads.weights[name], seed)
            network.weights[name] = original
    again = pullback(dY, state=ends)
    assert_equal(again.inputs, grads.inputs)
    assert not pullback().inputs.any()


def test_weights_are_all_checked_before_one_is_changed():
    network = Network(lstm(), dense())
    before = dict(network.weights)
    assert list(before) == [*(f"0.{n}" for n in lstm().weights), "1.W", "1.b"]
    network.weights.update({"1.b": [1, 2], "0.b_i": np.full(4, 3)})
    assert_equal(network[1].weights["b"], np.array([1.0, 2.0]))
    assert_equal(network.weights["0.b_i"], np.full(4, 3.0))
    with pytest.raises(DataError):
        network.weights.update({"1.b": [5, 5], "0.b_i": np.zeros(3)})
    assert_equal(network.weights["1.b"], np.array([1.0, 2.0]))
    assert network.weights.shapes["0.W_i"] == (7, 4)
    assert network.n_parameters == sum(a.size for a in before.values()) == len(before["0.W_i"]) * 4 * 4 + 16 + 10
    assert repr(network.weights).startswith("<weights 0.W_i (7, 4), 0.b_i (4,)")
    assert repr(network) == f"<network lstm -> dense, float64, {network.n_parameters} parameters>"


def test_dropout_acts_in_training_only_and_between_parts_only():
    network = Network(lstm(), Dropout(0.5), dense())
    plain = Network(lstm(), dense())
    assert_equal(network(X), plain(X))
    _, state = network.run(X, training=True, rng=1)
    assert_equal(state["0.c"], plain.run(X)[1]["0.c"])  # nothing was dropped inside the recurrence
    Y = network(X, training=True, rng=1)
    assert not np.array_equal(Y, plain(X))
    assert_equal(Y, network(X, training=True, rng=1))
    assert_equal(Y, network(X, training=True, rng=np.random.default_rng(1)))
    assert not np.array_equal(network(X, training=True), network(X, training=True))


@cell
def dropped_inside(x=Input("n_inputs")):
    return dropout(x, 0.5)


def inside(**options):
    return Layer(dropped_inside, n_inputs=8, **{**D, **options})


def test_layers_of_one_seed_have_masks_of_their_own():
    ones = np.ones((50, 20, 8))
    for network in (Network(Dropout(0.5), inside()), Network(inside(), inside()), Network(inside(), Network(inside()))):
        kept = network(ones, training=True) != 0
        assert abs(kept.mean() - 0.25) < 0.02  # half of a half
    for both in (Bidirectional(inside(), inside(reverse=True)), LastStep(Bidirectional(inside(), inside(reverse=True)))):
        Y = Network(both)(ones, training=True)
        assert not np.array_equal(Y[..., :8], Y[..., 8:])


def test_masks_are_fixed_by_the_seeds_and_the_places_and_new_in_every_call():
    ones = np.ones((50, 20, 8))
    first, second = (Network(inside(seed=3), Dropout(0.5)) for _ in range(2))
    Y = first(ones, training=True)
    assert_equal(second(ones, training=True), Y)
    assert_equal(second.vjp(ones, training=True)[0], first(ones, training=True))
    assert not np.array_equal(first(ones, training=True), Y)
    assert not np.array_equal(Network(inside(seed=4), Dropout(0.5))(ones, training=True), Y)
    state = first[0]._beginning.masks.bit_generator.state
    first(ones, training=True)
    assert first[0]._beginning.masks.bit_generator.state == state  # what a layer draws alone does not depend on networks


def test_the_seed_of_dropout_is_that_of_no_other_layer():
    inner = Network(inside(seed=0), Dropout(0.5), Bidirectional(inside(seed=1), inside(seed=5, reverse=True)))
    network = Network(Dropout(0.5), inner, Dropout(0.5), dense(16, 16, seed=2), Dropout(0.1))
    seeds = [layer.seed for layer in network.layers.values()]
    assert len(set(seeds)) == len(seeds)
    assert [layer.seed for layer in network.layers.values() if layer.name != "dropout"] == [0, 1, 5, 2]


@pytest.mark.parametrize("per", ["step", "sequence"])
def test_dropout_between_parts_zeroes_by_the_rate_and_scales_the_rest(per):
    layer = Network(Dropout(0.25, per=per), dense(40, 1)).parts["0"]
    Y = layer(np.ones((50, 30, 40)), training=True, rng=0)
    assert set(np.unique(Y).tolist()) == {0.0, 1 / 0.75}
    assert abs((Y == 0).mean() - 0.25) < 0.02
    assert (Y[:1] == Y).all() == (per == "sequence")


def test_a_network_takes_over_the_parts_of_a_network():
    inner = Network(lstm(), dense(4, 3))
    network = Network(inner, LastStep(gru()))
    assert [part.name for part in network.parts.values()] == ["lstm", "dense", "last step of gru"]
    assert len(network) == 3
    assert not network.gives_steps
    assert inner.gives_steps
    assert list(network.layers) == ["0", "1", "2"]
    assert list(everything().layers) == ["0", "1.forward", "1.reverse", "2", "3", "4.forward", "4.reverse", "5", "6"]


@cell
def two_outputs(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
    from ostinato import Output

    h = tanh(x @ W + h)
    return Output(h * 2, other=h), h


def test_of_several_outputs_the_first_goes_on():
    layer = Layer(two_outputs, n_inputs=3, n_neurons=4, **D)
    network = Network(layer, dense())
    outputs = layer(X)
    assert_equal(network(X), network[1](outputs["output"]))
    Y, pullback = network.vjp(X)
    assert_slope(lambda x: (network(x) * Y).sum(), X, pullback(Y).inputs, 5)


# --- what is refused


@cell
def two_inputs(x=Input("n_inputs"), z=Input("n_others"), c=Context("n_others")):
    return x * x


@cell
def single(x=Input("n_inputs"), y=State(), w=Weight("n_inputs")):
    return tanh(x @ w + y)


@cell
def grid(x=Input("n_inputs"), y=State("n_neurons", 2), W=Weight("n_inputs", 2)):
    return tanh(y + x @ W)


@case(DimensionError)
def sizes_between_parts():
    Network(lstm(2, 5), dense(6, 3))


@case(DimensionError)
def sizes_behind_a_bidirectional():
    Network(Bidirectional(cells.gru, n_inputs=2, n_neurons=5, **D), dense(5, 3))


@case(OptionError)
def no_layer():
    Network(Dropout(0.5))


@case(OptionError)
def no_part():
    Network(lstm(), cells.dense)


@case(OptionError)
def same_layer_twice():
    layer = gru(4, 4)
    Network(layer, dense(4, 4), layer)


@case(OptionError)
def state_behind_the_last_step():
    Network(LastStep(lstm(3, 4)), gru(4, 4))


@case(OptionError)
def different_dtypes():
    Network(lstm(), dense(dtype="float32"))


@case(OptionError)
def several_inputs():
    Network(Layer(two_inputs, n_inputs=3, n_others=2))


@case(OptionError)
def last_step_of_a_network():
    LastStep(Network(lstm()))


@case(OptionError)
def last_step_of_a_cell():
    LastStep(cells.lstm)


@case(OptionError)
def bidirectional_of_the_wrong_directions():
    Bidirectional(lstm(), gru())


@case(OptionError)
def bidirectional_with_reverse_given():
    Bidirectional(cells.lstm, n_inputs=3, n_neurons=4, reverse=lstm())


@case(OptionError)
def bidirectional_of_two_layers_and_sizes():
    Bidirectional(lstm(), lstm(reverse=True), n_neurons=9)


@case(DimensionError)
def bidirectional_of_different_inputs():
    Bidirectional(lstm(3), gru(2, reverse=True))


@case(DimensionError)
def bidirectional_of_single_numbers():
    Bidirectional(single, n_inputs=3)


@case(DimensionError)
def dropout_of_a_matrix():
    Network(Layer(grid, n_inputs=3, n_neurons=4), Dropout(0.5))


@case(CellError)
def dropout_of_everything():
    Network(Dropout(1.0), dense())


@case(OptionError)
def unknown_weight():
    Network(lstm(), dense()).weights["1.B"]


@case(DataError)
def weight_of_another_shape():
    Network(lstm(), dense(4, 2)).weights["1.b"] = np.zeros(7)


@case(DataError)
def input_of_another_size():
    Network(lstm(3), dense())(np.zeros((5, 2, 4)))


@case(DataError)
def input_without_steps():
    Network(dense(3, 4), lstm(4, batch_first=False))(np.zeros(3))


@case(DataError)
def input_of_another_order():
    Network(Bidirectional(cells.gru, n_inputs=3, n_neurons=4, batch_first=True))(np.zeros((5, 2, 6)))


@case(DataError)
def adjoint_of_another_shape():
    Network(lstm(), LastStep(gru(4, 5))).vjp(X)[1](np.zeros((6, 4, 5)))


@case(DataError)
def unknown_state():
    Network(lstm(), dense()).run(X, state={"h": np.zeros((4, 4))})


@case(DataError)
def state_that_is_no_dictionary():
    Network(lstm(), dense()).run(X, state=np.zeros((4, 4)))


@case(DataError)
def ragged_state():
    Network(lstm(), dense()).run(X, state={"0.h": [[1.0, 2.0], [3.0]]})


@case(DataError)
def ragged_adjoint_of_a_state():
    Network(lstm(), dense()).vjp(X)[1](state={"0.h": [[1.0, 2.0], [3.0]]})


@case(DataError)
def ragged_reset():
    Network(lstm(), dense())(X[:, 0], reset=[[True], [True, False]])


@case(DataError)
def reset_of_one_truth():
    Network(lstm(), dense())(X[:, 0], reset=True)


@case(OptionError)
def rng_of_nothing():
    Network(lstm(), dense())(X, training=True, rng="yesterday")


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
