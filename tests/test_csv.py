"""Files of CSV: the same numbers and the same words by lines and with pyarrow, and what every corner of the format means."""

import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato
from ostinato.commands import blocks, tables

READERS = ["lines", "pyarrow"]


@pytest.fixture(params=READERS)
def reader(request, monkeypatch):
    if request.param == "lines":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    else:
        pytest.importorskip("pyarrow")


def read(folder, content, *, answers=True):
    (folder / "d.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return tables.read_samples(str(folder / "d.csv"), answers=answers)


def told(folder, content):
    with pytest.raises(ostinato.OstinatoError) as caught:
        read(folder, content)
    return str(caught.value).replace(f"{folder}/", "")


# --- what is read ----------------------------------------------------------------------------------------------------------

PLAIN = "sequence,step,a,b,label\ns,1,0.5,1,up\ns,2,3,4,up\nr,1,5,6,down\n"
SPELLINGS = {
    "a byte-order mark": "\ufeff" + PLAIN,
    "quoted headers": PLAIN.replace("sequence,step,a,b,label", '"sequence","step","a","b","label"'),
    "a mark and quoted headers": "\ufeff" + PLAIN.replace("sequence,step,a", '"sequence","step","a"'),
    "everything quoted": "".join(",".join(f'"{c}"' for c in line.split(",")) + "\n" for line in PLAIN.split()),
    "Windows line ends": PLAIN.replace("\n", "\r\n"),
    "line ends of old": PLAIN.replace("\n", "\r"),
    "no last line end": PLAIN.rstrip("\n"),
    "a last line of one blank": PLAIN + " ",
    "a last line of a tab": PLAIN + "\t\n",
    "blank lines": PLAIN.replace("\n", "\n\n").replace("r,", "  \nr,"),
    "a blank line first": "\n" + PLAIN,
    "blanks around cells": PLAIN.replace(",", " , ").replace("\n", " \n"),
    "quotes after a blank": PLAIN.replace(",0.5", ', "0.5"').replace(",up", ', "up"'),
    "signs and exponents": PLAIN.replace(",0.5", ",+5e-1").replace(",4,", ",.4E+01,").replace(",6,", ",6.,"),
    "steps out of order": "sequence,step,a,b,label\nr,1,5,6,down\ns,2,3,4,up\ns,1,0.5,1,up\n",
    "lines of sequences in turn": "sequence,step,a,b,label\ns,1,0.5,1,up\nr,1,5,6,down\ns,2,3,4,up\n",
    "no steps": "sequence,a,b,label\ns,0.5,1,up\nr,5,6,down\ns,3,4,up\n",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_one_table_in_many_spellings(tmp_path, reader, name):
    samples = read(tmp_path, SPELLINGS[name])
    found = {n: (x.tolist(), y) for n, x, y in zip(samples.names, samples.X, samples.y.tolist(), strict=True)}
    assert found == {"s": ([[0.5, 1.0], [3.0, 4.0]], "up"), "r": ([[5.0, 6.0]], "down")}
    assert samples.features == ["a", "b"]


def test_text_in_quotes_may_hold_commas_quotes_and_line_ends(tmp_path, reader):
    samples = read(tmp_path, 'sequence,"a, b",label\n"Doe, J",1,"x ""y"""\n"two\nlines",2,z\n')
    assert (samples.names, samples.features, samples.y.tolist()) == (["Doe, J", "two\nlines"], ["a, b"], ['x "y"', "z"])


def test_every_number_is_rounded_as_python_rounds_it(tmp_path, reader):
    texts = ["0.1", "1e-320", "4.9e-324", "1e-999", "1.7976931348623157e308", "9007199254740993", "-0.0",
             "0.30000000000000004440892098500626", "123456789012345678901234567890e-10"]  # fmt: skip
    samples = read(tmp_path, "sequence,a,label\n" + "".join(f"s,{text},x\n" for text in texts))
    assert samples.X[0][:, 0].tobytes() == np.array([float(text) for text in texts]).tobytes()


def test_a_target_is_compared_as_a_number_and_answers_that_are_not_asked_for_are_not_looked_at(tmp_path, reader):
    assert read(tmp_path, "sequence,a,target\ns,1,0.5\ns,2,5e-1\n").y.tolist() == [0.5]
    assert read(tmp_path, "sequence,a,label\ns,1,x\ns,2,y\n", answers=False).y is None


def test_many_lines_and_a_very_long_one(tmp_path, reader):
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((3 * blocks.ROWS + 5, 2))
    text = "sequence,a,b,label\n" + "".join(f"s{i % 7},{a!r},{b!r},x\n" for i, (a, b) in enumerate(rows.tolist()))
    samples = read(tmp_path, text)
    assert all(np.array_equal(x, rows[i::7]) for i, x in enumerate(samples.X))
    wide = generator.standard_normal((2, 20_000))
    text = "sequence,label," + ",".join(f"f{i}" for i in range(20_000)) + "\n"
    samples = read(tmp_path, text + "".join("s,x," + ",".join(map(repr, row)) + "\n" for row in wide.tolist()))
    assert np.array_equal(samples.X[0], wide)


# --- what is refused -------------------------------------------------------------------------------------------------------

ONE = "sequence,a,label\ns,1,x\n"
REFUSED = {
    "an underscore": (ONE + "s,1_000,x\n", "d.csv, line 3: `a` is `1_000`, not a number"),
    "full-width digits": (ONE + "s,１,x\n", "d.csv, line 3: `a` is `１`, not a number"),
    "thousands": (ONE + 's,"1,000",x\n', "d.csv, line 3: `a` is `1,000`, not a number"),
    "thousands without quotes": (ONE + "s,1,000,x\n", "d.csv, line 3: 4 columns, and the header names 3"),
    "a decimal comma": (ONE + 's,"0,5",x\n', "d.csv, line 3: `a` is `0,5`, not a number"),
    "text": (ONE + "s,left,x\n", "d.csv, line 3: `a` is `left`, not a number"),
    "a bool": (ONE + "s,True,x\n", "d.csv, line 3: `a` is `True`, not a number"),
    "a date": (ONE + "s,2024-01-02,x\n", "d.csv, line 3: `a` is `2024-01-02`, not a number"),
    "hexadecimal": (ONE + "s,0x10,x\n", "d.csv, line 3: `a` is `0x10`, not a number"),
    "NA": (ONE + "s,NA,x\n", "d.csv, line 3: `a` is `NA`, not a number"),
    "nan": (ONE + "s,NaN,x\n", "d.csv, line 3: `a` is `NaN`, not a finite number"),
    "inf": (ONE + "s,-inf,x\n", "d.csv, line 3: `a` is `-inf`, not a finite number"),
    "a huge exponent": (ONE + "s,1e99999999999,x\n", "d.csv, line 3: `a` is `1e99999999999`, not a finite number"),
    "a missing cell": (ONE + "s,,x\n", "d.csv, line 3: `a` is empty, not a number"),
    "a missing name": (ONE + ",1,x\n", "d.csv, line 3: `sequence` is empty"),
    "a missing label": (ONE + "r,1, \n", "d.csv, line 3: `label` is empty"),
    "a missing target": ("sequence,a,target\ns,1,\n", "d.csv, line 2: `target` is empty, not a number"),
    "an endless target": ("sequence,a,target\ns,1,inf\n", "d.csv, line 2: `target` is `inf`, not a finite number"),
    "another target": ("sequence,a,target\ns,1,2\ns,1,2.5\n",
                       "d.csv, line 3: `target` is `2.5`, and was `2` on line 2 of the same sequence `s`"),
    "another label": (ONE + "r,1,y\n\ns,1,y\n",
                      "d.csv, line 5: `label` is `y`, and was `x` on line 2 of the same sequence `s`"),
    "a step again": ("sequence,step,a,label\ns,2,1,x\ns,1,1,x\n\ns,2,1,x\n",
                     "d.csv, line 5: step 2 of the sequence `s` stands on line 2 already"),
    "a step that is no number": ("sequence,step,a,label\ns,first,1,x\n", "d.csv, line 2: `step` is `first`, not a number"),
    "too few cells": (ONE + "s,1\n", "d.csv, line 3: 2 columns, and the header names 3"),
    "too many cells": (ONE + "s,1,x,\n", "d.csv, line 3: 4 columns, and the header names 3"),
    "an empty cell alone": (ONE + '""\n', "d.csv, line 3: 1 columns, and the header names 3"),
    "the first of two": (ONE + "s,y,x\ns,1\n", "d.csv, line 3: `a` is `y`, not a number"),
    "text behind a quote": (ONE + 's,"1"2,x\n', "d.csv, line 3: ',' expected after '\"'"),
    "text behind a quoted label": (ONE + 's,1,"1,"x"\n', "d.csv, line 3: ',' expected after '\"'"),
    "an open quote": (ONE + 's,1,"x\ns,1,x\n', "d.csv, line 3: unexpected end of data"),
    "the line of a cell of two lines": (ONE + 'r,1,"y\nz"\ns,y,x\n', "d.csv, line 5: `a` is `y`, not a number"),
    "a NUL byte": (ONE + "r,1,x\0\n", "d.csv, line 3: it holds a NUL byte, and is no text"),
    "a cell without end": (ONE + f"s,1,{'x' * 131_073}\n", "d.csv, line 3: field larger than field limit (131072)"),
    "many digits and a letter": (ONE + f"s,{'1' * 100_000}x,x\n", f"d.csv, line 3: `a` is `{'1' * 60}`, not a number"),
    "Latin": (ONE.encode() + "s,1,ü\n".encode("latin-1"), "`d.csv`, line 3: it is no text in UTF-8: byte 4"),
    "UTF-16": (ONE.encode("utf-16"), "`d.csv` is no text in UTF-8, and begins as UTF-16 does: save it as UTF-8"),
    "semicolons": (ONE.replace(",", ";"), "d.csv, line 1: its cells are divided by semicolons, and must be divided by commas"),
    "tabs": (ONE.replace(",", "\t"), "d.csv, line 1: its cells are divided by tabs, and must be divided by commas"),
    "columns of one name": ("sequence,a, a,label\n",
                            "d.csv, line 1: every column has a name of its own; the header is `sequence`, `a`, `a`, `label`"),
    "a column without a name": ("sequence,,label\n",
                                "d.csv, line 1: every column has a name of its own; the header is `sequence`, ``, `label`"),
    "nothing": ("", "d.csv: it is empty; the first line names the columns"),
    "blanks": (" \n\n", "d.csv: it is empty; the first line names the columns"),
    "a header alone": ("sequence,a,label\n \n", "d.csv: it names columns, and has no line under them"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_told_with_its_line_and_column(tmp_path, reader, name):
    content, words = REFUSED[name]
    assert told(tmp_path, content) == words


# --- two readers -----------------------------------------------------------------------------------------------------------


def test_a_plain_file_is_not_read_by_lines(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(blocks, "_read_lines", None)
    for name in ("a byte-order mark", "everything quoted", "Windows line ends", "steps out of order", "no last line end"):
        assert len(read(tmp_path, SPELLINGS[name]).X) == 2


CELLS = st.one_of(
    st.sampled_from(["1", "2.5", "-3e2", "+1", "1_0", "nan", "", " ", "1 ", '"1"', '"1" ', ' "1"', '"1"1', '1"', '"', '""',
                     "１", "1\x00", "1\xa0", "x", "1\r", "\n", "1e400", "1e-400", "0x1", "1.", ".5", ".", "TRUE", "null",
                     "\x1c1", "-"]),
    st.text(alphabet='01.e+-_ "\t,x', max_size=5),
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(["s", "r", '"s"', " s"]), CELLS, CELLS), min_size=1, max_size=4), st.sampled_from("\n\r")
)
def test_both_readers_say_the_same_of_any_text(tmp_path_factory, rows, end):
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.getbasetemp()
    content = "sequence,a,label" + end + "".join(",".join(row) + end for row in rows)
    found = []
    for module in (None, sys.modules["pyarrow"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "pyarrow", module)
            try:
                samples = read(folder, content)
                found.append((samples.names, [x.tobytes() for x in samples.X], samples.y.tolist(), samples.features))
            except ostinato.OstinatoError as error:
                found.append((type(error), str(error)))
    assert found[0] == found[1]


def test_memory_is_a_small_multiple_of_the_numbers(tmp_path, reader):
    rows = np.random.default_rng(1).standard_normal((30_000, 8))
    lines = [f"s{i // 100},{i % 100}," + ",".join(f"{v:.5f}" for v in row) + ",x" for i, row in enumerate(rows.tolist())]
    text = "sequence,step," + ",".join("abcdefgh") + ",label\n" + "\n".join(lines)
    read(tmp_path, "\n".join(text.split("\n")[:9]))  # the reader is there
    (tmp_path / "d.csv").write_text(text)
    tracemalloc.start()
    samples = tables.read_samples(str(tmp_path / "d.csv"), answers=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(samples.X) == 300
    assert peak < 4.5 * rows.nbytes


# --- .npz ------------------------------------------------------------------------------------------------------------------


class Unpickled:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def test_arrays_that_nobody_asks_for_are_not_read(tmp_path):
    path = str(tmp_path / "d.npz")
    X, more = np.zeros((2, 3, 4)), np.array([Unpickled(), None], object)
    np.savez(path, X=X, y=[0, 1], names=more)
    assert len(tables.read_samples(path, answers=True).X) == 2
    np.savez(path, X=X, y=more)
    assert tables.read_samples(path, answers=False).y is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("X", "not of numbers; sequences of several lengths are filled up to the longest, and `lengths` says how long each is"),
        ("y", "neither of numbers nor of text"),
        ("lengths", "not of whole numbers"),
    ],
)
def test_an_array_of_objects_is_named_and_not_unpickled(tmp_path, name, words):
    path = str(tmp_path / "d.npz")
    np.savez(path, **{"X": np.zeros((2, 3, 4)), "y": [0, 1], "lengths": [3, 3], name: np.array([Unpickled(), None], object)})
    with pytest.raises(ostinato.DataError) as caught:
        tables.read_samples(path, answers=True)
    assert str(caught.value) == f"{path}: `{name}` is an array of objects, {words}"


def test_an_array_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, X=np.full((2, 3, 4), 7.0), y=[0, 1])
    content = bytearray(path.read_bytes())
    content[content.index(np.float64(7).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ostinato.FileError) as caught:
        tables.read_samples(str(path), answers=True)
    assert str(caught.value).startswith(f"`{path}`: the array `X` is damaged: Bad CRC-32")
