"""What is said when a symbolic value is used as a number, or an op in a wrong way: tests/golden/errors_symbols.txt."""

import math

import numpy as np
import pytest

import ostinato
from ostinato import (
    CellError,
    DimensionError,
    Input,
    ShapeError,
    State,
    SymbolError,
    cell,
    concat,
    dropout,
    patches,
    reshape,
    tanh,
    where,
)
from ostinato import sum as total

from .helpers import Messages

case = Messages("errors_symbols.txt")
SIZES = {"n_inputs": 3, "n_neurons": 5}


def trace(function, **sizes):
    """Make a cell of a function and run it on symbols."""
    return cell(function).trace(**(sizes or SIZES))


def with_x(body, *dims):
    """Trace a cell without a state whose only value is `x`, declared with `dims`, and whose body is `body`."""

    def step(x=Input(*dims)):
        return body(x)

    return cell(step).trace(**{name: size for name, size in SIZES.items() if name in dims})


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
    with_x(lambda x: x * len(x))


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
    with_x(lambda x: np.sinh(x), "n_inputs")


@case(SymbolError)
def symbol_and_numpy_cumsum():
    with_x(lambda x: np.cumsum(tanh(x)), "n_inputs")


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


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()
