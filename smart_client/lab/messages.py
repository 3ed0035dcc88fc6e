"""What the lab and its processes tell each other, a JSON line each."""

import sys
from collections.abc import Iterator

import msgspec

from smart_client.lab.script import NodeScript


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Behave as the script says from an instant on (of the monotonic clock of this machine)."""

    at_s: float
    nodes: tuple[NodeScript, ...]  # a front is told its own only


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """Behave well again and say what was seen."""


Order = Begin | Finish


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The process does its work from now on."""


class SwitchReport(msgspec.Struct, frozen=True, tag="switch"):
    """What crossed the switch, and how late the switch itself was."""

    payload_bytes: tuple[int, ...]  # TCP payload from each node, also what was sent twice
    frames: int
    late_p99_s: float  # a frame left this much after it was due
    late_max_s: float


class FrontReport(msgspec.Struct, frozen=True, tag="front"):
    """What a front saw."""

    requests: int
    head_bytes: int  # of answers that the client was sent
    late_max_s: float  # an answer began this much after it should have


def tell(message: msgspec.Struct) -> None:
    """Print one line for the lab."""
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


class Orders:
    """Responsible for putting lines together again from what a pipe hands over."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Order)
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Order]:
        """Yield the orders that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield self._decoder.decode(line)
