"""The options and help of ``storage-server install-service``, which wait for nothing heavy."""

import argparse
from collections.abc import Callable

from redundancy.terminal import CommandParser, add_command, later
from storage_server.coordinator.config import add_coordinator_arguments
from storage_server.node.config import add_node_arguments
from storage_server.settings import add_options

INSTALL_EXAMPLES = """\
examples:
  storage-server install-service node --data /srv/evenflow --listen 0.0.0.0:8500 \\
      --token-file /etc/evenflow/token --coordinator http://hub.lan:8400 --dry-run
  storage-server install-service coordinator --data /srv/coordinator --listen 0.0.0.0:8400 \\
      --token-file /etc/evenflow/token
  storage-server install-service node --user --data ~/evenflow
  storage-server install-service gateway --data /var/cache/evenflow --strm /srv/jellyfin \\
      --coordinator http://hub.lan:8400 --token-file /etc/evenflow/token

It writes two files: a configuration (what you said here, to be edited later) and a systemd unit
that may write its own directory only (a --user unit is confined less). If SSL_CERT_FILE is set, it
trusts that file, too. --dry-run shows both and writes nothing. It starts nothing: the commands for
that are printed. The gateway is `smart-client serve`: pages, and every video for any player.

The --print-config of node and coordinator is here the same as --dry-run.

exit codes: 0 ok, 2 usage, 8 another service of this name is there, 9 configuration or rights
"""


def add_install_arguments(install: CommandParser) -> None:
    """Add one command for each kind of server, with that server's own options."""
    commands = install.add_subparsers(title="commands", metavar="COMMAND")
    kinds: dict[str, Callable[[CommandParser], None]] = {
        "node": lambda parser: add_options(parser, add_node_arguments),
        "coordinator": lambda parser: add_options(parser, add_coordinator_arguments),
        "gateway": _add_gateway_arguments,
    }
    for kind, add in kinds.items():
        parser = add_command(
            commands,
            kind,
            later("storage_server.install_command", f"install_{kind}"),
            f"Let a {kind} start with the machine, with the options given here.",
            epilog=INSTALL_EXAMPLES,
        )
        add(parser)
        _add_service_arguments(parser, kind)


def _add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those options of ``smart-client serve`` that a gateway is given for good."""
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="where decoded video and uploads lie"
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:8480", metavar="HOST:PORT", help="default %(default)s"
    )
    parser.add_argument(
        "--coordinator", action="append", default=[], metavar="URL[,URL]", help="may be repeated"
    )
    parser.add_argument("--token-file", metavar="FILE", help="the coordinator's secret")
    parser.add_argument("--cache", metavar="SIZE", help="of decoded video kept (default 2GiB)")
    parser.add_argument("--strm", metavar="DIR", help="keep a .strm file for each video there")
    parser.add_argument(
        "--insecure", action="store_true", help="listen on addresses that others reach"
    )


def _add_service_arguments(parser: argparse.ArgumentParser, kind: str) -> None:
    group = parser.add_argument_group("service")
    group.add_argument(
        "--dry-run", action="store_true", help="show what would be written, write nothing"
    )
    group.add_argument(
        "--user", action="store_true", help="a service of yours, without the system's rights"
    )
    group.add_argument(
        "--run-as",
        default="evenflow",
        metavar="USER",
        help="whose rights the service has; default %(default)s",
    )
    group.add_argument(
        "--service-name", metavar="NAME", help=f"default evenflow-{kind}; one for each server"
    )
    group.add_argument("--force", action="store_true", help="replace what is there")
