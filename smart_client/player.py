"""Players: the ones on this machine, and the measuring one that needs no screen."""

import asyncio
import hashlib
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from smart_client.errors import DeliveredWrongBytes, PlayerProblem
from smart_client.stream import StreamReader, VideoStream

# In this order the first one found is used.
KNOWN_PLAYERS = ("mpv", "vlc", "ffplay")

# What is left where no player can be started here; the address it would have had is gone with us.
_OTHER_WAYS = (
    "smart-client serve, then open http://127.0.0.1:8480/v/NAME in a browser; or use --player none"
)

# The measuring player looks this often at what it should have played by now.
POLL_S = 0.1


def player_command(wish: str, url: str) -> list[str]:
    """Return the command line that plays ``url``.

    Args:
        wish: ``mpv``, ``vlc``, ``ffplay``, any other command (``{url}`` is replaced, else the URL
            is appended), or empty for the first player found.
    Raises: PlayerProblem: there is none.
    """
    if not wish:
        found = next((name for name in KNOWN_PLAYERS if shutil.which(name)), None)
        if found is None:
            raise PlayerProblem(
                f"no player found (looked for {', '.join(KNOWN_PLAYERS)})",
                hint=_OTHER_WAYS,
            )
        wish = found
    words = shlex.split(wish)
    if not words or shutil.which(words[0]) is None:
        raise PlayerProblem(
            f"player '{wish}' is not installed or not on the PATH",
            hint=_OTHER_WAYS,
        )
    if any("{url}" in word for word in words):
        return [word.replace("{url}", url) for word in words]
    return [*words, *_options_of(words), url]


def _options_of(words: Sequence[str]) -> list[str]:
    """Return options that make a known player behave; a command with its own is left alone."""
    if len(words) > 1:
        return []
    name = words[0].rsplit("/", 1)[-1]
    return {
        # mpv would swallow the whole file into memory; the gateway keeps it on disk anyway.
        "mpv": ["--demuxer-max-bytes=64MiB", "--force-window=yes"],
        "vlc": ["--play-and-exit"],
        "ffplay": ["-autoexit", "-loglevel", "warning"],
    }.get(name, [])


async def run_player(words: Sequence[str]) -> int:
    """Run a player until it ends; return its exit status. It is ended with us."""
    try:
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
    except OSError as error:
        raise PlayerProblem(f"cannot start {words[0]}: {error}") from error
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@dataclass(slots=True)
class PlayedBytes:
    """What the measuring player has taken so far."""

    count: int = 0
    sha256: str = ""  # when it played to the end


class MeasuringPlayer:
    """Responsible for consuming a video in real time: every byte, when it is due.

    The session's paced reader keeps the clock, the stalls and the buffer; this player takes the
    bytes that the clock has passed and hashes them, so what is reported was really delivered.
    """

    def __init__(self, stream: VideoStream, *, offset: int = 0) -> None:
        self._stream = stream
        self._offset = offset
        self._hash = hashlib.sha256()
        self.reader: StreamReader = stream.open_reader(offset, paced=True)
        self.played = PlayedBytes()

    async def run(self, *, patience_s: float | None = None) -> PlayedBytes:
        """Play to the end. Raises: EvenflowError; DeliveredWrongBytes if the whole is not right."""
        stream, reader = self._stream, self.reader
        timeline = stream.session.state.timeline
        position = self._offset
        watched_s = timeline.time_at(position)
        while True:
            core = reader.core
            ended = core.state == "ended"
            head_s = core.playhead_s(stream.driver.now_s())
            due = timeline.size if ended else min(core.frontier, timeline.offset_at(head_s))
            while position < due:
                take = min(256 * 1024, due - position)
                data = await asyncio.to_thread(stream.spool.read, position, take)
                self._hash.update(data)
                position += len(data)
            self.played.count = position - self._offset
            stream.seen(max(0.0, head_s - watched_s))
            watched_s = max(watched_s, head_s)
            if ended:
                break
            if core.frontier <= position and core.state != "playing":
                reader.position = position
                await reader.wait_until_ready(patience_s=patience_s)
            await asyncio.sleep(POLL_S)
        self._check()
        return self.played

    def _check(self) -> None:
        rendition = self._stream.manifest.rendition
        self.played.sha256 = self._hash.hexdigest()
        if self._offset == 0 and self.played.sha256 != rendition.sha256:
            raise DeliveredWrongBytes(
                "the bytes played do not match the video's SHA-256",
                detail={"expected": rendition.sha256, "played": self.played.sha256},
            )
