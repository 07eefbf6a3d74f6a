"""Examples: sequences, and what the network should answer; in mini-batches, and split for validation.

Sequences of one length are one array. Sequences of different lengths are a list, and stay one: what is padded is a batch,
behind its own longest sequence, so that one long sequence among short ones costs its own memory and not that of all.
"""

# ruff: noqa: N803, N806 - X and Y are the symbols of the equations

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..calls import answering
from ..errors import DataError, OptionError, counted, lay_out
from ..runtime.arguments import numbers, whole_lengths
from .losses import check_weights
from .padding import checked, is_list, n_rows, parts_by_length, sequences_of, stacked

Array = np.ndarray[Any, np.dtype[Any]]
OWNER = "Examples"


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Sequences, and what the network should answer.

    Args and attributes:
        X: (n_steps, n_samples, ...), or (n_samples, n_steps, ...) with batch_first; or a list of sequences (n_steps_i, ...) of
            any lengths: arrays, frames or lists of rows.
        target: (n_samples, ...), one entry for each sequence; or, for a network that answers at every step, with the two
            leading axes of X; where X is a list, a list of (n_steps_i, ...).
        lengths: (n_samples,) whole numbers, or None; of a list of sequences they are known.
        per_step: whether the target has steps; unless given, seen from its shape, and from the network where it is trained.
        batch_first: the order of the leading axes of X; a list has none.
        weights: (n_samples,) finite numbers from 0 up, or None: a weight of k is k copies of the sequence.

    Raises:
        DataError: what is given does not belong together, or holds no numbers.
        OptionError: `batch_first` or `per_step` is neither True nor False.
    """

    X: Any
    target: Any
    lengths: Any = None
    per_step: Any = None
    batch_first: bool = False
    weights: Any = field(default=None, kw_only=True)
    is_told: bool = field(default=False, init=False)  # whether `per_step` was given, or can be seen from the shapes

    def __post_init__(self) -> None:
        for name, allowed in (("batch_first", (True, False)), ("per_step", (True, False, None))):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_ | None) or value not in allowed:
                raise OptionError(lay_out(f"{OWNER}: `{name}` is True or False, not {value!r:.60}"))
        ragged = is_list(self.X)
        X: Any = sequences_of(self.X, OWNER) if ragged else checked("X", self.X, OWNER)
        if not ragged and X.ndim < 2:
            headline = f"{OWNER}: X has shape {X.shape}, and must be ({_order(self.batch_first)}, ...)"
            raise DataError(lay_out(headline, hint="a list of sequences (n_steps, ...) is taken too"))
        n_samples = len(X) if ragged else int(X.shape[0 if self.batch_first else 1])
        lengths: Any
        if ragged:
            X, lengths = _cut(X, self.lengths)
        else:
            n_steps = X.shape[1 if self.batch_first else 0]
            lengths = None if self.lengths is None else whole_lengths(self.lengths, n_steps, n_samples, OWNER)
        weights = None if self.weights is None else numbers("weights", self.weights, np.float64, OWNER)
        if weights is not None:
            if weights.shape != (n_samples,):
                raise DataError(lay_out(f"{OWNER}: `weights` has shape {weights.shape}, and must be (n_samples={n_samples},)"))
            check_weights(weights, OWNER)
        target, per_step, told = self._of_list(n_samples, lengths) if ragged else self._of_array(X, n_samples)
        self.__dict__.update(X=X, lengths=lengths, target=target, weights=weights, per_step=per_step, is_told=told)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"is_told": True, **state})  # version 0.1 did not guess `per_step`

    def _of_array(self, X: Array, n_samples: int) -> tuple[Array, bool, bool]:
        """The target, whether it has steps, and whether that is sure."""
        target = checked("target", self.target, OWNER, any_kind=True)
        has_steps = target.ndim > 1 and target.shape[:2] == X.shape[:2]
        has_samples = target.ndim > 0 and target.shape[0] == n_samples
        told = self.per_step is not None or not (has_steps and has_samples)
        per_step = bool(self.per_step) if self.per_step is not None else has_steps and not has_samples
        if not (has_steps if per_step else has_samples):
            self._refuse(X, target)
        return target, per_step, told

    def _refuse(self, X: Array, target: Array) -> None:
        n_steps, n_samples = X.shape[:2][:: -1 if self.batch_first else 1]
        wanted = f"({', '.join(map(str, X.shape[:2]))}, ...)" if self.per_step else f"({n_samples}, ...)"
        headline = f"{OWNER}: X has shape {X.shape}, which is ({_order(self.batch_first)}, ...), and the target {target.shape}"
        hint = ""
        if target.shape[:1] == (n_steps,) and not self.per_step:
            other = f"({_order(not self.batch_first)}, ...)"
            hint = f"if X is {other}, say so with batch_first={not self.batch_first}"
        raise DataError(lay_out(f"{headline}, which must be {wanted}", hint=hint))

    def _of_list(self, n_samples: int, lengths: Array) -> tuple[Any, bool, bool]:
        """The target of a list of sequences, whether it has steps, and whether that is sure."""
        target, per_step, told = self.target, self.per_step, True
        if n_rows(target) is None:
            target = checked("target", target, OWNER, any_kind=True)
        if n_rows(target) != n_samples:
            shown = counted(n_rows(target) or 0, "entry", "entries")
            raise DataError(lay_out(f"{OWNER}: X is a list of {counted(n_samples, 'sequence')}, and the target has {shown}"))
        if per_step is None:
            rows = [n_rows(part) for part in target] if is_list(target) else []
            # rows of one length may as well be one vector for each sequence
            per_step = None not in rows and len(set(rows)) > 1
            told = per_step or not rows or rows != lengths.tolist()
        if not per_step:
            return checked("target", target, OWNER, any_kind=True), False, told
        arrays = [checked(f"target[{i}]", part, OWNER, any_kind=True) for i, part in enumerate(target)]
        for i, (array, n) in enumerate(zip(arrays, lengths.tolist(), strict=True)):
            if array.shape[:1] != (n,):
                headline = f"{OWNER}: target[{i}] has shape {array.shape}, and X[{i}] has {counted(n, 'step')}"
                raise DataError(lay_out(headline))
        return arrays, True, True

    def _with(self, **changed: Any) -> Examples:
        """The same with some attributes changed, which are known to fit."""
        other: Examples = object.__new__(Examples)
        other.__dict__.update({**self.__dict__, **changed})
        return other

    def __len__(self) -> int:
        return len(self.X) if self.ragged else int(self.X.shape[0 if self.batch_first else 1])

    def __repr__(self) -> str:
        lengths = self.steps
        low, high = (int(lengths.min()), int(lengths.max())) if len(lengths) else (0, 0)
        steps = counted(high, "step") if low == high else f"{low:,} to {high:,} steps"
        kind = "for every step" if self.per_step else f"target {self.target.shape} {self.target.dtype}"
        weighted = "" if self.weights is None else ", weighted"
        return f"<examples: {counted(len(self), 'sequence')} of {steps}, {kind}{weighted}>"

    @property
    def ragged(self) -> bool:
        """Whether X is a list of sequences."""
        return isinstance(self.X, list)

    @property
    def steps(self) -> Array:
        """(n_samples,): how many steps each sequence has."""
        if self.lengths is not None:
            return np.asarray(self.lengths)
        return np.full(len(self), self.X.shape[1 if self.batch_first else 0], np.intp)

    @property
    def n_answers(self) -> int:
        """How many answers the network is asked for: one for each sequence, or one for each valid step."""
        return int(self.answers.sum())

    @property
    def answers(self) -> Array:
        """(n_samples,): how many answers each sequence asks for."""
        return self.steps if self.per_step else np.ones(len(self), np.intp)

    @property
    def total_weight(self) -> float:
        """The weights of all answers together; without weights their number."""
        return float(self.n_answers if self.weights is None else (self.weights * self.answers).sum())

    def take(self, places: Any) -> Examples:
        """Some of them. Of an array a copy, cut behind the longest; of a list the sequences themselves, and no copy.

        Args:
            places: whole numbers, or a slice (which copies nothing).
        """
        lengths, weights = (None if array is None else array[places] for array in (self.lengths, self.weights))
        if self.ragged:
            numbered = range(len(self))[places] if isinstance(places, slice) else [int(i) for i in places]
            target = [self.target[i] for i in numbered] if self.per_step else self.target[places]
            return self._with(X=[self.X[i] for i in numbered], target=target, lengths=lengths, weights=weights)
        X = self._some(self.X, places, lengths)
        target = self._some(self.target, places, lengths) if self.per_step else self.target[places]
        return self._with(X=X, target=target, lengths=lengths, weights=weights)

    def _some(self, array: Array, places: Any, lengths: Array | None) -> Array:
        longest = slice(None if lengths is None else int(lengths.max(initial=0)))
        if self.batch_first:
            return array[places][:, longest] if isinstance(places, slice) else array[:, longest][places]
        some: Array = array[longest][:, places]
        return some

    def padded(self, *, batch_first: bool | None = None) -> Examples:
        """As one array, padded with zeros behind the longest; in the other order of the leading axes, if it is asked for."""
        batch_first = self.batch_first if batch_first is None else batch_first
        if self.ragged:
            lengths = self.steps
            X = stacked(self.X, lengths, batch_first=batch_first)
            target = stacked(self.target, lengths, batch_first=batch_first) if self.per_step else self.target
            same = bool((lengths == lengths.max(initial=0)).all())
            return self._with(X=X, target=target, lengths=None if same else lengths, batch_first=batch_first)
        if batch_first == self.batch_first:
            return self
        target = self.target.swapaxes(0, 1) if self.per_step else self.target
        return self._with(X=self.X.swapaxes(0, 1), target=target, batch_first=batch_first)

    def batches(self, size: int, order: Array | None = None, *, batch_first: bool | None = None) -> Iterator[Examples]:
        """All of them, `size` at a time: each batch one array, cut (or padded) behind its own longest.

        Args:
            order: the places in the order in which they come; unless given, as they stand.
            batch_first: the order of the leading axes of the batches; unless given, that of X.
        """
        for start in range(0, len(self) if order is None else len(order), size):
            places = slice(start, min(start + size, len(self))) if order is None else order[start : start + size]
            yield self.take(places).padded(batch_first=batch_first)

    def passes(self, places: Array, *, batch_first: bool | None = None) -> Iterator[tuple[Array, Examples]]:
        """One batch in as many parts as its lengths ask for: places, and these examples as one array.

        There is one part, in the order of `places`, unless cutting it by length saves at least half of it: one long sequence
        among short ones runs alone. The gradients of the parts add up to those of the batch.
        """
        for part in parts_by_length(places, self.steps):
            yield part, self.take(part).padded(batch_first=batch_first)


def _order(batch_first: bool) -> str:
    return "n_samples, n_steps" if batch_first else "n_steps, n_samples"


def _cut(X: list[Array], lengths: Any) -> tuple[list[Array], Array]:
    """The sequences as long as it is said, and their lengths."""
    own = np.array([len(x) for x in X], np.intp)
    if lengths is None:
        return X, own
    said = whole_lengths(lengths, int(own.max(initial=0)), len(X), OWNER)
    if (said > own).any():
        i = int(np.flatnonzero(said > own)[0])
        raise DataError(lay_out(f"{OWNER}: lengths[{i}] is {said[i]}, and X[{i}] has {counted(int(own[i]), 'step')}"))
    return [x[:n] for x, n in zip(X, said.tolist(), strict=True)], said


Examples.__init__ = answering(Examples.__init__)  # type: ignore[method-assign]


def split(
    n_samples: int, fraction: float, rng: np.random.Generator, labels: Array | None = None
) -> tuple[Array, Array]:  # fmt: skip
    """Places for training and for validation, drawn at random; of each label the same fraction, if labels are given.

    Of every label at least one sample stays in training. Where validation would be empty, it is.
    """
    if labels is None:
        labels = np.zeros(n_samples, int)
    held_out = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        held_out.append(places[: min(round(fraction * len(places)), len(places) - 1)])
    chosen = np.zeros(n_samples, bool)
    chosen[np.concatenate(held_out or [np.zeros(0, int)])] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
