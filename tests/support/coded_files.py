"""Files encoded into a directory, and what may happen to their fragments."""

import io
import random
from pathlib import Path

from redundancy.file_encoder import EncodedFile, EncodeOptions, encode
from redundancy.scheme import Layout

CHUNK_BYTES = 64 * 1024


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed}/{size}").randbytes(size)


def encode_bytes(
    data: bytes, directory: Path, *, text: str = "rs:3+2", name: str = "film.mp4", chunk=CHUNK_BYTES
) -> EncodedFile:
    options = EncodeOptions(name, Layout.parse(text), chunk)
    return encode(io.BytesIO(data), directory, options)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def snapshot(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
