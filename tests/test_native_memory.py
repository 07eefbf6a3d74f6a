"""Native code reads and writes its own places alone; what it is given stays as it is, and what it gives stays the user's."""

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import ostinato
from ostinato import Bias, Context, DataError, Input, Layer, Output, State, Weight, cell, cells, maximum, tanh
from ostinato.native import program as native_program
from ostinato.native.program import NativeProgram
from tests.test_native import EVERY, LIMIT, equal, everything, given, with_weights

ROOT = Path(__file__).parent.parent
posix = pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="pages are protected as POSIX has it")
NAMES = (
    "neuron", "lstm", "gru_reset_before", "layer_norm_lstm", "attention_decoder", "conv_lstm", "fast_weights", "controlled",
    "multi_head_attention",
)  # fmt: skip
SOME = [case for case in EVERY if case.name in NAMES]


# --- protected pages ----------------------------------------------------------------------------------------------------------


def region(n_bytes, *, behind):
    """Memory of this many bytes; what lies behind it (or before it) can not be touched. It lives as long as the array."""
    page = mmap.PAGESIZE
    pages = max(1, -(-n_bytes // page))
    mapped = mmap.mmap(-1, (pages + 2) * page)
    whole = np.frombuffer(mapped, np.uint8)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for first in (0, (pages + 1) * page):
        assert protect(ctypes.c_void_p(whole.ctypes.data + first), ctypes.c_size_t(page), 0) == 0, ctypes.get_errno()
    start = (pages + 1) * page - n_bytes if behind else page
    return whole[start : start + n_bytes]


def beside(array, *, behind):
    """A copy of an array that ends directly before a protected page, or begins directly behind one."""
    copy = region(array.nbytes, behind=behind).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def run_beside_protected_pages(place, n, behind):
    """In a process of its own: every array that native code sees lies beside a protected page. Prints how many there were."""
    case = SOME[place]
    sizes = {name: case.sizes(n)[name] for name in case.cell.dimensions}
    values = case.values(case.sizes(n), 4, 5, dtype="float32")
    inputs, more = given(case, values)
    more["lengths"] = np.array([4, 0, 3, 1, 4])
    if case.names("state"):
        more["reset"] = np.random.default_rng(5).random((4, 5)) < 0.3
    layers = [
        with_weights(Layer(case.cell, **sizes, **case.options, backend="native", plan=p), case, values)
        for p in ("separate", "hoisted")
    ]
    expected = [everything(layer, case, inputs, more) for layer in layers]
    run, n_arrays = NativeProgram.run, 0

    def guarded_run(self, timeline, values, weights, reset=None, placed=frozenset()):
        nonlocal n_arrays
        n_arrays += len(values)
        for name in ("counts", "offsets", "order", "sorted_lengths"):
            timeline.__dict__[name] = beside(getattr(timeline, name), behind=behind)
        for name in ("addresses", "sorted_addresses"):
            timeline.__dict__.pop(name, None)
        reset = None if reset is None else beside(reset.view(np.uint8), behind=behind)
        return run(self, timeline, {k: beside(v, behind=behind) for k, v in values.items()}, weights, reset, placed)

    def guarded_block(n_bytes):
        return region(-(-n_bytes // 64) * 64, behind=behind), 0

    with mock.patch.object(NativeProgram, "run", guarded_run), mock.patch.object(native_program, "block", guarded_block):
        for layer, wanted in zip(layers, expected, strict=True):
            layer.weights._arrays = {name: beside(w, behind=behind) for name, w in layer.weights.items()}
            n_arrays += len(layer.weights)
            equal(everything(layer, case, inputs, more), wanted)
    print(n_arrays)


def apart(statement):
    """Run a statement of this file in a process of its own."""
    program = f"from tests.test_native_memory import *\n{statement}"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


FEW = [i for i, case in enumerate(SOME) if case.name in ("lstm", "gru_reset_before", "attention_decoder", "fast_weights")]
REST = [i for i in range(len(SOME)) if i not in FEW]


@posix
@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("chosen", [FEW, pytest.param(REST, marks=pytest.mark.sweep)], ids=["few", "rest"])
def test_native_code_stays_inside_its_arrays(chosen, behind):
    places = [(i, n) for i in chosen for n in (1, 17)]
    done = apart(f"for i, n in {places}:\n    print(i, n, flush=True)\n    run_beside_protected_pages(i, n, {behind})")
    last = done.stdout.splitlines()[-1:] or ["nothing"]
    side = "behind" if behind else "before"
    assert done.returncode == 0, f"{SOME} {last}: read or wrote {side} an array (code {done.returncode})\n{done.stderr[-3000:]}"
    counts = [int(line) for line in done.stdout.splitlines() if " " not in line]
    assert len(counts) == len(places)
    assert min(counts) > 8


@posix
def test_the_protected_pages_would_stop_a_program():
    for behind, index in ((True, 4), (False, -1)):
        reach = f"ctypes.c_double.from_address(a.ctypes.data + 8 * {index}).value"
        done = apart(f"a = beside(np.arange(4.0), behind={behind})\nprint(a[3], flush=True)\n{reach}")
        assert done.stdout == "3.0\n"
        assert done.returncode < 0


# --- what is given ------------------------------------------------------------------------------------------------------------


def misaligned(array):
    """The same numbers, one byte behind where they should be."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(array.tobytes(), np.uint8)
    made = raw[1:].view(array.dtype).reshape(array.shape)
    assert not made.flags.aligned
    return made


def spread(array):
    """The same numbers with gaps between them, the last axis backwards in memory."""
    wide = np.full([3 * n for n in array.shape], np.nan, array.dtype)
    part = wide[tuple(slice(1, None, 3) for _ in array.shape)][..., ::-1]
    part[...] = array
    return part


FORMS = {
    "lists": lambda a: a.tolist(),
    "Fortran order": np.asfortranarray,
    "gaps, backwards": spread,
    "one byte off": misaligned,
    "one byte off, float64": lambda a: misaligned(a.astype(np.float64)),
    "float64": lambda a: a.astype(np.float64),
    "long double": lambda a: a.astype(np.longdouble),
    "big endian": lambda a: a.astype(">f4"),
    "big endian float64": lambda a: a.astype(">f8"),
    "read-only": lambda a: (b := a.copy(), b.setflags(write=False))[0],
    "subclass": lambda a: a.view(type("Mine", (np.ndarray,), {})),
    "memory of others": lambda a: memoryview(a.copy()),
}
LOSSY = {
    "float16": lambda a: a.astype(np.float16),
    "int64": lambda a: (4 * a).astype(np.int64),
    "int8, gaps": lambda a: spread((4 * a).astype(np.float32)).astype(np.int8),
    "uint16, big endian": lambda a: np.abs(4 * a).astype(">u2"),
    "bool": lambda a: a > 0,
    "one number repeated": lambda a: np.broadcast_to(a.ravel()[0], a.shape),
}


@pytest.fixture(scope="module")
def attending():
    """A cell with an input, a context and a state, and values for it."""
    case = next(c for c in SOME if c.name == "attention_decoder")
    values = case.values(case.sizes(5), 4, 3, dtype="float32")
    sizes = {name: case.sizes(5)[name] for name in case.cell.dimensions}
    return case, with_weights(Layer(case.cell, **sizes, backend="native"), case, values), values


@pytest.mark.parametrize("form", [*FORMS, *LOSSY])
def test_numbers_in_any_form_are_those_numbers(form, attending):
    case, layer, values = attending
    converted = {name: (FORMS | LOSSY)[form](v) for name, v in values.items()}
    plain = {name: np.array(np.asarray(v).tolist(), np.float32).reshape(np.shape(v)) for name, v in converted.items()}
    if form in FORMS:
        equal(plain, values)
    results = []
    for numbers in (plain, converted):
        with_weights(layer, case, numbers)
        Y, pullback = layer.vjp(numbers["x"], numbers["memory"], state={"h": numbers["h"]})
        equal(layer(numbers["x"], numbers["memory"], state={"h": numbers["h"]}), Y)
        dY = np.resize(numbers["x"], Y["output"].shape) if numbers is plain else (FORMS | LOSSY)[form](
            np.resize(values["x"], Y["output"].shape))  # fmt: skip
        if numbers is plain:
            dY = np.array(np.asarray((FORMS | LOSSY)[form](np.resize(values["x"], dY.shape))).tolist(), np.float32)
        grads = pullback({"output": dY})
        results.append({**Y, **pullback.state, "dX": grads.inputs, **grads.contexts, **grads.state, **grads.weights})
    with_weights(layer, case, values)
    equal(results[1], results[0])


@pytest.mark.parametrize("wrong", [1j, "a", None, b"a", np.datetime64("2026-01-01"), {}])
def test_what_is_no_number_is_refused(wrong, attending):
    _, layer, values = attending
    X = np.full(values["x"].shape, wrong)
    told = {complex: "Complex data not supported", type(None): "has no value: None", dict: "is no number"}
    with pytest.raises(DataError, match=told.get(type(wrong), "`x` holds no real numbers")):
        layer(X, values["memory"])


@pytest.mark.parametrize("kind", [np.int8, np.uint64, ">i4", int])
def test_lengths_and_resets_in_any_form(kind, attending):
    case, layer, values = attending
    inputs, more = given(case, values)
    reset = np.asfortranarray(np.random.default_rng(0).random((4, 3)) < 0.5)
    lengths = np.array([9, 3, 9, 0, 9, 4]).astype(kind)[1::2]
    found = everything(layer, case, inputs, {**more, "lengths": lengths, "reset": reset})
    wanted = everything(layer, case, inputs, {**more, "lengths": np.array([3, 0, 4]), "reset": np.ascontiguousarray(reset)})
    equal(found, wanted)


# --- whose memory it is -------------------------------------------------------------------------------------------------------


@cell
def handing_on(x=Input("n"), k=Context("n"), h=State("n"), s=State("n"), W=Weight("n", "n"), w=Weight("n")):
    """Outputs that are an input, a context, a weight, a part of a weight; states that are what another was, or stay."""
    return Output(x, context=k, weight=w, part=W[0], old=h, turned=W.T, product=x @ W), s, h


def arrays_of(layer, inputs, more):
    """Everything that a layer hands out, by name."""
    Y, state = layer.run(*inputs, **more)
    recorded, pullback = layer.vjp(*inputs, **more)
    adjoints = {name: np.cos(y) for name, y in recorded.items()} if isinstance(recorded, dict) else np.cos(recorded)
    grads = pullback(adjoints)
    again = pullback(adjoints)
    found = {}
    for name, group in {
        "run": Y, "state": state, "vjp": recorded, "vjp state": pullback.state, "inputs": grads.inputs, "d state": grads.state,
        "contexts": grads.contexts, "weights": grads.weights, "again": again.weights, "again inputs": again.inputs,
    }.items():  # fmt: skip
        found |= {f"{name} {n}": a for n, a in group.items()} if isinstance(group, dict) else {name: group}
    return found, pullback, adjoints


@cell
def one_gradient_twice(x=Input("n"), h=State("n"), W=Weight("n", "n"), b=Bias("n"), c=Bias("n")):
    """Both biases have the same gradient, and the upper rows of the weight have two that overlap."""
    return tanh(x @ W + h @ W + (x[:2] @ W[:2]) + b + c)


def owners():
    generator = np.random.default_rng(2)
    for made, sizes in (
        (cells.lstm, {"n_inputs": 3, "n_neurons": 5}),
        (handing_on, {"n": 4}),
        (one_gradient_twice, {"n": 4}),
        (cells.indrnn, {"n_inputs": 3, "n_neurons": 4}),
    ):
        layer = Layer(made, **sizes, backend="native")
        inputs = [
            generator.standard_normal((6, 3, *p.value.type.sizes)).astype("float32") for p in layer.graph.with_role("input")
        ]
        inputs += [
            generator.standard_normal((3, *p.value.type.sizes)).astype("float32") for p in layer.graph.with_role("context")
        ]
        state = {p.name: generator.standard_normal((3, *p.value.type.sizes)).astype("float32") for p in layer.graph.states}
        for more in ({}, {"state": state}, {"state": state, "lengths": np.array([6, 0, 2])}):
            yield layer, inputs, more


def test_results_share_no_memory_with_each_other_or_with_what_was_given():
    for layer, inputs, more in owners():
        found, _, _ = arrays_of(layer, inputs, more)
        theirs = [*inputs, *more.get("state", {}).values(), *layer.weights.values()]
        for name, array in found.items():
            assert array.flags.writeable, name
            assert array.flags.c_contiguous, name
            assert not any(np.shares_memory(array, other) for other in theirs), name
            for other in found:
                assert other == name or not np.shares_memory(array, found[other]), (name, other)


def test_parts_of_a_gradient_that_overlap_are_added():
    layers = [Layer(one_gradient_twice, n=4, backend=backend) for backend in ("native", "numpy", "reference")]
    X = np.random.default_rng(0).standard_normal((5, 3, 4)).astype("float32")
    found = [layer.vjp(X)[1](np.ones((5, 3, 4), "float32")).weights for layer in layers]
    for weights in found:
        for name, array in weights.items():
            assert np.allclose(array, found[-1][name], atol=1e-5), name


def test_what_was_given_is_never_modified_and_results_stay_as_they_were():
    for layer, inputs, more in owners():
        given_arrays = [*inputs, *more.get("state", {}).values(), *layer.weights.values()]
        before = [a.copy() for a in given_arrays]
        found, pullback, adjoints = arrays_of(layer, inputs, more)
        kept = {name: array.copy() for name, array in found.items()}
        arrays_of(layer, [3 * x for x in inputs], {})
        equal(found, kept)
        for array in found.values():
            array[...] = np.nan  # the user's own: nobody else notices
        grads = pullback(adjoints)
        equal(grads.weights, {name: kept[f"again {name}"] for name in grads.weights})
        for array, copy in zip(given_arrays, before, strict=True):
            assert np.array_equal(array, copy)


def test_what_is_changed_between_the_forward_and_the_backward_pass_changes_no_gradient():
    for layer, inputs, more in owners():
        wanted = arrays_of(layer, inputs, more)[0]
        mine = [x.copy() for x in inputs]
        state = {name: s.copy() for name, s in more.get("state", {}).items()}
        Y, pullback = layer.vjp(*mine, **{**more, **({"state": state} if state else {})})
        adjoints = {name: np.cos(y) for name, y in Y.items()} if isinstance(Y, dict) else np.cos(Y)
        weights = dict(layer.weights)
        for array in [*mine, *state.values(), *(Y.values() if isinstance(Y, dict) else [Y])]:
            array[...] = 7
        layer.weights.update({name: 0 * w for name, w in weights.items()})
        grads = pullback(adjoints)
        layer.weights.update(weights)
        equal(
            {f"weights {n}": g for n, g in grads.weights.items()}, {n: a for n, a in wanted.items() if n.startswith("weights ")}
        )


def test_a_weight_that_is_assigned_counts_at_once():
    layers = [Layer(cells.gru, n_inputs=3, n_neurons=5, seed=1, backend=backend) for backend in ("native", "numpy")]
    X = np.random.default_rng(0).standard_normal((3, 2, 3)).astype("float32")
    seen = []
    for step in range(3):
        for layer in layers:
            layer.weights["U_n"] = layer.weights["U_n"] * (1 + step)
        native, numpy = (layer(X) for layer in layers)
        assert np.allclose(native, numpy, rtol=0, atol=LIMIT["float32"])
        seen.append(native)
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


# --- NaN and infinity ---------------------------------------------------------------------------------------------------------


@cell
def choosing(x=Input("n"), h=State("n"), W=Weight("n", "n")):
    """Ops that could lose a NaN."""
    z = maximum(x, h) + ostinato.minimum(x @ W, 1.0)
    y = ostinato.where(z > 0, ostinato.relu(z), ostinato.abs(z) - ostinato.max(x, axis=-1, keepdims=True))
    return Output(y + ostinato.softmax(x) * ostinato.sign(h)), tanh(y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_and_infinity_are_where_numpy_has_them(dtype):
    made = [(case.cell, {name: case.sizes(5)[name] for name in case.cell.dimensions}, case.options) for case in SOME[:6]]
    for cell_, sizes, options in [*made, (choosing, {"n": 17}, {})]:
        layers = [Layer(cell_, **sizes, **options, dtype=dtype, backend=b, seed=3) for b in ("native", "numpy")]
        generator = np.random.default_rng(4)
        # the largest numbers whose sums do not overflow in one order of adding and stay finite in another: BLAS has its own
        largest = np.finfo(dtype).max / 1024
        for bad in (np.nan, np.inf, -np.inf, largest, -largest):
            shapes = [
                ((4, 3) if p.role == "input" else (3,)) + p.value.type.sizes
                for p in layers[0].graph.with_role("input", "context")
            ]
            inputs = [generator.standard_normal(shape) for shape in shapes]
            inputs[0][1, 1, ...] = np.where(generator.random(inputs[0][1, 1].shape) < 0.4, bad, inputs[0][1, 1])
            inputs[0][2, 0].flat[0] = bad
            with np.errstate(all="ignore"):
                (native, final), (numpy, expected) = (layer.run(*inputs) for layer in layers)
            found, wanted = ({"": y} if not isinstance(y, dict) else y for y in (native, numpy))
            for a, b in [(found[n], wanted[n]) for n in wanted] + [(final[n], expected[n]) for n in expected]:
                assert np.array_equal(np.isnan(a), np.isnan(b)), (cell_, bad)
                assert np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True), (cell_, bad)
