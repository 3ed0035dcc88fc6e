"""A server's certificate: TLS 1.2 or later, and a new certificate without a restart."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from redundancy.errors import ConfigError
from storage_server.node.private_files import require_private

log = logging.getLogger(__name__)

# A peer that has not agreed on a key by then is not going to.
HANDSHAKE_TIMEOUT_S = 5.0

# Certificates are renewed days before they end; a minute is soon enough.
RELOAD_EVERY_S = 60.0


def certificate_of(certificate: Path | None, key: Path | None) -> "Certificate | None":
    """Return the certificate of a server that was given one. Raises: ConfigError, OSError."""
    return None if certificate is None or key is None else Certificate(certificate, key)


def listening_options(certificate: "Certificate | None") -> dict[str, Any]:
    """Return what ``create_server`` needs to be told of a certificate."""
    if certificate is None:
        return {}
    return {"ssl": certificate.context, "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S}


class Certificate:
    """Responsible for the context that new connections are made with."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load a certificate chain and its key, both PEM. Raises: ConfigError, OSError."""
        self._certificate = certificate
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        self._loaded = self._load()

    def reload_if_changed(self) -> bool:
        """Use the files as they are now; return whether they changed. Raises: as the beginning.

        If the new ones do not fit the old ones stay in use.
        """
        if self._state() == self._loaded:
            return False
        self._loaded = self._load()
        return True

    @contextlib.asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Look for a new certificate every minute meanwhile."""
        reloading = asyncio.create_task(self.reload_for_ever())
        try:
            yield
        finally:
            reloading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reloading

    async def reload_for_ever(self) -> None:
        """Look for a new certificate every minute, until cancelled."""
        while True:
            await asyncio.sleep(RELOAD_EVERY_S)
            try:
                if self.reload_if_changed():
                    log.info("a new certificate is in use")
            except (ConfigError, OSError) as error:
                log.warning("the certificate in use stays: %s", error)

    def _load(self) -> tuple[int, ...]:
        state = self._state()
        with self._key.open("rb") as file:
            require_private(file.fileno(), self._key)
        # First into a context of its own: one that fails half-way would leave ours without a key.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
            try:
                # An encrypted key fails; without a password here it would be asked for at length.
                context.load_cert_chain(self._certificate, self._key, password=lambda: "")
            except ssl.SSLError as error:
                raise ConfigError(
                    f"{self._certificate} and {self._key} are no certificate and its key: "
                    f"{error.reason or 'not PEM'}",
                    hint="give a PEM certificate chain, and the unencrypted key that belongs to it",
                ) from error
        return state

    def _state(self) -> tuple[int, ...]:
        found = [path.stat() for path in (self._certificate, self._key)]
        return tuple(number for each in found for number in (each.st_mtime_ns, each.st_ino))
