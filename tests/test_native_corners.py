"""What flows back at every corner of every op is what the table in docs/language.md says, and so is what PyTorch has there."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

import ostinato
from ostinato import Input, Layer, Output, cell
from ostinato.ir import ops
from ostinato.language import functions
from tests.documentation import ROOT

PAGE = (ROOT / "docs" / "language.md").read_text()
SECTION = PAGE.split("## Where a derivative has a corner")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (?:`(.+?)`)? ?\|$", SECTION.replace("\\|", "|"), re.MULTILINE)
NUMBERS = {"inf": np.inf, "nan": np.nan}
NAMES = {name: getattr(ostinato, name) for name in (*ostinato.__all__, "abs", "max", "sum") if name[0].islower()}


def as_tensor(x):
    return x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)


TORCH = {
    "abs": torch.abs, "sign": torch.sign, "floor": torch.floor, "remainder": torch.remainder,
    "relu": torch.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "softsign": F.softsign,
    "thresholded_relu": lambda a: F.threshold(a, 1.0, 0.0), "hard_sigmoid": lambda a: torch.clamp(0.2 * a + 0.5, 0.0, 1.0),
    "maximum": lambda a, b: torch.maximum(a, as_tensor(b)), "minimum": torch.minimum, "max": lambda a: torch.amax(a, -1),
    "where": torch.where, "stop_gradient": torch.Tensor.detach, "log": torch.log, "sqrt": torch.sqrt, "exp": torch.exp,
    "sum": lambda a: a.sum(-1), "softmax": lambda a: a.softmax(-1), "norm": lambda a: torch.linalg.vector_norm(a, dim=-1),
    "normalize": lambda a: F.normalize(a, dim=-1), "layer_norm": lambda a: F.layer_norm(a, a.shape[-1:]),
}  # fmt: skip


def listed(text):
    """What one column says: a number or a list, for `a`, or for `a` and `b`."""
    return list(eval(f"{text},", dict(NUMBERS)))


def ours(expression, values, backend, dtype):
    scope = {**NAMES, "Output": Output, **{f"_{name}": Input(*np.shape(value)) for name, value in values.items()}}
    head = ", ".join(f"{name}=_{name}" for name in values)
    exec(f"def function({head}):\n    return Output({expression})\n", scope)
    arrays = {name: np.asarray(value, dtype)[None, None] for name, value in values.items()}
    y, pullback = Layer(cell(scope["function"]), backend=backend, dtype=dtype).vjp(**arrays)
    inputs = pullback(np.ones_like(y)).inputs
    return [inputs[name][0, 0] for name in values] if len(values) > 1 else [inputs[0, 0]]


def test_the_table_is_read():
    assert len(ROWS) == SECTION.count("\n| `") > 40


@pytest.mark.parametrize(("backend", "dtype"), [("reference", "float64"), ("numpy", "float32"), ("native", "float32")])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} at {row[1]}")
def test_what_flows_back_at_a_corner_is_what_the_page_says(row, backend, dtype):
    expression, at, wanted, _ = row
    for found, exact in zip(ours(expression, eval(f"dict({at})", dict(NUMBERS)), backend, dtype), listed(wanted), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-3 if "piecewise" in expression else 1e-6, atol=0)


@pytest.mark.parametrize("row", [row for row in ROWS if row[3]], ids=lambda row: f"{row[0]} at {row[1]}")
def test_what_the_page_says_of_pytorch_is_true(row):
    expression, at, _, wanted = row
    values = {
        k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in eval(f"dict({at})", dict(NUMBERS)).items()
    }
    y = eval(expression, {**TORCH, **values})
    found = torch.autograd.grad(y, list(values.values()), allow_unused=True) if y.requires_grad else [None] * len(values)
    for gradient, value, exact in zip(found, values.values(), listed(wanted), strict=True):
        got = np.zeros(value.shape) if gradient is None else gradient.numpy()
        np.testing.assert_allclose(got, exact, rtol=1e-6, atol=0)


def test_every_op_and_every_function_is_in_the_table_or_said_to_have_no_corner():
    said = set(re.findall(r"\w+", SECTION))
    signs = {
        "add": "Sums", "subtract": "differences", "multiply": "products", "matmul": "@", "divide": " / ", "power": "**",
        "negative": "differences", "less": " < ", "less_equal": "<=", "equal": "==", "logical_and": " & ",
        "logical_or": " \\| ", "logical_not": "~", "slice": "slices",
    }  # fmt: skip
    made_by_the_compiler = {"constant", "total", "total_per_instance", "total_product", "pad", "stretch", "unpatches"}
    missing = {name for name in set(ops.OPS) - made_by_the_compiler - said if signs.get(name, "nowhere") not in SECTION}
    assert not missing
    composed = {
        name
        for name, f in vars(functions).items()
        if hasattr(f, "__wrapped__") and f.__wrapped__.__module__ == functions.__name__
    }
    assert composed | set(functions.ACTIVATIONS) - {"identity"} <= said


@pytest.mark.parametrize("backend", ["reference", "numpy", "native"])
def test_what_is_not_chosen_has_no_part_in_the_gradient_of_a_batch(backend):
    """Rows of zeros among others, brought to length 1 by hand, as keys are in the cells of delta rules."""

    @cell
    def unit(x=Input("n")):
        return x / ops.maximum(ops.sqrt(ops.sum_(x * x, keepdims=True)), 1e-6)

    X = np.array([[[0.0, 0.0], [3.0, 4.0], [1e-4, 0.0]]])
    d = np.array([[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]])
    tensor = torch.tensor(X, requires_grad=True)
    (F.normalize(tensor, dim=-1, eps=1e-6) * torch.tensor(d)).sum().backward()
    y, pullback = Layer(unit, n=2, dtype="float64", backend=backend).vjp(X)
    assert np.allclose(y, F.normalize(torch.tensor(X), dim=-1, eps=1e-6))
    assert np.allclose(pullback(d).inputs, tensor.grad, rtol=1e-12)


def test_a_guard_that_can_not_matter_is_dropped():
    """d / 3 is 0 where d is 0: nothing has to be asked."""

    @cell
    def third(x=Input("n")):
        return ostinato.mean(x) / 3.0

    assert "where" not in str(Layer(third, n=5).backward_program)

    @cell
    def quotient(x=Input("n"), c=Input()):
        return x / c

    assert str(Layer(quotient, n=5).backward_program).count("where(") == 2
