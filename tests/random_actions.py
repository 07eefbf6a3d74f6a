"""What people do with a layer or a network, in any order; every action has an oracle of its own.

An action takes a `Subject`, does something, and compares it with the oracle: the same call with plain arrays on another object
of the same weights, made apart and run by another plan, to the last bit.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ostinato import Layer, UpdateRule, set_threads
from tests.random_data import drawn, given, wrong, wrong_lengths
from tests.random_moments import forked, interrupted
from tests.random_streams import snapshot, stream
from tests.random_subjects import (
    Arguments,
    Subject,
    all_same,
    arguments,
    check_own,
    close,
    named_gradients,
    named_results,
    same_bits,
)
from tests.random_travel import carry, refused


def run(subject: Subject) -> None:
    """A call with whatever holds the numbers."""
    call = arguments(subject)
    subject.log.append(f"run: {call}")
    found = answered(subject, subject.thing, call)
    call.check_untouched()
    check_own(found, call)
    right = named_results(*subject.right().run(*call.plain()[0], **call.plain()[1]))
    all_same("run", found, right)
    if subject.rng.random() < 0.2:
        exactly(subject, call, found)
    subject.keep("run", found)
    if subject.rng.random() < 0.3:
        spoil(subject, found)


def answered(subject: Subject, thing: Any, call: Arguments) -> dict[str, Any]:
    """Outputs and states of a random way to write this call."""
    values, options = call.given()
    if subject.is_layer and subject.rng.random() < 0.3:
        named = dict(zip(call.arrays, values, strict=True))
        return named_results(*thing.run(**named, **options))
    return named_results(*thing.run(*values, **options))


def exactly(subject: Subject, call: Arguments, found: dict[str, Any]) -> None:
    """The definition in float64, or what is nearest to it: the same to rounding."""
    if not subject.is_layer or subject.thing.weights.weight_format:
        return
    other = subject.make("reference", "automatic")
    other.weights.update(subject.weights)
    limit = 2e-3 if subject.thing.dtype == "float32" else 1e-9
    close("the definition", found, named_results(*other.run(*call.plain()[0], **call.plain()[1])), limit)


def spoil(subject: Subject, results: dict[str, Any]) -> None:
    """A result belongs to the caller, who writes into it."""
    kept = [array for _, array, _ in subject.kept]
    for array in results.values():
        if isinstance(array, np.ndarray) and not any(array is one for one in kept):
            array[...] = np.nan


def again(subject: Subject) -> None:
    """The same shapes several times, which go a shorter way; other arrays and weights in between."""
    call = arguments(subject, plain=True)
    subject.log.append(f"again: {call}")
    for _ in range(int(subject.rng.integers(2, 5))):
        values = [drawn(subject.rng, np.shape(g.value), subject.thing.dtype) for g in call.arrays.values()]
        _, options = call.plain()
        if subject.rng.random() < 0.5:
            found = named_results(subject.thing(*values, **options), {})
        else:
            found = named_results(*subject.thing.run(*values, **options))
        check_own(found)
        right = named_results(*subject.right().run(*[v.copy() for v in values], **call.plain()[1]))
        all_same("again", found, {name: right[name] for name in found})
        subject.keep("again", found)
        if subject.rng.random() < 0.3:
            assign(subject)


def alone(subject: Subject) -> None:
    """One instance by itself, without its axis and cut at its end: the bits that it has among the others (native code)."""
    call = arguments(subject, plain=True)
    if subject.backend != "native" or call.n_leading != 2 or not call.n_instances or not subject.states:
        return
    subject.log.append(f"alone: {call}")
    whole = named_results(*subject.thing.run(*call.plain()[0], **call.plain()[1]))
    i = int(subject.rng.integers(call.n_instances))
    axis = 0 if subject.thing.batch_first else 1
    n = int(call.options["lengths"].plain[i]) if "lengths" in call.options else call.n_steps
    values = [
        g.plain.take(i, axis)[:n] if name in subject.inputs else g.plain[i] for name, g in call.arrays.items()
    ]  # fmt: skip
    options: dict[str, Any] = {"state": {name: g.plain[i] for name, g in call.state.items()}}
    if "reset" in call.options:
        options["reset"] = call.options["reset"].plain.take(i, axis)[:n]
    found = named_results(*subject.thing.run(*values, **options))
    for name, array in found.items():
        if name.startswith("state") or not subject.has_steps:
            same_bits(f"alone, {name}", array, whole[name][i])
        else:
            same_bits(f"alone, {name}", array, whole[name].take(i, axis)[:n])


def vjp(subject: Subject) -> None:
    """Back-propagation, at once and later, with adjoints of any kind."""
    rng = subject.rng
    call = arguments(subject)
    training = {"training": True, "rng": int(rng.integers(1000))} if rng.random() < 0.3 else {}
    subject.log.append(f"vjp: {call} {training}")
    values, options = call.given()
    outputs, pullback = subject.thing.vjp(*values, **options, **training)
    right_outputs, right = subject.right().vjp(*call.plain()[0], **call.plain()[1], **training)
    found = named_results(outputs, pullback.state)
    all_same("vjp", found, named_results(right_outputs, right.state))
    call.check_untouched()
    check_own(found, call)
    outs = outputs if isinstance(outputs, dict) else {"": outputs}
    chosen = {name: given(rng, y.shape, y.dtype.name) for name, y in outs.items() if rng.random() < 0.8}
    d_states = {n: given(rng, s.shape, s.dtype.name) for n, s in pullback.state.items() if rng.random() < 0.5}

    def pulled(by: Any, *, plain: bool) -> dict[str, Any]:
        pick = {n: (g.plain.copy() if plain else g.value) for n, g in chosen.items()}
        d_state = {n: (g.plain.copy() if plain else g.value) for n, g in d_states.items()}
        dY = pick if isinstance(outputs, dict) else pick.get("")
        return named_gradients(by(dY, state=d_state or None))

    expected = pulled(right, plain=True)
    gradients = pulled(pullback, plain=False)
    all_same("gradients", gradients, expected)
    check_own(gradients)
    for one in (*chosen.values(), *d_states.values()):
        one.check_untouched()
    for one in call.everything():  # what was given may be written to before the pullback is called again
        if isinstance(one.value, np.ndarray) and one.value.flags.writeable and one.value.dtype != object:
            one.value[...] = 1
    spoil(subject, {**found, **gradients})
    if len(subject.pullbacks) < 4:
        subject.pullbacks.append((lambda: pulled(pullback, plain=False), expected))


def pull_later(subject: Subject) -> None:
    """A pullback that was kept: weights, threads and all may have changed, and it gives what it gave."""
    for pull, expected in subject.pullbacks:
        all_same("a pullback that was kept", pull(), expected)
    if subject.rng.random() < 0.5:
        subject.pullbacks.clear()


# --- changes


def assign(subject: Subject) -> None:
    """Some weights are given other values."""
    rng = subject.rng
    shapes = subject.thing.weights.shapes
    chosen = [name for name in shapes if rng.random() < 0.5] or list(shapes)[:1]
    values = {name: given(rng, shapes[name], subject.thing.dtype) for name in chosen}
    subject.log.append(f"assign: {', '.join(f'{n} ({g.kind})' for n, g in values.items())}")
    if rng.random() < 0.5:
        subject.thing.weights.update({name: g.value for name, g in values.items()})
    else:
        for name, g in values.items():
            subject.thing.weights[name] = g.value
    for name, g in values.items():
        g.check_untouched()
        subject.weights[name] = g.plain.copy()
        if isinstance(g.value, np.ndarray) and g.value.flags.writeable and g.value.dtype != object:
            g.value[...] = 1  # the caller's own array, with which the weight has nothing to do


def assign_wrong(subject: Subject) -> None:
    """One of several weights is wrong: none is changed."""
    shapes = subject.thing.weights.shapes
    if not shapes:
        return
    name = str(subject.rng.choice(list(shapes)))
    bad, way = wrong(subject.rng, np.zeros(shapes[name]))
    subject.log.append(f"assign: {name} is {way}")
    others = {n: np.ones(s) for n, s in shapes.items() if n != name}
    refused(subject.thing.weights.update, {**others, name: bad})
    refused(subject.thing.weights.update, {**others, name + "_": np.ones(shapes[name])})
    refused(lambda: subject.thing.weights[name].__setitem__(..., 1.0))


def rule_step(subject: Subject) -> None:
    """Steps of an update rule; another rule makes the same on plain arrays."""
    rng, weights = subject.rng, subject.thing.weights
    if not weights or any(layer.weights.weight_format for layer in subject.layers.values()):
        return
    name = str(rng.choice(["sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad"]))
    options = {"learning_rate": float(rng.choice([0.001, 0.1]))}
    rule, right = UpdateRule(name, **options), UpdateRule(name, **options)
    subject.log.append(f"rule: {rule!r}")
    held = {n: (array, np.array(array)) for n, array in dict(weights).items()}
    for _ in range(int(rng.integers(1, 5))):
        gradients = {n: given(rng, shape, subject.thing.dtype) for n, shape in weights.shapes.items()}
        scale = float(rng.choice([1.0, 0.5, 0.1]))
        if rng.random() < 0.2:
            odd = {**{n: g.value for n, g in gradients.items()}, next(iter(gradients)): "wrong"}
            refused(rule.step, weights, odd)
        rule.step(weights, {n: g.value for n, g in gradients.items()}, scale=scale)
        right.step(subject.weights, {n: g.plain for n, g in gradients.items()}, scale=scale)
        subject.weights = {n: np.array(a) for n, a in subject.weights.items()}
        all_same("weights behind a step", dict(weights), subject.weights)
        all_same("what the rule remembers", rule.state, right.state)
        for g in gradients.values():
            g.check_untouched()
        if rng.random() < 0.4:
            _, rule = carry(rng, rule)
    for n, (array, before) in held.items():
        same_bits(f"weight {n} of before the steps", array, before)


def transport(subject: Subject) -> None:
    """Somebody else's copy, made at this moment; from here on one or the other is used."""
    rng = subject.rng
    ways = ["save"] if rng.random() < 0.3 else []
    way, other = carry(rng, subject.thing, ways)
    subject.log.append(f"transport: {way}")
    all_same("weights of a copy", dict(other.weights), subject.weights)
    if way != "copy":
        for one in subject.streams:
            one.weights = snapshot(subject, one)
    before = subject.thing
    subject.thing = other
    if way != "copy" and rng.random() < 0.5 and subject.weights:  # they are apart from each other
        expected = {name: np.array(array) for name, array in before.weights.items()}
        assign(subject)
        all_same("weights of what was copied", dict(before.weights), expected)


def surroundings(subject: Subject) -> None:
    """What should make no difference: threads, caches, garbage, plans."""
    from ostinato.native import code

    way = str(subject.rng.choice(["threads", "threads", "garbage", "cache", "plan"]))
    subject.log.append(f"surroundings: {way}")
    match way:
        case "threads":
            set_threads(int(subject.rng.integers(1, 4)))
        case "garbage":
            gc.collect()
        case "cache":
            code._cache(os.environ.get("OSTINATO_CACHE")).clear()
        case "plan" if isinstance(subject.thing, Layer):
            subject.thing = subject.thing.with_plan(str(subject.rng.choice(["separate", "fused", "hoisted", "automatic"])))


# --- mistakes


def mistake(subject: Subject) -> None:
    """A good call with one thing changed."""
    rng = subject.rng
    call = arguments(subject, plain=True)
    values, options = call.plain()
    names, n_given = list(call.arrays), len(values)
    kind = str(rng.choice(["array", "array", "array", "state", "lengths", "unknown", "too many", "too few", "training"]))
    subject.log.append(f"mistake: {kind}, {call}")
    thing = subject.thing
    function = thing.vjp if rng.random() < 0.3 else thing.run
    match kind:
        case "array":
            i = int(rng.integers(n_given))
            values[i], way = wrong(rng, values[i])
            subject.log.append(f"  {names[i]} is {way}")
        case "state" if subject.states:
            name = str(rng.choice(list(subject.states)))
            right = np.zeros((*(() if call.n_leading == 1 else (call.n_instances,)), *subject.states[name]))
            bad, way = wrong(rng, right)
            subject.log.append(f"  {name} is {way}")
            options["state"] = {**options.get("state", {}), name: bad}
            if rng.random() < 0.3:
                options["state"] = {"nothing": right}
        case "lengths":
            options["lengths"] = wrong_lengths(rng, call.n_steps, call.n_instances)
            subject.log.append(f"  lengths {options['lengths']!r:.80}")
            if call.n_instances == 0:
                return
        case "unknown" if subject.is_layer:
            options["nothing"] = 1
        case "too many":
            if not subject.is_layer:
                return  # Python's own words, for a signature of one argument
            values.append(values[0])
        case "too few":
            if not subject.is_layer:
                return
            values.pop()
        case "training":
            options["training"] = "yes"
        case _:
            return
    refused(function, *values, **options)


# --- at the same time


def at_once(subject: Subject) -> None:
    """Several threads use it."""
    calls = [arguments(subject, plain=bool(subject.rng.random() < 0.5)) for _ in range(4)]
    subject.log.append("at once: " + " | ".join(map(str, calls)))
    right = [named_results(*subject.right().run(*c.plain()[0], **c.plain()[1])) for c in calls]
    failures: list[BaseException] = []

    def use(call: Arguments, expected: dict[str, Any]) -> None:
        try:
            for _ in range(3):
                values, options = call.given()
                all_same("at once", named_results(*subject.thing.run(*values, **options)), expected)
                outputs, pullback = subject.thing.vjp(*values, **options)
                all_same("at once, vjp", named_results(outputs, pullback.state), expected)
                pullback()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that looks at it
            failures.append(error)

    threads = [threading.Thread(target=use, args=pair) for pair in zip(calls, right, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def fork(subject: Subject) -> None:
    """A child process, begun while another thread compiles or runs, gives the same bits."""
    call = arguments(subject, plain=True)
    subject.log.append(f"fork: {call}")
    right = named_results(*subject.right().run(*call.plain()[0], **call.plain()[1]))

    def in_child() -> None:
        values, options = call.plain()
        all_same("in a child", named_results(*subject.thing.run(*values, **options)), right)
        new = subject.make(subject.backend, "automatic")
        new.weights.update(subject.weights)
        all_same("a new one in a child", named_results(*new.run(*values, **options)), right)
        _, pullback = subject.thing.vjp(*values, **options)
        pullback()

    def beside() -> None:
        values, options = call.plain()
        subject.make(subject.backend, "fused").run(*values, **options)
        subject.thing.run(*values, **options)

    forked(in_child, beside if subject.rng.random() < 0.7 else None, subject.rng.random() * 0.02)


def interrupt(subject: Subject) -> None:
    """Ctrl-C at a random moment: of a call nothing stays, and of an assignment all or nothing."""
    rng = subject.rng
    call = arguments(subject, plain=True)
    values, options = call.plain()
    what = str(rng.choice(["run", "vjp", "new", "assign"]))
    subject.log.append(f"interrupt: {what}, {call}")
    before = dict(subject.weights)
    after = {name: drawn(rng, a.shape, a.dtype.name) for name, a in before.items()}
    turn = [after, before]

    def assigned() -> None:
        subject.thing.weights.update(turn[0])
        turn.reverse()

    def back_and_forth() -> None:
        _, pullback = subject.thing.vjp(*values, **options)
        pullback()

    def new() -> None:
        made = subject.make(subject.backend, "automatic")
        made.run(*values, **options)

    actions = {"run": lambda: subject.thing.run(*values, **options), "vjp": back_and_forth, "new": new, "assign": assigned}
    interrupted(actions[what], float(rng.random() ** 2 * 0.02))
    found = {name: np.array(array) for name, array in subject.thing.weights.items()}
    for side in (before, after):
        if all(np.array_equal(found[name], side[name]) for name in side):
            subject.weights = {name: array.copy() for name, array in side.items()}
            break
    else:
        raise AssertionError("an interrupted assignment has changed some weights, and not the others")
    run(subject)


ACTIONS: dict[str, tuple[Callable[[Subject], None], int]] = {
    "run": (run, 5), "again": (again, 3), "alone": (alone, 2), "vjp": (vjp, 4), "pull later": (pull_later, 2),
    "stream": (stream, 5), "assign": (assign, 3), "assign wrong": (assign_wrong, 1), "rule": (rule_step, 2),
    "transport": (transport, 3), "surroundings": (surroundings, 2), "mistake": (mistake, 4), "at once": (at_once, 1),
    "fork": (fork, 1), "interrupt": (interrupt, 1),
}  # fmt: skip
