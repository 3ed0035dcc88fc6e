"""Stretches of superblocks found to be bad, kept in ``quarantine.json`` from start to start.

Two things only the first start after a crash can see: that a record's data is not what was
written (the data of older files is not read at start), and that a gap is an unfinished batch
(later batches behind it make it look like rot). Without the list both would be forgotten.
"""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from storage_server.node.disk import Disk
from storage_server.node.record_log import RecordLog
from storage_server.node.small_files import DAMAGED, read_json
from storage_server.node.superblock_scan import BadStretches, Damage, DamageKind

QUARANTINE_NAME = "quarantine.json"

_CUT_OFF = DamageKind.TORN
_LOST = (DamageKind.ROT, DamageKind.FILE_HEADER)


class Quarantine:
    """Responsible for the list of stretches that are never read again as records.

    Changed by one thread; others may read ``damage`` meanwhile.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._by_tag: dict[bytes, dict[int, Damage]] = {}
        self._bad_of: dict[bytes, BadStretches] = {}
        self.damage: tuple[Damage, ...] = ()
        self.lost_stretches = 0
        self.lost_keys: frozenset[bytes] = frozenset()  # of rotten records, also of those replaced
        self.is_trusted = True  # False: there was a list, and it cannot be read
        self._set(self._load())

    def bad_stretches(self, tag: bytes) -> BadStretches:
        """Return where the file of this tag was found to be bad."""
        return self._bad_of.get(tag, BadStretches())

    def entries_of(self, tag: bytes) -> tuple[Damage, ...]:
        """Return what is known of the file with this tag."""
        return tuple(self._by_tag.get(tag, {}).values())

    def without_bad(self, records: RecordLog, tag: bytes) -> RecordLog:
        """Return the records of the file with this tag that are not known to be bad."""
        if tag not in self._by_tag:
            return records
        bad = self.bad_stretches(tag)
        return records.keep(lambda offset: not bad.covers(offset))

    def remember(self, found: Iterable[Damage]) -> None:
        """Make what a start found the list, each with the kind it had when it was first seen.

        A torn tail is listed until the next start only: by then it is cut off.
        Raises: OSError: the list could not be kept; then nothing may be written to the store.
        """
        damage = [each for new in found for each in self.as_known(new)]
        kept = [each for each in damage if each.kind is not _CUT_OFF]
        is_news = sorted(kept, key=_place) != sorted(self.damage, key=_place)
        self._set(damage)
        if is_news or not self.is_trusted:
            self._keep()

    def add(self, damage: Damage) -> None:
        """Add what was found later. Raises: OSError: it is known, but not kept."""
        self._set([*self.damage, damage])
        self._keep()

    def forget_file(self, tag: bytes) -> None:
        """Drop what is known of a file that is no more. Raises: OSError: as ``add``."""
        if tag in self._by_tag:
            self._set([each for each in self.damage if each.tag != tag])
            self._keep()

    def forget_key(self, key: bytes) -> None:
        """Drop a fragment's name: nobody misses it any more. Raises: OSError: as ``add``."""
        if any(key in each.keys for each in self.damage):
            self._set([_without(each, key) for each in self.damage])
            self._keep()

    def as_known(self, found: Damage) -> list[Damage]:
        """Return what was known of a stretch, which a start sees as one with its neighbours."""
        stop = found.offset + found.length_bytes
        known = [
            each
            for each in self.entries_of(found.tag)
            if found.offset <= each.offset and each.offset + each.length_bytes <= stop
        ]
        if sum(each.length_bytes for each in known) >= found.length_bytes:
            return known
        is_rot = any(each.kind is DamageKind.ROT for each in known)
        names = dict.fromkeys((*found.keys, *(key for each in known for key in each.keys)))
        kind = DamageKind.ROT if is_rot else found.kind
        return [dataclasses.replace(found, kind=kind, keys=tuple(names))]

    def _set(self, entries: Iterable[Damage]) -> None:
        by_tag: dict[bytes, dict[int, Damage]] = {}
        for each in entries:
            by_tag.setdefault(each.tag, {})[each.offset] = each
        self._by_tag = by_tag
        # A torn tail is cut off as soon as it is found: what is there now was written since.
        self._bad_of = {
            tag: BadStretches.of(each for each in of_file.values() if each.kind is not _CUT_OFF)
            for tag, of_file in by_tag.items()
        }
        self.damage = tuple(each for of_file in by_tag.values() for each in of_file.values())
        self.lost_stretches = sum(each.kind in _LOST for each in self.damage)
        self.lost_keys = frozenset(
            key for each in self.damage if each.kind is DamageKind.ROT for key in each.keys
        )

    def _keep(self) -> None:
        kept = [each for each in self.damage if each.kind is not _CUT_OFF]
        self._disk.replace(QUARANTINE_NAME, _pack(kept))
        self.is_trusted = True

    def _load(self) -> list[Damage]:
        if QUARANTINE_NAME not in self._disk.names():
            return []
        try:
            return _unpack(read_json(self._disk, QUARANTINE_NAME))
        except DAMAGED:
            self.is_trusted = False  # so all superblocks are read: that finds most of it
            return []


def _place(damage: Damage) -> tuple[bytes, int]:
    return damage.tag, damage.offset


def _without(damage: Damage, key: bytes) -> Damage:
    return dataclasses.replace(damage, keys=tuple(each for each in damage.keys if each != key))


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


def _unpack(content: Any) -> list[Damage]:
    return [
        Damage(
            str(row["file"]),
            int(row["offset"]),
            int(row["length_bytes"]),
            DamageKind(row["kind"]),
            bytes.fromhex(row["tag"]),
            tuple(bytes.fromhex(key) for key in row["keys"]),
        )
        for row in content["damage"]
    ]
