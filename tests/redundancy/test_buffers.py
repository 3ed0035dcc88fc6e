import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.buffers import Span, as_bytes, require_disjoint
from redundancy.errors import InvalidBuffer

_ranges = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10)), max_size=5)


@given(_ranges, _ranges)
def test_an_overlap_with_an_output_is_found_exactly_when_there_is_one(inputs, outputs):
    def spans(ranges):
        return [Span(np.zeros(size, np.uint8), start) for start, size in ranges]

    def overlap(a, b):
        return a[0] < b[0] + b[1] and b[0] < a[0] + a[1]

    expected = any(overlap(out, other) for out in outputs for other in inputs) or any(
        overlap(a, b) for i, a in enumerate(outputs) for b in outputs[:i]
    )
    try:
        require_disjoint(spans(inputs), spans(outputs))
        found = False
    except InvalidBuffer:
        found = True
    assert found == expected


def test_looking_at_a_buffer_copies_nothing():
    memory = bytearray(b"abc")
    view = as_bytes(memory)
    view[0] = ord("x")
    assert memory == b"xbc"


@pytest.mark.parametrize("thing", [None, 7, "text", memoryview(b"abcd")[::2]])
def test_what_has_no_flat_bytes_is_refused(thing):
    with pytest.raises(InvalidBuffer):
        as_bytes(thing)
