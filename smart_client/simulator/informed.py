"""What measuring costs and what foresight is worth: our scheduler, told how every node fares now.

It knows each node's present capacity, round trip and fault, of which a client only sees what its
own requests show; it does not know the future. What it waits beyond the optimum is the price of
not knowing the future (and of our rules), what ``smart`` waits beyond it that of having to measure.
It exists in the simulator only: no client can be told.
"""

from smart_client.core.events import Event, FailureKind, PieceFailed
from smart_client.core.session import Session
from smart_client.simulator.network import FaultKind, Network

# How ``compare --schedulers`` names it.
INFORMED = "informed"

# A dead node is looked at again this soon.
LOOK_AGAIN_S = 0.05


def tell_the_present(session: Session, network: Network) -> list[Event]:
    """Set what the session believes of every node to the truth; return what follows from it."""
    happened: list[Event] = []
    for node, model in zip(session.state.nodes.nodes, network.nodes, strict=True):
        node.rtt.smoothed_s, node.rtt.deviation_s = model.rtt_s, 0.0
        node.rate.seed(max(1.0, model.capacity_at(network.now_s)))
        if model.fault_at(network.now_s) in (FaultKind.REFUSE, FaultKind.FREEZE):
            if not node.is_suspect:
                node.suspect_since_s = network.now_s
            node.suspect_until_s = network.now_s + LOOK_AGAIN_S
            for piece in node.pieces:
                network.cancel(piece.id)
                happened.append(PieceFailed(piece.id, FailureKind.SILENT, piece.received_bytes))
        elif node.is_suspect:
            node.suspect_since_s, node.suspect_until_s, node.backoff_s = -1.0, 0.0, 0.0
    return happened
