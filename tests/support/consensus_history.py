"""What clients saw of registers, and whether one that does one thing at a time explains it.

Wing and Gong's search with Lowe's memory, one key at a time: a state (version, payload) and the set
of operations that have taken effect. An operation nobody heard of again may take effect at any time
after it began, or never.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from storage_server.consensus.messages import Ballot, Key, Value
from storage_server.consensus.values import (
    WRITERS_KEPT,
    CompareAndSet,
    Mismatch,
    Outcome,
    ReadKey,
    Unclear,
    Unreachable,
    Written,
)


class Violation(AssertionError):
    """A run that must not happen."""


@dataclass
class Call:
    operation: ReadKey | CompareAndSet
    started_s: float
    ended_s: float = math.inf
    outcome: Outcome | None = None


State = tuple[int, bytes | None]


def after(call: Call, state: State) -> State | None:
    """Return the register's state after an operation took effect; None: it cannot have, here."""
    version, payload = state
    operation, outcome = call.operation, call.outcome
    if isinstance(operation, ReadKey):
        seen = outcome.value
        return state if (seen.version, seen.payload) == state else None
    matches = operation.expected_version == (0 if payload is None else version)
    if isinstance(outcome, Mismatch):
        seen = outcome.value
        return state if not matches and (seen.version, seen.payload) == state else None
    if not matches or (isinstance(outcome, Written) and outcome.version != version + 1):
        return None
    return version + 1, operation.payload


def relevant(calls: list[Call]) -> list[Call]:
    """Leave out what says nothing: reads without an answer, writes that never happened."""
    found = []
    for call in calls:
        if isinstance(call.outcome, Unreachable):
            continue
        if call.outcome is None or isinstance(call.outcome, Unclear):
            if isinstance(call.operation, CompareAndSet):
                found.append(Call(call.operation, call.started_s))
        else:
            found.append(call)
    return sorted(found, key=lambda call: call.started_s)


def is_linearizable(calls: list[Call]) -> bool:
    calls = relevant(calls)
    wanted = sum(1 << i for i, call in enumerate(calls) if call.ended_s < math.inf)
    seen = set()
    stack: list[tuple[int, State]] = [(0, (0, None))]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        done, state = node
        if done & wanted == wanted:
            return True
        first_end_s = min(call.ended_s for i, call in enumerate(calls) if not done >> i & 1)
        for i, call in enumerate(calls):
            if call.started_s > first_end_s:
                break
            if not done >> i & 1:
                next_state = after(call, state)
                if next_state is not None:
                    stack.append((done | 1 << i, next_state))
    return False


@dataclass
class Chain:
    """Every value that was decided, by key and ballot: each must descend from those before."""

    accepted: dict[tuple[int, Key, Ballot], set[str]] = field(default_factory=dict)
    values: dict[tuple[Key, Ballot], Value] = field(default_factory=dict)
    decided: dict[Key, dict[Ballot, Value]] = field(default_factory=dict)

    def note(self, epoch: int, members: int, member: str, accepted) -> None:
        """One acceptor made one value durable. ``accepted``: key, ballot, value."""
        key, ballot, value = accepted
        if self.values.setdefault((key, ballot), value) != value:
            raise Violation(f"two values at ballot {ballot} of {key}")
        who = self.accepted.setdefault((epoch, key, ballot), set())
        who.add(member)
        if len(who) > members // 2:
            self.decided.setdefault(key, {})[ballot] = value

    def check(self) -> None:
        for key, decided in self.decided.items():
            values = [decided[ballot] for ballot in sorted(decided)]
            for before, later in pairwise(values):
                if not descends(later, before):
                    raise Violation(f"{key}: {later} does not descend from {before}")


def descends(later: Value, before: Value) -> bool:
    steps = later.version - before.version
    if steps == 0:
        return later == before
    kept = later.writers[steps:]
    return (
        steps > 0
        and kept == before.writers[: len(kept)]
        and len(later.writers) == min(WRITERS_KEPT, later.version)
    )
