"""A layer: a cell with sizes and weights, ready to run over whole sequences, to be differentiated, streamed and saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

from .. import files
from ..calls import answering
from ..checks import is_truth
from ..compiler import Compiled
from ..errors import DataError, FileError, OptionError, lay_out
from ..explain import Explanation, explain
from ..explain.alternatives import measured_times
from ..explain.plan_report import PlanReport
from ..explain.what_runs import WhatRuns, in_words, of_planned, of_program
from ..initialise import initialiser
from ..ir.dtypes import DTYPES, LONG, short_of
from ..ir.graph import Graph, Program
from ..ir.interpret import Outcome
from ..language.cell import Cell, fitting, refuse_no_cell
from ..passes.simplify import simplify
from ..plan.phases import CHOICES
from ..process.pickling import carried, received, text_of
from ..runtime.arguments import Call, Sequences
from ..runtime.backends import BACKENDS, Executable, checked_plan, chosen
from ..runtime.beginning import NOT_GIVEN, Beginning, NotGiven
from ..runtime.masks import draw_masks, generator_of
from ..runtime.programs import Programs, check_call
from ..runtime.pullback import Gradients, Pullback
from ..runtime.weights import Weights
from ..structure.base import Placement
from .descriptions import described_graphs, described_structures
from .measure import forward_call, in_turn, random_inputs, training_call
from .stream import Stream

Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["BACKENDS", "Gradients", "Layer", "Pullback", "Stream", "Weights"]

N_RERUNS = 8  # shapes that calls of a layer may have in turn, each with its memory kept


class Layer:
    """A cell over whole sequences.

    Args:
        cell: what one step computes.
        seed: for the initial weights, and for the dropout masks of training unless `rng` is given. Not given: 0 for a layer
            alone, and one of its place in a network that is made before anyone looks at its weights. None: a fresh one, which
            `layer.seed` tells. Weights are drawn when they are first looked at, and are then never drawn again.
        dtype: "float32" or "float64"; inputs of another dtype are converted once.
        batch_first: inputs and outputs are (n_instances, n_steps, ...); states have no time axis, so theirs are unchanged.
        reverse: run from each instance's own last step to its first.
        backend: "native" (machine code), "numpy" (the compiled program, interpreted), or "reference" (the definition).
            None: what the environment variable OSTINATO_BACKEND names, and native code if it names none.
        plan: how native code orders its products: "separate", "fused", "hoisted", or "automatic": the cost model chooses for
            each call (see `plan_of`). No plan changes a bit of the result.
        init: weight name -> initialiser, instead of the one its declaration names.
        structure: BlockCirculant(8), BlockDiagonal(4), Diagonal(): for all matrices (every Weight of two dimensions); or a
            dictionary, weight name -> structure, or None for dense. It replaces what was declared.
        weight_format: None, or "bfloat16": weights are rounded to 16 bits when they are assigned, and saved as 2 bytes each;
            what is computed with them has the precision of `dtype`. Train without it: every update would be rounded.
        sizes_and_options: a size for every dimension of the cell, and its keyword-only options.

    Raises:
        DimensionError, OptionError: a size that is missing or impossible, a name that does not exist.
        CellError: the cell says something that has no meaning.

    >>> from ostinato import Layer, cells
    >>> layer = Layer(cells.recurrent, n_inputs=3, n_neurons=5)
    >>> layer(np.zeros((7, 4, 3))).shape
    (7, 4, 5)
    """

    @partial(answering, example="Layer(cells.lstm, n_inputs=3, n_neurons=5)")
    def __init__(
        self, cell: Cell, *, seed: int | NotGiven | None = NOT_GIVEN, dtype: str = "float32", batch_first: bool = False,
        reverse: bool = False, backend: str | None = None, plan: str = "automatic", init: Mapping[str, Any] | None = None,
        structure: Any = None, weight_format: str | None = None, **sizes_and_options: Any,
    ) -> None:  # fmt: skip
        if not isinstance(cell, Cell):
            refuse_no_cell(cell)
        cell = cell if structure is None else cell.with_structure(structure)
        self.cell: Cell | None = cell
        self.sizes, self.options = cell.settle(sizes_and_options)
        self.structures: dict[str, Placement] = cell.placements(self.sizes)
        short = short_of(dtype)
        if short is None:
            raise OptionError(lay_out(f"{cell.name}: dtype is float32 or float64, not {dtype!r}"))
        training = cell.trace(dtype=short, training=True, **self.sizes, **self.options)
        drops = bool(training.with_role("mask"))  # else training is nothing else
        running = cell.trace(dtype=short, training=False, **self.sizes, **self.options) if drops else training
        graphs = {False: running, True: training}
        self._set_up(graphs, batch_first=batch_first, reverse=reverse, backend=backend, seed=seed, plan=plan,
                     weight_format=weight_format)  # fmt: skip
        if init is not None and not isinstance(init, Mapping):
            raise OptionError(lay_out(f"{self.name}: `init` is a dictionary, weight name -> initialiser, not {init!r}"))
        chosen = {name: initialiser(given) for name, given in (init or {}).items()}
        for name in chosen:
            self.weights.check_name(name)
        stages = self.compiled().stages
        simple = partial(simplify, running) if self.backend == "reference" else partial(stages.__getitem__, "simplify")
        how = {name: chosen.get(name) or cell.declarations[name].init for name in self.weights}
        self._beginning.by(simple, how, self.structures)
        self.weights.begin(self._beginning)

    def _set_up(
        self, graphs: dict[bool, Graph], *, batch_first: bool, reverse: bool, backend: str | None, seed: Any,
        plan: str = "automatic", weight_format: str | None = None,
    ) -> None:  # fmt: skip
        graph = graphs[False]
        self._beginning = Beginning(graph.name, seed)
        for flag, given in (("batch_first", batch_first), ("reverse", reverse)):
            if not is_truth(given):
                raise OptionError(lay_out(f"{graph.name}: `{flag}` is True or False, not {given!r}"))
        self.name, self.doc = graph.name, graph.doc
        self.batch_first, self.reverse = bool(batch_first), bool(reverse)
        self.backend, self.plan = chosen(backend, graph.name), checked_plan(graph.name, plan)
        self._graphs = graphs
        self._reruns: dict[Any, Any] = {}  # shape of the first input -> a native.bound_call.BoundCall
        self._sequences = Sequences(graph, batch_first=batch_first, reverse=reverse)
        ports = graph.with_role("weight", "bias")
        self.weights = Weights({p.name: p.value.type.sizes for p in ports}, DTYPES[graph.dtype], self.name, weight_format)
        self._programs = Programs(graphs, self.backend, self.plan)

    # --- what the compiler made of it

    @property
    def dtype(self) -> str:
        """The name of the dtype it computes in: float32 or float64."""
        return LONG[self._graphs[False].dtype]

    @property
    def seed(self) -> int:
        """What the weights are drawn by, or were; `Layer(..., seed=layer.seed)` draws the same."""
        return self._beginning.seed

    @property
    def graph(self) -> Graph:
        """One step, as it was written."""
        return self._graphs[False]

    @property
    def program(self) -> Program:
        """What runs: before, loop, after. Of native code, where the plan of a call of 100 steps of one instance has it."""
        return self.what_runs().program

    @property
    def backward_program(self) -> Program:
        """Its back-propagation through time, likewise."""
        return self.what_runs("backward").program

    def what_runs(self, program: str = "forward", *, n_steps: int = 100, n_instances: int = 1) -> WhatRuns:
        """What this layer's backend does in a call: products, arithmetic, bytes. `explain` shows the same numbers.

        Args:
            program: "forward", "recording" (forward, keeping what the backward pass needs) or "backward".
            n_steps, n_instances: the call, from 1 up: plans, and bytes moved, depend on it.

        Raises:
            OptionError: no such program, or an impossible size.
        """
        check_call(self.name, program, n_steps, n_instances)
        if self.backend != "native":
            return of_program(self.compiled().stages[program], n_steps, n_instances)
        return of_planned(self._programs.planned(program), n_steps, n_instances)

    def compiled(self, *, training: bool = False) -> Compiled:
        """Every stage of the pipeline; `training` is with dropout."""
        return self._programs.compiled(training=self._truth(training))

    def _truth(self, training: Any) -> bool:
        if not is_truth(training):
            raise OptionError(lay_out(f"{self.name}: `training` is True or False, not {training!r}"))
        return bool(training)

    @property
    def n_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(map(prod, self.weights.shapes.values()))

    @property
    def dense_weights(self) -> dict[str, Array]:
        """All weights by name, structured ones as the dense matrices that they stand for."""
        structures = self.structures
        return {n: structures[n].dense(array) if n in structures else array for n, array in self.weights.items()}

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The shape of the first output, for one instance at one step."""
        return self.graph.results_with("output")[0].value.type.sizes

    def __repr__(self) -> str:
        sizes = ", ".join(f"{n}={s}" for n, s in self.graph.sizes)
        marks = "".join(f", {m}=True" for m in ("batch_first", "reverse") if getattr(self, m))
        return f"<layer {self.name}({sizes}), {self.dtype}, {self.n_parameters:,} parameters{marks}>"

    def __str__(self) -> str:
        """What it is, and what runs."""
        return f"{repr(self)[1:-1]}\n{in_words(self.what_runs(), self.backend)}"

    # --- running

    def __call__(self, *inputs: Any, **more: Any) -> Array | Any:
        """The output over whole sequences, a dictionary of several; see `run`, which gives the final state too."""
        again = None if more else self._rerun(inputs)
        outputs = None if again is None else again.outputs(inputs)
        return self.run(*inputs, **more)[0] if outputs is None else outputs

    def run(
        self, *inputs: Any, state: Any = None, lengths: Any = None, reset: Any = None, training: bool = False,
        rng: Any = None, **named: Any,
    ) -> tuple[Any, dict[str, Array]]:  # fmt: skip
        """Run over whole sequences.

        Args:
            inputs: the cell's inputs, then its contexts, in declared order (or by name). An input is
                (n_steps, n_instances, ...), or (n_steps, ...) for one instance; a context (n_instances, ...).
                A cell without a state takes (...) too: one instance, no steps.
            state: state name -> (n_instances, ...); what is not given begins as it was declared (zeros).
            lengths: (n_instances,) whole numbers: outputs after an instance's end are 0, its final state is that of its last
                valid step, and padding is never read.
            reset: (n_steps, n_instances) booleans, in the order of the inputs: where true, the states of that instance are
                set to what they were declared to begin as (zeros), before that step.
            training: with dropout.
            rng: seed or generator of the dropout masks; unless given, the layer's own.

        Returns:
            the output (n_steps, n_instances, ...), or a dictionary of them if the cell has several; and the final state.

        Raises:
            DataError: anything that does not fit. Nothing has been computed then.
        """
        plain = lengths is None and reset is None and training is False and rng is None and not named
        again = self._rerun(inputs) if plain else None
        found = None if again is None else again.run(inputs, state)
        if found is not None:
            return found  # type: ignore[no-any-return]
        call = self._sequences.call(inputs, named, state, lengths, reset)
        ready = self._executable("forward", training)
        outcome = self._forward(call, ready, rng, self.weights.snapshot)
        if plain and again is None:
            self._prepare_rerun(inputs, call, ready)
        return self._outputs(outcome, call), self._sequences.given_states(outcome.states, call)

    def _rerun(self, inputs: tuple[Any, ...]) -> Any:
        """What runs calls like an earlier one; None if there was none, or its weights were others."""
        again = self._reruns.get(inputs[0].shape) if inputs and type(inputs[0]) is np.ndarray else None
        return again if again is not None and again.snapshot is self.weights.snapshot else None

    def _prepare_rerun(self, inputs: tuple[Any, ...], call: Call, ready: Executable) -> None:
        """The next call with arrays of these shapes may be short."""
        leading = np.shape(inputs[0])[: call.n_leading]
        beginning = self._sequences.beginning(call.timeline.n_instances)
        again = ready.rerun(call.timeline, leading, self._sequences.names, self.weights.snapshot, beginning)
        if again is not None:
            if len(self._reruns) >= N_RERUNS:
                self._reruns.clear()
            self._reruns[np.shape(inputs[0])] = again

    def vjp(
        self, *inputs: Any, state: Any = None, lengths: Any = None, reset: Any = None, training: bool = False,
        rng: Any = None, **named: Any,
    ) -> tuple[Any, Pullback]:  # fmt: skip
        """Run over whole sequences and keep what back-propagation needs.

        Returns:
            the outputs, and a pullback: `grads = pullback(dY)`. `pullback.state` is the final state.
        """
        call = self._sequences.call(inputs, named, state, lengths, reset)
        # back-propagation reads the inputs again, whatever the caller does with the arrays in between
        call.values = {name: array.copy() for name, array in call.values.items()}
        call.reset = None if call.reset is None else call.reset.copy()
        weights = self.weights.snapshot  # for both passes, whoever assigns others meanwhile
        outcome = self._forward(call, self._executable("recording", training), rng, weights)
        pullback = Pullback(self._sequences, self._executable("backward", training), weights, call, outcome)
        return self._outputs(outcome, call), pullback

    @answering
    def stream(self, *, state: Any = None, n_instances: int | None = None, **contexts: Any) -> Stream:
        """One step after another: `y_t = stream(x_t)` gives what `layer(X)` gives at each step.

        Args:
            state: where to begin; as in `run`.
            n_instances: how many at once; None for one, without the axis.
            contexts: the cell's contexts by name.
        """
        if self.reverse:
            raise OptionError(lay_out(f"{self.name}: a reverse layer begins at the last step, and can not be streamed"))
        return Stream(self, self._sequences, state, n_instances, contexts)

    def _executable(self, name: str, training: bool) -> Executable:
        """One of the programs, ready to run."""
        if training is not False and training is not True:
            training = self._truth(training)
        return self._programs.executable(name, training=training)

    def stepper(self, n_instances: int, values: Mapping[str, Array]) -> Any:
        """What a stream of native code runs on: a native.stepper.Stepper."""
        return self._programs.executable("forward").stepper(self.weights.snapshot, n_instances, values)

    def _forward(self, call: Call, ready: Executable, rng: Any, weights: Mapping[str, Array]) -> Outcome:
        if ready.masks:
            generator = self._beginning.masks if rng is None else generator_of(rng, self.name)
            call.values |= draw_masks(ready.masks, call.timeline, generator, self._sequences.dtype)
        return ready.run(call.timeline, call.values, weights, call.reset)

    def _outputs(self, outcome: Outcome, call: Call) -> Any:
        outputs = {name: self._sequences.as_given(array, call.n_leading) for name, array in outcome.outputs.items()}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    # --- explaining, saving

    def plan_of(
        self, program: str = "forward", *, n_steps: int = 100, n_instances: int = 1, measured: Mapping[str, float] | None = None
    ) -> PlanReport:  # fmt: skip
        """How native code runs a program: its stages, tiles and packed weights, and what every plan would cost.

        Args:
            program: "forward", "recording" (forward, keeping what the backward pass needs) or "backward".
            n_steps, n_instances: the call that costs are predicted for, from 1 up.
            measured: plan -> seconds, as `measure_plans` gives them; shown as bars.

        Raises:
            OptionError: no such program, an impossible size, or a backend without plans.
        """
        self._check_planned()
        check_call(self.name, program, n_steps, n_instances)
        times = measured_times(measured, "plan_of")
        return PlanReport(self._programs.planned(program, measure=True), program, int(n_steps), int(n_instances), times)

    def measure_plans(
        self, n_steps: int = 100, n_instances: int = 1, *, backward: bool = False, seconds: float = 0.2
    ) -> dict[str, float]:  # fmt: skip
        """Seconds of a call by each plan: medians, the plans in turn, on random inputs. `explain(measured=...)` shows them.

        Args:
            n_steps, n_instances: of the call, from 1 up.
            backward: a forward and a backward pass together, instead of a forward pass alone.
            seconds: how long to measure each plan, about.

        Raises:
            OptionError: an impossible size, or a backend without plans.
        """
        self._check_planned()
        check_call(self.name, "forward", n_steps, n_instances)
        ports = self.graph.with_role("input", "context")
        given = random_inputs(ports, self.dtype, n_steps=n_steps, n_instances=n_instances, batch_first=self.batch_first)
        layers = {plan: self.with_plan(plan) for plan in CHOICES}
        if backward:
            return in_turn({plan: training_call(layer.vjp, *given) for plan, layer in layers.items()}, seconds)
        return in_turn({plan: forward_call(layer, *given) for plan, layer in layers.items()}, seconds)

    def _check_planned(self) -> None:
        if self.backend != "native":
            raise OptionError(lay_out(f"{self.name}: only native code has a plan, and the backend is `{self.backend}`"))

    def with_plan(self, plan: str) -> Layer:
        """The same layer, weights and all, run by another plan; what the compiler made of it is shared."""
        other = copy(self)  # which has the same `weights`, drawn already or not
        other.plan = checked_plan(self.name, plan)
        other._programs = self._programs.with_plan(plan)  # noqa: SLF001 - one of us
        return other

    def __getstate__(self) -> dict[str, Any]:
        """A pickle, or a copy, holds no code: that is made again where it is needed. The graph has no need of the function."""
        kept = {name: value for name, value in self.__dict__.items() if name != "_programs"}
        return {**kept, "_reruns": {}, "cell": carried(self.cell), "options": carried(self.options)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_rng" in state:  # a pickle of version 0.1, which drew weights at once
            state["_beginning"] = Beginning.ended(state["name"], state.pop("seed"), state.pop("_rng"))
        for name in ("_compiled", "_executables"):  # of version 0.1, too
            state.pop(name, None)
        self.__dict__.update(state)
        self._programs = Programs(self._graphs, self.backend, self.plan)
        self.cell, self.options = fitting(received(state["cell"]), self.graph), received(state["options"])

    def explain(self, *inputs: Any, **more: Any) -> Explanation:
        """The equation, the shape of every symbol, the products, the program and its cost, in words and pictures.

        Args:
            inputs: what flows through the pictures; random numbers unless given.
            more: inputs and contexts by name, `state`, and `measured={plan: seconds}`, which is shown as bars.
        """
        return explain(self, *inputs, **more)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and description to a safetensors file, atomically.

        Raises:
            FileError: it can not be written.
        """
        files.write(path, self.weights.packed, self.description)

    @property
    def description(self) -> dict[str, Any]:
        """What the layer is, without its weights: everything `from_description` needs."""
        return {**self._description, "seed": self.seed}

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {
            "kind": "layer",
            "graph": str(self._graphs[False]),
            "training_graph": str(self._graphs[True]),
            "doc": self.doc,
            "options": {name: text_of(value) for name, value in self.options.items()},
            "batch_first": self.batch_first,
            "reverse": self.reverse,
            **({"structures": {name: p.description for name, p in self.structures.items()}} if self.structures else {}),
            **({"weight_format": self.weights.weight_format} if self.weights.weight_format else {}),
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Layer:
        """The layer that was saved. Nothing in the description is executed.

        Raises:
            FileError: something is missing or does not fit.
        """
        graphs = described_graphs(description)
        layer = cls.__new__(cls)
        layer.cell, layer.sizes = None, dict(graphs[False].sizes)
        layer.options = dict(files.field(description, "options", dict))
        seed = files.field(description, "seed", int)
        batch_first, reverse = (files.field(description, key, bool) for key in ("batch_first", "reverse"))
        try:
            layer._set_up(  # noqa: SLF001
                graphs, batch_first=batch_first, reverse=reverse, backend=None, seed=seed,
                weight_format=description.get("weight_format"),
            )  # fmt: skip
        except OptionError as error:
            raise FileError(lay_out(f"the description in the file says something impossible: {error}")) from None
        if set(arrays) != set(layer.weights):
            headline = f"the file holds the weights {sorted(arrays)}, and {layer.name} has {sorted(layer.weights)}"
            raise FileError(lay_out(headline))
        layer.structures = described_structures(description, layer.weights.shapes)
        try:
            layer.weights.update(layer.weights.unpack(arrays))
        except DataError as error:
            raise FileError(lay_out(f"a weight in the file does not fit: {error}")) from None
        return layer
