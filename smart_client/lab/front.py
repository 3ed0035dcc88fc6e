"""The front of one node: starts it, and gives its answers the manners of the scenario.

    python -m smart_client.lab.front INDEX DATA_DIR

Runs in the node's namespace. A TCP relay for small HTTP requests that adds think times, freezes,
refuses and garbles; it also changes the rate of the node's link (tbf) along its trace. Answers wait
here; frames wait in the switch.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from smart_client.lab import plan
from smart_client.lab.messages import Begin, Finish, FrontReport, Orders, Ready, tell
from smart_client.lab.punctuality import hurry
from smart_client.lab.relay import Manners, Relay
from smart_client.lab.script import NodeScript

# tbf looks at its queue when a frame comes or when it once meant to, by its old rate. An empty
# datagram makes it look; the second one is for a busy machine, where `tc` needs its time.
_NUDGES_S = (0.005, 0.05)
_DISCARD_PORT = 9

_NODE_END_TIMEOUT_S = 2.0


class Link:
    """Responsible for the rate of the node's way out."""

    def __init__(self) -> None:
        self._tc = subprocess.Popen(["tc", "-force", "-batch", "-"], stdin=subprocess.PIPE)
        self._nudger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._nudger.setblocking(False)

    def set_rate(self, bytes_per_s: float) -> None:
        """Carry this much from now on."""
        self._say(plan.shape_line(plan.DEVICE, bytes_per_s))
        for delay_s in _NUDGES_S:
            asyncio.get_running_loop().call_later(delay_s, self._nudge)

    def open_up(self) -> None:
        """Carry whatever the machine can."""
        self._say(plan.open_line(plan.DEVICE))

    def close(self) -> None:
        """End the process behind it."""
        self._nudger.close()
        assert self._tc.stdin is not None
        self._tc.stdin.close()
        self._tc.wait()

    def _say(self, line: str) -> None:
        assert self._tc.stdin is not None
        self._tc.stdin.write(f"{line}\n".encode())
        self._tc.stdin.flush()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            self._nudger.sendto(b"", (plan.CLIENT_ADDRESS, _DISCARD_PORT))


class Front:
    """Responsible for one node's script: what happens when."""

    def __init__(self, index: int, node: subprocess.Popen[bytes]) -> None:
        self.index = index
        self._node = node
        self.relay = Relay(plan.node_address(index), plan.FRONT_PORT, plan.NODE_PORT)
        self._link = Link()
        self._timers: list[asyncio.TimerHandle] = []

    async def run(self) -> None:
        """Follow the orders until standard input ends."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        await self.relay.listen()
        reader = _OrderReader(self, ended)
        transport, _ = await loop.connect_read_pipe(lambda: reader, sys.stdin.buffer)
        tell(Ready())
        try:
            await ended.wait()
        finally:
            transport.close()
            self._forget_timers()
            await self.relay.close()
            self._link.close()

    def obey(self, order: Begin | Finish) -> None:
        """Do what the lab wants."""
        self._forget_timers()
        match order:
            case Begin():
                self._begin(order.at_s, order.nodes[self.index])
            case Finish():
                if self._node.poll() is not None:
                    sys.exit(f"node {self.index} ended (status {self._node.returncode})")
                self._link.open_up()
                manners = self.relay.manners
                self.relay.reset(Manners.good())
                tell(
                    FrontReport(
                        requests=manners.requests,
                        head_bytes=manners.head_bytes,
                        late_max_s=manners.late_max_s,
                    )
                )

    def _begin(self, origin_s: float, script: NodeScript) -> None:
        self.relay.reset(Manners(script, origin_s))
        self._link.set_rate(script.rates[0].bytes_per_s)
        loop = asyncio.get_running_loop()
        for step in script.rates[1:]:
            at_s = origin_s + step.at_s
            self._timers.append(loop.call_at(at_s, self._link.set_rate, step.bytes_per_s))
        for spell in script.refusing:
            self._timers.append(loop.call_at(origin_s + spell.start_s, self.relay.refuse))
            self._timers.append(loop.call_at(origin_s + spell.stop_s, self.relay.accept))

    def _forget_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = []


class _OrderReader(asyncio.Protocol):
    """Responsible for standard input."""

    def __init__(self, front: Front, ended: asyncio.Event) -> None:
        self._front, self._ended = front, ended
        self._orders = Orders()

    def data_received(self, data: bytes) -> None:
        for order in self._orders.feed(data):
            self._front.obey(order)

    def eof_received(self) -> None:
        self._ended.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - over is over
        self._ended.set()


def _start_node(index: int, data_dir: Path) -> subprocess.Popen[bytes]:
    """Start the node and wait until it answers."""
    address = f"{plan.node_address(index)}:{plan.NODE_PORT}"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "storage_server", "node", "--json", "--insecure"),
            *("--id", f"node-{index}", "--data", str(data_dir), "--listen", address),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        if "event" in json.loads(line or b"{}"):
            return process
    except json.JSONDecodeError:
        pass
    process.kill()
    process.wait()
    sys.exit(f"node {index} did not start: {line.decode(errors='replace')}")


def _set_kernel() -> None:
    """Make every session begin alike: the kernel must not remember the last one's windows."""
    Path("/proc/sys/net/ipv4/tcp_no_metrics_save").write_text("1", encoding="ascii")


def main() -> None:
    """Be the front of a node until standard input ends."""
    index, data_dir = int(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the lab's; it closes our pipe
    hurry()  # the node inherits it
    _set_kernel()
    node = _start_node(index, data_dir)
    try:
        asyncio.run(_run(index, node))
    finally:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(_NODE_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        assert node.stdout is not None
        node.stdout.close()


async def _run(index: int, node: subprocess.Popen[bytes]) -> None:
    await Front(index, node).run()


if __name__ == "__main__":
    main()
