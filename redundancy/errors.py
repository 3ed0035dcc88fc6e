"""The error tree and the exit codes that all three commands share.

Every error says what went wrong (the message), why (``detail``) and what to do next (``hint``).
A shell maps it to ``exit_code``; a program reads ``code``, which never changes meaning.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a command's exit status means. An unknown code is a failure."""

    OK = 0
    BUG = 1  # unexpected; a log file is named
    USAGE = 2
    PARTIAL = 3  # done, but below the redundancy asked for, or some items failed
    NOT_FOUND = 4
    TEMPORARY = 5  # coordinator or too few nodes reachable: retry later
    UNRECOVERABLE = 6  # fewer than k fragments are left
    INTEGRITY = 7  # bytes do not match their checksum
    CONFLICT = 8  # exists already, or changed under us
    CONFIG = 9  # configuration or access rights
    QOE = 10  # a quality threshold the user set was missed
    PLAYER = 11  # no player found, or it failed
    INTERRUPTED = 130


class EvenflowError(Exception):
    """Base of everything raised on purpose."""

    code: str = "UNEXPECTED"  # of the kind; an error that another machine told keeps its own
    exit_code: ExitCode = ExitCode.BUG
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, hint: str = "", detail: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = dict(detail or {})

    def to_json(self) -> dict[str, object]:
        """Return the body of ``{"error": ...}`` as ``--json`` prints it."""
        return {
            "code": self.code,
            "exit": int(self.exit_code),
            "message": self.message,
            "detail": self.detail,
            "hint": self.hint,
        }


class UsageError(EvenflowError):
    """The command line itself is wrong."""

    code = "USAGE"
    exit_code = ExitCode.USAGE


class ConfigError(EvenflowError):
    """A configuration value, a permission or a secret is wrong."""

    code = "CONFIG"
    exit_code = ExitCode.CONFIG


class FileProblem(EvenflowError):
    """A local file or directory cannot be read or written."""

    code = "FILE"
    exit_code = ExitCode.CONFIG


class FileMissing(FileProblem):
    """A local file or directory that was named does not exist."""

    code = "FILE_NOT_FOUND"
    exit_code = ExitCode.NOT_FOUND


class AlreadyExists(FileProblem):
    """A local file that would be written is there already."""

    code = "EXISTS"
    exit_code = ExitCode.CONFLICT


class NoSpace(FileProblem):
    """The local disk, or a node's, has no room left."""

    code = "NO_SPACE"
    exit_code = ExitCode.TEMPORARY


class RedundancyError(EvenflowError):
    """Base of errors about codes and fragments."""


class InvalidScheme(RedundancyError):
    """A (k, n) or a layout that cannot exist."""

    code = "INVALID_SCHEME"
    exit_code = ExitCode.USAGE


class InvalidBuffer(RedundancyError):
    """A buffer handed to a codec is read-only, in pieces, of the wrong length, or overlaps."""

    code = "INVALID_BUFFER"


class InvalidFragment(RedundancyError):
    """Bytes that are not a fragment of ours, or not an intact one."""

    code = "INVALID_FRAGMENT"
    exit_code = ExitCode.INTEGRITY


class InvalidRecord(RedundancyError):
    """A stored record that is none of ours, or damaged."""

    code = "INVALID_RECORD"
    exit_code = ExitCode.INTEGRITY


class IntegrityMismatch(RedundancyError):
    """Bytes were read but do not match their checksum."""

    code = "INTEGRITY"
    exit_code = ExitCode.INTEGRITY


class InsufficientFragments(RedundancyError):
    """Fewer than k usable fragments: the bytes cannot be rebuilt."""

    code = "TOO_FEW_FRAGMENTS"
    exit_code = ExitCode.UNRECOVERABLE


class TooFewNodes(RedundancyError):
    """A placement needs more distinct nodes than there are."""

    code = "TOO_FEW_NODES"
    exit_code = ExitCode.TEMPORARY
    retryable = True
