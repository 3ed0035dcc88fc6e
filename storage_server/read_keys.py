"""The read keys of a node or coordinator: in a file that only its owner reads, changed at will."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from redundancy.errors import ConfigError
from smart_client.signing import ReadKeys, Scope
from storage_server.node.private_files import read_private

log = logging.getLogger(__name__)

# How long after a change of the file the old keys may still count.
LOOK_EVERY_S = 2.0

_FILE_BYTES_MAX = 4096

# A film and a night's pause fit: who holds a manifest plays on when no coordinator answers.
VIDEO_GRANT_S = 24 * 3600

# Within this time a manifest's grant stays the same, so that its ETag does.
_STEP_S = 3600

# A node that is ordered to fetch a fragment does so within a minute.
FRAGMENT_GRANT_S = 600


class KeyFile:
    """Responsible for the keys as the file says them now.

    A file that is changed is read again at the next use. If it cannot be, the old keys stay: a
    slip of the pen must not stop all playing.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises: ConfigError, OSError."""
        self._path = path
        self._clock = clock
        self._looked_s = clock()
        self._state = self._stat()
        self._keys = self._read()

    @property
    def keys(self) -> ReadKeys:
        """The live keys."""
        now_s = self._clock()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        return self._keys

    def _look(self) -> None:
        try:
            state = self._stat()
            if state == self._state:
                return
            self._state = state
            self._keys = self._read()
            log.info("new read keys are in use")
        except (ConfigError, OSError) as error:
            log.warning("the read keys in use stay: %s", error)

    def _stat(self) -> tuple[int, ...]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode

    def _read(self) -> ReadKeys:
        return ReadKeys.parse(read_private(self._path, _FILE_BYTES_MAX))


class ReadGrants:
    """Responsible for what a coordinator signs. Without keys every grant is empty."""

    def __init__(
        self, file: KeyFile | None = None, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._wall_clock = wall_clock

    def trouble_with(self, prints: Sequence[str] | None) -> str:
        """Return why readers sent by these grants get nothing from a node; empty: they do.

        Args:
            prints: of the node's keys, see ``ReadKeys.prints``; None: it does not say.
        """
        if not prints:
            return ""
        if self._file is None:
            return "it gives fragments by read keys only, and this coordinator has none"
        # The first one signs; the other is for grants that were given before.
        if self._file.keys.prints[0] in prints:
            return ""
        return "it has other read keys than this coordinator, and refuses its readers"

    def is_open(self, prints: Sequence[str] | None) -> bool:
        """Whether a node gives to anybody what readers of this coordinator need a grant for."""
        return self._file is not None and prints is not None and not prints

    def for_video(self, video_id: str) -> str:
        """Return a grant for all of a video, good for ``VIDEO_GRANT_S`` at least."""
        began_s = int(self._wall_clock()) // _STEP_S * _STEP_S
        return self._sign(Scope.video(video_id), began_s + _STEP_S + VIDEO_GRANT_S)

    def for_fragment(self, key: str) -> str:
        """Return a grant for one fragment, for a node that is to fetch it at once."""
        return self._sign(Scope.fragment(key), int(self._wall_clock()) + FRAGMENT_GRANT_S)

    def _sign(self, scope: Scope, expires_s: int) -> str:
        return str(self._file.keys.sign(scope, expires_s)) if self._file is not None else ""
