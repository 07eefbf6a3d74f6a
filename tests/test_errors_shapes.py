"""What is said of shapes and dimensions that do not fit, word for word; the texts are in tests/golden/errors_shapes.txt."""

import numpy as np
import pytest

import ostinato
from ostinato import (
    Bias,
    CellError,
    Context,
    DimensionError,
    Input,
    ShapeError,
    State,
    Weight,
    cell,
    concat,
    mean,
    patches,
    reshape,
    softmax,
    split,
    tanh,
    where,
)
from ostinato import sum as total

from .helpers import Messages

case = Messages("errors_shapes.txt")
SIZES = {"n_inputs": 3, "n_neurons": 5}


def trace(function, **sizes):
    """Make a cell of a function and run it on symbols."""
    return cell(function).trace(**(sizes or SIZES))


def with_x(body, *dims):
    """Trace a cell without a state whose only value is `x`, declared with `dims`, and whose body is `body`."""

    def step(x=Input(*dims)):
        return body(x)

    return cell(step).trace(**{name: size for name, size in SIZES.items() if name in dims})


# --- shapes that do not fit ------------------------------------------------------------------------------------------


@case(ShapeError)
def product_of_other_sizes():
    @cell
    def peephole(x=Input("n_inputs"), h=State("n_neurons"), W_x=Weight("n_inputs", 4), W_h=Weight("n_inputs", 4)):
        gates = x @ W_x + h @ W_h
        return gates  # noqa: RET504 - a caret needs a line

    peephole.trace(n_inputs=32, n_neurons=64)


@case(ShapeError)
def product_of_equal_sizes_and_other_names():
    def swapped(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_neurons", "n_inputs")):
        return tanh(h @ W.T)

    trace(swapped, n_inputs=6, n_neurons=6)


@case(ShapeError)
def product_with_a_number():
    trace(lambda x=Input("n_inputs"), y=State(): x @ y, n_inputs=3)


@case(ShapeError)
def sum_of_other_sizes():
    def summed(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
        z = x @ W
        return z + h + x

    trace(summed)


@case(ShapeError)
def sum_of_values_without_a_name():
    trace(lambda x=Input("n_inputs"), h=State("n_neurons"): tanh(x) * tanh(h))


@case(ShapeError)
def choice_of_other_sizes():
    trace(lambda x=Input("n_inputs"), h=State("n_neurons"): where(h > 0, h, x))


@case(ShapeError)
def joined_matrices_of_other_rows():
    trace(lambda A=Input("n_inputs", 2), B=Input("n_neurons", 2): concat(A, B))


@case(ShapeError)
def joined_ranks():
    trace(lambda A=Input("n_inputs", 2), b=Input("n_inputs"): concat(A, b), n_inputs=4)


@case(ShapeError)
def joined_numbers():
    trace(lambda x=Input("n_inputs"), y=State(): concat(y, y), n_inputs=4)


@case(ShapeError)
def joined_along_no_axis():
    with_x(lambda x: concat(x, x, axis=1), "n_inputs")


@case(ShapeError)
def sum_of_a_number():
    with_x(total)


@case(ShapeError)
def sum_over_no_axis():
    with_x(lambda x: total(x, axis=2), "n_inputs", "n_neurons")


@case(ShapeError)
def mean_of_a_number():
    with_x(mean)


@case(ShapeError)
def mean_over_no_axis():
    with_x(lambda x: mean(x, axis=1), "n_inputs")


@case(ShapeError)
def softmax_of_a_number():
    with_x(softmax)


@case(ShapeError)
def reshape_of_other_size():
    with_x(lambda x: reshape(x, 2, "n_inputs"), "n_inputs")


@case(ShapeError)
def transpose_by_no_order():
    with_x(lambda x: ostinato.transpose(x, (0, 0)), "n_inputs", "n_neurons")


@case(ShapeError)
def matrix_transpose_of_a_vector():
    with_x(lambda x: x.mT, "n_inputs")


@case(ShapeError)
def truth_values_added():
    with_x(lambda x: (x > 0) + 1, "n_inputs")


@case(ShapeError)
def numbers_joined_by_and():
    with_x(lambda x: x & (x > 0), "n_inputs")


@case(ShapeError)
def numbers_as_condition():
    with_x(lambda x: where(x, 1.0, 2.0), "n_inputs")


@case(ShapeError)
def truth_values_chosen():
    with_x(lambda x: where(x > 0, x > 1, 2.0), "n_inputs")


@case(ShapeError)
def split_into_unequal_parts():
    with_x(lambda x: split(x, 2)[0], "n_inputs")


@case(ShapeError)
def split_into_no_parts():
    with_x(lambda x: split(x, 0), "n_inputs")


@case(ShapeError)
def split_into_truth():
    with_x(lambda x: split(x, True)[0], "n_inputs")


@case(DimensionError)
def split_into_a_negative_part():
    with_x(lambda x: split(x, [4, -1])[0], "n_inputs")


@case(ShapeError)
def split_that_does_not_fill():
    with_x(lambda x: split(x, ["n_inputs", 1]), "n_inputs")


@case(ShapeError)
def split_of_a_number():
    with_x(lambda x: split(x, 2))


@case(ShapeError)
def split_along_no_axis():
    with_x(lambda x: split(x, 3, axis=1), "n_inputs")


@case(ShapeError)
def slice_of_too_many_indices():
    with_x(lambda x: x[0, 1], "n_inputs")


@case(ShapeError)
def slice_of_two_ellipses():
    with_x(lambda x: x[..., 0, ...], "n_inputs", "n_neurons")


@case(ShapeError)
def slice_outside():
    with_x(lambda x: x[3], "n_inputs")


@case(ShapeError)
def slice_of_nothing():
    with_x(lambda x: x[2:1], "n_inputs")


@case(ShapeError)
def slice_backwards():
    with_x(lambda x: x[::-1], "n_inputs")


@case(ShapeError)
def slice_by_zero():
    with_x(lambda x: x[::0], "n_inputs")


@case(ShapeError)
def slice_by_a_float():
    with_x(lambda x: x[1.5], "n_inputs")


@case(ShapeError)
def slice_by_truth():
    with_x(lambda x: x[True], "n_inputs")


@case(ShapeError)
def slice_by_a_list():
    with_x(lambda x: x[[0, 1]], "n_inputs")


@case(ShapeError)
def slice_by_a_name():
    with_x(lambda x: x[:"n_inputs"], "n_inputs")


@case(ShapeError)
def slice_by_a_new_axis_and_more():
    with_x(lambda x: x[None, 1, 2], "n_inputs")


@case(ShapeError)
def slice_of_a_number():
    with_x(lambda x: x[0])


@case(ShapeError)
def patches_of_other_rank():
    with_x(lambda x: patches(x, (2, 2)), "n_inputs", 1)


@case(ShapeError)
def patches_that_do_not_fit():
    with_x(lambda x: patches(x, 4), "n_inputs", 2)


@case(DimensionError)
def patches_of_size_zero():
    with_x(lambda x: patches(x, 0), "n_inputs", 2)


@case(ShapeError)
def patches_of_stride_zero():
    with_x(lambda x: patches(x, 2, stride=0), "n_inputs", 2)


@case(ShapeError)
def patches_of_unknown_padding():
    with_x(lambda x: patches(x, 2, padding="full"), "n_inputs", 2)


@case(ShapeError)
def patches_of_too_few_paddings():
    with_x(lambda x: patches(x, (2, 2), padding=[(1, 1)]), "n_inputs", "n_neurons", 1)


@case(ShapeError)
def patches_of_one_padding():
    with_x(lambda x: patches(x, 2, padding=1), "n_inputs", 2)


@case(DimensionError)
def patches_of_a_float():
    with_x(lambda x: patches(x, 1.5), "n_inputs", 2)


@case(ShapeError)
def patches_of_half_a_pair():
    with_x(lambda x: patches(x, 2, padding=[(1,)]), "n_inputs", 2)


# --- dimensions ------------------------------------------------------------------------------------------------------


@case(DimensionError)
def reshape_to_an_unknown_name():
    with_x(lambda x: reshape(x, "n_input"), "n_inputs")


@case(DimensionError)
def reshape_to_no_name():
    with_x(lambda x: reshape(x, "n_inputs / 1"), "n_inputs")


@case(DimensionError)
def reshape_to_a_float():
    with_x(lambda x: reshape(x, 3.0), "n_inputs")


@case(DimensionError)
def reshape_to_a_tuple_in_a_tuple():
    with_x(lambda x: reshape(x, ((1, 3),)), "n_inputs")


@case(DimensionError)
def reshape_to_truth():
    with_x(lambda x: reshape(x, 3, True), "n_inputs")


@case(DimensionError)
def reshape_to_two_rests():
    with_x(lambda x: reshape(x, -1, -1), "n_inputs")


@case(ShapeError)
def reshape_to_a_rest_that_does_not_divide():
    with_x(lambda x: reshape(x, 2, -1), "n_inputs")


@case(DimensionError)
def split_into_unknown_names():
    with_x(lambda x: split(x, ["n_gates", 1]), "n_inputs")


@case(DimensionError)
def reshape_of_an_array_to_a_name():
    reshape(np.zeros(4), "n_heads", 2)


@case(DimensionError)
def declared_with_a_quotient():
    Input("n_inputs / 2")


@case(DimensionError)
def declared_with_a_call():
    Weight("__import__('os')", "n_neurons")


@case(DimensionError)
def declared_with_zero():
    State(0)


@case(DimensionError)
def declared_with_truth():
    Bias(True)


@case(DimensionError)
def declared_with_a_float():
    Context(2.5)


@case(DimensionError)
def declared_with_nothing():
    Input("")


@case(DimensionError)
def declared_below_one():
    trace(lambda x=Input("n_inputs"), y=State("n_inputs - n_neurons"): y)


@case(CellError)
def declared_with_the_word_of_an_axis():
    trace(lambda x=Input("n_steps"): x, n_steps=4)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()
