"""A node whose store does what simple ones do, to be measured beside ours: nothing else differs.

For every put by itself, as V-Stack's node does: open, append, fsync; then write the index of all
fragments as JSON again, which is not synced. No framing, no checksum, no space reserved.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from redundancy.terminal import Terminal, run, top_parser
from storage_server.node import service
from storage_server.node.config import NodeConfig, add_node_arguments
from storage_server.node.process import run_node
from storage_server.node.store import Outcome, Put, Write
from storage_server.node.superblock_store import SuperblockStore

_INDEX = "index.json"


class OneByOneStore(SuperblockStore):
    """Responsible for a sync and a rewritten index for every single write."""

    folder: Path

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do each write by itself."""
        return [self._append(write) for write in writes]

    def _append(self, write: Write) -> Outcome:
        assert isinstance(write, Put)
        known: dict[str, dict[str, object]] = self.__dict__.setdefault("known", {})
        key = write.key.hex()
        if key in known:
            return False
        path = self.folder / "appended.dat"
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        offset = os.lseek(descriptor, 0, os.SEEK_END)
        os.write(descriptor, write.data)
        os.fsync(descriptor)
        os.close(descriptor)
        known[key] = {
            "chunk_id": key,
            "superblock_id": 0,
            "offset": offset,
            "size": len(write.data),
            "checksum": key,
            "stored_at": datetime.now(UTC).isoformat(),
        }
        (self.folder / _INDEX).write_text(json.dumps(known), encoding="ascii")
        return True


def _handle(args: argparse.Namespace, terminal: Terminal) -> int:
    config = NodeConfig.from_args(args)
    OneByOneStore.folder = config.data_dir
    service.SuperblockStore = OneByOneStore
    return run_node(config, terminal)


if __name__ == "__main__":
    parser = top_parser("one_by_one_node", "A node that syncs and indexes put by put.")
    add_node_arguments(parser)
    parser.set_defaults(handler=_handle)
    sys.exit(run(parser))
