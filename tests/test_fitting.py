"""A network, its examples and a loss belong together, or are told why not, before the first step."""

import numpy as np
import pandas as pd
import pytest

from ostinato import (
    DataError,
    Input,
    Layer,
    Network,
    OptionError,
    Output,
    State,
    Weight,
    binary_cross_entropy,
    cell,
    cells,
    cross_entropy,
    mean_squared_error,
)
from ostinato.layers.network import LastStep
from ostinato.learn.fitting import belonging
from ostinato.learn.training import Examples

from .helpers import Messages, assert_equal, random

case = Messages("errors_fitting.txt")
X = random((7, 5, 2))
LABELS = np.array([0, 1, 1, 0, 1])
LENGTHS = [7, 3, 0, 5, 1]


def network(*, last=True, n_outputs=2, n_inputs=2, **options):
    layer = Layer(cells.gru, n_inputs=n_inputs, n_neurons=3, **options)
    return Network(LastStep(layer) if last else layer, Layer(cells.dense, n_inputs=3, n_outputs=n_outputs, **options))


def fitted(examples, loss=cross_entropy, net=None):
    return belonging(network() if net is None else net, examples, loss, "train")


def changed(place, value, array=X):
    array = array.astype(float).copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    "labels", [LABELS * 1.0, LABELS == 1, LABELS[:, None], LABELS.astype(np.int8), pd.Series(LABELS, dtype="Int64")]
)
def test_labels_of_every_kind_are_whole_numbers(labels):
    target = fitted(Examples(X, labels)).target
    assert target.dtype.kind in "iu"
    assert target.tolist() == LABELS.tolist()


def test_numbers_are_rows_of_one():
    for loss in (mean_squared_error, binary_cross_entropy):
        assert_equal(fitted(Examples(X, LABELS), loss, network(n_outputs=1)).target, LABELS[:, None])


def test_one_number_at_each_step_is_one_feature():
    net = network(n_inputs=1)
    assert_equal(fitted(Examples(X[..., 0], LABELS), net=net).X, X[..., :1])
    assert_equal(fitted(Examples([*X[..., 0].T], LABELS), net=net).X[1], X[:, 1, :1])


@cell
def of_numbers(x=Input(), h=State("n_neurons"), w=Weight("n_neurons")):
    return h + x * w


def test_one_feature_is_one_number_at_each_step_where_a_cell_takes_one():
    net = LastStep(Layer(of_numbers, n_neurons=2))
    assert_equal(fitted(Examples(X[..., :1], LABELS), net=net).X, X[..., 0])
    assert_equal(fitted(Examples([*X.swapaxes(0, 1)[..., :1]], LABELS), net=net).X[1], X[:, 1, 0])


def test_whether_there_are_steps_is_what_the_network_says_where_shapes_do_not():
    square = random((5, 5, 2))
    labels = np.zeros((5, 5), int)
    assert fitted(Examples(square, labels), net=network(last=False)).per_step
    assert not fitted(Examples(square, random((5, 5))), mean_squared_error, network(n_outputs=5)).per_step
    of_list = fitted(Examples([*square], [[0] * 5] * 5), net=network(last=False))
    assert of_list.per_step
    assert [target.shape for target in of_list.target] == [(5,)] * 5
    assert fitted(Examples(square.swapaxes(0, 1), labels, batch_first=True), net=network(last=False)).per_step


def test_the_order_of_axes_may_differ_where_the_examples_say_theirs():
    fitted(Examples(X.swapaxes(0, 1), LABELS, batch_first=True))
    fitted(Examples(X, LABELS), net=network(batch_first=True))  # the target has as many entries as X has in its second axis


def test_what_is_behind_an_end_is_never_read():
    examples = Examples(changed((5, 1, 0), np.nan), changed((5, 1), np.nan, np.zeros((7, 5))), LENGTHS)
    target = fitted(examples, net=network(last=False)).target
    assert target.dtype.kind == "i"
    turned = Examples(examples.X.swapaxes(0, 1), examples.target.swapaxes(0, 1), LENGTHS, per_step=True, batch_first=True)
    assert_equal(fitted(turned, net=network(last=False)).target, target.T)


def test_no_examples_are_left_to_who_asks():
    assert len(fitted(Examples(X[:, :0], LABELS[:0]))) == 0
    assert len(fitted(Examples([], []))) == 0


@case(DataError)
def a_forgotten_last_step():
    fitted(Examples(X, LABELS), net=network(last=False))


@case(DataError)
def a_forgotten_last_step_of_a_layer():
    fitted(Examples(X, LABELS), mean_squared_error, Layer(cells.gru, n_inputs=2, n_neurons=1))


@case(DataError)
def a_last_step_and_answers_at_every_step():
    fitted(Examples(X, np.zeros((7, 5), int)))


@case(DataError)
def a_last_step_and_answers_at_every_step_samples_first():
    fitted(Examples(X.swapaxes(0, 1), np.zeros((5, 7, 2)), batch_first=True), mean_squared_error)


@case(DataError)
def batch_first_of_the_layers_alone():
    fitted(Examples(X[:5], np.zeros((5, 5), int)), net=network(last=False, batch_first=True))


@case(DataError)
def other_features():
    fitted(Examples(X, LABELS), net=network(n_inputs=3))


@case(DataError)
def other_features_of_a_list():
    fitted(Examples([*X.swapaxes(0, 1)], LABELS), net=network(n_inputs=3))


@case(DataError)
def other_features_samples_first():
    fitted(Examples(X.swapaxes(0, 1), LABELS, batch_first=True), net=network(n_inputs=3))


@case(DataError)
def one_sequence():
    fitted(Examples(X[:, 0], [0, 1]))


@case(DataError)
def no_steps():
    fitted(Examples(X[:0], LABELS))


@case(DataError)
def weights_of_0():
    fitted(Examples(X, LABELS, weights=[0] * 5))


@case(OptionError)
def cross_entropy_of_one_output():
    fitted(Examples(X, LABELS), net=network(n_outputs=1))


@case(DataError)
def a_target_that_is_no_share():
    fitted(Examples(X, 2 * LABELS - 1), binary_cross_entropy, network(n_outputs=1))


@case(DataError)
def a_share_of_a_list():
    fitted(Examples([X[:, 0], X[:2, 0]], [[1.5] * 7, [0, 1]]), binary_cross_entropy, network(last=False, n_outputs=1))


@case(DataError)
def a_further_class():
    fitted(Examples(X, LABELS + 1))


@case(DataError)
def labels_of_text():
    fitted(Examples(X, ["no", "yes", "yes", "no", "yes"]))


@case(DataError)
def squares_of_labels():
    fitted(Examples(X, LABELS), mean_squared_error)


@case(DataError)
def x_is_not_finite():
    fitted(Examples(changed((3, 2, 1), np.inf), LABELS))


@case(DataError)
def x_of_a_list_is_not_finite():
    fitted(Examples([*changed((3, 2, 1), np.nan).swapaxes(0, 1)], LABELS))


@case(DataError)
def x_is_too_large():
    fitted(Examples(changed((6, 4, 0), -1e300), LABELS))


@case(DataError)
def a_target_is_not_finite():
    fitted(Examples(X, [0.5, 1, -np.inf, 0, 1]), mean_squared_error, network(n_outputs=1))


@case(DataError)
def a_target_at_a_step_is_not_finite():
    target = changed((2, 3, 1), np.nan, np.zeros((7, 5, 2)))
    fitted(Examples(X, target, LENGTHS), mean_squared_error, network(last=False))


@cell
def two_outputs(x=Input("n_inputs"), h=State("n_inputs")):
    return Output(h + x, change=x), h + x


@cell
def a_matrix(x=Input("n_inputs"), H=State("n_inputs", "n_inputs")):
    return H + x


@case(OptionError)
def a_layer_of_two_outputs():
    fitted(Examples(X, LABELS), mean_squared_error, Layer(two_outputs, n_inputs=2))


@case(OptionError)
def a_layer_that_gives_a_matrix():
    fitted(Examples(X, LABELS), mean_squared_error, Layer(a_matrix, n_inputs=2))


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
