"""Views say where elements lie: the same as NumPy says of slices, transposes, broadcasts and reshapes."""

from math import prod

import numpy as np
import pytest

from ostinato.plan.views import BufferId, View, collapse


def positions(view, memory):
    """The elements that a view walks over."""
    strides = [s * memory.itemsize for s in view.strides]
    return np.lib.stride_tricks.as_strided(memory[view.offset :], view.sizes, strides)


@pytest.fixture
def memory():
    return np.arange(2 * 3 * 4 * 5)


def whole(*sizes):
    return View.whole(BufferId("port", "b"), sizes)


def test_a_slice_of_a_view_is_that_of_numpy(memory):
    cut = whole(2, 3, 4, 5).cut((0, 1, 0, 4), (2, 3, 4, 5), (1, 1, 2, 1))
    assert np.array_equal(positions(cut, memory), memory.reshape(2, 3, 4, 5)[0:2, 1:3, 0:4:2, 4:5])


def test_a_transpose_of_a_view_is_that_of_numpy(memory):
    turned = whole(2, 3, 4, 5).transposed((2, 0, 3, 1))
    assert np.array_equal(positions(turned, memory), memory.reshape(2, 3, 4, 5).transpose(2, 0, 3, 1))


def test_a_stretched_view_is_what_numpy_broadcasts(memory):
    stretched = whole(3, 1).broadcast_to((2, 3, 4))
    assert np.array_equal(positions(stretched, memory), np.broadcast_to(memory[:3].reshape(3, 1), (2, 3, 4)))


def test_a_reshape_is_a_view_exactly_where_numpy_needs_no_copy(memory):
    generator = np.random.default_rng(0)
    base = memory.reshape(2, 3, 4, 5)
    for _ in range(300):
        axes = generator.permutation(4)
        start = [int(generator.integers(0, n)) for n in base.shape]
        stop = [int(generator.integers(a + 1, n + 1)) for a, n in zip(start, base.shape, strict=True)]
        view = whole(2, 3, 4, 5).cut(start, stop, (1, 1, 1, 1)).transposed(axes)
        array = base[tuple(map(slice, start, stop))].transpose(axes)
        sizes = generator.permutation(list(_factors(prod(array.shape))))
        reshaped = view.reshaped([int(n) for n in sizes])
        expected = array.reshape(sizes)
        if reshaped is not None:
            assert np.array_equal(positions(reshaped, memory), expected)
        else:
            assert not np.shares_memory(expected, base)


def _factors(number):
    found, factor = [1], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found


def test_a_view_knows_whether_it_is_compact():
    assert whole(2, 3).compact
    assert whole(2, 1, 3).transposed((1, 0, 2)).compact
    assert not whole(2, 3).transposed((1, 0)).compact
    assert not whole(3).broadcast_to((2, 3)).compact


def test_loops_collapse_where_every_array_walks_evenly():
    assert collapse((2, 3, 4), [(12, 4, 1), (12, 4, 1)]) == ([24], [[1], [1]])
    assert collapse((2, 3, 4), [(12, 4, 1), (0, 4, 1)]) == ([2, 12], [[12, 1], [0, 1]])
    assert collapse((2, 1, 4), [(4, 99, 1)]) == ([8], [[1]])
    assert collapse((1, 1), [(7, 7)]) == ([], [[]])
