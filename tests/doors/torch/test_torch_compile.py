"""torch.compile, torch.export and torch.library take a module whole; what cannot take it is answered in one sentence."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch.export import Dim, export
from torch.library import opcheck

import ostinato.torch as ours
from ostinato import OstinatoError, cells
from ostinato.torch.rnn import program_text

from .pairs import apart, pair

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _anew():
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Dynamo and inductor say of themselves
        yield


def learned(module, x, call):
    y = call(x)[0]
    y.square().sum().backward()
    return [y, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_compiled_module_has_the_results_and_gradients_of_torch(kind, backend):
    theirs, mine = pair(kind, num_layers=2, bidirectional=True)
    compiled = torch.compile(mine, fullgraph=True, backend=backend)
    assert apart(learned(mine, X, compiled), learned(theirs, X, theirs)) < 1e-5
    with torch.no_grad():
        assert apart([compiled(X)[0]], [theirs(X)[0]]) < 1e-6


def test_inductor_trains_as_eager_does():
    results = []
    for compiling in (False, True):
        _, mine = pair("LSTM")
        call = torch.compile(mine, fullgraph=True) if compiling else mine
        optimiser = torch.optim.AdamW(mine.parameters(), lr=0.01, fused=True)
        for _ in range(3):
            optimiser.zero_grad()
            call(X)[0].square().sum().backward()
            optimiser.step()
        results.append(list(mine.parameters()))
    assert apart(*results) < 1e-5


def test_dynamic_shapes_and_one_tensor_for_both_states():
    theirs, mine = pair("LSTM", num_layers=2, batch_first=True)
    compiled = torch.compile(mine, fullgraph=True, backend="aot_eager", dynamic=True)
    for n_instances, n_steps in ((2, 5), (3, 7), (4, 9)):
        x, zero = torch.randn(n_instances, n_steps, 3), torch.zeros(2, n_instances, 4)
        assert apart([compiled(x, (zero, zero))[0]], [theirs(x)[0]]) < 1e-6


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_a_loop_over_a_compiled_cell(kind):
    theirs, mine = pair(kind)

    def loop(cell):
        h = None
        for x in X:
            h = cell(x, h)
        return h[0] if isinstance(h, tuple) else h

    compiled = torch.compile(lambda: loop(mine), fullgraph=True, backend="aot_eager")
    assert apart([compiled()], [loop(theirs)]) < 1e-6


def test_any_cell_is_compiled():
    module = ours.Recurrent(cells.lstm_layer_norm, n_inputs=3, n_neurons=4)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    expected = learned(module, X, module)
    module.zero_grad()
    assert apart(learned(module, X, compiled), expected) < 1e-5
    lengths = torch.tensor([3, 5])
    assert apart([compiled(X, lengths=lengths)[0]], [module(X, lengths=lengths)[0]]) == 0


def test_an_exported_program_runs_in_a_fresh_process(tmp_path):
    theirs, mine = pair("GRU", num_layers=2, bidirectional=True)
    shapes = ({0: Dim("T", min=2, max=100), 1: Dim("B", min=2, max=100)},)
    torch.export.save(export(mine.eval(), (X,), dynamic_shapes=shapes), tmp_path / "m.pt2")
    x = torch.randn(7, 3, 3)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, torch, ostinato.torch\n"
        "folder = sys.argv[1]\n"
        "program = torch.export.load(folder + '/m.pt2')\n"
        "torch.save(program.module()(torch.load(folder + '/x.pt'))[0].detach(), folder + '/y.pt')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert apart([torch.load(tmp_path / "y.pt")], [theirs(x)[0]]) < 1e-6


def arguments(*, grad):
    weights = [p.detach().clone().requires_grad_(grad) for p in ours.LSTM(3, 4).parameters()]
    tensors = [X.clone().requires_grad_(grad), torch.zeros(2, 4), torch.zeros(2, 4), *weights]
    return program_text("LSTM", True, 3, 4, 0, "f32"), tensors, None, None, False, False, False


def test_the_ops_are_well_behaved():
    for op, grad in ((torch.ops.ostinato.sequence, False), (torch.ops.ostinato.recording, True)):
        assert set(opcheck(op.default, arguments(grad=grad)).values()) == {"SUCCESS"}


def test_a_second_derivative_inside_a_compiled_graph_is_refused_in_words():
    results = torch.ops.ostinato.recording(*arguments(grad=True))
    text, tensors, *rest = arguments(grad=True)
    adjoints = [torch.ones_like(r, requires_grad=True) for r in results[:-1]]
    found = torch.ops.ostinato.backward(adjoints, results[-1].detach(), text, [t.detach() for t in tensors], *rest)
    with pytest.raises(OstinatoError, match=r"a derivative of a derivative cannot be taken inside torch\.compile"):
        found[0].sum().backward()


@pytest.mark.parametrize("make", [ours.LSTM, ours.GRUCell, lambda i, n: ours.Recurrent(cells.gru, n_inputs=i, n_neurons=n)])
def test_torchscript_is_answered_with_one_sentence(make):
    module = make(3, 4)
    x = torch.zeros(2, 3) if isinstance(module, ours.GRUCell) else X
    for call in (lambda: torch.jit.script(module), lambda: torch.jit.trace(module, (x,))):
        with pytest.raises(OstinatoError, match=r"TorchScript and torch\.onnx\.export know PyTorch's own .*restore\(model\)"):
            call()


def test_the_exporter_to_onnx_is_answered_with_the_same_sentence(tmp_path):
    pytest.importorskip("onnxscript")
    for module in (ours.LSTM(3, 4), ours.Recurrent(cells.gru, n_inputs=3, n_neurons=4)):
        with pytest.raises(Exception) as caught:
            torch.onnx.export(module.eval(), (X,), tmp_path / "m.onnx", verbose=False)
        error, words = caught.value, []
        while error is not None:
            words.append(str(error))
            error = error.__cause__
        assert any("restore(model)" in text for text in words)
