"""The client's configuration: one frozen record, built once, each value with its origin.

flag > environment > ./smart-client.toml > $XDG_CONFIG_HOME/smart-client/config.toml >
/etc/smart-client/config.toml > default
"""

import dataclasses
import difflib
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redundancy.errors import ConfigError, UsageError
from redundancy.quantities import parse_size

_ENVIRONMENT = {
    "SMART_CLIENT_COORDINATOR": "coordinator",
    "SMART_CLIENT_TOKEN_FILE": "token_file",
    "SMART_CLIENT_CACHE_DIR": "cache_dir",
}


def parse_seconds(text: str) -> float:
    """Read ``30``, ``30s``, ``500ms`` or ``2min``. Raises: UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h)?\s*", text)
    if not found:
        raise UsageError(f"'{text}' is no time", hint="write it like 30s, 500ms or 2min")
    factor = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, None: 1.0}[found[2]]
    return float(found[1]) * factor


def _cache_home() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "smart-client")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Everything a command may be told. Built by ``ClientConfig.load``."""

    coordinator: tuple[str, ...] = ("http://127.0.0.1:8400",)
    token_file: str = ""
    timeout_s: float = 5.0  # for an answer of the coordinator
    patience_s: float = 30.0  # get and cat: without a byte for this long they give up
    scheduler: str = "smart"
    buffer_s: float = 120.0
    start_buffer_s: float = 2.0
    cache_dir: str = field(default_factory=_cache_home)
    cache_bytes: int = 2 * 1024**3
    listen: str = "127.0.0.1:8480"
    strm: str = ""  # a directory that serve keeps .strm files in; empty: none
    names: tuple[str, ...] = ()  # more host names under which the gateway may be asked
    player: str = ""  # empty: the first of mpv, vlc, ffplay
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def cluster(self) -> str:
        """A file name for what is kept of this cluster: names mean other videos in another."""
        addresses = " ".join(sorted({url.rstrip("/") for url in self.coordinator}))
        return hashlib.sha256(addresses.encode()).hexdigest()[:16]

    def __post_init__(self) -> None:
        for url in self.coordinator:
            if not re.match(r"^https?://[^/\s]+/?$", url):
                raise ConfigError(
                    f"coordinator must look like http://host:port, got '{url}'",
                    hint="see `smart-client config show --origin` for where it comes from",
                )
        if self.buffer_s < self.start_buffer_s or self.start_buffer_s < 0:
            raise ConfigError(f"buffer_s ({self.buffer_s:g}) must be at least start_buffer_s")
        if self.timeout_s <= 0 or self.patience_s <= 0:
            raise ConfigError("timeouts must be positive")

    @classmethod
    def load(cls, flags: Mapping[str, object], file: str | None = None) -> "ClientConfig":
        """Merge all sources. ``flags`` holds what the command line gave, None for what it did not.

        Raises: ConfigError: an unreadable file, an unknown key or a bad value.
        """
        merged: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for origin, values in _layers(flags, file):
            for name, value in values.items():
                merged[name] = _checked(name, value, origin)
                origins[name] = origin
        return cls(**merged, origins=origins)

    def token(self) -> str | None:
        """Read the token from its file; None where none is configured."""
        if not self.token_file:
            return None
        path = Path(self.token_file)
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"token file {path}: {error}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"token file {path} can be read by others", hint=f"chmod 600 {path}")
        if not text:
            raise ConfigError(f"token file {path} is empty")
        return text


def user_config_path() -> Path:
    """Return where this user's configuration file is, or would be."""
    config_home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config_home) / "smart-client" / "config.toml"


def _fields() -> dict[str, Any]:
    return {f.name: f for f in dataclasses.fields(ClientConfig) if f.name != "origins"}


def _layers(
    flags: Mapping[str, object], file: str | None
) -> list[tuple[str, Mapping[str, object]]]:
    paths = [
        Path("/etc/smart-client/config.toml"),
        user_config_path(),
        Path("smart-client.toml"),
    ]
    layers: list[tuple[str, Mapping[str, object]]] = []
    for path in [Path(file)] if file else paths:
        if file or path.is_file():
            layers.append((str(path), _read_toml(path)))
    environment = {
        name: os.environ[variable]
        for variable, name in _ENVIRONMENT.items()
        if os.environ.get(variable)
    }
    layers.append(("environment", environment))
    layers.append(("flag", {k: v for k, v in flags.items() if v is not None and k in _fields()}))
    return layers


def _read_toml(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as handle:
            return tomllib.load(handle)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configuration file {path}: {error}") from error


def _checked(name: str, value: object, origin: str) -> object:
    """Return a value of the right type, or say which one is wrong and where it stands."""
    fields = _fields()
    if name not in fields:
        near = difflib.get_close_matches(name, list(fields), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(fields)}"
        raise ConfigError(f"unknown setting '{name}' in {origin}", hint=hint)
    try:
        return _converted(name, value)
    except (TypeError, ValueError, UsageError) as error:
        raise ConfigError(f"setting '{name}' in {origin}: {error}") from error


def _converted(name: str, value: object) -> object:
    if name == "coordinator":
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list | tuple):
            raise TypeError("need a URL or a list of URLs")
        return tuple(str(word).strip().rstrip("/") for word in words)
    if name == "names":
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list | tuple):
            raise TypeError("need a host name or a list of them")
        return tuple(str(word).strip() for word in words)
    if name.endswith("_s"):
        return parse_seconds(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    if name.endswith("_bytes"):
        return parse_size(str(value))
    if name == "cache_dir":
        return str(value) or _cache_home()
    return str(value)
