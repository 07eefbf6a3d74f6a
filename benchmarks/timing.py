"""Times of several functions on the same work, taken in turn, so that a noisy neighbour disturbs all of them alike."""

import gc
import math
import statistics
import time
from dataclasses import dataclass

SAMPLE = 200e-6  # a sample lasts at least so long (seconds), in as many calls as it takes: the clock itself costs 50 ns
BURST = 20e-3  # consecutive samples of one function, before it is the next one's turn
SLOW = 1.0  # a call of so many seconds is believed at once
CLOCKS = ("wall", "processor")


@dataclass(frozen=True)
class Times:
    """Seconds for each call: the median, the quartiles, the least, and of how many samples.

    `share` is how much of the wall's time the process had its core: well below 1, somebody else was on it.
    """

    median: float
    low: float
    high: float
    least: float
    n_samples: int
    share: float = 1.0

    @classmethod
    def of(cls, samples, share=1.0):
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
        return cls(median, low, high, min(samples), len(samples), share)


class _Turn:
    """One function, and how it is sampled."""

    def __init__(self, run, clock):
        self.run, self.clock, self.samples, self.spent = run, CLOCKS.index(clock), [], 0.0
        self.estimate = self._sample(1)[0]
        if self.estimate < SLOW:  # a first call may compile something; what it takes says nothing about the next ones
            self.estimate = min(self._sample(1)[0] for _ in range(2))
        self.number = max(1, math.ceil(SAMPLE / self.estimate))
        self.burst = max(1, int(BURST / (self.estimate * self.number)))

    def _sample(self, number):
        """Seconds for each call, by the wall and of the processor."""
        run = self.run
        before = time.process_time()
        start = time.perf_counter()
        for _ in range(number):
            run()
        wall = time.perf_counter() - start
        return wall / number, (time.process_time() - before) / number

    def take(self):
        """One burst. Its first call is not counted: it finds the caches full of what the others left there."""
        start = time.perf_counter()
        if self.estimate < BURST:
            self.run()
        self.samples += [self._sample(self.number) for _ in range(self.burst)]
        self.spent += time.perf_counter() - start

    def times(self):
        wall, processor = (sum(sample[k] for sample in self.samples) for k in range(2))
        return Times.of([sample[self.clock] for sample in self.samples], processor / wall)


def alternating(runs, seconds, least=5, clock="wall"):
    """Name -> Times of functions without arguments, called in turn for about `seconds` each, at least `least` samples.

    A function of which one call takes longer than `seconds` is sampled three times. The clock is the wall's, or counts
    the time that the process has a processor: what neighbours take on a shared machine is then left out. It counts the
    threads of a process together, so it is a duration on one core only.
    """
    turns = {name: _Turn(run, clock) for name, run in runs.items()}

    def unfinished(turn):
        wanted = 3 if turn.estimate > seconds else least
        return turn.spent < seconds or len(turn.samples) < wanted

    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection in the middle of a sample would be somebody else's time
    try:
        while any(unfinished(turn) for turn in turns.values()):
            for turn in turns.values():
                if unfinished(turn):
                    turn.take()
    finally:
        if collecting:
            gc.enable()
    return {name: turn.times() for name, turn in turns.items()}
