"""Back-propagation: the graph of one step becomes the graph of its adjoint step.

The adjoint step reads the adjoints of the new states (carried from the step after) and of the outputs, walks the nodes from
last to first, and adds to every operand what its formula in the table of ops says. What it needs of the forward pass comes in
as `recorded`; nothing else has to be saved. Values that depend on weights alone are computed again, and so are values that take
at most FEW cheap operations (`Op.recomputed`) from recorded ones: loading them from memory would take longer.

A contribution is summed over everything that shares the operand: over the axes along which it was broadcast, over all steps
and instances for a weight, over all steps for a context.
"""

from __future__ import annotations

import re
from typing import Any

from ..ir import ops
from ..ir.graph import Graph, Node, Port, Result, Value, rename
from ..ir.op import type_of
from ..ir.shapes import Type, Varies
from ..ir.verify import verify
from ..language.tracer import Symbol, Tracer, value_of

FEW = 4  # cheap operations one after another that are computed again instead of loaded; chosen, not measured
DIFFERENTIABLE = ("input", "context", "state", "weight", "bias")


def differentiate(graph: Graph) -> Graph:
    """The adjoint step of a graph.

    Its ports: `d_h` (role state, of `h`) for every state; `d_output` (role adjoint) for every output; what it needs of the
    forward pass (role recorded, weight, bias). Its results: the gradient of every input, context, weight and bias that the
    outputs depend on, and the adjoints of the old states.
    """
    return _Adjoint(graph).graph()


class _Adjoint:
    def __init__(self, graph: Graph) -> None:
        self.forward = graph
        names = {p.name for p in graph.ports} | {n.value.name for n in graph.nodes}
        prefix = "b"
        while any(re.fullmatch(rf"{prefix}\d+", name) for name in names):
            prefix += "_"  # so that no node of the adjoint step has the name of a value of the forward pass
        self.tracer = Tracer(f"{graph.name}_backward", graph.dtype, dict(graph.sizes), prefix=prefix)
        self.tracer.source = lambda: None
        self.d = "d_"
        self.t = "_t"
        while any(f"{r.name}{self.t}" in names for r in graph.results):
            self.t += "t"
        while any(f"{self.d}{name}" in names for name in names | {f"{r.name}{self.t}" for r in graph.results}):
            self.d = "d" + self.d
        self.made = {n.value.name: n for n in graph.nodes}
        self.ports = {p.name: p for p in graph.ports}
        self.symbols: dict[str, Symbol] = {}
        self.adjoints: dict[str, Symbol] = {}
        self.active = self._active()

    def _active(self) -> set[str]:
        """The values through which something can flow back."""
        active = {p.name for p in self.forward.ports if p.role in DIFFERENTIABLE}
        for node in self.forward.nodes:
            for index, arg in enumerate(node.args):
                if arg.name in active and node.record.derivative_for(index) is not None:
                    active.add(node.value.name)
        return active

    def graph(self) -> Graph:
        forward = self.forward
        carried = {}
        for state in forward.states:
            value = Value(f"{self.d}{state.name}", Type(forward.dtype, state.value.type.dims, Varies.STEP))
            carried[state.name] = self.tracer.port(Port(value, "state", of=state.name))
        for result in forward.results_with("state"):
            self.add(result.value, carried[result.name])
        for result in forward.results_with("output"):
            value = Value(f"{self.d}{result.name}{self.t}", Type(forward.dtype, result.value.type.dims, Varies.STEP))
            self.add(result.value, self.tracer.port(Port(value, "adjoint", of=result.name)))
        for node in reversed(forward.nodes):
            if node.value.name in self.adjoints:
                self.visit(node)
        return self._finished()

    def visit(self, node: Node) -> None:
        """Add what flows back from a node to its operands."""
        d, y = self.adjoints[node.value.name], self.symbol(node.value)
        operands = [self.symbol(arg) for arg in node.args]
        with self.tracer.written_at(node.source):
            for index, arg in enumerate(node.args):
                formula = node.record.derivative_for(index)
                if arg.name in self.active and formula is not None:
                    self.add(arg, formula(d, y, *operands, **node.options))

    def add(self, value: Value, contribution: Any) -> None:
        """Add to the adjoint of a value, summed over what shares the value."""
        if value.name not in self.active:
            return
        contribution = ops.unbroadcast(contribution, value.type.dims)
        if type_of(contribution).varies > value.type.varies:
            op = ops.total if value.type.varies == Varies.NEVER else ops.total_per_instance
            contribution = op(contribution)
        known = self.adjoints.get(value.name)
        self.adjoints[value.name] = contribution if known is None else known + contribution

    def symbol(self, value: Value) -> Symbol:
        """A value of the forward pass, as the adjoint step sees it."""
        waiting = [value]
        while waiting:  # what weights alone determine is computed again, from its operands on
            value = waiting[-1]
            node = self.made.get(value.name)
            again = node if value.type.varies == Varies.NEVER else None
            missing = [a for a in again.args if a.name not in self.symbols] if again else []
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if value.name in self.symbols:
                continue
            if again is not None:
                args = [value_of(self.symbols[a.name]) for a in again.args]
                self.symbols[value.name] = self.tracer.node(again.record, args, again.options, value.type)
            else:
                port = self.ports.get(value.name)
                role = port.role if port and port.role in ("weight", "bias") else "recorded"
                block = port.block if port else None
                self.symbols[value.name] = self.tracer.port(Port(value, role, block=block))
        return self.symbols[value.name]

    def _finished(self) -> Graph:
        results = []
        for port in self.forward.ports:
            d = self.adjoints.get(port.name)
            if port.role == "state":
                d = self._zero(port) if d is None else d
                results.append(Result(f"{self.d}{port.name}", value_of(d), "state"))
            elif d is not None and port.role in DIFFERENTIABLE:
                results.append(Result(port.parameter, value_of(d), "gradient", port.block))
        tracer = self.tracer
        again = self._computed_again({arg.name for n in tracer.nodes for arg in n.args} | {r.value.name for r in results})
        nodes = [*again, *tracer.nodes]
        used = {arg.name for n in nodes for arg in n.args} | {r.value.name for r in results}
        made = {n.value.name for n in again}
        ports = [p for p in tracer.ports if (p.role in ("state", "adjoint") or p.name in used) and p.name not in made]
        sizes = tuple(tracer.sizes.items())
        graph = Graph(
            tracer.name, tracer.dtype, sizes, tuple(ports), tuple(nodes), tuple(results), parameters=self.forward.parameters
        )
        return verify(rename(graph, self._names()), "differentiate")  # type: ignore[no-any-return]

    def _computed_again(self, used: set[str]) -> list[Node]:
        """The nodes of the forward pass whose values need not be recorded, since computing them again is cheap."""
        recorded = {p.name for p in self.tracer.ports if p.role == "recorded" and p.name in used}
        depth = dict.fromkeys(recorded, 0)
        depth |= {p.name: 0 for p in self.tracer.ports if p.role in ("weight", "bias")}
        depth |= {n.value.name: 0 for n in self.forward.nodes if n.record is ops.constant}
        found: dict[str, Node] = {}
        for node in self.forward.nodes:
            if node.record.recomputed and all(a.name in depth for a in node.args):
                least = 1 + max(depth[a.name] for a in node.args)
                if least <= FEW and node.value.type.varies != Varies.NEVER:
                    found[node.value.name] = node
                    depth[node.value.name] = 0 if node.value.name in recorded else least
        needed = recorded & set(found)
        for node in reversed(self.forward.nodes):
            if node.value.name in needed and node.value.name in found:
                needed.update(a.name for a in node.args)
        return [n for n in self.forward.nodes if n.value.name in needed and (n.value.name in found or n.record is ops.constant)]

    def _zero(self, port: Port) -> Symbol:
        zero = self.tracer.number(0.0)
        return ops.stretch(zero, *port.value.type.dims) if port.value.type.dims else zero

    def _names(self) -> dict[str, str]:
        """`d_v` for the adjoint of `v`; clear of the names that come in."""
        taken = {p.name for p in self.tracer.ports}
        names: dict[str, str] = {}
        for name, d in self.adjoints.items():
            wanted = f"{self.d}{name}" if f"{self.d}{name}" not in taken else f"{self.d}{name}_old"
            if value_of(d).name not in taken and value_of(d).name not in names and wanted not in taken:
                names[value_of(d).name] = wanted
                taken.add(wanted)
        return names
