"""BOLA: the rendition that is worth most for its bytes at this buffer; and DYNAMIC, its switch."""

import math

from smart_client.core.abr.contract import UNKNOWN, Choice, Situation
from smart_client.core.abr.simple import RateBased

# dash.js, BolaRule: from this level on anything but the lowest rendition may be chosen ...
MINIMUM_BUFFER_S = 10.0
# ... and the highest from this much more for every rendition, or from the stable level if higher.
MINIMUM_BUFFER_PER_BITRATE_S = 2.0

# dash.js, streaming.buffer.bufferTimeDefault (stableBufferTime before version 4).
STABLE_BUFFER_S = 12.0

# dash.js, AbrController: BOLA takes over at the stable level and hands back below half of it.
SWITCH_OFF_SHARE = 0.5

# dash.js, InsufficientBufferRule: a unit must come within this share of what is buffered.
INSUFFICIENT_SHARE = 0.7


class Bola:
    """Responsible for maximising (V (utility + g) - buffer) / size, utility being ln(bitrate).

    Source: Spiteri, Urgaonkar and Sitaraman, "BOLA: near-optimal bitrate adaptation for online
    videos", INFOCOM 2016 (here in seconds), with dash.js' constants and its BOLA-O: no step up
    beyond what the throughput carries.
    """

    name = "bola"

    def choose(self, situation: Situation) -> Choice:
        """Return the rendition with the highest score; of equals the higher one."""
        if situation.top == 0:
            return Choice(0, "there is only one")
        best = self._by_buffer(situation)
        if situation.bytes_per_s != UNKNOWN and best > situation.last >= 0:
            fitting = situation.best_within(situation.bytes_per_s)
            if best > fitting:
                return Choice(max(fitting, situation.last), "the buffer has more than the nodes")
        return Choice(best, "worth most at this buffer")

    @staticmethod
    def _by_buffer(situation: Situation) -> int:
        rates = situation.bitrates
        utilities = [math.log(rate / rates[0]) + 1 for rate in rates]
        full_s = max(STABLE_BUFFER_S, MINIMUM_BUFFER_S + MINIMUM_BUFFER_PER_BITRATE_S * len(rates))
        # The lowest is best up to MINIMUM_BUFFER_S, the highest from full_s on.
        gain = (utilities[-1] - 1) / (full_s / MINIMUM_BUFFER_S - 1)
        weight = MINIMUM_BUFFER_S / gain
        level_s = situation.level_s
        scores = [
            (weight * (utility + gain) - level_s) / rate
            for utility, rate in zip(utilities, rates, strict=True)
        ]
        return max(range(len(rates)), key=lambda index: (scores[index], index))


class Dynamic:
    """Responsible for BOLA while the buffer is well filled, the throughput's rule while it is not.

    Source: Spiteri, Sitaraman and Sparacio, "From theory to practice: improving bitrate adaptation
    in the DASH reference player", MMSys 2018, as in dash.js: the switch with its hysteresis, and
    the rule against an insufficient buffer.
    """

    name = "bola-dynamic"

    def __init__(self) -> None:
        self._rate, self._bola = RateBased(), Bola()
        self._by_buffer = False

    def choose(self, situation: Situation) -> Choice:
        """Return the active rule's choice, held back when the buffer is too short for it."""
        level_s = situation.level_s
        share = SWITCH_OFF_SHARE if self._by_buffer else 1.0
        self._by_buffer = level_s > share * STABLE_BUFFER_S
        choice = (self._bola if self._by_buffer else self._rate).choose(situation)
        if situation.last < 0:
            return choice
        within = INSUFFICIENT_SHARE * situation.bytes_per_s * level_s / situation.unit_s
        safe = situation.best_within(within)
        return choice if choice.rendition <= safe else Choice(safe, "the buffer is short")
