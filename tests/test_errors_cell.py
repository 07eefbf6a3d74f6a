"""What the author of a cell is told, word for word; the texts are in tests/golden/errors_cell.txt."""

import math

import numpy as np
import pytest
from .helpers import Messages

import ostinato
from ostinato import (
    Bias,
    CellError,
    Context,
    DataError,
    DimensionError,
    Input,
    Layer,
    OptionError,
    Output,
    ShapeError,
    State,
    SymbolError,
    Weight,
    cell,
    cells,
    concat,
    dropout,
    mean,
    patches,
    relu,
    reshape,
    softmax,
    split,
    tanh,
    where,
)
from ostinato import sum as total

case = Messages("errors_cell.txt")
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
        return gates

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
    with_x(lambda x: x[: "n_inputs"], "n_inputs")


@case(ShapeError)
def slice_by_a_new_axis():
    with_x(lambda x: x[None], "n_inputs")


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
def reshape_to_a_tuple():
    with_x(lambda x: reshape(x, (1, 3)), "n_inputs")


@case(DimensionError)
def reshape_to_truth():
    with_x(lambda x: reshape(x, 3, True), "n_inputs")


@case(DimensionError)
def reshape_to_the_rest():
    with_x(lambda x: reshape(x, -1), "n_inputs")


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


# --- symbols used as numbers -------------------------------------------------------------------------------------------


@case(SymbolError)
def symbol_in_an_if():
    def branching(x=Input("n_inputs"), h=State("n_inputs")):
        if h > 0:
            return h
        return x

    trace(branching, n_inputs=3)


@case(SymbolError)
def symbol_in_a_for():
    def walking(x=Input("n_inputs")):
        return sum(part for part in x)

    trace(walking, n_inputs=3)


@case(SymbolError)
def symbol_and_len():
    with_x(lambda x: x * len(x), "n_inputs")


@case(SymbolError)
def symbol_and_float():
    with_x(lambda x: tanh(float(x)))


@case(SymbolError)
def symbol_and_in():
    with_x(lambda x: 0.0 in x, "n_inputs")


@case(SymbolError)
def symbol_and_math():
    with_x(lambda x: math.tanh(x))


@case(SymbolError)
def symbol_and_numpy():
    with_x(lambda x: np.tanh(x), "n_inputs")


@case(SymbolError)
def symbol_and_numpy_sum():
    with_x(lambda x: np.sum(tanh(x)), "n_inputs")


@case(SymbolError)
def symbol_and_asarray():
    with_x(lambda x: np.asarray(x), "n_inputs")


@case(SymbolError)
def symbol_added_to_an_array():
    with_x(lambda x: np.ones(3) + x, "n_inputs")


@case(SymbolError)
def symbol_and_an_array():
    with_x(lambda x: x + np.ones(3), "n_inputs")


@case(SymbolError)
def symbol_assigned_in_place():
    def assigning(x=Input("n_inputs"), h=State("n_neurons")):
        h[0] = 1.0
        return h

    trace(assigning)


@case(SymbolError)
def symbol_part_deleted():
    def deleting(x=Input("n_inputs")):
        del x[0]
        return x

    trace(deleting, n_inputs=4)


@case(SymbolError)
def symbol_given_an_attribute():
    def marking(x=Input("n_inputs")):
        x.requires_grad = True
        return x

    trace(marking, n_inputs=4)


@case(SymbolError)
def symbol_as_an_index():
    with_x(lambda x: [1, 2, 3][x])


@case(SymbolError)
def symbol_of_another_trace():
    kept = []

    def keeping(x=Input("n_inputs")):
        kept.append(x)
        return x

    trace(keeping, n_inputs=4)
    with_x(lambda x: x + kept[0], "n_inputs")


@case(SymbolError)
def symbol_after_its_trace():
    kept = []
    with_x(lambda x: kept.append(x) or x, "n_inputs")
    tanh(kept[0])


@case(SymbolError)
def operand_none():
    with_x(lambda x: x + None, "n_inputs")


@case(SymbolError)
def operand_string():
    with_x(lambda x: x * "2", "n_inputs")


@case(SymbolError)
def operand_truth():
    with_x(lambda x: x * True, "n_inputs")


@case(SymbolError)
def operand_list():
    with_x(lambda x: concat(x, [1.0, 2.0]), "n_inputs")


@case(SymbolError)
def operand_complex():
    with_x(lambda x: x + 1j, "n_inputs")


@case(CellError)
def tanh_of_two():
    with_x(lambda x: tanh(x, x), "n_inputs")


@case(CellError)
def tanh_of_nothing():
    with_x(lambda x: tanh(), "n_inputs")


@case(CellError)
def tanh_with_an_option():
    with_x(lambda x: tanh(x, alpha=0.5), "n_inputs")


@case(CellError)
def where_of_one():
    with_x(lambda x: where(x > 0), "n_inputs")


@case(CellError)
def concat_of_nothing():
    with_x(lambda x: concat(), "n_inputs")


@case(CellError)
def concat_of_a_list():
    with_x(lambda x: concat([x, x]), "n_inputs")


@case(CellError)
def sum_by_an_unknown_option():
    with_x(lambda x: total(x, axes=-1), "n_inputs")


@case(CellError)
def sum_over_a_named_axis():
    with_x(lambda x: total(x, axis="n_inputs"), "n_inputs")


@case(CellError)
def dropout_rate_of_one():
    with_x(lambda x: dropout(x, 1.0), "n_inputs")


@case(CellError)
def dropout_rate_in_words():
    with_x(lambda x: dropout(x, "half"), "n_inputs")


@case(CellError)
def dropout_rate_of_truth():
    with_x(lambda x: dropout(x, False), "n_inputs")


@case(CellError)
def dropout_per_epoch():
    with_x(lambda x: dropout(x, 0.3, per="epoch"), "n_inputs")


@case(ShapeError)
def patches_of_half_a_stride():
    with_x(lambda x: patches(x, 2, stride="2"), "n_inputs", 2)


@case(ShapeError)
def dimension_that_is_empty_here():
    with_x(lambda x: ostinato.transpose(x, (0, 3)), "n_inputs", 2)


@case(DimensionError)
def reshape_to_an_empty_dimension():
    with_x(lambda x: reshape(x, "n_inputs - 3", 3), "n_inputs")


# --- a cell on arrays --------------------------------------------------------------------------------------------------


@cell
def elman(x=Input("n_inputs"), y=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), b=Bias("n_neurons"), *, phi=tanh):
    return phi(x @ W + y + b)


@cell
def wrong_inside(x=Input("n_inputs"), y=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
    return tanh(y @ W)


X, Y, W, B = np.ones(3), np.ones(5), np.ones((3, 5)), np.zeros(5)


@case(ShapeError)
def arrays_of_other_sizes():
    elman(X, Y, np.ones((4, 5), np.float32), B)


@case(ShapeError)
def arrays_with_a_batch():
    elman(np.ones((2, 3)), Y, W, B)


@case(ShapeError)
def arrays_with_too_few_dimensions():
    elman(X, Y, W, 0.0)


@case(ShapeError)
def arrays_of_a_sum_of_dimensions():
    cells.lstm(X, Y, Y, *[np.ones((8, 5)), B] * 3, np.ones((7, 5)), B)


@case(ShapeError)
def arrays_of_a_fixed_dimension():
    cell(lambda x=Input(4): x)(np.ones(7))


@case(ShapeError)
def arrays_in_a_wrong_cell():
    wrong_inside(X, Y, W)


@case(DimensionError)
def arrays_without_a_plain_dimension():
    cell(lambda x=Input("n_inputs + n_neurons"), y=State("n_inputs"): y)(np.ones(5), np.ones(2))


@case(CellError)
def arrays_too_many():
    elman(X, Y, W, B, B, B)


@case(CellError)
def arrays_missing():
    elman(X, b=B)


@case(CellError)
def arrays_twice():
    elman(X, Y, W, B, y=Y)


@case(CellError)
def arrays_of_an_unknown_name():
    elman(X, Y, W, B, Phi=relu)


@case(DataError)
def arrays_of_text():
    elman(X, Y, np.full((3, 5), "one"), B)


@case(DataError)
def arrays_of_complex_numbers():
    elman(X * 1j, Y, W, B)


@case(DataError)
def arrays_with_ragged_rows():
    elman(X, Y, [[1.0], [2.0, 3.0]], B)


@case(DataError)
def arrays_of_nothing():
    elman(None, Y, W, B)


@case(ShapeError)
def op_on_arrays_of_other_sizes():
    concat(np.ones((2, 3)), np.ones((4, 3), np.float32))


@case(CellError)
def op_on_complex_arrays():
    tanh(np.ones(3) * 1j)


@case(CellError)
def op_on_words():
    tanh("one")


@case(CellError)
def op_on_nothing():
    ostinato.maximum(np.ones(2), None)


@case(CellError)
def op_on_ragged_rows():
    tanh([[1.0], [2.0, 3.0]])


@case(ShapeError)
def op_on_arrays_of_truth():
    tanh(np.ones(3) > 0)


@case(ShapeError)
def split_of_an_array():
    split(np.ones((2, 7)), 3)


# --- declarations --------------------------------------------------------------------------------------------------------


@case(CellError)
def parameter_without_a_declaration():
    @cell
    def undeclared(x=Input("n_inputs"), gain=2.0):
        return x * gain


@case(CellError)
def parameter_without_a_default():
    @cell
    def bare(x, h=State("n_inputs")):
        return x + h


@case(CellError)
def parameters_without_names():
    @cell
    def starred(x=Input("n_inputs"), *more):
        return x


@case(CellError)
def parameter_with_the_name_of_an_option_of_layers():
    @cell
    def greedy(x=Input("n_inputs"), state=State("n_inputs")):
        return x + state


@case(CellError)
def option_without_a_default():
    @cell
    def optional(x=Input("n_inputs"), *, phi):
        return phi(x)


@case(CellError)
def option_with_the_name_of_a_dimension():
    @cell
    def ambiguous(x=Input("width"), *, width=3):
        return x * width


@case(CellError)
def option_that_is_declared():
    @cell
    def misplaced(x=Input("n_inputs"), *, h=State("n_inputs")):
        return x + h


@case(CellError)
def cell_without_an_input():
    @cell
    def clock(h=State(), *, rate=0.5):
        return h + rate


@case(CellError)
def cell_of_a_number():
    cell(7)


@case(CellError)
def cell_of_a_builtin():
    cell(max)


@case(OptionError)
def state_that_begins_as_a_word():
    State("n_neurons", initial="zeros")


@case(OptionError)
def state_that_begins_as_truth():
    State("n_neurons", initial=True)


@case(OptionError)
def weight_with_an_unknown_initialiser():
    Weight("n_inputs", init="orthogonl")


@case(OptionError)
def bias_with_no_initialiser():
    Bias("n_neurons", init=None)


@case(OptionError)
def weight_with_a_class_as_initialiser():
    Weight("n_inputs", init=ostinato.initialise.Glorot)


@case(OptionError)
def output_of_two():
    Output(1.0, 2.0)


@case(OptionError)
def output_of_nothing():
    Output()


# --- what is returned ------------------------------------------------------------------------------------------------------


@case(ShapeError)
def returned_state_of_another_shape():
    def projecting(x=Input("n_inputs"), h=State("n_neurons"), P=Weight("n_neurons", "n_inputs")):
        p = tanh(h) @ P
        return p

    trace(projecting)


@case(ShapeError)
def returned_truth():
    trace(lambda x=Input("n_neurons"), h=State("n_neurons"): x > h, n_neurons=5)


@case(CellError)
def returned_too_few():
    def forgetting(x=Input("n_inputs"), h=State("n_inputs"), c=State("n_inputs")):
        return h + x

    trace(forgetting, n_inputs=3)


@case(CellError)
def returned_too_many():
    def generous(x=Input("n_inputs"), h=State("n_inputs")):
        p = x * 2
        return p, h, h

    trace(generous, n_inputs=3)


@case(CellError)
def returned_too_many_beside_outputs():
    trace(lambda x=Input("n_inputs"), h=State("n_inputs"): (Output(x), h, x), n_inputs=3)


@case(CellError)
def returned_two_without_a_state():
    with_x(lambda x: (x, tanh(x)), "n_inputs")


@case(CellError)
def returned_nothing():
    def silent(x=Input("n_inputs"), h=State("n_inputs")):
        h = x + h

    trace(silent, n_inputs=3)


@case(CellError)
def returned_an_array():
    trace(lambda x=Input("n_inputs"), h=State(2): np.zeros(2), n_inputs=3)


@case(CellError)
def returned_a_word():
    trace(lambda x=Input("n_inputs"), h=State("n_inputs"): (Output("loud"), x), n_inputs=3)


@case(CellError)
def returned_outputs_of_one_name():
    trace(lambda x=Input("n_inputs"), h=State("n_inputs"): (Output(x), Output(h, output=x), x), n_inputs=3)


@case(CellError)
def returned_a_dictionary():
    trace(lambda x=Input("n_inputs"), h=State("n_inputs"): {"h": x}, n_inputs=3)


# --- sizes and options ------------------------------------------------------------------------------------------------------


@case(DimensionError)
def size_missing():
    Layer(cells.recurrent, n_neurons=5)


@case(DimensionError)
def sizes_missing():
    Layer(cells.recurrent)


@case(DimensionError)
def size_of_zero():
    Layer(cells.recurrent, n_inputs=0, n_neurons=5)


@case(DimensionError)
def size_of_a_float():
    Layer(cells.recurrent, n_inputs=3, n_neurons=2.5)


@case(DimensionError)
def size_of_truth():
    Layer(cells.recurrent, n_inputs=3, n_neurons=True)


@case(OptionError)
def size_of_an_unknown_name():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, n_neuron=6)


@case(OptionError)
def option_that_is_unknown():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, activation=relu)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)
