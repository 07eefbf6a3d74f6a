"""What the compiler makes of the cells of the library, kept as text: a refactoring changes none of it."""

import re

import pytest

from ostinato import Layer, cells

SIZES = {"n_inputs": 3, "n_neurons": 4, "n_outputs": 2}
GOLDEN = ["neuron", "recurrent", "lstm", "gru", "gru_reset_before", "dense", "lstm_layer_norm"]


def without_sources(text):
    """Lines of cells move when a comment above them is changed."""
    return re.sub(r"\s+# \w+\.py:\d+$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", GOLDEN)
def test_program(name, golden):
    made = getattr(cells, name)
    layer = Layer(made, **{dim: SIZES[dim] for dim in made.dimensions})
    golden(f"program_{name}.txt", without_sources(f"{layer.program}\n\n{layer.backward_program}"))


def products(program, *sections):
    """How many products are computed, of the given sections."""
    return sum(node.op in ("matmul", "total_product") for key in sections for node in program.sections[key])


@pytest.mark.parametrize(
    ("name", "before", "loop", "backward_loop"),
    [("recurrent", 1, 1, 1), ("lstm", 1, 1, 1), ("gru", 1, 1, 1), ("gru_reset_before", 1, 2, 2), ("dense", 1, 0, 0)],
)
def test_products_of_gates_are_fused(name, before, loop, backward_loop):
    """Four gates are one product before the loop and one in it; the reset gate before the product costs one more."""
    made = getattr(cells, name)
    layer = Layer(made, **{dim: SIZES[dim] for dim in made.dimensions})
    assert products(layer.program, "before") == before
    assert products(layer.program, "loop") == loop
    assert products(layer.backward_program, "loop") == backward_loop
