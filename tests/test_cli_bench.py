"""`ostinato bench`: a table, JSON and a plot of one cell by every plan; every complaint in one line."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

import ostinato
from ostinato import Layer, cells, cli
from ostinato.commands import bench
from ostinato.native import threads
from ostinato.plan.machine import typical
from ostinato.plan.phases import CHOICES
from tests.test_cli import FILE, complaint, run

QUICK = ["--steps", "3", "--batch", "1", "2", "--seconds", "0.001"]
SMALL = ["n_inputs=3", "n_neurons=5"]


@pytest.fixture
def rows():
    """Two measurements, made up."""
    seconds = {"separate": 4e-3, "fused": 1e-3, "hoisted": 2e-3}
    predicted = {"separate": 3e-3, "fused": 1e-3, "hoisted": 1.5e-3}
    return [
        bench.Row("forward", 1, seconds, "fused", predicted, 2e7, 0.16, 1.25e11),
        bench.Row("both", 8, seconds, "fused", predicted, 6e7, 0.5, 1.25e11),
    ]


@pytest.fixture
def layer():
    return ostinato.Layer(cells.lstm, n_inputs=3, n_neurons=5, backend="native")


def test_a_table_of_every_plan_forward_and_both_ways(capsys):
    code, out, err = run(capsys, "bench", "recurrent", *SMALL, *QUICK)
    assert (code, err) == (0, "")
    assert out.startswith("recurrent(n_inputs=3, n_neurons=5), float32, 3 steps\n")
    lines = re.findall(r"^  (forward(?: \+ backward)?) +(\d+) +(.*)$", out, re.MULTILINE)
    assert [(passes, n) for passes, n, _ in lines] == [(p, n) for p in ("forward", "forward + backward") for n in "12"]
    for _, _, rest in lines:
        assert len(re.findall(r"[\d.e+]+ [mµn]?s", rest)) == 4  # three plans, and a step of the fastest
        assert rest.count("*") >= 1
        assert rest.endswith("%")
    for word in ("Medians of a whole call", "GFLOP/s", "1 thread of", "llvmlite", "numpy", f"ostinato {ostinato.__version__}"):
        assert word in " ".join(out.split()), word
    assert out.count("GFLOP/s") == 1  # the peak of this run, and no second one


def test_json_has_everything(capsys):
    code, out, _ = run(capsys, "bench", "gru", *SMALL, *QUICK, "--json", "--dtype", "float64", "--threads", "2")
    data = json.loads(out)
    assert code == 0
    assert (data["cell"], data["sizes"]) == ("gru", {"n_inputs": 3, "n_neurons": 5})
    assert (data["dtype"], data["n_steps"], data["threads"]) == ("float64", 3, 2)
    assert [(row["passes"], row["n_instances"]) for row in data["rows"]] == [
        (p, n) for p in ("forward", "both") for n in (1, 2)
    ]
    for row in data["rows"]:
        assert list(row["seconds"]) == list(row["predicted"]) == list(CHOICES)
        assert all(seconds > 0 for seconds in [*row["seconds"].values(), *row["predicted"].values()])
        assert 0 < row["share"] <= 1
        assert set(row["runs"].split(" + ")) <= set(CHOICES)
    assert {"ostinato", "llvmlite", "numpy", "python"} == set(data["versions"])
    assert data["machine"]["multiply_add"] > 0


def test_the_share_of_the_peak_is_of_all_threads(layer, monkeypatch):
    monkeypatch.setattr(bench, "_peak_meter", lambda dtype: lambda: 1e11)
    monkeypatch.setattr(Layer, "measure_plans", lambda *_, **__: {"separate": 2e-6, "fused": 1e-6, "hoisted": 1e-6})
    before = threads.get_threads()
    try:
        found = []
        for n in (1, 2):
            threads.set_threads(n)
            found.append(bench.measure(layer, 10, [1], 0.001)[0])
    finally:
        threads.set_threads(before)
    assert found[0].share == pytest.approx(found[0].operations / 1e-6 / 1e11)
    assert found[0].share == pytest.approx(2 * found[1].share)
    both = bench.measure(layer, 10, [1], 0.001)[1]
    assert both.operations > 2 * found[0].operations


def test_no_share_is_above_the_peak_which_is_measured_in_turn_with_the_calls(layer, monkeypatch):
    """A processor that gets faster on the way, and a call that is faster than what was taken for the peak."""
    clock = iter([1e9, 4e9, 2e9])
    monkeypatch.setattr(bench, "_peak_meter", lambda dtype: lambda: next(clock))
    monkeypatch.setattr(Layer, "measure_plans", lambda *_, **__: dict.fromkeys(CHOICES, 1e-6))
    slow = bench.measure(layer, 10, [1], 0.001)
    assert {row.peak for row in slow} == {max(threads.get_threads() * 4e9, *(row.operations / 1e-6 for row in slow))}
    assert max(row.share for row in slow) == 1.0


def test_the_peak_is_what_multiply_adds_alone_reach():
    meter = bench._peak_meter("f32")
    assert 1e8 < meter() < 1e13


def test_threads_are_as_they_were_before(capsys):
    before = threads.get_threads()
    run(capsys, "bench", "recurrent", *SMALL, *QUICK, "--threads", "1")
    assert threads.get_threads() == before
    assert "no dimension" not in complaint(capsys, "bench", "recurrent", "n_inputs=3", *QUICK)
    assert threads.get_threads() == before


def test_a_plot_shows_every_time(layer, rows):
    svg = bench.drawing(layer, 100, rows).svg(standalone=True)
    root = ET.fromstring(svg)
    texts = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]
    for name in ("forward, 1", "forward + backward, 8"):
        assert name in texts
        for plan, text in (("separate", "4 ms"), ("fused", "1 ms"), ("hoisted", "2 ms")):
            assert f"{plan} {text}" in texts
            assert texts.count(f"{plan} {text}") == len(rows)
    bars = [float(e.get("width")) for e in root.iter() if e.tag.endswith("rect")]
    assert bars == [420, 105, 210] * 2
    assert "fused 1 ms" in "".join(root.find("{*}desc").itertext())


def test_the_plot_is_written(capsys, tmp_path):
    path = tmp_path / "times.svg"
    code, out, err = run(capsys, "bench", "recurrent", *SMALL, *QUICK, "-o", str(path))
    assert (code, err) == (0, f"written to {path}\n")
    assert "Times by plan" in out
    assert ET.fromstring(path.read_text()).tag.endswith("svg")


def test_the_fastest_is_marked(layer, rows):
    here = replace(typical(), measured=True, name="a processor")
    shown = bench.page(layer, here, 100, 3, rows)
    table = shown.sections[0].blocks[0]
    assert table.rows[0] == ("forward", "1", "4 ms", "1 ms *", "2 ms", "fused", "10 µs", "16%")
    assert table.rows[1] == ("forward + backward", "8", "4 ms", "1 ms *", "2 ms", "fused", "10 µs", "50%")
    assert "The peak is 125 GFLOP/s" in shown.sections[0].blocks[2].text
    assert "a processor" in shown.sections[0].blocks[3].text
    assert "on 3 cores" in shown.sections[0].blocks[2].text
    assert "3 threads of" in bench.conditions(here, 3)
    assert "1 thread of" in bench.conditions(here, 1)


def test_colour_where_there_is_a_terminal(capsys, monkeypatch, layer, rows):
    shown = bench.page(layer, typical(), 100, 1, rows)
    bench._print(shown, plain_text=False)
    plain = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    bench._print(shown, plain_text=True)
    assert capsys.readouterr().out == plain
    monkeypatch.setenv("COLUMNS", "150")
    bench._print(shown, plain_text=False)
    coloured = capsys.readouterr().out
    assert coloured != plain
    for word in ("Times by plan", "1 ms *", "50%"):
        assert word in coloured
    monkeypatch.setitem(sys.modules, "rich.console", None)
    bench._print(shown, plain_text=False)
    assert capsys.readouterr().out == plain


def test_a_cell_of_a_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    code, out, _ = run(capsys, "bench", "mine.py:mine", "n_inputs=3", "scale=0.5", *QUICK)
    assert code == 0
    assert out.startswith("mine(n_inputs=3), float32, 3 steps")


def test_help(capsys):
    code, out, _ = run(capsys, "bench", "--help")
    assert code == 0
    assert "examples:" in out
    assert "ostinato bench lstm n_inputs=64 n_neurons=64" in out
    assert "ostinato bench lstm n_inputs=64 n_neurons=64" in run(capsys, "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lstmm"], 1, "there is no cell `lstmm`; did you mean `lstm`?"),
        (["lstm", "n_inputs=3"], 1, "lstm: "),
        (["lstm", *SMALL, "-o", "plot.png"], 1, "bench: the plot is written to a .svg file, not to `plot.png`"),
        (["lstm", *SMALL, *QUICK, "-o", "nowhere/plot.svg"], 1, "`nowhere/plot.svg` can not be written: there is no folder"),
        (["lstm", *SMALL, "--batch", "0"], 2, "argument --batch: `0` is no whole number from 1 up (see ostinato bench --help)"),
        (["lstm", *SMALL, "--steps", "x"], 2, "argument --steps: `x` is no whole number from 1 up (see ostinato bench --help)"),
        (["lstm", *SMALL, "--seconds", "0"], 2, "argument --seconds: `0` is no finite number above 0 (see ostinato bench"),
        (["lstm", *SMALL, "--dtype", "int8"], 2, "argument --dtype: invalid choice: 'int8'"),
        ([], 2, "bench: which cell? The cells of the library are `attention`"),
    ],
)  # fmt: skip
def test_complaints(arguments, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ostinato: {message}")
    assert captured.err.count("\n") == 1
