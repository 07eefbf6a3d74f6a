"""Two hundred random cells go through every pass, forwards and backwards, and mean what they say."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from ostinato import Bias, Input, Layer, State, Weight, cell, concat, reshape, tanh
from ostinato import sum as sum_
from ostinato.ir.graph import Program
from ostinato.ir.ops import OPS
from ostinato.ir.parse import read_graph, read_program
from ostinato.ir.shapes import Dim
from tests.helpers import of_graphs
from tests.random_cells import check, script
from tests.random_writer import SCOPE, write


@settings(derandomize=True, max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), n_statements=st.integers(3, 16))
def test_a_random_cell_means_the_same_as_written_compiled_and_step_by_step(seed, n_statements):
    note(script(seed, n_statements))
    check(seed, n_statements)


def test_random_cells_are_made_of_every_op_of_the_table():
    found = set()
    for seed in range(120):
        text, sizes = write(seed, 16)
        scope = dict(SCOPE)
        exec(text, scope)
        found |= {node.op for node in scope["random_cell"].trace(**sizes).nodes}
    made_by_the_compiler = {"pad", "stretch", "unpatches", "total", "total_per_instance", "total_product"}
    assert found == set(OPS) - made_by_the_compiler


def test_the_script_of_a_failure_shows_the_cell_and_how_to_see_it_again():
    shown = script(7, 3)
    text, sizes = write(7, 3)
    assert text in shown
    assert str(sizes) in shown
    assert "check(7, 3)" in shown


# --- what random cells have found ---------------------------------------------------------------------------------------------


@cell
def renamed(x=Input("n"), b=Bias("m"), W=Weight("m + 7", "n"), s=State("n")):
    """`reshape(b, 7)` gives the dimension another name, and what is joined from it has to keep agreeing."""
    return tanh(s + concat(reshape(b, 7), reshape(b, "m")) @ W + x)


@cell
def single(x=Input("n"), W=Weight("n", "m"), s=State("m")):
    """Of a dimension of size 1, the first element is no dimension `n`: `W[-1:, :]` and `W[-1, :]` differ by name alone."""
    return tanh(s + W[-1, :] + sum_(x))


@cell
def counted_from_behind(x=Input("m"), b=Bias("n"), s=State()):
    """The second from behind of `m + n` elements begins at `6 - m` in `b`."""
    return tanh(s + concat(x, b)[-2])


def test_a_dimension_keeps_the_name_it_was_given_through_every_pass():
    X = np.random.default_rng(0).standard_normal((4, 2, 3))
    for backend in ("numpy", "reference"):
        layer = Layer(renamed, n=3, m=7, backend=backend, dtype="float64")
        W, h = layer.weights["W"], np.zeros((2, 3))
        layer.weights["b"] = np.arange(7.0) / 10
        for x, y in zip(X, layer(X), strict=True):
            h = np.tanh(h + np.tile(np.arange(7.0) / 10, 2) @ W + x)
            assert np.allclose(y, h, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("made", "n", "m"), [(renamed, 3, 7), (single, 1, 5), (counted_from_behind, 5, 3)])
def test_the_text_of_every_stage_reads_back_to_the_same(made, n, m):
    for name, stage in of_graphs(Layer(made, n=n, m=m).compiled()).items():
        assert (read_program if isinstance(stage, Program) else read_graph)(str(stage)) == stage, name


def test_a_dimension_expression_begins_with_what_is_added():
    n, six = Dim.named("n", 4), Dim.number(6)
    assert (six - n).expression == "6 - n"
    assert (n - six).expression == "n - 6"
    assert (n + n + six).expression == "2*n + 6"
