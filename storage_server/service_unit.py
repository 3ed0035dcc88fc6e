"""The systemd unit and the configuration file of a server that starts with the machine."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redundancy.errors import ConfigError

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

# What any service may be denied, also one of a user: nothing of it needs rights to take effect.
_FOR_ALL = """\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077
"""

# What only the system's own systemd can take away: it sees the server's directory, and little else.
_FOR_SYSTEM = """\
CapabilityBoundingSet=
AmbientCapabilities=
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictNamespaces=yes
"""


@dataclass(frozen=True, slots=True)
class Service:
    """A server as a service: of the system, or of the user who installs it."""

    kind: str  # "node", "coordinator" or "gateway"
    name: str  # of the unit, without ".service"
    data_dir: Path  # absolute
    config_path: Path  # absolute
    run_as: str | None  # None: a service of the user
    reads: tuple[Path, ...] = ()  # secrets and certificates that it must be able to read
    writes: tuple[Path, ...] = ()  # beside its data
    options: tuple[str, ...] = ()  # on its command line, as what no configuration file may say
    environment: tuple[str, ...] = ()  # NAME=value

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", self.name):
            raise ConfigError(f"not a service name: {self.name!r}")
        if self.run_as is not None and not _USER.fullmatch(self.run_as):
            raise ConfigError(f"not a user name: {self.run_as!r}")

    @property
    def command(self) -> list[str]:
        """What is run."""
        what = (
            ("smart_client", "serve") if self.kind == "gateway" else ("storage_server", self.kind)
        )
        return [
            *(sys.executable, "-m", *what),
            *("--config", str(self.config_path), *self.options),
        ]

    @property
    def next_steps(self) -> list[str]:
        """What the owner does then, in order."""
        if self.run_as is None:
            return [
                "systemctl --user daemon-reload",
                f"systemctl --user enable --now {self.name}",
                f"journalctl --user -u {self.name} -f",
                "loginctl enable-linger   # so that it runs when you are not logged in",
            ]
        owner = self.run_as
        return [
            f"id {owner} || useradd --system --no-create-home --shell /usr/sbin/nologin {owner}",
            *(f"install -d -m 700 -o {owner} -g {owner} {path}" for path in self._own_names),
            *(f"chown {owner} {path} && chmod 600 {path}" for path in self._shell_names),
            "systemctl daemon-reload",
            f"systemctl enable --now {self.name}",
            f"journalctl -u {self.name} -f",
        ]

    @property
    def _own_names(self) -> list[str]:
        return [shlex.quote(str(path)) for path in (self.data_dir, *self.writes)]

    @property
    def _shell_names(self) -> list[str]:
        return [shlex.quote(str(path)) for path in self.reads]

    def unit(self) -> str:
        """Return the text of the unit."""
        is_system = self.run_as is not None
        who = f"User={self.run_as}\nGroup={self.run_as}\n" if is_system else ""
        data = quoted(str(self.data_dir))
        told = "".join(f"Environment={quoted(each)}\n" for each in self.environment)
        written = " ".join(quoted(str(path)) for path in (self.data_dir, *self.writes))
        return f"""\
# Made by `storage-server install-service {self.kind}`; run it again to change it.
[Unit]
Description=Evenflow {self.kind} in {specifiers_escaped(str(self.data_dir))}
After=network-online.target
Wants=network-online.target
# Without its disk it must not start: it would begin a new, empty store on the mount point.
RequiresMountsFor={data}
# Others of its cluster may start minutes later: after a power cut it tries until they are there.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={" ".join(map(quoted, self.command)).replace("$", "$$")}
{who}{told}Restart=on-failure
RestartSec=5
# 2 and 9: the command line or the configuration is wrong, and will be the next time too.
RestartPreventExitStatus=2 9
# Requests under way end, and what waits is written.
TimeoutStopSec=30
LimitNOFILE=65536
{_FOR_ALL}{_FOR_SYSTEM if is_system else ""}{f"ReadWritePaths={written}" if is_system else ""}
[Install]
WantedBy={"multi-user" if is_system else "default"}.target
"""


def quoted(word: str) -> str:
    """Return one word of a unit file, as systemd reads it."""
    word = specifiers_escaped(word)
    if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def specifiers_escaped(text: str) -> str:
    """Return text in which systemd replaces nothing."""
    return text.replace("%", "%%").replace("\n", " ")


def config_file(kind: str, lines: Sequence[str]) -> str:
    """Return the configuration file's text."""
    reader = "smart-client serve" if kind == "gateway" else f"storage-server {kind}"
    shows = "" if kind == "gateway" else "; `--print-config` shows what comes of it"
    head = f"# `{reader} --config` reads this{shows}."
    return "\n".join([head, *lines]) + "\n"
