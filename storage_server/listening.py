"""Taking an address to listen on, with errors that say what to do."""

import contextlib
import errno
import socket
from collections.abc import Iterator

from redundancy.errors import ConfigError


@contextlib.contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Take an address; port 0 takes a free one.

    Nobody can connect before somebody listens, so who is slow to start keeps no client waiting.
    Raises: ConfigError: it cannot be had.
    """
    with address_errors(host, port):
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with address_errors(host, port):
            bound.bind(address)
        yield bound


def url_of(bound: socket.socket, *, is_encrypted: bool = False) -> str:
    """Return the address others can reach it at."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # any address: a name says more
        host = socket.gethostname()
    scheme = "https" if is_encrypted else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.contextmanager
def address_errors(host: str, port: int) -> Iterator[None]:
    """Say in our words why an address cannot be had. Raises: ConfigError."""
    try:
        yield
    except socket.gaierror as error:
        raise ConfigError(f"{host} is not an address of this machine: {error}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"{host}:{port} is in use already",
                hint="stop the program that listens there, or choose another port "
                "(port 0 takes a free one)",
            ) from error
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
