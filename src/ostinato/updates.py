"""How weights change: update rules, written as cells. One instance is one parameter, one step is one update.

The input of such a cell is the gradient g, its first state the parameter w, its other states what the rule remembers, and its
weights are the rule's own settings: numbers that may be assigned between updates, as a schedule does with `learning_rate`.

    rule = UpdateRule("adam", learning_rate=1e-3)
    rule.step(layer.weights, gradients.weights)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod, sqrt
from typing import Any, Protocol

import numpy as np

from .cell import Cell, cell
from .declarations import Input, State, Weight
from .errors import DataError, OptionError, known_names, lay_out
from .layer import Layer
from .ops import sqrt as square_root
from .sequences import numbers
from .weights import Weights

Array = np.ndarray[Any, np.dtype[Any]]


@cell
def sgd(
    g=Input(), w=State(), v=State(),
    learning_rate=Weight(init=0.01), momentum=Weight(init=0.0), weight_decay=Weight(init=0.0),
    *, nesterov=False,
):  # fmt: skip
    """Gradient descent with momentum: v = momentum v + g;  w = w - learning_rate v.

    The momentum of Polyak 1964; with `nesterov`, that of Nesterov as Sutskever et al. 2013 write it. `weight_decay` adds
    weight_decay w to the gradient.
    """
    g = g + weight_decay * w
    v = momentum * v + g
    return w - learning_rate * (g + momentum * v if nesterov else v), v


@cell
def adam(
    g=Input(), w=State(), m=State(), v=State(), p=State(initial=1.0), q=State(initial=1.0),
    learning_rate=Weight(init=0.001), beta_1=Weight(init=0.9), beta_2=Weight(init=0.999), epsilon=Weight(init=1e-8),
):  # fmt: skip
    """Adam (Kingma and Ba 2015, algorithm 1); p and q are the powers of beta_1 and beta_2.

    m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g²;
    w = w - learning_rate (m / (1 - p)) / (sqrt(v / (1 - q)) + epsilon).
    """
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * (g * g)
    p, q = p * beta_1, q * beta_2
    return w - learning_rate * (m / (1 - p)) / (square_root(v / (1 - q)) + epsilon), m, v, p, q


@cell
def adamw(
    g=Input(), w=State(), m=State(), v=State(), p=State(initial=1.0), q=State(initial=1.0),
    learning_rate=Weight(init=0.001), beta_1=Weight(init=0.9), beta_2=Weight(init=0.999), epsilon=Weight(init=1e-8),
    weight_decay=Weight(init=0.01),
):  # fmt: skip
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2); the decay is scaled by the learning rate.

    w = w - learning_rate weight_decay w, and then as Adam.
    """
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * (g * g)
    p, q = p * beta_1, q * beta_2
    decayed = w - learning_rate * weight_decay * w
    return decayed - learning_rate * (m / (1 - p)) / (square_root(v / (1 - q)) + epsilon), m, v, p, q


RULES: dict[str, Cell] = {rule.name: rule for rule in (sgd, adam, adamw)}


class AssignableWeights(Protocol):
    """The weights of a layer or network."""

    def __getitem__(self, name: str, /) -> Array: ...
    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...
    def update(self, arrays: Mapping[str, Any], /) -> None: ...


class UpdateRule:
    """A rule with what it remembers of all parameters, which it sees as one long batch of instances.

    Args:
        rule: "sgd", "adam", "adamw", or a cell of your own: one Input (the gradient), the first State the parameter, and no
            dimensions.
        dtype: in what the rule computes, "float32" or "float64". None: the dtype of the weights at the first step.
        options_and_settings: keyword-only options of the cell, and values of its weights, such as learning_rate.

    Attributes:
        state: what it remembers, name -> (n_parameters,).
        n_updates: how many updates it has made.

    Raises:
        OptionError: an unknown rule, setting or dtype, or a cell of another form.
    """

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
                known = known_names(name, [*self.settings, *rule.options], "settings")
                raise OptionError(lay_out(f"{self.name}: there is no setting `{name}`; {known}"))
        self.settings.update(given)
        self.state: dict[str, Array] = {}
        self.n_updates = 0
        self._remembered: dict[str, tuple[tuple[int, ...], str]] = {}  # weight name -> shape and dtype at the first step

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

    def step(self, weights: AssignableWeights, gradients: Mapping[str, Any]) -> None:
        """Change all weights once; nothing is changed if anything does not fit.

        Args:
            weights: `layer.weights` or `network.weights`.
            gradients: of each weight, of its shape: `pullback(dY).weights`.

        Raises:
            DataError: gradients of other names or shapes, or weights of other names, shapes or dtype than at the first step.
        """
        names = list(self._remembered) if set(weights) == set(self._remembered) else list(weights)
        if set(gradients) != set(names):
            found, wanted = (", ".join(f"`{n}`" for n in sorted(group)) or "none" for group in (gradients, names))
            raise DataError(lay_out(f"{self.name}: gradients are given for {found}, and the weights are {wanted}"))
        if not names:  # a network without weights has nothing to change
            return
        found_dtype = weights[names[0]].dtype.name
        layer = self._layer if self._dtype or self._remembered else self._layer_in(found_dtype)
        dtype = np.dtype(layer.dtype)
        parts = []
        for name in names:
            part = numbers(f"gradient of {name}", gradients[name], dtype, self.name)
            if part.shape != weights[name].shape:
                headline = f"{self.name}: the gradient of `{name}` has shape {part.shape}, and the weight {weights[name].shape}"
                raise DataError(lay_out(headline))
            parts.append(part.ravel())
        self._check_weights({name: (weights[name].shape, weights[name].dtype.name) for name in names})
        g = np.concatenate(parts)
        w = np.concatenate([weights[name].ravel().astype(dtype) for name in names])
        _, state = self._set(layer).run(g[None], state={**self.state, self._parameter: w})
        ends = np.cumsum([part.size for part in parts])[:-1]
        pieces = np.split(state[self._parameter], ends)
        weights.update({name: piece.reshape(weights[name].shape) for name, piece in zip(names, pieces, strict=True)})
        self._layer, self.state = layer, state
        self._remembered = {name: (weights[name].shape, found_dtype) for name in names}
        self.n_updates += 1

    def _layer_in(self, dtype: str) -> Layer:
        return self._layer if self._layer.dtype == dtype else Layer(self._rule, dtype=dtype, **self._options)

    def _set(self, layer: Layer) -> Layer:
        """The layer with the settings of now."""
        if layer.weights is not self._settings:
            layer.weights.update(self._settings)
        return layer

    def _check_weights(self, given: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Refuse weights that are not those of the first step; all have one dtype."""
        hint = "make one UpdateRule for each network"
        known = self._remembered or {name: (shape, next(iter(given.values()))[1]) for name, (shape, _) in given.items()}
        sizes = [sum(prod(shape) for shape, _ in group.values()) for group in (known, given)]
        if sizes[0] != sizes[1]:
            headline = f"{self.name}: it remembers {sizes[0]} parameters, and is given {sizes[1]}"
            raise DataError(lay_out(headline, hint=hint))
        if set(known) != set(given):
            names = [", ".join(f"`{name}`" for name in group) for group in (known, given)]
            raise DataError(lay_out(f"{self.name}: it remembers the weights {names[0]}, and is given {names[1]}", hint=hint))
        for name, (shape, dtype) in known.items():
            if given[name][0] != shape:
                headline = f"{self.name}: it remembers `{name}` of shape {shape}, and is given the shape {given[name][0]}"
                raise DataError(lay_out(headline, hint=hint))
            if given[name][1] != dtype:
                headline = f"{self.name}: it changes weights in {dtype}, and `{name}` is given in {given[name][1]}"
                raise DataError(lay_out(headline, hint=hint))


def global_norm(gradients: Mapping[str, Array]) -> float:
    """The length of all gradients together, as one vector."""
    largest = max((float(np.abs(g).max()) for g in gradients.values() if g.size), default=0.0)
    if not largest or not isfinite(largest):
        return largest
    return largest * sqrt(sum(float(np.square(g / largest, dtype=np.float64).sum()) for g in gradients.values()))


def clip_by_global_norm(gradients: Mapping[str, Array], limit: float) -> tuple[dict[str, Array], float]:
    """Scale all gradients by one factor, so that together they are not longer than `limit` (Pascanu et al. 2013, algorithm 1).

    Returns:
        the gradients, and their length before.

    Raises:
        OptionError: the limit is no number above 0.
        DataError: a gradient is not finite: there is no direction to keep.
    """
    if isinstance(limit, bool) or not isinstance(limit, int | float | np.integer | np.floating) or not limit > 0:
        raise OptionError(lay_out(f"clip_by_global_norm: the limit is a number above 0, and is {limit!r}"))
    norm = global_norm(gradients)
    if not isfinite(norm):
        wrong = next(name for name, g in gradients.items() if not np.isfinite(g).all())
        raise DataError(lay_out(f"clip_by_global_norm: the gradient of `{wrong}` is not finite"))
    factor = min(1.0, limit / norm) if norm else 1.0
    # in float64: the factor alone may be below what float32 holds
    clipped = {
        n: g if factor == 1.0 else np.multiply(g, factor, dtype=np.float64).astype(g.dtype) for n, g in gradients.items()
    }
    return clipped, norm
