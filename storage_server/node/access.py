"""Who may do what: by the node's secret, or by being on the same machine."""

import hmac
from enum import Enum

from aiohttp import web

from storage_server.node.config import NodeConfig, is_loopback
from storage_server.node.responses import HttpProblem


class Access(Enum):
    """What a route asks of the one who calls it."""

    OPEN = "open"  # whoever knows a fragment's name may read it
    FACTS = "facts"  # what the node holds: not for strangers
    WRITE = "write"
    ADMIN = "admin"


class Guard:
    """Responsible for refusing; it knows the secret and never shows it."""

    def __init__(self, config: NodeConfig) -> None:
        self._token = config.token.encode() if config.token is not None else None
        self._trusts_network = config.insecure

    def check(self, access: Access, request: web.BaseRequest) -> None:
        """Return if the request may go on. Raises: HttpProblem 401 or 403."""
        if self.allows(access, request):
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
        if access is Access.OPEN or self._has_token(request):
            return True
        if access is Access.FACTS:
            is_trusted = self._trusts_network and self._token is None
            return is_trusted or _is_local(request)
        if self._token is not None:
            return False
        if "Origin" in request.headers:
            return False  # a browser writes for a web page: not its owner's will
        # Without a token the node listens on loopback only, or was told that the network is safe.
        return access is Access.WRITE or _is_local(request)

    def _has_token(self, request: web.BaseRequest) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)


def _is_local(request: web.BaseRequest) -> bool:
    return is_loopback(request.remote or "")
