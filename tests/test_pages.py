"""What the pages promise: one file that loads nothing, whole without its script, with the answers that a reader looks for."""

import re
from html.parser import HTMLParser

import pytest

import ostinato
from ostinato import Bias, Input, Layer, State, Weight, cell, cells, concat, relu, tanh
from ostinato.explain import explain
from ostinato.explain.alternatives import stages_of
from ostinato.explain.page.html import code
from ostinato.explain.page.mathml import mathml
from ostinato.explain.page.page_script import SCRIPT
from ostinato.explain.page.page_style import fragment_style, page_style
from ostinato.explain.page.program_view import listings
from ostinato.explain.pictures.canvas import SVG_STYLE
from ostinato.explain.pictures.colours import BASE, HUES, Colours, contrast

from .random_writer import SCOPE, write

SMALL = {"n_inputs": 3, "n_neurons": 5}
VOID = {"meta", "link", "br", "wbr", "input", "img", "hr"}


class Page(HTMLParser):
    """The elements of a page: what is open is closed again, and text by the element it stands in."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.references, self.attributes, self.problems = [], [], [], [], []
        self.words = []
        self.feed(html)
        assert not self.open, self.open
        assert not self.problems, self.problems

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if "id" in given:
            self.ids.append(given["id"])
        for key in ("aria-labelledby", "aria-describedby", "for"):
            self.references += given.get(key, "").split()
        if given.get("href", "").startswith("#"):
            self.references.append(given["href"][1:])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@cell
def escaping(x=Input("n"), h=State("n"), W=Weight("n", "n"), b=Bias("n")):
    """An <img src=x onerror=alert(1)> & a "quote"."""
    return tanh(concat(x, h)[:2] @ W[:2] + b) if False else relu(x @ W + h + b)


CASES = {
    "lstm": (cells.lstm, SMALL),
    "recurrent": (cells.recurrent, SMALL),
    "neuron": (cells.neuron, {"n_inputs": 3}),
    "dense": (cells.dense, {"n_inputs": 3, "n_outputs": 2}),
    "gru_large": (cells.gru, {"n_inputs": 20, "n_neurons": 64}),
    "attention": (cells.attention, {"n_queries": 3, "n_keys": 4, "n_positions": 5, "n_values": 2}),
    "bahdanau": (cells.bahdanau_decoder, {"n_inputs": 3, "n_neurons": 5, "n_positions": 4, "n_features": 2, "n_keys": 3}),
    "conv_lstm": (cells.conv_lstm, {"height": 3, "width": 4, "n_channels": 2, "size": 3, "n_kernels": 3}),
    "escaping": (escaping, {"n": 2}),
}


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(name):
        if name not in made:
            one, sizes = CASES[name]
            path = folder / f"{name}.html"
            explain(one, **sizes).save(path)
            made[name] = path.read_text()
        return made[name]

    return page


@pytest.mark.parametrize("name", CASES)
def test_a_page_is_well_formed_and_what_is_referred_to_is_there(name, page_of):
    page = Page(page_of(name))
    assert set(page.references) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


@pytest.mark.parametrize("name", CASES)
def test_a_page_loads_nothing(name, page_of):
    page = Page(page_of(name))
    assert not [tag for tag, _, _ in page.attributes if tag in ("link", "img", "iframe", "object", "embed")]
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    addresses = [v for _, key, v in page.attributes if key in ("src", "href", "data", "action", "srcset")]
    assert all(a.startswith("#") for a in addresses)
    assert not re.search(r"url\((?!#)|@import|https?:", page_of(name).replace("http://www.w3.org/2000/svg", ""))


@pytest.mark.parametrize("name", CASES)
def test_every_picture_has_a_title_and_a_description(name, page_of):
    svgs = re.findall(r"<svg.*?</svg>", page_of(name), re.DOTALL)
    assert svgs
    for svg in svgs:
        title, description = re.search(r"<title[^>]*>(.*?)</title>", svg), re.search(r"<desc[^>]*>(.*?)</desc>", svg)
        assert 'role="img"' in svg
        assert len(title.group(1)) > 5
        assert len(description.group(1)) > 20


def test_what_scrolls_can_be_reached_by_keyboard(page_of):
    html = page_of("lstm")
    scrolling = re.findall(r'<(?:div|pre)[^>]*class="(?:scroll|pane|formulas|lines)"[^>]*>', html)
    assert scrolling
    assert [tag for tag in scrolling if 'tabindex="0"' not in tag] == ['<div class="pane">']  # the folded picture is small
    assert all('type="button"' in tag for tag in re.findall(r"<button[^>]*>", html))
    assert '<label for="step">' in html


def test_the_page_is_whole_without_its_script(page_of):
    bare = re.sub(r"<script.*?</script>", "", page_of("lstm"), flags=re.DOTALL)
    text = Page(bare).text
    for heading in (
        "Equation",
        "Unrolled through time",
        "Symbols and shapes",
        "Products",
        "What runs",
        "What it costs",
        "Backward",
    ):
        assert heading in text
    assert 'id="player" hidden' in bare
    assert 'id="scheme"' in bare
    assert "All steps as a table" in text
    assert text.count("t = 6") >= 1


def test_html_of_the_author_is_escaped(page_of):
    html = page_of("escaping")
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


# --- a new reader's questions -----------------------------------------------------------------------------------------------


def test_a_reader_finds_the_shapes_of_every_symbol(page_of):
    rows = re.findall(r"<tr><th scope=\"row\" class=\"code\" data-heading=\"symbol\">(.*?)</tr>", page_of("lstm"), re.DOTALL)
    found = {}
    for row in rows:
        cells_ = [re.sub(r"<[^>]+>", "", part).strip() for part in re.split(r"</t[hd]>", row) if part.strip()]
        found[cells_[0]] = cells_[1:]
    assert found["x(t)"][:2] == ["(n_inputs=3)", "X(t) (m, n_inputs=3)"]
    assert found["h(t-1)"][:2] == ["(n_neurons=5)", "H(t-1) (m, n_neurons=5)"]
    assert found["W_i"][:2] == ["(n_inputs + n_neurons=8, n_neurons=5)"] * 2
    assert found["h(t)"][2] == "state after the step, and the output"
    assert {f"W_{gate}" for gate in "ifgo"} | {f"b_{gate}" for gate in "ifgo"} | set("ifgo") | {"c(t)"} <= set(found)


@pytest.mark.parametrize(
    "answer",
    [
        "4 products written. After fusing these run: 1 before the loop (once per sequence), 1 at every step.",
        "summed over n_inputs + n_neurons: 8 terms",
        "Multiplications: 175 per step and instance (160 in products, 15 elementwise)",
        "4 products became one, h(t-1) [W_i_2 W_f_2 W_o_2 W_g_2]",
        "this saves 299 of 400 products (75%), 32,000 of 72,000 bytes of weights (44%)",
        "Together 152 bytes for every step and instance.",
        "kept for the backward pass 152 per step and instance",
        "the gradients of W_i, W_f, W_g, W_o",
        "the gradient of x",
        "The loop is one stage",
    ],
)
def test_a_reader_finds_the_answers(answer, page_of):
    assert answer in Page(page_of("lstm")).text


def test_a_reader_finds_what_is_kept(page_of):
    kept = page_of("lstm").split("The forward pass keeps for it")[1].split("Together 152")[0]
    names = re.findall(r'data-heading="value"><span>(.*?)</span></th>', kept, re.DOTALL)
    assert [re.sub(r"<[^>]+>", "", n) for n in names] == ["o", "tanh(c(t))", "i", "g", "h(t-1)", "x(t)", "f", "c(t-1)"]


def test_the_program_is_there_in_both_directions(page_of):
    html = page_of("lstm")
    assert html.count('<div class="lane before">') == 2
    assert html.count('<div class="lane loop">') == 2
    assert html.count('<div class="lane after">') == 1
    marked = re.findall(r'<span class="line product">(.*?)</span>\n?(?=<span class="line|</pre>)', html)
    assert len(marked) == 2 + 4
    assert "one step after another, the last step first" in html


def test_stages_are_numbered_where_there_are_several():
    assert "The loop has 2 stages" in str(explain(cells.gru_reset_before, **SMALL))
    layer = Layer(cells.gru_reset_before, **SMALL)
    stages = stages_of(layer.program.loop)
    assert sorted(set(stages.values())) == [1, 2]
    assert stages["r"] == 1
    assert stages["n"] == 2
    for one in (cells.recurrent, cells.lstm, cells.gru):
        assert set(stages_of(Layer(one, **SMALL).program.loop).values()) == {1}


def test_listings_are_the_program_and_nothing_else():
    program = Layer(cells.lstm, **SMALL).program
    parts = listings(program)
    assert list(parts) == ["ports", "before", "loop", "results"]
    assert [line.split()[0] for line in parts["loop"]] == [n.value.name for n in program.loop]
    assert len(parts["ports"]) == len(program.ports)
    assert not any("#" in line for lines in parts.values() for line in lines)


# --- colours, mathematics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_has_enough_contrast_in_both_schemes(scheme):
    texts = [hue[scheme] for hue in HUES] + [BASE[name][scheme] for name in ("ink", "muted", "accent")]
    for ground in ("paper", "panel"):
        for colour in texts:
            assert contrast(colour, BASE[ground][scheme]) >= 4.5
    # the number in a cell at its strongest: ink on 55% of warm or cool over paper
    for name in ("warm", "cool"):
        over = [
            int(BASE[name][scheme][i : i + 2], 16) * 0.55 + int(BASE["paper"][scheme][i : i + 2], 16) * 0.45 for i in (1, 3, 5)
        ]
        mixed = "#" + "".join(f"{round(c):02x}" for c in over)
        assert contrast(BASE["ink"][scheme], mixed) >= 4.5


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_symbols_that_belong_together_share_a_hue():
    colours = Colours(["x", "h", "W_i", "b_i", "W_f", "i", "f", "W_x", "b"], {"X": "x", "W_i_1": "W_i"})
    assert colours("i") == colours("W_i") == colours("b_i") == colours("W_i_1")
    assert colours("x") == colours("W_x") == colours("X")
    assert len({colours(n) for n in ("x", "h", "i", "f", "b")}) == 5
    assert colours("nothing") == ""


def test_one_symbol_has_one_colour_on_the_whole_page(page_of):
    for name in ("lstm", "bahdanau"):
        html = page_of(name)
        found = {}
        for classes, symbol in re.findall(r'class="([^"]*)" data-symbol="([^"]+)"', html):
            hues = set(re.findall(r"\b[sf](\d)\b", classes))
            assert len(hues) <= 1
            if hues:
                found.setdefault(symbol, set()).update(hues)
        assert len(found) > 8
        assert all(len(hues) == 1 for hues in found.values()), found


def test_names_in_a_line_of_code_are_coloured_whole():
    colours = Colours(["h", "W_i"], {"H": "h", "W_i_1": "W_i"})
    text = code("H(t-1) @ W_i_1 + path.h + hh", colours)
    assert re.sub(r"<[^>]+>", "", text) == "H(t-1) @ W_i_1 + path.h + hh"
    assert re.findall(r'data-symbol="(\w+)">([^<]+)<', text) == [("h", "H(t-1)"), ("W_i", "W_i_1")]


def test_equations_are_typeset(golden):
    explanation = explain(cells.lstm, **SMALL)
    colours = explanation._subject.colours
    lines = [f"{mathml(e.left, colours)} = {mathml(e.right, colours)}" for e in explanation.equations]
    golden("mathml_lstm.txt", "\n".join(lines))
    one, sizes = CASES["attention"]
    [weights, _] = explain(one, **sizes).equations
    text = mathml(weights.right, colours)
    assert "<msup>" in text
    assert "<mo>⊤</mo>" in text
    assert "<mfrac>" in text
    assert "<msqrt>" in text
    assert "<mi>n_keys</mi>" in text


@pytest.mark.parametrize(
    ("name", "one"), [(n, getattr(cells, n)) for n in cells.__all__ if isinstance(getattr(cells, n), ostinato.Cell)]
)
def test_every_cell_of_the_library_has_a_page(name, one, tmp_path):
    sizes = {dimension: 4 + i for i, dimension in enumerate(one.dimensions)}
    try:
        one.trace(**sizes)
    except ostinato.ShapeError:
        sizes = dict.fromkeys(one.dimensions, 4)
    explain(one, **sizes).save(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    for equation in explain(one, **sizes).equations:
        label = " ".join(v for tag, key, v in page.attributes if (tag, key) == ("math", "aria-label"))
        assert str(equation) in label


@pytest.mark.parametrize("seed", range(12))
def test_random_cells_have_pages(seed, tmp_path):
    text, sizes = write(seed, 12)
    scope = dict(SCOPE)
    exec(text, scope)
    layer = Layer(scope["random_cell"], **sizes, backend=("numpy", "reference")[seed % 2])
    explanation = explain(layer)
    explanation.save(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert set(page.references) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert max(map(len, explanation.text(60).splitlines())) <= 60
    assert Page(explanation._repr_html_()).text


def test_style_and_script_are_balanced():
    for text in (page_style(), fragment_style(), SVG_STYLE):
        assert text.count("{") == text.count("}")
        assert "{{" not in text
    assert SCRIPT.count("(") == SCRIPT.count(")")
    assert "</" not in SCRIPT
