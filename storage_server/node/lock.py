"""Whose data directory it is, and that one process at a time uses it."""

import contextlib
import json
import re
import uuid
from pathlib import Path

from storage_server.directory_lock import DirectoryLock
from storage_server.node.disk import Disk, RealDisk
from storage_server.node.errors import InvalidSuperblock, UnknownFormat, WrongNode
from storage_server.node.small_files import DAMAGED, read_json
from storage_server.node.superblock import StoreIdentity, superblock_number
from storage_server.node.superblock_format import FILE_HEADER_BYTES, FileHeader

IDENTITY_NAME = "node.json"
IDENTITY_FORMAT = 1
NODE_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class DataFolder:
    """Responsible for one node's directory while the node runs: lock, identity, disk."""

    def __init__(self, path: Path, node_id: str | None = None) -> None:
        """Take the directory, making it and its identity if they are new.

        Args:
            node_id: the name it must have; None takes the one it has, or makes one up.
        Raises:
            DirectoryLocked: another process has it.
            WrongNode: it belongs to a node of another name.
            UnknownFormat: a later version made it.
            OSError: it cannot be made or written.
        """
        self._lock = DirectoryLock(path, holder="node")
        try:
            self.disk = RealDisk(path)
            self.identity = _settle_identity(self.disk, path, node_id)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have the directory."""
        self._lock.release()


def known_identity(disk: Disk) -> StoreIdentity | None:
    """Return whose data a directory holds; None if it holds none.

    Raises: WrongNode: it cannot be read. UnknownFormat.
    """
    return _read_identity(disk) or _identity_in_superblocks(disk)


def _settle_identity(disk: Disk, path: Path, node_id: str | None) -> StoreIdentity:
    known = known_identity(disk)
    if known is None:
        store_uuid = uuid.uuid4().bytes
        known = StoreIdentity(node_id or f"node-{store_uuid.hex()[:8]}", store_uuid)
    if node_id is not None and node_id != known.node_id:
        raise WrongNode(
            f"{path} holds the data of node {known.node_id}, not of {node_id}",
            hint=f"start it with --id {known.node_id}, or name another --data directory",
        )
    if IDENTITY_NAME not in disk.names():
        content = {
            "format": IDENTITY_FORMAT,
            "node": known.node_id,
            "store": known.store_uuid.hex(),
        }
        disk.replace(IDENTITY_NAME, json.dumps(content).encode() + b"\n")
    return known


def _read_identity(disk: Disk) -> StoreIdentity | None:
    if IDENTITY_NAME not in disk.names():
        return None
    try:
        content = read_json(disk, IDENTITY_NAME)
        if content["format"] != IDENTITY_FORMAT:
            raise UnknownFormat(
                f"{IDENTITY_NAME} has format {content['format']}, which is not known here",
                hint="start a version of Evenflow that knows it; nothing was changed",
            )
        return StoreIdentity(str(content["node"]), bytes.fromhex(content["store"]))
    except DAMAGED as error:
        raise WrongNode(
            f"{IDENTITY_NAME} is damaged: {error}",
            hint=f"remove it: the superblocks know whose they are ({IDENTITY_NAME} is rewritten)",
        ) from error


def _identity_in_superblocks(disk: Disk) -> StoreIdentity | None:
    """Return what the first readable superblock says: the identity file may be lost."""
    for name in filter(superblock_number, disk.names()):
        with contextlib.closing(disk.open(name)) as file:
            try:
                header = FileHeader.unpack(file.read(0, FILE_HEADER_BYTES))
            except InvalidSuperblock:
                continue
        return StoreIdentity(header.node_id, header.store_uuid)
    return None
