"""The lab's switch: every frame crosses it, half a round trip late. A process of its own.

    python -m smart_client.lab.switch NODES

Raw sockets hold the ends of all cables; nothing else forwards. So a connect really takes a round
trip, windows really grow once a round trip, and what a cancel left under way really arrives. Frames
go in and out with their offload header, because the kernel has not put a checksum into most.
Waits in ``select``, which counts in microseconds; asyncio counts in milliseconds.
"""

import contextlib
import heapq
import os
import select
import socket
import sys
import time

from smart_client.lab import plan
from smart_client.lab.messages import Begin, Finish, Orders, Ready, SwitchReport, tell
from smart_client.lab.punctuality import hurry, percentile_99
from smart_client.lab.script import Holds

_ETH_P_IP = 0x0800
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SOCKET_BYTES = 16 * 1024 * 1024
_VNET_BYTES = 10
_IP_AT = _VNET_BYTES + 14
_TCP = 6
_FRAME_BYTES_MAX = 128 * 1024
_FRAMES_AT_ONCE = 64
_ORDER_BYTES = 1024 * 1024


def tcp_payload_bytes(frame: bytes) -> int:
    """Return how much payload a frame carries (offload header first); -1: it is not TCP."""
    if len(frame) < _IP_AT + 40 or frame[_IP_AT + 9] != _TCP:
        return -1
    header_bytes = 4 * (frame[_IP_AT] & 15)
    data_at = _IP_AT + header_bytes + 12
    total_bytes = int.from_bytes(frame[_IP_AT + 2 : _IP_AT + 4])
    return total_bytes - header_bytes - 4 * (frame[data_at] >> 4)


class Switch:
    """Responsible for frames on their way; ``run`` returns when the orders end."""

    def __init__(self, nodes: int) -> None:
        self._client = _raw_socket(plan.HUB_CLIENT_DEVICE)
        self._nodes = [_raw_socket(plan.hub_device(index)) for index in range(nodes)]
        self._node_of = {
            socket.inet_aton(plan.node_address(index)): index for index in range(nodes)
        }
        self._sockets: dict[int, int] = {self._client.fileno(): -1}
        self._sockets |= {each.fileno(): index for index, each in enumerate(self._nodes)}
        self._holds = [Holds(0.0, ())] * nodes
        self._origin_s = 0.0
        self._under_way: list[tuple[float, int, int, bool, bytes]] = []
        self._count = 0
        self._payload_bytes = [0] * nodes
        self._late_s: list[float] = []

    def run(self) -> None:
        """Forward until the end of standard input."""
        orders, watched = Orders(), [0, *self._sockets]
        while True:
            wait_s = self._under_way[0][0] - time.monotonic() if self._under_way else 1.0
            for handle in select.select(watched, [], [], max(0.0, wait_s))[0]:
                if handle:
                    self._take(handle)
                    continue
                data = os.read(0, _ORDER_BYTES)
                if not data:
                    return
                for order in orders.feed(data):
                    self._obey(order)
            self._send_due()

    def _obey(self, order: Begin | Finish) -> None:
        match order:
            case Begin():
                self._origin_s = order.at_s
                self._holds = [Holds(node.one_way_s, node.holds) for node in order.nodes]
                self._payload_bytes = [0] * len(self._nodes)
                self._late_s = []
            case Finish():
                self._holds = [Holds(0.0, ())] * len(self._nodes)
                tell(
                    SwitchReport(
                        payload_bytes=tuple(self._payload_bytes),
                        frames=len(self._late_s),
                        late_p99_s=percentile_99(self._late_s),
                        late_max_s=max(self._late_s, default=0.0),
                    )
                )

    def _take(self, handle: int) -> None:
        """Read what has come on one cable and note when it is due at the other end."""
        node = self._sockets[handle]
        source = self._client if node < 0 else self._nodes[node]
        for _ in range(_FRAMES_AT_ONCE):
            try:
                frame = source.recv(_FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            now_s = time.monotonic()
            payload_bytes = tcp_payload_bytes(frame)
            if payload_bytes < 0:
                continue  # nothing but TCP belongs here
            to_node = node < 0
            if to_node:
                target = self._node_of.get(frame[_IP_AT + 16 : _IP_AT + 20], -1)
                if target < 0:
                    continue
                due_s = now_s + self._holds[target].one_way_s
            else:
                target = node
                held = self._holds[node]
                due_s = self._origin_s + held.due_s(now_s - self._origin_s, payload_bytes > 0)
                self._payload_bytes[node] += payload_bytes
            self._count += 1
            heapq.heappush(self._under_way, (due_s, self._count, target, to_node, frame))

    def _send_due(self) -> None:
        while self._under_way and self._under_way[0][0] <= (now_s := time.monotonic()):
            due_s, _, node, to_node, frame = heapq.heappop(self._under_way)
            self._late_s.append(now_s - due_s)
            # A full queue drops the frame, as on any link; so does a cable that is being cut.
            with contextlib.suppress(OSError):
                (self._nodes[node] if to_node else self._client).send(frame)


def _raw_socket(device: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP))
    raw.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _SOCKET_BYTES)
    raw.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SOCKET_BYTES)
    raw.bind((device, _ETH_P_IP))
    raw.setblocking(False)
    return raw


def main() -> None:
    """Be the switch until standard input ends."""
    hurry(realtime=True)
    switch = Switch(int(sys.argv[1]))
    tell(Ready())
    with contextlib.suppress(KeyboardInterrupt):
        switch.run()


if __name__ == "__main__":
    main()
