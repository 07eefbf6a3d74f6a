"""What the author of a cell is told of declarations, returns, sizes and calls on arrays: tests/golden/errors_cell.txt."""

import numpy as np
import pytest

import ostinato
from ostinato import (
    Bias,
    CellError,
    DataError,
    DimensionError,
    Input,
    Layer,
    OptionError,
    Output,
    ShapeError,
    State,
    Weight,
    cell,
    cells,
    concat,
    relu,
    split,
    tanh,
)

from .helpers import Messages

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
        return p  # noqa: RET504 - a caret needs a line

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
    trace(lambda x=Input("n_inputs"), h=State("n_inputs"): (Output(x), Output(output=h), x), n_inputs=3)


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


def test_every_message_has_its_case():
    case.check_complete()
