"""Any cell as a module: what a Layer computes, with tensors; the cell's graph in PyTorch's ops is the same once more."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

import ostinato
import ostinato.torch as ours
from ostinato import Bias, Context, Input, Layer, Output, State, Weight, cell, cells, dropout, tanh
from ostinato.ir.ops import OPS
from ostinato.torch.op_torch import TABLE
from ostinato.torch.refusals import TensorError
from ostinato.torch.sequence import Call, by_definition, timeline_for
from ostinato.torch.steps import steps_of
from tests.loops import CASES

from .pairs import apart


def test_every_op_of_the_table_has_its_meaning_in_torch():
    assert set(TABLE) == set(OPS)


def tensors_for(module, n_steps, n_instances, seed=0):
    """Inputs and contexts of a module, and states."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    inputs = [draw(n_steps, n_instances, *module.shapes[name]) for name in module.names["input"]]
    contexts = [draw(n_instances, *module.shapes[name]) for name in module.names["context"]]
    states = tuple(draw(n_instances, *module.shapes[name]) for name in module.names["state"])
    return [*inputs, *contexts], states


def as_list(output):
    return list(output.values()) if isinstance(output, dict) else [output]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("how", ["plain", "lengths", "reverse", "reset"])
def test_a_cell_of_the_library_computes_and_differentiates_what_its_layer_does(case, how):
    library_cell, sizes = case.cell, case.sizes(3)
    module = ours.Recurrent(library_cell, reverse=how == "reverse", dtype=torch.float64, **sizes)
    given, states = tensors_for(module, 4, 3)
    given = [x.requires_grad_() for x in given]
    more = {"lengths": {"lengths": [2, 4, 0]}, "reset": {"reset": torch.arange(12).reshape(4, 3) % 5 == 0}}.get(how, {})
    outputs, final = module(*given, state=states, **more)
    results = [*as_list(outputs), *final]
    adjoints = [torch.randn(r.shape, dtype=r.dtype, generator=torch.Generator().manual_seed(i)) for i, r in enumerate(results)]
    asked = [*given, *module.parameters()]
    gradients = torch.autograd.grad(results, asked, adjoints)

    layer = ours.load(module)
    more = {key: np.asarray(value) for key, value in more.items()}
    begin = {n: s.numpy() for n, s in zip(module.names["state"], states, strict=True)}
    expected, pullback = layer.vjp(*(x.detach().numpy() for x in given), state=begin, **more)
    for mine, theirs in zip(as_list(outputs), as_list(expected), strict=True):
        assert np.array_equal(mine.detach().numpy(), theirs)
    for mine, n in zip(final, module.names["state"], strict=True):
        assert np.array_equal(mine.detach().numpy(), pullback.state[n])
    dY = dict(zip(module.names["output"], (d.numpy() for d in adjoints), strict=False))
    d_final = {n: d.numpy() for n, d in zip(module.names["state"], adjoints[len(module.names["output"]) :], strict=True)}
    found = pullback(dY if len(dY) > 1 else next(iter(dY.values())), state=d_final)
    for n, g in zip(module.names["weight"], gradients[len(given) :], strict=True):
        assert np.array_equal(g.numpy(), found.weights[n]), n

    steps = steps_of(library_cell, "f64", sizes)
    lengths = torch.tensor(more["lengths"]) if "lengths" in more else None
    timeline = timeline_for([given[0]], lengths, reverse=how == "reverse", batch_first=False)
    call = Call(steps, timeline, torch.tensor(more["reset"]) if "reset" in more else None)
    again, ends = by_definition(call, [*given, *states, *module.parameters()])
    assert apart([*again, *ends], results) < 1e-10
    defined = torch.autograd.grad([*again, *ends], asked, adjoints, allow_unused=True)
    for mine, theirs in zip(gradients, defined, strict=True):
        assert theirs is None or float((mine - theirs).abs().max()) < 1e-9


@cell
def reader(x=Input("n"), z=Input(), k=Context("n"), h=State("n", initial=0.5), W=Weight("n", "n"), b=Bias("n")):
    """Two inputs, a context, a state that begins at 0.5, two outputs."""
    h = tanh(x @ W + z * k + h + b)
    return Output(h=h, total=ostinato.sum(h)), h


def test_inputs_by_name_contexts_several_outputs_and_initial_states():
    module = ours.Recurrent(reader, n=3)
    x, z, k = torch.randn(5, 2, 3), torch.randn(5, 2), torch.randn(2, 3)
    outputs, (h,) = module(x, z, k)
    assert {name: y.shape for name, y in outputs.items()} == {"h": (5, 2, 3), "total": (5, 2)}
    again, _ = module(k=k, z=z, x=x)
    assert torch.equal(again["h"], outputs["h"])
    begun = module(x, z, k, state=torch.full((2, 3), 0.5))[0]
    assert torch.equal(begun["h"], outputs["h"])
    single, (last,) = module(x[:, 0], z[:, 0], k[0])
    assert apart([single["h"], last], [outputs["h"][:, 0], h[0]]) < 1e-6
    first = ours.Recurrent(reader, n=3, batch_first=True)
    first.load_state_dict(module.state_dict())
    assert apart([first(x.swapaxes(0, 1), z.T, k)[0]["h"]], [outputs["h"].swapaxes(0, 1)]) < 1e-6


@cell
def forgetful(x=Input("n"), h=State("n"), W=Weight("n", "n")):
    """Half of the state is dropped, at every step and for the whole sequence."""
    return tanh(x @ W + dropout(h, 0.5) + dropout(x, 0.25, per="sequence"))


def test_dropout_of_a_cell_is_drawn_by_torch_in_training_alone():
    module = ours.Recurrent(forgetful, n=4, dtype=torch.float64)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    torch.manual_seed(1)
    y = module(x)[0]
    torch.manual_seed(1)
    assert torch.equal(module(x)[0], y)
    assert not torch.equal(module(x)[0], y)
    module.eval()
    assert torch.equal(module(x)[0], module(x)[0])
    module.train()
    x.requires_grad_()

    def seeded(x):
        torch.manual_seed(2)
        return module(x)[0]

    assert torch.autograd.gradcheck(seeded, (x,))
    assert torch.autograd.gradgradcheck(seeded, (x,))


def test_initial_weights_are_repeated_by_torch_s_seed_and_are_those_of_a_layer():
    torch.manual_seed(3)
    first = ours.Recurrent(cells.gru, n_inputs=3, n_neurons=4, init={"b_r": 1})
    torch.manual_seed(3)
    second = ours.Recurrent(cells.gru, n_inputs=3, n_neurons=4, init={"b_r": 1})
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert [n for n, _ in first.named_parameters()] == list(Layer(cells.gru, n_inputs=3, n_neurons=4).weights)
    assert torch.equal(first.b_r, torch.ones(4))
    assert repr(first) == "Recurrent(gru, n_inputs=3, n_neurons=4, recurrent_dropout=0.0, update_dropout=0.0, zoneout_h=0.0)"


def test_a_module_goes_where_modules_go():
    @cell
    def local(x=Input("n"), h=State("n"), W=Weight("n", "n")):
        """Made in a function: no name leads to it."""
        return tanh(x @ W + h)

    module = ours.Recurrent(local, n=3)
    x = torch.randn(4, 2, 3)
    expected = module(x)[0].detach()
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)):
        assert torch.equal(other(x)[0], expected)
        other.W.data.zero_()
        assert torch.equal(module(x)[0], expected)
    assert apart([module.double()(x.double())[0]], [expected.double()]) < 1e-6
    assert module.half()(x.half())[0].dtype == torch.float16
    assert module.to("meta")(x.to("meta"))[0].shape == (4, 2, 3)


WRONG = {
    "too many": lambda m: m(torch.zeros(5, 2, 3), torch.zeros(5, 2), torch.zeros(2, 3), torch.zeros(1)),
    "twice": lambda m: m(torch.zeros(5, 2, 3), x=torch.zeros(5, 2, 3)),
    "unknown": lambda m: m(torch.zeros(5, 2, 3), y=torch.zeros(5, 2)),
    "missing": lambda m: m(torch.zeros(5, 2, 3)),
    "no tensor": lambda m: m(np.zeros((5, 2, 3)), torch.zeros(5, 2), torch.zeros(2, 3)),
    "width": lambda m: m(torch.zeros(5, 2, 4), torch.zeros(5, 2), torch.zeros(2, 3)),
    "steps": lambda m: m(torch.zeros(5, 2, 3), torch.zeros(4, 2), torch.zeros(2, 3)),
    "context": lambda m: m(torch.zeros(5, 2, 3), torch.zeros(5, 2), torch.zeros(3, 3)),
    "states": lambda m: good(m, state=(torch.zeros(2, 3), torch.zeros(2, 3))),
    "state name": lambda m: good(m, state={"c": torch.zeros(2, 3)}),
    "state shape": lambda m: good(m, state=torch.zeros(3, 3)),
    "state kind": lambda m: good(m, state=3.0),
    "reset": lambda m: good(m, reset=torch.zeros(5, 2)),
    "reset of a reverse one": lambda m: good(m, reset=torch.zeros(5, 2, dtype=torch.bool)),
    "lengths": lambda m: good(m, lengths=[9, 9]),
}


def good(module, **more):
    return module(torch.zeros(5, 2, 3), torch.zeros(5, 2), torch.zeros(2, 3), **more)


def test_what_does_not_fit_is_refused_in_the_words_of_the_cell(golden):
    found = []
    for name, call in WRONG.items():
        module = ours.Recurrent(reader, n=3, reverse="reverse" in name)
        with pytest.raises(ostinato.OstinatoError) as caught:
            call(module)
        assert isinstance(caught.value, RuntimeError | ValueError)
        found.append(f"{name}\n{type(caught.value).__name__}: {caught.value}")
    for make in (
        lambda: ours.Recurrent(3),
        lambda: ours.Recurrent(reader, n=3, dtype=torch.int32),
        lambda: ours.Recurrent(reader),
    ):
        with pytest.raises(ostinato.OstinatoError) as caught:
            make()
        found.append(f"{type(caught.value).__name__}: {caught.value}")
    golden("errors_torch_recurrent.txt", "\n\n".join(found) + "\n")
    assert issubclass(TensorError, RuntimeError)


def test_a_weight_that_a_module_calls_its_own_is_refused():
    @cell
    def unlucky(x=Input("n"), h=State("n"), train=Weight("n", "n")):
        """Its weight is called as a method of modules."""
        return tanh(x @ train + h)

    with pytest.raises(ostinato.OptionError, match="a module has an attribute `train` already"):
        ours.Recurrent(unlucky, n=3)
