"""What the equations of an explanation promise: the author's names, time indices, parentheses where they are needed."""

import re

import numpy as np
import pytest

import ostinato
from ostinato import (
    Input,
    Output,
    State,
    Weight,
    cell,
    cells,
    concat,
    patches,
    relu,
    reshape,
    sigmoid,
    split,
    where,
)
from ostinato.explain import explain
from ostinato.explain.equations import Notation
from ostinato.explain.numbers import number_as_written

from .test_explain import SMALL, attending, dropped


def equations(one, **sizes):
    return [str(e) for e in explain(one, **sizes).equations]


def test_equations_have_the_authors_names_and_time_indices():
    assert equations(cells.neuron, n_inputs=3) == ["y(t) = tanh(⟨x(t), w_x⟩ + y(t-1) w_y + b)"]
    assert equations(cells.lstm, **SMALL) == [
        "i = σ([x(t) h(t-1)] W_i + b_i)",
        "f = σ([x(t) h(t-1)] W_f + b_f)",
        "o = σ([x(t) h(t-1)] W_o + b_o)",
        "g = tanh([x(t) h(t-1)] W_g + b_g)",
        "c(t) = f ⊙ c(t-1) + i ⊙ g",
        "h(t) = o ⊙ tanh(c(t))",
    ]
    assert equations(cells.gru_reset_before, **SMALL)[2:] == [
        "n = tanh(x(t) W_n + (r ⊙ h(t-1)) U_n + b_n)",
        "h(t) = (1 - z) ⊙ n + z ⊙ h(t-1)",
    ]


def test_composed_functions_go_by_their_names():
    lines = equations(attending, n_inputs=3, n_positions=4, n_features=2, n_neurons=5)
    assert "a(t) = softmax(scores)" in lines
    assert equations(dropped, **SMALL)[0] == "z = layer_norm(x(t) W + h(t-1) U, scale)"


def test_an_option_is_shown_as_the_function_it_is():
    assert equations(cells.recurrent, **SMALL, phi=relu) == ["y(t) = relu(x(t) W_x + y(t-1) W_y + b)"]


def test_a_cell_without_a_state_has_no_time():
    assert equations(cells.dense, n_inputs=3, n_outputs=2) == ["output = x W + b"]


def expression_of(function):
    """The right side that one expression of two vectors and a matrix is written as."""

    @cell
    def tried(x=Input("n"), y=State("n"), A=Weight("n", "n"), s=Weight()):
        return function(x, y, A, s)

    return equations(tried, n=2)[-1].removeprefix("y(t) = ")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x, y, A, s: x - (y - x), "x(t) - (y(t-1) - x(t))"),
        (lambda x, y, A, s: x - y - x, "x(t) - y(t-1) - x(t)"),
        (lambda x, y, A, s: x + (y + x), "x(t) + y(t-1) + x(t)"),
        (lambda x, y, A, s: (x + y) * x, "(x(t) + y(t-1)) ⊙ x(t)"),
        (lambda x, y, A, s: x / (y * x), "x(t) / (y(t-1) ⊙ x(t))"),
        (lambda x, y, A, s: x / y / x, "x(t) / y(t-1) / x(t)"),
        (lambda x, y, A, s: x * (y / x), "x(t) ⊙ (y(t-1) / x(t))"),
        (lambda x, y, A, s: -(x + y), "-(x(t) + y(t-1))"),
        (lambda x, y, A, s: x - -y, "x(t) - -y(t-1)"),
        (lambda x, y, A, s: (-x) ** 2, "(-x(t))^2"),
        (lambda x, y, A, s: -(x**2), "-x(t)^2"),
        (lambda x, y, A, s: x ** (y + 1), "x(t)^(y(t-1) + 1)"),
        (lambda x, y, A, s: (x + y) @ A, "(x(t) + y(t-1)) A"),
        (lambda x, y, A, s: x @ (A @ A), "x(t) (A A)"),
        (lambda x, y, A, s: x @ A @ A, "x(t) A A"),
        (lambda x, y, A, s: x @ A.T, "x(t) Aᵀ"),
        (lambda x, y, A, s: x @ (A + A).T, "x(t) (A + A)ᵀ"),
        (lambda x, y, A, s: A @ x, "A x(t)"),
        (lambda x, y, A, s: x * 0.5, "0.5 x(t)"),
        (lambda x, y, A, s: s * (x + y), "s (x(t) + y(t-1))"),
        (lambda x, y, A, s: (x @ y) * x, "⟨x(t), y(t-1)⟩ x(t)"),
        (lambda x, y, A, s: abs(x - y), "|x(t) - y(t-1)|"),
        (lambda x, y, A, s: where((x > y) & ~(x < 0), x, y), "x(t) if y(t-1) < x(t) ∧ ¬(x(t) < 0) else y(t-1)"),
        (lambda x, y, A, s: ostinato.minimum(x, y) + 1e-5, "min(x(t), y(t-1)) + 1e-05"),
        (lambda x, y, A, s: x - ostinato.max(y), "x(t) - max(y(t-1))"),
        (lambda x, y, A, s: x + ostinato.sum(A, axis=0), "x(t) + Σ_{n}(A)"),
        (lambda x, y, A, s: x + A[:, 1], "x(t) + A[:, 1]"),
        (lambda x, y, A, s: concat(x[0:1], y[0:1] + x[1:]), "[x(t)[0:1] (y(t-1)[0:1] + x(t)[1:n])]"),
        (lambda x, y, A, s: concat(x @ A, y)[1:3], "[(x(t) A) y(t-1)][1:3]"),
        (lambda x, y, A, s: reshape(reshape(x, 1, "n") @ A, "n"), "reshape(reshape(x(t); 1, n) A; n)"),
        (lambda x, y, A, s: x, "x(t)"),
        (lambda x, y, A, s: y, "y(t-1)"),
    ],
)
def test_parentheses_stand_where_they_are_needed(function, text):
    assert expression_of(function) == text


def test_an_unnamed_value_that_is_read_twice_has_a_line():
    def swish(v):
        return v * sigmoid(v)

    @cell
    def twice(x=Input("n"), h=State("n"), W=Weight("n", "n")):
        return swish(x @ W + h)

    assert equations(twice, n=2) == ["t2 = x(t) W + h(t-1)", "h(t) = t2 ⊙ σ(t2)"]


def test_states_that_only_pass_something_on_have_a_line():
    @cell
    def delayed(x=Input("n"), first=State("n"), second=State("n")):
        return Output(second), x, first

    assert equations(delayed, n=2) == ["first(t) = x(t)", "second(t) = first(t-1)", "output(t) = second(t-1)"]


def test_parts_of_a_product_are_shown_by_their_ranges():
    @cell
    def packed(x=Input("n"), h=State("n"), W=Weight("n", "2*n")):
        gates = x @ W
        i, f = split(gates, 2)
        return sigmoid(i) * h + f

    assert equations(packed, n=2)[1:3] == ["i = gates[0:n]", "f = gates[n:2*n]"]


def test_what_is_added_together_is_shown_as_one_product():
    text = str(explain(cells.recurrent, **SMALL))
    assert "Y(t) = tanh([X(t) Y(t-1)] [W_x; W_y] + b)" in text
    assert "(n_inputs + n_neurons=8, n_neurons=5)" in text


def test_numbers_are_shown_as_the_author_computed_them():
    sizes = {"n_queries": 3, "n_keys": 4, "n_positions": 5, "n_values": 2}
    assert equations(cells.attention, **sizes)[0] == "weights = softmax(Q Kᵀ / √n_keys)"
    assert expression_of(lambda x, y, A, s: x * (1 / x.shape[0])) == "(1 / n) x(t)"
    assert expression_of(lambda x, y, A, s: x * (2 * A.shape[1])) == "(2 n) x(t)"
    assert expression_of(lambda x, y, A, s: x / np.sqrt(A.shape[-1])) == "x(t) / √n"
    assert expression_of(lambda x, y, A, s: x / float(A.shape[0] * 2) ** 0.5) == "x(t) / √((n 2))"
    assert expression_of(lambda x, y, A, s: x / A.shape[0] ** 2) == "x(t) / n^2"


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y, A, s: x / (x.shape[0] + 1.5),  # a sum is not read
        lambda x, y, A, s: x / len("123"),
        lambda x, y, A, s: x / 3.5,
        lambda x, y, A, s: x * -2.0,
        lambda x, y, A, s: x / (A.shape[0] if A.shape[1] > 1 else 1),
    ],
)
def test_what_can_not_be_read_stays_a_number(function):
    assert re.search(r"\d", expression_of(function))
    assert "n" not in expression_of(function).replace("tanh", "")


def test_a_number_is_believed_only_if_it_comes_to_the_same():
    @cell
    def scaled(x=Input("n"), h=State("n")):
        return x / (x.shape[0] ** 0.5) + h

    graph = scaled.trace(n=3)
    node = next(n for n in graph.nodes if n.op == "divide")
    dims = {"x": graph.ports[0].value.type.dims}
    assert number_as_written(node, 1, 3**0.5, dims.get) == "√n"
    assert number_as_written(node, 1, 1.5, dims.get) is None
    assert number_as_written(node, 1, 3**0.5, {}.get) is None


def test_patches_show_their_size_stride_and_padding():
    sizes = {"length": 8, "n_channels": 2, "size": 3, "n_kernels": 4}
    assert equations(cells.convolution_1d, **sizes) == ["output = patches(x; size, padding=1) K + b"]
    assert equations(cells.convolution_1d, **sizes, stride=2, padding="valid") == ["output = patches(x; size, stride=2) K + b"]

    @cell
    def uneven(x=Input("h", "w", "c")):
        return patches(x, (2, 3), stride=(1, 2), padding=((0, 1), (1, 1)))

    assert equations(uneven, h=4, w=5, c=1) == ["output = patches(x; 2 × 3, stride=(1, 2), padding=((0, 1), 1))"]


def test_number_options_of_composed_functions_stand_behind_a_semicolon():
    @cell
    def sized(x=Input("n"), h=State("n")):
        return ostinato.leaky_relu(x + h, alpha=0.2)

    graph = sized.trace(n=2)
    meanings = {name: ("leaky_relu; alpha=0.2", operands) for name, (_, operands) in graph.meanings.items()}
    [line] = Notation(graph, set(), meanings).equations()
    assert str(line) == "h(t) = leaky_relu(x(t) + h(t-1), alpha=0.2)"
