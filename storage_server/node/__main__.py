"""``python -m storage_server.node``: one node and nothing else."""

import argparse
import sys

from redundancy.terminal import Terminal, run, top_parser
from storage_server.logs import log_to_stderr
from storage_server.node.config import NodeConfig, add_node_arguments
from storage_server.node.process import run_node


def _handle(args: argparse.Namespace, terminal: Terminal) -> int:
    log_to_stderr(terminal)
    return run_node(NodeConfig.from_args(args), terminal)


if __name__ == "__main__":
    parser = top_parser("python -m storage_server.node", "Run one storage node.")
    add_node_arguments(parser)
    parser.set_defaults(handler=_handle)
    sys.exit(run(parser))
