"""The command ``smart-client``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from redundancy.quantities import parse_size
from redundancy.terminal import CommandParser, add_command, later, run, top_parser
from smart_client.command_line.options import add_connection_options, parse_speed, parse_start
from smart_client.config import parse_seconds

Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"

# Modules of the commands, loaded when one of theirs is called.
TRANSFER = "smart_client.command_line.transfer"
LIBRARY = "smart_client.command_line.library"
PLAY = "smart_client.command_line.play"
HEALTH = "smart_client.command_line.health"
DEMO = "smart_client.command_line.demo"
COMPARE = "smart_client.command_line.compare"
EXPLAIN = "smart_client.command_line.explain"
REPLAY = "smart_client.command_line.replay"

# Named here so that nothing has to be loaded for --help; a test compares them with the schedulers.
SCHEDULER_NAMES = (
    *("smart", "round-robin", "round-robin-4", "random-mirror", "vstack", "vstack-score"),
    *("content-steering", "tahoe", "hedge-fixed", "hedge-p95", "k-plus-1", "all-n"),
    *("segmented", "time-critical", "naive", "range-pull"),
)

_EPILOG = """\
examples:
  smart-client demo                        the whole thing on this machine, nothing to set up
  smart-client put holiday.mkv             store a video on the cluster
  smart-client play holiday                watch it in mpv, VLC or ffplay
  smart-client play holiday --player none  measure playback without a screen
  smart-client explain run.jsonl           why a session (play --record run.jsonl) went so
  smart-client get holiday -o copy.mkv     fetch it back, byte for byte
  smart-client serve                       http://127.0.0.1:8480/v/NAME for any player or browser
  smart-client status                      is everything safe?

exit codes: 0 ok, 1 bug, 2 usage, 3 partial, 4 not found, 5 temporary, 6 unrecoverable,
  7 integrity, 8 exists, 9 configuration, 10 quality threshold, 11 player, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``smart-client``; return its exit code."""
    return run(make_parser(), argv)


def make_parser() -> CommandParser:
    """Return the parser of all subcommands."""
    parser = top_parser(
        "smart-client",
        "Store videos on a cluster of unequal machines and play them without a stall.",
        _EPILOG,
    )
    add_connection_options(parser, top=True)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=CommandParser)
    _add_library_commands(commands)
    _add_play_commands(commands)
    _add_recording_commands(commands)
    _add_health_commands(commands)
    _add_demo(commands)
    _add_compare(commands)
    return parser


def _add_library_commands(commands: Commands) -> None:
    put = _add(commands, "put", TRANSFER, "Store video files.", epilog=_PUT)
    put.add_argument("files", nargs="+", metavar="FILE")
    put.add_argument("--name", help="what to call it (default: the file's name without its suffix)")
    put.add_argument(
        "--redundancy",
        default="auto",
        metavar="HOW",
        help="auto, rs:3+2 (any 3 of 5 fragments suffice) or rep:3 (3 whole copies)",
    )
    get = _add(commands, "get", TRANSFER, "Fetch a video, byte for byte, verified.")
    get.add_argument("video")
    get.add_argument(
        "-o", "--output", metavar="FILE", help="where to (default: its name; - is stdout)"
    )
    get.add_argument("--force", action="store_true", help="replace an existing file")
    cat = _add(commands, "cat", TRANSFER, "Write a video to standard output.")
    cat.add_argument("video")
    for parser in (get, cat):
        parser.add_argument("--range", metavar="A-B", help="only these bytes, both ends included")
        parser.add_argument(
            "--patience",
            dest="patience_s",
            type=parse_seconds,
            metavar="S",
            help="give up after so long without a byte (default 30s)",
        )
        _add_record_option(parser)
    ls = _add(commands, "ls", LIBRARY, "List the library.")
    ls.add_argument("glob", nargs="?", metavar="GLOB", help="only names that match")
    ls.add_argument("--names", action="store_true", help="names only, one a line")
    info = _add(commands, "info", LIBRARY, "Show how a video is stored.")
    info.add_argument("video")
    info.add_argument("--chunks", action="store_true", help="also where every chunk lies")
    rm = _add(commands, "rm", LIBRARY, "Remove videos and free their space.")
    rm.add_argument("videos", nargs="+", metavar="VIDEO")
    rm.add_argument("--yes", action="store_true", help="do not ask")
    rm.add_argument("--dry-run", action="store_true", help="only say what it would free")
    for parser in (put, get, cat, ls, info, rm):
        add_connection_options(parser, top=False)


def _add_play_commands(commands: Commands) -> None:
    player = _add(commands, "play", PLAY, "Play a video.", epilog=_PLAY)
    player.add_argument("video")
    player.add_argument(
        "--player",
        metavar="P",
        help="mpv, vlc, ffplay, none (measure only) or a command with {url}",
    )
    player.add_argument("--start", type=parse_start, default=0.0, metavar="T", help="90s or 1:30")
    player.add_argument("-o", "--output", choices=("-",), help="write the bytes to standard output")
    player.add_argument(
        "--fail-on-rebuffer", action="store_true", help="exit 10 if playback stalled"
    )
    player.set_defaults(range=None)
    _add_record_option(player)
    _add_screen_options(player)
    server = _add(commands, "serve", PLAY, "Serve every video at http://HOST:PORT/v/NAME.")
    server.add_argument("--listen", metavar="HOST:PORT", help="default 127.0.0.1:8480")
    for parser in (player, server):
        _add_session_options(parser)
        add_connection_options(parser, top=False)


def _add_record_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", metavar="FILE", help="write the session down, for explain and dashboard"
    )


def _add_recording_commands(commands: Commands) -> None:
    why = _add(
        commands, "explain", EXPLAIN, "Say why a recorded session went as it did.", epilog=_EXPLAIN
    )
    why.add_argument("recording", metavar="FILE", help="made with play, get or cat --record")
    why.add_argument(
        "--at", type=parse_start, metavar="T", help="what was believed then: 90s or 1:30"
    )
    again = _add(
        commands, "dashboard", REPLAY, "Watch a recorded session again.", epilog=_DASHBOARD
    )
    again.add_argument("--replay", required=True, metavar="FILE", help="the recording")
    again.add_argument(
        "--speed", type=parse_speed, metavar="N", help="N seconds each second (default 1)"
    )


def _add_session_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("session")
    group.add_argument(
        "--scheduler",
        choices=SCHEDULER_NAMES,
        metavar="NAME",
        help="who fetches what (default smart); for comparison, how others do it: "
        + ", ".join(SCHEDULER_NAMES[1:-1]),
    )
    group.add_argument(
        "--buffer", dest="buffer_s", type=parse_seconds, metavar="S", help="default 120s"
    )
    group.add_argument("--cache-dir", metavar="DIR", help="where decoded bytes are spooled")
    group.add_argument(
        "--cache", dest="cache_bytes", type=parse_size, metavar="SIZE", help="default 2GiB"
    )


def _add_health_commands(commands: Commands) -> None:
    status = _add(commands, "status", HEALTH, "Is everything safe? Verdict first.")
    status.add_argument("--watch", action="store_true", help="again every 2 s")
    doctor = _add(commands, "doctor", HEALTH, "Check each step between here and a playing video.")
    config = _add(commands, "config", HEALTH, "Show every setting (`config show --origin`).")
    config.add_argument("action", choices=("show",), nargs="?", default="show")
    config.add_argument("--origin", action="store_true", help="and where each value comes from")
    for parser in (status, doctor, config):
        add_connection_options(parser, top=False)


def _add(
    commands: Commands, name: str, module: str, summary: str, *, epilog: str = ""
) -> CommandParser:
    return add_command(commands, name, later(module, name), summary, epilog=epilog)


def _add_demo(commands: Commands) -> None:
    demo = _add(commands, "demo", DEMO, "Show it all on this machine, in real time.", epilog=_DEMO)
    demo.add_argument("file", nargs="?", metavar="FILE", help="a video (default: a clip it makes)")
    demo.add_argument("--nodes", type=int, choices=range(5, 17), default=5, metavar="5..16")
    demo.add_argument("--seconds", type=parse_seconds, default=30.0, help="length of its clip")
    demo.add_argument(
        "--chaos", choices=("both", "freeze", "kill", "none"), default="both", help="default both"
    )
    demo.add_argument(
        "--compare",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="play again with round-robin under the same faults (default)",
    )
    demo.add_argument("--keep", action="store_true", help="leave the cluster and a gateway running")
    _add_screen_options(demo)


def _add_compare(commands: Commands) -> None:
    compare = _add(
        commands, "compare", COMPARE, "Compare schedulers in the same worlds.", epilog=_COMPARE
    )
    compare.add_argument(
        "--scenario",
        action="append",
        metavar="NAME|FILE",
        help="typical (default), calm, harsh, raw-8M-2s, frozen-node ... or a TOML file",
    )
    compare.add_argument("--layout", default="3of5", help="rep3, 3of5, 4of6 or rs:K+M, by commas")
    compare.add_argument("--runs", type=int, default=20, metavar="N", help="worlds (default 20)")
    compare.add_argument("--seed", type=int, default=0, metavar="S", help="the first world's seed")
    compare.add_argument(
        "--schedulers",
        default="smart,vstack-score,round-robin",
        metavar="A,B",
        help="by commas; simulated only: informed, ours told how every node fares now",
    )
    compare.add_argument("--reference", metavar="A", help="what is saved against (default: last)")
    compare.add_argument(
        "--network",
        choices=("realistic", "ideal", "lab"),
        default="realistic",
        help="lab: no simulation but real sockets in network namespaces, in real time (root)",
    )
    compare.add_argument(
        "--seconds", type=float, metavar="S", help="of each video (default: all; lab: 60)"
    )
    compare.add_argument("--traces", type=Path, metavar="DIR", help="measured traces to draw from")
    compare.add_argument("--processes", type=int, metavar="N", help="default: one a core")
    compare.add_argument("--out", default="results", metavar="DIR", help="default: results")
    compare.add_argument(
        "--assert",
        dest="fail_if_worse",
        action="store_true",
        help="exit 10 if another scheduler waits less",
    )


def _add_screen_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--dashboard",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="full-screen figures (default: on a terminal)",
    )
    parser.add_argument(
        "--events", nargs="?", const="-", metavar="FILE", help="every event as a JSON line"
    )


_DEMO = """\
Starts a coordinator and five node processes on loopback, each with a different upload cap, stores a
clip erasure-coded (any 3 of 5 fragments suffice), and plays it in real time with the measuring
player while one node is frozen (SIGSTOP) and another killed; then the same again with round-robin.
Every figure it prints was measured in this run. Cleans up after itself, also on ctrl-C.
"""

_EXPLAIN = """\
examples:
  smart-client play holiday --record run.jsonl
  smart-client explain run.jsonl             every stall, takeover and silent node, and why
  smart-client explain run.jsonl --at 12:31  what the scheduler believed at that moment

Replays the recording with the same code that played it, so it names what was known at the time.
T counts from the session's start, as the times in the output do.
"""

_DASHBOARD = """\
Without a terminal it prints a line an event, at once unless --speed is given.
keys: q quit, space pause, + and - speed, s save the picture, ? help
"""

_COMPARE = """\
Every scheduler plays the same simulated worlds, seed by seed: unequal links that follow traces,
round trips, slow answers, nodes that die, freeze or drip. W is the waiting (start + stalls), W*
what one who knows the future would wait at best (needs scipy: pip install 'evenflow[sim]').
Writes runs.jsonl, summary.json, waiting.svg and report.html; run again to add worlds, nothing is
played twice (so take another --out when you have changed the code or the traces in a folder).
Same seed, same bytes. Traces: --traces DIR or $EVENFLOW_TRACES, else synthetic ones.
"""

_PUT = """\
The file is cut into chunks of at most 10 s and about 2 MiB; each is coded, its fragments go to
different nodes in parallel, and the video appears when every chunk survives the loss of a node.
Interrupted? Run the same command again: what is stored is not sent twice.
"""

_PLAY = """\
keys in the dashboard: q quit, space pause (with --player none), s save the picture, ? help
"""
