"""What a page promises in a browser: no error, the slider moves, numbers are the layer's, nothing sticks out of a phone.

The page is opened in headless Chromium, with a probe behind it that uses it as a reader would, and writes down what it saw.
"""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from ostinato import Layer, cells
from ostinato.explain import explain, explain_product
from ostinato.explain.pictures.canvas import number_text

from .helpers import random

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: apt-get install chromium")

WATCH = """<script>
window.seen = {errors: []};
window.onerror = function (message) { window.seen.errors.push(String(message)); };
console.error = function () { window.seen.errors.push(Array.prototype.join.call(arguments, " ")); };
</script>"""

PROBE = """
<script>
(function () {
  var all = function (q) { return Array.prototype.slice.call(document.querySelectorAll(q)); };
  var seen = window.seen, slider = document.getElementById("step");
  var live = function () {
    var found = {};
    all("b[data-row]").forEach(function (e) { (found[e.dataset.row] = found[e.dataset.row] || []).push(e.textContent); });
    return found;
  };
  seen.ready = document.documentElement.dataset.ready;
  seen.start = {live: slider && live(), output: slider && document.getElementById("step-text").textContent};
  seen.steps = {};
  for (var t = 1; slider && t <= Number(slider.max); t++) {
    slider.value = t;
    slider.dispatchEvent(new Event("input"));
    seen.steps[t] = {
      live: live(), output: document.getElementById("step-text").textContent,
      spoken: slider.getAttribute("aria-valuetext"),
      now: all(".frame.now").map(function (e) { return e.dataset.slot; }),
      labels: all("svg [data-label]").map(function (e) { return e.textContent; }),
      picture: all("svg text[data-row]").map(function (e) {
        return [e.dataset.row, e.dataset.slot, e.dataset.element, e.textContent];
      }),
    };
  }
  seen.playerHidden = slider && document.getElementById("player").hidden;
  var button = document.getElementById("scheme");
  var paper = function () { return getComputedStyle(document.body).backgroundColor; };
  seen.papers = [paper()];
  button.click(); seen.papers.push(paper());
  button.click(); seen.papers.push(paper());
  var legend = document.querySelector(".legend button");
  if (legend) {
    legend.click();
    seen.lit = all(".lit").map(function (e) { return e.dataset.symbol; });
    seen.pressed = legend.getAttribute("aria-pressed");
    legend.click();
    seen.unlit = all(".lit").length;
    legend.focus();
    seen.focused = document.activeElement === legend;
  }
  seen.mathHeight = document.querySelector("math").getBoundingClientRect().height;
  var page = "<!doctype html>" + document.documentElement.outerHTML.replace(/<script[^]*?<\\/script>/g, "");
  var widths = [360, 800, 1400], left = widths.length;
  var done = function () {
    document.body.innerHTML = "<pre id=probe></pre>";
    document.getElementById("probe").textContent = JSON.stringify(seen);
  };
  seen.overflow = {};
  widths.forEach(function (width) {
    var frame = document.createElement("iframe");
    frame.style.cssText = "border:0;height:900px;width:" + width + "px";
    frame.onload = function () {
      var inner = frame.contentDocument.documentElement;
      seen.overflow[width] = inner.scrollWidth - inner.clientWidth;
      left -= 1;
      if (!left) { done(); }
    };
    frame.srcdoc = page;
    document.body.appendChild(frame);
  });
})();
</script>
"""


def opened(path, folder, fragment=""):
    """What the probe saw on a page."""
    text = path.read_text()
    probed = folder / f"probed_{path.name}"
    probed.write_text(text.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{PROBE}</body>", 1))
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--no-first-run",
        "--virtual-time-budget=4000", f"--user-data-dir={folder / 'profile'}", "--dump-dom", f"{probed.as_uri()}{fragment}",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = re.search(r'<pre id="probe">(.*?)</pre>', result.stdout, re.DOTALL)
    assert found, result.stdout[-2000:] + result.stderr[-2000:]
    return json.loads(html.unescape(found.group(1)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def lstm(folder):
    layer, X = Layer(cells.lstm, n_inputs=3, n_neurons=5, seed=2), random((6, 2, 3))
    explain(layer, X).save(folder / "lstm.html")
    return opened(folder / "lstm.html", folder, "#t=4"), layer, X


def test_the_page_runs_without_an_error(lstm):
    seen, _, _ = lstm
    assert seen["errors"] == []
    assert seen["ready"] == "yes"
    assert not seen["playerHidden"]
    assert seen["mathHeight"] > 100  # six lines, typeset


def test_the_slider_moves_and_says_where_it_is(lstm):
    seen, _, _ = lstm
    assert seen["start"]["output"] == "t = 4 of 6"  # from the address
    assert [seen["steps"][str(t)]["output"] for t in range(1, 7)] == [f"t = {t} of 6" for t in range(1, 7)]
    assert seen["steps"]["5"]["spoken"] == "step 5 of 6"
    assert [seen["steps"][str(t)]["now"] for t in range(1, 7)] == [["0"], ["1"], ["1"], ["1"], ["1"], ["2"]]
    assert {"x(4)", "h(3)", "c(5)", "h(6)"} <= set(seen["steps"]["6"]["labels"])


def test_the_numbers_of_every_step_are_those_of_the_layer(lstm):
    seen, layer, X = lstm
    Y, state = layer.run(X)
    for t in range(6):
        live = seen["steps"][str(t + 1)]["live"]
        np.testing.assert_allclose(np.array(live["h_new"], float), Y[t, 0], atol=0.0051)
        assert live["x"] == [number_text(float(np.float32(v))) for v in X[t, 0]]
        assert live["h"] == (seen["steps"][str(t)]["live"]["h_new"] if t else ["0"] * 5)
    np.testing.assert_allclose(np.array(seen["steps"]["6"]["live"]["c_new"], float), state["c"][0], atol=0.0051)
    assert seen["start"]["live"] == seen["steps"]["4"]["live"]


def test_the_picture_shows_the_steps_around(lstm):
    seen, _, _ = lstm
    for t, first in ((1, 1), (4, 3), (6, 4)):
        for row, slot, element, text in seen["steps"][str(t)]["picture"]:
            assert seen["steps"][str(first + int(slot))]["live"][row][int(element)] == text


def test_light_and_dark(lstm):
    seen, _, _ = lstm
    first, second, third = seen["papers"]
    assert first == third
    assert {first, second} == {"rgb(253, 252, 249)", "rgb(20, 23, 28)"}


def test_a_symbol_is_shown_everywhere(lstm):
    seen, _, _ = lstm
    assert set(seen["lit"]) == {"x"}
    assert len(seen["lit"]) > 10
    assert seen["pressed"] == "true"
    assert seen["unlit"] == 0
    assert seen["focused"]


def test_nothing_sticks_out_at_any_width(lstm):
    seen, _, _ = lstm
    assert seen["overflow"] == {"360": 0, "800": 0, "1400": 0}


@pytest.mark.parametrize("which", ["product", "dense", "decoder"])
def test_other_pages_run_without_an_error(which, folder):
    sizes = {"n_inputs": 3, "n_neurons": 40, "n_positions": 4, "n_features": 2, "n_keys": 3}
    made = {
        "product": lambda: explain_product("Q[n,d] @ K[m,d].T @ V[m,p]", n=30, d=64),
        "dense": lambda: explain(cells.dense, n_inputs=3, n_outputs=2),
        "decoder": lambda: explain(cells.bahdanau_decoder, **sizes),
    }[which]()
    made.save(folder / f"{which}.html")
    seen = opened(folder / f"{which}.html", folder)
    assert seen["errors"] == []
    assert seen["ready"] == "yes"
    assert seen["overflow"] == {"360": 0, "800": 0, "1400": 0}
