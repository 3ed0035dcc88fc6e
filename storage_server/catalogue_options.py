"""The commands of ``storage-server admin catalogue``, which wait for nothing heavy."""

import argparse

from redundancy.terminal import CommandParser, add_command, add_group, later
from storage_server.config import add_admin_arguments

CATALOGUE_EXAMPLES = """\
examples:
  storage-server admin catalogue copy sqlite:/srv/coordinator etcd:http://e1:2379,http://e2:2379
  storage-server admin catalogue copy sqlite:/srv/coordinator \\
      nodes:http://attic:8500,http://nas:8500,http://pi:8500
  storage-server admin catalogue copy nodes:http://attic:8500,http://nas:8500 sqlite:/srv/new

  storage-server admin catalogue members list
  storage-server admin catalogue members replace attic-pi nas      the plan; with --yes it is done

To copy: stop all coordinators of the source first; videos play on meanwhile. A copy that was cut
short goes on when it is done again. exit codes: 0 both are the same, 5 not complete, 8 the target
has something else, or the source is in use
"""


def add_catalogue_commands(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add them to ``admin``."""
    catalogue = add_group(
        commands,
        "catalogue",
        "Where the catalogue is: move it elsewhere, or change who keeps it.",
        epilog=CATALOGUE_EXAMPLES,
    )
    actions = catalogue.add_subparsers(title="commands", metavar="COMMAND")
    copy = add_command(
        actions,
        "copy",
        later("storage_server.catalogue_commands", "copy"),
        "Copy a catalogue into an empty one, and make sure that both are the same.",
        epilog=CATALOGUE_EXAMPLES,
    )
    where = "sqlite:DIR, etcd:URL,URL,... or nodes:URL,URL,..."
    copy.add_argument("source", metavar="FROM", help=where)
    copy.add_argument("target", metavar="TO", help=where)
    copy.add_argument("--token-file", metavar="FILE", help="the nodes' secret")
    _add_member_commands(actions)


def _add_member_commands(actions: "argparse._SubParsersAction[CommandParser]") -> None:
    members = add_group(
        actions,
        "members",
        "The nodes that keep a catalogue of nodes.",
    )
    verbs = members.add_subparsers(title="commands", metavar="COMMAND")
    listing = add_command(
        verbs,
        "list",
        later("storage_server.catalogue_commands", "list_members"),
        "Show who keeps the catalogue, and whether they answer.",
    )
    change = later("storage_server.catalogue_commands", "change_members")
    add = add_command(verbs, "add", change, "Let one more node keep it.")
    remove = add_command(verbs, "remove", change, "Let a node keep it no more.")
    replace = add_command(verbs, "replace", change, "Let another node keep it in one's place.")
    add.add_argument("add", metavar="NODE")
    add.set_defaults(remove=None)
    remove.add_argument("remove", metavar="NODE")
    remove.set_defaults(add=None)
    replace.add_argument("remove", metavar="OLD")
    replace.add_argument("add", metavar="NEW")
    for parser in (add, remove, replace):
        parser.add_argument("--yes", action="store_true", help="do it, not only say what it means")
    for parser in (listing, add, remove, replace):
        add_admin_arguments(parser)
