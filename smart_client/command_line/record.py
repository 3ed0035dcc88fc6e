"""``--record``: the session of a command is written down while it runs."""

import asyncio
import shlex
from pathlib import Path
from types import TracebackType

from redundancy.errors import ExitCode
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.config import ClientConfig
from smart_client.core.state import SessionConfig
from smart_client.library import Library
from smart_client.recording import Recorder, recording_head
from smart_client.spool import Spool
from smart_client.stream import VideoStream


class RecordOption:
    """Responsible for what a command does about ``--record FILE``; None records nothing."""

    def __init__(self, file: str | None) -> None:
        self.path = Path(file) if file else None
        self.recorder: Recorder | None = None

    def library(self, config: ClientConfig) -> "RecordingLibrary":
        """Return a library whose first stream is recorded."""
        return RecordingLibrary(config, self)

    def conclude(self, terminal: Terminal) -> ExitCode:
        """Say where the recording is; return the command's exit code."""
        if self.recorder is None:
            return ExitCode.OK
        problem = self.recorder.problem
        if problem is not None:
            terminal.note(f"warning: the recording is not whole: {problem.message}")
            return ExitCode.PARTIAL
        terminal.note(f"recorded: smart-client explain {shlex.quote(str(self.path))}")
        return ExitCode.OK


class RecordingLibrary(Library):
    """Responsible for recording the first stream that is opened."""

    def __init__(self, config: ClientConfig, option: RecordOption) -> None:
        super().__init__(config)
        self._option = option

    async def open_stream(
        self,
        name: str,
        config: ClientConfig,
        *,
        rendition: str = "original",
        spool: Spool | None = None,
        session: SessionConfig | None = None,
        manifest: wire.Manifest | None = None,
    ) -> VideoStream:
        """Open a video; begin to record if that is wished and not done yet."""
        stream = await super().open_stream(
            name, config, rendition=rendition, spool=spool, session=session, manifest=manifest
        )
        option = self._option
        if option.path is not None and option.recorder is None:
            head = recording_head(
                stream.session, stream.manifest.video.name, stream.manifest.chunks
            )
            try:
                option.recorder = Recorder(option.path, head)
            except BaseException:
                await stream.close()
                raise
            stream.driver.observe(option.recorder.observe)
        return stream

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left of the recording."""
        if self._option.recorder is not None:
            await asyncio.to_thread(self._option.recorder.close)
        await super().__aexit__(kind, error, trace)
