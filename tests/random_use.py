"""Random use: people's data, mistakes, copies, threads, forks and interrupts, in any order, each with an oracle.

    python -m tests.random_use --seconds 60 --seed 1

uses one layer, network, training, estimator or command after another for a minute. A failure prints the seed, what was done
before it and a script that shows it again, with as few actions as it takes. What is done stands in random_actions.py and
random_learning.py, what is given in random_data.py.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import tempfile
import time
import traceback
import warnings
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import numpy as np

from ostinato import get_threads, set_threads
from ostinato.runtime.backends import VARIABLE
from tests.random_actions import ACTIONS
from tests.random_learning import ROUNDS
from tests.random_subjects import Subject

N_ACTIONS = 12
PATIENCE = 150.0  # seconds that one round may take, on a busy machine
BACKENDS = ("native", "numpy")
KINDS = {"use": 5, **{name: weight for name, (_, weight) in ROUNDS.items()}}


def drawn_from(rng: np.random.Generator, weights: dict[str, int]) -> str:
    return str(rng.choice(list(weights), p=np.array(list(weights.values())) / sum(weights.values())))


def check(seed: int, n_actions: int = N_ACTIONS, *, log: list[str] | None = None, kind: str = "", backend: str = "") -> None:
    """One round of random use: so many actions on one object, and everything that must hold."""
    rng = np.random.default_rng([seed, 4])
    drawn = str(rng.choice(BACKENDS, p=[0.75, 0.25])), drawn_from(rng, KINDS)
    backend, kind = backend or drawn[0], kind or drawn[1]
    log = [] if log is None else log
    log.append(f"{kind}, {backend}")
    n_threads = get_threads()
    with mock.patch.dict(os.environ, {VARIABLE: backend}), warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        try:
            if kind == "use":
                _use(rng, backend, n_actions, log)
            else:
                ROUNDS[kind][0](rng, n_actions, log)
        finally:
            set_threads(n_threads)


def _use(rng: np.random.Generator, backend: str, n_actions: int, log: list[str]) -> None:
    subject = Subject.random(rng, backend)
    subject.log = log
    log.append(f"{subject.thing!r}, plan {getattr(subject.thing, 'plan', '')}, batch_first={subject.thing.batch_first}")
    for _ in range(n_actions):
        name = drawn_from(rng, {name: weight for name, (_, weight) in ACTIONS.items()})
        log.append(f"{name}:")
        ACTIONS[name][0](subject)
        subject.check()


# --- looking for failures -----------------------------------------------------------------------------------------------------


def script(seed: int, n_actions: int, log: list[str]) -> str:
    """How to see it again."""
    done = "".join(f"#   {line}\n" for line in log[-40:])
    return f"\n# seed {seed}, {n_actions} actions\n{done}from tests.random_use import check\ncheck({seed}, {n_actions})\n"


def outcome(seed: int, n_actions: int) -> tuple[str, list[str]]:
    """What went wrong, or nothing; and what was done."""
    log: list[str] = []
    faulthandler.dump_traceback_later(PATIENCE - 10)
    try:
        check(seed, n_actions, log=log)
    except BaseException:  # noqa: BLE001 - what fails is shown
        return traceback.format_exc()[-3500:], log
    finally:
        faulthandler.cancel_dump_traceback_later()
    return "", log


def _serve(connection: Connection) -> None:
    faulthandler.enable()
    while True:
        connection.send(outcome(*connection.recv()))


class Apart:
    """Rounds in a process of their own, so that one that crashes, or hangs, is a failure like any other."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        context = get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.n_served = 0

    def __call__(self, seed: int, n_actions: int) -> tuple[str, list[str]]:
        if self.n_served >= 300:
            self.end()
            self._begin()
        self.n_served += 1
        try:
            self.connection.send((seed, n_actions))
            if self.connection.poll(PATIENCE):
                found: tuple[str, list[str]] = self.connection.recv()
                return found
            said = "the process hangs"
        except (EOFError, ConnectionError):
            said = "the process has crashed"
        self.end()
        self._begin()
        return said, []

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def look(seed: int, seconds: float, n_actions: int = N_ACTIONS, most: int = 5) -> tuple[int, list[int]]:
    """Rounds for so many seconds; how many, and the seeds of those that failed."""
    checked: Any = Apart()
    until, n_checked, failed = time.monotonic() + seconds, 0, list[int]()
    try:
        while time.monotonic() < until and len(failed) < most:
            this = seed * 1_000_000 + n_checked
            n_checked += 1
            error, log = checked(this, n_actions)
            if n_checked % 50 == 0:
                print(f"{n_checked} random rounds, {len(failed)} failed", file=sys.stderr, flush=True)
            if error:
                failed.append(this)
                fewer = ((n, *checked(this, n)) for n in range(1, n_actions))
                shortest = next((found for found in fewer if found[1]), (n_actions, error, log))  # by chance, none: of a moment
                print(script(this, shortest[0], shortest[2]), shortest[1], sep="\n", flush=True)
    finally:
        checked.end()
    return n_checked, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--actions", type=int, default=N_ACTIONS)
    parser.add_argument("--failures", type=int, default=5, help="how many failures are enough")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OSTINATO_CACHE", folder)  # nobody needs this code again
        n_checked, failed = look(given.seed, given.seconds, given.actions, given.failures)
    print(f"{n_checked} random rounds, {len(failed)} failed: {failed}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
