"""RNN, GRU, LSTM and their cells are those of torch.nn: parameters, arguments, results, gradients, masks, words."""

import warnings

import pytest
import torch
from torch import nn

import ostinato.torch as ours

from .pairs import CELLS, N_INPUTS, N_NEURONS, SEQUENCES, apart, everything, given, named, options, pair

LIMIT = {torch.float32: 1e-5, torch.float64: 1e-10}
CASES = [(kind, o) for kind in SEQUENCES for o in options(kind)]


@pytest.mark.parametrize(("kind", "chosen"), CASES, ids=lambda v: v if isinstance(v, str) else named(v))
def test_a_module_has_the_results_and_gradients_of_torch_for_every_kind_of_input(kind, chosen):
    theirs, mine = pair(kind, dtype=torch.float64, **chosen)
    for how in ("batched", "single", "packed", "packed unsorted"):
        for hidden in (False, True):
            x, hx = given(how, theirs, torch.float64, hidden=hidden)
            assert apart(everything(mine, x, hx), everything(theirs, x, hx)) < LIMIT[torch.float64], (how, hidden)


@pytest.mark.parametrize("kind", SEQUENCES)
def test_in_float32_too(kind):
    theirs, mine = pair(kind, num_layers=2, bidirectional=True)
    for how in ("batched", "packed unsorted"):
        x, hx = given(how, theirs, torch.float32, hidden=True)
        assert apart(everything(mine, x, hx), everything(theirs, x, hx)) < LIMIT[torch.float32]


@pytest.mark.parametrize(("kind", "chosen"), CASES[::5], ids=lambda v: v if isinstance(v, str) else named(v))
def test_parameters_have_the_names_shapes_and_initial_bits_of_torch(kind, chosen):
    theirs, mine = pair(kind, **chosen)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    theirs.load_state_dict(mine.state_dict(), strict=True)
    mine.load_state_dict(theirs.state_dict(), strict=True)
    assert repr(mine) == repr(theirs)


def test_dropout_between_layers_has_the_masks_of_torch_and_none_outside_of_training():
    for first in (False, True):
        theirs, mine = pair("LSTM", num_layers=3, dropout=0.5, batch_first=first, dtype=torch.float64)
        x, _ = given("batched", theirs, torch.float64, hidden=False)
        assert apart(everything(mine, x, None), everything(theirs, x, None)) < 1e-10
        theirs.eval(), mine.eval()
        assert apart(everything(mine, x, None, seed=5), everything(theirs, x, None, seed=6)) < 1e-10


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("single", [True, False])
def test_a_cell_in_a_loop_is_that_of_torch(kind, bias, single):
    theirs, mine = pair(kind, bias=bias, dtype=torch.float64)
    assert repr(mine) == repr(theirs)
    results = []
    for module in (mine, theirs):
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(6, *(() if single else (2,)), N_INPUTS, dtype=torch.float64, generator=generator).requires_grad_()
        h, found = None, []
        for step in x:
            h = module(step, h)
            found.append(h[0] if isinstance(h, tuple) else h)
        loss = sum((y * y).sum() for y in found)
        results.append([torch.stack(found).detach(), *torch.autograd.grad(loss, [x, *module.parameters()])])
    assert apart(*results) < 1e-10


def test_a_cell_compares_its_weights_once_in_a_sequence():
    cell = ours.LSTMCell(3, 4)
    x, h = torch.randn(100, 2, 3), None
    for step in x:
        h = cell(step, h)
    (followed,) = [f for key, f in cell._followed.items() if key != "last"]
    assert followed.n_compared == len(list(cell.parameters())) == followed.n_copied


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", SEQUENCES)
def test_modules_of_half_precision_are_computed_in_float32(kind, dtype):
    theirs, mine = pair(kind)
    x = torch.randn(5, 2, 3).to(dtype)
    y, h = mine.to(dtype)(x)
    assert y.dtype == dtype
    assert (h[0] if isinstance(h, tuple) else h).dtype == dtype
    exact = theirs.to(dtype).float()(x.float())[0]  # with the rounded weights
    assert torch.equal(y, exact.to(dtype)) or float((y.float() - exact).abs().max()) < 0.01


def test_under_autocast_a_module_stays_in_float32():
    mine = ours.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mine(x)[0], mine(x)[0])
        assert mine(x)[0].dtype == torch.float32
        assert mine(x.bfloat16())[0].dtype == torch.bfloat16
        state = torch.zeros(1, 2, 4, dtype=torch.bfloat16)
        assert torch.equal(mine(x, (state, state))[0], mine(x)[0])
        step = torch.zeros(2, 4, dtype=torch.bfloat16)
        assert ours.GRUCell(3, 4)(x[0], step).dtype == torch.float32


def test_other_devices_have_torch_s_own_kernels():
    mine = ours.LSTM(3, 4, num_layers=2).to("meta")
    y, (h, c) = mine(torch.empty(5, 2, 3, device="meta"))
    assert y.shape == (5, 2, 4)
    assert h.shape == c.shape == (2, 2, 4)
    assert ours.GRUCell(3, 4, device="meta")(torch.empty(2, 3, device="meta")).shape == (2, 4)


def test_views_of_any_strides_are_taken():
    theirs, mine = pair("GRU")
    base = torch.randn(4, 6, 6)
    for x in (base[:, :, ::2], base.permute(1, 0, 2)[..., 3:], base[:, :1, :3].expand(4, 5, 3), base.flip(0)[..., :3]):
        assert apart([mine(x)[0].detach()], [theirs(x)[0].detach()]) < 1e-6


def test_as_many_steps_as_instances_in_either_order():
    x = torch.randn(4, 4, 3)
    for first in (False, True, False):  # their programs are shared
        theirs, mine = pair("LSTM", batch_first=first)
        assert apart(everything(mine, x, None), everything(theirs, x, None)) < 1e-5


def test_a_view_that_is_negative_is_read_as_it_is():
    theirs, mine = pair("GRU")
    z = torch.randn(5, 2, 3, dtype=torch.complex64)
    x = torch.imag(z.conj())
    assert x.is_neg()
    assert apart([mine(x)[0]], [theirs(x.clone())[0]]) < 1e-6
    assert apart([mine(x)[0]], [theirs(-z.imag)[0]]) < 1e-6


def test_empty_batches_and_one_step():
    theirs, mine = pair("LSTM")
    for shape in ((5, 0, 3), (1, 2, 3), (1, 1, 3)):
        y, (h, c) = mine(torch.randn(*shape))
        expected = theirs(torch.randn(*shape))
        assert (y.shape, h.shape, c.shape) == (expected[0].shape, *(s.shape for s in expected[1]))
    assert ours.GRUCell(3, 4)(torch.randn(0, 3)).shape == (0, 4)


# --- what is refused --------------------------------------------------------------------------------------------------------

X = torch.zeros(5, 2, N_INPUTS)
H = torch.zeros(1, 2, N_NEURONS)
WRONG = {
    "rank": lambda lib: lib.LSTM(3, 4)(torch.zeros(1, 5, 2, 3)),
    "rank of a GRU": lambda lib: lib.GRU(3, 4)(torch.zeros(3)),
    "width": lambda lib: lib.GRU(3, 4)(torch.zeros(5, 2, 7)),
    "no steps": lambda lib: lib.RNN(3, 4)(torch.zeros(0, 2, 3)),
    "dtype": lambda lib: lib.LSTM(3, 4)(X.double()),
    "whole numbers": lambda lib: lib.LSTM(3, 4)(X.long()),
    "hx of one instance": lambda lib: lib.GRU(3, 4)(X, H[:, :1]),
    "hx of another width": lambda lib: lib.LSTM(3, 4)(X, (H, H[..., :3])),
    "hx without instances": lambda lib: lib.GRU(3, 4)(X, H[0]),
    "hx with instances": lambda lib: lib.RNN(3, 4)(X[:, 0], H),
    "hx of an LSTM without instances": lambda lib: lib.LSTM(3, 4)(X, (H[0], H[0])),
    "hx of another dtype": lambda lib: lib.GRU(3, 4)(X, H.double()),
    "a cell of another width": lambda lib: lib.LSTMCell(3, 4)(torch.zeros(2, 5)),
    "a cell's rank": lambda lib: lib.GRUCell(3, 4)(torch.zeros(1, 2, 3)),
    "a cell's state": lambda lib: lib.RNNCell(3, 4)(torch.zeros(2, 3), torch.zeros(3, 4)),
    "a cell's state of another rank": lambda lib: lib.LSTMCell(3, 4)(torch.zeros(2, 3), (H, H)),
    "no nonlinearity": lambda lib: lib.RNN(3, 4, nonlinearity="selu"),
    "a cell's nonlinearity": lambda lib: lib.RNNCell(3, 4, nonlinearity="selu")(torch.zeros(2, 3)),
    "no size": lambda lib: lib.LSTM(0, 4),
    "a size that is no number": lambda lib: lib.GRU("3", 4),
    "no layers": lambda lib: lib.LSTM(3, 4, num_layers=0),
    "dropout": lambda lib: lib.LSTM(3, 4, dropout=2),
    "projection": lambda lib: lib.LSTM(3, 4, proj_size=4),
    "projection of a GRU": lambda lib: lib.GRU(3, 4, proj_size=2),
    "projection of an RNN": lambda lib: lib.RNN(3, 4, proj_size=2),
    "bias": lambda lib: lib.LSTM(3, 4, bias=1),
    "an argument that is not there": lambda lib: lib.LSTM(3, 4, hidden=2),
    "an argument that is not given": lambda lib: lib.LSTM(3),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_torch_refuses_is_refused_with_its_class_and_first_sentence(name):
    call = WRONG[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((RuntimeError, ValueError, TypeError)) as theirs:
            call(nn)
        with pytest.raises(type(theirs.value)) as mine:
            call(ours)
    import ostinato

    assert isinstance(mine.value, ostinato.OstinatoError)
    first = str(theirs.value).splitlines()[0]
    if not isinstance(theirs.value, TypeError) or "should be" in first:  # Python names the class in the words of a wrong call
        assert str(mine.value).splitlines()[0] == first
    assert "test_torch_modules.py" in str(mine.value)


def test_what_torch_takes_is_taken():
    """Lists for pairs, and a module that asks itself for permutations."""
    theirs, mine = pair("LSTM")
    assert apart([mine(X, [H, H])[0].detach()], [theirs(X, (H, H))[0].detach()]) < 1e-6
    mine.flatten_parameters()
    assert isinstance(mine, nn.RNNBase)
    assert not isinstance(mine, nn.LSTM)
