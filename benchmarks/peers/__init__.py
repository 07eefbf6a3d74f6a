"""The peers, each in a module with the same small interface.

    forward(problem, threads)    a Contender: outputs {"Y"} of the whole sequences, no gradient kept
    backward(problem, threads)   a Contender: forward, then gradients {"X", merged weights} for the adjoint problem.dY
    stream(problem, threads)     a Contender: one step of one instance {"y"} for each call, the inputs in turn

All data are handed over before, in the peer's own tensors. `Unsupported` is raised for what a peer does not have.
"""

from importlib import import_module, util

# peer -> the packages it needs
NEEDS = {
    "torch": ("torch",),
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "jax": ("jax",),
}


def load(names):
    """(peer -> module of those that are installed, a line for each that is not)."""
    found, missing = {}, []
    for name in names:
        lacking = [package for package in NEEDS[name] if util.find_spec(package) is None]
        if lacking:
            missing.append(f"{name}: skipped, {' and '.join(lacking)} not installed")
        else:
            found[name] = import_module(f".{name}", __name__)
    return found, missing
