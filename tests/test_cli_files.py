"""Files of sequences: what is read, what is written, and that whatever is wrong is told with its place."""

import io

import numpy as np
import pytest

import ostinato
from ostinato.commands import tables

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
    assert str(caught.value) == "`d.csv`, line 1: it is no text in UTF-8: byte 9"


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
    np.save(folder / "e.npy", np.zeros(3))
    (folder / "e.npy").rename(folder / "e.npz")
    for name, message in {
        "d.npz": "`d.npz` is no .npz file of plain arrays, or it is damaged: ",
        "e.npz": "`e.npz` is no .npz file of plain arrays, or it is damaged: ",
        "no.npz": "`no.npz` can not be read: No such file or directory",
        "no.csv": "`no.csv` can not be read: No such file or directory",
    }.items():
        with pytest.raises(ostinato.FileError) as caught:
            tables.read_samples(name, answers=True)
        assert str(caught.value).startswith(message)
    with pytest.raises(ostinato.OptionError) as caught:
        tables.read_samples("d.txt", answers=True)
    assert str(caught.value) == "`d.txt`: sequences are read from .npz or .csv files"


def test_a_damaged_npz_file_is_told_as_one(folder):
    arrays = io.BytesIO()
    np.savez_compressed(arrays, X=np.zeros((3, 4, 2)), y=np.arange(3))
    whole = arrays.getvalue()
    generator = np.random.default_rng(6)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole[: generator.integers(1, len(whole) + 1)])
        damaged[generator.integers(len(damaged))] ^= int(generator.integers(1, 256))
        (folder / "d.npz").write_bytes(damaged)
        try:
            tables.read_samples("d.npz", answers=True)
        except ostinato.OstinatoError:
            refused += 1
    assert refused > 250  # the others were changed where nobody looks; nothing else was ever raised


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
