"""A plan has a text form, which is kept for a few small cells, and a verifier, which finds what is planted."""

import textwrap
from dataclasses import replace

import pytest

from ostinato import InternalError, Layer, cells
from ostinato.plan import planner
from ostinato.plan.phases import Phase
from ostinato.plan.planner import plan_program
from ostinato.plan.stages import Contraction, Copies, Copy, Map, Product, Reduce, RowSum, RowSums
from ostinato.plan.verify import problems, verify
from ostinato.plan.views import Buffer, BufferId, View
from ostinato.runtime.backends import scheduled_program


def plan(name, program="forward", choice="hoisted", **sizes):
    made = getattr(cells, name)
    layer = Layer(made, **{dim: {"n_inputs": 3, "n_neurons": 4, **sizes}.get(dim, 5) for dim in made.dimensions})
    return plan_program(scheduled_program(layer.compiled(), program), choice)


@pytest.mark.parametrize("name", ["recurrent", "lstm", "gru"])
def test_the_text_of_a_plan(name, golden):
    golden(f"stages_{name}.txt", "\n\n\n".join(str(plan(name, program)) for program in ("forward", "backward")))


def test_the_text_of_every_kind_of_stage(golden):
    """An attention, whose values are contracted, and a convolution, whose values are copied."""
    shown = [plan("bahdanau_decoder", "backward", "fused"), plan("conv_lstm", height=2, width=2, size=3)]
    kinds = {type(stage) for each in [*shown, plan("lstm_layer_norm", "backward")] for s in each.stages.values() for stage in s}
    assert kinds == {Map, Product, Reduce, RowSums, RowSum, Contraction, Copies}
    golden("stages_of_all_kinds.txt", "\n\n\n".join(map(str, shown)))


def test_the_plan_that_the_planner_tells_of_is_made():
    text = textwrap.dedent(planner.__doc__.partition('choice "hoisted":\n')[2].partition("\n\nThe products of")[0]).strip()
    assert text.startswith("before the loop, for all steps at once:")
    assert text in str(plan("gru"))


def test_tests_verify_every_plan():
    assert planner.CHECKED


# --- planted faults


def changed(found, phase, index, **changes):
    """A plan with one stage changed."""
    stages = list(found.stages[phase])
    stages[index] = replace(stages[index], **changes)
    return replace(found, stages={**found.stages, phase: tuple(stages)})


def first(found, phase, kind):
    return next((i, s) for i, s in enumerate(found.stages[phase]) if isinstance(s, kind))


def test_a_view_outside_of_its_buffer():
    found = plan("recurrent", choice="fused")
    index, stage = first(found, Phase.LOOP, Product)
    (name, view), *rest = stage.stores
    wrong = changed(found, Phase.LOOP, index, stores=((name, replace(view, offset=2)), *rest))
    assert problems(wrong) == [
        f"loop 1 (product): `{view.buffer}[2:6]` goes from 2 to 5, and a row of it has 4 elements",
    ]
    missing = replace(found, buffers={b: x for b, x in found.buffers.items() if b != view.buffer})
    assert f"loop 1 (product): there is no buffer `{view.buffer}`" in problems(missing)
    panels = replace(found, buffers={b: x for b, x in found.buffers.items() if b.role != "panels"})
    assert problems(panels)[0] == f"loop 1 (product): there is no buffer `{stage.segments[0].panels}`"


def test_a_walk_over_another_shape():
    found = plan("recurrent", choice="fused")
    wrong = changed(found, Phase.LOOP, 0, domain=(5,))
    assert problems(wrong)[0] == "loop 1 (product): the sizes of `b` are (4,), and the domain is (5)"


def test_what_is_loaded_and_was_not_written():
    found = plan("gru")
    assert problems(found) == []
    index, stage = first(found, Phase.BEFORE, Product)
    wrong = changed(found, Phase.BEFORE, index, stores=stage.stores[1:])
    name = stage.stores[0][1].buffer
    assert problems(wrong) == [f"loop 1 (product): `{name}` is read, and was not written"]


def test_a_result_that_is_not_stored():
    found = plan("gru")
    index, stage = first(found, Phase.LOOP, Product)
    for buffer, what in ((BufferId("next", "h"), "h@next"), (BufferId("value", "h_new"), "h_new")):
        wrong = changed(found, Phase.LOOP, index, stores=tuple(s for s in stage.stores if s[1].buffer != buffer))
        assert problems(wrong) == [f"`{what}` is not written to its end"]
    half = View(BufferId("value", "h_new"), (4,), (0,))
    wrong = changed(
        found, Phase.LOOP, index, stores=(*(s for s in stage.stores if s[1].buffer != half.buffer), ("h_new", half))
    )
    assert problems(wrong) == ["`h_new` is not written to its end"]
    nothing = changed(found, Phase.LOOP, index, stores=())
    assert "loop 1 (product): nothing is stored" in problems(nothing)
    nowhere = replace(found, results=(*found.results[:-1], BufferId("value", "elsewhere")))
    assert problems(nowhere) == ["there is no buffer `elsewhere`"]


def test_what_is_written_twice_and_what_is_given():
    found = plan("gru")
    index, stage = first(found, Phase.BEFORE, Product)
    twice = changed(found, Phase.BEFORE, index, stores=(*stage.stores, stage.stores[0]))
    assert problems(twice) == []  # the same value: it does no harm within a stage
    again = replace(found, stages={**found.stages, Phase.BEFORE: (stage, stage)})
    first_one = stage.stores[0][1].buffer
    assert problems(again)[0] == f"before 2 (product): `{first_one}` is written a second time"
    to_x = View(BufferId("port", "x"), (4,), (0,))
    given = changed(found, Phase.BEFORE, index, stores=(*stage.stores, (stage.names[0], to_x)))
    assert "before 1 (product): `x` is given, and written" in problems(given)


def test_what_belongs_to_a_step_and_is_read_behind_the_loop():
    found = plan("gru", "backward")
    index, stage = first(found, Phase.AFTER, RowSum)
    local = replace(found.buffers[stage.right.buffer], space=found.buffers[BufferId("now", "d_h")].space)
    wrong = replace(found, buffers={**found.buffers, local.id: local})
    assert f"after {index + 1} (total): `{local.id}` is of one step of the loop, and read outside of it" in problems(wrong)


def test_sums_that_do_not_begin_at_zero():
    found = plan("gru", "backward")
    wrong = replace(found, zeroed=())
    assert "after 1 (total): `d_U_n` is added to, and not zero at first" in problems(wrong)
    copied = plan("conv_lstm", "backward", size=3)
    phase, index, stage = next(
        (p, i, s) for p, stages in copied.stages.items() for i, s in enumerate(stages)
        if isinstance(s, Copies) and any(c.accumulate for c in s.copies)
    )  # fmt: skip
    without = changed(copied, phase, index, copies=tuple(c for c in stage.copies if c.accumulate))
    assert any("is added to, and was not written" in line for line in problems(without))


def test_phases_out_of_order():
    found = plan("gru")
    wrong = replace(found, stages=dict(reversed(found.stages.items())))
    assert problems(wrong) == ["the stages of BEFORE stand before those of LOOP"]


def test_registers_that_hold_nothing_yet():
    found = plan("gru")
    index, stage = first(found, Phase.LOOP, Product)
    r = next(n for n in stage.nodes if n.op == "sigmoid")
    late = changed(found, Phase.LOOP, index, nodes=(*(n for n in stage.nodes if n is not r), r))
    reader = next(n for n in stage.nodes if r.value in n.args)
    assert f"loop 1 (product): `{reader.value.name}` reads `{r.value.name}`, which is neither loaded nor computed before" in (
        problems(late)
    )  # fmt: skip
    gone = changed(found, Phase.LOOP, index, nodes=stage.nodes[:-1])
    assert "loop 1 (product): `h_new` is stored or summed, and not computed" in problems(gone)
    chained = changed(found, Phase.LOOP, index, starts=(stage.starts[0], r.value.name, stage.starts[2]))
    waits = f"loop 1 (product): the accumulator `{stage.names[1]}` begins with `{r.value.name}`, which waits for another one"
    assert waits in problems(chained)


def test_more_accumulators_than_a_tile_has():
    found = plan("gru")
    index, stage = first(found, Phase.LOOP, Product)
    wrong = changed(found, Phase.LOOP, index, names=stage.names * 3, starts=stage.starts * 3)
    assert "loop 1 (product): 9 accumulators, and a tile has room for 8" in problems(wrong)
    backward = plan("lstm_layer_norm", "backward")
    index, stage = first(backward, Phase.AFTER, RowSums)
    many = changed(backward, Phase.AFTER, index, sums=stage.sums * 2)
    assert f"after {index + 1} (sum): 16 sums, and a stage has at most 8" in problems(many)


def test_products_and_their_panels():
    found = plan("gru")
    index, stage = first(found, Phase.LOOP, Product)
    (segment,) = stage.segments
    fewer = replace(segment, accumulators=segment.accumulators[:-1])
    wrong = problems(changed(found, Phase.LOOP, index, segments=(fewer,)))
    assert f"loop 1 (product): `{segment.panels}`: 3 matrices for 2 accumulators" in wrong
    assert f"loop 1 (product): the accumulator `{stage.names[-1]}` takes no product" in wrong
    turned = replace(segment, rights=segment.rights[::-1])
    wrong = problems(changed(found, Phase.LOOP, index, segments=(turned,)))
    assert wrong == [f"loop 1 (product): `{segment.panels}` is not packed as it is read"]
    short = replace(segment, k=3)
    wrong = problems(changed(found, Phase.LOOP, index, segments=(short,)))
    assert f"loop 1 (product): `{segment.panels}`: (4,) times [(4, 4)] over (n_neurons=4)" in wrong
    x = View(BufferId("port", "x"), (3, 4), (1, 0))
    packed = replace(found, packings=(replace(found.packings[0], rights=(x, *found.packings[0].rights[1:])), found.packings[1]))
    assert any(line.endswith("`x` is packed, and does not come from weights alone") for line in problems(packed))
    outside = View(BufferId("weight", "W_r"), (3, 4), (4, 1), 1)
    packed = replace(found, packings=(replace(found.packings[0], rights=(outside,)), found.packings[1]))
    assert problems(packed) == [f"{found.packings[0].panels}: `W_r[1:13]` goes from 1 to 12, and a row of it has 12 elements"]


def test_copies_read_what_is_there():
    found = plan("conv_lstm", size=3)
    phase, index, stage = next(
        (p, i, s) for p, stages in found.stages.items() for i, s in enumerate(stages) if isinstance(s, Copies)
    )  # fmt: skip
    target = stage.copies[0].target
    ghost = Buffer(BufferId("value", "ghost"), found.buffers[target.buffer].space, 1, "f32")
    from_ghost = Copy(target, View(ghost.id, target.sizes, (0,) * len(target.sizes)))
    wrong = changed(found, phase, index, copies=(*stage.copies, from_ghost))
    wrong = replace(wrong, buffers={**wrong.buffers, ghost.id: ghost})
    assert any("`ghost" in line and "is read, and was not written" in line for line in problems(wrong))


def test_a_bad_plan_is_a_bug_of_ours():
    found = plan("recurrent", choice="fused")
    assert verify(found) is found
    wrong = changed(found, Phase.LOOP, 0, domain=(5,))
    with pytest.raises(InternalError) as raised:
        verify(wrong)
    lines = str(raised.value).splitlines()
    assert lines[0] == "this is a bug of Ostinato, in the stage `plan`; please report it"
    assert lines[1] == "  loop 1 (product): the sizes of `b` are (4,), and the domain is (5)"
    assert str(raised.value).endswith(f"\n\n{wrong}")
