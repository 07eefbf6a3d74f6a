"""Fuse: fewer and larger products. A program becomes a program that computes the same.

* Products with the same left operand become one, with the weights side by side: x [W_i W_f W_o W_g].
* Values that are added to the parts of such a product are joined and added to the whole.
* Sums of products of different left operands become one: a W_a + b W_b = [a b] [W_a; W_b].
* Weight gradients of the same left operand become one: Xᵀ [D_i D_f D_o D_g].

Only products of the same section are joined, so nothing is sunk into the loop. This is the program that the NumPy backend runs;
for native code a plan decides which products share a stage (plan/).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..ir import ops
from ..ir.analysis import addends, is_matrix_of_weights, nested_sum, users
from ..ir.graph import Graph, Node, Program, Value, result_type
from ..ir.op import Op
from ..ir.shapes import Dim, Reason, Varies
from .rewrite import Pass
from .schedule import schedule


def fuse(program: Program) -> Program:
    """The program with its products joined."""
    nodes = list(program.nodes)
    section = {n.value.name: name for name, part in program.sections.items() for n in part}
    work = _Fusion(program, nodes, section)
    work.join_products_of_one_operand()
    work.join_sums_of_products()
    while work.add_to_whole_products():
        pass
    work.join_weight_gradients()
    work.join_totals()
    graph = Graph(program.name, program.dtype, program.sizes, program.ports, work.sorted(), program.results,
                  parameters=program.parameters)  # fmt: skip
    graph = Pass(graph).run()  # emitted again: equal nodes are shared, slices of joined values fall together
    records = {r.name: r.value for r in graph.results_with("record")}
    graph = replace(graph, results=tuple(r for r in graph.results if r.role != "record"))
    return schedule(graph, direction=program.direction, record=records)


class _DoesNotFitError(Exception):
    """Values that cannot be joined, although their sizes agree: the names of their dimensions do not."""


class _Fusion:
    def __init__(self, program: Program, nodes: Sequence[Node], section: dict[str, str]) -> None:
        self.nodes = {n.value.name: n for n in nodes}
        self.section = section
        self.results = program.results
        self.places = {name: place for place, name in enumerate([*(p.name for p in program.ports), *self.nodes])}
        self.taken = set(self.places)

    # --- pieces

    def place(self, value: Value) -> int:
        """Where a value is made: ports first, then nodes in order."""
        return self.places[value.name]

    def make(self, name: str, op: Op, args: Iterable[Value], section: str, like: Node, **attributes: Any) -> Value:
        """A new node."""
        args = tuple(args)
        while name in self.taken:
            name += "_"
        from_args = result_type(op, args, attributes)
        if isinstance(from_args, Reason):
            raise _DoesNotFitError(from_args.text)
        value = Value(name, from_args)
        self.taken.add(name)
        self.places[name] = len(self.places)
        self.nodes[name] = Node(value, op.name, args, tuple(attributes.items()), like.source)
        self.section[name] = section
        return value

    def become_slices(self, parts: Sequence[Node], whole: Value) -> None:
        """Each of the nodes becomes a part of the last dimension of a value, one after the other."""
        first = Dim.number(0)
        rank = len(whole.type.dims)
        for node in parts:
            last = first + node.value.type.dims[-1]
            start = (*(Dim.number(0),) * (rank - 1), first)
            stop = (*whole.type.dims[:-1], last)
            attributes = (("start", start), ("stop", stop), ("step", (1,) * rank))
            self.nodes[node.value.name] = Node(node.value, ops.slice_.name, (whole,), attributes, node.source)
            first = last

    def sorted(self) -> tuple[Node, ...]:
        """The nodes, each after what it reads."""
        done: dict[str, Node] = {}

        def visit(root: str) -> None:
            stack = [root]
            while stack:
                name = stack[-1]
                node = self.nodes.get(name)
                waiting = [] if node is None else [a.name for a in node.args if a.name in self.nodes and a.name not in done]
                if waiting:
                    stack.extend(waiting)
                    continue
                stack.pop()
                if node is not None:
                    done.setdefault(name, node)

        for name in self.nodes:
            visit(name)
        return tuple(done.values())

    # --- rules

    def join_products_of_one_operand(self) -> None:
        groups: dict[tuple[str, str], list[Node]] = defaultdict(list)
        for node in self.nodes.values():
            if node.record is ops.matmul and is_matrix_of_weights(node.args[1]) and node.value.type.varies != Varies.NEVER:
                groups[node.args[0].name, self.section[node.value.name]].append(node)
        for (left, section), products in groups.items():
            if len(products) < 2:
                continue
            with suppress(_DoesNotFitError):
                rights = [node.args[1] for node in products]
                weights = self.make(f"weights_of_{left}", ops.concat, rights, "before", products[0], axis=-1)
                operands = (products[0].args[0], weights)
                whole = self.make(f"products_of_{left}", ops.matmul, operands, section, products[0])
                self.become_slices(products, whole)

    def join_sums_of_products(self) -> None:
        uses = users(self.nodes.values(), self.results)
        sums = [n for n in self.nodes.values() if n.record is ops.add]
        inside = {arg.name for n in sums for arg in n.args if nested_sum(arg, self.nodes, uses)}
        for node in list(self.nodes.values()):
            if node.record is ops.add and node.value.name not in inside:
                with suppress(_DoesNotFitError):
                    self._join_sum(node, uses)

    def _join_sum(self, node: Node, uses: Any) -> None:
        summed = addends(node, lambda value: nested_sum(value, self.nodes, uses))
        products: dict[tuple[str, int], list[Value]] = defaultdict(list)
        for value in summed:
            made = self.nodes.get(value.name)
            if made and made.record is ops.matmul and uses[value.name] == 1 and is_matrix_of_weights(made.args[1]):
                products[self.section[value.name], len(made.args[0].type.dims)].append(value)
        for (section, _), values in products.items():
            if len(values) < 2 or len({v.type.sizes for v in values}) > 1:
                continue
            parts = sorted((self.nodes[v.name] for v in values), key=lambda n: self.place(n.args[0]))
            lefts = self.make("joined", ops.concat, [n.args[0] for n in parts], section, node, axis=-1)
            rights = self.make("stacked_weights", ops.concat, [n.args[1] for n in parts], "before", node, axis=-2)
            product = self.make("product_of_joined", ops.matmul, (lefts, rights), section, node)
            summed = [*(a for a in summed if a not in values), product]
            self._chain(node, summed)

    def _chain(self, node: Node, summed: Sequence[Value]) -> None:
        """The node becomes the sum of the addends, from the first to the last."""
        if len(summed) == 1:
            attributes = {"dims": node.value.type.dims}
            self.nodes[node.value.name] = Node(
                node.value, ops.reshape.name, (summed[0],), tuple(attributes.items()), node.source
            )
            return
        total = summed[0]
        for addend in summed[1:-1]:
            total = self.make("sum", ops.add, (total, addend), self.section[node.value.name], node)
        self.nodes[node.value.name] = Node(node.value, ops.add.name, (total, summed[-1]), (), node.source)

    def add_to_whole_products(self) -> bool:
        """x [W_i W_f] cut and b_i, b_f added to the parts: add [b_i b_f] to the whole. True if something was done."""
        read = users(self.nodes.values(), self.results)
        readers: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes.values():
            for arg in node.args:
                readers[arg.name].append(node)
        for whole in list(self.nodes.values()):
            slices = readers[whole.value.name]
            if whole.record not in (ops.matmul, ops.add) or len(slices) < 2 or len(slices) != read[whole.value.name]:
                continue
            if any(s.record is not ops.slice_ or read[s.value.name] != 1 for s in slices) or not _fills(slices, whole.value):
                continue
            adds = [readers[s.value.name][0] if readers[s.value.name] else s for s in slices]
            with suppress(_DoesNotFitError):
                if all(a.record is ops.add for a in adds) and self._add_whole(whole, slices, adds):
                    return True
        return False

    def _add_whole(self, whole: Node, slices: Sequence[Node], adds: Sequence[Node]) -> bool:
        partners = [next(a for a in n.args if a != s.value) if n.args[0] != n.args[1] else None
                    for n, s in zip(adds, slices, strict=True)]  # fmt: skip
        known = [p for p in partners if p is not None]
        if len(known) < len(partners) or not _alike([p.type.sizes for p in known], [s.value.type.sizes for s in slices]):
            return False
        made = [self.nodes.get(p.name) for p in known]
        of_one = all(m is not None and m.record is ops.slice_ and m.args == made[0].args for m in made)  # type: ignore[union-attr]
        if of_one and not _fills([m for m in made if m], made[0].args[0]):  # type: ignore[union-attr]
            return False
        if not of_one and any(p.type.varies != Varies.NEVER for p in known):
            return False
        other = made[0].args[0] if of_one else self.make("joined_biases", ops.concat, known, "before", adds[0], axis=-1)  # type: ignore[union-attr]
        section = self.section[adds[0].value.name]
        total = self.make("sums", ops.add, (other, whole.value), section, adds[0])
        self.become_slices(adds, total)
        return True

    def join_weight_gradients(self) -> None:
        groups: dict[tuple[str, str], list[Node]] = defaultdict(list)
        for node in self.nodes.values():
            if node.record is ops.total_product:
                groups[node.args[0].name, self.section[node.value.name]].append(node)
        for (left, section), gradients in groups.items():
            if len(gradients) < 2 or len({g.args[1].name for g in gradients}) != len(gradients):
                continue
            gradients.sort(key=lambda n: self.place(n.args[1]))
            parts = [n.args[1] for n in gradients]
            if len({(len(p.type.dims), p.type.dims[:-1]) for p in parts}) > 1:
                continue
            right = self.make("joined", ops.concat, parts, self.section.get(parts[0].name, "before"), gradients[0], axis=-1)
            whole = self.make(f"gradients_of_{left}", ops.total_product, (gradients[0].args[0], right), section, gradients[0])
            self.become_slices(gradients, whole)

    def join_totals(self) -> None:
        """Totals of the parts of a joined value are parts of its total: then the parts need not be kept."""
        totals = {n.args[0].name: n for n in self.nodes.values() if n.record is ops.total and len(n.value.type.dims) == 1}
        for joined in list(self.nodes.values()):
            parts = [totals.get(a.name) for a in joined.args]
            found = [n for n in parts if n is not None]
            if (
                joined.record is not ops.concat
                or joined.value.type.varies == Varies.NEVER
                or len(found) < 2
                or len(found) != len(parts)
            ):
                continue
            section = self.section[found[0].value.name]
            whole = self.make(f"total_of_{joined.value.name}", ops.total, (joined.value,), section, found[0])
            self.become_slices(found, whole)
            totals = {name: n for name, n in totals.items() if n not in found}


def _alike(partners: Sequence[tuple[int, ...]], parts: Sequence[tuple[int, ...]]) -> bool:
    """Whether every partner has the sizes of its part, or every one those of its part's last dimension alone."""
    return list(partners) == list(parts) or list(partners) == [sizes[-1:] for sizes in parts]


def _fills(slices: Sequence[Node], whole: Value) -> bool:
    """Whether the slices follow each other and fill the last dimension."""
    at = 0
    for node in slices:
        options, dims = node.options, node.args[0].type.dims
        others = zip(options["start"][:-1], options["stop"][:-1], dims[:-1], strict=True)
        if options["start"][-1].size != at or options["step"] != (1,) * len(dims):
            return False
        if any(a.size or b.size != d.size for a, b, d in others):
            return False
        at = options["stop"][-1].size
    return at == whole.type.dims[-1].size
