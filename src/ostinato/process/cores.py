"""How many cores this process may use: what the system allows, and what whoever started the process has asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

from ..errors import OptionError, lay_out

VARIABLE = "OSTINATO_THREADS"
OPENMP = "OMP_NUM_THREADS"
PROC, ROOT = Path("/proc/self"), Path("/")


def available() -> int:
    """The number of threads that native code uses unless `set_threads` says otherwise.

    What the environment variable OSTINATO_THREADS says, if it is set; else the smallest of the cores that the process may run
    on (its affinity mask), the processor time that its control groups grant it (Linux, versions 1 and 2; a part of a core
    counts as one), and OMP_NUM_THREADS (of a list the first), which joblib, Ray and torchrun set for their workers. An
    OMP_NUM_THREADS that is no number from 1 up is passed over, as OpenMP does.

    Raises:
        OptionError: OSTINATO_THREADS is set, and is no whole number from 1 up.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted:
        if _count(wanted) is None:
            raise OptionError(lay_out(f"{VARIABLE}={wanted}: the number of threads is a whole number from 1 up"))
        return int(wanted)
    limits = [processors(), group_limit(), _count(os.environ.get(OPENMP, "").partition(",")[0].strip())]
    return min(limit for limit in limits if limit is not None)


def _count(text: str) -> int | None:
    """A whole number from 1 up, written in digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 and int(text) else None


def processors() -> int:
    """The cores that the process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    count = getattr(os, "process_cpu_count", os.cpu_count)  # the former since Python 3.13
    return count() or 1


# --- control groups of Linux --------------------------------------------------------------------------------------------------


def group_limit(proc: Path = PROC, root: Path = ROOT) -> int | None:
    """The cores whose time the control groups of this process grant, rounded up; None where nothing limits it.

    A group can not have more than the groups around it, so all of them are looked at, as far up as they can be seen.

    Args:
        proc: the folder in which Linux describes a process.
        root: what stands for the root of the file system.
    """
    found = [_granted(folder) for folder in _folders(proc, root)]
    limits = [max(1, ceil(cores)) for cores in found if cores is not None]
    return min(limits, default=None)


def _folders(proc: Path, root: Path) -> Iterator[Path]:
    """The folders of the control groups of a process and of all around them, of both versions."""
    try:
        groups = (proc / "cgroup").read_text(errors="replace").splitlines()
        mounts = (proc / "mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return
    # "4:cpu,cpuacct:/docker/1f3a" of version 1, "0::/user.slice" of version 2
    of_controller = {names: path for _, names, path in (line.split(":", 2) for line in groups if line.count(":") >= 2)}
    paths = {"cgroup2": of_controller.get("")}
    paths["cgroup"] = next((path for names, path in of_controller.items() if "cpu" in names.split(",")), None)
    for line in mounts:
        # two numbers, a device, the part of the system that is seen, and where; behind the dash its kind, name and options
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        path = paths.get(kind[0]) if kind else None
        if path is None or len(fields) < 5 or (kind[0] == "cgroup" and "cpu" not in kind[-1].split(",")):
            continue
        seen, place = PurePosixPath(fields[3]), root / fields[4].lstrip("/")
        # a container may be told the path outside of it, of which it sees nothing: what it sees is its own
        inside = PurePosixPath(path).relative_to(seen) if PurePosixPath(path).is_relative_to(seen) else PurePosixPath()
        if ".." not in inside.parts:
            yield from (place / part for part in (inside, *inside.parents))


def _granted(folder: Path) -> float | None:
    """Cores' worth of time that one group has in a period; None: as much as it likes, or nothing is said."""
    texts = []
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            texts = " ".join((folder / name).read_text() for name in names).split()
            break
        except OSError:
            continue
    try:
        quota, period = (int(text) for text in texts)  # "max 100000" of version 2 is no number, -1 of version 1 no time
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None
