"""Simplify: one meaning, one graph, however it was spelled.

* `concat(x, h) @ W` becomes `x @ W[top] + h @ W[bottom]`: blocks stacked along the contracted index;
* a part of a product is a product with a part of the weights: `split(x @ W, 4)` becomes four products;
* `W @ x` with weights on the left becomes `x @ W.T`;
* sums that contain products are accumulated in one order: what never changes, what varies by instance, by step, then what
  depends on a state. So the first part of the sum can leave the loop. Other sums stay as they were written;
* a sum of `pad`s that tile the last dimension becomes one `concat`: the gradient of a split needs neither zeros nor additions;
* a part of a weight is a weight;
* equal nodes become one, operations on numbers are computed, nodes that nothing reads are dropped.

Rules are applied in rounds until a round changes nothing; each makes the graph simpler by its own measure. The order of sums
and the blocks of weights come last, since they depend on what the rounds have left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from ..errors import Source
from ..ir import ops
from ..ir.analysis import addends, is_matrix_of_weights, live, nested_sum, state_dependent, users
from ..ir.graph import Block, Graph, Node, Port, Value
from ..ir.shapes import Dim, Varies
from ..ir.verify import verify
from .rewrite import Pass

DEEPEST = 100  # nodes that a slice is pushed through in one round: it bounds the recursion, and the next round goes on


def simplify(graph: Graph, *, drop_stops: bool = False) -> Graph:
    """The graph in its simple form.

    Args:
        drop_stops: forget `stop_gradient`, which means something only before differentiation.
    """
    before = None
    while before != graph:  # every pass makes the graph simpler by its own measure, so this ends
        before = graph
        for rule in (_Share, _SplitProducts, _PushSlices, _JoinPads):
            if rule.may_apply(graph):  # else it would do what _Share has done
                step = rule(graph)
                step.builder.drop_stops = drop_stops
                graph = step.run()
    graph = _Share(_OrderSums(graph).run()).run()
    return verify(_blocks(graph), "simplify")  # type: ignore[no-any-return]


class _Share(Pass):
    """Emit everything again: equal nodes are shared, needless ones dropped."""

    @classmethod
    def may_apply(cls, graph: Graph) -> bool:
        """Whether there is anything in the graph that the rule looks for."""
        return bool(graph.nodes)


class _SplitProducts(_Share):
    """`concat(x, h) @ W` is the sum of the products with the blocks of W; `W @ x` is `x @ W.T`."""

    @classmethod
    def may_apply(cls, graph: Graph) -> bool:
        joined = {n.value.name for n in graph.nodes if n.record is ops.concat}
        lefts = [n.args[0] for n in graph.nodes if n.record is ops.matmul]
        return any(left.name in joined or is_matrix_of_weights(left) for left in lefts)

    def visit(self, node: Node) -> Value:
        if node.record is not ops.matmul:
            return self.again(node)
        left, right = (self.new(a) for a in node.args)
        emit = self.builder.emit
        if is_matrix_of_weights(left) and left.type.varies < right.type.varies and len(right.type.dims) <= 2:
            flip = {"axes": (-1, -2)}
            weights = emit(ops.transpose, (left,), flip, source=node.source)
            if len(right.type.dims) == 1:
                return emit(ops.matmul, (right, weights), name=node.value.name, source=node.source)
            turned = emit(ops.transpose, (right,), flip, source=node.source)
            product = emit(ops.matmul, (turned, weights), source=node.source)
            return emit(ops.transpose, (product,), flip, name=node.value.name, source=node.source)
        joined = self.builder.made.get(left.name)
        if joined is None or joined.record is not ops.concat or joined.options["axis"] != -1 or len(right.type.dims) != 2:
            return self.again(node)
        return self.sum_of_products(node, joined.args, right)

    def sum_of_products(self, node: Node, parts: Iterable[Value], right: Value) -> Value:
        emit = self.builder.emit
        total, first = None, Dim.number(0)
        columns = right.type.dims[1]
        for part in parts:
            last = first + part.type.dims[-1]
            rows = {"start": (first, Dim.number(0)), "stop": (last, columns), "step": (1, 1)}
            block = emit(ops.slice_, (right,), rows, source=node.source)
            product = emit(ops.matmul, (part, block), source=node.source)
            total = product if total is None else emit(ops.add, (total, product), source=node.source)
            first = last
        assert total is not None
        return total


class _PushSlices(_Share):
    """A part (of the last dimension) of a product or of an elementwise value is computed from parts, if only parts are read."""

    @classmethod
    def may_apply(cls, graph: Graph) -> bool:
        return any(n.record is ops.slice_ and _last_only(n) for n in graph.nodes)

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        parts: dict[str, list[tuple[int, int]]] = {}
        for node in graph.nodes:
            if node.record is ops.slice_ and _last_only(node):
                options = node.options
                parts.setdefault(node.args[0].name, []).append((options["start"][-1].size, options["stop"][-1].size))
        # elements of parts that overlap would be computed twice
        self.only_sliced = {name for name, ranges in parts.items() if len(ranges) == self.uses[name] and _disjoint(ranges)}
        self.made = {n.value.name: n for n in graph.nodes}

    def visit(self, node: Node) -> Value:
        inner = self.made.get(node.args[0].name) if node.record is ops.slice_ and _last_only(node) else None
        if inner is None or inner.value.name not in self.only_sliced:
            return self.again(node)
        pushed = self.part(inner, node.options["start"][-1], node.options["stop"][-1], node.source, node.value.name)
        return self.again(node) if pushed is None else pushed

    def part(
        self, inner: Node, start: Dim, stop: Dim, source: Source | None, name: str = "", depth: int = 0
    ) -> Value | None:  # fmt: skip
        """A part of what a node computes, computed from parts of its operands; None where that cannot be."""
        if inner.record is ops.matmul and len(inner.args[1].type.dims) == 2 and inner.args[1].type.varies == Varies.NEVER:
            left, right = (self.new(a) for a in inner.args)
            columns = self.cut(right, start, stop, source)
            return self.builder.emit(ops.matmul, (left, columns), name=name, source=source)
        whole = inner.value.type.dims[-1].size
        if not inner.record.elementwise or not inner.args:
            return None
        parts = []
        for arg in inner.args:
            if not arg.type.dims or arg.type.dims[-1].size != whole:
                parts.append(self.new(arg))
                continue
            made = self.made.get(arg.name)
            # what only this node reads is cut as well, at once; the depth is bounded, and the next round goes on
            further = made if made is not None and self.uses[arg.name] == 1 and depth < DEEPEST else None
            cut = self.part(further, start, stop, source, "", depth + 1) if further else None
            parts.append(self.cut(self.new(arg), start, stop, source) if cut is None else cut)
        return self.builder.emit(inner.record, parts, inner.options, name=name, source=inner.source)

    def cut(self, value: Value, start: Dim, stop: Dim, source: Source | None) -> Value:
        rank = len(value.type.dims)
        begin = (*(Dim.number(0),) * (rank - 1), start)
        end = (*value.type.dims[:-1], stop)
        attributes = {"start": begin, "stop": end, "step": (1,) * rank}
        return self.builder.emit(ops.slice_, (value,), attributes, source=source)


def _disjoint(ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether no two ranges share a place."""
    return all(before[1] <= after[0] for before, after in pairwise(sorted(ranges)))


def _last_only(node: Node) -> bool:
    """Whether a slice cuts the last dimension alone, without steps."""
    options, dims = node.options, node.args[0].type.dims
    others = zip(options["start"][:-1], options["stop"][:-1], dims[:-1], strict=True)
    return set(options["step"]) == {1} and all(a.size == 0 and b.size == d.size for a, b, d in others)


class _OrderSums(Pass):
    """Sums that contain products, accumulated in one order."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.made = {n.value.name: n for n in graph.nodes}
        self.place = {v.name: i for i, v in enumerate([p.value for p in graph.ports] + [n.value for n in graph.nodes])}
        self.dependent = state_dependent(graph.nodes, [p.name for p in graph.states])
        self.depth: dict[str, int] = {}  # products one after another on the way to a value
        for node in graph.nodes:
            before = max((self.depth.get(a.name, 0) for a in node.args), default=0)
            self.depth[node.value.name] = before + (node.record is ops.matmul)
        self.inside: set[str] = set()
        for node in reversed(graph.nodes):
            if node.record is ops.add:
                self.inside.update(a.name for a in node.args if self.nested(a))

    def nested(self, value: Value) -> Node | None:
        return nested_sum(value, self.made, self.uses)

    def visit(self, node: Node) -> Value:
        if node.record is not ops.add or node.value.name in self.inside:
            return self.again(node)
        summed = addends(node, self.nested)
        if (len(summed) < 3 and not self.is_product(summed[0])) or not any(map(self.is_product, summed)):
            return self.again(node)
        ordered = sorted(summed, key=self.rank)
        total = self.new(ordered[0])
        for i, addend in enumerate(ordered[1:], start=2):
            name = node.value.name if i == len(ordered) else ""
            source = self.made[addend.name].source if addend.name in self.made else node.source
            total = self.builder.emit(ops.add, (total, self.new(addend)), name=name, source=source)
        return total

    def is_product(self, value: Value) -> bool:
        node = self.made.get(value.name)
        return node is not None and node.record is ops.matmul

    def rank(self, value: Value) -> tuple[int, int, int, int]:
        """Constants first, then values that are known before the loop, then those that depend on a state; products by operand.

        Addends that wait for another product of the same step come last: the products before them can then be one stage.
        """
        product = self.is_product(value)
        if value.name not in self.dependent:
            place = self.made[value.name].args[0].name if product else value.name
            return int(value.type.varies), 0, int(product), self.place[place]
        depth = self.depth.get(value.name, 0)
        if not product:
            return 3, depth, int(depth > 0), 0
        return 3, depth, 0, self.place[self.made[value.name].args[0].name]


class _JoinPads(_Share):
    """`pad(a) + pad(b)`, each with zeros where the other is, and none where none is: `concat(a, b)`."""

    @classmethod
    def may_apply(cls, graph: Graph) -> bool:
        return any(n.record is ops.pad for n in graph.nodes)

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.made = {n.value.name: n for n in graph.nodes}
        self.inside: set[str] = set()
        for node in graph.nodes:
            if node.record is ops.add:
                self.inside.update(a.name for a in node.args if self.nested(a))

    def nested(self, value: Value) -> Node | None:
        return nested_sum(value, self.made, self.uses)

    def visit(self, node: Node) -> Value:
        if node.record is not ops.add or node.value.name in self.inside or not node.value.type.dims:
            return self.again(node)
        summed = addends(node, self.nested)
        pads = [n for v in summed if (n := self.made.get(v.name)) is not None and _pads_last(n)]
        pads.sort(key=lambda n: n.options["start"][-1].size)
        ends = [(n.options["start"][-1].size, n.options["stop"][-1].size) for n in pads]
        whole = [(0, 0), *ends, (node.value.type.dims[-1].size,) * 2]
        if len(pads) < 2 or any(before[1] != after[0] for before, after in pairwise(whole)):
            return self.again(node)
        parts = [self.new(n.args[0]) for n in pads]
        rest = [self.new(v) for v in summed if v.name not in {n.value.name for n in pads}]
        name = "" if rest else node.value.name
        total = self.builder.emit(ops.concat, parts, {"axis": -1}, name=name, source=node.source)
        for i, value in enumerate(rest, start=1):
            total = self.builder.emit(
                ops.add, (total, value), name=node.value.name if i == len(rest) else "", source=node.source
            )
        if total.type.dims != node.value.type.dims:
            total = self.builder.emit(ops.reshape, (total,), {"dims": node.value.type.dims}, source=node.source)
        return total


def _pads_last(node: Node) -> bool:
    """Whether a value is placed between zeros along its last dimension alone."""
    if node.record is not ops.pad or set(node.options["step"]) != {1}:
        return False
    *others, _ = zip(node.options["start"], node.options["stop"], node.value.type.dims, strict=True)
    return all(a.size == 0 and b.size == d.size for a, b, d in others)


def _blocks(graph: Graph) -> Graph:
    """Slices of weights become ports of their own."""
    ports = {p.name: p for p in graph.ports}
    cut: dict[str, list[Node]] = {}
    for node in graph.nodes:
        port = ports.get(node.args[0].name) if node.record is ops.slice_ else None
        if port is not None and port.role in ("weight", "bias") and set(node.options["step"]) == {1}:
            cut.setdefault(port.name, []).append(node)
    taken = {*ports, *(n.value.name for n in graph.nodes)}
    replaced: dict[str, Value] = {}
    added: dict[str, list[Port]] = {}
    for name, nodes in cut.items():
        nodes.sort(key=lambda n: [d.size for d in n.options["start"]])
        for node in nodes:
            number = len(added.get(name, [])) + 1
            block_name = f"{name}_{number}"
            while block_name in taken:
                block_name += "_"
            taken.add(block_name)
            value = Value(block_name, node.value.type)
            block = _block(ports[name], node)
            replaced[node.value.name] = value
            added.setdefault(name, []).append(replace(ports[name], value=value, block=block))
    return _with_blocks(graph, replaced, added)


def _block(port: Port, node: Node) -> Block:
    start, stop = node.options["start"], node.options["stop"]
    if port.block is None:
        return Block(port.name, start, stop)
    offset = port.block.start
    moved = (tuple(o + a for o, a in zip(offset, ends, strict=True)) for ends in (start, stop))
    return Block(port.block.of, *moved)


def _with_blocks(graph: Graph, replaced: dict[str, Value], added: dict[str, list[Port]]) -> Graph:
    def new(value: Value) -> Value:
        return replaced.get(value.name, value)

    nodes = tuple(replace(n, args=tuple(map(new, n.args))) for n in graph.nodes if n.value.name not in replaced)
    results = tuple(replace(r, value=new(r.value)) for r in graph.results)
    read = users(nodes, results)
    ports: list[Port] = []
    for port in graph.ports:
        if read[port.name] or not added.get(port.name):
            ports.append(port)
        ports += added.get(port.name, [])
    # an unread weight stays a port of the forward graph, so that its gradient is known to be zero
    return replace(graph, ports=tuple(ports), nodes=live(nodes, results), results=results)
