"""PyTorch computes the same: its own layers with their weights copied in, and its differentiation of loops by hand."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ostinato import Layer, cells, relu, tanh  # noqa: E402
from tests.loops import SPELLINGS, run  # noqa: E402
from tests.scenarios import SCENARIOS, apart, build, named  # noqa: E402

LIMIT = 1e-10


def leaf(array):
    return torch.tensor(np.asarray(array), dtype=torch.float64, requires_grad=True)


# --- every cell, every spelling, every scenario: automatic differentiation of the loop by hand ------------------------


def by_autograd(case, sizes, values, scenario, generator):
    """Adjoints for all outputs and final states, and what flows back to everything."""
    leaves = {name: leaf(value) for name, value in values.items()}
    outputs, state = run(case, sizes, leaves, m=torch, **scenario.keywords)
    adjoints = {name: generator.standard_normal(y.shape) for name, y in outputs.items()}
    final = {name: generator.standard_normal(s.shape) for name, s in state.items()}
    total = sum((torch.tensor(adjoints[name]) * y).sum() for name, y in outputs.items())
    total = total + sum((torch.tensor(final[name]) * s).sum() for name, s in state.items())
    total = total + sum(0 * v.sum() for v in leaves.values())  # so that everything has a gradient
    grads = torch.autograd.grad(total, list(leaves.values()))
    return adjoints, final, {name: g.numpy() for name, g in zip(leaves, grads, strict=True)}


@pytest.mark.parametrize(("case", "spelling"), SPELLINGS, ids=str)
def test_gradients_with_respect_to_everything_are_those_of_autograd(case, spelling):
    generator, ready = np.random.default_rng(11), {}
    sizes = case.sizes(3)
    for k, scenario in enumerate(SCENARIOS):
        values = case.values(sizes, scenario.n_steps, scenario.n_instances, seed=3)
        adjoints, final, expected = by_autograd(case, sizes, values, scenario, generator)
        positional, keywords = scenario.call(case, values)
        given = {name: scenario.turned(d) for name, d in adjoints.items()}
        given_state = {name: scenario.single(d) for name, d in final.items()}
        for backend in ("numpy",) if k % 4 else ("numpy", "reference"):
            layer = build(case, spelling, sizes, values, scenario, ready, dtype="float64", backend=backend)
            _, pullback = layer.vjp(*positional, **keywords)
            grads = pullback(given if len(given) > 1 else next(iter(given.values())), state=given_state)
            of_inputs = named(grads.inputs, case) if isinstance(grads.inputs, dict) else {case.names("input")[0]: grads.inputs}
            for name in case.names("input"):
                assert apart(of_inputs[name], scenario.turned(expected[name])) < LIMIT, (scenario, name)
            for name in case.names("context"):
                assert apart(grads.contexts[name], scenario.single(expected[name])) < LIMIT, (scenario, name)
            for name in case.names("state"):
                assert apart(grads.state[name], scenario.single(expected[name])) < LIMIT, (scenario, name)
            check_weights(case, spelling, layer, grads.weights, expected, generator, scenario)


def check_weights(case, spelling, layer, got, expected, generator, scenario):
    """Another spelling has other weights: W' = L(W) with a linear L, so <dW', L(D)> = <dW, D> for every direction D."""
    names = case.names("weight", "bias")
    if spelling == "own":
        for name in names:
            assert apart(got[name], expected[name]) < LIMIT, (scenario, name)
        return
    for name in [*names, *names]:
        direction = {n: np.zeros_like(expected[n]) for n in names}
        direction[name] = generator.standard_normal(expected[name].shape)
        turned = case.convert(direction)
        mine = sum(float((got[n] * np.asarray(turned[n])).sum()) for n in layer.weights)
        theirs = float((expected[name] * direction[name]).sum())
        assert abs(mine - theirs) < LIMIT * max(1.0, abs(theirs)), (scenario, name)


# --- the layers of PyTorch --------------------------------------------------------------------------------------------


def lstm_weights(p):
    """PyTorch keeps W transposed, the gates i, f, g, o one below the other, and two biases that are added."""
    w_x, w_h = p["weight_ih_l0"].T, p["weight_hh_l0"].T
    b = p["bias_ih_l0"] + p["bias_hh_l0"]
    n = len(b) // 4
    result = {}
    for k, gate in enumerate("ifgo"):
        part = slice(k * n, (k + 1) * n)
        result[f"W_{gate}"] = np.concatenate([w_x[:, part], w_h[:, part]])
        result[f"b_{gate}"] = b[part]
    return result


def gru_weights(p):
    w_x, w_h = p["weight_ih_l0"].T, p["weight_hh_l0"].T
    n = w_h.shape[0]
    result = {}
    for k, gate in enumerate("rzn"):
        part = slice(k * n, (k + 1) * n)
        result[f"W_{gate}"], result[f"U_{gate}"] = w_x[:, part], w_h[:, part]
        result[f"b_{gate}"] = p["bias_ih_l0"][part] + (p["bias_hh_l0"][part] if gate != "n" else 0)
    result["b_hn"] = p["bias_hh_l0"][2 * n :]
    return result


def rnn_weights(p):
    return {"W_x": p["weight_ih_l0"].T, "W_y": p["weight_hh_l0"].T, "b": p["bias_ih_l0"] + p["bias_hh_l0"]}


MODULES = {
    "LSTM": (lambda i, n: torch.nn.LSTM(i, n), cells.lstm, {}, lstm_weights, ["h", "c"]),
    "GRU": (lambda i, n: torch.nn.GRU(i, n), cells.gru, {}, gru_weights, ["h"]),
    "RNN tanh": (lambda i, n: torch.nn.RNN(i, n, nonlinearity="tanh"), cells.recurrent, {"phi": tanh}, rnn_weights, ["y"]),
    "RNN relu": (lambda i, n: torch.nn.RNN(i, n, nonlinearity="relu"), cells.recurrent, {"phi": relu}, rnn_weights, ["y"]),
}


@pytest.fixture(params=MODULES)
def pair(request):
    """A layer of PyTorch, the same layer here, and how weights of the one become weights of the other."""
    make, cell, options, weights, states = MODULES[request.param]
    generator = np.random.default_rng(4)
    module = make(3, 5).to(torch.float64)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.tensor(generator.uniform(-0.6, 0.6, parameter.shape)))

    def layer(**more):
        made = Layer(cell, n_inputs=3, n_neurons=5, dtype="float64", **options, **more)
        made.weights.update(weights({name: p.detach().numpy() for name, p in module.named_parameters()}))
        return made

    return module, layer, weights, states


def check_module(pair, layer, lengths=None, reverse=False):
    module, _, weights, states = pair
    generator = np.random.default_rng(6)
    n_steps, n_instances = 7, 4
    X, begin = leaf(generator.standard_normal((n_steps, n_instances, 3))), [leaf(generator.standard_normal((n_instances, 5)))
                                                                            for _ in states]  # fmt: skip
    ends = np.full(n_instances, n_steps) if lengths is None else lengths
    order = np.tile(np.arange(n_steps)[:, None], (1, n_instances))
    if reverse:  # PyTorch has no layer that runs in reverse alone: turn each instance around within its own length
        for b, length in enumerate(ends):
            order[:length, b] = order[:length, b][::-1].copy()
    columns = np.arange(n_instances)
    given = X[order, columns]
    hidden = tuple(h[None] for h in begin) if len(begin) > 1 else begin[0][None]
    if lengths is None:
        Y, final = module(given, hidden)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(given, torch.tensor(lengths), enforce_sorted=False)
        packed, final = module(packed, hidden)
        Y, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, total_length=n_steps)
    Y = Y[order, columns]
    final = [s[0] for s in (final if isinstance(final, tuple) else (final,))]
    dY = generator.standard_normal(Y.shape)
    d_final = [generator.standard_normal(s.shape) for s in final]
    total = (Y * torch.tensor(dY)).sum() + sum((s * torch.tensor(d)).sum() for s, d in zip(final, d_final, strict=True))
    parameters = dict(module.named_parameters())
    grads = torch.autograd.grad(total, [X, *begin, *parameters.values()])

    state = {name: h.detach().numpy() for name, h in zip(states, begin, strict=True)}
    mine, pullback = layer.vjp(X.detach().numpy(), state=state, lengths=lengths)
    assert apart(mine, Y.detach().numpy()) < LIMIT
    back = pullback(dY, state=dict(zip(states, d_final, strict=True)))
    assert apart(back.inputs, grads[0].numpy()) < LIMIT
    for k, name in enumerate(states):
        assert apart(pullback.state[name], final[k].detach().numpy()) < LIMIT
        assert apart(back.state[name], grads[1 + k].numpy()) < LIMIT
    check_parameters(weights, parameters, grads[1 + len(states) :], back.weights, generator)


def check_parameters(weights, parameters, grads, got, generator):
    """The copy is linear in the parameters, so <gradient here, copy of D> = <gradient there, D>."""
    for name, grad in zip(parameters, grads, strict=True):
        for _ in range(4):
            direction = {n: np.zeros(p.shape) for n, p in parameters.items()}
            direction[name] = generator.standard_normal(grad.shape)
            copied = weights(direction)
            mine = sum(float((got[n] * copied[n]).sum()) for n in got)
            theirs = float((grad.numpy() * direction[name]).sum())
            assert abs(mine - theirs) < LIMIT * max(1.0, abs(theirs)), name


def test_a_layer_of_torch_computes_and_differentiates_the_same(pair):
    check_module(pair, pair[1]())


def test_packed_sequences_of_torch_compute_and_differentiate_the_same(pair):
    check_module(pair, pair[1](), lengths=np.array([4, 7, 1, 6]))


def test_a_reverse_layer_is_torch_on_reversed_sequences(pair):
    check_module(pair, pair[1](reverse=True), reverse=True)


def test_a_reverse_layer_with_lengths_is_torch_on_reversed_packed_sequences(pair):
    check_module(pair, pair[1](reverse=True), lengths=np.array([4, 7, 1, 6]), reverse=True)


@pytest.mark.parametrize("lengths", [None, np.array([4, 5, 1, 2])], ids=["full", "packed"])
def test_both_directions_are_those_of_a_bidirectional_lstm(lengths):
    module = torch.nn.LSTM(3, 5, bidirectional=True).to(torch.float64)
    generator = np.random.default_rng(8)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.tensor(generator.uniform(-0.6, 0.6, parameter.shape)))
    X = generator.standard_normal((5, 4, 3))
    if lengths is None:
        Y = module(torch.tensor(X))[0]
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(X), torch.tensor(lengths), enforce_sorted=False)
        Y = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], total_length=5)[0]
    parameters = {name: p.detach().numpy() for name, p in module.named_parameters()}
    for reverse, ending in ((False, ""), (True, "_reverse")):
        layer = Layer(cells.lstm, n_inputs=3, n_neurons=5, dtype="float64", reverse=reverse)
        own = {n.removesuffix(ending): p for n, p in parameters.items() if n.endswith("_reverse") == reverse}
        layer.weights.update(lstm_weights(own))
        half = slice(5, 10) if reverse else slice(0, 5)
        assert apart(layer(X, lengths=lengths), Y[..., half].detach().numpy()) < LIMIT
