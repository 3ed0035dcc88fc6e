"""One TLS context for all connections, and what is told of one that did not come about.

Each client would build a context of its own, in 40 to 150 ms. Loads no HTTP client: nodes use it.
"""

import os
import ssl
from collections.abc import Iterator, Sequence
from functools import cache

from redundancy.errors import ConfigError

# Names a file with authorities of one's own, for whoever uses OpenSSL.
TRUSTED = "SSL_CERT_FILE"


@cache
def _system_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    named = os.environ.get(TRUSTED)
    try:
        # OpenSSL reads it by itself, and says nothing if it is missing or holds no certificate.
        if named:
            context.load_verify_locations(cafile=named)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{TRUSTED}={named} holds no certificates that can be read: {error}",
            hint="name a PEM file with the authorities to trust",
        ) from error
    return context


@cache
def _no_context() -> ssl.SSLContext:
    """Return a context that trusts nobody, for clients that only ever speak plain HTTP."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def tls_context(urls: Sequence[str]) -> ssl.SSLContext:
    """Return the context for a client of these URLs; https is checked against the system's CAs.

    Raises: ConfigError: what ``SSL_CERT_FILE`` names is of no use.
    """
    if any(url.startswith("https:") for url in urls):
        return _system_context()
    return _no_context()


# -- why there is no connection ----------------------------------------------------------------

# A handshake that is not over: whoever waits has no patience left, and TLS is not to blame.
_UNFINISHED = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError, ssl.SSLZeroReturnError)

TLS_HINT = (
    "use the name that the certificate was made for, and name the authority that signed it: "
    "SSL_CERT_FILE=ca.pem"
)


def tls_trouble(error: BaseException) -> str:
    """Say why an encrypted connection did not come about; nothing if that is not what failed."""
    for each in causes_of(error):
        # aiohttp's own kinds are of these classes, and have none of what OpenSSL says.
        why = getattr(each, "verify_message", "")
        if isinstance(each, ssl.SSLCertVerificationError) and why:
            return f"its certificate is not trusted: {why}"
        reason = getattr(each, "reason", "")
        if isinstance(each, ssl.SSLError) and reason == "WRONG_VERSION_NUMBER":
            return "it does not speak TLS there: http rather than https?"
        if isinstance(each, ssl.SSLError) and reason and not isinstance(each, _UNFINISHED):
            return f"no TLS with it: {reason}"
    return ""


def tls_hint(trouble: str) -> str:
    """Return what to do about what ``tls_trouble`` found."""
    if "expired" in trouble:
        return "renew its certificate; servers take the new file within a minute"
    if "not trusted" in trouble:
        return TLS_HINT
    return "check the address"


def not_http(error: BaseException, url: str) -> str:
    """Say that somebody there ends connections as TLS does when it is asked in plain words."""
    ended = ("RemoteProtocolError", "ServerDisconnectedError", "ReadError")
    if url.startswith("http:") and type(error).__name__ in ended:
        return f"{type(error).__name__}: does it speak https there?"
    return ""


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
