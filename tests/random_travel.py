"""What goes somewhere else and comes back, and what is sent away: copies of all kinds, and wrong calls."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np

import ostinato
from ostinato import OstinatoError


def carry(rng: np.random.Generator, thing: Any, ways: list[str] | None = None) -> tuple[str, Any]:
    """The thing, as it comes out of a random kind of travel."""
    way = str(rng.choice(ways or ["pickle", "pickle 2", "copy", "deepcopy", "cloudpickle", "joblib"]))
    match way:
        case "copy":
            return way, copy.copy(thing)
        case "deepcopy":
            return way, copy.deepcopy(thing)
        case "cloudpickle":
            return way, pickle.loads(cloudpickle.dumps(thing))
        case "pickle 2":
            return way, pickle.loads(pickle.dumps(thing, 2))
    if way in ("save", "joblib"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "thing.safetensors"
            if way == "joblib":
                joblib.dump(thing, path)
                return way, joblib.load(path)
            thing.save(path)
            return way, ostinato.load(path)
    return way, pickle.loads(pickle.dumps(thing))


def refused(function: Callable[..., Any], *values: Any, **options: Any) -> None:
    """It raises an OstinatoError, which says something in the one layout, and nothing else."""
    told = ""
    try:
        function(*values, **options)
    except OstinatoError as error:
        told = str(error).strip()
    assert told, f"nothing was refused by {function}, or without a word"
