"""The pipeline, to its end: from the text of a cell to the code that runs.

    trace -> simplify -> (differentiate) -> schedule -> plan -> llvm -> assembly      native code
                                            schedule -> fuse                          the programs that NumPy runs

`compile_graph` reads like this table of contents. Each stage of a `Compiled` is asked for by name, made when it is first asked
for, and made to be printed. From `schedule` on there are three of each: of `forward`, which runs the cell, `recording`, which
also keeps what the backward pass needs, and `backward`; of `plan`, `llvm` and `assembly` the forward one has no second word.

Nothing here loads llvmlite: whoever wants the stage `assembly` hands in the function that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from .errors import OptionError, known_names, lay_out
from .ir import ops
from .ir.analysis import in_order_of_results
from .ir.graph import Graph, Program, Value
from .passes.differentiate import differentiate
from .passes.fuse import fuse
from .passes.schedule import schedule
from .passes.simplify import simplify
from .plan.candidates import Planned
from .plan.machine import this_machine
from .plan.plan import Plan

PROGRAMS = ("forward", "recording", "backward")
T = TypeVar("T")
NATIVE = ("plan", "llvm", "assembly")  # the stages of native code, in order


class Stages(Mapping[str, Any]):
    """Stage name -> graph, program, plan or text, in the order of the pipeline; each is made once, when it is asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"<stages {', '.join(self)}>"


class Compiled:
    """What the compiler made of one step.

    Attributes:
        stages: stage name -> what it made, in the order of the pipeline: a Graph (of one step), a Program, a Plan, or the
            text of LLVM's language and of assembly.
    """

    def __init__(self, stages: Stages) -> None:
        self.stages = stages

    @property
    def forward(self) -> Program:
        """Runs the cell."""
        return self.stages["forward"]  # type: ignore[no-any-return]

    @property
    def recording(self) -> Program:
        """Runs the cell and keeps what the backward program asks for."""
        return self.stages["recording"]  # type: ignore[no-any-return]

    @property
    def backward(self) -> Program:
        """Runs the adjoint."""
        return self.stages["backward"]  # type: ignore[no-any-return]

    def stage(self, name: str) -> Any:
        """A stage by its name.

        Raises:
            OptionError: there is no such stage.
        """
        if name not in self.stages:
            raise OptionError(lay_out(f"there is no stage `{name}`; {known_names(name, self.stages, 'stages')}"))
        return self.stages[name]

    def with_plan(self, plan: str, assemble: Callable[[Plan], str] | None = None) -> Compiled:
        """The same programs, made into native code by another plan; see `compile_graph`."""
        if "schedule" not in self.stages:  # the reference, which has no native code
            return self
        shared = {name: partial(self.stages.__getitem__, name) for name in self.stages if name.partition("_")[0] not in NATIVE}
        stages: Stages = Stages({**shared, **_native_stages(shared, plan, assemble)})
        return Compiled(stages)


def compile_graph(
    traced: Graph, *, passes: bool = True, plan: str = "automatic", assemble: Callable[[Plan], str] | None = None
) -> Compiled:  # fmt: skip
    """Compile one traced step.

    Args:
        traced: the graph of the cell as it was written.
        passes: False for the reference: no pass touches the graph, everything is computed where it was written.
        plan: how native code orders its products: one of phases.CHOICES, or "automatic": the cheapest one for a call of
            cost_model.STEPS steps of one instance.
        assemble: makes assembly text of a plan. None: there is no stage `assembly`.
    """
    if not passes:
        return _as_written(traced)
    simple = _once(lambda: simplify(traced))
    makers: dict[str, Callable[[], Any]] = {
        "trace": lambda: traced,
        "simplify": lambda: simplify(traced, drop_stops=True) if _has_stops(traced) else simple(),
        "differentiate": lambda: simplify(differentiate(in_order_of_results(simple())), drop_stops=True),
        "schedule": lambda: schedule(stages["simplify"]),
        # with the stops that a recording run has, so that both join their sums alike: native code gives the same bits
        "schedule_forward": lambda: schedule(simple()) if _has_stops(traced) else stages["schedule"],
        "schedule_recording": lambda: schedule(simple(), record=recorded(simple(), stages["differentiate"])),
        "schedule_backward": lambda: schedule(stages["differentiate"], direction="backward"),
        "forward": lambda: fuse(stages["schedule"]),
        "recording": lambda: fuse(stages["schedule_recording"]),
        "backward": lambda: fuse(stages["schedule_backward"]),
    }  # fmt: skip
    found = {name: partial(lambda name: stages[name], name) for name in makers}
    stages: Stages = Stages({**makers, **_native_stages(found, plan, assemble)})
    return Compiled(stages)


def _native_stages(
    stages: Mapping[str, Callable[[], Any]], choice: str, assemble: Callable[[Plan], str] | None
) -> dict[str, Callable[[], Any]]:  # fmt: skip
    """The stages behind `schedule`, of each program."""

    def plan(name: str) -> Plan:
        program: Program = stages[f"schedule_{name}"]()
        planned = Planned(program, choice, this_machine())
        return planned.plan(planned.runs())

    found: dict[str, Callable[[], Any]] = {}
    for name in PROGRAMS:
        made = _once(partial(plan, name))
        ending = "" if name == "forward" else f"_{name}"
        found[f"plan{ending}"] = made
        found[f"llvm{ending}"] = partial(lambda made: llvm_text(made()), made)
        if assemble is not None:
            found[f"assembly{ending}"] = partial(lambda made: listing(assemble(made()), made(), "#"), made)
    order = [f"{stage}{ending}" for stage in NATIVE for ending in ("", "_recording", "_backward")]
    return {name: found[name] for name in order if name in found}


def llvm_text(plan: Plan) -> str:
    """The text of a plan in LLVM's language, for the class of CPU that this machine is of as far as NumPy can tell.

    Vectors and registers are those of the code that runs here; asking LLVM for the CPU's name would load llvmlite.
    """
    from .lower.module import llvm_of  # a sixth of the time that `import ostinato` takes, for a stage that few ask for
    from .lower.target import TARGETS

    machine = this_machine()
    like = (machine.vector_bytes, machine.n_registers)
    target = next((t for t in TARGETS.values() if (t.vector_bytes, t.n_registers) == like), TARGETS["x86-64"])
    return listing(llvm_of(plan, target), plan, ";")


def listing(text: str, plan: Plan, comment: str) -> str:
    """LLVM's language or assembly, to be read: whose it is, a function apart from the next one, instructions under labels.

    Directives that unwind a stack after an error are left out: nothing here raises one.
    """
    lines = [f"{comment} {plan.program.name}, {plan.program.direction}, by the plan `{plan.choice}`"]
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith((".cfi_", ".file", ".ident")):
            continue
        begins = bare.startswith("define ") or (bare.endswith(":") and not bare.startswith(".") and comment == "#")
        outside = begins or bare.startswith(("}", "target ", "declare ", "@", "attributes ")) or bare.endswith(":")
        lines += ([""] if begins else []) + [bare if outside else f"  {bare}".expandtabs(8)]
    return "\n".join(lines) + "\n"


def _as_written(traced: Graph) -> Compiled:
    stages: Stages = Stages({
        "trace": lambda: traced,
        "differentiate": lambda: differentiate(traced),
        "forward": lambda: schedule(traced, hoist=False),
        "recording": lambda: schedule(traced, record=recorded(traced, stages["differentiate"]), hoist=False),
        "backward": lambda: schedule(stages["differentiate"], direction="backward", hoist=False),
    })  # fmt: skip
    return Compiled(stages)


def _has_stops(graph: Graph) -> bool:
    return any(node.record is ops.stop_gradient for node in graph.nodes)


def _once(make: Callable[[], T]) -> Callable[[], T]:
    made: list[T] = []

    def get() -> T:
        if not made:
            made.append(make())
        return made[0]

    return get


def recorded(graph: Graph, adjoint: Graph) -> dict[str, Value]:
    """The values of a step that its adjoint asks for."""
    values = {v.name: v for v in [p.value for p in graph.ports] + [n.value for n in graph.nodes]}
    return {p.name: values[p.name] for p in adjoint.with_role("recorded")}
