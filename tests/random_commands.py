"""The command line in random use: files of sequences as people and their programs write them, through `train` and `predict`."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import ostinato
from ostinato import RecurrentClassifier, RecurrentRegressor
from ostinato.cli import main
from ostinato.runtime.backends import VARIABLE
from tests.random_subjects import all_same

Array = np.ndarray[Any, Any]
Generator = np.random.Generator
NAMES = ("speed", "height above ground", "größe", "a,b", 'the "best"', "x")


def commands(rng: Generator, n_actions: int, log: list[str]) -> None:
    """A file is learned from, and the model asked: the same as an estimator on arrays."""
    n_features, classes = int(rng.integers(1, 4)), bool(rng.random() < 0.6)
    features = [str(name) for name in rng.permutation(NAMES)[:n_features]]
    names = [
        str(name) for name in rng.permutation(["a", "b", "c 1", "d,1", "é", "00", "1e3", "seven"])[: int(rng.integers(5, 9))]
    ]
    X = {name: np.round(rng.standard_normal((int(rng.integers(1, 6)), n_features)), 3) for name in names}
    y: dict[str, Any] = {name: ["bird", "a plane", "ünder"][i % 3] if classes else float(i) / 8 for i, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder) / "data.csv", Path(folder) / "model.safetensors"
        order = write(rng, path, X, y, features, "label" if classes else "target", log)
        argv = ["--neurons", "3", "--epochs", "2", "--seed", "5", "--quiet", "--cell", str(rng.choice(["lstm", "gru"]))]
        out = called(["train", str(path), "--model", str(model), *argv])
        assert f"sequences  {len(names)}" in " ".join(out.split()).replace("sequences ", "sequences  "), out
        options: dict[str, Any] = {"n_neurons": 3, "max_epochs": 2, "random_state": 5, "cell": argv[-1]}
        made = (RecurrentClassifier if classes else RecurrentRegressor)(**options)
        right = made.fit([X[name] for name in order], np.array([y[name] for name in order]))
        loaded = ostinato.load(model)
        all_same("what was learned", dict(loaded.network_.weights), dict(right.network_.weights))
        assert loaded.feature_names_in_.tolist() == features
        for _ in range(max(1, n_actions // 4)):
            action = [predicted, predicted, line_by_line, damaged][int(rng.integers(4))]
            log.append(f"{action.__name__}:")
            action(rng, Path(folder), model, X, y, features, right, log)


def called(argv: list[str], given: bytes | None = None, *, code: int = 0) -> str:
    """What a command prints."""
    out, err = io.StringIO(), io.StringIO()
    source = io.TextIOWrapper(io.BytesIO(given or b""), "utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(sys, "stdin", source):
        found = main(argv)
    assert found == code, f"exit code {found}: {err.getvalue()}"
    if code:
        assert err.getvalue().startswith("ostinato: "), err.getvalue()
        assert "a bug of Ostinato" not in err.getvalue(), err.getvalue()
        assert err.getvalue().count("\n") == 1, err.getvalue()
    return out.getvalue() if not code else err.getvalue()


def rows_of(
    rng: Generator, X: dict[str, Array], y: dict[str, Any] | None, features: list[str], answer: str, *, mixed: bool
) -> tuple[list[dict[str, str]], list[str]]:  # fmt: skip
    """The lines of a file, those of several sequences in turn; and in which order the sequences come."""
    steps = bool(rng.random() < 0.5)
    lines = []
    for name, array in X.items():
        for t, row in enumerate(array):
            line = {"sequence": name, **{f: repr(float(v)) for f, v in zip(features, row, strict=True)}}
            line |= {"step": str(t + 1)} if steps else {}
            line |= {answer: str(y[name])} if y is not None else {}
            lines.append((name, t, line))
    places = rng.permutation(len(lines)) if mixed else np.arange(len(lines))
    if not steps:  # the lines of a sequence stand in their order
        turn = {name: iter([line for n, _, line in lines if n == name]) for name in X}
        ordered = [next(turn[lines[i][0]]) for i in places]
    else:
        ordered = [lines[i][2] for i in places]
    return ordered, list(dict.fromkeys(line["sequence"] for line in ordered))


def text_of(rng: Generator, lines: list[dict[str, str]], columns: list[str], log: list[str]) -> bytes:
    """As people and programs write such a file."""
    quoting = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC][int(rng.integers(3))]
    end = str(rng.choice(["\n", "\r\n"]))
    bom, trailing = bool(rng.random() < 0.4), str(rng.choice(["", end, end + end]))
    log.append(f"  columns {columns}, quoting {quoting}, {end!r}, byte-order mark {bom}, {trailing!r} behind it")
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=end)
    writer.writerow(columns)
    writer.writerows([line[c] for c in columns] for line in lines)
    whole = text.getvalue().removesuffix(end) + trailing
    return (b"\xef\xbb\xbf" if bom else b"") + whole.encode()


def write(
    rng: Generator, path: Path, X: dict[str, Array], y: dict[str, Any] | None, features: list[str], answer: str, log: list[str],
    *, permuted: bool = False,
) -> list[str]:  # fmt: skip
    lines, order = rows_of(rng, X, y, features, answer, mixed=bool(rng.random() < 0.5))
    extra = [name for name in lines[0] if name not in features]
    shown = [str(name) for name in rng.permutation(features)] if permuted else list(features)
    columns = list(shown)
    for name in extra:
        columns.insert(int(rng.integers(len(columns) + 1)), name)
    path.write_bytes(text_of(rng, lines, columns, log))
    return order


def compare(printed: str, order: list[str], X: dict[str, Array], right: Any) -> None:
    found = list(csv.DictReader(io.StringIO(printed, newline="")))
    assert [row["sequence"] for row in found] == order
    arrays = [X[name] for name in order]
    expected = right.predict(arrays)
    if hasattr(right, "classes_"):
        assert [row["prediction"] for row in found] == expected.tolist()
        for i, name in enumerate(right.classes_):
            assert [row[f"p_{name}"] for row in found] == [f"{p:.9g}" for p in right.predict_proba(arrays)[:, i].tolist()]
    else:
        assert [row["prediction"] for row in found] == [f"{v:.9g}" for v in expected.tolist()]


def predicted(
    rng: Generator, folder: Path, model: Path, X: dict[str, Array], y: dict[str, Any], features: list[str], right: Any,
    log: list[str],
) -> None:  # fmt: skip
    path, out = folder / "new.csv", folder / "answers.csv"
    answered = y if rng.random() < 0.5 else None
    order = write(rng, path, X, answered, features, "label" if hasattr(right, "classes_") else "target", log, permuted=True)
    if rng.random() < 0.5:
        compare(called(["predict", str(model), str(path)]), order, X, right)
    else:
        called(["predict", str(model), str(path), "-o", str(out)])
        compare(out.read_text(), order, X, right)


def line_by_line(
    rng: Generator, folder: Path, model: Path, X: dict[str, Array], y: dict[str, Any], features: list[str], right: Any,
    log: list[str],
) -> None:  # fmt: skip
    """From the standard input, sequence after sequence: the last answer to each is that to the whole."""
    lines = [
        {"sequence": name, **{f: repr(float(v)) for f, v in zip(features, row, strict=True)}} for name in X for row in X[name]
    ]
    columns = ["sequence", *(str(name) for name in rng.permutation(features))]
    text = text_of(rng, lines, columns, log)
    found = list(csv.DictReader(io.StringIO(called(["predict", str(model), "-"], text), newline="")))
    assert [row["sequence"] for row in found] == [line["sequence"] for line in lines]
    last = {row["sequence"]: row for row in found}
    expected = right.predict([X[name] for name in X])
    native = os.environ[VARIABLE] == "native"  # NumPy multiplies one row in another order than many
    limit = 1e-8 if native else 1e-4
    for name, value in zip(X, expected.tolist(), strict=True):
        answer = last[name]["prediction"]
        fits = answer == value if isinstance(value, str) else abs(float(answer) - value) <= limit * max(1.0, abs(value))
        assert fits, f"{name}: {answer} and {value!r}"


def damaged(
    rng: Generator, folder: Path, model: Path, X: dict[str, Array], y: dict[str, Any], features: list[str], right: Any,
    log: list[str],
) -> None:  # fmt: skip
    """One thing is wrong in the file: one line says it, and nothing is written."""
    path, out = folder / "wrong.csv", folder / "nothing.csv"
    lines, _ = rows_of(rng, X, None, features, "label", mixed=False)
    place = int(rng.integers(len(lines)))
    name = str(rng.choice(features))
    columns = list(lines[0])
    words = {
        "text": "fast", "empty": "", "nan": "nan", "inf": "-inf", "hexadecimal": "0x10", "underscore": "1_000",
        "other digits": "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}",
    }  # fmt: skip
    way = str(rng.choice([*words, "no column", "cut", "bytes", "nothing"]))
    log.append(f"  {way} in line {place + 2}, `{name}`")
    if way in words:
        lines[place] = {**lines[place], name: words[way]}
    if way == "no column":
        columns.remove(name)
    content = text_of(rng, lines, columns, log)
    if way == "cut":
        content = content.rstrip(b"\r\n") + b',1,"'
    if way == "bytes":
        content += b"\xff\xfe\n"
    if way == "nothing":
        content = b""
    path.write_bytes(content)
    said = called(["predict", str(model), str(path), "-o", str(out)], code=1)
    assert path.name in said, said
    assert not out.exists()
