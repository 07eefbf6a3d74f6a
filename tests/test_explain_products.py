"""What the explanation of a product promises: shapes, counts and numbers are NumPy's, nothing is run, every mistake is told."""

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato
from ostinato.explain import explain_product

from .helpers import Messages
from .test_pages import Page

GOLDEN = {
    "names": ("A[m,n] @ B[n,p]", {}),
    "numbers": ("[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]", {}),
    "sizes": ("x[k] @ W[k,n] + b[n]", {"k": 3, "n": 2}),
    "turned": ("Q[n,d] @ K[m,d].T", {"n": 3, "m": 5, "d": 4}),
    "stack": ("A[b,m,n] @ B[b,n,p]", {"b": 2}),
    "dot": ("a[n] @ b[n]", {"n": 3}),
    "chain": ("A[2,3] @ B[3,4] @ C[4,5]", {}),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_text_is_the_golden_one(name, golden):
    text, sizes = GOLDEN[name]
    golden(f"product_{name}.txt", str(explain_product(text, **sizes)))


# --- shapes and counts ---------------------------------------------------------------------------------------------------


def counted_multiplications(left, right):
    """Counted one by one: for each element of the result, the length of its dot product."""
    return np.matmul(np.zeros(left), np.zeros(right)).size * left[-1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_shapes_and_counts_are_those_of_numpy(data):
    sizes = st.integers(1, 5)
    n = data.draw(sizes)
    stack = tuple(data.draw(st.lists(sizes, max_size=2)))
    left = (*stack, data.draw(sizes), n) if data.draw(st.booleans()) else (n,)
    right = (*stack, n, data.draw(sizes)) if data.draw(st.booleans()) else (n,)
    explanation = explain_product(f"A{list(left)} @ B{list(right)}")
    assert explanation.result_shape == np.matmul(np.zeros(left), np.zeros(right)).shape
    assert explanation.multiplications == counted_multiplications(left, right)
    assert f"= {explanation.multiplications:,} multiplications" in str(explanation) or explanation.multiplications < 26
    assert Page(explanation._document()).ids


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
def test_numbers_are_those_of_numpy(m, n, p, seed):
    generator = np.random.default_rng(seed)
    A, B = generator.integers(-9, 10, (m, n)), generator.integers(-9, 10, (n, p))
    explanation = explain_product(f"{A.tolist()} @ {B.tolist()}")
    np.testing.assert_array_equal(explanation.result, A @ B)
    lines = dict(re.findall(r"C\[(\d+, \d+)\] = .* = (-?\d+)$", str(explanation), re.MULTILINE))
    for (i, k), value in np.ndenumerate(A @ B):
        assert lines[f"{i + 1}, {k + 1}"] == str(value)
        terms = re.search(rf"C\[{i + 1}, {k + 1}\] = (.*) = ", str(explanation)).group(1)
        assert eval(terms.replace("·", "*")) == value
        assert terms.count("·") == n


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2, 3] @ [4, 5, 6]", 32),
        ("[1, 2] @ [[1, 2, 3], [4, 5, 6]]", [9, 12, 15]),
        ("[[1, 2], [3, 4]] @ [1, -1]", [-1, -1]),
        ("[[1, 2], [3, 4]].T @ [[1, 0], [0, 1]]", [[1, 3], [2, 4]]),
        ("-[[1, 2]] @ [[1], [1]] + 10", [[7]]),
        ("2 * [1, 2] @ [3, 4] - 1", 21),
        ("([1, 2] + [3, 4]) @ [1, 1]", 10),
        ("[[[1, 2]], [[3, 4]]] @ [[[1], [1]], [[1], [1]]]", [[[3]], [[7]]]),
        ("[[[1, 2], [3, 4]]].mT @ [[[1], [0]]]", [[[1], [2]]]),
        ("[1e308, 1e308] @ [10, 10]", np.inf),
        ("[0.1, -0.25] @ [2, 4]", -0.8),
    ],
)
def test_an_expression_of_numbers_has_its_value(text, expected):
    np.testing.assert_allclose(explain_product(text).result, expected)


def test_named_operands_have_no_result():
    assert explain_product("A[2,3] @ B[3,4]").result is None
    assert explain_product("A[2,3] @ [[1], [2], [3]]").result is None


def test_the_order_of_a_chain_matters():
    first = explain_product("(A[m,n] @ B[n,p]) @ c[p]", m=50, n=60, p=70)
    second = explain_product("A[m,n] @ (B[n,p] @ c[p])", m=50, n=60, p=70)
    assert (first.n_products, second.n_products) == (2, 2)
    assert first.result_shape == second.result_shape == (50,)
    assert (first.multiplications, second.multiplications) == (50 * 60 * 70 + 50 * 70, 60 * 70 + 50 * 60)
    assert "2 products: 4,200 + 3,000 = 7,200 multiplications." in str(second)
    assert "`A[m,n] @ (B[n,p] @ c[p])`, it would be 7,200 multiplications" in " ".join(str(first).split())
    assert "`(A[m,n] @ B[n,p]) @ c[p]`, it would be 213,500 multiplications" in " ".join(str(second).split())


@pytest.mark.parametrize(
    "text",
    [
        "(a[n] @ B[n,p]) @ c[p]",
        "x[3] @ W[3,4] @ y[4]",
        "A[2,3] @ (B[3,4] @ C[4,5])",
        "(A[2,3] @ B[3,4]) @ C[4,5]",
        "A[2,3] @ (B[3,4] @ c[4])",
        "(A[2,3] + D[2,3]) @ B[3,4].T.T @ C[4,5]",
    ],
)
def test_the_other_order_costs_what_it_costs(text):
    sizes = {"n": 3, "p": 4} if "n" in text else {}
    told = re.search(r"`([^`]+)`, it would be ([\d,]+) multiplications", " ".join(str(explain_product(text, **sizes)).split()))
    other = explain_product(told.group(1), **sizes)
    assert other.multiplications == int(told.group(2).replace(",", ""))


@pytest.mark.parametrize(
    "text", ["(a[3] @ B[3,4]) + (c[3] @ D[3,4])", "A[2,2,3] @ B[2,3,4] @ C[2,4,5]", "(a[3] @ b[3]) * c[3] @ d[3]"]
)
def test_what_is_no_chain_has_no_other_order(text):
    assert "other way" not in str(explain_product(text))


def test_what_is_not_given_stays_a_name():
    text = str(explain_product("A[m,n] @ B[n,p]", n=3))
    assert "`C` is m × p dot products of n = 3 terms each: m × n × p multiplications." in text
    assert "No size is given for m, p; the picture is drawn with m=2, p=4." in text
    assert "additions" not in text
    whole = str(explain_product("A[m,n] @ B[n,p]", m=2, n=3, p=4))
    assert "m × p = 2 × 4 = 8 dot products of n = 3 terms each: m × n × p = 2 × 3 × 4 = 24" in whole.replace("\n", " ")
    assert "16 additions" in whole.replace("\n", " ")


def test_dimensions_may_be_sums():
    explanation = explain_product("x[n + 1] @ W[n + 1, 2*p]", n=3, p=2)
    assert explanation.result_shape == (4,)
    assert explanation.multiplications == 16
    assert "`n + 1=4` is the only dimension of `x` and the first of `W`" in str(explanation)


def test_letters_of_indices_are_free():
    assert "C[i, k] = Σ_{j=1..n} A[i, j] B[j, k]" in str(explain_product("A[m,n] @ B[n,p]"))
    text = str(explain_product("i[k] @ W[k,n]"))
    assert "C[s] = Σ_{r=1..k} i[r] W[r, s]" in text
    assert "C[i, k] = Σ_{j=1..d} Q[i, j] K[k, j]" in str(explain_product("Q[n,d] @ K[m,d].T"))
    assert "Y[i, k] = Σ_{j=1..p} (A B)[i, j] C[j, k]" not in str(explain_product("A[m,n] @ B[n,p]"))


def test_an_operand_may_be_named_again():
    explanation = explain_product("A[m,m] @ A @ A", m=3)
    assert explanation.n_products == 2
    assert explanation.multiplications == 2 * 27


# --- other ways to see it ------------------------------------------------------------------------------------------------


def test_a_page_a_text_and_a_picture(tmp_path):
    explanation = explain_product("[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]")
    for ending in ("html", "txt", "svg"):
        explanation.save(tmp_path / f"product.{ending}")
    page = Page((tmp_path / "product.html").read_text())
    assert set(page.references) <= set(page.ids)
    assert "it is summed over, so it stands in both operands and not in the result" in page.text
    labels = [v for tag, key, v in page.attributes if (tag, key) == ("math", "aria-label")]
    assert "C[2, 1] = 3·5 + 4·7 = 43" in labels[1]
    assert (tmp_path / "product.txt").read_text() == f"{explanation}\n"
    assert (tmp_path / "product.svg").read_text() == explanation.svg() + "\n"
    with pytest.raises(ostinato.OptionError) as caught:
        explanation.save(tmp_path / "product.png")
    assert str(caught.value) == f"`{tmp_path}/product.png`: an explanation is saved as .html, .txt or .svg, not as `.png`"


def test_every_product_has_a_picture():
    explanation = explain_product("A[2,3] @ B[3,4] @ C[4,5]")
    assert explanation.svg(0) != explanation.svg(1)
    for number in (2, -1, False):
        with pytest.raises(ostinato.OptionError) as caught:
            explanation.svg(number)
        assert str(caught.value) == f"svg: there is no product {number!r}; they are numbered from 0 to 1"


def test_a_notebook_and_a_terminal_show_the_same_words():
    rich = pytest.importorskip("rich.console")
    explanation = explain_product("A[m,n] @ B[n,p]", m=2, n=3, p=4)
    html = explanation._repr_html_()
    assert "<script" not in html
    assert "<svg" in html
    assert "24 multiplications" in Page(html).text
    out = io.StringIO()
    rich.Console(file=out, width=100, force_terminal=False).print(explanation)
    assert "24 multiplications" in " ".join(out.getvalue().split())
    assert repr(explanation) == "<explanation of A[m,n] @ B[n,p]  (m=2, n=3, p=4)>"


def test_a_narrow_terminal_gets_narrow_text():
    for text in ("A[m,n] @ B[n,p]", "[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]"):
        assert max(map(len, explain_product(text).text(48).splitlines())) <= 48


def test_many_dot_products_are_cut():
    text = str(explain_product(f"{[[1] * 2] * 8} @ {[[1] * 8] * 2}"))
    assert text.count(" = 1·1 + 1·1 = 2") == 48
    assert "And 16 more." in text


# --- mistakes ------------------------------------------------------------------------------------------------------------

case = Messages("errors_product.txt")


@case(ostinato.ShapeError)
def contracted_dimensions_differ():
    explain_product("A[m,n] @ B[p,q]", m=2, n=3, p=4, q=5)


@case(ostinato.ShapeError)
def contracted_numbers_differ():
    explain_product("A[2,3] @ B[4,5]")


@case(ostinato.ShapeError)
def turning_the_right_one_would_do():
    explain_product("Q[t,h] @ (K[s,d] @ W[d,h])")


@case(ostinato.ShapeError)
def turning_either_would_do():
    explain_product("(X[t,d] @ Q[d,h]) @ K[t,h]")


@case(ostinato.ShapeError)
def turning_the_left_one_would_do():
    explain_product("A[n,m] @ x[n,k]")


@case(ostinato.ShapeError)
def vectors_of_different_lengths():
    explain_product("[1, 2, 3] @ [4, 5]")


@case(ostinato.ShapeError)
def the_same_size_is_not_the_same_dimension():
    explain_product("A[m,n] @ B[p,q]", n=3, p=3)


@case(ostinato.ShapeError)
def stacks_that_do_not_fit():
    explain_product("A[b,m,n] @ B[c,n,p]")


@case(ostinato.ShapeError)
def a_number_is_no_operand_of_a_product():
    explain_product("3 @ A[m,n]")


@case(ostinato.ShapeError)
def a_sum_that_does_not_fit():
    explain_product("x[k] @ W[k,n] + b[m]", n=4)


@case(ostinato.ShapeError)
def one_name_two_shapes():
    explain_product("A[m,n] @ B[n,p] @ A[p,q]")


@case(ostinato.DimensionError)
def a_size_that_is_no_size():
    explain_product("A[m,n] @ B[n,p]", n=0)


@case(ostinato.DimensionError)
def a_size_that_is_no_number():
    explain_product("A[m,n] @ B[n,p]", n="many")


@case(ostinato.DimensionError)
def a_size_that_is_too_large():
    explain_product("A[m,n] @ B[n,p]", n=10**13)


@case(ostinato.DimensionError)
def a_size_of_nothing():
    explain_product("A[rows,n] @ B[n,p]", row=3)


@case(ostinato.DimensionError)
def a_dimension_of_size_zero():
    explain_product("A[m,n - 3] @ B[n - 3,p]", n=3)


@case(ostinato.OptionError)
def not_python():
    explain_product("A[m,n] @")


@case(ostinato.OptionError)
def not_a_text():
    explain_product(["A", "B"])


@case(ostinato.OptionError)
def too_long():
    explain_product("A[m,n] @ " * 400 + "B[n,p]")


@case(ostinato.OptionError)
def too_deep():
    explain_product("(" * 300 + "A[m,n]" + ")" * 300)


@case(ostinato.OptionError)
def too_many_signs():
    explain_product("-" * 1500 + "A[m,n] @ B[n,p]")


@case(ostinato.OptionError)
def no_product():
    explain_product("A[m,n] + B[m,n]")


@case(ostinato.OptionError)
def no_dimensions():
    explain_product("A @ B[n,p]")


@case(ostinato.OptionError)
def nothing_is_called():
    explain_product("__import__('os').getcwd() @ B[2,3]")


@case(ostinato.OptionError)
def no_attribute_is_read():
    explain_product("A[m,n].__class__ @ B[n,p]")


@case(ostinato.OptionError)
def no_power():
    explain_product("A[m,n] @ B[n,p] ** 2")


@case(ostinato.OptionError)
def a_text_is_no_operand():
    explain_product("A[m,n] @ 'B'")


@case(ostinato.OptionError)
def a_dimension_is_no_call():
    explain_product("A[m,len(n)] @ B[n,p]")


@case(ostinato.OptionError)
def a_vector_is_not_turned():
    explain_product("x[k].T @ x[k]")


@case(ostinato.OptionError)
def a_stack_is_not_turned():
    explain_product("A[b,m,n].T @ x[k]")


@case(ostinato.OptionError)
def rows_of_different_lengths():
    explain_product("[[1, 2], [3]] @ B[2,3]")


@case(ostinato.OptionError)
def words_among_numbers():
    explain_product("[[1, 'two']] @ B[2,3]")


@case(ostinato.OptionError)
def an_empty_array():
    explain_product("[] @ B[2,3]")


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_messages_are_complete():
    case.check_complete()


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="AB[](),@+-*.Tmn12 '\"\n\u00e9_", max_size=30))
def test_any_text_is_explained_or_refused(text):
    try:
        shown = str(explain_product(text))
    except ostinato.OstinatoError as error:
        shown = str(error)
    assert shown.splitlines()[0]
