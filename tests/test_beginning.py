"""How weights begin: by which seed, and when."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest

import ostinato
from ostinato import Bidirectional, Dropout, LastStep, Layer, Network, OptionError, cell, cells, dropout, tanh
from ostinato.initialise import Glorot, Orthogonal
from ostinato.language.declarations import Bias, Input, State, Weight

from .helpers import assert_close, assert_equal, random

SIZES = {"n_inputs": 4, "n_neurons": 4}
PINNED = [[1.1277034239016053, 0.2129595262838866], [-0.6997995660917516, -0.21174809782492754]]  # of version 0.1


def gru(**options):
    return Layer(cells.gru, **{**SIZES, **options})


def drawn(seed, **options):
    """The weights that a layer with this seed begins with."""
    return dict(gru(seed=seed, **options).weights)


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def begins_with(layer, seed):
    return same(drawn(seed), layer.weights)


def all_differ(*layers):
    return all(not np.array_equal(a.weights["W_r"], b.weights["W_r"]) for a, b in combinations(layers, 2))


def test_a_layer_alone_draws_what_it_always_did():
    assert begins_with(gru(), 0)
    first = Layer(cells.recurrent, n_inputs=2, n_neurons=2, dtype="float64").weights["W_x"]
    assert_close(first, PINNED, 1e-15)


def test_equal_layers_of_a_network_begin_with_different_weights():
    layers = [gru() for _ in range(4)]
    network = Network(layers[0], Network(layers[1]), Dropout(0.1), Network(layers[2]), LastStep(layers[3]))
    assert all_differ(*layers)
    assert all(begins_with(layer, layer.seed) for layer in layers)  # which can so be repeated
    again = Network(gru(), gru())
    assert same(again.weights, Network(gru(), gru()).weights)
    assert not same(again[0].weights, drawn(0))
    assert len({layer.seed for layer in network.layers.values()}) == 5


def test_dropout_between_layers_changes_no_weight():
    plain, dropped = Network(gru(), gru()), Network(gru(), Dropout(0.5), gru())
    assert same(plain[1].weights, dropped[2].weights)


def test_a_seed_that_was_given_stays():
    one, other = gru(seed=0), gru(seed=0)
    network = Network(one, other, gru(), gru())
    assert one.seed == other.seed == 0
    assert same(one.weights, other.weights)
    assert begins_with(one, 0)
    assert all_differ(one, network[2], network[3])


def test_an_open_seed_keeps_away_from_a_given_one():
    by_place = Network(gru()).layers["0"].seed
    network = Network(gru(), gru(seed=by_place))
    assert all_differ(network[0], network[1])
    both = Bidirectional(gru(), gru(seed=0, reverse=True))
    assert all_differ(both.forward, both.reverse)


def test_weights_that_were_seen_are_never_drawn_again():
    one, other = gru(), gru()
    kept = one.weights.snapshot["b_r"]
    other(random((2, 4)))
    network = Network(one, other)
    assert begins_with(one, 0)
    assert begins_with(other, 0)
    assert one.weights.snapshot["b_r"] is kept
    assert network(random((2, 1, 4))).shape == (2, 1, 4)
    Network(LastStep(one))
    assert begins_with(one, 0)


def test_what_was_assigned_stays_and_the_rest_is_drawn_by_the_place():
    layer = gru()
    layer.weights["W_r"] = np.ones((4, 4))
    network = Network(gru(), layer)
    assert_equal(layer.weights["W_r"], np.ones((4, 4), np.float32))
    assert layer.seed not in (0, network[0].seed)
    assert_equal(layer.weights["U_r"], drawn(layer.seed)["U_r"])
    assert list(layer.weights.snapshot) == list(layer.weights) == list(drawn(0))
    whole = gru()
    whole.weights.update(drawn(5))
    Network(whole)
    assert whole.seed == 0
    assert begins_with(whole, 5)


def test_names_shapes_and_sizes_are_no_look():
    layer = gru()
    assert "W_r" in layer.weights
    assert layer.weights.shapes["W_r"] == (4, 4)
    assert len(layer.weights) == len(list(layer.weights))
    assert layer.n_parameters == 3 * (16 + 16) + len([n for n in layer.weights if n.startswith("b")]) * 4
    assert repr(layer).startswith("<layer gru")
    assert repr(layer.weights).startswith("<weights W_r")
    assert layer.description["seed"] == layer.seed == 0
    inner = LastStep(layer)
    assert inner.n_parameters == layer.n_parameters
    assert inner.weights.shapes["W_r"] == (4, 4)
    inner.weights.update({"b_r": np.ones(4)})
    network = Network(gru(), inner)
    assert layer.description["seed"] == layer.seed != 0
    assert all_differ(network[0], layer)


def test_no_seed_is_a_fresh_one_that_can_be_repeated():
    one, other = gru(seed=None), gru(seed=None)
    assert one.seed != other.seed
    assert all_differ(one, other)
    assert begins_with(one, one.seed)
    seeds = one.seed, other.seed
    network = Network(one, other)
    assert (one.seed, other.seed) == seeds
    assert network.description["parts"][0]["seed"] == seeds[0]
    both = Bidirectional(cells.gru, seed=None, **SIZES)
    assert begins_with(both.forward, both.forward.seed)
    assert both.forward.seed != Bidirectional(cells.gru, seed=None, **SIZES).forward.seed


def test_both_directions_begin_apart_made_from_a_cell_or_ready():
    made = Bidirectional(cells.gru, **SIZES)
    ready = Bidirectional(gru(), gru(reverse=True))
    given = Bidirectional(cells.gru, seed=0, **SIZES)
    for both in (made, ready, given):  # alone, as ever
        assert begins_with(both.forward, 0)
        assert same(both.reverse.weights, given.reverse.weights)
    network = Network(Bidirectional(gru(), gru(reverse=True)), Layer(cells.dense, n_inputs=8, n_outputs=4),
                      Bidirectional(cells.gru, **SIZES), Bidirectional(cells.gru, seed=0, n_inputs=8, n_neurons=4))  # fmt: skip
    first, second = network[0], network[2]
    assert all_differ(first.forward, first.reverse, second.forward, second.reverse)
    assert network[3].forward.seed == 0
    assert LastStep(gru()).part.seed == 0


def test_a_layer_in_two_networks_is_drawn_by_the_first_and_differs_in_both():
    a, b, c = gru(), gru(), gru()
    first, second = Network(a, b), Network(c, a)
    assert all_differ(a, b, c)
    assert begins_with(a, Network(gru()).layers["0"].seed)
    assert first[0] is second[1]


def test_networks_of_one_place_each_are_told_apart_where_they_meet():
    inner = [Network(gru()), Network(gru())]
    assert inner[0].layers["0"].seed == inner[1].layers["0"].seed  # until somebody looks
    outer = Network(*inner)
    assert all_differ(outer[0], outer[1])
    assert outer[1].seed != Network(gru(), gru())[1].seed  # nor does it take that of a second place elsewhere


def test_a_network_that_is_refused_gives_no_seeds():
    one, other = gru(), gru(dtype="float64")
    with pytest.raises(OptionError, match="differ in dtype"):
        Network(one, other)
    assert one.seed == other.seed == 0
    assert begins_with(one, 0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["deepcopy", "pickle"])
def test_a_copy_has_the_same_weights(copied):
    layer = gru()
    other = copied(layer)
    Network(layer, other)  # a copy is a look
    assert same(layer.weights, other.weights)
    assert begins_with(other, 0)
    assert not other.weights["W_r"].flags.writeable
    network = Network(gru(), gru())
    assert same(network.weights, copied(network).weights)
    assert [part.seed for part in copied(network)] == [part.seed for part in network]
    weights = copied(gru().weights)
    assert same(weights, drawn(0))


def test_another_plan_shares_weights_that_are_not_drawn_yet():
    layer = gru()
    fused = layer.with_plan("fused")
    network = Network(gru(), layer)
    assert fused.seed == layer.seed == network[1].seed != 0
    assert fused.weights.snapshot is layer.weights.snapshot
    assert all_differ(network[0], fused)


def test_a_saved_layer_tells_its_seed_and_stays_what_it_is(tmp_path):
    network = Network(gru(), gru())
    seeds = [part.seed for part in network]
    network.save(tmp_path / "network.safetensors")
    loaded = ostinato.load(tmp_path / "network.safetensors")
    assert [part.seed for part in loaded] == seeds
    other = Network(gru(), *loaded)
    assert same(loaded[0].weights, network[0].weights)
    assert [part.seed for part in other][1:] == seeds
    assert len({part.seed for part in other}) == 3


@cell
def dropped_inside(x=Input("n"), h=State("n"), U=Weight("n", "n"), b=Bias("n")):
    return tanh(dropout(x, 0.5) + h @ U + b)


def test_masks_follow_the_seed():
    X = random((6, 20, 4))
    alone = Layer(dropped_inside, n=4)
    assert_equal(alone(X, training=True), Layer(dropped_inside, n=4, seed=0)(X, training=True))
    network = Network(Layer(dropped_inside, n=4), Layer(dropped_inside, n=4))
    again = Network(*(Layer(dropped_inside, n=4, seed=part.seed) for part in network))
    assert_equal(network(X, training=True), again(X, training=True))
    assert_equal(network[1](X, training=True), again[1](X, training=True))


class Counted:
    def __init__(self):
        self.shapes = []

    def draw(self, shape, generator):
        self.shapes.append(shape)
        return generator.normal(size=shape)


def test_what_is_assigned_is_never_drawn(monkeypatch):
    weights = drawn(1)
    drew = []
    for kind in (Glorot, Orthogonal):
        monkeypatch.setattr(kind, "draw", lambda self, shape, generator: drew.append(shape))
    layer = gru()
    layer.weights.update(weights)
    assert same(layer.weights, weights)
    assert not drew


def test_an_initialiser_of_ones_own_is_tried_when_the_layer_is_made():
    own = Counted()
    layer = gru(init={"W_r": own})
    assert own.shapes == [(4, 4)]
    first = layer.weights.snapshot["W_r"]
    assert own.shapes == [(4, 4)] * 2
    assert layer.weights.snapshot["W_r"] is first
    assert_equal(first, gru(init={"W_r": Counted()}).weights["W_r"])
    with pytest.raises(OptionError, match="fills a matrix"):
        gru(init={"b_r": "identity"})


def test_threads_that_look_first_together_see_the_same_weights():
    for _ in range(20):
        layer = gru()
        with ThreadPoolExecutor(4) as pool:
            seen = list(pool.map(lambda _, layer=layer: layer.weights["U_r"], range(4)))
        assert all(np.array_equal(array, seen[0]) for array in seen)
        assert begins_with(layer, 0)


def test_what_stands_for_no_seed_says_so():
    import inspect

    assert "seed: 'int | NotGiven | None' = <not given>" in str(inspect.signature(Layer.__init__))


@pytest.mark.parametrize("seed", [-1, True, 1.5, "a"])
def test_a_seed_that_is_none(seed):
    with pytest.raises(OptionError) as caught:
        gru(seed=seed)
    assert str(caught.value) == f"gru: `seed` is a whole number from 0 up, or None for a fresh one, not {seed!r}"


def test_layers_are_a_mapping_that_may_still_be_called():
    network = Network(gru(), Bidirectional(cells.gru, **SIZES), Layer(cells.dense, n_inputs=8, n_outputs=1))
    assert network.layers() == network.layers
    assert list(network.layers) == ["0", "1.forward", "1.reverse", "2"]
    assert network.layers["1.reverse"] is network[1].reverse
    assert "1.reverse" in network.layers
    assert 1 not in network.layers
    assert len(network.layers) == 4
    assert network.layers.get("9") is None
    assert network.layers.get("9", 1) == 1
    assert repr(network.layers) == "<layers 0 gru, 1.forward gru, 1.reverse gru, 2 dense>"
    assert repr(LastStep(gru()).layers) == "<layers '' gru>"
    with pytest.raises(OptionError) as caught:
        network.layers["1.revers"]
    known = "the layers are `0`, `1.forward`, `1.reverse`, `2`"
    assert str(caught.value) == f"there is no layer `1.revers`; did you mean `1.reverse`? {known.capitalize()}"
    with pytest.raises(OptionError, match="there is no layer `1`"):
        network.layers[1]
