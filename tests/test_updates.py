"""Update rules written as cells make the updates that torch makes."""

import json
import pickle

import numpy as np
import pytest
import torch

from ostinato import DataError, FileError, Input, Layer, OptionError, State, Weight, cell, cells
from ostinato.learn.optimisers import RULES as RULES_BY_NAME
from ostinato.learn.optimisers import UpdateRule, adam, clip_by_global_norm, clip_factor, global_norm
from ostinato.learn.rules import ELSEWHERE
from ostinato.passes.per_instance import shared_values

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
    "nadam": ("nadam", {"momentum_decay": 0.01}, torch.optim.NAdam, {"momentum_decay": 0.01}),
    "rmsprop": ("rmsprop", {}, torch.optim.RMSprop, {}),
    "rmsprop_settings": (
        "rmsprop", {"learning_rate": 0.02, "alpha": 0.9, "epsilon": 1e-6, "momentum": 0.8, "weight_decay": 0.03},
        torch.optim.RMSprop, {"lr": 0.02, "alpha": 0.9, "eps": 1e-6, "momentum": 0.8, "weight_decay": 0.03},
    ),
    "rmsprop_centered": (
        "rmsprop", {"momentum": 0.8, "centered": True}, torch.optim.RMSprop, {"momentum": 0.8, "centered": True}
    ),
    "adagrad": (
        "adagrad", {"learning_rate": 0.1, "learning_rate_decay": 0.1, "weight_decay": 0.02},
        torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.02},
    ),
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
        exact = dtype == "float64" and name != "nadam"  # torch keeps the product of all mu in float32
        assert_close(weights[n], leaf.detach().numpy(), 1e-12 if exact else 1e-6)
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
    assert all(np.shares_memory(weights[n], a) for n, a in before.items())
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


def stepped(rule, weights, n=3, seed=0):
    for step in range(n):
        rule.step(weights, {name: random(w.shape, seed + 10 * step + i) for i, (name, w) in enumerate(sorted(weights.items()))})
    return weights


def some_weights():
    return {"a": random((2, 3)), "b": random((3, 2), 1), "c": random((4,), 2)}


def test_a_state_given_to_another_rule_goes_to_the_weights_of_its_name():
    rule, other = UpdateRule("adam", learning_rate=0.1), UpdateRule("adam", learning_rate=0.1)
    weights = stepped(rule, some_weights())
    turned = {name: weights[name].copy() for name in reversed(weights)}
    other.state = rule.state
    assert list(rule.state.weights) == ["a", "b", "c"]
    assert set(other.state) == set(rule.state)
    stepped(rule, weights, 2, 77)
    stepped(other, turned, 2, 77)
    for name, array in weights.items():
        assert_equal(turned[name], array)


def test_a_rule_that_met_its_weights_in_another_order_takes_a_state_by_name():
    rule, other = UpdateRule("adam", learning_rate=0.1), UpdateRule("adam", learning_rate=0.1)
    weights = stepped(rule, some_weights())
    turned = stepped(other, dict(reversed(some_weights().items())))
    other.state = pickle.loads(pickle.dumps(rule.state))
    stepped(rule, weights, 2, 77)
    stepped(other, turned, 2, 77)
    for name, array in weights.items():
        assert_equal(turned[name], array)


def test_a_state_is_a_copy_that_nothing_changes():
    rule = UpdateRule("adam")
    weights = stepped(rule, some_weights())
    state = rule.state
    before = {name: array.copy() for name, array in state.items()}
    assert {name: array.shape for name, array in state.items()} == dict.fromkeys(["w", "m", "v", "p", "q"], (16,))
    assert_equal(state["w"], np.concatenate([w.ravel() for w in weights.values()]))
    stepped(rule, weights)
    for name, array in state.items():
        assert_equal(array, before[name])
    with pytest.raises(ValueError, match="read-only"):
        state["m"][:] = 0
    assert repr(state) == "<state of a rule: w, m, v, p, q; 16 parameters>"
    assert repr(UpdateRule("sgd").state) == "<state of a rule: nothing; 0 parameters>"


def test_an_empty_state_is_a_new_beginning():
    rule, fresh = UpdateRule("adam"), UpdateRule("adam")
    stepped(rule, some_weights())
    rule.state = {}
    assert not rule.arrays
    other = stepped(rule, {"x": random((3,), 5)})
    again = stepped(fresh, {"x": random((3,), 5)})
    assert_equal(other["x"], again["x"])


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("name", [*RULES_BY_NAME, "fresh"])
def test_a_rule_that_is_restored_goes_on_with_the_same_bits(name, dtype):
    name, n = ("adam", 0) if name == "fresh" else (name, 3)
    rule, other = UpdateRule(name, dtype=dtype), UpdateRule(name, dtype=dtype)
    stepped(other, {"something": random((2,))})
    settings = other.settings
    weights = stepped(rule, some_weights(), n)
    rule.settings["learning_rate"] = 0.1 + 1e-9
    saved = json.loads(json.dumps(rule.description)), rule.arrays
    turned = {key: weights[key].copy() for key in reversed(weights)}
    other.restore(*saved)
    assert other.settings is settings
    assert other.n_updates == n
    assert other.description == rule.description
    stepped(rule, weights, 2, 77)
    stepped(other, turned, 2, 77)
    for key, array in weights.items():
        assert_equal(turned[key], array)


def test_an_option_that_is_given_as_it_is_anyway_makes_no_other_rule():
    rule, other = UpdateRule("sgd", nesterov=False), UpdateRule("sgd")
    stepped(rule, some_weights())
    other.restore(rule.description, rule.arrays)
    assert other.description == rule.description


def test_arrays_have_the_shape_of_the_weights_and_what_is_the_same_for_all_is_one_number():
    rule = UpdateRule("adam")
    assert rule.arrays == {}
    stepped(rule, some_weights(), 1)
    shapes = {"m.a": (2, 3), "v.a": (2, 3), "m.b": (3, 2), "v.b": (3, 2), "m.c": (4,), "v.c": (4,), "p": (), "q": ()}
    assert {name: array.shape for name, array in rule.arrays.items()} == shapes


def test_what_no_gradient_reaches_is_the_same_for_all_parameters():
    graph = UpdateRule("adam").layer.graph
    assert {"p", "q", "beta_1", "epsilon"} <= shared_values(graph, ["w"])
    assert not {"g", "w", "m", "v"} & shared_values(graph, ["w"])
    assert not {"p", "q", "m"} & shared_values(graph, ["w", "p", "q"])  # unless they begin apart


@cell
def chained(g=Input(), w=State(), a=State(), b=State(), c=State(), k=State(), r=Weight(init=0.5)):
    """c is reached by g through a and b, one state a step; k by nothing but itself and r."""
    return w - c, a + g, b + a, c + b, r * k


def test_a_state_that_a_gradient_reaches_through_others_is_of_each_parameter():
    assert {"a", "b", "c", "k"} & shared_values(UpdateRule(chained).layer.graph, ["w"]) == {"k"}


def test_gradients_are_scaled_on_the_way():
    gradients = {name: random(w.shape, i, "float32") for i, (name, w) in enumerate(some_weights().items())}
    one, other = ({name: w.astype(np.float32) for name, w in some_weights().items()} for _ in range(2))
    factor, norm = clip_factor(gradients, 0.5)
    clipped, same = clip_by_global_norm(gradients, 0.5)
    assert norm == same
    assert factor == 0.5 / norm
    UpdateRule("sgd").step(one, gradients, scale=factor)
    UpdateRule("sgd").step(other, clipped)
    for name, array in other.items():
        assert_equal(one[name], array)


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
    assert_close(global_norm({"a": np.array([3e-200, 4e-200])}), 5e-200, 1e-12)
    assert_close(global_norm({"a": np.array([3e-44, 4e-44], np.float32)}), 5e-44, 2e-2)
    assert np.isnan(global_norm({"a": np.ones(20000), "b": np.array([1.0, np.nan])}))
    assert global_norm({"a": np.array([1.0, -np.inf])}) == np.inf
    assert_close(
        global_norm({"a": random((300, 100)).T, "b": np.ones((), np.float32)}), np.sqrt((random((300, 100)) ** 2).sum() + 1)
    )
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
def setting_as_other_libraries_call_it():
    UpdateRule("adam", lr=1e-3)


@case(OptionError)
def settings_as_other_libraries_call_them():
    UpdateRule("adamw", betas=(0.9, 0.999))


@case(OptionError)
def setting_as_other_libraries_call_it_of_a_rule_without():
    UpdateRule("sgd", eps=1e-8)


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
def scale_that_is_a_word():
    UpdateRule("sgd").step(some_weights(), some_weights(), scale="half")


def adam_of_some_weights():
    rule = UpdateRule("adam")
    stepped(rule, some_weights(), 1)
    return rule


@case(DataError)
def state_without_the_names_of_weights():
    rule = adam_of_some_weights()
    rule.state = dict(rule.state)


@case(DataError)
def state_of_another_cell():
    UpdateRule("sgd").state = adam_of_some_weights().state


@case(DataError)
def state_of_another_network():
    rule = UpdateRule("adam")
    stepped(rule, {"x": random((3,))}, 1)
    rule.state = adam_of_some_weights().state


@case(DataError)
def state_of_another_dtype():
    UpdateRule("adam", dtype="float32").state = adam_of_some_weights().state


def own_adam(p_of_each):
    @cell
    def own(g=Input(), w=State(), p=State()):
        return w - p * g, p + g if p_of_each else p + 1

    return UpdateRule(own)


@case(DataError)
def state_of_each_parameter_where_one_is_for_all():
    rule = own_adam(True)
    stepped(rule, some_weights(), 1)
    own_adam(False).state = rule.state


def restored(rule, change=lambda description, arrays: None, of=adam_of_some_weights):
    saved = of()
    description, arrays = saved.description, saved.arrays
    change(description, arrays)
    before = rule.description
    try:
        rule.restore(description, arrays)
    finally:
        assert rule.description == before
    raise AssertionError


@case(FileError)
def saved_rule_of_another_name():
    restored(UpdateRule("sgd"))


@case(FileError)
def saved_rule_with_other_options():
    restored(UpdateRule("sgd", nesterov=True), of=lambda: UpdateRule("sgd", nesterov=False))


@case(FileError)
def saved_rule_of_another_cell_of_the_same_name():
    restored(own_adam(False), of=lambda: own_adam(True))


@case(FileError)
def saved_rule_of_another_dtype():
    restored(UpdateRule("adam", dtype="float32"))


@case(FileError)
def saved_rule_without_its_settings():
    restored(UpdateRule("adam"), lambda description, _: description.pop("settings"))


@case(FileError)
def saved_rule_that_lacks_a_setting():
    restored(UpdateRule("adam"), lambda description, _: description["settings"].pop("beta_1"))


@case(FileError)
def saved_rule_with_a_setting_that_is_a_word():
    restored(UpdateRule("adam"), lambda description, _: description["settings"].update(beta_1="much"))


@case(FileError)
def saved_rule_with_a_weight_of_no_shape():
    restored(UpdateRule("adam"), lambda description, _: description["weights"]["a"].pop("shape"))


@case(FileError)
def saved_rule_of_less_than_no_updates():
    restored(UpdateRule("adam"), lambda description, _: description.update(n_updates=-1))


@case(FileError)
def saved_rule_that_lacks_an_array():
    restored(UpdateRule("adam"), lambda _, arrays: arrays.pop("m.b"))


@case(FileError)
def saved_rule_with_an_array_of_another_shape():
    restored(UpdateRule("adam"), lambda _, arrays: arrays.update({"m.b": np.zeros(6)}))


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


def test_every_name_of_other_libraries_leads_to_a_setting():
    settings = {name: set(UpdateRule(name).settings) for name in RULES_BY_NAME}
    for name, called in ELSEWHERE.items():
        assert any(set(called) <= known for known in settings.values())
        assert not any(name in known for known in settings.values())


def test_the_golden_file_is_complete():
    case.check_complete()
