"""Graphs and programs: their text reads back, the verifier finds damage, two spellings of a cell are one program."""

from dataclasses import replace

import pytest

from ostinato import (
    Bias,
    Context,
    Input,
    InternalError,
    Layer,
    Output,
    State,
    Weight,
    cell,
    cells,
    concat,
    dropout,
    sigmoid,
    split,
    tanh,
)
from ostinato.ir.graph import Block, Node, Port, Program, Result, Value
from ostinato.ir.parse import read_graph, read_program, read_step
from ostinato.ir.shapes import Dim, Type, Varies
from ostinato.ir.verify import problems, verify
from ostinato.language.cell import Cell

from .helpers import canonical, of_graphs

SIZES = {"n_inputs": 3, "n_neurons": 4, "n_outputs": 2}
LIBRARY = {name: value for name in cells.__all__ if isinstance(value := getattr(cells, name), Cell)}
BIG = {"height": 5, "width": 6, "size": 3, "n_neurons": 4, "n_inputs": 3, "n_heads": 2, "n_steps_": 6}


def library_layer(name, **more):
    """A layer of a cell of the library, at small and different sizes."""
    made = LIBRARY[name]
    sizes = {dim: BIG.get(dim, 7 if "length" in dim or "items" in dim else 3 + i % 3) for i, dim in enumerate(made.dimensions)}
    return Layer(made, **sizes, **more)


@pytest.mark.parametrize(("backend", "dtype"), [("numpy", "float32"), ("reference", "float64")])
@pytest.mark.parametrize("name", LIBRARY)
def test_every_stage_of_every_cell_reads_back(name, dtype, backend):
    layer = library_layer(name, dtype=dtype, backend=backend)
    for training in (False, True):
        for stage in of_graphs(layer.compiled(training=training)).values():
            text = str(stage)
            again = read_program(text) if isinstance(stage, Program) else read_graph(text)
            assert again == stage
            assert str(again).split("\n")[0] == text.split("\n")[0]
            assert not problems(again)


@pytest.mark.parametrize("name", LIBRARY)
def test_every_cell_can_be_saved_as_a_step(name):
    layer = library_layer(name)
    for training, key in ((False, "graph"), (True, "training_graph")):
        assert str(read_step(layer.description[key], training=training)) == without_comments(layer.description[key])


def without_comments(text):
    return "\n".join(line.split("  #")[0].rstrip() for line in text.split("\n")).rstrip()


def test_numbers_and_marks_read_back():
    """Numbers of every kind, slices, axes, initial values, masks."""

    @cell
    def odd(x=Input("n", 4), memory=Context("n"), h=State(initial=-0.25), w=Weight("2*n + 1"), b=Bias("n", 4)):
        z = x[::2, 1:] * 1e-30 - 1e300 + float("inf") * 0.5 - float("nan")
        v = concat(w[1:3], w[-1:]).reshape(3, 1) @ x[:1, :3]
        p = concat(x, b, axis=0).T
        return Output(z, parts=dropout(v, 0.125, per="sequence"), turned=p, kept=x.reshape("2*n", 2)), memory[0] * h + (-0.0)

    for training in (False, True):
        layer = Layer(odd, n=3, dtype="float64")
        graph = odd.trace(n=3, dtype="f64", training=training)
        assert str(read_graph(str(graph))) == without_comments(str(graph))
        for stage in of_graphs(layer.compiled(training=training)).values():
            read = read_program if isinstance(stage, Program) else read_graph
            assert without_comments(str(read(str(stage)))) == without_comments(str(stage))


# --- the verifier ------------------------------------------------------------------------------------------------------------

GOOD = Layer(cells.recurrent, n_inputs=3, n_neurons=5).graph
PROGRAM = Layer(cells.recurrent, n_inputs=3, n_neurons=5).compiled().stage("schedule")
N, K = Dim.named("n_neurons", 5), Dim.named("n_inputs", 3)
LOOSE = Value("loose", Type("f32", (N,)))


def with_node(number, **changes):
    nodes = list(GOOD.nodes)
    nodes[number] = replace(nodes[number], **changes)
    return replace(GOOD, nodes=tuple(nodes))


def with_port(number, **changes):
    ports = list(GOOD.ports)
    ports[number] = replace(ports[number], **changes)
    return replace(GOOD, ports=tuple(ports))


def moved(source, target, name):
    """The program with one node in another section."""
    node = next(n for n in getattr(PROGRAM, source) if n.value.name == name)
    left = tuple(n for n in getattr(PROGRAM, source) if n is not node)
    return replace(PROGRAM, **{source: left, target: (*getattr(PROGRAM, target), node)})


T = {n.value.name: n.value for n in GOOD.nodes}
X_VALUE, Y_VALUE, W_VALUE, _, B_VALUE = (p.value for p in GOOD.ports)
DAMAGE = {
    "an op that is not there": (with_node(0, op="conv"), "`t1`: there is no op `conv`"),
    "too few operands": (with_node(0, args=(X_VALUE,)), "`t1`: matmul takes 2 operands, and has 1"),
    "an operand nobody makes": (
        with_node(4, args=(LOOSE,)), "`y_new`: its operand `loose: f32[n_steps, n_instances, n_neurons=5]` is not made before"),
    "an operand of another type": (
        with_node(0, args=(replace(X_VALUE, type=Type("f32", (N,))), W_VALUE)),
        f"`t1`: its operand `x: {Type('f32', (N,))}` has another type, {X_VALUE.type}"),
    "an operand made later": (
        replace(GOOD, nodes=tuple(reversed(GOOD.nodes))),
        "`y_new`: its operand `t4: f32[n_steps, n_instances, n_neurons=5]` is not made before"),
    "a value made twice": (replace(GOOD, nodes=(*GOOD.nodes, GOOD.nodes[0])), "`t1` is made twice"),
    "a value with the name of a port": (
        replace(GOOD, nodes=(*GOOD.nodes, Node(B_VALUE, "tanh", (B_VALUE,)))), "`b` is made twice"),
    "attributes that are missing": (
        with_node(4, op="sum"), "`y_new`: wrong attributes for sum (KeyError('axes'))"),
    "shapes that do not fit": (
        with_node(0, args=(Y_VALUE, W_VALUE)),
        "`t1`: matmul: the contracted dimension is `n_neurons=5` on the left but `n_inputs=3` on the right"),
    "a result of another shape": (
        with_node(4, value=replace(T["y_new"], type=Type("f32", (K,)))),
        "`y_new: f32[n_steps, n_instances, n_inputs=3]`: tanh gives f32[n_steps, n_instances, n_neurons=5]"),
    "a result that varies less": (
        with_node(4, value=replace(T["y_new"], type=Type("f32", (N,), Varies.NEVER))),
        "`y_new: f32[n_neurons=5]`: tanh gives f32[n_steps, n_instances, n_neurons=5]"),
    "a role that is not there": (with_port(4, role="offset"), "`b` has the unknown role `offset`"),
    "a port twice": (replace(GOOD, ports=(*GOOD.ports, GOOD.ports[0])), "`x` comes in twice"),
    "a port of another dtype": (
        replace(GOOD, ports=(*GOOD.ports, Port(Value("v", Type("f64", (N,))), "input"))),
        "`v: f64[n_steps, n_instances, n_neurons=5]` comes in, and the dtype is f32"),
    "another dtype": (replace(GOOD, dtype="f16"), "the dtype is `f16`"),
    "a role of results that is not there": (
        replace(GOOD, results=(*GOOD.results, Result("spare", X_VALUE, "extra"))),
        "result `spare` has the unknown role `extra`"),
    "a result nobody makes": (
        replace(GOOD, results=(*GOOD.results, Result("spare", LOOSE, "output"))),
        "result `spare`: `loose: f32[n_steps, n_instances, n_neurons=5]` is not made"),
    "an output twice": (replace(GOOD, results=(*GOOD.results, GOOD.results[1])), "the output `output` goes out twice"),
    "a state that is not given on": (replace(GOOD, results=GOOD.results[1:]), "states ['y'] come in, [] go out"),
    "a state that comes from nowhere": (with_port(1, role="input"), "states [] come in, ['y'] go out"),
    "a new state of another shape": (
        replace(GOOD, results=(replace(GOOD.results[0], value=X_VALUE), GOOD.results[1])),
        "state `y` is f32[n_steps, n_instances, n_neurons=5], its new value f32[n_steps, n_instances, n_inputs=3]"),
    "a size that is not so": (
        replace(GOOD, sizes=(("n_inputs", 4), ("n_neurons", 5))),
        "`x: f32[n_steps, n_instances, n_inputs=3]`: the dimension `n_inputs=3` is not what the sizes say"),
    "a dimension without a size": (
        replace(GOOD, sizes=(("n_inputs", 3),)),
        "`y: f32[n_steps, n_instances, n_neurons=5]`: the dimension `n_neurons=5` is not what the sizes say"),
    "a state read before the loop": (moved("loop", "before", "t2"), "`t2` in `before` reads a state"),
    "a new state made after the loop": (moved("loop", "after", "y_new"), "the new state `y` is made after the loop"),
    "a sum over steps in the loop": (
        replace(PROGRAM, loop=(*PROGRAM.loop, Node(Value("s", Type("f32", (N,), Varies.NEVER)), "total", (Y_VALUE,)))),
        "`s` in the loop sums over all steps"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_verifier_finds(damage):
    graph, problem = DAMAGE[damage]
    assert problem in problems(graph)
    with pytest.raises(InternalError) as caught:
        verify(graph, "a pass")
    assert str(caught.value).startswith("this is a bug of Ostinato, in the stage `a pass`; please report it\n")
    assert problem in str(caught.value)


def test_the_verifier_is_silent_where_all_is_well():
    assert problems(GOOD) == []
    assert problems(PROGRAM) == []
    assert verify(PROGRAM, "schedule") is PROGRAM


def test_blocks_as_text():
    block = Block("W", (Dim.number(0), N), (K, N + N))
    assert str(block) == "W[0:n_inputs, n_neurons:2*n_neurons]"
    assert block.slices == (slice(0, 3), slice(5, 10))


# --- two spellings, one program ----------------------------------------------------------------------------------------------


@cell
def joined(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs + n_neurons", "n_neurons"), b=Bias("n_neurons")):
    return tanh(concat(x, h) @ W + b)


@cell
def separate(
    x=Input("n_inputs"), h=State("n_neurons"), W_x=Weight("n_inputs", "n_neurons"), W_h=Weight("n_neurons", "n_neurons"),
    b=Bias("n_neurons"),
):  # fmt: skip
    return tanh(x @ W_x + h @ W_h + b)


@cell
def other_order(
    x=Input("n_inputs"), h=State("n_neurons"), W_x=Weight("n_inputs", "n_neurons"), W_h=Weight("n_neurons", "n_neurons"),
    b=Bias("n_neurons"),
):  # fmt: skip
    return tanh(h @ W_h + (b + x @ W_x))


@cell
def joined_the_other_way(
    x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_neurons + n_inputs", "n_neurons"), b=Bias("n_neurons")
):
    return tanh(b + concat(h, x) @ W)


@cell
def left(
    x=Input("n_inputs"), h=State("n_neurons"), W_x=Weight("n_neurons", "n_inputs"), W_h=Weight("n_neurons", "n_neurons"),
    b=Bias("n_neurons"),
):  # fmt: skip
    return tanh(W_x @ x + W_h @ h + b)


@cell
def right_of_transposed(
    x=Input("n_inputs"), h=State("n_neurons"), W_x=Weight("n_neurons", "n_inputs"), W_h=Weight("n_neurons", "n_neurons"),
    b=Bias("n_neurons"),
):  # fmt: skip
    return tanh(x @ W_x.T + h @ W_h.T + b)


@cell
def gates_wide(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), W=Weight("n_inputs + n_neurons", "4*n_neurons"),
    b=Bias("4*n_neurons"),
):  # fmt: skip
    i, f, o, g = split(concat(x, h) @ W + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell
def gates_sliced(
    x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), W=Weight("n_inputs", "4*n_neurons"),
    U=Weight("n_neurons", "4*n_neurons"), b=Bias("4*n_neurons"),
):  # fmt: skip
    z = split(x @ W + h @ U + b, ["n_neurons", "n_neurons", "n_neurons", "n_neurons"])
    c = sigmoid(z[1]) * c + sigmoid(z[0]) * tanh(z[3])
    return sigmoid(z[2]) * tanh(c), c


SPELLINGS = {
    "separate and joined": (separate, joined),
    "sums in another order": (separate, other_order),
    "joined the other way around": (separate, joined_the_other_way),
    "weights on the left and transposed on the right": (left, right_of_transposed),
    "one product for each gate and one wide product": (cells.lstm, gates_wide),
    "one wide product and two, cut by names": (gates_wide, gates_sliced),
}


@pytest.mark.parametrize("made", [joined, cells.lstm, cells.gru], ids=lambda c: c.name)
def test_every_stage_knows_the_parameters_of_the_cell(made):
    """Whole, also where passes have cut them into blocks or nothing reads them any more."""
    layer = Layer(made, **{dim: SIZES[dim] for dim in made.dimensions})
    for stage in of_graphs(layer.compiled()).values():
        assert {name: type_.sizes for name, type_ in stage.parameters.items()} == layer.weights.shapes


@pytest.mark.parametrize("sizes", [(3, 5), (5, 5), (1, 1), (1, 4)], ids=str)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_two_spellings_are_one_program(spelling, sizes):
    one, other = (Layer(c, n_inputs=sizes[0], n_neurons=sizes[1]) for c in SPELLINGS[spelling])
    assert canonical(one.program) == canonical(other.program)
    assert canonical(one.backward_program) == canonical(other.backward_program)


def test_what_is_another_cell_is_another_program():
    """So that the comparison above could fail: gates swapped, an activation exchanged, a bias forgotten."""

    @cell
    def swapped(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs + n_neurons", "n_neurons"), b=Bias("n_neurons")):
        return sigmoid(concat(x, h) @ W + b)

    @cell
    def unbiased(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs + n_neurons", "n_neurons")):
        return tanh(concat(x, h) @ W)

    @cell
    def gates_swapped(
        x=Input("n_inputs"), h=State("n_neurons"), c=State("n_neurons"), W=Weight("n_inputs + n_neurons", "4*n_neurons"),
        b=Bias("4*n_neurons"),
    ):  # fmt: skip
        i, f, _, g = split(concat(x, h) @ W + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(i) * tanh(c), c

    program = lambda c: canonical(Layer(c, n_inputs=3, n_neurons=4).program)  # noqa: E731
    assert program(joined) != program(swapped)
    assert program(joined) != program(unbiased)
    assert program(gates_wide) != program(gates_swapped)
