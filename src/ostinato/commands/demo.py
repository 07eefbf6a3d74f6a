"""`ostinato demo`: handwritten digits, each read row by row; training, a picture of the unrolled network, saving and loading.

The images are those that come with scikit-learn (Alpaydin and Kaynak, Optical Recognition of Handwritten Digits: 1,797 images
of 8 x 8 pixels with values from 0 to 16).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import cells, loading
from ..errors import MissingExtraError, lay_out
from ..explain import explain
from .training import INTERRUPTED, LEARN, check_model_path, estimators, fitted

Array = np.ndarray[Any, np.dtype[Any]]
SHADES = " ░▒▓█"


@dataclass(frozen=True)
class Digits:
    """Images as sequences of rows: X (n_images, n_steps=8, n_inputs=8) from 0 to 1, y (n_images,) from 0 to 9."""

    X_train: Array
    y_train: Array
    X_test: Array
    y_test: Array


def demo_command(model: str, *, seed: int, epochs: int | None, quick: bool) -> int:
    """Run the demonstration. Returns 0 only if the model that was saved and loaded predicts the same."""
    check_model_path(model)
    digits = load_digits(seed)
    module = estimators()
    n_neurons = 24 if quick else 64
    estimator = module.RecurrentClassifier(
        cell="lstm", n_neurons=n_neurons, max_epochs=epochs or (8 if quick else 40), scale_inputs=False,
        random_state=seed, verbose=1,
    )  # fmt: skip
    say(f"{explain(cells.lstm, n_inputs=digits.X_train.shape[2], n_neurons=n_neurons).short()}\n")
    say(f"{len(digits.X_train):,} images to learn from, {len(digits.X_test):,} held out: 8 steps of 8 pixels each\n")
    started = time.perf_counter()
    whole = fitted(estimator, digits.X_train, digits.y_train)
    seconds = time.perf_counter() - started
    layer, readout = layers_of(estimator)
    right = float(estimator.score(digits.X_test, digits.y_test))
    say(f"\nTrained in {seconds:.1f} s. On {len(digits.X_test)} images it has never seen: {right:.1%} right.\n")
    number = int(np.flatnonzero(estimator.predict(digits.X_test) == digits.y_test)[0]) if right else 0
    say(f"One of them, a {digits.y_test[number]}, going through the unrolled network:\n")
    say("\n".join(unrolled_lines(layer, readout, digits.X_test[number], estimator.classes_)))
    say("")
    same = saved_and_loaded(estimator, digits.X_test, model)
    return same if whole else INTERRUPTED


def say(text: str) -> None:
    """One line or several on standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def load_digits(seed: int) -> Digits:
    """The images, three quarters to learn from and one quarter held out, with as much of every digit in both.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise MissingExtraError(lay_out(f"the demonstration needs scikit-learn: {LEARN}")) from None
    loaded = datasets.load_digits()
    X = loaded.images / 16.0  # noqa: N806 - (n_images, 8, 8)
    X_train, X_test, y_train, y_test = train_test_split(  # noqa: N806
        X, loaded.target, test_size=0.25, random_state=seed, stratify=loaded.target
    )
    return Digits(X_train, y_train, X_test, y_test)


def layers_of(estimator: Any) -> tuple[Any, Any]:
    """The recurrent layer of an estimator of one layer, and the dense layer that reads its last output."""
    layers = [layer for layer in estimator.network_.layers.values() if layer.name != "dropout"]
    assert len(layers) == 2, [layer.name for layer in layers]
    return layers[0], layers[1]


def unrolled_lines(layer: Any, readout: Any, image: Array, classes: Array) -> list[str]:
    """One line for each step: the row of pixels, the output h(t) of the layer, and the answer that can be read from it.

    Args:
        layer: the recurrent layer.
        readout: the dense layer that makes scores of its output.
        image: (n_steps, n_inputs), from 0 to 1.
        classes: what each score stands for.
    """
    outputs = layer(np.asarray(image, np.float32)[:, None])[:, 0]  # (n_steps, n_neurons)
    scores = readout(outputs)
    chances = np.exp(scores - scores.max(axis=-1, keepdims=True))
    chances /= chances.sum(axis=-1, keepdims=True)
    lines = ["  t   x(t)                h(t)                                  |h(t)|   if it stopped here"]
    for t, (row, h, chance) in enumerate(zip(image, outputs, chances, strict=True), start=1):
        numbers = " ".join(f"{v:+.2f}" for v in h[:4])
        best = int(chance.argmax())
        bar = "█" * round(20 * float(chance[best]))
        lines.append(
            f"  {t}  [{shades(row)}]  → [{numbers} ... {len(h):>3}]  {np.linalg.norm(h):6.2f}   "
            f"{classes[best]}  {chance[best]:5.1%}  {bar}"
        )
        if t < len(image):
            lines.append(f"{'':24}{'↓':^34}".rstrip())
    return lines


def shades(row: Array) -> str:
    """Pixels from 0 to 1 as two characters each."""
    return "".join(2 * SHADES[min(int(v * len(SHADES)), len(SHADES) - 1)] for v in row)


def saved_and_loaded(estimator: Any, X: Array, model: str) -> int:  # noqa: N803 - the name in the formula
    """Save, load, predict again. Returns 0 if every prediction and every probability is the same."""
    estimator.save(model)
    again: Any = loading.load(model)
    before, after = estimator.predict_proba(X), again.predict_proba(X)
    same = np.array_equal(before, after) and np.array_equal(estimator.predict(X), again.predict(X))
    say(f"Saved to {model}, loaded back: {len(X)} predictions, {'all the same, bit for bit' if same else 'NOT the same'}.")
    if same:
        say(f"Now predict with it: ostinato predict {model} DATA (see ostinato predict --help)")
    return 0 if same else 1
