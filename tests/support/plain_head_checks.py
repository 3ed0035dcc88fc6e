"""What a node takes for a plain read or upload must be one to aiohttp's strict parser, too."""

import asyncio
import contextlib
import re
from collections.abc import Sequence
from typing import Any

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from storage_server.node.plain_heads import is_whole_head, parse_plain_get, parse_plain_put


def is_read_alike(data: bytes) -> bool:
    """Bytes that either rule takes for a request must be one for the strict parser too."""
    wanted, is_whole = parse_plain_get(data), is_whole_head(data)
    if wanted is None and not is_whole:
        return False
    found = _parsed_by_aiohttp(data)
    if wanted is None and found is None:
        return True  # refused, and the connection closed
    assert found is not None
    messages, tail = found
    assert messages
    assert not tail
    assert all(payload.is_eof() for _, payload in messages)
    if wanted is not None:
        [(message, _)] = messages
        assert (message.method, message.path) == ("GET", f"/v1/chunks/{wanted.key.hex()}")
        assert message.version == (1, 1)
        assert not message.should_close
        assert not set(message.headers) & {"Authorization", "Origin", "If-None-Match", "If-Range"}
        ranges = message.headers.getall("Range", [])
        last = "" if wanted.last is None else wanted.last
        expected = [] if wanted.first is None else [f"bytes={wanted.first}-{last}"]
        assert [re.sub(r"\b0+(?=[0-9])", "", text.lower()) for text in ranges] == expected
    return True


def is_put_alike(data: bytes) -> bool:
    """Bytes that begin an upload by the plain rule must begin just that for the strict parser."""
    wanted = parse_plain_put(data)
    if wanted is None:
        return False
    found = _parsed_by_aiohttp(data[: wanted.head_bytes])
    assert found is not None
    [(message, payload)], tail = found
    assert not tail
    assert not payload.is_eof()
    assert (message.method, message.path) == ("PUT", f"/v1/chunks/{wanted.key.hex()}")
    assert message.version == (1, 1)
    assert not message.should_close
    assert not message.chunked
    assert not set(message.headers) & {"Origin", "Expect", "Content-Encoding", "Transfer-Encoding"}
    assert message.headers.getall("Content-Length") == [str(wanted.length_bytes)]
    tokens = [text.split(" ", 1)[1] for text in message.headers.getall("Authorization", [])]
    assert tokens == ([wanted.token] if wanted.token else [])
    return True


def _parsed_by_aiohttp(data: bytes) -> tuple[Sequence[Any], bytes] | None:
    """Return the requests that aiohttp's parser finds, and the bytes left over; None: an error."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
        try:
            messages, is_upgraded, tail = parser.feed_data(data)
        except HttpProcessingError:
            return None
        assert not is_upgraded
        return messages, tail
