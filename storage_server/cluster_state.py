"""What a local cluster's directory says of it.

DIR/cluster.json   which processes there are and where they listen
DIR/coordinator    the catalogue, if it is a file
DIR/etcd-1 ...     the catalogue, if etcd keeps it
DIR/node-1 ...     a node's fragments
DIR/read-keys      who may read, if reading is signed
DIR/logs           NAME.out: ready line, NAME.log: the log
"""

import contextlib
import os
import secrets
import shutil
from enum import StrEnum
from pathlib import Path

import msgspec

from redundancy.errors import ConfigError, EvenflowError, ExitCode, UsageError
from smart_client import wire
from storage_server.processes import ProcessId, ProcessState, state_of

COORDINATOR = "coordinator"
GATEWAY = "gateway"
_STATE_NAME = "cluster.json"
_LOGS_NAME = "logs"
_READ_KEYS_NAME = "read-keys"


class ClusterProblem(EvenflowError):
    """A local cluster's process did not start, or does not do what it should."""

    code = "CLUSTER"
    exit_code = ExitCode.TEMPORARY


class MemberKind(StrEnum):
    """What a process does in a cluster."""

    ETCD = "etcd"
    COORDINATOR = "coordinator"
    NODE = "node"
    GATEWAY = "gateway"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the cluster, whether it runs or not."""

    name: str
    url: str
    process: ProcessId | None = None  # None: ended on purpose
    options: tuple[str, ...] = ()  # on its command line besides the usual ones
    limits: dict[str, float | None] = {}  # of a node that is slowed on purpose; set at every start

    @property
    def kind(self) -> MemberKind:
        """What it does: the first word of its name says so."""
        return MemberKind(self.name.partition("-")[0])

    @property
    def port(self) -> int:
        """Where it listens, now and after every restart."""
        return int(self.url.rpartition(":")[2])

    @property
    def state(self) -> ProcessState:
        """What its process does."""
        return ProcessState.GONE if self.process is None else state_of(self.process)


def with_policy(coordinator: Member, policy: str | None) -> Member:
    """Return a coordinator that starts with a policy; None: as it did. Raises: UsageError."""
    options = list(coordinator.options)
    if policy is None or _option(options, "--policy") == policy:
        return coordinator
    if coordinator.state is not ProcessState.GONE:
        runs_with = _option(options, "--policy") or "threshold"
        raise UsageError(
            f"the coordinator runs already, with policy {runs_with}",
            hint=f"storage-server cluster down, then up --policy {policy}; the data stays",
        )
    if "--policy" in options:
        at = options.index("--policy")
        del options[at : at + 2]
    return msgspec.structs.replace(coordinator, options=(*options, "--policy", policy))


def _option(options: list[str], name: str) -> str | None:
    return options[options.index(name) + 1] if name in options else None


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """All processes of the cluster."""

    v: int = 1
    coordinator: Member | None = None
    nodes: tuple[Member, ...] = ()
    gateway: Member | None = None  # where players get videos; only if somebody asked for it
    catalogue: str = "sqlite"  # or chunkpaxos, etcd
    more_coordinators: tuple[Member, ...] = ()
    etcd: tuple[Member, ...] = ()

    @property
    def coordinators(self) -> tuple[Member, ...]:
        """All of them, the first first."""
        return (self.coordinator, *self.more_coordinators) if self.coordinator else ()

    @property
    def coordinator_urls(self) -> tuple[str, ...]:
        """Where they listen."""
        return tuple(each.url for each in self.coordinators)

    @property
    def catalogue_options(self) -> tuple[str, ...]:
        """What coordinators are told of where the catalogue is; the same for all."""
        if self.coordinator is None or "--catalogue" not in self.coordinator.options:
            return ()
        at = self.coordinator.options.index("--catalogue")
        return self.coordinator.options[at : at + 2]

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them, the coordinators first."""
        gateway = (self.gateway,) if self.gateway else ()
        return (*self.coordinators, *self.etcd, *self.nodes, *gateway)

    def member(self, name: str) -> Member:
        """Return a member by name. Raises: UsageError."""
        for each in self.members:
            if each.name == name:
                return each
        have = ", ".join(each.name for each in self.members) or "none"
        raise UsageError(f"no '{name}' in this cluster", hint=f"it has: {have}")

    def with_member(self, changed: Member) -> "ClusterState":
        """Return the state with one member changed or added."""
        if changed.name in (COORDINATOR, GATEWAY):
            return msgspec.structs.replace(self, **{changed.name: changed})
        field = {
            MemberKind.COORDINATOR: "more_coordinators",
            MemberKind.ETCD: "etcd",
        }.get(changed.kind, "nodes")
        members = {each.name: each for each in getattr(self, field)} | {changed.name: changed}
        return msgspec.structs.replace(self, **{field: tuple(members.values())})


class ClusterFolder:
    """Responsible for a cluster's directory: its state file and where everything lies."""

    def __init__(self, directory: Path) -> None:
        self.path = directory.absolute()

    @property
    def exists(self) -> bool:
        """Whether there is, or was, a cluster."""
        return (self.path / _STATE_NAME).exists()

    def load(self) -> ClusterState:
        """Return the state; an empty one if there is no cluster. Raises: ConfigError."""
        try:
            content = (self.path / _STATE_NAME).read_bytes()
        except FileNotFoundError:
            return ClusterState()
        try:
            state = msgspec.json.decode(content, type=ClusterState)
        except msgspec.MsgspecError as error:
            raise ConfigError(
                f"{self.path / _STATE_NAME} cannot be read: {error}",
                hint="end its processes by hand and remove the directory",
            ) from error
        if state.v != 1:
            raise ConfigError(f"{self.path / _STATE_NAME} has format {state.v}, known is 1")
        return state

    def require(self) -> ClusterState:
        """Return the state of a cluster that must be there. Raises: ConfigError."""
        state = self.load()
        if state.coordinator is None:
            raise ConfigError(
                f"there is no cluster in {self.path}", hint="storage-server cluster up"
            )
        return state

    def save(self, state: ClusterState) -> None:
        """Replace the state file in one step."""
        temporary = self.path / f"{_STATE_NAME}.new"
        temporary.write_bytes(msgspec.json.format(wire.encode(state), indent=2) + b"\n")
        os.replace(temporary, self.path / _STATE_NAME)

    def data(self, name: str) -> Path:
        """Return where a member keeps its data."""
        return self.path / name

    def output(self, name: str) -> Path:
        """Return where a member's ready line is."""
        return self.path / _LOGS_NAME / f"{name}.out"

    def log(self, name: str) -> Path:
        """Return where a member's log is."""
        return self.path / _LOGS_NAME / f"{name}.log"

    def make(self) -> None:
        """Make the directory if it is not there."""
        (self.path / _LOGS_NAME).mkdir(mode=0o700, parents=True, exist_ok=True)

    def read_keys(self) -> Path:
        """Return the file with the read keys, made if it is not there."""
        path = self.path / _READ_KEYS_NAME
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"a {secrets.token_urlsafe(32)}\n")
        return path

    def purge(self, state: ClusterState) -> None:
        """Remove what the cluster made, and the directory if nothing else is in it."""
        for member in state.members:
            shutil.rmtree(self.data(member.name), ignore_errors=True)
        shutil.rmtree(self.path / _LOGS_NAME, ignore_errors=True)
        for name in (_STATE_NAME, f"{_STATE_NAME}.new", _READ_KEYS_NAME, "lock"):
            (self.path / name).unlink(missing_ok=True)
        try:
            self.path.rmdir()
        except OSError:
            return  # somebody keeps something else there
