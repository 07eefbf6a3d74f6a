"""Structured weights: what a user is told, weights of 16 bits, activations of straight lines, what an explanation says."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import ostinato
from ostinato import (
    BlockCirculant,
    BlockDiagonal,
    Cell,
    CellError,
    DataError,
    Diagonal,
    FileError,
    Input,
    Layer,
    OptionError,
    ShapeError,
    Structure,
    Weight,
    cell,
    cells,
    piecewise_sigmoid,
    piecewise_tanh,
    to_structure,
)  # fmt: skip
from ostinato.runtime.weights import from_bfloat16, to_bfloat16
from ostinato.structure.base import Placement


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def lstm(**options):
    return Layer(cells.lstm, n_inputs=3, n_neurons=4, **options)


def one(function):
    """A layer of a cell of one structured matrix W, with what is done with it."""

    def written(x=Input("n"), W=Weight("n", "n", structure=BlockCirculant(2))):
        return function(x, W)

    written.__name__ = "written"
    return Layer(Cell(written), n=4)


class Wrong:
    """An initialiser that draws something else."""

    def draw(self, shape, generator):
        return generator.standard_normal((*shape, 1))


SEVEN = "`{}` (n_inputs + n_neurons=7, n_neurons=4)"
NOT_SQUARE = "a diagonal matrix is square, and this one has 3 + 4 rows and 4 columns"
DREW = "the initialiser drew an array of shape (3, 4, 1), not (3, 4)"
TOLD = {
    "no block": (lambda: BlockCirculant(0), OptionError, "BlockCirculant: `block` is a whole number from 1 up, not 0"),
    "no count": (lambda: BlockDiagonal("2"), OptionError, "BlockDiagonal: `blocks` is a whole number from 1 up, not '2'"),
    "no method": (
        lambda: BlockCirculant(8, "ftt"), OptionError,
        "BlockCirculant: there is no method `ftt`; did you mean `fft`? The methods are `automatic`, `direct`, `fft`",
    ),
    "declared as something else": (
        lambda: Weight("n", "m", structure=8), OptionError,
        "Weight: `structure` is a structure such as BlockCirculant(8), not 8",
    ),
    "declared for a vector": (
        lambda: Weight("n", structure=Diagonal()), OptionError,
        "Weight: Diagonal() is a matrix, of two dimensions, and the weight has 1 dimension",
    ),
    "chosen as something else": (
        lambda: lstm(structure=8), OptionError,
        "lstm: `structure` is a structure, or a dictionary of weight names and structures, not 8",
    ),
    "an unknown weight": (
        lambda: lstm(structure={"W_j": Diagonal()}), OptionError,
        "lstm: `structure`: there is no weight `W_j`; did you mean `W_o`? The weights are `W_i`, `W_f`, `W_g`, `W_o`",
    ),
    "no matrix": (
        lambda: Layer(cells.lstm_peephole, n_inputs=3, n_neurons=4, structure={"p_i": Diagonal()}), OptionError,
        "lstm_peephole: `structure`: `p_i` is no matrix: it was not declared with two dimensions",
    ),
    "no structure": (
        lambda: lstm(structure={"W_i": 4}), OptionError, "lstm: `structure`: `W_i` is given 4, which is no structure",
    ),
    "blocks that do not divide": (
        lambda: lstm(structure=BlockDiagonal(2)), OptionError,
        f"lstm: {SEVEN.format('W_i')} can not be BlockDiagonal(2): 3 rows can not be cut into 2 equal blocks",
    ),
    "not square": (
        lambda: lstm(structure={"W_f": Diagonal()}), OptionError,
        f"lstm: {SEVEN.format('W_f')} can not be Diagonal(): {NOT_SQUARE}",
    ),
    "impossible sizes": (
        lambda: BlockDiagonal(2).project(random(3, 4)), OptionError,
        "BlockDiagonal(2): 3 rows can not be cut into 2 equal blocks",
    ),
    "no sizes": (
        lambda: BlockCirculant(2).dense(random(2, 1, 1), rows=0), OptionError,
        "BlockCirculant(2): `rows` is a whole number from 1 up, or several, not 0",
    ),
    "nothing of that shape": (
        lambda: BlockCirculant(2).dense(random(2, 1)), DataError,
        "BlockCirculant(2): nothing that it stores has the shape (2, 1)",
    ),
    "stored in another shape": (
        lambda: BlockCirculant(4).dense(random(2, 1, 1)), DataError,
        "BlockCirculant(4): the array has shape (2, 1, 1), not (4, 1, 1)",
    ),
    "projecting no matrix": (
        lambda: Diagonal().project(random(3)), DataError,
        "Diagonal(): what is projected is a matrix, not an array of shape (3,)",
    ),
    "drawing another shape": (
        lambda: lstm(structure=BlockCirculant(2), init={"W_i": Wrong()}), OptionError,
        f"lstm: the initialiser of `W_i` drew something else: BlockCirculant(2): {DREW}",
    ),
    "another op": (
        lambda: one(lambda x, W: x @ (W * 2)), CellError,
        "multiply: `W` is a BlockCirculant(2) matrix, and all that it can do is multiply",
    ),
    "two structured matrices": (
        lambda: one(lambda x, W: x @ (W @ W)), CellError,
        "matmul: `W` is a BlockCirculant(2) matrix, and all that it can do is multiply",
    ),
    "returned": (
        lambda: one(lambda x, W: W), CellError,
        "the output `output`: `W` is a BlockCirculant(2) matrix, and all that it can do is multiply",
    ),
    "shapes that do not fit": (
        lambda: one(lambda x, W: x[:3] @ W), ShapeError,
        "matmul: the contracted dimension is `3` in `x[:3]` but `n=4` in `W`",
    ),
    "to_structure of something else": (
        lambda: to_structure(cells.lstm, Diagonal()), OptionError, "to_structure: the first argument is a layer, not Cell",
    ),
    "a weight format": (
        lambda: lstm(weight_format="float8"), OptionError,
        "lstm: there is no weight format `float8`; did you mean `bfloat16`? The formats besides None are `bfloat16`",
    ),
    "segments": (
        lambda: piecewise_tanh(random(2), segments=7), CellError,
        "piecewise: the number of segments is even and at least 4, and is 7",
    ),
    "a limit": (
        lambda: piecewise_sigmoid(random(2), limit=0.0), CellError, "piecewise: the limit is a number above 0, and is 0.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_what_is_wrong_is_said_in_words(name):
    wrong, error, headline = TOLD[name]
    with pytest.raises(error) as caught:
        wrong()
    assert str(caught.value).splitlines()[0] == headline


def test_every_kind_of_structure_says_all_that_is_asked_of_it():
    kinds = [BlockCirculant, BlockDiagonal, Diagonal]
    assert Structure.kinds == {kind.__name__: kind for kind in kinds}
    for kind in kinds:
        assert not kind.__abstractmethods__
        assert kind.equation.startswith("y[")
    with pytest.raises(TypeError):
        Structure()


# --- files


def saved(layer, path, change):
    """A file of the layer whose description was changed."""
    description = json.loads(json.dumps(layer.description))
    change(description)
    ostinato.files.write(path, layer.weights.packed, description)
    return path


def test_a_file_with_impossible_structures_is_refused(tmp_path):
    layer = lstm(structure={"W_i": BlockCirculant(2)})
    path = tmp_path / "l.safetensors"

    def with_kind(description):
        description["structures"]["W_i"]["kind"] = "Circulant"

    def with_block(description):
        description["structures"]["W_i"]["options"]["block"] = 4

    with pytest.raises(FileError) as caught:
        ostinato.load(saved(layer, path, with_kind))
    said = str(caught.value)
    assert "can not be loaded: the structure of `W_i` in the file is none: {" in said
    with pytest.raises(FileError) as caught:
        ostinato.load(saved(layer, path, with_block))
    wanted = "the file says that `W_i` is a BlockCirculant(4) matrix, and its shape is another"
    assert str(caught.value) == f"`{path}` can not be loaded: {wanted}"
    loaded = ostinato.load(saved(layer, path, lambda _: None))
    with pytest.raises(OptionError) as caught:
        to_structure(loaded, None)
    said = str(caught.value).splitlines()[0]
    assert said == "lstm: it was read from a file, which holds its graph and not the cell that would be traced again"


# --- 16 bits


def test_bfloat16_is_the_nearest_number_with_8_bits_of_precision():
    torch = pytest.importorskip("torch")
    numbers = np.concatenate([random(10_000) * 10.0 ** random(10_000, seed=1), [0.0, -0.0, 1.0, 257.0, 3.3e38, 1e-40]])
    numbers = numbers.astype(np.float32)
    wanted = torch.tensor(numbers).to(torch.bfloat16).to(torch.float32).numpy()
    assert np.array_equal(from_bfloat16(to_bfloat16(numbers)), wanted)
    assert np.isnan(from_bfloat16(to_bfloat16(np.array([np.nan], np.float32)))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_16_bits_are_rounded_when_assigned_and_saved_as_2_bytes(dtype, tmp_path):
    full, layer = (lstm(dtype=dtype, structure=BlockCirculant(2), weight_format=f) for f in (None, "bfloat16"))
    for name, array in full.weights.items():
        rounded = from_bfloat16(to_bfloat16(array)).astype(dtype)
        assert np.array_equal(layer.weights[name], rounded)
        np.testing.assert_allclose(rounded, array, rtol=2**-8)
        assert layer.weights[name].dtype == dtype
    assert any((layer.weights[n] != full.weights[n]).any() for n in full.weights)
    X = random(4, 2, 3).astype(dtype)
    full.weights.update(layer.weights)
    assert np.array_equal(full(X), layer(X))  # what is computed has the precision of the dtype
    layer.save(tmp_path / "small")
    full.save(tmp_path / "large")
    arrays, _ = ostinato.files.read(tmp_path / "small")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint16)}
    loaded = ostinato.load(tmp_path / "small")
    assert loaded.weights.weight_format == "bfloat16"
    assert np.array_equal(loaded(X), layer(X))
    assert to_structure(full, None, weight_format="bfloat16").weights.weight_format == "bfloat16"


def test_what_does_not_fit_into_16_bits_is_refused(tmp_path):
    layer = lstm(weight_format="bfloat16")
    before = layer.weights["b_i"]
    with pytest.raises(DataError) as caught:
        layer.weights["b_i"] = np.full(4, 3.4e38, np.float32)
    assert str(caught.value) == "lstm: weight `b_i` holds a number that is too large for bfloat16"
    assert np.shares_memory(layer.weights["b_i"], before)

    def forget(description):
        del description["weight_format"]

    with pytest.raises(FileError) as caught:
        ostinato.load(saved(layer, tmp_path / "l", forget))
    wanted = r"can not be loaded: the weight `[Wb]_[ifgo]` in the file has 16 bits, and nothing says that it is bfloat16$"
    assert re.search(wanted, str(caught.value))


# --- straight lines


@pytest.mark.parametrize(("lines", "exact"), [(piecewise_sigmoid, ostinato.sigmoid), (piecewise_tanh, np.tanh)])
def test_22_straight_lines_are_within_one_percent(lines, exact):
    x = np.linspace(-12, 12, 20_001)
    y = lines(x)
    assert np.abs(y - exact(x)).max() < 0.01
    assert (np.diff(y) >= 0).all()
    slopes = np.round(np.diff(y) / np.diff(x), 6)
    corners = int((np.abs(np.diff(slopes)) > 1e-5).sum())
    assert 20 <= corners <= 2 * 20  # 22 segments, two of which go on at 0; a corner between two points shows itself twice
    np.testing.assert_allclose(y[::-1] - y.mean(), y.mean() - y, atol=1e-12)


def test_straight_lines_are_options_of_a_cell_with_a_gradient():
    options = {"n_inputs": 3, "n_outputs": 2, "n_neurons": 4, "dtype": "float64"}
    lines = {"sigma": piecewise_sigmoid, "phi": piecewise_tanh}
    X, d = random(4, 2, 3), random(4, 2, 2, seed=1)
    layers = [Layer(cells.google_lstm, backend=backend, **lines, **options) for backend in ("reference", "native")]
    exact = Layer(cells.google_lstm, **options)
    np.testing.assert_allclose(layers[0](X), layers[1](X), atol=1e-12)
    assert 0 < np.abs(layers[0](X) - exact(X)).max() < 0.02
    gradients = layers[1].vjp(X)[1](d).weights["W_i"]
    base, direction, step = layers[1].weights["W_i"], random(5, 4, seed=2), 1e-7
    values = []
    for sign in (1, -1):
        layers[1].weights["W_i"] = base + sign * step * direction
        values.append((layers[1](X) * d).sum())
    assert abs((values[0] - values[1]) / (2 * step) - (gradients * direction).sum()) < 1e-6
    assert "piecewise_tanh(c(t))" in str(layers[0].explain())


# --- explanations


def test_an_explanation_says_what_is_stored_and_what_it_saves():
    sizes = {"n_inputs": 153, "n_outputs": 512, "n_neurons": 1024}
    explanation = ostinato.explain(cells.google_lstm.with_structure(BlockCirculant(8)), **sizes)
    text = str(explanation)
    assert str(explanation.equations[0]) == "i = σ([x(t) h(t-1)] W_i + p_i ⊙ c(t-1) + b_i)"
    assert explanation.n_parameters == 409_600 + 7 * 1024
    assert explanation.products_written == 5
    for words in (
        "(665, 1024)", "(8, 84, 128)", "86,016 of 680,960", "65,536 of 524,288",
        "y[q, a] = Σ_p Σ_j x[p, (a + j) mod k] W[j, p, q]", "padded with zeros: 153 -> 160 and 512 -> 512",
        "real Fourier transform of every 8 numbers",
    ):  # fmt: skip
        assert words in text, words
    direct = str(lstm(structure={"W_i": BlockCirculant(2, "direct"), "W_f": BlockDiagonal(1)}).explain())
    assert "the 2 windows of the doubled operand" in direct
    assert "y[b, a] = Σ_i x[b, i] W[b, i, a]" in direct
    assert "Structured weights" not in str(lstm().explain())


def test_the_multiply_adds_of_a_product_are_those_of_the_graph():
    for structure in (BlockCirculant(4, "direct"), BlockCirculant(4, "fft"), BlockCirculant(5, "fft"), BlockDiagonal(2)):
        layer = Layer(cells.dense, n_inputs=12, n_outputs=8, structure=structure)
        explanation = layer.explain()
        placement = layer.structures["W"]
        moving = [n for n in layer.graph.nodes if n.op == "matmul" and n.value.type.varies]
        total = sum(n.value.type.n_elements * n.args[0].type.sizes[-1] for n in moving)
        assert total == placement.multiply_adds
        assert f"{total:,}" in str(explanation)


def test_the_example_shows_a_line_for_every_block_size(capsys):
    path = Path(__file__).parent.parent / "examples" / "c_lstm.py"
    spec = importlib.util.spec_from_file_location("c_lstm", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["c_lstm"] = module  # where its dataclass looks for its own module
    spec.loader.exec_module(module)
    assert module.main(["--quick"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {int(line[0]): line for line in lines if line and line[0].isdecimal()}
    assert {k: row[1] for k, row in rows.items()} == {1: "15,360", 4: "3,840"}
    for row in rows.values():
        assert all(0.15 < float(share.rstrip("%")) / 100 <= 1 for share in row[6:9])
        assert all(0 < float(error) < 10 for error in row[9:])
        assert len(row) == 12


@cell
def plain(x=Input("n"), W=Weight("n", "m")):
    return x @ W


def test_a_page_shows_a_structured_layer(tmp_path):
    layer = Layer(plain, n=8, m=4, structure=BlockCirculant(4))
    layer.explain().save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "BlockCirculant(4)" in page
    assert Placement.of(BlockCirculant(4), 8, 4).stored_shape == (4, 2, 1)
