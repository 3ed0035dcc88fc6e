"""init, config init: a configuration file in which every setting stands, explained."""

import argparse
import os
from pathlib import Path

from redundancy.errors import AlreadyExists, ExitCode
from redundancy.terminal import Terminal, from_os_error
from smart_client.config import ClientConfig, user_config_path

_HEAD = """\
# Settings of smart-client. Every line that begins with "#" and a setting shows its
# default; take the "#" away to change it. What goes before what:
#   option > environment > ./smart-client.toml > ~/.config/smart-client/config.toml
#   > /etc/smart-client/config.toml
# `smart-client config show --origin` tells where each value comes from.
"""

# What each setting means; a test compares the names with the settings there are.
_MEANINGS = {
    "coordinator": "Coordinators to ask, in order.",
    "token_file": "File with the access token, for your eyes only (chmod 600); empty: none.",
    "timeout_s": "Wait so long for a coordinator's answer (5, or '500ms').",
    "patience_s": "get and cat give up after so long without a byte.",
    "scheduler": "Who fetches what; others than 'smart' are for comparison.",
    "buffer_s": "Fetched ahead of what players take.",
    "start_buffer_s": "Playback (of the measuring player) starts with this much.",
    "cache_dir": "Where decoded chunks and uploads lie; empty: ~/.cache/smart-client.",
    "cache_bytes": "Decoded chunks kept there, also after the session ('20GiB'; 0: none).",
    "listen": "Where `serve` listens; others than this machine need --insecure as well.",
    "strm": "A directory in which `serve` keeps a .strm file for each video; empty: none.",
    "names": "More host names under which the gateway may be asked, as behind a proxy.",
    "player": "The player of `play`; empty: the first of mpv, vlc, ffplay.",
}


def init(args: argparse.Namespace, terminal: Terminal) -> int:
    """Write the file."""
    path = Path(args.file) if args.file else user_config_path()
    text = config_text(
        ClientConfig(),
        coordinator=args.coordinator or "",
        token_file=str(Path(args.token_file).absolute()) if args.token_file else "",
    )
    try:
        if path.exists() and not args.force:
            raise AlreadyExists(
                f"{path} exists", hint="edit it, name another, or add --force to replace it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise from_os_error(error) from error
    terminal.result(
        {"v": 1, "config": str(path)},
        f"wrote {path}\n  next: smart-client doctor checks each step to a playing video",
    )
    return ExitCode.OK


def config_text(defaults: ClientConfig, *, coordinator: str = "", token_file: str = "") -> str:
    """Return the file's text; what was named is set, everything else is shown."""
    lines = [_HEAD]
    for name, meaning in _MEANINGS.items():
        value = "" if name == "cache_dir" else getattr(defaults, name)
        lines.append(f"# {meaning}")
        if name == "coordinator" and coordinator:
            lines.append(f"{name} = {_toml(tuple(coordinator.split(',')))}\n")
        elif name == "token_file" and token_file:
            lines.append(f"{name} = {_toml(token_file)}\n")
        else:
            lines.append(f"# {name} = {_toml(value)}\n")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
