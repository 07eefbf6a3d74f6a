"""Threads: the same bits for every number of them, small work on one, and several Python threads at once."""

import os
import threading

import numpy as np
import pytest

import ostinato
from ostinato import DataError, Input, Layer, OptionError, Output, Weight, cell, cells
from ostinato.ir.timeline import Timeline
from ostinato.native.parallel import Shares, ThreadingPolicy, Work, alike
from ostinato.native.threads import WORKERS
from ostinato.plan.planner import plan_program
from ostinato.process.cores import available


@pytest.fixture(autouse=True)
def _two_threads():
    ostinato.set_threads(2)  # whatever this machine has, or was told to use
    yield
    ostinato.set_threads(None)


def gradients(layer, X, **more):
    Y, pullback = layer.vjp(X, **more)
    found = pullback(np.cos(np.arange(Y.size, dtype=np.float32)).reshape(Y.shape))
    return [Y, found.inputs, *found.weights.values(), *found.state.values()]


def always(monkeypatch, shares):
    """Every run is shared so, whatever its size."""
    monkeypatch.setattr(Work, "threads", lambda *_: shares)
    monkeypatch.setattr(ThreadingPolicy, "shares", lambda _: True)


@pytest.mark.parametrize("by_neurons", [False, True])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "lstm_layer_norm", "attention", "min_gru"])
def test_no_number_of_threads_changes_a_bit(monkeypatch, name, n, by_neurons):
    made = getattr(cells, name)
    layer = Layer(made, **{d: 37 if d == "n_neurons" else 6 for d in made.dimensions})
    generator = np.random.default_rng(0)
    ports = layer.graph.with_role("input", "context")
    for n_instances in (1, 3, 9):
        arrays = [generator.standard_normal((7, n_instances, *p.value.type.sizes)).astype(np.float32) for p in ports]
        more = {"lengths": generator.integers(0, 8, n_instances)} if layer.graph.states else {}
        if name in ("lstm", "gru_reset_before"):
            more["reset"] = generator.random((7, n_instances)) < 0.2
        if len(arrays) > 1:
            X = dict(zip([p.name for p in ports], arrays, strict=True))
            alone = layer(**X)
            always(monkeypatch, Shares(n, by_neurons))
            assert all(np.array_equal(y, alone[name]) for name, y in layer(**X).items())
        else:
            alone = gradients(layer, arrays[0], **more)
            always(monkeypatch, Shares(n, by_neurons))
            for one, shared in zip(alone, gradients(layer, arrays[0], **more), strict=True):
                assert np.array_equal(one, shared)
        monkeypatch.undo()


def test_small_work_stays_on_one_thread():
    layer = Layer(cells.lstm, n_inputs=16, n_neurons=16)
    plan = plan_program(layer.compiled().stages["schedule"])
    assert Work.of(plan).threads(Timeline(100, 1), 2) is None
    large = Layer(cells.lstm, n_inputs=256, n_neurons=256)
    work = Work.of(plan_program(large.compiled().stages["schedule"]))
    assert work.threads(Timeline(100, 32), 2) == Shares(2, by_neurons=False)
    assert work.threads(Timeline(100, 1), 2) == Shares(2, by_neurons=True)
    assert work.threads(Timeline(100, 32), 1) is None


def went(pace, alone, shared, n_runs):
    """So many runs of ten rows, as `pace` wants them; `alone` and `shared` are the seconds that they take. True: shared."""
    found = []
    for _ in range(n_runs):
        found.append(pace.shares())
        pace.took(shared if found[-1] else alone, 10, shared=found[-1])
    return found


def test_where_sharing_pays_nearly_all_runs_are_shared():
    pace = ThreadingPolicy()
    assert went(pace, 1.0, 0.6, 13) == [False, *[True] * 2, False, *[True] * 8, False]  # now and then, what one thread takes
    assert went(pace, 1.0, 0.6, 1000).count(False) <= 16


def test_a_disturbance_or_two_change_nothing():
    pace = ThreadingPolicy()
    went(pace, 1.0, 0.5, 30)
    assert went(pace, 1.0, 2.5, 2) == [True, True]  # others had the cores for a moment
    assert went(pace, 1.0, 0.5, 200).count(False) <= 20
    pace = ThreadingPolicy()
    assert went(pace, 1.0, 1.5, 2) == [False, True]  # at the very beginning
    assert went(pace, 1.0, 0.5, 30).count(False) <= 3


def test_where_sharing_does_not_pay_it_costs_a_twentieth():
    pace = ThreadingPolicy()
    runs = went(pace, 0.010, 0.014, 1000)
    assert runs.count(True) * 0.004 <= 0.05 * 1000 * 0.010
    pace = ThreadingPolicy()
    went(pace, 0.010, 0.006, 100)
    runs = went(pace, 0.010, 0.100, 1000)  # as where another program runs on the core of one thread, for long
    assert runs.count(True) * 0.090 <= 0.05 * 1000 * 0.010 + 3 * 0.010 + 0.090


def test_sharing_comes_back_when_it_pays_again():
    pace = ThreadingPolicy()
    went(pace, 0.010, 0.006, 100)
    went(pace, 0.010, 0.020, 200)
    back = went(pace, 0.010, 0.006, 100)
    assert True in back[:22]
    assert back[30:].count(False) <= 4


def test_a_process_that_was_stopped_in_a_shared_run_does_not_give_sharing_up():
    pace = ThreadingPolicy()
    went(pace, 0.010, 0.006, 20)
    went(pace, 0.010, 10_000.0, 1)
    assert went(pace, 0.010, 0.006, 230).count(False) <= 205  # two seconds, and not a day


def test_calls_of_other_sizes_have_a_pace_of_their_own():
    shares = Shares(2, by_neurons=False)
    assert alike(shares, Timeline(100, 8)) == alike(shares, Timeline(90, 9))
    assert len({alike(shares, Timeline(n_steps, n)) for n_steps, n in ((100, 8), (100, 64), (12, 64), (2000, 8))}) == 4


def test_several_python_threads_run_at_once():
    layers = [Layer(cells.gru, n_inputs=96, n_neurons=96, seed=i) for i in range(2)]
    X = np.random.default_rng(0).standard_normal((30, 16, 96)).astype(np.float32)
    wanted = [layer(X) for layer in layers]
    wrong = []

    def work(layer, expected):
        for _ in range(10):
            if not np.array_equal(layer(X), expected):
                wrong.append(layer)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(layers * 2, wanted * 2, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_busy_workers_are_not_waited_for():
    with WORKERS._busy:
        assert not WORKERS.run(lambda _: None, [0, 0])
    assert WORKERS.run(lambda _: None, [0, 0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_child_process_has_workers_of_its_own():
    seen = []
    assert WORKERS.run(seen.append, [1, 2])
    assert sorted(seen) == [1, 2]
    forgotten = type(WORKERS)()
    forgotten.run(lambda _: None, [0, 0])
    forgotten.forget()
    assert forgotten._queues == []
    assert forgotten.run(lambda _: None, [0, 0])


def test_the_number_of_threads_is_asked_for_and_given():
    assert ostinato.get_threads() == 2
    ostinato.set_threads(None)
    assert ostinato.get_threads() == available()
    ostinato.set_threads(3)
    assert ostinato.get_threads() == 3
    for wrong in (0, -1, 1.5, True, "two"):
        with pytest.raises(OptionError) as error:
            ostinato.set_threads(wrong)
        assert str(error.value) == f"the number of threads is a whole number from 1 up, or None for the default, not {wrong!r}"
    assert ostinato.get_threads() == 3


def test_a_run_that_no_memory_is_large_enough_for_is_refused():
    @cell
    def wide(x=Input("n"), w=Weight("n_outputs")):
        return Output(ostinato.sum(x) * w)

    layer = Layer(wide, n=1, n_outputs=1_000_000)
    with pytest.raises(DataError) as error:
        layer(np.zeros((40_000, 1_000, 1), np.float32))
    first, *rest = str(error.value).splitlines()
    assert first == ("wide: 40000 steps of 1000 instances need 149,012 GiB of memory, which this machine does not give")
    assert "run fewer instances or steps at a time, and carry the state on" in "\n".join(rest)


def test_an_interrupt_goes_on_its_way_when_all_parts_are_done(monkeypatch):
    workers = type(WORKERS)()
    done = []

    class Interrupted:
        """A queue whose first wait is interrupted."""

        def __init__(self, queue):
            self.queue, self.waits = queue, 0

        def put(self, item):
            self.queue.put(item)

        def get(self):
            self.waits += 1
            if self.waits == 1:
                raise KeyboardInterrupt
            return self.queue.get()

    monkeypatch.setattr(workers, "_done", Interrupted(workers._done))
    with pytest.raises(KeyboardInterrupt):
        workers.run(done.append, [1, 2, 3])
    assert sorted(done) == [1, 2, 3]
    assert workers.run(done.append, [4, 5])  # and the workers are free again
    assert sorted(done) == [1, 2, 3, 4, 5]
