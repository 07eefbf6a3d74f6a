"""Memory is that of one batch, whatever stands beside it; counted with what NumPy asks for."""

import numpy as np

from ostinato import Layer, Network, UpdateRule, cells, cross_entropy, train
from ostinato.layers.network import LastStep
from ostinato.learn.training import Examples, outputs

from .helpers import peak

rng = np.random.default_rng(0)


def test_one_long_sequence_among_short_ones_costs_its_own_memory_and_no_more():
    short = [rng.standard_normal((20, 2)).astype(np.float32) for _ in range(500)]
    long = rng.standard_normal((20_000, 2)).astype(np.float32)
    labels = rng.integers(0, 2, 501)
    net = Network(LastStep(Layer(cells.gru, n_inputs=2, n_neurons=4)), Layer(cells.dense, n_inputs=4, n_outputs=2))
    settings = {"loss": cross_entropy, "max_epochs": 1}
    alone = Examples([long], labels[500:])
    calls = {
        "outputs": lambda examples: outputs(net, examples),
        "train": lambda examples: train(net, examples, update=UpdateRule("adam"), validation=alone, **settings),
    }
    for call in calls.values():
        call(alone)  # so that nothing is compiled, or made once, in what is measured
        of_long, of_short = peak(lambda call=call: call(alone)), peak(lambda call=call: call(Examples(short, labels[:500])))
        of_both = peak(lambda call=call: call(Examples([*short, long], labels)))
        assert of_both < 2 * (of_long + of_short)  # a part may still be there while the next one is made
        assert of_both < 32 * 20_000 * 4 * 4  # what the states alone of one padded batch would take


def test_predicting_an_array_takes_one_batch_besides():
    X = rng.standard_normal((20, 4000, 8)).astype(np.float32)
    net = Network(LastStep(Layer(cells.gru, n_inputs=8, n_neurons=4)), Layer(cells.dense, n_inputs=4, n_outputs=2))
    examples = Examples(X, np.zeros(4000, int))
    outputs(net, examples)
    batch = X[:, :256].copy()
    of_batch = peak(lambda: net(batch))
    assert peak(lambda: outputs(net, examples)) < of_batch + 2 * batch.nbytes + 4000 * 2 * 4
