"""The parser of Range headers against the bytes themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_client.byte_range import RangeNotSatisfiable, matches_etag, parse_range

FILE = bytes(range(200))
offsets = st.one_of(st.none(), st.integers(0, 250), st.integers(0, 10**20 - 1))


def text_of(number):
    return "" if number is None else str(number)


def slice_of(first, last):
    """What RFC 9110 says in words; None where no byte is in the range."""
    if first is None:
        found = FILE[-last:] if last else b""
    else:
        found = FILE[first:] if last is None else FILE[first : last + 1]
    return found or None


@given(offsets, offsets)
def test_a_range_selects_the_bytes_the_rfc_says(first, last):
    header = f"bytes={text_of(first)}-{text_of(last)}"
    is_nonsense = (first is None and last is None) or (
        first is not None and last is not None and last < first
    )
    for is_strict in (False, True):
        try:
            found = parse_range(header, len(FILE), is_strict=is_strict)
        except RangeNotSatisfiable:
            assert is_nonsense if is_strict and is_nonsense else slice_of(first, last) is None
            continue
        if found is None:
            assert is_nonsense
            assert not is_strict
            continue
        assert FILE[found.start : found.stop] == slice_of(first, last)
        assert found.content_range == f"bytes {found.start}-{found.stop - 1}/200"


@given(st.text(max_size=60), st.integers(0, 300))
def test_no_header_whatever_gives_bytes_outside_the_file(text, size):
    for header in (text, f"bytes={text}", f"bytes=1-{text}"):
        for is_strict in (False, True):
            try:
                found = parse_range(header, size, is_strict=is_strict)
            except RangeNotSatisfiable:
                continue
            assert found is None or 0 <= found.start < found.stop <= size


@pytest.mark.parametrize("header", ["bytes=0-1,4-5", "bytes=a-b", "bytes=--5", "bytes=\u0663-"])
def test_what_is_not_understood_is_ignored_or_refused(header):
    assert parse_range(header, 200) is None
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 200, is_strict=True)


def test_another_unit_is_always_ignored():
    assert parse_range("lines=1-2", 200, is_strict=True) is None
    assert parse_range(None, 200, is_strict=True) is None


def test_an_empty_file_has_no_range():
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=-5", 0)


def test_an_entity_tag_is_found_in_a_list():
    for header in ('"a"', 'W/"a"', '"b", W/"a"', "*"):
        assert matches_etag(header, '"a"')
    for header in (None, "", "a", '"b"', '"aa"'):
        assert not matches_etag(header, '"a"')
