"""Worlds in which fragments move while a session plays; somebody knows where to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from smart_client.core import commands, events
from smart_client.core.events import FailureKind
from smart_client.placing import placement_events
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import Flow, Happening
from smart_client.wire import ChunkRecord, FragmentRecord, LayoutRecord


def stored_as(
    chunks: Sequence[ChunkRecord], k: int, n: int, *, nodes: int = 5
) -> list[ChunkRecord]:
    """Return the same chunks, stored anew in another layout."""
    return [
        msgspec.structs.replace(
            chunk,
            layout=LayoutRecord(k=k, n=n),
            generation=chunk.generation + 1,
            fragments=tuple(
                FragmentRecord(
                    index=index,
                    node=f"node-{(chunk.number + 2 + index) % nodes}",
                    key=f"{(chunk.generation + 1) * 10**6 + chunk.number * 1000 + index:064x}",
                )
                for index in range(n)
            ),
        )
        for chunk in chunks
    ]


def moved_to(
    chunks: Sequence[ChunkRecord], new_homes: dict[str, str], first: int = 0
) -> list[ChunkRecord]:
    """Return the same chunks; from ``first`` on, what lay on some nodes lies on others."""
    return [
        msgspec.structs.replace(
            chunk,
            fragments=tuple(
                msgspec.structs.replace(each, node=new_homes.get(each.node, each.node))
                for each in chunk.fragments
            ),
        )
        if chunk.number >= first
        else chunk
        for chunk in chunks
    ]


@dataclass(slots=True)
class MovingEngine(Engine):
    """Responsible for a session's virtual life while ``truth`` says what is stored where.

    Requests for what is not there are answered 404. Questions are answered at once, with what the
    ``catalogue`` says if that is not the truth, unless nobody ``answers``.
    """

    truth: list[ChunkRecord] = field(default_factory=list)
    changes: list[tuple[float, list[ChunkRecord]]] = field(default_factory=list)
    all_nodes: tuple[str, ...] = ()
    answers: bool = True
    catalogue: list[ChunkRecord] | None = None
    asked_s: list[float] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)  # requests

    def _apply(self, command: commands.Command) -> Sequence[events.Event]:
        while self.changes and self.changes[0][0] <= self.network.now_s:
            self.truth = self.changes.pop(0)[1]
        match command:
            case commands.Fetch() | commands.FetchFooter() if not self._is_there(command):
                self.missing.add(command.piece)
                return Engine._apply(self, command)
            case commands.AskPlacement():
                self.asked_s.append(self.network.now_s)
                if not self.answers:
                    return [events.PlacementUnknown()]
                says = self.truth if self.catalogue is None else self.catalogue
                return placement_events(self.session.state.records, says, self.all_nodes)
            case _:
                # Plain ``super()`` does not work in dataclasses with slots in CPython 3.11.
                return Engine._apply(self, command)

    def _translate(self, what: Happening, flow: Flow) -> list[events.Event]:
        if flow.number in self.missing and what in (Happening.FIRST_BYTE, Happening.DONE):
            self.network.cancel(flow.number)
            return [events.PieceFailed(flow.number, FailureKind.MISSING, 0)]
        return Engine._translate(self, what, flow)

    def _is_there(self, command: commands.Fetch | commands.FetchFooter) -> bool:
        named = self.session.state.records[command.chunk].fragments
        (fragment,) = (each for each in named if each.index == command.fragment)
        return fragment in self.truth[command.chunk].fragments


def moving(engine: Engine, chunks: Sequence[ChunkRecord], **settings) -> MovingEngine:
    """Return the engine's world with fragments that may move."""
    ids = tuple(f"node-{index}" for index in range(settings.pop("nodes", 5)))
    return MovingEngine(
        engine.session,
        engine.network,
        keeps_trace=True,
        truth=list(chunks),
        all_nodes=ids,
        **settings,
    )
