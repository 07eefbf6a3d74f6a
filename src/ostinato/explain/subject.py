"""What is explained: the graphs and programs of one cell, and what all sections ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..compiler import Compiled
from ..ir.analysis import live
from ..ir.graph import Graph, Node, Value
from ..ir.shapes import Varies
from ..language.cell import Cell
from ..plan.candidates import Planned
from ..structure.base import Placement
from . import words
from .alternatives import Plan, as_written_and_compiled, plans
from .cost import products, value_bytes
from .equations import Notation
from .flow import Flow, Given, flow_of
from .markup import symbols_of
from .pictures.colours import Colours
from .what_runs import WhatRuns, alternatives, of_planned, of_program


@dataclass(frozen=True)
class Subject:
    """What is explained.

    Attributes:
        graph: one step, as it was written.
        named: the values that the author named.
        compiled: the programs.
        training_graph: the step with dropout; the same as `graph` without.
        training: the programs with dropout.
        cell: the cell itself; None for a layer that was read from a file.
        given: the numbers that are to be shown.
        measured: plan -> seconds, as it was handed in.
        structures: weight name -> its structure, where it is not dense.
        planned: "forward" and "backward" -> how native code runs it; empty where native code does not run.
    """

    graph: Graph
    named: set[str]
    compiled: Compiled
    training_graph: Graph
    training: Compiled
    cell: Cell | None = None
    given: Given = field(default_factory=Given)
    measured: Mapping[str, float] = field(default_factory=dict)
    structures: Mapping[str, Placement] = field(default_factory=dict)
    planned: Mapping[str, Planned] = field(default_factory=dict)

    @cached_property
    def notation(self) -> Notation:
        return Notation(self.graph, self.named, self.graph.meanings)

    @cached_property
    def written_nodes(self) -> tuple[Node, ...]:
        return live(self.graph.nodes, self.graph.results)

    @cached_property
    def written_products(self) -> tuple[Node, ...]:
        """Those of the cell's text; what a product with a structured weight is made of is not among them."""
        return tuple(n for n in products(self.written_nodes) if not self.in_structure(n.value.name))

    @property
    def n_products_written(self) -> int:
        """How many products the cell's text has, those with structured weights among them."""
        return len(self.written_products) + len(self.structured_products)

    @cached_property
    def structured_products(self) -> dict[str, str]:
        """The values that are products with structured weights -> the name of the weight."""
        live_ones = {n.value.name for n in self.written_nodes} & set(self.notation.meant)
        meant = {name: self.notation.meant[name] for name in live_ones}
        placed = {name: set(operands) & set(self.structures) for name, (how, operands) in meant.items() if how == "matmul"}
        made = [n.value.name for n in self.written_nodes]
        return {name: min(placed[name]) for name in made if placed.get(name)}

    @cached_property
    def _inside_structure(self) -> set[str]:
        made, found = self.notation.made, set()
        for whole in self.structured_products:
            operands, waiting = self.notation.meant[whole][1], [whole]
            while waiting:
                name = waiting.pop()
                if name in made and name not in found and name not in operands:
                    found.add(name)
                    waiting += [arg.name for arg in made[name].args]
        return found - set(self.structured_products)

    def in_structure(self, name: str) -> bool:
        """Whether a value is a step on the way to a product with a structured weight."""
        return name in self._inside_structure

    @cached_property
    def runs(self) -> WhatRuns:
        """What runs forward: every number that is shown of it is taken from here."""
        call = self.given.call(self.graph)
        return of_planned(self.planned["forward"], *call) if self.planned else of_program(self.compiled.forward, *call)

    @cached_property
    def runs_backward(self) -> WhatRuns:
        """What runs backward."""
        call = self.given.call(self.graph)
        return of_planned(self.planned["backward"], *call) if self.planned else of_program(self.training.backward, *call)

    @property
    def n_parameters(self) -> int:
        return sum(p.value.type.n_elements for p in self.graph.with_role("weight", "bias"))

    @cached_property
    def kept(self) -> list[tuple[str, Value]]:
        return words.kept(self.training, self.training_graph, self.named, self.training_graph.meanings)

    @property
    def kept_bytes(self) -> int:
        return value_bytes(v for _, v in self.kept if v.type.varies == Varies.STEP)

    @cached_property
    def batch(self) -> Notation:
        """The equation for a batch, a row for each instance."""
        return Notation(self.graph, self.named, self.graph.meanings, batch=True)

    @cached_property
    def program_notation(self) -> Notation:
        """The equation of what runs forward."""
        simple = self.compiled.stages.get("simplify", self.graph)
        before = Notation(simple, self.named, self.graph.meanings)
        return Notation(self.runs.program, self.named, self.graph.meanings, before_fusing=before)

    @cached_property
    def plans(self) -> list[Plan]:
        """What runs beside what could, counted alike; none for a cell without a state."""
        call = self.given.call(self.graph)
        if not self.graph.states:
            return []
        if self.planned:
            return plans(alternatives(self.planned["forward"], *call), self.runs.plan)
        return plans(as_written_and_compiled(self.graph, self.compiled, *call), "hoisted")

    @cached_property
    def flow(self) -> Flow:
        """The numbers of an input on their way through."""
        return flow_of(self.graph, self.notation, self.given, self.cell)

    @cached_property
    def colours(self) -> Colours:
        """One for every symbol: what comes in, then what is made. A part of a weight has that of the whole."""
        lines = [*self.notation.equations(), *self.batch.equations()]
        texts: list[str] = [self.notation.symbol(p.name) for p in self.graph.ports]
        texts += [text for line in lines for text in (line.left, line.right)]
        found = [symbol for text in texts for symbol in symbols_of(text)]
        found += [symbol for node in self.written_nodes if node.value.name in self.named
                  for symbol in symbols_of(self.notation.symbol(node.value.name))]  # fmt: skip
        blocks = {p.name: p.parameter for p in self.runs.program.ports}
        names = {s.letter: s.name for s in found} | blocks | self.notation.new
        names |= {f"d_{name}": of for name, of in names.items()}  # adjoints, in a backward program
        return Colours((s.name for s in found), names)
