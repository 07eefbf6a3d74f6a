"""Checkpoints with native code: what goes on from a file has the same bits as what never stopped."""

import numpy as np
import pytest

from ostinato.learn.optimisers import UpdateRule
from ostinato.learn.training import Examples

from .test_checkpoint import Stopped, everything, network, run, stopping_after

RNG = np.random.default_rng(2)
LIST = [RNG.standard_normal((n, 2)).astype(np.float32) for n in RNG.integers(1, 12, 50)]


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_native_training_is_resumed_with_the_same_bits(rule, tmp_path):
    examples = Examples(LIST, np.array([int(x[0, 0] > 0) for x in LIST]), weights=RNG.random(50))

    def made():
        return {"update": UpdateRule(rule, learning_rate=0.02), "batch_size": 16, "max_epochs": 7}

    whole = everything(*run(network(), examples, **made()))
    path = tmp_path / "run.safetensors"
    for stop in (2, 5):
        with pytest.raises(Stopped):
            run(network(), examples, **made(), checkpoint=path, resume=True, callback=stopping_after(stop))
    assert everything(*run(network(), examples, **made(), resume=path)) == whole
