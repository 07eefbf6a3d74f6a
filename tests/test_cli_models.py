"""Cells of one's own on the command line, explanations of saved models, and what is looked at before a long work begins."""

from pathlib import Path

import numpy as np
import pytest

import ostinato
from ostinato import Layer, Network, cells, cli, files

pytest.importorskip("sklearn")

MINE = """
from ostinato import Bias, Input, State, Weight, cell, tanh

@cell
def mine(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), b=Bias("n_neurons")):
    return tanh(x @ W + 0.5 * h + b)

@cell
def small(x=Input("n"), h=State("m"), W=Weight("n", "m")):
    return tanh(x @ W + h)

@cell
def broken(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
    return tanh(x @ W + {}["k"])
"""
DATA = "sequence,step,a,b,label\ns1,2,0.5,1,up\ns1,1,0.25,2,up\ns2,1,3,4,down\ns3,1,3,1,down\n"
FAST = ["--model", "m.safetensors", "--neurons", "3", "--epochs", "1", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_cells.py").write_text(MINE)
    (tmp_path / "d.csv").write_text(DATA)
    return tmp_path


def run(capsys, *arguments):
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def complaint(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    return err.removeprefix("ostinato: ").rstrip("\n")


# --- train --cell file.py:name -----------------------------------------------------------------------------------------------


def test_a_cell_of_a_file_is_trained_and_the_model_does_not_need_the_file(folder, capsys):
    code, out, err = run(capsys, "train", "d.csv", "--cell", "my_cells.py:mine", *FAST)
    assert (code, err) == (0, "")
    assert "last step of mine -> dense" in out
    expected = run(capsys, "predict", "m.safetensors", "d.csv")
    assert expected[0] == 0
    (folder / "my_cells.py").unlink()
    assert run(capsys, "predict", "m.safetensors", "d.csv") == expected
    assert "tanh(x(t) W" in run(capsys, "explain", "m.safetensors")[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_cells.py", "`my_cells.py`: write which cell of the file, as my_cells.py:name"),
        (
            "my_cells.py:min",
            "`my_cells.py` has no cell `min`; did you mean `mine`? The cells in it are `mine`, `small`, `broken`",
        ),
        ("no.py:mine", "`no.py` can not be read: there is no such file"),
        ("my_cells.py:small", "small: a cell to train has the dimensions `n_inputs` and `n_neurons`, and has `n`, `m`"),
        ("my_cells.py:broken", "broken: the cell does not run: KeyError: 'k' (my_cells.py:14)"),
    ],
)
def test_a_cell_that_can_not_be_trained_is_told_before(folder, capsys, name, words):
    assert complaint(capsys, "train", "d.csv", "--cell", name, *FAST) == words


# --- explain model.safetensors -----------------------------------------------------------------------------------------------


def test_a_saved_layer_is_explained(folder, capsys):
    Layer(cells.gru, n_inputs=2, n_neurons=3).save("a@b.safetensors")
    layer = ostinato.load("a@b.safetensors")
    assert run(capsys, "explain", "a@b.safetensors") == (0, f"{layer.explain()}\n", "")
    _, out, _ = run(capsys, "explain", "a@b.safetensors", "--program")
    assert out.startswith(f"--- trace ---\n{layer.compiled().stages['trace']}\n\n--- simplify ---")
    assert run(capsys, "explain", "a@b.safetensors", "-o", "a.txt") == (0, "written to a.txt\n", "")


def test_each_layer_of_a_saved_network_is_explained(folder, capsys):
    parts = [Layer(cells.gru, n_inputs=2, n_neurons=3), Layer(cells.dense, n_inputs=3, n_outputs=1)]
    network = Network(*parts)
    network.save("n.safetensors")
    loaded = list(ostinato.load("n.safetensors").layers.items())
    texts = [f"\nLayer {name}:\n\n{layer.explain()}\n" for name, layer in loaded]
    first = f"{network!r}".strip("<>") + "\n"
    assert run(capsys, "explain", "n.safetensors") == (0, first + "".join(texts), "")
    out = run(capsys, "explain", "n.safetensors", "--backward")[1]
    assert out.count("--- differentiate ---") == 2
    assert run(capsys, "explain", "n.safetensors", "-o", "n.html")[1] == f"{first}written to n.0.html\nwritten to n.1.html\n"
    assert Path("n.1.html").read_text().startswith("<!doctype html>")


def test_each_layer_of_a_saved_estimator_is_explained(folder, capsys):
    run(capsys, "train", "d.csv", "--bidirectional", *FAST)
    code, out, err = run(capsys, "explain", "m.safetensors")
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("Layer ")] == [
        "Layer 0.forward:",
        "Layer 0.reverse:",
        "Layer 1:",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no.safetensors"], "`no.safetensors` can not be read: No such file or directory"),
        (
            ["l.safetensors", "n_inputs=3"],
            "`l.safetensors`: a saved model has its sizes and options already; given: `n_inputs`",
        ),
        (["l.safetensors", "-o", "x/l.html"], "`x/l.html` can not be written: there is no folder `x`"),
        (["l.safetensors", "-o", "l.pdf"], "`l.pdf`: an explanation is saved as .html, .txt or .svg, not as `.pdf`"),
    ],
)
def test_a_model_that_can_not_be_explained(folder, capsys, arguments, words):
    Layer(cells.gru, n_inputs=2, n_neurons=3).save("l.safetensors")
    assert complaint(capsys, "explain", *arguments) == words


# --- before the work ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is trained."""
    from ostinato import estimators

    for made in (estimators.RecurrentClassifier, estimators.RecurrentRegressor):
        monkeypatch.setattr(made, "fit", lambda *_: pytest.fail("it was trained first"))


OTHERS = {
    "other names": (DATA.replace(",a,", ",z,"),
                    ("t.csv: The feature names should match those that were passed during fit. Feature names unseen at fit "
                     "time: `z`. Feature names seen at fit time, yet now missing: `a`")),
    "answers of another kind": (DATA.replace("label", "target").replace("up", "1").replace("down", "2"),
                                "t.csv: its answers are numbers of shape (), and those of d.csv text of shape ()"),
    "too large": (DATA.replace("0.25", "1e30"), "t.csv: `a` at step 0 of the sequence `s1` is 1e+30, too large for float32"),
    "text": (DATA.replace("0.25", "x"), "t.csv, line 3: `a` is `x`, not a number"),
    "none": (None, "`t.csv` can not be read: No such file or directory"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_data_to_measure_on_are_looked_at_before_training(folder, capsys, untrained, name):
    text, words = OTHERS[name]
    if text:
        Path("t.csv").write_text(text)
    assert complaint(capsys, "train", "d.csv", "--test", "t.csv", *FAST) == words


def test_data_to_measure_on_may_have_their_columns_in_another_order(folder, capsys):
    lines = [line.split(",") for line in DATA.split()]
    Path("t.csv").write_text("".join(",".join([c[3], *c[:3], c[4]]) + "\n" for c in lines))
    one, other = (run(capsys, "train", "d.csv", "--test", test, *FAST) for test in ("d.csv", "t.csv"))
    assert one == other


def test_arrays_without_names_are_taken_in_order_and_that_is_said(folder, capsys):
    run(capsys, "train", "d.csv", *FAST)
    np.savez("d.npz", X=np.array([[[0.25, 2], [0.5, 1]]]))
    code, out, err = run(capsys, "predict", "m.safetensors", "d.npz")
    assert (code, err) == (0, "ostinato: d.npz names no features; they are taken in the order of training: `a`, `b`\n")
    named = run(capsys, "predict", "m.safetensors", "d.csv")[1]
    found, expected = (text.splitlines()[1].split(",") for text in (out, named))
    assert found[1] == expected[1]
    assert np.allclose(np.array(found[2:], float), np.array(expected[2:], float), atol=1e-6)
    np.savez("d.npz", X=np.zeros((1, 2, 3)))
    words = "d.npz: X has 3 features, but the model is expecting 2 features as input"
    assert complaint(capsys, "predict", "m.safetensors", "d.npz") == words


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("x/m.safetensors", "`x/m.safetensors` can not be written: there is no folder `x`"),
        ("d.safetensors", "`d.safetensors` can not be written: it is a folder"),
        ("m.pkl", "`m.pkl`: a model is saved as .safetensors"),
    ],
)
def test_where_a_model_goes_is_looked_at_before_training(folder, capsys, untrained, path, words):
    (folder / "d.safetensors").mkdir()
    assert complaint(capsys, "train", "d.csv", "--model", path) == words
    assert complaint(capsys, "demo", "--model", path) == words


def test_a_folder_that_can_not_be_written_to_is_told_before_training(folder, capsys, untrained, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    words = "`m.safetensors` can not be written: Permission denied"
    assert complaint(capsys, "train", "d.csv", "--model", "m.safetensors") == words


def test_where_predictions_go_is_looked_at_before_they_are_made(folder, capsys):
    for path, words in {
        "p.txt": "`p.txt`: predictions are written to .csv or .npz files",
        "x/p.csv": "`x/p.csv` can not be written: there is no folder `x`",
    }.items():
        assert complaint(capsys, "predict", "no.safetensors", "d.csv", "-o", path) == words
