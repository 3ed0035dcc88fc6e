"""The word that names a catalogue."""

import asyncio

import pytest

from redundancy.errors import ConfigError
from storage_server.catalogue.choice import open_catalogue


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ("sqlite", "sqlite"),
        ("etcd:http://a:2379,http://b:2379", "etcd"),
        ("nodes:http://a:8410,http://b:8410,http://c:8410/", "chunkpaxos"),
    ],
)
def test_a_word_names_a_catalogue(tmp_path, choice, kind):
    async def scenario():
        catalogue = await open_catalogue(choice, tmp_path)
        assert catalogue.kind == kind
        await catalogue.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "choice", ["", "sqlite:x", "etcd:", "etcd:host:1", "nodes:", "nodes:http://a,http://a", "x:y"]
)
def test_what_names_none_is_refused_with_what_may_be_said(tmp_path, choice):
    with pytest.raises(ConfigError):
        asyncio.run(open_catalogue(choice, tmp_path))
