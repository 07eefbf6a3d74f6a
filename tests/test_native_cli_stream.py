"""`ostinato predict MODEL -`: each line of the standard input is answered at once."""

import io
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import ostinato
from ostinato import Layer, cells, cli
from ostinato.commands import streaming, tables

pytest.importorskip("sklearn")
from ostinato.estimators import RecurrentClassifier, RecurrentRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, [1.0, 10.0], (20, 5, 2))
SECONDS = 120  # after which a child that does not answer is ended


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    small = {"n_neurons": 3, "max_epochs": 1, "random_state": 0}
    named = RecurrentClassifier(**small).fit(X, np.array(["up", 'do,"wn'] * 10))
    named.feature_names_in_ = np.array(["speed", "height"], object)
    made = {
        "named": named,
        "numbered": RecurrentClassifier(**small, cell="gru").fit(X, np.arange(20) % 3),
        "backwards": RecurrentClassifier(**small, bidirectional=True).fit(X, np.arange(20) % 2),
        "one": RecurrentRegressor(**small).fit(X, X[:, 0, 0]),
        "several": RecurrentRegressor(**small).fit(X, X[:, 0]),
        "steps": RecurrentRegressor(**small, per_step=True).fit(X, X[:, :, 0]),
    }
    for name, model in made.items():
        model.save(folder / f"{name}.safetensors")
    Layer(cells.gru, n_inputs=2, n_neurons=2).save(folder / "layer.safetensors")
    return folder


def model_of(models, name):
    return str(models / f"{name}.safetensors"), ostinato.load(models / f"{name}.safetensors")


@contextmanager
def started(path):
    command = [sys.executable, "-m", "ostinato.cli", "predict", path, "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        timer = threading.Timer(SECONDS, child.kill)
        timer.start()
        yield child
        timer.cancel()


def answer(monkeypatch, capsys, path, text):
    """Exit code, standard output and standard error of the command in this process."""
    content = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code = cli.main(["predict", path, "-"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_answer_arrives_before_the_next_line_is_written(models):
    path, model = model_of(models, "named")
    del model.feature_names_in_  # here it is asked with arrays
    with started(path) as child:
        child.stdin.write(b"height,speed\n")
        child.stdin.flush()
        assert child.stdout.readline() == b'prediction,"p_do,""wn",p_up\n'
        for t in range(5):
            child.stdin.write(f"{float(X[0, t, 1])!r},{float(X[0, t, 0])!r}\n".encode())
            child.stdin.flush()
            line = child.stdout.readline().decode()  # nothing more was written, and the input is open
            found = tables.predictions_text([""], {"": model.predict(X[:1, : t + 1])}).splitlines()[1].removeprefix(",")
            numbers = ",".join(f"{p:.9g}" for p in model.predict_proba(X[:1, : t + 1])[0])
            assert line == f"{found},{numbers}\n"
        child.stdin.close()
        assert (child.wait(), child.stdout.read(), child.stderr.read()) == (0, b"", b"")


def test_a_reader_that_has_seen_enough_ends_it_quietly(models):
    path, _ = model_of(models, "one")
    with started(path) as child:
        child.stdin.write(b"a,b\n1,2\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"prediction\n"
        assert child.stdout.readline()
        child.stdout.close()
        child.stdin.write(b"3,4\n" * 3)
        child.stdin.flush()
        assert child.wait() == 0
        assert child.stderr.read() == b""


def test_a_bad_line_ends_it_after_the_answers_to_those_before(models):
    path, _ = model_of(models, "one")
    with started(path) as child:
        child.stdin.write(b"a,b\n1,2\n1,x\n")
        child.stdin.flush()
        assert child.wait() == 1  # the input is still open
        assert len(child.stdout.read().splitlines()) == 2
        assert child.stderr.read() == b"ostinato: standard input, line 3: `b` is `x`, not a number\n"


@pytest.mark.parametrize("name", ["numbered", "one", "several"])
def test_the_last_answer_to_a_sequence_is_that_to_its_file(models, name, tmp_path, monkeypatch, capsys):
    path, model = model_of(models, name)
    if name == "numbered":
        model.feature_names_in_ = np.array(["a", "b"], object)
        path = str(tmp_path / "named.safetensors")
        model.save(path)
    lines = [f"s{i},{t},{float(X[i, t, 1])!r},{float(X[i, t, 0])!r},ignored" for t in range(5) for i in range(4)]
    header = "sequence,step,b,a,label" if name == "numbered" else "sequence,step,a,b,label"
    text = "\n".join([header, *lines]) + "\n"
    (tmp_path / "data.csv").write_text(text)
    assert cli.main(["predict", path, str(tmp_path / "data.csv")]) == 0
    whole = capsys.readouterr().out.splitlines()
    code, out, err = answer(monkeypatch, capsys, path, text)
    assert (code, err) == (0, "")
    found = out.splitlines()
    assert [found[0], *found[-4:]] == whole
    assert len(found) == 21


def test_a_regressor_of_steps_answers_for_each_step(models, monkeypatch, capsys):
    path, model = model_of(models, "steps")
    text = "a,b\n" + "".join(f"{float(a)!r},{float(b)!r}\n" for a, b in X[0])
    code, out, _ = answer(monkeypatch, capsys, path, text)
    assert code == 0
    assert out == "prediction\n" + "".join(f"{y:.9g}\n" for y in model.predict(X[:1])[0])


def test_more_sequences_than_are_at_hand(models, monkeypatch, capsys):
    path, _ = model_of(models, "one")
    text = "sequence,a,b\n" + "".join(f"{i},{i},{t}\n" for t in range(3) for i in range(5))
    expected = answer(monkeypatch, capsys, path, text)
    monkeypatch.setattr(streaming, "N_AT_HAND", 2)
    assert answer(monkeypatch, capsys, path, text) == expected
    assert expected[0] == 0


def test_what_a_line_may_look_like(models, monkeypatch, capsys):
    path, _ = model_of(models, "one")
    plain = answer(monkeypatch, capsys, path, "sequence,a,b\ns,1,2\ns,3,4\n")
    assert plain[0] == 0
    for text in (
        b"\xef\xbb\xbfsequence,a,b\r\ns,1,2\r\ns,3,4\r\n",
        '"sequence", "a",b\n\n s , 1,"2"\n  \n"s",+3e0,4.\n \n',
        "sequence,a,b,target\ns,1,2,x\ns,3,4,\n",
        "sequence,step,a,b\ns,-1,1,2\ns,1.5,3,4",
    ):
        assert answer(monkeypatch, capsys, path, text) == plain


def test_an_empty_input_and_no_input(models, monkeypatch, capsys):
    path, _ = model_of(models, "one")
    words = "ostinato: standard input: it is empty; the first line names the columns\n"
    assert answer(monkeypatch, capsys, path, "") == (1, "", words)
    assert answer(monkeypatch, capsys, path, " \n\n") == (1, "", words)
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["predict", path, "-"]) == 1
    assert capsys.readouterr().err == words
    assert answer(monkeypatch, capsys, path, "a,b\n") == (0, "prediction\n", "")


NAMES = "The feature names should match those that were passed during fit."
WRONG = {
    "named: a feature is missing": ("named", "speed\n",
                                    f"1: {NAMES} Feature names seen at fit time, yet now missing: `height`"),
    "named: a feature too many": ("named", "c,speed,height\n", f"1: {NAMES} Feature names unseen at fit time: `c`"),
    "too few features": ("one", "a\n", "1: it names 1 features, and the model was trained on 2"),
    "a name twice": ("one", "\na,a\n", "2: every column has a name of its own; the header is `a`, `a`"),
    "no name": ("one", "a,b,\n", "1: every column has a name of its own; the header is `a`, `b`, ``"),
    "a cell too few": ("one", "a,b\n\n1\n", "3: 1 columns, and the header names 2"),
    "an empty cell": ("one", "a,b\n1,\n", "2: `b` is empty, not a number"),
    "a number with a line": ("one", "a,b\n1_000,2\n", "2: `a` is `1_000`, not a number"),
    "full-width digits": ("one", "a,b\n１,2\n", "2: `a` is `１`, not a number"),
    "not finite": ("one", "a,b\n1,NaN\n", "2: `b` is `NaN`, not a finite number"),
    "beyond float64": ("one", "a,b\n1e999,1\n", "2: `a` is `1e999`, not a finite number"),
    "too large": ("one", "a,b\n1,-1e30\n", "2: `b` is `-1e30`, too large for float32"),
    "divided by something else": ("numbered", "a;b\n1;2\n",
                                  "1: its cells are divided by semicolons, and must be divided by commas"),
    "a sequence without a name": ("one", "sequence,a,b\ns,1,2\n,1,2\n", "3: `sequence` is empty"),
    "a blank behind a quote": ("one", 'a,b\n"1" ,2\n', "2: ',' expected after '\"'"),
    "an open quote": ("one", 'a,b\n"1,2\n', "2: unexpected end of data"),
    "a step again": ("one", "sequence,step,a,b\ns,1,0,0\nr,1,0,0\ns,1,0,0\n",
                     "4: step 1 of the sequence `s` comes after step 1, which has been answered"),
    "a step back": ("one", "step,a,b\n3,0,0\n2,0,0\n", "3: step 2 comes after step 3, which has been answered"),
    "no text": ("one", b"a,b\n1,\xff\n", "2: it is no text in UTF-8: byte 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_line_is_named(name, models, monkeypatch, capsys):
    model, text, words = WRONG[name]
    code, _, err = answer(monkeypatch, capsys, str(models / f"{model}.safetensors"), text)
    assert (code, err) == (1, f"ostinato: standard input, line {words}\n")


def test_what_can_not_answer_line_by_line(models, monkeypatch, capsys):
    path, _ = model_of(models, "backwards")
    tail = "runs in reverse, from the last step of a sequence, and can not be streamed"
    assert answer(monkeypatch, capsys, path, "a,b\n1,2\n") == (1, "", f"ostinato: network: the layer 0.reverse (lstm) {tail}\n")
    path = str(models / "layer.safetensors")
    words = f"ostinato: `{path}` holds a layer, not what `ostinato train` saves\n"
    assert answer(monkeypatch, capsys, path, "a,b\n1,2\n") == (1, "", words)
    assert cli.main(["predict", path, "-", "-o", "p.csv"]) == 1
    words = "`p.csv`: what is read from the standard input is answered line by line on the standard output"
    assert capsys.readouterr().err == f"ostinato: {words}\n"
