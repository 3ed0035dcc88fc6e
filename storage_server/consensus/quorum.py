"""Counting answers: each member once, and until more cannot change the result. Pure."""

from collections.abc import Collection, Iterable

from storage_server.consensus.messages import MemberId, Reply


def majority(members: int) -> int:
    """Return how many of so many members any two groups of which share one."""
    return members // 2 + 1


class Tally:
    """Responsible for the answers of one attempt."""

    def __init__(self, members: Iterable[MemberId]) -> None:
        self._members = frozenset(members)
        self._quorum = majority(len(self._members))
        self._granted: dict[MemberId, Reply] = {}
        self._refused: set[MemberId] = set()

    def grant(self, member: MemberId, reply: Reply) -> None:
        """Count an answer; a second one of the same member changes nothing."""
        if member in self._members and member not in self._refused:
            self._granted.setdefault(member, reply)

    def refuse(self, member: MemberId) -> None:
        """Count a refusal."""
        if member in self._members and member not in self._granted:
            self._refused.add(member)

    @property
    def is_reached(self) -> bool:
        """Whether a majority answered."""
        return len(self._granted) >= self._quorum

    @property
    def is_impossible(self) -> bool:
        """Whether so many refused that no majority can answer any more."""
        return len(self._members) - len(self._refused) < self._quorum

    @property
    def replies(self) -> Collection[Reply]:
        """The answers so far, one of each member."""
        return self._granted.values()
