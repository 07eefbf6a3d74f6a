"""Code for NEON, run by an emulator of AArch64: what it computes is what NumPy computes, with the same bits for every plan."""

import numpy as np
import pytest

from ostinato import Layer
from tests.emulated import missing, on_arm
from tests.test_native import EVERY, LIMIT, close, equal, everything, given, with_weights

assert on_arm  # a fixture
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
NAMES = ("lstm", "gru_reset_before", "layer_norm_lstm", "attention_decoder")
CASES = [case for case in EVERY if case.name in NAMES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_neon_computes_what_numpy_computes(case, dtype, on_arm):
    sizes = {name: case.sizes(11)[name] for name in case.cell.dimensions}
    values = case.values(sizes, 3, 5, dtype=dtype)
    inputs, more = given(case, values)
    results = {}
    for plan in ("hoisted", "fused", "numpy"):
        chosen = {"backend": "numpy"} if plan == "numpy" else {"backend": "native", "plan": plan}
        layer = Layer(case.cell, **sizes, **case.options, dtype=dtype, **chosen)
        results[plan] = everything(with_weights(layer, case, values), case, inputs, more)
    close(results["hoisted"], results["numpy"], LIMIT[dtype])
    equal(results["hoisted"], results["fused"])


def test_neon_with_lengths_and_against_time(on_arm):
    (case,) = (case for case in CASES if case.name == "lstm")
    sizes = {name: case.sizes(11)[name] for name in case.cell.dimensions}
    values = case.values(sizes, 4, 3, dtype="float32")
    inputs, more = given(case, values)
    more |= {"lengths": np.array([2, 4, 0])}
    results = []
    for backend in ("native", "numpy"):
        layer = Layer(case.cell, **sizes, **case.options, backend=backend, plan="hoisted", reverse=True)
        results.append(everything(with_weights(layer, case, values), case, inputs, more))
    close(*results, LIMIT["float32"])
