"""Made everything else in this folder, with version 0.1 (commit f1e0836) in place of the package of today.

PYTHONPATH=<a checkout of 0.1>/src OSTINATO_BACKEND=numpy OPENBLAS_NUM_THREADS=1 python tests/data/version_0_1/make.py
"""

import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np

import ostinato
from ostinato import (
    Bidirectional,
    BlockCirculant,
    Dropout,
    LastStep,
    Layer,
    Network,
    RecurrentClassifier,
    RecurrentRegressor,
    UpdateRule,
    cells,
    cross_entropy,
    errors,
    initialise,
    relu,
    to_structure,
    training,
)

assert ostinato.__version__ == "0.1.0"
HERE = Path(__file__).parent
ROOT = Path(ostinato.__file__).parent.parent
answers = {}


def relative(source):
    """The files of a checkout are elsewhere on every machine."""
    file = Path(source.file)
    return {**vars(source), "file": str(file.relative_to(ROOT)) if ROOT in file.parents else file.name}


errors.Source.__getstate__ = relative


def keep(name, subject):
    (HERE / f"{name}.pickle").write_bytes(pickle.dumps(subject, protocol=4))


def keep_with_answer(name, subject, X, call):
    answers[f"{name} input"], answers[name] = X, call(X)
    subject.save(HERE / f"{name}.safetensors")
    keep(name, subject)


rng = np.random.default_rng(0)
X = rng.standard_normal((4, 3, 2)).astype(np.float32)  # n_steps, n_instances, n_inputs
layer = Layer(cells.lstm_peephole, n_inputs=2, n_neurons=3, seed=1)
keep_with_answer("layer", layer, X, layer)
dense = Layer(cells.recurrent, n_inputs=2, n_neurons=4, seed=2, dtype="float64")
structured = to_structure(dense, {"W_y": BlockCirculant(2)})
keep_with_answer("structured_layer", structured, X.astype(np.float64), structured)
optioned = Layer(cells.recurrent, n_inputs=2, n_neurons=3, seed=3, phi=relu)
keep_with_answer("optioned_layer", optioned, X, optioned)
network = Network(
    Bidirectional(cells.gru, n_inputs=2, n_neurons=3, seed=4),
    Dropout(0.5),
    LastStep(Layer(cells.lstm, n_inputs=6, n_neurons=2, seed=5)),
    Layer(cells.dense, n_inputs=2, n_outputs=2, seed=6),
)
keep_with_answer("network", network, X, network)
answers["network, dropped"] = deepcopy(network).run(X, training=True)[0]
XS = rng.standard_normal((20, 5, 2))  # n_samples, n_steps, n_features
labels = np.array(["a", "b"])[(XS[:, :, 0].sum(1) > 0).astype(int)]
classifier = RecurrentClassifier(n_neurons=3, max_epochs=2, random_state=0).fit(XS, labels)
keep_with_answer("classifier", classifier, XS[:4], classifier.predict_proba)
regressor = RecurrentRegressor(cell="gru", n_neurons=3, max_epochs=2, random_state=0).fit(XS, XS.sum((1, 2)))
keep_with_answer("regressor", regressor, XS[:4], regressor.predict)

target = rng.standard_normal((3, 2)).astype(np.float32)
keep("examples", training.Examples(X, target, lengths=np.array([4, 2, 3])))
keep("history", classifier.history_)
keep("cell", cells.lstm)
keep("initialiser", initialise.Normal(0.1))
keep("structure", BlockCirculant(2))

logits, classes = X[0], np.array([0, 1, 1])
answers["loss"] = cross_entropy(logits, classes)[1]  # which makes its layer, so that the pickle has one
keep("loss", cross_entropy)

learner = Layer(cells.recurrent, n_inputs=2, n_neurons=3, seed=8)
rule = UpdateRule("adam", learning_rate=0.01)
for step in range(3):
    if step == 2:  # two updates lie behind it, and the third is the answer
        keep("rule", rule)
        answers |= {f"weight {name}": array for name, array in learner.weights.items()}
    Y, pullback = learner.vjp(X)
    gradients = pullback(Y).weights
    if step == 2:
        answers |= {f"gradient {name}": array for name, array in gradients.items()}
    rule.step(learner.weights, gradients)
answers |= {f"updated {name}": array for name, array in learner.weights.items()}

stream = Layer(cells.gru, n_inputs=2, n_neurons=3, seed=7).stream(n_instances=3)
answers["stream begins"] = np.stack([stream(x) for x in X[:2]])
keep("stream", stream)
answers["stream"] = np.stack([stream(x) for x in X[2:]])
np.savez_compressed(HERE / "answers.npz", **answers)
