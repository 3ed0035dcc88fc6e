"""A fragment's bytes, on disk and on the wire: payload first, then a footer that explains it.

The payload at offset 0 serves plain byte ranges. The footer says what the payload is, which chunk
of which video it belongs to and when that plays, and carries the checksum of every block of every
coded fragment of the chunk: any one footer is enough to check ranges of all of them. DESIGN.md in
this package gives the layout byte by byte.
"""

import json
import struct
from dataclasses import dataclass
from typing import NoReturn

import google_crc32c

from redundancy.buffers import ReadableBuffer, as_bytes
from redundancy.errors import InvalidFragment, InvalidScheme
from redundancy.integrity import verify_blocks
from redundancy.matrix import MATRIX_ZFEC
from redundancy.rows import BLOCK_BYTES, CHUNK_BYTES_MAX, RowGeometry
from redundancy.scheme import FRAGMENTS_MAX, Layout, Scheme

START_MAGIC = b"EvenFrag"
END_MAGIC = b"EvenFEnd"
VERSION = 1
VIDEO_ID_BYTES = 16
SHA256_BYTES = 32
RENDITION_BYTES_MAX = 255
# A catalogue entry: names, size, hash and a few facts about the medium.
DESCRIPTOR_BYTES_MAX = 4096

_FLAG_COPY = 1
# magic, version, matrix, flags, k, n, index, copies | chunk number, generation, chunk bytes,
# payload bytes, block bytes, checksum count | video id, chunk SHA-256 | chunk offset, start,
# duration | rendition length, descriptor length
_FIXED = struct.Struct("<8s HBB HHHH IIIIII 16s32s QQQ HH")
# crc32c, footer length, end magic
_TRAILER = struct.Struct("<II8s")
_LENGTH_AND_MAGIC = struct.Struct("<I8s")

FOOTER_BYTES_MIN = _FIXED.size + _TRAILER.size
# The most checksums a chunk has: of 256 fragments with k = 2, where a fragment has 128 blocks.
_CHECKSUMS_MAX = FRAGMENTS_MAX * (CHUNK_BYTES_MAX // (2 * BLOCK_BYTES))
FOOTER_BYTES_MAX = (
    FOOTER_BYTES_MIN + RENDITION_BYTES_MAX + DESCRIPTOR_BYTES_MAX + 8 * _CHECKSUMS_MAX
)


@dataclass(frozen=True, slots=True)
class ChunkLabel:
    """What a chunk is within its video: the facts a lost catalogue is rebuilt from."""

    video_id: bytes  # 16 bytes
    rendition: str  # "original" or a ladder rendition
    number: int  # of the chunk in the rendition, from 0
    generation: int = 0  # rises when the chunk is laid out anew
    offset_bytes: int = 0  # of the chunk's first byte in the rendition
    start_us: int = 0
    duration_us: int = 0
    descriptor: bytes = b"{}"  # a JSON object in UTF-8, kept to the byte

    def __post_init__(self) -> None:
        if len(self.video_id) != VIDEO_ID_BYTES:
            raise InvalidFragment(f"a video id has 16 bytes, got {len(self.video_id)}")
        if not 1 <= len(_encode_name(self.rendition)) <= RENDITION_BYTES_MAX:
            raise InvalidFragment(f"a rendition's name has 1 to 255 bytes: {self.rendition!r:.80}")
        for what, value, bits in (
            ("chunk number", self.number, 32),
            ("generation", self.generation, 32),
            ("offset", self.offset_bytes, 64),
            ("start", self.start_us, 64),
            ("duration", self.duration_us, 64),
        ):
            if not 0 <= value < 1 << bits:
                raise InvalidFragment(f"the {what} must fit {bits} bits, got {value}")
        if len(self.descriptor) > DESCRIPTOR_BYTES_MAX:
            raise InvalidFragment(
                f"a descriptor has at most {DESCRIPTOR_BYTES_MAX} bytes, got {len(self.descriptor)}"
            )
        self.facts()

    def facts(self) -> dict[str, object]:
        """Return the descriptor's JSON object.

        Raises: InvalidFragment: it is not a JSON object.
        """
        try:
            facts = json.loads(self.descriptor.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidFragment(f"a descriptor must be JSON in UTF-8: {error}") from error
        if not isinstance(facts, dict):
            raise InvalidFragment("a descriptor must be a JSON object")
        return facts


@dataclass(frozen=True, slots=True)
class Footer:
    """Everything a fragment says about itself and its siblings."""

    label: ChunkLabel
    layout: Layout
    index: int
    chunk_bytes: int
    chunk_sha256: bytes  # 32 bytes
    # Of a coded fragment: the blocks of all n coded fragments, fragment by fragment.
    # Of a whole copy: its own blocks, in chunk order.
    checksums: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.layout.fragments_total:
            raise InvalidFragment(f"there is no fragment {self.index} in {self.layout}")
        if len(self.chunk_sha256) != SHA256_BYTES:
            raise InvalidFragment(f"a SHA-256 has 32 bytes, got {len(self.chunk_sha256)}")
        expected = self.geometry.rows * (1 if self.is_copy else self.layout.scheme.n)
        if len(self.checksums) != expected:
            raise InvalidFragment(f"need {expected} checksums, got {len(self.checksums)}")
        if self.checksums and not 0 <= min(self.checksums) <= max(self.checksums) < 1 << 64:
            raise InvalidFragment("a checksum has 64 bits")

    @property
    def is_copy(self) -> bool:
        """Whether this fragment is the whole chunk by itself."""
        return self.layout.is_copy(self.index)

    @property
    def geometry(self) -> RowGeometry:
        """Where the chunk's bytes lie in this fragment; of a copy, with k = 1."""
        return RowGeometry(self.chunk_bytes, 1 if self.is_copy else self.layout.scheme.k)

    @property
    def payload_bytes(self) -> int:
        """Length of this fragment's payload, and where its footer starts."""
        return self.geometry.payload_bytes

    def checksums_of(self, index: int) -> tuple[int, ...]:
        """Return the checksums of the blocks of fragment ``index``, as far as this footer knows.

        Raises: InvalidFragment: it speaks of whole copies only, or of coded fragments only.
        """
        if not 0 <= index < self.layout.fragments_total:
            raise InvalidFragment(f"there is no fragment {index} in {self.layout}")
        if self.layout.is_copy(index) != self.is_copy:
            raise InvalidFragment(f"the footer of fragment {self.index} cannot check {index}")
        if self.is_copy:
            return self.checksums
        rows = self.geometry.rows
        return self.checksums[index * rows : (index + 1) * rows]

    def bad_blocks(self, index: int, payload_slice: ReadableBuffer, first_block: int) -> list[int]:
        """Return which blocks of this slice of fragment ``index`` are not what was stored."""
        return verify_blocks(payload_slice, first_block, self.checksums_of(index))

    def pack(self) -> bytes:
        """Return the footer's bytes."""
        label, scheme = self.label, self.layout.scheme
        rendition = _encode_name(label.rendition)
        fixed = _FIXED.pack(
            START_MAGIC,
            VERSION,
            MATRIX_ZFEC,
            _FLAG_COPY if self.is_copy else 0,
            *(scheme.k, scheme.n, self.index, self.layout.copies),
            *(label.number, label.generation, self.chunk_bytes),
            *(self.payload_bytes, BLOCK_BYTES, len(self.checksums)),
            *(label.video_id, self.chunk_sha256),
            *(label.offset_bytes, label.start_us, label.duration_us),
            *(len(rendition), len(label.descriptor)),
        )
        checksums = struct.pack(f"<{len(self.checksums)}Q", *self.checksums)
        body = fixed + rendition + label.descriptor + checksums
        length_bytes = len(body) + _TRAILER.size
        return body + _TRAILER.pack(google_crc32c.value(body), length_bytes, END_MAGIC)

    @classmethod
    def unpack(cls, data: ReadableBuffer) -> "Footer":
        """Read a footer from exactly its bytes.

        Raises: InvalidFragment: not a footer of this version, or damaged, or one that contradicts
            itself. Work and memory are bounded by ``FOOTER_BYTES_MAX`` whatever the bytes say.
        """
        view = as_bytes(data)
        if not FOOTER_BYTES_MIN <= view.size <= FOOTER_BYTES_MAX:
            raise InvalidFragment(f"a footer cannot have {view.size} bytes")
        raw = view.tobytes()
        crc, length_bytes, magic = _TRAILER.unpack_from(raw, len(raw) - _TRAILER.size)
        if magic != END_MAGIC or raw[: len(START_MAGIC)] != START_MAGIC:
            raise InvalidFragment("not a fragment's footer")
        if length_bytes != len(raw) or crc != google_crc32c.value(raw[: -_TRAILER.size]):
            raise InvalidFragment("a fragment's footer is damaged")
        try:
            return _parse(raw)
        except InvalidScheme as error:
            raise InvalidFragment(f"a footer names an impossible layout: {error}") from error


def _parse(raw: bytes) -> Footer:
    """Read a footer whose magic, length and checksum are right."""
    fields = _FIXED.unpack_from(raw)
    version, matrix, flags = fields[1:4]
    if (version, matrix) != (VERSION, MATRIX_ZFEC):
        raise InvalidFragment(f"unknown fragment version {version} or matrix {matrix}")
    k, n, index, copies, number, generation, chunk_bytes = fields[4:11]
    payload_bytes, block_bytes, checksum_count = fields[11:14]
    video_id, chunk_sha256, offset_bytes, start_us, duration_us = fields[14:19]
    rendition_bytes, descriptor_bytes = fields[19:21]
    rendition_stop = _FIXED.size + rendition_bytes
    descriptor_stop = rendition_stop + descriptor_bytes
    if descriptor_stop + 8 * checksum_count + _TRAILER.size != len(raw):
        raise InvalidFragment("the lengths in a footer do not add up")
    label = ChunkLabel(
        video_id=video_id,
        rendition=_decode_name(raw[_FIXED.size : rendition_stop]),
        number=number,
        generation=generation,
        offset_bytes=offset_bytes,
        start_us=start_us,
        duration_us=duration_us,
        descriptor=raw[rendition_stop:descriptor_stop],
    )
    footer = Footer(
        label=label,
        layout=Layout(Scheme(k, n), copies),
        index=index,
        chunk_bytes=chunk_bytes,
        chunk_sha256=chunk_sha256,
        checksums=struct.unpack_from(f"<{checksum_count}Q", raw, descriptor_stop),
    )
    stated = (payload_bytes, block_bytes, flags)
    if stated != (footer.payload_bytes, BLOCK_BYTES, _FLAG_COPY if footer.is_copy else 0):
        raise InvalidFragment("a footer contradicts itself")
    return footer


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _encode_name(name: str) -> bytes:
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidFragment(f"a name must be UTF-8: {name!r:.80}") from error


def _decode_name(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidFragment("a name in a footer is not UTF-8") from error


def footer_offset(chunk_bytes: int, k: int, is_copy: bool) -> int:
    """Return where a fragment's footer starts, so that ``bytes=<offset>-`` fetches it."""
    return RowGeometry(chunk_bytes, 1 if is_copy else k).payload_bytes


def footer_length(tail: ReadableBuffer) -> int:
    """Return how many bytes a fragment's footer has, from the fragment's last 12 bytes or more.

    Raises: InvalidFragment: no fragment ends like this.
    """
    raw = as_bytes(tail)[-_LENGTH_AND_MAGIC.size :].tobytes()
    if len(raw) < _LENGTH_AND_MAGIC.size:
        raise InvalidFragment("too short for a fragment")
    length_bytes, magic = _LENGTH_AND_MAGIC.unpack(raw)
    if magic != END_MAGIC or not FOOTER_BYTES_MIN <= length_bytes <= FOOTER_BYTES_MAX:
        raise InvalidFragment("not a fragment: it does not end with a footer")
    return int(length_bytes)


def read_footer_at_end(tail: ReadableBuffer) -> Footer:
    """Read the footer that ``tail``, the last bytes of a fragment, ends with.

    Raises: InvalidFragment: it ends with none, or ``tail`` does not hold all of it.
    """
    length_bytes = footer_length(tail)
    view = as_bytes(tail)
    if view.size < length_bytes:
        raise InvalidFragment(f"the footer has {length_bytes} bytes, only {view.size} are here")
    return Footer.unpack(view[view.size - length_bytes :])


def footer_length_from_start(head: ReadableBuffer) -> int:
    """Return how long a footer says it is, from its first 120 bytes or more.

    Raises: InvalidFragment: no footer starts like this.
    """
    view = as_bytes(head)
    if view.size < _FIXED.size or view[: len(START_MAGIC)].tobytes() != START_MAGIC:
        raise InvalidFragment("no footer starts here")
    fields = _FIXED.unpack_from(view.data)
    checksum_count, rendition_bytes, descriptor_bytes = fields[13], fields[19], fields[20]
    length_bytes = FOOTER_BYTES_MIN + rendition_bytes + descriptor_bytes + 8 * checksum_count
    if length_bytes > FOOTER_BYTES_MAX:
        raise InvalidFragment(f"a footer cannot have {length_bytes} bytes")
    return int(length_bytes)
