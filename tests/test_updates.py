"""Update rules written as cells make the updates that torch makes."""

import numpy as np
import pytest
import torch

from ostinato import DataError, Input, Layer, OptionError, State, Weight, cell, cells
from ostinato.updates import UpdateRule, adam, clip_by_global_norm, global_norm

from .helpers import Messages, assert_close, assert_equal, random

case = Messages("errors_updates.txt")


def layer(dtype="float64"):
    return Layer(cells.recurrent, n_inputs=3, n_neurons=5, dtype=dtype)


RULES = {
    "plain": ("sgd", {"learning_rate": 0.1}, torch.optim.SGD, {"lr": 0.1}),
    "momentum": ("sgd", {"learning_rate": 0.1, "momentum": 0.9}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        "sgd", {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.02, "nesterov": True},
        torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02, "nesterov": True},
    ),
    "adam": ("adam", {"learning_rate": 0.01}, torch.optim.Adam, {"lr": 0.01}),
    "adam_settings": (
        adam, {"learning_rate": 0.02, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-6},
        torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6},
    ),
    "adamw": ("adamw", {"weight_decay": 0.1}, torch.optim.AdamW, {"lr": 0.001, "weight_decay": 0.1}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_twenty_updates_are_those_of_torch(name, dtype):
    rule_name, settings, optimiser, options = RULES[name]
    weights = layer(dtype).weights
    leaves = {n: torch.tensor(np.array(a), requires_grad=True) for n, a in weights.items()}
    theirs = optimiser(leaves.values(), **options)
    rule = UpdateRule(rule_name, dtype=dtype, **settings)
    for step in range(20):
        gradients = {n: random(a.shape, 100 * step + i, dtype) for i, (n, a) in enumerate(weights.items())}
        rule.step(weights, gradients)
        for n, leaf in leaves.items():
            leaf.grad = torch.tensor(gradients[n])
        theirs.step()
    for n, leaf in leaves.items():
        assert weights[n].dtype == dtype
        assert_close(weights[n], leaf.detach().numpy(), 1e-6 if dtype == "float32" else 1e-12)
    assert rule.n_updates == 20


def test_a_setting_may_change_between_updates():
    weights = layer().weights
    before = dict(weights)
    ones = {n: np.ones_like(a) for n, a in weights.items()}
    rule = UpdateRule("sgd", dtype="float64", learning_rate=0.5)
    rule.step(weights, ones)
    rule.settings["learning_rate"] = 0.25
    rule.step(weights, ones)
    for n, array in before.items():
        assert_close(weights[n], array - 0.75)
    assert repr(rule) == "<update sgd(learning_rate=0.25, momentum=0, weight_decay=0), 2 updates>"


def test_weights_that_somebody_assigns_are_where_the_next_update_begins():
    weights = layer().weights
    zeros = {n: np.zeros_like(a) for n, a in weights.items()}
    rule = UpdateRule("adam", dtype="float64")
    rule.step(weights, zeros)
    weights["b"] = np.full(5, 7.0)
    rule.step(weights, zeros)
    assert_equal(weights["b"], np.full(5, 7.0))
    assert set(rule.state) == {"w", "m", "v", "p", "q"}


@cell
def sign_descent(g=Input(), w=State(), rate=Weight(init=0.1)):
    from ostinato import sign

    return w - rate * sign(g)


def test_an_own_cell_is_a_rule():
    weights = layer().weights
    before = dict(weights)
    gradients = {n: random(a.shape, 3) for n, a in weights.items()}
    UpdateRule(sign_descent, dtype="float64", rate=0.5).step(weights, gradients)
    for n, array in before.items():
        assert_close(weights[n], array - 0.5 * np.sign(gradients[n]))


def test_nothing_changes_where_a_gradient_does_not_fit():
    weights = layer().weights
    before = dict(weights)
    rule = UpdateRule("sgd")
    with pytest.raises(DataError):
        rule.step(weights, {**before, "b": np.zeros(4)})
    assert all(weights[n] is a for n, a in before.items())
    assert rule.n_updates == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rule_computes_in_the_dtype_of_the_weights_that_it_meets_first(dtype):
    weights, same = layer(dtype).weights, layer(dtype).weights
    gradients = {n: random(a.shape, i, dtype) for i, (n, a) in enumerate(weights.items())}
    rule, asked = UpdateRule("adam", learning_rate=0.1), UpdateRule("adam", dtype=dtype, learning_rate=0.1)
    settings = rule.settings
    for rate in (0.1, 0.003):
        settings["learning_rate"] = asked.settings["learning_rate"] = rate
        rule.step(weights, gradients)
        asked.step(same, gradients)
    assert rule.layer.dtype == dtype
    assert rule.layer.weights["learning_rate"] == np.dtype(dtype).type(0.003)
    assert all(array.dtype == dtype for array in rule.state.values())
    for n, array in same.items():
        assert_equal(weights[n], array)
    assert float(rule.settings["learning_rate"]) == 0.003


def test_small_updates_of_float64_weights_are_not_rounded_away():
    weights = layer().weights
    weights["b"] = np.ones(5)
    UpdateRule("sgd", learning_rate=1e-12).step(weights, {n: np.ones_like(a) for n, a in weights.items()})
    assert_equal(weights["b"], np.full(5, 1 - 1e-12))


def test_weights_in_another_order_keep_what_is_remembered_of_each():
    arrays = {"a": random((2, 3)), "b": random((3, 2), 1)}
    gradients = {"a": random((2, 3), 2), "b": random((3, 2), 3)}
    one, other = dict(arrays), dict(arrays)
    rule, turned = UpdateRule("adam", learning_rate=0.1), UpdateRule("adam", learning_rate=0.1)
    for _ in range(2):
        rule.step(one, gradients)
        turned.step(other, gradients)
        other = dict(reversed(other.items()))
    for name, array in one.items():
        assert_equal(other[name], array)


def test_what_has_no_weights_stays_as_it_is():
    rule = UpdateRule("adam")
    rule.step({}, {})
    assert rule.n_updates == 0


@pytest.mark.parametrize("limit", [0.5, 1e3])
def test_clipping_is_that_of_torch(limit):
    gradients = {"a": random((3, 4)), "b": random((5,), 1)}
    leaves = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gradients.values()]
    for leaf, g in zip(leaves, gradients.values(), strict=True):
        leaf.grad = torch.tensor(g)
    norm = torch.nn.utils.clip_grad_norm_(leaves, limit).item()
    clipped, found = clip_by_global_norm(gradients, limit)
    assert_close(found, norm)
    for name, leaf in zip(clipped, leaves, strict=True):
        assert_close(clipped[name], leaf.grad.numpy(), 1e-5 if limit < 1 else 0)  # torch adds 1e-6 to the length


def test_the_length_neither_overflows_nor_vanishes():
    assert_close(global_norm({"a": np.array([3e30, 4e30], np.float32)}), 5e30, 1e-6)
    assert_close(global_norm({"a": np.array([3e200, 4e200])}), 5e200, 1e-12)
    assert global_norm({"a": np.zeros(3), "b": np.zeros(0)}) == 0
    assert not clip_by_global_norm({"a": np.zeros(3)}, 1.0)[0]["a"].any()
    clipped, _ = clip_by_global_norm({"a": np.array([3e30, 4e30], np.float32)}, 1.0)
    assert_close(clipped["a"], np.array([0.6, 0.8]), 1e-6)
    assert clipped["a"].dtype == np.float32


@cell
def two_gradients(g=Input(), f=Input(), w=State()):
    return w - g - f


@case(OptionError)
def unknown_rule():
    UpdateRule("adan")


@case(OptionError)
def rule_that_is_a_list():
    UpdateRule([1])


@case(OptionError)
def unknown_setting():
    UpdateRule("adam", momentum=0.9)


@case(OptionError)
def rule_of_two_inputs():
    UpdateRule(two_gradients)


@case(DataError)
def gradient_missing():
    UpdateRule("sgd").step(layer().weights, {"W_x": np.zeros((3, 5)), "c": np.zeros(5)})


@case(DataError)
def gradient_of_another_shape():
    weights = layer().weights
    UpdateRule("sgd").step(weights, {**weights, "W_x": np.zeros((5, 3))})


@case(DataError)
def rule_of_another_network():
    rule = UpdateRule("adam")
    rule.step(layer().weights, dict(layer().weights))
    weights = Layer(cells.dense, n_inputs=2, n_outputs=3).weights
    rule.step(weights, dict(weights))


@case(DataError)
def rule_of_another_network_of_the_same_size():
    rule = UpdateRule("adam")
    weights = Layer(cells.dense, n_inputs=2, n_outputs=3).weights
    rule.step(weights, dict(weights))
    arrays = {"A": np.zeros((2, 3), np.float32), "c": np.zeros(3, np.float32)}
    rule.step(arrays, dict(arrays))


@case(DataError)
def rule_of_weights_of_other_shapes():
    rule = UpdateRule("adam")
    for shape in ((2, 3), (3, 2)):
        arrays = {"A": np.zeros(shape)}
        rule.step(arrays, dict(arrays))


@case(DataError)
def rule_of_weights_of_another_dtype():
    rule = UpdateRule("adam")
    for dtype in ("float32", "float64"):
        weights = layer(dtype).weights
        rule.step(weights, dict(weights))


@case(DataError)
def rule_of_weights_of_two_dtypes():
    arrays = {"A": np.zeros(2), "b": np.zeros(2, np.float32)}
    UpdateRule("adam").step(arrays, dict(arrays))


@case(OptionError)
def limit_that_is_a_word():
    clip_by_global_norm({"a": np.ones(2)}, "x")


@case(OptionError)
def limit_of_zero():
    clip_by_global_norm({"a": np.ones(2)}, 0)


@case(DataError)
def gradient_not_finite():
    clip_by_global_norm({"a": np.ones(2), "W_h": np.array([1, np.inf])}, 1.0)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
