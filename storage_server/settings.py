"""Options that may also stand in a file, and where each value came from.

    command line  >  file (--config FILE, TOML)  >  default

A file's keys are the options' names without the dashes. Secrets never stand in it: the options that
need one name the file that holds it.
"""

import argparse
import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from redundancy.errors import ConfigError, UsageError
from redundancy.terminal import CommandParser
from storage_server.logs import LOG_FORMATS

_CONFIG_HELP = "values for the options not given here (TOML: their names without the dashes)"


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one option of a command."""

    name: str  # without the dashes
    action: argparse.Action
    default: object
    is_required: bool

    @property
    def dest(self) -> str:
        """The attribute its value has."""
        return self.action.dest

    @property
    def is_path(self) -> bool:
        """Whether its value names a file or a directory."""
        return self.action.metavar in ("FILE", "DIR")

    def read(self, value: object, where: str) -> object:
        """Return what a file's value means. Raises: ConfigError."""
        if self.action.nargs == 0:
            return self._checked(value, isinstance(value, bool), f"{where} is true or false")
        if isinstance(self.default, list):
            items = value if isinstance(value, list) else [value]
            are_texts = all(isinstance(item, str) for item in items)
            return self._checked(items, are_texts, f"{where} is a text, or a list of texts")
        is_plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        convert = self.action.type if callable(self.action.type) else str
        wanted = f"{where} is a {'number' if convert in (int, float) else 'text'}"
        self._checked(value, is_plain, wanted)
        try:
            found: object = convert(str(value))
        except ValueError as error:
            raise ConfigError(wanted) from error
        choices = list(self.action.choices or [found])
        return self._checked(found, found in choices, f"{where} is one of {choices}")

    def _checked(self, value: object, is_right: bool, wanted: str) -> object:
        if not is_right:
            raise ConfigError(wanted, hint=self.action.help or "")
        return value


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, and who said so."""

    name: str
    value: object
    source: str  # "command line", "default", or the file's name
    is_path: bool


@dataclass(frozen=True, slots=True)
class Options:
    """What options of a command may stand in a file."""

    command: str
    options: tuple[Option, ...]

    def resolve(self, args: argparse.Namespace) -> tuple[Setting, ...]:
        """Fill in what was not said on the command line; return every value with its source.

        Raises:
            UsageError: a required option is nowhere.
            ConfigError: the file is no TOML, names an unknown option, or has a wrong value.
            OSError: it cannot be read.
        """
        path = Path(args.config) if args.config else None
        told = self._read(path) if path is not None else {}
        missing = [
            f"--{option.name}"
            for option in self.options
            if option.is_required and not hasattr(args, option.dest) and option.name not in told
        ]
        if missing:
            raise UsageError(
                f"the following arguments are required: {', '.join(missing)}",
                hint=f"give them, or write a --config FILE; see `{self.command} --help`",
            )
        return tuple(self._settle(option, args, told, str(path)) for option in self.options)

    def _settle(
        self, option: Option, args: argparse.Namespace, told: Mapping[str, object], path: str
    ) -> Setting:
        if hasattr(args, option.dest):
            value, source = getattr(args, option.dest), "command line"
        elif option.name in told:
            value, source = told[option.name], path
        else:
            value, source = option.default, "default"
        setattr(args, option.dest, value)
        return Setting(option.name, value, source, option.is_path)

    def _read(self, path: Path) -> dict[str, object]:
        known = {option.name: option for option in self.options}
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is no TOML: {error}") from error
        for name in content.keys() - known.keys():
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"{path}: unknown setting {name}",
                hint=f"did you mean {near[0]}?" if near else "known are " + ", ".join(known),
            )
        return {name: known[name].read(value, f"{path}: {name}") for name, value in content.items()}


def add_options(parser: CommandParser, add: Callable[[CommandParser], None]) -> None:
    """Add options that may also stand in a file, and those that say which and print it all.

    The command finds them in ``args.options``.
    """
    before = set(parser._actions)
    add(parser)
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        help="of the log on standard error; default: json under --json, else text",
    )
    options = tuple(_taken_over(each) for each in parser._actions if each not in before)
    parser.add_argument("--config", metavar="FILE", help=_CONFIG_HELP)
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print what it would run with and where each value is from, then end",
    )
    parser.set_defaults(options=Options(parser.prog, options))


def _taken_over(action: argparse.Action) -> Option:
    """Make argparse say nothing of an option that was not given; keep its default for later."""
    name = max(action.option_strings, key=len).removeprefix("--")
    option = Option(name, action, action.default, action.required)
    if action.help and "%(default)" in action.help:
        action.help = (action.help % {"default": action.default}).replace("%", "%%")
    if action.required:
        action.help = f"{action.help} (required)"
    action.default = argparse.SUPPRESS
    action.required = False
    return option


def as_toml(settings: tuple[Setting, ...], *, sources: bool) -> str:
    """Return the settings as a file that ``--config`` takes.

    Args:
        sources: say behind each value where it is from, and what is not set.
    """
    lines = []
    for setting in settings:
        if setting.value is None:
            lines += [f"# {setting.name} is not set"] if sources else []
            continue
        line = f"{setting.name} = {toml_value(setting.value)}"
        lines.append(f"{line:<44}  # {setting.source}" if sources else line)
    return "\n".join(lines)


def toml_value(value: object) -> str:
    """Return a text, number, truth or list of texts as TOML writes it."""
    # JSON's strings are TOML's too, but for DEL, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
