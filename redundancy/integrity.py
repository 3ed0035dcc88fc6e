"""Whether bytes are the ones that were stored.

Blocks carry xxh3-64, fast enough (60 GB/s) to check every row on its way to a player; chunks,
files and fragment keys carry SHA-256, which nobody can forge.
"""

import hashlib
from collections.abc import Iterable, Sequence

import xxhash

from redundancy.buffers import ReadableBuffer, as_bytes
from redundancy.errors import IntegrityMismatch
from redundancy.rows import BLOCK_BYTES


def block_checksums(payload: ReadableBuffer) -> tuple[int, ...]:
    """Return the xxh3-64 of every 16 KiB block of a payload; the last block may be shorter."""
    view = as_bytes(payload).data
    return tuple(
        xxhash.xxh3_64_intdigest(view[start : start + BLOCK_BYTES])
        for start in range(0, len(view), BLOCK_BYTES)
    )


def verify_blocks(
    payload_slice: ReadableBuffer, first_block: int, expected: Sequence[int]
) -> list[int]:
    """Return the numbers of the blocks in a slice of a payload that are not what was stored.

    Args:
        payload_slice: the payload's bytes from block ``first_block`` on, in whole blocks.
        expected: the checksums of the whole payload, block 0 first.
    A block cut short, or one past the end of ``expected``, counts as bad.
    """
    return [
        block
        for block, found in enumerate(block_checksums(payload_slice), start=first_block)
        if not 0 <= block < len(expected) or expected[block] != found
    ]


def fragment_key(parts: Iterable[ReadableBuffer]) -> str:
    """Return the key a fragment is stored under: the SHA-256 of its bytes, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(as_bytes(part).data)
    return digest.hexdigest()


def verify_chunk(chunk: ReadableBuffer, sha256: bytes) -> None:
    """Raise IntegrityMismatch unless ``chunk`` has this SHA-256 (32 bytes)."""
    found = hashlib.sha256(as_bytes(chunk).data).digest()
    if found != sha256:
        raise IntegrityMismatch(
            "a chunk is not the one that was stored",
            detail={"expected": sha256.hex(), "found": found.hex()},
        )
