"""The command ``smart-client``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from redundancy.completion import add_completion
from redundancy.quantities import parse_size
from redundancy.terminal import CommandParser, add_command, later, run, top_parser
from smart_client.command_line import help_text
from smart_client.command_line.options import add_connection_options, parse_speed, parse_start
from smart_client.config import parse_seconds

Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"

# Modules of the commands, loaded when one of theirs is called.
PUT = "smart_client.command_line.put"
TRANSFER = "smart_client.command_line.transfer"
LIBRARY = "smart_client.command_line.library"
PLAY = "smart_client.command_line.play"
SERVE = "smart_client.command_line.serve"
INIT = "smart_client.command_line.init"
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``smart-client``; return its exit code."""
    return run(make_parser(), argv)


def make_parser() -> CommandParser:
    """Return the parser of all subcommands."""
    parser = top_parser(
        "smart-client",
        "Store videos on a cluster of unequal machines and play them without a stall.",
        help_text.TOP,
    )
    add_connection_options(parser, top=True)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=CommandParser)
    _add_library_commands(commands)
    _add_play_commands(commands)
    _add_recording_commands(commands)
    _add_health_commands(commands)
    _add_demo(commands)
    _add_compare(commands)
    add_completion(commands, parser)
    return parser


def _add_library_commands(commands: Commands) -> None:
    put = _add(commands, "put", PUT, "Store video files.", epilog=help_text.PUT)
    put.add_argument("files", nargs="+", metavar="FILE")
    put.add_argument("--name", help="what to call it (default: the file's name without its suffix)")
    put.add_argument(
        "--redundancy",
        default="auto",
        metavar="HOW",
        help="auto, rs:3+2 (any 3 of 5 fragments suffice) or rep:3 (3 whole copies)",
    )
    put.add_argument(
        "--ladder",
        metavar="HEIGHTS",
        help="also store smaller renditions that players switch between: 720,480,360 or auto",
    )
    put.add_argument(
        "--lifeboat",
        action="store_true",
        help="also a tiny rendition in whole copies: it plays from any one node",
    )
    put.add_argument(
        "--encoder",
        choices=("av", "ffmpeg"),
        default="av",
        help="what encodes a ladder: PyAV (default) or the system's ffmpeg",
    )
    put.add_argument(
        "--events", nargs="?", const="-", metavar="FILE", help="progress as JSON lines"
    )
    get = _add(
        commands, "get", TRANSFER, "Fetch a video, byte for byte, verified.", epilog=help_text.GET
    )
    get.add_argument("video")
    get.add_argument(
        "-o", "--output", metavar="FILE", help="where to (default: its name; - is stdout)"
    )
    get.add_argument("--force", action="store_true", help="replace an existing file")
    cat = _add(commands, "cat", TRANSFER, "Write a video to standard output.", epilog=help_text.CAT)
    cat.add_argument("video")
    for parser in (get, cat):
        _add_rendition_option(parser)
        parser.add_argument("--range", metavar="A-B", help="only these bytes, both ends included")
        parser.add_argument(
            "--patience",
            dest="patience_s",
            type=parse_seconds,
            metavar="S",
            help="give up after so long without a byte (default 30s)",
        )
        _add_record_option(parser)
    ls = _add(commands, "ls", LIBRARY, "List the library.", epilog=help_text.LS)
    ls.add_argument("glob", nargs="?", metavar="GLOB", help="only names that match")
    ls.add_argument(
        "-l", "--long", action="store_true", help="also views a week and why it is stored so"
    )
    ls.add_argument(
        "--names", dest="names_only", action="store_true", help="names only, one a line"
    )
    info = _add(commands, "info", LIBRARY, "Show how a video is stored.", epilog=help_text.INFO)
    info.add_argument("video")
    info.add_argument("--chunks", action="store_true", help="also where every chunk lies")
    rm = _add(commands, "rm", LIBRARY, "Remove videos and free their space.", epilog=help_text.RM)
    rm.add_argument("videos", nargs="+", metavar="VIDEO")
    rm.add_argument("--yes", action="store_true", help="do not ask")
    rm.add_argument("--dry-run", action="store_true", help="only say what it would free")
    for parser in (put, get, cat, ls, info, rm):
        add_connection_options(parser, top=False)


def _add_play_commands(commands: Commands) -> None:
    player = _add(commands, "play", PLAY, "Play a video.", epilog=help_text.PLAY)
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
    _add_rendition_option(player)
    player.add_argument(
        "--ladder", action="store_true", help="let the player choose among the renditions (HLS)"
    )
    player.set_defaults(range=None)
    _add_record_option(player)
    _add_screen_options(player)
    server = _add(
        commands, "serve", SERVE, "Serve pages, and every video at /v/NAME.", epilog=help_text.SERVE
    )
    server.add_argument("--listen", metavar="HOST:PORT", help="default 127.0.0.1:8480")
    server.add_argument("--strm", metavar="DIR", help="keep a .strm file for each video there")
    server.add_argument(
        "--insecure", action="store_true", help="listen on addresses that others reach"
    )
    for parser in (player, server):
        _add_session_options(parser)
        add_connection_options(parser, top=False)


def _add_rendition_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rendition",
        default="original",
        metavar="NAME",
        help="of a ladder, such as 480p; see `smart-client info` (default: original)",
    )


def _add_record_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", metavar="FILE", help="write the session down, for explain and dashboard"
    )


def _add_recording_commands(commands: Commands) -> None:
    why = _add(
        commands,
        "explain",
        EXPLAIN,
        "Say why a recorded session went as it did.",
        epilog=help_text.EXPLAIN,
    )
    why.add_argument("recording", metavar="FILE", help="made with play, get or cat --record")
    why.add_argument(
        "--at", type=parse_start, metavar="T", help="what was believed then: 90s or 1:30"
    )
    again = _add(
        commands, "dashboard", REPLAY, "Watch a recorded session again.", epilog=help_text.DASHBOARD
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
        *("--buffer", "--read-ahead"),
        dest="buffer_s",
        type=parse_seconds,
        metavar="S",
        help="fetched ahead of what players take (default 120s)",
    )
    group.add_argument("--cache-dir", metavar="DIR", help="where decoded bytes lie")
    group.add_argument(
        "--cache",
        dest="cache_bytes",
        type=parse_size,
        metavar="SIZE",
        help="of them kept on disk, also after the session (default 2GiB; 0: none)",
    )


def _add_health_commands(commands: Commands) -> None:
    status = _add(
        commands, "status", HEALTH, "Is everything safe? Verdict first.", epilog=help_text.STATUS
    )
    status.add_argument("--watch", action="store_true", help="again every 2 s")
    doctor = _add(
        commands,
        "doctor",
        HEALTH,
        "Check each step between here and a playing video.",
        epilog=help_text.DOCTOR,
    )
    config = _add(
        commands,
        "config",
        HEALTH,
        "Show every setting, or write a file of them.",
        epilog=help_text.CONFIG,
    )
    config.add_argument("action", choices=("show", "init"), nargs="?", default="show")
    config.add_argument("--origin", action="store_true", help="and where each value comes from")
    init = _add(
        commands,
        "init",
        INIT,
        "Write a configuration file with everything explained.",
        epilog=help_text.INIT,
    )
    for parser in (config, init):
        parser.add_argument(
            "--file",
            metavar="FILE",
            help="init: where to write it (default: ~/.config/smart-client/config.toml)",
        )
        parser.add_argument("--force", action="store_true", help="init: replace what is there")
    for parser in (status, doctor, config, init):
        add_connection_options(parser, top=False)


def _add(
    commands: Commands, name: str, module: str, summary: str, *, epilog: str = ""
) -> CommandParser:
    return add_command(commands, name, later(module, name), summary, epilog=epilog)


def _add_demo(commands: Commands) -> None:
    demo = _add(
        commands, "demo", DEMO, "Show it all on this machine, in real time.", epilog=help_text.DEMO
    )
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
        commands,
        "compare",
        COMPARE,
        "Compare schedulers in the same worlds.",
        epilog=help_text.COMPARE,
    )
    compare.add_argument(
        "--scenario",
        action="append",
        metavar="NAME|FILE",
        help="typical (default), calm, harsh, raw-8M-2s, frozen-node ... or a TOML file",
    )
    compare.add_argument(
        "--layout",
        metavar="L[,L]",
        help="rep3, 3of5, 4of6 or rs:K+M (default: the scenario's own)",
    )
    compare.add_argument("--runs", type=int, default=20, metavar="N", help="worlds (default 20)")
    compare.add_argument("--seed", type=int, default=0, metavar="S", help="the first world's seed")
    compare.add_argument(
        "--schedulers",
        default="smart,vstack-score,round-robin",
        metavar="A,B",
        help="by commas, as `smart-client play --help` lists them; simulated only: informed, "
        "ours told how every node fares now",
    )
    compare.add_argument(
        "--own",
        action="append",
        metavar="FILE",
        help="a Python file with schedulers of yours, to be named in --schedulers",
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
    compare.add_argument(
        "--traces",
        type=Path,
        metavar="DIR",
        help="measured traces to draw from; scaled to the scenario's load unless it says not to",
    )
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
