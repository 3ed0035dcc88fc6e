"""Why an encrypted connection did not come about, and what to do about it."""

import asyncio
import contextlib
import ssl

import aiohttp
import httpx
import pytest

from redundancy.errors import ConfigError
from smart_client.transport import tls
from smart_client.transport.errors import failure_from_httpx
from smart_client.transport.tls import not_http, tls_context, tls_hint, tls_trouble
from support.certificates import make_certificate
from support.node_in_thread import NodeInThread


@pytest.fixture
def no_context_yet():
    tls._system_context.cache_clear()
    yield
    tls._system_context.cache_clear()


@contextlib.asynccontextmanager
async def a_server(certificate=None, key=None):
    """Yield the port of one that answers nothing."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    writers = []
    server = await asyncio.start_server(
        lambda _, writer: writers.append(writer), "127.0.0.1", 0, ssl=context
    )
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in writers:
            writer.transport.abort()
    await asyncio.sleep(0.05)  # until what failed in a handshake is closed


async def failure_of_httpx(url: str) -> Exception:
    async with httpx.AsyncClient(trust_env=False, timeout=0.5) as client:
        try:
            await client.get(url)
        except httpx.HTTPError as error:
            return error
    raise AssertionError("it worked")


async def failure_of_aiohttp(url: str) -> Exception:
    timeout = aiohttp.ClientTimeout(0.5)
    async with aiohttp.ClientSession(timeout=timeout) as client:
        try:
            await client.get(url)
        except (aiohttp.ClientError, TimeoutError) as error:
            return error
    raise AssertionError("it worked")


@pytest.mark.real
@pytest.mark.parametrize("failure_of", [failure_of_httpx, failure_of_aiohttp])
def test_a_certificate_nobody_vouches_for_is_named_whatever_the_client(tmp_path, failure_of):
    async def scenario() -> str:
        async with a_server(*make_certificate(tmp_path)) as port:
            return tls_trouble(await failure_of(f"https://127.0.0.1:{port}"))

    trouble = asyncio.run(scenario())
    assert trouble == "its certificate is not trusted: self-signed certificate"
    assert "SSL_CERT_FILE" in tls_hint(trouble)


@pytest.mark.real
@pytest.mark.parametrize("failure_of", [failure_of_httpx, failure_of_aiohttp])
def test_who_does_not_answer_in_time_has_no_trouble_with_tls(failure_of):
    """A frozen server takes the connection and says nothing: neither would it without TLS."""

    async def scenario() -> str:
        async with a_server() as port:
            return tls_trouble(await failure_of(f"https://127.0.0.1:{port}"))

    assert asyncio.run(scenario()) == ""


@pytest.mark.real
def test_plain_words_to_a_server_that_speaks_tls_are_told(tmp_path):
    certificate, key = make_certificate(tmp_path)
    with NodeInThread(tmp_path / "node", tls_certificate=certificate, tls_key=key) as node:
        error = asyncio.run(failure_of_httpx(f"http://{node.address[0]}:{node.address[1]}/ping"))
    assert "does it speak https there?" in not_http(error, "http://x")
    assert not_http(error, "https://x") == ""


def test_an_expired_certificate_is_to_be_renewed():
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "certificate has expired"
    assert "renew" in tls_hint(tls_trouble(error))


def test_other_failures_are_as_they_were():
    error = httpx.ConnectError("no route")
    assert tls_trouble(error) == ""
    assert str(failure_from_httpx(error)) == "unreachable: ConnectError: no route"


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_file_of_authorities_that_is_none_is_told(tmp_path, monkeypatch, no_context_yet, text):
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        tls_context(["https://x"])
    tls_context(["http://x"])  # it is not needed there
