"""The command line: what each command prints, every complaint in one line, every exit code; never a traceback."""

import io
import os
import re
import subprocess
import sys

import pytest

import ostinato
from ostinato import cli
from ostinato.commands import explaining
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


def test_a_terminal_without_greek_letters_is_served():
    command, options = child("explain", "lstm", *SMALL)
    options["env"]["PYTHONIOENCODING"] = "ascii"
    done = subprocess.run(command, capture_output=True, check=True, **options)
    assert b"i    = ?([x(t) h(t-1)] W_i + b_i)" in done.stdout


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


def test_explain_prints_no_stage_twice(capsys):
    """Of `recurrent`, fusing has nothing to do: that is said, and the program is not printed once more."""
    for cell in ("recurrent", "lstm"):
        for option in ("--program", "--backward"):
            _, out, _ = run(capsys, "explain", cell, *SMALL, option)
            parts = re.split(r"^--- \w+ ---$", out, flags=re.MULTILINE)[1:]
            texts = [part.strip() for part in parts if not part.strip().startswith("the same as after")]
            assert len(texts) == len(set(texts)) > 1
    _, out, _ = run(capsys, "explain", "recurrent", *SMALL, "--program")
    assert out.endswith("--- forward ---\nthe same as after schedule\n")


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
         ("lstm: there is no dimension or option `phi`; the dimensions and options are `n_inputs`, `n_neurons`, "
          "`recurrent_dropout`, `update_dropout`, `zoneout_h`, `zoneout_c`")),
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
