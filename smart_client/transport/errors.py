"""Foreign errors are translated here, once."""

from collections.abc import Iterator

import httpx

from redundancy.errors import EvenflowError
from smart_client import errors
from smart_client.core.events import FailureKind
from smart_client.wire import decode


class TransportFailure(Exception):  # internal to the data path: the session wants kinds, not prose
    """A request to a node ended early."""

    def __init__(self, kind: FailureKind, text: str = "") -> None:
        super().__init__(f"{kind.value}: {text}" if text else kind.value)
        self.kind = kind


class ReadRefused(TransportFailure):
    """A node wants a grant, or another one."""


def failure_from_httpx(error: httpx.HTTPError) -> TransportFailure:
    """Sort an httpx error into the kinds the session knows."""
    text = f"{type(error).__name__}: {error}"
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


def _was_refused(error: BaseException | None) -> bool:
    """Whether somebody there said no: a closed port, at one of a name's addresses at least."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False


def failure_from_status(status: int) -> TransportFailure:
    """Sort a node's refusal."""
    if status == 404:
        return TransportFailure(FailureKind.MISSING, "404")
    if status in (401, 403):
        return ReadRefused(FailureKind.PROTOCOL, f"status {status}")
    if status in (429, 503):
        return TransportFailure(FailureKind.BUSY, str(status))
    return TransportFailure(FailureKind.PROTOCOL, f"status {status}")


def _all_errors(root: type[EvenflowError]) -> Iterator[type[EvenflowError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _all_errors(kind)


def error_from_answer(status: int, body: bytes, url: str) -> EvenflowError:
    """Rebuild the error that a coordinator or node put into its answer.

    The body is ``{"error": {"code", "message", "hint", "detail"}}``; anything else is reported with
    its status.
    """
    try:
        found = decode(body, dict[str, dict[str, object]]).get("error", {})
    except errors.InvalidRequest:
        found = {}
    message = str(found.get("message") or f"{url} answered {status}")
    detail = found.get("detail")
    by_code = {kind.code: kind for kind in _all_errors(EvenflowError)}
    kind = by_code.get(str(found.get("code")), _KIND_BY_STATUS.get(status, errors.NodeRefused))
    return kind(
        message,
        hint=str(found.get("hint") or ""),
        detail=detail if isinstance(detail, dict) else None,
    )


_KIND_BY_STATUS: dict[int, type[EvenflowError]] = {
    401: errors.AccessDenied,
    403: errors.AccessDenied,
    404: errors.VideoNotFound,
    409: errors.Conflict,
    400: errors.InvalidRequest,
}
