from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import InvalidScheme
from redundancy.scheme import Layout, Scheme


@st.composite
def layouts(draw):
    k = draw(st.integers(1, 12))
    n = draw(st.integers(k, 20))
    return Layout(Scheme(k, n), draw(st.integers(0, 3)))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 0), (3, 2), (-1, 5), (1, 257), (257, 257)])
def test_an_impossible_scheme_cannot_be_built(k, n):
    with pytest.raises(InvalidScheme, match="k <= n"):
        Scheme(k, n)


@pytest.mark.parametrize(
    ("text", "k", "n", "copies"),
    [
        ("rs:3+2", 3, 5, 0),
        ("rep:3", 1, 3, 0),
        ("rs:6+3+1copy", 6, 9, 1),
        ("rs:6+3+2copies", 6, 9, 2),
        ("rs:4+0", 4, 4, 0),
        (" rs:3+2 ", 3, 5, 0),
    ],
)
def test_layouts_are_read_as_people_write_them(text, k, n, copies):
    assert Layout.parse(text) == Layout(Scheme(k, n), copies)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3+2",
        "rs:3",
        "rs:0+2",
        "rep:0",
        "rs:3+2+copy",
        "rs:3+-2",
        "rs:999+2",
        "rep:3+1",
        "x" * 999,
    ],
)
def test_what_is_no_layout_is_refused_with_an_example(text):
    with pytest.raises(InvalidScheme) as caught:
        Layout.parse(text)
    assert caught.value.hint
    assert len(caught.value.message) < 200


@given(layouts())
def test_the_text_of_a_layout_reads_back_as_the_layout(layout):
    assert Layout.parse(str(layout)) == layout


@pytest.mark.parametrize("text", ["rs:2+1", "rs:3+2", "rep:3", "rs:2+1+1copy", "rs:1+1+2copies"])
def test_tolerates_is_the_largest_loss_that_is_survived_whichever_pieces_go(text):
    layout = Layout.parse(text)

    def survives(lost):
        left = [i for i in range(layout.fragments_total) if i not in lost]
        coded = [i for i in left if i < layout.scheme.n]
        return len(coded) >= layout.scheme.k or any(layout.is_copy(i) for i in left)

    def always_survives(count):
        return all(survives(lost) for lost in combinations(range(layout.fragments_total), count))

    assert always_survives(layout.tolerates)
    assert not always_survives(layout.tolerates + 1)


def test_overhead_counts_copies_whole():
    assert Layout.parse("rs:6+3+1copy").overhead == 2.5
    assert Layout.parse("rep:3").overhead == 3


def test_copies_that_need_more_indices_than_there_are_cannot_be_asked_for():
    with pytest.raises(InvalidScheme):
        Layout(Scheme(1, 256), 1)
