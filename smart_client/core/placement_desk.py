"""Where fragments lie now: asked for when what is known seems out of date, and taken in.

known ──a fragment is missing, or too few holders answer──▶ asked ──PlacementKnown──▶ known
  ▲                                                           │
  └──────────── PlacementUnknown: again after a pause ────────┘
"""

from collections.abc import Sequence
from math import inf
from typing import Final

from smart_client.core import commands, events
from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.demand import Demand
from smart_client.core.distrust import Distrust
from smart_client.core.node_desk import NodeDesk
from smart_client.core.state import Handlers, SessionState
from smart_client.wire import ChunkRecord

# Between questions. The first answer mostly helps; one that does not is no reason for thousands of
# players to ask all the time: what they miss is made again within minutes, or comes back by itself.
ASK_PAUSE_FIRST_S: Final = 2.0
ASK_PAUSE_MAX_S: Final = 60.0

# A node that is away for less is mostly only uneven (see ``node_table``): no reason to ask.
AWAY_S: Final = 3.0

# How often, and for how many of the most urgent chunks, it is counted who still answers.
LOOK_EVERY_S: Final = 0.5
LOOK_CHUNKS_MAX: Final = 64


class PlacementDesk:
    """Responsible for asking where fragments lie, seldom, and for what the answers change."""

    def __init__(
        self, state: SessionState, demand: Demand, distrust: Distrust, nodes: NodeDesk
    ) -> None:
        self.state = state
        self.demand = demand
        self.distrust = distrust
        self.nodes = nodes
        self._is_asked = False
        self._asked_about: set[int] = set()  # what was stale by then
        self._changed = 0  # chunks, by the answer so far
        self._next_ask_s = 0.0
        self._next_look_s = 0.0
        self._pause_s = ASK_PAUSE_FIRST_S

    def handlers(self) -> Handlers:
        """Return which method takes which event."""
        return {
            events.PlacementKnown: self._placement_known,
            events.PlacementUnknown: self._placement_unknown,
        }

    def next_ask_s(self) -> float:
        """Return when to ask for the sake of what is missing; infinity while nothing is."""
        waits = self.state.stale and not self._is_asked and self.state.buffer.readers
        return self._next_ask_s if waits else inf

    def ask_if_stale(self) -> None:
        """Ask when what is known cannot be right, or does not help; one question at a time."""
        state = self.state
        if self._is_asked or state.now_s < self._next_ask_s or not state.buffer.readers:
            return
        if state.stale or self._too_few_answer():
            if state.now_s - self._next_ask_s > ASK_PAUSE_MAX_S:
                self._pause_s = ASK_PAUSE_FIRST_S  # the last trouble is long over
            self._is_asked = True
            self._asked_about = set(state.stale)
            state.out.append(commands.AskPlacement())

    # -- why -------------------------------------------------------------------------------------

    def _too_few_answer(self) -> bool:
        """Whether a wanted chunk cannot be had from the nodes that answer; looked at seldom."""
        state = self.state
        if state.now_s < self._next_look_s:
            return False
        self._next_look_s = state.now_s + LOOK_EVERY_S
        away = {
            node.index
            for node in state.nodes.nodes
            if node.is_suspect and state.now_s - node.suspect_since_s >= AWAY_S
        }
        return any(
            _answering(state.chunks[index], away) < state.chunks[index].k
            for index in state.order[:LOOK_CHUNKS_MAX]
        )

    # -- answers ---------------------------------------------------------------------------------

    def _placement_unknown(self, _: events.PlacementUnknown) -> None:
        self._answered(helps=False)

    def _placement_known(self, event: events.PlacementKnown) -> None:
        state = self.state
        problem = self._problem_with(event)
        if problem:
            state.out.append(commands.Notice("misplaced", reason=problem))
            self._answered(helps=False)
            return
        self.nodes.add(event.node_ids[len(state.nodes) :])
        news = [record for record in event.chunks if self._is_news(record)]
        for record in news:
            state.relocate(record)
            state.stale.discard(record.number)
            self.distrust.relocated(record.number)
        self._changed += len(news)
        if not event.more:
            self._end_of_answer()

    def _end_of_answer(self) -> None:
        state, changed = self.state, self._changed
        if changed:
            state.out.append(commands.Notice("relocated", reason=str(changed)))
        # Chunks that were missing already when this was asked: a fragment may have been made again
        # where it was. The others are hopeless until it is asked again, and readers may be told so.
        for index in state.order:
            chunk = state.chunks[index]
            if index not in state.stale and chunk.missing and chunk.usable_fragments() < chunk.k:
                chunk.forgive(chunk.missing)
        state.stale -= self._asked_about
        self.demand.reorder()
        self._answered(helps=changed > 0)

    def _answered(self, *, helps: bool) -> None:
        self._is_asked = False
        self._changed = 0
        if helps:
            self._pause_s = ASK_PAUSE_FIRST_S
        self._next_ask_s = self.state.now_s + self._pause_s
        self._pause_s = min(ASK_PAUSE_MAX_S, 2 * self._pause_s)

    def _problem_with(self, event: events.PlacementKnown) -> str:
        """Return why this is no answer for this session; empty if it is one."""
        state = self.state
        if not _extend(event.node_ids, [node.id for node in state.nodes.nodes]):
            return "its nodes are not those of this session"
        for record in event.chunks:
            if not record.number < len(state.records):
                return f"chunk {record.number} does not exist"
            if _identity(record) != _identity(state.records[record.number]):
                return f"chunk {record.number} is another one"
        return ""

    def _is_news(self, record: ChunkRecord) -> bool:
        """Whether it differs from what is known and is not older."""
        known = self.state.records[record.number]
        return record != known and record.generation >= known.generation


def _answering(chunk: ChunkProgress, away: set[int]) -> int:
    """Return how many fragments nodes in good standing may serve; a whole copy counts as k."""
    return sum(
        chunk.k if chunk.is_copy[fragment] else 1
        for fragment, node in chunk.node_of.items()
        if node not in away and fragment not in chunk.bad_fragments
    )


def _identity(record: ChunkRecord) -> tuple[int, int, int, str]:
    return record.number, record.offset, record.size, record.sha256


def _extend(node_ids: Sequence[str], known: Sequence[str]) -> bool:
    """Whether these are the known nodes in their order, and then others, none twice."""
    return list(node_ids[: len(known)]) == list(known) and len(set(node_ids)) == len(node_ids)
