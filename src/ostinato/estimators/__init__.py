"""Recurrent networks with scikit-learn's conventions: fit, predict, score, pipelines, searches, clone.

    classifier = RecurrentClassifier(n_neurons=64, random_state=0).fit(X, labels)
    classifier.predict(X)

The network is one or more recurrent layers of any cell, dropout on the feed-forward connections between them, and a dense layer
on the last step (or on every step, for a regressor that answers at every step).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..renamed import names_of

if TYPE_CHECKING:
    from .base import CELLS, NotFittedError, RecurrentEstimator
    from .classifier import RecurrentClassifier
    from .regressor import RecurrentRegressor

__all__ = ["CELLS", "NotFittedError", "RecurrentClassifier", "RecurrentEstimator", "RecurrentRegressor"]

MODULES = {"RecurrentClassifier": "classifier", "RecurrentRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    """Loaded when asked for: the room has modules that do without scikit-learn."""
    if name in __all__:
        return getattr(import_module(f".{MODULES.get(name, 'base')}", __name__), name)
    return names_of(__name__)(name)  # `ostinato.estimators` of version 0.1
