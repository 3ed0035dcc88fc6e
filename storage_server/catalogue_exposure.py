"""What becomes of the catalogue without some nodes, where nodes keep it (ChunkPaxos). Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from smart_client.agreement import Agreement

STOPS = "the catalogue has no majority: no video can be opened, stored or changed"
LOSES = "the catalogue is lost: storage-server recover makes it again from the fragments"

_COMBINED_MAX = 3
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class CatalogueExposure:
    """Who keeps the catalogue, and how many of them decide."""

    members: tuple[str, ...] = ()
    up: frozenset[str] = frozenset()
    quorum: int = 0

    @classmethod
    def of(cls, told: Agreement | None) -> "CatalogueExposure":
        """Return what a coordinator's answer means; nothing where no node keeps the catalogue."""
        if told is None or told.catalogue != "chunkpaxos":
            return cls()
        up = frozenset(each.name for each in told.members if each.state == "up")
        return cls(tuple(sorted(each.name for each in told.members)), up, told.quorum)

    def stops_without(self, nodes: Collection[str]) -> bool:
        """Whether too few would be left to decide anything."""
        return len(self.up.difference(nodes)) < self.quorum

    def loses_without(self, nodes: Collection[str]) -> bool:
        """Whether too few would be left that know what was decided."""
        return len(set(self.members).difference(nodes)) < self.quorum

    @property
    def is_safe(self) -> bool:
        """Whether any one node may be unplugged."""
        return all(len(nodes) > 1 for nodes in self.worst())

    def worst(self) -> Sequence[tuple[str, ...]]:
        """Return the smallest sets of nodes without which nothing can be decided."""
        if self.stops_without(()):
            return [()]
        for size in range(1, _COMBINED_MAX + 1):
            found = [each for each in combinations(self.members, size) if self.stops_without(each)]
            if found:
                return found
        return []

    def lines(self) -> list[str]:
        """Return what ``exposure`` says of it, for people."""
        if not self.members:
            return []
        silent = [name for name in self.members if name not in self.up]
        who = f"catalogue: kept by {', '.join(self.members)}; any {self.quorum} of them decide"
        verb = "does" if len(silent) == 1 else "do"
        lines = [who + (f"; {', '.join(silent)} {verb} not answer" if silent else "")]
        worst = self.worst()
        if worst == [()]:
            return [*lines, f"  already now: {STOPS}"]
        shown = " or ".join(" + ".join(each) for each in worst[:_SHOWN])
        more = f" (and {len(worst) - _SHOWN} more)" if len(worst) > _SHOWN else ""
        return [*lines, f"  without {shown}{more}: {STOPS}"] if worst else lines

    def lines_without(self, nodes: Collection[str]) -> list[str]:
        """Return what becomes of it when exactly these nodes go."""
        if not self.members:
            return []
        lines = [STOPS] if self.stops_without(nodes) else []
        return [*lines, f"if their data is gone: {LOSES}"] if self.loses_without(nodes) else lines
