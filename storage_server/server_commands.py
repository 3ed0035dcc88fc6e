"""The commands that run one server until it is told to stop."""

import argparse

from redundancy.terminal import Terminal
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.process import run_coordinator
from storage_server.heartbeats import HeartbeatSender
from storage_server.node.config import NodeConfig
from storage_server.node.process import run_node


def node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run a node that reports to every coordinator named, for ever."""
    config = NodeConfig.from_args(args)
    if not config.coordinators:
        return run_node(config, terminal)
    heartbeat = HeartbeatSender(config.coordinators, token=config.token)
    return run_node(config, terminal, heartbeat=heartbeat)


def coordinator(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run a coordinator."""
    return run_coordinator(CoordinatorConfig.from_args(args), terminal)
