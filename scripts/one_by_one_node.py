"""A node whose store does what simple ones do, to be measured beside ours: nothing else differs.

For every put by itself: append, sync, write an index of all fragments as JSON, sync that.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from redundancy.terminal import Terminal, run, top_parser
from storage_server.node import service
from storage_server.node.config import NodeConfig, add_node_arguments
from storage_server.node.process import run_node
from storage_server.node.store import Outcome, Put, Write
from storage_server.node.superblock_store import SuperblockStore

_INDEX = "index.json"


class OneByOneStore(SuperblockStore):
    """Responsible for syncing, and for rewriting its index, at every single write."""

    folder: Path

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do each write by itself."""
        outcomes: list[Outcome] = []
        known: dict[str, int] = self.__dict__.setdefault("known", {})
        for write in writes:
            outcomes += super().commit([write])
            known[write.key.hex()] = len(write.data) if isinstance(write, Put) else 0
            with open(self.folder / _INDEX, "w", encoding="ascii") as file:
                json.dump(known, file)
                file.flush()
                os.fsync(file.fileno())
        return outcomes


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
