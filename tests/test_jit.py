"""Targets and the JIT: code for this CPU and for others, loaded, run, and gone when it is dropped."""

import ctypes
import gc
import os
import re
import signal
import threading
import time
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

import ostinato
from ostinato.lower import llvm_text
from ostinato.native import jit, targets
from ostinato.plan import machine as machine_module

STATM = Path("/proc/self/statm")

# y = x * scale + x, for `n` vectors; written with what the default passes take away: a helper, and a counter in memory
SCALE = """
target triple = "riscv64-unknown-elf"
target datalayout = "E-p:32:32"
define internal {V} @one({V} %x, {V} %s) alwaysinline {{
  %p = fmul {V} %x, %s
  %r = fadd {V} %p, %x
  ret {V} %r
}}
define void @scale(ptr %y, ptr %x, i64 %n) {{
entry:
  %i.at = alloca i64
  store i64 0, ptr %i.at
  br label %head
head:
  %i = load i64, ptr %i.at
  %more = icmp ult i64 %i, %n
  br i1 %more, label %body, label %done
body:
  %from = getelementptr {V}, ptr %x, i64 %i
  %to = getelementptr {V}, ptr %y, i64 %i
  %v = load {V}, ptr %from, align 4
  %r = call {V} @one({V} %v, {V} {c})
  store {V} %r, ptr %to, align 4
  %next = add i64 %i, 1
  store i64 %next, ptr %i.at
  br label %head
done:
  ret void
}}
"""


def scale_text(lanes, factor=2.5):
    number = f"0x{np.float64(factor).view(np.uint64):016X}"
    return SCALE.format(V=f"<{lanes} x float>", c=f"<{', '.join([f'float {number}'] * lanes)}>")


def scaled(object_bytes, x, lanes):
    code = jit.load(object_bytes)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(code.address("scale"))
    y = np.zeros_like(x)
    function(y.ctypes.data, x.ctypes.data, len(x) // lanes)
    return y


def numbers(n=64):
    return np.random.default_rng(3).standard_normal(n).astype(np.float32)


@pytest.fixture
def machine(monkeypatch):
    """`machine(triple, *features)`: this process believes that it runs on such a CPU."""
    monkeypatch.delenv(targets.VARIABLE, raising=False)

    def forget():
        targets._host.cache_clear()
        targets._features.cache_clear()

    def pretend(triple, *features):
        has = llvm.targets.FeatureMap(dict.fromkeys(features, True))
        monkeypatch.setattr(targets.llvm, "get_process_triple", lambda: triple)
        monkeypatch.setattr(targets.llvm, "get_host_cpu_features", lambda: has)
        monkeypatch.setattr(targets.llvm, "get_host_cpu_name", lambda: "some-cpu")
        forget()

    forget()
    yield pretend
    monkeypatch.undo()
    forget()


LINUX = "x86_64-unknown-linux-gnu"
V2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
V3 = (*V2, "avx", "avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe")
V4 = (*V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


# --- targets ------------------------------------------------------------------------------------------------------------------


def test_a_vector_of_every_target_holds_what_its_bytes_hold():
    found = {name: (t.lanes("f32"), t.lanes("f64"), t.n_registers, t.fma) for name, t in targets.TARGETS.items()}
    assert found == {
        "x86-64-v4": (16, 8, 32, True), "x86-64-v3": (8, 4, 16, True), "x86-64-v2": (4, 2, 16, False),
        "x86-64": (4, 2, 16, False), "aarch64": (4, 2, 32, True), "armv7": (4, 2, 16, True),
        "cortex-m4": (1, 1, 32, True), "cortex-m7": (1, 1, 32, True), "cortex-m55": (4, 2, 8, True),
        "riscv64": (1, 1, 32, True), "riscv64-v": (4, 2, 32, True), "riscv32": (1, 1, 32, True), "riscv32-v": (4, 2, 32, True),
        "wasm32": (1, 1, 16, False), "wasm32-simd128": (4, 2, 16, False),
    }  # fmt: skip
    assert all(name == target.name for name, target in targets.TARGETS.items())
    assert targets.ALIASES == {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "sse2": "x86-64", "neon": "aarch64"}


def test_what_runs_here_has_a_width_that_is_known_without_llvm():
    own = {name: t.vector_bytes for name, t in targets.TARGETS.items() if t.triple.startswith(("x86_64-", "aarch64-"))}
    own |= {alias: own[name] for alias, name in targets.ALIASES.items()}
    assert own == machine_module.WIDTHS


@pytest.mark.parametrize(
    ("features", "vector_bytes", "n_registers", "fma", "runnable"),
    [
        (V4, 64, 32, True, ["x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64"]),
        (tuple(f for f in V4 if f != "avx512cd"), 64, 32, True, ["x86-64-v3", "x86-64-v2", "x86-64"]),
        (tuple(f for f in V4 if f != "avx512vl"), 32, 16, True, ["x86-64-v3", "x86-64-v2", "x86-64"]),
        ((*V2, "avx", "avx2", "fma"), 32, 16, True, ["x86-64-v2", "x86-64"]),
        (("avx", "avx2"), 16, 16, False, ["x86-64"]),
        ((), 16, 16, False, ["x86-64"]),
    ],
)
def test_the_width_follows_the_features_that_this_cpu_has(machine, features, vector_bytes, n_registers, fma, runnable):
    machine(LINUX, *features)
    found = targets.host()
    assert (found.vector_bytes, found.n_registers, found.fma) == (vector_bytes, n_registers, fma)
    assert (found.name, found.cpu, found.triple) == ("some-cpu", "some-cpu", LINUX)
    assert found.features == ",".join([*(f"+{f}" for f in sorted(features)), "-prefer-256-bit"])
    assert [target.name for target in targets.runnable()] == runnable


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin24.1.0"])
def test_arm_has_neon(machine, triple):
    machine(triple, "neon", "lse")
    found = targets.host()
    assert (found.vector_bytes, found.n_registers, found.fma, found.triple) == (16, 32, True, triple)
    assert found.features == "+lse,+neon"
    assert [(target.name, target.triple) for target in targets.runnable()] == [("aarch64", triple)]


def test_a_machine_without_native_code(machine):
    machine("riscv64-unknown-linux-gnu")
    with pytest.raises(ostinato.OptionError) as caught:
        targets.host()
    assert str(caught.value) == (
        "there is no native code for this machine (riscv64-unknown-linux-gnu): use backend='reference'\n"
        "  hint: native code is made for x86_64 and aarch64"
    )
    assert targets.runnable() == ()


def test_windows_loads_elf(machine, monkeypatch):
    machine("x86_64-pc-windows-msvc", *V3)
    with monkeypatch.context() as patch:
        patch.setattr(targets.os, "name", "nt")
        found = targets.host()
    assert found.triple == "x86_64-pc-windows-msvc-elf"


def test_the_environment_chooses_a_narrower_target(monkeypatch):
    for target in targets.runnable():
        for name in (target.name, *(alias for alias, own in targets.ALIASES.items() if own == target.name)):
            monkeypatch.setenv(targets.VARIABLE, name)
            assert targets.host() == target
    monkeypatch.setenv(targets.VARIABLE, "")
    own = targets.host()
    monkeypatch.delenv(targets.VARIABLE)
    assert targets.host() == own
    assert own.name == llvm.get_host_cpu_name()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("avx3", "is no target: did you mean `avx2`? The"),
        ("avx512", "is a target that this CPU can not run: did you mean `avx2`? The"),
        ("neon", "is a target that this CPU can not run: the"),
    ],
)
def test_the_environment_names_a_target_that_is_not_here(machine, monkeypatch, name, why):
    machine(LINUX, *V3)
    monkeypatch.setenv(targets.VARIABLE, name)
    with pytest.raises(ostinato.OptionError) as caught:
        targets.host()
    known = "`x86-64-v3`, `x86-64-v2`, `x86-64`, `avx2`, `sse2`"
    assert str(caught.value) == f"OSTINATO_TARGET={name} {why} targets that this CPU can run are {known}"


# --- compiling and running ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [targets.host(), *targets.runnable()], ids=lambda target: target.name)
@pytest.mark.parametrize("speed", [0, 1, 2, 3])
def test_every_target_and_speed_computes_the_same_bits(target, speed):
    lanes = target.lanes("f32")
    x = numbers()
    found = scaled(jit.compile_module(scale_text(lanes), target, speed=speed), x, lanes)
    assert found.tobytes() == (x * np.float32(2.5) + x).tobytes()  # two roundings: no fused multiply-add unless asked for


@pytest.mark.parametrize(
    ("name", "register"),
    [
        ("x86-64-v4", r"%zmm\d"),
        ("x86-64-v3", r"%ymm\d"),
        ("x86-64", r"%xmm\d"),
        ("aarch64", r"v\d+\.4s"),
        ("armv7", r"\bq\d"),
        ("cortex-m55", r"\bq\d"),
        ("riscv64-v", r"\bv\d"),
        ("wasm32-simd128", r"f32x4\."),
    ],
)
def test_the_assembly_of_every_target_uses_its_registers(name, register):
    target = targets.TARGETS[name]
    if name == "riscv64-v" and not llvm_text.SHORT_SPLAT:
        pytest.skip("LLVM 15 makes scalar code of vectors of a fixed size for RISC-V: right, and slow")
    text = jit.assembly(scale_text(target.lanes("f32")), target)
    assert len(re.findall(register, text)) >= 2
    wider = {"x86-64-v3": "zmm", "x86-64": "ymm"}.get(name)
    assert wider is None or wider not in text


@pytest.mark.skipif(not llvm_text.SHORT_SPLAT, reason="llvmlite 0.44 has neither pass; nothing that we write needs them")
def test_the_default_passes_inline_and_clear_the_stack():
    target = targets.TARGETS["x86-64-v3"]
    slow, fast = (jit.assembly(scale_text(8), target, speed=speed) for speed in (1, 2))
    assert "(%rsp)" in slow
    assert "(%rsp)" not in fast
    assert "call" not in slow + fast


def test_no_speed_brings_a_vectoriser():
    scalar = scale_text(1).replace("<1 x float>", "float").replace("<float 0x4004000000000000>", "0x4004000000000000")
    for speed in (0, 1, 2, 3):
        text = jit.assembly(scalar, targets.TARGETS["x86-64-v3"], speed=speed)
        assert "mulss" in text
        assert "mulps" not in text


def test_an_interrupt_waits_until_llvm_is_done(monkeypatch):
    """llvmlite would free a module after the context that it lives in: the process would end."""
    parse, done = jit.llvm.parse_assembly, []

    def slow(*given):
        module = parse(*given)
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.05)  # an interrupt of this thread would come here
        done.append(True)
        return module

    with monkeypatch.context() as patch:
        patch.setattr(jit.llvm, "parse_assembly", slow)
        with pytest.raises(KeyboardInterrupt):
            jit.compile_module(scale_text(4), targets.host())
    assert done == [True]
    assert jit.compile_module(scale_text(4), targets.host())


def test_an_interrupt_while_the_other_thread_begins_waits_for_it_too(monkeypatch):
    import threading

    from ostinato.process import interrupts

    start, done = threading.Thread.start, []

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    def work():
        time.sleep(0.05)
        done.append(True)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        interrupts.undisturbed(work)()
    assert done == [True]
    monkeypatch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # it was never started
        interrupts.undisturbed(work)()
    assert done == [True]


def test_code_calls_the_c_library_and_finds_its_constants():
    text = """
    @table = internal constant [4 x i32] [i32 3, i32 1, i32 4, i32 1]
    @answer = constant i32 42
    define void @fill(ptr %to, i64 %n) {
      call void @llvm.memset.p0.i64(ptr %to, i8 7, i64 %n, i1 false)
      call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr @table, i64 16, i1 false)
      %p = getelementptr i8, ptr %to, i64 16
      call ptr @memmove(ptr %p, ptr %to, i64 16)
      ret void
    }
    declare ptr @memmove(ptr, ptr, i64)
    declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
    declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
    """
    code = jit.load(jit.compile_module(text, targets.host()))
    to = np.zeros(100, np.uint8)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.address("fill"))(to.ctypes.data, 90)
    assert to[:32].view(np.int32).tolist() == [3, 1, 4, 1, 3, 1, 4, 1]
    assert (to[32:90] == 7).all()
    assert (to[90:] == 0).all()
    assert ctypes.c_int32.from_address(code.address("answer")).value == 42
    assert code.address("fill") == code.address("fill") != code.address("answer")


# --- lives and threads --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not STATM.exists(), reason="the resident memory is read from /proc")
@pytest.mark.skipif(
    not llvm_text.SHORT_SPLAT, reason="llvmlite 0.44 keeps the memory of code that is dropped: docs/native.md says so"
)
def test_memory_does_not_grow_with_code_that_is_dropped():
    text = f"@table = global [262144 x i32] [{', '.join(['i32 9'] * 262144)}]\ndefine void @f() {{ ret void }}"
    content = jit.compile_module(text, targets.host())  # 1 MiB
    assert len(content) > 2**20

    def resident():
        gc.collect()
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def load_and_touch():
        code = jit.load(content)
        return ctypes.c_int32.from_address(code.address("table") + 4000).value

    assert [load_and_touch() for _ in range(5)] == [9] * 5
    before = resident()
    assert {load_and_touch() for _ in range(200)} == {9}
    assert resident() - before < 20 * 2**20  # 200 MiB if they stayed


def test_many_codes_live_side_by_side_and_the_dropped_ones_harm_nobody():
    lanes = targets.host().lanes("f32")
    x = numbers()
    content = [jit.compile_module(scale_text(lanes, factor), targets.host()) for factor in range(4)]
    codes = [jit.load(content[i % 4]) for i in range(20)]
    addresses = [code.address("scale") for code in codes]
    assert len(set(addresses)) == 20
    del codes[::2]
    gc.collect()
    for i, address in enumerate(addresses):
        if i % 2:
            y = np.zeros_like(x)
            ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, ctypes.c_int64)(address)(y.ctypes.data, x.ctypes.data, 64 // lanes)
            assert y.tobytes() == (x * np.float32(i % 4) + x).tobytes()


def test_several_threads_compile_load_and_drop_at_once():
    target = targets.host()
    lanes = target.lanes("f32")
    x, wrong, done = numbers(), [], []

    def work(own):
        try:
            for i in range(5):
                factor = 10 * own + i
                y = scaled(jit.compile_module(scale_text(lanes, factor), target), x, lanes)
                if y.tobytes() != (x * np.float32(factor) + x).tobytes():
                    wrong.append(factor)
                done.append(factor)
        except ostinato.OstinatoError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(done) == 30


def test_several_threads_ask_one_code_for_its_addresses():
    text = "\n".join(f"define i32 @f{i}() {{ ret i32 {i} }}" for i in range(40))
    code = jit.load(jit.compile_module(text, targets.host()))
    found = [{} for _ in range(4)]

    def work(own):
        for i in range(40):
            found[own][i] = code.address(f"f{i}")

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2] == found[3]
    assert [ctypes.CFUNCTYPE(ctypes.c_int32)(found[0][i])() for i in range(40)] == list(range(40))


# --- bugs of ours -------------------------------------------------------------------------------------------------------------


def refused(action):
    with pytest.raises(ostinato.InternalError) as caught:
        action()
    assert caught.value.__suppress_context__
    return str(caught.value)


def test_text_that_llvm_can_not_read():
    assert refused(lambda: jit.compile_module("define i32 @f( {", targets.host())) == (
        "this is a bug of Ostinato, in the stage `LLVM` (read); please report it\n"
        "  LLVM IR parsing error\n"
        "  <string>:1:17: error: expected type\n"
        "  define i32 @f( {\n"
        "                  ^\n"
        "\n"
        "define i32 @f( {"
    )


def test_text_that_llvm_does_not_accept():
    text = "define i32 @f(i32 %a) {\n  %b = add i32 %c, %a\n  %c = add i32 %a, 1\n  ret i32 %b\n}"
    for make in (jit.compile_module, jit.assembly):
        assert refused(lambda: make(text, targets.host())) == (
            "this is a bug of Ostinato, in the stage `LLVM` (verify); please report it\n"
            "  Instruction does not dominate all uses!\n"
            "    %c = add i32 %a, 1\n"
            "    %b = add i32 %c, %a\n"
            "\n" + text
        )


def test_a_long_text_is_shortened():
    text = "\n".join(f"; line {i}" for i in range(1, 101)) + "\nnonsense"
    lines = refused(lambda: jit.compile_module(text, targets.host())).splitlines()
    shown = lines[lines.index("; line 1") :]
    assert len(shown) == 61
    assert shown[29:32] == ["; line 30", "... 41 lines ...", "; line 72"]
    assert shown[-1] == "nonsense"


def test_a_target_that_llvm_does_not_have():
    odd = targets.Target("odd", "martian-unknown-none", "", "", 16, 16, False)
    assert refused(lambda: jit.compile_module("", odd)) == (
        "this is a bug of Ostinato, in the stage `LLVM` (target); please report it\n"
        '  No available targets are compatible with triple "martian-unknown-none"'
    )


@pytest.mark.parametrize("cut", [0, 3, 100, 200])
def test_machine_code_that_can_not_be_loaded(cut):
    content = jit.compile_module("define void @f() { ret void }", targets.host())[:cut]
    text = refused(lambda: jit.load(content))
    assert text.startswith("this is a bug of Ostinato, in the stage `LLVM` (load); please report it\n  ")
    assert len(text.splitlines()) == 2


def test_a_symbol_that_is_not_there():
    code = jit.load(jit.compile_module("define void @f() { ret void }", targets.host()))
    assert refused(lambda: code.address("g")) == (
        "this is a bug of Ostinato, in the stage `LLVM` (find `g`); please report it\n  Symbols not found: [ g ]"
    )
    assert code.address("f") > 0  # and the code is as it was


def test_a_function_that_nobody_has():
    text = "declare void @no_such_function()\ndefine void @f() {\n  call void @no_such_function()\n  ret void\n}"
    code = jit.load(jit.compile_module(text, targets.host()))
    text = refused(lambda: code.address("f"))
    assert text.startswith(
        "this is a bug of Ostinato, in the stage `LLVM` (find `f`); please report it\n  Failed to materialize"
    )
