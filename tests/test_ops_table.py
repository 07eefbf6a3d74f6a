"""The table of ops is complete and closed: an op is one record, and everything is asked of its record."""

import inspect
from dataclasses import MISSING, fields

import numpy as np
import pytest

import ostinato
from ostinato import Layer, Output, cell
from ostinato.explain.cost import Counts
from ostinato.ir import ops
from ostinato.ir.op import Binding, Kind, Op, apply
from ostinato.ir.ops import OPS
from ostinato.ir.shapes import Dim, Reason, Type, Varies
from ostinato.language.declarations import Input

from .helpers import assert_close, random

FLOAT = Type("f64", (Dim.number(3), Dim.number(4)))
SUMS = {"total", "total_per_instance", "total_product"}  # they sum over steps: only backward programs have them
NONE = tuple(Dim.number(0) for _ in range(2))
ATTRIBUTES = {
    "sum": {"axes": (-1,), "keepdims": False}, "max": {"axes": (-1,), "keepdims": False}, "concat": {"axis": -1},
    "slice": {"start": NONE, "stop": FLOAT.dims, "step": (1, 1)}, "reshape": {"dims": (Dim.number(12),)},
    "pad": {"start": NONE, "stop": FLOAT.dims, "step": (1, 1), "dims": FLOAT.dims}, "stretch": {"dims": FLOAT.dims},
    "transpose": {"axes": (-1, -2)}, "constant": {"value": 2.0, "dtype": "f64"},
    "patches": {"size": (Dim.number(1),), "stride": (1,), "padding": ((0, 0),)},
    "unpatches": {"size": (Dim.number(1),), "stride": (1,), "padding": ((0, 0),), "dims": FLOAT.dims},
}  # fmt: skip


def operands(op):
    """Types for each operand of an op: truth values for those that want them."""
    n = 2 if op.n_operands is None else op.n_operands
    if op.name.startswith("logical"):
        return [Type("bool", FLOAT.dims)] * n
    if op.name == "matmul":
        return [FLOAT, Type("f64", FLOAT.dims[::-1])]
    return [Type("bool", FLOAT.dims), FLOAT, FLOAT] if op.name == "where" else [FLOAT] * n


@pytest.mark.parametrize("name", OPS)
def test_every_record_is_complete(name):
    op = OPS[name]
    assert op.name == name
    assert callable(op.shape)
    assert callable(op.numpy)
    assert callable(op.call)
    assert op.equation
    assert op.doc
    assert op.__doc__ == op.doc
    assert not op.doc.endswith(".")
    expected = 1 if op.n_operands is None else op.n_operands
    assert len(op.derivative) == expected, "one formula, or None, for each operand"
    for field in range(op.n_operands or 1):
        assert f"{{{field}}}" in op.equation or name == "constant"
    assert op.arithmetic in ("", *(field.name for field in fields(Counts)))
    assert (op.kind is Kind.REDUCTION) == (op.combine is not None and op.combine.elementwise)
    assert op.sums_over_steps <= op.internal
    assert (op.kind in (Kind.PRODUCT, Kind.REDUCTION, Kind.ROW_SUM)) <= op.whole_operands
    assert (op.cost.operations > 0) == (op.cost.latency > 0) == (op.kind not in (Kind.VIEW, Kind.CONSTANT))


@pytest.mark.parametrize("missing", [f.name for f in fields(Op) if f.default is MISSING and f.default_factory is MISSING])
def test_what_a_record_says_of_an_op_is_asked_for(missing):
    """No field that a pass or the cost model reads has a value that a new op would get unseen."""
    given = {f.name: getattr(ops.tanh, f.name) for f in fields(Op) if f.name != missing}
    with pytest.raises(TypeError, match=f"missing 1 required keyword-only argument: '{missing}'"):
        Op(**given)


def test_what_may_be_left_out_of_a_record_changes_no_plan():
    """The fields with a default say how an op is called, written or named, or what few ops have."""
    optional = {f.name for f in fields(Op) if not (f.default is MISSING and f.default_factory is MISSING)}
    spelling = {"call", "infix", "prefix", "dim_attributes", "positional", "usual", "gist", "internal"}
    assert optional - spelling == {"commutative", "combine", "sums_over_steps", "whole_operands", "result_varies"}


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.commutative])
def test_what_is_commutative_is(name):
    op = OPS[name]
    a, b = (random((5, *t.sizes), i) for i, t in enumerate(operands(op)))
    if name.startswith("logical"):
        a, b = a > 0, b > 0
    assert (op.compute([a, b], {}) == op.compute([b, a], {})).all()


def test_an_operator_binds_in_an_equation_as_it_does_in_python():
    """All but `**` and `@`: powers are raised, and products of matrices written side by side."""
    order = ["|", "&", "<", "+", "*"]
    strengths = [next(op.binding for op in OPS.values() if op.infix == infix) for infix in order]
    assert strengths == sorted(strengths)
    assert all(op.binding == Binding.ATOM for op in OPS.values() if f"{op.name}(" in op.equation)


@pytest.mark.parametrize("name", OPS)
def test_shape_and_computation_agree(name):
    """The rule of shapes says what NumPy gives."""
    op, attributes = OPS[name], ATTRIBUTES.get(name, {})
    types = operands(op)
    shape = op.shape(types, attributes)
    assert not isinstance(shape, Reason), shape
    dtype, dims = shape
    arrays = [random((5, *t.sizes), i) for i, t in enumerate(types)]
    arrays = [a > 0 if t.dtype == "bool" else a**2 for a, t in zip(arrays, types, strict=True)]
    found = op.compute(arrays, attributes)
    leading = (1,) if name in ("constant", "total", "total_product") else (5,)
    assert found.shape == (*leading, *(dim.size for dim in dims))
    assert found.dtype == {"f64": np.float64, "bool": np.bool_}[dtype]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPS)
def test_no_op_changes_the_dtype(name, dtype):
    op, attributes = OPS[name], dict(ATTRIBUTES.get(name, {}))
    if name == "constant":
        attributes["dtype"] = "f32" if dtype == np.float32 else "f64"
    arrays = [random((5, *t.sizes)) for t in operands(op)]
    arrays = [a > 0 if t.dtype == "bool" else (a**2).astype(dtype) for a, t in zip(arrays, operands(op), strict=True)]
    found = op.compute(arrays, attributes)
    assert found.dtype in (dtype, np.bool_)


@pytest.mark.parametrize("name", sorted(set(OPS) - SUMS))
def test_derivatives_against_differences(name):
    """One random direction of every operand: the pullback against a central difference of the computation."""
    op, attributes = OPS[name], ATTRIBUTES.get(name, {})
    types = operands(op)
    moving = [i for i in range(len(types)) if op.derivative_for(i) is not None]
    if not moving:
        flat = {"less", "less_equal", "equal", "logical_and", "logical_or", "logical_not", "sign", "stop_gradient", "constant"}
        assert name in flat | {"floor"}
        return
    arrays = [random(t.sizes, i) for i, t in enumerate(types)]
    arrays = [a > 0 if t.dtype == "bool" else np.abs(a) + 0.5 for a, t in zip(arrays, types, strict=True)]
    numbers = [i for i, t in enumerate(types) if t.dtype != "bool"]

    def compute(*given):
        return op.compute([g[None] for g in given], attributes)[0]

    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = {f"a{i}": inspect.Parameter(f"a{i}", either, default=Input(3, 4)) for i in numbers}
    if name == "matmul":
        parameters["a1"] = parameters["a1"].replace(default=Input(4, 3))

    def body(**symbols):
        given = [symbols[f"a{i}"] if i in numbers else symbols[f"a{numbers[0]}"] > 1.0 for i in range(len(types))]
        return Output(apply(_plain(op), given, attributes))

    body.__signature__ = inspect.Signature(list(parameters.values()))
    layer = Layer(cell(body), dtype="float64")
    if "where" in name:
        arrays[0] = arrays[numbers[0]] > 1.0
    _, pullback = layer.vjp(*[arrays[i][None] for i in numbers])
    d = random(compute(*arrays).shape, 9)
    grads = pullback(d[None]).inputs
    grads = list(grads.values()) if isinstance(grads, dict) else [grads]
    for i, grad in zip(numbers, grads, strict=True):
        direction = random(types[i].sizes, 20 + i)
        step = 1e-6
        ahead, behind = (compute(*[a + s * step * direction if j == i else a for j, a in enumerate(arrays)]) for s in (1, -1))
        assert_close((grad[0] * direction).sum(), (d * (ahead - behind) / (2 * step)).sum(), 1e-6)


def _plain(op):
    """The op, called with its attributes as they stand in a graph."""
    return Op(**{**{f: getattr(op, f) for f in op.__dataclass_fields__}, "call": lambda *a, **k: (a, k)})


def test_the_author_of_a_cell_can_call_every_op_that_is_no_pass_of_ours():
    public = {value.name for value in vars(ostinato).values() if isinstance(value, Op)}
    operators = {name for name, op in OPS.items() if op.infix or op.prefix} | {"slice"}
    inner = {name for name, op in OPS.items() if op.internal}
    assert inner == SUMS | {"pad", "stretch", "unpatches", "constant"}
    assert public | operators | inner == set(OPS)
    assert not public & inner


def test_what_varies_with_steps_and_instances():
    for name, op in OPS.items():
        if op.result_varies is not None:
            assert name in SUMS | {"constant"}
            assert op.result_varies in (Varies.NEVER, Varies.INSTANCE)
