"""What an operation makes of the value it finds. Pure."""

from dataclasses import dataclass
from typing import TypeAlias

from storage_server.consensus.messages import Key, Value

# So many of the last writers are named in a value: a writer whose attempt was overtaken at most
# three times still sees whether it had happened.
WRITERS_KEPT = 4

# The version of what is not there, whether it never was or was deleted.
ABSENT = 0


@dataclass(frozen=True, slots=True)
class ReadKey:
    """Find out what a register holds."""

    key: Key


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Write a register if it has ``expected_version``; a payload of None deletes it."""

    key: Key
    expected_version: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Collect:
    """Find out what the shared registers hold whose names start with ``prefix``."""

    prefix: str


Operation: TypeAlias = ReadKey | CompareAndSet | Collect


@dataclass(frozen=True, slots=True)
class Written:
    """The write is decided; it made this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The write did not happen and never will: the register holds this."""

    value: Value


@dataclass(frozen=True, slots=True)
class Found:
    """The register holds this."""

    value: Value


@dataclass(frozen=True, slots=True)
class Collected:
    """Registers on which a majority agreed, and keys on which it did not: those are to be read."""

    values: dict[Key, Value]
    disputed: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Unclear:
    """The write happened, may happen yet, or never."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Too few acceptors answered in time. A write did not happen and never will."""

    reason: str


Outcome: TypeAlias = Written | Mismatch | Found | Collected | Unclear | Unreachable


@dataclass(frozen=True, slots=True)
class Proposal:
    """The value to be accepted, and what is answered once it is."""

    value: Value
    outcome: Outcome


def is_expected(value: Value, expected_version: int) -> bool:
    """Whether a register that holds ``value`` has the version a writer expects."""
    if value.payload is None:
        return expected_version == ABSENT
    return value.version == expected_version


def answer_of(operation: ReadKey | CompareAndSet, value: Value) -> Found | Mismatch | None:
    """Return what is answered if a register certainly holds ``value``; None: write first."""
    if isinstance(operation, ReadKey):
        return Found(value)
    return None if is_expected(value, operation.expected_version) else Mismatch(value)


def propose(
    operation: ReadKey | CompareAndSet, operation_id: bytes, value: Value, sent_version: int | None
) -> Proposal:
    """Return what an operation makes of a register's value.

    Args:
        sent_version: the lowest version an earlier attempt of this operation asked to be accepted.
    """
    if isinstance(operation, ReadKey):
        return Proposal(value, Found(value))
    if operation_id in value.writers:
        return Proposal(value, Written(value.version - value.writers.index(operation_id)))
    if sent_version is not None and value.version >= sent_version + WRITERS_KEPT:
        return Proposal(value, Unclear("overtaken so often that its trace is gone"))
    if not is_expected(value, operation.expected_version):
        return Proposal(value, Mismatch(value))
    writers = (operation_id, *value.writers)[:WRITERS_KEPT]
    version = value.version + 1
    return Proposal(Value(version, operation.payload, writers), Written(version))
