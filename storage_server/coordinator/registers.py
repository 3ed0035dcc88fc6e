"""The catalogue as typed registers: which keys there are, and what an answer of it means.

video/{name}                               VideoRecord
group/{video id}/{rendition}/{number:06d}  GroupRecord
node/{id}                                  NodeRecord
removed/{id}                               RemovedNode: reports of it are refused
views/{video id}                           Views
trash/{video id}                           Trash: a deletion that is not finished
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from smart_client import wire
from smart_client.errors import Conflict, InvalidRequest
from storage_server.catalogue import contract
from storage_server.coordinator.errors import OutcomeUnknown, RegisterDamaged

Record = TypeVar("Record", bound=msgspec.Struct)

# Others who change the same register at the same moment are few; more means something is wrong.
_UPDATE_ATTEMPTS = 16


class RemovedNode(msgspec.Struct, frozen=True, kw_only=True):
    """The register of a node that was removed on purpose."""

    v: int = wire.WIRE_VERSION
    id: wire.NodeName
    store: str = ""  # the data directory it had; another one may join under the same name


class Views(msgspec.Struct, frozen=True, kw_only=True):
    """The register of how often a video was watched."""

    v: int = wire.WIRE_VERSION
    count: wire.Count = 0
    level: float | None = None  # views that fade, see ``redundancy.popularity``; None: none yet
    flush: str = ""  # of the last addition, so that one without an answer is not repeated


class Trash(msgspec.Struct, frozen=True, kw_only=True):
    """The register of a video that is being deleted: its groups are still to be dropped."""

    v: int = wire.WIRE_VERSION
    id: wire.VideoId
    name: str


@dataclass(frozen=True, slots=True)
class Stored(Generic[Record]):
    """A record as it was when it was read."""

    key: str
    record: Record
    version: int


def video_key(name: str) -> str:
    """Return the key of a video's register."""
    return f"video/{name}"


def groups_prefix(video_id: str, rendition: str | None = None) -> str:
    """Return what the keys of a video's groups, or of one rendition's, start with."""
    return f"group/{video_id}/" if rendition is None else f"group/{video_id}/{rendition}/"


def group_key(video_id: str, rendition: str, number: int) -> str:
    """Return the key of a group's register; keys sort as numbers do."""
    return f"{groups_prefix(video_id, rendition)}{number:06d}"


def parse_group_key(key: str) -> tuple[str, str, int]:
    """Return video id, rendition and number. A rendition's name holds no slash."""
    _, video_id, rendition, number = key.split("/")
    return video_id, rendition, int(number)


def node_key(node: str) -> str:
    """Return the key of a node's register."""
    return f"node/{node}"


def removed_key(node: str) -> str:
    """Return the key of a removed node's register."""
    return f"removed/{node}"


def views_key(video_id: str) -> str:
    """Return the key of a video's views; by id, so that a name given anew starts at none."""
    return f"views/{video_id}"


def trash_key(video_id: str) -> str:
    """Return the key of an unfinished deletion."""
    return f"trash/{video_id}"


class Registers:
    """Responsible for reading and writing records, and for every outcome being handled."""

    def __init__(self, catalogue: contract.Catalogue) -> None:
        self.catalogue = catalogue

    async def get(self, key: str, kind: type[Record]) -> Stored[Record] | None:
        """Return a record, or None if it is not there. Raises: RegisterDamaged, CatalogueError."""
        entry = await self.catalogue.get(key)
        return None if entry is None else _decoded(entry, kind)

    async def scan(self, prefix: str, kind: type[Record]) -> list[Stored[Record]]:
        """Return all records whose keys start with ``prefix``, in order."""
        return [_decoded(entry, kind) for entry in await self.catalogue.scan(prefix)]

    async def write(
        self, key: str, record: msgspec.Struct | None, expected_version: int = contract.ABSENT
    ) -> int:
        """Write a record, or delete it (None); return its new version.

        Raises:
            Conflict: it has another version than expected; nothing was written.
            OutcomeUnknown: it may or may not have been written.
            CatalogueError: it was not written.
        """
        value = None if record is None else wire.encode(record)
        outcome = await self.catalogue.compare_and_set(key, expected_version, value)
        return await self._settled(contract.Write(key, expected_version, value), outcome)

    async def update(
        self, key: str, kind: type[Record], change: Callable[[Record | None], Record | None]
    ) -> int:
        """Read, change, write; again if somebody else came between. Returns the new version.

        ``change`` is given what is there and returns what should be there; None is nothing. It
        may be called several times.
        Raises: as ``write``, and whatever ``change`` raises.
        """
        for _ in range(_UPDATE_ATTEMPTS):
            stored = await self.get(key, kind)
            version = stored.version if stored else contract.ABSENT
            wanted = change(stored.record if stored else None)
            if wanted == (stored.record if stored else None):
                return version
            try:
                return await self.write(key, wanted, version)
            except Conflict:
                continue
        raise Conflict(f"register {key} is changed by others all the time", hint="try again")

    async def _settled(self, write: contract.Write, outcome: contract.Outcome) -> int:
        match outcome:
            case contract.Version(number):
                return number
            case contract.Conflict():
                raise Conflict(
                    f"register {write.key} was changed by somebody else", hint="read it again"
                )
            case contract.Unknown(reason):
                return await self._look(write, reason)

    async def _look(self, write: contract.Write, reason: str) -> int:
        """See whether a write without an answer has happened."""
        entry = await self.catalogue.get(write.key)
        if entry is not None and entry.version > write.expected_version:
            if entry.value == write.value:
                return entry.version
            raise Conflict(f"register {write.key} was changed by somebody else")
        if entry is None and write.value is None:
            return write.expected_version
        raise OutcomeUnknown(
            f"the catalogue did not say whether {write.key} was written ({reason})",
            hint="look at the state before repeating; the write may still happen",
        )


def _decoded(entry: contract.Entry, kind: type[Record]) -> Stored[Record]:
    try:
        return Stored(entry.key, wire.decode(entry.value, kind), entry.version)
    except InvalidRequest as error:
        raise RegisterDamaged(
            f"register {entry.key} cannot be read: {error.message}",
            hint="restore the catalogue from a copy, or start the version that wrote it",
        ) from error
