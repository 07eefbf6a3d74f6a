"""The modules of version 0.1 by the names they had: what stood in them is found where it stands today.

Pickles name modules, and so does whoever imported `ostinato.training.Examples`. Public classes and functions are the package's
own by now (`__module__` is "ostinato"), so that this list has an end: it is that of version 0.1, and nothing is added to it.

`import ostinato.training` finds a module in which every name of the modules on its line is looked for, in their order, when it
is asked for; none of them is loaded before. Where a room has the name of such a module (`ostinato.plan`), the room answers for
both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import FunctionType, ModuleType
from typing import Any, TypeVar

Named = TypeVar("Named", bound=type | FunctionType)

_TABLE = """
    backends                 runtime.backends
    boundary                 ir.op
    cell                     language.cell
    circulant                structure.circulant
    composite                layers.composite layers.network_weights
    conversion               layers.conversion
    cost_model               plan.cost_model
    declarations             language.declarations
    diagonal                 structure.diagonal
    differentiate            passes.differentiate
    estimators               estimators.base estimators.classifier estimators.regressor
    explain.canvas           explain.pictures.canvas
    explain.colours          explain.pictures.colours
    explain.html             explain.page.html
    explain.mathml           explain.page.mathml
    explain.network_picture  explain.pictures.network_picture
    explain.page             explain.page.page
    explain.page_script      explain.page.page_script
    explain.page_style       explain.page.page_style
    explain.product          explain.product.explanation
    explain.product_drawn    explain.pictures.product_in_characters
    explain.product_picture  explain.pictures.product_picture
    explain.product_text     explain.product.parse
    explain.program_view     explain.page.program_view
    explain.unrolled         explain.pictures.unrolled
    functions                language.functions
    fuse                     passes.fuse
    graph                    ir.graph
    interpret                ir.interpret
    layer                    layers.layer layers.descriptions runtime.pullback
    losses                   learn.losses
    machine                  plan.machine
    masks                    runtime.masks
    moves                    plan.copies
    native.arithmetic        lower.arithmetic
    native.barriers          lower.barriers
    native.contractions      lower.batched_matmul
    native.emit              lower.kernel
    native.engine            native.program
    native.ir                lower.llvm_text
    native.lower             lower.module
    native.matrices          lower.matmul
    native.panels            lower.packing
    native.polynomials       lower.polynomials
    native.reductions        lower.reductions
    native.rerun             native.bound_call
    native.roofs             native.roofline
    native.totals            lower.row_sums
    native.vector_math       lower.vector_math
    native.walks             lower.elementwise
    network                  layers.network
    op_numpy                 ir.op_numpy
    op_shapes                ir.op_shapes
    ops                      ir.ops ir.op
    phases                   plan.phases
    piecewise                language.piecewise
    places                   plan.buffers
    plan                     plan.plan
    plan_text                explain.plan_report layers.measure
    planned                  plan.candidates
    planner                  plan.planner
    products                 plan.accumulation
    pullback                 runtime.pullback
    read                     ir.parse
    rewrite                  passes.rewrite
    samples                  estimators.samples estimators.scaling estimators.supervision
    schedule                 passes.schedule
    sequences                runtime.arguments
    shapes                   ir.shapes
    simplify                 passes.simplify
    stream                   layers.stream
    structure                structure.base
    structured               language.structured
    symbol                   language.tracer
    text                     ir.graph
    threads                  native.threads
    tiling                   plan.tiling
    timeline                 ir.timeline
    timing                   layers.measure
    trace                    language.trace
    training                 learn.training learn.examples learn.history learn.progress
    updates                  learn.optimisers learn.rules learn.clipping
    views                    plan.views
    weights                  runtime.weights runtime.beginning
    work                     native.parallel
"""

_PACKAGE = __name__.rpartition(".")[0]
# 0.1's name of a module -> the modules of today that hold what it held, in the order in which they are asked. A module of 0.1
# that is not here has its name still.
RENAMED = {old: tuple(today) for old, *today in map(str.split, _TABLE.strip().splitlines())}


def names_of(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that answers for one of version 0.1.

    Args:
        module: its full name, "ostinato.training".
    """
    today = RENAMED[module.removeprefix(f"{_PACKAGE}.")]

    def find(name: str) -> Any:
        for place in () if name.startswith("__") else today:  # the import system asks for such names, and they are nobody's
            there = vars(import_module(f"{_PACKAGE}.{place}"))
            if name in there:
                return there[name]
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find


def public(thing: Named) -> Named:
    """Let a class or function say that it belongs to the package, wherever it stands: to pickles, tracebacks and readers.

    `inspect.getsource` goes on showing functions and methods. Of a class it looks for the text in the file of that module, so
    it says that it finds none; without its line, since Python 3.13 would show another part of that file.
    """
    thing.__module__ = _PACKAGE
    if "__firstlineno__" in vars(thing):
        delattr(thing, "__firstlineno__")
    return thing


class _Finder:
    """Makes a module of a name that is in the table and that no file has.

    It derives from nothing: importlib.abc, with its classes for finders and loaders, takes longer to load than this module.
    """

    def create_module(self, spec: ModuleSpec) -> None:
        """A plain module."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        del path, target
        package, _, old = name.partition(".")
        return ModuleSpec(name, self) if package == _PACKAGE and old in RENAMED else None  # type: ignore[arg-type]

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = f"What stood here in version 0.1: see {' and '.join(RENAMED[module.__name__.partition('.')[2]])}."
        module.__getattr__ = names_of(module.__name__)  # type: ignore[method-assign]


def install() -> None:
    """Let the import system find the names of version 0.1, after all others.

    `ostinato.cell` and `ostinato.ops` are attributes of the package as well, a function and a module. The import system would
    put the module that it finds in their place, so these two are there from the beginning.
    """
    finder = _Finder()
    sys.meta_path.append(finder)
    for old in ("cell", "ops"):
        module = sys.modules[f"{_PACKAGE}.{old}"] = module_from_spec(ModuleSpec(f"{_PACKAGE}.{old}", finder))  # type: ignore[arg-type]
        finder.exec_module(module)
