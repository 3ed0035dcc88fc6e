"""A file to fragment files, a chunk at a time: memory does not grow with the file."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from redundancy.backends import best_codec
from redundancy.buffers import ByteArray
from redundancy.errors import UsageError
from redundancy.fragment_format import VIDEO_ID_BYTES, ChunkLabel
from redundancy.fragment_set import fragment_name, is_plain
from redundancy.fragments import CodedPayload, code_chunk
from redundancy.outputs import OutputFile, require_absent
from redundancy.pipeline import Progress, in_order, say_nothing, workers
from redundancy.rows import BLOCK_BYTES, CHUNK_BYTES_MAX, RowGeometry
from redundancy.scheme import Layout

RENDITION = "original"


class ByteSource(Protocol):
    """Something open for reading."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a part of the buffer; 0 at the end."""


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How ``encode`` cuts and stores a file."""

    name: str  # what the file is called; the fragment files' names start with it
    layout: Layout
    chunk_bytes: int
    force: bool = False  # replace fragment files that are there

    def __post_init__(self) -> None:
        if not is_plain(self.name):
            raise UsageError(f"not a file name: {self.name!r}", hint="give one with --name")
        if not BLOCK_BYTES <= self.chunk_bytes <= CHUNK_BYTES_MAX:
            raise UsageError(
                f"a chunk has {BLOCK_BYTES >> 10} KiB to {CHUNK_BYTES_MAX >> 20} MiB, "
                f"not {self.chunk_bytes} bytes"
            )


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """What ``encode`` made."""

    name: str
    size_bytes: int
    sha256: str
    chunks: int
    stored_bytes: int
    paths: tuple[Path, ...]


def encode(
    source: ByteSource,
    directory: Path,
    options: EncodeOptions,
    *,
    progress: Progress = say_nothing,
) -> EncodedFile:
    """Write one fragment file for each index of the layout, durably; all of them or none.

    Args:
        source: read once from where it stands to its end.
        directory: made if it is not there.
    Raises: AlreadyExists: a fragment file is there already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    layout, force = options.layout, options.force
    indices = range(layout.fragments_total)
    paths = [directory / fragment_name(options.name, index, layout) for index in indices]
    require_absent(paths, force=force)
    cutter = _Cutter(source, options)
    codec = best_codec(layout.scheme)
    stored_bytes = 0

    def code(cut: _Cut) -> tuple[_Cut, list[CodedPayload]]:
        memory = cut.slot.payloads
        return cut, code_chunk(cut.chunk, layout, codec, cut.label, memory=memory)

    with ExitStack() as stack:
        outputs = [stack.enter_context(OutputFile(path, force=force)) for path in paths]
        pool = stack.enter_context(workers())
        stack.enter_context(cutter)
        for cut, coded in in_order(pool, code, cutter):
            for output, piece in zip(outputs, coded, strict=True):
                footer_bytes = piece.footer.pack()
                output.write(piece.payload)
                output.write(footer_bytes)
                stored_bytes += piece.payload.size + len(footer_bytes)
            progress(cut.chunk.size)
            cutter.release(cut)
        list(pool.map(OutputFile.sync, outputs))
        for output in outputs:
            output.commit()
    return EncodedFile(
        name=options.name,
        size_bytes=cutter.size_bytes,
        sha256=cutter.sha256,
        chunks=cutter.chunks,
        stored_bytes=stored_bytes,
        paths=tuple(paths),
    )


@dataclass(frozen=True, slots=True)
class _Slot:
    """Memory for one chunk in flight, used again and again: its first use costs as much as I/O."""

    chunk: ByteArray
    payloads: ByteArray

    @classmethod
    def of(cls, options: EncodeOptions) -> "_Slot":
        scheme = options.layout.scheme
        coded_bytes = scheme.n * RowGeometry(options.chunk_bytes, scheme.k).payload_bytes
        return cls(
            np.empty(options.chunk_bytes, dtype=np.uint8),
            np.empty(coded_bytes if scheme.k > 1 else 0, dtype=np.uint8),
        )


@dataclass(frozen=True, slots=True)
class _Cut:
    chunk: ByteArray
    label: ChunkLabel
    slot: _Slot
    hashed: "Future[None]"  # done when the hash of the whole no longer needs the chunk


class _Cutter:
    """Cuts a stream into labelled chunks, hashing the whole on the way in a thread of its own."""

    def __init__(self, source: ByteSource, options: EncodeOptions) -> None:
        self._source = source
        self._options = options
        self._slots: list[_Slot] = []
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self.size_bytes = 0
        self.sha256 = ""
        self.chunks = 0

    def __enter__(self) -> "_Cutter":
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[_Cut]:
        digest = hashlib.sha256()
        slot, chunk = self._read()
        video_id = self._video_id(chunk)
        while True:
            hashed = self._hasher.submit(digest.update, chunk.data)
            is_full = chunk.size == self._options.chunk_bytes
            next_slot, following = self._read() if is_full else (slot, chunk[:0])
            is_last = not following.size
            facts: dict[str, object] = {
                "name": self._options.name,
                "rendition": RENDITION,
                "last": is_last,
            }
            if is_last:
                hashed.result()
                self.sha256 = digest.hexdigest()
                facts |= {"size": self.size_bytes + chunk.size, "sha256": self.sha256}
            label = ChunkLabel(
                video_id=video_id,
                rendition=RENDITION,
                number=self.chunks,
                offset_bytes=self.size_bytes,
                descriptor=json.dumps(facts, ensure_ascii=False).encode("utf-8", "replace"),
            )
            self.size_bytes += chunk.size
            self.chunks += 1
            yield _Cut(chunk, label, slot, hashed)
            if is_last:
                return
            slot, chunk = next_slot, following

    def release(self, cut: _Cut) -> None:
        """Use the memory of a chunk again, once its hash is done; so hashing cannot fall behind."""
        cut.hashed.result()
        self._slots.append(cut.slot)

    def _video_id(self, first_chunk: ByteArray) -> bytes:
        """Return an id that a repeated run gives again, known before the end is read."""
        digest = hashlib.sha256(self._options.name.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(first_chunk.data)
        return digest.digest()[:VIDEO_ID_BYTES]

    def _read(self) -> tuple[_Slot, ByteArray]:
        """Return the next chunk; shorter only at the end, though a pipe gives short reads."""
        slot = self._slots.pop() if self._slots else _Slot.of(self._options)
        filled_bytes = 0
        while filled_bytes < slot.chunk.size:
            part = self._source.readinto(slot.chunk[filled_bytes:].data)
            if not part:
                break
            filled_bytes += part
        return slot, slot.chunk[:filled_bytes]
