"""What can go wrong in a coordinator besides what its clients know already."""

from redundancy.errors import ConfigError, EvenflowError, ExitCode


class CoordinatorError(EvenflowError):
    """Base of a coordinator's own errors."""

    code = "COORDINATOR"


class RegisterDamaged(CoordinatorError):
    """A register holds what no coordinator of this version writes."""

    code = "REGISTER_DAMAGED"
    exit_code = ExitCode.INTEGRITY


class OutcomeUnknown(CoordinatorError):
    """The catalogue did not answer a write in time: it may or may not have happened."""

    code = "OUTCOME_UNKNOWN"
    exit_code = ExitCode.TEMPORARY
    retryable = True


class NodeRemoved(CoordinatorError):
    """A node that was removed on purpose goes on reporting."""

    code = "NODE_REMOVED"
    exit_code = ExitCode.CONFLICT


class StoreReplaced(CoordinatorError):
    """A node reports with another data directory than the one that holds its fragments."""

    code = "STORE_REPLACED"
    exit_code = ExitCode.CONFLICT


class CannotEmptyNode(CoordinatorError):
    """A node's fragments cannot be copied away, so it cannot be removed without loss."""

    code = "CANNOT_EMPTY_NODE"
    exit_code = ExitCode.CONFLICT


class MoveFailed(CoordinatorError):
    """A fragment could not be copied to its new node; what was moved before stays moved."""

    code = "MOVE_FAILED"
    exit_code = ExitCode.TEMPORARY
    retryable = True


class CatalogueMoved(ConfigError):
    """The catalogue was copied into another one, and that is kept since."""

    code = "CATALOGUE_MOVED"


class NotTheKeeper(CoordinatorError):
    """Another coordinator of the same catalogue repairs and moves."""

    code = "NOT_THE_KEEPER"
    exit_code = ExitCode.TEMPORARY
    retryable = True
