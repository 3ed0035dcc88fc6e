"""zfec's coding matrix over GF(2^8), computed from its definition.

zfec takes the extended Vandermonde matrix, row r = the powers of a point x_r with x_0 = 0 and
x_r = 2^(r-1), and multiplies it with the inverse of its top k rows, so that the top becomes the
identity. That is interpolation: the k data bytes are the values of one polynomial of degree < k
at the points x_0..x_{k-1}, and fragment r is its value at x_r. So the coefficients that give any
fragment from any k others are Lagrange's, written down without inverting a matrix, and they do
not depend on n.

Source: Rizzo 1997, "Effective erasure codes for reliable computer communication protocols".
"""

from functools import lru_cache

import numpy as np

from redundancy.buffers import ByteArray
from redundancy.errors import InsufficientFragments, InvalidFragment
from redundancy.scheme import FRAGMENTS_MAX

# Written into every footer. A second family of matrices would get the next number.
MATRIX_ZFEC = 1

_POLYNOMIAL = 0x11D
_ORDER = 255  # 2 generates all non-zero elements


def _powers_of_two() -> tuple[ByteArray, ByteArray]:
    exponentials = np.zeros(_ORDER, dtype=np.uint8)
    logarithms = np.zeros(256, dtype=np.uint8)
    value = 1
    for power in range(_ORDER):
        exponentials[power] = value
        logarithms[value] = power
        value <<= 1
        if value & 0x100:
            value ^= _POLYNOMIAL
    return exponentials, logarithms


_EXP, _LOG = _powers_of_two()
# x_r of fragment r.
_POINTS: ByteArray = np.concatenate([np.zeros(1, dtype=np.uint8), _EXP])


def multiply(left: int, right: int) -> int:
    """Return the product of two elements of GF(2^8)."""
    if not left or not right:
        return 0
    return int(_EXP[(int(_LOG[left]) + int(_LOG[right])) % _ORDER])


@lru_cache(maxsize=256)
def products_of(coefficient: int) -> ByteArray:
    """Return the 256 products of ``coefficient`` with every byte; read-only."""
    products = np.zeros(256, dtype=np.uint8)
    if coefficient:
        logs = _LOG[1:].astype(np.int64) + int(_LOG[coefficient])
        products[1:] = _EXP[logs % _ORDER]
    products.flags.writeable = False
    return products


# A (10, 14) stripe has 1,001 sets of survivors; the small matrices make this some hundred KiB.
@lru_cache(maxsize=1024)
def decode_matrix(k: int, have: tuple[int, ...], want: tuple[int, ...]) -> ByteArray:
    """Return the coefficients that give the wanted fragments from k others.

    Args:
        have: k distinct fragment indices in [0, 256), in the order of the columns.
        want: fragment indices in [0, 256), in the order of the rows; data or parity.
    Returns: read-only matrix of shape (len(want), k).
    Raises: InsufficientFragments: not k indices. InvalidFragment: one twice or out of range.
    """
    if len(have) != k:
        raise InsufficientFragments(f"need exactly {k} fragments to decode from, got {len(have)}")
    if len(set(have)) != k:
        raise InvalidFragment(f"a fragment index is given twice: {have}")
    if not all(0 <= index < FRAGMENTS_MAX for index in (*have, *want)):
        raise InvalidFragment(f"fragment indices must be in [0, {FRAGMENTS_MAX}): {have} {want}")
    known = _POINTS[np.array(have, dtype=np.intp)]
    asked = _POINTS[np.array(want, dtype=np.intp)]
    # l_h(w) = product over j != h of (w - x_j) / (x_h - x_j), in logarithms; minus is xor.
    to_known = _LOG[asked[:, None] ^ known[None, :]].astype(np.int64)
    between = _LOG[known[:, None] ^ known[None, :]].astype(np.int64)  # its diagonal is log 0 := 0
    numerators = to_known.sum(axis=1, keepdims=True) - to_known
    coefficients: ByteArray = _EXP[(numerators - between.sum(axis=0)[None, :]) % _ORDER]
    for row, index in enumerate(want):
        if index in have:  # here one factor is 0 and has no logarithm: the fragment is itself
            coefficients[row] = 0
            coefficients[row, have.index(index)] = 1
    coefficients.flags.writeable = False
    return coefficients


def encode_matrix(k: int, n: int) -> ByteArray:
    """Return the (n - k, k) coefficients of the parity fragments k..n-1."""
    return decode_matrix(k, tuple(range(k)), tuple(range(k, n)))
