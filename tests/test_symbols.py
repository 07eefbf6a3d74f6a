"""What the author of a cell writes: the operators, methods and functions of NumPy in a step mean what they mean on arrays.

The law: the text of a cell computed on arrays by NumPy, and by a layer made of it, is the same. What can not be traced is an
OstinatoError with the author's line, on symbols and on arrays alike (tests/golden/errors_authors.txt).
"""

import copy
from contextlib import suppress

import numpy as np
import pytest

import ostinato
from ostinato import BlockCirculant, CellError, Input, Layer, OstinatoError, Output, State, SymbolError, Weight, cell
from ostinato.language.array_like import ArrayLike
from ostinato.language.tracer import Symbol

from .helpers import assert_close, random

ALPHA = np.exp(-1 / 20.0)  # np.float64
HALF = np.float32(0.5)
ZERO_D = np.array(0.75)

VECTOR = [
    "x % 0.7", "x % y", "0.3 % x", "x // 0.7", "x // y", "2.0 // x", "divmod(x, 0.7)[0]", "divmod(x, y)[1]",
    "divmod(1.5, y)[1]", "-x % 1.0", "(x > 0) ^ (y > 0)", "~(x > 0)", "(x > 0) & (y > 0) | (x < y)", "+x", "abs(x)", "x ** 2",
    "pow(x, 2)", "2.0 ** x", "ALPHA * x", "x * ALPHA", "(1 - ALPHA) * x + ALPHA * y", "HALF * x", "ZERO_D * x", "ALPHA - x",
    "ALPHA / (x * x + 1)", "ALPHA + x", "ALPHA ** x", "ALPHA % x", "ALPHA // x", "ALPHA < x", "ALPHA >= x", "ALPHA == x",
    "ALPHA != x", "np.int64(3) * x", "len(x) * x", "x * x.size", "x * x.ndim", "x * x.shape[0]", "x * x.nbytes",
    "x * x.itemsize", "x.T", "x.real", "x.conj()", "x.conjugate()", "x.copy()", "copy.copy(x)", "copy.deepcopy(x)",
    "x.astype(x.dtype)", "(x > 0).astype(x.dtype) * y", "(x > 0).astype(float)", "(x > 0).astype(np.float32) * y",
    "x.astype(bool)", "x.sum()", "x.mean()", "x.max()", "x.min()", "x.std()", "x.var()", "x.var(ddof=1)",
    "x.std(axis=0, ddof=1)", "x.sum(keepdims=True)", "(x > 0).sum()", "(x > 0).mean()", "(x > 0).any()", "(x > 0).all()",
    "(x > 0).max()", "(x > 0).min()", "x.any()", "x.all()", "x.dot(y)", "x.dot(2.0)", "x.clip(-0.5, 0.5)", "x.clip(min=0)",
    "x.clip(max=y)", "x.clip(None, 0.25)", "x.round()", "(10 * x).round()", "x.round(1)", "(100 * x).round(-1)",
    "x.reshape(-1)", "x.reshape(2, -1)", "x.reshape((2, 3))", "x.ravel()", "x.flatten()", "x.squeeze()", "x[0:1].item() * y",
    "x[None]", "x[:, None] * y[None, :]", "x[..., None]", "x[None, 1:4]", "x[None, ..., None]", "np.asarray(2.0) * x",
    "np.tanh(x)", "np.exp(x)", "np.log(np.abs(x))", "np.sqrt(np.square(x) + 1)", "np.sign(x)", "np.maximum(x, y)",
    "np.minimum(x, 0.1)", "np.floor(x)", "np.ceil(x)", "np.trunc(x)", "np.rint(3 * x)", "np.fmod(x, 0.3)", "np.fmod(x, y)",
    "np.remainder(x, y)", "np.mod(x, 0.4)", "np.floor_divide(x, 0.3)", "np.divmod(x, 0.3)[0]", "np.reciprocal(x * x + 1)",
    "np.exp2(x)", "np.logaddexp(x, y)", "np.where(x > y, x, 0.5)", "np.where(x, y, 0.5)", "np.isnan(x)", "np.isfinite(x)",
    "np.isinf(x)", "np.logical_and(x > 0, y > 0)", "np.logical_or(x, y)", "np.logical_not(x)", "np.logical_xor(x > 0, y > 0)",
    "np.bitwise_and(x > 0, y > 0)", "np.not_equal(x, y)", "np.greater(x, y)", "np.less_equal(x, 0.0)", "np.positive(x)",
    "np.add(x, y)", "np.multiply(0.5, x)", "np.power(np.abs(x), y)", "np.matmul(x, y)", "np.fabs(x)", "np.conjugate(x)",
    "np.sum(x)", "np.mean(x)", "np.max(x)", "np.min(x)", "np.amax(x)", "np.amin(x)", "np.std(x)", "np.var(x)",
    "np.any(x > 0)", "np.all(x > -9)", "np.concatenate([x, y])", "np.concatenate((x, y), axis=-1)", "np.hstack([x, y])",
    "np.vstack([x, y])", "np.stack([x, y])", "np.stack([x, y], axis=-1)", "np.split(x, 2)[1]", "np.dot(x, y)",
    "np.inner(x, y)", "np.vdot(x, y)", "np.outer(x, y)", "np.clip(x, -0.5, 0.5)", "np.round(x, 1)", "np.around(x)",
    "np.reshape(x, (2, 3))", "np.reshape(x, -1)", "np.ravel(x)", "np.squeeze(x[None])", "np.expand_dims(x, 0)",
    "np.expand_dims(x, (0, -1))", "np.transpose(x)", "np.zeros_like(x) + y", "np.ones_like(x)", "np.full_like(x, 0.5)",
    "np.broadcast_to(x, (3, 6))", "np.shape(x)[0] * x", "np.ndim(x) * x", "np.size(x) * x", "np.copy(x)", "np.real(x)",
    "ostinato.floor(x)", "ostinato.remainder(x, y)",
]  # fmt: skip
MATRIX = [
    "M.sum()", "M.sum(0)", "M.sum(axis=1)", "M.sum(axis=(0, 1))", "M.sum(-1, keepdims=True)", "M.mean()", "M.mean(axis=0)",
    "M.max()", "M.max(axis=0)", "M.min(1)", "M.var(axis=0)", "M.std()", "M.std(axis=1, keepdims=True)", "(M > 0).any(axis=0)",
    "(M > 0).all(1)", "M.T", "M.mT", "M.transpose()", "M.transpose(1, 0)", "M.transpose((1, 0))", "M.swapaxes(0, 1)",
    "M.swapaxes(-1, 0)", "M.flatten()", "M.ravel()", "M.reshape(3, 4)", "M.reshape(2, -1, 3)", "M.reshape(-1)",
    "M[:, 0:1].squeeze()", "M[:, 0:1].squeeze(1)", "M[:, None]", "M[None, :, 1]", "M[1, None, ::2]", "len(M) * M",
    "M.dot(M.T)", "M.size * M", "M.round(1)", "np.concatenate([M, M])", "np.concatenate([M, M], axis=1)",
    "np.concatenate([M, M], axis=None)", "np.hstack([M, M])", "np.vstack([M, M])", "np.stack([M, M], 1)",
    "np.swapaxes(M, 0, 1)", "np.transpose(M, (1, 0))", "np.sum(M, axis=0)", "np.sum(M)", "np.mean(M, axis=1)",
    "np.dot(M, M.T)", "np.outer(M, M)", "np.split(M, 2, axis=1)[0]", "np.ravel(M)", "ostinato.softmax(M, axis=0)",
    "ostinato.softmax(M, axis=(0, 1))", "ostinato.softmax(M, axis=None)", "ostinato.sum(M, axis=None)",
    "ostinato.mean(M, axis=None)", "ostinato.max(M, axis=[0, 1])", "ostinato.reshape(M, (4, 3))", "ostinato.reshape(M, -1)",
    "ostinato.sum(M, axis=np.int64(0))", "ostinato.split(M, np.int64(2))[0]",
]  # fmt: skip
NUMBER = [
    "z.sum()", "z.mean()", "z.max()", "z.min()", "z.var()", "z.std()", "z.item()", "z.T", "z.reshape(1)", "z.ravel()",
    "z.squeeze()", "z[None]", "z[..., None]", "z % 0.3", "z // 0.3", "ALPHA * z", "ZERO_D * z", "(z > 0).any()", "z.dot(2.0)",
    "np.hstack([z, z])", "np.sum(z)", "np.zeros_like(z)", "z.round(2)",
]  # fmt: skip
SCOPE = {"np": np, "copy": copy, "ostinato": ostinato, "ALPHA": ALPHA, "HALF": HALF, "ZERO_D": ZERO_D}


def step_of(text, **declared):
    """A cell whose body is one expression, written as a source line that tracing can find."""
    parameters = ", ".join(f"{name}=Input({', '.join(map(repr, dims))})" for name, dims in declared.items())
    result = f"({text}) * 1.0" if ">" not in text and "np.is" not in text and "logical" not in text else f"{text}"
    scope = {**SCOPE, "cell": cell, "Input": Input, "Output": Output, "numbers": lambda v: v}
    exec(f"@cell\ndef written({parameters}):\n    return Output({result})", scope)
    return scope["written"]


def compare(text, arrays):
    function = step_of(text, **{name: array.shape for name, array in arrays.items()})
    expected = eval(text, {**SCOPE, **arrays})
    assert_close(np.asarray(function(*arrays.values()), float), np.asarray(expected, float), 1e-13)
    for backend in ("reference", "numpy"):
        layer = Layer(step_of(f"np.where({text}, 1.0, 0.0)" if np.asarray(expected).dtype == bool else text,
                              **{n: a.shape for n, a in arrays.items()}), dtype="float64", backend=backend)  # fmt: skip
        found = layer(*[np.stack([a, a])[None] for a in arrays.values()])[0, 1]
        assert_close(found, np.asarray(expected, float), 1e-13)


@pytest.mark.parametrize("text", VECTOR)
def test_of_a_vector(text):
    compare(text, {"x": random((6,)), "y": random((6,), 1)})


@pytest.mark.parametrize("text", MATRIX)
def test_of_a_matrix(text):
    compare(text, {"M": random((3, 4))})


@pytest.mark.parametrize("text", NUMBER)
def test_of_a_single_number(text):
    compare(text, {"z": random(())})


def test_a_remainder_where_the_quotient_is_rounded_to_a_whole_number():
    """1.0 / 0.1 is 10.0, and the remainder is just below 0.1: as NumPy has it, and Python."""
    a = np.array([1.0, 0.3, -1.0, 5e5, 1e-20, -1e-20, 0.0, 7.0])
    compare("x % 0.1", {"x": a})
    compare("x // 0.1", {"x": a})


def test_what_is_updated_in_place_stays_the_callers_own():
    """`h += x` gives h a new value in a layer; on arrays it changes an array, which is a copy."""

    @cell
    def adding(x=Input("n"), h=State("n")):
        h += x
        h *= 2.0
        h -= 1.0
        h /= 4.0
        h **= 2
        h %= 0.7
        h //= 0.1
        return h

    x, h = random((3,)), random((3,), 1)
    kept = x.copy(), h.copy()
    expected = adding(x, h)
    assert_close(Layer(adding, n=3, dtype="float64")(x[None, None], state=h[None])[0, 0], expected)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(h, kept[1])


def test_a_constant_vector_has_a_standard_deviation_that_can_be_differentiated():
    layer = Layer(step_of("x.std()", x=(4,)), dtype="float64")
    _, pullback = layer.vjp(np.full((1, 1, 4), 2.0))
    assert np.array_equal(pullback(np.ones((1, 1))).inputs, np.zeros((1, 1, 4)))


def test_a_symbol_shows_the_name_that_its_author_gave_it():
    shown = []

    @cell
    def printing(x=Input("n"), W=Weight("n", "m")):
        total = x @ W
        shown.extend([repr(x), f"{total}", str(total)])
        return total

    Layer(printing, n=2, m=3)
    assert shown[:3] == ["<symbol x: f32[n=2]>", "<symbol total: f32[m=3]>", "<symbol total: f32[m=3]>"]


def test_the_author_sees_what_arrays_have_and_nothing_of_ours():
    names = []
    answers = []

    @cell
    def looking(x=Input("n")):
        names.extend(dir(x))
        answers.extend([hasattr(x, "sum"), hasattr(x, "tolist"), hasattr(x, "value"), getattr(x, "cumsum", None), {x: 1}[x]])
        return x

    Layer(looking, n=2)
    assert set(names) <= set(dir(np.ndarray))
    assert {"sum", "mean", "T", "shape", "clip", "round"} <= set(names)
    assert answers[:5] == [True, False, False, None, 1]
    assert not [
        name for name in {**vars(ArrayLike), **vars(Symbol)} if not name.startswith("_") and name not in dir(np.ndarray)
    ]


ARGUMENTS = {"reshape": (-1,), "astype": (np.float32,), "dot": (2.0,), "swapaxes": (0, 0)}


@pytest.mark.parametrize("name", [n for n in dir(np.ndarray) if not n.startswith("__")])
def test_every_name_of_an_array_is_there_or_refused_in_words(name):
    """The whole protocol of ndarray: nothing ends in an error of Python's own."""

    @cell
    def asking(x=Input(1, 1)):
        value = getattr(x, name)
        if callable(value) and not isinstance(value, Symbol):
            value(*ARGUMENTS.get(name, ()))
        return x

    if name in dir(Symbol):
        asking.trace()
        return
    with pytest.raises(SymbolError, match=f"asking: the symbolic value `x` has no attribute `{name}`"):
        asking.trace()


OF_CLASSES = {"__annotations__", "__class__", "__doc__", "__firstlineno__", "__init__", "__init_subclass__",
              "__module__", "__new__", "__slots__", "__static_attributes__", "__subclasshook__", "__reduce__",
              "__torch_function__"}  # fmt: skip
OTHERS = {
    "__array_function__": (np.cumsum, (), (1.0,), {}), "__array_ufunc__": (np.sin, "__call__", 1.0), "__contains__": (1.0,),
    "__deepcopy__": ({},), "__delattr__": ("a",), "__delitem__": (0,), "__format__": (".2f",), "__getattr__": ("foo",),
    "__getattribute__": ("shape",), "__getitem__": (0,), "__reduce_ex__": (4,), "__setattr__": ("a", 1),
    "__setitem__": (0, 1.0),
}  # fmt: skip
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul")
BINARY = (*BINARY, *(f"r{name}" for name in BINARY), "lt", "le", "gt", "ge", "eq", "ne")


@pytest.mark.parametrize("name", [n for n in dir(Symbol) if n.startswith("__") and n not in OF_CLASSES])
def test_every_special_method_answers_or_refuses_in_words(name):
    """The data model of Python, as far as a class can have it: called on symbols, nothing ends in an error of Python's own."""

    @cell
    def asking(x=Input(4)):
        getattr(type(x), name)(x, *((x,) if name.strip("_") in BINARY else OTHERS.get(name, ())))
        return x

    with suppress(OstinatoError):
        asking.trace()


def test_the_data_model_is_there():
    """What Python would otherwise answer itself: `'Symbol' object is not callable`."""
    asked = (*BINARY, "neg", "pos", "abs", "invert", "round", "floor", "ceil", "trunc", "bool", "int", "float", "complex",
             "index", "bytes", "format", "len", "iter", "next", "reversed", "contains", "getitem", "setitem", "delitem", "call",
             "enter",
             "exit", "aenter", "aexit", "await", "aiter", "anext", "copy", "deepcopy", "reduce_ex", "array")  # fmt: skip
    defined = {**vars(ArrayLike), **vars(Symbol)}
    assert [name for name in asked if f"__{name}__" not in defined] == []


def test_pytorch_is_refused_in_words():
    torch = pytest.importorskip("torch")
    for text in ("torch.tanh(x)", "torch.cat([x, x])", "torch.nn.functional.softmax(x, dim=-1)"):
        scope = {"torch": torch, "cell": cell, "Input": Input}
        exec(f"@cell\ndef written(x=Input(3)):\n    return {text}", scope)
        with pytest.raises(SymbolError, match="can not compute with the symbolic value `x`") as caught:
            scope["written"].trace()
        assert text.split("(")[0].split(".")[-1].replace("cat", "concat") in str(caught.value)


SPELLINGS = ["x @ W", "x.dot(W)", "np.dot(x, W)", "np.matmul(x, W)", "W.T @ x", "W.transpose() @ x", "W.swapaxes(0, 1) @ x",
             "W.mT @ x", "W.copy().T @ x", "np.transpose(W) @ x",
             "x @ W * (W.size / W.shape[0] / len(W) * W.ndim / 2)"]  # fmt: skip
REFUSED = ["W.sum()", "W[0]", "np.tanh(W)", "W % 2.0", "W * 2.0", "W.flatten()", "softmax(W)", "W ** 2", "-W", "W.astype(bool)",
           "W > 0", "np.concatenate([W, W])", "np.outer(x, W)"]  # fmt: skip


def test_a_structured_weight_has_a_shape_and_multiplies_whatever_the_spelling():
    x = random((4, 3, 8))
    for text in SPELLINGS:
        scope = {**SCOPE, "cell": cell, "Input": Input, "Weight": Weight, "BlockCirculant": BlockCirculant}
        exec(f"@cell\ndef written(x=Input('n'), W=Weight('n', 'n', structure=BlockCirculant(4))):\n    return {text}", scope)
        layer = Layer(scope["written"], n=8, dtype="float64")
        assert_close(layer(x), x @ layer.dense_weights["W"], 1e-12)


@pytest.mark.parametrize("text", REFUSED)
def test_a_structured_weight_refuses_everything_else_in_words(text):
    scope = {
        **SCOPE,
        "cell": cell,
        "Input": Input,
        "Weight": Weight,
        "BlockCirculant": BlockCirculant,
        "softmax": ostinato.softmax,
    }
    exec(f"@cell\ndef written(x=Input('n'), W=Weight('n', 'n', structure=BlockCirculant(4))):\n    return x * ({text})", scope)
    with pytest.raises(CellError, match="`W` is a BlockCirculant\\(4\\) matrix, and all that it can do is multiply"):
        Layer(scope["written"], n=8)
