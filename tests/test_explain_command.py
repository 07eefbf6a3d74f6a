"""`ostinato explain` on the command line: products, sizes as options, pages, narrow terminals, what is misspelt."""

import io
import os
import sys

import pytest

from ostinato import cli
from ostinato.commands import explaining
from ostinato.explain import explain_product

NO_STAGES = "explain: --program and --backward show how a cell is compiled; a product has no stages"
SMALL = ["n_inputs=3", "n_neurons=5"]


def run(capsys, *arguments):
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def complaint(capsys, *arguments, code=1):
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    return err.removeprefix("ostinato: ").rstrip("\n")


# --- products ------------------------------------------------------------------------------------------------------------


def test_a_product_is_explained_without_a_cell(capsys):
    code, out, err = run(capsys, "explain", "A[m,n] @ B[n,p]")
    assert (code, err) == (0, "")
    assert out == f"{explain_product('A[m,n] @ B[n,p]')}\n"
    code, out, _ = run(capsys, "explain", "[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]", "--plain")
    assert code == 0
    assert "C[2, 2] = 3·6 + 4·8 = 50" in out


@pytest.mark.parametrize(
    "sizes",
    [
        ["--m", "2", "--n", "3", "--p", "4"],
        ["m=2", "n=3", "p=4"],
        ["--m=2", "n=3", "--p=4"],
        ["m=2", "--plain", "--n", "3", "p=4"],
    ],
)
def test_sizes_may_be_written_in_every_way(capsys, sizes):
    code, out, _ = run(capsys, "explain", "A[m,n] @ B[n,p]", *sizes)
    assert code == 0
    assert out == f"{explain_product('A[m,n] @ B[n,p]', m=2, n=3, p=4)}\n"


def test_sizes_of_a_cell_may_be_written_as_options_too(capsys):
    _, expected, _ = run(capsys, "explain", "lstm", *SMALL)
    assert run(capsys, "explain", "lstm", "--n_inputs", "3", "--n_neurons=5")[1] == expected
    assert run(capsys, "explain", "--plain", "lstm", "n_inputs=3", "--n_neurons", "5")[1] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["explain", "x", "--n", "3", "-o", "f.html", "m=2"], ["explain", "x", "n=3", "m=2", "-o", "f.html"]),
        (["explain", "x", "-o", "n=3.html"], ["explain", "x", "-o", "n=3.html"]),
        (["explain", "x", "--backward", "n=3"], ["explain", "x", "n=3", "--backward"]),
        (["explain", "--n", "3"], ["explain", "n=3"]),
        (["train", "x", "--neurons", "3"], ["train", "x", "--neurons", "3"]),
        ([], []),
    ],
)
def test_sizes_become_settings(given, expected):
    assert cli.sizes_as_settings(given) == expected


@pytest.mark.parametrize("ending", ["html", "txt", "svg"])
def test_a_product_or_a_cell_is_written_to_a_file(capsys, tmp_path, ending):
    for what in (["A[2,3] @ B[3,4]"], ["gru", *SMALL]):
        path = tmp_path / f"{len(what)}.{ending}"
        assert run(capsys, "explain", *what, "-o", str(path)) == (0, f"written to {path}\n", "")
        assert path.read_text().startswith({"html": "<!doctype html>", "txt": what[0].split()[0], "svg": "<svg "}[ending])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A[m,n] @ B[p,q]"], "matmul: the contracted dimension is `n` in `A[m,n]` but `p` in `B[p,q]`"),
        (["A[m,n] @ B[n,p]", "q=3"], "`A[m,n] @ B[n,p]` has no dimension `q`; the dimensions are `m`, `n`, `p`"),
        (["A[m,n] @ B[n,p]", "n=three"], "`n` must be a whole number from 1 to 1,000,000,000,000, and is 'three'"),
        (["A[m,n] @ B[n,p]", "n=3", "--n", "4"], "explain: `n` is given twice"),
        (
            ["A[m,n] @ B[n,p]", "--program"],
            "explain: --program and --backward show how a cell is compiled; a product has no stages",
        ),
        (
            ["A[m,n] @ B[n,p]", "--backward"],
            "explain: --program and --backward show how a cell is compiled; a product has no stages",
        ),
        (["A[m,n] @"], "`A[m,n] @` can not be read: invalid syntax"),
    ],
)
def test_what_is_wrong_with_a_product_is_told_in_one_line(capsys, arguments, message):
    assert complaint(capsys, "explain", *arguments) == message


def test_a_file_with_a_sign_in_its_path_is_a_file():
    assert not explaining.is_product("me@home/cells.py:mine")
    assert not explaining.is_product("lstm")
    assert explaining.is_product("A[m,n] @ B[n,p]")
    assert explaining.is_product("[[1]]")


# --- what is misspelt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LSTM", "Lstm", "lstn"])
def test_a_cell_in_the_wrong_case_is_found(capsys, name):
    assert complaint(capsys, "explain", name, *SMALL).startswith(
        f"there is no cell `{name}`; did you mean `lstm`? The cells of"
    )


def test_without_a_cell_the_cells_are_listed(capsys):
    for arguments in ([], ["--plain"], ["-o", "x.html"]):
        told = complaint(capsys, "explain", *arguments, code=2)
        assert told.startswith("explain: which cell? The cells of the library are `attention`, ")
        assert told.endswith("a product is written 'A[m,n] @ B[n,p]' (see ostinato explain --help)")
        assert "`lstm`" in told


# --- terminals -----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("columns", [48, 70, 100, 200])
@pytest.mark.parametrize(
    "what", [["lstm", *SMALL], ["A[m,n] @ B[n,p]"], ["luong_decoder", "--n_inputs", "3", "--n_neurons", "5"]]
)
def test_a_terminal_is_filled_and_not_more(monkeypatch, columns, what):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((columns, 30)))
    more = ["n_positions=4", "n_features=2"] if what[0] == "luong_decoder" else []
    assert cli.main(["explain", *what, *more]) == 0
    lines = sys.stdout.getvalue().splitlines()
    wide = [line for line in lines if len(line) > min(columns, 100)]
    assert not wide
