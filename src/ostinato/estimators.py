"""Recurrent networks with scikit-learn's conventions: fit, predict, score, pipelines, searches, clone.

    classifier = RecurrentClassifier(n_neurons=64, random_state=0).fit(X, labels)
    classifier.predict(X)

The network is one or more recurrent layers of any cell, dropout on the feed-forward connections between them, and a dense layer
on the last step (or on every step, for a regressor that answers at every step).
"""

from __future__ import annotations

from .classifier import RecurrentClassifier
from .estimator import CELLS, NotFittedError, RecurrentEstimator
from .regressor import RecurrentRegressor

__all__ = ["CELLS", "NotFittedError", "RecurrentClassifier", "RecurrentEstimator", "RecurrentRegressor"]
