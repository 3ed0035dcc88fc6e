"""What keeps a coordinator apart from a node that lives: certificates, tokens, keys, data."""

from enum import StrEnum

from msgspec import structs

from smart_client import wire
from storage_server.read_keys import ReadGrants

_OPEN = "it has no --read-keys: whoever knows a fragment may read it there"

# A node's status while something does.
CUT_OFF = "cut off"


class Between(StrEnum):
    """Which way does not work."""

    TO_NODE = "to node"  # it cannot be asked
    ORDERS = "orders"  # it is asked, and refuses this coordinator's token
    FROM_NODE = "from node"  # it reports, and is refused
    READERS = "readers"  # who is sent there to read is refused


class Troubles:
    """Responsible for the last word on each way between this coordinator and each node."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, Between], str] = {}
        self.grants = ReadGrants()  # what this coordinator gives to readers

    def note(self, node: str, way: Between, text: str) -> None:
        """Note what is wrong; nothing if it works (again)."""
        if text:
            self._texts[node, way] = text
        else:
            self._texts.pop((node, way), None)

    def beat_taken(self, node: str) -> None:
        """A heartbeat was taken: the node has this coordinator's token, and its own data."""
        self.note(node, Between.FROM_NODE, "")
        self.note(node, Between.ORDERS, "")

    def heard(self, said: wire.Heartbeat) -> wire.Heartbeat:
        """Hold what a node says against what this coordinator wants; return what is to be told."""
        self.note(said.node, Between.READERS, self.grants.trouble_with(said.read_keys))
        if said.status == "ok" and self.grants.is_open(said.read_keys):
            return structs.replace(said, status="warn", reason=_OPEN)
        return said

    def of(self, node: str) -> str:
        """Return what is wrong with a node, in words; nothing if nothing is known to be."""
        found = [self._texts[node, way] for way in Between if (node, way) in self._texts]
        return "; ".join(found)

    def forget(self, node: str) -> None:
        """Forget a node that was removed."""
        for way in Between:
            self._texts.pop((node, way), None)
