"""The command line: what each command prints, every complaint in one line, every exit code; never a traceback."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ostinato
from ostinato import cli
from ostinato.commands import explaining, tables
from ostinato.explain import explain

SMALL = ["n_inputs=3", "n_neurons=5"]

FILE = """
from ostinato import Input, State, Weight, cell, tanh

@cell
def mine(x=Input("n_inputs"), h=State("n_inputs"), *, flag=True, scale=2.0):
    "A cell of a file."
    return tanh(scale * x + h) if flag else h

@cell
def broken(x=Input("n_inputs"), h=State("n_inputs")):
    return x + undefined

@cell
def wrong(x=Input("n_inputs"), h=State("n_outputs")):
    return x + h
"""


def run(capsys, *arguments):
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def complaint(capsys, *arguments, code=1):
    """The one line on stderr."""
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("ostinato: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err.removeprefix("ostinato: ").rstrip("\n")


@pytest.fixture
def cells_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path


# --- the command itself ------------------------------------------------------------------------------------------------------


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"ostinato {ostinato.__version__}\n", "")
    for command in ("demo", "explain", "train", "predict"):
        code, out, _ = run(capsys, command, "--help")
        assert code == 0
        assert "examples:" in out
        assert f"ostinato {command}" in out.split("examples:")[1]
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "ostinato explain lstm n_inputs=3 n_neurons=5" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command (see ostinato --help)"),
        (["explain"], "the following arguments are required: CELL, name=value (see ostinato explain --help)"),
        (["explain", "lstm", "n_inputs"],
         ("argument name=value: `n_inputs`: a size or an option is written name=value, such as n_inputs=3 (see ostinato "
          "explain --help)")),
        (["train", "a.csv"], "the following arguments are required: --model (see ostinato train --help)"),
        (["train", "a.csv", "--model", "m", "--neurons", "0"],
         "argument --neurons: `0` is no whole number from 1 up (see ostinato train --help)"),
        (["train", "a.csv", "--model", "m", "--seed", "-1"],
         "argument --seed: `-1` is no whole number from 0 up (see ostinato train --help)"),
        (["train", "a.csv", "--model", "m", "--learning-rate", "fast"],
         "argument --learning-rate: `fast` is no finite number above 0 (see ostinato train --help)"),
        (["train", "a.csv", "--model", "m", "--dropout", "1"],
         "argument --dropout: `1` is no number from 0 up to, not including, 1 (see ostinato train --help)"),
        (["train", "a.csv", "--model", "m", "--dropout", "much"],
         "argument --dropout: `much` is no number from 0 up to, not including, 1 (see ostinato train --help)"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_told_in_one_line(capsys, arguments, message):
    assert complaint(capsys, *arguments, code=2) == message


def test_an_unknown_command_is_told_in_one_line(capsys):
    assert "invalid choice: 'sing'" in complaint(capsys, "sing", code=2)


def test_the_traceback_is_shown_on_request(capsys):
    code, _, err = run(capsys, "explain", "nothing", "--traceback")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "ostinato.OptionError: there is no cell `nothing`" in err


def test_an_interrupt_and_a_bug_have_their_codes(capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    assert complaint(capsys, "explain", "lstm", code=130) == "interrupted"

    def bug(_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cli, "run", bug)
    assert complaint(capsys, "explain", "lstm") == (
        "a bug of Ostinato; --traceback shows where, please report it: ZeroDivisionError('division by zero')"
    )
    code, _, err = run(capsys, "explain", "lstm", "--traceback")
    assert code == 1
    assert err.endswith("ZeroDivisionError: division by zero\n")


def child(*arguments, **options):
    return [sys.executable, "-m", "ostinato.cli", *arguments], {"env": {**os.environ, "OPENBLAS_NUM_THREADS": "1"}, **options}


def test_as_a_program_of_its_own():
    command, options = child("explain", "recurrent", *SMALL)
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8", **options)
    assert "y(t) = tanh(x(t) W_x + y(t-1) W_y + b)" in done.stdout
    command, options = child("explain", "recurent", *SMALL)
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8", **options)
    assert done.returncode == 1
    assert done.stderr.startswith("ostinato: there is no cell `recurent`; did you mean `recurrent`?")
    assert "Traceback" not in done.stderr


def test_a_pipe_that_closes_early_is_no_error():
    command, options = child("explain", "lstm", *SMALL, "--program", "--backward")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        process.stdout.close()  # as `| head` does when it has seen enough
        err = process.stderr.read()
        assert process.wait() == 0
    assert err == b""


# --- explain -----------------------------------------------------------------------------------------------------------------


def test_explain_prints_the_explanation(capsys):
    code, out, err = run(capsys, "explain", "lstm", *SMALL)
    assert (code, err) == (0, "")
    assert out == f"{explain(ostinato.cells.lstm, n_inputs=3, n_neurons=5)}\n"


def test_explain_takes_activations_by_name(capsys):
    code, out, _ = run(capsys, "explain", "recurrent", *SMALL, "phi=relu", "--plain")
    assert code == 0
    assert "y(t) = relu(x(t) W_x + y(t-1) W_y + b)" in out


def test_explain_prints_the_stages(capsys):
    _, forward, _ = run(capsys, "explain", "recurrent", *SMALL, "--program")
    _, backward, _ = run(capsys, "explain", "recurrent", *SMALL, "--backward")
    _, both, _ = run(capsys, "explain", "recurrent", *SMALL, "--program", "--backward")
    assert re.findall(r"--- (\w+) ---", forward) == ["trace", "simplify", "schedule", "forward"]
    assert re.findall(r"--- (\w+) ---", backward) == ["differentiate", "schedule_backward", "recording", "backward"]
    assert both == f"{forward}\n{backward}"
    assert "before the loop, for all steps at once:" in forward


def test_explain_writes_a_file(capsys, tmp_path):
    code, out, _ = run(capsys, "explain", "gru", *SMALL, "-o", str(tmp_path / "gru.html"))
    assert (code, out) == (0, f"written to {tmp_path}/gru.html\n")
    assert "<table" in (tmp_path / "gru.html").read_text()
    assert complaint(capsys, "explain", "gru", *SMALL, "-o", str(tmp_path / "no" / "gru.html")) == (
        f"`{tmp_path}/no/gru.html` can not be written: No such file or directory"
    )


def test_explain_reads_a_cell_of_a_file(capsys, cells_file):
    code, out, _ = run(capsys, "explain", "mine.py:mine", "n_inputs=3")
    assert code == 0
    assert "h(t) = tanh(2 x(t) + h(t-1))" in out
    _, out, _ = run(capsys, "explain", "mine.py:mine", "n_inputs=3", "flag=false")
    assert "h(t) = h(t-1)" in out
    _, out, _ = run(capsys, "explain", "mine.py:mine", "n_inputs=3", "scale=0.5")
    assert "h(t) = tanh(0.5 x(t) + h(t-1))" in out


def test_settings_are_read_as_what_they_are():
    assert [explaining._literal(text) for text in ("3", "0.5", "True", "none", "abc")] == [3, 0.5, True, None, "abc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lstm", "n_inputs=3"], "lstm: no size is given for `n_neurons`; given: n_inputs=3"),
        (["lstm", "n_inputs=0", "n_neurons=5"], "lstm: `n_inputs` must be a whole number from 1 up, and is 0"),
        (["lstm", "n_inputs=three", "n_neurons=5"], "lstm: `n_inputs` must be a whole number from 1 up, and is 'three'"),
        (["recurrent", *SMALL, "n_inputs=3"], "recurrent: `n_inputs` is given twice"),
        (["lstm", *SMALL, "phi=relu"],
         "lstm: there is no dimension or option `phi`; the dimensions and options are `n_inputs`, `n_neurons`"),
        (["recurrent", *SMALL, "phi=rely"],
         ("recurrent: `phi`: there is no activation `rely`; did you mean `relu`? The activations are `affine`, `elu`, "
          "`hard_sigmoid`, `identity`, `leaky_relu`, `relu`, `scaled_tanh`, `sigmoid`, `softplus`, `softsign`, `tanh`, "
          "`thresholded_relu`")),
        (["mine.py"], "`mine.py`: write which cell of the file, as mine.py:name"),
        (["other.py:mine"], "`other.py` can not be read: there is no such file"),
        (["mine.py:main"], "`mine.py` has no cell `main`; did you mean `mine`? The cells in it are `mine`, `broken`, `wrong`"),
        (["mine.py:broken", "n_inputs=3"],
         "broken: the cell does not run: NameError: name 'undefined' is not defined (mine.py:11)"),
        (["mine.py:wrong", "n_inputs=3", "n_outputs=4"],
         "add: `n_inputs=3` of `x` meets `n_outputs=4` of `h`"),
        (["syntax.py:mine"], "`syntax.py` does not run: SyntaxError: '(' was never closed (syntax.py, line 1) (syntax.py:1)"),
        (["leaves.py:mine"], "`leaves.py` does not run: SystemExit: 3 (leaves.py:1)"),
        (["refused.py:mine"], "mine: it declares no Input"),
    ],
)  # fmt: skip
def test_what_explain_refuses(capsys, cells_file, arguments, message):
    (cells_file / "syntax.py").write_text("print(\n")
    (cells_file / "leaves.py").write_text("raise SystemExit(3)\n")
    (cells_file / "refused.py").write_text("from ostinato import *\n@cell\ndef mine(h=State('n')):\n    return h\n")
    assert complaint(capsys, "explain", *arguments) == message


def test_colour_only_in_a_terminal(monkeypatch):
    pytest.importorskip("rich")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = {}
    for plain in (True, False):
        monkeypatch.setattr(sys, "stdout", Terminal())
        assert cli.main(["explain", "recurrent", *SMALL, *(["--plain"] if plain else [])]) == 0
        shown[plain] = sys.stdout.getvalue()
    assert "\x1b[" not in shown[True]
    assert "\x1b[" in shown[False]


def test_without_rich_the_text_is_plain(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert cli.main(["explain", "recurrent", *SMALL]) == 0
    assert sys.stdout.getvalue().startswith("recurrent(n_inputs=3, n_neurons=5): 45 parameters")


# --- sequences in files ----------------------------------------------------------------------------------------------------

GOOD = """sequence,step,a,b,label
s1,2,0.5,1,up
s1,1,0.25,2,up
s2,1,3,4,down
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_csv_file_is_read(folder):
    (folder / "d.csv").write_text("\ufeff" + GOOD, encoding="utf-8")
    samples = tables.read_samples("d.csv", answers=True)
    assert [x.tolist() for x in samples.X] == [[[0.25, 2.0], [0.5, 1.0]], [[3.0, 4.0]]]
    assert samples.y.tolist() == ["up", "down"]
    assert (samples.names, samples.features, samples.task) == (["s1", "s2"], ["a", "b"], "classification")
    without = tables.read_samples("d.csv", answers=False)
    assert (without.y, without.features, without.task) == (None, ["a", "b"], "")


def test_lines_without_steps_stand_in_order_and_targets_are_numbers(folder):
    (folder / "d.csv").write_text("sequence,a,target\ns,3,0.5\nr,4,-1\ns,1,0.5\n")
    samples = tables.read_samples("d.csv", answers=True)
    assert [x.tolist() for x in samples.X] == [[[3.0], [1.0]], [[4.0]]]
    assert samples.y.tolist() == [0.5, -1.0]
    assert samples.task == "regression"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "d.csv: it is empty; the first line names the columns"),
        ("sequence,a,label\n", "d.csv: it names columns, and has no line under them"),
        ("a,label\n1,x\n", "d.csv, line 1: there is no column `sequence`; the columns are `a`, `label`"),
        ("sequence,a,a,label\n",
         "d.csv, line 1: every column has a name of its own; the header is `sequence`, `a`, `a`, `label`"),
        ("sequence,a\ns,1\n",
         "d.csv, line 1: it has neither of the columns `label` and `target`, and needs one; the columns are `sequence`, `a`"),
        ("sequence,a,label,target\n",
         ("d.csv, line 1: it has both of the columns `label` and `target`, and needs one; the columns are `sequence`, `a`, "
          "`label`, `target`")),
        ("sequence,label\ns,x\n", "d.csv, line 1: there is no column of a feature; the columns are `sequence`, `label`"),
        ("sequence,a,label\ns,1,x\n\ns,one,x\n", "d.csv, line 4: `a` is `one`, not a number"),
        ("sequence,a,label\ns,,x\n", "d.csv, line 2: `a` is empty, not a number"),
        ("sequence,a,label\ns,nan,x\n", "d.csv, line 2: `a` is `nan`, not a finite number"),
        ("sequence,a,label\ns,1,x\ns,2\n", "d.csv, line 3: 2 columns, and the header names 3"),
        ("sequence,a,label\ns,1,x\nr,1,y\ns,2,z\n",
         "d.csv, line 4: `label` is `z`, and was `x` on line 2 of the same sequence `s`"),
        ("sequence,a,label\ns,1,\n", "d.csv, line 2: `label` is empty"),
        ("sequence,a,target\ns,1,high\n", "d.csv, line 2: `target` is `high`, not a number"),
        ("sequence,step,a,label\ns,1,1,x\ns,1,2,x\n", "d.csv, line 3: step 1 of the sequence `s` stands on line 2 already"),
        ('sequence,a,label\ns,1,"x\n', "d.csv, line 2: unexpected end of data"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_csv_file_is_told_with_its_line(folder, text, message):
    (folder / "d.csv").write_text(text)
    with pytest.raises(ostinato.DataError) as caught:
        tables.read_samples("d.csv", answers=True)
    assert str(caught.value) == message


def test_a_csv_file_that_is_no_text(folder):
    (folder / "d.csv").write_bytes(b"sequence,\xff\xfe")
    with pytest.raises(ostinato.FileError) as caught:
        tables.read_samples("d.csv", answers=True)
    assert str(caught.value) == "`d.csv` is no text in UTF-8: byte 9"


def test_an_npz_file_is_read(folder):
    X = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    X[1, 2] = np.nan  # padding is never read
    np.savez(folder / "d.npz", X=X, y=np.array([0, 1]), lengths=np.array([3, 2]))
    samples = tables.read_samples("d.npz", answers=True)
    assert [x.tolist() for x in samples.X] == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9]]]
    assert (samples.names, samples.features, samples.task) == (["0", "1"], ["0", "1"], "classification")
    np.savez(folder / "e.npz", X=np.zeros((2, 3, 2)), y=np.array([0.5, 1.5]))
    assert tables.read_samples("e.npz", answers=True).task == "regression"


X = np.zeros((2, 3, 4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "d.npz: it has no array `X`; it has x"),
        ({"X": X}, "d.npz: it has no array `y`; it has X"),
        ({"X": X[0], "y": [1, 2]}, "d.npz: `X` is (n_samples, n_steps, n_features), and has the shape (3, 4)"),
        ({"X": X.astype(str), "y": [1, 2]}, "d.npz: `X` holds no numbers, but <U32"),
        ({"X": X, "y": [1, 2, 3]}, "d.npz: `y` is one answer for each of 2 samples, and has the shape (3,)"),
        ({"X": X, "y": [1j, 2]}, "d.npz: `y` holds neither numbers nor text, but complex128"),
        ({"X": X, "y": [1.0, np.inf]}, "d.npz: y[1] is inf, not a finite number"),
        ({"X": X + np.nan, "y": [1, 2]}, "d.npz: X[0, 0, 0] is nan, not a finite number"),
        ({"X": X, "y": [1, 2], "lengths": [1]},
         "d.npz: `lengths` is one whole number for each of 2 samples, and is int64(1,)"),
        ({"X": X, "y": [1, 2], "lengths": [3, 4]}, "d.npz: lengths[1] is 4, and X has 3 steps"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_npz_file(folder, arrays, message):
    np.savez(folder / "d.npz", **arrays)
    with pytest.raises(ostinato.DataError) as caught:
        tables.read_samples("d.npz", answers=True)
    assert str(caught.value) == message


def test_files_that_are_none(folder):
    (folder / "d.npz").write_bytes(b"PK damaged")
    np.savez(folder / "e.npz", X=np.array([object()]))
    for name, message in {
        "d.npz": "`d.npz` is no .npz file of plain arrays, or it is damaged: ",
        "e.npz": "`e.npz` is no .npz file of plain arrays, or it is damaged: Object arrays cannot be loaded",
        "no.npz": "`no.npz` can not be read: No such file or directory",
        "no.csv": "`no.csv` can not be read: No such file or directory",
    }.items():
        with pytest.raises(ostinato.FileError) as caught:
            tables.read_samples(name, answers=True)
        assert str(caught.value).startswith(message)
    with pytest.raises(ostinato.OptionError) as caught:
        tables.read_samples("d.txt", answers=True)
    assert str(caught.value) == "`d.txt`: sequences are read from .npz or .csv files"


def test_predictions_are_written_whole(folder):
    columns = {"prediction": np.array(["up", 'a,"b'], object).astype(str), "p_up": np.array([0.25, 1.0])}
    tables.write_predictions("p.csv", ["s", "r"], columns)
    assert (folder / "p.csv").read_text() == 'sequence,prediction,p_up\ns,up,0.25\nr,"a,""b",1\n'
    tables.write_predictions("p.npz", ["s", "r"], columns)
    with np.load(folder / "p.npz") as arrays:
        assert sorted(arrays.files) == ["p_up", "prediction", "sequence"]
    with pytest.raises(ostinato.OptionError) as caught:
        tables.write_predictions("p.txt", ["s"], columns)
    assert str(caught.value) == "`p.txt`: predictions are written to .csv or .npz files"
    assert sorted(p.name for p in folder.iterdir()) == ["p.csv", "p.npz"]


# --- train and predict -------------------------------------------------------------------------------------------------------


def rising_and_falling(path, n_sequences, seed, *, labels=True):
    """Sequences of one feature that rise or fall, and a second feature that says nothing."""
    generator = np.random.default_rng(seed)
    lines = ["sequence,step,value,noise" + (",label" if labels else "")]
    answers = []
    for i in range(n_sequences):
        up = bool(generator.integers(2))
        answers.append("up" if up else "down")
        values = np.sort(generator.normal(size=generator.integers(4, 8)))
        for step, value in enumerate(values if up else values[::-1]):
            lines.append(f"s{i},{step},{value:.4f},{generator.normal():.4f}" + (f",{answers[-1]}" if labels else ""))
    path.write_text("\n".join(lines) + "\n")
    return answers


FAST = ["--neurons", "8", "--epochs", "12", "--learning-rate", "0.02", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained from a CSV file, and the folder where it is."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("trained")
    rising_and_falling(folder / "train.csv", 80, seed=0)
    answers = rising_and_falling(folder / "test.csv", 40, seed=1)
    here = Path.cwd()
    os.chdir(folder)
    printed = io.StringIO()
    original, sys.stdout = sys.stdout, printed
    try:
        code = cli.main(["train", "train.csv", "--test", "test.csv", "--model", "m.safetensors", *FAST])
    finally:
        sys.stdout = original
        os.chdir(here)
    return folder, code, printed.getvalue(), answers


def test_training_from_csv_prints_what_came_of_it(trained):
    folder, code, out, _ = trained
    assert code == 0
    assert re.search(r"task +classification", out)
    assert re.search(r"sequences +80 of 4 to 7 steps, 2 features", out)
    assert float(re.search(r"accuracy, test +([\d.]+)", out).group(1)) >= 0.9
    assert re.search(r"saved to +m.safetensors", out)
    assert sorted(p.name for p in folder.iterdir() if "safetensors" in p.name) == ["m.safetensors"]


def test_predicting_prints_csv_or_writes_a_file(trained, capsys, monkeypatch):
    folder, _, out, answers = trained
    monkeypatch.chdir(folder)
    code, printed, err = run(capsys, "predict", "m.safetensors", "test.csv")
    assert (code, err) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == "sequence,prediction,p_down,p_up"
    rows = [line.split(",") for line in lines[1:]]
    assert [row[0] for row in rows] == [f"s{i}" for i in range(40)]
    assert all(abs(float(a) + float(b) - 1) < 1e-5 for _, _, a, b in rows)
    right = np.mean([row[1] == answer for row, answer in zip(rows, answers, strict=True)])
    assert f"{right:.4f}" == re.search(r"accuracy, test +([\d.]+)", out).group(1)
    assert run(capsys, "predict", "m.safetensors", "test.csv", "-o", "p.csv") == (0, "", "")
    assert (folder / "p.csv").read_text() == printed


def test_predicting_needs_no_labels(trained, capsys, monkeypatch):
    folder, *_ = trained
    monkeypatch.chdir(folder)
    rising_and_falling(folder / "unlabelled.csv", 40, seed=1, labels=False)
    _, labelled, _ = run(capsys, "predict", "m.safetensors", "test.csv")
    assert run(capsys, "predict", "m.safetensors", "unlabelled.csv") == (0, labelled, "")


def test_training_again_from_the_same_seed_gives_the_same_model(trained, capsys, monkeypatch):
    folder, *_ = trained
    monkeypatch.chdir(folder)
    code, _, _ = run(capsys, "train", "train.csv", "--model", "again.safetensors", *FAST)
    assert code == 0
    once, again = (run(capsys, "predict", model, "test.csv") for model in ("m.safetensors", "again.safetensors"))
    assert once == again
    (folder / "again.safetensors").unlink()


def test_numbers_are_learned_by_a_regressor(folder, capsys):
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(2)
    X = generator.normal(size=(60, 5, 2))
    np.savez(folder / "d.npz", X=X, y=X[:, :, 0].mean(axis=1))
    code, out, _ = run(capsys, "train", "d.npz", "--model", "r.safetensors", "--cell", "gru", *FAST)
    assert code == 0
    assert re.search(r"task +regression", out)
    assert float(re.search(r"R², training +(-?[\d.]+)", out).group(1)) > 0.5
    code, printed, _ = run(capsys, "predict", "r.safetensors", "d.npz")
    assert code == 0
    assert printed.splitlines()[0] == "sequence,prediction"
    assert run(capsys, "predict", "r.safetensors", "d.npz", "-o", "p.npz")[0] == 0
    with np.load(folder / "p.npz") as arrays:
        shown = [float(line.split(",")[1]) for line in printed.splitlines()[1:]]
        assert np.allclose(arrays["prediction"], shown, rtol=1e-6)


def test_what_train_and_predict_refuse(folder, capsys):
    pytest.importorskip("sklearn")
    (folder / "d.csv").write_text(GOOD)
    (folder / "other.csv").write_text(GOOD.replace(",a,", ",z,"))
    (folder / "junk.safetensors").write_bytes(b"junk")
    ostinato.Layer(ostinato.cells.dense, n_inputs=2, n_outputs=1).save(folder / "layer.safetensors")
    for arguments, message in {
        ("train", "d.csv", "--model", "m.pkl"): "`m.pkl`: a model is saved as .safetensors",
        ("train", "no.csv", "--model", "m.safetensors"): "`no.csv` can not be read: No such file or directory",
        ("train", "d.csv", "--test", "other.csv", "--model", "m.safetensors"):
            "other.csv: its features are ['z', 'b'], and those of d.csv are ['a', 'b']",
        ("train", "d.csv", "--task", "regression", "--model", "m.safetensors"):
            "d.csv: a regressor learns numbers, and the answers are text such as np.str_('up')",
        ("predict", "no.safetensors", "d.csv"): "`no.safetensors` can not be read: No such file or directory",
        ("predict", "layer.safetensors", "d.csv"): "`layer.safetensors` holds a layer, not what `ostinato train` saves",
    }.items():
        assert complaint(capsys, *arguments) == message
    assert complaint(capsys, "predict", "junk.safetensors", "d.csv").startswith("`junk.safetensors` is no file of Ostinato")
    assert "`lstn`" in complaint(capsys, "train", "d.csv", "--cell", "lstn", "--model", "m.safetensors")
    assert not (folder / "m.safetensors").exists()


def test_other_features_than_those_learned_are_refused(trained, capsys, monkeypatch, tmp_path):
    folder, *_ = trained
    monkeypatch.chdir(folder)
    (tmp_path / "one.csv").write_text("sequence,value\ns,1\ns,2\n")
    assert "feature" in complaint(capsys, "predict", "m.safetensors", str(tmp_path / "one.csv"))


# --- demo -------------------------------------------------------------------------------------------------------------------


def test_the_demonstration_reads_digits(folder, capsys):
    pytest.importorskip("sklearn")
    code, out, _ = run(capsys, "demo", "--quick", "--model", "d.safetensors")
    assert code == 0
    assert "c(t) = f ⊙ c(t-1) + i ⊙ g" in out
    assert float(re.search(r"never seen: ([\d.]+)% right", out).group(1)) > 80
    assert len(re.findall(r"^  \d  \[", out, re.MULTILINE)) == 8
    assert "450 predictions, all the same, bit for bit" in out
    assert (folder / "d.safetensors").exists()


def test_what_the_demonstration_shows_is_what_the_network_computes():
    pytest.importorskip("sklearn")
    from ostinato.commands import demo

    layer = ostinato.Layer(ostinato.cells.lstm, n_inputs=8, n_neurons=6, seed=3)
    readout = ostinato.Layer(ostinato.cells.dense, n_inputs=6, n_outputs=3, seed=4)
    image = np.random.default_rng(5).random((4, 8))
    lines = [line for line in demo.unrolled_lines(layer, readout, image, np.array(["a", "b", "c"])) if "[" in line]
    for t, line in enumerate(lines, start=1):
        h = layer(image[:t].astype(np.float32)[:, None])[-1, 0]  # the network stopped there
        scores = readout(h)
        assert line.startswith(f"  {t}  [")
        assert " ".join(f"{v:+.2f}" for v in h[:4]) in line
        assert f"{np.linalg.norm(h):6.2f}" in line
        assert f"{'abc'[int(scores.argmax())]}  {np.exp(scores).max() / np.exp(scores).sum():5.1%}" in line


def test_a_model_that_predicts_otherwise_fails_the_demonstration(capsys, monkeypatch):
    pytest.importorskip("sklearn")
    from ostinato.commands import demo

    class Estimator:
        def __init__(self, p):
            self.p = p

        def save(self, path):
            pass

        def predict_proba(self, X):
            return np.full((len(X), 2), self.p)

        def predict(self, X):
            return np.zeros(len(X))

    monkeypatch.setattr(demo.loading, "load", lambda path: Estimator(0.25))
    assert demo.saved_and_loaded(Estimator(0.25), np.zeros((3, 1)), "m") == 0
    assert demo.saved_and_loaded(Estimator(0.5), np.zeros((3, 1)), "m") == 1
    assert "3 predictions, NOT the same" in capsys.readouterr().out


def test_pixels_are_shades():
    from ostinato.commands import demo

    assert demo.shades(np.array([0, 0.2, 0.5, 0.79, 0.8, 1.0])) == "  ░░▒▒▓▓████"


def test_the_demonstration_needs_scikit_learn_and_a_model_file(capsys, monkeypatch):
    assert complaint(capsys, "demo", "--model", "digits.pkl") == "`digits.pkl`: a model is saved as .safetensors"
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert complaint(capsys, "demo") == 'the demonstration needs scikit-learn: pip install "ostinato[learn]"'
    assert complaint(capsys, "predict", "a.safetensors", "b.csv") == (
        'training needs scikit-learn: pip install "ostinato[learn]"'
    )
