"""Frames: many requests to one acceptor in one body, and its replies in one. Msgpack. Pure."""

from typing import TypeVar

import msgspec

from redundancy.errors import EvenflowError, ExitCode
from storage_server.consensus.messages import Reply, Request

# The state of a whole catalogue is handed over in one frame: 10^5 records of 300 bytes are 30 MB.
FRAME_BYTES_MAX = 64 * 1024 * 1024


class InvalidFrame(EvenflowError):
    """Bytes that are no frame of ours."""

    code = "INVALID_FRAME"
    exit_code = ExitCode.INTEGRITY


class RequestFrame(msgspec.Struct, frozen=True, array_like=True):
    """What a proposer sends. ``to`` is the acceptor it means; empty: whoever is there."""

    to: str
    requests: tuple[Request, ...]


class ReplyFrame(msgspec.Struct, frozen=True, array_like=True):
    """What the acceptor ``member`` answers, when all it shows is durable."""

    member: str
    replies: tuple[Reply, ...]


_Frame = TypeVar("_Frame")

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(RequestFrame)
_replies = msgspec.msgpack.Decoder(ReplyFrame)


def encode(frame: RequestFrame | ReplyFrame) -> bytes:
    """Return a frame's bytes."""
    return _encoder.encode(frame)


def decode_requests(data: bytes) -> RequestFrame:
    """Parse what a proposer sent. Raises: InvalidFrame."""
    return _decode(_requests, data)


def decode_replies(data: bytes) -> ReplyFrame:
    """Parse what an acceptor answered. Raises: InvalidFrame."""
    return _decode(_replies, data)


def _decode(decoder: "msgspec.msgpack.Decoder[_Frame]", data: bytes) -> _Frame:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise InvalidFrame(f"not a frame of the agreement protocol: {error}") from error
