"""What random use is made of: layers and networks of all forms, what they should be, and calls of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ostinato import (
    Bias,
    Bidirectional,
    BlockDiagonal,
    Context,
    Dropout,
    Input,
    LastStep,
    Layer,
    Network,
    Output,
    State,
    Weight,
    cell,
    cells,
    dropout,
    sigmoid,
    softmax,
    tanh,
)
from tests.random_data import Given, drawn, given, lengths

Array = np.ndarray[Any, Any]
Generator = np.random.Generator
PLANS = ("separate", "fused", "hoisted", "automatic")


@cell
def several(
    x=Input("n_inputs"), z=Input(), c=Context("n_inputs"), h=State("n_neurons"), n=State(initial=1.0),
    W=Weight("n_inputs", "n_neurons"), U=Weight("n_neurons", "n_neurons"), b=Bias("n_neurons"),
):  # fmt: skip
    """Several inputs, a context, states of different ranks, several outputs, and dropout."""
    h = tanh(dropout(x + c, 0.25) @ W + h @ U + b + z)
    n = 0.5 * n + z
    return Output(softmax(h), gate=sigmoid(n), sum=h.sum()), h, n


@cell
def joined(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons"), a=Weight("n_neurons")):
    """No product in its loop; a weight of one dimension."""
    return tanh(x @ W + a * h)


def _layer_recipes(n: int, m: int) -> list[tuple[Any, dict[str, Any]]]:
    sized = {"n_inputs": n, "n_neurons": m}
    return [
        (cells.lstm, sized), (cells.gru, sized), (cells.recurrent, sized), (cells.gru_reset_before, sized),
        (cells.lstm_layer_norm, sized), (cells.min_gru, sized), (cells.min_lstm, sized), (cells.indrnn, sized),
        (cells.sru, sized), (cells.lstm_peephole, sized), (several, sized), (several, sized), (joined, sized),
        (cells.neuron, {"n_inputs": n}), (cells.dense, {"n_inputs": n, "n_outputs": m}),
        (cells.recurrent, {**sized, "structure": {"W_x": None, "W_y": BlockDiagonal(1)}}),
    ]  # fmt: skip


@dataclass
class Subject:
    """A layer or a network under use.

    Attributes:
        make: backend and plan -> a new one, as this one was made.
        thing: the one that is used.
        weights: what its weights should be, in arrays that nobody else has.
        oracle: another one, by another plan; it is given the weights before every call, and has seen no other use.
        streams: those that are open, with what they should stand at.
        kept: results that are kept, and what they should stay.
    """

    rng: Generator
    make: Callable[..., Any]
    thing: Any
    oracle: Any
    backend: str
    weights: dict[str, Array] = field(default_factory=dict)
    streams: list[Any] = field(default_factory=list)
    kept: list[tuple[str, Array, Array]] = field(default_factory=list)
    pullbacks: list[Any] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = {name: np.array(array) for name, array in self.thing.weights.items()}

    @classmethod
    def random(cls, rng: Generator, backend: str) -> Subject:
        maker = _random_layer if rng.random() < 0.6 else _random_network
        make = maker(rng)
        plan, other = (str(p) for p in rng.choice(PLANS, 2, replace=False))
        thing, oracle = make(backend, plan), make(backend, other)
        subject = cls(rng, make, thing, oracle, backend)
        subject.log.append(f"{thing!r}, {backend}, {plan} and {other}, batch_first={thing.batch_first}")
        return subject

    @property
    def is_layer(self) -> bool:
        return isinstance(self.thing, Layer)

    @property
    def has_steps(self) -> bool:
        return self.is_layer or self.thing.gives_steps

    @property
    def layers(self) -> Mapping[str, Layer]:
        return {"": self.thing} if self.is_layer else self.thing.layers

    @property
    def reverse(self) -> bool:
        return any(layer.reverse for layer in self.layers.values())

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        first = next(iter(self.layers.values()))
        return {p.name: p.value.type.sizes for p in first.graph.with_role("input")}

    @property
    def contexts(self) -> dict[str, tuple[int, ...]]:
        return {p.name: p.value.type.sizes for p in self.thing.graph.with_role("context")} if self.is_layer else {}

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{place}.{p.name}" if place else p.name: p.value.type.sizes
            for place, layer in self.layers.items()
            for p in layer.graph.states
        }

    def right(self) -> Any:
        """The oracle, with the weights that there should be."""
        self.oracle.weights.update(self.weights)
        return self.oracle

    def keep(self, what: str, results: Mapping[str, Array]) -> None:
        """Some results are held on to, and looked at again after every action."""
        for name, array in results.items():
            if isinstance(array, np.ndarray) and len(self.kept) < 40 and self.rng.random() < 0.3:
                self.kept.append((f"{name} of {what}", array, array.copy()))

    def check(self) -> None:
        """What must hold between any two actions."""
        assert set(self.thing.weights) == set(self.weights)
        for name, array in self.weights.items():
            same_bits(f"weight {name}", self.thing.weights[name], array)
        for what, array, before in self.kept:
            same_bits(f"kept, {what}", array, before)


def _random_layer(rng: Generator) -> Callable[..., Any]:
    recipes = _layer_recipes(int(rng.integers(1, 6)), int(rng.choice([1, 2, 3, 5, 8, 17])))
    made, sizes = recipes[int(rng.integers(len(recipes)))]
    options = {
        **sizes, "dtype": str(rng.choice(["float32", "float32", "float64"])), "batch_first": bool(rng.random() < 0.3),
        "reverse": bool(rng.random() < 0.2), "seed": int(rng.integers(1000)),
    }  # fmt: skip
    if rng.random() < 0.1:
        options["weight_format"] = "bfloat16"
    return lambda backend, plan: Layer(made, backend=backend, plan=plan, **options)


def _random_network(rng: Generator) -> Callable[..., Any]:
    n, m, k = int(rng.integers(1, 5)), int(rng.choice([1, 3, 4, 9])), int(rng.integers(1, 4))
    dtype, batch_first = str(rng.choice(["float32", "float64"])), bool(rng.random() < 0.3)
    form, last, dropped, seed = int(rng.integers(4)), bool(rng.random() < 0.5), rng.random() < 0.3, int(rng.integers(1000))
    made = [cells.lstm, cells.gru, cells.recurrent, cells.min_gru][int(rng.integers(4))]

    def make(backend: str, plan: str) -> Network:
        layer = partial(Layer, backend=backend, plan=plan, dtype=dtype, batch_first=batch_first)
        parts: list[Any] = [layer(made, n_inputs=n, n_neurons=m, seed=seed)]
        if form == 1:
            parts.append(layer(cells.recurrent, n_inputs=m, n_neurons=m, seed=seed + 1))
        if form == 2:
            ahead, behind = (layer(made, n_inputs=m, n_neurons=m, seed=seed + i, reverse=i == 3) for i in (2, 3))
            parts.append(Bidirectional(ahead, behind))
        width = 2 * m if form == 2 else m
        if last:
            parts[-1] = LastStep(parts[-1])
        if dropped:
            parts.append(Dropout(0.4))
        return Network(*parts, layer(cells.dense, n_inputs=width, n_outputs=k, seed=seed + 4))

    return make


# --- calls


@dataclass
class Arguments:
    """One call: what is given, and what it is in plain arrays."""

    arrays: dict[str, Given]
    options: dict[str, Given]
    state: dict[str, Given]
    n_steps: int
    n_instances: int
    n_leading: int

    def given(self) -> tuple[list[Any], dict[str, Any]]:
        options = {name: g.value for name, g in self.options.items()}
        if self.state:
            options["state"] = {name: g.value for name, g in self.state.items()}
        return [g.value for g in self.arrays.values()], options

    def plain(self) -> tuple[list[Any], dict[str, Any]]:
        options: dict[str, Any] = {name: g.plain for name, g in self.options.items()}
        if self.state:
            options["state"] = {name: g.plain.copy() for name, g in self.state.items()}
        return [g.plain.copy() for g in self.arrays.values()], options

    def everything(self) -> list[Given]:
        return [*self.arrays.values(), *self.options.values(), *self.state.values()]

    def check_untouched(self) -> None:
        for one in self.everything():
            one.check_untouched()

    def __str__(self) -> str:
        named = {**self.arrays, **self.options, **{f"state {n}": g for n, g in self.state.items()}}
        kinds = "; ".join(f"{name}: {g.kind}" for name, g in named.items())
        return f"{self.n_steps} steps, {self.n_instances} instances, {self.n_leading} leading axes; {kinds}"


def arguments(subject: Subject, *, plain: bool = False) -> Arguments:
    """A random call that is right; `plain`: of contiguous arrays of the dtype that is computed in."""
    rng, dtype = subject.rng, subject.thing.dtype
    n_steps, n_instances = int(rng.choice([0, 1, 1, 2, 3, 5, 9])), int(rng.choice([0, 1, 2, 3, 4, 7]))
    n_leading = 1 if rng.random() < 0.2 else 2
    n_instances = 1 if n_leading == 1 else n_instances
    leading = (n_steps,) if n_leading == 1 else (n_instances, n_steps) if subject.thing.batch_first else (n_steps, n_instances)
    of_instances = (n_instances,) if n_leading == 2 else ()

    def one(shape: tuple[int, ...]) -> Given:
        if plain:
            array = drawn(rng, shape, dtype)
            return Given(array, array.copy(), "plain")
        return given(rng, shape, dtype)

    arrays = {name: one((*leading, *sizes)) for name, sizes in subject.inputs.items()}
    arrays |= {name: one((*of_instances, *sizes)) for name, sizes in subject.contexts.items()}
    chosen = [name for name in subject.states if rng.random() < 0.5] if rng.random() < 0.5 else []
    state = {name: one((*of_instances, *subject.states[name])) for name in chosen}
    options = {}
    if rng.random() < 0.4:
        options["lengths"] = lengths(rng, n_steps, n_instances)
    if rng.random() < 0.25 and not subject.reverse and subject.states:
        reset = rng.random(leading) < 0.4
        ways = [reset, np.asfortranarray(reset), reset[::-1][::-1], *([reset.tolist()] if reset.size else [])]
        options["reset"] = Given(ways[int(rng.integers(len(ways)))], reset, "reset")
    return Arguments(arrays, options, state, n_steps, n_instances, n_leading)


# --- comparing


def same_bits(what: str, found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shapes {found.shape} and {expected.shape}"
    assert found.dtype == expected.dtype, f"{what}: dtypes {found.dtype} and {expected.dtype}"
    unlike = ~((found == expected) | ((found != found) & (expected != expected)))
    if unlike.any():
        at = tuple(int(i) for i in np.argwhere(unlike)[0])
        raise AssertionError(f"{what}: {int(unlike.sum())} of {found.size} differ, at {at}: {found[at]!r} and {expected[at]!r}")


def all_same(what: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert set(found) == set(expected), f"{what}: {sorted(found)} and {sorted(expected)}"
    for name, array in expected.items():
        same_bits(f"{what}, {name}", found[name], array)


def close(what: str, found: Mapping[str, Any], expected: Mapping[str, Any], limit: float) -> None:
    for name, array in expected.items():
        scale = max(1.0, float(np.max(np.abs(array), initial=0)))
        off = float(np.max(np.abs(np.asarray(found[name], np.float64) - array), initial=0))
        assert off <= limit * scale, f"{what}, {name}: off by {off}, of {scale}"


def named_results(outputs: Any, state: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs and final states of a call, by name."""
    found = outputs if isinstance(outputs, dict) else {"": outputs}
    return {**{f"output {n}": y for n, y in found.items()}, **{f"state {n}": s for n, s in state.items()}}


def named_gradients(gradients: Any) -> dict[str, Array]:
    inputs = gradients.inputs if isinstance(gradients.inputs, dict) else {"": gradients.inputs}
    parts = {"input": inputs, "context": gradients.contexts, "state": gradients.state, "weight": gradients.weights}
    return {f"d{part} {name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def check_own(results: Mapping[str, Array], arguments_: Arguments | None = None) -> None:
    """Results are writeable, and share memory neither with each other nor with what was given."""
    arrays = list(results.items())
    others = [g.value for g in arguments_.everything() if isinstance(g.value, np.ndarray)] if arguments_ else []
    for i, (name, array) in enumerate(arrays):
        if isinstance(array, np.generic):  # a number, which nobody can change
            continue
        assert type(array) is np.ndarray, f"{name} is a {type(array).__name__}"
        assert array.flags.writeable, f"{name} is read-only"
        for other in others:
            assert not np.may_share_memory(array, other), f"{name} lies in an array that was given"
        for beside, other in arrays[i + 1 :]:
            assert not np.may_share_memory(array, other), f"{name} and {beside} lie in the same memory"
