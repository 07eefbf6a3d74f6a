"""What explanations promise: every shape, every count, the author's own names; the same content in text, colour and HTML."""

import io
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import ostinato
from ostinato import (
    Bias,
    Context,
    Input,
    Layer,
    Output,
    State,
    Weight,
    cell,
    cells,
    concat,
    dropout,
    layer_norm,
    patches,
    relu,
    softmax,
    tanh,
)
from ostinato.explain import Counts, explain
from ostinato.explain.cost import counts
from ostinato.explain.document import Formulas, Page, Picture, Section, Sentence, Table, plain
from ostinato.explain.page.html import fragment

SMALL = {"n_inputs": 3, "n_neurons": 5}


@cell
def attending(
    x=Input("n_inputs"), memory=Context("n_positions", "n_features"), h=State("n_neurons"),
    W_q=Weight("n_neurons", "n_features"), W_k=Weight("n_features", "n_features"),
    W=Weight("n_inputs + n_features", "n_neurons"), U=Weight("n_neurons", "n_neurons"), b=Bias("n_neurons"),
):  # fmt: skip
    """A recurrent layer that reads a memory."""
    keys = memory @ W_k
    scores = keys @ (h @ W_q)
    a = softmax(scores)
    read = a @ memory
    h = tanh(concat(x, read) @ W + h @ U + b)
    return Output(h, attention=a), h


@cell
def dropped(
    x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), U=Weight("n_neurons", "n_neurons"),
    scale=Weight("n_neurons"),
):  # fmt: skip
    """Dropout on what comes in, and on the state."""
    z = layer_norm(dropout(x, 0.25) @ W + dropout(h, 0.5, per="sequence") @ U, scale=scale)
    return relu(z)


@cell
def pictures(x=Input("height", "width", "channels"), K=Weight("9*channels", "kernels"), b=Bias("kernels")):
    """A convolution."""
    return relu(patches(x, (3, 3), padding="same") @ K + b)


EXPLAINED = {
    "neuron": (cells.neuron, {"n_inputs": 3}),
    "recurrent": (cells.recurrent, SMALL),
    "lstm": (cells.lstm, SMALL),
    "gru": (cells.gru, SMALL),
    "gru_reset_before": (cells.gru_reset_before, SMALL),
    "dense": (cells.dense, {"n_inputs": 3, "n_outputs": 2}),
    "attending": (attending, {"n_inputs": 3, "n_positions": 4, "n_features": 2, "n_neurons": 5}),
    "dropped": (dropped, SMALL),
    "pictures": (pictures, {"height": 8, "width": 6, "channels": 2, "kernels": 4}),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_text_is_the_golden_one(name, golden):
    one, sizes = EXPLAINED[name]
    golden(f"explain_{name}.txt", str(explain(one, **sizes)))


@pytest.mark.parametrize("name", EXPLAINED)
def test_no_line_is_wider_than_a_hundred_characters(name):
    one, sizes = EXPLAINED[name]
    assert max(map(len, str(explain(one, **sizes)).splitlines())) <= 100


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_layer_is_explained_as_its_cell_is(name):
    one, sizes = EXPLAINED[name]
    assert str(explain(Layer(one, **sizes))) == str(explain(one, **sizes))


def library():
    for name in cells.__all__:
        one = getattr(cells, name)
        if isinstance(one, ostinato.Cell):
            yield name, one


@pytest.mark.parametrize(("name", "one"), [*library()], ids=[name for name, _ in library()])
def test_every_cell_of_the_library_can_be_explained(name, one):
    sizes = {dimension: 4 + i for i, dimension in enumerate(one.dimensions)}
    try:
        one.trace(**sizes)
    except ostinato.ShapeError:  # its dimensions depend on each other; 4 fits where each divides the other
        sizes = dict.fromkeys(one.dimensions, 4)
    explanation = explain(one, **sizes)
    text = str(explanation)
    assert text.startswith(name)
    for declared in one.declarations:
        assert re.search(rf"\b{declared}\b", text)
    assert explanation.n_parameters == Layer(one, **sizes).n_parameters


# --- counts, by hand -------------------------------------------------------------------------------------------------------


def test_the_counts_of_a_recurrent_layer():
    explanation = explain(cells.recurrent, n_inputs=3, n_neurons=5)
    assert explanation.step == Counts(multiply_adds=3 * 5 + 5 * 5, additions=5 + 5, functions=5)
    assert explanation.n_parameters == 3 * 5 + 5 * 5 + 5
    assert (explanation.products_written, explanation.products_before, explanation.products_in_loop) == (2, 1, 1)
    assert explanation.kept_bytes == 4 * (5 + 5 + 3)  # y(t), y(t-1), x(t)


def test_the_counts_of_an_lstm():
    explanation = explain(cells.lstm, n_inputs=3, n_neurons=5)
    # four gates of two products and a bias, as they run; f c + i g and o tanh(c)
    assert explanation.step == Counts(multiply_adds=4 * 8 * 5, multiplications=3 * 5, additions=9 * 5, functions=5 * 5)
    assert explanation.step.all_multiplications == 175
    assert (explanation.products_written, explanation.products_before, explanation.products_in_loop) == (4, 1, 1)
    assert explanation.kept_bytes == 4 * (7 * 5 + 3)  # i, f, g, o, tanh(c(t)), c(t-1), h(t-1) and x(t)


def test_the_counts_of_a_gru():
    explanation = explain(cells.gru, n_inputs=3, n_neurons=5)
    assert explanation.step == Counts(multiply_adds=120, multiplications=15, additions=45, functions=15)
    assert (explanation.products_written, explanation.products_before, explanation.products_in_loop) == (6, 1, 1)
    before = explain(cells.gru_reset_before, n_inputs=3, n_neurons=5)
    assert (before.products_written, before.products_before, before.products_in_loop) == (6, 1, 2)


def test_the_counts_of_a_convolution():
    explanation = explain(pictures, height=8, width=6, channels=2, kernels=4)
    assert explanation.step == Counts(multiply_adds=8 * 6 * 9 * 2 * 4, additions=8 * 6 * 4, others=8 * 6 * 4)


def test_every_product_of_the_backward_pass_says_what_it_gives():
    text = str(explain(cells.recurrent, **SMALL))
    for what in ("the adjoint state of y", "the gradient of W_y", "the gradient of W_x", "the gradient of x"):
        assert text.count(what) == 1
    one, sizes = EXPLAINED["attending"]
    table = re.findall(r"^  (.*)$", str(explain(one, **sizes)).split("Its products:")[1], re.MULTILINE)
    assert any("the gradient of memory" in line for line in table)
    assert any("what other products read" in line for line in table)


def test_counts_of_reductions_and_words():
    @cell
    def reduced(x=Input("rows", "columns"), h=State("rows")):
        return ostinato.sum(x) / 2.0 + ostinato.max(x) + h

    graph = reduced.trace(rows=3, columns=7)
    assert counts(graph.nodes) == Counts(additions=3 * 6 + 2 * 3, others=3 + 3 * 6)
    assert Counts(multiply_adds=1, functions=2000).in_words() == "1 multiply-add, 2,000 function values"
    assert Counts().in_words() == "no arithmetic"


def test_the_multiply_adds_are_those_that_numpy_does():
    """Doubling one dimension doubles exactly the products that contain it once."""
    small, large = (explain(cells.recurrent, n_inputs=n, n_neurons=5).step.multiply_adds for n in (3, 6))
    assert large - small == 3 * 5


def test_doubles_are_twice_as_large():
    single, double = (explain(Layer(cells.lstm, **SMALL, dtype=d)) for d in ("float32", "float64"))
    assert double.kept_bytes == 2 * single.kept_bytes
    assert "float64" in str(double)


def test_what_is_kept_is_what_the_recording_program_records():
    layer = Layer(cells.lstm, **SMALL)
    records = {r.value.name: r.value for r in layer.compiled().recording.results_with("record")}
    assert explain(layer).kept_bytes == 4 * sum(v.type.n_elements for v in records.values())


# --- layers --------------------------------------------------------------------------------------------------------------


def test_a_layer_from_a_file_is_explained_without_its_cell(tmp_path):
    layer = Layer(cells.lstm, **SMALL)
    again = Layer.from_description(layer.description, dict(layer.weights))
    assert explain(again).equations == explain(layer).equations


def test_the_reference_is_explained_as_it_runs():
    explanation = explain(Layer(cells.lstm, **SMALL, backend="reference"))
    assert (explanation.products_written, explanation.products_before, explanation.products_in_loop) == (4, 0, 4)


def test_what_a_plan_reads_and_stores_without_a_name_is_told():
    text = str(explain(Layer(cells.gru_reset_before, **SMALL, backend="native")))
    told = text[text.index("These values have no name in the cell") : text.index("What it costs")]
    assert "  t12 = r ⊙ h(t-1)\n  t15 = x(t) W_n + t12 U_n + b_n\n" in told
    assert re.search(r"\bt12 @ U_n\b", text)
    stages = text[text.index("Native code") : text.index("These values")]
    unnamed = {name.removeprefix("d_") for name in re.findall(r"\b(?:d_)?t\d+\b", stages)}
    assert unnamed == set(re.findall(r"^ +(t\d+) +=", told, re.MULTILINE))
    assert "no name" not in str(explain(Layer(cells.dense, n_inputs=3, n_outputs=5, backend="reference")))


def test_dropout_is_shown_in_its_own_section():
    text = str(explain(dropped, **SMALL))
    assert "mask_1  (m, n_inputs=3)         0 with probability 0.25, else 1 / 0.75" in text
    assert "z    = layer_norm((x(t) ⊙ mask_1) W + (h(t-1) ⊙ mask_2) U, scale)" in text
    assert "In training" not in str(explain(cells.lstm, **SMALL))


def test_the_initial_value_of_a_state_is_said():
    @cell
    def counter(x=Input(), n=State(initial=2.5)):
        return n + x

    assert "state before the step, begins as 2.5" in str(explain(counter))


# --- the three ways to show it -----------------------------------------------------------------------------------------------


class Text(HTMLParser):
    """The text of HTML, the names of its elements, and its labels. Elements inside a line do not part words."""

    INSIDE = ("span", "code", "em", "b")

    def __init__(self, html):
        super().__init__()
        self.text, self.labels, self.elements = "", [], set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.labels += [value for key, value in attrs if key == "aria-label"]
        self.text += "" if tag in self.INSIDE else " "

    def handle_endtag(self, tag):
        self.text += "" if tag in self.INSIDE else " "

    def handle_data(self, data):
        self.text += data


def words_of(text):
    words = text.replace("`", "").replace("->", "→").split()
    return sorted(w for w in words if not set(w) <= set("-=─█"))


def test_html_holds_the_same_words_and_loads_nothing():
    explanation = explain(cells.gru, **SMALL)
    html = Text(explanation._repr_html_())
    assert " ".join(f"{e}" for e in explanation.equations[:2]) in " ".join(html.labels).replace("; ", " ")
    # equations are typeset, and the picture of characters is a drawing; both have their text as a label
    kept = [s for s in explanation.page.sections if s.heading != "Unrolled through time"]
    blocks = [tuple(b for b in s.blocks if not isinstance(b, Formulas)) for s in kept]
    text = plain(Page("", "", tuple(Section(s.heading, b) for s, b in zip(kept, blocks, strict=True))))
    missing = set(words_of(text)) - set(words_of(html.text))
    assert not missing
    assert not html.elements & {"script", "link", "img", "iframe"}
    assert "svg" in html.elements
    assert "math" in html.elements


def test_html_is_escaped():
    blocks = (Sentence("<b>&"), Formulas((("<i>", "a < b"),)), Picture(("<u>",)), Table(("<th>",), (("<td>",),)))
    html = fragment(Page("<title>", "<script>alert(1)</script>", (Section("<h>", blocks),)))
    for bad in ("<b>", "<i>", "<u>", "<th>", "<td>", "<script>", "<title>", "<h>"):
        assert bad not in html
    assert "&lt;script&gt;" in html

    @cell
    def marked(x=Input("n")):
        """An <img src=x> in the text."""
        return x

    assert "<img" not in explain(marked, n=1)._repr_html_()


def test_rich_shows_the_same_words():
    rich = pytest.importorskip("rich.console")
    out = io.StringIO()
    console = rich.Console(file=out, width=100, force_terminal=False)
    explanation = explain(cells.recurrent, **SMALL)
    console.print(explanation)
    assert set(words_of(str(explanation))) - set(words_of(out.getvalue())) <= {"1:"}


@pytest.mark.parametrize("name", ["lstm", "attending", "pictures"])
@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_gets_narrow_text(name, width):
    one, sizes = EXPLAINED[name]
    lines = explain(one, **sizes).text(width).splitlines()
    assert max(map(len, lines)) <= width


def test_the_picture_turns_downwards_where_there_is_little_room():
    text = explain(cells.lstm, **SMALL).text(36)
    assert "x(1) → [ lstm ] → h(1)" in text
    assert "↓ h(1), c(1)" in text
    assert text.count("[ lstm ]") == 2
    assert explain(cells.lstm, **SMALL).text(70).count("[ lstm ]") == 2
    assert explain(cells.lstm, **SMALL).text(100).count("[ lstm ]") == 3


def test_a_table_that_does_not_fit_becomes_a_list():
    table = Table(("left", "right"), (("a" * 30, "one two\nthree"),))
    assert plain(Page("t", "", (Section("s", (table,)),)), 38).splitlines()[-2:] == [
        f"  left: {'a' * 30}",
        "    right: one two three",
    ]


def test_a_narrow_table_breaks_its_widest_column():
    page = Page("t", "", (Section("s", (Table(("a", "b"), (("x", "word " * 40),)),)),))
    assert max(map(len, plain(page, 40).splitlines())) <= 40


def test_short_is_the_equation_and_the_shapes():
    short = explain(cells.lstm, **SMALL).short()
    assert "Symbols and shapes" in short
    assert "What it costs" not in short


def test_saving_as_a_page_or_as_text(tmp_path):
    explanation = explain(cells.lstm, **SMALL)
    explanation.save(tmp_path / "lstm.html")
    explanation.save(tmp_path / "lstm.txt")
    assert (tmp_path / "lstm.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "lstm.txt").read_text() == f"{explanation}\n"
    with pytest.raises(ostinato.OptionError) as caught:
        explanation.save(tmp_path / "lstm.pdf")
    assert str(caught.value) == f"`{tmp_path}/lstm.pdf`: an explanation is saved as .html, .txt or .svg, not as `.pdf`"


def test_what_can_not_be_explained():
    with pytest.raises(ostinato.OptionError) as caught:
        explain(np.zeros(3))
    assert str(caught.value) == "explain: it explains a layer or a cell, not ndarray"
    with pytest.raises(ostinato.OptionError) as caught:
        explain(Layer(cells.lstm, **SMALL), n_inputs=4, phi=tanh)
    assert str(caught.value) == "explain: a layer has its sizes and options already; given: `n_inputs`, `phi`"
    with pytest.raises(ostinato.DimensionError) as caught:
        explain(cells.lstm, n_inputs=4)
    assert str(caught.value) == "lstm: no size is given for `n_neurons`; given: n_inputs=4"


def test_its_repr_is_one_line():
    assert repr(explain(cells.dense, n_inputs=3, n_outputs=2)) == (
        "<explanation of dense(n_inputs=3, n_outputs=2): 8 parameters, float32>"
    )


@cell
def squaring(x=Input("n"), h=State("n"), W=Weight("n", "n")):
    return tanh(x @ W) + h**2 + 2 * (x @ W)


@cell
def adding_a_square(x=Input("n"), h=State("n")):
    return x + h**2


@pytest.mark.parametrize("one", [squaring, adding_a_square, cells.lstm, cells.gru, cells.dense])
def test_a_quantity_is_the_same_on_the_card_in_the_table_in_a_notebook_and_in_the_terminal(one):
    """Of a step there is one count, that of what runs; whoever shows it has it from there."""
    sizes = dict.fromkeys(one.dimensions, 5)
    shown = explain(one, **sizes)
    step, text, page = shown.step, str(shown), _written_page(shown)
    layer = Layer(one, **sizes)
    steps = [node for node in layer.program.nodes if node.value.type.varies.name == "STEP"]
    assert step.multiplications == sum(n.value.type.n_elements for n in steps if n.op == "multiply")
    card = re.search(r"<dt>multiplications per step and instance</dt><dd>([\d,]+)</dd>", page)
    assert int(card.group(1).replace(",", "")) == step.all_multiplications
    sentence = re.search(
        r"Multiplications: ([\d,]+) per step and instance \(([\d,]+) in products, ([\d,]+) elementwise\)", text
    )
    wanted = [step.all_multiplications, step.multiply_adds, step.multiplications]
    assert [int(n.replace(",", "")) for n in sentence.groups()] == wanted
    row = re.search(r"^ +together +(.*)$", text, re.MULTILINE).group(1).split()
    counted = [step.multiply_adds, step.multiplications, step.additions, step.functions, step.others]
    assert [int(n.replace(",", "")) for n in row] == counted
    for written in (page, shown._repr_html_()):
        assert f"Multiplications: {step.all_multiplications:,} per step and instance" in written
    card = re.search(r"<dt>kept for the backward pass, per step and instance</dt><dd>([\d,]+) bytes</dd>", page)
    assert f"kept for the backward pass {card.group(1)} per step and instance" in " ".join(text.split())
    assert int(card.group(1).replace(",", "")) == shown.kept_bytes


def _written_page(shown):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        shown.save(path)
        return path.read_text()
