"""Which members a local cluster is to have: what there is, and what is wished besides.

sqlite      coordinator -> nodes
chunkpaxos  nodes -> coordinators: the first three nodes keep the catalogue
etcd        three etcd -> coordinators -> nodes
"""

import contextlib
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from redundancy.errors import UsageError
from storage_server.catalogue.choice import SQLITE
from storage_server.cluster_state import (
    COORDINATOR,
    GATEWAY,
    ClusterFolder,
    ClusterState,
    Member,
    with_policy,
)
from storage_server.processes import ProcessState

NODES_DEFAULT = 5
CHUNKPAXOS = "chunkpaxos"
ETCD = "etcd"
CATALOGUES = (SQLITE, CHUNKPAXOS, ETCD)

# Three tolerate the loss of one; five would tolerate two and cost 10 messages instead of 6.
KEEPERS_OF_THE_CATALOGUE = 3

USUAL_PORT = 8400  # where clients look for a coordinator

# With the coordinator at its usual 8400, the gateway is at its usual 8480.
_GATEWAY_PORT_OFFSET = 80
_COORDINATOR_PORT_OFFSET = 70  # of the second
_ETCD_PORT_OFFSET = 90

_HOST = "127.0.0.1"

# Below those that Linux gives to outgoing connections (from 32,768 on): one of ours could get a
# port between our looking at it and its owner's start.
_PORTS = (20_000, 32_000)
_CHANCE = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class UpWish:
    """What ``up`` should bring about."""

    nodes: int | None = None  # None: as many as there are, or five
    base_port: int | None = None  # the coordinator's; None: 8400 if it is free; 0: any free ones
    waits: bool = True  # until the coordinators have heard every node
    gateway: bool = False  # also one for players
    signed_reads: bool = False  # fragments only for those with a grant
    node_options: tuple[str, ...] = ()
    policy: str | None = None  # the coordinator's; None: as it was, or its default
    catalogue: str | None = None  # one of CATALOGUES; None: as it was, or sqlite
    coordinators: int | None = None  # None: as many as there are, or one


def planned(state: ClusterState, wish: UpWish, folder: ClusterFolder) -> ClusterState:
    """Return the cluster with all members it is to have. Raises: UsageError, OSError."""
    _refuse_what_cannot_change(state, wish)
    catalogue = _catalogue(state, wish)
    addresses = _Addresses(wish.base_port, are_fixed=catalogue != SQLITE)
    options = _read_options(state, wish, folder)
    nodes = _nodes(state, wish, options, addresses)
    etcd = state.etcd or (_etcd(addresses) if catalogue == ETCD else ())
    where = state.catalogue_options or _catalogue_options(catalogue, nodes, etcd)
    coordinators = _coordinators(state, wish, (*options, *where), addresses)
    gateway = state.gateway
    if gateway is None and wish.gateway:
        gateway = Member(name=GATEWAY, url=addresses.url(_GATEWAY_PORT_OFFSET))
    return structs.replace(
        state,
        catalogue=catalogue,
        coordinator=coordinators[0],
        more_coordinators=tuple(coordinators[1:]),
        nodes=tuple(nodes),
        etcd=tuple(etcd),
        gateway=gateway,
    )


def _refuse_what_cannot_change(state: ClusterState, wish: UpWish) -> None:
    """Raises: UsageError: a wish that only a new cluster could be given."""
    if state.coordinator is None:
        return
    count, port = len(state.nodes), state.coordinator.port
    hint = "make another one (--dir OTHER), or end this one with its data: cluster down --purge"
    if wish.nodes is not None and wish.nodes < count:
        raise UsageError(
            f"this cluster has {count} nodes: -n {wish.nodes} was not applied", hint=hint
        )
    if wish.base_port and wish.base_port != port:
        raise UsageError(
            f"this cluster has {count} nodes and its coordinator is at port {port}: "
            f"--base-port {wish.base_port} was not applied",
            hint=hint,
        )


def in_order(state: ClusterState) -> list[list[Member]]:
    """Return the members in groups: each needs those before it."""
    coordinators, nodes = list(state.coordinators), list(state.nodes)
    first = [nodes, coordinators] if state.catalogue == CHUNKPAXOS else [coordinators, nodes]
    return [list(state.etcd), *first, [state.gateway] if state.gateway else []]


def _catalogue(state: ClusterState, wish: UpWish) -> str:
    wanted = wish.catalogue or (state.catalogue if state.coordinator else SQLITE)
    if state.coordinator is not None and wanted != state.catalogue:
        raise UsageError(
            f"this cluster keeps its catalogue in {state.catalogue}",
            hint="make another one (--dir OTHER), or move the catalogue: "
            "storage-server admin catalogue copy --help",
        )
    if wanted == SQLITE and (wish.coordinators or 1) > 1:
        raise UsageError(
            "a SQLite catalogue belongs to one coordinator",
            hint="several share --catalogue chunkpaxos or --catalogue etcd",
        )
    return wanted


def _read_options(state: ClusterState, wish: UpWish, folder: ClusterFolder) -> tuple[str, ...]:
    """Return what coordinators and nodes are told of read keys; new nodes as the others."""
    has_keys = state.coordinator is not None and "--read-keys" in state.coordinator.options
    if wish.signed_reads and state.coordinator is not None and not has_keys:
        raise UsageError(
            "this cluster was made without signed reads",
            hint="make another one: storage-server cluster up --signed-reads --dir OTHER",
        )
    if not wish.signed_reads and not has_keys:
        return ()
    return ("--read-keys", str(folder.read_keys()))


def _nodes(
    state: ClusterState, wish: UpWish, options: tuple[str, ...], addresses: "_Addresses"
) -> list[Member]:
    nodes = list(state.nodes)
    for number in range(len(nodes) + 1, (wish.nodes or len(nodes) or NODES_DEFAULT) + 1):
        url = addresses.url(number)
        own = (*wish.node_options, *options)
        nodes.append(Member(name=f"node-{number}", url=url, options=own))
    return nodes


def _coordinators(
    state: ClusterState, wish: UpWish, options: tuple[str, ...], addresses: "_Addresses"
) -> list[Member]:
    found = list(state.coordinators)
    count = max(wish.coordinators or 1, len(found))
    if found and count > len(found) and any(_runs(node) for node in state.nodes):
        raise UsageError(
            f"this cluster has {len(found)} coordinator(s), and its nodes know no other",
            hint="storage-server cluster down, then up again with --coordinators; the data stays",
        )
    for number in range(len(found) + 1, count + 1):
        name = COORDINATOR if number == 1 else f"{COORDINATOR}-{number}"
        url = addresses.url(_COORDINATOR_PORT_OFFSET + number - 2)
        if number == 1:
            url = addresses.usual() if wish.base_port is None else addresses.url(0)
        found.append(Member(name=name, url=url, options=options))
    return [with_policy(each, wish.policy) for each in found]


def _catalogue_options(
    catalogue: str, nodes: Sequence[Member], etcd: Sequence[Member]
) -> tuple[str, ...]:
    if catalogue == SQLITE:
        return ()
    if catalogue == ETCD:
        return ("--catalogue", f"etcd:{','.join(each.url for each in etcd)}")
    count = KEEPERS_OF_THE_CATALOGUE if len(nodes) >= KEEPERS_OF_THE_CATALOGUE else 1
    return ("--catalogue", f"nodes:{','.join(each.url for each in nodes[:count])}")


def _etcd(addresses: "_Addresses") -> list[Member]:
    names = [f"{ETCD}-{number}" for number in (1, 2, 3)]
    urls = [addresses.url(_ETCD_PORT_OFFSET + i) for i in range(3)]
    peers = [addresses.url(_ETCD_PORT_OFFSET + 5 + i) for i in range(3)]
    everybody = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
    return [
        Member(
            name=name,
            url=url,
            options=(
                *("--listen-client-urls", url, "--advertise-client-urls", url),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", everybody, "--logger", "zap"),
            ),
        )
        for name, url, peer in zip(names, urls, peers, strict=True)
    ]


class _Addresses:
    """Responsible for new members' addresses, each given once."""

    def __init__(self, base_port: int | None, *, are_fixed: bool) -> None:
        """Args: are_fixed: known before their owner runs, since others must be told of them."""
        self._base_port = base_port
        self._are_fixed = are_fixed
        self._given: set[int] = set()

    def url(self, offset: int) -> str:
        """Return an address; ``offset`` is from the base port, if there is one."""
        if self._base_port:
            return f"http://{_HOST}:{self._base_port + offset}"
        return f"http://{_HOST}:{self._free() if self._are_fixed else 0}"

    def usual(self) -> str:
        """Return the address that clients ask unless told otherwise, or another if it is taken."""
        if not _can_be_bound(USUAL_PORT):
            return self.url(0)
        self._given.add(USUAL_PORT)
        return f"http://{_HOST}:{USUAL_PORT}"

    def _free(self) -> int:
        """Return a port that is free now, and that the kernel gives to nobody meanwhile."""
        while True:
            port = _CHANCE.randrange(*_PORTS)
            if port not in self._given and _can_be_bound(port):
                self._given.add(port)
                return port


def _can_be_bound(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _runs(member: Member) -> bool:
    return member.state is not ProcessState.GONE
