"""What mpv says of itself over its JSON IPC, as the reports that every player makes.

Stalls are mpv's own ``paused-for-cache``; the first picture is its ``playback-restart``. See
mpv's manual, "JSON IPC" and "Properties".
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smart_client.gateway.records import PlayerEvent

log = logging.getLogger(__name__)

# mpv makes its socket before it opens the file; on a busy machine it takes a second to get there.
CONNECT_S = 15.0
CONNECT_EVERY_S = 0.02

# The position is asked for this often; observing it would bring a message a frame.
POSITION_EVERY_S = 0.25

LINE_BYTES_MAX = 1024 * 1024

_OBSERVED = ("paused-for-cache", "pause", "eof-reached")
_POSITION, _CACHE = 101, 102  # ids of the questions asked again and again


@dataclass(frozen=True, slots=True)
class MpvSaid:
    """One report: an event of ``PlayerReport``, at an instant of our monotonic clock."""

    event: PlayerEvent
    at_s: float
    position_s: float
    buffered_s: float
    message: str = ""


class MpvLink:
    """Responsible for following one mpv until it ends. ``run`` never raises for what mpv does."""

    def __init__(self, path: Path, tell: Callable[[MpvSaid], None]) -> None:
        self._path = path
        self._tell = tell
        self._position_s = 0.0
        self._buffered_s = 0.0
        self._plays = False
        self._paused = False
        self.is_connected = False

    async def run(self) -> None:
        """Connect, then report until mpv closes the connection."""
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._connect()
        except TimeoutError:
            log.warning("mpv did not open its IPC socket: what it shows is not measured")
            return
        self.is_connected = True
        asking = asyncio.create_task(self._ask_for_position(writer))
        try:
            for number, name in enumerate(_OBSERVED, 1):
                self._send(writer, ["observe_property", number, name])
            while line := await reader.readline():
                self._take(line)
        except (OSError, ValueError) as error:  # reset, or a line beyond all measure
            log.debug("the connection to mpv ended: %s", error)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                return await asyncio.open_unix_connection(str(self._path), limit=LINE_BYTES_MAX)
            except OSError:
                await asyncio.sleep(CONNECT_EVERY_S)

    async def _ask_for_position(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._send(writer, ["get_property", "demuxer-cache-duration"], _CACHE)
                self._send(writer, ["get_property", "time-pos"], _POSITION)
                await writer.drain()
                await asyncio.sleep(POSITION_EVERY_S)

    @staticmethod
    def _send(writer: asyncio.StreamWriter, words: list[object], number: int = 0) -> None:
        message = {"command": words, "request_id": number, "async": False}
        writer.write(json.dumps(message).encode() + b"\n")

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if message.get("event") == "property-change":
            self._changed(str(message.get("name")), message.get("data"))
        elif "event" in message:
            self._happened(str(message["event"]), message)
        elif message.get("error") == "success":
            self._answered(message.get("request_id"), message.get("data"))

    def _answered(self, number: object, data: Any) -> None:
        if not isinstance(data, int | float) or isinstance(data, bool):
            return
        if number == _CACHE:
            self._buffered_s = max(0.0, float(data))
        elif number == _POSITION:
            self._position_s = max(0.0, float(data))
            self._say("progress")

    def _changed(self, name: str, data: Any) -> None:
        if name == "paused-for-cache" and data is not None:
            if data:
                self._say("waiting")
            elif self._plays and not self._paused:
                self._say("playing")
        elif name == "pause" and data is not None:
            self._paused = bool(data)
            if self._paused:
                self._say("pause")
            elif self._plays:
                self._say("playing")
        elif name == "eof-reached" and data:
            self._say("ended")

    def _happened(self, event: str, message: dict[str, Any]) -> None:
        if event == "seek":
            # mpv "seeks" to where it is when it begins; that is no seek of the viewer.
            if self._plays:
                self._say("seeking")
        elif event == "playback-restart":
            if self._plays:
                self._say("seeked")
            self._plays = True
            if not self._paused:
                self._say("playing")
        elif event == "end-file":
            reason = message.get("reason")
            if reason == "error":
                self._say("error", str(message.get("file_error", "")))
            elif reason == "eof":
                self._say("ended")

    def _say(self, event: PlayerEvent, message: str = "") -> None:
        said = MpvSaid(event, time.monotonic(), self._position_s, self._buffered_s, message)
        self._tell(said)


def with_ipc(words: list[str], socket_path: Path) -> list[str] | None:
    """Return mpv's command line with our socket added; None for another player, or its own."""
    if words[0].rsplit("/", 1)[-1] != "mpv":
        return None
    if any(word.startswith("--input-ipc-server") for word in words):
        return None
    return [words[0], f"--input-ipc-server={socket_path}", *words[1:]]
