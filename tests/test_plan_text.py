"""A plan in words: every stage with what it computes, reads and stores; the same content in text, colour and HTML."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
import rich.console

from ostinato import Layer, cells, explain
from ostinato.explain.alternatives import seconds_text
from ostinato.explain.plan_report import PlanReport
from ostinato.layers.measure import in_turn, random_inputs
from ostinato.plan.machine import bytes_text
from ostinato.plan.phases import CHOICES, Phase
from tests.test_plan import native, plans_of


def report(layer, program="forward", **more):
    return PlanReport(plans_of(layer, program, asked=layer.plan), program, **more)


@pytest.mark.parametrize(
    ("name", "cell", "program", "plan"),
    [
        ("lstm", cells.lstm, "forward", "automatic"),
        ("gru_reset_before", cells.gru_reset_before, "recording", "separate"),
        ("lstm_layer_norm", cells.lstm_layer_norm, "backward", "hoisted"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_the_plan_of_a_cell(golden, name, cell, program, plan):
    golden(f"plan_{name}_{program}.txt", str(report(native(cell, 64, 64, plan=plan), program)))


def test_the_plan_of_a_cell_without_a_state(golden):
    layer = Layer(cells.dense, n_inputs=3, n_outputs=2, backend="native")
    golden("plan_dense_forward.txt", str(report(layer, n_steps=1, n_instances=8)))


@pytest.mark.parametrize("program", ["forward", "recording", "backward"])
@pytest.mark.parametrize("cell", [c for c in vars(cells).values() if hasattr(c, "dimensions")], ids=lambda c: c.name)
def test_every_cell_has_a_plan_in_words(cell, program):
    sizes = dict.fromkeys(cell.dimensions, 4)
    if cell is cells.conv_lstm:
        sizes |= {"height": 5, "width": 5}
    found = report(Layer(cell, **sizes, backend="native"), program)
    text = str(found)
    assert found.choice in CHOICES
    assert all(len(line) <= 100 for line in text.splitlines())
    # every stage that runs stands in a row of its own; sums over rows share one
    for phase, stages in found.plan.stages.items():
        walks = [s for s in stages if not s.over_rows]
        rows = len(walks) + (len(walks) < len(stages))
        assert phase not in found.costs[found.choice].phases or len(found.costs[found.choice].phases[phase]) == len(stages)
        assert sum(bool(re.match(rf" +{n}  ", line)) for n in range(1, rows + 1) for line in text.splitlines()) >= rows


def test_the_report_is_data_too():
    found = report(native(cells.lstm, 64, 64), n_steps=50, n_instances=4)
    assert (found.choice, found.which, found.n_steps, found.n_instances) == ("fused", "forward", 50, 4)
    assert list(found.costs) == list(CHOICES)
    assert found.costs["fused"].seconds == min(c.seconds for c in found.costs.values())
    assert found.n_stages == len(found.plan.stages[Phase.LOOP]) == 1
    assert found.recorded_bytes == 0
    assert report(native(cells.lstm, 64, 64), "recording").recorded_bytes > 0
    assert repr(found) == "<the plan of lstm (forward): fused>"
    assert found.stages == [
        ("the loop, step after step",
         "x @ [W_i W_f W_o W_g]; h @ [W_i W_f W_o W_g]; then 3 sigmoid, 2 tanh, 3 multiply, add; over (n_neurons=64)"),
    ]  # fmt: skip
    backward = report(native(cells.recurrent, 3, 5), "backward").stages
    assert ("after the loop, all steps at once", "over all rows: xᵀ d_t4") in backward
    cost = found.costs["hoisted"]
    assert cost.seconds == pytest.approx(sum(cost.seconds_in(phase) for phase in Phase))


def test_which_plan_for_how_many_instances():
    text = " ".join(str(report(native(cells.lstm, 64, 64))).split())
    assert "By the number of instances: `hoisted` for 1" in text
    assert "a stream takes `fused`" in text
    one = " ".join(str(report(native(cells.recurrent, 8, 16))).split())
    assert "By the number" not in one
    assert "it was asked for" in str(report(native(cells.lstm, 64, 64, plan="separate")))


def test_measured_times_stand_beside_the_predicted_ones():
    text = str(report(native(cells.lstm, 64, 64), measured={"fused": 0.002, "hoisted": 0.001}))
    assert re.search(r"fused +█+ 2 ms, 2.00x", text)
    assert re.search(r"hoisted +█+ 1 ms, 1.00x", text)


def test_colour_and_html_say_what_the_text_says():
    found = report(native(cells.gru, 5, 7))
    console = rich.console.Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(found)
    html = re.sub(r"<style>.*?</style>", "", found._repr_html_())
    shown = re.sub(r"<[^>]+>", " ", html)
    for word in ("the plan of gru", "h @", "rows×vectors×sums", "packed", "Every plan gives the same bits."):
        assert word in console.file.getvalue(), word
        assert word in shown, word


# --- in an explanation --------------------------------------------------------------------------------------------------------


def test_an_explanation_shows_the_plan_of_native_code():
    layer = native(cells.gru_reset_before, 3, 5)
    text = str(explain(layer))
    assert "Native code\n-----------" in text
    assert "The forward program, gru_reset_before." in text
    assert "The backward program, gru_reset_before_backward." in text
    assert "rows×vectors×sums" in text
    assert "The loop has" not in text  # an estimate, where the real stages are not known
    assert "Native code\n-----------" not in str(explain(Layer(cells.gru, n_inputs=3, n_neurons=5, backend="numpy")))


def test_a_page_leaves_the_stages_to_the_plan(tmp_path):
    layer = native(cells.gru_reset_before, 3, 5)
    explain(layer).save(tmp_path / "native.html")
    page = (tmp_path / "native.html").read_text()
    assert 'id="native-code"' in page
    assert 'class="stage"' not in page
    other = Layer(cells.gru_reset_before, n_inputs=3, n_neurons=5, backend="numpy")
    explain(other).save(tmp_path / "numpy.html")
    assert 'class="stage"' in (tmp_path / "numpy.html").read_text()


def test_an_explanation_loads_no_llvmlite(tmp_path):
    code = (
        "import sys\nfrom ostinato import Layer, cells, explain\n"
        "text = str(explain(cells.lstm, n_inputs=3, n_neurons=5))\n"
        "assert 'rows×vectors×sums' in text\nassert 'llvmlite' not in sys.modules\n"
        "str(Layer(cells.lstm, n_inputs=3, n_neurons=5, backend='native').explain())\nassert 'llvmlite' not in sys.modules\n"
    )
    environment = {"PATH": "", "OSTINATO_CACHE": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# --- the parts ----------------------------------------------------------------------------------------------------------------


def test_inputs_have_the_shapes_of_the_layer():
    layer = Layer(cells.gru, n_inputs=3, n_neurons=5, backend="native", batch_first=True, dtype="float64")
    ports, how = layer.graph.with_role("input", "context"), {"n_steps": 7, "n_instances": 2, "batch_first": True}
    (x,), contexts = random_inputs(ports, "float64", **how)
    assert (x.shape, x.dtype, contexts) == ((2, 7, 3), np.float64, {})
    assert np.array_equal(x, random_inputs(ports, "float64", **how)[0][0])


def test_functions_are_called_in_turn():
    calls = []
    found = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0.0)
    assert set(found) == {"a", "b"}
    assert all(seconds > 0 for seconds in found.values())
    runs = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert runs == ["a", "b"] * (len(runs) // 2)
    assert len(runs) >= 10
    assert in_turn({}) == {}


def test_a_slow_function_is_called_once_a_sample():
    from time import sleep

    calls = []
    found = in_turn({"slow": lambda: (calls.append(1), sleep(0.002))}, seconds=0.0)
    assert found["slow"] >= 0.002
    assert len(calls) <= 8


def test_numbers_in_their_units():
    assert [bytes_text(n) for n in (0, 1023, 1024, 1500, 20_000, 3 << 20, 5 << 30)] == [
        "0 bytes", "1,023 bytes", "1 KiB", "1,500 bytes", "19.53 KiB", "3 MiB", "5 GiB"
    ]  # fmt: skip
    assert seconds_text(1.5e-6) == "1.5 µs"
