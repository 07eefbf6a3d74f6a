"""The figures of the machine: measured once, kept, believed only where they make sense."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ostinato.errors import InternalError
from ostinato.native import cache, roofline
from ostinato.native.targets import host, runnable
from ostinato.plan import machine
from ostinato.plan.machine import LEVELS, TYPICAL_CACHES, cache_bytes, cache_folder, known, remember, this_machine, typical


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A machine of which nothing is known yet, with a folder of its own."""
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(machine, "_KNOWN", {})
    return tmp_path / "kept"


def forget():
    machine._KNOWN.clear()


def files(folder):
    return sorted(folder.glob("machine-*.json"))


# --- measuring ----------------------------------------------------------------------------------------------------------------


def test_what_is_measured_makes_sense_and_is_kept(fresh):
    assert known() is None
    assert not this_machine().measured
    found = roofline.measured()
    assert found.measured
    assert found is this_machine()
    assert (found.vector_bytes, found.n_registers) == (host().vector_bytes, host().n_registers)
    assert 1e8 < found.peak("f64") < found.peak("f32") < 1e13
    assert found.latency >= found.multiply_add > 0
    for table in (found.loads, found.stores):
        assert list(table) == list(LEVELS)
        assert list(table.values()) == sorted(table.values(), reverse=True)
        assert all(1e8 < rate < 1e14 for rate in table.values())
    forget()
    assert this_machine() == found
    assert len(files(fresh)) == 1


def test_it_is_measured_once(fresh, monkeypatch):
    calls = []
    monkeypatch.setattr(roofline, "measure", lambda _, far: calls.append(far) or replace(typical(), measured=True, far=far))
    assert roofline.measured() == roofline.measured()
    forget()
    assert roofline.measured().measured
    assert len(calls) == 1


def test_what_lies_beyond_the_caches_is_measured_when_a_program_reaches_there(fresh, monkeypatch):
    calls = []
    monkeypatch.setattr(roofline, "measure", lambda _, far: calls.append(far) or replace(typical(), measured=True, far=far))
    beyond = 2 * max(typical().capacity.values())
    for n_bytes in (1000, 2000, beyond, 1000, beyond):
        roofline.measured(n_bytes)
        forget()  # and read back from the file
    assert calls == [False, True]
    assert str(replace(typical(), measured=True)).endswith("(measured but for DRAM, a typical figure)")


def test_where_it_can_not_be_measured_typical_figures_stand_in(fresh, monkeypatch):
    def fails(_, far):
        raise InternalError("no code")

    monkeypatch.setattr(roofline, "measure", fails)
    assert not roofline.measured().measured
    assert not files(fresh)  # what was not measured is not kept
    monkeypatch.setattr(roofline, "measure", lambda _, far: pytest.fail("once is enough"))
    assert not roofline.measured().measured


def test_every_target_that_this_cpu_can_run_is_measured(monkeypatch):
    monkeypatch.setattr(roofline, "SECONDS", 1e-6)
    monkeypatch.setattr(roofline, "N_SAMPLES", 2)
    monkeypatch.setattr(roofline, "MOST_BYTES", 1 << 20)
    for target in runnable():
        found = roofline.measure(target)
        assert found.vector_bytes == target.vector_bytes
        assert found.multiply_add < 100e-9  # no call of a function for it


# --- keeping ------------------------------------------------------------------------------------------------------------------


def kept_after(fresh, change):
    """What is believed after the kept figures were changed."""
    remember(replace(typical(), measured=True))
    forget()
    path = files(fresh)[0]
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))
    return known()


def test_kept_figures_are_read_back(fresh):
    assert kept_after(fresh, lambda saved: None) == replace(typical(), measured=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(format=0),
        lambda s: s.update(name="another processor"),
        lambda s: s.update(vector_bytes=48),
        lambda s: s.update(n_registers="many"),
        lambda s: s.update(latency=0.0),
        lambda s: s.update(multiply_add=float("nan")),
        lambda s: s["loads"].update(L1=-1.0),
        lambda s: s["stores"].update(L1="fast"),
        lambda s: s["loads"].pop("DRAM"),
        lambda s: s.update(stores=[]),
        lambda s: s.update(far="yes"),
    ],
)
def test_kept_figures_that_make_no_sense_are_not_believed(fresh, change):
    assert kept_after(fresh, change) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe"])
def test_a_damaged_file_is_as_good_as_none(fresh, content):
    remember(replace(typical(), measured=True))
    forget()
    files(fresh)[0].write_bytes(content)
    assert known() is None
    assert this_machine() == typical()


def test_without_a_folder_figures_last_for_the_process(fresh, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", "0")
    remember(replace(typical(), measured=True))
    assert this_machine().measured
    forget()
    assert known() is None


def test_a_folder_that_can_not_be_made_is_no_error(fresh, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "file" / "inside"))
    remember(replace(typical(), measured=True))
    assert this_machine().measured


@pytest.mark.parametrize("settings", [
    {}, {"OSTINATO_CACHE": ""}, {"OSTINATO_CACHE": "0"}, {"OSTINATO_CACHE": "~/mine"}, {"OSTINATO_CACHE": "here"},
    {"XDG_CACHE_HOME": "relative"}, {"XDG_CACHE_HOME": os.sep + "absolute"},
])  # fmt: skip
@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_folder_is_that_of_compiled_code(settings, platform, monkeypatch):
    for name in ("OSTINATO_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == cache.default_folder()[0]


# --- without measuring --------------------------------------------------------------------------------------------------------


def test_the_vectors_are_those_that_llvm_finds(monkeypatch):
    for target in runnable():
        monkeypatch.setenv("OSTINATO_TARGET", target.name)
        assert typical().vector_bytes == target.vector_bytes
        assert typical().n_registers == target.n_registers
    monkeypatch.delenv("OSTINATO_TARGET")
    assert typical().vector_bytes == host().vector_bytes


def test_features_decide_how_wide_vectors_are(monkeypatch):
    monkeypatch.delenv("OSTINATO_TARGET", raising=False)
    for features, width in (({}, 16), ({"AVX2": True}, 16), ({"AVX2": True, "FMA3": True}, 32), ({"X86_V4": True}, 64)):
        monkeypatch.setattr(machine, "_features", lambda features=features: features)
        assert machine.vector_bytes() == width


def test_caches_are_read_from_the_files_of_the_system(tmp_path):
    for i, (level, kind, size) in enumerate((("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M"))):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    assert cache_bytes(tmp_path) == {"L1": 48 << 10, "L2": 2 << 20}


def test_caches_that_nobody_knows_have_typical_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf_names", {}, raising=False)
    assert cache_bytes(tmp_path) == TYPICAL_CACHES
    (tmp_path / "index0").mkdir()  # and no file in it
    assert cache_bytes(tmp_path) == TYPICAL_CACHES


def test_caches_of_sysconf(tmp_path, monkeypatch):
    sizes = {"SC_LEVEL1_DCACHE_SIZE": 65536, "SC_LEVEL2_CACHE_SIZE": 0}
    monkeypatch.setattr(os, "sysconf_names", dict.fromkeys(sizes, 1), raising=False)
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert cache_bytes(tmp_path) == {"L1": 65536}


def test_the_nearest_cache_with_room():
    here = replace(typical(), capacity={"L1": 1000, "L2": 10_000})
    assert [here.level(n) for n in (10, 1000, 1001, 9000, 9001)] == ["L1", "L1", "L2", "L2", "DRAM"]


def test_in_words():
    here = replace(
        typical(), name="a processor", vector_bytes=32, multiply_add=0.25e-9, capacity={"L1": 32 << 10},
        loads={"L1": 2e11, "L2": 1e11, "L3": 5e10, "DRAM": 1e10},
    )  # fmt: skip
    assert str(here) == (
        "a processor; one core: 64 GFLOP/s (float32), L1 to 32 KiB 200 GB/s, L2 100 GB/s, L3 50 GB/s, DRAM 10 GB/s "
        "(typical figures, nothing measured yet)"
    )
    assert str(replace(here, measured=True, far=True)).endswith("(measured)")


def test_reading_the_figures_needs_no_llvmlite():
    code = "import sys; from ostinato.plan.machine import this_machine; this_machine(); print('llvmlite' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    assert run.stdout.strip() == "False"
