"""What the keeper's parts work with."""

from collections.abc import Callable
from dataclasses import dataclass

from storage_server.coordinator.keeper.limits import KeeperLimits
from storage_server.coordinator.library import Library
from storage_server.coordinator.links import NodeLinks
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import Registers


@dataclass(frozen=True, slots=True)
class Tools:
    """The coordinator's parts, as the keeper's parts share them."""

    registers: Registers
    library: Library
    members: Membership
    links: NodeLinks
    limits: KeeperLimits
    clock: Callable[[], float]  # monotonic seconds
