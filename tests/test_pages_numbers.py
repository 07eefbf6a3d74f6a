"""What the numbers of a page promise: they are those of the layer; plans are counted, measurements shown as they are given."""

import json
import re

import numpy as np
import pytest

import ostinato
from ostinato import Input, Layer, State, cell, cells
from ostinato.explain import explain
from ostinato.explain.alternatives import measured_times, seconds_text
from ostinato.explain.document import Bars
from ostinato.explain.page.html import block_html

from .helpers import random
from .test_pages import CASES, SMALL


def numbers_of(html):
    return json.loads(re.search(r'<script type="application/json" id="numbers">(.*?)</script>', html, re.DOTALL).group(1))


def assert_shown(texts, array):
    """Texts of a page against numbers, as exactly as they are written."""
    for shown, number in zip(np.ravel(texts), np.ravel(array), strict=True):
        assert abs(float(shown) - number) <= 0.0051 * max(1, abs(number) / 10), (shown, number)


def test_the_numbers_are_those_of_the_layer(tmp_path):
    layer, X = Layer(cells.lstm, **SMALL, seed=3), random((7, 4, 3))
    explain(layer, X).save(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    numbers = numbers_of(html)
    Y = layer(X)
    assert numbers["steps"] == 7
    assert_shown(numbers["rows"]["h_new"]["texts"], Y[:, 0])
    assert_shown(numbers["rows"]["x"]["texts"], X[:, 0])
    assert_shown(numbers["rows"]["h"]["texts"][1:], Y[:-1, 0])
    assert "The numbers: those of the given input, the first of its 4 instances, with the weights of the layer." in html


def test_without_an_input_the_numbers_are_random_and_the_page_says_so(tmp_path):
    explain(cells.lstm, **SMALL).save(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "no input was given, so these are small random ones (seeded: the same on every page)" in html
    assert "with weights as a layer with seed 0 has them" in html
    numbers = numbers_of(html)
    X = np.array(numbers["rows"]["x"]["texts"], dtype=float)[:, None]
    assert_shown(numbers["rows"]["h_new"]["texts"], Layer(cells.lstm, **SMALL)(X)[:, 0])


def test_a_given_state_is_where_the_numbers_begin():
    layer, X = Layer(cells.recurrent, **SMALL), random((2, 1, 3))
    start = random((1, 5), seed=1)
    flow = explain(layer, X, state={"y": start})._subject.flow
    np.testing.assert_allclose(flow.row("y").numbers[0], start[0], rtol=1e-6)
    again = explain(layer, x=X, state=start)._subject.flow
    np.testing.assert_array_equal(again.row("y_new").numbers, flow.row("y_new").numbers)


def test_batch_first_and_reverse_layers_show_their_own_order():
    layer, X = Layer(cells.recurrent, **SMALL, batch_first=True, reverse=True), random((4, 6, 3))
    explanation = explain(layer, X)
    np.testing.assert_allclose(explanation._subject.flow.row("y_new").numbers, layer(X)[0, ::-1], rtol=1e-5, atol=1e-6)
    assert "The layer runs in reverse: step 1 is the last of the sequence." in explanation._subject.flow.source
    random_one = explain(layer)._subject.flow
    assert random_one.n_steps == 6


def test_contexts_and_inputs_without_steps_flow_too():
    one, sizes = CASES["bahdanau"]
    layer = Layer(one, **sizes)
    X, memory = random((3, 2, 3)), random((2, 4, 2), seed=1)
    flow = explain(layer, X, memory=memory)._subject.flow
    assert flow.row("memory").numbers.shape == (3, 8)
    np.testing.assert_allclose(flow.row("memory").numbers[2], memory[0].ravel(), rtol=1e-6)
    dense = Layer(cells.dense, n_inputs=3, n_outputs=2)
    assert explain(dense, random((3,)))._subject.flow.n_steps == 1


def test_long_and_large_inputs_are_shown_in_part(tmp_path):
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=40)
    explanation = explain(layer, random((30, 1, 3)))
    flow = explanation._subject.flow
    assert flow.n_steps == 24
    assert flow.row("y_new").numbers.shape == (24, 8)
    assert flow.row("y_new").left_out == 32
    explanation.save(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "The first 24 of 30 steps are shown." in html
    assert "and 32 more" in html


def test_infinite_numbers_are_shown_as_they_are(tmp_path):
    @cell
    def largest(x=Input("n"), h=State("n", initial=float("-inf"))):
        return ostinato.maximum(x, h)

    explain(largest, n=2).save(tmp_path / "page.html")
    numbers = numbers_of((tmp_path / "page.html").read_text())
    assert numbers["rows"]["h"]["texts"][0] == ["-∞", "-∞"]
    assert numbers["rows"]["h"]["strengths"][0] == [0.0, 0.0]


def test_inputs_that_do_not_fit_are_refused_at_once():
    layer = Layer(cells.lstm, **SMALL)
    with pytest.raises(ostinato.DataError) as caught:
        explain(layer, np.zeros((2, 3, 4)))
    assert str(caught.value).startswith("lstm: `x` has shape (2, 3, 4), and must be (n_steps, n_instances, n_inputs=3)")
    with pytest.raises(ostinato.DataError) as caught:
        explain(layer, np.zeros((0, 3, 3)))
    assert str(caught.value) == "lstm: there is no step to show: `x` holds no step of any instance"
    with pytest.raises(ostinato.OptionError) as caught:
        explain(cells.lstm, np.zeros((2, 3, 3)), **SMALL)
    assert str(caught.value) == "explain: a cell has no weights to run inputs with; give a layer: explain(Layer(cell, ...), X)"


# --- plans and measurements --------------------------------------------------------------------------------------------------


def test_the_plans_of_an_lstm():
    separate, hoisted = explain(cells.lstm, **SMALL).plans
    assert [p.name for p in (separate, hoisted)] == ["separate", "hoisted"]
    assert [(p.once, p.each_step, p.calls) for p in (separate, hoisted)] == [(0, 4, 400), (1, 1, 101)]
    assert [p.multiply_adds for p in (separate, hoisted)] == [160, 100]
    # four matrices (8, 5) and four biases; the half that reads the state
    assert [p.weights_read for p in (separate, hoisted)] == [4 * (4 * 8 * 5 + 4 * 5), 4 * 5 * 20]
    assert hoisted.runs
    assert not separate.runs


def test_the_bytes_that_numpy_moves():
    """Every op reads what it takes and writes what it makes."""
    separate, _ = explain(cells.recurrent, **SMALL).plans
    ops = [3 + 5, 5 + 5, 3 * 5, 2 * 5, 2 * 5]  # x W_x; y W_y; their sum; b added; tanh
    assert separate.moved == 100 * 4 * sum(ops)


def test_what_has_no_choice_has_no_plans():
    assert explain(cells.dense, n_inputs=3, n_outputs=2).plans == []
    layer = Layer(cells.lstm, **SMALL, backend="reference")
    assert explain(layer).plans == []
    assert "What fusing" not in str(explain(layer))


def test_measured_times_become_bars(tmp_path):
    measured = {"separate": 0.004, "hoisted": 0.001}
    explanation = explain(Layer(cells.lstm, **SMALL), measured=measured)
    assert "  separate  ████████████████████████████████████████ 4 ms, 4.00x" in str(explanation)
    explanation.save(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert '<span style="width:25.0%"></span></td><td class="num">1 ms, 1.00x</td>' in html
    assert measured_times(None) == {}
    assert [seconds_text(s) for s in (2.0, 0.0125, 3.5e-6, 4e-9)] == ["2 s", "12.5 ms", "3.5 µs", "4 ns"]


@pytest.mark.parametrize("wrong", [[1.0], {"separate": 0.0}, {"separate": "fast"}, {"separate": float("nan")}, {1: 1.0}])
def test_a_measurement_is_a_dictionary_of_seconds(wrong):
    with pytest.raises(ostinato.OptionError) as caught:
        explain(cells.lstm, measured=wrong, **SMALL)
    first = f"explain: `measured` is a dictionary, plan -> seconds above 0, not {wrong!r}"
    assert str(caught.value) == f"{first}\n  hint: measured={{'separate': 0.0031, 'hoisted': 0.0008}}"


def test_bars_compare_with_the_largest():
    bars = Bars("Bytes", (("a", 10, "10"), ("bb", 5, "5"), ("c", 0.001, "0")))
    assert bars.lines(60) == ["Bytes:", f"  a   {'█' * 40} 10", f"  bb  {'█' * 20} 5", "  c   █ 0"]
    assert "width:50.0%" in block_html(bars)
