"""The commands of ``storage-server admin``, which wait for nothing heavy."""

import argparse

from redundancy.terminal import CommandParser, add_command, add_group, later
from storage_server.catalogue_options import add_catalogue_commands
from storage_server.config import add_admin_arguments

ADMIN_EXAMPLES = """\
examples:
  storage-server admin node list
  storage-server admin node list --coordinator http://hub.lan:8400 --json
  storage-server admin node add attic-pi http://attic-pi.lan:8500 --zone attic
  storage-server admin node lost attic-pi        it does not come back: make anew what it held
  storage-server admin node remove attic-pi --dry-run     what that takes, or why it cannot be
  storage-server admin node remove attic-pi      take it out, alive or dead
  storage-server admin node drain attic-pi --watch        empty it, and keep it for later
  storage-server admin repair --watch            make good what is lost, and say how far it is
  storage-server admin rebalance --dry-run
  storage-server admin scrub kino                have every fragment of it read and checked
  storage-server admin keeper status             what is being repaired, how much is left
  storage-server admin catalogue copy sqlite:/srv/coordinator nodes:http://a:8500,http://b:8500
  storage-server admin video layout kino rs:6+3+1copy
"""


def add_admin_commands(admin: CommandParser) -> None:
    """Add all of them."""
    commands = admin.add_subparsers(title="commands", metavar="COMMAND")
    node = add_group(
        commands,
        "node",
        "The nodes of a cluster.",
    )
    actions = node.add_subparsers(title="commands", metavar="COMMAND")
    listing = add_command(
        actions,
        "list",
        later("storage_server.admin_commands", "list_nodes"),
        "List the nodes as a coordinator sees them.",
    )
    add = add_command(
        actions,
        "add",
        later("storage_server.admin_commands", "add_node"),
        "Add a node that does not report by itself, or one that was removed.",
    )
    add.add_argument("name", metavar="NAME")
    add.add_argument("url", metavar="URL", help="as in http://attic-pi.lan:8500")
    add.add_argument("--zone", default="", help="what fails together: a room, a site")
    lost = add_command(
        actions,
        "lost",
        later("storage_server.admin_commands", "lose_node"),
        "Say that a node does not come back: what it held is made anew elsewhere.",
    )
    remove = add_command(
        actions,
        "remove",
        later("storage_server.keeper_commands", "remove_node"),
        "Take a node out, alive or dead, when all it holds is elsewhere.",
    )
    drain = add_command(
        actions,
        "drain",
        later("storage_server.keeper_commands", "drain_node"),
        "Empty a node that stays: it takes nothing new until it is added again.",
    )
    for parser in (lost, drain, remove):
        parser.add_argument("name", metavar="NAME")
    for parser in (drain, remove):
        _add_plan_arguments(parser)
    for parser in (listing, add, lost, drain, remove):
        add_admin_arguments(parser)
    _add_keeper_commands(commands)
    add_catalogue_commands(commands)
    _add_upkeep_commands(commands)


def _add_plan_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what it takes: fragments, bytes, time"
    )
    parser.add_argument("--watch", action="store_true", help="go on telling until it is done")


def _add_upkeep_commands(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    for name, text in (
        (
            "repair",
            "Look at everything, and make good what is lost, rotten or not as it should be.",
        ),
        ("rebalance", "Even the nodes out now."),
        ("scrub", "Have nodes read and check every fragment now, and make good what is bad."),
    ):
        parser = add_command(commands, name, later("storage_server.keeper_commands", name), text)
        if name == "scrub":
            parser.add_argument("videos", nargs="*", metavar="VIDEO", help="default: all")
        else:
            _add_plan_arguments(parser)
        add_admin_arguments(parser)


def _add_keeper_commands(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    keeper = add_group(
        commands,
        "keeper",
        "What repairs, moves, lays out anew and collects.",
    )
    actions = keeper.add_subparsers(title="commands", metavar="COMMAND")
    status = add_command(
        actions,
        "status",
        later("storage_server.keeper_commands", "keeper_status"),
        "Show what is being repaired and how much is left.",
    )
    run_now = add_command(
        actions,
        "run",
        later("storage_server.keeper_commands", "keeper_run"),
        "Compare what all nodes hold with what they should, and mend it now.",
    )
    video = add_group(
        commands,
        "video",
        "The videos of a cluster.",
    )
    layout = add_command(
        video.add_subparsers(title="commands", metavar="COMMAND"),
        "layout",
        later("storage_server.admin_commands", "set_layout"),
        "Have a video stored in another layout by and by; it plays on meanwhile.",
    )
    layout.add_argument("name", metavar="VIDEO")
    layout.add_argument("layout", metavar="LAYOUT", help="as in rs:3+2, rep:3, rs:6+3+1copy")
    for parser in (status, run_now, layout):
        add_admin_arguments(parser)
