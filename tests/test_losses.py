"""Losses: values and gradients are torch's, stable for large logits; what does not count is never read."""

import numpy as np
import pytest
import torch

from ostinato import Bias, DataError, Input, OptionError, State, cell
from ostinato import sum as total
from ostinato.learn.losses import (
    LOSSES,
    Loss,
    as_loss,
    binary_cross_entropy,
    cross_entropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
)  # fmt: skip

from .helpers import Messages, assert_close, assert_equal, random

case = Messages("errors_losses.txt")
LENGTHS = np.array([5, 2, 0, 4])
LABELS = np.random.default_rng(0).integers(0, 3, (5, 4))
Y = random((5, 4, 3))


def by_torch(function, output, target):
    leaf = torch.tensor(output, requires_grad=True)
    loss = function(leaf, torch.tensor(target))
    loss.backward()
    return loss.item(), leaf.grad.numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_is_torchs(dtype):
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    output = Y[0].astype(dtype)
    value, gradient = cross_entropy(output, LABELS[0])
    expected, expected_gradient = by_torch(torch.nn.functional.cross_entropy, output, LABELS[0])
    assert gradient.dtype == dtype
    assert_close(value, expected, tolerance)
    assert_close(gradient, expected_gradient, tolerance)
    soft = np.abs(random((4, 3), 1)).astype(dtype)
    value, gradient = cross_entropy(output, soft)
    expected, expected_gradient = by_torch(torch.nn.functional.cross_entropy, output, soft)
    assert_close(value, expected, tolerance)
    assert_close(gradient, expected_gradient, tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mean_squared_error_is_torchs(dtype):
    output, target = Y.astype(dtype), random(Y.shape, 1, dtype)
    value, gradient = mean_squared_error(output, target)
    expected, expected_gradient = by_torch(torch.nn.functional.mse_loss, output, target)
    assert_close(value, expected, 1e-6 if dtype == "float32" else 1e-12)
    assert_close(gradient, expected_gradient, 1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_is_stable_for_large_logits(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]], dtype)
    value, gradient = cross_entropy(logits, np.array([0, 0, 1]))
    assert_close(value, (0 + 2e4 + np.log(2) + np.log(3)) / 3, 1e-6)
    assert_close(gradient * 3, np.array([[0, 0, 0], [-1, 0.5, 0.5], [1 / 3, -2 / 3, 1 / 3]]), 1e-6)


def test_a_class_that_is_ruled_out_costs_nothing_where_its_target_is_0():
    logits = np.array([[1.0, -np.inf, 2.0], [-np.inf, 0.5, -np.inf]])
    value, gradient = cross_entropy(logits, np.array([0, 1]))
    assert_close(value, np.log(1 + np.e) / 2)
    p = 1 / (1 + np.e)
    assert_close(gradient, np.array([[p - 1, 0, 1 - p], [0, 0, 0]]) / 2)
    soft, soft_gradient = cross_entropy(logits[0], np.array([0.25, 0, 0.75]))
    assert_close(soft, np.log(1 + np.e) - 0.75)
    assert_close(soft_gradient, np.array([p - 0.25, 0, 1 - p - 0.75]))
    assert cross_entropy(logits, np.array([1, 1]))[0] == np.inf


def test_labels_are_one_hot_targets():
    value, gradient = cross_entropy(Y, LABELS)
    other_value, other_gradient = cross_entropy(Y, np.eye(3)[LABELS])
    assert value == other_value
    assert_equal(gradient, other_gradient)


@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error])
def test_the_average_is_over_what_counts_and_the_rest_is_never_read(loss):
    target = np.eye(3)[LABELS]
    valid = np.arange(5)[:, None] < LENGTHS
    output = np.where(valid[..., None], Y, np.nan)
    value, gradient = loss(output, target, lengths=LENGTHS)
    expected, rows = loss(Y[valid], target[valid])
    assert value == expected
    assert_equal(gradient[valid], rows)
    assert not gradient[~valid].any()
    masked, masked_gradient = loss(output, target, mask=valid)
    assert masked == value
    assert_equal(masked_gradient, gradient)
    turned, turned_gradient = loss(output.swapaxes(0, 1), target.swapaxes(0, 1), lengths=LENGTHS, batch_first=True)
    assert_close(turned, value)
    assert_close(turned_gradient.swapaxes(0, 1), gradient)
    only, _ = loss(output, target, lengths=LENGTHS, mask=np.arange(5)[:, None] < [1, 0, 5, 0])
    assert_close(only, loss(Y[0, 0], target[0, 0])[0])


def test_nothing_that_counts_is_a_loss_of_zero():
    value, gradient = cross_entropy(Y, LABELS, lengths=np.zeros(4, int))
    assert value == 0
    assert not gradient.any()
    assert gradient.shape == Y.shape


def test_gradients_are_those_of_finite_differences():
    for loss, target in ((cross_entropy, LABELS), (mean_squared_error, random(Y.shape, 3))):
        _, gradient = loss(Y, target, lengths=LENGTHS)
        for place in np.ndindex(Y.shape):
            moved = [Y.copy(), Y.copy()]
            moved[0][place] += 1e-6
            moved[1][place] -= 1e-6
            slope = (loss(moved[0], target, lengths=LENGTHS)[0] - loss(moved[1], target, lengths=LENGTHS)[0]) / 2e-6
            assert abs(slope - gradient[place]) < 1e-8


@cell
def absolute(output=Input("n"), target=Input("n")):
    from ostinato import abs as magnitude

    return total(magnitude(output - target))


def test_an_own_cell_is_a_loss():
    loss = Loss(absolute)
    value, gradient = loss(Y[0], np.zeros((4, 3)))
    assert_close(value, np.abs(Y[0]).sum() / 4)
    assert_close(gradient, np.sign(Y[0]) / 4)
    assert repr(loss) == "<loss absolute>"
    assert loss.layer(3, "float64") is loss.layer(3, "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e2, 1e4, 1e6])
def test_losses_are_torchs_at_every_scale(dtype, scale):
    f = torch.nn.functional
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    output, target = (Y * scale).astype(dtype), random(Y.shape, 1, dtype)
    shares = np.abs(np.sin(target))
    cases = [
        (mean_absolute_error, f.l1_loss, target), (huber, f.huber_loss, target), (mean_squared_error, f.mse_loss, target),
        (Loss(huber.of_one, delta=0.25), lambda a, b: f.huber_loss(a, b, delta=0.25), target),
        (binary_cross_entropy, f.binary_cross_entropy_with_logits, shares),
        (binary_cross_entropy, f.binary_cross_entropy_with_logits, (target > 0).astype(dtype)),
    ]  # fmt: skip
    for loss, function, wanted in cases:
        value, gradient = loss(output, wanted)
        expected, expected_gradient = by_torch(function, output, wanted)
        assert gradient.dtype == dtype
        assert_close(value / scale, expected / scale, tolerance)
        assert_close(gradient, expected_gradient, tolerance)
        assert np.isfinite(gradient).all()


def test_derivatives_at_the_corners_are_those_that_are_stated():
    at_0 = np.zeros((1, 1))
    assert mean_absolute_error(at_0, at_0)[1] == 0
    assert huber(at_0, at_0)[1] == 0
    assert huber(at_0 + 1, at_0) == (0.5, np.ones((1, 1)))  # where both pieces meet: both are 1
    assert huber(at_0 - 1, at_0)[1] == -1
    assert binary_cross_entropy(at_0, at_0 + 0.5)[1] == 0
    value, gradient = binary_cross_entropy(np.array([[80.0, -80.0]]), np.array([[1.0, 0.0]]))
    assert_close(value / np.exp(-80), 1.0)  # not the difference of two large numbers
    assert_close(gradient / np.exp(-80), np.array([[-0.5, 0.5]]))


@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error, mean_absolute_error, huber, binary_cross_entropy])
def test_a_weight_of_k_is_k_copies_and_what_weighs_nothing_is_never_read(loss):
    copies = np.array([2, 0, 1, 3])
    target = np.eye(3)[LABELS]
    repeated = np.repeat(np.arange(4), copies)
    output = np.where(copies[None, :, None] > 0, Y, np.nan)
    for lengths in (None, LENGTHS):
        value, gradient = loss(output, target, weights=copies, lengths=lengths)
        ends = None if lengths is None else lengths[repeated]
        expected, rows = loss(Y[:, repeated], target[:, repeated], lengths=ends)
        assert_close(value, expected)
        for i, k in enumerate(copies):
            assert_close(gradient[:, i], rows[:, repeated == i].sum(axis=1) if k else np.zeros((5, 3)))
        turned = loss(
            output.swapaxes(0, 1), target.swapaxes(0, 1), weights=copies, lengths=lengths, batch_first=True
        )  # fmt: skip
        assert_close(turned[0], value)
        assert_close(turned[1].swapaxes(0, 1), gradient)
    at_steps = np.broadcast_to(copies, (5, 4)) * 1.0
    assert_close(loss(output, target, weights=at_steps)[0], loss(output, target, weights=copies)[0])
    assert_close(loss(Y[0, 0], target[0, 0], weights=3.0)[0], loss(Y[0, 0], target[0, 0])[0])
    assert loss(Y, target, weights=np.zeros(4))[0] == 0
    value, gradient = loss(Y, target)
    same, same_gradient = loss(Y, target, weights=np.ones(4))
    assert_close(same, value)
    assert_close(same_gradient, gradient)


def test_a_part_of_a_sum_is_divided_by_what_it_is_told():
    value, gradient = mean_squared_error(Y[0], Y[1])
    part, part_gradient = mean_squared_error.average(Y[0], Y[1], divisor=8)
    assert_close(part, value / 2)
    assert_close(part_gradient, gradient / 2)


def test_labels_behind_an_end_are_never_read():
    labels = np.where(np.arange(5)[:, None] < LENGTHS, LABELS, np.nan)
    assert cross_entropy(Y, labels, lengths=LENGTHS)[0] == cross_entropy(Y, LABELS, lengths=LENGTHS)[0]


def test_a_loss_has_the_names_that_people_give_it():
    for name, loss in {
        "mse": mean_squared_error, "mean_squared_error": mean_squared_error, "cross_entropy": cross_entropy,
        "cross-entropy": cross_entropy, "mae": mean_absolute_error, "bce": binary_cross_entropy,
        "Huber": huber, "sparse_categorical_crossentropy": cross_entropy,
    }.items():  # fmt: skip
        assert as_loss(name, "train") is loss
    assert all(LOSSES[loss.name] is loss for loss in LOSSES.values())
    assert as_loss(huber, "train") is huber
    assert as_loss(absolute, "train").of_one is absolute


@cell
def weighted(output=Input("n"), target=Input("n"), b=Bias("n")):
    return total(output - target + b)


@cell
def not_a_number(output=Input("n"), target=Input("n")):
    return output - target


@cell
def with_state(output=Input("n"), y=State("n")):
    return output + y


@case(OptionError)
def loss_with_weights():
    Loss(weighted)


@case(OptionError)
def loss_with_a_state():
    Loss(with_state)


@case(OptionError)
def loss_of_a_vector():
    Loss(not_a_number)(Y, Y)


@case(DataError)
def label_out_of_range():
    cross_entropy(Y[0], [0, 1, 7, 2])


@case(DataError)
def target_of_another_shape():
    cross_entropy(Y, np.zeros(5, int))


@case(DataError)
def squares_of_labels():
    mean_squared_error(Y[0], LABELS[0])


@case(DataError)
def lengths_without_steps():
    cross_entropy(Y[0], LABELS[0], lengths=LENGTHS)


@case(DataError)
def lengths_beyond_the_steps():
    cross_entropy(Y, LABELS, lengths=[9, 2, 0, 4])


@case(DataError)
def lengths_below_0():
    cross_entropy(Y.swapaxes(0, 1), LABELS.T, lengths=[5, 2, -1, 4], batch_first=True)


@case(DataError)
def lengths_that_are_fractions():
    cross_entropy(Y, LABELS, lengths=[1.5, 2, 0, 4])


@case(DataError)
def lengths_that_are_words():
    mean_squared_error(Y, Y, lengths=["a", "b", "c", "d"])


@case(DataError)
def lengths_of_other_instances():
    mean_squared_error(Y, Y, lengths=[1, 2])


@case(DataError)
def lengths_of_rows():
    mean_squared_error(Y, Y, lengths=[[1, 2], [3]])


@case(DataError)
def ragged_output():
    mean_squared_error([[1.0, 2.0], [3.0]], np.zeros((2, 2)))


@case(DataError)
def ragged_target():
    mean_squared_error(np.zeros((2, 2)), [[1.0, 2.0], [3.0]])


@case(DataError)
def ragged_mask():
    mean_squared_error(Y, Y, mask=[[True, True], [False]])


@case(DataError)
def mask_of_numbers():
    cross_entropy(Y[0], LABELS[0], mask=np.ones(4))


@case(DataError)
def output_of_four_dimensions():
    mean_squared_error(np.zeros((2, 3, 4, 5)), np.zeros((2, 3, 4, 5)))


@case(OptionError)
def loss_of_a_function():
    Loss(np.abs)


@case(OptionError)
def loss_of_another_option():
    Loss(huber.of_one, beta=1.0)


@case(OptionError)
def loss_of_an_unknown_name():
    as_loss("hubber", "train")


@case(OptionError)
def loss_that_is_none():
    as_loss(np.square, "train")


@case(DataError)
def share_beyond_1():
    binary_cross_entropy(Y[0], 2 * np.eye(4)[:, :3])


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
