"""Options that several commands share. Loads nothing, so that ``--help`` is quick."""

import argparse

from smart_client.config import parse_seconds

# A replay runs between these many seconds in one.
SPEED_MIN, SPEED_MAX = 1 / 16, 1024.0


def add_connection_options(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """Add the options that say which coordinator to ask; they may stand before or after COMMAND."""
    default = None if top else argparse.SUPPRESS
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--coordinator",
        default=default,
        metavar="URL[,URL]",
        help="coordinators to ask, in order (default http://127.0.0.1:8400)",
    )
    group.add_argument(
        "--config", default=default, metavar="FILE", help="read only this configuration file"
    )
    group.add_argument(
        "--token-file", default=default, metavar="FILE", help="file with the access token"
    )
    group.add_argument(
        "--timeout",
        dest="timeout_s",
        type=parse_seconds,
        default=default,
        metavar="S",
        help="wait so long for the coordinator (default 5s)",
    )


def parse_start(text: str) -> float:
    """Read ``--start``: 90, 90s, 1:30 or 1:02:03."""
    if ":" not in text:
        return parse_seconds(text)
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + parse_seconds(part)
    return seconds


def parse_speed(text: str) -> float:
    """Read ``--speed``: how many seconds pass in one, between 1/16 and 1024."""
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not SPEED_MIN <= speed <= SPEED_MAX:
        raise argparse.ArgumentTypeError(f"'{text}' is no speed between {SPEED_MIN} and 1024")
    return speed
