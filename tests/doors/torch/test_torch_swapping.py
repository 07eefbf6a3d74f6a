"""A model's recurrent modules are exchanged in place and back; layers become modules and modules layers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import ostinato
import ostinato.torch as ours
from ostinato import Bidirectional, Dropout, Layer, Network, cells, relu

from .pairs import apart


class Speech(nn.Module):
    """A convolution over time, three bidirectional layers, a linear one; one LSTM under two names; a cell."""

    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(8, 6, 3, padding=1)
        self.rnn = nn.GRU(6, 5, num_layers=3, bidirectional=True, batch_first=True)
        self.shared = nn.LSTM(10, 4, batch_first=True)
        self.again = self.shared
        self.cell = nn.LSTMCell(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        y, _ = self.rnn(self.front(x.transpose(1, 2)).transpose(1, 2))
        y, _ = self.shared(y)
        h = None
        for step in y.unbind(1):
            h = self.cell(step, h)
        return self.head(h[0])


class Own(nn.LSTM):
    """A subclass of somebody's."""


def test_replace_exchanges_every_recurrent_module_and_restore_undoes_it():
    torch.manual_seed(0)
    model, x = Speech(), torch.randn(3, 7, 8)
    expected, parameters = model(x), list(model.parameters())
    seen = []
    model.rnn.register_forward_hook(lambda *_: seen.append("rnn"))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    report = ours.replace(model)
    assert str(report) == ("rnn: ostinato.torch.GRU\nshared: ostinato.torch.LSTM\ncell: ostinato.torch.LSTMCell")
    assert report.left == {}
    assert type(model.rnn) is ours.GRU
    assert model.again is model.shared
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert apart([model(x)], [expected]) < 1e-6
    assert seen == ["rnn"]
    model(x).square().sum().backward()
    optimiser.step()
    after = model(x)
    assert apart([after], [expected]) > 1e-3
    twin = copy.deepcopy(model)
    assert str(ours.restore(model)) == "rnn: torch.nn.GRU\nshared: torch.nn.LSTM\ncell: torch.nn.LSTMCell"
    assert type(model.rnn) is nn.GRU
    assert apart([model(x)], [after]) < 1e-6
    assert type(twin.rnn) is ours.GRU
    assert str(ours.restore(nn.Linear(2, 2))) == "no recurrent module"


def test_what_is_left_is_named_with_its_reason():
    model = nn.ModuleDict({"own": Own(3, 4), "normed": nn.GRU(3, 4), "plain": nn.RNN(3, 4)})
    nn.utils.parametrizations.weight_norm(model["normed"], "weight_hh_l0")
    report = ours.replace(model)
    assert report.swapped == {"plain": "ostinato.torch.RNN"}
    assert report.left == {
        "own": f"{Own.__module__}.Own is a class of its own, which may do something else",
        "normed": "its parameters are parametrized (ParametrizedGRU): exchange it first, then parametrize",
    }
    assert "own: left, " in str(report)
    mine = nn.ModuleDict({"cell": ours.Recurrent(cells.mgu, n_inputs=3, n_neurons=4), "normed": ours.GRU(3, 4)})
    nn.utils.parametrizations.weight_norm(mine["normed"], "weight_hh_l0")
    assert set(ours.restore(mine).left) == {"cell", "normed"}


@pytest.mark.parametrize("call", [ours.replace, ours.restore, lambda m: ours.frozen(m).__enter__()])
def test_a_model_is_a_module(call):
    with pytest.raises(ostinato.DataTypeError, match=r"a model is an nn\.Module, and this is a list"):
        call([nn.LSTM(3, 4)])


MODULES = {
    "LSTM": lambda: nn.LSTM(3, 4, batch_first=True),
    "LSTM without bias": lambda: nn.LSTM(3, 4, bias=False),
    "LSTM with a projection": lambda: nn.LSTM(3, 4, proj_size=2),
    "GRU": lambda: ours.GRU(3, 4),
    "RNN of relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "a stack": lambda: nn.GRU(3, 4, num_layers=3, dropout=0.5),
    "both directions": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "in float64": lambda: ours.LSTM(3, 4, dtype=torch.float64),
    "any cell": lambda: ours.Recurrent(cells.lstm_layer_norm, n_inputs=3, n_neurons=4),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_loaded_as_a_layer_or_network_that_needs_no_torch(name):
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    x = torch.randn(5, 2, 3, dtype=next(module.parameters()).dtype)
    loaded = ours.load(module)
    assert loaded.dtype == ("float64" if name == "in float64" else "float32")
    assert np.abs(loaded(x.numpy()) - module(x)[0].detach().numpy()).max() < 1e-6
    module.double()
    again = next(module.parameters())
    again.data.zero_()
    assert np.abs(loaded(x.numpy())).max() > 0  # a copy


def test_a_class_of_somebody_s_own_is_not_taken_for_its_base_and_a_parametrized_module_is_itself():
    with pytest.raises(ostinato.DataTypeError, match="and this is a Own"):
        ours.load(Own(3, 4))
    module = nn.utils.parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0")
    x = torch.randn(5, 2, 3)
    assert np.abs(ours.load(module)(x.numpy()) - module(x)[0].detach().numpy()).max() < 1e-6


def test_a_cell_from_a_file_is_not_the_library_s_for_its_name_alone(tmp_path):
    from ostinato import Input, State, Weight, cell

    @cell
    def gru(x=Input("n_inputs"), h=State("n_neurons"), W=Weight("n_inputs", "n_neurons")):
        """No GRU at all."""
        return x @ W + h

    Layer(gru, n_inputs=3, n_neurons=4).save(tmp_path / "gru")
    with pytest.raises(ostinato.DataTypeError, match="gru: a layer from a file has no function for its cell any more"):
        ours.module(ostinato.load(tmp_path / "gru"))


def test_a_copy_made_in_a_frozen_model_is_not_frozen():
    model = nn.Sequential(ours.GRU(3, 4))
    x = torch.randn(5, 2, 3)
    with ours.frozen(model):
        model(x)
        twin = copy.deepcopy(model)
    before = twin(x)[0]
    twin[0].weight_hh_l0.data.add_(1)
    assert not torch.equal(twin(x)[0], before)


def test_cells_and_linear_modules_are_loaded_too():
    x = torch.randn(2, 3)
    for kind in ("RNNCell", "GRUCell", "LSTMCell"):
        for library in (nn, ours):
            cell = getattr(library, kind)(3, 4, bias=library is nn)
            y = cell(x)
            layer = ours.load(cell)
            assert np.abs(layer(x.numpy()[None])[0] - (y[0] if isinstance(y, tuple) else y).detach().numpy()).max() < 1e-6
    for bias in (True, False):
        linear = nn.Linear(3, 4, bias=bias)
        assert np.abs(ours.load(linear)(x.numpy()[None])[0] - linear(x).detach().numpy()).max() < 1e-6
    with pytest.raises(ostinato.DataTypeError, match="and this is a Conv1d"):
        ours.load(nn.Conv1d(3, 4, 1))


LAYERS = {
    "LSTM": lambda: Layer(cells.lstm, n_inputs=3, n_neurons=4, batch_first=True, seed=1),
    "GRU": lambda: Layer(cells.gru, n_inputs=3, n_neurons=4, dtype="float64", seed=1),
    "RNN": lambda: Layer(cells.recurrent, n_inputs=3, n_neurons=4, phi=relu, seed=1),
    "Linear": lambda: Layer(cells.dense, n_inputs=3, n_outputs=4, seed=1),
    "Recurrent": lambda: Layer(cells.mgu, n_inputs=3, n_neurons=4, reverse=True, seed=1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_becomes_a_module_of_torch_where_its_cell_is_one(name, tmp_path):
    layer = LAYERS[name]()
    layer.save(tmp_path / "layer")
    X = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(layer.dtype)
    for one in (layer, ostinato.load(tmp_path / "layer")):
        module = ours.module(one)
        assert type(module).__name__ == name
        y = module(torch.from_numpy(X))
        y = y if name == "Linear" else y[0]
        assert np.abs(y.detach().numpy() - layer(X)).max() < 1e-6


def test_what_cannot_become_a_module_is_refused(tmp_path):
    with pytest.raises(ostinato.DataTypeError, match="a module is made of a Layer, and this is a Network"):
        ours.module(Network(Bidirectional(cells.gru, n_inputs=3, n_neurons=4), Dropout(0.5)))
    from ostinato import Input, State, Weight, cell, load

    @cell
    def mine(x=Input("n"), h=State("n"), W=Weight("n", "n")):
        """Nobody's but mine."""
        return x @ W + h

    Layer(mine, n=3).save(tmp_path / "mine")
    with pytest.raises(ostinato.DataTypeError, match="mine: a layer from a file has no function for its cell any more"):
        ours.module(load(tmp_path / "mine"))


WITHOUT = """
import sys
sys.modules["torch"] = None
import ostinato
try:
    import ostinato.torch
except ostinato.MissingExtraError as error:
    print(error)
"""


def test_without_torch_the_door_says_what_to_install():
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == 'ostinato.torch needs PyTorch: pip install "ostinato[torch]"', done.stderr
