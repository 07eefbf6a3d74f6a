"""Everybody's first calls: what is nearly right has the value of the plain call, what is wrong is answered in our own words."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from ostinato import (
    Bidirectional,
    DataError,
    DataTypeError,
    DimensionError,
    Dropout,
    LastStep,
    Layer,
    Network,
    OptionError,
    cells,
    cross_entropy,
    mean_squared_error,
    pad_sequences,
    relu,
    unpad_sequences,
)
from ostinato.errors import ArgumentError
from ostinato.learn.training import Examples

from .helpers import Messages, assert_equal, random

case = Messages("errors_first_mistakes.txt")
X = random((7, 5, 2), dtype=np.float32)  # float32, so that what is given as float64 below are the same numbers
WIDE = X.astype(np.float64)
Y, T = random((5, 3), 1), random((5, 3), 2)
LABELS = np.array([0, 2, 1, 1, 0])
LENGTHS = [7, 3, 0, 5, 1]
MASKED = np.ma.masked_greater(WIDE, 1.5)
SEQUENCES = [WIDE[:n, i] for i, n in enumerate(LENGTHS)]
layer = Layer(cells.gru, n_inputs=2, n_neurons=3)
dense = Layer(cells.dense, n_inputs=3, n_outputs=1)
net = Network(Layer(cells.gru, n_inputs=2, n_neurons=3), Layer(cells.dense, n_inputs=3, n_outputs=1))


def flat(result):
    """What a call gave, as arrays to be compared."""
    if isinstance(result, Examples):
        result = result.padded(batch_first=False)
        parts = [result.X, result.target, *(a for a in (result.lengths, result.weights) if a is not None)]
        return [np.asarray(part, float) for part in parts]
    if isinstance(result, tuple | list):
        return [array for part in result for array in flat(part)]
    if isinstance(result, dict):
        return flat(list(result.values()))
    return [result] if isinstance(result, np.ndarray | float | int) else []


LIKE_X = {
    "float64": WIDE,
    "lists": WIDE.tolist(),
    "tuples": tuple(map(tuple, WIDE.tolist())),
    "a tensor": torch.tensor(WIDE),
    "columns first": np.asfortranarray(X),
    "another byte order": WIDE.astype(">f8"),
    "a view": np.flip(np.flip(X)),
    "objects": WIDE.astype(object),
    "a masked array of which nothing is masked": np.ma.array(WIDE),
    "frames": [pd.DataFrame(x) for x in WIDE],
    "frames of polars": [pl.DataFrame(x) for x in WIDE],
    "a list of arrays": [*WIDE],
}
LIKE_LENGTHS = {
    "a list": LENGTHS,
    "a tuple": tuple(LENGTHS),
    "small": np.array(LENGTHS, np.int8),
    "unsigned": np.array(LENGTHS, np.uint64),
    "whole floats": np.array(LENGTHS, float),
    "a series": pd.Series(LENGTHS, index=[4, 3, 2, 1, 0]),
    "polars": pl.Series(LENGTHS),
    "a tensor": torch.tensor(LENGTHS),
    "objects": np.array(LENGTHS, object),
    "strided": np.repeat(LENGTHS, 2)[::2],
}
LIKE_LABELS = {
    "a list": LABELS.tolist(),
    "floats": LABELS * 1.0,
    "a column": LABELS[:, None],
    "one-hot": np.eye(3)[LABELS],
    "whole one-hot": np.eye(3, dtype=int)[LABELS],
    "a series": pd.Series(LABELS, index=[4, 3, 2, 1, 0]),
    "polars": pl.Series(LABELS),
    "a tensor": torch.tensor(LABELS),
    "objects": LABELS.astype(object),
    "unsigned": LABELS.astype(np.uint8),
    "nullable": pd.Series(LABELS, dtype="Int64"),
}
LIKE_STEPS = {
    "float64": WIDE[0, 0],
    "a list": WIDE[0, 0].tolist(),
    "a tuple": tuple(WIDE[0, 0]),
    "a series": pd.Series(WIDE[0, 0]),
    "polars": pl.Series(WIDE[0, 0]),
    "a tensor": torch.tensor(WIDE[0, 0]),
    "objects": WIDE[0, 0].astype(object),
    "a view": X[:, 0].T[:, 0],
    "a masked array of which nothing is masked": np.ma.array(WIDE[0, 0]),
    "numbers": [*X[0, 0]],
}
GRADIENT = random((7, 5, 3), 4, np.float32)
LIKE_GRADIENT = {
    "float64": GRADIENT.astype(float),
    "lists": GRADIENT.tolist(),
    "a tensor": torch.tensor(GRADIENT),
    "objects": GRADIENT.astype(object),
    "columns first": np.asfortranarray(GRADIENT),
    "a list of arrays": [*GRADIENT],
    "polars": [pl.DataFrame(x) for x in GRADIENT],
    "frames": [pd.DataFrame(x) for x in GRADIENT],
    "another byte order": GRADIENT.astype(">f4"),
    "by name": {"output": GRADIENT},
}
SEQUENCES_AS = {
    "tuple": tuple(SEQUENCES),
    "lists": [x.tolist() or np.zeros((0, 2)) for x in SEQUENCES],
    "objects": np.array([*SEQUENCES, 0], object)[:5],
    "frames": [pd.DataFrame(x, columns=["a", "b"]) for x in SEQUENCES],
    "tensors": [torch.tensor(x) for x in SEQUENCES],
    "polars": [pl.DataFrame(x, schema=["a", "b"]) for x in SEQUENCES],
    "series": pd.Series(SEQUENCES),
    "rows": [[*x] or np.zeros((0, 2)) for x in SEQUENCES],
    "an empty one without columns": [x if len(x) else [] for x in SEQUENCES],
    "columns first": [np.asfortranarray(x) for x in SEQUENCES],
    "columns in another order": [
        pd.DataFrame(x, columns=["a", "b"])[["ab", "ba"][i % 2] and list(["ab", "ba"][i % 2])] for i, x in enumerate(SEQUENCES)
    ],
}
PARTS = [layer, dense]

# what is called -> (the plain call, nearly right ones by what is another way to say it)
RIGHT = {
    "layer": (lambda: layer(X), {what: lambda x=x: layer(x) for what, x in LIKE_X.items()}),
    "run": (
        lambda: layer.run(X, lengths=np.array(LENGTHS)),
        {what: lambda n=n: layer.run(X, lengths=n) for what, n in LIKE_LENGTHS.items()},
    ),
    "state": (
        lambda: layer.run(X, state={"h": np.ones((5, 3), np.float32)}),
        {
            "alone": lambda: layer.run(X, state=np.ones((5, 3))),
            "a list": lambda: layer.run(X, state=np.ones((5, 3)).tolist()),
            "whole numbers": lambda: layer.run(X, state={"h": np.ones((5, 3), int)}),
            "the input by name": lambda: layer.run(x=X, state=np.ones((5, 3))),
            "frame": lambda: layer.run(X, state=pd.DataFrame(np.ones((5, 3)))),
        },
    ),
    "vjp": (
        lambda: layer.vjp(X)[1](GRADIENT).inputs,
        {what: lambda d=d: layer.vjp(X)[1](d).inputs for what, d in LIKE_GRADIENT.items()},
    ),
    "stream": (lambda: layer.stream()(X[0, 0]), {what: lambda x=x: layer.stream()(x) for what, x in LIKE_STEPS.items()}),
    "network": (lambda: net(X), {what: lambda x=x: net(x) for what, x in LIKE_X.items()}),
    "network_run": (
        lambda: net.run(X, lengths=np.array(LENGTHS)),
        {what: lambda n=n: net.run(X, lengths=n) for what, n in LIKE_LENGTHS.items()},
    ),
    "Network": (
        lambda: Network(layer, dense)(X),
        {
            "a list": lambda: Network(PARTS)(X),
            "a tuple": lambda: Network((layer, dense))(X),
            "nested": lambda: Network(Network(layer), dense)(X),
            "nested twice": lambda: Network(Network(Network(layer), dense))(X),
            "no dropout": lambda: Network(layer, Dropout(0), dense)(X),
            "dropout": lambda: Network(layer, Dropout(0.5), dense)(X),
        },
    ),
    "Examples": (
        lambda: Examples(X, LABELS),
        {
            **{f"X: {what}": lambda x=x: Examples(x, LABELS) for what, x in LIKE_X.items() if not isinstance(x, list | tuple)},
            **{f"target: {what}": lambda y=y: Examples(X, y) for what, y in LIKE_LABELS.items() if np.shape(y) == (5,)},
            "samples first": lambda: Examples(X.swapaxes(0, 1), LABELS, batch_first=True),
            "a list": lambda: Examples([*X.swapaxes(0, 1)], LABELS),
            "lists": lambda: Examples(WIDE.swapaxes(0, 1).tolist(), LABELS.tolist()),
            "told": lambda: Examples(X, LABELS, per_step=False),
        },
    ),
    "Examples of lengths": (
        lambda: Examples(SEQUENCES, LABELS, weights=np.array([1.0, 2, 3, 4, 5])),
        {
            **{what: lambda x=x: Examples(x, LABELS, weights=[1, 2, 3, 4, 5]) for what, x in SEQUENCES_AS.items()},
            "cut": lambda: Examples([*WIDE.swapaxes(0, 1)], LABELS, LENGTHS, weights=(1, 2, 3, 4, 5)),
        },
    ),
    "cross_entropy": (
        lambda: cross_entropy(Y, LABELS),
        {what: lambda t=t: cross_entropy(Y, t) for what, t in LIKE_LABELS.items()},
    ),
    "cross_entropy of two": (
        lambda: cross_entropy(Y[:, :2], LABELS % 2),
        {"truth values": lambda: cross_entropy(Y[:, :2], LABELS % 2 == 1)},
    ),
    "mean_squared_error": (
        lambda: mean_squared_error(Y[:, :1], T[:, :1]),
        {
            "a vector": lambda: mean_squared_error(Y[:, :1], T[:, 0]),
            "a list": lambda: mean_squared_error(Y[:, :1], T[:, 0].tolist()),
            "a series": lambda: mean_squared_error(Y[:, :1], pd.Series(T[:, 0])),
            "frames": lambda: mean_squared_error(pd.DataFrame(Y[:, :1]), T[:, :1]),
            "tensors": lambda: mean_squared_error(torch.tensor(Y[:, :1]), torch.tensor(T[:, :1])),
            "lists": lambda: mean_squared_error(Y[:, :1].tolist(), T[:, :1]),
            "equal weights": lambda: mean_squared_error(Y[:, :1], T[:, 0], weights=[2] * 5),
            "a mask of all": lambda: mean_squared_error(Y[:, :1], T[:, 0], mask=[True] * 5),
            "objects": lambda: mean_squared_error(Y[:, :1], T[:, 0].astype(object)),
            "by name": lambda: mean_squared_error(output=Y[:, :1], target=T[:, 0]),
        },
    ),
    "pad_sequences": (
        lambda: pad_sequences(SEQUENCES),
        {what: lambda x=x: pad_sequences(x) for what, x in SEQUENCES_AS.items()},
    ),
    "pad_sequences of one length": (lambda: pad_sequences([*WIDE]), {"an array": lambda: pad_sequences(WIDE)}),
    "unpad_sequences": (lambda: SEQUENCES, {what: lambda n=n: unpad_sequences(WIDE, n) for what, n in LIKE_LENGTHS.items()}),
}


@pytest.mark.parametrize(("called", "what"), [(called, what) for called, (_, calls) in RIGHT.items() for what in calls])
def test_what_is_nearly_right_is_taken_as_it_is_meant(called, what):
    plain, calls = RIGHT[called]
    expected, found = flat(plain()), flat(calls[what]())
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        if "equal weights" in what:  # the same average, summed in another way
            np.testing.assert_allclose(one, other, rtol=1e-12)
        else:
            assert_equal(one, other)


def wrong(called, **calls):
    """Further cases: name -> (class of the error, call)."""
    for name, (error, call) in calls.items():
        call.__name__ = f"{called}_{name}"
        case(error)(call)


WRONG_X = {
    "nothing": (DataError, None),
    "a_number": (DataError, 3.0),
    "a_dictionary": (DataTypeError, {"x": X}),
    "text": (DataError, X.astype(str)),
    "complex_numbers": (DataError, X + 1j),
    "rank_1": (DataError, X[0, 0]),
    "rank_4": (DataError, X[None]),
    "other_features": (DataError, X[..., :1]),
    "different_lengths": (DataError, [X[:2, 0], X[:3, 0]]),
    "dates": (DataError, np.zeros((7, 5, 2), "datetime64[s]")),
    "masked": (DataError, MASKED),
    "none_inside": (DataError, [[None, 1.0]]),
    "a_frame_of_text": (DataError, pd.DataFrame({"a": ["p"], "b": [1.0]}, dtype=object)),
}
WRONG_LENGTHS = {
    "a_number": 7,
    "below_0": [7, 3, -1, 5, 1],
    "beyond": [7, 3, 0, 5, 9],
    "fractions": [7, 3, 0, 5, 1.5],
    "of_two": [1, 2],
    "ragged": [[1], [1, 2]],
    "text": ["a"] * 5,
    "truth": [True] * 5,
    "a_column": np.ones((5, 1), int),
    "infinite": [7, 3, 0, 5, np.inf],
    "none": [7, 3, None, 5, 1],
    "masked": np.ma.masked_equal(LENGTHS, 3),
}
wrong("layer", **{name: (error, lambda x=x: layer(x)) for name, (error, x) in WRONG_X.items()})
wrong("network", **{name: (error, lambda x=x: net(x)) for name, (error, x) in WRONG_X.items()})
wrong("run", **{f"lengths_{name}": (DataError, lambda n=n: layer.run(X, lengths=n)) for name, n in WRONG_LENGTHS.items()})
wrong("unpad", **{f"lengths_{name}": (DataError, lambda n=n: unpad_sequences(X, n)) for name, n in WRONG_LENGTHS.items()})
wrong(
    "run",
    further_input=(DataError, lambda: layer.run(X, np.zeros((5, 3)))),
    length=(DataError, lambda: layer.run(X, length=LENGTHS)),
    state_of_another_name=(DataError, lambda: layer.run(X, state={"hh": 0})),
    state_of_others=(DataError, lambda: layer.run(X, state=np.ones((4, 3)))),
    reset_of_numbers=(DataError, lambda: layer.run(X, reset=np.ones((7, 5)))),
    training_of_a_word=(OptionError, lambda: layer.run(X, training="yes")),
)
wrong(
    "network",
    without_anything=(ArgumentError, lambda: net()),
    further_input=(ArgumentError, lambda: net(X, X)),
    length=(ArgumentError, lambda: net(X, length=LENGTHS)),
    input_twice=(ArgumentError, lambda: net.run(X, X=X)),
    state_of_an_array=(DataError, lambda: net(X, state=np.ones((5, 3)))),
    state_of_another_name=(DataError, lambda: net(X, state={"h": 0})),
    rng_of_a_word=(OptionError, lambda: net(X, rng="seed")),
)
wrong(
    "vjp",
    a_number=(DataError, lambda: layer.vjp(X)[1](1.0)),
    last_step=(DataError, lambda: layer.vjp(X)[1](GRADIENT[-1])),
    turned=(DataError, lambda: layer.vjp(X)[1](GRADIENT.swapaxes(0, 1))),
    word=(DataError, lambda: layer.vjp(X)[1]("ones")),
    none_inside=(DataError, lambda: layer.vjp(X)[1]([None])),
    other_output=(DataError, lambda: layer.vjp(X)[1]({"y": GRADIENT})),
    two=(ArgumentError, lambda: layer.vjp(X)[1](GRADIENT, GRADIENT)),
    grad=(ArgumentError, lambda: layer.vjp(X)[1](grad=GRADIENT)),
    other_state=(DataError, lambda: layer.vjp(X)[1](GRADIENT, state={"c": 0})),
    masked=(DataError, lambda: layer.vjp(X)[1](np.ma.masked_less(GRADIENT, 0))),
    of_a_network=(ArgumentError, lambda: net.vjp(X)[1](GRADIENT, GRADIENT)),
)
wrong(
    "stream",
    a_number=(DataError, lambda: layer.stream()(1.0)),
    a_batch=(DataError, lambda: layer.stream()(X[0])),
    nothing=(DataError, lambda: layer.stream()(None)),
    without_anything=(DataError, lambda: layer.stream()()),
    two=(DataError, lambda: layer.stream()(X[0, 0], X[0, 0])),
    text=(DataError, lambda: layer.stream()("a")),
    none_inside=(DataError, lambda: layer.stream()([None, 1.0])),
    masked=(DataError, lambda: layer.stream()(np.ma.masked_greater(WIDE[0, 0], -9))),
    count_of_a_float=(DataError, lambda: layer.stream(n_instances=2.0)),
    context=(DataError, lambda: layer.stream(memory=X)),
    state_of_others=(DataError, lambda: layer.stream(state=np.zeros(2))),
)
wrong(
    "Network",
    nothing=(OptionError, lambda: Network()),
    a_cell=(OptionError, lambda: Network(cells.gru)),
    a_class=(OptionError, lambda: Network(layer, Dropout)),
    a_name=(OptionError, lambda: Network("lstm")),
    a_size=(OptionError, lambda: Network(layer, 64)),
    a_rate=(OptionError, lambda: Network(layer, 0.5)),
    an_activation=(OptionError, lambda: Network(layer, relu)),
    a_part_twice=(OptionError, lambda: Network(layer, layer)),
    other_sizes=(DimensionError, lambda: Network(layer, Layer(cells.dense, n_inputs=4, n_outputs=1))),
    a_seed=(ArgumentError, lambda: Network(layer, seed=0)),
    a_last_step_in_the_middle=(OptionError, lambda: Network(LastStep(layer), Layer(cells.gru, n_inputs=3, n_neurons=3))),
    of_torch=(OptionError, lambda: Network(torch.nn.Linear(2, 3))),
    a_last_step_of_nothing=(ArgumentError, lambda: LastStep()),
    two_directions_of_nothing=(ArgumentError, lambda: Bidirectional()),
)
wrong(
    "Examples",
    without_anything=(ArgumentError, lambda: Examples()),
    without_target=(ArgumentError, lambda: Examples(X)),
    an_order=(OptionError, lambda: Examples(X, LABELS, batch_first="yes")),
    steps_of_a_word=(OptionError, lambda: Examples(X, LABELS, per_step="last")),
    nothing=(DataError, lambda: Examples(None, LABELS)),
    no_target=(DataError, lambda: Examples(X, None)),
    no_target_of_a_list=(DataError, lambda: Examples(SEQUENCES, None)),
    a_generator=(DataError, lambda: Examples((x for x in SEQUENCES), LABELS)),
    a_dictionary=(DataError, lambda: Examples({"X": X}, LABELS)),
    samples_first=(DataError, lambda: Examples(X.swapaxes(0, 1), LABELS)),
    one_step=(DataError, lambda: Examples(X[0, 0], LABELS)),
    other_samples=(DataError, lambda: Examples(X, LABELS[:4])),
    other_samples_of_a_list=(DataError, lambda: Examples(SEQUENCES, LABELS[:1])),
    other_features=(DataError, lambda: Examples([X[:, 0], X[:, 0, :1]], [0, 1])),
    other_columns=(DataError, lambda: Examples([pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})], [0, 1])),
    masked=(DataError, lambda: Examples(MASKED, LABELS)),
    masked_inside=(DataError, lambda: Examples([X[:, 0], MASKED[:, 1]], [0, 1])),
    masked_labels=(DataError, lambda: Examples(X, np.ma.masked_equal(LABELS, 2))),
    text=(DataError, lambda: Examples(X.astype(str), LABELS)),
    lengths_beyond=(DataError, lambda: Examples(X, LABELS, [8, 1, 1, 1, 1])),
    lengths_of_a_longer_sequence=(DataError, lambda: Examples(SEQUENCES, LABELS, [7, 4, 0, 5, 1])),
    answers_of_other_steps=(DataError, lambda: Examples(SEQUENCES, [np.zeros(n) for n in [7, 3, 0, 4, 1]])),
    weights_of_others=(DataError, lambda: Examples(X, LABELS, weights=[1, 2])),
    a_weight_below_0=(DataError, lambda: Examples(X, LABELS, weights=[1, 2, -3, 1, 1])),
    a_weight_that_is_no_number=(DataError, lambda: Examples(SEQUENCES, LABELS, weights=[1, 2, np.nan, 1, 1])),
    told_steps=(DataError, lambda: Examples(X, LABELS, per_step=True)),
)
wrong(
    "loss",
    without_target=(ArgumentError, lambda: cross_entropy(Y)),
    names=(DataError, lambda: cross_entropy(Y, ["a", "b", "c", "a", "b"])),
    fractions=(DataError, lambda: cross_entropy(Y, LABELS + 0.5)),
    unknown=(DataError, lambda: cross_entropy(Y, [0, 2, np.nan, 1, 0])),
    below_0=(DataError, lambda: cross_entropy(Y, LABELS - 1)),
    a_fourth=(DataError, lambda: cross_entropy(Y, LABELS + 1.0)),
    other_classes=(DataError, lambda: cross_entropy(Y, np.eye(4)[LABELS])),
    squares_of_a_row=(DataError, lambda: mean_squared_error(Y[:, :1], T[:, :1].T)),
    squares_of_a_column=(DataError, lambda: mean_squared_error(Y[:, 0], T[:, :1])),
    squares_of_labels=(DataError, lambda: mean_squared_error(Y, LABELS)),
    weight_of_others=(DataError, lambda: mean_squared_error(Y, T, weights=[1, 2])),
    weight_of_one=(DataError, lambda: mean_squared_error(Y[0], T[0], weights=[1, 2])),
    weight_below_0=(DataError, lambda: mean_squared_error(Y, T, weights=[[1], [2]] and -np.ones(5))),
    sample_weight=(ArgumentError, lambda: mean_squared_error(Y, T, sample_weight=[1] * 5)),
    dates=(DataError, lambda: mean_squared_error(Y[:, :1], np.zeros(5, "datetime64[s]"))),
    masked=(DataError, lambda: mean_squared_error(Y, np.ma.masked_less(T, 0))),
)
wrong(
    "pad",
    nothing=(DataError, lambda: pad_sequences(None)),
    one_array=(DataError, lambda: pad_sequences(X[0, 0])),
    one_frame=(DataError, lambda: pad_sequences(pd.DataFrame(X[:, 0]))),
    a_generator=(DataError, lambda: pad_sequences(x for x in SEQUENCES)),
    a_text=(DataError, lambda: pad_sequences("abc")),
    numbers=(DataError, lambda: pad_sequences([1.0, 2.0])),
    other_features=(DataError, lambda: pad_sequences([X[:, 0], X[:, 0, :1]])),
    text=(DataError, lambda: pad_sequences([["a", "b"]])),
    masked=(DataError, lambda: pad_sequences([MASKED[:, 0]])),
    value_of_a_word=(OptionError, lambda: pad_sequences(SEQUENCES, value="0")),
    an_order=(OptionError, lambda: pad_sequences(SEQUENCES, batch_first="yes")),
    padding_value=(ArgumentError, lambda: pad_sequences(SEQUENCES, padding_value=0)),
    without_anything=(ArgumentError, lambda: pad_sequences()),
)
wrong(
    "unpad",
    rank_1=(DataError, lambda: unpad_sequences(X[0, 0], [1])),
    rank_1_samples_first=(DataError, lambda: unpad_sequences(X[0, 0], [1], batch_first=True)),
    an_order=(OptionError, lambda: unpad_sequences(X, LENGTHS, batch_first=1)),
    without_lengths=(ArgumentError, lambda: unpad_sequences(X)),
)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_the_golden_file_is_complete():
    case.check_complete()
