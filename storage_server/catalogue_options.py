"""The commands of ``storage-server admin catalogue``, which wait for nothing heavy."""

import argparse

from redundancy.terminal import CommandParser, add_command, later, needs_more

CATALOGUE_EXAMPLES = """\
examples:
  storage-server admin catalogue copy sqlite:/srv/coordinator etcd:http://e1:2379,http://e2:2379
  storage-server admin catalogue copy sqlite:/srv/coordinator \\
      nodes:http://attic:8500,http://nas:8500,http://pi:8500
  storage-server admin catalogue copy nodes:http://attic:8500,http://nas:8500 sqlite:/srv/new

Stop all coordinators of the source first; videos play on meanwhile. A copy that was cut short goes
on when it is done again. exit codes: 0 both are the same, 5 not complete, 8 the target has
something else, or the source is in use
"""


def add_catalogue_commands(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add them to ``admin``."""
    catalogue = add_command(
        commands,
        "catalogue",
        needs_more("storage-server admin catalogue", "copy"),
        "Where the catalogue is: move it elsewhere.",
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
