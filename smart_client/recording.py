"""A session's life as JSON lines: written while it runs, read back to be replayed.

line 1    {"v":1,"kind":"evenflow-recording", version, scheduler, config, nodes, chunks}
line 2..  {"t": instant, "e": event, "c": [commands]}
last      {"end": "closed"}   missing when the process was killed
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from redundancy import __version__
from redundancy.errors import AlreadyExists, EvenflowError
from redundancy.terminal import from_os_error
from smart_client.core.commands import Command
from smart_client.core.events import Event
from smart_client.core.replay import RECORDING_KIND, RECORDING_VERSION, RecordingHead, Step
from smart_client.core.session import Session
from smart_client.errors import InvalidRecording
from smart_client.wire import ChunkRecord

log = logging.getLogger(__name__)

# Steps wait for the writer this long at most, so a killed process loses less than a second.
FLUSH_S = 0.25

# A disk that takes nothing must not fill the memory: about 200 MB of steps, a minute at 1 GB/s of
# video. A recording with a gap cannot be replayed, so it ends there.
STEPS_WAITING_MAX = 500_000

# No line of ours is longer: the head of a video of a million chunks is below this.
LINE_BYTES_MAX = 1024 * 1024 * 1024
STEP_BYTES_MAX = 16 * 1024 * 1024

HEAD_MARK = b'{"v":1,"kind":"evenflow-recording"'
END_MARK = b'{"end"'


class End(msgspec.Struct, frozen=True):
    """The last line: how the recording ended."""

    end: Literal["closed", "overrun"]


def recording_head(session: Session, video: str, chunks: Sequence[ChunkRecord]) -> RecordingHead:
    """Return the first line of a recording of this session, which must not have begun."""
    assert not session.state.buffer.readers, "a recording begins before the first event"
    return RecordingHead(
        v=RECORDING_VERSION,
        kind=RECORDING_KIND,
        program=__version__,
        video=video,
        scheduler=session.scheduler.name,
        config=session.state.config,
        nodes=tuple(node.id for node in session.state.nodes.nodes),
        chunks=tuple(chunks),
        began_ts=time.time(),
    )


class Recorder:
    """Responsible for writing one session down; an observer of the driver.

    ``observe`` only appends to a list. A thread encodes and writes four times a second and flushes
    to the kernel, so kill -9 loses the last quarter of a second, and a slow disk delays nobody.
    """

    def __init__(self, path: Path, head: RecordingHead) -> None:
        self.path = path
        self.problem: EvenflowError | None = None  # why it is not whole
        _refuse_to_replace(path)
        self._steps: list[tuple[float, Event, Sequence[Command]]] = []
        self._over = threading.Event()
        self._overrun = False
        self._encoder = msgspec.json.Encoder()
        try:
            self._file: BinaryIO = path.open("wb")
        except OSError as error:
            raise from_os_error(error) from error
        self._write([self._encoder.encode(head)])
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def observe(self, now_s: float, event: Event, issued: Sequence[Command]) -> None:
        """Take one step of the session in."""
        if self._overrun or self.problem is not None:
            return
        if len(self._steps) >= STEPS_WAITING_MAX:
            self._overrun = True
            return
        self._steps.append((now_s, event, issued))

    def close(self) -> None:
        """Write what is left and the last line. Blocks for as long as that takes."""
        self._over.set()
        self._thread.join()
        self._write([self._encoder.encode(End("overrun" if self._overrun else "closed"))])
        if self._overrun and self.problem is None:
            self.problem = EvenflowError(f"{self.path}: the disk was too slow; it is cut short")
        try:
            self._file.close()
        except OSError as error:  # what a failed write left in the buffer fails again
            self.problem = self.problem or from_os_error(error)

    def _run(self) -> None:
        while not self._over.wait(FLUSH_S):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        steps, self._steps = self._steps, []
        if steps:
            encode = self._encoder.encode
            self._write([encode({"t": t, "e": event, "c": issued}) for t, event, issued in steps])

    def _write(self, lines: Sequence[bytes]) -> None:
        if self.problem is not None:
            return
        try:
            self._file.write(b"\n".join(lines) + b"\n")
            self._file.flush()
        except OSError as error:
            self.problem = from_os_error(error)
            log.warning("the recording stops here: %s", self.problem.message)


def _refuse_to_replace(path: Path) -> None:
    """Raise ``AlreadyExists`` where there is anything but an older recording."""
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return
        with path.open("rb") as file:
            start = file.read(len(HEAD_MARK))
    except OSError as error:
        raise from_os_error(error) from error
    if start != HEAD_MARK:
        raise AlreadyExists(
            f"{path} exists and is not a recording", hint="name another file for --record"
        )


class Recording:
    """Responsible for reading a recording line by line; whatever is in the file.

    Raises (on construction and from ``steps``): InvalidRecording, naming the line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.how_it_ended = ""  # "closed", "overrun", or "" while unread or when cut off
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise from_os_error(error) from error
        try:
            self.head = self._read_head()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def steps(self) -> Iterator[Step]:
        """Yield all steps. A last line cut off is what a killed process leaves, and no error."""
        decoder = msgspec.json.Decoder(Step)
        number = 1
        while line := self._read_line(STEP_BYTES_MAX):
            number += 1
            try:
                if line.startswith(END_MARK):
                    self.how_it_ended = msgspec.json.decode(line, type=End).end
                    return
                step = decoder.decode(line)
            except (msgspec.DecodeError, ValueError) as error:
                if not line.endswith(b"\n"):
                    return
                raise InvalidRecording(
                    f"{self.path}: line {number} is not a step of a session",
                    detail={"why": str(error)},
                ) from error
            yield step

    def _read_line(self, limit: int) -> bytes:
        try:
            return self._file.readline(limit)
        except OSError as error:
            raise from_os_error(error) from error

    def _read_head(self) -> RecordingHead:
        foreign = InvalidRecording(
            f"{self.path} is not a recorded session",
            hint="record one with `smart-client play VIDEO --record run.jsonl`",
        )
        start = self._file.read(1)
        if start != b"{":
            raise foreign
        line = start + self._read_line(LINE_BYTES_MAX)
        try:
            kind = msgspec.json.decode(line, type=_Kind)
        except (msgspec.DecodeError, ValueError) as error:
            raise foreign from error
        if kind.kind != RECORDING_KIND:
            raise foreign
        if kind.v != RECORDING_VERSION:
            raise InvalidRecording(
                f"{self.path} is a recording of version {kind.v}; this program reads version "
                f"{RECORDING_VERSION}",
                hint="use the version of smart-client that recorded it",
            )
        try:
            return msgspec.json.decode(line, type=RecordingHead)
        except (msgspec.DecodeError, ValueError) as error:
            raise InvalidRecording(
                f"{self.path}: its first line is damaged", detail={"why": str(error)}
            ) from error


class _Kind(msgspec.Struct):
    kind: str
    v: int
