"""What random use has found."""

import warnings

import numpy as np
import pytest

from ostinato import Examples, LastStep, Layer, Network, RecurrentClassifier, RecurrentRegressor, cells, train
from ostinato.cli import main
from ostinato.native.memory import Lease
from tests.helpers import assert_equal

X = np.random.default_rng(0).standard_normal((7, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("lengths", [[7.0, 3.0, 0.0, 1.0], np.array([7, 3, 0, 1], np.int8), (7, 3, 0, 1)])
def test_lengths_of_a_last_step_may_be_given_as_those_of_a_layer(lengths):
    network = Network(LastStep(Layer(cells.gru, n_inputs=3, n_neurons=5)), Layer(cells.dense, n_inputs=5, n_outputs=2))
    assert_equal(network(X, lengths=lengths), network(X, lengths=np.array([7, 3, 0, 1])))
