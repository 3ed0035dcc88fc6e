"""What a lab does to each node and when, made from a world. Pure, and plain enough to be sent.

A world says what the client sees. What the client sees at an instant left the node half a round
trip before, so everything done at the node is done that much earlier.
"""

from collections.abc import Iterable, Sequence

import msgspec

from smart_client.simulator.node_model import Fault, FaultKind, NodeModel, ThinkTimes

# Faults that are a matter of the link's rate; the others are a matter of the answers.
_RATE_FAULTS = (FaultKind.DRIP, FaultKind.SLOW)


class Spell(msgspec.Struct, frozen=True):
    """Something is the case in [start_s, stop_s)."""

    start_s: float
    stop_s: float


class RateStep(msgspec.Struct, frozen=True):
    """From an instant on a link carries this much."""

    at_s: float
    bytes_per_s: float


class NodeScript(msgspec.Struct, frozen=True, kw_only=True):
    """One node's life in a session; instants count from its start. ``holds`` is for the switch."""

    one_way_s: float
    rates: tuple[RateStep, ...]  # the first one at the start or before it
    frozen: tuple[Spell, ...]
    refusing: tuple[Spell, ...]
    garbling: tuple[Spell, ...]
    holds: tuple[Spell, ...]  # no payload reaches the client
    think: ThinkTimes


class Holds:
    """Responsible for when a frame reaches the other side; keeps the frames' order."""

    def __init__(self, one_way_s: float, spells: Iterable[Spell]) -> None:
        self.one_way_s = one_way_s
        self._spells = sorted(spells, key=lambda spell: spell.start_s)

    def due_s(self, sent_s: float, has_payload: bool) -> float:
        """Return when a frame is due that was sent at an instant.

        A frozen node's kernel still shakes hands, so frames without payload are never held.
        """
        due_s = sent_s + self.one_way_s
        if has_payload:
            for spell in self._spells:
                if spell.start_s <= due_s < spell.stop_s:
                    due_s = spell.stop_s
        return due_s


def node_scripts(nodes: Sequence[NodeModel], until_s: float) -> tuple[NodeScript, ...]:
    """Return what to do to each node of a world, up to an instant."""
    return tuple(_node_script(node, until_s) for node in nodes)


def _node_script(node: NodeModel, until_s: float) -> NodeScript:
    one_way_s = node.rtt_s / 2
    assert node.think_times is not None, "a world's nodes think by the request"

    def spells(kind: FaultKind, early_s: float) -> tuple[Spell, ...]:
        found = (fault for fault in node.faults if fault.kind is kind and fault.start_s < until_s)
        seen = (_seen(node, fault, until_s, early_s) for fault in found)
        # What is over before the first request could meet it never was.
        return tuple(spell for spell in seen if spell.stop_s > spell.start_s)

    return NodeScript(
        one_way_s=one_way_s,
        rates=_rate_steps(node, until_s, one_way_s),
        frozen=spells(FaultKind.FREEZE, one_way_s),
        refusing=spells(FaultKind.REFUSE, one_way_s),
        garbling=spells(FaultKind.GARBAGE, one_way_s),
        holds=spells(FaultKind.FREEZE, 0.0),
        think=node.think_times,
    )


def _seen(node: NodeModel, fault: Fault, until_s: float, early_s: float) -> Spell:
    """Return when the client meets a fault, or when the node does; all numbers are finite."""
    # Whatever lasts beyond the end lasts well beyond it: an answer must not slip out at the last.
    stop_s = min(node.recovers_s(fault), 2 * until_s + 60)
    return Spell(max(0.0, fault.start_s - early_s), stop_s - early_s)


def _rate_steps(node: NodeModel, until_s: float, early_s: float) -> tuple[RateStep, ...]:
    link = NodeModel(
        bytes_per_s=node.bytes_per_s,
        rtt_s=node.rtt_s,
        faults=tuple(fault for fault in node.faults if fault.kind in _RATE_FAULTS),
    )
    steps: list[RateStep] = []
    at_s = 0.0
    while at_s < until_s:
        bytes_per_s = link.capacity_at(at_s)
        if not steps or steps[-1].bytes_per_s != bytes_per_s:
            steps.append(RateStep(at_s - early_s, bytes_per_s))
        at_s = link.next_change_s(at_s)
    return tuple(steps)
