"""What all handlers of a gateway share."""

import time
from dataclasses import dataclass, field

from smart_client.config import ClientConfig
from smart_client.gateway.comparisons import ComparisonDesk
from smart_client.gateway.coordinator_watch import CoordinatorWatch
from smart_client.gateway.streams import StreamPool
from smart_client.gateway.uploads import UploadDesk
from smart_client.library import Library


@dataclass(slots=True)
class Desk:
    """Responsible for holding a gateway's parts together; has no behaviour of its own."""

    config: ClientConfig
    library: Library
    watch: CoordinatorWatch
    pool: StreamPool
    uploads: UploadDesk
    comparisons: ComparisonDesk
    began_s: float = field(default_factory=time.monotonic)
