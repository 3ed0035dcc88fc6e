"""How fast bytes come from the nodes while a player waits for some, all renditions together.

A player chooses its rendition by how fast segments arrive. What the gateway has already arrives in
no time, so the player takes the link for ten times as fast as it is, asks for the best rendition,
and its buffer is empty before the first such segment is there (measured: hls.js on a link of 0.68
of the top rendition, 1-2 stalls of up to 5 s). So a ladder's bytes are handed out no faster than
they could have come.
"""

import math

# The weight of what was measured halves with so much waiting since.
HALF_LIFE_S = 4.0

# Before so much was measured nothing is known: a first row is mostly round trips.
KNOWN_FROM_S = 0.1

# Handed out a little faster than the link, so that a guess too low corrects itself: a player that
# dares more makes larger requests, and those measure better.
HEADROOM = 1.25


class LinkSpeed:
    """Responsible for one estimate: bytes a second while somebody waits."""

    def __init__(self) -> None:
        self._bytes = 0.0
        self._waited_s = 0.0

    def waited(self, node_bytes: int, waited_s: float) -> None:
        """Note how many bytes came from all nodes while somebody waited that long."""
        if waited_s <= 0:
            return
        kept = math.exp2(-waited_s / HALF_LIFE_S)
        self._bytes = self._bytes * kept + node_bytes
        self._waited_s = self._waited_s * kept + waited_s

    @property
    def bytes_per_s(self) -> float | None:
        """The estimate; None: nobody had to wait for long enough."""
        if self._waited_s < KNOWN_FROM_S or not self._bytes:
            return None
        return self._bytes / self._waited_s

    def earliest_s(self, sent_bytes: int) -> float:
        """Return how long after its beginning an answer may have sent so many bytes."""
        speed = self.bytes_per_s
        return 0.0 if speed is None else sent_bytes / (HEADROOM * speed)
