"""What keeps coordinator and node apart although the node lives: certificates, tokens, its data."""

from enum import StrEnum

# A node's status while something does.
CUT_OFF = "cut off"


class Between(StrEnum):
    """Which way does not work."""

    TO_NODE = "to node"  # it cannot be asked
    ORDERS = "orders"  # it is asked, and refuses this coordinator's token
    FROM_NODE = "from node"  # it reports, and is refused


class Troubles:
    """Responsible for the last word on each way between this coordinator and each node."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, Between], str] = {}

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

    def of(self, node: str) -> str:
        """Return what is wrong with a node, in words; nothing if nothing is known to be."""
        found = [self._texts[node, way] for way in Between if (node, way) in self._texts]
        return "; ".join(found)

    def forget(self, node: str) -> None:
        """Forget a node that was removed."""
        for way in Between:
            self._texts.pop((node, way), None)
