"""Every catalogue under one contract: how to make each, how to make it again with its data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage_server.catalogue.contract import Catalogue
from storage_server.catalogue.memory import MemoryCatalogue
from storage_server.catalogue.sqlite import SqliteCatalogue
from support.faulty_catalogue import FaultyCatalogue
from support.paxos_nodes import OwnPaxosCatalogue


@dataclass(frozen=True)
class CatalogueKind:
    name: str
    make: Callable[[Path], Catalogue]
    is_durable: bool


KINDS = [
    CatalogueKind("memory", lambda _: MemoryCatalogue(), is_durable=False),
    CatalogueKind("faulty, but whole", lambda _: FaultyCatalogue(), is_durable=False),
    CatalogueKind("sqlite", SqliteCatalogue, is_durable=True),
    CatalogueKind("chunkpaxos", OwnPaxosCatalogue, is_durable=True),
]
