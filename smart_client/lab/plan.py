"""The lab's network as plain words for ``ip`` and ``tc``. Pure: nothing here runs anything.

    client ── veth ── hub: a delaying switch ── veth ── node 0 (tbf on its way out)
                                            └── veth ── node 1 ...

One namespace each. Neither ARP nor routing: addresses and neighbours are fixed, the switch forwards
by address.
"""

from dataclasses import dataclass

from smart_client.errors import InvalidRequest

# The switch reads and writes every frame in one process; more nodes than this have no scenario.
NODES_MAX = 64

CLIENT_ADDRESS = "10.77.0.1"
CLIENT_HARDWARE = "02:45:56:00:00:01"
DEVICE = "eth0"  # of the client and of every node, each in its own namespace
HUB_CLIENT_DEVICE = "client"

# Beside every node stands a front that gives its answers the scenario's manners.
NODE_PORT, FRONT_PORT = 8500, 8400

# A full segment carries 1448 bytes (timestamps are on) and fills 1514 of the link, Ethernet header
# included; tbf counts the latter, scenarios count what arrives.
SEGMENT_BYTES, FRAME_BYTES = 1448, 1514
FRAME_FACTOR = FRAME_BYTES / SEGMENT_BYTES

# tbf's bucket: a frame, or it would never leave, and what a late timer would lose. No more, because
# the kernel fills the bucket at every change of the rate, once a second with most traces.
BURST_S = 0.001

# A node's own queue: TCP keeps only a few frames there, so the limit is never met.
NODE_QUEUE_BYTES = 1_000_000

# The queue before the client's own link is met by several senders at once, as in a home router: a
# tenth of a second of it, and never so little that a connection could not start.
CLIENT_QUEUE_S = 0.1
CLIENT_QUEUE_BYTES_MIN = 32 * 1024

# A trace may say 0, which tbf cannot. At this rate a frame takes 15 s.
RATE_BYTES_PER_S_MIN = 100.0


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Responsible for names, addresses and the commands that make them so."""

    prefix: str  # of all namespaces of one lab; unique on the machine
    nodes: int

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= NODES_MAX:
            raise InvalidRequest(f"a lab has 1 to {NODES_MAX} nodes, not {self.nodes}")
        if not self.prefix or not self.prefix.replace("-", "").isalnum():
            raise ValueError(f"not a prefix for namespaces: {self.prefix!r}")

    @property
    def hub(self) -> str:
        """The namespace of the switch."""
        return f"{self.prefix}-hub"

    @property
    def client(self) -> str:
        """The namespace of the client."""
        return f"{self.prefix}-client"

    def node(self, index: int) -> str:
        """Return the namespace of a node."""
        return f"{self.prefix}-node-{index}"

    @property
    def namespaces(self) -> list[str]:
        """All of them."""
        return [self.hub, self.client, *(self.node(index) for index in range(self.nodes))]

    def make_commands(self) -> list[tuple[str, list[str]]]:
        """Return batches for ``ip -n NAMESPACE -batch``; an empty name stands for no namespace."""
        return [
            ("", [f"netns add {name}" for name in self.namespaces]),
            (self.hub, self._hub_lines()),
            (self.client, self._client_lines()),
            *((self.node(index), _node_lines(index)) for index in range(self.nodes)),
        ]

    def _hub_lines(self) -> list[str]:
        # Nobody but the switch may move frames: the devices of the hub have no address.
        lines = _pair_lines(HUB_CLIENT_DEVICE, self.client)
        for index in range(self.nodes):
            lines += _pair_lines(hub_device(index), self.node(index))
        return lines

    def _client_lines(self) -> list[str]:
        lines = _end_lines(CLIENT_ADDRESS, CLIENT_HARDWARE)
        for index in range(self.nodes):
            lines.append(_neighbour_line(node_address(index), node_hardware(index)))
        return lines


def hub_device(index: int) -> str:
    """Return the hub's end of a node's cable."""
    return f"node-{index}"


def node_address(index: int) -> str:
    """Return a node's IPv4 address."""
    return f"10.77.1.{index + 1}"


def node_hardware(index: int) -> str:
    """Return a node's Ethernet address."""
    return f"02:45:56:00:01:{index:02x}"


def front_url(index: int) -> str:
    """Return where a node answers as the scenario wants it to."""
    return f"http://{node_address(index)}:{FRONT_PORT}"


def node_url(index: int) -> str:
    """Return where a node answers at once."""
    return f"http://{node_address(index)}:{NODE_PORT}"


def _pair_lines(device: str, namespace: str) -> list[str]:
    return [
        f"link add {device} type veth peer name {DEVICE} netns {namespace}",
        f"link set {device} up",
    ]


def _end_lines(address: str, hardware: str) -> list[str]:
    return [
        "link set lo up",
        f"link set {DEVICE} address {hardware}",
        f"addr add {address}/16 dev {DEVICE}",
        f"link set {DEVICE} up",
    ]


def _neighbour_line(address: str, hardware: str) -> str:
    return f"neigh replace {address} lladdr {hardware} nud permanent dev {DEVICE}"


def _node_lines(index: int) -> list[str]:
    lines = _end_lines(node_address(index), node_hardware(index))
    # Frames come out one by one: a bundle that waits in tbf while its bucket shrinks below the
    # bundle's size would wait for ever.
    lines.append(f"link set {DEVICE} gso_max_segs 1")
    return [*lines, _neighbour_line(CLIENT_ADDRESS, CLIENT_HARDWARE)]


def shape_line(device: str, bytes_per_s: float, queue_bytes: int = NODE_QUEUE_BYTES) -> str:
    """Return the line of ``tc -batch`` that gives a device a rate, also one that has one already.

    Args:
        bytes_per_s: payload that is to arrive; headers come on top.
    """
    frames_per_s = max(RATE_BYTES_PER_S_MIN, bytes_per_s) * FRAME_FACTOR
    burst_bytes = FRAME_BYTES + round(frames_per_s * BURST_S)
    return (
        f"qdisc replace dev {device} root handle 1: tbf rate {round(8 * frames_per_s)}bit "
        f"burst {burst_bytes} limit {max(queue_bytes, burst_bytes)}"
    )


def open_line(device: str) -> str:
    """Return the line that takes the rate off a device, also one that has none."""
    # Another handle than the shape's, because a handle keeps its kind for life.
    return f"qdisc replace dev {device} root handle 2: pfifo limit 100000"


def client_shape_line(bytes_per_s: float) -> str:
    """Return the line that shapes the way to the client; an infinite rate takes the shape away."""
    if bytes_per_s == float("inf"):
        return open_line(HUB_CLIENT_DEVICE)
    queue_bytes = max(CLIENT_QUEUE_BYTES_MIN, round(bytes_per_s * CLIENT_QUEUE_S))
    return shape_line(HUB_CLIENT_DEVICE, bytes_per_s, queue_bytes)
