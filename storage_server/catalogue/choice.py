"""Which catalogue a coordinator uses, from one word of its configuration.

Each is loaded when it is chosen: who only names one does not pay for all.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from redundancy.errors import ConfigError
from storage_server.catalogue.contract import Catalogue

if TYPE_CHECKING:
    from storage_server.agreement_trace import Trace

SQLITE = "sqlite"


async def open_catalogue(
    choice: str,
    directory: Path,
    *,
    node_token: str | None = None,
    trace: "Trace | None" = None,
) -> Catalogue:
    """Return the catalogue that ``choice`` names.

    Args:
        choice: ``sqlite`` (a file in ``directory``), ``etcd:URL,URL,...`` (an etcd cluster), or
            ``nodes:URL,URL,...`` (ChunkPaxos on these storage nodes).
        node_token: the secret of the nodes, where they have one.
        trace: where to tell of messages, if the nodes keep it.
    Raises: ConfigError, CatalogueError, OSError.
    """
    kind, _, rest = choice.partition(":")
    urls = [url.rstrip("/") for url in rest.split(",") if url]
    if kind == SQLITE and not rest:
        from storage_server.catalogue.sqlite import SqliteCatalogue  # noqa: PLC0415

        return await asyncio.to_thread(SqliteCatalogue, directory)
    if any(not url.startswith(("http://", "https://")) for url in urls):
        raise ConfigError(f"not the address of a server: {rest}", hint=_HINT)
    if kind == "etcd":
        from storage_server.catalogue.etcd import EtcdCatalogue  # noqa: PLC0415

        return EtcdCatalogue(urls)
    if kind == "nodes":
        from storage_server.catalogue.paxos import PaxosCatalogue  # noqa: PLC0415
        from storage_server.consensus.http_exchange import HttpExchange  # noqa: PLC0415

        return PaxosCatalogue(
            urls, make_exchange=lambda: HttpExchange(token=node_token), trace=trace
        )
    raise ConfigError(f"no such catalogue: {choice}", hint=_HINT)


_HINT = "say sqlite, etcd:http://host:2379,... or nodes:http://host:8410,..."


def start_options(where: str) -> str:
    """Return a coordinator's options for a catalogue."""
    kind, _, rest = where.partition(":")
    if kind == SQLITE:
        return f"--catalogue sqlite --data {rest}"
    return f"--catalogue {where}"
