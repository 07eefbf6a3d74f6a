"""The ways in which sequences come to a layer: and how a case of loops.py is called so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ostinato import Layer


@dataclass(frozen=True)
class Scenario:
    """One way in which sequences come."""

    name: str
    n_steps: int = 4
    n_instances: int = 3
    lengths: tuple[int, ...] | None = None
    reset: bool = False
    reverse: bool = False
    batch_first: bool = False
    batched: bool = True

    def __repr__(self):
        return self.name

    @property
    def keywords(self):
        """For the loop by hand."""
        more = {"lengths": self.lengths, "reverse": self.reverse}
        if self.reset:
            more["reset"] = np.random.default_rng(5).random((self.n_steps, self.n_instances)) < 0.4
        return more

    def turned(self, array):
        """(n_steps, n_instances, ...) as this scenario gives and takes it, and back."""
        return array.swapaxes(0, 1) if self.batch_first else array if self.batched else array[:, 0]

    def single(self, array):
        """(n_instances, ...) as this scenario gives and takes it."""
        return array if self.batched else array[0]

    def call(self, case, values):
        """Positional inputs and keywords of a call."""
        more = {name: self.single(values[name]) for name in case.names("context")}
        if case.names("state"):
            more["state"] = {name: self.single(values[name]) for name in case.names("state")}
        if self.lengths is not None:
            more["lengths"] = np.array(self.lengths)
        if self.reset:
            more["reset"] = self.turned(self.keywords["reset"])
        return [self.turned(values[name]) for name in case.names("input")], more


SCENARIOS = [
    Scenario("plain"),
    Scenario("one step", n_steps=1),
    Scenario("no steps", n_steps=0),
    Scenario("no instances", n_instances=0),
    Scenario("one instance", n_instances=1),
    Scenario("lengths", n_steps=5, n_instances=5, lengths=(2, 0, 5, 1, 5)),
    Scenario("lengths of zero", n_instances=2, lengths=(0, 0)),
    Scenario("reset", reset=True),
    Scenario("reset and lengths", n_instances=4, lengths=(3, 4, 0, 1), reset=True),
    Scenario("reverse", reverse=True),
    Scenario("reverse lengths", n_instances=5, lengths=(1, 4, 0, 3, 3), reverse=True),
    Scenario("batch first", n_instances=2, lengths=(3, 4), batch_first=True),
    Scenario("batch first reset reordered", n_instances=2, reset=True, batch_first=True),
    Scenario("unbatched", n_instances=1, batched=False),
    Scenario("unbatched reverse", n_instances=1, reverse=True, batched=False),
    Scenario("unbatched reset length", n_instances=1, lengths=(3,), reset=True, batched=False),
]


def build(case, spelling, sizes, values, scenario=SCENARIOS[0], ready=None, **more):
    """The layer of a spelling with the weights of the case. `ready`: layers to take from, so that each is compiled once."""
    cell, convert = (case.cell, dict) if spelling == "own" else (case.other, case.convert)
    wanted = {name: sizes[name] for name in cell.dimensions}
    more |= {"batch_first": scenario.batch_first, "reverse": scenario.reverse}
    key = (cell.name, *wanted.items(), *sorted(more.items()))
    ready = {} if ready is None else ready
    if key not in ready:
        ready[key] = Layer(cell, **wanted, **case.options, **more)
    ready[key].weights.update(convert({name: values[name] for name in case.names("weight", "bias")}))
    return ready[key]


def named(outputs, case):
    """The outputs of a layer by name, be it one or several."""
    return outputs if isinstance(outputs, dict) else {next(iter(case.outputs)): outputs}


def apart(got, expected):
    """The largest difference, relative to the scale of the values (at least 1); shapes must be equal."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if not expected.size:
        return 0.0
    return float(np.max(np.abs(got - expected)) / max(1.0, float(np.max(np.abs(expected)))))
