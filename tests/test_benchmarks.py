"""The benchmarks measure the right thing: the same work for everybody, in turn, reported as it is. No time is asserted."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import benchmarks.__main__
import numpy as np
import pytest
from benchmarks import grids, machine, ours, peers, report, variants
from benchmarks import run as running
from benchmarks.models import BUILT_IN
from benchmarks.own_cells import ALL
from benchmarks.peers import torch as in_torch
from benchmarks.problems import TOLERANCE, Contender, Problem, Unsupported, relative_difference
from benchmarks.results import OURS, Row, geometric_mean
from benchmarks.settings import Settings, parser
from benchmarks.timing import Times, alternating

ROOT = Path(__file__).parent.parent


def small(name, n_instances=3, n_steps=5):
    return Problem(ALL[name], 6, n_instances, n_steps)


def times(*medians):
    return [Times(median, median, median, median, 5) for median in medians]


# --- the problems


@pytest.mark.parametrize("name", ALL)
def test_the_loop_by_hand_is_the_cell_and_its_check_knows_the_gradient(name):
    problem = small(name)
    assert problem.output_difference(ours.forward(problem).results()) < 1e-6
    gradients = ours.backward(problem, problem.masked_adjoints()).results()
    assert problem.gradient_difference(gradients) < 1e-5


@pytest.mark.parametrize("name", ["recurrent", "gru", "layer_norm_lstm"])
def test_the_check_of_gradients_sees_one_wrong_array(name):
    problem = small(name)
    right = ours.backward(problem, problem.masked_adjoints()).results()
    for array in right:
        wrong = {**right, array: right[array] * np.float32(1.05)}
        assert problem.gradient_difference(wrong) > TOLERANCE, array
        assert problem.gradient_difference({**right, array: np.zeros_like(right[array])}) == float("inf")


def test_the_check_of_outputs_sees_a_wrong_instance_a_wrong_shape_and_what_is_no_number():
    problem = small("lstm", n_instances=9)
    Y = ours.forward(problem).results()["Y"]
    wrong = Y.copy()
    wrong[-1, -1, -1] += 0.01
    assert problem.output_difference({"Y": wrong}) == pytest.approx(0.01, rel=1e-3)
    assert problem.output_difference({"Y": Y[:, :-1]}) == float("inf")
    assert problem.output_difference({"Y": Y * np.float32("nan")}) == float("inf")


def test_only_some_instances_are_checked_and_only_theirs_is_the_masked_gradient():
    problem = small("gru", n_instances=10)
    assert list(problem.checked) == [0, 3, 6, 9]
    assert list(np.flatnonzero(problem.masked_adjoints().any((0, 2)))) == [0, 3, 6, 9]


def test_relative_difference_is_of_the_worst_array():
    expected = {"W": np.array([1.0, -4.0]), "b": np.array([0.5])}
    assert relative_difference({"W": np.array([1.0, -3.0]), "b": np.array([0.5])}, expected) == 0.25
    assert relative_difference({"W": expected["W"]}, expected) == float("inf")
    assert relative_difference({"W": np.zeros(3), "b": np.zeros(1)}, expected) == float("inf")


def test_operations_and_bytes_are_those_of_the_matrices():
    problem = Problem(BUILT_IN["lstm"], 16, 2, 10)
    assert problem.product_operations == (2 * 4 * 16 * 16 * 20, 2 * 4 * 16 * 16 * 20)
    assert problem.recurrent_bytes == 4 * 4 * 16 * 16
    # its products: x with 4 gates; h with 4 gates, from 8 outputs; the projection to them
    problem = Problem(ALL["peephole_projection"], 16, 1, 1)
    assert problem.product_operations == (2 * 4 * 16 * 16, 2 * (4 * 16 * 8 + 16 * 8))


# --- the peers


@pytest.mark.parametrize("name", ALL)
def test_pytorch_computes_the_same(name):
    problem = small(name)
    assert problem.output_difference(in_torch.forward(problem, 1).results()) < 1e-6
    gradients = ours.backward(problem).results()
    assert relative_difference(in_torch.backward(problem, 1).results(), gradients) < 1e-5


@pytest.mark.parametrize("name", ["recurrent", "gru", "lstm", "mgu"])
def test_a_streamed_step_of_everybody_is_that_of_the_sequence(name):
    problem = small(name, n_instances=1)
    for contender in (ours.stream(problem), in_torch.stream(problem, 1)):
        Y = np.stack([contender.results()["y"] for _ in range(problem.n_steps)])
        assert np.abs(Y - problem.expected[:, 0]).max() < 1e-6


def test_a_peer_that_is_not_installed_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(peers.NEEDS, "jax", ("torch", "no_such_package_a", "no_such_package_b"))
    found, missing = peers.load(["torch", "jax"])
    assert list(found) == ["torch"]
    assert missing == ["jax: skipped, no_such_package_a and no_such_package_b not installed"]


def shifted(problem, threads):
    return Contender(lambda: problem.expected.astype(np.float32) + 0.01, lambda Y: {"Y": Y})


def right(problem, threads):
    return ours.forward(problem)


def absent(problem, threads):
    raise Unsupported("no training")


def test_a_wrong_peer_is_reported_and_not_timed():
    modules = {"good": SimpleNamespace(forward=right), "bad": SimpleNamespace(forward=shifted)}
    settings = Settings(seconds=0.001, peers=modules)
    row = grids.sequence_row("forward", small("lstm"), settings)
    assert set(row.times) == {OURS, "good"}
    assert row.differences["bad"] == pytest.approx(0.01, rel=1e-3)
    assert row.notes[0] == "bad is wrong and not timed: it differs by 0.01"
    assert row.ratio == row.times["good"].median / row.times[OURS].median


def test_what_a_peer_does_not_have_is_left_out():
    settings = Settings(seconds=0.001, peers={"inference": SimpleNamespace(backward=absent)})
    row = grids.sequence_row("backward", small("gru"), settings)
    assert (set(row.times), row.details["inference"]) == ({OURS}, "no training")
    assert row.ratio is None


def test_where_ours_is_wrong_nothing_is_timed(monkeypatch):
    monkeypatch.setattr(Problem, "gradient_difference", lambda self, gradients: 0.5)
    settings = Settings(seconds=0.001, peers={"torch": in_torch})
    row = grids.sequence_row("backward", small("gru"), settings)
    assert row.times == {}
    assert row.notes == [
        "the others are not timed: there is nothing right to check them with",
        "ostinato is wrong and not timed: it differs by 0.5",
    ]


# --- the grids


def test_grids_are_narrowed_to_what_was_asked_for():
    settings = Settings(cells=("gru",), sizes=(5,), batches=(2, 3), steps=7)
    found = grids.cases(settings, BUILT_IN, grids.SIZES, grids.BATCHES)
    assert [(p.model.name, p.size, p.n_instances, p.n_steps) for p in found] == [("gru", 5, 2, 7), ("gru", 5, 3, 7)]
    assert len(grids.cases(Settings(), BUILT_IN, grids.SIZES, grids.BATCHES)) == 3 * 6 * 4


def test_own_cells_are_compared_with_our_lstm_per_operation():
    settings = Settings(seconds=0.001, cells=("mgu",), sizes=(4,), batches=(1,), steps=2)
    rows = list(grids.own(settings))
    assert [row.grid for row in rows] == ["own forward", "own backward"]
    for row in rows:  # the LSTM has four gates, the MGU two: half of the operations
        ratio = row.times[OURS].median / row.times["ostinato lstm"].median
        assert row.details["per operation, LSTM = 1"] == pytest.approx(2 * ratio)


def test_the_streaming_grid_times_single_steps():
    (row,) = grids.stream(Settings(seconds=0.001, cells=("gru",), sizes=(4,), peers={"torch": in_torch}, steps=20))
    assert (row.n_steps, row.n_instances, set(row.times)) == (1, 1, {OURS, "torch"})


def test_threads_are_refused_with_a_line_where_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.delattr("ostinato.set_threads", raising=False)
    assert list(variants.threads(Settings())) == ["threads: not in this version"]
    monkeypatch.setattr("ostinato.set_threads", lambda n: None, raising=False)
    assert list(variants.threads(Settings(allowed_cores=(3,)))) == ["threads: this process may use one core alone (3)"]


def test_threads_are_set_before_every_call(monkeypatch):
    chosen = []
    monkeypatch.setattr("ostinato.set_threads", chosen.append, raising=False)
    settings = Settings(threads=2, seconds=0.001, cells=("gru",), sizes=(4,), batches=(1,), steps=2)
    (row,) = variants.threads(settings)
    assert set(row.times) == {OURS, "ostinato on one"}
    assert set(chosen) == {1, 2}
    assert row.details["against one thread"] == row.times["ostinato on one"].median / row.times[OURS].median


# --- time


def test_functions_take_turns_and_each_gets_its_samples():
    calls = []
    found = alternating({name: lambda name=name: calls.append(name) for name in "ab"}, 0.001)
    assert set(found) == {"a", "b"}
    assert all(times.n_samples >= 5 for times in found.values())
    turns = [name for name, before in zip(calls, ["", *calls], strict=False) if name != before]
    assert len(turns) >= 4
    assert turns[:4] == ["a", "b", "a", "b"]


def test_a_slow_function_is_sampled_three_times_and_more_often_if_asked(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("benchmarks.timing.time.process_time", lambda: now[0] / 4)  # others have the core most of the time

    def lasting(seconds):
        def run():
            now[0] += seconds

        return run

    found = alternating({"slow": lasting(2.0), "quick": lasting(0.25)}, 1.0)
    assert found["slow"] == Times(2.0, 2.0, 2.0, 2.0, 3, share=0.25)
    assert found["quick"] == Times(0.25, 0.25, 0.25, 0.25, 5, share=0.25)
    of_processor = alternating({"quick": lasting(0.25)}, 1.0, clock="processor")
    assert of_processor["quick"] == Times(0.0625, 0.0625, 0.0625, 0.0625, 5, share=0.25)


def test_a_row_says_when_others_had_the_core(monkeypatch):
    busy = {OURS: Times(1.0, 1.0, 1.0, 1.0, 5, share=0.45), "torch": Times(1.0, 1.0, 1.0, 1.0, 5, share=0.95)}
    monkeypatch.setattr(grids, "alternating", lambda runs, seconds, clock: busy)
    row = grids.timed(Row("forward", "lstm", 4, 1, 1), {}, Settings())
    assert row.notes == ["others had the core for up to 55% of the time"]
    busy[OURS] = busy["torch"]
    assert grids.timed(Row("forward", "lstm", 4, 1, 1), {}, Settings()).notes == []


def test_the_time_of_several_threads_together_is_no_duration(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--threads", "2", "--clock", "processor"])
    with pytest.raises(SystemExit):
        benchmarks.__main__.main()
    assert "the processor's time of several threads together is no duration: --clock wall" in capsys.readouterr().err


def test_times_are_the_median_and_the_quartiles():
    assert Times.of([4.0, 1.0, 2.0, 3.0, 100.0]) == Times(3.0, 2.0, 4.0, 1.0, 5)
    assert Times.of([2.0]) == Times(2.0, 2.0, 2.0, 2.0, 1)


# --- the machine


def test_cores_and_threads_are_fixed_before_any_library_is_loaded():
    text = (
        "import json, os, sys; from benchmarks import machine, settings; import benchmarks.__main__;"
        "cores = machine.pin(1); print(json.dumps([cores, machine.allowed_cores(), 'numpy' in sys.modules,"
        "[os.environ[k] for k in ('OMP_NUM_THREADS', 'XLA_FLAGS')]]))"
    )
    run = subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True, capture_output=True, text=True)
    cores, allowed, numpy_is_loaded, variables = json.loads(run.stdout)
    assert (len(cores), numpy_is_loaded) == (1, False)
    assert variables == ["1", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"]
    assert allowed == cores or not hasattr(os, "sched_setaffinity")


def test_more_threads_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr(machine, "allowed_cores", lambda: [0, 1])
    with pytest.raises(SystemExit) as stopped:
        machine.pin(3)
    assert str(stopped.value) == "3 threads need 3 cores, and this process may use 2: [0, 1]"


def test_the_roofline_is_arithmetic_or_loads_whichever_takes_longer():
    roofline = pytest.importorskip("benchmarks.roofline")
    found = roofline.Roofline({"f32": 1000.0}, {"L1": 100.0, "DRAM": 10.0}, {"L1": 1024})
    assert [found.level(n) for n in (1024, 1025)] == ["L1", "DRAM"]
    problem = Problem(BUILT_IN["recurrent"], 16, 1, 3)  # 256 multiply-adds each of inputs and states, 1024 bytes
    outside, loads = 3 * 512 / 1000, 3 * 1024 / 100
    assert found.seconds(problem) == pytest.approx(outside + loads)
    assert found.seconds(problem, backward=True) == pytest.approx(4 * outside + 2 * loads)
    many = Problem(BUILT_IN["recurrent"], 16, 100, 3)
    assert found.seconds(many) == pytest.approx(2 * 100 * outside)


def test_bandwidth_is_measured_inside_of_a_cache_and_outside_of_the_one_before():
    roofline = pytest.importorskip("benchmarks.roofline")
    read = roofline.read_bytes({"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20})
    assert read == {"L1": (8 << 10, 12 << 10), "L2": (256 << 10, 384 << 10), "L3": (8 << 20, 12 << 20), "DRAM": (128 << 20,)}


@pytest.mark.parametrize(("dtype", "kind"), [("f32", np.float32), ("f64", np.float64)])
def test_the_kernel_of_the_peak_does_all_its_multiply_adds(dtype, kind):
    roofline = pytest.importorskip("benchmarks.roofline")
    host = roofline.Machine()
    address, operations = roofline._multiply_adds(host, dtype)
    lanes = host.vector_bytes // np.dtype(kind).itemsize
    n_chains = operations // (2 * lanes)
    memory = roofline.aligned(4 * host.vector_bytes).view(kind)
    memory[:] = 0.5
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(address)(100, memory.ctypes.data)
    # a chain begins at 0.5 + k, and 0.5 * 0.5 is added in each of 100 rounds
    assert (memory[2 * lanes : 3 * lanes] == n_chains * (0.5 + 25) + sum(range(n_chains))).all()
    assert (memory[3 * lanes :] == 0.5).all()


@pytest.mark.parametrize("unrolled", [4, 8])
def test_the_kernel_of_the_bandwidth_reads_every_byte(unrolled):
    roofline = pytest.importorskip("benchmarks.roofline")
    host = roofline.Machine()
    code = roofline._loads(host, host.vector_bytes, unrolled)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(code)
    block = unrolled * host.vector_bytes
    memory = roofline.aligned(4 * block).view(np.uint32)
    memory[:] = np.random.default_rng(5).integers(0, 2**32, memory.size, np.uint32)
    lanes = host.vector_bytes // 4
    expected = np.bitwise_xor.reduce(memory.reshape(-1, lanes), axis=0)
    kernel(3, 4, memory.ctypes.data)  # an odd number of times: read twice, everything would cancel
    assert (memory[:lanes] == expected).all()


def test_rates_are_shares_of_what_was_measured():
    roofline = pytest.importorskip("benchmarks.roofline")
    found = roofline.Roofline({"f32": 1e9}, {"L1": 1e8, "DRAM": 1e7}, {"L1": 1 << 20})
    settings = Settings(seconds=0.001, roofline=found)
    problem = Problem(BUILT_IN["recurrent"], 8, 1, 3)
    row = grids.sequence_row("forward", problem, settings)
    seconds = row.times[OURS].median
    assert row.details["GFLOP/s"] == pytest.approx(2 * 2 * 64 * 3 / seconds / 1e9)
    assert row.details["of peak"] == pytest.approx(row.details["GFLOP/s"])
    assert row.details["weights in"] == "L1"
    assert row.details["of its bandwidth"] == pytest.approx(3 * 4 * 64 / seconds / 1e8)
    assert row.details["of roofline"] == pytest.approx(found.seconds(problem) / seconds)
    assert "weights in" not in grids.sequence_row("forward", small("gru"), settings).details


# --- the report

ROWS = [
    Row("forward", "lstm", 16, 1, 100, dict(zip((OURS, "torch", "jax"), times(0.002, 0.004, 0.003), strict=True)),
        {OURS: 1e-7, "jax": 3e-7}, [], {"GFLOP/s": 12.345, "of peak": 0.104, "openvino": "no such thing"}),
    Row("forward", "lstm", 64, 1, 100, dict(zip((OURS, "jax"), times(0.1, 0.05), strict=True)), {}, ["torch is wrong"]),
]  # fmt: skip


def test_a_row_says_its_times_the_best_peer_and_what_is_wrong():
    line = report.line(ROWS[0])
    assert line == (
        "forward      lstm                 H 16   B 1   T 100 ostinato 2.00  torch 4.00  jax 3.00 ms  | 1.50 x jax"
        "  | GFLOP/s 12.3, of peak 10%, differences to 3e-07"
    )
    assert report.line(ROWS[1]).endswith("ostinato 100  jax 50.0 ms  | 0.500 x jax\n    torch is wrong")


def test_tables_name_the_best_and_leave_out_what_was_not_measured():
    assert report.table(ROWS).splitlines() == [
        "| cell | neurons | instances | ostinato (ms) | torch (ms) | jax (ms) | best peer / ours | GFLOP/s | of peak |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| lstm | 16 | 1 | **2.00** | 4.00 | 3.00 | 1.50 | 12.3 | 10% |",
        "| lstm | 64 | 1 | 100 | - | **50.0** | 0.500 | - | - |",
    ]
    assert report.compact(ROWS).splitlines() == [
        "| best peer / ostinato | H = 16 | H = 64 |",
        "| --- | ---: | ---: |",
        "| lstm, 1 instance | 1.50 (jax) | 0.500 (jax) |",
    ]
    assert report.summary(ROWS) == (
        "Forward: 0.866 times as fast as the best peer of each case (geometric mean; 0.500 to 1.50); fastest in 1 of 2"
    )
    assert report.summary([Row("plans", "lstm", 16, 1, 1)]) == report.compact([Row("plans", "lstm", 16, 1, 1)]) == ""


def test_numbers_have_three_digits():
    assert [report.number(x) for x in (None, 12345.6, 99.96, 5.0, 0.4567, 0.00123)] == [
        "-",
        "12346",
        "100",
        "5.00",
        "0.457",
        "0.00123",
    ]
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_a_cell_that_does_not_exist_is_refused(tmp_path):
    arguments = parser().parse_args(["--cells", "lstm", "ltsm", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="there is no cell ltsm; there are recurrent, gru, lstm, layer_norm_lstm, "):
        running.run(arguments, [0], (0,))


def test_a_whole_run_writes_figures_and_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "measured_roofline", lambda: (None, "roofline: not in this test"))
    monkeypatch.delattr("ostinato.set_threads", raising=False)
    words = ["--grid", "forward", "threads", "--cells", "gru", "--sizes", "4", "--batches", "2", "--steps", "3"]
    arguments = parser().parse_args([*words, "--seconds", "0.001", "--peers", "torch", "--output", str(tmp_path)])
    (row,) = running.run(arguments, [0], (0,))
    printed = capsys.readouterr().out
    assert "forward      gru                  H 4    B 2   T 3" in printed
    assert "threads: not in this version" in printed
    everything = json.loads((tmp_path / "results.json").read_text())
    assert everything["remarks"] == ["threads: not in this version"]
    assert set(everything["machine"]["versions"]) >= {"python", "numpy", "torch", "ostinato"}
    (stored,) = everything["rows"]
    again = Row(**stored | {"times": {name: Times(**found) for name, found in stored["times"].items()}})
    assert again == row
    text = (tmp_path / "results.md").read_text()
    assert "### Forward" in text
    assert report.table([row]) in text
