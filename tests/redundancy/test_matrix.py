import numpy as np
import pytest
import zfec
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import InsufficientFragments, InvalidFragment
from redundancy.matrix import decode_matrix, encode_matrix, multiply, products_of


def naive_product(left: int, right: int) -> int:
    """Multiply polynomials over GF(2), then reduce by x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    for bit in range(8):
        if right >> bit & 1:
            product ^= left << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << (bit - 8)
    return product


def zfec_parity_rows(k: int, n: int) -> np.ndarray:
    """Read zfec's coefficients off by encoding unit vectors."""
    identity = np.eye(k, dtype=np.uint8)
    parity = zfec.Encoder(k, n).encode([row.tobytes() for row in identity], list(range(k, n)))
    return np.array([list(row) for row in parity], dtype=np.uint8).reshape(n - k, k)


def test_all_products_are_those_of_the_field():
    table = np.array([products_of(left) for left in range(256)])
    naive = np.array([[naive_product(a, b) for b in range(256)] for a in range(256)])
    assert np.array_equal(table, naive)


@given(st.integers(0, 255), st.integers(0, 255))
def test_multiply_agrees_with_long_multiplication(left, right):
    assert multiply(left, right) == naive_product(left, right)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 29, 64, 128, 200, 255, 256])
def test_the_matrix_is_zfecs_for_every_n_up_to_256(k):
    # Rows do not depend on n, so the largest n shows them all; two smaller ones show that.
    assert np.array_equal(encode_matrix(k, 256), zfec_parity_rows(k, 256))
    for n in (k, min(256, k + 1), min(256, k + 7)):
        assert np.array_equal(encode_matrix(k, n), zfec_parity_rows(k, n))


@st.composite
def _coded_fields(draw):
    k = draw(st.integers(1, 40))
    n = draw(st.integers(k, min(256, k + 20)))
    have = draw(st.permutations(range(n)))[:k]
    want = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=6, unique=True))
    return k, n, tuple(have), tuple(want)


@given(_coded_fields(), st.randoms(use_true_random=False))
def test_any_k_fragments_give_any_other(fields, rng):
    k, n, have, want = fields
    data = [rng.randrange(256) for _ in range(k)]

    def combine(row, values):
        total = 0
        for factor, value in zip(row, values, strict=True):
            total ^= naive_product(int(factor), value)
        return total

    word = data + [combine(row, data) for row in encode_matrix(k, n)]
    found = [combine(row, [word[i] for i in have]) for row in decode_matrix(k, have, want)]
    assert found == [word[i] for i in want]


def test_a_shared_matrix_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        decode_matrix(3, (1, 2, 3), (0,))[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        products_of(7)[0] = 1


@pytest.mark.parametrize(
    ("have", "want", "error"),
    [
        ((0, 1), (2,), InsufficientFragments),
        ((0, 1, 2, 3), (4,), InsufficientFragments),
        ((0, 1, 1), (2,), InvalidFragment),
        ((0, 1, 256), (2,), InvalidFragment),
        ((-1, 1, 2), (0,), InvalidFragment),
        ((0, 1, 2), (256,), InvalidFragment),
    ],
)
def test_impossible_questions_are_refused(have, want, error):
    with pytest.raises(error):
        decode_matrix(3, have, want)
