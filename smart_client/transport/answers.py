"""What the body of a refusal says, for whatever client got it."""

from collections.abc import Iterator

from redundancy.errors import EvenflowError, NoSpace
from smart_client import errors
from smart_client.wire import decode


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
    507: NoSpace,  # also a node's, whose code is its own
}
