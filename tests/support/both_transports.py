"""Stock httpx's transport and ours, and how a test asks a raw server through either."""

import asyncio
import ssl

import httpx

from smart_client.transport.connection_pool import PoolLimits
from smart_client.transport.errors import failure_from_httpx
from smart_client.transport.receiving_transport import ReceivingTransport
from support.raw_http_server import raw_server


def stock(connections, context):
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncHTTPTransport(limits=limits, trust_env=False, verify=context)


def ours(connections, context):
    return ReceivingTransport(context, limits=PoolLimits(connections))


def client_maker(make_transport):
    """Return what makes clients over one kind of transport."""
    context = ssl.create_default_context()

    def make(url="http://127.0.0.1:1", *, connections=4, timeout_s=20.0):
        transport = make_transport(connections, context)
        return httpx.AsyncClient(
            transport=transport, base_url=url, timeout=timeout_s, trust_env=False
        )

    return make


def run(scenario):
    async def bounded():
        async with asyncio.timeout(60):
            return await scenario

    return asyncio.run(bounded())


async def outcome(client, method="GET", path="/x", **settings):
    """The kind of failure, or the status and the body."""
    try:
        response = await client.request(method, path, **settings)
    except httpx.HTTPError as error:
        return failure_from_httpx(error).kind
    return response.status_code, response.content


def served(make_client, script, use, **settings):
    """Run ``use(client, server)`` against a server."""

    async def scenario():
        async with raw_server(script) as server, make_client(server.url, **settings) as client:
            return await use(client, server)

    return run(scenario())
