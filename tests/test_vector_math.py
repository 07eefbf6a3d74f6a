"""The vector code of elementwise ops: right to the stated bounds, the same bits for any number of lanes, no library calls."""

import ctypes
import platform
import re
from functools import cache

import llvmlite.binding as llvm
import numpy as np
import pytest

from ostinato import errors
from ostinato.ir import ops
from ostinato.lower import llvm_text, polynomials, vector_math
from ostinato.native import jit

DTYPES = {32: np.float32, 64: np.float64}
BITS = tuple(DTYPES)
TRUTH = ("less", "less_equal", "equal", "logical_and", "logical_or", "logical_not")
N_CONDITIONS = {"logical_and": 2, "logical_or": 2, "logical_not": 1, "where": 1}
ELEMENTWISE = [name for name, op in ops.OPS.items() if op.elementwise]
# ulp of the exact result: as the module says, for float32 and float64
BOUNDS = {"exp": (2.5, 2), "log": (1.5, 1), "tanh": (3, 3), "sigmoid": (3.5, 3), "softplus": (4, 3), "power": (0.55, 3)}
# NumPy's long double has more digits than double on most machines; where it has not, the reference errs by itself
SLACK = 0 if np.finfo(np.longdouble).nmant > 60 else 1.5


# --- code that runs -----------------------------------------------------------------------------------------------------


def module_text(bits, lanes, fma):
    """A module with a function (n, results, operands...) for every op; it goes over arrays, `lanes` numbers at a time."""
    module = llvm_text.Module()
    number = llvm_text.F32 if bits == 32 else llvm_text.F64
    word, byte, truth = llvm_text.I64, llvm_text.I8, llvm_text.I1
    side_by_side = (lambda kind: llvm_text.VectorType(kind, lanes)) if lanes else (lambda kind: kind)
    for name in ELEMENTWISE:
        n_operands = ops.OPS[name].n_operands
        kind = llvm_text.FunctionType(llvm_text.VOID, [word, *[llvm_text.PTR] * (1 + n_operands)])
        function = llvm_text.Function(module, kind, name)
        entry, body, done = (function.append_basic_block(block) for block in ("entry", "body", "done"))
        llvm_text.IRBuilder(entry).branch(body)
        builder = llvm_text.IRBuilder(body)
        i = builder.phi(word)
        operands = []
        for k, place in enumerate(function.args[2:]):
            of = byte if k < N_CONDITIONS.get(name, 0) else number
            loaded = builder.load(builder.gep(place, [i], source_etype=of), typ=side_by_side(of), align=1)
            operands.append(builder.trunc(loaded, side_by_side(truth)) if of is byte else loaded)
        result = vector_math.emit(builder, name, *operands, fma=fma)
        if name in TRUTH:
            result = builder.zext(result, side_by_side(byte))
        place = builder.gep(function.args[1], [i], source_etype=byte if name in TRUTH else number)
        builder.store(result, place, align=1)
        after = builder.add(i, llvm_text.Constant(word, lanes or 1))
        i.add_incoming(llvm_text.Constant(word, 0), entry)
        i.add_incoming(after, body)
        builder.cbranch(builder.icmp_unsigned("<", after, function.args[0]), body, done)
        llvm_text.IRBuilder(done).ret_void()
    return str(module)


@cache
def context():
    """One for all modules, in which pointers are opaque with every llvmlite."""
    return jit._context()


@cache
def engine(bits, lanes, fma):
    """The machine code for this CPU, or for the first x86-64 where there are to be no fused multiply-adds."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(module_text(bits, lanes, fma), context())
    module.verify()
    if fma:
        cpu = {"cpu": llvm.get_host_cpu_name(), "features": llvm.get_host_cpu_features().flatten()}
    else:
        cpu = {"cpu": "x86-64" if platform.machine() in {"x86_64", "AMD64"} else "generic"}
    return llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine(**cpu, opt=1))


def run(name, *arrays, lanes=16, fma=True):
    """The op by its vector code; numbers beyond a multiple of `lanes` are filled up with ones."""
    bits = 8 * arrays[-1].dtype.itemsize if name not in N_CONDITIONS or name == "where" else 32
    size = arrays[0].size
    filled = [np.concatenate([a.ravel(), np.ones(-size % (lanes or 1), a.dtype)]) for a in arrays]
    result = np.empty(filled[0].size, np.bool_ if name in TRUTH else DTYPES[bits])
    address = engine(bits, lanes, fma).get_function_address(name)
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (1 + len(arrays)))(address)
    function(result.size, result.ctypes.data, *(a.ctypes.data for a in filled))
    return result[:size]


# --- what it is compared with ----------------------------------------------------------------------------------------------


def wider(x):
    return x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)


def exact(name, *arrays):
    """The op in more digits than the format has."""
    with np.errstate(all="ignore"):
        if name == "softplus":  # NumPy's logaddexp, to the digits of its operand
            (x,) = map(wider, arrays)
            return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
        return ops.OPS[name].numpy(*map(wider, arrays))


def ulps(result, reference):
    """How far apart, in units in the last place of the reference; infinite where only one is NaN, or of another sign."""
    info = np.finfo(result.dtype)
    with np.errstate(all="ignore"):
        size = np.clip(np.abs(reference), info.tiny, info.max).astype(reference.dtype)
        unit = np.ldexp(np.ones_like(reference), np.frexp(size)[1] - 1 - info.nmant)
        distance = np.abs(result.astype(reference.dtype) - reference) / unit
        rounded = reference.astype(result.dtype)
    distance[result == rounded] = np.minimum(np.nan_to_num(distance[result == rounded], posinf=0, neginf=0), 0.5)
    distance[np.isnan(result) & np.isnan(reference)] = 0
    return np.where(np.isnan(distance), np.inf, distance)


def assert_close(name, bits, fma, *arrays):
    result = run(name, *arrays, fma=fma)
    distance = ulps(result, exact(name, *arrays))
    worst = int(np.argmax(distance))
    bound = BOUNDS[name][BITS.index(bits)] + (SLACK if bits == 64 else 0)
    at = [float(a[worst]) for a in arrays]
    assert distance[worst] <= bound, f"{name} of {at} is off by {distance[worst]:.2f} ulp: {result[worst]!r}"


def same(a, b):
    """Where two arrays have the same bits; one NaN is as good as another."""
    if a.dtype == np.bool_:
        return a == b
    whole = np.uint32 if a.dtype == np.float32 else np.uint64
    return (a.view(whole) == b.view(whole)) | (np.isnan(a) & np.isnan(b))


# --- operands ---------------------------------------------------------------------------------------------------------------

INTERESTING = [
    0.0, 0.5, 0.70710678, 1.0, 1.41421356, 2.0, 3.0, 9.01, 9.02, 9.1, 16.6, 19.1, 20.0, 30.0, 37.0, 60.0, 87.3, 88.72, 89.0,
    103.9, 104.0, 708.4, 709.78, 710.0, 745.1, 746.0, 2.0**23, 2.0**24, 2.0**31, 2.0**52, 2.0**53, 2.0**64, 1e30,
]  # fmt: skip


def specials(bits):
    """Zeros, infinities, NaN, subnormal numbers, the ends of the range, and where the code of some function changes its way."""
    info = np.finfo(DTYPES[bits])
    ends = [info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny / 2, info.tiny, info.max, info.eps, np.inf]
    sizes = np.array([*INTERESTING, *ends], DTYPES[bits])
    with np.errstate(all="ignore"):
        around = np.concatenate([np.nextafter(sizes, DTYPES[bits](0)), sizes, np.nextafter(sizes, DTYPES[bits](np.inf))])
    return np.concatenate([around, -around, np.array([np.nan], DTYPES[bits])])


def samples(bits, n=60_000):
    """Bit patterns of all kinds, numbers of the usual sizes, and the neighbourhoods of the interesting ones."""
    rng = np.random.default_rng(bits)
    dtype = DTYPES[bits]
    whole = np.uint32 if bits == 32 else np.uint64
    patterns = rng.integers(0, 2**bits, n, dtype=whole).view(dtype)
    usual = [rng.normal(0, spread, n).astype(dtype) for spread in (0.01, 1, 10, 300)]
    near_one = (1 + rng.normal(0, 0.01, n)).astype(dtype)
    near = specials(bits)
    steps = rng.integers(-1000, 1000, (20, near.size))
    around = (near.view(whole) + steps.astype(whole)).ravel().view(dtype)
    return np.concatenate([patterns, *usual, near_one, around, near])


def pairs(bits, n=40_000):
    """Operands for ops of two: every two special ones, and random ones."""
    rng = np.random.default_rng(bits + 1)
    a, b = (grid.ravel() for grid in np.meshgrid(specials(bits), specials(bits)))
    values = samples(bits)
    return np.concatenate([a, rng.choice(values, n)]), np.concatenate([b, rng.choice(values, n)])


def operands_of(name, bits):
    n_operands, n_conditions = ops.OPS[name].n_operands, N_CONDITIONS.get(name, 0)
    numbers = [samples(bits)] if n_operands - n_conditions == 1 else list(pairs(bits))
    rng = np.random.default_rng(2)
    conditions = [rng.random(numbers[0].size) < 0.5 for _ in range(n_conditions)]
    return [*conditions, *numbers][:n_operands]


# --- tests --------------------------------------------------------------------------------------------------------------------


def test_every_elementwise_op_has_vector_code():
    assert sorted(vector_math.KNOWN) == sorted(ELEMENTWISE)


def test_the_bounds_are_those_that_the_module_states():
    stated = re.findall(r"^    (\w+) +([\d.]+) +([\d.]+)$", vector_math.__doc__, re.MULTILINE)
    assert {name: (float(single), float(double)) for name, single, double in stated} == BOUNDS


FUNCTIONS = [name for name in BOUNDS if name != "power"]


@pytest.mark.parametrize("fma", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_keep_their_bound_over_all_of_float32(name, fma):
    patterns = np.arange(0, 2**32, 1999, dtype=np.uint32)  # all of them were tried once; they gave the bounds
    assert_close(name, 32, fma, patterns.view(np.float32))


@pytest.mark.parametrize("fma", [True, False])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_keep_their_bound_where_it_is_difficult(name, bits, fma):
    assert_close(name, bits, fma, samples(bits))


@pytest.mark.parametrize("fma", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_powers_keep_their_bound(bits, fma):
    rng = np.random.default_rng(3)
    dtype, n = DTYPES[bits], 40_000
    largest = np.log(float(np.finfo(dtype).max))
    logarithms = rng.uniform(-largest, largest, n)
    whole = rng.integers(-40, 40, n).astype(dtype)
    for x, y in [
        pairs(bits),
        (np.exp(logarithms).astype(dtype), (rng.uniform(-1.1, 1, n) * largest / logarithms).astype(dtype)),
        ((1 + rng.normal(0, 1e-3, n)).astype(dtype), rng.uniform(-1e5, 1e5, n).astype(dtype)),
        (rng.normal(0, 3, n).astype(dtype), whole),
        (np.abs(samples(bits))[:n], rng.uniform(-2, 2, n).astype(dtype)),
    ]:
        assert_close("power", bits, fma, x, y)


@pytest.mark.parametrize("fma", [True, False])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name not in BOUNDS])
def test_all_other_ops_are_numpy_to_the_bit(name, bits, fma):
    operands = operands_of(name, bits)
    with np.errstate(all="ignore"):
        expected = ops.OPS[name].numpy(*operands)
    result = run(name, *operands, fma=fma)
    if name in {"maximum", "minimum"}:  # of 0 and -0, NumPy gives the one or the other: it depends on the machine
        expected, result = (np.where(a == 0, np.zeros_like(a), a) for a in (expected, result))
    if name == "remainder":  # as far as the quotient is a whole number of the format; beyond, no larger than the divisor
        a, b = operands
        with np.errstate(all="ignore"):
            far = np.isfinite(a) & (np.abs(a / b) >= (2.0**29 if bits == 32 else 2.0**53)) & (b != 0)
        assert (np.abs(result[far]) <= np.abs(b[far])).all()
        assert (np.sign(result[far]) * np.sign(b[far]) >= 0).all()
        result = np.where(far, expected, result)
    differ = np.flatnonzero(~same(result, np.asarray(expected)))
    assert differ.size == 0, [(*(a[i] for a in operands), result[i], expected[i]) for i in differ[:3]]


@pytest.mark.parametrize("fma", [True, False])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", BOUNDS)
def test_special_operands_give_what_numpy_gives(name, bits, fma):
    operands = [specials(bits)] if name != "power" else [grid.ravel() for grid in np.meshgrid(specials(bits), specials(bits))]
    result = run(name, *operands, fma=fma)
    with np.errstate(all="ignore"):
        expected = ops.OPS[name].numpy(*operands)
    number = ~np.isnan(expected)
    assert np.array_equal(np.isnan(result), ~number)
    assert np.array_equal(np.signbit(result)[number], np.signbit(expected)[number])
    for special in (0.0, 1.0, -1.0, np.inf, -np.inf):
        operand_is = np.logical_or.reduce([np.isin(a, [0, 1, -1, np.inf, -np.inf]) | (a == special) for a in operands])
        there = operand_is & (expected == special)
        assert np.array_equal(result[there], expected[there])


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_number_of_lanes_does_not_change_the_bits(name, bits):
    operands = [a[:: 1 + a.size // 20_000] for a in operands_of(name, bits)]
    results = {lanes: run(name, *operands, lanes=lanes) for lanes in (None, 1, 2, 4, 8, 16)}
    for lanes, result in results.items():
        assert same(result, results[16]).all(), f"{lanes} lanes"


@pytest.mark.parametrize("fma", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_results_stay_in_their_range(bits, fma):
    x = samples(bits)
    x = np.sort(x[~np.isnan(x)])
    tanh, sigmoid, exp, softplus = (run(name, x, fma=fma) for name in ("tanh", "sigmoid", "exp", "softplus"))
    assert tanh.min() == -1
    assert tanh.max() == 1
    assert same(run("tanh", -x, fma=fma), -tanh).all()
    assert sigmoid.min() == 0
    assert sigmoid.max() == 1
    assert exp.min() == 0
    assert (softplus >= np.maximum(x, 0)).all()
    assert (run("tanh", np.full(3, 1e-30, DTYPES[bits]), fma=fma) == DTYPES[bits](1e-30)).all()


@pytest.mark.parametrize("fma", [True, False])
def test_subnormal_results_are_not_flushed(fma):
    x = np.linspace(-103.9, -87.4, 1000, dtype=np.float32)
    for name in ("exp", "sigmoid", "softplus"):
        result = run(name, x, fma=fma)
        assert (result > 0).all()
        assert result.max() < np.finfo(np.float32).tiny
        assert np.unique(result).size > 500
    halves = run("multiply", np.full(1, np.finfo(np.float32).tiny), np.full(1, 0.5, np.float32))
    assert halves[0] == np.finfo(np.float32).tiny / 2


TARGETS = {
    "avx512": ("x86_64-unknown-linux-gnu", "x86-64-v4", True),
    "avx2": ("x86_64-unknown-linux-gnu", "x86-64-v3", True),
    "sse2": ("x86_64-unknown-linux-gnu", "x86-64", False),
    "neon": ("aarch64-unknown-linux-gnu", "generic", True),
}


def calls(triple, cpu, text):
    """The instructions that call a function, in the assembly of a target."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(text, context())
    module.verify()
    assembly = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=1).emit_assembly(module)
    assert all(re.search(rf"^{name}:", assembly, re.MULTILINE) for name in ELEMENTWISE)
    return re.findall(r"^\s+(?:callq?|blr?)\s.*", assembly, re.MULTILINE)


@pytest.mark.parametrize("lanes", [None, 4])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("target", TARGETS)
def test_no_function_is_called_on_any_target(target, bits, lanes):
    triple, cpu, fma = TARGETS[target]
    assert calls(triple, cpu, module_text(bits, lanes, fma)) == []


def test_a_call_would_be_seen():
    """Of a fused multiply-add for a CPU that has no such instruction."""
    triple, cpu, _ = TARGETS["sse2"]
    assert len(calls(triple, cpu, module_text(32, 4, fma=True))) > 10


@pytest.mark.parametrize("fma", [True, False])
def test_nothing_allows_llvm_to_reorder_or_contract(fma):
    text = module_text(32, 16, fma) + module_text(64, 8, fma)
    assert re.findall(r"\b(?:fast|reassoc|contract|nnan|ninf|nsz|arcp|afn)\b", text) == []
    assert ("@llvm.fma" in text.replace('"', "")) == fma


@pytest.mark.parametrize(("form", "dtype"), [(polynomials.F32, np.float32), (polynomials.F64, np.float64)])
def test_the_constants_fit_their_format(form, dtype):
    info = np.finfo(dtype)
    whole = np.uint32 if form.bits == 32 else np.uint64
    assert (form.bits, form.fraction_bits) == (info.bits, info.nmant)
    assert form.least_normal == float(info.tiny)
    assert np.array([1, 0.5**0.5], dtype).view(whole).tolist() == [form.one_bits, form.root_half_bits]
    assert (
        np.uint32(form.whole_bits).view(dtype) == 2**23 if form.bits == 32 else np.uint64(form.whole_bits).view(dtype) == 2**52
    )
    largest = max(abs(form.least_exponent), form.greatest_exponent) / np.log(2) + 1
    digits = np.frexp(form.log_2_high)[0] * 2**info.nmant / 2 ** np.ceil(np.log2(largest)) * 2
    assert digits == np.floor(digits), "a product with an exponent is not exact"
    assert form.log_2_high + form.log_2_low == pytest.approx(np.log(2), rel=2e-16)
    for coefficients in (form.exp_wide, form.exp_minus, form.log, form.log_one_plus, form.tanh):
        assert [float(dtype(c)) for c in coefficients] == list(coefficients)
    rest = np.longdouble(2) / 3 - np.longdouble(form.two_thirds_high)
    assert SLACK or float(rest) == pytest.approx(form.two_thirds_low)


def test_an_op_without_vector_code_is_a_bug_of_ours():
    builder = llvm_text.IRBuilder(
        llvm_text.Function(
            llvm_text.Module(), llvm_text.FunctionType(llvm_text.VOID, [llvm_text.F32]), "f"
        ).append_basic_block()
    )
    with pytest.raises(errors.InternalError) as caught:
        vector_math.emit(builder, "tan", builder.function.args[0])
    known = ", ".join(f"`{name}`" for name in vector_math.KNOWN)
    assert str(caught.value) == (
        "this is a bug of Ostinato, in the stage `lower`; please report it\n"
        f"  no vector code for `tan`; did you mean `tanh`? The elementwise ops are {known}"
    )
