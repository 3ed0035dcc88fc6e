"""Measures what a client sees of each node: round trips and rates. A process of its own.

    python -m smart_client.lab.yardstick

Plain blocking sockets, so that nothing but the network is measured.
"""

import socket
import statistics
import sys
import threading
import time

import msgspec

from smart_client.lab import plan
from smart_client.lab.messages import Begin, Ready, tell
from smart_client.lab.punctuality import hurry

_SOCKET_TIMEOUT_S = 30.0
_READ_BYTES = 256 * 1024

# The first seconds belong to slow start.
_WARM_UP_S = 2.0


class Measure(msgspec.Struct, frozen=True, tag="measure"):
    """Measure every node; ``Begin`` follows."""

    keys: tuple[str, ...]  # of one large fragment on each node
    round_trips: int
    rate_s: float  # how long bytes are counted


class NodeSeen(msgspec.Struct, frozen=True):
    """What was seen of one node: medians, and the mean rate."""

    connect_s: float
    connect_max_s: float
    request_s: float  # from a request for one byte to the answer
    bytes_per_s: float


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """What was seen of all nodes."""

    nodes: tuple[NodeSeen, ...]


def _request(key: str, last: int | str) -> bytes:
    return f"GET /v1/chunks/{key} HTTP/1.1\r\nHost: lab\r\nRange: bytes=0-{last}\r\n\r\n".encode()


def _connect(node: int) -> socket.socket:
    address = (plan.node_address(node), plan.FRONT_PORT)
    return socket.create_connection(address, timeout=_SOCKET_TIMEOUT_S)


def _round_trips(node: int, key: str, count: int) -> tuple[list[float], list[float]]:
    connects_s, requests_s = [], []
    for _ in range(count):
        began_s = time.monotonic()
        with _connect(node) as connection:
            connected_s = time.monotonic()
            connection.sendall(_request(key, 0))
            # Head and byte come in one packet or two: the last byte is what counts.
            answer = b""
            while not answer.partition(b"\r\n\r\n")[2]:
                answer += connection.recv(_READ_BYTES)
            requests_s.append(time.monotonic() - connected_s)
            connects_s.append(connected_s - began_s)
    return connects_s, requests_s


def _count_bytes(node: int, order: Measure, rates: list[float]) -> None:
    """Read one long answer after the other; note the mean rate after the first seconds."""
    with _connect(node) as connection:
        began_s = time.monotonic()
        counts_from_s, counted, left = began_s + _WARM_UP_S, 0, 0
        first_s = last_s = 0.0
        while (now_s := time.monotonic()) < counts_from_s + order.rate_s:
            if left <= 0:
                connection.sendall(_request(order.keys[node], ""))
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(1)
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                left = int(length)
            got = len(connection.recv(min(left, _READ_BYTES)))
            left -= got
            if now_s >= counts_from_s:
                if first_s:
                    counted += got
                    last_s = time.monotonic()
                else:
                    first_s = time.monotonic()
        rates[node] = counted / (last_s - first_s)


def measure(order: Measure) -> Measured:
    """Measure round trips one node after the other, then all rates at once."""
    nodes = range(len(order.keys))
    trips = [_round_trips(node, order.keys[node], order.round_trips) for node in nodes]
    rates = [0.0] * len(order.keys)
    threads = [threading.Thread(target=_count_bytes, args=(node, order, rates)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Measured(
        tuple(
            NodeSeen(
                connect_s=statistics.median(connects_s),
                connect_max_s=max(connects_s),
                request_s=statistics.median(requests_s),
                bytes_per_s=rate,
            )
            for (connects_s, requests_s), rate in zip(trips, rates, strict=True)
        )
    )


def main() -> None:
    """Measure when told."""
    hurry()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Measure)
    tell(Ready())
    begin = msgspec.json.decode(sys.stdin.buffer.readline(), type=Begin)
    time.sleep(max(0.0, begin.at_s - time.monotonic()))
    tell(measure(order))


if __name__ == "__main__":
    main()
