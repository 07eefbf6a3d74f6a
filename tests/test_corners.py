"""Places where a compiler of cells is easily wrong: what is shared, what is named alike, what is very deep."""

import numpy as np
import pytest

import ostinato
from ostinato import (
    Bias,
    Context,
    Input,
    Layer,
    OptionError,
    Output,
    ShapeError,
    State,
    SymbolError,
    Weight,
    cell,
    cells,
    concat,
    dropout,
    elu,
    relu,
    reshape,
    split,
    tanh,
)  # fmt: skip
from ostinato.cli import main
from ostinato.language.cell import Cell
from ostinato.language.functions import mean

from .helpers import random


def test_nothing_the_caller_does_to_arrays_changes_what_flows_back():
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=4)
    X = random((4, 2, 3)).astype(np.float32)
    Y, pullback = layer.vjp(X)
    dY = Y.copy()
    before = pullback(dY)
    Y -= 0.5
    X *= 0
    pullback.state["y"][:] = 7
    after = pullback(dY)
    for name in before.weights:
        assert np.array_equal(before.weights[name], after.weights[name])
    assert np.array_equal(before.inputs, after.inputs)


def test_outputs_are_arrays_of_their_own():
    @cell
    def passes(x=Input("n"), h=State("n")):
        return Output(x, again=x, part=(h + x)[:2]), h + x

    X = np.ones((3, 2, 4), np.float32)
    outputs = Layer(passes, n=4)(X)
    arrays = [X, *outputs.values()]
    for i, a in enumerate(arrays):
        assert a.flags.c_contiguous
        assert a.flags.writeable
        assert not any(np.shares_memory(a, b) for b in arrays[:i])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 2.0])
def test_the_derivative_of_a_power_is_finite_where_it_exists(exponent):
    @cell
    def q(x=Input(), p=Weight()):
        return relu(x) ** p + x**0

    layer = Layer(q, dtype="float64")
    layer.weights["p"] = np.array(exponent)
    _, pullback = layer.vjp(np.array([[0.0], [2.0]]))
    gradients = pullback(np.ones((2, 1)))
    assert gradients.weights["p"] == pytest.approx(2**exponent * np.log(2))
    assert gradients.inputs[1, 0] == pytest.approx(exponent * 2 ** (exponent - 1))


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_the_derivative_of_elu_at_zero_is_that_of_its_exponential(alpha):
    @cell
    def q(x=Input()):
        return elu(x, alpha)

    _, pullback = Layer(q).vjp(np.array([[-1.0], [0.0], [300.0]]))
    assert pullback(np.ones((3, 1))).inputs.ravel() == pytest.approx([alpha * np.exp(-1), alpha, 1.0])


def test_a_stream_holds_its_contexts_and_checks_them_at_once():
    @cell
    def reads(x=Input("n"), h=State("n"), c=Context("n")):
        return tanh(x + h + c)

    layer = Layer(reads, n=3)
    context = np.ones(3)
    stream = layer.stream(c=context)
    first = stream(np.zeros(3))
    context[:] = 0
    stream.reset()
    assert np.array_equal(stream(np.zeros(3)), first)
    with pytest.raises(ostinato.DataError, match="`c` has shape"):
        layer.stream(c=np.ones(4))


@pytest.mark.parametrize("name", [n for n in cells.__all__ if isinstance(getattr(cells, n), Cell)])
def test_every_cell_of_the_library_is_saved_and_loaded(name, tmp_path):
    library = getattr(cells, name)
    sizes = {"n_heads": 2, "size": 3, "n_features": 4}
    layer = Layer(library, **{n: sizes.get(n, 3) for n in library.dimensions})
    layer.save(tmp_path / "cell.safetensors")
    again = ostinato.load(tmp_path / "cell.safetensors")
    assert again.program == layer.program
    assert all(np.array_equal(again.weights[w], layer.weights[w]) for w in layer.weights)


def test_a_local_variable_may_have_any_name_and_the_layer_is_still_loaded(tmp_path):
    @cell
    def named(x=Input("n"), h=State("n"), mask_1=Weight("n"), output_t=State("n")):
        weight = tanh(x) * 2
        bias = dropout(weight, 0.5) + mask_1
        state = bias + h
        return state, output_t + state

    layer = Layer(named, n=3)
    layer.save(tmp_path / "named.safetensors")
    assert ostinato.load(tmp_path / "named.safetensors").program == layer.program
    Y, pullback = layer.vjp(np.ones((2, 1, 3)), training=True, rng=0)
    assert pullback(np.ones_like(Y)).inputs.shape == (2, 1, 3)


def test_a_number_may_meet_two_names_of_its_size():
    @cell
    def q(x=Input(3), h=State("k"), A=Weight("n", "k"), B=Weight("m", "k")):
        return tanh(x @ A + h) * tanh(x @ B)

    X = random((4, 2, 3))
    layer, reference = (Layer(q, n=3, m=3, k=2, dtype="float64", backend=b) for b in ("numpy", "reference"))
    assert np.allclose(layer(X), reference(X), atol=1e-14)


def test_a_cell_may_be_deep():
    @cell
    def deep(x=Input("n"), h=State("n"), W=Weight("n", "n"), w=Weight("n")):
        z = h @ W
        for _ in range(1500):
            z = z + x * w
        shared = w
        for _ in range(1500):
            shared = shared * 1.0001
        return tanh(z * 0.001 + shared)

    layer, reference = (Layer(deep, n=3, dtype="float64", backend=b) for b in ("numpy", "reference"))
    X = random((2, 2, 3))
    (Y, pullback), (Y_reference, pullback_reference) = layer.vjp(X), reference.vjp(X)
    assert np.allclose(Y, Y_reference)
    assert np.allclose(pullback(Y).weights["w"], pullback_reference(Y).weights["w"])


def test_a_cell_inside_a_cell_keeps_its_own_names_and_gives_its_outputs_unmarked():
    @cell
    def inner(v=Input("n_inputs"), s=State("n_neurons"), b=Bias("n_neurons")):
        return Output(reshape(v, "n_inputs", 1)), tanh(s + b)

    @cell
    def outer(x=Input("n_inputs"), h=State("n_inputs + 1"), b=Bias("n_inputs + 1")):
        column, new = inner(concat(x, x)[: x.shape[0] + 1], h, b)
        return Output(column + 1), new

    assert Layer(outer, n_inputs=4)(np.zeros((2, 3, 4))).shape == (2, 3, 5, 1)

    @cell
    def wrong(x=Input("n_inputs"), h=State("n_neurons"), b=Bias("n_inputs")):
        return inner(x, h, b)[1]

    with pytest.raises(ShapeError, match=r"inner: `b` is f32\[n_inputs=4\], and was declared \[n_neurons\]"):
        Layer(wrong, n_inputs=4, n_neurons=4)


def test_odd_arguments_are_refused_in_our_own_words():
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=4)
    with pytest.raises(OptionError, match=r"^recurrent: `training` is True or False, not 'yes'$"):
        layer(np.zeros((2, 3)), training="yes")

    class Stubborn:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("not today")

    with pytest.raises(ostinato.DataError, match=r"^recurrent: `x` can not be made an array: not today$"):
        layer(Stubborn())

    @cell
    def huge(x=Input("n")):
        return x * 10**400

    with pytest.raises(SymbolError, match=r"multiply: the number 100000000000\.\.\. is too large for f32"):
        Layer(huge, n=2)


def test_functions_take_lists_as_numpy_does():
    assert mean([1.0, 2.0]) == 1.5
    assert [list(part) for part in split([1.0, 2.0], 2)] == [[1.0], [2.0]]


def test_a_number_beyond_float32_is_infinite_without_a_warning():
    assert np.isinf(Layer(cells.dense, n_inputs=1, n_outputs=1, init={"W": 1})(np.array([[1e300]]))).all()


def test_the_unnamed_output_is_never_dropped_in_silence():
    with pytest.raises(OptionError, match=r"^Output: the unnamed value is called `output` already"):
        Output(1.0, output=2.0)


def test_a_misspelt_size_is_named_with_the_closest_one():
    with pytest.raises(OptionError, match=r"there is no dimension or option `n_input`; did you mean `n_inputs`"):
        Layer(cells.lstm, n_input=3, n_neurons=4)


def test_predictions_are_never_written_over_what_is_read(tmp_path, capsys):
    data = tmp_path / "data.csv"
    data.write_text("kept")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(data), "-o", str(data)]) == 1
    assert "is read here, and would be written over" in capsys.readouterr().err
    assert data.read_text() == "kept"
