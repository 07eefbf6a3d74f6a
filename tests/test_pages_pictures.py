"""What the pictures promise: well-formed SVG that stands by itself, sides to scale, the right labels, nothing outside of it."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import ostinato
from ostinato import Context, Input, Layer, Output, State, Weight, cell, cells, softmax
from ostinato.explain import explain, explain_product
from ostinato.explain.pictures.canvas import Canvas, number_text
from ostinato.explain.pictures.network_picture import cell_style, parts_of, unrolled_picture

from .helpers import random

SMALL = {"n_inputs": 3, "n_neurons": 5}
DOCUMENTATION = Path(__file__).parent.parent / "docs" / "explanations"
SVG = "{http://www.w3.org/2000/svg}"


def tree(svg):
    return ElementTree.fromstring(svg)


def texts(svg):
    return ["".join(e.itertext()) for e in tree(svg).iter(f"{SVG}text")]


def rectangles(svg):
    return [
        {k: float(e.get(k)) for k in ("x", "y", "width", "height")} | {"class": e.get("class")}
        for e in tree(svg).iter(f"{SVG}rect")
    ]


@cell
def reading(
    x=Input("n_inputs"), memory=Context("n_positions", "n_features"), h=State("n_neurons"),
    W_q=Weight("n_neurons", "n_features"), W=Weight("n_inputs", "n_neurons"), U=Weight("n_features", "n_neurons"),
):  # fmt: skip
    """Reads a memory."""
    a = softmax(memory @ (h @ W_q))
    h = ostinato.tanh(x @ W + (a @ memory) @ U)
    return Output(h, attention=a), h


READING = {"n_inputs": 3, "n_positions": 4, "n_features": 2, "n_neurons": 6}


def pictures():
    for name, one, sizes in (
        ("lstm", cells.lstm, SMALL),
        ("reading", reading, READING),
        ("neuron", cells.neuron, {"n_inputs": 3}),
    ):
        explanation = explain(one, **sizes)
        yield f"{name} folded", explanation.svg("folded")
        yield f"{name} unrolled", explanation.svg()
        for i in range(explanation.products_written):
            yield f"{name} product {i}", explanation.svg("product", i)
        for i in range(explanation.products_before + explanation.products_in_loop):
            yield f"{name} runs {i}", explanation.svg("product that runs", i)
    for text in (
        "A[m,n] @ B[n,p]",
        "[[1, -2], [3, 4e9]] @ [[5], [7]]",
        "A[b,m,n] @ B[b,n,p]",
        "a[n] @ b[n]",
        "A[2,3] @ B[3,1000]",
    ):
        yield text, explain_product(text).svg()


PICTURES = dict(pictures())


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_stands_by_itself(name):
    svg = PICTURES[name]
    root = tree(svg)
    assert root.tag == f"{SVG}svg"
    assert "prefers-color-scheme:dark" in svg
    assert root.get("role") == "img"
    assert root.get("aria-labelledby").split() == [root.find(f"{SVG}title").get("id"), root.find(f"{SVG}desc").get("id")]
    assert not re.search(r"href|<script|<image|@import", svg)


@pytest.mark.parametrize("name", PICTURES)
def test_everything_lies_inside_the_picture(name):
    root = tree(PICTURES[name])
    width, height = float(root.get("width")), float(root.get("height"))
    for box in rectangles(PICTURES[name]):
        assert box["x"] >= -1
        assert box["x"] + box["width"] <= width + 1
        assert box["y"] >= -1
        assert box["y"] + box["height"] <= height + 1
    for element in root.iter(f"{SVG}text"):
        if element.get("transform"):
            continue
        letters = len("".join(element.itertext())) * 6.3
        anchor = "middle" if "middle" in element.get("class") else "end" if "end" in element.get("class") else "start"
        left = float(element.get("x")) - {"start": 0, "middle": letters / 2, "end": letters}[anchor]
        assert left >= -2, "".join(element.itertext())
        assert left + letters <= width + 2, "".join(element.itertext())
        assert 8 <= float(element.get("y")) <= height


@pytest.mark.parametrize("name", ["lstm", "product", "fused"])
def test_the_pictures_of_the_documentation_are_those_of_the_code(name, request):
    made = {
        "lstm": lambda: explain(Layer(cells.lstm, **SMALL, seed=0)).svg(),
        "product": lambda: explain_product("A[m,n] @ B[n,p]", m=4, n=6, p=5).svg(),
        "fused": lambda: explain(cells.lstm, **SMALL).svg("product that runs", 1),
    }[name]()
    path = DOCUMENTATION / f"{name}.svg"
    if request.config.getoption("update_golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(made + "\n")
    assert path.read_text() == made + "\n"


def test_the_same_explanation_gives_the_same_picture(golden):
    assert explain(cells.recurrent, **SMALL).svg() == explain(cells.recurrent, **SMALL).svg()
    golden("folded_recurrent.svg", explain(cells.recurrent, **SMALL).svg("folded"))
    golden("product.svg", explain_product("A[2,3] @ B[3,4]").svg())


# --- the network -----------------------------------------------------------------------------------------------------------


def test_the_unrolled_network_hands_its_states_along():
    found = texts(explain(cells.lstm, **SMALL).svg("unrolled"))
    for label in ("x(1)", "x(2)", "x(3)", "t = 1", "t = 2", "t = 3"):
        assert found.count(label) == 1
    assert [found.count(f"c({t})") for t in range(5)] == [1, 1, 1, 1, 0]
    assert [found.count(f"h({t})") for t in range(5)] == [1, 2, 2, 2, 0]


def test_the_numbers_in_the_cells_are_those_of_the_layer():
    layer, X = Layer(cells.recurrent, **SMALL, seed=1), random((4, 1, 3))
    root = tree(explain(layer, X).svg())
    found = {}
    for element in root.iter(f"{SVG}text"):
        if element.get("data-row"):
            key = element.get("data-row"), int(element.get("data-slot")), int(element.get("data-element"))
            found.setdefault(key, set()).add(element.text)
    Y = layer(X)[:, 0]
    for t in range(3):
        for i in range(5):
            assert found["y_new", t, i] == {number_text(float(Y[t, i]))}
            assert found["y", t, i] == {number_text(float(Y[t - 1, i]) if t else 0.0)}
        assert [found["x", t, i] for i in range(3)] == [{number_text(float(np.float32(v)))} for v in X[t, 0]]


def test_fewer_steps_make_fewer_frames():
    layer = Layer(cells.recurrent, **SMALL)
    svg = explain(layer, random((2, 1, 3))).svg()
    assert svg.count('class="frame"') == 2
    assert "y(2)" in texts(svg)
    assert "y(3)" not in texts(svg)


def test_as_many_frames_as_asked_for():
    subject = explain(cells.recurrent, **SMALL)._subject
    parts = parts_of(subject.graph, subject.written_nodes, subject.notation, subject.colours)
    svg = unrolled_picture(parts, subject.flow, frames=5).svg()
    assert svg.count('class="frame"') == 5
    assert [texts(svg).count(f"y({t})") for t in range(7)] == [1, 2, 2, 2, 2, 2, 0]
    assert unrolled_picture(parts, subject.flow, frames=9).svg().count('class="frame"') == 6


def test_of_many_elements_the_first_are_shown():
    svg = explain(cells.gru, n_inputs=20, n_neurons=64).svg()
    assert "···" in texts(svg)
    elements = {int(e.get("data-element")) for e in tree(svg).iter(f"{SVG}text") if e.get("data-element")}
    assert elements == {0, 1, 2, 3}


def test_a_context_has_no_time():
    found = texts(explain(reading, **READING).svg())
    assert found.count("memory") == 3
    assert "a(1)" in found


def test_a_cell_without_a_state_is_drawn_folded_alone():
    explanation = explain(cells.dense, n_inputs=3, n_outputs=2)
    assert explanation.svg() == explanation.svg("folded")
    assert "x" in texts(explanation.svg())
    assert not any("(t)" in text for text in texts(explanation.svg()))


def test_neurons_that_sum_and_apply_a_function_are_drawn_so():
    assert texts(explain(cells.recurrent, **SMALL).svg("folded")).count("Σ") == 5
    assert texts(explain(cells.dense, n_inputs=3, n_outputs=2).svg("folded")).count("Σ") == 2
    assert "Σ" not in texts(explain(cells.lstm, **SMALL).svg("folded"))


# --- products --------------------------------------------------------------------------------------------------------------


def operands(svg):
    """The first three large rectangles: left operand, right operand, result."""
    large = [r for r in rectangles(svg) if "soft" in (r["class"] or "")]
    return large[0], large[1], large[2]


@pytest.mark.parametrize(("m", "n", "p"), [(2, 3, 4), (5, 9, 2), (7, 1, 3), (12, 12, 12)])
def test_a_product_is_drawn_to_scale(m, n, p):
    left, right, result = operands(explain_product("A[m,n] @ B[n,p]", m=m, n=n, p=p).svg())
    unit = left["height"] / m
    for box, rows, columns in ((left, m, n), (right, n, p), (result, m, p)):
        assert box["height"] == pytest.approx(rows * unit, rel=1e-3)
        assert box["width"] == pytest.approx(columns * unit, rel=1e-3)
    assert left["y"] == result["y"]
    assert right["x"] == result["x"]
    assert right["y"] + right["height"] < result["y"]


def test_what_can_not_be_to_scale_says_so():
    assert any("sides not to scale" in text for text in texts(explain_product("A[2,3] @ B[3,1000]").svg()))
    assert not any("to scale" in text for text in texts(explain_product("A[2,3] @ B[3,4]").svg()))


def test_the_contracted_dimension_is_marked_twice():
    found = texts(explain_product("A[m,n] @ B[n,p]", m=2, n=3, p=4).svg())
    assert found.count("n=3") == 2
    assert found.count("summed over") == 1
    assert found.count("m=2") == 1
    assert found.count("p=4") == 1


def test_the_parts_of_a_fused_product_stand_side_by_side():
    svg = explain(cells.lstm, **SMALL).svg("product that runs", 1)
    found = texts(svg)
    assert [t for t in found if t.startswith("W_")] == ["W_i_2", "W_f_2", "W_o_2", "W_g_2"]
    written = texts(explain(cells.lstm, **SMALL).svg("product", 0))
    assert {"x(t)", "h(t-1)", "W_i"} <= set(written)
    assert "m" in written
    assert "T m" in texts(explain(cells.lstm, **SMALL).svg("product that runs", 0))


def test_a_product_for_each_instance_is_a_stack():
    explanation = explain(reading, **READING)
    stacked = [svg for svg in (explanation.svg("product", i) for i in range(5)) if "for each of the m instances" in texts(svg)]
    assert len(stacked) == 2
    assert "for each of b" in texts(explain_product("A[b,m,n] @ B[b,n,p]").svg())


def test_numbers_stand_in_their_places():
    found = texts(explain_product("[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]").svg())
    assert found[:12] == ["1", "2", "3", "4", "5", "6", "7", "8", "19", "22", "43", "50"]
    many = explain_product(f"{[[1] * 9] * 9} @ {[[1] * 9] * 9}").svg()
    assert "A" in texts(many)


# --- small things ------------------------------------------------------------------------------------------------------------


def test_pictures_that_are_not_there():
    explanation = explain(cells.lstm, **SMALL)
    with pytest.raises(ostinato.OptionError) as caught:
        explanation.svg("rolled")
    assert str(caught.value) == (
        "svg: there is no picture `rolled`; did you mean `unrolled`? The pictures are `unrolled`, `folded`, `product`, "
        "`product that runs`"
    )
    for number in (4, -1, True, "0"):
        with pytest.raises(ostinato.OptionError) as caught:
            explanation.svg("product", number)
        assert str(caught.value) == f"svg: there is no picture {number!r} of a product; they are numbered from 0 to 3"
    with pytest.raises(ostinato.OptionError) as caught:
        explain(cells.indrnn, n_inputs=2, n_neurons=2).svg("product", 9)
    assert "there is no picture 9" in str(caught.value)


def test_a_cell_without_a_product_has_no_picture_of_one():
    @cell
    def adding(x=Input("n"), h=State("n")):
        return x + h

    with pytest.raises(ostinato.OptionError) as caught:
        explain(adding, n=2).svg("product")
    assert str(caught.value) == "svg: there is no picture 0 of a product; the cell has no product"


def test_saving_a_picture(tmp_path):
    explanation = explain(cells.lstm, **SMALL)
    explanation.save(tmp_path / "lstm.svg")
    assert (tmp_path / "lstm.svg").read_text() == explanation.svg() + "\n"


def test_text_is_escaped_and_empty_sides_are_none():
    canvas = Canvas(10, 10, "<title>", "a & b")
    canvas.text(1, 1, "<tag>", "x", data_symbol='"')
    canvas.rect(0, 0, -5, 3, "x")
    svg = canvas.svg()
    root = tree(svg)
    assert root.find(f"{SVG}title").text == "<title>"
    assert root.find(f"{SVG}text").text == "<tag>"
    assert root.find(f"{SVG}rect").get("width") == "0"
    assert canvas.svg(key="again") != svg


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (0.7615, "0.76"), (-0.999, "-1"), (0.004, "4e-03"), (-0.004, "-4e-03"), (9.996, "10"),
     (12.34, "12.3"), (999.96, "1000"), (1234.4, "1234"), (54321.0, "5e+04"), (float("-inf"), "-∞"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert number_text(value) == text
    assert len(text) <= 6


def test_the_colour_of_a_cell_tells_sign_and_size():
    assert cell_style(2.0, 2.0) == "fill:var(--warm);fill-opacity:0.55"
    assert cell_style(-1.0, 2.0) == "fill:var(--cool);fill-opacity:0.28"
    assert cell_style(float("inf"), 2.0).endswith("0.55")
    assert cell_style(float("nan"), 2.0).endswith("0.00")
