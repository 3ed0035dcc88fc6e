"""What happens to bytes: the seeded mutations of the fuzzers."""

import random

# What parsers stumble over.
_TOKENS = (
    *(b"\0", b"\xff" * 8, b"\x80" * 4, b"-1", b"0x10", b"1e999", b"NaN", b"Infinity", b"9" * 40),
    *(b"\r\n", b"\n", b" ", b"\t", b",", b"-", b"=", b"bytes=", b'"', b"\\u0000", b"{}", b"null"),
    *("١٠".encode(), "é".encode(), b"\xed\xa0\x80", b"%00", b"../", b"EVfr", b"EVft", b"[]"),
)


def mutated(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Return the bytes with a few of the things that happen to bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        _MUTATIONS[rng.randrange(len(_MUTATIONS))](changed, rng, other)
    return bytes(changed)


def _flip(data: bytearray, rng: random.Random, _: bytes) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random, _: bytes) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice(
            (0, 1, 0x20, 0x2D, 0x30, 0x39, 0x7F, 0x80, 0xFF)
        )


def _insert(data: bytearray, rng: random.Random, _: bytes) -> None:
    place = rng.randint(0, len(data))
    data[place:place] = rng.choice(_TOKENS)


def _overwrite(data: bytearray, rng: random.Random, _: bytes) -> None:
    place, token = rng.randint(0, len(data)), rng.choice(_TOKENS)
    data[place : place + len(token)] = token


def _cut(data: bytearray, rng: random.Random, _: bytes) -> None:
    start = rng.randint(0, len(data))
    del data[start : start + rng.choice((1, 2, 8, 64, len(data)))]


def _splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    place, start = rng.randint(0, len(data)), rng.randint(0, len(other))
    length = rng.choice((1, 4, 16, 64, 4096))
    data[place : place + length] = other[start : start + length]


_MUTATIONS = (_flip, _flip, _set, _insert, _overwrite, _cut, _splice)
