"""A process forked at any moment answers: no lock, cache or worker of its parent holds it up, whatever other threads do.

Every test is a script in a process of its own; a child that hangs is ended by its alarm, and its exit code says so.
"""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ostinato

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

PRELUDE = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import ostinato
from ostinato import Input, Layer, State, Weight, cell, cells, dropout, tanh

def forked(work):
    "The child's answer: True or False; None where it was ended by its alarm."
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if work() else 3)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: True, 3: False}.get(code)

class Beside:
    "Another thread that does something again and again, until this block ends."
    def __init__(self, work):
        self.thread, self.work, self.ended = threading.Thread(target=self.run, daemon=True), work, False
    def run(self):
        while not self.ended:
            self.work()
    def __enter__(self):
        self.thread.start()
    def __exit__(self, *_):
        self.ended = True
        self.thread.join()

X = np.random.default_rng(0).standard_normal((6, 4, 3)).astype(np.float32)

def new_layer_answers(n_neurons=9):
    "A layer that nobody has compiled yet."
    return bool(np.isfinite(Layer(cells.recurrent, n_inputs=3, n_neurons=n_neurons)(X)).all())
"""


def run(script, cache="0"):
    code = PRELUDE + textwrap.dedent(script)
    environment = {**os.environ, "OSTINATO_CACHE": cache, "OPENBLAS_NUM_THREADS": "1", "OSTINATO_THREADS": "2"}
    environment["PYTHONPATH"] = str(Path(ostinato.__file__).parent.parent)
    environment.pop("OSTINATO_BACKEND", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def test_while_another_thread_compiles():
    assert (
        run("""
        sizes = iter(range(20, 1000))
        def compile_one():
            Layer(cells.lstm_layer_norm, n_inputs=3, n_neurons=next(sizes))(X)
        assert new_layer_answers()
        with Beside(compile_one):
            for i in range(4):
                time.sleep(0.03 * i)
                print(forked(lambda: new_layer_answers(10 + i)))
    """)
        == ["True"] * 4
    )


def test_while_another_thread_loads_native_code_for_the_first_time():
    assert (
        run("""
        thread = threading.Thread(target=new_layer_answers)
        thread.start()
        for _ in range(4):
            time.sleep(0.03)
            print(forked(new_layer_answers))
        thread.join()
    """)
        == ["True"] * 4
    )


def test_while_another_thread_holds_every_lock_of_ours(tmp_path):
    """Those of the compiler, of each program and each piece of code, of the cache, the workers, generators and properties."""
    script = """
        from functools import cached_property
        from ostinato.process import forking
        from ostinato.native import code
        from ostinato.native.threads import WORKERS
        from ostinato.ir.timeline import Timeline

        @cell
        def dropping(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
            return tanh(dropout(x, 0.5) @ W + h)

        layer = Layer(dropping, n_inputs=3, n_neurons=5)
        wide = Layer(cells.lstm, n_inputs=64, n_neurons=128)
        many = np.random.default_rng(0).standard_normal((100, 64, 64)).astype(np.float32)
        Y, masked = layer(X), layer.run(X, training=True)
        wanted = wide(many), wide(many), wide(many)
        locks = [*forking._RENEWED, WORKERS._busy]
        assert len(locks) > 8 and code._LOADING in locks and layer._beginning.masks.bit_generator.lock in locks
        locks += [p.lock for p in vars(Timeline).values() if isinstance(p, cached_property) and hasattr(p, "lock")]
        ready, done = threading.Event(), threading.Event()
        def hold():
            for lock in locks:
                lock.acquire()
            ready.set()
            done.wait()
            for lock in locks:
                lock.release()
        thread = threading.Thread(target=hold)
        thread.start()
        ready.wait()
        def everything():
            layer.weights["W"] = layer.weights["W"]  # packed anew, which takes the program's lock
            shared = all(np.array_equal(wide(many), wanted[0]) for _ in range(4))
            return (shared and np.array_equal(layer(X), Y) and np.isfinite(layer.run(X, training=True)[0]).all()
                    and new_layer_answers() and WORKERS.run(lambda _: None, [0, 0]))
        print(forked(everything))
        done.set()
        thread.join()
        print(everything())
    """
    assert run(script, str(tmp_path)) == ["True", "True"]


def test_what_can_not_be_cut_in_two_is_waited_for():
    """A call into LLVM, and the import of native code: the fork comes after them."""
    assert (
        run("""
        from ostinato.process import forking
        new_layer_answers()
        import llvmlite.binding as llvm
        for lock in (llvm.ffi.lib._lock, forking.IMPORTING):
            ready, over = threading.Event(), []
            def hold():
                with lock:
                    ready.set()
                    time.sleep(0.2)
                    over.append(True)
            thread = threading.Thread(target=hold)
            thread.start()
            ready.wait()
            print(forked(lambda: bool(over) and new_layer_answers(11)))
            thread.join()
    """)
        == ["True"] * 2
    )


def test_while_another_thread_runs_trains_and_streams():
    assert (
        run("""
        from ostinato import LastStep, Network, UpdateRule, cross_entropy, train
        from ostinato.learn.training import Examples
        wide = Layer(cells.recurrent, n_inputs=32, n_neurons=96)
        many = np.random.default_rng(0).standard_normal((50, 64, 32)).astype(np.float32)
        wanted = wide(many)
        stream = wide.stream(n_instances=64)
        def learn():
            last = LastStep(Layer(cells.recurrent, n_inputs=3, n_neurons=5))
            network = Network(last, Layer(cells.dense, n_inputs=5, n_outputs=2))
            examples = Examples(np.tile(X, (1, 8, 1)), np.arange(32) % 2)
            history = train(network, examples, loss=cross_entropy, update=UpdateRule("sgd"), max_epochs=2)
            return len(history.epochs) == 2
        def in_child():
            again = wide.stream(n_instances=64)
            steps = [again(x) for x in many]
            return np.array_equal(wide(many), wanted) and np.array_equal(np.stack(steps), wanted) and learn()
        assert learn()
        for work in (lambda: wide(many), learn, lambda: stream(many[0]), lambda: wide.vjp(many)[1](wanted)):
            with Beside(work):
                time.sleep(0.02)
                print(forked(in_child))
    """)
        == ["True"] * 4
    )


def test_a_stream_goes_on_on_both_sides():
    assert (
        run("""
        layer = Layer(cells.gru, n_inputs=3, n_neurons=5)
        stream, wanted = layer.stream(n_instances=4), layer(X)
        for t in range(3):
            assert np.array_equal(stream(X[t]), wanted[t])
        rest = lambda: all(np.array_equal(stream(X[t]), wanted[t]) for t in range(3, 6))
        print(forked(rest), rest())
    """)
        == ["True"] * 2
    )


def test_children_of_children_in_a_process_with_workers():
    assert run("""
        wide = Layer(cells.recurrent, n_inputs=64, n_neurons=128)
        many = np.random.default_rng(0).standard_normal((60, 64, 64)).astype(np.float32)
        wanted = wide(many)
        for _ in range(4):
            wide(many)
        from ostinato.native.threads import WORKERS
        assert WORKERS._queues, "the runs were shared"
        def answers(depth):
            same = all(np.array_equal(wide(many), wanted) for _ in range(4)) and new_layer_answers(20 + depth)
            return same and (depth == 0 or forked(lambda: answers(depth - 1)))
        print(answers(2))
    """) == ["True"]


def test_every_lock_of_the_package_is_made_by_the_module_that_renews_them():
    """But for that of the workers, who are all made anew."""
    kinds = re.compile(r"\b(Lock|RLock|Condition|Event|Semaphore|Barrier|allocate_lock)\(")
    package = Path(ostinato.__file__).parent
    found = {path.name: len(kinds.findall(path.read_text())) for path in package.rglob("*.py")}
    assert {name: n for name, n in found.items() if n and name != "forking.py"} == {"threads.py": 2}


def test_a_handler_may_fork_while_its_own_thread_compiles():
    """The lock is its own: the parent goes on compiling, the child compiles too."""
    assert (
        run("""
        new_layer_answers()
        found = []
        def handler(*_):
            found.append(forked(lambda: new_layer_answers(33)))
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        for size in range(40, 60):
            Layer(cells.gru, n_inputs=3, n_neurons=size)(X)
            if found:
                break
        print(*found, new_layer_answers(34))
    """)
        == ["True"] * 2
    )


def test_a_handler_may_fork_in_the_middle_of_a_run_of_its_own_thread():
    """The parent's run is finished by its workers; in the child nobody does their parts, and the run is said not to be done."""
    assert (
        run("""
        from ostinato.native.threads import WORKERS
        gate, children = threading.Event(), []
        def handler(*_):
            children.append(os.fork())
            if children[0]:
                gate.set()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        done = WORKERS.run(lambda part: part and gate.wait(), [0, 1, 1])
        if not children[0]:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            again = WORKERS.run(lambda _: None, [0, 0])
            os._exit(0 if again and not done else 3)
        print(done, os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0)
    """)
        == ["True"] * 2
    )
