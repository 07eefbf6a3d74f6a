"""ONNX Runtime: one node, all graph optimisations, inputs and outputs bound to memory before."""
# ruff: noqa: ARG001, N803 - every peer has the same functions; X and Y are the symbols of the equations

from itertools import cycle

import numpy as np
import onnxruntime

from ..problems import Contender, Unsupported
from . import onnx_models


def _session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _bind(session, inputs, outputs):
    """Everything lies in memory of NumPy, and stays there."""
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, value(array))
    for name, array in outputs.items():
        pointer = array.__array_interface__["data"][0]
        binding.bind_output(name, "cpu", 0, np.float32, array.shape, pointer)
    return binding


def forward(problem, threads):
    session = _session(onnx_models.sequence_model(problem), threads)
    inputs = {"X": problem.X}
    outputs = {"Y": np.empty((problem.n_steps, 1, problem.n_instances, problem.size), np.float32)}
    binding = _bind(session, inputs, outputs)
    keep = inputs, outputs  # the binding knows addresses only

    def run():
        session.run_with_iobinding(binding)
        return keep[1]["Y"]

    return Contender(run, lambda Y: {"Y": Y[:, 0].copy()})


def backward(problem, threads):
    raise Unsupported("no training")


def stream(problem, threads):
    """The state goes to and fro between two sets of buffers: what one step writes, the next one reads, with no copy."""
    session = _session(onnx_models.step_model(problem), threads)
    names = onnx_models.state_names(problem)
    x = np.empty((1, 1, problem.size), np.float32)
    sets = [{name: np.zeros((1, 1, problem.size), np.float32) for name in names} for _ in range(2)]

    def bound(old, new):
        inputs = {"X": x} | {f"initial_{name}": array for name, array in old.items()}
        return _bind(session, inputs, {f"Y_{name}": array for name, array in new.items()}), old, new

    # the bindings know addresses only: the arrays are kept here
    turns, rows = cycle([bound(*sets), bound(*reversed(sets))]), cycle(problem.X)

    def run():
        x[0] = next(rows)
        binding, _, new = next(turns)
        session.run_with_iobinding(binding)
        return new["h"]

    return Contender(run, lambda h: {"y": h[0, 0].copy()})
