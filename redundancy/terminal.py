"""What the three commands share on a terminal: parsing, errors, exit codes, JSON.

A command is a function ``(args, terminal) -> ExitCode``. It prints its result once, through
``Terminal.result``, in human form or, under ``--json``, as one JSON object on standard output.
"""

import argparse
import contextlib
import difflib
import errno
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from rich.console import Console

from redundancy import __version__
from redundancy.errors import EvenflowError, ExitCode, FileMissing, FileProblem, NoSpace, UsageError


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where and how a command may print."""

    json: bool = False
    quiet: bool = False
    verbosity: int = 0
    progress: bool = True
    color: str = "auto"

    def console(self, *, stderr: bool = False) -> Console:
        """Return a rich console that obeys ``--color``; notes go to standard error."""
        forced = {"always": True, "never": False}.get(self.color)
        return Console(
            stderr=stderr, force_terminal=forced, no_color=forced is False, highlight=False
        )

    @property
    def shows_progress(self) -> bool:
        """Whether a moving progress line is welcome on standard error."""
        return self.progress and not self.json and not self.quiet and sys.stderr.isatty()

    def result(self, payload: Mapping[str, object], human: str = "") -> None:
        """Print a command's one result."""
        if self.json:
            print(json.dumps(payload, default=str), flush=True)
        elif human and not self.quiet:
            print(human, flush=True)

    def note(self, text: str, *, level: int = 0) -> None:
        """Tell the user something on standard error, unless ``--quiet`` or ``--json``."""
        if not self.quiet and not self.json and self.verbosity >= level:
            print(text, file=sys.stderr, flush=True)


# What a script may go by; see ``ExitCode``. For the end of each command's ``--help``.
EXIT_CODES = """\
exit codes: 0 ok, 1 bug, 2 usage, 3 partial, 4 not found, 5 temporary, 6 unrecoverable,
  7 integrity, 8 exists or changed meanwhile, 9 configuration, 10 quality threshold, 11 player,
  130 interrupted
"""

Handler = Callable[[argparse.Namespace, Terminal], int]


class CommandParser(argparse.ArgumentParser):
    """argparse that raises ``UsageError`` with the nearest spelling instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Turn argparse's message into our error form."""
        raise UsageError(message, hint=f"see `{self.prog} --help`")

    def parse_all(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse, suggesting the nearest option for an unknown one."""
        namespace, unknown = self.parse_known_args(argv)
        if unknown:
            known = sorted(self._known_options())
            near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"see `{self.prog} --help`"
            raise UsageError(f"unknown argument: {unknown[0]}", hint=hint)
        return namespace

    def choices(self) -> list[str]:
        """Return the commands that may follow this one."""
        following = argparse._SubParsersAction
        return [name for a in self._actions if isinstance(a, following) for name in a.choices]

    def _known_options(self) -> set[str]:
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    found |= parser._known_options()
        return found


def later(module: str, name: str) -> Handler:
    """Return a handler that is imported when it is called, so that ``--help`` need not wait."""

    def handle(args: argparse.Namespace, terminal: Terminal) -> int:
        handler: Handler = getattr(import_module(module), name)
        return handler(args, terminal)

    return handle


def add_global_options(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """Add the options every command knows; they may stand before or after the subcommand."""
    quiet_default: dict[str, object] = {} if top else {"default": argparse.SUPPRESS}

    def option(*names: str, **settings: object) -> None:
        merged = {**settings, **quiet_default}
        group.add_argument(*names, **merged)  # type: ignore[arg-type]

    group = parser.add_argument_group("output")
    option("--json", action="store_true", help="print one JSON object instead of text")
    option("-q", "--quiet", action="store_true", help="print errors only")
    option("-v", "--verbose", action="count", default=0, help="say more; -vv for debugging")
    option("--color", choices=("auto", "always", "never"), default="auto")
    option("--no-progress", action="store_true", help="no moving progress line")


def top_parser(prog: str, description: str, epilog: str = "") -> CommandParser:
    """Return a parser with the global options and ``--version``."""
    parser = CommandParser(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}")
    add_global_options(parser, top=True)
    return parser


def add_command(
    commands: "argparse._SubParsersAction[CommandParser]",
    name: str,
    handler: Handler,
    summary: str,
    *,
    epilog: str = "",
) -> CommandParser:
    """Add a subcommand whose ``--help`` starts with ``summary`` and ends with ``epilog``."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_global_options(parser, top=False)
    parser.set_defaults(handler=handler)
    return parser


def add_group(
    commands: "argparse._SubParsersAction[CommandParser]",
    name: str,
    summary: str,
    *,
    epilog: str = "",
) -> CommandParser:
    """Add what is only the beginning of a command; alone it says how it may go on."""

    def say_what_may_follow(_: argparse.Namespace, __: Terminal) -> int:
        choices = ", ".join(group.choices())
        raise UsageError(
            f"{group.prog} needs a command: {choices}", hint=f"see `{group.prog} --help`"
        )

    group = add_command(commands, name, say_what_may_follow, summary, epilog=epilog)
    return group


def run(parser: CommandParser, argv: Sequence[str] | None = None) -> int:
    """Parse, run the chosen handler, and turn whatever happens into an exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Before parsing we know only what the words say; an error in them must still obey --json.
    terminal = Terminal(json="--json" in words)
    try:
        args = parser.parse_all(words)
        if not hasattr(args, "handler"):
            parser.print_help(sys.stderr)
            return ExitCode.USAGE
        terminal = Terminal(
            json=args.json,
            quiet=args.quiet,
            verbosity=args.verbose,
            progress=not args.no_progress,
            color=args.color,
        )
        return int(args.handler(args, terminal))
    except EvenflowError as error:
        return _report(error, terminal)
    except KeyboardInterrupt:
        terminal.note("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`): point stdout at nothing so the interpreter exits quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _report(from_os_error(error), terminal)
    except Exception as error:  # noqa: BLE001 - the top of the process: log it, say so, exit 1
        return _report_bug(error, terminal)


def from_os_error(error: OSError) -> EvenflowError:
    """Translate a local file error into ours, with the next step."""
    where = f"{error.filename}: " if error.filename else ""
    text = f"{where}{error.strerror or str(error) or type(error).__name__}"
    if error.errno == errno.ENOENT:
        return FileMissing(text, hint="check the path")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(text, hint="free some space there, then run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FileProblem(text, hint="check the permissions, or run as the owner")
    return FileProblem(text)


def _report(error: EvenflowError, terminal: Terminal) -> int:
    if terminal.json:
        print(json.dumps({"error": error.to_json()}, default=str), flush=True)
    else:
        print(f"error: {error.message}", file=sys.stderr)
        for key, value in error.detail.items():
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            print(f"  {key}: {text}", file=sys.stderr)
        if error.hint:
            print(f"  next: {error.hint}", file=sys.stderr, flush=True)
    return int(error.exit_code)


def _report_bug(error: Exception, terminal: Terminal) -> int:
    text = "".join(traceback.format_exception(error))
    where = ""
    with contextlib.suppress(OSError):
        handle, where = tempfile.mkstemp(prefix="evenflow-", suffix=".log", text=True)
        with os.fdopen(handle, "w", encoding="utf-8") as log:
            log.write(text)
    bug = EvenflowError(
        f"{type(error).__name__}: {error}",
        hint="this is a bug; please report it with the log",
        detail={"log": where or text},
    )
    return _report(bug, terminal)
