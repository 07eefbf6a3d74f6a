"""What a backward pass leaves out: storing what it can compute, copying what it can put in place, reading the same again."""

import numpy as np
import pytest

from ostinato import Bias, Context, Input, Layer, State, Weight, cell, cells, layer_norm, maximum, sigmoid, split, tanh
from ostinato.ir.timeline import Timeline
from ostinato.native.layout import ROW_PLACE
from ostinato.native.parallel import Shares, ThreadingPolicy, Work
from ostinato.native.program import NativeProgram
from ostinato.plan.phases import Phase
from ostinato.plan.planner import plan_program
from ostinato.plan.stages import Copies, Product, Reduce, RowSums
from ostinato.plan.tiling import BLOCK
from ostinato.plan.views import BufferId

SIZES = {"n_inputs": 16, "n_neurons": 32}


@cell
def in_one_piece(
    x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "3*n_neurons"), U=Weight("n_neurons", "3*n_neurons"),
    s=Weight("3*n_neurons"), b=Bias("3*n_neurons"),
):  # fmt: skip
    """Gates that are normalised together and split then."""
    i, f, g = split(layer_norm(x @ W + h @ U, s) + b, 3)
    return sigmoid(f) * h + sigmoid(i) * tanh(g)


@cell
def shaded(x=Input("n"), k=Context("n"), h=State("n"), W=Weight("n", "n"), s=Weight("n"), b=Bias("n")):
    """A context is read behind the loop too, which goes step by step then."""
    return tanh(layer_norm(x * k, s) @ W + h * s + b)


def plan(layer, program="backward", choice="hoisted"):
    return plan_program(layer.compiled().stages[f"schedule_{program}"], choice)


def ops(layer, program):
    return [node.op for node in layer.compiled().stages[f"schedule_{program}"].nodes]


@pytest.mark.parametrize("made", [cells.lstm_layer_norm, in_one_piece], ids=lambda c: c.name)
def test_what_flows_back_to_a_split_value_is_joined_in_place(made):
    layer = Layer(made, **SIZES)
    assert "pad" not in ops(layer, "backward")
    assert "concat" in ops(layer, "backward")
    for choice in ("separate", "fused", "hoisted"):
        assert not [s for stages in plan(layer, choice=choice).stages.values() for s in stages if isinstance(s, Copies)]


def test_a_layer_norm_divides_once_for_a_line():
    layer = Layer(cells.lstm_layer_norm, **SIZES)
    for program in ("recording", "backward"):
        divided = [n for n in layer.compiled().stages[f"schedule_{program}"].nodes if n.op == "divide"]
        assert divided
        assert all(n.value.type.n_elements == 1 for n in divided)


def test_a_step_of_a_layer_norm_lstm_is_so_many_stages():
    layer = Layer(cells.lstm_layer_norm, **SIZES)
    kinds = {p: [type(s) for s in plan(layer, p).stages[Phase.LOOP]] for p in ("recording", "backward")}
    assert kinds["recording"].count(Product) == kinds["backward"].count(Product) == 1
    # the mean and the variance of the gates, and of the cell state, whose first element has to be there before its mean
    assert kinds["recording"].count(Reduce) == 4 + 1
    assert kinds["backward"].count(Reduce) == 4
    assert (len(kinds["recording"]), len(kinds["backward"])) == (11, 10)


def recorded(layer):
    return [r.name for r in layer.compiled().stages["schedule_recording"].results_with("record")]


def test_what_takes_a_few_cheap_operations_is_computed_again_and_not_recorded():
    @cell
    def gated(x=Input("n"), h=State("n"), a=Bias("n"), b=Bias("n")):
        z = sigmoid(x + a)
        n = tanh(x * h + b)
        return (1 - z) * n + z * h

    layer = Layer(gated, n=4)
    (one_minus_z,) = [n.value.name for n in layer.compiled().stages["simplify"].nodes if n.op == "subtract"]
    assert one_minus_z not in recorded(layer)
    assert len(recorded(layer)) == 4  # z, n, h and x

    @cell
    def largest(x=Input("n"), h=State("n"), y=Input("n"), z=Input("n")):
        return maximum(maximum(x, y), maximum(z, h))

    layer = Layer(largest, n=4)
    assert sorted(recorded(layer)) == ["h", "x", "y", "z"]


def test_sums_over_rows_compute_what_they_sum_and_share_what_they_read():
    layer = Layer(cells.lstm_layer_norm, **SIZES)
    sums = [s for s in plan(layer).stages[Phase.AFTER] if isinstance(s, RowSums)]
    assert len(sums) == 2
    assert sum(len(s.sums) for s in sums) == 14  # the parts of b, s_x and s_h, and s_c and b_c
    computed = {n.value.name for s in sums for n in s.nodes}
    assert len(computed) == 18
    assert not computed & {buffer.name for buffer in plan(layer).buffers}


def test_what_one_phase_alone_reads_takes_a_block_of_rows():
    layer = Layer(cells.lstm_layer_norm, **SIZES, backend="native")
    found = plan(layer)
    assert found.block_local
    for name, phase in found.block_local.items():
        users = {p for p, stages in found.stages.items() for s in stages if name in s.buffers}
        assert users == {phase}
        assert name not in found.results
    native = NativeProgram(found)
    grown = np.diff([native.layout.memory(Timeline(n, 1)).internal for n in (BLOCK, 2 * BLOCK)])[0]
    kept = ROW_PLACE + sum(b.row_bytes for name, b in found.buffers.items() if name in internal(found) - set(found.block_local))
    assert grown == BLOCK * kept


def test_the_parts_of_a_weights_gradient_are_summed_up_in_their_places():
    layer = Layer(cells.lstm, **SIZES)
    found = plan(layer)
    gradients = [name for r, name in zip(found.program.results, found.results, strict=True) if r.role == "gradient"]
    assert {BufferId("gradient", f"W_{gate}") for gate in "ifgo"} <= set(gradients)
    assert sum(name == BufferId("gradient", "W_i") for name in gradients) == 2  # of the inputs and of the state
    assert found.buffers[BufferId("gradient", "W_i")].size == layer.weights["W_i"].size
    assert set(found.zeroed) == set(gradients) - {BufferId("value", "d_x")}


def internal(found):
    outside = {*found.ports.values(), *found.results, *found.prepared, *(p.panels for p in found.packings)}
    return {name for name, b in found.buffers.items() if name not in outside and int(b.space) == 2}


@pytest.mark.parametrize("made", [cells.lstm_layer_norm, cells.gru, in_one_piece, shaded], ids=lambda c: c.name)
@pytest.mark.parametrize("n_steps", [BLOCK // 5, BLOCK // 5 + 1, 3 * BLOCK // 5 + 2])
def test_blocks_of_rows_change_nothing(monkeypatch, made, n_steps):
    sizes = {d: n for d, n in {"n": 19, "n_inputs": 7, "n_neurons": 19}.items() if d in made.dimensions}
    generator = np.random.default_rng(3)
    plans = [("numpy", "automatic"), ("native", "separate"), ("native", "hoisted")]
    layers = [Layer(made, **sizes, backend=backend, plan=plan) for backend, plan in plans]
    X, *context = [
        generator.standard_normal((*lead, *p.value.type.sizes)).astype("float32")
        for role, lead in (("input", (n_steps, 5)), ("context", (5,))) for p in layers[0].graph.with_role(role)
    ]  # fmt: skip
    for more in ({}, {"lengths": np.array([n_steps, 3, n_steps - 1, 0, n_steps])}):
        results = []
        for shares in (None, Shares(2, by_neurons=False), Shares(3, by_neurons=True)):
            monkeypatch.setattr(Work, "threads", lambda *_, shares=shares: shares)
            monkeypatch.setattr(ThreadingPolicy, "shares", lambda _: True)
            for layer in layers:
                Y, pullback = layer.vjp(X, *context, **more)
                grads = pullback(np.cos(Y))
                results.append({"Y": Y, "dX": grads.inputs, **grads.contexts, **grads.weights})
        wanted, first = results[:2]
        for name, array in wanted.items():
            assert np.allclose(first[name], array, rtol=2e-4, atol=2e-4 * np.abs(array).max()), name
            others = [r for i, r in enumerate(results) if i % len(layers)]
            assert all(np.array_equal(first[name], other[name]) for other in others), name


def test_weights_in_the_layout_of_pytorch_have_gradients_where_they_lie():
    """`x @ W.T`, gates by split: nothing is joined or turned around at the end, each part goes into its rows of the weight."""

    @cell
    def gated(x=Input("n"), h=State("n"), W=Weight("2*n", "n"), U=Weight("2*n", "n")):
        z, u = split(x @ W.T + h @ U.T, 2)
        return sigmoid(z) * h + tanh(u)

    backward = Layer(gated, n=4).compiled().stages["schedule_backward"]
    assert not [n for n in backward.nodes if n.op in ("concat", "pad")]
    turned = [n for n in backward.after if n.op == "transpose"]
    assert turned == []
    blocks = [str(r.block) for r in backward.results_with("gradient") if r.name == "W"]
    assert blocks == ["W[0:n, 0:n]", "W[n:2*n, 0:n]"]
