"""A fitted estimator one step after another: it answers to a sequence while it comes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np

from ..errors import DataError, OptionError, known_names, lay_out
from ..runtime.arguments import numbers
from ..runtime.frames import order_of

Array = np.ndarray[Any, np.dtype[Any]]
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


class EstimatorStream:
    """A fitted estimator answering after every step. `state` is where its network stands; `reset()` begins the next sequence.

    `answer = stream(x)`: x is (n_features,), as `fit` had it (the stream scales it), and the answer is that of the estimator's
    method to the sequence as far as it has come, with the same bits. A dictionary or a named row is read by the names of the
    features, if the estimator knows them (`feature_names_in_`). With `n_instances`, x is (n_instances, n_features).

    It goes on with what was learned when it was made, whatever the estimator learns later.
    """

    def __init__(self, estimator: Any, method: str | tuple[str, ...], state: Any, n_instances: int | None) -> None:
        self._owner = type(estimator).__name__
        methods = [name for name in METHODS if hasattr(estimator, name)]
        for name in method if isinstance(method, tuple) else (method,):
            if name not in methods:
                known = known_names(str(name), methods, "methods that answer step by step")
                raise OptionError(lay_out(f"{self._owner}: there is no method `{name}` to stream; {known}"))
        self._estimator = copy(estimator)  # another `fit` gives the estimator another network, and not this one
        self._method, self._n_instances = method, n_instances
        self._stream = estimator.network_.stream(state=state, n_instances=n_instances)
        self._shape = (*(() if n_instances is None else (n_instances,)), estimator.n_features_in_)
        self._dtype = np.dtype(estimator.network_.dtype)
        self._limit = float(np.sqrt(np.finfo(self._dtype).max))

    def __call__(self, x: Any) -> Any:
        """One step.

        Returns:
            of "predict" a label or a number, or (n_targets,) numbers; of "predict_proba" and "decision_function" what they say
            of one sequence, as (n_classes,). With `n_instances`, one of these for each. Of several methods a tuple.

        Raises:
            DataError: x of another shape or of other features, NaN, infinite or far too large. The stream has not moved then.
        """
        X = self._estimator.input_scale_.apply(self._checked(x)).astype(self._dtype)  # noqa: N806 - as the estimator has it
        outputs = np.atleast_2d(self._stream(X)).astype(np.float64)
        if isinstance(self._method, tuple):
            return tuple(self._answer(method, outputs) for method in self._method)
        return self._answer(self._method, outputs)

    def _answer(self, method: str, outputs: Array) -> Any:
        answers = self._estimator.answers_to(method, outputs)
        return answers if self._n_instances is not None else answers[0]

    def _checked(self, x: Any) -> Array:
        array = numbers("x", self._by_place(x), np.float64, self._owner)
        if array.shape != self._shape:
            names = ("n_features",) if self._n_instances is None else ("n_instances", "n_features")
            wanted = ", ".join(f"{name}={size}" for name, size in zip(names, self._shape, strict=True))
            raise DataError(lay_out(f"{self._owner}: `x` has shape {array.shape}, and one step must be ({wanted})"))
        if not (np.abs(array) <= self._limit).all():  # false for NaN
            place = next(p for p in np.ndindex(array.shape) if not abs(array[p]) <= self._limit)
            reason = f"too large for {self._dtype}" if np.isfinite(array[place]) else "not a finite number"
            raise DataError(lay_out(f"{self._owner}: x[{', '.join(map(str, place))}] is {array[place]:g}, {reason}"))
        return array

    def _by_place(self, x: Any) -> Any:
        """What was given, its features in the order of `fit` if both have names."""
        learned = [str(name) for name in getattr(self._estimator, "feature_names_in_", [])]
        if isinstance(x, Mapping):
            if not learned:
                headline = f"{self._owner}: `x` is given by names, and the estimator knows none: it was fitted without"
                raise DataError(lay_out(headline, hint="give an array, its features in the order of `fit`"))
            order = order_of([str(name) for name in x], learned, "x")
            values = list(x.values())
            return values if order is None else [values[i] for i in order]
        axis = 0 if self._n_instances is None else 1
        names = getattr(x, "columns" if axis else "index", None)
        if not learned or names is None or callable(names) or not all(isinstance(name, str) for name in names):
            return x
        order = order_of(list(names), learned, "x")
        return x if order is None else np.take(np.asarray(x), order, axis)

    @property
    def state(self) -> dict[str, Array]:
        """The states of the network after the last step by prefixed name; a copy. Assign to continue from elsewhere."""
        return self._stream.state  # type: ignore[no-any-return]

    @state.setter
    def state(self, state: Any) -> None:
        self._stream.state = state

    def reset(self) -> None:
        """Back to where the stream began."""
        self._stream.reset()

    def __copy__(self) -> EstimatorStream:
        """A stream that goes on by itself from here."""
        other = object.__new__(type(self))
        other.__dict__.update({**self.__dict__, "_stream": copy(self._stream)})
        return other

    def __repr__(self) -> str:
        instances = "" if self._n_instances is None else f", n_instances={self._n_instances}"
        methods = " and ".join(self._method) if isinstance(self._method, tuple) else self._method
        return f"<stream of {self._owner}.{methods}, n_features={self._shape[-1]}{instances}>"


class Streaming:
    """What makes an estimator stream; it says by `answers_to(method, outputs)` what a method makes of the network's outputs."""

    _check_fitted: Any  # of the estimator

    def stream(
        self, method: str | tuple[str, ...] = "predict", *, state: Any = None, n_instances: int | None = None
    ) -> EstimatorStream:  # fmt: skip
        """One step after another: `answer = stream(x)` is what the method answers to the sequence as far as it has come.

        Args:
            method: "predict"; of a classifier "predict_proba", "predict_log_proba" and "decision_function" too. A tuple of them
                gives a tuple.
            state: where the network begins, by prefixed name; as `network_.run` has it.
            n_instances: how many sequences at once; None for one, without the axis.

        Raises:
            NotFittedError: it has not been fitted.
            OptionError: no such method, or the network is bidirectional.
        """
        self._check_fitted()
        return EstimatorStream(self, method, state, n_instances)
