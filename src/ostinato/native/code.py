"""The machine code of a plan: what this process has loaded already, what the disk holds, or new.

code_of(plan, target)        lower -> LLVM's text -> object file -> functions in memory
assembly_of(plan, target)    the same code as text, to look at
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..ir.shapes import Varies
from ..lower.llvm_text import Module
from ..lower.module import llvm_of, lower
from ..lower.target import Target
from ..plan.plan import Plan
from ..plan.views import BufferId
from ..process import forking
from .cache import VARIABLE as FOLDER_VARIABLE
from .cache import Cache, version_key
from .jit import Code, assembly, compile_module, load
from .layout import Layout, Prepare
from .targets import host

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_LOADED: weakref.WeakValueDictionary[str, Code] = weakref.WeakValueDictionary()
_LOADING = forking.new_lock()


@dataclass(frozen=True)
class Functions:
    """The functions of a plan's machine code, each called with the address of a context (lower/module.py)."""

    code: Code  # kept: the functions lie in its memory
    prepare: Any
    run: Any
    step: Any

    @classmethod
    def of(cls, code: Code) -> Functions:
        return cls(code, *(FUNCTION(code.address(f"ostinato_{name}")) for name in ("prepare", "run", "step")))


@dataclass(frozen=True)
class CompiledPlan:
    """A plan as machine code: where everything stands, its functions, and what packs a set of weights or has packed it."""

    layout: Layout
    functions: Functions
    prepare: Prepare


def assembly_of(plan: Plan, target: Target | None = None) -> str:
    """The machine code of a plan as assembly text.

    Args:
        target: default: the CPU this runs on; it may be one that this CPU cannot run.
    """
    target = target or host()
    return assembly(llvm_of(plan, target), target)


@lru_cache(maxsize=8)
def _cache(_: str | None) -> Cache:
    """The cache on disk, for a value of the variable that names its folder; it looks through the folder once."""
    return Cache()


def code_of(plan: Plan, target: Target, placed: frozenset[BufferId] = frozenset()) -> Code:
    """The machine code of a plan.

    Args:
        placed: the buffers whose rows are addressed through an index table: see lower/module.py.
    """
    # the text of a program does not say how large a whole weight is of which it knows parts
    fixed = sorted(f"{b}" for b in plan.buffers.values() if b.space == Varies.NEVER)
    text = "\n".join([str(plan.program), plan.choice, *fixed, *(f"placed {name}" for name in sorted(placed))])
    return code_for(text, target, plan.program.name, lambda: lower(plan, target, placed))


def code_for(text: str, target: Target, name: str, write: Callable[[], Module]) -> Code:
    """The machine code of what a text says in full: loaded already, from the disk, or of the module that `write` gives."""
    key = f"{version_key(target)}\n{text}"
    with _LOADING:
        code = _LOADED.get(key)
        if code is None:
            cache = _cache(os.environ.get(FOLDER_VARIABLE))
            entry = cache.get(key)
            if entry is None:
                object_bytes = compile_module(str(write()), target)
                cache.put(key, object_bytes, {"program": name})
            else:
                object_bytes = entry[0]
            code = _LOADED[key] = load(object_bytes)
        return code
