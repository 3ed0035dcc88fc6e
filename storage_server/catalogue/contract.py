"""What the coordinator may ask of a catalogue, whatever keeps the registers.

A *register* is a key with a value and a version. The only write is compare-and-set: it happens if
the register has the version that the writer read, and otherwise changes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from smart_client.agreement import Agreement
from storage_server.catalogue.errors import InvalidRegister

# A video's name has at most 200 characters of at most 4 bytes, and a prefix before it.
KEY_BYTES_MAX = 1024

# The largest register is a group of 64 chunks. Etcd refuses requests above 1.5 MiB.
VALUE_BYTES_MAX = 1024 * 1024

# The version of a register that is not there, whether it never was or was deleted.
ABSENT = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A register as it was when it was read."""

    key: str
    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Write:
    """One compare-and-set."""

    key: str
    expected_version: int  # ABSENT: the register must not be there
    value: bytes | None  # None deletes

    def __post_init__(self) -> None:
        check_key(self.key)
        if self.expected_version < 0:
            raise InvalidRegister(f"a version is not negative, got {self.expected_version}")
        if self.value is not None and len(self.value) > VALUE_BYTES_MAX:
            raise InvalidRegister(
                f"register {self.key} would have {len(self.value)} bytes of {VALUE_BYTES_MAX}"
            )


@dataclass(frozen=True, slots=True)
class Version:
    """The write happened and survives a crash; the register has (or, deleted, had) this version."""

    number: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """The write did not happen: the register has another version."""

    entry: Entry | None  # what is there; None: nothing


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer in time: the write may have happened, may happen yet, or never.

    Read before you repeat it.
    """

    reason: str


Outcome = Version | Conflict | Unknown


class Catalogue(ABC):
    """Keeps registers. Every method may be called by many tasks at once.

    Linearizable: a read that begins after a write was answered sees that write or a later one.
    Versions are above ``ABSENT`` and only grow, also when a key is deleted and made again, so a
    version names one state of its register for ever.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the configuration and the status call it."""

    @abstractmethod
    async def get(self, key: str) -> Entry | None:
        """Return the register, or None if it is not there.

        Raises: InvalidRegister, CatalogueError.
        """

    @abstractmethod
    async def scan(self, prefix: str) -> list[Entry]:
        """Return the registers whose keys start with ``prefix``, in order of their UTF-8 bytes.

        All of them as they were at one instant. Raises: CatalogueError.
        """

    @abstractmethod
    async def batch(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do many compare-and-sets in order, each answered on its own.

        Writes of one call may be made durable together, but are not one transaction.
        Raises: CatalogueError: none of them happened.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what was asked, then let go of everything. May be called twice."""

    async def agreement(self) -> Agreement:
        """Return who decides, asked now: members that do not answer are told as such."""
        return Agreement(
            catalogue=self.kind, summary="kept in memory by one coordinator, gone when it ends"
        )

    async def compare_and_set(
        self, key: str, expected_version: int, value: bytes | None
    ) -> Outcome:
        """Write the register if it has ``expected_version``; ``None`` deletes it.

        Deleting with ``ABSENT`` what is not there succeeds and changes nothing.
        Raises: InvalidRegister, CatalogueError: the write did not happen.
        """
        (outcome,) = await self.batch([Write(key, expected_version, value)])
        return outcome


def check_key(key: str) -> bytes:
    """Return the key as UTF-8, or raise ``InvalidRegister``."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise InvalidRegister(f"not a register's key: {key!r}") from error
    if not 1 <= len(encoded) <= KEY_BYTES_MAX or b"\0" in encoded:
        raise InvalidRegister(f"a key has 1 to {KEY_BYTES_MAX} bytes and no NUL: {key[:80]!r}")
    return encoded
