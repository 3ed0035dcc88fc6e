"""What happens to a proposer, and what it asks of whoever runs it. Pure."""

from dataclasses import dataclass
from typing import TypeAlias

from storage_server.consensus.messages import MemberId, Reply, Request
from storage_server.consensus.values import Operation, Outcome


@dataclass(frozen=True, slots=True)
class Settings:
    """How a proposer goes about it."""

    chunk_paxos: bool = True  # off: standard Paxos
    sends_learn: bool = False
    # Above the slowest fsync and round trip of a healthy node, or attempts chase each other.
    attempt_s: float = 0.25
    give_up_s: float = 5.0
    # Pauses are uniform in (0, 10 ms x 2^min(failures, 3)): with a higher cap 8 duelling proposers
    # waited up to 5 s.
    pause_s: float = 0.01
    pause_doublings_max: int = 3
    # Who sees another at work looks again within this: a prepare and an accept on a busy disk.
    look_pause_s: float = 0.04
    looks_max: int = 20  # then somebody has to begin


@dataclass(frozen=True, slots=True)
class Submit:
    """Do this; ``id`` is repeated in ``Done``."""

    id: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Received:
    """An acceptor answered."""

    member: MemberId
    reply: Reply


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but the time has changed."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; it may get lost."""

    member: MemberId
    request: Request


@dataclass(frozen=True, slots=True)
class Done:
    """An operation is over."""

    id: int
    outcome: Outcome
    round_trips: int = 1  # of all attempts
    requests: int = 0
    attempts_failed: int = 0


Event: TypeAlias = Submit | Received | Tick
Command: TypeAlias = Send | Done
