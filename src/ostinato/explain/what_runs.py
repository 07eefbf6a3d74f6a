"""What a call runs: the one account from which everything that is shown takes its numbers.

Where native code runs, it is counted from the Plan that this call goes by; where NumPy runs, from the Program. The rule:

    a product       one left operand, and all the weights that stand side by side for it: a segment of a product stage, one
                    product node of a Program. A product of two values (a contraction) is one, a weight's gradient is one.
    arithmetic      for one instance at one step, in the sections before / loop / after. An accumulator adds nothing: what it
                    begins with, and the sum of several products in it, are part of its multiply-adds. What is computed in two
                    stages because that is cheaper than storing it counts twice.
    weights read    by one step of the loop, shared by all instances: the bytes of all that depends on weights alone and is
                    read by its stages: matrices, biases, what was made of weights. The zeros that native code pads packed
                    matrices with, to whole vectors, are not counted: they are another number on every machine.
    bytes moved     by all stages of the call between registers and memory, weights aside. NumPy goes to memory for every op,
                    except for views.

Products of weights alone, and what else is computed once for a set of weights, are told apart as "weights".

`program_of` turns a Plan into a Program that computes the same and says the same: each product in the section in which the plan
computes it, with its weights side by side. So what runs can be printed, drawn and interpreted like any program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..errors import counted
from ..ir import ops
from ..ir.graph import Node, Program, Rule, Value, Why
from ..ir.op import Kind
from ..ir.shapes import Dim, Varies
from ..plan.accumulation import is_panel_product
from ..plan.candidates import STEPS, Planned
from ..plan.cost_model import PlanCost
from ..plan.phases import CHOICES, Phase, phases
from ..plan.plan import Plan
from ..plan.stages import Contraction, Product, RowSum, RowSums, Stage
from ..plan.views import View
from .cost import Counts, counts, is_product, loop_weight_bytes

RUNNERS = {"native": "native code", "numpy": "NumPy", "reference": "NumPy, as it was written"}
SECTIONS = ("weights", "before", "loop", "after")
SECTION_OF = {
    Phase.PREPARE: "weights", Phase.INSTANCES: "before", Phase.BEFORE: "before", Phase.LOOP: "loop", Phase.AFTER: "after",
    Phase.FINISH_INSTANCES: "after", Phase.FINISH: "after",
}  # fmt: skip


@dataclass(frozen=True)
class WhatRuns:
    """The account of one program, for one call; see the module.

    Attributes:
        program: what runs, as a Program.
        plan: "separate", "fused" or "hoisted"; "" where there is no plan, because NumPy runs the program.
        why: why that plan.
        n_steps, n_instances: the call.
        products: section -> how many products; the sections are "weights", "before", "loop" and "after".
        arithmetic: section -> what one step of one instance costs.
        per_instance, per_call: what is computed once for each instance, and once for a set of weights or a call.
        elementwise: section -> how many elementwise ops there are.
        n_stages: of a step of the loop; 0 where there is no loop.
        loop_weight_bytes: weights that a step of the loop reads.
        moved_bytes: of values, in the whole call.
    """

    program: Program
    plan: str
    why: str
    n_steps: int
    n_instances: int
    products: Mapping[str, int]
    arithmetic: Mapping[str, Counts]
    per_instance: Counts
    per_call: Counts
    elementwise: Mapping[str, int]
    n_stages: int
    loop_weight_bytes: int
    moved_bytes: int

    @property
    def step(self) -> Counts:
        """The arithmetic of one step of one instance."""
        return sum(self.arithmetic.values(), Counts())

    @property
    def loop_multiply_adds(self) -> int:
        """Of the products in the loop, for one instance at one step."""
        return self.arithmetic["loop"].multiply_adds

    @property
    def products_in_words(self) -> str:
        """Such as "1 before + 1 each step"; a number alone where there is no loop."""
        found = self.products
        if not self.program.states:
            return f"{found['before'] + found['loop'] + found['after']}"
        names = {"before": "before", "loop": "each step", "after": "after"}
        return " + ".join(f"{found[key]} {where}" for key, where in names.items() if found[key] or key == "loop")

    @property
    def calls(self) -> int:
        """How many products the whole call starts, those of weights alone aside."""
        return self.products["before"] + self.products["after"] + self.n_steps * self.products["loop"]


def in_words(account: WhatRuns, backend: str) -> str:
    """The account in a few lines, as `print(layer)` shows it."""
    by = f", by the plan `{account.plan}`" if account.plan else ""
    call = f"{counted(account.n_steps, 'step')} of {counted(account.n_instances, 'instance')}"
    lines = [
        f"  a call of {call} is run by {RUNNERS[backend]}{by}",
        f"  products: {account.products_in_words}; {account.step.all_multiplications:,} multiplications per step and instance",
        f"  bytes: {account.moved_bytes:,} of values moved"
        + (f"; {account.loop_weight_bytes:,} of weights read by a step" if account.program.states else ""),
    ]
    return "\n".join(lines)


# --- of a Program -------------------------------------------------------------------------------------------------------------


def of_program(program: Program, n_steps: int = STEPS, n_instances: int = 1) -> WhatRuns:
    """What NumPy does with a program, op by op."""
    products, arithmetic, elementwise = Counter[str](), {}, {}
    for section, nodes in program.sections.items():
        for node in filter(is_product, nodes):
            alone = node.value.type.varies == Varies.NEVER and not node.record.sums_over_steps
            products["weights" if alone else section] += 1
        arithmetic[section] = counts(n for n in nodes if how_often(n) == Varies.STEP)
        elementwise[section] = sum(node.record.kind is Kind.ELEMENTWISE for node in nodes)
    rows = {Varies.STEP: n_steps * n_instances, Varies.INSTANCE: n_instances, Varies.NEVER: 0}
    once = {often: counts(n for n in program.nodes if how_often(n) == often) for often in (Varies.INSTANCE, Varies.NEVER)}
    moving = [v for n in program.nodes if n.record.kind is not Kind.VIEW for v in (*dict.fromkeys(n.args), n.value)]
    return WhatRuns(
        program, "", "", n_steps, n_instances, {s: products[s] for s in SECTIONS}, arithmetic,
        once[Varies.INSTANCE], once[Varies.NEVER], elementwise,
        sum(n.record.kind is not Kind.VIEW for n in program.loop), loop_weight_bytes(program),
        sum(rows[v.type.varies] * v.type.n_elements * v.type.item_bytes for v in moving),
    )  # fmt: skip


def how_often(node: Node) -> Varies:
    """With what the work of a node grows: a sum over steps has one result, and as much work as there are steps."""
    values = node.args if node.record.sums_over_steps else (node.value,)
    return max(v.type.varies for v in values)


# --- of a Plan ----------------------------------------------------------------------------------------------------------------


def of_planned(planned: Planned, n_steps: int = STEPS, n_instances: int = 1, choice: str = "") -> WhatRuns:
    """What native code does in a call.

    Args:
        choice: another plan than the one that the call goes by, to set beside it.
    """
    runs = choice or planned.runs(n_steps, n_instances)
    why = planned.reason if not choice else ""
    cost = planned.models[runs].cost(n_steps, n_instances)
    return of_plan(planned.plan(runs), cost, why)


def alternatives(planned: Planned, n_steps: int = STEPS, n_instances: int = 1) -> dict[str, WhatRuns]:
    """Every plan, counted by the same rule; the one that runs is among them."""
    return {choice: of_planned(planned, n_steps, n_instances, choice) for choice in CHOICES}


def _looped(plan: Plan) -> Sequence[Stage]:
    return plan.stages.get(Phase.LOOP, ())


def of_plan(plan: Plan, cost: PlanCost, why: str = "") -> WhatRuns:
    """What the code of a plan does in a call.

    Args:
        cost: of the call; only what it counts is taken from it, no seconds.
    """
    products, elementwise = Counter[str](), Counter[str]()
    arithmetic = dict.fromkeys(SECTIONS[1:], Counts())
    once = {Varies.INSTANCE: Counts(), Varies.NEVER: Counts()}
    for phase, stages in plan.stages.items():
        section = SECTION_OF[phase]
        for stage in stages:
            products[section] += n_products(stage)
            elementwise[section] += sum(n.record.kind is Kind.ELEMENTWISE for n in _computed(stage))
            if phase.space == Varies.STEP:
                arithmetic[section] += stage_counts(stage)
            else:
                once[phase.space] += stage_counts(stage)
    read = {v for stage in _looped(plan) for v in weights_of(stage) if plan.buffers[v.buffer].space == Varies.NEVER}
    elements = {v: prod(n for n, stride in zip(v.sizes, v.strides, strict=True) if stride) for v in read}
    weight_bytes = sum(n * plan.buffers[v.buffer].item_bytes for v, n in elements.items())
    return WhatRuns(
        program_of(plan), plan.choice, why, cost.n_steps, cost.n_instances, {s: products[s] for s in SECTIONS}, arithmetic,
        once[Varies.INSTANCE], once[Varies.NEVER], {s: elementwise[s] for s in SECTIONS[1:]}, len(_looped(plan)),
        weight_bytes, cost.moved_bytes,
    )  # fmt: skip


def weights_of(stage: Stage) -> tuple[View, ...]:
    """What a stage reads of weights, if it is of weights alone: before it was packed."""
    rights = [right for segment in stage.segments for right in segment.rights] if isinstance(stage, Product) else []
    return (*stage.reads, *rights)


def n_products(stage: Stage) -> int:
    """How many products a stage computes."""
    match stage:
        case Product():
            return len(stage.segments)
        case Contraction():
            return 1
        case RowSum():
            return int(stage.right is not None)
    return 0


def _computed(stage: Stage) -> tuple[Node, ...]:
    """The nodes of a stage but for its accumulators."""
    made = stage.names if isinstance(stage, Product) else ()
    return tuple(n for n in stage.nodes if n.value.name not in made)


def stage_counts(stage: Stage) -> Counts:
    """The arithmetic of a stage, for one row."""
    found = counts(_computed(stage))
    if isinstance(stage, Product):
        found += Counts(multiply_adds=sum(stage.elements * s.k * len(s.accumulators) for s in stage.segments))
    elif isinstance(stage, RowSums):
        found += Counts(additions=stage.elements * len(stage.sums))
    return found


# --- a Plan as a Program ------------------------------------------------------------------------------------------------------


def segments_of(plan: Plan, stage: Product) -> Iterator[tuple[Node, ...]]:
    """For each left operand of a product stage, the products of the program that it stands for."""
    made = {n.value.name: n for n in plan.program.nodes}
    known = {*stage.loads, *(n.value.name for n in stage.nodes)}
    groups: dict[str, list[Node]] = {}
    for name in stage.names:
        waiting = [name]
        while waiting:
            node = made[waiting.pop()]
            if is_panel_product(node):
                left = node.args[0] if node.args[1].type.varies == Varies.NEVER else node.args[1]
                groups.setdefault(left.name, []).append(node)
            elif node.record is ops.add:
                waiting += [a.name for a in reversed(node.args) if a.name in made and a.name not in known]
    yield from map(tuple, groups.values())


def program_of(plan: Plan) -> Program:
    """The Program that computes what the plan computes, where the plan computes it."""
    program, where = plan.program, phases(plan.program, plan.choice)
    section = {n.value.name: SECTION_OF[where[n.value.name]].replace("weights", "before") for n in program.nodes}
    own = {n.value.name: name for name, nodes in program.sections.items() for n in nodes}
    reasons = dict(program.reasons)
    for name, place in section.items():
        if place != own[name]:
            reasons[name] = Why(Rule.PLANNED, plan=plan.choice)
    groups = [g for stages in plan.stages.values() for s in stages if isinstance(s, Product) for g in segments_of(plan, s)]
    whole = {min(g, key=program.nodes.index).value.name: g for g in groups if len(g) > 1}
    inside = {n.value.name for g in whole.values() for n in g}
    taken = {*section, *(p.name for p in program.ports)}
    parts: dict[str, list[Node]] = {"before": [], "loop": [], "after": []}
    of_weights = [n for n in program.nodes if where[n.value.name] == Phase.PREPARE]
    joined = {name: _joined(group, taken) for name, group in whole.items()}
    parts["before"] += [*of_weights, *(weights for weights, _, _ in joined.values())]
    for node in program.nodes:
        name = node.value.name
        if name in joined:
            weights, product, slices = joined[name]
            parts[section[name]] += [product, *slices]
            reasons[weights.value.name] = Why(Rule.WEIGHTS)
            reasons[product.value.name] = reasons[name]
        elif name not in inside and where[name] != Phase.PREPARE:
            parts[section[name]].append(node)
    return replace(
        program, before=tuple(parts["before"]), loop=tuple(parts["loop"]), after=tuple(parts["after"]), reasons=reasons
    )


def _joined(group: Sequence[Node], taken: set[str]) -> tuple[Node, Node, list[Node]]:
    """Products of one operand as one, with the weights side by side: the weights, the product, and the parts of it."""
    first = group[0]
    turned = first.args[1].type.varies != Varies.NEVER  # `W @ x`: the weights stand one above the other
    axis, left = (-2, first.args[1]) if turned else (-1, first.args[0])
    rights = [n.args[0] if turned else n.args[1] for n in group]
    total = sum((r.type.dims[axis] for r in rights[1:]), rights[0].type.dims[axis])
    dims = list(rights[0].type.dims)
    dims[axis] = total
    weights = Value(_fresh(f"weights_of_{left.name}", taken), rights[0].type.with_dims(dims))
    made = Value(_fresh(f"products_of_{left.name}", taken), first.value.type.with_dims([*first.value.type.dims[:-1], total]))
    args = (weights, left) if turned else (left, weights)
    slices, start, rank = [], Dim.number(0), len(made.type.dims)
    for node in group:
        stop = start + node.value.type.dims[-1]
        ends = ((*(Dim.number(0),) * (rank - 1), start), (*made.type.dims[:-1], stop))
        options = (("start", ends[0]), ("stop", ends[1]), ("step", (1,) * rank))
        slices.append(Node(node.value, ops.slice_.name, (made,), options, node.source))
        start = stop
    return (
        Node(weights, ops.concat.name, tuple(rights), (("axis", axis),), first.source),
        Node(made, ops.matmul.name, args, (), first.source),
        slices,
    )


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
