"""Stretches of superblocks found to be bad, kept in ``quarantine.json`` from start to start.

Two things only the first start after a crash can see: that a record's data is not what was
written (the data of older files is not read at start), and that a gap is an unfinished batch
(later batches behind it make it look like rot). Without the list both would be forgotten.
"""

import contextlib
import json
from collections.abc import Iterable

from storage_server.node.disk import Disk
from storage_server.node.superblock_scan import Damage, DamageKind

QUARANTINE_NAME = "quarantine.json"


class Quarantine:
    """Responsible for the list of stretches that are never read again as records."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._known = {(entry.tag, entry.offset): entry for entry in self._load()}

    def covers(self, tag: bytes, offset: int) -> bool:
        """Whether what starts at ``offset`` in the file of this tag was found to be bad."""
        return bool(self._known) and any(
            entry.tag == tag and entry.offset <= offset < entry.offset + entry.length_bytes
            for entry in self._known.values()
            if entry.kind is not DamageKind.FILE_HEADER
        )

    def remember(self, found: Iterable[Damage]) -> tuple[Damage, ...]:
        """Return ``found`` with the kind each had when it was first seen, and keep the list.

        Raises: OSError: it could not be kept; then nothing may be written to the store.
        """
        damage = tuple(self._known.get((each.tag, each.offset), each) for each in found)
        kept = {
            (each.tag, each.offset): each for each in damage if each.kind is not DamageKind.TORN
        }
        if kept != self._known:
            self._disk.replace(QUARANTINE_NAME, _pack(kept.values()))
            self._known = kept
        return damage

    def _load(self) -> list[Damage]:
        if QUARANTINE_NAME not in self._disk.names():
            return []
        file = self._disk.open(QUARANTINE_NAME)
        with contextlib.closing(file):
            try:
                return _unpack(file.read(0, file.size_bytes()))
            except (ValueError, KeyError, TypeError, AttributeError):
                return []  # damaged itself: what it knew is found again by its readers


def _pack(entries: Iterable[Damage]) -> bytes:
    rows = [
        {
            "file": entry.file,
            "offset": entry.offset,
            "length_bytes": entry.length_bytes,
            "kind": entry.kind.value,
            "tag": entry.tag.hex(),
            "keys": [key.hex() for key in entry.keys],
        }
        for entry in entries
    ]
    return json.dumps({"format": 1, "damage": rows}, indent=1).encode()


def _unpack(data: bytes) -> list[Damage]:
    return [
        Damage(
            str(row["file"]),
            int(row["offset"]),
            int(row["length_bytes"]),
            DamageKind(row["kind"]),
            bytes.fromhex(row["tag"]),
            tuple(bytes.fromhex(key) for key in row["keys"]),
        )
        for row in json.loads(data)["damage"]
    ]
