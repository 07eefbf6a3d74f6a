"""How many threads a process uses unless it says so: OSTINATO_THREADS, else what the system and OpenMP's variable allow."""

import os
import subprocess
import sys

import pytest

import ostinato
from ostinato import OptionError
from ostinato.native.threads import WORKERS
from ostinato.process import cores
from ostinato.process.cores import available, group_limit, processors


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Eight cores, no limits, and nothing said."""
    for name in ("OSTINATO_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "processors", lambda: 8)
    monkeypatch.setattr(cores, "group_limit", lambda: None)
    yield
    monkeypatch.undo()
    ostinato.set_threads(None)


def test_the_smallest_of_all_limits_counts(monkeypatch):
    assert available() == 8
    monkeypatch.setattr(cores, "group_limit", lambda: 6)
    assert available() == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert available() == 4
    monkeypatch.setattr(cores, "processors", lambda: 3)
    assert available() == 3


@pytest.mark.parametrize(("text", "n"), [("4,2", 4), (" 2 ", 2), ("1", 1), ("64", 8), ("", 8), ("0", 8), ("-2", 8), ("two", 8)])
def test_openmp_has_a_list_and_what_is_no_number_is_passed_over(monkeypatch, text, n):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert available() == n


def test_the_own_variable_beats_them_and_set_threads_beats_it(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("OSTINATO_THREADS", "16")
    assert available() == 16
    ostinato.set_threads(None)
    assert ostinato.get_threads() == 16
    ostinato.set_threads(5)
    assert ostinato.get_threads() == 5
    monkeypatch.setenv("OSTINATO_THREADS", "3")
    assert ostinato.get_threads() == 5
    ostinato.set_threads(None)
    assert ostinato.get_threads() == 3
    monkeypatch.setenv("OSTINATO_THREADS", "")  # empty is unset
    ostinato.set_threads(None)
    assert ostinato.get_threads() == 2


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many", "²", "٣", "1_0", "99999999999"])
def test_an_own_variable_that_is_no_number_is_refused(monkeypatch, text):
    ostinato.set_threads(2)
    monkeypatch.setenv("OSTINATO_THREADS", text)
    with pytest.raises(OptionError) as error:
        ostinato.set_threads(None)
    assert str(error.value) == f"OSTINATO_THREADS={text}: the number of threads is a whole number from 1 up"
    assert ostinato.get_threads() == 2  # as it was


def test_it_is_refused_where_it_is_first_asked_for_and_not_by_the_import():
    code = "import ostinato\ntry: ostinato.get_threads()\nexcept ostinato.OptionError as error: print(error)"
    environment = {**os.environ, "OSTINATO_THREADS": "all"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "OSTINATO_THREADS=all: the number of threads is a whole number from 1 up\n"


def test_it_is_found_out_once_and_again_in_a_child(monkeypatch):
    ostinato.set_threads(None)
    monkeypatch.setattr(cores, "processors", lambda: 2)
    assert ostinato.get_threads() == 8
    WORKERS.forget()  # what a child process begins with
    assert ostinato.get_threads() == 2
    ostinato.set_threads(7)
    WORKERS.forget()
    assert ostinato.get_threads() == 7


def test_the_processors_are_those_that_the_process_may_run_on(monkeypatch):
    monkeypatch.undo()
    assert processors() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 5, raising=False)
    assert processors() == 5
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors() == 1


# --- control groups -----------------------------------------------------------------------------------------------------------


def system(folder, groups, mounts, files):
    """A system of files: what /proc/self says, and the control groups."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    lines = [f"31 23 0:28 {seen} {place} rw,nosuid shared:1 - {kind}" for seen, place, kind in mounts]
    (proc / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda rw\n" + "".join(f"{line}\n" for line in lines))
    for name, text in files.items():
        path = folder / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, folder / "root"


V2 = [("/", "/sys/fs/cgroup", "cgroup2 cgroup2 rw")]
V1 = [
    ("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup cgroup rw,cpu,cpuacct"),
    ("/", "/sys/fs/cgroup/memory", "cgroup cgroup rw,memory"),
]


@pytest.mark.parametrize(
    ("text", "n"),
    [("max 100000", None), ("200000 100000", 2), ("250000 100000", 3), ("20000 100000", 1), ("100000", None), ("", None),
     ("0 0", None)],
)  # fmt: skip
def test_version_2_says_it_in_one_file_and_a_part_of_a_core_is_one(tmp_path, text, n):
    assert group_limit(*system(tmp_path, ["0::/"], V2, {"sys/fs/cgroup/cpu.max": text})) == n


def test_a_group_has_no_more_than_those_around_it(tmp_path):
    files = {
        "sys/fs/cgroup/a/cpu.max": "300000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        "sys/fs/cgroup/a/b/c/cpu.max": "500000 100000", "sys/fs/cgroup/other/cpu.max": "100000 100000",
    }  # fmt: skip
    assert group_limit(*system(tmp_path, ["0::/a/b/c"], V2, files)) == 3


@pytest.mark.parametrize(("quota", "n"), [("-1", None), ("150000", 2), ("800000", 8)])
def test_version_1_says_it_in_two(tmp_path, quota, n):
    files = {f"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_{name}_us": t for name, t in (("quota", quota), ("period", "100000"))}
    groups = ["4:memory:/elsewhere", "3:cpu,cpuacct:/job", "1:name=systemd:/", "0::/"]
    assert group_limit(*system(tmp_path, groups, V1, files)) == n


def test_both_versions_side_by_side(tmp_path):
    files = {
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "400000", "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/unified/cpu.max": "300000 100000",
    }  # fmt: skip
    mounts = [*V1, ("/", "/sys/fs/cgroup/unified", "cgroup2 cgroup2 rw")]
    assert group_limit(*system(tmp_path, ["3:cpu,cpuacct:/job", "0::/gone"], mounts, files)) == 3


def test_a_container_that_is_told_the_path_outside_of_it(tmp_path):
    """It sees its own group alone, whatever the path is called."""
    files = {"sys/fs/cgroup/cpu.max": "200000 100000"}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    seen = [("/docker/1f3a", "/sys/fs/cgroup", "cgroup2 cgroup2 rw")]
    assert group_limit(*system(tmp_path / "one", ["0::/docker/1f3a"], seen, files)) == 2
    assert group_limit(*system(tmp_path / "two", ["0::/../../outside"], V2, files)) is None


def test_a_system_without_control_groups(tmp_path):
    assert group_limit(tmp_path / "nothing", tmp_path) is None
    (tmp_path / "cgroup").write_text("nonsense\n")
    (tmp_path / "mountinfo").write_text("nonsense - \nmore\n")
    assert group_limit(tmp_path, tmp_path) is None
