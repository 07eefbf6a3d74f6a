"""Every further cell of the library computes what a step written from its paper computes, and so does its gradient."""

import numpy as np
import pytest
import torch

from ostinato import cells
from ostinato.language.cell import Cell
from tests.library import LIBRARY
from tests.loops import CASES, run
from tests.scenarios import SCENARIOS, apart, build, named

SOME = [s for s in SCENARIOS if s.name in ("plain", "one step", "lengths", "reset and lengths", "reverse lengths", "unbatched")]


def test_every_cell_of_the_library_has_a_step_written_by_hand():
    library = {getattr(cells, name) for name in cells.__all__ if isinstance(getattr(cells, name), Cell)}
    assert library == {case.cell for case in [*CASES, *LIBRARY]} & library


@pytest.mark.parametrize("case", LIBRARY, ids=str)
def test_a_cell_of_the_library_computes_what_its_paper_says(case):
    for scenario in SOME:
        for dtype, limit in (("float64", 1e-12), ("float32", 2e-6)):
            sizes = case.sizes(5)
            values = case.values(sizes, scenario.n_steps, scenario.n_instances, dtype=dtype)
            if "n" in values:
                values["n"] = np.abs(values["n"]) + np.asarray(0.5, dtype)
            layer = build(case, "own", sizes, values, scenario, dtype=dtype)
            positional, keywords = scenario.call(case, values)
            outputs, state = layer.run(*positional, **keywords)
            exact = {name: value.astype(np.float64) for name, value in values.items()}
            wanted, wanted_state = run(case, sizes, exact, **scenario.keywords)
            for name, array in wanted.items():
                assert apart(named(outputs, case)[name], scenario.turned(array)) < limit
            for name, array in wanted_state.items():
                assert apart(state[name], scenario.single(array)) < limit


@pytest.mark.parametrize("case", LIBRARY, ids=str)
def test_the_gradient_of_a_cell_of_the_library_is_that_of_torch(case):
    sizes = case.sizes(4)
    values = case.values(sizes, 3, 2)
    layer = build(case, "own", sizes, values, dtype="float64")
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    wanted, wanted_state = run(case, sizes, leaves, m=torch)
    generator = np.random.default_rng(3)
    d_outputs = {name: generator.standard_normal(array.shape) for name, array in wanted.items()}
    d_states = {name: generator.standard_normal(array.shape) for name, array in wanted_state.items()}
    total = sum((wanted[name] * torch.tensor(d)).sum() for name, d in d_outputs.items())
    total = total + sum((wanted_state[name] * torch.tensor(d)).sum() for name, d in d_states.items())
    total.backward()
    positional = [values[name] for name in (*case.names("input"), *case.names("context"))]
    state = {name: values[name] for name in case.names("state")}
    outputs, pullback = layer.vjp(*positional, state=state)
    assert set(named(outputs, case)) == set(d_outputs)
    gradients = pullback(d_outputs, state=d_states)
    inputs = gradients.inputs if isinstance(gradients.inputs, dict) else {case.names("input")[0]: gradients.inputs}
    found = {**inputs, **gradients.contexts, **gradients.state, **gradients.weights}
    assert set(found) == set(leaves)
    for name, leaf in leaves.items():
        expected = np.zeros_like(values[name]) if leaf.grad is None else leaf.grad.numpy()
        assert apart(found[name], expected) < 1e-10, name
