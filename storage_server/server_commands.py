"""The commands that run one server until it is told to stop."""

import argparse

from redundancy.errors import ExitCode
from redundancy.terminal import Terminal
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.logs import log_to_stderr
from storage_server.node.config import NodeConfig
from storage_server.node.process import run_node
from storage_server.settings import Setting, as_toml


def node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run a node that reports to every coordinator named, for ever."""
    settings = args.options.resolve(args)
    config = NodeConfig.from_args(args)
    if args.print_config:
        return _print(settings, terminal)
    log_to_stderr(terminal, args.log_format)
    if not config.coordinators:
        return run_node(config, terminal)
    from storage_server.heartbeats import HeartbeatSender  # noqa: PLC0415 - only with coordinators

    heartbeat = HeartbeatSender(config.coordinators, token=config.token)
    return run_node(config, terminal, heartbeat=heartbeat, at_end=heartbeat.close)


def coordinator(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run a coordinator."""
    settings = args.options.resolve(args)
    config = CoordinatorConfig.from_args(args)
    if args.print_config:
        return _print(settings, terminal)
    log_to_stderr(terminal, args.log_format)
    # numpy and more, 16 MB that a node must not carry
    from storage_server.coordinator.process import run_coordinator  # noqa: PLC0415

    return run_coordinator(config, terminal)


def _print(settings: tuple[Setting, ...], terminal: Terminal) -> int:
    """Tell what a server would run with. Secrets are in files, which are only named."""
    told = {each.name: {"value": each.value, "source": each.source} for each in settings}
    terminal.result({"config": told}, human=as_toml(settings, sources=True))
    return ExitCode.OK
