"""What can be wrong with a lab."""

from redundancy.errors import ExitCode
from smart_client.errors import SmartClientError


class LabUnavailable(SmartClientError):
    """This machine, or this user, cannot make network namespaces."""

    code = "LAB_UNAVAILABLE"
    exit_code = ExitCode.CONFIG


class LabBroken(SmartClientError):
    """A process of the lab ended, or does not answer."""

    code = "LAB_BROKEN"
    exit_code = ExitCode.TEMPORARY
    retryable = True
