"""Which videos stop, and which are lost, when nodes go: exactly, for every 1 to 3 of them. Pure.

A video *stops* when some chunk of it has neither a whole copy nor k coded pieces on nodes that
answer. It is *lost* when the same holds of all nodes whose data is still there, answering or not.
Chunks with the same k on the same nodes live and die together, so what is computed with is the
few distinct *shapes* of a video, not its thousands of chunks.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from redundancy.errors import UsageError

Flags = npt.NDArray[np.bool_]

# Combinations judged at once, times shapes: 64 MB of counts at most.
_CELLS_MAX = 8_000_000

# Up to so many nodes every state of the cluster is weighed; 2^14 of them take a second or so.
_NODES_ENUMERATED_MAX = 14


class Shape(Protocol):
    """How a chunk lies: ``storage_server.coordinator.layouts.ChunkShape`` is one."""

    @property
    def k(self) -> int:
        """Coded pieces needed."""

    @property
    def coded(self) -> tuple[str, ...]:
        """The node of each coded piece; with k = 1 each is a whole copy."""

    @property
    def copies(self) -> tuple[str, ...]:
        """The node of each whole copy besides."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """A shape as plain data."""

    k: int
    coded: tuple[str, ...]
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Harm:
    """What happens when some nodes go."""

    nodes: tuple[str, ...]
    stopped: tuple[str, ...]  # videos that played until then, and stop while the nodes are away
    lost: tuple[str, ...]  # videos that are gone if the nodes' data is

    @property
    def is_safe(self) -> bool:
        """Whether nothing at all happens."""
        return not self.stopped and not self.lost


@dataclass(frozen=True, slots=True)
class Chance:
    """A probability, or an expected number, between two bounds that may be equal."""

    low: float
    high: float


class Exposure:
    """Responsible for judging sets of missing nodes against where every chunk lies."""

    def __init__(
        self,
        videos: Mapping[str, Iterable[Shape]],
        nodes: Sequence[str],
        *,
        away: Iterable[str] = (),
        gone: Iterable[str] = (),
    ) -> None:
        """Take note of what lies where.

        Args:
            videos: the distinct shapes of each video's chunks, by its name.
            nodes: all that may go. Others in the shapes count as gone.
            away: nodes that do not answer, and whose data may come back.
            gone: nodes whose data will not.
        """
        self.videos = sorted(videos)
        self.nodes = list(dict.fromkeys(nodes))
        self._column = {node: column for column, node in enumerate(self.nodes)}
        gone = set(gone)
        self._kept = np.array([node not in gone for node in self.nodes], dtype=bool)
        absent = set(away) | gone
        self._up = np.array([node not in absent for node in self.nodes], dtype=bool)
        self._read(videos)
        none = np.zeros((1, len(self.nodes)), dtype=bool)
        self._stopped_now = self._judge(none, self._up)[0]
        self._lost_now = self._judge(none, self._kept)[0]

    def _read(self, videos: Mapping[str, Iterable[Shape]]) -> None:
        """Turn shapes into rows of counts: how many pieces of each lie on each node."""
        numbers: dict[tuple[int, tuple[str, ...], tuple[str, ...]], int] = {}
        of_videos: list[list[int]] = []
        for name in self.videos:
            keys = {(each.k, tuple(each.coded), tuple(each.copies)) for each in videos[name]}
            of_videos.append([numbers.setdefault(key, len(numbers)) for key in sorted(keys)])
        coded = np.zeros((len(numbers), len(self.nodes)), dtype=np.float32)
        whole = np.zeros_like(coded)
        needed = np.zeros(len(numbers), dtype=np.float32)
        for (k, on, copies_on), row in numbers.items():
            needed[row] = k
            self._count(coded[row], on)
            self._count(whole[row], copies_on)
        self._coded, self._whole, self._needed = coded, whole, needed
        self._has_chunks = np.array([bool(each) for each in of_videos], dtype=bool)
        self._shapes_in_order = np.array(list(itertools.chain(*of_videos)), dtype=np.intp)
        lengths = [len(each) for each in of_videos if each]
        self._begins = np.cumsum([0, *lengths[:-1]]) if lengths else np.zeros(0, dtype=np.intp)

    def _count(self, row: npt.NDArray[np.float32], nodes: Iterable[str]) -> None:
        for node in nodes:
            column = self._column.get(node)
            if column is not None:
                row[column] += 1

    # -- judging ---------------------------------------------------------------------------------

    def _judge(self, missing: Flags, present: Flags) -> Flags:
        """Return which videos cannot be had: combinations x videos.

        Args:
            missing: combinations x nodes.
            present: of each node, whether its pieces count while it is not missing.
        """
        found = np.zeros((len(missing), len(self.videos)), dtype=bool)
        if not len(self._shapes_in_order) or not len(missing):
            return found
        at_once = max(1, _CELLS_MAX // max(1, len(self._shapes_in_order)))
        for first in range(0, len(missing), at_once):
            there = (~missing[first : first + at_once] & present).astype(np.float32)
            dead = (self._coded @ there.T < self._needed[:, None]) & (self._whole @ there.T == 0)
            of_videos = np.logical_or.reduceat(dead[self._shapes_in_order], self._begins, axis=0)
            found[first : first + at_once, self._has_chunks] = of_videos.T
        return found

    def _flags(self, combinations: Sequence[tuple[int, ...]]) -> Flags:
        flags = np.zeros((len(combinations), len(self.nodes)), dtype=bool)
        for row, columns in enumerate(combinations):
            flags[row, list(columns)] = True
        return flags

    def harms(self, count: int) -> Iterator[Harm]:
        """Return what every combination of ``count`` nodes does, in the order of the nodes.

        Videos that are stopped or lost already are left out: see ``now``.
        """
        combinations = list(itertools.combinations(range(len(self.nodes)), count))
        flags = self._flags(combinations)
        stopped = self._judge(flags, self._up) & ~self._stopped_now
        lost = self._judge(flags, self._kept) & ~self._lost_now
        for columns, stops, loses in zip(combinations, stopped, lost, strict=True):
            nodes = tuple(self.nodes[column] for column in columns)
            yield Harm(nodes, self._names(stops), self._names(loses))

    def harm(self, nodes: Iterable[str]) -> Harm:
        """Return what it does when exactly these nodes go, any number of them.

        Raises: UsageError: there is no such node.
        """
        names = tuple(dict.fromkeys(nodes))
        unknown = [name for name in names if name not in self._column]
        if unknown:
            raise UsageError(f"no node '{unknown[0]}'", hint=f"there are {', '.join(self.nodes)}")
        flags = self._flags([tuple(self._column[name] for name in names)])
        stopped = self._judge(flags, self._up)[0] & ~self._stopped_now
        lost = self._judge(flags, self._kept)[0] & ~self._lost_now
        return Harm(names, self._names(stopped), self._names(lost))

    def now(self) -> Harm:
        """Return what is stopped and lost already, with nothing more missing."""
        return Harm((), self._names(self._stopped_now), self._names(self._lost_now))

    def _names(self, flags: Flags) -> tuple[str, ...]:
        return tuple(self.videos[number] for number in np.flatnonzero(flags))

    # -- chance ----------------------------------------------------------------------------------

    def expected(self, uptime: Mapping[str, float]) -> tuple[Chance, dict[str, Chance]]:
        """Return how many videos cannot be played at a random instant, and the chance of each.

        Every node is up or down independently, whatever it is now; only what is gone stays so.
        Up to 14 nodes every state is weighed and the bounds are equal. With more, states of more
        than 3 missing nodes are not: their whole probability is the gap between the bounds.

        Args:
            uptime: share of the time each node answers; 1 where it is not named.
        """
        shares = np.array([uptime.get(node, 1.0) for node in self.nodes])
        if not ((shares >= 0) & (shares <= 1)).all():
            raise UsageError("an availability is between 0 and 1")
        depth = len(self.nodes) if len(self.nodes) <= _NODES_ENUMERATED_MAX else 3
        chances = np.zeros(len(self.videos))
        weighed: list[float] = []
        for count in range(depth + 1):
            combinations = list(itertools.combinations(range(len(self.nodes)), count))
            flags = self._flags(combinations)
            weights = np.where(flags, 1.0 - shares, shares).prod(axis=1)
            chances += weights @ self._judge(flags, self._kept)
            weighed.append(math.fsum(weights))
        gap = max(0.0, 1.0 - math.fsum(weighed)) if depth < len(self.nodes) else 0.0
        each = {
            name: Chance(float(chance), min(1.0, float(chance) + gap))
            for name, chance in zip(self.videos, chances, strict=True)
        }
        total = math.fsum(chance.low for chance in each.values())
        return Chance(total, total + gap * len(self.videos)), each
