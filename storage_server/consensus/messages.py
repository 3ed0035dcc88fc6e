"""What proposers and acceptors say to each other, and what they keep. Pure.

Every request and reply is an array on the wire (msgpack), with its kind as the first element.
A request carries the *number* of the attempt it belongs to and the *epoch* it is meant for; a reply
repeats the number, so an answer to an earlier attempt is never taken for one to this.
"""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

# Rounds and versions grow by one; a peer that sends more than this is broken.
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 60)]
_Name: TypeAlias = Annotated[str, Meta(max_length=1200)]
MemberId: TypeAlias = str


class Ballot(Struct, frozen=True, order=True, array_like=True, gc=False):
    """The order of attempts. A process draws its pid at random when it starts, so none is shared.

    Each ballot is used for at most one value.
    """

    round: _Count
    pid: bytes


# Below every ballot: nothing promised, nothing accepted.
NO_BALLOT = Ballot(0, b"")


class Key(Struct, frozen=True, order=True, array_like=True, gc=False):
    """A register's name. With a creator, only that process may use round 0."""

    creator: bytes  # pid, or empty: anybody's
    name: _Name


class Value(Struct, frozen=True, array_like=True, gc=False):
    """What a register holds."""

    version: _Count  # counts writes; an identical rewrite does not count
    payload: bytes | None  # None: deleted, or never written (version 0)
    writers: tuple[bytes, ...]  # operation ids that wrote the last versions, newest first


EMPTY = Value(0, None, ())


class Register(Struct, frozen=True, array_like=True):
    """What an acceptor keeps of one key."""

    promised: Ballot = NO_BALLOT
    accepted: Ballot = NO_BALLOT
    value: Value = EMPTY
    # Accepted in an earlier epoch and handed over, not accepted in this one: proves no decision,
    # since those who installed the epoch may have merged different majorities of snapshots.
    is_inherited: bool = False


BLANK = Register()
Registers: TypeAlias = tuple[tuple[Key, Register], ...]


class Member(Struct, frozen=True, order=True, array_like=True):
    """One acceptor. An acceptor that lost its disk draws a new id: it is a new member."""

    id: MemberId
    url: str = ""


class Config(Struct, frozen=True, array_like=True):
    """Who decides in an epoch."""

    epoch: Annotated[int, Meta(ge=1)]
    members: tuple[Member, ...]
    previous: tuple[Member, ...] = ()  # who decided in the epoch before

    @property
    def ids(self) -> tuple[MemberId, ...]:
        """The members' ids."""
        return tuple(member.id for member in self.members)


# -- requests ----------------------------------------------------------------------------------


class Prepare(Struct, frozen=True, array_like=True, tag="p"):
    """Promise to accept nothing below ``ballot``, and say what you accepted."""

    number: int
    epoch: int
    key: Key
    ballot: Ballot


class Accept(Struct, frozen=True, array_like=True, tag="a"):
    """Accept ``value`` at ``ballot`` and promise ``next`` with it."""

    number: int
    epoch: int
    key: Key
    ballot: Ballot
    value: Value
    next: Ballot


class Read(Struct, frozen=True, array_like=True, tag="r"):
    """Say what you hold of one key."""

    number: int
    epoch: int
    key: Key


class ListKeys(Struct, frozen=True, array_like=True, tag="l"):
    """Say what you hold of the shared keys that start with ``prefix``."""

    number: int
    epoch: int
    prefix: _Name


class Learn(Struct, frozen=True, array_like=True, tag="d"):
    """What was proposed at ``ballot`` is decided. Never needed, never answered."""

    number: int
    epoch: int
    key: Key
    ballot: Ballot


class Wedge(Struct, frozen=True, array_like=True, tag="w"):
    """Serve ``epoch`` no more: ``successor`` follows it. Hand over what you hold."""

    number: int
    epoch: int
    successor: Config


class Install(Struct, frozen=True, array_like=True, tag="i"):
    """Serve ``config``'s epoch from now on, beginning with ``registers``."""

    number: int
    config: Config
    registers: Registers


class Hello(Struct, frozen=True, array_like=True, tag="h"):
    """Say which epoch you serve."""

    number: int


Request: TypeAlias = Prepare | Accept | Read | ListKeys | Learn | Wedge | Install | Hello

# -- replies -----------------------------------------------------------------------------------


class Promise(Struct, frozen=True, array_like=True, tag="P"):
    """Promised; this is what was accepted last."""

    number: int
    register: Register  # as it was before


class Accepted(Struct, frozen=True, array_like=True, tag="A"):
    """Accepted, now or before."""

    number: int


class Nack(Struct, frozen=True, array_like=True, tag="N"):
    """Refused: something higher is promised."""

    number: int
    promised: Ballot


class Current(Struct, frozen=True, array_like=True, tag="R"):
    """What the acceptor holds of the key."""

    number: int
    register: Register


class Listed(Struct, frozen=True, array_like=True, tag="L"):
    """What the acceptor holds of the keys asked for."""

    number: int
    registers: Registers


class Snapshot(Struct, frozen=True, array_like=True, tag="W"):
    """All the acceptor held when its epoch ended."""

    number: int
    registers: Registers


class Installed(Struct, frozen=True, array_like=True, tag="I"):
    """The epoch the acceptor serves, and with which registers it began."""

    number: int
    config: Config
    start: Registers


class WrongEpoch(Struct, frozen=True, array_like=True, tag="E"):
    """Not served here: this is the newest epoch the acceptor knows of, if any."""

    number: int
    config: Config | None


class Refused(Struct, frozen=True, array_like=True, tag="X"):
    """Nothing happened: the acceptor cannot write, or cannot answer."""

    number: int
    reason: str


Reply: TypeAlias = (
    Promise | Accepted | Nack | Current | Listed | Snapshot | Installed | WrongEpoch | Refused
)

# -- what an acceptor makes durable ---------------------------------------------------------------


class Stored(Struct, frozen=True, array_like=True, tag="s"):
    """A register changed."""

    key: Key
    register: Register


class Wedged(Struct, frozen=True, array_like=True, tag="w"):
    """The epoch ended; this one follows it."""

    successor: Config


class Begun(Struct, frozen=True, array_like=True, tag="b"):
    """An epoch began, with these registers."""

    config: Config
    start: Registers


Record: TypeAlias = Stored | Wedged | Begun
