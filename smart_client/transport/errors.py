"""Foreign errors are translated here, once."""

import httpx

from smart_client.core.events import FailureKind
from smart_client.transport.tls import causes_of, tls_trouble


class TransportFailure(Exception):  # internal to the data path: the session wants kinds, not prose
    """A request to a node ended early."""

    def __init__(self, kind: FailureKind, text: str = "") -> None:
        super().__init__(f"{kind.value}: {text}" if text else kind.value)
        self.kind = kind


class ReadRefused(TransportFailure):
    """A node wants a grant, or another one."""


def failure_from_httpx(error: httpx.HTTPError) -> TransportFailure:
    """Sort an httpx error into the kinds the session knows."""
    text = tls_trouble(error) or f"{type(error).__name__}: {error}"
    if isinstance(error, httpx.ConnectError):
        refused = _was_refused(error)
        return TransportFailure(FailureKind.REFUSED if refused else FailureKind.UNREACHABLE, text)
    if isinstance(error, httpx.TimeoutException):
        return TransportFailure(FailureKind.SILENT, text)
    if isinstance(error, httpx.NetworkError):
        return TransportFailure(FailureKind.RESET, text)
    if isinstance(error, httpx.RemoteProtocolError) and "without sending" in str(error):
        return TransportFailure(FailureKind.RESET, text)
    if isinstance(error, httpx.RemoteProtocolError) and "incomplete" in str(error):
        return TransportFailure(FailureKind.RESET, text)
    return TransportFailure(FailureKind.PROTOCOL, text)


def _was_refused(error: BaseException) -> bool:
    """Whether somebody there said no: a closed port, at one of a name's addresses at least."""
    return any(isinstance(each, ConnectionRefusedError) for each in causes_of(error))


def failure_from_status(status: int) -> TransportFailure:
    """Sort a node's refusal."""
    if status == 404:
        return TransportFailure(FailureKind.MISSING, "404")
    if status in (401, 403):
        return ReadRefused(FailureKind.PROTOCOL, f"status {status}")
    if status in (429, 503):
        return TransportFailure(FailureKind.BUSY, str(status))
    return TransportFailure(FailureKind.PROTOCOL, f"status {status}")
