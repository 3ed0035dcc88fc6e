"""TLS: fragments come through unharmed, old versions and plain HTTP do not get in."""

import asyncio
import hashlib
import http.client
import shutil
import socket
import ssl
import subprocess

import pytest

from redundancy.errors import ConfigError
from smart_client import wire
from smart_client.transport.nodes import NodeConnections
from storage_server.node.config import NodeConfig
from storage_server.node.group_commit import GroupCommit
from storage_server.node.memory_store import MemoryChunkStore
from storage_server.node.pull import pull
from storage_server.node.tls import Certificate
from support.certificates import make_certificate
from support.fragments import fragment
from support.node_in_thread import NodeInThread, read_all

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates by openssl"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def node(tmp_path, files):
    certificate, key = files
    with NodeInThread(tmp_path, tls_certificate=certificate, tls_key=key) as node:
        yield node


def ask(node, trusted, method, path, body=None, **headers):
    context = ssl.create_default_context(cafile=trusted)
    connection = http.client.HTTPSConnection(*node.address, timeout=20, context=context)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("size", [1, 90_000, 200_000, 4_000_000])
def test_fragments_of_all_sizes_come_through_unharmed(node, files, size):
    assert node.running.url.startswith("https://127.0.0.1:")
    put = fragment(size, size)
    path = f"/v1/chunks/{put.key.hex()}"
    assert ask(node, files[0], "PUT", path, put.data)[0] == 201
    status, body = ask(node, files[0], "GET", path)
    assert (status, hashlib.sha256(body).digest()) == (200, put.key)
    if size > 1:
        assert ask(node, files[0], "GET", path, Range="bytes=10-99") == (206, put.data[10:100])


@pytest.mark.parametrize("size", [1000, 65_537, 4_000_000])
def test_our_own_client_stores_over_tls(node, files, size, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    put, told = fragment(1, size), []

    async def scenario():
        record = wire.NodeRecord(id="node", urls=(node.running.url,))
        client = NodeConnections(record)
        try:
            halves = (put.data[: size // 2], memoryview(put.data)[size // 2 :])
            await asyncio.wait_for(client.put(put.key.hex(), halves, told.append), 20)
            return await client.have([put.key.hex()])
        finally:
            await client.close()

    assert asyncio.run(scenario()) == {put.key.hex()}
    assert told[-1] == size


def test_another_node_pulls_over_tls(node, files, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    put = fragment(1, 50_000)
    node.call(node.running.node.writer.put(put))

    async def scenario():
        store = MemoryChunkStore()
        writer = GroupCommit(store)
        assert await pull(writer, put.key, [node.running.url]) == 50_000
        await writer.close()
        return store.has(put.key)

    assert asyncio.run(scenario())


def test_a_peer_that_trusts_somebody_else_goes_away(node, tmp_path):
    other, _ = make_certificate(tmp_path, "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(node, other, "GET", "/ping")


def test_plain_http_gets_no_answer_in_plain(node):
    with socket.create_connection(node.address, timeout=20) as plain:
        plain.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            answer = read_all(plain)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"HTTP")


def test_versions_before_1_2_are_refused(node, files):
    context = ssl.create_default_context(cafile=files[0])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.maximum_version = version
        with (
            socket.create_connection(node.address, timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            assert connection.version() == version.name.replace("v1_", "v1.")
    assert Certificate(*files).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_peer_may_not_negotiate_anew(node):
    """Each new handshake costs the node more than the peer; OpenSSL's client asks for one by R."""
    where = "{}:{}".format(*node.address)
    asked = subprocess.run(
        ["openssl", "s_client", "-connect", where, "-tls1_2"],
        input=b"R\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"RENEGOTIATING" in asked.stdout + asked.stderr
    assert b"no renegotiation" in asked.stderr


def test_a_new_certificate_is_used_without_a_restart(tmp_path):
    certificate, key = make_certificate(tmp_path)
    used = Certificate(certificate, key)
    assert not used.reload_if_changed()
    make_certificate(tmp_path)
    assert used.reload_if_changed()
    assert not used.reload_if_changed()
    good = key.read_bytes()
    key.write_bytes(b"rubbish")
    with pytest.raises(ConfigError):
        used.reload_if_changed()
    key.write_bytes(good)
    assert used.reload_if_changed()


def test_what_is_no_certificate_stops_the_start_with_a_way_out(tmp_path, files):
    certificate, _ = files
    other_certificate, other_key = make_certificate(tmp_path, "other")
    for pair in ((certificate, other_key), (other_key, other_key), (certificate, certificate)):
        with pytest.raises(ConfigError) as refused:
            Certificate(*pair)
        assert refused.value.hint
    encrypted = tmp_path / "encrypted.key"
    command = ("openssl", "ec", "-in", str(other_key), "-aes128", "-passout", "pass:secret")
    subprocess.run([*command, "-out", str(encrypted)], check=True, capture_output=True)
    encrypted.chmod(0o600)
    with pytest.raises(ConfigError):
        Certificate(other_certificate, encrypted)
    other_key.chmod(0o644)
    with pytest.raises(ConfigError, match="other users"):
        Certificate(other_certificate, other_key)
    with pytest.raises(ConfigError, match="needs its key"):
        NodeConfig(data_dir=tmp_path, tls_certificate=certificate)
