"""What ``verify`` and ``inspect`` tell, for people and for programs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redundancy.errors import ExitCode, InvalidFragment
from redundancy.files import FileHealth, FragmentHealth
from redundancy.fragment_files import FragmentFile
from redundancy.fragment_format import Footer
from redundancy.fragment_set import FragmentSet
from redundancy.quantities import size_text

# More chunk numbers than this in one line are only counted.
_NUMBERS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Report:
    """A command's one result."""

    payload: dict[str, object]
    text: str
    exit_code: ExitCode


def health_report(fragments: FragmentSet, health: FileHealth, asked: Sequence[Path]) -> Report:
    """Return the state of each fragment, the verdict, and what to run next."""
    facts = fragments.facts
    places = shlex.join(str(path) for path in asked)
    if health.tolerance < 0:
        status, code = "unrecoverable", ExitCode.UNRECOVERABLE
        verdict = f"LOST  {_numbers('chunk', health.lost_chunks)} of {facts.name} cannot be rebuilt"
        following = "find more of its fragments, put them beside these and verify again"
    elif health.is_whole:
        status, code = "ok", ExitCode.OK
        verdict = f"OK  {facts.name} is whole: {_more_losses(health.tolerance)}"
        following = ""
    else:
        status, code = "degraded", ExitCode.PARTIAL
        verdict = f"DEGRADED  {facts.name} can be rebuilt: {_more_losses(health.tolerance)}"
        following = f"redundancy repair {places}"
    lines = [verdict, *map(_fragment_line, health.fragments)]
    lines += [f"  -  not used  {path}: {why}" for path, why in fragments.strays]
    if following:
        lines.append(f"next: {following}")
    payload: dict[str, object] = {
        "status": status,
        "name": facts.name,
        "layout": str(facts.layout),
        "size": facts.size_bytes,
        "chunks": facts.chunks,
        "tolerates": max(0, health.tolerance),
        "fragments": [
            {
                "index": fragment.index,
                "state": fragment.state,
                "file": fragment.file,
                "bad_chunks": list(fragment.bad_chunks),
            }
            for fragment in health.fragments
        ],
        "lost_chunks": list(health.lost_chunks),
        "not_used": {str(path): why for path, why in fragments.strays},
        "next": following,
    }
    return Report(payload, "\n".join(lines), code)


def _more_losses(tolerance: int) -> str:
    return f"{tolerance} more {'loss' if tolerance == 1 else 'losses'} tolerated"


def _numbers(what: str, numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NUMBERS_SHOWN]))
    more = len(numbers) - _NUMBERS_SHOWN
    return f"{what}{'s' if len(numbers) > 1 else ''} {shown}" + (f" and {more} more" * (more > 0))


def _fragment_line(fragment: FragmentHealth) -> str:
    line = f"{fragment.index:>3}  {fragment.state:<8}  {fragment.file}"
    if fragment.state == "BAD":
        line += f"  ({_numbers('chunk', fragment.bad_chunks)})"
    return line


def inspection(file: FragmentFile) -> Report:
    """Return what the footers of one fragment file say.

    Raises: InvalidFragment: there are none.
    """
    if not file.fragments:
        raise InvalidFragment(
            f"{file.path}: no fragment found in it",
            hint="it is something else, or damaged throughout",
        )
    footers = [footer for _, footer in file.footers()]
    rows = [_footer_facts(footer) for footer in footers]
    first = footers[0]
    lines = [
        f"{file.path}: {len(footers)} fragments",
        f"  video      {first.label.video_id.hex()}  rendition {first.label.rendition}",
        f"  layout     {first.layout}  fragment {first.index}"
        f"{' (whole copy)' if first.is_copy else ''}",
        f"  descriptor {footers[-1].label.descriptor.decode()}",
        "  chunk      offset        size       payload  sha256 of the chunk",
    ]
    lines += [
        f"  {footer.label.number:>5}  {footer.label.offset_bytes:>10}  "
        f"{size_text(footer.chunk_bytes):>10}  {size_text(footer.payload_bytes):>12}  "
        f"{footer.chunk_sha256.hex()[:16]}…"
        for footer in footers
    ]
    return Report({"path": str(file.path), "fragments": rows}, "\n".join(lines), ExitCode.OK)


def _footer_facts(footer: Footer) -> dict[str, object]:
    label = footer.label
    return {
        "video_id": label.video_id.hex(),
        "rendition": label.rendition,
        "chunk": label.number,
        "generation": label.generation,
        "offset": label.offset_bytes,
        "start_s": label.start_us / 1e6,
        "duration_s": label.duration_us / 1e6,
        "layout": str(footer.layout),
        "index": footer.index,
        "is_copy": footer.is_copy,
        "size": footer.chunk_bytes,
        "payload": footer.payload_bytes,
        "sha256": footer.chunk_sha256.hex(),
        "blocks": len(footer.checksums),
        "descriptor": label.facts(),
    }
