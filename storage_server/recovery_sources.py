"""Reading every footer there is: from data directories of nodes that do not run, and from nodes."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redundancy.errors import FileMissing, InvalidFragment
from redundancy.fragment_format import (
    FOOTER_BYTES_MAX,
    Footer,
    footer_length,
    read_footer_at_end,
)
from smart_client import wire
from smart_client.core.events import FailureKind
from smart_client.errors import NodeUnreachable
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections
from storage_server.node.disk import RealDisk
from storage_server.node.errors import FragmentMissing, ReadFailed
from storage_server.node.lock import DataFolder, known_identity
from storage_server.node.superblock_store import SuperblockStore
from storage_server.recovery import FoundFragment

# A footer of (3, 5) with 2 MiB has 2.2 KB: nearly all come with the first look.
_TAIL_BYTES = 8 * 1024
_PAGE_KEYS = 1000
_AT_ONCE = 4


@dataclass(slots=True)
class SourceReport:
    """What one source gave."""

    node: wire.NodeRecord
    found: list[FoundFragment] = field(default_factory=list)
    strange: int = 0  # things stored there that are no fragments, or cannot be read


def read_directory(path: Path) -> SourceReport:
    """Read all footers in a data directory. It is opened as a start of the node opens it.

    Raises: FileMissing: no data there. DirectoryLocked: a node runs on it. OSError.
    """
    if not path.is_dir() or known_identity(RealDisk(path)) is None:
        raise FileMissing(f"{path} holds no node's data", hint="name a node's --data directory")
    with contextlib.closing(DataFolder(path)) as folder:
        store = SuperblockStore(folder.disk, folder.identity)
        with contextlib.closing(store):
            record = wire.NodeRecord(
                id=folder.identity.node_id, urls=(), store=folder.identity.store_uuid.hex()
            )
            report = SourceReport(record)
            for key, size in _keys_of(store):
                footer = _local_footer(store, key, size)
                _note(report, key.hex(), footer)
            return report


def _keys_of(store: SuperblockStore) -> Iterator[tuple[bytes, int]]:
    after = b""
    while page := store.page(after, _PAGE_KEYS):
        yield from page
        after = page[-1][0]


def _local_footer(store: SuperblockStore, key: bytes, size: int) -> Footer | None:
    try:
        found = store.find(key)
        start = max(0, size - _TAIL_BYTES)
        tail = found.read(start, size)
        longer = footer_length(tail)
        if longer > len(tail):
            tail = found.read(max(0, size - longer), size)
        return read_footer_at_end(tail)
    except (FragmentMissing, ReadFailed, InvalidFragment):
        return None


async def read_node(url: str, *, token: str | None) -> SourceReport:
    """Read all footers of a node that runs.

    Raises: NodeUnreachable; EvenflowError: it refused.
    """
    link = NodeConnections(wire.NodeRecord(id="source", urls=(url,)), token=token)
    try:
        health = await link.health()
        if "node" not in health:
            raise NodeUnreachable(f"{url} does not say who it is", hint="give --token-file FILE")
        record = wire.NodeRecord(
            id=health["node"],
            urls=(url,),
            zone=health.get("zone") or "",
            capacity_bytes=health.get("capacity_bytes", 0),
            store=health.get("store", ""),
        )
        report = SourceReport(record)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def note(key: str, size: int) -> None:
            async with turns:
                _note(report, key, await _remote_footer(link, key, size))

        after = ""
        while True:
            page = await link.ask(f"/v1/list?limit={_PAGE_KEYS}&after={after}")
            await asyncio.gather(*(note(each["key"], each["size"]) for each in page["keys"]))
            if page["next"] is None:
                return report
            after = page["next"]
    except TransportFailure as error:
        raise NodeUnreachable(f"node {url}: {error}") from error
    finally:
        await link.close()


async def _remote_footer(link: NodeConnections, key: str, size: int) -> Footer | None:
    try:
        tail = await _fetch(link, key, max(0, size - _TAIL_BYTES), size)
        longer = footer_length(tail)
        if longer > len(tail):
            tail = await _fetch(link, key, max(0, size - longer), size)
        return read_footer_at_end(tail)
    except InvalidFragment:
        return None


async def _fetch(link: NodeConnections, key: str, start: int, stop: int) -> bytes:
    tail = _Tail()
    await link.fetch(key, start, stop, tail)
    return bytes(tail.body)


class _Tail:
    """Responsible for holding the end of a fragment; see ``PieceSink``."""

    def __init__(self) -> None:
        self.body = bytearray()

    def room(self) -> memoryview:
        """None: what comes is small and is copied."""
        return memoryview(b"")

    def landed(self, count: int) -> None:
        """Never called: there is no room."""

    def connected(self, rtt_s: float) -> None:
        """Of no interest."""

    def first_byte(self) -> None:
        """Of no interest."""

    def data(self, block: bytes | memoryview) -> None:
        """Take the next bytes; an honest node sends no more than was asked for."""
        if len(self.body) + len(block) > FOOTER_BYTES_MAX + _TAIL_BYTES:
            raise TransportFailure(FailureKind.PROTOCOL, "endless footer")
        self.body += block


def _note(report: SourceReport, key: str, footer: Footer | None) -> None:
    if footer is None:
        report.strange += 1
    else:
        report.found.append(FoundFragment(report.node.id, key, footer))


async def read_all(sources: Sequence[str], *, token: str | None) -> list[SourceReport]:
    """Read every source, an address or a directory. Raises: as the two above."""
    reports = []
    for source in sources:
        if source.startswith(("http://", "https://")):
            reports.append(await read_node(source, token=token))
        else:
            reports.append(await asyncio.to_thread(read_directory, Path(source)))
    return reports
