"""What the author of a cell is told for what arrays can do and a step can not: tests/golden/errors_authors.txt."""

import math

import numpy as np
import pytest

import ostinato
from ostinato import (
    Bias,
    BlockCirculant,
    CellError,
    Input,
    Layer,
    OptionError,
    ShapeError,
    State,
    SymbolError,
    Weight,
    cell,
    cells,
    concat,
    dropout,
    identity,
    layer_norm,
    mean,
    softmax,
    split,
)
from ostinato import max as largest
from ostinato import sum as total
from ostinato.errors import SymbolAttributeError

from .helpers import Messages

case = Messages("errors_authors.txt")


def with_x(body, *dims):
    """Trace a cell without a state whose only value is `x`, declared with `dims`, and whose body is `body`."""

    def step(x=Input(*dims)):
        return body(x)

    return cell(step).trace(**({"n": 3} if "n" in dims else {}))


# --- the data model of Python ------------------------------------------------------------------------------------------


@case(SymbolError)
def rounded_by_python():
    with_x(lambda x: round(x, 2), "n")


@case(SymbolError)
def floor_of_math():
    with_x(lambda x: math.floor(x))


@case(SymbolError)
def ceil_of_math():
    with_x(lambda x: math.ceil(x))


@case(SymbolError)
def trunc_of_math():
    with_x(lambda x: math.trunc(x))


@case(SymbolError)
def formatted():
    with_x(lambda x: x * len(f"{x:.2f}"), "n")


@case(SymbolError)
def formatted_by_percent():
    with_x(lambda x: x * len("%.2f" % x), "n")  # noqa: UP031 - as people write


@case(SymbolError)
def shifted():
    with_x(lambda x: x << 2, "n")


@case(SymbolError)
def power_by_a_hat():
    with_x(lambda x: x ^ 2, "n")


@case(CellError)
def power_with_a_modulus():
    with_x(lambda x: pow(x, 2, 3), "n")


@case(SymbolError)
def chain_of_comparisons():
    with_x(lambda x: 0 < x < 1, "n")


@case(SymbolError)
def joined_by_and():
    with_x(lambda x: (x > 0) and (x < 1), "n")


@case(SymbolError)
def largest_by_python():
    with_x(lambda x: max(x, 2 * x), "n")


@case(SymbolError)
def smallest_by_python():
    with_x(lambda x: min(x, 0.0), "n")


@case(SymbolError)
def called():
    with_x(lambda x: 2 * x(3), "n")


@case(SymbolError)
def entered():
    def entering(x=Input("n")):
        with x as y:
            return y

    cell(entering).trace(n=2)


@case(SymbolError)
def pickled():
    import pickle

    with_x(lambda x: pickle.dumps(x), "n")


@case(SymbolError)
def reversed_elements():
    with_x(lambda x: concat(*reversed(x)), "n")


@case(SymbolError)
def number_of_bytes():
    with_x(lambda x: bytes(x), "n")


@case(CellError)
def cell_that_waits():
    async def waiting(x=Input("n")):
        return x

    cell(waiting)


@case(CellError)
def cell_that_yields():
    def yielding(x=Input("n")):
        yield x

    cell(yielding)


# --- the names of arrays -----------------------------------------------------------------------------------------------


@case(SymbolAttributeError)
def unknown_name():
    with_x(lambda x: x.summ(), "n")


@case(SymbolAttributeError)
def name_of_a_function():
    with_x(lambda x: x.tanh(), "n")


@case(SymbolAttributeError)
def name_of_ours():
    with_x(lambda x: x.value * 2, "n")


@case(SymbolAttributeError)
def private_name():
    with_x(lambda x: x._numbers, "n")


@case(SymbolAttributeError)
def largest_place():
    with_x(lambda x: x.argmax(), "n")


@case(SymbolAttributeError)
def filled():
    with_x(lambda x: x.fill(0.0), "n")


@case(SymbolAttributeError)
def as_a_list():
    with_x(lambda x: x.tolist(), "n")


@case(SymbolAttributeError)
def running_sum():
    with_x(lambda x: x.cumsum(), "n")


@case(SymbolAttributeError)
def unsqueezed():
    with_x(lambda x: x.unsqueeze(0), "n")


@case(CellError)
def sum_by_the_name_of_another_package():
    with_x(lambda x: x.sum(dim=-1), "n")


@case(CellError)
def sum_with_an_out():
    with_x(lambda x: x.sum(axis=0, out=None), "n")


@case(CellError)
def sum_over_a_name():
    with_x(lambda x: x.sum(axis="n"), "n")


@case(ShapeError)
def mean_over_an_axis_that_is_not_there():
    with_x(lambda x: x.mean(axis=1), "n")


@case(SymbolError)
def as_another_dtype():
    with_x(lambda x: x.astype(np.float64), "n")


@case(SymbolError)
def as_whole_numbers():
    with_x(lambda x: x.astype(int), "n")


@case(ShapeError)
def as_no_dtype():
    with_x(lambda x: x.astype("single precision"), "n")


@case(ShapeError)
def item_of_several():
    with_x(lambda x: x.item(), "n")


@case(ShapeError)
def squeezed_where_it_is_wide():
    with_x(lambda x: x.squeeze(0), "n")


@case(ShapeError)
def swapped_with_an_axis_that_is_not_there():
    with_x(lambda x: x.swapaxes(0, 2), "n", 4)


@case(ShapeError)
def rounded_to_half_a_decimal():
    with_x(lambda x: x.round(1.5), "n")


@case(ShapeError)
def product_with_a_stack():
    def stacked(x=Input("n"), y=Input(2, "n", 4)):
        return x.dot(y)

    cell(stacked).trace(n=3)


# --- NumPy's functions -------------------------------------------------------------------------------------------------


@case(SymbolError)
def sine_of_numpy():
    with_x(lambda x: np.sin(x), "n")


@case(SymbolError)
def reduced_by_numpy():
    with_x(lambda x: np.add.reduce(x), "n")


@case(SymbolError)
def multiplied_up_by_numpy():
    with_x(lambda x: np.multiply.reduce(x), "n")


@case(SymbolError)
def with_a_place_for_the_result():
    def adding(x=Input("n")):
        result = np.zeros(3)
        result += x
        return result

    cell(adding).trace(n=3)


@case(SymbolError)
def only_where():
    with_x(lambda x: np.exp(x, where=np.array([True, False, True])), "n")


@case(SymbolError)
def einsum_of_numpy():
    with_x(lambda x: np.einsum("i,i", x, x), "n")


@case(SymbolError)
def norm_of_numpy():
    with_x(lambda x: np.linalg.norm(x), "n")


@case(SymbolError)
def array_of_symbols():
    with_x(lambda x: np.array([x, x]), "n")


@case(CellError)
def concatenated_along_a_name():
    with_x(lambda x: np.concatenate([x, x], dtype=float), "n")


@case(ShapeError)
def split_by_numpy_at_places():
    with_x(lambda x: np.split(x, [1])[0], "n")


@case(ShapeError)
def inner_of_matrices():
    with_x(lambda x: np.inner(x, x), "n", 4)


@case(SymbolError)
def array_on_the_left_of_a_product():
    with_x(lambda x: np.ones((4, 3)) @ x, "n")


# --- functions in another way than they are called ----------------------------------------------------------------------


@case(CellError)
def softmax_by_another_name():
    with_x(lambda x: softmax(x, dim=0), "n")


@case(ShapeError)
def softmax_over_an_axis_that_is_not_there():
    with_x(lambda x: softmax(x, axis=1), "n")


@case(ShapeError)
def softmax_over_a_name():
    with_x(lambda x: softmax(x, axis="n"), "n")


@case(ShapeError)
def sum_over_an_axis_that_is_not_there():
    with_x(lambda x: total(x, axis=1), "n")


@case(ShapeError)
def mean_over_half_an_axis():
    with_x(lambda x: mean(x, axis=0.5), "n")


@case(CellError)
def largest_of_two():
    with_x(lambda x: largest(x, 0.0), "n")


@case(CellError)
def layer_norm_of_a_shape():
    with_x(lambda x: layer_norm(x, normalized_shape=3), "n")


@case(CellError)
def dropout_without_a_rate():
    with_x(lambda x: dropout(x), "n")


@case(CellError)
def identity_of_two():
    with_x(lambda x: identity(x, x), "n")


@case(ShapeError)
def split_by_a_name():
    with_x(lambda x: split(x, "n"), "n")


@case(ShapeError)
def split_along_a_name():
    with_x(lambda x: split(x, 3, axis="n"), "n")


@case(OptionError)
def activation_as_text():
    Layer(cells.recurrent, n_inputs=2, n_neurons=3, phi="relu")


@case(OptionError)
def activation_as_a_number():
    Layer(cells.recurrent, n_inputs=2, n_neurons=3, phi=1)


# --- the same on arrays ------------------------------------------------------------------------------------------------


@case(SymbolError)
def rounded_by_python_on_arrays():
    @cell
    def rounding(x=Input("n"), h=State("n")):
        return h + round(x)

    rounding(np.ones(3), np.ones(3))


@case(SymbolAttributeError)
def unknown_name_on_arrays():
    @cell
    def activating(x=Input("n"), h=State("n")):
        return h + x.relu()

    activating(np.ones(3), np.ones(3))


@case(CellError)
def names_in_a_method_of_arrays():
    @cell
    def shaping(x=Input("n"), b=Bias("n")):
        return x.reshape("n", 1)[:, 0] + b

    shaping(np.ones(3), np.ones(3))


@case(CellError)
def structured_weight_returned():
    @cell
    def returning(x=Input("n"), W=Weight("n", "n", structure=BlockCirculant(2))):
        return W

    returning.trace(n=4)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()


def test_what_the_author_raises_goes_through():
    """An assertion or a `raise` in the text of a cell, called on arrays, is the author's own."""

    @cell
    def careful(x=Input("n")):
        if not isinstance(x, np.ndarray):
            return x
        assert x.min() >= 0, "a probability is not negative"
        if x.max() > 1:
            raise ArithmeticError("above one")
        return x

    with pytest.raises(AssertionError, match="a probability is not negative"):
        careful(np.array([-1.0]))
    with pytest.raises(ArithmeticError, match="above one"):
        careful(np.array([2.0]))
    assert careful(np.array([0.5])) == 0.5


def test_an_attribute_that_is_not_there_is_an_attribute_error_too():
    assert issubclass(SymbolAttributeError, AttributeError)
    assert issubclass(SymbolAttributeError, ostinato.SymbolError)
