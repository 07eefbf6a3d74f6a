"""Random cells, and everything that must hold for each of them.

    python -m tests.random_cells --seconds 60 --seed 1
    python -m tests.random_cells --seconds 60 --seed 1 --backend native

checks one cell after another for a minute: what the compiler makes of it, or what native code computes. A failure prints the
seed and a script that shows it again, with as few statements as it takes. How a cell is written stands in random_writer.py.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any
from unittest import mock

import numpy as np

from ostinato import Layer
from ostinato.ir.graph import Graph
from ostinato.ir.op import Op
from ostinato.ir.parse import read_graph, read_program
from ostinato.ir.verify import problems
from ostinato.native.parallel import Shares, ThreadingPolicy, Work
from tests.helpers import of_graphs
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
        for name, stage in of_graphs(layer.compiled(training=training)).items():
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


# --- native code --------------------------------------------------------------------------------------------------------------

PLANS = ("separate", "fused", "hoisted")
BATCHES = (0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 33)
STEPS = (0, 1, 1, 2, 3, 4, 5, 8)
EPSILON = {"float32": float(np.finfo(np.float32).eps), "float64": float(np.finfo(np.float64).eps)}

# ops that round nothing
EXACT = {
    "constant", "slice", "reshape", "transpose", "stretch", "concat", "pad", "patches", "stop_gradient", "where", "negative",
    "abs", "sign", "max", "maximum", "minimum",
}  # fmt: skip


def sequences(layer: Layer, generator: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `arguments`, with larger batches; every number is one of float32, and weights keep what they multiply in scale."""
    n_steps, n_instances = int(generator.choice(STEPS)), int(generator.choice(BATCHES))
    leading = {"input": (n_steps, n_instances), "context": (n_instances,), "state": (n_instances,)}
    things = {}
    for port in layer.graph.ports:
        sizes = port.value.type.sizes
        value = generator.standard_normal((*leading.get(port.role, ()), *sizes))
        if port.role in ("weight", "bias"):
            value *= 0.5 / np.sqrt(max(1.0, (sizes[-2] if len(sizes) > 1 else 1) / 4))
        things[port.name] = value.astype(np.float32)
    call: dict[str, Any] = {}
    if generator.random() < 0.5:
        call["lengths"] = generator.integers(0, n_steps + 1, n_instances)
    if not layer.reverse and generator.random() < 0.4:
        call["reset"] = generator.random((n_steps, n_instances)) < 0.4
    return things, call


def parts(run: Run) -> dict[str, Any]:
    """Everything that came out, by name."""
    kinds = {"output": run.outputs, "state": run.state, "gradient": run.gradients}
    return {f"{kind} `{name}`": array for kind, found in kinds.items() for name, array in found.items()}


def equal(what: str, got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(got) == set(expected), f"{what}: {sorted(got)} and {sorted(expected)}"
    for name, array in expected.items():
        assert got[name].shape == array.shape, f"{what}, {name}: shapes {got[name].shape} and {array.shape}"
        unlike = ~((got[name] == array) | (np.isnan(got[name]) & np.isnan(array)))
        if unlike.any():
            at = tuple(int(i) for i in np.argwhere(unlike)[0])
            values = f"{got[name][at]!r} and {array[at]!r}"
            raise AssertionError(f"{what}, {name}: {int(unlike.sum())} of {array.size} differ, at {at}: {values}")


def near(got: dict[str, Any], exact: dict[str, Any], dtype: str, yardsticks: Any) -> None:
    """Native code may be wrong by 64 roundings of the scale of an array, or by 16 times what roundings come to in this cell.

    What they may come to is measured where it is needed: `yardsticks()` are results of NumPy with roundings everywhere, so
    that a cell that magnifies errors (a sum that cancels, the slope of a saturated tanh) is measured by what it does to them.
    """
    measured: list[dict[str, Any]] = []
    for name, array in exact.items():
        assert got[name].shape == array.shape, f"{name}: shapes {got[name].shape} and {array.shape}"
        if not array.size:
            continue
        scale = max(1.0, float(np.max(np.abs(array))))
        error = float(np.max(np.abs(got[name] - array)))
        if error <= 64 * EPSILON[dtype] * scale:
            continue
        measured = measured or yardsticks()
        usual = max(float(np.max(np.abs(m[name] - array))) for m in measured)
        at = np.unravel_index(np.argmax(np.abs(got[name] - array)), array.shape)
        assert error <= 16 * usual, f"{name}: wrong by {error} at {at}; roundings come to {usual}, and the scale is {scale}"


class Native:
    """One random cell, compiled with every plan and interpreted in float64."""

    def __init__(self, seed: int, n_statements: int) -> None:
        text, sizes = write(seed, n_statements, wide=bool(seed % 3))
        scope = dict(SCOPE)
        exec(text, scope)
        self.generator, self.roundings = (np.random.default_rng([seed, i]) for i in (2, 3))
        self.dtype = "float64" if self.generator.random() < 0.2 else "float32"
        self.more = {"training": True, "rng": seed} if "dropout" in text else {}
        built = {**sizes, "reverse": bool(self.generator.random() < 0.3)}
        cell = scope["random_cell"]
        self.exact = Layer(cell, **built, dtype="float64", backend="numpy")
        self.numpy = Layer(cell, **built, dtype=self.dtype, backend="numpy")
        self.plans = {plan: Layer(cell, **built, dtype=self.dtype, backend="native", plan=plan) for plan in PLANS}
        self.turned = Layer(cell, **built, dtype=self.dtype, backend="native", plan=PLANS[-1], batch_first=True)

    def yardsticks(self, things: dict[str, Any], call: dict[str, Any], adjoints: Any) -> list[dict[str, Any]]:
        """Results of NumPy in the dtype of native code; and exact ones in which everything is off by a rounding or two."""

        def off(array: Any) -> Any:
            return array * (1 + 2 * EPSILON[self.dtype] * self.roundings.uniform(-1, 1, np.shape(array)))

        def compute(record: Any, args: Any, options: Any) -> Any:
            value = exactly(record, args, options)
            return value if value.dtype == bool or record.name in EXACT else off(value)

        found, exactly = [parts(Run(self.numpy, things, call, adjoints))], Op.compute
        with mock.patch.object(Op, "compute", compute):
            for _ in range(4):
                near_by = {n: off(v) for n, v in things.items()}
                d_near_by = tuple({n: off(d) for n, d in part.items()} for part in adjoints)
                found.append(parts(Run(self.exact, near_by, call, d_near_by)))
        return found

    def case(self) -> None:
        """One call, forwards and backwards: by every plan, and by NumPy."""
        things, call = sequences(self.exact, self.generator)
        call |= self.more
        plain = Run(self.exact, things, call)
        adjoints = tuple(
            {n: self.generator.standard_normal(y.shape).astype(np.float32) for n, y in part.items()}
            for part in (plain.outputs, plain.state)
        )
        exact = parts(Run(self.exact, things, call, adjoints))
        results = {plan: parts(Run(layer, things, call, adjoints)) for plan, layer in self.plans.items()}
        for plan, result in results.items():
            near(result, exact, self.dtype, lambda: self.yardsticks(things, call, adjoints))
            equal(f"{plan} and {PLANS[0]}", result, results[PLANS[0]])
        self.parts_of(things, call, adjoints, results[PLANS[-1]])

    def parts_of(self, things: dict[str, Any], call: dict[str, Any], adjoints: Any, whole: dict[str, Any]) -> None:
        """A run alone, and some of the instances by themselves: the same bits."""
        layer = self.plans[PLANS[-1]]
        roles = {p.name: p.role for p in layer.graph.ports}
        given = {n: v for n, v in things.items() if roles[n] in ("input", "context")}
        states = {n: v for n, v in things.items() if roles[n] == "state"}
        outputs, state = layer.run(**given, state=states, **call)
        outputs = outputs if isinstance(outputs, dict) else {layer.graph.results_with("output")[0].name: outputs}
        alone = {f"output `{n}`": y for n, y in outputs.items()} | {f"state `{n}`": s for n, s in state.items()}
        equal("run and vjp", alone, {n: whole[n] for n in alone})
        if not call:
            self.again(given, states, alone)
        self.batch_first(things, call, adjoints, whole)
        self.by_threads(things, call, adjoints, whole)
        n_instances = next(v.shape[1] for n, v in things.items() if roles[n] == "input")
        if n_instances < 2 or self.more:  # masks are drawn for a whole batch
            return
        part = np.sort(self.generator.permutation(n_instances)[: int(self.generator.integers(1, n_instances))])
        axis = {"input": 1, "context": 0, "state": 0}
        fewer = {n: v.take(part, axis[roles[n]]) if roles[n] in axis else v for n, v in things.items()}
        less = {name: value.take(part, value.ndim - 1) for name, value in call.items()}  # lengths (n,), reset (t, n)
        d_outputs, d_states = adjoints
        some = parts(
            Run(layer, fewer, less, ({n: d[:, part] for n, d in d_outputs.items()}, {n: d[part] for n, d in d_states.items()}))
        )
        for name, array in some.items():
            kind, port = name.split(" ")[0], name.split("`")[1]
            if kind != "gradient" or roles[port] in axis:  # gradients of weights are sums over all instances
                over = 1 if kind == "output" or (kind == "gradient" and roles[port] == "input") else 0
                equal("some instances", {name: array}, {name: whole[name].take(part, over)})

    def again(self, given: dict[str, Any], states: dict[str, Any], expected: dict[str, Any]) -> None:
        """Calls like one before, which go a shorter way: the same bits."""
        layer = self.plans[PLANS[-1]]
        names = [p.name for p in (*layer.graph.with_role("input"), *layer.graph.with_role("context"))]
        arrays = [np.ascontiguousarray(given[n], self.dtype) for n in names]
        begin = {n: np.ascontiguousarray(s, self.dtype) for n, s in states.items()}
        for _ in range(2):
            outputs, state = layer.run(*arrays, state=begin or None)
            outputs = outputs if isinstance(outputs, dict) else {layer.graph.results_with("output")[0].name: outputs}
            found = {f"output `{n}`": y for n, y in outputs.items()} | {f"state `{n}`": s for n, s in state.items()}
            equal("a call like one before", found, expected)

    def batch_first(self, things: dict[str, Any], call: dict[str, Any], adjoints: Any, whole: dict[str, Any]) -> None:
        """The same sequences with the batch in front: the same bits."""
        roles = {p.name: p.role for p in self.turned.graph.ports}

        def turn(array: Any) -> Any:
            return np.swapaxes(array, 0, 1)

        if self.more:  # the generator of masks has gone on
            return
        turned = {n: turn(v) if roles[n] == "input" else v for n, v in things.items()}
        reset = {"reset": turn(call["reset"])} if "reset" in call else {}
        d_outputs = {n: turn(d) for n, d in adjoints[0].items()}
        found = parts(Run(self.turned, turned, {**call, **reset}, (d_outputs, adjoints[1])))
        for name in found:
            kind, port = name.split(" ")[0], name.split("`")[1]
            if kind == "output" or (kind == "gradient" and roles[port] == "input"):
                found[name] = turn(found[name])
        equal("batch first", found, whole)

    def by_threads(self, things: dict[str, Any], call: dict[str, Any], adjoints: Any, whole: dict[str, Any]) -> None:
        """However many threads share the instances, or the neurons: the same bits."""
        n = int(self.generator.integers(2, 5))
        for by_neurons in (False, True):

            def threads(work: Any, timeline: Any, available: int, by_neurons: bool = by_neurons) -> Any:
                return None if by_neurons and not work.products else Shares(n, by_neurons)

            with mock.patch.object(Work, "threads", threads), mock.patch.object(ThreadingPolicy, "shares", return_value=True):
                shared = parts(Run(self.plans[PLANS[-1]], things, call, adjoints))
            equal(f"{n} threads, {by_neurons=}", shared, whole)


def check_native(seed: int, n_statements: int = 12, n_cases: int = 12) -> int:
    """Everything that must hold for native code of the random cell of a seed; the number of runs that were compared."""
    native = Native(seed, n_statements)
    with np.errstate(all="ignore"):
        for _ in range(n_cases):
            native.case()
    return n_cases * len(PLANS)


# --- looking for failures -----------------------------------------------------------------------------------------------------


CHECKS = {"numpy": check, "native": check_native}


def script(seed: int, n_statements: int, backend: str = "numpy") -> str:
    """How to see it again."""
    name = CHECKS[backend].__name__
    try:
        text, sizes = write(seed, n_statements, wide=backend == "native" and bool(seed % 3))
    except Exception as error:  # noqa: BLE001 - what fails is being shown
        text, sizes = f"# the cell can not even be written: {error!r}\n", {}
    return (
        f"\n# seed {seed}, {n_statements} statements; sizes {sizes}\n{text}\n"
        f"from tests.random_cells import {name}\n{name}({seed}, {n_statements})\n"
    )


def outcome(seed: int, n_statements: int, backend: str) -> tuple[str, int]:
    """What went wrong, or nothing; and how many runs were compared."""
    warnings.simplefilter("error")
    try:
        return "", CHECKS[backend](seed, n_statements) or 1
    except Exception:  # noqa: BLE001 - what fails is shown
        return traceback.format_exc()[-2500:], 0


class Apart:
    """Checks in a process of their own, so that a crash of native code is a failure like any other."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.pool = self.process()

    @staticmethod
    def process() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=200)

    def __call__(self, seed: int, n_statements: int) -> tuple[str, int]:
        try:
            return self.pool.submit(outcome, seed, n_statements, self.backend).result()
        except BrokenProcessPool:
            self.pool = self.process()
            return "the process has crashed", 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--statements", type=int, default=12)
    parser.add_argument("--backend", choices=CHECKS, default="numpy")
    parser.add_argument("--failures", type=int, default=5, help="how many failures are enough")
    given = parser.parse_args()
    os.environ.setdefault("OSTINATO_CACHE", "0")  # nobody needs the code of a random cell again
    checked = Apart(given.backend)
    until, n_checked, n_cases, failed = time.monotonic() + given.seconds, 0, 0, []
    while time.monotonic() < until and len(failed) < given.failures:
        seed = given.seed * 1_000_000 + n_checked
        n_checked += 1
        error, cases = checked(seed, given.statements)
        n_cases += cases
        if n_checked % 100 == 0:
            print(f"{n_checked} random cells, {n_cases} cases, {len(failed)} failed", file=sys.stderr, flush=True)
        if error:
            failed.append(seed)
            fewer = (n for n in range(1, given.statements) if checked(seed, n)[0])
            n_statements = next(fewer, given.statements)  # the shortest cell of this seed that fails
            print(script(seed, n_statements, given.backend), checked(seed, n_statements)[0] or error, flush=True)
    print(f"{n_checked} random cells, {n_cases} cases, {len(failed)} failed: {failed}")
    checked.pool.shutdown()
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
