"""What can go wrong with a catalogue, and what its owner can do about it."""

from redundancy.errors import ConfigError, EvenflowError, ExitCode, NoSpace


class CatalogueError(EvenflowError):
    """Base of a catalogue's own errors. A write that raises one did not happen."""

    code = "CATALOGUE"
    exit_code = ExitCode.TEMPORARY
    retryable = True


class InvalidRegister(CatalogueError):
    """A key, a version or a value that no register can have."""

    code = "INVALID_REGISTER"
    exit_code = ExitCode.USAGE
    retryable = False


class CatalogueUnavailable(CatalogueError):
    """The catalogue is busy, hangs or is closed."""

    code = "CATALOGUE_UNAVAILABLE"


class CatalogueReadOnly(CatalogueError):
    """The catalogue can be read but not written."""

    code = "CATALOGUE_READ_ONLY"
    exit_code = ExitCode.CONFIG
    retryable = False


class CatalogueFull(CatalogueError, NoSpace):
    """The disk under the catalogue has no room left; what is stored can still be read."""

    code = "NO_SPACE"
    exit_code = ExitCode.TEMPORARY


class CatalogueDamaged(CatalogueError):
    """What is stored is not what was written."""

    code = "CATALOGUE_DAMAGED"
    exit_code = ExitCode.INTEGRITY
    retryable = False


class UnknownCatalogueFormat(ConfigError):
    """Written by a version of the format, or by a program, that this one does not know."""

    code = "UNKNOWN_FORMAT"
