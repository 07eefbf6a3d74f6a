"""OpenVINO: the same ONNX models. It is told to compute in float32: on processors with bfloat16 it otherwise does not."""
# ruff: noqa: ARG001, N803 - every peer has the same functions; X and Y are the symbols of the equations

from itertools import cycle

import numpy as np
import openvino

from ..problems import Contender, Unsupported
from . import onnx_models


def _compiled(model, threads):
    core = openvino.Core()
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",
    }
    return core.compile_model(core.read_model(model, b""), "CPU", config)


def _shared(array):
    return openvino.Tensor(array, shared_memory=True)


def forward(problem, threads):
    request = _compiled(onnx_models.sequence_model(problem), threads).create_infer_request()
    X, Y = problem.X, np.empty((problem.n_steps, 1, problem.n_instances, problem.size), np.float32)
    request.set_tensor("X", _shared(X))
    request.set_tensor("Y", _shared(Y))
    keep = X, Y  # the request knows addresses only

    def run():
        request.infer()
        return keep[1]

    return Contender(run, lambda Y: {"Y": Y[:, 0].copy()})


def backward(problem, threads):
    raise Unsupported("no training")


def stream(problem, threads):
    """Two requests; what one writes, the other reads."""
    compiled = _compiled(onnx_models.step_model(problem), threads)
    names = onnx_models.state_names(problem)
    x = np.empty((1, 1, problem.size), np.float32)
    sets = [{name: np.zeros((1, 1, problem.size), np.float32) for name in names} for _ in range(2)]

    def bound(old, new):
        request = compiled.create_infer_request()
        request.set_tensor("X", _shared(x))
        for name in names:
            request.set_tensor(f"initial_{name}", _shared(old[name]))
            request.set_tensor(f"Y_{name}", _shared(new[name]))
        return request, old, new

    # the requests know addresses only: the arrays are kept here
    turns, rows = cycle([bound(*sets), bound(*reversed(sets))]), cycle(problem.X)

    def run():
        x[0] = next(rows)
        request, _, new = next(turns)
        request.infer()
        return new["h"]

    return Contender(run, lambda h: {"y": h[0, 0].copy()})
