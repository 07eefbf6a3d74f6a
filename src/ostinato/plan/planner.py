"""How a plan is made.

    1. phases          when each node runs: once for the weights, for each instance, before, in or after the loop (phases.py)
    2. assignment      where each value lies or would lie, which nodes compute something and which are only views (buffers.py)
    3. accumulation    which sums and products are one chain, accumulated in one fixed order whatever the plan (accumulation.py)
    4. levels          in each phase, which nodes share a walk with everything in registers (levels.py)
    5. stages          a record for each of these, with what it loads from memory (stages.py)
    6. storage         what is in memory: what has to be (2), and what some stage loads or adds to; each such node has a buffer
    7. stores          every walk stores those of its values that are in memory

Each is a function of the ones before, and changes nothing that they made.

The GRU of the library with 3 inputs and 4 neurons, choice "hoisted":

    before the loop, for all steps at once:
      1  product (n_neurons=4)
           u1  = [b_r] + [x] @ W_r   -> u1
           u2  = [b_z] + [x] @ W_z   -> u2
           t12 = [b_n] + [x] @ W_n   -> t12

    loop, one step after another:
      1  product (n_neurons=4)
           t4    = [u1] + [h@now] @ U_r
           r     = sigmoid(t4)
           t9    = [u2] + [h@now] @ U_z
           z     = sigmoid(t9)
           t14   = [b_hn] + [h@now] @ U_n
           t15   = r * t14
           t16   = [t12] + t15
           n     = tanh(t16)
           t19   = 1 - z
           t20   = t19 * n
           t21   = z * [h@now]
           h_new = t20 + t21   -> h_new, h@next

The products of x depend on no state: their phase is before the loop (1). With the biases they are three accumulations (3), and
so are those of h, two of which begin with what was accumulated before the loop. In the loop everything has the domain
(n_neurons), and what is needed whole, h, is there when the step begins: one level, so one walk (4). In memory are u1, u2 and
t12, which another phase reads, and h_new, which goes out and is the h of the next step (6); r, z and n never leave the
registers. Where a cell multiplies r * h with a matrix (`gru_reset_before`), that is needed whole in the middle of a step: two
levels, two stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir.graph import Node, Program, Value
from ..ir.op import Kind
from ..ir.shapes import Varies
from .accumulation import Chain, chains
from .buffers import Assignment, assign
from .copies import copies_of
from .levels import Key, Section, stage_groups
from .phases import Phase, phases
from .plan import Packing, Plan
from .stages import (
    MAX_ACCUMULATORS,
    MAX_SUMS,
    Contraction,
    Copies,
    Copy,
    Map,
    Product,
    Reduce,
    RowSum,
    RowSums,
    Segment,
    Source,
    Stage,
    Sum,
)
from .verify import verify
from .views import Buffer, BufferId, View

# Whether every plan is verified. Tests say so; it takes about as long as planning does.
CHECKED = False

# Rows whose size is a multiple of SPREAD elements would all begin in the same few sets of a cache, and drive each other out of
# it: buffers of such rows have GAP elements more to a row (a cache line of float32). 128 float32 are 512 bytes, an eighth of
# the 4 KiB after which the sets of a first-level cache repeat.
SPREAD, GAP = 128, 16


def plan_program(program: Program, choice: str = "hoisted") -> Plan:
    """The plan of a program.

    Args:
        program: as it comes from `schedule` (before `fuse`, whose joined products are for NumPy).
        choice: "separate", "fused" or "hoisted" (phases.CHOICES).
    """
    assignment = assign(program, phases(program, choice))
    accumulations, absorbed = chains(program, assignment.nodes, assignment.phase)
    nodes = [n for n in assignment.nodes if n.value.name not in absorbed]
    drafts = {
        phase: _stages_of(section)
        for phase in Phase
        if (section := _section(assignment, phase, nodes, accumulations, separate=choice == "separate")).nodes
    }
    stored = _stored(assignment, drafts)
    buffers = {**assignment.buffers, **_buffers(assignment, stored)}
    packings = tuple(_packing(s, stage) for stages in drafts.values() for stage in stages if isinstance(stage, Product)
                     for s in stage.segments)  # fmt: skip
    # how large panels are depends on the vectors of the target
    buffers |= {p.panels: Buffer(p.panels, Varies.NEVER, 0, program.dtype) for p in packings}
    plan = Plan(
        program, choice, buffers,
        stages={phase: tuple(_with_stores(assignment, s, stored) for s in draft) for phase, draft in drafts.items()},
        packings=packings, states=assignment.states, ports=assignment.ports, results=assignment.results,
        zeroed=tuple(dict.fromkeys(_target(assignment, node).buffer for node in nodes if node.record.sums_over_steps)),
        prepared=tuple(b for b in buffers if _is_prepared(assignment, b)),
    )  # fmt: skip
    return verify(plan) if CHECKED else plan


def _section(
    assignment: Assignment, phase: Phase, nodes: Sequence[Node], accumulations: Mapping[str, Chain], *, separate: bool
) -> Section:
    inside = tuple(n for n in nodes if assignment.phase[n.value.name] == phase)
    here = {n.value.name: accumulations[n.value.name] for n in inside if n.value.name in accumulations}
    return Section(assignment, phase, inside, here, separate)


# --- storage


def _stored(assignment: Assignment, drafts: Mapping[Phase, Sequence[Stage]]) -> frozenset[str]:
    """The nodes whose values are in memory in a buffer of their own."""
    everything = [stage for stages in drafts.values() for stage in stages]
    touched = {buffer for stage in everything for buffer in stage.buffers}
    products = [stage for stage in everything if isinstance(stage, Product)]
    touched |= {right.buffer for stage in products for segment in stage.segments for right in segment.rights}  # to be packed
    made = {node.value.name for buffer, node in assignment.node_in.items() if buffer in touched}
    return (assignment.in_memory | made) - assignment.slices.keys()


def _buffers(assignment: Assignment, stored: frozenset[str]) -> dict[BufferId, Buffer]:
    """A buffer for every node that is stored."""
    found = {}
    for node in assignment.nodes:
        name, value = node.value.name, node.value
        if name not in stored:
            continue
        phase, buffer = assignment.phase[name], assignment.buffer_of[name]
        space = phase.space
        if node.record.sums_over_steps:
            space = value.type.varies
        elif phase == Phase.LOOP and name not in assignment.kept:
            space = Varies.INSTANCE
        size = value.type.n_elements
        if space == Varies.STEP and size % SPREAD == 0 and buffer not in assignment.results:
            size += GAP
        found[buffer] = Buffer(buffer, space, size, value.type.dtype)
    return found


def _is_prepared(assignment: Assignment, buffer: BufferId) -> bool:
    """Whether a buffer holds what a node computes of weights alone."""
    node = assignment.node_in.get(buffer)
    return node is not None and assignment.phase[node.value.name] == Phase.PREPARE


def _with_stores(assignment: Assignment, stage: Stage, stored: frozenset[str]) -> Stage:
    """A walk with what it stores: the values that are in memory, the new values of states, and parts of joined ones."""
    if not isinstance(stage, Map | Product | Reduce):
        return stage
    stores: list[tuple[str, View]] = []
    for node in stage.nodes:
        name = node.value.name
        if name in stored:
            stores.append((name, assignment.whole(node)))
        stores += [(name, view) for view in assignment.targets.get(name, ())]
    return replace(stage, stores=tuple(stores))


def _packing(segment: Segment, stage: Product) -> Packing:
    return Packing(segment.panels, segment.k, stage.domain[-1], segment.rights, len(stage.names))


# --- stages


def _stages_of(section: Section) -> list[Stage]:
    """The stages of a phase in order; what they store is not known yet."""
    return [stage for (_, key), nodes in stage_groups(section).items() for stage in _stages(section, key, nodes)]


def _stages(section: Section, key: Key, nodes: list[Node]) -> list[Stage]:
    node = nodes[0]
    if key.kind == "sum":
        return _row_sums(section, key.domain, nodes)
    if node.value.name in section.chains or key.kind == "elements":
        return _elementwise(section, key.domain, nodes)
    if key.kind == "reduce":
        return [Reduce(key.domain, tuple(nodes), _loads(section, key.domain, nodes), axes=key.axes)]
    if node.record.kind is Kind.COPY:
        copies = _copies(section, node)
        return [Copies(key.domain, (node,), copies)] if copies else []
    if node.op == "matmul":
        return [_contraction(section, key.domain, node)]
    views = [_view(section, a) for a in node.args]
    return [RowSum(key.domain, (node,), _target(section.assignment, node), *views)]


def _read(section: Section, value: Value) -> Source:
    return section.assignment.source(value, section.phase)


def _view(section: Section, value: Value) -> View:
    source = _read(section, value)
    assert isinstance(source, View), f"{value} is a number, and buffers.py puts those into memory"
    return source


def _loads(section: Section, domain: tuple[int, ...], nodes: Sequence[Node]) -> dict[str, Source]:
    """What a walk reads from memory: the operands that none of its elementwise nodes computes."""
    inside = {n.value.name for n in nodes if n.record.kind not in (Kind.REDUCTION, Kind.ROW_SUM)}
    loads: dict[str, Source] = {}
    for node in nodes:
        chain = section.chains.get(node.value.name)
        operands = node.args if chain is None else ((chain.start,) if chain.start else ())
        for value in operands:
            maker = section.assignment.made.get(value.name)
            if maker is None or maker.value.name not in inside:
                source = _read(section, value)
                loads[value.name] = source.broadcast_to(domain) if isinstance(source, View) else source
    return loads


def _elementwise(section: Section, domain: tuple[int, ...], nodes: list[Node]) -> list[Stage]:
    """One stage; where there are too many accumulators, some make stages of their own, and are stored."""
    products = [n for n in nodes if n.value.name in section.chains]
    stages: list[Stage] = []
    while len(products) > MAX_ACCUMULATORS:
        part, products = products[:MAX_ACCUMULATORS], products[MAX_ACCUMULATORS:]
        stages.append(_product(section, domain, part))
        nodes = [n for n in nodes if n not in part]
    if products:
        return [*stages, _product(section, domain, nodes)]
    return [*stages, Map(domain, tuple(nodes), _loads(section, domain, nodes))]


def _product(section: Section, domain: tuple[int, ...], nodes: list[Node]) -> Product:
    products = [section.chains[n.value.name] for n in nodes if n.value.name in section.chains]
    starts = tuple(None if p.start is None else p.start.name for p in products)
    waiting = {i: [_view(section, term.left) for term in chain.terms] for i, chain in enumerate(products)}
    segments: list[Segment] = []
    while any(waiting.values()):
        left, together = _next_together(waiting)
        terms = {i: len(products[i].terms) - len(waiting[i]) for i in together}
        rights = tuple(_right(section, products[i], term) for i, term in terms.items())
        panels = BufferId("panels", f"{products[together[0]].value.name} {terms[together[0]]}")
        segments.append(Segment(left, left.sizes[-1], together, rights, panels))
        for i in together:
            waiting[i].pop(0)
    names = tuple(p.value.name for p in products)
    return Product(domain, tuple(nodes), _loads(section, domain, nodes), names=names, starts=starts, segments=tuple(segments))


def _right(section: Section, chain: Chain, place: int) -> View:
    term = chain.terms[place]
    view = _view(section, term.right)
    return view.transposed((1, 0)) if term.transposed else view


def _next_together(waiting: Mapping[int, list[View]]) -> tuple[View, tuple[int, ...]]:
    """The left operand that comes next, and the accumulators that take it now: all that ever will, if their order allows it.

    Every accumulator takes its own operands in its own order, whatever the others do.
    """
    first = list(dict.fromkeys(lefts[0] for lefts in waiting.values() if lefts))
    later = {left for lefts in waiting.values() for left in lefts[1:]}
    left = next((left for left in first if left not in later), first[0])
    return left, tuple(i for i, lefts in waiting.items() if lefts and lefts[0] == left)


def _row_sums(section: Section, domain: tuple[int, ...], nodes: list[Node]) -> list[Stage]:
    """Sums over rows, some in each stage, with the nodes that they need: one that two stages need is computed in both."""
    makers = [n for n in nodes if n.record.kind is not Kind.ROW_SUM]
    sums = [n for n in nodes if n.record.kind is Kind.ROW_SUM]
    stages: list[Stage] = []
    for first in range(0, len(sums), MAX_SUMS):
        part = sums[first : first + MAX_SUMS]
        needed = {a.name for n in part for a in n.args}
        for node in reversed(makers):
            if node.value.name in needed:
                needed.update(a.name for a in node.args)
        inside = tuple(n for n in makers if n.value.name in needed)
        targets = tuple(Sum(n.args[0].name, _target(section.assignment, n)) for n in part)
        stages.append(RowSums(domain, inside, _loads(section, domain, [*inside, *part]), sums=targets))
    return stages


def _target(assignment: Assignment, node: Node) -> View:
    """Where a sum over rows goes."""
    return assignment.slices.get(node.value.name) or assignment.whole(node)


def _copies(section: Section, node: Node) -> tuple[Copy, ...]:
    """Those that are left when parts of a joined value are stored by what computes them."""
    joined = [(node.value.name, a.name) in section.assignment.joined for a in node.args]
    sources: list[Source] = []
    for direct, arg in zip(joined, node.args, strict=True):
        source = 0.0 if direct else _read(section, arg)
        sources.append(source.broadcast_to(arg.type.sizes) if isinstance(source, View) else source)
    copies = copies_of(node, sources, section.assignment.whole(node))
    return tuple(c for c, direct in zip(copies, joined, strict=True) if not direct) if any(joined) else copies


def _contraction(section: Section, domain: tuple[int, ...], node: Node) -> Contraction:
    """Both operands with the same stack of matrices, by NumPy's rules for vectors."""
    a, b = (_view(section, arg) for arg in node.args)
    sizes, target = node.value.type.sizes, section.assignment.whole(node)
    row, column = len(a.sizes) == 1, len(b.sizes) == 1
    if row:
        a = View(a.buffer, (1, *a.sizes), (0, *a.strides), a.offset)
    if column:
        b = View(b.buffer, (*b.sizes, 1), (*b.strides, 0), b.offset)
    stack = sizes[: len(sizes) - (not row) - (not column)]
    reshaped = target.reshaped((*stack, a.sizes[-2], b.sizes[-1]))
    assert reshaped is not None
    left, right = a.broadcast_to((*stack, *a.sizes[-2:])), b.broadcast_to((*stack, *b.sizes[-2:]))
    return Contraction(domain, (node,), left, right, reshaped)
