"""What the body of a refusal says, for whatever client got it."""

from collections.abc import Iterator

from redundancy.errors import EvenflowError, ExitCode, NoSpace
from smart_client import errors
from smart_client.wire import decode


def _all_errors(root: type[EvenflowError]) -> Iterator[type[EvenflowError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _all_errors(kind)


_KNOWN_BY_CODE = {
    kind.code: kind
    for kind in _all_errors(EvenflowError)
    if kind.__module__ in (NoSpace.__module__, errors.__name__) and "code" in vars(kind)
}
_FAILURES = {int(code): code for code in ExitCode if code is not ExitCode.OK}
_KIND_BY_STATUS: dict[int, type[EvenflowError]] = {
    401: errors.AccessDenied,
    403: errors.AccessDenied,
    404: errors.VideoNotFound,
    409: errors.Conflict,
    400: errors.InvalidRequest,
    507: NoSpace,  # also a node's, whose code is its own
}


def error_from_answer(status: int, body: bytes, url: str) -> EvenflowError:
    """Rebuild the error that a coordinator or node put into its answer.

    The body is ``{"error": {"code", "exit", "message", "hint", "detail"}}``; anything else is
    reported with its status. The kind is one that a client knows, whatever else this process has
    imported: by its code, else by the status. A code that only servers have is kept in the error,
    and so is its exit code.
    """
    try:
        found = decode(body, dict[str, dict[str, object]]).get("error", {})
    except errors.InvalidRequest:
        found = {}
    message = str(found.get("message") or f"{url} answered {status}")
    detail = found.get("detail")
    code = found.get("code")
    kind = _KNOWN_BY_CODE.get(code) if isinstance(code, str) else None
    error = (kind or _KIND_BY_STATUS.get(status, errors.NodeRefused))(
        message,
        hint=str(found.get("hint") or ""),
        detail=detail if isinstance(detail, dict) else None,
    )
    if kind is None and isinstance(code, str) and code:
        error.code = code
        exit_code = found.get("exit")
        if type(exit_code) is int and exit_code in _FAILURES:
            error.exit_code = _FAILURES[exit_code]
    return error
