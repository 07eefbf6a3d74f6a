"""`load`: whatever was saved, by the kind that its file names. Nothing in a file is ever executed."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from . import files
from .calls import answering
from .errors import FileError, MissingExtraError, OstinatoError, lay_out
from .layers.network import Part, part_from_description
from .learn import checkpoint
from .runtime.backends import chosen

if TYPE_CHECKING:
    from .estimators import RecurrentClassifier, RecurrentRegressor

ESTIMATORS = {"classifier": "RecurrentClassifier", "regressor": "RecurrentRegressor"}


@answering
def load(path: str | os.PathLike[str]) -> Part | RecurrentClassifier | RecurrentRegressor:
    """The layer, network or estimator that was saved; of a checkpoint of training the network with its best weights.

    Raises:
        FileError: it can not be read, was not written by Ostinato, or is damaged.
        MissingExtraError: the file holds an estimator, and scikit-learn is not installed.
        OptionError: the environment variable OSTINATO_BACKEND names no backend.
    """
    arrays, description = files.read(path)
    kind = description.get("kind")
    chosen(None, "load")  # a variable of the environment that names no backend is no fault of the file
    try:
        if isinstance(kind, str) and kind in ESTIMATORS:
            # by name, so that scikit-learn is loaded only for a file that asks for it
            estimators = importlib.import_module(".estimators", __package__)
            found: RecurrentClassifier | RecurrentRegressor
            found = getattr(estimators, ESTIMATORS[kind]).from_description(description, arrays)
            return found
        if kind == checkpoint.KIND:
            network = files.field(description, "network", dict)
            return part_from_description(network, checkpoint.network_arrays(description, arrays))
        return part_from_description(description, arrays)
    except MissingExtraError:
        raise
    except OstinatoError as error:
        reason = str(error).splitlines()[0]
        raise FileError(lay_out(f"`{path}` can not be loaded: {reason}")) from None
