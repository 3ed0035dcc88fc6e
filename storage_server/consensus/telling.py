"""Messages of the protocol in words, for people who watch. Pure."""

from typing import Any

from storage_server.consensus.messages import (
    Accept,
    Accepted,
    Ballot,
    Current,
    Install,
    Installed,
    Key,
    Learn,
    Listed,
    ListKeys,
    Nack,
    Prepare,
    Promise,
    Read,
    Refused,
    Reply,
    Request,
    Snapshot,
    Wedge,
    WrongEpoch,
)

# So many hexadecimal digits of a process's random number tell it from the others on a screen.
_PID_DIGITS = 6


def ballot_text(ballot: Ballot) -> str:
    """Return a ballot as ``round.process``; nothing if there is none."""
    return f"{ballot.round}.{ballot.pid.hex()[:_PID_DIGITS]}" if ballot.pid else ""


def key_text(key: Key) -> str:
    """Return a register's name; the bookkeeping of members has one too."""
    return key.name.replace("\0", "members/")


def told_request(request: Request) -> dict[str, Any]:
    """Return the fields of the event that a request is."""
    found: dict[str, Any] = {"what": type(request).__name__.lower(), "number": request.number}
    if isinstance(request, Prepare | Accept | Learn):
        found["ballot"] = ballot_text(request.ballot)
    if isinstance(request, Prepare | Accept | Learn | Read):
        found["key"] = key_text(request.key)
    if isinstance(request, Accept):
        found["version"] = request.value.version
        found["note"] = f"{len(request.value.payload or b'')} bytes"
    elif isinstance(request, ListKeys):
        found["key"] = f"{request.prefix}*"
    elif isinstance(request, Wedge):
        found["note"] = f"epoch {request.epoch} ends"
    elif isinstance(request, Install):
        found["note"] = f"epoch {request.config.epoch} begins"
    return found


def told_reply(reply: Reply) -> dict[str, Any]:
    """Return the fields of the event that a reply is; its key is in the request of its number."""
    found: dict[str, Any] = {"what": type(reply).__name__.lower(), "number": reply.number}
    if isinstance(reply, Promise | Current):
        found["ballot"] = ballot_text(reply.register.accepted)
        found["version"] = reply.register.value.version
    elif isinstance(reply, Nack):
        found["ballot"] = ballot_text(reply.promised)
        found["note"] = "a higher ballot is promised"
    elif isinstance(reply, Listed | Snapshot):
        found["note"] = f"{len(reply.registers)} registers"
    elif isinstance(reply, WrongEpoch):
        found["note"] = f"epoch {reply.config.epoch}" if reply.config else "no epoch yet"
    elif isinstance(reply, Installed):
        found["note"] = f"epoch {reply.config.epoch}"
    elif isinstance(reply, Refused):
        found["note"] = reply.reason
    else:
        assert isinstance(reply, Accepted)
    return found
