"""Frames, series and masked arrays: every column of numbers is taken, and what is no number is refused with its name."""

import numpy as np
import pytest

from ostinato import DataError, DataTypeError, Layer, cells
from ostinato.learn.losses import cross_entropy

from .helpers import Messages, assert_equal

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
pyarrow = pytest.importorskip("pyarrow")

case = Messages("errors_frames.txt")
LAYER = Layer(cells.gru, n_inputs=2, n_neurons=3)
VALUES = np.array([[0.5, 1.0], [1.5, 0.0], [2.5, 1.0]])
FRAME = pandas.DataFrame(VALUES, columns=["speed", "on_ground"])
POLARS = polars.DataFrame({"speed": VALUES[:, 0], "on_ground": VALUES[:, 1]})
TABLE = pyarrow.table({"speed": VALUES[:, 0], "on_ground": VALUES[:, 1]})


class Columned:
    """What a frame of a library nobody knows has: names, and an array."""

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


class Interchanged:
    """A frame that speaks the interchange protocol and no more."""

    def __init__(self, frame):
        self.frame = frame

    def __dataframe__(self, **options):
        return self.frame.__dataframe__(**options)


def column(values, name="on_ground"):
    return TABLE.set_column(1, name, values)


TAKEN = {
    "pandas": FRAME,
    "pandas float32": FRAME.astype("float32"),
    "bool": FRAME.astype({"on_ground": bool}),
    "nullable": FRAME.convert_dtypes(),
    "arrow in pandas": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "int8 and nullable boolean": FRAME.astype({"on_ground": "boolean"}),
    "objects": FRAME.astype(object),
    "sparse column": FRAME.astype({"on_ground": pandas.SparseDtype(float)}),
    "columns without names": pandas.DataFrame(VALUES),
    "polars": POLARS,
    "polars bool": POLARS.with_columns(polars.col("on_ground").cast(polars.Boolean)),
    "polars decimal": POLARS.with_columns(polars.col("on_ground").cast(polars.Decimal(10, 2))),
    "polars objects": POLARS.with_columns(on_ground=polars.Series([1.0, 0.0, 1.0], dtype=polars.Object)),
    "pyarrow": TABLE,
    "pyarrow batch": TABLE.to_batches()[0],
    "pyarrow bool": column(pyarrow.array([True, False, True])),
    "pyarrow decimal": column(pyarrow.array([1, 0, 1]).cast(pyarrow.decimal128(22, 2))),
    "another library": Columned(VALUES, ["speed", "on_ground"]),
    "another library of objects": Columned(VALUES.astype(object), ["speed", "on_ground"]),
    "interchange": Interchanged(TABLE),
    "array of objects": np.array([[0.5, True], [1.5, False], [2.5, True]], object),
    "nothing masked": np.ma.array(VALUES, mask=False),
    "list of masked rows": [np.ma.array(row) for row in VALUES],
    "list of series": [FRAME.iloc[i] for i in range(3)],
    "list of nullable series": [FRAME.convert_dtypes().iloc[i] for i in range(3)],
    "list of polars series": [polars.Series(row) for row in VALUES],
    "rows of a list": VALUES.tolist(),
}


@pytest.mark.parametrize("name", TAKEN)
def test_numbers_are_taken(name):
    assert_equal(LAYER(TAKEN[name]), LAYER(VALUES))


def test_a_list_of_frames_has_an_axis_more():
    assert LAYER([FRAME, FRAME]).shape == (2, 3, 3)


def test_a_frame_of_one_array_is_not_copied():
    from ostinato.runtime.frames import numbers_of_frame

    assert np.shares_memory(numbers_of_frame(FRAME, "x", "gru"), FRAME.to_numpy())


def test_a_frame_without_columns_and_lengths_of_frames():
    from ostinato.runtime.frames import column_names, numbers_of_frame

    assert numbers_of_frame(POLARS.select([]), "x", "gru").shape[1] == 0
    assert column_names(FRAME) == column_names(POLARS) == column_names(TABLE) == ("speed", "on_ground")
    assert column_names(VALUES) is column_names(pandas.DataFrame(VALUES)) is column_names(FRAME["speed"]) is None
    lengths = pandas.Series([2, 3], dtype="Int64")
    assert_equal(LAYER(np.stack([VALUES] * 2, axis=1), lengths=lengths), LAYER(np.stack([VALUES] * 2, axis=1), lengths=[2, 3]))


# --- what is refused, with the name of the column


@case(DataError)
def text_column():
    LAYER(FRAME.assign(on_ground=["yes", "no", "yes"]))


@case(DataError)
def category_column():
    LAYER(FRAME.assign(on_ground=pandas.Categorical([1, 0, 1])))


@case(DataError)
def date_column():
    LAYER(FRAME.assign(speed=pandas.date_range("2020", periods=3, tz="UTC", unit="s")))


@case(DataError)
def duration_column():
    LAYER(POLARS.with_columns(speed=polars.lit(1).cast(polars.Duration("ms"))))


@case(DataError)
def period_column():
    LAYER(FRAME.assign(speed=pandas.period_range("2020", periods=3, freq="D")))


@case(DataError)
def complex_column():
    LAYER(FRAME.assign(on_ground=[1j, 2, 3]))


@case(DataError)
def missing_integer():
    LAYER(FRAME.assign(on_ground=pandas.array([1, None, 3], "Int64")))


@case(DataError)
def missing_truth_value():
    LAYER(FRAME.assign(on_ground=pandas.array([True, False, None], "boolean")))


@case(DataError)
def missing_object():
    LAYER(FRAME.assign(on_ground=np.array([None, 1, 3], object)))


@case(DataError)
def text_among_objects():
    LAYER(FRAME.assign(on_ground=np.array([1, "yes", 3], object)))


@case(DataError)
def text_in_polars():
    LAYER(POLARS.with_columns(on_ground=polars.lit("yes")))


@case(DataError)
def categories_in_polars():
    LAYER(POLARS.with_columns(on_ground=polars.Series(["a", "b", "a"]).cast(polars.Categorical)))


@case(DataError)
def missing_in_polars():
    LAYER(POLARS.with_columns(on_ground=polars.Series([1, None, 2])))


@case(DataError)
def all_missing_in_polars():
    LAYER(POLARS.with_columns(on_ground=polars.lit(None)))


@case(DataError)
def frame_that_is_not_computed():
    LAYER(POLARS.lazy())


@case(DataError)
def dictionary_in_pyarrow():
    LAYER(column(pyarrow.array(["x", "y", "x"]).dictionary_encode()))


@case(DataError)
def missing_in_pyarrow():
    LAYER(column(pyarrow.array([1, 2, None])))


@case(DataError)
def all_missing_in_pyarrow():
    LAYER(column(pyarrow.nulls(3)))


@case(DataError)
def date_in_an_unknown_frame():
    LAYER(Columned(np.array([[1.0, FRAME], [2.0, pandas.Timestamp("2020")]], object)[1:], ["speed", "on_ground"]))


@case(DataError)
def frame_of_no_array():
    class Strange:
        columns = ("speed", "on_ground")

    LAYER(Strange())


@case(DataError)
def series_with_a_missing_number():
    LAYER(np.zeros((3, 2, 2)), lengths=pandas.Series([2, None], dtype="Int64"))


@case(DataError)
def masked_element():
    LAYER(np.ma.array(VALUES, mask=[[False, False], [False, True], [False, False]]))


@case(DataError)
def masked_element_in_a_list():
    LAYER([VALUES[0], np.ma.array(VALUES[1], mask=[True, False]), VALUES[2]])


@case(DataError)
def masked_constant():
    LAYER([[0.5, 1.0], [1.5, np.ma.masked]])


@case(DataError)
def masked_target():
    cross_entropy(VALUES, np.ma.array([0, 1, 0], mask=[False, False, True]))


@case(DataError)
def masked_weight():
    LAYER.weights["b_r"] = np.ma.array([1.0, 2.0, 3.0], mask=[True, False, False])


@case(DataError)
def missing_in_a_list():
    LAYER([[0.5, 1.0], [1.5, pandas.NA]])


@case(DataError)
def no_value():
    LAYER(None)


@case(DataError)
def date_in_a_list():
    LAYER([[0.5, pandas.Timestamp("2020")]])


@case(DataError)
def number_beyond_float64():
    LAYER([[0.5, 10**400]])


@case(DataError)
def complex_number_in_a_list():
    LAYER(np.array([[0.5, 1j]], object))


@case(DataError)
def complex_array():
    LAYER(VALUES * 1j)


@case(DataError)
def frames_in_another_order_side_by_side():
    LAYER([FRAME, FRAME[["on_ground", "speed"]]])


@case(DataError)
def two_columns_of_one_name():
    LAYER([pandas.DataFrame(VALUES, columns=["speed", "speed"])])


@case(DataTypeError)
def names_of_two_kinds():
    LAYER([FRAME.rename(columns={"speed": 1})])


@case(DataTypeError)
def dictionary():
    LAYER({"speed": [1.0]})


@case(DataTypeError)
def sparse_matrix():
    from scipy.sparse import csr_array

    LAYER(csr_array(VALUES))


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
