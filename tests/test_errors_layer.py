"""What the user of weights, adjoints and streams is told, word for word: tests/golden/errors_layer.txt."""

import copy
import pickle

import numpy as np
import pytest

import ostinato
from ostinato import (
    Context,
    DataError,
    Input,
    InternalError,
    Layer,
    MissingExtraError,
    OptionError,
    Output,
    ShapeError,
    State,
    Weight,
    cell,
    cells,
    concat,
    tanh,
)
from ostinato.compiler import compile_graph
from ostinato.ir import ops
from ostinato.ir.graph import Graph
from ostinato.ir.verify import verify
from ostinato.passes.rewrite import Builder

from .helpers import Messages

case = Messages("errors_layer.txt")
LSTM = Layer(cells.lstm, n_inputs=3, n_neurons=5)
ELMAN = Layer(cells.recurrent, n_inputs=3, n_neurons=5)
DENSE = Layer(cells.dense, n_inputs=3, n_outputs=2)
BACKWARD = Layer(cells.recurrent, n_inputs=3, n_neurons=5, reverse=True)
INSTANCES_FIRST = Layer(cells.recurrent, n_inputs=3, n_neurons=5, batch_first=True)
X = np.ones((7, 4, 3))


@cell
def attentive(
    x=Input("n_inputs"), key=Input(2), memory=Context("n_slots", "n_neurons"), h=State("n_neurons"),
    W=Weight("n_inputs + 2", "n_neurons"),
):  # fmt: skip
    scores = memory @ h
    return Output(scores, spare=key), tanh(concat(x, key) @ W + scores @ memory)


ATTENTIVE = Layer(attentive, n_inputs=3, n_neurons=5, n_slots=6)
KEYS, MEMORY = np.ones((7, 4, 2)), np.ones((4, 6, 5))

# --- weights, adjoints, streams --------------------------------------------------------------------------------------------


@case(DataError)
def weight_of_another_shape():
    ELMAN.weights["W_x"] = np.ones((5, 3))


@case(OptionError)
def weight_unknown():
    ELMAN.weights["W_y_"] = np.ones((5, 5))


@case(OptionError)
def weight_read_under_another_name():
    print(LSTM.weights["W_j"])


@case(DataError)
def weight_of_words():
    ELMAN.weights["b"] = ["0"] * 5


@case(DataError)
def weights_updated_with_one_that_is_wrong():
    ELMAN.weights.update({"W_x": np.zeros((3, 5)), "b": np.zeros(4)})


@case(DataError)
def adjoint_of_another_shape():
    ELMAN.vjp(X)[1](np.ones((7, 4, 3)))


@case(DataError)
def adjoint_of_an_unknown_output():
    ATTENTIVE.vjp(X, KEYS, MEMORY)[1]({"spared": np.ones((7, 4, 2))})


@case(DataError)
def adjoint_of_words():
    ELMAN.vjp(X)[1](np.full((7, 4, 5), "1"))


@case(DataError)
def adjoint_of_an_unknown_state():
    LSTM.vjp(X)[1](state={"g": np.ones((4, 5))})


@case(DataError)
def adjoint_of_a_state_of_another_shape():
    LSTM.vjp(X)[1](state={"h": np.ones((5, 4))})


@case(OptionError)
def stream_in_reverse():
    BACKWARD.stream()


@case(DataError)
def stream_of_a_float():
    ELMAN.stream(n_instances=2.0)


@case(DataError)
def stream_of_a_sequence():
    ELMAN.stream()(np.ones((7, 3)))


@case(DataError)
def stream_of_other_instances():
    ELMAN.stream(n_instances=2)(np.ones((3, 3)))


@case(DataError)
def stream_of_another_size():
    ELMAN.stream()(np.ones(4))


@case(DataError)
def stream_of_nothing():
    ELMAN.stream()()


@case(DataError)
def stream_of_too_much():
    ELMAN.stream()(np.ones(3), np.ones(3))


@case(DataError)
def stream_of_ragged_lists():
    ELMAN.stream(n_instances=2)([[1.0], [1.0, 2.0]])


@case(DataError)
def stream_from_an_unknown_state():
    LSTM.stream(state={"y": np.zeros(5)})


@case(DataError)
def stream_continued_from_another_shape():
    stream = LSTM.stream(n_instances=2)
    stream.state = {"h": np.zeros(5)}


@case(DataError)
def stream_without_its_context():
    ATTENTIVE.stream()(np.ones(3), np.ones(2))


@case(DataError)
def stream_with_an_unknown_context():
    ATTENTIVE.stream(memory=MEMORY[0], lexicon=MEMORY[0])


# --- bugs of ours -----------------------------------------------------------------------------------------------------------


@case(InternalError)
def graph_that_is_not_well_made():
    good = ELMAN.graph
    verify(Graph(good.name, "f32", good.sizes, good.ports, (), good.results), "fold")


@case(InternalError)
def pass_that_emits_nonsense():
    ports = {p.name: p.value for p in ELMAN.graph.ports}
    Builder(ports).emit(ops.add, (ports["x"], ports["y"]))


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()


def test_nothing_is_changed_where_one_weight_of_several_is_refused():
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=5)
    before = {name: array.copy() for name, array in layer.weights.items()}
    with pytest.raises(DataError):
        layer.weights.update({"W_x": np.zeros((3, 5)), "b": np.zeros(4)})
    for name, array in before.items():
        np.testing.assert_array_equal(layer.weights[name], array)


def test_weights_can_not_be_changed_behind_the_layers_back():
    def filled(b):
        b.fill(1.0)

    def added(b):
        b += 1.0

    def assigned(b):
        b[:] = 1.0

    def in_a_part(b):
        b[1:][0] = 1.0

    before = ELMAN.weights["b"].copy()
    for change in (filled, added, assigned, in_a_part):
        with pytest.raises(DataError) as caught:
            change(ELMAN.weights["b"])
        first, *_, last = str(caught.value).splitlines()
        assert first == "the arrays of weights are read-only, so that a layer always knows when one of them changes"
        assert (
            last == "  hint: assign another one: `b = layer.weights['b'].copy()`, change b, and then `layer.weights['b'] = b`"
        )
        assert f", in {change.__name__}" in str(caught.value)
    np.testing.assert_array_equal(ELMAN.weights["b"], before)


def test_what_is_made_of_a_weight_is_an_ordinary_array():
    W = ELMAN.weights["W_x"]
    assert np.shares_memory(W, ELMAN.weights.snapshot["W_x"])
    for made in (W + 1, np.tanh(W), W.copy(), np.asarray(W), W @ W.T, W.sum(axis=0), copy.deepcopy(W),
                 pickle.loads(pickle.dumps(W)), np.concatenate([W, W])):  # fmt: skip
        assert type(made) is np.ndarray
    assert type(W.sum()) is np.float32
    assert repr(W) == repr(W.copy())
    other = W.astype(np.float64)
    other += 1.0
    other[:] = 0.0
    assert not other.any()


def test_a_refused_stage_of_the_reference_lists_its_own_stages():
    compiled = compile_graph(ELMAN.graph, passes=False)
    with pytest.raises(OptionError, match="`trace`, `differentiate`, `forward`, `recording`, `backward`"):
        compiled.stage("simplify")


def test_every_error_is_what_its_family_says():
    for name in ostinato.__all__:
        error = getattr(ostinato, name)
        if isinstance(error, type) and issubclass(error, Exception):
            assert issubclass(error, ostinato.OstinatoError)
            assert error.__module__ == "ostinato"
    assert issubclass(ShapeError, ValueError)
    assert issubclass(ostinato.SymbolError, TypeError)
    assert issubclass(MissingExtraError, ImportError)
    assert issubclass(ostinato.FileError, OSError)
