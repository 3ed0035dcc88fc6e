"""Fragment files back to the file they came from: decode, verify, repair.

A chunk at a time, so memory does not grow with the file.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from redundancy.backends import best_codec
from redundancy.buffers import ByteArray
from redundancy.errors import InsufficientFragments, IntegrityMismatch
from redundancy.fragment_set import FragmentSet, fragment_name
from redundancy.fragments import CodedPayload, code_chunk
from redundancy.outputs import OutputFile
from redundancy.pipeline import Progress, in_order, say_nothing, workers


@dataclass(frozen=True, slots=True)
class FragmentHealth:
    """What ``verify`` found out about one fragment file."""

    index: int
    state: str  # OK, BAD or MISSING
    file: str
    bad_chunks: tuple[int, ...]  # of which the fragment is damaged or not there


@dataclass(frozen=True, slots=True)
class FileHealth:
    """What ``verify`` found out about a file."""

    fragments: tuple[FragmentHealth, ...]
    tolerance: int  # how many more fragments may be lost; -1: the file is lost
    lost_chunks: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every fragment is there and intact."""
        return all(fragment.state == "OK" for fragment in self.fragments)


def decode(
    fragments: FragmentSet,
    write: Callable[[ByteArray], object],
    *,
    progress: Progress = say_nothing,
) -> str:
    """Write the file, chunk by chunk, each verified before it is written; return its SHA-256.

    Raises: InsufficientFragments, IntegrityMismatch: what was written by then is not the file.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    with workers() as pool:
        for chunk in in_order(pool, fragments.recover, range(fragments.facts.chunks)):
            if chunk.label.offset_bytes != size_bytes:
                raise IntegrityMismatch(
                    f"chunk {chunk.label.number} belongs at byte {chunk.label.offset_bytes}, "
                    f"not {size_bytes}: these fragments are of different files"
                )
            write(chunk.data)
            digest.update(chunk.data.data)
            size_bytes += chunk.data.size
            progress(chunk.data.size)
    found = digest.hexdigest()
    if fragments.facts.sha256 and found != fragments.facts.sha256:
        raise IntegrityMismatch(
            f"the decoded bytes are not {fragments.facts.name!r}",
            detail={"expected": fragments.facts.sha256, "found": found},
        )
    return found


def verify(fragments: FragmentSet, *, progress: Progress = say_nothing) -> FileHealth:
    """Check every block of every fragment, and that every chunk comes back."""
    facts = fragments.facts
    total = facts.layout.fragments_total
    present = fragments.present()
    lost: list[int] = []
    bad: dict[int, list[int]] = {index: [] for index in range(total)}
    seen: set[int] = set()
    tolerance = total
    with workers() as pool:
        for health in in_order(pool, fragments.examine, present):
            tolerance = min(tolerance, health.tolerance)
            if health.tolerance < 0:
                lost.append(health.number)
            seen |= health.intact | health.bad
            for index in set(range(total)) - health.intact:
                bad[index].append(health.number)
            progress(health.chunk_bytes)
    if len(present) < facts.chunks:
        # Named up to a bound: a footer may claim billions.
        there = set(present)
        absent = list(islice((n for n in range(facts.chunks) if n not in there), 1000))
        lost = sorted({*lost, *absent})
        bad = {index: sorted({*numbers, *absent}) for index, numbers in bad.items()}
        tolerance = -1
    return FileHealth(
        fragments=tuple(
            _fragment_health(fragments, index, bad[index], index in seen) for index in range(total)
        ),
        tolerance=tolerance,
        lost_chunks=tuple(lost),
    )


def _fragment_health(
    fragments: FragmentSet, index: int, bad: Sequence[int], is_seen: bool
) -> FragmentHealth:
    state = "OK" if not bad else "BAD" if is_seen else "MISSING"
    return FragmentHealth(index, state, _home(fragments, index).name, tuple(bad))


def _home(fragments: FragmentSet, index: int) -> Path:
    """Return the path of the file that holds one index, or where it should be."""
    holders = [file.path for file in fragments.files if file.indices == {index}]
    if holders:
        return holders[0]
    directory = fragments.files[0].path.parent
    return directory / fragment_name(fragments.facts.name, index, fragments.facts.layout)


def repair(
    fragments: FragmentSet, health: FileHealth, *, progress: Progress = say_nothing
) -> list[Path]:
    """Write the fragment files that are missing or bad anew, bit for bit; return their paths.

    Nothing changes until all of them are whole; intact files are not touched.
    Raises: InsufficientFragments: a chunk is lost.
    """
    if health.tolerance < 0:
        raise InsufficientFragments(
            f"{fragments.facts.name!r} cannot be repaired: too little is left of "
            f"{len(health.lost_chunks)} chunks",
            hint="find more of its fragments and put them beside these",
            detail={"first lost chunks": list(health.lost_chunks[:10])},
        )
    broken = [fragment.index for fragment in health.fragments if fragment.state != "OK"]
    paths = [_home(fragments, index) for index in broken]

    def code(number: int) -> list[CodedPayload]:
        chunk = fragments.recover(number)
        codec = best_codec(chunk.layout.scheme)
        return code_chunk(chunk.data, chunk.layout, codec, chunk.label)

    with ExitStack() as stack:
        outputs = [stack.enter_context(OutputFile(path, force=True)) for path in paths]
        pool = stack.enter_context(workers())
        for coded in in_order(pool, code, range(fragments.facts.chunks) if broken else ()):
            for output, index in zip(outputs, broken, strict=True):
                output.write(coded[index].payload)
                output.write(coded[index].footer.pack())
            progress(coded[0].footer.chunk_bytes)
        for output in outputs:
            output.sync()
        for output in outputs:
            output.commit()
    return paths
