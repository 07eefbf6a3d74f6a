"""Structured weights: what is stored stands for a dense matrix, and a layer computes what it would with that matrix."""

import copy
import pickle

import numpy as np
import pytest

import ostinato
from ostinato import (
    BlockCirculant,
    BlockDiagonal,
    Diagonal,
    Input,
    Layer,
    State,
    Weight,
    cell,
    cells,
    concat,
    split,
    tanh,
    to_structure,
)  # fmt: skip
from ostinato.structure.base import Placement, parts_of

KINDS = [
    BlockCirculant(4, "direct"), BlockCirculant(4, "fft"), BlockCirculant(3, "direct"), BlockCirculant(3, "fft"),
    BlockCirculant(5, "fft"), BlockCirculant(8), BlockCirculant(2), BlockCirculant(1), BlockDiagonal(2), BlockDiagonal(1),
]  # fmt: skip
BACKENDS = ("reference", "numpy", "native")


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def dense_twin(layer, make):
    """The layer that `make()` gives, with the matrices that the structured weights stand for."""
    twin = make()
    twin.weights.update(layer.dense_weights)
    return twin


# --- matrices


def test_a_block_is_circulant_as_in_figure_2_of_the_paper():
    first_row = [0.36, 1.29, 0.03, -2.69]  # of the matrix that stands on the left of x, so our first column
    dense = BlockCirculant(4).dense(np.reshape(first_row, (4, 1, 1)))
    assert dense.T.tolist() == [
        [0.36, 1.29, 0.03, -2.69], [-2.69, 0.36, 1.29, 0.03], [0.03, -2.69, 0.36, 1.29], [1.29, 0.03, -2.69, 0.36],
    ]  # fmt: skip


def test_the_product_is_the_inverse_transform_of_products_of_transforms():
    stored, x = random(8, 3, 2), random(24, seed=1)
    dense = BlockCirculant(8).dense(stored)
    X, W = np.fft.fft(x.reshape(3, 8), axis=1), np.fft.fft(stored, axis=0)
    Y = np.einsum("pf,fpq->qf", X, W.conj())
    np.testing.assert_allclose(x @ dense, np.fft.ifft(Y, axis=1).real.ravel(), atol=1e-12)


def test_a_block_circulant_matrix_is_a_sum_of_shifts():
    stored = random(4, 3, 2)
    shift = np.roll(np.eye(4), 1, axis=0)
    whole = sum(np.kron(stored[j], np.linalg.matrix_power(shift, j)) for j in range(4))
    np.testing.assert_allclose(BlockCirculant(4).dense(stored), whole, atol=1e-12)


def test_what_the_block_does_not_divide_is_padded_part_by_part():
    placement = Placement.of(BlockCirculant(8), (153, 512), 1024)
    assert placement.stored_shape == (8, 20 + 64, 128)
    small = Placement.of(BlockCirculant(4), (3, 5), (2, 4))
    stored = random(4, 1 + 2, 1 + 1)
    whole = BlockCirculant(4).dense(stored)  # 12 x 8, of which rows 3 and 9 to 11, and columns 2 and 3, are padding
    kept = whole[np.ix_([0, 1, 2, 4, 5, 6, 7, 8], [0, 1, 4, 5, 6, 7])]
    assert np.array_equal(small.dense(stored), kept)


def test_block_diagonal_and_diagonal_matrices_lie_where_they_say():
    stored = random(2, 3, 2)
    whole = np.zeros((6, 4))
    whole[:3, :2], whole[3:, 2:] = stored
    assert np.array_equal(BlockDiagonal(2).dense(stored), whole)
    side_by_side = Placement.of(Diagonal(), 3, (3, 3)).dense(np.arange(6.0))
    assert np.array_equal(side_by_side, np.hstack([np.diag([0, 1, 2]), np.diag([3, 4, 5])]))
    stacked = Placement.of(BlockDiagonal(2), (4, 2), 2).dense(np.arange(6.0).reshape(2, 3, 1))
    assert stacked.tolist() == [[0, 0], [1, 0], [0, 3], [0, 4], [2, 0], [0, 5]]


@pytest.mark.parametrize(
    ("structure", "rows", "columns"),
    [(BlockCirculant(4), (5, 6), (7,)), (BlockCirculant(3), (9,), (2, 2)), (BlockDiagonal(2), (4, 6), (2, 8)),
     (Diagonal(), (5,), (5, 5))],
)  # fmt: skip
def test_projection_is_the_nearest_matrix_of_the_structure(structure, rows, columns):
    placement = Placement.of(structure, rows, columns)
    n = placement.n_parameters
    basis = np.stack([placement.dense(row.reshape(placement.stored_shape)).ravel() for row in np.eye(n)])
    wanted = random(sum(rows), sum(columns))
    nearest = np.linalg.lstsq(basis.T, wanted.ravel(), rcond=None)[0]
    np.testing.assert_allclose(placement.project(wanted).ravel(), nearest, atol=1e-12)
    # what has the structure already stays as it is (what only stands for padding becomes 0)
    again = placement.dense(placement.project(placement.dense(random(*placement.stored_shape))))
    np.testing.assert_allclose(again, placement.dense(random(*placement.stored_shape)), atol=1e-12)


def test_a_matrix_without_stacked_parts_needs_no_sizes():
    dense = random(8, 4)
    assert BlockCirculant(4).project(dense).shape == (4, 2, 1)
    assert BlockDiagonal(2).dense(BlockDiagonal(2).project(dense)).shape == (8, 4)
    assert BlockCirculant(4).dense(random(4, 2, 1), rows=7).shape == (7, 4)


def test_parts_are_what_is_added_and_multiples_are_repeated():
    sizes = {"a": 3, "b": 5}
    assert parts_of("a + b", sizes) == (3, 5)
    assert parts_of("b + a", sizes) == (5, 3)
    assert parts_of("2*(a + b) + 1", sizes) == (3, 5, 3, 5, 1)
    assert parts_of("a*4", sizes) == (3, 3, 3, 3)
    assert parts_of("a*b", sizes) == (15,)
    assert parts_of("b - a", sizes) == (2,)
    assert parts_of(7, sizes) == (7,)


# --- layers


@pytest.mark.parametrize("structure", KINDS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_computes_what_it_does_with_the_dense_matrices(structure, backend):
    options = {"n_inputs": 6, "n_neurons": 8, "dtype": "float64", "backend": backend}
    layer = Layer(cells.lstm, structure=structure, **options)
    twin = dense_twin(layer, lambda: Layer(cells.lstm, **options))
    X = random(5, 3, 6)
    np.testing.assert_allclose(layer(X), twin(X), atol=1e-12)
    assert layer.n_parameters <= twin.n_parameters
    stream = layer.stream(n_instances=3)
    streamed = np.stack([stream(x) for x in X])
    # native code promises the bits; what NumPy gives, the BLAS decides, which may add many rows in another order than a few
    assert np.array_equal(streamed, layer(X)) if backend == "native" else np.allclose(streamed, layer(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("structure", KINDS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_those_of_the_dense_layer_added_up_over_what_a_number_stands_for(structure, backend):
    options = {"n_inputs": 6, "n_neurons": 8, "dtype": "float64", "backend": backend}
    layer = Layer(cells.lstm, structure=structure, **options)
    twin = dense_twin(layer, lambda: Layer(cells.lstm, **options))
    X, d = random(4, 3, 6), random(4, 3, 8, seed=1)
    found, wanted = layer.vjp(X)[1](d), twin.vjp(X)[1](d)
    np.testing.assert_allclose(found.inputs, wanted.inputs, atol=1e-12)
    for name, gradient in found.weights.items():
        placement = layer.structures.get(name)
        tied = wanted.weights[name]
        if placement is not None:
            tied = placement.structure.total(tied, placement.rows, placement.columns)
        np.testing.assert_allclose(gradient, tied, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_gradients_are_finite_differences(method):
    structure = BlockCirculant(4, method)
    layer = Layer(cells.google_lstm, n_inputs=5, n_outputs=4, n_neurons=6, structure=structure, dtype="float64")
    X, d = random(3, 2, 5), random(3, 2, 4, seed=1)
    gradients = layer.vjp(X)[1](d).weights
    for name in ("W_i", "W_o", "U_p"):
        base, direction, step = layer.weights[name], random(*layer.weights[name].shape, seed=2), 1e-6
        values = []
        for sign in (1, -1):
            layer.weights[name] = base + sign * step * direction
            values.append((layer(X) * d).sum())
        layer.weights[name] = base
        assert abs((values[0] - values[1]) / (2 * step) - (gradients[name] * direction).sum()) < 1e-7


@cell
def declared(
    x=Input("n_inputs"), h=State("n_neurons"),
    W=Weight("n_inputs", "4*n_neurons"), U=Weight("n_neurons", "4*n_neurons", structure=Diagonal()),
    R=Weight("n_neurons", "n_neurons", structure=BlockDiagonal(3)),
):  # fmt: skip
    """All that a structured weight can do: x @ W, W @ x, and its transpose in both."""
    a, b, c, d = split(x @ W + h @ U, 4)
    return tanh(a + h @ R) + tanh(b + R @ h) * (c + h @ R.T) + tanh(d - R.mT @ h)


@pytest.mark.parametrize("backend", BACKENDS)
def test_structures_are_declared_and_chosen_and_transposed(backend):
    options = {"n_inputs": 4, "n_neurons": 6, "dtype": "float64", "backend": backend}
    X = random(4, 2, 4)
    for structure in ({}, {"W": BlockCirculant(4), "R": BlockCirculant(4)}, {"R": BlockCirculant(4, "direct"), "U": None}):
        layer = Layer(declared, structure=structure, **options)
        twin = dense_twin(layer, lambda: Layer(declared, structure={"U": None, "R": None}, **options))
        np.testing.assert_allclose(layer(X), twin(X), atol=1e-12)
    assert Layer(declared, **options).weights.shapes == {"W": (4, 24), "U": (24,), "R": (3, 2, 2)}
    assert twin.structures == {}
    assert Layer(declared, structure={"W": BlockCirculant(4)}, **options).weights.shapes["W"] == (4, 1, 8)  # 6 -> 8, four times


@cell
def rows_of_vectors(x=Input("n_rows", "n_inputs"), W=Weight("n_inputs", "n_neurons")):
    return tanh(x @ W) + (W.T @ x.T).T


@pytest.mark.parametrize("structure", [*KINDS[:2], BlockDiagonal(2), Diagonal()], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_matrices_are_multiplied_row_by_row(structure, backend):
    n_neurons = 6 if structure == Diagonal() else 4
    options = {"n_rows": 3, "n_inputs": 6, "n_neurons": n_neurons, "dtype": "float64", "backend": backend}
    layer = Layer(rows_of_vectors, structure=structure, **options)
    twin = dense_twin(layer, lambda: Layer(rows_of_vectors, **options))
    X, d = random(2, 2, 3, 6), random(2, 2, 3, n_neurons, seed=1)
    Y, pullback = layer.vjp(X)
    Y_twin, pullback_twin = twin.vjp(X)
    np.testing.assert_allclose(Y, Y_twin, atol=1e-12)
    np.testing.assert_allclose(pullback(d).inputs, pullback_twin(d).inputs, atol=1e-12)


@cell
def turned_around(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs + n_neurons", "n_neurons")):
    return tanh(concat(h, x) @ W)


def test_a_stacked_weight_may_meet_its_operands_in_another_order():
    # the parts of a dimension are those that the declaration writes; here 2 rows for x and 5 for h meet 5 of h and 2 of x
    layer = Layer(turned_around, n_inputs=2, n_neurons=5, structure=BlockCirculant(4), dtype="float64")
    twin = dense_twin(layer, lambda: Layer(turned_around, n_inputs=2, n_neurons=5, dtype="float64"))
    X = random(4, 2, 2)
    np.testing.assert_allclose(layer(X), twin(X), atol=1e-12)


def test_the_input_part_of_a_stacked_weight_leaves_the_loop():
    layer = Layer(cells.lstm, n_inputs=5, n_neurons=8, structure=BlockCirculant(4))
    moving = {a.name for n in layer.program.loop for a in n.args}
    assert "x" not in moving
    assert "h" in moving


def test_the_cell_itself_is_unchanged_and_still_a_function_of_dense_arrays():
    layer = Layer(declared, n_inputs=4, n_neurons=6, structure={"W": BlockCirculant(4)}, dtype="float64")
    x, h = random(4), random(6, seed=1)
    one_step = declared(x, h, **layer.dense_weights)
    np.testing.assert_allclose(one_step, layer.run(x[None, None], state={"h": h[None]})[0][0, 0], atol=1e-12)
    assert declared.declarations["W"].structure is None


def test_a_structured_cell_may_be_called_by_another_cell():
    @cell
    def outer(x=Input("n"), h=State("m"), W=Weight("n + m", "m", structure=BlockCirculant(2))):
        return inner(concat(x, h), W)

    @cell
    def inner(v=Input("k"), W=Weight("k", "n")):
        return tanh(v @ W)

    layer = Layer(outer, n=2, m=4)
    assert layer.weights["W"].shape == (2, 3, 2)
    assert layer(random(3, 1, 2)).shape == (3, 1, 4)


# --- how they begin


def test_recurrent_parts_begin_orthogonal_within_the_structure():
    for structure in (BlockCirculant(4), BlockDiagonal(2), {"W_i": BlockCirculant(2, "direct")}):
        layer = Layer(cells.lstm, n_inputs=4, n_neurons=16, structure=structure, dtype="float64")
        recurrent = layer.dense_weights["W_i"][4:]
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(16), atol=1e-12)
        given = layer.dense_weights["W_i"][:4]
        limit = np.sqrt(6 / (4 + 16))
        assert 0.5 * limit < np.abs(given).max() <= limit
    assert set(Layer(declared, n_inputs=4, n_neurons=6).weights["U"]) == {-1.0, 1.0}


def test_initialisers_are_those_of_the_dense_matrix():
    layer = Layer(cells.recurrent, n_inputs=8, n_neurons=8, structure=BlockCirculant(4), init={"W_x": 0.5, "W_y": "identity"})
    assert np.array_equal(layer.dense_weights["W_y"], np.eye(8, dtype=np.float32))
    assert (layer.dense_weights["W_x"] == 0.5).all()
    uneven = Layer(cells.dense, n_inputs=5, n_outputs=6, structure=BlockCirculant(4), init={"W": 2})
    assert (uneven.dense_weights["W"] == 2).all()


def test_the_same_seed_gives_the_same_structured_weights():
    a, b = (Layer(cells.gru, n_inputs=4, n_neurons=8, structure=BlockCirculant(4), seed=3) for _ in range(2))
    assert all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)


# --- converting, copying, saving


def test_to_structure_projects_and_none_gives_the_same_matrices_back():
    dense = Layer(cells.lstm, n_inputs=6, n_neurons=8, dtype="float64")
    structured = to_structure(dense, BlockCirculant(4))
    for name, placement in structured.structures.items():
        assert np.array_equal(structured.weights[name], placement.project(dense.weights[name]))
    assert np.array_equal(structured.weights["b_i"], dense.weights["b_i"])
    back = to_structure(structured, None)
    X = random(4, 2, 6)
    np.testing.assert_allclose(back(X), structured(X), atol=1e-12)
    assert back.structures == {}
    again = to_structure(structured, {"W_i": BlockDiagonal(2)})
    assert again.weights["W_f"].shape == structured.weights["W_f"].shape
    assert again.weights["W_i"].shape == (2, 7, 4)


def test_a_structured_layer_is_saved_copied_and_pickled(tmp_path):
    structure = {"W_i": BlockCirculant(4), "W_f": BlockDiagonal(1)}
    layer = Layer(cells.lstm, n_inputs=5, n_neurons=8, structure=structure, reverse=True)
    X = random(4, 2, 5)
    layer.save(tmp_path / "l.safetensors")
    loaded = ostinato.load(tmp_path / "l.safetensors")
    for other in (loaded, copy.deepcopy(layer)):
        assert np.array_equal(other(X), layer(X))
        assert other.structures == layer.structures
        assert "BlockCirculant(4)" in str(other.explain())
    assert pickle.loads(pickle.dumps(layer.cell)).declarations == layer.cell.declarations
    assert pickle.loads(pickle.dumps(cells.lstm)) is cells.lstm


def test_a_network_holds_structured_layers():
    network = ostinato.Network(
        Layer(cells.lstm, n_inputs=4, n_neurons=8, structure=BlockCirculant(4)), Layer(cells.dense, n_inputs=8, n_outputs=2)
    )
    Y, pullback = network.vjp(random(5, 3, 4).astype(np.float32))
    gradients = pullback(np.ones_like(Y)).weights
    assert {name: array.shape for name, array in gradients.items()} == {n: a.shape for n, a in network.weights.items()}


# --- the paper's table


@pytest.mark.parametrize(
    ("k", "parameters", "printed"),
    [(1, 3_248_128, "3.25M"), (2, 1_626_112, "1.63M"), (4, 815_104, "0.82M"), (8, 409_600, "0.41M"), (16, 204_800, "0.20M")],
)
def test_the_google_lstm_has_the_parameters_of_the_papers_table(k, parameters, printed):
    sizes = {"n_inputs": 153, "n_outputs": 512, "n_neurons": 1024}
    placements = cells.google_lstm.with_structure(BlockCirculant(k)).placements(sizes)
    assert list(placements) == ["W_i", "W_f", "W_g", "W_o", "U_p"]
    total = sum(p.n_parameters for p in placements.values())
    assert total == parameters
    assert f"{total / 1e6:.2f}M" == printed


def test_the_transform_multiplies_less():
    structure = BlockCirculant(8)
    assert structure.counted("direct", (1024,), (1024,)) == 1024 * 1024
    products = structure.counted("fft", (1024,), (1024,)) - 128 * 8 * 14 - 128 * 8 * 8
    assert products == 14 * 128 * 128


def test_every_cell_of_the_library_with_matrices_takes_a_structure():
    found = 0
    for name in cells.__all__:
        made = getattr(cells, name)
        if not isinstance(made, ostinato.Cell):
            continue
        matrices = [n for n, d in made.declarations.items() if d.role == "weight" and len(d.dims) == 2]
        if not matrices or name in ("convolution_1d", "convolution_2d", "conv_lstm"):
            continue
        sizes = dict.fromkeys(made.dimensions, 4)
        layer = Layer(made, structure=BlockCirculant(2), dtype="float64", **sizes)
        inputs = [random(3, 2, *p.value.type.sizes) for p in layer.graph.with_role("input")]
        contexts = [random(2, *p.value.type.sizes) for p in layer.graph.with_role("context")]
        twin = dense_twin(layer, lambda made=made, sizes=sizes: Layer(made, dtype="float64", **sizes))
        a, b = layer(*inputs, *contexts), twin(*inputs, *contexts)
        for key in a if isinstance(a, dict) else [None]:
            x, y = (a, b) if key is None else (a[key], b[key])
            np.testing.assert_allclose(x, y, atol=1e-11, err_msg=name)
        found += 1
    assert found > 12
