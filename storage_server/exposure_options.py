"""The options and help of ``storage-server exposure``, which wait for nothing heavy."""

from redundancy.terminal import CommandParser
from storage_server.config import add_admin_arguments

EXPOSURE_EXAMPLES = """\
examples:
  storage-server exposure                        may each be unplugged, what stops, what is lost
  storage-server exposure attic-pi garage-nuc    what happens without exactly these two
  storage-server exposure attic-pi && ssh attic-pi poweroff
  storage-server exposure --uptime 99% --uptime attic-pi=80%

A video stops when too few of its pieces are on nodes that answer, and plays again when they are
back. It is lost when too few are on nodes whose data is still there.

exit codes: 0 nothing happens if one node goes, or those named; 3 something does; 5 temporary
"""


def add_exposure_arguments(parser: CommandParser) -> None:
    """Add what ``exposure`` reads."""
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="judge the loss of exactly these")
    parser.add_argument(
        "--uptime",
        action="append",
        default=[],
        metavar="[NODE=]SHARE",
        help="how much of the time nodes answer, for what is to be expected; default: as measured",
    )
    add_admin_arguments(parser)
