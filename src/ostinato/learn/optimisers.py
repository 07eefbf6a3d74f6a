"""How weights change: an update rule is a cell (rules.py), and `UpdateRule` is one with what it remembers.

The input of such a cell is the gradient g, its first state the parameter w, its other states what the rule remembers, and its
weights are the rule's own settings: numbers that may be assigned between updates, as a schedule does with `learning_rate`.

    rule = UpdateRule("adam", learning_rate=1e-3)
    rule.step(layer.weights, gradients.weights)

A rule of numbers, which all usual ones are, is one native walk over memory: it reads gradients, weights and states where they
are, changes the states in place, and writes the weights into memory that nobody else has. Other rules, and other backends, run
as the layer of a cell whose instances are the parameters. Both give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from ..calls import answering
from ..checks import is_number
from ..errors import DataError, OptionError, known_names, lay_out
from ..language.cell import Cell
from ..layers.layer import Layer
from ..layers.network_weights import NetworkWeights
from ..native.pool import Spares
from ..passes.per_instance import shared_values
from ..process.interrupts import whole
from ..runtime.arguments import numbers
from ..runtime.weights import Weights
from .clipping import clip_by_global_norm, clip_factor, global_norm, scaled
from .restoring import Restorable
from .rule_state import Kind, RuleState
from .rules import ELSEWHERE, RULES, adagrad, adam, adamw, nadam, rmsprop, sgd

Array = np.ndarray[Any, np.dtype[Any]]

__all__ = [
    "RULES", "RuleState", "UpdateRule", "adagrad", "adam", "adamw", "clip_by_global_norm", "clip_factor", "global_norm",
    "nadam", "rmsprop", "sgd",
]  # fmt: skip


class AssignableWeights(Protocol):
    """The weights of a layer or network."""

    def __getitem__(self, name: str, /) -> Array: ...
    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...
    def update(self, arrays: Mapping[str, Any], /) -> None: ...


class UpdateRule(Restorable):
    """A rule with what it remembers of all parameters, which it sees as one long batch of instances.

    Args:
        rule: "sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", or a cell of your own: one Input (the gradient), the first
            State the parameter, and no dimensions.
        dtype: in what the rule computes, "float32" or "float64". None: the dtype of the weights at the first step.
        options_and_settings: keyword-only options of the cell, and values of its weights, such as learning_rate.

    Attributes:
        n_updates: how many updates it has made.

    Raises:
        OptionError: an unknown rule, setting or dtype, or a cell of another form.
    """

    @answering
    def __init__(self, rule: str | Cell = "adam", *, dtype: str | None = None, **options_and_settings: Any) -> None:
        if not isinstance(rule, Cell):
            if not isinstance(rule, str) or rule not in RULES:
                raise OptionError(lay_out(f"there is no update rule `{rule}`; {known_names(str(rule), RULES, 'update rules')}"))
            rule = RULES[rule]
        inputs, states = rule.with_role("input"), rule.with_role("state")
        if len(inputs) != 1 or not states or rule.dimensions or rule.with_role("context"):
            headline = f"UpdateRule: {rule.name} must have one Input, a State first of all, and no dimensions"
            raise OptionError(lay_out(headline))
        options = {k: v for k, v in options_and_settings.items() if k in rule.options}
        given = {k: v for k, v in options_and_settings.items() if k not in rule.options}
        self._rule, self._options, self._dtype = rule, options, dtype
        # until the dtype of the weights is known, settings are kept as they were given
        self._layer = Layer(rule, dtype="float64" if dtype is None else dtype, **options)
        self._settings = self._layer.weights
        self.name, self._parameter = rule.name, states[0]
        for name in given:
            if name not in self.settings:
                raise OptionError(lay_out(f"{self.name}: there is no setting `{name}`; {self._called_here(name)}"))
        self.settings.update(given)
        self.n_updates = 0
        graph = self._layer.graph
        self._text = str(replace(graph, nodes=tuple(replace(node, source=None) for node in graph.nodes)))
        shared = shared_values(graph, states[:1])
        self._states = {name: name in shared for name in states[1:]}  # state -> whether all parameters have the same
        self._forget()

    def _called_here(self, name: str) -> str:
        """The end of a message about a setting that it does not have."""
        known = [*self.settings, *self._rule.options]
        called = ELSEWHERE.get(name, [])
        if called and set(called) <= set(known):
            return f"here {'it is called' if len(called) == 1 else 'they are'} {' and '.join(f'`{n}`' for n in called)}"
        return known_names(name, known, "settings")

    def _forget(self) -> None:
        """As before the first step."""
        self._remembered: dict[str, Kind] = {}  # the weights of the first step
        self._own: dict[str, dict[str, Array]] = {}  # weight -> state -> (size, ...); nobody else has these arrays
        self._shared: dict[str, Array] = {}  # state -> what is the same for all parameters
        self._made: dict[str, Array] = {}  # the weights as the last step made them
        self._spares = Spares()
        self._kernel: Any = None  # a native.updates.FlatStep, for the layer it was made of
        self._run: Any = None  # a native.updates.FlatRun, for the arrays of `_own`

    @property
    def settings(self) -> Weights:
        """The weights of the cell by name, each a number: `rule.settings["learning_rate"] = 1e-4` between two updates.

        They are in the dtype that was asked for, and in float64 if none was.
        """
        return self._settings

    @property
    def layer(self) -> Layer:
        """The rule as a layer, with its settings; of the dtype of the weights from the first step on."""
        return self._set(self._layer)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={float(value):g}" for name, value in self.settings.items())
        return f"<update {self.name}({settings}), {self.n_updates} updates>"

    # --- a step

    @answering
    def step(self, weights: AssignableWeights, gradients: Mapping[str, Any], *, scale: float = 1.0) -> None:
        """Change all weights once; nothing is changed if anything does not fit.

        What holds the weights of before (`dict(layer.weights)`, a pullback, a stream) keeps their values.

        Args:
            weights: `layer.weights` or `network.weights`.
            gradients: of each weight, of its shape: `pullback(dY).weights`.
            scale: what the gradients are multiplied by on the way, as `clip_factor` gives it.

        Raises:
            OptionError: `scale` is no number.
            DataError: gradients of other names or shapes, or weights of other names, shapes or dtype than at the first step.
        """
        if not is_number(scale):
            raise OptionError(lay_out(f"{self.name}: `scale` is a number, not {scale!r}"))
        names = list(self._remembered) if set(weights) == set(self._remembered) else list(weights)
        if set(gradients) != set(names):
            found, wanted = (", ".join(f"`{n}`" for n in sorted(group)) or "none" for group in (gradients, names))
            raise DataError(lay_out(f"{self.name}: gradients are given for {found}, and the weights are {wanted}"))
        if not names:  # a network without weights has nothing to change
            return
        arrays = weights.snapshot if isinstance(weights, Weights | NetworkWeights) else weights  # without a look at every name
        current = {name: arrays[name] for name in names}
        before = self._layer
        layer = self._layer if self._dtype or self._remembered else self._layer_in(current[names[0]].dtype.name)
        dtype = np.dtype(layer.dtype)
        parts = self._checked(gradients, current, dtype)
        if 0 < abs(scale) < np.finfo(dtype).tiny:  # the kernel would hold it with fewer digits, or as 0
            parts, scale = scaled(parts, float(scale)), 1.0
        if not self._remembered or any(self._remembered.get(n) != (a.shape, a.dtype) for n, a in current.items()):
            kinds = {name: Kind(array.shape, array.dtype) for name, array in current.items()}
            self._check_weights(kinds)
            self._begin(kinds, layer)
        kernel = self._flat_step()
        try:
            if kernel is None:
                self._step_as_layer(weights, current, parts, float(scale))
            else:
                self._step_at_once(kernel, weights, current, parts, float(scale))
        except BaseException:
            if not self._made:  # the first step was refused: it was none
                self._forget()
                self._layer = before
            raise

    def _checked(self, gradients: Mapping[str, Any], current: Mapping[str, Array], dtype: np.dtype[Any]) -> dict[str, Array]:
        """The gradients as arrays of the rule's dtype, each of the shape of its weight."""
        parts = {}
        for name, weight in current.items():
            part = parts[name] = numbers(f"gradient of {name}", gradients[name], dtype, self.name)
            if part.shape != weight.shape:
                headline = f"{self.name}: the gradient of `{name}` has shape {part.shape}, and the weight {weight.shape}"
                raise DataError(lay_out(headline))
        return parts

    def _begin(self, kinds: Mapping[str, Kind], layer: Layer) -> None:
        """Before the first step: what is remembered, as the states were declared to begin."""
        dtype = np.dtype(layer.dtype)
        ports = {p.name: p for p in layer.graph.states}

        def beginning(state: str, *leading: int) -> Array:
            return np.full((*leading, *ports[state].value.type.sizes), ports[state].initial, dtype)

        self._own = {
            name: {s: beginning(s, kind.size) for s, shared in self._states.items() if not shared}
            for name, kind in kinds.items()
        }
        self._shared = {s: beginning(s) for s, shared in self._states.items() if shared}
        self._layer, self._remembered, self._kernel, self._run = layer, dict(kinds), None, None

    def expect(self, kinds: Mapping[str, Kind]) -> None:
        """Take these for the weights of the first step, which is not made yet.

        Raises:
            DataError: they are not those that it knows, or of several dtypes.
        """
        self._check_weights(kinds)
        self._begin(kinds, self._layer if self._dtype else self._layer_in(next(iter(kinds.values())).dtype.name))

    def _flat_step(self) -> Any:
        """The rule as one walk over memory; None where it is not one, or where NumPy runs it."""
        layer = self._layer
        if self._kernel is None and layer.backend == "native":
            from ..native.updates import FlatStep  # llvmlite is loaded when it is needed

            own = [self._parameter, *(s for s, shared in self._states.items() if not shared)]
            self._kernel = FlatStep.of(layer.compiled().stages["simplify"], own) or False
        return self._kernel or None

    def _step_at_once(
        self, kernel: Any, weights: AssignableWeights, current: dict[str, Array], parts: Mapping[str, Array], scale: float
    ) -> None:  # fmt: skip
        dtype = np.dtype(self._layer.dtype)
        own = self._own
        if _takes_everything(weights):  # nothing can be refused any more: states change in place
            run = self._run = self._run or self._flat_run(kernel, own)
        else:
            own = {name: {s: np.empty_like(a) for s, a in kept.items()} for name, kept in own.items()}
            run = self._flat_run(kernel, own)
        new = {name: self._spares.take(name, array.shape, dtype) for name, array in current.items()}
        old = [numbers(name, array, dtype, self.name) for name, array in current.items()]
        run.prepare(parts.values(), old, new.values(), scale, self._settings.snapshot, self._shared)
        made = partial(self._commit, weights, current, new, own, self.n_updates + 1)

        def commit() -> None:
            if run.done:
                made(run.shared)

        try:
            run.run()
        finally:  # an interrupt may come when the work is done, and then the step is made
            whole(commit)

    def _flat_run(self, kernel: Any, after: Mapping[str, Mapping[str, Array]]) -> Any:
        from ..native.updates import FlatRun

        before, after_ = ([list(kept.values()) for kept in group.values()] for group in (self._own, after))
        return FlatRun(kernel, [kind.size for kind in self._remembered.values()], before, after_)

    def _step_as_layer(
        self, weights: AssignableWeights, current: dict[str, Array], parts: Mapping[str, Array], scale: float
    ) -> None:  # fmt: skip
        layer = self._set(self._layer)
        dtype = np.dtype(layer.dtype)

        def run(g: Array, own: Mapping[str, Array]) -> dict[str, Array]:
            shared = {s: np.broadcast_to(a, (len(g), *a.shape)) for s, a in self._shared.items()}
            return layer.run(g[None], state={**own, **shared})[1]

        new, remembered = {}, {}
        for name, array in current.items():
            g = parts[name].ravel()
            g = g if scale == 1.0 else (g * scale).astype(dtype, copy=False)
            own = run(g, {self._parameter: array.ravel().astype(dtype), **self._own[name]})
            new[name] = own[self._parameter].reshape(array.shape)
            remembered[name] = {s: own[s] for s in self._own[name]}
        shared = run(np.zeros(1, dtype), {})  # of one parameter more: what is the same for all is so for this one
        shares = {s: shared[s][0].copy() for s in self._shared}
        whole(partial(self._commit, weights, current, new, remembered, self.n_updates + 1, shares))

    def _commit(
        self, weights: AssignableWeights, old: Mapping[str, Array], new: dict[str, Array],
        own: dict[str, dict[str, Array]], n_updates: int, shared: dict[str, Array],
    ) -> None:  # fmt: skip
        """Everything is computed: now it holds. The same when it is done again, as after an interrupt in its midst."""
        changed, dtype = new, next(iter(old.values())).dtype
        if dtype != self._layer.dtype:
            with np.errstate(over="ignore"):  # beyond float32 is infinity, as IEEE says
                changed = {name: array.astype(dtype) for name, array in new.items()}
        if isinstance(weights, Weights | NetworkWeights) and weights.adopts:
            weights.adopt(changed)
        else:
            weights.update(changed)
        if own is not self._own:
            self._own, self._run = own, None
        self._shared = shared
        self.n_updates = n_updates
        for name, array in old.items():
            if array is self._made.get(name):  # of our own making, so that whoever has it is known to Python
                self._spares.put(name, array)
        self._made = new

    def _layer_in(self, dtype: str) -> Layer:
        return self._layer if self._layer.dtype == dtype else Layer(self._rule, dtype=dtype, **self._options)

    def _set(self, layer: Layer) -> Layer:
        """The layer with the settings of now."""
        if layer.weights is not self._settings:
            layer.weights.update(self._settings)
        return layer

    def _check_weights(self, given: Mapping[str, Kind]) -> None:
        """Refuse weights that are not those of the first step; all have one dtype."""
        hint = "make one UpdateRule for each network"
        first = next(iter(given.values())).dtype
        known = self._remembered or {name: Kind(kind.shape, first) for name, kind in given.items()}
        sizes = [sum(kind.size for kind in group.values()) for group in (known, given)]
        if sizes[0] != sizes[1]:
            headline = f"{self.name}: it remembers {sizes[0]} parameters, and is given {sizes[1]}"
            raise DataError(lay_out(headline, hint=hint))
        if set(known) != set(given):
            names = [", ".join(f"`{name}`" for name in group) for group in (known, given)]
            raise DataError(lay_out(f"{self.name}: it remembers the weights {names[0]}, and is given {names[1]}", hint=hint))
        for name, kind in known.items():
            if given[name].shape != kind.shape:
                headline = (
                    f"{self.name}: it remembers `{name}` of shape {kind.shape}, and is given the shape {given[name].shape}"
                )
                raise DataError(lay_out(headline, hint=hint))
            if given[name].dtype != kind.dtype:
                headline = f"{self.name}: it changes weights in {kind.dtype}, and `{name}` is given in {given[name].dtype}"
                raise DataError(lay_out(headline, hint=hint))

    # --- what it remembers

    @property
    def state(self) -> RuleState:
        """What it remembers, state name -> (n_parameters,), as a copy that goes with the names of the weights.

        Assign that of another rule of the same cell to go on from there: what belongs to a weight is found by its name. The
        parameter itself is there as the last step made it. Assign {} to forget everything but the settings.

        Raises:
            DataError: a dictionary without the names of weights, or the state of another cell, dtype or network.
        """
        own, names = self._own, list(self._own)
        if not names:
            return RuleState({}, {})
        n_parameters = sum(kind.size for kind in self._remembered.values())
        arrays = {self._parameter: np.concatenate([self._made[name].ravel() for name in names])} if self._made else {}
        for state, shared in self._states.items():
            if shared:
                value = self._shared[state]
                arrays[state] = np.broadcast_to(value, (n_parameters, *value.shape)).copy()
            else:
                arrays[state] = np.concatenate([own[name][state] for name in names])
        return RuleState(arrays, self._remembered)

    @state.setter
    def state(self, given: Mapping[str, Array]) -> None:
        if isinstance(given, Mapping) and not given:
            self._forget()
            return
        if not isinstance(given, RuleState):
            headline = f"{self.name}: a state is the `state` of a rule, which goes with the names of its weights"
            raise DataError(lay_out(headline, hint="rule.state = other_rule.state"))
        found = [
            ", ".join(f"`{s}`" for s in sorted({*group} - {self._parameter})) or "nothing" for group in (given, self._states)
        ]
        if found[0] != found[1]:
            raise DataError(lay_out(f"{self.name}: it remembers {found[1]}, and the state holds {found[0]}"))
        if self._remembered:
            self._check_weights(given.weights)
        dtype = next((array.dtype.name for array in given.values()), next(iter(given.weights.values())).dtype.name)
        self._check_dtype(dtype)
        mixed = [s for s, shared in self._states.items() if shared and not _is_one(given[s])]
        if mixed:
            raise DataError(lay_out(f"{self.name}: `{mixed[0]}` is the same for all parameters, and the state holds several"))
        sorted_states = {s: given.of_weights(s) for s, shared in self._states.items() if not shared}
        made = given.of_weights(self._parameter) if self._parameter in given else {}
        self._forget()
        self._layer = self._layer_in(dtype)
        self._begin(given.weights, self._layer)
        self._own = {name: {s: sorted_states[s][name].copy() for s in kept} for name, kept in self._own.items()}
        self._shared = {s: given[s][0].copy() if len(given[s]) else a for s, a in self._shared.items()}
        self._made = {name: array.reshape(given.weights[name].shape) for name, array in made.items()}

    def _check_dtype(self, dtype: str) -> None:
        """Refuse a state that is not in the dtype in which the rule computes, where that is settled."""
        settled = self._layer.dtype if self._dtype or self._remembered else dtype
        if dtype != settled:
            raise DataError(lay_out(f"{self.name}: it computes in {settled}, and the state is in {dtype}"))

    def __getstate__(self) -> dict[str, Any]:
        """A pickle, or a copy, has no code, and states of its own: a step changes them in place."""
        own = {name: {s: a.copy() for s, a in kept.items()} for name, kept in self._own.items()}
        return {**self.__dict__, "_own": own, "_kernel": None, "_run": None, "_spares": Spares()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_own" in state:
            self.__dict__.update(state)
            return
        # version 0.1 kept what it remembers as one array for each state, over all parameters
        self.__init__(state["_rule"], dtype=state["_dtype"], **state["_options"])  # type: ignore[misc]
        self.settings.update(state["_settings"])
        if state["state"]:
            kinds = {name: Kind(shape, np.dtype(dtype)) for name, (shape, dtype) in state["_remembered"].items()}
            self.state = RuleState(state["state"], kinds)
        self.n_updates = state["n_updates"]


def _takes_everything(weights: Any) -> bool:
    """Whether nothing that has the right shape is refused."""
    return type(weights) is dict or (isinstance(weights, Weights | NetworkWeights) and weights.adopts)


def _is_one(array: Array) -> bool:
    """Whether all rows are the same."""
    return bool((array == array[:1]).all())
