"""All the fragment files of one file, and its chunks brought back from them.

What the fragments say is believed only where their checksums agree: every block is verified before
it is used, every chunk against its SHA-256 after.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from redundancy.backends import best_codec
from redundancy.buffers import ByteArray
from redundancy.errors import (
    FileMissing,
    InsufficientFragments,
    IntegrityMismatch,
    InvalidFragment,
    RedundancyError,
    UsageError,
)
from redundancy.fragment_files import FileKey, FragmentFile
from redundancy.fragment_format import ChunkLabel, Footer
from redundancy.integrity import verify_chunk
from redundancy.salvage import ChunkSalvage
from redundancy.scheme import Layout

SUFFIX = ".frag"

# An error names at most so many fragments.
_NAMED_MAX = 8


def fragment_name(name: str, index: int, layout: Layout) -> str:
    """Return the file name of a fragment file: ``movie.mp4.0-of-5.frag``."""
    return f"{name}.{index}-of-{layout.fragments_total}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the last chunk says about the whole file."""

    name: str
    layout: Layout
    chunks: int
    size_bytes: int
    sha256: str  # in hexadecimal; empty where it is not told

    @classmethod
    def of(cls, footer: Footer) -> "Facts | None":
        """Read the descriptor of a last chunk; None for any other chunk."""
        facts = footer.label.facts()
        if facts.get("last") is not True:
            return None
        name, sha256 = facts.get("name"), facts.get("sha256")
        return cls(
            name=name if isinstance(name, str) and is_plain(name) else "unnamed",
            layout=footer.layout,
            chunks=footer.label.number + 1,
            size_bytes=footer.label.offset_bytes + footer.chunk_bytes,
            sha256=sha256 if isinstance(sha256, str) else "",
        )


def is_plain(name: str) -> bool:
    """Whether a name may be used in a file name as it is."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


@dataclass(frozen=True, slots=True)
class Recovered:
    """A chunk that was brought back and verified."""

    data: ByteArray
    label: ChunkLabel
    layout: Layout


@dataclass(frozen=True, slots=True)
class ChunkHealth:
    """What is left of a chunk."""

    number: int
    chunk_bytes: int
    tolerance: int  # how many more fragments may be lost; -1: it is lost
    intact: frozenset[int]  # indices of the fragments without a bad block
    bad: frozenset[int]  # indices of those with one


@dataclass(frozen=True, slots=True)
class _Source:
    file: FragmentFile
    offset: int
    footer: Footer

    def version(self) -> tuple[ChunkLabel, Layout, int, bytes]:
        footer = self.footer
        return footer.label, footer.layout, footer.chunk_bytes, footer.chunk_sha256

    def read(self) -> ByteArray:
        return self.file.read_payload(self.offset, self.footer.payload_bytes)


class FragmentSet:
    """The fragment files of one file, open together; safe to recover chunks from in threads."""

    def __init__(
        self, files: Sequence[FragmentFile], key: FileKey, strays: Sequence[tuple[Path, str]]
    ) -> None:
        self.files = files
        self.strays = strays  # paths that hold no fragment, and why
        self._key = key
        self._open = ExitStack()
        told = Counter(
            facts for file in files if file.last_footer and (facts := Facts.of(file.last_footer))
        )
        if not told:
            raise InsufficientFragments(
                "the end of the file is missing: no fragment here is of its last chunk",
                hint="find fragments that were not cut short",
                detail={"looked in": ", ".join(file.path.name for file in files)},
            )
        self.facts = told.most_common(1)[0][0]

    def __enter__(self) -> Self:
        for file in self.files:
            self._open.enter_context(file)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def present(self) -> list[int]:
        """Return the numbers, rising, of the file's chunks of which there is anything."""
        found: set[int] = set()
        for file in self.files:
            found |= file.numbers()
        return sorted(number for number in found if number < self.facts.chunks)

    def recover(self, number: int) -> Recovered:
        """Bring a chunk back from as few fragments as are needed.

        Raises: InsufficientFragments: too little of it is intact. IntegrityMismatch: its blocks
            are intact, but it is not the chunk that was stored.
        """
        failure: RedundancyError = InsufficientFragments("no fragment of it is here")
        for sources in self._versions(number):
            salvage = _salvage_for(sources[0])
            try:
                for source in sources:
                    salvage.add(source.footer, source.read())
                    if salvage.is_complete:
                        break
                return _assembled(salvage, sources[0].footer)
            except (InsufficientFragments, IntegrityMismatch) as error:
                failure = error
        raise type(failure)(
            f"cannot rebuild {self.facts.name!r}: chunk {number}: {failure.message}",
            hint="`redundancy verify` shows all that is left; put more fragments beside these",
            detail=failure.detail | self._what_lacks(self.examine(number)),
        )

    def _what_lacks(self, health: ChunkHealth) -> dict[str, object]:
        """Name the fragments of a chunk that are damaged or not there."""
        indices = range(self.facts.layout.fragments_total)
        groups = {"damaged": health.bad, "missing": set(indices) - health.intact - health.bad}
        return {
            what: ", ".join(fragment_name(self.facts.name, i, self.facts.layout) for i in lacking)
            for what, group in groups.items()
            if (lacking := sorted(group)[:_NAMED_MAX])
        }

    def examine(self, number: int) -> ChunkHealth:
        """Check every fragment of a chunk, and that the chunk comes back."""
        versions = self._versions(number)
        if not versions:
            return ChunkHealth(number, 0, -1, frozenset(), frozenset())
        sources = versions[0]
        salvage = _salvage_for(sources[0])
        intact: set[int] = set()
        seen = {source.footer.index for version in versions for source in version}
        for source in sources:
            if not salvage.add(source.footer, source.read()):
                intact.add(source.footer.index)
        try:
            _assembled(salvage, sources[0].footer)
            tolerance = salvage.tolerance
        except (InsufficientFragments, IntegrityMismatch):
            tolerance = -1
        return ChunkHealth(
            number,
            sources[0].footer.chunk_bytes,
            tolerance,
            frozenset(intact),
            frozenset(seen - intact),
        )

    def _versions(self, number: int) -> list[list[_Source]]:
        """Return the fragments that agree on what the chunk is, likeliest version first.

        In each, data fragments stand before the others: they need no decoding.
        """
        versions: dict[object, list[_Source]] = defaultdict(list)
        for file in self.files:
            try:
                for offset, footer in file.footers(number):
                    if self._key == FileKey(footer.label.video_id, footer.label.rendition):
                        source = _Source(file, offset, footer)
                        versions[source.version()].append(source)
            except InvalidFragment:  # the file changed after it was walked
                continue
        for sources in versions.values():
            sources.sort(key=lambda source: source.footer.index)
        return sorted(
            versions.values(),
            key=lambda sources: (-sources[0].footer.label.generation, -len(sources)),
        )


def _salvage_for(source: _Source) -> ChunkSalvage:
    return ChunkSalvage(source.footer.layout, source.footer.chunk_bytes)


def _assembled(salvage: ChunkSalvage, footer: Footer) -> Recovered:
    data = np.empty(footer.chunk_bytes, dtype=np.uint8)
    salvage.assemble_into(data, best_codec(footer.layout.scheme))
    verify_chunk(data, footer.chunk_sha256)
    return Recovered(data, footer.label, footer.layout)


def open_set(paths: Iterable[Path], *, name: str | None = None) -> FragmentSet:
    """Find the fragments of one file.

    Args:
        paths: fragment files, and directories to look for ``*.frag`` in.
        name: which file is meant where there are fragments of several.
    Raises: UsageError: fragments of several files. FileMissing: a path is not there, or no
        fragment. InvalidFragment: nothing here is a fragment.
    """
    groups: dict[FileKey, list[FragmentFile]] = defaultdict(list)
    strays: list[tuple[Path, str]] = []
    for path in _expand(paths):
        try:
            file = FragmentFile(path)
        except OSError as error:
            strays.append((path, error.strerror or str(error)))
            continue
        if not file.fragments:
            strays.append((path, "not a fragment, or damaged throughout"))
        for key in file.keys:
            groups[key].append(file)
    if not groups:
        raise InvalidFragment(
            f"none of the {len(strays)} files is a fragment",
            detail={str(path): why for path, why in strays},
        )
    wanted = {key: files for key, files in groups.items() if name in (None, _name_of(files))}
    if len(wanted) != 1:
        found = ", ".join(sorted(f"{_name_of(files)} ({len(files)})" for files in groups.values()))
        raise UsageError(
            f"need the fragments of one file, found: {found}",
            hint="choose one with --name NAME, or name its fragments one by one",
        )
    key, files = wanted.popitem()
    return FragmentSet(files, key, strays)


def _expand(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob(f"*{SUFFIX}"))
        elif path.exists():
            found.append(path)
        else:
            raise FileMissing(f"{path}: no such file or directory", hint="check the path")
    if not found:
        raise FileMissing(
            f"no fragments here: {', '.join(map(str, paths))}",
            hint=f"fragment files end in {SUFFIX}; name others one by one",
        )
    return list(dict.fromkeys(found))


def _name_of(files: Sequence[FragmentFile]) -> str:
    told = Counter(
        facts.name for file in files if file.last_footer and (facts := Facts.of(file.last_footer))
    )
    return told.most_common(1)[0][0] if told else "unnamed"
