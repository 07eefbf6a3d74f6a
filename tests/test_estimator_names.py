"""Columns of frames are told apart by their names, never by their places; labels of every kind are learned and scored."""

import warnings
from enum import Enum

import numpy as np
import pytest

import ostinato
from ostinato import DataError, DataTypeError, RecurrentClassifier, RecurrentRegressor

from .helpers import Messages, assert_equal

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
pyarrow = pytest.importorskip("pyarrow")

case = Messages("errors_estimator_names.txt")
RNG = np.random.default_rng(0)
SEQUENCES = [RNG.standard_normal((int(RNG.integers(3, 9)), 2)) * [1, 5] + [0, 20] for _ in range(40)]
FRAMES = [pandas.DataFrame(x, columns=["speed", "height"]) for x in SEQUENCES]
SWAPPED = [frame[["height", "speed"]] for frame in FRAMES]
RENAMED = [frame.rename(columns={"height": "weight"}) for frame in FRAMES]
LABELS = np.array(["up" if x[:, 0].sum() > 0 else "down" for x in SEQUENCES])
WITHOUT = "X does not have valid feature names, but RecurrentClassifier was fitted with feature names"


def classifier(**options):
    return RecurrentClassifier(**{"n_neurons": 4, "max_epochs": 4, "learning_rate": 0.05, "random_state": 0, **options})


FITTED = classifier().fit(FRAMES, LABELS)
PLAIN = classifier().fit(SEQUENCES, LABELS)
ANSWERS = FITTED.predict_proba(FRAMES)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_columns_in_another_order_are_put_in_order(method):
    assert FITTED.feature_names_in_.tolist() == ["speed", "height"]
    assert FITTED.feature_names_in_.dtype == object
    call = getattr(FITTED, method)
    assert_equal(call(SWAPPED), call(FRAMES))
    assert FITTED.score(SWAPPED, LABELS) == FITTED.score(FRAMES, LABELS)
    half = [a if i % 2 else b for i, (a, b) in enumerate(zip(FRAMES, SWAPPED, strict=True))]
    assert_equal(call(half), call(FRAMES))


def test_frames_of_one_fit_are_put_in_the_order_of_the_first():
    half = [b if i % 2 else a for i, (a, b) in enumerate(zip(FRAMES, SWAPPED, strict=True))]
    model = classifier().fit(half, LABELS)
    assert_equal(model.predict_proba(FRAMES), ANSWERS)
    other = classifier().fit(SWAPPED, LABELS)
    assert other.feature_names_in_.tolist() == ["height", "speed"]
    assert_equal(other.predict_proba(FRAMES), other.predict_proba(SWAPPED))


def test_the_library_of_a_frame_does_not_matter():
    assert_equal(PLAIN.predict_proba(SEQUENCES), ANSWERS)
    for convert in (polars.from_pandas, pyarrow.Table.from_pandas, lambda f: f.convert_dtypes(), lambda f: f.astype(object)):
        assert_equal(FITTED.predict_proba([convert(frame) for frame in SWAPPED]), ANSWERS)
    assert_equal(classifier().fit([polars.from_pandas(f) for f in FRAMES], LABELS).predict_proba(FRAMES), ANSWERS)
    with_empty = [FRAMES[0], FRAMES[1].iloc[:0], []]
    assert_equal(FITTED.predict_proba(with_empty)[1], FITTED.predict_proba(with_empty)[2])


def test_names_are_saved(tmp_path):
    FITTED.save(tmp_path / "model.safetensors")
    again = ostinato.load(tmp_path / "model.safetensors")
    assert again.feature_names_in_.tolist() == ["speed", "height"]
    assert_equal(again.predict_proba(SWAPPED), ANSWERS)


def test_names_where_there_were_none_and_none_where_there_were_warn():
    with pytest.warns(UserWarning, match=WITHOUT) as caught:
        assert_equal(FITTED.predict_proba(SEQUENCES), ANSWERS)
    assert caught[0].filename == __file__
    message = "X has feature names, but RecurrentClassifier was fitted without feature names"
    with pytest.warns(UserWarning, match=message):
        PLAIN.predict(FRAMES)
    with warnings.catch_warnings():  # columns that are numbered have no names
        warnings.simplefilter("error")
        PLAIN.predict([pandas.DataFrame(x) for x in SEQUENCES])


def test_fitting_without_names_forgets_them():
    model = classifier(max_epochs=1).fit(FRAMES, LABELS)
    model.fit(SEQUENCES, LABELS)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 2


# --- labels

TEXT = {
    "object": LABELS.astype(object),
    "series": pandas.Series(LABELS),
    "nullable text": pandas.Series(LABELS, dtype="string"),
    "category": pandas.Series(LABELS, dtype="category"),
    "categorical": pandas.Categorical(LABELS),
    "polars": polars.Series(LABELS),
    "polars category": polars.Series(LABELS).cast(polars.Categorical),
    "pyarrow": pyarrow.array(LABELS.tolist()),
    "text of any length": np.array(LABELS, np.dtypes.StringDType()),
    "one column": pandas.DataFrame({"label": LABELS}),
    "one column of polars": polars.DataFrame({"label": LABELS}),
    "one column of pyarrow": pyarrow.table({"label": LABELS.tolist()}),
    "list": LABELS.tolist(),
}


@pytest.mark.parametrize("name", TEXT)
def test_labels_of_every_library_are_learned_and_scored(name):
    model = classifier().fit(FRAMES, TEXT[name])
    assert model.classes_.tolist() == ["down", "up"]
    assert_equal(model.predict_proba(FRAMES), ANSWERS)
    assert model.score(FRAMES, TEXT[name]) == (model.predict(FRAMES) == LABELS).mean() == FITTED.score(FRAMES, LABELS)


KINDS = {
    "bytes": np.char.encode(LABELS),
    "bytes as objects": np.char.encode(LABELS).astype(object),
    "truth values": LABELS == "up",
    "nullable truth values": pandas.Series(LABELS == "up", dtype="boolean"),
    "nullable integers": pandas.Series(LABELS == "up").astype("Int64"),
    "objects that are integers": (LABELS == "up").astype(int).astype(object),
    "objects that are truth values": (LABELS == "up").astype(object),
    "whole floats": (LABELS == "up").astype(float),
    "nothing masked": np.ma.array(LABELS == "up", mask=False),
    "unsigned": (LABELS == "up").astype(np.uint8),
}


@pytest.mark.parametrize("name", KINDS)
def test_labels_of_every_kind_are_learned_scored_and_saved(name, tmp_path):
    y = KINDS[name]
    model = classifier().fit(FRAMES, y)
    assert_equal(model.predict_proba(FRAMES), ANSWERS)
    assert model.score(FRAMES, y) == FITTED.score(FRAMES, LABELS)
    model.save(tmp_path / "model.safetensors")
    again = ostinato.load(tmp_path / "model.safetensors")
    assert_equal(again.classes_, model.classes_)
    assert again.score(FRAMES, y) == model.score(FRAMES, y)


def test_dates_are_labels_that_can_not_be_saved(tmp_path):
    days = np.where(LABELS == "up", np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
    model = classifier().fit(FRAMES, days)
    assert model.score(FRAMES, days) == (model.predict(FRAMES) == days).mean()
    with pytest.raises(ostinato.FileError, match="classes of type date can not be saved"):
        model.save(tmp_path / "model.safetensors")


# --- what is refused


class Colour(Enum):
    RED, BLUE = 1, 2


@case(DataError)
def other_names():
    FITTED.predict([FRAMES[0], RENAMED[1]])


@case(DataError)
def further_names():
    FITTED.predict([FRAMES[0].assign(**{f"n{i}": 0.0 for i in range(7)})])


@case(DataError)
def missing_names():
    FITTED.predict([FRAMES[0][["speed"]]])


@case(DataError)
def other_names_in_one_fit():
    classifier().fit([*FRAMES[:-1], RENAMED[-1]], LABELS)


@case(DataError)
def names_for_some():
    classifier().fit([*FRAMES[:-1], SEQUENCES[-1]], LABELS)


@case(DataError)
def one_frame():
    FITTED.predict(FRAMES[0])


@case(DataTypeError)
def names_of_two_kinds():
    classifier().fit([f.rename(columns={"speed": 0}) for f in FRAMES], LABELS)


@case(DataError)
def a_column_of_text():
    classifier().fit([f.assign(height="high") for f in FRAMES], LABELS)


@case(DataError)
def a_missing_value():
    FITTED.predict([FRAMES[0], FRAMES[1].assign(height=pandas.array([None] * len(FRAMES[1]), "Float64"))])


@case(DataError)
def a_masked_sequence():
    PLAIN.predict([SEQUENCES[0], np.ma.array(SEQUENCES[1], mask=SEQUENCES[1] > 22)])


@case(DataError)
def a_masked_array():
    PLAIN.predict(np.ma.masked_greater(np.ones((2, 3, 2)), 0.5))


@case(DataError)
def missing_label():
    classifier().fit(FRAMES, np.where(np.arange(40) == 6, None, LABELS))


@case(DataError)
def missing_label_in_a_series():
    classifier().fit(FRAMES, pandas.Series([1, None] * 20, dtype="Int64"))


@case(DataError)
def missing_category():
    classifier().fit(FRAMES, pandas.Categorical([None, *LABELS[1:]]))


@case(DataError)
def label_that_is_not_a_number():
    classifier().fit(FRAMES, np.where(np.arange(40) == 5, np.nan, 1.0))


@case(DataError)
def label_without_a_date():
    classifier().fit(FRAMES, np.array(["2020-01-01", "NaT"] * 20, "M8[D]"))


@case(DataError)
def masked_label():
    classifier().fit(FRAMES, np.ma.array(np.arange(40) % 2, mask=np.arange(40) == 4))


@case(DataError)
def complex_labels():
    classifier().fit(FRAMES, np.ones(40) * 1j)


@case(DataTypeError)
def labels_without_order():
    classifier().fit(FRAMES, np.array([Colour.RED, Colour.BLUE] * 20, object))


@case(DataTypeError)
def labels_that_are_sets():
    classifier().fit(FRAMES, np.array([{1}, {2}] * 20, object))


@case(DataError)
def labels_of_another_kind_than_learned():
    FITTED.score(FRAMES, np.char.encode(LABELS))


@case(DataError)
def numbers_where_text_was_learned():
    FITTED.score(FRAMES, (LABELS == "up").astype(int))


@case(DataError)
def missing_target():
    RecurrentRegressor(max_epochs=1).fit(FRAMES, pandas.Series([1.0, None] * 20, dtype="Float64"))


@case(DataError)
def one_answer_for_all_steps():
    RecurrentRegressor(max_epochs=1, per_step=True).fit(FRAMES, 3.0)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
