"""The fixed layers as ONNX models, for ONNX Runtime and OpenVINO: one RNN, GRU or LSTM node, all shapes static."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from ..problems import Unsupported

OPSET, IR_VERSION = 22, 10
# operator, the order of its gates within the merged weights (i f g o; r z n), attributes
NODES = {
    "recurrent": ("RNN", (0,), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
}


def sequence_model(problem):
    """X -> Y (n_steps, 1, n_instances, n_neurons), serialised."""
    return _model(problem, problem.n_steps, problem.n_instances, states=False)


def step_model(problem):
    """X (1, 1, n_inputs), initial_h[, initial_c] -> Y_h[, Y_c], serialised."""
    return _model(problem, 1, 1, states=True)


def state_names(problem):
    """("h", "c") of an LSTM, ("h",) of the others."""
    return tuple("hc"[: len(problem.model.states)])


def arrays(problem):
    """W (1, n_gates*n_neurons, n_inputs), R and B of the node."""
    w, order = problem.merged, NODES[problem.model.name][1]

    def by_gates(array):
        parts = np.split(array, len(order), axis=-1)
        return np.concatenate([parts[k] for k in order], axis=-1)

    second = np.zeros_like(w["b"])
    if "b_hn" in w:
        second[-problem.size :] = w["b_hn"]
    bias = np.concatenate([by_gates(w["b"]), by_gates(second)])
    return {"W": by_gates(w["W"]).T[None], "R": by_gates(w["U"]).T[None], "B": bias[None]}


def _model(problem, n_steps, n_instances, *, states):
    if problem.model.name not in NODES:
        raise Unsupported("no such node")
    operator, _, attributes = NODES[problem.model.name]
    names = state_names(problem)
    initial = [f"initial_{name}" for name in names] if states else []
    outputs = ["", *(f"Y_{name}" for name in names)] if states else ["Y"]
    inputs = ["X", "W", "R", "B", *(["", *initial] if states else [])]  # "": no sequence_lens
    node = helper.make_node(operator, inputs, outputs, hidden_size=problem.size, **attributes)
    shapes = dict.fromkeys((*initial, *outputs), (1, n_instances, problem.size))
    shapes |= {"X": (n_steps, n_instances, problem.size), "Y": (n_steps, 1, n_instances, problem.size)}

    def described(names):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in names if name]

    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays(problem).items()]
    graph = helper.make_graph([node], problem.model.name, described(["X", *initial]), described(outputs), constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    checker.check_model(model)
    return model.SerializeToString()
