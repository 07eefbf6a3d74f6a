"""However a weight changes, the next call computes with it; and what has not changed is neither copied nor packed."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import ostinato.torch as ours
from ostinato.native.program import NativeProgram

from .pairs import pair

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))


def one_step(optimiser, **options):
    def change(module):
        module(X)[0].square().sum().backward()
        optimiser(module.parameters(), lr=0.1, **options).step()

    return change


def closed(module):
    optimiser = torch.optim.LBFGS(module.parameters(), lr=0.1, max_iter=2)

    def closure():
        optimiser.zero_grad()
        loss = module(X)[0].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)


def under_no_grad(change):
    def changing(module):
        with torch.no_grad():
            change(module.weight_hh_l0)

    return changing


def averaged(module):
    """A moving average of weights, swapped in through `.data`."""
    for p in module.parameters():
        p.data.lerp_(torch.ones_like(p), 0.1)


def swapped(module):
    new = copy.deepcopy(module.weight_ih_l0)
    new.data.mul_(0.5)
    module._flat_weight_refs = []  # as nn.RNNBase itself does before it swaps: it holds weak references
    torch.utils.swap_tensors(module.weight_ih_l0, new)


def in_inference(module):
    with torch.inference_mode():
        module.weight_hh_l0.add_(0.1)


CHANGES = {
    "SGD": one_step(torch.optim.SGD),
    "SGD fused": one_step(torch.optim.SGD, fused=True),
    "Adam": one_step(torch.optim.Adam),
    "Adam fused": one_step(torch.optim.Adam, fused=True),
    "AdamW fused": one_step(torch.optim.AdamW, fused=True),
    "Adagrad fused": one_step(torch.optim.Adagrad, fused=True),
    "RMSprop by tensors": one_step(torch.optim.RMSprop, foreach=True),
    "LBFGS": closed,
    "data.add_": lambda m: m.weight_ih_l0.data.add_(0.1),
    "data.clamp_": lambda m: m.weight_hh_l0.data.clamp_(-0.1, 0.1),
    "an average through data": averaged,
    "numpy": lambda m: m.bias_ih_l0.detach().numpy().__setitem__(slice(None), 0.3),
    "data =": lambda m: setattr(m.weight_hh_l0, "data", m.weight_hh_l0.data * 0.5),
    "vector_to_parameters": lambda m: vector_to_parameters(parameters_to_vector(m.parameters()) * 0.5, m.parameters()),
    "no_grad add_": under_no_grad(lambda w: w.add_(0.1)),
    "a view's mul_": under_no_grad(lambda w: w[2:5].mul_(0.5)),
    "load_state_dict": lambda m: m.load_state_dict({k: v * 0.5 for k, v in m.state_dict().items()}),
    "load_state_dict(assign)": lambda m: m.load_state_dict({k: v * 0.5 for k, v in m.state_dict().items()}, assign=True),
    "nn.init": lambda m: nn.init.orthogonal_(m.weight_hh_l0),
    "state_dict add_": lambda m: m.state_dict()["bias_hh_l0"].add_(0.2),
    "swap_tensors": swapped,
    "inference_mode": in_inference,
    "one bit": lambda m: m.weight_ih_l0.detach().numpy().view(np.uint32).__ior__(1),
    "the sign of a zero": lambda m: m.bias_ih_l0.data.mul_(0).neg_(),
}


def of_torch(module):
    """nn.LSTM with the parameters as they are now."""
    fresh = nn.LSTM(3, 4)
    fresh.load_state_dict({name: p.detach().clone() for name, p in module.state_dict().items()})
    return fresh


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("grad", [True, False])
def test_after_a_change_of_weights_the_next_call_is_that_of_torch(name, grad):
    torch.manual_seed(4)
    _, mine = pair("LSTM")
    with torch.set_grad_enabled(grad):
        mine(X)
    CHANGES[name](mine)
    with torch.set_grad_enabled(grad):
        y = mine(X)[0].detach()
    assert float((y - of_torch(mine)(X)[0].detach()).abs().max()) < 1e-6


def counted(monkeypatch):
    """How often native code packs weights."""
    packed, prepared = [], NativeProgram.prepared

    def counting(self, weights):
        before = self._prepared
        ready = prepared(self, weights)
        if ready is not before:
            packed.append(self.program.name)
        return ready

    monkeypatch.setattr(NativeProgram, "prepared", counting)
    return packed


def test_without_a_change_nothing_is_copied_or_packed(monkeypatch):
    mine = ours.LSTM(3, 4)
    packed = counted(monkeypatch)
    mine(X)[0].sum().backward()
    n_copied = [f.n_copied for f in mine._followed.values()]
    assert packed
    packed.clear()
    for _ in range(3):
        mine(X)[0].sum().backward()
    assert packed == []
    assert [f.n_copied for f in mine._followed.values()] == n_copied
    mine.weight_hh_l0.data.add_(1)
    mine(X)
    assert [f.n_copied for f in mine._followed.values()] == [n + 1 for n in n_copied]


def test_in_a_frozen_model_nothing_is_compared():
    model = nn.Sequential(ours.GRU(3, 4))
    module = model[0]
    with ours.frozen(model):
        y = module(X)[0]
        compared = [f.n_compared for f in module._followed.values()]
        assert torch.equal(module(X)[0], y)
        assert [f.n_compared for f in module._followed.values()] == compared
        module.weight_hh_l0.data.add_(1)
        assert torch.equal(module(X)[0], y)  # that is what was promised to it
    assert not torch.equal(module(X)[0], y)


def test_two_modules_with_the_same_weights_follow_their_own():
    first, second = ours.GRU(3, 4), ours.GRU(3, 4)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(X)[0], second(X)[0])
    first.weight_hh_l0.data.zero_()
    assert not torch.equal(first(X)[0], second(X)[0])
