"""Starting a node: whose directory it is, and whether the address can be had."""

import asyncio
import os
import socket

import pytest

from redundancy.errors import ConfigError
from storage_server.directory_lock import DirectoryLocked
from storage_server.node.config import NodeConfig
from storage_server.node.errors import UnknownFormat, WrongNode
from storage_server.node.lock import DataFolder
from storage_server.node.service import running_node
from storage_server.node.superblock_store import SuperblockStore
from support.fragments import fragment


def test_a_second_node_on_a_directory_is_told_who_has_it(tmp_path):
    first = DataFolder(tmp_path / "data", "n")
    with pytest.raises(DirectoryLocked, match=f"process {os.getpid()}") as refused:
        DataFolder(tmp_path / "data", "n")
    assert refused.value.exit_code == 9
    first.close()
    DataFolder(tmp_path / "data").close()


def test_a_directory_keeps_its_node(tmp_path):
    folder = DataFolder(tmp_path / "a" / "b", "box-1")
    identity = folder.identity
    folder.close()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    again = DataFolder(tmp_path / "a" / "b")
    assert again.identity == identity
    again.close()
    with pytest.raises(WrongNode, match="box-1"):
        DataFolder(tmp_path / "a" / "b", "box-2")
    DataFolder(tmp_path / "a" / "b", "box-1").close()


def test_a_node_without_a_name_gets_one_and_keeps_it(tmp_path):
    folder = DataFolder(tmp_path)
    name = folder.identity.node_id
    folder.close()
    assert name.startswith("node-")
    folder = DataFolder(tmp_path)
    assert folder.identity.node_id == name
    folder.close()


def test_a_lost_identity_is_found_in_the_superblocks(tmp_path):
    folder = DataFolder(tmp_path, "box-1")
    store = SuperblockStore(folder.disk, folder.identity, superblock_bytes=1 << 20)
    store.put(fragment(1))
    store.close()
    folder.close()
    (tmp_path / "node.json").unlink()
    with pytest.raises(WrongNode):
        DataFolder(tmp_path, "box-2")
    again = DataFolder(tmp_path)
    assert again.identity == folder.identity
    assert (tmp_path / "node.json").exists()
    again.close()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", WrongNode),
        (b"{}", WrongNode),
        (b"\xff", WrongNode),
        (b"[]", WrongNode),
        (b'{"format": 1, "node": "n", "store": "xy"}', WrongNode),
        (b'{"format": 2}', UnknownFormat),
    ],
)
def test_a_damaged_or_later_identity_stops_the_start(tmp_path, content, error):
    (tmp_path / "node.json").write_bytes(content)
    with pytest.raises(error):
        DataFolder(tmp_path, "n")
    assert (tmp_path / "node.json").read_bytes() == content


@pytest.mark.real
def test_a_port_in_use_is_said_before_the_data_is_touched(tmp_path):
    async def start(port):
        async with running_node(NodeConfig(data_dir=tmp_path / "data", port=port)):
            raise AssertionError("it started")

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} is in use"):
            asyncio.run(start(port))
    assert not (tmp_path / "data").exists()


def test_an_address_of_another_machine_is_refused(tmp_path):
    async def start(host):
        config = NodeConfig(data_dir=tmp_path, host=host, insecure=True)
        async with running_node(config):
            raise AssertionError("it started")

    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(ConfigError):
            asyncio.run(start(host))
