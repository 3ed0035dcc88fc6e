"""Errors of the client and of the coordinator's API, each telling the caller what to do."""

from redundancy.errors import EvenflowError, ExitCode


class SmartClientError(EvenflowError):
    """Base of everything the client raises on purpose."""


class CoordinatorUnreachable(SmartClientError):
    """No coordinator answered."""

    code = "COORDINATOR_UNREACHABLE"
    exit_code = ExitCode.TEMPORARY
    retryable = True


class NodeUnreachable(SmartClientError):
    """A node refused, reset or did not answer; another node may."""

    code = "NODE_UNREACHABLE"
    exit_code = ExitCode.TEMPORARY
    retryable = True


class NodeRefused(SmartClientError):
    """A node answered, with an error."""

    code = "NODE_REFUSED"
    exit_code = ExitCode.TEMPORARY


class VideoNotFound(SmartClientError):
    """No video of that name."""

    code = "VIDEO_NOT_FOUND"
    exit_code = ExitCode.NOT_FOUND


class RenditionNotFound(SmartClientError):
    """The video is there, but not in that rendition."""

    code = "RENDITION_NOT_FOUND"
    exit_code = ExitCode.NOT_FOUND


class NodeNotFound(SmartClientError):
    """No node of that name."""

    code = "NODE_NOT_FOUND"
    exit_code = ExitCode.NOT_FOUND


class NameTaken(SmartClientError):
    """A video or node of that name exists already."""

    code = "NAME_TAKEN"
    exit_code = ExitCode.CONFLICT


class Conflict(SmartClientError):
    """Somebody else changed the record first."""

    code = "CONFLICT"
    exit_code = ExitCode.CONFLICT
    retryable = True


class InvalidRequest(SmartClientError):
    """A request or a stored record that breaks its own rules."""

    code = "INVALID_REQUEST"
    exit_code = ExitCode.USAGE


class TooFewNodesUp(SmartClientError):
    """Fewer nodes answer than the redundancy asked for needs."""

    code = "TOO_FEW_NODES"
    exit_code = ExitCode.TEMPORARY
    retryable = True


class GatewayBusy(SmartClientError):
    """This gateway cannot do that now, or is not the one that does it."""

    code = "GATEWAY_BUSY"
    exit_code = ExitCode.TEMPORARY


class UploadNotFound(SmartClientError):
    """No upload of that number; it may be over, or was cancelled."""

    code = "UPLOAD_NOT_FOUND"
    exit_code = ExitCode.NOT_FOUND


class WrongOffset(SmartClientError):
    """Bytes that do not follow the ones received so far; the detail has the true offset."""

    code = "WRONG_OFFSET"
    exit_code = ExitCode.CONFLICT
    retryable = True


class SessionNotFound(SmartClientError):
    """No open session of that number or video."""

    code = "SESSION_NOT_FOUND"
    exit_code = ExitCode.NOT_FOUND


class FragmentsLost(SmartClientError):
    """A chunk has fewer than k fragments that answer and match their checksum."""

    code = "TOO_FEW_FRAGMENTS"
    exit_code = ExitCode.UNRECOVERABLE


class DeliveredWrongBytes(SmartClientError):
    """The bytes put together do not match the video's SHA-256."""

    code = "INTEGRITY"
    exit_code = ExitCode.INTEGRITY


class InvalidMedia(SmartClientError):
    """Bytes that should be a video of a certain kind, and are not."""

    code = "INVALID_MEDIA"
    exit_code = ExitCode.INTEGRITY


class PlayerProblem(SmartClientError):
    """No player was found, or it failed."""

    code = "PLAYER"
    exit_code = ExitCode.PLAYER


class QualityMissed(SmartClientError):
    """A quality threshold that the user set was missed."""

    code = "QOE_THRESHOLD"
    exit_code = ExitCode.QOE


class InvalidRecording(SmartClientError):
    """A file that is not a recorded session, or not one that can be replayed."""

    code = "INVALID_RECORDING"
    exit_code = ExitCode.INTEGRITY


class AccessDenied(SmartClientError):
    """A token is missing or wrong."""

    code = "ACCESS_DENIED"
    exit_code = ExitCode.CONFIG
