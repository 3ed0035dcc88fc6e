"""Who may do what: by the node's secret, by a grant to read, or by being on the same machine."""

import hmac
import time
from collections.abc import Callable
from enum import Enum

from aiohttp import web

from smart_client.signing import Grant, GrantRefused
from storage_server.node.config import NodeConfig, is_loopback
from storage_server.node.responses import HttpProblem
from storage_server.read_keys import KeyFile

OTHER_SCOPE = "the grant is for something else"


class Access(Enum):
    """What a route asks of the one who calls it."""

    OPEN = "open"
    READ = "read"  # a fragment's bytes: whoever knows its name, or holds a grant where it is signed
    FACTS = "facts"  # what the node holds: not for strangers
    WRITE = "write"
    ADMIN = "admin"


class Guard:
    """Responsible for refusing; it knows the secret and never shows it."""

    def __init__(self, config: NodeConfig, wall_clock: Callable[[], float] = time.time) -> None:
        """Raises: ConfigError, OSError: the read keys cannot be used."""
        self._token = config.token.encode() if config.token is not None else None
        self._trusts_network = config.insecure
        self._read_keys = KeyFile(config.read_keys) if config.read_keys is not None else None
        self._wall_clock = wall_clock

    @property
    def read_key_prints(self) -> tuple[str, ...]:
        """What may be told of the read keys; empty where reading needs none."""
        return self._read_keys.keys.prints if self._read_keys is not None else ()

    def check(self, access: Access, request: web.BaseRequest) -> None:
        """Return if the request may go on. Raises: HttpProblem 401 or 403.

        Whether a fragment is of the video that a grant names is for those to see who open it: see
        ``granted_video``.
        """
        if self.allows(access, request):
            return
        if access is Access.READ:
            self._check_grant(request)
            return
        if self._token is not None:
            raise HttpProblem(
                401,
                "UNAUTHORIZED",
                "this needs the node's token: Authorization: Bearer ...",
                headers={"WWW-Authenticate": "Bearer"},
            )
        raise HttpProblem(403, "FORBIDDEN", "only from the node's own machine, or with a token")

    def allows(self, access: Access, request: web.BaseRequest) -> bool:
        """Whether the request may go on."""
        if access is Access.OPEN or self._is_token(_bearer_in(request)):
            return True
        if access is Access.READ:
            return self._read_keys is None
        if access is Access.FACTS:
            is_trusted = self._trusts_network and self._token is None
            return is_trusted or _is_local(request)
        if self._token is not None:
            return False
        if "Origin" in request.headers:
            return False  # a browser writes for a web page: not its owner's will
        # Without a token the node listens on loopback only, or was told that the network is safe.
        return access is Access.WRITE or _is_local(request)

    def may_write(self, token: str) -> bool:
        """Whether a request that shows ``token``, or nothing, and is no browser's may store."""
        return self._token is None or self._is_token(token)

    def granted_video(self, request: web.BaseRequest) -> bytes | None:
        """Return the one video that a checked request may read from; None: any.

        Raises: HttpProblem: the address has a query that is no grant.
        """
        text = grant_in(request)
        if self.allows(Access.READ, request):
            return None
        return Grant.parse(text).scope.video_id

    def _check_grant(self, request: web.BaseRequest) -> None:
        assert self._read_keys is not None
        text = grant_in(request)
        if not text:
            raise HttpProblem(
                401,
                "GRANT_NEEDED",
                "reading needs a grant from a coordinator, or the node's token",
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            scope = self._read_keys.keys.check(Grant.parse(text), self._wall_clock())
        except GrantRefused as error:
            raise HttpProblem(403, error.code, error.message) from error
        key = scope.fragment_key
        if key is not None and not request.rel_url.raw_path.endswith(f"/{key.hex()}"):
            raise HttpProblem(403, "GRANT_REFUSED", OTHER_SCOPE)

    def _is_token(self, given: str) -> bool:
        if self._token is None or not given:
            return False
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def _bearer_in(request: web.BaseRequest) -> str:
    """Return the token a request shows, empty if there is none."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def grant_in(request: web.BaseRequest) -> str:
    """Return the grant in a request's address, empty if there is none.

    Raises: HttpProblem: there is something else.
    """
    query = request.rel_url.raw_query_string
    if not query:
        return ""
    name, _, text = query.partition("=")
    if name != "grant" or not text:
        raise HttpProblem(400, "BAD_KEY", "a fragment's address has no query but a grant")
    return text


def _is_local(request: web.BaseRequest) -> bool:
    return is_loopback(request.remote or "")
