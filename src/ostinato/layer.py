"""A layer: a cell with sizes and weights, ready to run over whole sequences, to be differentiated, streamed and saved."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from . import files
from .boundary import DTYPES
from .cell import Cell
from .compiler import Compiled, compile_graph
from .errors import DataError, FileError, OptionError, known_names, lay_out
from .graph import Graph, Port, Program
from .initialise import Glorot, Initialiser, Orthogonal, initialiser
from .interpret import Outcome, run
from .read import read_graph
from .sequences import Call, Sequences, numbers
from .shapes import Varies
from .simplify import simplify, state_dependent

Array = np.ndarray[Any, np.dtype[Any]]

BACKENDS = {
    "numpy": "the compiled program, interpreted with NumPy",
    "reference": "the definition: the cell as it was written, no pass",
}
SHORT = {"float32": "f32", "float64": "f64"}


class Weights(Mapping[str, Array]):
    """The weights of a layer by the names the cell gives them. Assign to load your own.

    The arrays are read-only, so that a layer always knows when a weight changes: `layer.weights["W"] = array`.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: Any, owner: str) -> None:
        self._shapes, self._dtype, self._owner = dict(shapes), dtype, owner
        self._arrays: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        self._known(name)
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._known(name)
        array = numbers(name, value, self._dtype, self._owner)
        if array.shape != self._shapes[name]:
            raise DataError(lay_out(f"{self._owner}: weight `{name}` has shape {self._shapes[name]}, not {array.shape}"))
        array = array.copy() if array is value or array.base is not None else array
        array.setflags(write=False)
        self._arrays[name] = array

    def update(self, arrays: Mapping[str, Any]) -> None:
        """Assign several weights; all are checked before the first is changed."""
        checked = Weights(self._shapes, self._dtype, self._owner)
        for name, value in arrays.items():
            checked[name] = value
        self._arrays.update(checked._arrays)

    def _known(self, name: str) -> None:
        if name not in self._shapes:
            headline = f"{self._owner}: there is no weight `{name}`; {known_names(name, self._shapes, 'weights')}"
            raise OptionError(lay_out(headline))

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return f"<weights {', '.join(f'{name} {shape}' for name, shape in self._shapes.items())}>"


@dataclass
class Gradients:
    """What flowed back: of a single input its array, of several a dictionary; dictionaries by name for the others."""

    inputs: Any
    contexts: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)


class Layer:
    """A cell over whole sequences.

    Args:
        cell: what one step computes.
        seed: for the initial weights, and for the dropout masks of training unless `rng` is given.
        dtype: "float32" or "float64"; inputs of another dtype are converted once.
        batch_first: inputs and outputs are (n_instances, n_steps, ...); states have no time axis, so theirs are unchanged.
        reverse: run from each instance's own last step to its first.
        backend: "numpy", or "reference" for the definition.
        init: weight name -> initialiser, instead of the one its declaration names.
        sizes_and_options: a size for every dimension of the cell, and its keyword-only options.

    Raises:
        DimensionError, OptionError: a size that is missing or impossible, a name that does not exist.
        CellError: the cell says something that has no meaning.

    >>> from ostinato import Layer, cells
    >>> layer = Layer(cells.recurrent, n_inputs=3, n_neurons=5)
    >>> layer(np.zeros((7, 4, 3))).shape
    (7, 4, 5)
    """

    def __init__(
        self, cell: Cell, *, seed: int = 0, dtype: str = "float32", batch_first: bool = False, reverse: bool = False,
        backend: str = "numpy", init: Mapping[str, Any] | None = None, **sizes_and_options: Any,
    ) -> None:  # fmt: skip
        if not isinstance(cell, Cell):
            headline = f"Layer: the first argument is a cell, not {type(cell).__name__}"
            raise OptionError(lay_out(headline, hint="decorate the function of one step with @cell"))
        self.cell: Cell | None = cell
        self.sizes, self.options = cell.settle(sizes_and_options)
        short = SHORT.get(_named_dtype(dtype))
        if short is None:
            raise OptionError(lay_out(f"{cell.name}: dtype is float32 or float64, not {dtype!r}"))
        graphs = {t: cell.trace(dtype=short, training=t, **self.sizes, **self.options) for t in (False, True)}
        self._set_up(graphs, batch_first=batch_first, reverse=reverse, backend=backend, seed=seed)
        chosen = {name: initialiser(given) for name, given in (init or {}).items()}
        for name in chosen:
            self.weights._known(name)
        self._initialise({name: chosen.get(name) or cell.declarations[name].init for name in self.weights})

    def _set_up(self, graphs: dict[bool, Graph], *, batch_first: bool, reverse: bool, backend: str, seed: int) -> None:
        graph = graphs[False]
        if backend not in BACKENDS:
            known = known_names(backend, BACKENDS, "backends")
            raise OptionError(lay_out(f"{graph.name}: there is no backend `{backend}`; {known}"))
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise OptionError(lay_out(f"{graph.name}: `seed` is a whole number from 0 up, not {seed!r}"))
        self.name, self.doc = graph.name, graph.doc
        self.batch_first, self.reverse, self.backend, self.seed = batch_first, reverse, backend, int(seed)
        self._graphs = graphs
        self._compiled: dict[bool, Compiled] = {}
        self._sequences = Sequences(graph, batch_first=batch_first, reverse=reverse)
        self._rng = np.random.default_rng([self.seed, zlib.crc32(b"dropout")])
        ports = graph.with_role("weight", "bias")
        self.weights = Weights({p.name: p.value.type.sizes for p in ports}, DTYPES[graph.dtype], self.name)

    def _initialise(self, chosen: Mapping[str, Initialiser | None]) -> None:
        simple = simplify(self._graphs[False])
        for name, shape in self.weights._shapes.items():
            generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            how = chosen[name]
            try:
                self.weights[name] = _by_blocks(simple, name, shape, generator) if how is None else how.draw(shape, generator)
            except DataError as error:
                raise OptionError(lay_out(f"{self.name}: the initialiser of `{name}` drew something else: {error}")) from None

    # --- what the compiler made of it

    @property
    def dtype(self) -> str:
        return {"f32": "float32", "f64": "float64"}[self._graphs[False].dtype]

    @property
    def graph(self) -> Graph:
        """One step, as it was written."""
        return self._graphs[False]

    @property
    def program(self) -> Program:
        """What the compiler made of the cell: before, loop, after."""
        return self.compiled().forward

    @property
    def backward_program(self) -> Program:
        """Its back-propagation through time."""
        return self.compiled().backward

    def compiled(self, *, training: bool = False) -> Compiled:
        """Every stage of the pipeline; `training` is with dropout."""
        if training not in self._compiled:
            self._compiled[training] = compile_graph(self._graphs[training], passes=self.backend != "reference")
        return self._compiled[training]

    @property
    def n_parameters(self) -> int:
        return sum(array.size for array in self.weights.values())

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The shape of the first output, for one instance at one step."""
        return self.graph.results_with("output")[0].value.type.sizes

    def __repr__(self) -> str:
        sizes = ", ".join(f"{n}={s}" for n, s in self.graph.sizes)
        marks = "".join(f", {m}=True" for m in ("batch_first", "reverse") if getattr(self, m))
        return f"<layer {self.name}({sizes}), {self.dtype}, {self.n_parameters:,} parameters{marks}>"

    # --- running

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        """The outputs over whole sequences; see `run`, which gives the final state too."""
        return self.run(*inputs, **more)[0]

    def run(
        self, *inputs: Any, state: Any = None, lengths: Any = None, reset: Any = None, training: bool = False,
        rng: Any = None, **named: Any,
    ) -> tuple[Any, dict[str, Array]]:  # fmt: skip
        """Run over whole sequences.

        Args:
            inputs: the cell's inputs, then its contexts, in declared order (or by name). An input is
                (n_steps, n_instances, ...), or (n_steps, ...) for one instance; a context (n_instances, ...).
                A cell without a state takes (n_instances, ...) and (...) too.
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
        call = self._sequences.call(inputs, named, state, lengths, reset)
        outcome = self._forward(call, self.compiled(training=training).forward, rng)
        return self._outputs(outcome, call), self._states(outcome.states, call)

    def vjp(
        self, *inputs: Any, state: Any = None, lengths: Any = None, reset: Any = None, training: bool = False,
        rng: Any = None, **named: Any,
    ) -> tuple[Any, Pullback]:  # fmt: skip
        """Run over whole sequences and keep what back-propagation needs.

        Returns:
            the outputs, and a pullback: `grads = pullback(dY)`. `pullback.state` is the final state.
        """
        call = self._sequences.call(inputs, named, state, lengths, reset)
        compiled = self.compiled(training=training)
        outcome = self._forward(call, compiled.recording, rng)
        pullback = Pullback(self, call, compiled.backward, outcome)
        return self._outputs(outcome, call), pullback

    def stream(self, *, state: Any = None, n_instances: int | None = None, **contexts: Any) -> Stream:
        """One step after another: `y_t = stream(x_t)` gives what `layer(X)` gives at each step.

        Args:
            state: where to begin; as in `run`.
            n_instances: how many at once; None for one, without the axis.
            contexts: the cell's contexts by name.
        """
        if self.reverse:
            raise OptionError(lay_out(f"{self.name}: a reverse layer begins at the last step, and can not be streamed"))
        return Stream(self, state, n_instances, contexts)

    def _forward(self, call: Call, program: Program, rng: Any) -> Outcome:
        masks = program.with_role("mask")
        generator = (self._rng if rng is None else np.random.default_rng(rng)) if masks else None
        values = dict(call.values)
        for port in masks:
            assert generator is not None
            values[port.name] = self._mask(port, call, generator)
        call.values.update(values)
        return run(program, call.timeline, values, self.weights, call.reset)

    def _mask(self, port: Port, call: Call, generator: np.random.Generator) -> Array:
        timeline, sizes = call.timeline, port.value.type.sizes
        per_step = port.value.type.varies == Varies.STEP
        # drawn for padding too, so that a mask does not depend on the lengths of others
        shape = (timeline.n_steps, timeline.n_instances, *sizes) if per_step else (timeline.n_instances, *sizes)
        keep = (generator.random(shape) >= port.rate) / (1 - port.rate)
        keep = keep.astype(DTYPES[self.graph.dtype])
        return timeline.pack(keep) if per_step else timeline.sort(keep)

    def _outputs(self, outcome: Outcome, call: Call) -> Any:
        outputs = {
            name: self._sequences.as_given(call.timeline.unpack(rows), call.n_leading)
            for name, rows in outcome.outputs.items()
        }
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _states(self, states: Mapping[str, Array], call: Call) -> dict[str, Array]:
        unsorted = {name: call.timeline.unsort(array) for name, array in states.items()}
        return unsorted if call.n_leading == 2 else {name: array[0] for name, array in unsorted.items()}

    # --- explaining, saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and description to a safetensors file, atomically.

        Raises:
            FileError: it can not be written.
        """
        files.write(path, dict(self.weights), self.description)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the layer is, without its weights: everything `from_description` needs."""
        return {
            "kind": "layer",
            "graph": str(self._graphs[False]),
            "training_graph": str(self._graphs[True]),
            "doc": self.doc,
            "options": {name: getattr(value, "__name__", repr(value)) for name, value in self.options.items()},
            "batch_first": self.batch_first,
            "reverse": self.reverse,
            "seed": self.seed,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any], arrays: Mapping[str, Array]) -> Layer:
        """The layer that was saved. Nothing in the description is executed.

        Raises:
            FileError: something is missing or does not fit.
        """

        doc = files.field(description, "doc", str)
        texts = {False: "graph", True: "training_graph"}
        graphs = {t: replace(read_graph(files.field(description, key, str)), doc=doc) for t, key in texts.items()}
        layer = cls.__new__(cls)
        layer.cell, layer.sizes = None, dict(graphs[False].sizes)
        layer.options = dict(files.field(description, "options", dict))
        layer._set_up(
            graphs, batch_first=files.field(description, "batch_first", bool),
            reverse=files.field(description, "reverse", bool), backend="numpy", seed=files.field(description, "seed", int),
        )  # fmt: skip
        if set(arrays) != set(layer.weights):
            headline = f"the file holds the weights {sorted(arrays)}, and {layer.name} has {sorted(layer.weights)}"
            raise FileError(lay_out(headline))
        try:
            layer.weights.update(arrays)
        except DataError as error:
            raise FileError(lay_out(f"a weight in the file does not fit: {error}")) from None
        return layer


class Pullback:
    """Takes adjoints of the outputs back to the inputs, the initial state and the weights. May be called again and again."""

    def __init__(self, layer: Layer, call: Call, program: Program, outcome: Outcome) -> None:
        self._layer, self._call, self._program, self._outcome = layer, call, program, outcome
        self._weights = dict(layer.weights)  # as they were in the forward pass
        self.state = layer._states(outcome.states, call)

    @property
    def recorded_bytes(self) -> int:
        """Bytes kept for the backward pass."""
        return sum(array.nbytes for array in self._outcome.records.values())

    def __call__(self, dY: Any = None, *, state: Any = None) -> Gradients:  # noqa: N803 - the name in the formula
        """Back-propagation through time.

        Args:
            dY: the adjoint of the output, of its shape; a dictionary where there are several. None: zeros.
            state: the adjoints of the final states by name; what is not given is 0.

        Raises:
            DataError: shapes that do not fit the outputs or states.
        """
        layer, call, program = self._layer, self._call, self._program
        values = {**call.values, **self._outcome.records}
        adjoints = self._adjoints(dY)
        given = layer._sequences.state(state or {}, call.timeline.n_instances, call.n_leading == 2)
        for port in program.states:
            begin = given[port.of] if port.of in (state or {}) else np.zeros_like(given[port.of])
            values[port.name] = call.timeline.sort(begin)
        for port in program.with_role("adjoint"):
            values[port.name] = adjoints[port.of]
        outcome = run(program, call.timeline, values, self._weights, call.reset)
        return self._gathered(outcome)

    def _adjoints(self, given: Any) -> dict[str, Array]:
        layer, call = self._layer, self._call
        outputs = self._outcome.outputs
        if not isinstance(given, Mapping):
            given = {} if given is None else dict.fromkeys(list(outputs)[:1], given)
        result = {}
        for name in given:
            if name not in outputs:
                headline = f"{layer.name}: there is no output `{name}`; {known_names(name, outputs, 'outputs')}"
                raise DataError(lay_out(headline))
        for name, rows in outputs.items():
            shape = layer._sequences.as_given(call.timeline.unpack(rows), call.n_leading).shape
            if name not in given:
                result[name] = np.zeros_like(rows)
                continue
            array = numbers(f"d{name}", given[name], rows.dtype, layer.name)
            if array.shape != shape:
                headline = f"{layer.name}: the adjoint of `{name}` has shape {array.shape}, and `{name}` has {shape}"
                raise DataError(lay_out(headline))
            result[name] = call.timeline.pack(layer._sequences.time_first(array, call.n_leading))
        return result

    def _gathered(self, outcome: Outcome) -> Gradients:
        layer, call, program = self._layer, self._call, self._program
        graph, timeline = layer.graph, call.timeline
        weights = {name: np.zeros_like(array) for name, array in self._weights.items()}
        rows: dict[str, Array] = {}
        contexts: dict[str, Array] = {}
        roles = {p.name: p.role for p in graph.ports}
        for result, array in zip(program.results_with("gradient"), outcome.gradients, strict=True):
            if roles[result.name] == "input":
                rows[result.name] = array
            elif roles[result.name] == "context":
                contexts[result.name] = array
            else:
                part = result.block.slices if result.block else ...
                weights[result.name][part] += array.reshape(weights[result.name][part].shape)
        inputs = {}
        for port in graph.with_role("input"):
            given = rows.get(port.name, np.zeros((timeline.n_rows, *port.value.type.sizes), layer._sequences.dtype))
            full = np.broadcast_to(given, (timeline.n_rows, *given.shape[1:]))
            inputs[port.name] = layer._sequences.as_given(timeline.unpack(np.ascontiguousarray(full)), call.n_leading)
        states = {p.of: outcome.states[p.name] for p in program.states}
        by_name = {}
        for port in graph.with_role("context"):
            zeros = np.zeros((timeline.n_instances, *port.value.type.sizes), layer._sequences.dtype)
            by_name[port.name] = np.array(np.broadcast_to(contexts.get(port.name, zeros), zeros.shape))
        return Gradients(
            next(iter(inputs.values())) if len(inputs) == 1 else inputs,
            layer._states(by_name, call), layer._states(states, call), weights,
        )  # fmt: skip


class Stream:
    """A layer running one step at a time. `state` is where it stands; `reset()` begins again."""

    def __init__(self, layer: Layer, state: Any, n_instances: int | None, contexts: Mapping[str, Any]) -> None:
        self._layer, self._n_instances = layer, n_instances
        if n_instances is not None and (isinstance(n_instances, bool) or not isinstance(n_instances, int | np.integer) or n_instances < 0):
            raise DataError(lay_out(f"{layer.name}: `n_instances` is a whole number from 0 up, not {n_instances!r}"))
        self._contexts = dict(contexts)
        self._begin = self._checked(state)
        self._state = self._begin

    def _checked(self, state: Any) -> dict[str, Array]:
        batched = self._n_instances is not None
        arrays = self._layer._sequences.state(state, self._n_instances or (0 if batched else 1), batched)
        return {name: (array if batched else array[0]).copy() for name, array in arrays.items()}

    @property
    def state(self) -> dict[str, Array]:
        """The state after the last step; a copy. Assign to continue from elsewhere."""
        return {name: array.copy() for name, array in self._state.items()}

    @state.setter
    def state(self, state: Any) -> None:
        self._state = self._checked(state)

    def reset(self) -> None:
        """Back to where the stream began."""
        self._state = self._begin

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """One step: inputs (n_instances, ...), or (...) for one instance; the output likewise."""
        axis = 1 if self._layer.batch_first and self._n_instances is not None else 0
        ports = self._layer.graph.with_role("input")
        lifted = [self._lift(x, axis, port) for x, port in zip(inputs, ports, strict=False)]
        rest = {name: self._lift(x, axis, None) for name, x in named.items()}
        outputs, self._state = self._layer.run(*lifted, *inputs[len(ports) :], state=self._state, **rest, **self._contexts)
        if isinstance(outputs, dict):
            return {name: y.take(0, axis) for name, y in outputs.items()}
        return outputs.take(0, axis)

    def _lift(self, x: Any, axis: int, port: Port | None) -> Array:
        array = np.asarray(x)
        if port is not None and array.ndim != len(port.value.type.dims) + (self._n_instances is not None):
            dims = ", ".join([*(["n_instances"] if self._n_instances is not None else []), *map(str, port.value.type.dims)])
            headline = f"{self._layer.name}: `{port.name}` has shape {array.shape}, and one step must be ({dims})"
            raise DataError(lay_out(headline))
        return np.expand_dims(array, axis)


def _named_dtype(dtype: Any) -> str:
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def _by_blocks(graph: Graph, name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Orthogonal where a part of the weight multiplies what depends on a state, Glorot elsewhere."""
    array = Glorot().draw(shape, generator)
    moving = state_dependent(graph.nodes, [p.name for p in graph.states])
    turned = {n.value.name: n.args[0].name for n in graph.nodes if n.op == "transpose"}
    blocks = {p.name: p for p in graph.ports if p.parameter == name}
    recurrent: dict[str, bool] = {}
    for node in graph.nodes:
        if node.op == "matmul":
            right = turned.get(node.args[1].name, node.args[1].name)
            if right in blocks:
                recurrent[right] = recurrent.get(right, False) or node.args[0].name in moving
    for block_name, is_recurrent in recurrent.items():
        port = blocks[block_name]
        part = port.block.slices if port.block else (slice(None),) * len(shape)
        how: Initialiser = Orthogonal() if is_recurrent and len(shape) == 2 else Glorot()
        array[part] = how.draw(array[part].shape, generator)
    return array


