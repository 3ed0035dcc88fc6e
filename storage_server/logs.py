"""The log of a server process: text for people, one JSON object a line for programs.

    logger -> queue (bounded; what does not fit is dropped and counted) -> one thread -> stderr

So a server never waits for whoever reads its log: a pipe that nobody reads fills up after 64 KiB,
and then every plain write to it would stop the event loop for good.
"""

import json
import logging
import os
import queue
import sys
import threading
from datetime import UTC, datetime

from redundancy.terminal import Terminal

LOG_FORMATS = ("text", "json")

# Lines that wait for a slow reader: at 200 bytes a line about 200 kB.
_LINES_WAITING_MAX = 1000

# How long a process that ends waits for the reader of its log.
_FAREWELL_S = 1.0

_WHY = "nobody read it in time"


class JsonLines(logging.Formatter):
    """Responsible for a log in which every line is one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        content: dict[str, object] = {
            "event": "log",
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


class UnhurriedHandler(logging.Handler):
    """Responsible for writing a log to a descriptor without ever making the one who logs wait."""

    def __init__(self, descriptor: int, *, lines_max: int = _LINES_WAITING_MAX) -> None:
        """Start the thread that writes.

        Args:
            descriptor: stays the caller's; written to directly, so that a thread stuck in a write
                holds no lock that the end of the process would need.
        """
        super().__init__()
        self._descriptor = descriptor
        self._waiting: queue.Queue[str | None] = queue.Queue(lines_max)
        self._dropped = 0
        self._told = 0
        self._thread = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines found no room."""
        return self._dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line, or count it as dropped; never wait."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a line that cannot be made must stop nobody
            line = self._note(f"a line of {record.name} could not be formatted")
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._dropped += 1  # the handler's lock is held

    def close(self) -> None:
        """Give what waits a second to be read, then let go. May be called twice."""
        super().close()
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return  # nobody reads: the thread ends with the process
        self._thread.join(_FAREWELL_S)

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._write(line)
                if self._told < self._dropped:
                    missing, self._told = self._dropped - self._told, self._dropped
                    self._write(self._note(f"{missing} lines of this log were dropped: {_WHY}"))
            except OSError:
                self._dropped += 1  # the reader is gone

    def _note(self, text: str) -> str:
        return self.format(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None))

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]


def lines_dropped() -> int:
    """Return how many lines of this process's log were lost since nobody read it."""
    handlers = logging.getLogger().handlers
    return sum(each.dropped for each in handlers if isinstance(each, UnhurriedHandler))


def log_to_stderr(terminal: Terminal, log_format: str | None = None) -> None:
    """Send what is logged to standard error, as much of it as the terminal wants.

    Args:
        log_format: one of ``LOG_FORMATS``; None: JSON if the terminal's results are JSON.
    """
    is_json = terminal.json if log_format is None else log_format == "json"
    handler = UnhurriedHandler(sys.stderr.fileno())
    handler.setFormatter(JsonLines() if is_json else logging.Formatter("%(levelname)s %(message)s"))
    level = logging.DEBUG if terminal.verbosity > 1 else logging.INFO
    logging.basicConfig(
        handlers=[handler], level=logging.ERROR if terminal.quiet else level, force=True
    )
    for chatty in ("asyncio", "httpx", "httpcore"):  # one line per ping would drown the rest
        logging.getLogger(chatty).setLevel(logging.WARNING)
