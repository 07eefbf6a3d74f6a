"""The examples run, and show what they say; the commands of the README have something to act on."""

import csv
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from ostinato import Layer, cells
from ostinato.cli import main
from tests.helpers import assert_close, random

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def waves(tmp_path, monkeypatch):
    """A directory with the files of examples/waves.py."""
    monkeypatch.chdir(tmp_path)
    assert load("waves").main([]) == 0
    return tmp_path


def sequences(path):
    """Sequence name -> its lines, as dictionaries."""
    found = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault(line["sequence"], []).append(line)
    return found


def test_an_own_cell_computes_what_its_loop_computes():
    own = load("own_cell")
    layer = Layer(own.leaky, n_inputs=2, n_neurons=5, dtype="float64", seed=4)
    layer.weights["leak"] = random((5,), 1)
    X = random((7, 3, 2), 2)
    assert_close(layer(X), own.by_hand(layer.weights, X))


def test_an_own_cell_learns(capsys):
    assert load("own_cell").main(updates=60) == 0
    printed = capsys.readouterr().out
    assert "largest difference from a plain loop" in printed
    first, *_, last = re.findall(r"knows (\d+)% of tones", printed)
    assert int(first) < 65
    assert int(last) > 80


def test_the_command_line_explains_an_own_cell(capsys):
    where = f"{EXAMPLES / 'own_cell.py'}:leaky"
    assert main(["explain", where, "n_inputs=64", "n_neurons=256", "--program", "--plain"]) == 0
    assert "program leaky (forward, f32, n_inputs=64, n_neurons=256)" in capsys.readouterr().out


def test_the_waves_are_what_they_say(waves):
    learned, tested, new = (sequences(waves / name) for name in ("waves.csv", "more_waves.csv", "new_waves.csv"))
    assert (len(learned), len(tested), len(new)) == (180, 60, 6)
    assert {line["label"] for lines in learned.values() for line in lines} == {"sine", "square", "sawtooth"}
    assert list(new["wave 1"][0]) == ["sequence", "step", "height"]
    lengths = {len(lines) for lines in learned.values()}
    assert (min(lengths), max(lengths)) == (25, 39)
    for lines in tested.values():
        assert [int(line["step"]) for line in lines] == list(range(1, len(lines) + 1))
        heights = np.array([float(line["height"]) for line in lines])
        assert np.abs(heights).max() < 1.6
        if lines[0]["label"] == "square":
            assert np.abs(np.abs(heights) - 1).max() < 0.6


def test_the_waves_are_the_same_for_the_same_seed(waves):
    text = (waves / "waves.csv").read_text()
    assert load("waves").main(["--directory", str(waves)]) == 0
    assert (waves / "waves.csv").read_text() == text
    assert load("waves").main(["--seed", "1"]) == 0
    assert (waves / "waves.csv").read_text() != text


def test_the_command_line_learns_the_waves_and_names_new_ones(waves, capsys):
    command = ["train", "waves.csv", "--test", "more_waves.csv", "--model", "waves.safetensors", "--cell", "gru"]
    assert main([*command, "--neurons", "32", "--epochs", "15", "--quiet"]) == 0
    accuracy = re.search(r"accuracy, test +(\S+)", capsys.readouterr().out)
    assert float(accuracy[1]) > 0.8  # 1/3 by chance
    assert main(["predict", "waves.safetensors", "new_waves.csv"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "sequence,prediction,p_sawtooth,p_sine,p_square"
    assert [line.split(",")[0] for line in lines] == [f"wave {i}" for i in range(1, 7)]


@pytest.mark.parametrize("n_instances", [1, 3])
def test_all_ways_of_fusing_give_the_same_numbers_as_the_gates(n_instances):
    fusing = load("fusing")
    layer = Layer(cells.lstm, n_inputs=4, n_neurons=5, dtype="float64", seed=1)
    for i, name in enumerate(layer.weights):
        layer.weights[name] = random(layer.weights[name].shape, i)
    X, Y = random((6, n_instances, 4), 20), random((6, n_instances, 5), 21)
    xy = np.concatenate([X, Y], axis=-1)
    wanted = np.concatenate([xy @ layer.weights[f"W_{gate}"] + layer.weights[f"b_{gate}"] for gate in "ifgo"], axis=-1)
    ways = fusing.Products(layer, X, Y).ways
    assert list(ways) == ["separate", "one by one", "joined", "hoisted"]
    for way in ways.values():
        assert_close(way(), wanted)
    written, compiled = (way() for way in fusing.layer_ways(layer, X.astype(np.float32)).values())
    assert_close(written, compiled, 1e-5)


def test_fusing_is_measured_for_every_size_and_batch(capsys):
    assert load("fusing").main(["--sizes", "2", "3", "--batches", "1", "2", "--steps", "4", "--seconds", "0.001"]) == 0
    printed = capsys.readouterr().out
    lines = re.findall(r"^ +(\d+) +(\d+) +[\d.]+ ms((?: +[\d.]+x)+)$", printed, re.MULTILINE)
    sizes = [(int(size), int(batch)) for size, batch, _ in lines]
    assert sizes == [(2, 1), (2, 2), (3, 1), (3, 2)] * 2
    assert [len(ratios.split()) for _, _, ratios in lines] == [3] * 4 + [1] * 4


def test_ways_that_do_not_agree_are_not_measured():
    ways = {"one": lambda: np.zeros(3), "other": lambda: np.ones(3)}
    with pytest.raises(SystemExit, match=r"^2 neurons, batch 1: the ways do not agree$"):
        load("fusing").row(2, 1, ways, 0.001)
