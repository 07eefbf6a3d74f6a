"""Random cells, and everything that must hold for each of them.

    python -m tests.random_cells --seconds 60 --seed 1

checks one cell after another for a minute. A failure prints the seed and a script that shows it again, with as few
statements as it takes. How a cell is written stands in random_writer.py.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from typing import Any

import numpy as np

from ostinato import Layer
from ostinato.graph import Graph, problems
from ostinato.read import read_graph, read_program
from tests.random_writer import SCOPE, write


def arguments(layer: Layer, generator: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs, contexts, states and weights; and a way in which the sequences come."""
    n_steps, n_instances = int(generator.integers(0, 5)), int(generator.integers(0, 4))
    leading = {"input": (n_steps, n_instances), "context": (n_instances,), "state": (n_instances,)}
    things = {}
    for port in layer.graph.ports:
        value = generator.standard_normal((*leading.get(port.role, ()), *port.value.type.sizes))
        things[port.name] = value * (0.5 if port.role in ("weight", "bias") else 1.0)
    call: dict[str, Any] = {}
    if generator.random() < 0.5:
        call["lengths"] = generator.integers(0, n_steps + 1, n_instances)
    if not layer.reverse and generator.random() < 0.4:
        call["reset"] = generator.random((n_steps, n_instances)) < 0.4
    return things, call


class Run:
    """One layer on given values: outputs, final states, and what flows back."""

    def __init__(self, layer: Layer, things: dict[str, Any], call: dict[str, Any], adjoints: Any = None) -> None:
        roles = {p.name: p.role for p in layer.graph.ports}
        layer.weights.update({n: v for n, v in things.items() if roles[n] in ("weight", "bias")})
        given = {n: v for n, v in things.items() if roles[n] in ("input", "context")}
        states = {n: v for n, v in things.items() if roles[n] == "state"}
        outputs, pullback = layer.vjp(**given, state=states, **call)
        self.outputs = outputs if isinstance(outputs, dict) else {layer.graph.results_with("output")[0].name: outputs}
        self.state = pullback.state
        if adjoints is not None:
            grads = pullback(adjoints[0], state=adjoints[1])
            inputs = [n for n in things if roles[n] == "input"]
            of_inputs = grads.inputs if isinstance(grads.inputs, dict) else {inputs[0]: grads.inputs}
            self.gradients = {**of_inputs, **grads.contexts, **grads.state, **grads.weights}

    def weighed(self, adjoints: Any) -> float:
        pairs = [(adjoints[0][n], y) for n, y in self.outputs.items()] + [(adjoints[1][n], s) for n, s in self.state.items()]
        return sum(float((d * y).sum()) for d, y in pairs)


def same(what: str, got: dict[str, Any], expected: dict[str, Any], limit: float) -> None:
    assert set(got) == set(expected), f"{what}: {sorted(got)} and {sorted(expected)}"
    for name, array in expected.items():
        assert got[name].shape == np.shape(array), f"{what} `{name}`: shapes {got[name].shape} and {np.shape(array)}"
        if np.size(array):
            difference = float(np.max(np.abs(got[name] - array))) / max(1.0, float(np.max(np.abs(array))))
            assert difference <= limit, f"{what} `{name}`: the difference is {difference}"


def step_by_step(cell: Any, layer: Layer, things: dict[str, Any], call: dict[str, Any]) -> tuple[Any, Any]:
    """The cell called on arrays, instance after instance, step after step."""
    roles = {p.name: p.role for p in layer.graph.ports}
    n_steps, n_instances = next(v.shape[:2] for n, v in things.items() if roles[n] == "input")
    outputs = {r.name: np.zeros((n_steps, n_instances, *r.value.type.sizes)) for r in layer.graph.results_with("output")}
    names = [p.name for p in layer.graph.states]
    final = {n: things[n].copy() for n in names}
    initial = {p.name: p.initial for p in layer.graph.states}
    for b in range(n_instances):
        length = int(call["lengths"][b]) if "lengths" in call else n_steps
        for t in range(length - 1, -1, -1) if layer.reverse else range(length):
            if "reset" in call and call["reset"][t, b]:
                for n in names:
                    final[n][b] = initial[n]
            place = {"input": (t, b), "context": b}
            seen = {n: (final[n][b] if roles[n] == "state" else v[place.get(roles[n], ...)]) for n, v in things.items()}
            returned = cell(**{n: np.array(v) for n, v in seen.items()})
            values = list(returned) if isinstance(returned, tuple) else [returned]
            marked = values[: len(values) - len(names)] or values[:1]
            for n, value in zip(outputs, marked, strict=True):
                outputs[n][t, b] = value
            for n, value in zip(names, values[len(values) - len(names) :], strict=True):
                final[n][b] = value
    return outputs, final


def check(seed: int, n_statements: int = 12) -> None:
    """Everything that must hold for the random cell of a seed."""
    text, sizes = write(seed, n_statements)
    scope = dict(SCOPE)
    exec(text, scope)
    generator = np.random.default_rng([seed, 1])
    built = {"dtype": "float64", "reverse": bool(generator.random() < 0.3)}
    layers = {b: Layer(scope["random_cell"], **sizes, **built, backend=b) for b in ("numpy", "reference")}
    layer = layers["numpy"]
    things, call = arguments(layer, generator)
    in_training = [{"training": True, "rng": seed}] if "dropout" in text else []  # without dropout it is the same graph
    for training in (False, *[True for _ in in_training]):
        for name, stage in layer.compiled(training=training).stages.items():
            assert not problems(stage), f"stage {name}: {problems(stage)}"
            read = read_graph if isinstance(stage, Graph) else read_program
            assert read(str(stage)) == stage, f"stage {name}: its text reads back to something else"
    plain = Run(layer, things, call)
    adjoints = tuple({n: generator.standard_normal(y.shape) for n, y in part.items()} for part in (plain.outputs, plain.state))
    outputs, state = step_by_step(scope["random_cell"], layer, things, call)
    same("step by step, output", plain.outputs, outputs, 1e-9)
    same("step by step, state", plain.state, state, 1e-9)
    for how in (call, *({**call, **more} for more in in_training)):
        compiled, reference = (Run(one, things, how, adjoints) for one in layers.values())
        same("reference, output", compiled.outputs, reference.outputs, 1e-9)
        same("reference, state", compiled.state, reference.state, 1e-9)
        same("reference, gradient", compiled.gradients, reference.gradients, 1e-8)
    alone = layer(*[things[p.name] for p in layer.graph.with_role("input", "context")],
                  state={p.name: things[p.name] for p in layer.graph.states}, **call)  # fmt: skip
    same("run and vjp", alone if isinstance(alone, dict) else dict.fromkeys(plain.outputs, alone), plain.outputs, 1e-9)
    if "stop_gradient" not in text:
        central_differences(layer, things, how, adjoints, compiled.gradients, generator)


def central_differences(
    layer: Layer, things: dict[str, Any], how: dict[str, Any], adjoints: Any, gradients: dict[str, Any],
    generator: np.random.Generator,
) -> None:  # fmt: skip
    scale = max(1.0, *(float(np.max(np.abs(g), initial=0)) for g in gradients.values()))
    for _ in range(3):
        direction = {n: generator.standard_normal(np.shape(v)) for n, v in things.items()}
        got = sum(float((gradients[n] * d).sum()) for n, d in direction.items())
        found = []
        for step in (1e-5, 1e-6):  # a step may meet a kink: one of the two will do
            above, below = (Run(layer, {n: v + s * direction[n] for n, v in things.items()}, how) for s in (step, -step))
            expected = (above.weighed(adjoints) - below.weighed(adjoints)) / (2 * step)
            found.append(abs(got - expected) / max(scale, abs(expected)))
        assert min(found) < 1e-5, f"central differences: {found}, of {got}"


def script(seed: int, n_statements: int) -> str:
    """How to see it again."""
    try:
        text, sizes = write(seed, n_statements)
    except Exception as error:  # noqa: BLE001 - what fails is being shown
        text, sizes = f"# the cell can not even be written: {error!r}\n", {}
    return (
        f"\n# seed {seed}, {n_statements} statements; sizes {sizes}\n{text}\n"
        f"from tests.random_cells import check\ncheck({seed}, {n_statements})\n"
    )


def failure(seed: int, n_statements: int) -> str:
    """What went wrong, or nothing."""
    try:
        check(seed, n_statements)
    except Exception:  # noqa: BLE001 - what fails is shown
        return traceback.format_exc()[-2500:]
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--statements", type=int, default=12)
    given = parser.parse_args()
    warnings.simplefilter("error")
    until, n_checked, failed = time.monotonic() + given.seconds, 0, []
    while time.monotonic() < until and len(failed) < 5:
        seed = given.seed * 1_000_000 + n_checked
        n_checked += 1
        error = failure(seed, given.statements)
        if error:
            failed.append(seed)
            fewer = (n for n in range(1, given.statements) if failure(seed, n))
            n_statements = next(fewer, given.statements)  # the shortest cell of this seed that fails
            print(script(seed, n_statements), failure(seed, n_statements) or error)
    print(f"{n_checked} random cells, {len(failed)} failed: {failed}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
