"""``completion SHELL``: what the shell needs to complete a command's words, printed.

Made from the parser itself by shtab: the script is static, so no TAB starts Python.
"""

import argparse
import importlib

from redundancy.errors import ExitCode
from redundancy.terminal import CommandParser, Terminal, add_command

SHELLS = ("bash", "zsh", "fish")

_EPILOG = """\
examples:
  source <({prog} completion bash)                                       this shell only
  {prog} completion bash > ~/.local/share/bash-completion/completions/{prog}
  {prog} completion zsh > "${{fpath[1]}}/_{prog}"
  {prog} completion fish > ~/.config/fish/completions/{prog}.fish
"""


def add_completion(
    commands: "argparse._SubParsersAction[CommandParser]", parser: CommandParser
) -> None:
    """Add the command to a parser that is otherwise complete."""

    def complete(args: argparse.Namespace, terminal: Terminal) -> int:
        shtab = importlib.import_module("shtab")  # 50 ms that no other command waits for
        script = shtab.complete(parser, shell=args.shell)
        terminal.result({"v": 1, "shell": args.shell, "script": script}, script)
        return ExitCode.OK

    command = add_command(
        commands,
        "completion",
        complete,
        "Print what a shell needs to complete this command.",
        epilog=_EPILOG.format(prog=parser.prog),
    )
    command.add_argument("shell", choices=SHELLS)
