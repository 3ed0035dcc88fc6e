"""The commands of ``storage-server consensus``, which wait for nothing heavy."""

from redundancy.terminal import CommandParser, add_command, later
from storage_server.config import add_admin_arguments

CONSENSUS_EXAMPLES = """\
examples:
  storage-server consensus status                who decides, what was counted and measured
  storage-server consensus trace                 every message, as it happens; ctrl-C ends it
  storage-server consensus trace --key video/    only what is about registers named so
  storage-server consensus trace --count 100 --json
  storage-server consensus demo                  two writers, three nodes, one dies: measured
"""


def add_consensus_commands(consensus: CommandParser) -> None:
    """Add all of them."""
    commands = consensus.add_subparsers(title="commands", metavar="COMMAND")
    status = add_command(
        commands,
        "status",
        later("storage_server.consensus_commands", "status"),
        "Show who decides, and what every coordinator counted and measured.",
    )
    trace = add_command(
        commands,
        "trace",
        later("storage_server.consensus_commands", "trace"),
        "Show the messages of all coordinators named as they are sent and answered.",
        epilog=CONSENSUS_EXAMPLES,
    )
    trace.add_argument("--key", default="", metavar="TEXT", help="only registers named so, in part")
    trace.add_argument(
        "--outcomes", action="store_true", help="only what was decided, not how it came to that"
    )
    trace.add_argument("--count", type=int, metavar="N", help="end after so many events")
    trace.add_argument("--seconds", type=float, metavar="S", help="end after so long")
    for parser in (status, trace):
        add_admin_arguments(parser)
    demo = add_command(
        commands,
        "demo",
        later("storage_server.consensus_demo", "demo"),
        "Start three nodes on this machine, let two writers fight, kill one; print what was "
        "measured.",
    )
    demo.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each part")
