"""`ostinato train`, `predict` and `demo`: on files, and on handwritten digits."""

import io
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import ostinato
from ostinato import cli


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


GOOD = """sequence,step,a,b,label
s1,2,0.5,1,up
s1,1,0.25,2,up
s2,1,3,4,down
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def ended_early(monkeypatch, reason):
    """Estimators whose training ends with what an interrupt, or a loss that diverges, makes of it: a warning."""
    from sklearn.exceptions import ConvergenceWarning

    from ostinato.estimators import RecurrentClassifier

    fit = RecurrentClassifier.fit

    def fit_in_part(self, X, y):
        warnings.warn("of something else", UserWarning, stacklevel=1)
        fit(self, X, y)
        warnings.warn(f"RecurrentClassifier: {reason} It keeps the weights of epoch 2, the best so far.", ConvergenceWarning,
                      stacklevel=1)  # fmt: skip
        return self

    monkeypatch.setattr(RecurrentClassifier, "fit", fit_in_part)


@pytest.mark.parametrize(("reason", "code"), [("Training interrupted by user.", 130), ("the loss of epoch 3 is nan.", 0)])
def test_training_that_ends_early_saves_what_it_has_and_says_so(folder, capsys, monkeypatch, reason, code):
    rising_and_falling(folder / "data.csv", 20, 0)
    ended_early(monkeypatch, reason)
    with pytest.warns(UserWarning, match="of something else"):
        found, out, err = run(
            capsys, "train", "data.csv", "--model", "m.safetensors", "--epochs", "2", "--neurons", "4", "--quiet"
        )
    assert found == code
    assert err == f"ostinato: RecurrentClassifier: {reason} It keeps the weights of epoch 2, the best so far.\n"
    assert out.splitlines()[-1].split() == ["saved", "to", "m.safetensors"]
    assert hasattr(ostinato.load("m.safetensors"), "predict")


def test_an_interrupted_demonstration_says_so(folder, capsys, monkeypatch):
    ended_early(monkeypatch, "Training interrupted by user.")
    with pytest.warns(UserWarning, match="of something else"):
        found, out, err = run(capsys, "demo", "--quick", "--epochs", "1", "--model", "m.safetensors")
    assert found == 130
    assert "interrupted by user" in err
    assert "bit for bit" in out


def test_an_interrupt_before_there_is_anything_to_keep_saves_nothing(folder, capsys, monkeypatch):
    def interrupted(self, X, y):
        raise KeyboardInterrupt

    monkeypatch.setattr("ostinato.estimators.RecurrentClassifier.fit", interrupted)
    rising_and_falling(folder / "data.csv", 20, 0)
    assert run(capsys, "train", "data.csv", "--model", "m.safetensors") == (130, "", "ostinato: interrupted\n")
    assert not (folder / "m.safetensors").exists()


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
    assert re.search(r"sequences +80, of 4 to 7 steps", out)
    assert re.search(r"features +value, noise", out)
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


def test_the_columns_of_a_csv_file_may_stand_in_another_order(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained[0])
    lines = [line.split(",") for line in Path("test.csv").read_text().splitlines()]
    turned = [[line[0], line[1], line[3], line[2]] for line in lines]
    Path("turned.csv").write_text("\n".join(",".join(line) for line in turned) + "\n")
    assert run(capsys, "predict", "m.safetensors", "turned.csv") == run(capsys, "predict", "m.safetensors", "test.csv")


NAMES = "other.csv: The feature names should match those that were passed during fit."
UNSEEN, MISSING = "Feature names unseen at fit time", "Feature names seen at fit time, yet now missing"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("sequence,step,value,nose", f"{NAMES} {UNSEEN}: `nose`. {MISSING}: `noise`"),
        ("sequence,step,value,noise,more", f"{NAMES} {UNSEEN}: `more`"),
        ("sequence,step,noise", f"{NAMES} {MISSING}: `value`"),
    ],
)
def test_the_features_of_a_csv_file_are_those_of_training(trained, capsys, monkeypatch, header, message):
    monkeypatch.chdir(trained[0])
    row = "s,1" + ",0.5" * (header.count(",") - 1)
    Path("other.csv").write_text(f"{header}\n{row}\n")
    assert complaint(capsys, "predict", "m.safetensors", "other.csv") == message


def test_a_model_file_that_names_other_features_is_refused(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    estimator = ostinato.load("m.safetensors")
    assert list(estimator.feature_names_in_) == ["value", "noise"]
    estimator.feature_names_in_ = np.array(["value"], object)
    estimator.save("wrong.safetensors")
    with pytest.raises(ostinato.FileError) as error:
        ostinato.load("wrong.safetensors")
    assert str(error.value).splitlines()[0].endswith("the file names 1 features, and the network takes 2")


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
        (
            "train",
            "d.csv",
            "--test",
            "other.csv",
            "--model",
            "m.safetensors",
        ): f"{NAMES} {UNSEEN}: `z`. {MISSING}: `a`",
        (
            "train",
            "d.csv",
            "--task",
            "regression",
            "--model",
            "m.safetensors",
        ): "d.csv: a regressor learns numbers, and the answers are text such as 'up'",
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
