"""What a coordinator is told at its start: one frozen value, built once from the command line."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from redundancy.errors import ConfigError
from redundancy.quantities import parse_duration_s, parse_size
from storage_server.catalogue.choice import SQLITE
from storage_server.coordinator.failure_detector import DetectorLimits
from storage_server.coordinator.keeper.limits import KeeperLimits
from storage_server.node.config import (
    add_read_keys_argument,
    add_tls_arguments,
    is_loopback,
    parse_address,
    read_token,
    require_pair,
)

DEFAULT_LISTEN = "127.0.0.1:8400"

# As in ``counsel.PolicyName``, which would load what a policy computes with.
POLICIES = ("threshold", "hybrid", "off")

_BYTES_PER_MBIT = 1e6 / 8


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """Everything a coordinator needs to know before it starts."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    token: str | None = field(default=None, repr=False)
    read_keys: Path | None = None  # with it, manifests carry a grant to read
    insecure: bool = False
    tls_certificate: Path | None = None  # PEM; together with the key
    tls_key: Path | None = None
    catalogue: str = SQLITE  # see ``storage_server.catalogue.choice``
    detector: DetectorLimits = field(default_factory=DetectorLimits)
    keeper: KeeperLimits = field(default_factory=KeeperLimits)
    keepalive_s: float = 75.0
    body_timeout_s: float = 30.0  # for a whole request body
    drain_s: float = 5.0  # for requests under way when it is told to stop

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"not a port: {self.port}")
        require_pair(self.tls_certificate, self.tls_key)
        if self.token is None and not self.insecure and not is_loopback(self.host):
            raise ConfigError(
                f"refusing to listen on {self.host}: anyone who reaches it could change and "
                "delete videos",
                hint="give a secret with --token-file FILE, or say --insecure if the network is "
                "all yours",
            )

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> "CoordinatorConfig":
        """Build it from what ``add_coordinator_arguments`` added.

        Raises: ConfigError, UsageError, OSError.
        """
        host, port = parse_address(args.listen)
        return cls(
            data_dir=Path(args.data),
            host=host,
            port=port,
            token=read_token(Path(args.token_file)) if args.token_file else None,
            read_keys=Path(args.read_keys) if args.read_keys else None,
            insecure=args.insecure,
            tls_certificate=Path(args.tls_cert) if args.tls_cert else None,
            tls_key=Path(args.tls_key) if args.tls_key else None,
            catalogue=args.catalogue,
            detector=DetectorLimits(lost_after_s=parse_duration_s(args.repair_after)),
            keeper=KeeperLimits(
                wire_bytes_per_s=args.keeper_max_mbps * _BYTES_PER_MBIT,
                jobs_at_once=args.keeper_jobs,
                busy_requests=args.keeper_busy,
                policy=args.policy,
                policy_dwell_s=parse_duration_s(args.policy_dwell),
                policy_bytes_per_day=parse_size(args.policy_budget),
            ),
        )


def add_coordinator_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of one coordinator to a command."""
    parser.add_argument("--data", required=True, metavar="DIR", help="where the catalogue is kept")
    parser.add_argument(
        "--catalogue",
        default=SQLITE,
        metavar="WHERE",
        help="sqlite (in --data), etcd:URL,URL,... or nodes:URL,URL,... (default: sqlite)",
    )
    parser.add_argument(
        "--listen",
        default=DEFAULT_LISTEN,
        metavar="HOST:PORT",
        help="default %(default)s; port 0 takes a free one",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="secret for writing; the nodes need the same"
    )
    add_read_keys_argument(parser)
    add_tls_arguments(parser)
    _add_keeper_arguments(parser)
    parser.add_argument(
        "--insecure", action="store_true", help="let anyone on the network change and delete"
    )


def _add_keeper_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how much is stored, and what making it so may cost."""
    limits, detector = KeeperLimits(), DetectorLimits()
    parser.add_argument(
        "--policy",
        default=limits.policy,
        choices=POLICIES,
        help="how videos are stored whose owner said nothing: threshold (up to 1000 views 3 of 5, "
        "then 3 copies), hybrid (a code that fits the nodes, and a copy of what is hot), off "
        "(as they are). Default %(default)s",
    )
    parser.add_argument(
        "--policy-budget",
        default=f"{limits.policy_bytes_per_day // 10**9}GB",
        metavar="SIZE",
        help="bytes a day that the policy may have moved; default %(default)s",
    )
    parser.add_argument(
        "--policy-dwell",
        default=f"{limits.policy_dwell_s / 86_400:g}d",
        metavar="TIME",
        help="how long hybrid leaves a video alone after a change; default %(default)s",
    )
    parser.add_argument(
        "--repair-after",
        default=f"{detector.lost_after_s / 60:g}m",
        metavar="TIME",
        help="a node silent for so long is lost, and what it held made anew; default %(default)s",
    )
    parser.add_argument(
        "--keeper-max-mbps",
        type=float,
        default=limits.wire_bytes_per_s / _BYTES_PER_MBIT,
        metavar="MBPS",
        help="Mbit/s that repairs and moves take, of all nodes together; default %(default)g",
    )
    parser.add_argument(
        "--keeper-busy",
        type=int,
        default=limits.busy_requests,
        metavar="N",
        help="a node with so many requests of others is given a rest; default %(default)s",
    )
    parser.add_argument(
        "--keeper-jobs",
        type=int,
        default=limits.jobs_at_once,
        metavar="N",
        help="chunks repaired or moved at once; default %(default)s",
    )
