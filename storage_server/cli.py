"""The command ``storage-server``: nodes, coordinators, whole clusters on one machine.

Handlers are imported when they run, so that ``--help`` does not wait for what they work with.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from redundancy.completion import add_completion
from redundancy.terminal import (
    EXIT_CODES,
    CommandParser,
    add_command,
    add_group,
    later,
    run,
    top_parser,
)
from storage_server.admin_options import ADMIN_EXAMPLES, add_admin_commands
from storage_server.consensus_options import CONSENSUS_EXAMPLES, add_consensus_commands
from storage_server.coordinator.config import POLICIES, add_coordinator_arguments
from storage_server.exposure_options import EXPOSURE_EXAMPLES, add_exposure_arguments
from storage_server.install_options import INSTALL_EXAMPLES, add_install_arguments
from storage_server.node.config import add_node_arguments
from storage_server.settings import add_options

_EXAMPLES = (
    """\
examples:
  storage-server cluster up                      a coordinator and 5 nodes on this machine
  storage-server cluster status                  what runs, and what the coordinator thinks of it
  storage-server cluster down                    end it; the data stays
  storage-server coordinator --data /srv/coordinator --listen 0.0.0.0:8400 --token-file secret
  storage-server node --data /srv/node --listen 0.0.0.0:8500 --coordinator http://hub:8400 \\
      --token-file secret
  storage-server admin node list                 the nodes of a cluster
  storage-server consensus trace                 every message of the agreement, live
  storage-server exposure                        which of them may be unplugged
  storage-server fsck /srv/node                  read every byte of a node that does not run
  storage-server install-service node --help     let it start with the machine

"""
    + EXIT_CODES
)

_NODE_EXAMPLES = """\
examples:
  storage-server node --data /srv/node --coordinator http://127.0.0.1:8400
  storage-server node --id attic-pi --data /mnt/disk/evenflow --capacity 500GB --zone attic \\
      --listen 0.0.0.0:8500 --advertise http://attic-pi.lan:8500 --token-file secret \\
      --coordinator http://hub.lan:8400
  storage-server node --data /srv/node --max-upload 10Mbit/s
  storage-server node --config /etc/evenflow/node.toml --print-config

With --config FILE options may stand in a file (`data = "/srv/node"`, `scrub-days = 7`); what is
said on the command line goes before it. The log is on standard error; whoever does not read it
misses lines, and keeps nobody waiting.
"""

_FSCK_EXAMPLES = """\
examples:
  storage-server fsck /srv/node                  reads every byte, changes nothing
  storage-server fsck /srv/node --repair

exit codes: 0 ok, 4 no such data, 7 fragments are lost here, 9 a node runs on it
"""

_RECOVER_EXAMPLES = """\
examples:
  storage-server recover --from http://attic-pi.lan:8500 --from http://nas.lan:8500 --data /srv/new
  storage-server recover --from /mnt/disk1 --from /mnt/disk2 --from /mnt/disk3 --data /srv/new

What no fragment says is gone: numbers of views, names without a file, and that something was
being deleted. exit codes: 0 every video is whole, 6 something is missing (it is named)
"""

_COORDINATOR_EXAMPLES = """\
examples:
  storage-server coordinator --data /srv/coordinator
  storage-server coordinator --data /srv/coordinator --listen 0.0.0.0:8400 --token-file secret
  storage-server coordinator --config /etc/evenflow/coordinator.toml --print-config
"""

_CLUSTER_EXAMPLES = """\
examples:
  storage-server cluster up -n 5                 start it, or what of it does not run
  storage-server cluster up --catalogue chunkpaxos --coordinators 2
  storage-server cluster status
  storage-server cluster kill node-2             pull the plug
  storage-server cluster start node-2            plug it in again, with its data
  storage-server cluster freeze node-3           it hangs: answers nothing, refuses nothing
  storage-server cluster thaw node-3
  storage-server cluster slow node-4 --rate 500kbit/s --delay 0.3
  storage-server cluster slow node-4 --rate none --delay 0
  storage-server cluster down --purge            end it and remove its data
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = top_parser(
        "storage-server", "Keep the fragments of videos, and know where they are.", _EXAMPLES
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    node = add_command(
        commands,
        "node",
        later("storage_server.server_commands", "node"),
        "Run one storage node.",
        epilog=_NODE_EXAMPLES,
    )
    add_options(node, add_node_arguments)

    coordinator = add_command(
        commands,
        "coordinator",
        later("storage_server.server_commands", "coordinator"),
        "Run a coordinator: it knows what is where, and moves no video bytes.",
        epilog=_COORDINATOR_EXAMPLES,
    )
    add_options(coordinator, add_coordinator_arguments)

    fsck = add_command(
        commands,
        "fsck",
        later("storage_server.fsck_command", "fsck"),
        "Check a node's data directory while the node does not run.",
        epilog=_FSCK_EXAMPLES,
    )
    fsck.add_argument("directory", metavar="DIR", help="the node's --data directory")
    fsck.add_argument(
        "--repair", action="store_true", help="take what is bad out, and list it for repair"
    )

    recover = add_command(
        commands,
        "recover",
        later("storage_server.recover_command", "recover_catalogue"),
        "Make a lost catalogue again from the nodes' fragments alone.",
        epilog=_RECOVER_EXAMPLES,
    )
    recover.add_argument(
        "--from",
        dest="sources",
        action="append",
        required=True,
        metavar="DIR|URL",
        help="a node's data directory while the node does not run, or a running node; repeat it",
    )
    recover.add_argument("--data", required=True, metavar="DIR", help="the new coordinator's")
    recover.add_argument("--dry-run", action="store_true", help="only say what would come back")
    recover.add_argument("--token-file", metavar="FILE", help="the nodes' secret")

    cluster = add_group(
        commands,
        "cluster",
        "Run a whole cluster on this machine, and break it on purpose.",
        epilog=_CLUSTER_EXAMPLES,
    )
    _add_cluster_commands(cluster)

    admin = add_group(
        commands,
        "admin",
        "Look after a running cluster.",
        epilog=ADMIN_EXAMPLES,
    )
    add_admin_commands(admin)
    add_consensus_commands(
        add_group(
            commands,
            "consensus",
            "Watch how coordinators come to their decisions.",
            epilog=CONSENSUS_EXAMPLES,
        )
    )
    add_exposure_arguments(
        add_command(
            commands,
            "exposure",
            later("storage_server.exposure", "exposure"),
            "Say which node may be unplugged, and which videos would stop or be lost.",
            epilog=EXPOSURE_EXAMPLES,
        )
    )
    add_install_arguments(
        add_group(
            commands,
            "install-service",
            "Let a server start with the machine: write its systemd unit and configuration.",
            epilog=INSTALL_EXAMPLES,
        )
    )
    add_completion(commands, parser)
    return run(parser, argv)


def _add_cluster_commands(cluster: CommandParser) -> None:
    commands = cluster.add_subparsers(title="commands", metavar="COMMAND")

    up = add_command(
        commands,
        "up",
        later("storage_server.cluster_commands", "up"),
        "Start a cluster, or what of it does not run.",
    )
    up.add_argument(
        "-n", "--nodes", type=int, metavar="N", help="how many nodes; default 5, or all there are"
    )
    up.add_argument(
        "--signed-reads",
        action="store_true",
        help="make read keys: fragments only for those who get a manifest from the coordinator",
    )
    up.add_argument(
        "--base-port",
        type=int,
        metavar="PORT",
        help="the coordinator's; the nodes have the next ones, the gateway PORT+80. "
        "Default: 8400 for the coordinator if it is free, else free ports; 0: free ports",
    )
    up.add_argument(
        "--gateway", action="store_true", help="also a gateway that serves videos to players"
    )
    up.add_argument(
        "--catalogue",
        choices=("sqlite", "chunkpaxos", "etcd"),
        help="who keeps the catalogue: one coordinator's file, three of the nodes, or three etcd; "
        "default: as it was, or sqlite",
    )
    up.add_argument(
        "--coordinators",
        type=int,
        metavar="N",
        help="how many, of a catalogue that several can share; default 1, or all there are",
    )
    up.add_argument(
        "--policy",
        choices=POLICIES,
        help="how the coordinator stores what nobody wished otherwise; default: threshold, or as "
        "it was",
    )
    up.add_argument("--capacity", metavar="SIZE", help="of each new node, as in 10GiB")
    up.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="until the coordinator has heard every node",
    )
    down = add_command(
        commands,
        "down",
        later("storage_server.cluster_commands", "down"),
        "End a cluster; its data stays.",
    )
    down.add_argument("--purge", action="store_true", help="remove the data and the logs too")
    status = add_command(
        commands,
        "status",
        later("storage_server.cluster_commands", "status"),
        "Show what runs and what does not.",
    )
    kill = add_command(
        commands,
        "kill",
        later("storage_server.cluster_commands", "kill"),
        "End nodes at once, as a power cut does.",
    )
    freeze = add_command(
        commands,
        "freeze",
        later("storage_server.cluster_commands", "freeze"),
        "Make nodes hang without closing anything.",
    )
    thaw = add_command(
        commands,
        "thaw",
        later("storage_server.cluster_commands", "thaw"),
        "Let frozen nodes go on.",
    )
    start = add_command(
        commands,
        "start",
        later("storage_server.cluster_commands", "start"),
        "Start nodes again with their data.",
    )
    slow = add_command(
        commands,
        "slow",
        later("storage_server.cluster_commands", "slow"),
        "Make nodes answer slowly, or normally again.",
    )
    slow.add_argument("--rate", metavar="RATE", help="as in 500kbit/s; none takes the cap away")
    slow.add_argument("--delay", type=float, metavar="S", help="seconds before each answer")
    for parser in (kill, freeze, thaw, start, slow):
        parser.add_argument(
            "names", nargs="+", metavar="NODE", help="as in node-2, coordinator or gateway"
        )
    for parser in (up, down, status, kill, freeze, thaw, start, slow):
        parser.add_argument(
            "--dir", type=Path, default=Path(".cluster"), help="default %(default)s"
        )
