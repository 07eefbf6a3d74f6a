"""Dimensions as expressions in names, and the rules by which shapes meet."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.errors import counted, known_names
from ostinato.ir.shapes import Dim, Reason, Type, Varies, broadcast, matmul_dims, names_in, parse_dim

SIZES = {"a": 2, "b": 3, "c": 5}


@st.composite
def dims(draw):
    """A sum of up to four products of up to two names, with its value computed beside it."""
    terms = draw(st.lists(st.tuples(st.integers(1, 4), st.lists(st.sampled_from("abc"), max_size=2)), min_size=1, max_size=4))
    text = " + ".join("*".join([str(number), *names]) for number, names in terms)
    value = 0
    for number, names in terms:
        for name in names:
            number *= SIZES[name]
        value += number
    return text, value


@settings(max_examples=200, deadline=None, derandomize=True)
@given(dims())
def test_an_expression_has_the_size_of_its_arithmetic(case):
    text, value = case
    dim = parse_dim(text, SIZES)
    assert dim.size == value
    assert parse_dim(dim.expression, SIZES) == dim
    assert set(names_in(text)) >= {name for monomial, _ in dim.terms for name in monomial}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(dims(), dims(), dims())
def test_arithmetic_of_dimensions(p, q, r):
    a, b, c = (parse_dim(text, SIZES) for text, _ in (p, q, r))
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a * (b + c) == a * b + a * c
    assert a - a == Dim.number(0)
    assert (a + b).size == a.size + b.size
    assert (a * b).size == a.size * b.size
    assert (a * Dim.number(3)).divided_by(3) == a


@pytest.mark.parametrize(
    ("text", "shown"),
    [("n + m", "m + n=5"), ("4*n", "4*n=8"), ("n*4 - 1", "4*n - 1=7"), ("1 + n", "n + 1=3"), ("n - n + 7", "7"),
     ("m*n", "m*n=6"), ("n*m + m*n", "2*m*n=12"), ("2*3", "6"), ("m - 2*n + 5", "m + 5 - 2*n=4"), (7, "7"), ("0*n + 2", "2")],
)  # fmt: skip
def test_how_dimensions_are_written(text, shown):
    assert str(parse_dim(text, {"n": 2, "m": 3})) == shown


NO_DIMENSIONS = ["n / 2", "n ** 2", "f(n)", "", "n +", "n, m", "2.5", "True", "-n", "n if n else m", "'n'", "n.m", "n[0]"]


@pytest.mark.parametrize("text", NO_DIMENSIONS)
def test_what_is_no_dimension(text):
    with pytest.raises(ValueError):
        names_in(text)
    with pytest.raises(ValueError):
        parse_dim(text, {"n": 2, "m": 3})


def test_a_name_without_a_size():
    with pytest.raises(KeyError, match="heads"):
        parse_dim("heads*n", {"n": 2})


def test_names_agree_only_with_themselves_and_with_numbers():
    n, m, five = Dim.named("n", 5), Dim.named("m", 5), Dim.number(5)
    assert n.agrees(n)
    assert not n.agrees(m)
    assert n.agrees(five)
    assert five.agrees(m)
    assert not n.agrees(Dim.number(4))
    assert not (n + Dim.number(1)).agrees(m + Dim.number(1))
    assert (n + m).agrees(m + n)


def test_equal_parts_keep_their_name_where_they_can():
    n, m = Dim.named("n", 6), Dim.named("m", 4)
    assert str((n * Dim.number(4)).divided_by(4)) == "n=6"
    assert str((n * Dim.number(2) + m * Dim.number(4)).divided_by(2)) == "2*m + n=14"
    assert str(n.divided_by(3)) == "2"


def test_broadcasting():
    n, m, one = Dim.named("n", 5), Dim.named("m", 5), Dim.number(1)
    kind = lambda *d: Type("f32", d)  # noqa: E731
    assert broadcast([kind(n), kind()]) == (n,)
    assert broadcast([kind(one, n), kind(m, one)]) == (m, n)
    assert broadcast([kind(n), kind(m, n), kind(n)]) == (m, n)
    assert broadcast([kind(Dim.number(5)), kind(n)]) == (n,)
    assert broadcast([]) == ()
    assert broadcast([kind(n), kind(m)]) == Reason("`n=5` of one operand meets `m=5` of another")
    assert broadcast([kind(Dim.number(2)), kind(n)]) == Reason("`2` of one operand meets `n=5` of another")


def test_products():
    n, m, k = Dim.named("n", 5), Dim.named("m", 5), Dim.named("k", 3)
    assert matmul_dims((k,), (k,)) == ()
    assert matmul_dims((k,), (k, n)) == (n,)
    assert matmul_dims((m, k), (k,)) == (m,)
    assert matmul_dims((m, k), (k, n)) == (m, n)
    assert matmul_dims((n, m, k), (k, n)) == (n, m, n)
    wrong = matmul_dims((m, k), (n, k))
    assert wrong == Reason("the contracted dimension is `k=3` on the left but `n=5` on the right")
    scalar = matmul_dims((), (n,))
    assert isinstance(scalar, Reason)
    assert scalar.text == "a value without dimensions can not be an operand of `@`"
    assert scalar.hint == "use `*` to scale by a number"
    assert isinstance(matmul_dims((n, m, k), (m, k, n)), Reason)


def test_types_as_text():
    n = Dim.named("n", 5)
    assert str(Type("f32", (n,))) == "f32[n_steps, n_instances, n=5]"
    assert str(Type("f32", (n,), Varies.INSTANCE)) == "f32[n_instances, n=5]"
    assert str(Type("bool", (n, n), Varies.NEVER)) == "bool[n=5, n=5]"
    assert Type("f64", ()).one_instance == "f64[]"
    assert Type("f32", (n,)).in_loop == "f32[n_instances, n=5]"
    assert Type("f32", (n,), Varies.NEVER).in_loop == "f32[n=5]"
    assert (Type("f32", (n,)).item_bytes, Type("f64", (n,)).item_bytes, Type("bool", (n,)).item_bytes) == (4, 8, 1)
    assert Type("f32", (n, n)).n_elements == 25
    assert Type("f32", ()).n_elements == 1


def test_words_of_messages():
    assert known_names("n_neuron", ["n_inputs", "n_neurons"], "dimensions") == (
        "did you mean `n_neurons`? The dimensions are `n_inputs`, `n_neurons`"
    )
    assert known_names("zzz", ["n_inputs"], "dimensions") == "the dimensions are `n_inputs`"
    assert known_names("zzz", [], "dimensions") == "there are no dimensions"
    assert [counted(n, "axis", "axes") for n in (0, 1, 2)] == ["no axes", "1 axis", "2 axes"]
