"""The cost model: it counts what native code does, prefers what has less to do, and no choice of it changes a bit."""

from dataclasses import replace

import numpy as np
import pytest

from ostinato import Layer, OptionError, cells
from ostinato.compiler import PROGRAMS
from ostinato.ir.timeline import Timeline
from ostinato.lower import packing as panels
from ostinato.lower.kernel import ModuleContext
from ostinato.lower.target import TARGETS
from ostinato.native.automatic import AutomaticProgram
from ostinato.plan.candidates import CLEARLY, OCTAVES, STEPS, Advice, Planned
from ostinato.plan.cost_model import CostModel
from ostinato.plan.machine import Machine
from ostinato.plan.phases import CHOICES, Phase
from ostinato.plan.tiling import packed_bytes, panel_bytes, panel_width, tile_for, tiles_of
from ostinato.runtime.backends import PLANS, planned

GIGA = 1e9
# round figures: 128 GFLOP/s in float32
MACHINE = Machine(
    "a machine of these tests", 64, 32, 0.25e-9, 1e-9, {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20},
    {"L1": 256 * GIGA, "L2": 128 * GIGA, "L3": 64 * GIGA, "DRAM": 16 * GIGA},
    {"L1": 128 * GIGA, "L2": 64 * GIGA, "L3": 32 * GIGA, "DRAM": 8 * GIGA}, measured=True, far=True,
)  # fmt: skip


def plans_of(layer, program="forward", machine=MACHINE, asked="automatic"):
    found = planned(layer.compiled(), program, asked)
    return Planned(found.program, asked, machine)


def native(cell, n_inputs, n_neurons, **more):
    return Layer(cell, n_inputs=n_inputs, n_neurons=n_neurons, backend="native", **more)


# --- what is counted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_tiles_and_packed_weights_are_those_that_native_code_has(target, dtype):
    machine = replace(MACHINE, vector_bytes=target.vector_bytes, n_registers=target.n_registers)
    layer = native(cells.gru_reset_before, 7, 37, dtype={"f32": "float32", "f64": "float64"}[dtype])
    for program in ("forward", "recording", "backward"):
        for choice in CHOICES:
            plan = plans_of(layer, program).plan(choice)
            module = ModuleContext(None, plan, target)
            assert plan.packings
            for packing in plan.packings:
                bytes_each = 4 if dtype == "f32" else 8
                assert packed_bytes(packing, machine, dtype) == panels.panel_elements(module, packing) * bytes_each
    for gates in range(1, 9):
        for n_blocks in (1, 2, 3, 4, 5, 7, 8, 16, 33):
            for tile in panels.tiles(module, gates, n_blocks):
                assert tile.blocks % panel_width(gates, n_blocks) == 0  # whole panels
                assert tile.rows * tile.blocks * gates <= target.n_registers  # all accumulators in registers


def test_a_tile_has_no_more_rows_than_there_are():
    tiles = tiles_of(32, 64, 4, 8)
    assert [tile_for(tiles, n).rows for n in (1, 2, 3, 4, 100)] == [1, 2, 2, 4, 4]


def test_a_tile_is_not_filled_up_with_rows_where_a_smaller_one_fits():
    tiles = tiles_of(16, 32, 4, 8)
    assert [tile_for(tiles, n).rows for n in (1, 2, 3, 4, 5, 6, 100)] == [1, 2, 3, 2, 3, 3, 3]


def test_an_lstm_is_counted_exactly():
    costs = plans_of(native(cells.lstm, 32, 64)).costs(10, 3)
    products = 2 * 4 * (32 + 64) * 64
    elementwise = 64 * (5 + 3 + 1)  # three sigmoids, two tanh; three products and a sum; biases begin the accumulators
    assert costs["fused"].operations == 30 * (products + elementwise)
    assert costs["fused"].loop_weight_bytes == 4 * 4 * (32 + 64) * 64
    assert costs["hoisted"].loop_weight_bytes == 4 * 4 * 64 * 64
    assert [costs[choice].n_stages for choice in CHOICES] == [5, 1, 1]
    # x, h and c are read, c and h are written for the next step and h as the output
    assert costs["fused"].moved_bytes == 30 * 4 * (32 + 5 * 64)
    # four sums for every neuron go to memory and come back
    assert costs["hoisted"].moved_bytes == costs["fused"].moved_bytes + 30 * 4 * 2 * 4 * 64


def test_a_plan_without_reuse_moves_more_and_takes_longer():
    costs = plans_of(native(cells.lstm, 64, 64)).costs()
    assert costs["separate"].seconds > costs["fused"].seconds
    assert costs["separate"].moved_bytes > costs["fused"].moved_bytes


@pytest.mark.parametrize("program", ["forward", "recording", "backward"])
@pytest.mark.parametrize(
    "cell", [cells.lstm, cells.gru_reset_before, cells.lstm_layer_norm, cells.indrnn], ids=lambda c: c.name
)
def test_more_steps_and_more_instances_take_longer(cell, program):
    for choice, model in plans_of(native(cell, 16, 48), program).models.items():
        seconds = [model.cost(n_steps, n).seconds for n_steps, n in ((1, 1), (10, 1), (10, 16), (100, 16), (100, 64))]
        assert seconds == sorted(seconds), choice
        assert seconds[0] > 0
        # twice the steps, twice the work, but for what is done once
        assert model.cost(24000, 16).seconds == pytest.approx(2 * model.cost(12000, 16).seconds, rel=0.35)


def test_weights_that_fit_nowhere_take_longer_than_those_that_fit():
    layer = native(cells.recurrent, 512, 512)
    model = CostModel(plans_of(layer).plan("fused"), MACHINE)
    far = CostModel(plans_of(layer).plan("fused"), replace(MACHINE, capacity={"L1": 32 << 10}))
    assert model.cost(STEPS, 1).phases[Phase.LOOP][0].weight_level == "L3"
    assert far.cost(STEPS, 1).phases[Phase.LOOP][0].weight_level == "DRAM"
    # two mebibytes at every step
    assert far.cost(100, 1).seconds - model.cost(100, 1).seconds == pytest.approx(
        100 * 2 * 2**20 * (1 / 16e9 - 1 / 64e9), rel=0.05
    )


def test_a_step_waits_for_the_one_before():
    layer = native(cells.recurrent, 4, 16)
    model = CostModel(plans_of(layer).plan("fused"), MACHINE)
    slow = CostModel(plans_of(layer).plan("fused"), replace(MACHINE, latency=4e-9))
    # a chain of 16 multiply-adds and one tanh at least
    assert slow.cost(100, 1).seconds > 100 * 16 * 4e-9
    assert slow.cost(100, 1).seconds > 2 * model.cost(100, 1).seconds
    assert slow.cost(100, 1).waiting > 0
    assert CostModel(plans_of(layer).plan("fused"), MACHINE).cost(1, 1).waiting == 0


def test_what_is_kept_for_the_backward_pass_is_what_a_run_keeps():
    from ostinato.explain.plan_tables import recorded_bytes

    for cell in (cells.lstm, cells.gru, cells.recurrent):
        layer = native(cell, 5, 9)
        _, pullback = layer.vjp(np.ones((6, 4, 5), np.float32))
        counted = recorded_bytes(plans_of(layer, "recording").plan("hoisted"))
        assert 6 * 4 * counted == pullback.recorded_bytes


# --- choosing -----------------------------------------------------------------------------------------------------------------


def test_one_instance_of_a_large_cell_hoists_and_many_do_not():
    found = plans_of(native(cells.lstm, 256, 256)).advice
    assert found.plans[0] == "hoisted"
    assert found.plans[-1] == "fused"
    assert found.choice(100, 100) == "hoisted"
    assert found.choice(100, 100 * 64) == "fused"
    assert found.choice(1, 1) == found.single
    costs = plans_of(native(cells.lstm, 256, 256)).costs(STEPS, 1)
    assert costs["hoisted"].seconds < CLEARLY * costs["fused"].seconds


def test_a_small_cell_keeps_its_products_in_the_loop():
    found = plans_of(native(cells.recurrent, 8, 16)).advice
    assert set(found.plans) == {"fused"}
    assert found.single == "fused"


def test_the_choice_goes_by_the_rows_of_a_step():
    found = Advice(("hoisted", "fused", "hoisted", "fused"), "fused", "")
    choices = [found.choice(10, rows) for rows in (0, 5, 10, 11, 20, 30, 40, 4000)]
    assert choices == ["hoisted", "hoisted", "hoisted", "fused", "fused", "hoisted", "fused", "fused"]
    assert found.choice(1, 3) == found.choice(0, 0) == "fused"


def test_where_there_is_nothing_to_choose_the_reason_says_so():
    dense = Layer(cells.dense, n_inputs=3, n_outputs=2, backend="native")
    assert plans_of(dense).advice == Advice(
        ("hoisted",), "hoisted", "there is no state, so there is no loop: all plans are one"
    )
    back = plans_of(native(cells.lstm, 3, 5), "backward").advice
    assert back.reason == "there is no product that could leave the loop: both are one plan"


def test_advice_says_why():
    few = plans_of(native(cells.lstm, 64, 64))
    assert few.advice.plans[0] == "hoisted"
    assert "131,072 bytes from L2 (fused) and 65,536 bytes from L2 (hoisted)" in few.reason
    assert "keeping sums for later costs memory traffic" in few.reason
    assert plans_of(native(cells.recurrent, 8, 16)).reason.startswith("keeping sums for later costs more memory traffic than")
    assert plans_of(native(cells.lstm, 64, 64), asked="separate").reason == 'it was asked for: plan="separate"'
    assert plans_of(native(cells.lstm, 64, 64), asked="separate").runs(100, 100) == "separate"


def test_advice_takes_what_the_model_finds_cheapest():
    plans = plans_of(native(cells.gru, 96, 96))
    for n in (1, 2, 4, 16):
        costs = [plans.costs(STEPS, m) for m in next(octave for octave in OCTAVES if octave[0] == n)]
        hoisted, fused = (sum(cost[choice].seconds for cost in costs) for choice in ("hoisted", "fused"))
        assert plans.advice.choice(STEPS, STEPS * n) == ("hoisted" if hoisted < CLEARLY * fused else "fused")


NARROW = replace(MACHINE, vector_bytes=32, n_registers=16)


@pytest.mark.parametrize("machine", [MACHINE, NARROW], ids=["512 bits", "256 bits"])
@pytest.mark.parametrize("cell", [cells.recurrent, cells.lstm, cells.gru, cells.mgu, cells.indrnn], ids=lambda c: c.name)
@pytest.mark.parametrize("n", [8, 64, 128, 256, 512])
def test_from_one_number_of_instances_on_products_stay_in_the_loop(cell, n, machine):
    """One crossing at most, whichever call comes first; the model agrees with it on both sides."""
    plans = plans_of(native(cell, n, n), machine=machine)
    found = [plans.choice(STEPS, STEPS * m) for m in range(1, 257)]
    crossing = found.index("fused") if "fused" in found else 256  # wide cells: sums before the loop pay for every batch
    assert found == ["hoisted"] * crossing + ["fused"] * (256 - crossing)
    upward = plans_of(native(cell, n, n), machine=machine)
    assert [upward.choice(STEPS, STEPS * m) for m in (256, min(256, crossing + 1), max(1, crossing), 1)] == (
        [found[255], found[min(255, crossing)], found[max(1, crossing) - 1], found[0]]
    )  # fmt: skip
    for octave, wanted in zip(OCTAVES, found[:1] + found[1:2] + found[3:4] + found[7:8] + found[15:16], strict=True):
        if octave[0] in (crossing + 1, (crossing + 1) // 2):  # the first that is fused, and the last that is not
            costs = [plans.costs(STEPS, m) for m in octave]
            hoisted, fused = (sum(cost[choice].seconds for cost in costs) for choice in ("hoisted", "fused"))
            assert wanted == ("hoisted" if hoisted < CLEARLY * fused else "fused")


@pytest.mark.parametrize("cell", [cells.lstm, cells.gru, cells.recurrent], ids=lambda c: c.name)
def test_no_plan_and_no_choice_between_them_changes_a_bit(cell):
    layers = {plan: native(cell, 24, 40, plan=plan) for plan in PLANS}
    generator = np.random.default_rng(0)
    for n_steps, n_instances in ((1, 1), (9, 1), (9, 2), (9, 3), (9, 5), (4, 17)):
        X = generator.standard_normal((n_steps, n_instances, 24)).astype(np.float32)
        results = {}
        for plan, layer in layers.items():
            Y, pullback = layer.vjp(X)
            results[plan] = [layer(X), Y, pullback(Y).inputs]
        for plan, result in results.items():
            for array, wanted in zip(result, results["fused"], strict=True):
                assert np.array_equal(array, wanted), (plan, n_steps, n_instances)
    assert set(layers["automatic"]._programs.made) == {(name, False) for name in PROGRAMS}


def test_a_call_runs_by_the_plan_that_is_told():
    layer = native(cells.lstm, 64, 64)
    ready = layer._programs.executable("forward")
    assert isinstance(ready, AutomaticProgram)
    for n in (1, 2, 3, 4, 9, 40):
        assert ready.planned.choice(100, 100 * n) == layer.plan_of(n_steps=100, n_instances=n).choice
    assert ready.planned.choice(1, 1) == layer.plan_of(n_steps=1).choice
    assert ready.native("fused").plan.choice == "fused"


def test_lengths_count_the_rows_that_are_there():
    found = Advice(("hoisted", "fused"), "fused", "")
    whole, short = Timeline(10, 2), Timeline(10, 2, np.array([10, 0]))
    assert found.choice(whole.n_steps, whole.n_rows) == "fused"
    assert found.choice(short.n_steps, short.n_rows) == "hoisted"


def test_panels_of_a_plan_are_counted_once():
    plan = plans_of(native(cells.lstm, 64, 64)).plan("fused")
    assert sum(panel_bytes(plan, MACHINE).values()) == 4 * 4 * 128 * 64


# --- asking a layer -----------------------------------------------------------------------------------------------------------


def test_another_plan_of_a_layer_has_its_weights():
    layer = native(cells.recurrent, 3, 5)
    other = layer.with_plan("separate")
    X = np.ones((4, 2, 3), np.float32)
    layer.weights["b"] = np.full(5, 0.25)
    assert np.array_equal(other(X), layer(X))
    assert (other.plan, layer.plan) == ("separate", "automatic")


def test_measured_times_are_there_for_every_plan():
    layer = native(cells.recurrent, 3, 5)
    for backward in (False, True):
        found = layer.measure_plans(4, 2, backward=backward, seconds=0.001)
        assert list(found) == list(CHOICES)
        assert all(0 < seconds < 1 for seconds in found.values())


def test_contexts_and_several_outputs_are_measured_too():
    layer = Layer(cells.bahdanau_decoder, **dict.fromkeys(cells.bahdanau_decoder.dimensions, 4), backend="native")
    assert set(layer.measure_plans(3, 2, backward=True, seconds=0.001)) == set(CHOICES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda layer: layer.plan_of("forwards"),
         ("recurrent: there is no program `forwards`; did you mean `forward`? The programs are `forward`, `recording`, "
          "`backward`")),
        (lambda layer: layer.plan_of(n_steps=0), "recurrent: `n_steps` is a whole number from 1 up, not 0"),
        (lambda layer: layer.plan_of(n_instances=2.5), "recurrent: `n_instances` is a whole number from 1 up, not 2.5"),
        (lambda layer: layer.measure_plans(7, -1), "recurrent: `n_instances` is a whole number from 1 up, not -1"),
        (lambda layer: layer.plan_of(measured={"fused": -1.0}),
         ("plan_of: `measured` is a dictionary, plan -> seconds above 0, not {'fused': -1.0}\n"
          "  hint: measured={'separate': 0.0031, 'hoisted': 0.0008}")),
        (lambda layer: layer.with_plan("fuse"),
         "recurrent: there is no plan `fuse`; did you mean `fused`? The plans are `automatic`, `separate`, `fused`, `hoisted`"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_told(call, message):
    with pytest.raises(OptionError) as caught:
        call(native(cells.recurrent, 3, 5))
    assert str(caught.value) == message


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_only_native_code_has_a_plan(backend):
    layer = Layer(cells.recurrent, n_inputs=3, n_neurons=5, backend=backend)
    for call in (layer.plan_of, layer.measure_plans):
        with pytest.raises(OptionError) as caught:
            call()
        assert str(caught.value) == f"recurrent: only native code has a plan, and the backend is `{backend}`"


def test_what_one_call_is_told_is_what_all_are_told():
    layer = native(cells.lstm, 24, 40)
    for program in ("forward", "backward"):
        plans = plans_of(layer, program)
        for n_steps, n_instances in ((1, 1), (1, 7), (2, 1), (100, 1), (100, 3), (50, 16), (50, 40)):
            assert plans.choice(n_steps, n_steps * n_instances) == plans.advice.choice(n_steps, n_steps * n_instances)
