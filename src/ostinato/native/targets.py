"""Which target this CPU is.

`host()` is the CPU this runs on, with all its features. The environment variable OSTINATO_TARGET makes it one of the named
classes of lower/target.py that this CPU can run (`OSTINATO_TARGET=x86-64-v3`, or `avx2`); unset or empty, it is the CPU itself.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache

import llvmlite.binding as llvm

from ..errors import OptionError, known_names, lay_out
from ..lower.target import ALIASES, TARGETS, WIDE, Target

VARIABLE = "OSTINATO_TARGET"


@cache
def prepare(triple: str) -> None:
    """Make LLVM ready to write code for a triple: this machine's in 0.4 ms, any other in 6 ms."""
    if triple.split("-")[0] == llvm.get_process_triple().split("-")[0]:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()


def host() -> Target:
    """The target for this CPU, or the narrower one that OSTINATO_TARGET names. 0.3 ms the first time.

    Raises:
        OptionError: OSTINATO_TARGET names no target, or one that this CPU cannot run; or there is no target for this CPU.
    """
    return _host(os.environ.get(VARIABLE, ""))


def runnable() -> tuple[Target, ...]:
    """Those of TARGETS that this CPU can run, widest first, with the triple of this system."""
    own = _architecture()
    features = _features()
    if own not in ("x86_64", "aarch64"):  # what code is made for, and run by nobody yet
        return ()
    fits = [t for t in TARGETS.values() if _family(t.triple) == own and features.issuperset(t.needs)]
    return tuple(replace(target, triple=_triple()) for target in fits)


@cache
def _host(wanted: str) -> Target:
    if wanted:
        return _chosen(wanted)
    architecture, features = _architecture(), _features()
    if architecture == "aarch64":
        like = TARGETS["aarch64"]
    elif architecture != "x86_64":
        headline = f"there is no native code for this machine ({_triple()}): use backend='reference'"
        raise OptionError(lay_out(headline, hint="native code is made for x86_64 and aarch64"))
    elif {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= features:
        like = TARGETS["x86-64-v4"]
    else:
        like = TARGETS["x86-64-v3" if {"avx2", "fma"} <= features else "x86-64"]
    cpu = llvm.get_host_cpu_name()
    # all of them, those it lacks too: a virtual machine may hide features of the CPU that it names
    flags = llvm.get_host_cpu_features().flatten()
    joined = ",".join(filter(None, (flags, WIDE if architecture == "x86_64" else "")))
    return replace(like, name=cpu, triple=_triple(), cpu=cpu, features=joined)


def _chosen(name: str) -> Target:
    """The runnable target of this name."""
    known = {target.name: target for target in runnable()}
    known |= {alias: known[own] for alias, own in ALIASES.items() if own in known}
    if name not in known:
        why = "is a target that this CPU can not run" if name in {*TARGETS, *ALIASES} else "is no target"
        names = known_names(name, known, "targets that this CPU can run")
        raise OptionError(lay_out(f"{VARIABLE}={name} {why}: {names}"))
    return known[name]


def _family(triple: str) -> str:
    """The architecture, by one name: Apple says arm64 where the others say aarch64."""
    architecture = triple.split("-", maxsplit=1)[0].lower()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(architecture, architecture)


def _triple() -> str:
    """The triple of the running process. Windows' LLVM loads ELF in memory, and must be told to write it."""
    triple = llvm.get_process_triple()
    return f"{triple}-elf" if os.name == "nt" else triple


def _architecture() -> str:
    return _family(_triple())


@cache
def _features() -> frozenset[str]:
    """The features that this CPU has, and that the system lets programs use."""
    return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)
