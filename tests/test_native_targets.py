"""The same cells for every kind of CPU: what runs here computes what NumPy computes; the code for the others can be read."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ostinato import (
    Bias,
    Context,
    Input,
    Layer,
    OptionError,
    Output,
    State,
    Weight,
    cell,
    concat,
    elu,
    exp,
    layer_norm,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    softmax,
    softplus,
    sqrt,
    tanh,
    where,
)
from ostinato.lower.module import lower
from ostinato.lower.target import TARGETS
from ostinato.native import program as native_program
from ostinato.native.jit import assembly
from ostinato.native.program import NativeProgram
from ostinato.native.targets import VARIABLE, host, runnable
from ostinato.plan.planner import plan_program
from ostinato.runtime.backends import scheduled_program
from tests.foreign import library_cells
from tests.library import swept
from tests.test_native import EVERY, LIMIT, PLANS, close, equal, everything, given, with_weights

NAMES = (
    "lstm", "gru_reset_before", "projected_lstm", "layer_norm_lstm", "attention_decoder", "convolution_2d", "fast_weights",
)  # fmt: skip
SMALL_SET = [case for case in EVERY if case.name in NAMES]
PROGRAMS = ("forward", "recording", "backward")
# x86-64-v2 has the vectors and registers of x86-64, and little more than an instruction for rounding
RUN = swept([target.name for target in runnable()], lambda name: name != "x86-64-v2")
# what may be called besides our own functions: memory, which every C library has; no mathematics
MEMORY = {"memset", "memcpy", "memmove"}


@cell
def everything_elementwise(
    x=Input("n"), k=Context("n"), h=State("n"), s=State(), W=Weight("2*n", "n"), b=Bias("n"), w=Bias("n"),
):  # fmt: skip
    """Every function that has polynomials of its own, and every kind of choice."""
    z = tanh(concat(x, h) @ W + b)
    a = softplus(z) + log(1 + exp(-abs(z))) - sqrt(1 + z * z) + elu(z) * sigmoid(k)
    c = where((a > 0.1) & (z < k), relu(a), minimum(a, z) - maximum(k, z)) * (1.5 + z) ** 1.5
    h = softmax(layer_norm(c, epsilon=0.1)) + z**3 * w
    return Output(a / (2 + c * c)), h, tanh(s + (h * w)[0])


def small_layers(cases=SMALL_SET, dtype="float32", n=19, **more):
    for case in cases:
        sizes = {name: case.sizes(n)[name] for name in case.cell.dimensions}
        yield case, Layer(case.cell, **sizes, **case.options, dtype=dtype, **more)


def programs(layer):
    """The plans of a layer: forwards, forwards with records, backwards."""
    return [plan_program(scheduled_program(layer.compiled(), name)) for name in PROGRAMS]


def called(text):
    """The functions that a piece of assembly calls, and those that it defines."""
    calls = re.findall(r"^\s+(?:callq?|jmp|bl?|b)\s+\*?([A-Za-z_][\w.$]*)(?:@PLT)?\s*(?:#.*|//.*)?$", text, re.MULTILINE)
    labels = set(re.findall(r"^([A-Za-z_.][\w.$]*):", text, re.MULTILINE))
    return {name for name in calls if not name.startswith(".L")} - labels, labels


@pytest.mark.parametrize("name", RUN)
def test_every_target_that_runs_here_computes_what_numpy_computes(name, monkeypatch):
    monkeypatch.setenv(VARIABLE, name)
    assert host().name == name
    for n, dtype, cases in ((19, "float32", SMALL_SET), (6, "float64", SMALL_SET[:2])):
        for case, layer in small_layers(cases, dtype, n, backend="native", plan="hoisted"):
            values = case.values(case.sizes(n), 3, 5, dtype=dtype)
            numpy = Layer(case.cell, **layer.sizes, **layer.options, dtype=dtype, backend="numpy")
            inputs, more = given(case, values)
            more["lengths"] = np.array([3, 1, 0, 2, 3])
            found, expected = (everything(with_weights(one, case, values), case, inputs, more) for one in (layer, numpy))
            assert all(ready.target.name == name for ready in layer._programs.made.values())
            close(found, expected, LIMIT[dtype])


@pytest.mark.parametrize("name", RUN)
def test_on_every_target_no_plan_changes_a_bit(name, monkeypatch):
    monkeypatch.setenv(VARIABLE, name)
    for case in (c for c in SMALL_SET if c.name in ("gru_reset_before", "layer_norm_lstm")):
        sizes = {dim: case.sizes(9)[dim] for dim in case.cell.dimensions}
        values = case.values(case.sizes(9), 4, 6, dtype="float32")
        results = [
            everything(
                with_weights(Layer(case.cell, **sizes, backend="native", plan=plan), case, values), case, *given(case, values)
            )
            for plan in PLANS
        ]
        for result in results[1:]:
            equal(result, results[0])


@pytest.mark.parametrize("name", [target.name for target in runnable()])
def test_every_function_of_an_element_on_every_target(name):
    target = next(t for t in runnable() if t.name == name)
    generator = np.random.default_rng(1)
    for dtype in ("float32", "float64"):
        layers = [Layer(everything_elementwise, n=21, dtype=dtype, backend=backend) for backend in ("native", "numpy")]
        for program, plan in zip(PROGRAMS, programs(layers[0]), strict=True):
            layers[0]._programs.made[program, False] = NativeProgram(plan, target)
        X, K = generator.standard_normal((4, 3, 21)), generator.standard_normal((3, 21))
        results = []
        for layer in layers:
            Y, pullback = layer.vjp(X, K)
            grads = pullback(np.cos(Y), state={"h": K, "s": K[:, 0]})
            results.append({"Y": Y, "dX": grads.inputs, **grads.contexts, **grads.weights, **pullback.state})
        close(*results, LIMIT[dtype])


SPELLED = [target for target in TARGETS.values() if target.triple.startswith(("x86_64", "aarch64"))]


@pytest.mark.parametrize("target", SPELLED, ids=lambda t: t.name)
def test_code_for_large_machines_calls_no_function_of_the_c_library_but_for_memory(target):
    layers = [layer for case, layer in small_layers() if case.name in ("layer_norm_lstm", "convolution_2d")]
    layers += [Layer(everything_elementwise, n=5, dtype=dtype) for dtype in ("float32", "float64")]
    n_calls = 0
    for layer in layers:
        for plan in programs(layer):
            text = assembly(str(lower(plan, target)), target)
            calls, labels = called(text)
            assert {"ostinato_run", "ostinato_prepare"} <= labels
            assert calls <= MEMORY, f"{layer.name} for {target.name} calls {sorted(calls - MEMORY)}"
            n_calls += len(re.findall(r"^\s+(?:callq?|bl)\s", text, re.MULTILINE))
    assert n_calls > 50  # the pattern finds calls at all


def test_calls_of_the_c_library_would_be_found():
    assert called("f:\n\tcallq\texpf@PLT\n\tbl\ttanhf\n\tcallq\tf\n\tb\t.LBB0_1\n\tjmp\tmemcpy@PLT # tail\n")[0] == {
        "expf",
        "tanhf",
        "memcpy",
    }


def test_neon_uses_vectors_of_four_and_fused_multiply_adds():
    layer = next(layer for case, layer in small_layers() if case.name == "lstm")
    text = "\n".join(assembly(str(lower(plan, TARGETS["aarch64"])), TARGETS["aarch64"]) for plan in programs(layer))
    assert re.search(r"\bfmla\s+v\d+\.4s", text)
    assert "zmm" not in text
    assert "ymm" not in text


@pytest.mark.parametrize(("n", "dtype"), [(7, "float32"), pytest.param(5, "float64", marks=pytest.mark.sweep)])
@pytest.mark.parametrize("case", swept(SMALL_SET, lambda case: case.name in ("gru_reset_before", "attention_decoder")), ids=str)
def test_without_vectors_the_numbers_are_those_of_numpy_and_no_plan_changes_a_bit(case, n, dtype, monkeypatch):
    """One number at a time, on this processor: what a target without vectors does."""
    alone = replace(host(), name="alone", vector_bytes=4, n_registers=16)
    monkeypatch.setattr(native_program, "host", lambda: alone)
    sizes = {name: case.sizes(n)[name] for name in case.cell.dimensions}
    values = case.values(case.sizes(n), 3, 5, dtype=dtype)
    inputs, more = given(case, values)
    more["lengths"] = np.array([3, 1, 0, 2, 3])
    results = {}
    for plan in (*PLANS, "numpy"):
        how = {"backend": "numpy"} if plan == "numpy" else {"backend": "native", "plan": plan}
        layer = with_weights(Layer(case.cell, **sizes, **case.options, dtype=dtype, **how), case, values)
        results[plan] = everything(layer, case, inputs, more)
        assert plan == "numpy" or all(ready.target.name == "alone" for ready in layer._programs.made.values())
    close(results["hoisted"], results["numpy"], LIMIT[dtype])
    for plan in PLANS:
        equal(results[plan], results["hoisted"])


def compiled_for(target, *cells):
    """How many cells were compiled for a target, in a process of its own: LLVM may abort on what a target lacks."""
    done = subprocess.run([sys.executable, "-m", "tests.foreign", target, *cells], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cells_compiled, object_bytes = map(int, done.stdout.split())
    assert object_bytes > 1000 * cells_compiled
    return cells_compiled


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_compiles_cells_of_the_library(name):
    assert compiled_for(name, "gru_reset_before", "attention", "convolution_1d") == 3


@pytest.mark.sweep
@pytest.mark.parametrize("name", TARGETS)
def test_every_target_compiles_every_cell_of_the_library(name):
    assert compiled_for(name) == len(library_cells())


def test_a_target_that_is_none_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setenv(VARIABLE, "avx1024")
    case = SMALL_SET[0]
    layer = Layer(case.cell, n_inputs=2, n_neurons=3, backend="native")
    with pytest.raises(OptionError, match="avx1024"):
        layer(np.zeros((2, 1, 2)))
