"""Gradients are PyTorch's in every way that PyTorch takes them."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, grad, jvp, vmap
from torch.utils.checkpoint import checkpoint

import ostinato.torch as ours
from ostinato import cells

from .pairs import SEQUENCES, apart, pair

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", SEQUENCES)
def test_first_and_second_derivatives_are_right(kind):
    module = getattr(ours, kind)(2, 3, dtype=torch.float64)
    names = [name for name, _ in module.named_parameters()]
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def function(x, *weights):
        y, h = functional_call(module, dict(zip(names, weights, strict=True)), (x,))
        return y, *(h if isinstance(h, tuple) else (h,))

    assert gradcheck(function, (x, *weights))
    assert gradgradcheck(function, (x, *weights))


def penalty(module):
    x = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    (g.norm() - 1).square().backward()
    return [p.grad for p in module.parameters()]


@pytest.mark.parametrize("kind", SEQUENCES)
def test_a_gradient_penalty_is_that_of_torch(kind):
    theirs, mine = pair(kind)
    assert apart(penalty(mine), penalty(theirs)) < 1e-5


def test_only_what_is_asked_for_has_a_gradient_and_nothing_is_none_in_silence():
    _, mine = pair("LSTM")
    x = X.clone().requires_grad_()
    mine.weight_ih_l0.requires_grad_(requires_grad=False)
    mine(x)[0].sum().backward()
    assert mine.weight_ih_l0.grad is None
    assert x.grad is not None
    c = mine(x)[1][1]
    found = torch.autograd.grad(c.sum(), [x, mine.weight_hh_l0])  # y and h have no adjoint
    assert all(g is not None and float(g.abs().max()) > 0 for g in found)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        torch.autograd.grad(mine(X)[0].sum(), [x])
    with torch.no_grad():
        assert not mine(x)[0].requires_grad
    with torch.inference_mode():
        assert float((mine(X)[0] - mine(X)[0]).abs().max()) == 0


def test_backward_twice_over_a_kept_graph_gives_the_same():
    _, mine = pair("GRU")
    y = mine(X)[0].square().sum()
    first = torch.autograd.grad(y, list(mine.parameters()), retain_graph=True)
    second = torch.autograd.grad(y, list(mine.parameters()))
    assert apart(first, second) == 0
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(y, list(mine.parameters()))


@pytest.mark.parametrize("changed", ["weight_hh_l0", "x"])
def test_what_is_changed_in_place_before_backward_is_detected_as_torch_does(changed):
    words = []
    for module in pair("LSTM"):
        x = X.clone()
        y = module(x)[0].sum()
        with torch.no_grad():
            (x if changed == "x" else module.weight_hh_l0).mul_(1.1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation") as caught:
            y.backward()
        words.append(str(caught.value).partition(":")[0])
    assert words[0] == words[1]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_gives_the_same_gradients(reentrant):
    found = []
    for module in pair("LSTM"):
        x = X.clone().requires_grad_()
        checkpoint(lambda x, module=module: module(x)[0], x, use_reentrant=reentrant).square().sum().backward()
        found.append([x.grad, *(p.grad for p in module.parameters())])
    assert apart(*found) < 1e-5


def test_hooks_of_saved_tensors_see_every_record():
    _, mine = pair("LSTM")
    seen = []

    def pack(tensor):
        seen.append(tensor.numel() * tensor.element_size())
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = mine(X)[0].square().sum()
    records = sum(seen) - 4 * sum(p.numel() for p in mine.parameters())
    layer = ours.load(mine)
    assert records >= layer.vjp(X.numpy())[1].recorded_bytes
    assert apart(torch.autograd.grad(y, list(mine.parameters())),
                 torch.autograd.grad(mine(X)[0].square().sum(), list(mine.parameters()))) == 0  # fmt: skip
    with torch.autograd.graph.save_on_cpu():
        mine(X)[0].sum().backward()


def losses(module):
    return lambda parameters, x: functional_call(module, parameters, (x,))[0].square().sum()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which PyTorch itself calls for tangents
def test_functional_gradients_maps_and_tangents():
    theirs, mine = pair("GRU")
    parameters = {name: p.detach() for name, p in mine.named_parameters()}
    of_mine, of_theirs = grad(losses(mine))(parameters, X), grad(losses(theirs))(parameters, X)
    assert apart(list(of_mine.values()), list(of_theirs.values())) < 1e-5
    many = torch.stack([X, X + 1, -X])
    mapped = vmap(lambda x: mine(x)[0])(many)
    assert apart([mapped], [torch.stack([mine(x)[0] for x in many]).detach()]) < 1e-6
    each = vmap(grad(losses(mine)), in_dims=(None, 0))(parameters, many)
    for i, x in enumerate(many):
        one = grad(losses(mine))(parameters, x)
        assert apart([g[i] for g in each.values()], list(one.values())) < 1e-4
    weights = vmap(lambda p, x: functional_call(mine, p, (x,))[0], in_dims=(0, None))
    stacked = {name: torch.stack([p, p * 0.5]) for name, p in parameters.items()}
    assert weights(stacked, X).shape == (2, 5, 2, 4)
    tangent = jvp(lambda x: mine(x)[0], (X,), (torch.ones_like(X),))[1]
    h = 1e-3
    assert apart([tangent], [(mine(X + h)[0] - mine(X - h)[0]) / (2 * h)]) < 1e-3
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(X, torch.ones_like(X))
        assert apart([forward_ad.unpack_dual(mine(dual)[0]).tangent.detach()], [tangent.detach()]) < 1e-6


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_parametrized_weights_are_read_where_they_are(norm):
    found = []
    for module in pair("LSTM"):
        torch.manual_seed(2)
        getattr(nn.utils.parametrizations, norm)(module, "weight_hh_l0")
        torch.manual_seed(3)
        y = module(X)[0]
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad for p in module.parameters())])
    assert apart(*found) < 1e-5


def test_tied_weights_and_states_that_are_one_tensor():
    found = []
    for module in pair("LSTM", num_layers=2):
        module.weight_hh_l1 = module.weight_hh_l0
        zero = torch.zeros(2, 2, 4, requires_grad=True)
        module(X, (zero, zero))[0].square().sum().backward()
        found.append([zero.grad, *(p.grad for p in module.parameters())])
    assert apart(*found) < 1e-5


@pytest.mark.parametrize("cell", [cells.lstm_layer_norm, cells.mgu, cells.indrnn, cells.min_lstm], ids=lambda c: c.name)
def test_any_cell_has_first_and_second_derivatives(cell):
    module = ours.Recurrent(cell, n_inputs=2, n_neurons=3, dtype=torch.float64)
    names = [name for name, _ in module.named_parameters()]
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def function(x, *weights):
        y, states = functional_call(module, dict(zip(names, weights, strict=True)), (x,))
        return y, *states

    assert gradcheck(function, (x, *weights))
    assert gradgradcheck(function, (x, *weights), atol=1e-4)
