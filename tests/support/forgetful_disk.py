"""Real files of a killed process that forget what was never synced: a power cut without the power.

Written under ``forgetful_disk.c``; ``cut_power`` takes unsynced sectors back, some, all or none.
Names (files made, renamed, removed) are kept: their loss is the business of SimulatedDisk.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path

from support.simulated_disk import SECTOR_BYTES

_HEAD = struct.Struct("<5Q")
_WRITE = 1


def build_preload(folder: Path) -> Path | None:
    """Return the library to preload; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "forgetful_disk.so"
    source = Path(__file__).with_suffix(".c")
    words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(words, check=True)
    return library


def cut_power(folder: Path, rng) -> int:
    """Take back a random part of what was not synced; return how many sectors went."""
    forgotten = 0
    for journal in sorted(folder.glob("*.undo")):
        path = journal.with_suffix("")
        if path.exists():
            forgotten += _forget(path, journal.read_bytes(), rng)
        journal.unlink()
    return forgotten


def _forget(path: Path, journal: bytes, rng) -> int:
    kept_part = rng.choice((0.0, 0.0, 0.5, 0.9, 1.0))
    descriptor = os.open(path, os.O_RDWR)
    try:
        done = []
        for kind, place, written, old_size, old in reversed(list(_records(journal))):
            done.append((kind, place, os.pread(descriptor, written, place)))
            os.pwrite(descriptor, old, place)
            os.ftruncate(descriptor, old_size)
        return sum(
            _do_in_part(descriptor, *each, rng=rng, part=kept_part) for each in reversed(done)
        )
    finally:
        os.close(descriptor)


def _do_in_part(descriptor: int, kind: int, place: int, data: bytes, *, rng, part: float) -> int:
    """Do again what was taken back, but for what is forgotten; return how much is."""
    if kind != _WRITE:
        if rng.random() < part:
            os.ftruncate(descriptor, place)
        return 0
    forgotten = 0
    for start in range(0, len(data), SECTOR_BYTES):
        if rng.random() < part:
            os.pwrite(descriptor, data[start : start + SECTOR_BYTES], place + start)
        else:
            forgotten += 1
    return forgotten


def _records(journal: bytes):
    """Yield (kind, place, bytes written, old size, old bytes); a torn last one did not happen."""
    at = 0
    while at + _HEAD.size <= len(journal):
        kind, place, written, old_size, old_length = _HEAD.unpack_from(journal, at)
        at += _HEAD.size
        if at + old_length > len(journal):
            return
        yield kind, place, written, old_size, journal[at : at + old_length]
        at += old_length
