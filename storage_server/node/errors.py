"""What can go wrong in a node, and what a caller can do about it."""

from redundancy.errors import ConfigError, EvenflowError, ExitCode, NoSpace


class NodeError(EvenflowError):
    """Base of a node's own errors."""

    code = "NODE"


class InvalidSuperblock(NodeError):
    """Bytes that are no part of an intact superblock of this store."""

    code = "INVALID_SUPERBLOCK"
    exit_code = ExitCode.INTEGRITY


class UnknownFormat(ConfigError):
    """Data written by a version of the format that this program does not know."""

    code = "UNKNOWN_FORMAT"


class WrongNode(ConfigError):
    """The data directory belongs to another node."""

    code = "WRONG_NODE"


class FragmentMissing(NodeError):
    """The node does not hold this fragment."""

    code = "NOT_FOUND"
    exit_code = ExitCode.NOT_FOUND


class HashMismatch(NodeError):
    """The bytes sent are not those that the key names."""

    code = "HASH_MISMATCH"
    exit_code = ExitCode.INTEGRITY


class FragmentTooLarge(NodeError):
    """Empty, or larger than a fragment can be."""

    code = "TOO_LARGE"
    exit_code = ExitCode.USAGE


class StoreFull(NoSpace):
    """No room for another fragment; what is stored can still be read and deleted."""

    code = "NODE_FULL"
    retryable = True  # another node has room


class StoreReadOnly(NodeError):
    """The disk failed a write: nothing more is written until the node is started again.

    What was being written then may or may not be stored.
    """

    code = "READ_ONLY"
    exit_code = ExitCode.TEMPORARY
    retryable = True


class ReadFailed(NodeError):
    """The disk did not give back what is stored."""

    code = "READ_FAILED"
    exit_code = ExitCode.INTEGRITY
    retryable = True  # another fragment does as well


class NodeBusy(NodeError):
    """The node has enough to do with what others asked."""

    code = "BUSY"
    exit_code = ExitCode.TEMPORARY
    retryable = True
