"""Chunks of a file, read and encoded in threads, in order, hashing the whole file on the way."""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import structs

from redundancy.backends import best_codec
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import Fragment, build_fragments
from redundancy.scheme import Layout
from smart_client import wire
from smart_client.errors import InvalidRequest
from smart_client.ingest.segment import Cut


@dataclass(frozen=True, slots=True)
class SourceChunk:
    """One chunk ready to be stored."""

    number: int
    cut: Cut
    sha256: str
    fragments: Sequence[Fragment]


class ChunkSource:
    """Responsible for turning one file into chunks; each may be made again later, alone."""

    def __init__(
        self,
        path: Path,
        described: wire.RenditionRecord,
        cuts: Sequence[Cut],
        *,
        video: wire.VideoRecord,
        media: wire.MediaFacts,
    ) -> None:
        """Args: described: the rendition; its checksum is not known yet."""
        self.path = path
        self.cuts = cuts
        self.video = video
        self.media = media
        self.name = described.name
        self.size = described.size
        self.layout: Layout = (described.layout or video.layout).to_layout()
        self.sha256 = ""  # of the whole file, known when the last chunk was read
        self._described = described
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._modified = os.fstat(self._handle).st_mtime_ns
        if not cuts:
            self.sha256 = self._hash.hexdigest()

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    async def chunk(self, number: int, executor: Executor) -> SourceChunk:
        """Read and encode one chunk. The first pass must go in order; repeats may come later.

        Raises: InvalidRequest: the file changed meanwhile.
        """
        return await asyncio.get_running_loop().run_in_executor(executor, self._make, number)

    async def chunk_hash(self, number: int, executor: Executor) -> str:
        """Read one chunk in order without encoding it; return its SHA-256."""
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(executor, self._read, number)
        return await loop.run_in_executor(executor, lambda: hashlib.sha256(data).hexdigest())

    def rendition(self) -> wire.RenditionRecord:
        """Return the record of the whole file. Every chunk must have been read."""
        assert self.sha256, "not all chunks were read"
        return structs.replace(self._described, sha256=self.sha256, chunk_count=len(self.cuts))

    def _read(self, number: int) -> bytes:
        cut = self.cuts[number]
        data = os.pread(self._handle, cut.size, cut.offset)
        now = os.fstat(self._handle)
        if len(data) != cut.size or now.st_mtime_ns != self._modified:
            raise InvalidRequest(
                f"{self.path} changed while it was being read",
                hint="run the command again when the file is complete",
            )
        if cut.offset == self._hashed:
            self._hash.update(data)
            self._hashed += len(data)
            if self._hashed == self.size:
                self.sha256 = self._hash.hexdigest()
        return data

    def _make(self, number: int) -> SourceChunk:
        data = self._read(number)
        cut = self.cuts[number]
        label = ChunkLabel(
            bytes.fromhex(self.video.id),
            self.name,
            number,
            offset_bytes=cut.offset,
            start_us=round(cut.start_s * 1e6),
            duration_us=round(cut.duration_s * 1e6),
            descriptor=self._descriptor(number),
        )
        fragments = build_fragments(data, self.layout, best_codec(self.layout.scheme), label)
        return SourceChunk(number, cut, hashlib.sha256(data).hexdigest(), fragments)

    def _descriptor(self, number: int) -> bytes:
        """Say what a lost catalogue would need: the name always, the whole in the last chunk."""
        facts: dict[str, object] = {"name": self.video.name, "last": False}
        if number == len(self.cuts) - 1:
            whole = {"rendition": self.rendition(), "media": self.media}
            facts |= {"last": True, "created_at_s": self.video.created_at_s, **whole}
        return msgspec.json.encode(facts)
