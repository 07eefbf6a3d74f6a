"""What the user of a layer is told, word for word; the texts are in tests/golden/errors_data.txt."""

import numpy as np
import pytest

import ostinato
from ostinato import (
    Context,
    DataError,
    Input,
    Layer,
    OptionError,
    Output,
    State,
    Weight,
    cell,
    cells,
    concat,
    tanh,
)
from ostinato.initialise import Identity, initialiser

from .helpers import Messages

case = Messages("errors_data.txt")
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

# --- making a layer ------------------------------------------------------------------------------------------------------


@case(OptionError)
def layer_of_a_name():
    Layer("LSTM", n_inputs=3, n_neurons=5)


@case(OptionError)
def layer_of_a_misspelt_name():
    Layer("grru", n_inputs=3, n_neurons=5)


@case(OptionError)
def layer_of_a_strange_name():
    Layer("transformer", n_inputs=3, n_neurons=5)


@case(OptionError)
def layer_of_a_class():
    Layer(dict, n_inputs=3, n_neurons=5)


@case(OptionError)
def layer_of_a_function():
    Layer(lambda x: x, n_inputs=3)


@case(OptionError)
def dtype_of_half():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, dtype="float16")


@case(OptionError)
def dtype_of_nothing():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, dtype=None)


@case(OptionError)
def dtype_of_a_word():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, dtype="single precision")


@case(OptionError)
def backend_unknown():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, backend="referenze")


@case(OptionError)
def backend_that_is_no_name():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, backend=["numpy"])


@case(OptionError)
def seed_below_zero():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, seed=-1)


@case(OptionError)
def seed_of_a_float():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, seed=0.5)


@case(OptionError)
def flag_that_is_a_word():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, reverse="no")


@case(OptionError)
def init_of_an_unknown_weight():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, init={"W_h": 0.0})


@case(OptionError)
def init_of_an_unknown_name():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, init={"W_x": "xavier"})


@case(OptionError)
def init_that_is_no_dictionary():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, init="zeros")


@case(OptionError)
def init_that_draws_another_shape():
    class Square:
        def draw(self, shape, generator):
            return np.zeros((2, 2))

    Layer(cells.recurrent, n_inputs=3, n_neurons=5, init={"W_x": Square()})


@case(OptionError)
def identity_of_a_vector():
    Layer(cells.recurrent, n_inputs=3, n_neurons=5, init={"b": Identity()})


@case(OptionError)
def initialiser_of_truth():
    initialiser(True)


@case(OptionError)
def stage_unknown():
    ELMAN.compiled().stage("fused")


# --- inputs ----------------------------------------------------------------------------------------------------------------


@case(DataError)
def input_missing():
    ELMAN()


@case(DataError)
def inputs_too_many():
    ELMAN(X, X)


@case(DataError)
def input_given_twice():
    ELMAN(X, x=X)


@case(DataError)
def input_unknown():
    ATTENTIVE(X, KEYS, memry=MEMORY)


@case(DataError)
def input_of_rank_one():
    ELMAN(np.ones(3))


@case(DataError)
def input_of_rank_four():
    ELMAN(np.ones((1, 7, 4, 3)))


@case(DataError)
def input_of_rank_four_without_a_state():
    DENSE(np.ones((1, 7, 4, 3)))


@case(DataError)
def input_of_another_size():
    ELMAN(np.ones((7, 4, 6)))


@case(DataError)
def input_of_another_size_for_one_instance():
    ELMAN(np.ones((7, 6)))


@case(DataError)
def input_with_instances_first():
    INSTANCES_FIRST(np.ones((4, 7, 6)))


@case(DataError)
def inputs_of_other_lengths():
    ATTENTIVE(X, KEYS[:6], MEMORY)


@case(DataError)
def inputs_of_other_ranks():
    ATTENTIVE(X, KEYS[:, 0], MEMORY)


@case(DataError)
def input_of_objects():
    ELMAN(np.full((7, 4, 3), None))


@case(DataError)
def input_that_no_machine_has_memory_for():
    ELMAN(np.broadcast_to(np.float64(0), (10**9, 10**6, X.shape[-1])))


@case(DataError)
def input_of_complex_numbers():
    ELMAN(X * 1j)


@case(DataError)
def input_of_words():
    ELMAN(np.full((7, 4, 3), "1.0"))


@case(DataError)
def input_of_ragged_lists():
    ELMAN([[[1.0, 2.0, 3.0]] * 2, [[1.0, 2.0, 3.0]]])


@case(DataError)
def context_missing():
    ATTENTIVE(X, KEYS)


@case(DataError)
def context_of_other_instances():
    ATTENTIVE(X, KEYS, MEMORY[:3])


@case(DataError)
def context_of_another_size():
    ATTENTIVE(X, KEYS, np.ones((4, 6, 2)))


@case(DataError)
def context_with_steps():
    ATTENTIVE(X, KEYS, np.ones((7, 4, 6, 5)))


# --- states, lengths, resets -----------------------------------------------------------------------------------------------


@case(DataError)
def state_unknown():
    LSTM(X, state={"m": np.zeros((4, 5))})


@case(DataError)
def state_of_another_size():
    LSTM(X, state={"c": np.zeros((4, 6))})


@case(DataError)
def state_of_other_instances():
    LSTM(X, state={"h": np.zeros((2, 5))})


@case(DataError)
def state_without_a_batch():
    ELMAN(X, state=np.zeros(5))


@case(DataError)
def state_with_a_batch_for_one_instance():
    ELMAN(X[:, 0], state={"y": np.zeros((1, 5))})


@case(DataError)
def state_that_is_a_tuple():
    LSTM(X, state=(np.zeros((4, 5)), np.zeros((4, 5))))


@case(DataError)
def state_of_a_cell_without_one():
    DENSE(X, state=np.zeros(5))


@case(DataError)
def state_named_in_a_cell_without_one():
    DENSE(X, state={"h": np.zeros(5)})


@case(DataError)
def lengths_of_another_number():
    ELMAN(X, lengths=[7, 7, 7])


@case(DataError)
def lengths_of_floats():
    ELMAN(X, lengths=[7.0, 6.0, 5.5, 4.0])


@case(DataError)
def lengths_of_truth():
    ELMAN(X, lengths=[True] * 4)


@case(DataError)
def lengths_too_long():
    ELMAN(X, lengths=[7, 8, 5, 9])


@case(DataError)
def lengths_below_zero():
    ELMAN(X, lengths=[7, -2, 5, 4])


@case(DataError)
def lengths_for_one_instance():
    ELMAN(X[:, 0], lengths=[3, 4])


@case(DataError)
def lengths_that_are_ragged():
    ELMAN(X, lengths=[[1, 2], [3]])


@case(DataError)
def reset_of_another_shape():
    ELMAN(X, reset=np.zeros((4, 7), bool))


@case(DataError)
def reset_for_one_instance():
    ELMAN(X[:, 0], reset=np.zeros((7, 1), bool))


@case(DataError)
def reset_of_numbers():
    ELMAN(X, reset=np.zeros((7, 4)))


@case(DataError)
def reset_in_reverse():
    BACKWARD(X, reset=np.zeros((7, 4), bool))


@case(DataError)
def reset_that_is_ragged():
    ELMAN(X, reset=[[True], [True, False]])


@case(OptionError)
def rng_of_words():
    Layer(cell(lambda x=Input(2): ostinato.dropout(x, 0.5))).run(np.ones((3, 2)), training=True, rng="seed")


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()
