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

# Longer waits are no measurement: nodes were away, or nobody looked.
WAIT_S_MAX = 1.5

# What was measured longer ago says nothing of the link as it is.
AGE_S_MAX = 60.0


class LinkSpeed:
    """Responsible for one estimate: bytes a second while somebody waits."""

    def __init__(self) -> None:
        self._bytes = 0.0
        self._waited_s = 0.0
        self._measured_at_s = 0.0

    def waited(self, node_bytes: int, waited_s: float, now_s: float) -> None:
        """Note how many bytes came from all nodes while somebody waited that long.

        A wait without a byte is an outage, not a speed.
        """
        if node_bytes <= 0 or not 0 < waited_s <= WAIT_S_MAX:
            return
        kept = math.exp2(-waited_s / HALF_LIFE_S)
        self._bytes = self._bytes * kept + node_bytes
        self._waited_s = self._waited_s * kept + waited_s
        self._measured_at_s = now_s

    def bytes_per_s(self, now_s: float) -> float | None:
        """Return the estimate; None: there is none, or none that is fresh."""
        if self._waited_s < KNOWN_FROM_S or now_s - self._measured_at_s > AGE_S_MAX:
            return None
        return self._bytes / self._waited_s

    def pace_s(self, size: int, now_s: float, *, floor_bytes_per_s: float) -> float:
        """Return the time that so many bytes of an answer may take at least.

        Args: floor_bytes_per_s: what is played at this rate is never handed out more slowly.
        """
        speed = self.bytes_per_s(now_s)
        return 0.0 if speed is None else size / max(HEADROOM * speed, floor_bytes_per_s)
