"""What a node is told at its start: one frozen value, built once from the command line."""

import argparse
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from redundancy.errors import ConfigError, UsageError
from redundancy.quantities import parse_size
from storage_server.node.compaction import DEAD_SHARE_MIN
from storage_server.node.lock import NODE_ID_PATTERN
from storage_server.node.private_files import read_private
from storage_server.node.superblock_store import SUPERBLOCK_BYTES

_TOKEN_CHARACTERS_MIN = 16

# Smaller than a fragment is allowed: such a node refuses large ones. Far larger ones would make
# compaction copy too much at once.
_SUPERBLOCK_BYTES_MIN = 64 * 1024
_SUPERBLOCK_BYTES_MAX = 64 << 30

_RATE_PATTERN = re.compile(r"([^B]*?)(bit|B)/s")


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """Bounds on what peers can take from the node; see DESIGN.md, *Limits*."""

    keepalive_s: float = 15.0
    body_timeout_s: float = 30.0  # for a whole request body
    stall_timeout_s: float = 30.0  # for a reader that takes nothing
    drain_s: float = 5.0  # for requests under way when the node is told to stop
    connections_max: int = 1024
    connections_per_peer_max: int = 64  # not for loopback: gateways and proxies come from there
    put_bytes_in_flight_max: int = 256 * 1024 * 1024
    # The reader's cancelled request wastes at most what is buffered here.
    send_buffer_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class UpkeepLimits:
    """How much of the disk the node's own upkeep may take."""

    scrub_pass_s: float = 14 * 86_400.0  # in this time every fragment is read once
    scrub_bytes_per_s_max: float = 32e6  # when the node was off for days, or is very full
    compact_bytes_per_s: float = 16e6  # written; about as much is read
    dead_share_min: float = DEAD_SHARE_MIN
    give_way_s_max: float = 1.0  # how long a step of upkeep waits for requests under way
    poll_s: float = 10.0  # how often it is looked whether there is something to do

    def __post_init__(self) -> None:
        rates = (self.scrub_pass_s, self.scrub_bytes_per_s_max, self.compact_bytes_per_s)
        if min(*rates, self.poll_s) <= 0 or not 0 < self.dead_share_min <= 1:
            raise ConfigError("the limits of a node's upkeep must be above zero")


_URL = re.compile(r"https?://[^/\s]+")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything a node needs to know before it starts."""

    data_dir: Path
    node_id: str | None = None  # None: the name the data has, or a new one
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    capacity_bytes: int | None = None  # None: the size of the file system
    zone: str = ""
    advertise: tuple[str, ...] = ()
    coordinators: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    read_keys: Path | None = None  # with it, reading needs a grant or the token
    insecure: bool = False
    tls_certificate: Path | None = None  # PEM; together with the key
    tls_key: Path | None = None
    upload_bytes_per_s: float | None = None
    superblock_bytes: int = SUPERBLOCK_BYTES
    limits: NodeLimits = field(default_factory=NodeLimits)
    upkeep: UpkeepLimits = field(default_factory=UpkeepLimits)

    def __post_init__(self) -> None:
        if self.node_id is not None and not NODE_ID_PATTERN.fullmatch(self.node_id):
            raise ConfigError(
                f"not a node id: {self.node_id!r}",
                hint="use 1 to 63 letters, digits, dots, dashes or underscores",
            )
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"not a port: {self.port}")
        require_pair(self.tls_certificate, self.tls_key)
        if self.upload_bytes_per_s is not None and self.upload_bytes_per_s <= 0:
            raise ConfigError("an upload cap must be above zero")
        if self.capacity_bytes is not None and self.capacity_bytes <= 0:
            raise ConfigError("a capacity must be above zero")
        if not _SUPERBLOCK_BYTES_MIN <= self.superblock_bytes <= _SUPERBLOCK_BYTES_MAX:
            raise ConfigError("a superblock has 64 KiB to 64 GiB")
        if self.token is None and not self.insecure and not is_loopback(self.host):
            raise ConfigError(
                f"refusing to listen on {self.host}: anyone who reaches it could write and delete",
                hint="give a secret with --token-file FILE, or say --insecure if the network is "
                "all yours",
            )

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> "NodeConfig":
        """Build it from what ``add_node_arguments`` added. Raises: ConfigError, UsageError."""
        host, port = parse_address(args.listen)
        return cls(
            data_dir=Path(args.data),
            node_id=args.id,
            host=host,
            port=port,
            capacity_bytes=parse_size(args.capacity) if args.capacity else None,
            zone=args.zone,
            advertise=tuple(args.advertise),
            coordinators=coordinator_urls(args.coordinator),
            token=read_token(Path(args.token_file)) if args.token_file else None,
            read_keys=Path(args.read_keys) if args.read_keys else None,
            insecure=args.insecure,
            tls_certificate=Path(args.tls_cert) if args.tls_cert else None,
            tls_key=Path(args.tls_key) if args.tls_key else None,
            upload_bytes_per_s=parse_rate(args.max_upload) if args.max_upload else None,
            superblock_bytes=parse_size(args.superblock_size),
            limits=NodeLimits(keepalive_s=args.keepalive),
            upkeep=UpkeepLimits(
                scrub_pass_s=args.scrub_days * 86_400,
                compact_bytes_per_s=parse_rate(args.compact_rate),
            ),
        )


def require_pair(certificate: Path | None, key: Path | None) -> None:
    """Raise ``ConfigError`` if only one of two TLS files was given."""
    if (certificate is None) != (key is None):
        raise ConfigError(
            "a certificate needs its key, and a key its certificate",
            hint="give both --tls-cert FILE and --tls-key FILE",
        )


def add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a server needs to be reached by https."""
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        help="PEM certificate chain: serve https; for an authority of your own set SSL_CERT_FILE "
        "where clients, nodes and coordinators run",
    )
    parser.add_argument("--tls-key", metavar="FILE", help="its key, PEM, not encrypted")


def add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of one node to a command."""
    parser.add_argument("--id", help="the node's name; default: the one its data has")
    parser.add_argument("--data", required=True, metavar="DIR", help="where fragments are kept")
    parser.add_argument(
        "--listen",
        default="127.0.0.1:0",
        metavar="HOST:PORT",
        help="default %(default)s; port 0 takes a free one",
    )
    parser.add_argument("--capacity", metavar="SIZE", help="as in 50GiB; default: the whole disk")
    parser.add_argument("--zone", default="", help="what fails together: a room, a site")
    parser.add_argument(
        "--advertise", action="append", default=[], metavar="URL", help="where others reach it"
    )
    parser.add_argument(
        "--coordinator", action="append", default=[], metavar="URL[,URL]", help="may be repeated"
    )
    parser.add_argument("--token-file", metavar="FILE", help="secret for writing and admin")
    add_read_keys_argument(parser)
    parser.add_argument(
        "--insecure", action="store_true", help="let anyone on the network write and delete"
    )
    add_tls_arguments(parser)
    parser.add_argument("--max-upload", metavar="RATE", help="as in 10Mbit/s")
    parser.add_argument(
        "--superblock-size",
        default="1GiB",
        metavar="SIZE",
        help="a data file grows no larger (default %(default)s)",
    )
    parser.add_argument(
        "--keepalive",
        type=float,
        default=NodeLimits().keepalive_s,
        metavar="S",
        help="seconds an idle connection is kept (default %(default)s)",
    )
    parser.add_argument(
        "--scrub-days",
        type=float,
        default=UpkeepLimits().scrub_pass_s / 86_400,
        metavar="N",
        help="every fragment is read and checked once in N days (default %(default)g)",
    )
    parser.add_argument(
        "--compact-rate",
        default="16MB/s",
        metavar="RATE",
        help="how fast the space of deleted fragments is won back (default %(default)s)",
    )


def add_read_keys_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that nodes and coordinators share."""
    parser.add_argument(
        "--read-keys",
        metavar="FILE",
        help="'id secret' lines, the same for nodes and coordinators: reading then needs a "
        "signature, which manifests carry; two keys may be live while you change them",
    )


def parse_rate(text: str) -> float:
    """Return the bytes per second in ``10Mbit/s`` or ``2MiB/s``. Raises: UsageError."""
    match = _RATE_PATTERN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"not a rate: {text!r}", hint="write it like 10Mbit/s or 2MB/s")
    return parse_size(match[1]) / (8 if match[2] == "bit" else 1)


def parse_address(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[::1]:port``. Raises: UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise UsageError(f"not an address: {text!r}", hint="write it like 127.0.0.1:7000")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can be at ``host``."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def coordinator_urls(words: Iterable[str]) -> tuple[str, ...]:
    """Return the coordinators that ``--coordinator A,B --coordinator C`` names, each once.

    Raises: ConfigError: what is no URL.
    """
    stripped = (url.strip().rstrip("/") for word in words for url in word.split(","))
    urls = tuple(dict.fromkeys(filter(None, stripped)))
    for url in urls:
        if not _URL.fullmatch(url):
            raise ConfigError(
                f"a coordinator is not at '{url}'", hint="write it like http://host:port"
            )
    return urls


def read_token(path: Path) -> str:
    """Return the secret in a file that only its owner may read. Raises: ConfigError, OSError."""
    token = read_private(path, 4096).strip()
    if len(token) < _TOKEN_CHARACTERS_MIN or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"{path}: a token has at least {_TOKEN_CHARACTERS_MIN} printable characters",
            hint="make one with: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token
