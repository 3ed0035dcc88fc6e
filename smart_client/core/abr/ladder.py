"""A ladder: the same video in several renditions, cut at the same instants."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from smart_client.errors import InvalidRequest
from smart_client.wire import ChunkRecord

# Renditions are cut by one set of keyframes; containers round their times to a millisecond or so.
CUT_TOLERANCE_S = 0.01


@dataclass(frozen=True, slots=True)
class Ladder:
    """Renditions of one video, the lowest first; unit i of each is the same stretch of media."""

    renditions: tuple[tuple[ChunkRecord, ...], ...]

    def __post_init__(self) -> None:
        if not self.renditions or not self.renditions[0]:
            raise InvalidRequest("a ladder needs a rendition with a unit")
        if len({len(rendition) for rendition in self.renditions}) != 1:
            raise InvalidRequest("the renditions of a ladder have equally many units")
        for records in zip(*self.renditions, strict=True):
            begin, ends = records[0], [record.start_s + record.duration_s for record in records]
            if any(abs(r.start_s - begin.start_s) > CUT_TOLERANCE_S for r in records):
                raise InvalidRequest(f"unit {begin.number}: the renditions do not begin together")
            if max(ends) - min(ends) > CUT_TOLERANCE_S or begin.duration_s <= 0:
                raise InvalidRequest(f"unit {begin.number}: the renditions do not end together")
        rates = self.bitrates
        if any(low >= high for low, high in pairwise(rates)):
            raise InvalidRequest("the renditions of a ladder stand in the order of their bitrates")

    @property
    def bitrates(self) -> tuple[float, ...]:
        """Bytes of each rendition in a second of media, on average."""
        last = self.renditions[0][-1]
        seconds = last.start_s + last.duration_s - self.renditions[0][0].start_s
        return tuple(sum(record.size for record in r) / seconds for r in self.renditions)

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The bytes of every unit in every rendition."""
        return tuple(tuple(r.size for r in records) for records in self._units())

    def positions(self) -> list[ChunkRecord]:
        """Return the largest record of every unit: positions in a session are positions in these.

        So every rendition has room in its unit's place, and a position keeps its media time
        whatever is chosen.
        """
        return [max(records, key=lambda record: record.size) for records in self._units()]

    def _units(self) -> Sequence[tuple[ChunkRecord, ...]]:
        return list(zip(*self.renditions, strict=True))
